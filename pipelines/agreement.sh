#!/bin/sh
# How often do values predict what follows their keys' triggers? (Paper: section 4,
# figures 4, 5 and 6, table 2.)
#
# usage: agreement.sh MODEL TEXT OUT [options of tokenize]
#
# Leaves in the folder OUT: triggers.msgpack (50 triggers a key, with projected
# values), agreement.csv, rank.csv, confidence.csv, top-values.csv. The tools must be
# in PATH. A stage that fails leaves no trailer, so the stages behind it fail as well:
# the status of the last one is that of the pipeline.
set -eu

[ $# -ge 3 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3
shift 3
mkdir -p "$out"

tokenize --model "$model" "$@" "$text" |
    forward-dump --model "$model" |
    topk-keys --top 50 |
    project-values --model "$model" --output "$out/triggers.msgpack"

agreement-stats --model "$model" "$out/triggers.msgpack" \
    --output "$out/agreement.csv" \
    --rank "$out/rank.csv" \
    --confidence "$out/confidence.csv" \
    --top-values "$out/top-values.csv"

echo "$out/agreement.csv:"
cat "$out/agreement.csv"
echo "Beside it: rank.csv, confidence.csv, top-values.csv, triggers.msgpack."
