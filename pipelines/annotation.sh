#!/bin/sh
# Which patterns do keys detect? (Paper: section 3.2, figure 2, table 1.) People find out.
#
# usage: annotation.sh MODEL OUT [CSV...]
#
# OUT is a folder that triggers.sh has left triggers.msgpack in. Without CSV files this
# makes OUT/annotation.html, a page for the readers: 10 keys of each layer, 25 triggers a key.
# With the CSV files that readers have downloaded from it: OUT/patterns.csv, OUT/kappa.csv, and
# OUT/annotations.csv, which is all of them in one.
# The tools must be in PATH.
set -eu

[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 out=$2
here=$(dirname "$(readlink -f -- "$0")")
shift 2
. "$here/show.sh"

if [ $# -eq 0 ]; then
    annotation-sheet --model "$model" --output "$out/annotation.html" "$out/triggers.msgpack"
    echo "$out/annotation.html: open it in a browser; what readers download goes to" \
        "annotation.sh $model $out CSV..."
else
    work=$(mktemp -d "$out/annotations.part-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    pattern-stats --triggers "$out/triggers.msgpack" --kappa "$work/kappa.csv" \
        --output "$work/patterns.csv" "$@"
    {
        head -n 1 "$1"
        for file in "$@"; do
            tail -n +2 "$file" | sed -e '$a\' # ends the last line
        done
    } >"$work/annotations.csv"
    # Rows of another file's columns, and what else does not go together, would say something else.
    pattern-stats "$work/annotations.csv" 2>/dev/null | cmp -s - "$work/patterns.csv" || {
        echo "annotation.sh: the files cannot be joined to one:" \
            "give them the same columns in the same order" >&2
        exit 1
    }
    sync "$work"/*
    mv "$work/kappa.csv" "$work/patterns.csv" "$work/annotations.csv" "$out"
    show "$out/patterns.csv"
fi
