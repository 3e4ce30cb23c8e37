#!/bin/sh
# The results of a model as pages to open in a browser.
#
# usage: report.sh MODEL OUT [options of report-pages]
#
# Takes what the other pipelines left in the folder OUT, of which only triggers.msgpack
# must be there, and pages of trace-prompts that are in OUT/traces, and leaves
# OUT/report/index.html. A report that is there is replaced when the new one is complete. The
# tools must be in PATH.
set -eu

[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
model=$1 out=$2
shift 2
here=$(readlink -f -- "$0")
published=${here%/*}/../data/published.csv

# What there is of the optional tables; options that are given win.
[ ! -e "$published" ] || set -- --published "$published" "$@"
[ ! -e "$out/annotations.csv" ] || set -- --annotations "$out/annotations.csv" "$@"
[ ! -e "$out/shallow-keys.csv" ] || set -- --measures "$out/shallow-keys.csv" "$@"
for page in "$out"/traces/*.html; do
    [ ! -e "$page" ] || set -- --trace "$page" "$@"
done

work=$(mktemp -d "$out/report.part-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
report-pages --model "$model" --tables "$out" --output "$work/new" "$@" "$out/triggers.msgpack"
[ ! -e "$out/report" ] || mv "$out/report" "$work/old"
mv -T "$work/new" "$out/report" # not into one that has appeared
echo "Open $out/report/index.html in a browser."
