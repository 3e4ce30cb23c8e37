#!/bin/sh
# Draws the paper's figures 2 to 11, and one of ours ("shallow"), from tables.
#
# usage: figures.sh OUT RESULTS...
#
# RESULTS are folders with tables as ffkv(7) lists them, one a model (at most 6), and
# named after it. Each figure whose table is in at least one of them is drawn to OUT,
# as figNN.svg and figNN.png, beside the numbers of data/published.csv; one that is there
# though no table is goes away. All tables are checked before anything is drawn; a figure
# appears when it is complete.
#
# figures.gp and figures/ beside this file say what is drawn; experiments.csv which table
# and which columns a figure needs.
set -eu
export LC_ALL=C.UTF-8

fail() {
    printf 'figures.sh: %s\n' "$*" >&2
    exit 1
}

# check TABLE COLUMNS: writes the table again, with NaN for what is empty (gnuplot can take
# an empty last field for the one above it), or fails. All of COLUMNS are there and are
# numbers, or empty, but for "kind", "reader_kind" and "active". Adds the largest layer to the file $work/depths.
check() {
    [ -f "$1" ] || fail "$1: this is not a file"
    table=$1 columns=$2 depths=$work/depths awk -F, -v OFS=, '
        function fail(why) {
            gsub(/[^ -~]/, "?", why)
            printf "figures.sh: %s: %s\n", ENVIRON["table"], why >"/dev/stderr"
            failed = 1
            exit 1
        }
        BEGIN {
            words["kind"] = "first|last|random"
            words["reader_kind"] = "person|program|mixed|unknown"
            words["active"] = "[|]?-?m[|]? >=? [0-9.e-]+( max [|]?-?m[|]?)?"
        }
        { sub(/\r$/, ""); gsub(/"/, "") } # texts of these columns have no comma
        NR == 1 {
            fields = NF
            for (i = 1; i <= NF; i++) place[$i] = i
            wanted = split(ENVIRON["columns"], names, " ")
            for (i = 1; i <= wanted; i++)
                if (!(names[i] in place)) fail("there is no column " names[i])
        }
        NR > 1 {
            if (NF != fields) fail("line " NR " has " NF " fields where the header has " fields)
            for (i = 1; i <= wanted; i++) {
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
        { print }
        END {
            if (!failed && NR < 2) fail("there are no rows")
            print depth + 0 >>ENVIRON["depths"]
        }' <"$1"
}

[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
[ $# -le 7 ] || { echo "figures.sh: at most 6 models can be told apart in one figure" >&2; exit 2; }
command -v gnuplot >/dev/null || fail "gnuplot is needed: install it (Debian: apt-get install gnuplot-nox)"
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

# $work/M/: the tables of the M-th model, checked.
check "$here/../data/published.csv" "from_layer to_layer value low high" >"$work/published.csv"
count=0 depths=
for results; do
    [ -d "$results" ] || fail "$results: there is no such folder"
    count=$((count + 1))
    mkdir "$work/$count"
    echo 1 >"$work/depths"
    echo "$figures" | while read -r figure table panels columns; do
        # awk may end by a signal on a full disk.
        [ ! -e "$results/$table" ] || check "$results/$table" "$columns" >"$work/$count/$table" || exit 1
    done
    depths="$depths $(sort -n "$work/depths" | tail -n 1)"
    # The name goes behind those of the models before it, the folder from the front.
    set -- "$@" "$(basename -- "$(cd -- "$results" && pwd)" | tr -d '[:cntrl:]')"
    shift
done

# draw FIGURE FORMAT PANELS MODELS NAMES...: in $work; MODELS are numbers, NAMES those of all models.
# gnuplot does not tell of what it could not write, so it writes to a pipe, and cat tells.
draw() (
    settings="figure = '$1'; format = '$2'; panels = '$3'; models = '$4'; depths = '$depths'"
    picture=$1.$2
    shift 4
    cd "$work"
    status=$({
        {
            gnuplot -d -e "$settings" -c "$here/figures.gp" "$here" "$@" 4>&-
            echo $? >&4
        } | cat >"$picture"
    } 4>&1) && [ "$status" = 0 ]
)

# is_complete PICTURE: it ends as a picture of its kind ends.
is_complete() {
    case $1 in
    *.svg) [ "$(tail -c 8 "$1")" = "</svg>" ] ;;
    *.png) [ "$(tail -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 49454e44ae426082 ] ;; # IEND and its checksum
    esac
}

echo "$figures" | while read -r figure table panels columns; do
    models=
    for model in $(seq "$count"); do
        [ ! -e "$work/$model/$table" ] || models="$models $model"
    done
    if [ -z "$models" ]; then
        echo "$figure: left out, there is no $table"
        rm -f "$out/$figure.svg" "$out/$figure.png"
        continue
    fi
    for format in svg png; do
        draw "$figure" "$format" "$panels" "${models# }" "$@" ||
            fail "gnuplot could not draw $figure from $table"
        is_complete "$work/$figure.$format" || fail "gnuplot left $figure.$format incomplete"
    done
    sync "$work/$figure.svg" "$work/$figure.png" || fail "$figure cannot be written to the disk"
    mv "$work/$figure.svg" "$work/$figure.png" "$out"
done
