#!/bin/sh
# For users who have WikiText-103 (Merity et al. 2016): wikitext-103.sh FOLDER checks
# that the folder's wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens are the
# published ones, by their counts of tokens (an end-of-line token for each line
# included), and says how to run the experiment on them. Files that are not there are
# passed over; it fails when none is there or a count is wrong.
set -eu

[ $# -eq 1 ] || { echo "usage: wikitext-103.sh FOLDER" >&2; exit 2; }
found=0
for row in train:103227021 valid:217646 test:245569; do
    file=$1/wiki.${row%%:*}.tokens expected=${row##*:}
    [ -f "$file" ] || continue
    found=$((found + 1))
    tokens=$(awk '{ tokens += NF + 1 } END { printf "%d", tokens }' "$file")
    if [ "$tokens" -ne "$expected" ]; then
        echo "wikitext-103.sh: $file has $tokens tokens; the published file has $expected" >&2
        exit 1
    fi
    echo "$file: $tokens tokens, as published. Run: make run MODEL=folder-of-a-model CORPUS=$file"
done
[ "$found" -gt 0 ] || {
    echo "wikitext-103.sh: $1 has no wiki.train.tokens, wiki.valid.tokens or wiki.test.tokens" >&2
    exit 1
}
