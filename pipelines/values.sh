#!/bin/sh
# What does each value of the model promote, and what does it demote? (Paper: section 4.)
#
# usage: values.sh [--shard I/N | --merge N] MODEL OUT [--products KIND]
#
# Leaves in the folder OUT: values.msgpack, the top and bottom token of every value, which other experiments
# read. A negative coefficient promotes the bottom one. The tools must be in PATH.
set -eu

here=$(dirname "$(readlink -f -- "$0")")
. "$here/shard.sh"
[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 out=$2
shift 2
. "$here/products.sh"
[ $# -eq 0 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
mkdir -p "$out"

# shellcheck disable=SC2086 # $shard, $threads and $products are lists of words
case $form in
whole | shard)
    project-values --model "$model" $shard $threads $products --all --tops 1 --bottoms 1 \
        --output "$(made values.msgpack)"
    ;;
merge) on_parts project-values --merge --output "$(made values.msgpack)" ;;
esac
