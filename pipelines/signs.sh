#!/bin/sh
# Which signs do gate and input have in a gated model's layers? (Not the paper's, whose layers
# are not gated.)
#
# usage: signs.sh MODEL OUT
#
# Reads OUT/triggers.msgpack, which triggers.sh leaves there with counts of these signs where
# layers are gated, and leaves beside it signs.csv. The tools must be in PATH.
set -eu

[ $# -eq 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
out=$2
here=$(dirname "$(readlink -f -- "$0")")
. "$here/show.sh"

coefficient-stats --signs "$out/signs.csv" "$out/triggers.msgpack" >/dev/null
show "$out/signs.csv"
