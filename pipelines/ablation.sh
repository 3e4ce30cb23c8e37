#!/bin/sh
# How often does the prediction change when memories of one layer are removed?
#
# usage: ablation.sh MODEL TEXT OUT [--prefixes N | --all] [--removed LIST] [--every N] [options of tokenize]
#
# Takes one random prefix of each of N random sentences (4000), or with --all every prefix of
# every sentence. At each of them, in one layer after the other, K active memories are removed:
# those that contribute most to the layer's output (top), those that contribute most of the ones
# whose value's top token is the model's prediction (agreeing), and random ones (random); K is each
# number of LIST (1,10). With --every N only each N-th layer is asked, counted back from the last one.
# Leaves in the folder OUT: values.msgpack (the top and bottom token of every value of the model, made if
# it is not there), ablation.csv; intervention-stats(1) has its columns, behind layer, kind and removed.
# The tools must be in PATH.
set -eu

[ $# -ge 3 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3
here=$(dirname "$(readlink -f -- "$0")")
shift 3
. "$here/prefixes.sh"
. "$here/show.sh"
removed=1,10 every=1
case ${1-} in --removed) removed=$2; shift 2 ;; esac
case ${1-} in --every) every=$2; shift 2 ;; esac
mkdir -p "$out"

work=$(mktemp -d "$out/.part-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# A prefix' memories are removed at its end; where every prefix counts, at every position.
at=last
[ "$positions" = random ] || at=all

# shellcheck disable=SC2086 # $sample is a list of words
tokenize --model "$model" $sample "$@" --output "$work/tokens" "$text"
dump() {
    forward-dump --model "$model" --emit resid,ffn --layers "$layers" --positions "$positions" "$@" \
        "$work/tokens"
}

# A negative coefficient promotes the least probable token.
[ -f "$out/values.msgpack" ] ||
    project-values --model "$model" --all --tops 1 --bottoms 1 --output "$out/values.msgpack"
layers=$(stream-cat --header "$out/values.msgpack" | sed 's/.*"layers":\([0-9]*\).*/\1/')
counts=$(printf %s "$removed" | tr , ' ')
dump --output "$work/plain"
layer=$(((layers - 1) % every + 1))
while [ "$layer" -le "$layers" ]; do
    for kind in top agreeing random; do
        values=
        [ $kind = agreeing ] && values=--values="$out/values.msgpack"
        for count in $counts; do
            dump --remove "$layer:$kind=$count" --edit-at $at ${values:+"$values"} |
                intervention-stats --model "$model" --edited - --output "$work/row" "$work/plain"
            [ -f "$work/table" ] || sed -n '1s/^/layer,kind,removed,/p' "$work/row" >"$work/table"
            sed -n "2s/^/$layer,$kind,$count,/p" "$work/row" >>"$work/table"
        done
    done
    layer=$((layer + every))
done
mv "$work/table" "$out/ablation.csv"
show "$out/ablation.csv"
