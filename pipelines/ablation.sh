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
header=$(stream-cat --header "$out/values.msgpack")
layers=$(printf '%s\n' "$header" | sed 's/.*"layers":\([0-9]*\).*/\1/')
[ "$layers" -ge 1 ] || fail "$out/values.msgpack does not say how many layers there are"
counts=$(printf '%s\n' "$removed" | tr , ' ')

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

# What is removed for each row of the table, LAYER:KIND=COUNT, as --remove has it.
rules=
layer=$(((layers - 1) % every + 1))
while [ "$layer" -le "$layers" ]; do
    for kind in top agreeing random; do
        for count in $counts; do rules="$rules $layer:$kind=$count"; done
    done
    layer=$((layer + every))
done

# The first cells of the row of RULE.
row() {
    printf '%s\n' "$1" | sed 's/[:=]/,/g; s/$/,/'
}

# changes FIRST STEP: the table, of every STEPth row from the FIRSTth on, from 0
changes() {
    number=0
    for rule in $rules; do
        if [ $((number % $2)) -eq "$1" ]; then
            values=
            case $rule in *agreeing*) values=--values="$out/values.msgpack" ;; esac
            # shellcheck disable=SC2086 # $threads and $products are lists of words
            dump --remove "$rule" --edit-at $at ${values:+"$values"} |
                intervention-stats --model "$model" $threads $products --edited - --output "$work/row" \
                    "$work/plain"
            [ "$number" -ne "$1" ] || sed -n '1s/^/layer,kind,removed,/p' "$work/row"
            cells=$(row "$rule")
            sed -n "2s/^/$cells/p" "$work/row"
        fi
        number=$((number + 1))
    done
}

# What the rows of a shard are of, two lines in front of them: model, processor and text.
told() {
    stream-cat --header "$work/plain"
    stream-cat "$work/tokens" >"$work/json"
    tail -n 1 "$work/json"
}

# alike FILE...: whether they go together
alike() {
    for file; do
        [ -f "$file" ] || fail "$file is not there"
        first=$(head -n 2 "$1")
        own=$(head -n 2 "$file")
        [ "$first" = "$own" ] || fail "$file is of another model, text or processor than $1"
    done
}

# The table of all shards' rows, in order.
joined() {
    on_parts alike
    sed -n 3p "$(part "0/$shards")"
    number=0
    for rule in $rules; do
        file=$(part "$((number % shards))/$shards")
        cells=$(row "$rule")
        grep "^$cells" "$file" || fail "$file lacks the row that begins with $cells"
        number=$((number + 1))
    done
}

case $form in
whole) prepare "$@"; changes 0 1 >"$work/table" ;;
shard) prepare "$@"; { told; changes "${index%/*}" "${index#*/}"; } >"$work/table" ;;
merge) joined >"$work/table" ;;
esac
mv "$work/table" "$(made ablation.csv)"
[ $form = shard ] || show "$out/ablation.csv"
