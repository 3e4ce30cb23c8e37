#!/bin/sh
# Installs the suite, or takes it away again: 'make install' and 'make uninstall' call it.
#
# usage: install.sh TOOL...       the built tools, by their paths
#        install.sh --uninstall
#
# In the environment are PREFIX, DESTDIR (where all goes that will later be in /), and PROGRAM_PREFIX,
# which goes before the names of tools, of their pages, and where pages and pipelines name them.
# Below PREFIX:
#
#   bin/                     tools
#   share/man/               manual pages, whose examples name the files below by their whole paths
#   share/ffkv/pipelines/    scripts of experiments and pictures, their list and graph
#   share/ffkv/data/         the example model and text, stop words, published numbers, annotations
#   share/ffkv/installed     the list of all these, by which they are taken away
set -eu

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

[ $# -ge 1 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
case $PREFIX in
'' | *[[:space:]\"\'\`\$\&\|\;\<\>\(\)\*\?\[\#\\:]*)
    fail "PREFIX is '$PREFIX', but scripts and manual pages have it:" \
        "give a folder without white space and signs" ;;
/*) ;;
*) PREFIX=$PWD/$PREFIX ;;
esac
case $PROGRAM_PREFIX in
*[!A-Za-z0-9_.-]* | -*)
    fail "PROGRAM_PREFIX is '$PROGRAM_PREFIX': give letters, digits, _, . and -, but no - at its beginning" ;;
esac
root=$DESTDIR$PREFIX share=share/ffkv
list=$root/$share/installed

# remove: the files whose names come in, and the folders of share/ffkv that are then empty
remove() {
    while IFS= read -r name; do
        rm -f -- "$root/$name"
    done
    [ ! -d "$root/$share" ] || find "$root/$share" -depth -type d -empty -delete
}

if [ "$1" = --uninstall ]; then
    [ -f "$list" ] ||
        fail "nothing to take away: there is no $list; give PREFIX and DESTDIR as to make install"
    files=$(cat "$list")
    printf '%s\n' "$files" "$share/installed" | remove
    exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd -- "$(dirname -- "$0")"
: >"$work/installed"

# put MODE SOURCE TARGET
put() {
    install -D -m "$1" -- "$2" "$root/$3"
    printf '%s\n' "$3" >>"$work/installed"
}

# Names of tools with the prefix, where they are words. Streams, which have them in quotes, and the
# tools' messages keep their own names.
: >"$work/names.sed"
[ -z "$PROGRAM_PREFIX" ] || for tool; do
    name=${tool##*/}
    outside='[^A-Za-z0-9_."/-]'
    capitals=$(echo "$PROGRAM_PREFIX $name" | tr a-z A-Z)
    printf '%s\n' "/^[.]It \"/!s/(^|$outside)$name($outside|$)/\\1$PROGRAM_PREFIX$name\\2/g"
    printf '%s\n' "s/^[.]Dt ${capitals#* } /.Dt $(echo "$capitals" | tr -d ' ') /"
done >"$work/names.sed"
printf '%s\n' "s#(^|[ =])(data|pipelines)/#\\1$PREFIX/$share/\\2/#g" >"$work/paths.sed"
# shellcheck disable=SC2016 # for the scripts to expand
printf '%s\n' >"$work/scripts.sed" '/^set -eu$/a\
PATH=$PATH:$(dirname -- "$(readlink -f -- "$0")")/../../../bin # where make install puts the tools'

# adapt SOURCE RULES: the file $work/adapted
adapt() {
    sed -E -f "$work/names.sed" -f "$work/$2.sed" -- "$1" >"$work/adapted"
}
: >"$work/none.sed"

for tool; do
    put 755 "$tool" "bin/$PROGRAM_PREFIX${tool##*/}"
done
for page in man/*.[157]; do
    name=${page##*/}
    [ "${name%.1}" = "$name" ] || name=$PROGRAM_PREFIX$name
    adapt "$page" paths
    put 644 "$work/adapted" "share/man/man${name##*.}/$name"
done
for script in pipelines/*.sh; do
    adapt "$script" scripts
    mode=755
    [ -x "$script" ] || mode=644
    put "$mode" "$work/adapted" "$share/$script"
done
for file in pipelines/experiments.csv pipelines/paper.mk; do
    adapt "$file" none
    put 644 "$work/adapted" "$share/$file"
done
for file in pipelines/figures.gp pipelines/figures.css pipelines/figures/*.gp \
    data/brown-lm/* data/annotations/* data/*.txt data/published.csv LICENSE; do
    put 644 "$file" "$share/$file"
done

# What an earlier installation had and this one has not goes.
if [ -f "$list" ]; then
    { grep -vxF -f "$work/installed" -- "$list" || true; } | remove
fi
install -m 644 -- "$work/installed" "$list"
