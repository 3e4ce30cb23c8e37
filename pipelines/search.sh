#!/bin/sh
# Which prefixes trigger each key most? (Paper: section 3.1.)
#
# usage: search.sh [--shard I/N | --merge N] MODEL TEXT OUT [--products KIND] [options of tokenize]
#
# Leaves in the folder OUT: search.msgpack, 50 triggers a key, with the next tokens of their sentences, the
# coefficients along their prefixes and how often which occur, in gated layers also how often which signs of
# gate and input do. triggers.sh adds what the keys' values promote. The tools must be in PATH. A stage that
# fails leaves no trailer, so the stages behind it fail as well: the status of the last one is that of the
# pipeline.
set -eu

here=$(dirname "$(readlink -f -- "$0")")
. "$here/shard.sh"
[ $# -ge 3 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3
shift 3
. "$here/products.sh"
mkdir -p "$out"

# Of layers without gates signs are wrong usage, which is told before anything is read.
emit=max,counts status=0
forward-dump --model "$model" --emit signs </dev/null >/dev/null 2>&1 || status=$?
[ $status -eq 2 ] || emit=$emit,signs

# shellcheck disable=SC2086 # $shard, $threads and $products are lists of words
case $form in
whole | shard)
    tokenize --model "$model" $shard "$@" "$text" |
        forward-dump --model "$model" $threads $products --emit "$emit" --paths 50 |
        topk-keys --top 50 --following 10 --output "$(made search.msgpack)"
    ;;
merge) on_parts topk-keys --merge --output "$(made search.msgpack)" ;;
esac
