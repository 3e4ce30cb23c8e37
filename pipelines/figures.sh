#!/bin/sh
# Draws the paper's figures 2 to 11, and two of ours ("shallow", "ablation"), from tables.
#
# usage: figures.sh OUT RESULTS...
#
# RESULTS are folders with tables as ffkv(7) lists them, one a model (at most 6), and
# named after it. Each figure whose table is in at least one of them is drawn to OUT,
# as figNN.svg, .pdf and .png, beside the numbers of data/published.csv; one that is there
# though no table is goes away. A share's 95 % interval, the columns SHARE_low and
# SHARE_high, is drawn where the table has it. All tables are checked before anything is
# drawn; a figure appears when it is complete.
#
# gnuplot draws the SVG, and rsvg-convert makes PDF and PNG of it, which are for paper and
# stay light. The SVG has figures.css in it, by which it is dark where the page, or the system, is.
#
# figures.gp and figures/ beside this file say what is drawn; experiments.csv which table
# and which columns a figure needs.
set -eu
export LC_ALL=C.UTF-8

newline='
'

fail() {
    printf 'figures.sh: %s\n' "$*" >&2
    exit 1
}

# check TABLE COLUMNS: writes the table again, with NaN for what is empty (gnuplot can take
# an empty last field for the one above it), or fails. All of COLUMNS are there and are
# numbers, or empty, but for "kind", "reader_kind" and "active". For each there are then also its
# 95 % interval's ends, NaN where the table has none. Adds the largest layer to the file
# $work/depths, and the name of the figure to $work/intervals where there is an interval.
check() {
    [ -f "$1" ] || fail "$1: this is not a file"
    table=$1 columns=$2 depths=$work/depths intervals=$work/intervals figure=${figure-} awk -F, -v OFS=, '
        function fail(why) {
            gsub(/[^ -~]/, "?", why)
            printf "figures.sh: %s: %s\n", ENVIRON["table"], why >"/dev/stderr"
            failed = 1
            exit 1
        }
        # What is not in the table is to be behind its last column, and NaN.
        function find(name) {
            if (name in place) return
            place[name] = ++width
            added = added OFS name
            absent = absent OFS "NaN"
        }
        BEGIN {
            words["kind"] = "first|last|random|top|agreeing"
            words["reader_kind"] = "person|program|mixed|unknown"
            words["active"] = "[|]?-?m[|]? >=? [0-9.e-]+( max [|]?-?m[|]?)?"
        }
        { sub(/\r$/, ""); gsub(/"/, "") } # texts of these columns have no comma
        NR == 1 {
            fields = width = NF
            for (i = 1; i <= NF; i++) place[$i] = i
            wanted = split(ENVIRON["columns"], names, " ")
            for (i = 1; i <= wanted; i++)
                if (!(names[i] in place)) fail("there is no column " names[i])
            for (i = split(ENVIRON["columns"], shares, " "); i >= 1; i--) {
                low = shares[i] "_low"
                high = shares[i] "_high"
                if ((low in place) != (high in place))
                    fail("there is no column " (low in place ? high : low) \
                        " beside " (low in place ? low : high))
                if (low in place) print ENVIRON["figure"] >>ENVIRON["intervals"]
                names[++wanted] = low
                names[++wanted] = high
                find(low)
                find(high)
            }
        }
        NR > 1 {
            if (NF != fields) fail("line " NR " has " NF " fields where the header has " fields)
            for (i = 1; i <= wanted; i++) {
                if (place[names[i]] > fields) continue
                field = $(place[names[i]])
                right = "^-?[0-9]+([.][0-9]*)?(e[-+]?[0-9]+)?$"
                if (names[i] == "layer") right = "^[1-9][0-9]?[0-9]?[0-9]?$"
                if (names[i] in words) right = "^(" words[names[i]] ")$"
                if (field !~ right && !(field == "" && names[i] != "layer" && !(names[i] in words)))
                    fail("line " NR ", column " names[i] ": \"" substr(field, 1, 40) "\" is not " \
                        (names[i] == "active" ? "what composition-stats writes" : \
                        names[i] in words ? "one of " words[names[i]] : "a number that can be there"))
            }
            for (i = 1; i <= NF; i++) if ($i == "") $i = "NaN"
            if ("layer" in place && $(place["layer"]) + 0 > depth) depth = $(place["layer"]) + 0
        }
        { print $0 (NR == 1 ? added : absent) }
        END {
            if (!failed && NR < 2) fail("there are no rows")
            print depth + 0 >>ENVIRON["depths"]
        }' <"$1"
}

[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
[ $# -le 7 ] || { echo "figures.sh: at most 6 models can be told apart in one figure" >&2; exit 2; }
command -v gnuplot >/dev/null || fail "gnuplot is needed: install it (Debian: apt-get install gnuplot-nox)"
command -v rsvg-convert >/dev/null ||
    fail "rsvg-convert is needed: install it (Debian: apt-get install librsvg2-bin)"
here=$(dirname "$(readlink -f -- "$0")")
figures=$("$here/listed.sh" "figure result panels columns")
figures=$(echo "$figures" | sort)
out=$1
shift
mkdir -p -- "$out"
out=$(cd -- "$out" && pwd)
work=$(mktemp -d "$out/.part-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# $work/M/FIGURE.csv: the figure's table of the M-th model, checked.
: >"$work/intervals"
check "$here/../data/published.csv" "from_layer to_layer value low high" >"$work/published.csv"
count=0 depths=
for results; do
    [ -d "$results" ] || fail "$results: there is no such folder"
    count=$((count + 1))
    mkdir "$work/$count"
    echo 1 >"$work/depths"
    echo "$figures" | while read -r figure table panels columns; do
        # awk may end by a signal on a full disk.
        [ ! -e "$results/$table" ] || check "$results/$table" "$columns" >"$work/$count/$figure.csv" || exit 1
    done
    sorted=$(sort -rn "$work/depths")
    depths="$depths ${sorted%%"$newline"*}"
    # The name goes behind those of the models before it, the folder from the front.
    name=$(cd -- "$results" && pwd)
    name=$(basename -- "$name")
    name=$(printf '%s\n' "$name" | tr -d '[:cntrl:]')
    set -- "$@" "$name"
    shift
done

# draw FIGURE PANELS MODELS NAMES...: FIGURE.svg in $work; MODELS are numbers, NAMES those of all models.
# gnuplot does not tell of what it could not write, so it writes to a pipe, and awk tells.
draw() (
    cd "$work"
    picture=$1.svg intervals=0
    grep -qx "$1" intervals && intervals=1 || [ $? -eq 1 ] || exit
    settings="figure = '$1'; panels = '$2'; models = '$3'; depths = '$depths'; intervals = $intervals"
    shift 3
    status=$({
        {
            gnuplot -d -e "$settings" -c "$here/figures.gp" "$here" "$@" 4>&-
            echo $? >&4
        } | add_style >"$picture"
    } 4>&1) && [ "$status" = 0 ]
)

# add_style: the SVG picture that comes in, with figures.css, and with colours written as there, whatever
# gnuplot's version writes: rgb(  0, 114, 178) is #0072b2.
add_style() {
    awk -v style="$here/figures.css" '
        /^<defs>/ && !seen++ {
            print "<style>"
            while ((got = (getline line <style)) > 0) print line
            if (got < 0) exit 1
            print "</style>"
        }
        {
            while (match($0, /(color|stroke|fill) ?= ?.rgb\( *[0-9]+, *[0-9]+, *[0-9]+\)/)) {
                found = substr($0, RSTART, RLENGTH)
                start = index(found, "rgb(")
                split(substr(found, start + 4), part, ",")
                $0 = substr($0, 1, RSTART + start - 2) \
                    sprintf("#%02x%02x%02x", part[1], part[2], part[3]) substr($0, RSTART + RLENGTH)
            }
            print
        }
        END { if (!seen) exit 1 }'
}

# convert FIGURE FORMAT: FIGURE.FORMAT of FIGURE.svg, in $work. A PDF's date is always the same, and PNG has
# twice the pixels, for print.
convert() (
    cd "$work"
    [ "$2" != png ] || set -- "$@" --zoom 2
    picture=$1.$2 drawn=$1.svg
    shift
    SOURCE_DATE_EPOCH=0 rsvg-convert --format "$@" "$drawn" >"$picture"
)

# is_complete PICTURE: it ends as a picture of its kind ends.
is_complete() {
    case $1 in
    *.svg) [ "$(tail -n 2 "$1")" = "</svg>" ] ;; # and an empty line
    *.pdf) [ "$(tail -n 1 "$1")" = "%%EOF" ] ;;
    *.png) [ "$(tail -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 49454e44ae426082 ] ;; # IEND and its checksum
    esac
}

echo "$figures" | while read -r figure table panels columns; do
    models='' model=1
    while [ "$model" -le "$count" ]; do
        [ ! -e "$work/$model/$figure.csv" ] || models="$models $model"
        model=$((model + 1))
    done
    if [ -z "$models" ]; then
        echo "$figure: left out, there is no $table"
        rm -f "$out/$figure.svg" "$out/$figure.pdf" "$out/$figure.png"
        continue
    fi
    draw "$figure" "$panels" "${models# }" "$@" || fail "gnuplot could not draw $figure from $table"
    is_complete "$work/$figure.svg" || fail "gnuplot left $figure.svg incomplete"
    for format in pdf png; do
        convert "$figure" "$format" && is_complete "$work/$figure.$format" ||
            fail "rsvg-convert could not make $figure.$format"
    done
    set -- "$work/$figure.svg" "$work/$figure.pdf" "$work/$figure.png" "$@"
    sync "$1" "$2" "$3" || fail "$figure cannot be written to the disk"
    mv "$1" "$2" "$3" "$out"
    shift 3
done
