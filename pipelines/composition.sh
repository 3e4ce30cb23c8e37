#!/bin/sh
# How are layers' outputs composed of their memories? (Paper: section 5.1, figures 7 and 8.)
#
# usage: composition.sh MODEL TEXT OUT [--prefixes N | --all] [options of tokenize]
#
# Takes one random prefix of each of N random sentences (4000, as in the paper), or with
# --all every prefix of every sentence. Leaves in the folder OUT: values.msgpack (the top and
# bottom token of every value of the model, made if it is not there), active.csv, composition.csv.
# The tools must be in PATH.
set -eu

[ $# -ge 3 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3
here=$(dirname "$(readlink -f -- "$0")")
shift 3
. "$here/prefixes.sh"
. "$here/show.sh"
mkdir -p "$out"

[ -f "$out/values.msgpack" ] ||
    project-values --model "$model" --all --tops 1 --bottoms 1 --output "$out/values.msgpack"

# shellcheck disable=SC2086 # $sample is a list of words
tokenize --model "$model" $sample "$@" "$text" |
    forward-dump --model "$model" --emit coef,ffn --positions "$positions" |
    composition-stats --model "$model" --values "$out/values.msgpack" \
        --stop-words "$here/../data/stop-words.txt" \
        --active "$out/active.csv" \
        --output "$out/composition.csv"

show "$out/composition.csv"
echo "Beside it: active.csv."
