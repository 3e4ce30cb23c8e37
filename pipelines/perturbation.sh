#!/bin/sh
# How much does a key's coefficient change when a token of its triggers' prefixes is
# removed? (Paper: section 3, figure 3.)
#
# usage: perturbation.sh [--shard I/N | --merge N] MODEL OUT [--products KIND] [options of perturb-triggers]
#
# Reads OUT/triggers.msgpack, which triggers.sh leaves there, and leaves beside it
# perturbation.csv: of 100 random keys a layer the 50 best triggers, without their
# first, last, or one random token, unless the options say otherwise. The tools must
# be in PATH. A stage that fails leaves no trailer, so the stages behind it fail as
# well: the status of the last one is that of the pipeline.
set -eu

here=$(dirname "$(readlink -f -- "$0")")
. "$here/shard.sh"
[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 out=$2
shift 2
. "$here/products.sh"
. "$here/show.sh"

# shellcheck disable=SC2086 # $shard, $threads and $products are lists of words
changes() {
    perturb-triggers $shard "$@" "$out/triggers.msgpack" |
        forward-dump --model "$model" $threads $products --emit key ${found:+"--output=$found"}
}

found=
case $form in
whole) changes "$@" | perturbation-stats --output "$out/perturbation.csv" ;;
shard) found=$(part); changes "$@"; exit ;;
merge) on_parts perturbation-stats --output "$out/perturbation.csv" ;;
esac

show "$out/perturbation.csv"
