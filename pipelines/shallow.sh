#!/bin/sh
# What do the triggers of a key have in common: last words, n-grams, vocabulary?
# (Measures of this project, not the paper's; its figure 2 comes from annotations.)
#
# usage: shallow.sh MODEL TEXT OUT [options of tokenize]
#
# Reads OUT/triggers.msgpack, which triggers.sh leaves there, and TEXT, with the
# options that search.sh had, for random prefixes to compare with. Leaves beside
# it shallow.csv, a row a layer; shallow-keys.csv, a row a key; shallow-ngrams.csv,
# the n-grams that a key's triggers share. The tools must be in PATH.
set -eu

[ $# -ge 3 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3
here=$(dirname "$(readlink -f -- "$0")")
shift 3
. "$here/show.sh"

tokenize --model "$model" "$@" "$text" |
    shallow-stats --model "$model" --corpus - "$out/triggers.msgpack" \
        --output "$out/shallow.csv" \
        --keys "$out/shallow-keys.csv" \
        --ngrams "$out/shallow-ngrams.csv"

show "$out/shallow.csv"
echo "Beside it: shallow-keys.csv, shallow-ngrams.csv."
