#!/bin/sh
# What the experiments in a folder were run with: OUT/options.csv, from the records of the
# steps whose results are there (step.sh). Does nothing when the table says so already.
#
# usage: options.sh OUT
set -eu

[ $# -eq 1 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
out=$1
steps=$("$(dirname -- "$0")/listed.sh" experiment)

row() {
    LC_ALL=C step=$1 awk '
        sub(/^ran\t/, "") {
            gsub(/"/, "\"\"")
            if (/^\047*[-=+@]/) $0 = "\047" $0 # by the rule of ffkv(7)
            print ENVIRON["step"] ",\"" $0 "\""
        }' "$out/.made/$1.step"
}

table=$(
    echo experiments,options
    for step in $steps; do
        [ ! -f "$out/.made/$step.step" ] || row "$step"
    done
)
! printf '%s\n' "$table" | cmp -s - "$out/options.csv" || exit 0

fail() {
    echo "options.sh: $out/options.csv cannot be written" >&2
    exit 1
}

work=$(mktemp -d "$out/.part-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
printf '%s\n' "$table" 2>/dev/null >"$work/options.csv" || fail
printf '%s\n' "$table" | cmp -s - "$work/options.csv" || fail
mv "$work/options.csv" "$out/options.csv"
