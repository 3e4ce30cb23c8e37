#!/bin/sh
# How are predictions refined from layer to layer? (Paper: section 5.2, figures 9, 10 and 11.)
#
# usage: refinement.sh [--shard I/N | --merge N] MODEL TEXT OUT [--products KIND] [--prefixes N | --all]
#                      [options of tokenize]
#
# Takes one random prefix of each of N random sentences (4000, as in the paper), or with
# --all every prefix of every sentence. Leaves in the folder OUT: refinement.csv, cases.csv,
# last-layer.csv (predictions that the last layer changed), settled.csv (from which layer on
# predictions stay), perplexity.csv (the model's own, on the same prefixes). The tools must
# be in PATH.
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

# shellcheck disable=SC2086 # $sample, $shard, $threads and $products are lists of words
rows() {
    tokenize --model "$model" $sample $shard "$@" "$text" |
        forward-dump --model "$model" $threads $products --emit resid,ffn --positions "$positions"
}

# tables COMMAND...: what is left in OUT
tables() {
    "$@" --model "$model" \
        --cases "$out/cases.csv" \
        --last-layer "$out/last-layer.csv" \
        --settled "$out/settled.csv" \
        --perplexity "$out/perplexity.csv" \
        --output "$out/refinement.csv"
}

# shellcheck disable=SC2086
case $form in
whole) rows "$@" | tables refinement-stats $threads $products ;;
shard) rows "$@" | refinement-stats $threads $products --model "$model" --sums --output "$(part)"
    exit ;;
merge) on_parts tables refinement-stats --merge ;;
esac

show "$out/refinement.csv"
show "$out/perplexity.csv"
echo "Beside them: cases.csv, last-layer.csv, settled.csv."
