#!/bin/sh
# How often does the prediction change when memories of one layer are removed?
#
# usage: ablation.sh [--shard I/N | --merge N] MODEL TEXT OUT [--products KIND] [--prefixes N | --all]
#            [--removed LIST] [--every N] [options of tokenize]
#
# Takes one random prefix of each of N random sentences (4000), or with --all every prefix of
# every sentence. At each of them, in one layer after the other, K active memories are removed:
# those that contribute most to the layer's output (top), those that contribute most of the ones
# whose value's top token is the model's prediction (agreeing), and random ones (random); K is each
# number of LIST (1,10). With --every N only each N-th layer is asked, counted back from the last one.
# Leaves in the folder OUT: values.msgpack (made by values.sh if it is not there), ablation.csv;
# intervention-stats(1) has its columns, behind layer, kind and removed. A shard makes every Nth row,
# each of which is a run of the model. The tools must be in PATH.
set -eu

here=$(dirname "$(readlink -f -- "$0")")
. "$here/shard.sh"
[ $# -ge 3 ] || { sed -n '/^# usage/,/^#$/s/^# //p' "$0" >&2; exit 2; }
model=$1 text=$2 out=$3
shift 3
. "$here/products.sh"
. "$here/prefixes.sh"
. "$here/show.sh"
removed=1,10 every=1
case ${1-} in --removed) removed=$2; shift 2 ;; esac
case ${1-} in --every) every=$2; shift 2 ;; esac
mkdir -p "$out"

fail() {
    echo "ablation.sh: $*" >&2
    exit 1
}

work=$(mktemp -d "$out/.part-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# A prefix' memories are removed at its end; where every prefix counts, at every position.
at=last
[ "$positions" = random ] || at=all

# shellcheck disable=SC2086 # $products is a list of words
[ -f "$out/values.msgpack" ] || "$here/values.sh" "$model" "$out" $products
layers=$(stream-cat --header "$out/values.msgpack" | sed 's/.*"layers":\([0-9]*\).*/\1/')

# shellcheck disable=SC2086 # $threads and $products are lists of words
dump() {
    forward-dump --model "$model" $threads $products --emit resid,ffn --layers "$layers" \
        --positions "$positions" "$@" "$work/tokens"
}

# The plain model's activations.
prepare() {
    # shellcheck disable=SC2086 # $sample is a list of words
    tokenize --model "$model" $sample "$@" --output "$work/tokens" "$text"
    dump --output "$work/plain"
}

# The rows of the table, by what is in front: layer, kind and count.
rows() {
    layer=$(((layers - 1) % every + 1))
    while [ "$layer" -le "$layers" ]; do
        for kind in top agreeing random; do
            for count in $(printf %s "$removed" | tr , ' '); do
                echo "$layer $kind $count"
            done
        done
        layer=$((layer + every))
    done
}

# changes FIRST STEP: the table, of every STEPth row from the FIRSTth on, from 0
changes() {
    rows | awk -v first="$1" -v step="$2" '(NR - 1) % step == first' | while read -r layer kind count; do
        values=
        [ "$kind" = agreeing ] && values=--values="$out/values.msgpack"
        # shellcheck disable=SC2086 # $threads and $products are lists of words
        dump --remove "$layer:$kind=$count" --edit-at $at ${values:+"$values"} |
            intervention-stats --model "$model" $threads $products --edited - --output "$work/row" "$work/plain"
        [ -f "$work/headed" ] || sed -n '1s/^/layer,kind,removed,/p' "$work/row"
        : >"$work/headed"
        sed -n "2s/^/$layer,$kind,$count,/p" "$work/row"
    done
}

# What the rows of a shard are of, two lines in front of them: model, processor and text.
told() {
    stream-cat --header "$work/plain"
    stream-cat "$work/tokens" | tail -n 1
}

# alike FILE...: whether they go together
alike() {
    for file; do
        [ -f "$file" ] || fail "$file is not there"
        [ "$(head -n 2 "$file")" = "$(head -n 2 "$1")" ] ||
            fail "$file is of another model, text or processor than $1"
    done
}

# The table of all shards' rows, in order.
joined() {
    on_parts alike
    sed -n 3p "$(part "0/$shards")"
    row=0
    rows | while read -r layer kind count; do
        file=$(part "$((row % shards))/$shards")
        grep "^$layer,$kind,$count," "$file" || fail "$file lacks the row of layer $layer, $kind $count"
        row=$((row + 1))
    done
}

case $form in
whole) prepare "$@"; changes 0 1 >"$work/table" ;;
shard) prepare "$@"; { told; changes "${index%/*}" "${index#*/}"; } >"$work/table" ;;
merge) joined >"$work/table" ;;
esac
mv "$work/table" "$(made ablation.csv)"
[ $form = shard ] || show "$out/ablation.csv"
