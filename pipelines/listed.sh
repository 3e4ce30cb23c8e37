#!/bin/sh
# Reads the list of experiments and of what they make, experiments.csv beside this file.
#
# usage: listed.sh COLUMNS [EXPERIMENT]
#
# Writes what each row, or each of EXPERIMENT's, has in COLUMNS, fields with a space between,
# a line once; rows that have nothing in the first of COLUMNS are left out. The texts for
# people, title and caption, may have commas and are not read.
set -eu

[ $# -eq 1 ] || [ $# -eq 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
list=$(dirname -- "$0")/experiments.csv
list=$list columns=$1 experiment=${2-} LC_ALL=C awk -F, '
    function fail(why) {
        print "listed.sh: " ENVIRON["list"] ": " why >"/dev/stderr"
        exit 1
    }
    NR == 1 {
        for (i = 1; i <= NF; i++) column[$i] = i
        wanted = split(ENVIRON["columns"], name, " ")
        for (i = 1; i <= wanted; i++)
            if (!(name[i] in column) || name[i] ~ /^(title|caption)$/)
                fail("there is no column " name[i] " to read")
        next
    }
    ENVIRON["experiment"] != "" && $column["experiment"] != ENVIRON["experiment"] { next }
    {
        line = $column[name[1]]
        if (line == "") next
        for (i = 2; i <= wanted; i++) line = line " " $column[name[i]]
        if (!seen[line]++) print line
    }' <"$list"
