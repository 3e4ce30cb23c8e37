# The installed suite on Debian 13. In this folder:
#
#   docker build -t ffkv .
#   docker run --rm -v "$PWD:/work" ffkv tokenize --help
#
# A command of several tools is given to a shell:
#
#   docker run --rm -v "$PWD:/work" ffkv sh -c \
#       'tokenize -m $MODEL --mode raw book.txt | forward-dump -m $MODEL | ...'

# 'make systems NAMES=container' runs its commands in bare systems of Debian 13, without docker: so they
# were tried, and the images themselves were not. Tools say the release, and no commit: .git is left out.

FROM debian:trixie-slim AS build
COPY . /src
WORKDIR /src
RUN ./setup.sh build && \
    make -s -j"$(nproc)" all && \
    make -s install DESTDIR=/installed PREFIX=/usr

FROM debian:trixie-slim
COPY --from=build /installed /
RUN apt-get update && \
    apt-get install -y --no-install-recommends \
        libmsgpack-c2 libjansson4 libcsv3 zlib1g libicu76 libpcre2-8-0 libxxhash0 libzip5 libprotobuf-c1 \
        libopenblas0 libdnnl3.6 \
        gnuplot-nox librsvg2-bin fonts-dejavu-core make && \
    rm -rf /var/lib/apt/lists/*
ENV MODEL=/usr/share/ffkv/data/brown-lm
WORKDIR /work
CMD ["tokenize", "--help"]
