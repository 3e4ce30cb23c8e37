#!/bin/sh
# What do the keys' values promote, and how probable is with them what follows the keys' triggers? (Paper: the
# beginning of section 4.)
#
# usage: triggers.sh [--shard I/N | --merge N] MODEL OUT [--products KIND]
#
# Reads OUT/search.msgpack, which search.sh leaves there, and leaves beside it triggers.msgpack, the same with
# projected values, which other experiments read. The tools must be in PATH.
set -eu

here=$(dirname "$(readlink -f -- "$0")")
. "$here/shard.sh"
[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 out=$2
shift 2
. "$here/products.sh"
[ $# -eq 0 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }

# shellcheck disable=SC2086 # $shard, $threads and $products are lists of words
case $form in
whole | shard)
    project-values --model "$model" $shard $threads $products --bottoms 10 \
        --output "$(made triggers.msgpack)" "$out/search.msgpack"
    ;;
merge) on_parts project-values --merge --output "$(made triggers.msgpack)" ;;
esac
