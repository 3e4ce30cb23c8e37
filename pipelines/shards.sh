#!/bin/sh
# Makes the results of an experiment in shards: runs each of them as a step of its own, with GNU parallel, and
# merges what they leave in OUT/shards.
#
# usage: shards.sh SCRIPT WORD...
#
# paper.mk calls it, with EXPERIMENT, SHARDS and its settings in the environment, and SCRIPT WORD..., which
# would do the experiment in one run. Shards whose sums are there are not run again. One that fails is tried
# TRIES times (3), with --sshlogin on other machines first; the others go on to their end, and a message names
# its log, OUT/shards/EXPERIMENT.I-of-N.log.
#
# As many shards run at a time as there are processors, each of their tools with THREADS threads (1), unless
# the variable PARALLEL has other options of GNU parallel: --jobs, or --sshlogin for machines that have
# the same folders by the same names.
set -eu

fail() {
    echo "shards.sh: $EXPERIMENT: $*" >&2
    exit 1
}

[ $# -ge 1 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
. "$SCRIPTS/again.sh"
trap 'exit 1' HUP INT TERM
tries=${TRIES:-3}
mkdir -p "$OUT/shards"

# Each with its log, on which shards of an interrupted run may be at work yet.
commands() {
    for shard in $1; do
        log=$(quoted "$OUT/shards/$EXPERIMENT.$shard-of-$SHARDS.log")
        printf '%s\n' "$again $EXPERIMENT SHARD=$shard/$SHARDS THREADS=${THREADS:-1} >>$log 2>&1 && rm $log"
    done
}

shards=$(missing "$EXPERIMENT")
# What is there of them goes, so that it cannot be merged.
for shard in $shards; do rm -f "$OUT/shards/$EXPERIMENT.$shard-of-$SHARDS"; done
if [ -n "$shards" ]; then
    command -v parallel >/dev/null ||
        fail "there is no GNU parallel: install it (setup.sh does), or leave SHARDS out"
    rm -f "$OUT/shards/$EXPERIMENT".*.log
    commands "$shards" | PARALLEL_SHELL=/bin/sh parallel --workdir . --retries "$tries" || {
        failed=
        for log in "$OUT/shards/$EXPERIMENT".*.log; do
            [ ! -s "$log" ] || failed="$failed; $log: $(grep -v '^make' "$log" | tail -n 1)"
        done
        fail "a shard failed $tries times, and the others are kept for the next run$failed"
    }
fi

script=$1
shift
"$script" --merge "$SHARDS" "$@"
