#!/bin/sh
# How often do values predict what follows their keys' triggers? (Paper: section 4,
# figures 4, 5 and 6, table 2.)
#
# usage: agreement.sh MODEL OUT
#
# Reads OUT/triggers.msgpack, which triggers.sh leaves there, and leaves beside it
# agreement.csv, rank.csv, confidence.csv, top-values.csv. The tools must be in PATH.
set -eu

[ $# -eq 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 out=$2

agreement-stats --model "$model" "$out/triggers.msgpack" \
    --output "$out/agreement.csv" \
    --rank "$out/rank.csv" \
    --confidence "$out/confidence.csv" \
    --top-values "$out/top-values.csv"
