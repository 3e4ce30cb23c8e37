#!/bin/sh
# How are layers' outputs composed of their memories? (Paper: section 5.1, figures 7 and 8.)
#
# usage: composition.sh [--shard I/N | --merge N] MODEL TEXT OUT [--products KIND] [--prefixes N | --all]
#                       [options of tokenize]
#
# Takes one random prefix of each of N random sentences (4000, as in the paper), or with
# --all every prefix of every sentence. Leaves in the folder OUT: values.msgpack (made by
# values.sh if it is not there), active.csv, composition.csv. The tools must be in PATH.
set -eu

here=$(dirname "$(readlink -f -- "$0")")
. "$here/shard.sh"
[ $# -ge 3 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3
shift 3
. "$here/products.sh"
. "$here/prefixes.sh"
. "$here/show.sh"
mkdir -p "$out"

# shellcheck disable=SC2086 # $products, $sample, $shard and $threads are lists of words, here and below
[ $form = merge ] || [ -f "$out/values.msgpack" ] || "$here/values.sh" "$model" "$out" $products

# shellcheck disable=SC2086
rows() {
    tokenize --model "$model" $sample $shard "$@" "$text" |
        forward-dump --model "$model" $threads $products --emit coef,ffn --positions "$positions"
}

# tables COMMAND...: what is left in OUT
tables() {
    "$@" --model "$model" --stop-words "$here/../data/stop-words.txt" \
        --active "$out/active.csv" \
        --output "$out/composition.csv"
}

# shellcheck disable=SC2086
case $form in
whole) rows "$@" | tables composition-stats $threads $products --values "$out/values.msgpack" ;;
shard) rows "$@" | composition-stats $threads $products --model "$model" \
    --values "$out/values.msgpack" --sums --output "$(part)"
    exit ;;
merge) on_parts tables composition-stats --merge ;;
esac

show "$out/composition.csv"
echo "Beside it: active.csv."
