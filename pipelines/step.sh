#!/bin/sh
# Runs one step of the graph of experiments (paper.mk), unless its results are there and are
# what it would make.
#
# usage: step.sh NAME FILE... [--maybe FILE...] --results RESULT... [--through PROGRAM] -- COMMAND...
#        step.sh NAME FILE... [--maybe FILE...] --results RESULT... --question -- COMMAND...
#        step.sh NAME --undo
#
# A step is made of its command and of what the files say that the command reads: of a
# directory, the files in it but those that begin with a point or end in .md; of the first
# part of a split model, NAME-00001-of-00003.gguf, all parts. The files
# behind --maybe need not be there. RESULT are files and directories in OUT. When the
# command has succeeded, OUT/.made/NAME.step has the hashes of all, and as long as each of
# them is what it was, the step is not run again. Times are not looked at; but a file with
# the same device, inode, size and both times as in any record there has the hash that it had
# then, so that large files are not read each time.
#
# --through is how the command runs, as PROGRAM COMMAND..., which the results do not depend on, so
# that it is not part of what the step is made of. --question runs nothing: the status is 0 where
# the results are what they should be, else 1.
#
# --undo takes away the results of a step that no longer belongs to the graph, those that
# nobody has changed.
#
# OUT, MODEL, TEXT, VALID, BIN and SCRIPTS are in the environment; these paths are not
# part of what a step is made of, so that files and folders can be moved.
set -eu

newline='
'
tab=$(printf '\t')

fail() {
    echo "step.sh: $*" >&2
    exit 1
}

# The first part of a split model stands for all, a line each; other files for themselves.
parts() {
    case $1 in
    *-00001-of-[0-9][0-9][0-9][0-9][0-9].gguf)
        printf '%s\n' "${1%-00001-of-*}"-[0-9][0-9][0-9][0-9][0-9]-of-"${1##*-of-}" ;;
    *) printf '%s\n' "$1" ;;
    esac
}

# ---- the arguments: lists of files, a line each; the command stays in "$@" ----

[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
name=$1 made=$OUT/.made
record=$made/$name.step
inputs='' results='' kind=needed through='' question=''
shift

while [ $# -gt 0 ] && [ "$1" != -- ] && [ "$1" != --undo ]; do
    case $kind$1 in
    *--maybe) kind=maybe ;;
    *--results) kind=result ;;
    *--through) through=$2; shift ;;
    *--question) question=yes ;;
    needed-*) inputs="$inputs./$1$newline" ;;
    needed*) [ -e "$1" ] || fail "$1 is not there, and $name is made of it"
        inputs="$inputs$(parts "$1")$newline" ;;
    maybe*) [ ! -e "$1" ] || inputs="$inputs$1$newline" ;;
    result*) results="$results$1$newline" ;;
    esac
    shift
done

mkdir -p -- "$OUT/.made" # a shard that is run by hand may be the first thing there

# ---- what is there ----

# Lines: ?in or ?out, depth, identity, time of the last change, argument of find, path below it.
find_files() (
    IFS=$newline
    set -f
    identity='%D:%i:%s:%T@\t%C@\t%H\t%P\n'
    # shellcheck disable=SC2086 # lists of lines
    [ -z "$inputs" ] || find -L $inputs -maxdepth 1 -type f -printf "?in\t%d\t$identity"
    cd "$OUT"
    # shellcheck disable=SC2086
    [ -z "$results" ] || find -L $results -type f -printf "?out\t%d\t$identity" 2>/dev/null || true
)

# Reads records and lines of find_files; writes in order: kind, name, hash or ?, identity,
# time of the last change, sure, path. Of the command, with no more than kind and name, the words.
match() {
    words=$(printf '%s\n' "$@") LC_ALL=C awk '
        # A path by its role: the same for another folder with the same files.
        function role(path,    i) {
            if (path ~ /\//)
                for (i = 1; i <= roles; i++) {
                    value = ENVIRON[variable[i]]
                    if (value != "" && (path == value || index(path, value "/") == 1))
                        return "$" variable[i] substr(path, length(value) + 1)
                }
            value = ENVIRON["MODEL"]
            if (sub(/-00001-of-[0-9]+[.]gguf$/, "", value) && index(path, value "-") == 1)
                return "$MODEL" substr(path, length(value) + 1)
            return path
        }
        BEGIN {
            FS = OFS = "\t"
            roles = split("TEXT VALID BIN SCRIPTS OUT MODEL", variable, " ")
            count = split(ENVIRON["words"], word, "\n")
            for (i = 1; i <= count; i++) printf "%03d\t%s\n", i, role(word[i])
        }
        $1 == "in" || $1 == "out" { if ($6 == "sure") hash[$4, $5] = $3 }
        $1 !~ /^[?]/ || $6 ~ /(^|\/)[.]/ || ($1 == "?in" && $6 ~ /[.]md$/) { next }
        {
            path = $6 == "" ? $5 : $5 "/" $6
            known = ($3, $4) in hash
            print substr($1, 2), $1 == "?in" ? role(path) : path, known ? hash[$3, $4] : "?", $3, $4, \
                known ? "sure" : "?", $1 == "?in" ? path : ENVIRON["OUT"] "/" path
        }' | LC_ALL=C sort -u
}

# The same with hashes of all. One is sure when the file had not changed for some seconds:
# else a further change could leave it with the same times.
hash() {
    unknown=$(printf '%s\n' "$1" | awk -F '\t' '$3 == "?" { print $7 }')
    if [ -z "$unknown" ]; then
        printf '%s\n' "$1"
        return
    fi
    now=$(date +%s)
    hashes=$(printf '%s\n' "$unknown" | tr '\n' '\0' | xargs -0 b2sum --length 256 --zero -- | tr '\0' '\n')
    printf '%s\n' "$hashes" "=" "$1" | now=$now LC_ALL=C awk '
        BEGIN { FS = OFS = "\t" }
        $0 == "=" { lines = 1; next }
        !lines { hash[substr($0, 67)] = substr($0, 1, 64); next }
        $3 == "?" {
            if (!($7 in hash)) exit 1
            $3 = hash[$7]
            $6 = $5 + 2 < ENVIRON["now"] ? "sure" : "fresh"
        }
        { print }' || fail "$name: a file that it is made of cannot be read"
}

# look WORDS: what is there now, of inputs and results. $seen is what this run has hashed already.
seen=
look() {
    found=$({ cat "$made"/*.step 2>/dev/null || true; printf '%s\n' "$seen"; find_files; } | match "$@")
    seen=$(hash "$found")
}

# Whether the record has the same, but for what does not tell of contents. One program compares, so that
# none that fails can make both sides empty.
is_current() {
    printf '%s\n' "$seen" | LC_ALL=C awk '
        BEGIN { FS = "\t" }
        { line = $1 FS $2 FS $3 }
        NR == FNR { now[NR] = line; lines = NR; next }
        !/^ran/ && line != now[++recorded] { differs = 1; exit }
        END { exit differs || recorded != lines }' - "$record"
}

# What of the inputs has another content, or was written to, which may have had another
# meanwhile: its path, or nothing.
changed() {
    printf '%s\n' "$1" = "$2" | LC_ALL=C awk '
        BEGIN { FS = "\t" }
        $0 == "=" { now = 1; next }
        $1 != "in" { next }
        !now { before[$2] = $3 $4; path[$2] = $7; next }
        { if (before[$2] != $3 $4) { print $7; exit }
          delete path[$2] }
        END { for (each in path) { print path[each]; exit } }' | head -n 1
}

# ---- the record ----

# write_record STATE COMMAND...
write_record() {
    state=$1
    shift 2 # the script or tool is in STATE
    ran=
    for word; do
        [ "$word" = "$OUT" ] || ran="$ran $word"
    done
    lines="$state${newline}ran$tab${ran# }"
    ! printf '%s\n' "$lines" | cmp -s - "$record" || return 0
    new=$(mktemp "$made/$name.part-XXXXXX")
    printf '%s\n' "$lines" 2>/dev/null >"$new" || fail "$record cannot be written"
    printf '%s\n' "$lines" | cmp -s - "$new" || fail "$record cannot be written"
    mv "$new" "$record"
}

if [ "${1-}" = --undo ]; then
    [ -f "$record" ] || exit 0
    results=$(awk -F '\t' '$1 == "out" { print $2 "\t" $3 }' "$record")
    printf '%s\n' "$results" | while IFS=$tab read -r label hash; do
        [ -f "$OUT/$label" ] || continue
        now=$(b2sum --length 256 <"$OUT/$label")
        [ "${now%% *}" != "$hash" ] || rm -f "$OUT/$label"
    done
    rm -f "$record"
    exit
fi
shift # --

look "$@"
if [ -f "$record" ] && is_current; then
    write_record "$seen" "$@"
    exit
fi
[ -z "$question" ] || exit 1

before=$seen
printf '%s\n' "$*"
${through:+"$through"} "$@"
look "$@"
path=$(changed "$before" "$seen")
[ -z "$path" ] || fail "$path changed while it was read; run again"
printf '%s' "$results" | while IFS= read -r result; do
    [ -e "$OUT/$result" ] || fail "$OUT/$result is not there, though the command that makes it succeeded"
done
write_record "$seen" "$@"
