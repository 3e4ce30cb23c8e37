#!/bin/sh
# Runs a command while no other make works in a folder of results, after clearing away what
# killed runs left there: temporary files and folders, which all end in .part- and six
# characters.
#
# usage: alone.sh FOLDER COMMAND...
#
# The lock is that of the file FOLDER/.made/lock, which says who has it. It goes with the
# last process that has inherited it, so what a killed make left running still has it.
set -eu

fail() {
    echo "make: $*" >&2
    exit 1
}

[ $# -ge 2 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
folder=$1
shift
mkdir -p -- "$folder/.made"
lock=$folder/.made/lock

exec 9>>"$lock"
# Processes of a run that was interrupted may take a moment to end.
held=0
flock --wait 3 --conflict-exit-code 75 9 || held=$?
case $held in
0) ;;
75) fail "$folder is in use by $(cat "$lock"); wait for its end, or choose another folder with OUT=" ;;
*) fail "$lock cannot be locked; choose a folder on another disk with OUT=" ;;
esac
echo "process $$ and what it started, since $(date '+%Y-%m-%d %H:%M:%S')" >"$lock"

for place in "$folder" "$folder/.made" "$folder/figures"; do
    rm -rf -- "$place"/*.part-?????? "$place"/.part-??????
done
exec "$@"
