#!/bin/sh
# Submits experiments to Slurm: an array of shards for each that is divided, and a job behind them that merges
# them; what reads their results is behind that in the same way. The last job does what is not divided.
#
# usage: slurm.sh GOAL...
#
# paper.mk calls it ('make slurm'), with SHARDS and its settings in the environment. GOAL is what the last job
# makes: all, or experiments, figures, report. Submitting again computes only what is missing.
#
#   THREADS  processors of each job (1)
#   RATE     10^9 operations a second of one of them (measured here, by model-info)
#   TRIES    how often a shard may fail (3); it is requeued
#   SBATCH   further options of sbatch, such as --partition=long --account=mine; they come last, so
#            --mem and --time here replace those that are computed
#
# The jobs of OUT are listed in OUT/slurm/jobs, and their logs are beside it.
set -eu

fail() {
    echo "slurm.sh: $*" >&2
    exit 1
}

[ $# -ge 1 ] || { sed -n 's/^# usage/usage/p' "$0" >&2; exit 2; }
command -v sbatch >/dev/null || fail "there is no sbatch here: submit on a machine of the cluster"
. "$SCRIPTS/again.sh"
products=$PRODUCTS
[ -n "$products" ] && [ "$products" != auto ] || products=$AUTO_PRODUCTS
threads=${THREADS:-1} tries=${TRIES:-3} logs=$OUT/slurm
mkdir -p "$logs" "$OUT/shards"
[ ! -s "$logs/jobs" ] || [ -z "$(squeue --noheader --jobs "$(paste -sd , "$logs/jobs")" 2>/dev/null)" ] ||
    fail "jobs of $OUT are in the queue ($logs/jobs): wait for their end, or cancel them with" \
        "scancel $(tr '\n' ' ' <"$logs/jobs")"
: >"$logs/jobs"

# ---- what there is to do ----

# is_current GOAL [SHARD=I/N]
is_current() {
    sh -c "$again $* QUESTION=yes" >/dev/null 2>&1
}

# ---- memory and time ----

# number NAME JSON: the first member of this name
number() {
    printf '%s\n' "$2" | sed -n "s/.*\"$1\":\([0-9.e+]*\).*/\1/p"
}

# count TEXT OPTION...: of what tokenize takes of it, sentences and tokens
count() {
    text=$1
    shift
    end=$(tokenize --model "$MODEL" --mode "$MODE" "$@" "$text" | stream-cat | tail -n 1)
    [ -n "$(number tokens "$end")" ] || fail "$text cannot be read"
    echo "$(number sentences "$end") $(number tokens "$end")"
}

# What a shard of an experiment takes by its options' name, or a merge: sets memory, in MB, and minutes. The
# page doc/cluster.md has the arithmetic.
estimate() {
    # shellcheck disable=SC2086,SC2154 # two numbers each
    case $1 in
    limited | removed) set -- "$1" $limited ;;
    sampled) set -- "$1" $sampled ;;
    ablated) set -- "$1" $ablated ;;
    *) set -- "$1" 0 0 ;;
    esac
    cost=$(model-info --json --products "$products" --threads "$threads" --rate "$rate" \
        --tokens "$(($3 > 0 ? $3 : 1))" "$MODEL")
    figures=$(
        kind=$1 sentences=$2 tokens=$3 shards=$SHARDS keys=$KEYS removals=$REMOVALS every=${EVERY:-1} \
        threads=$threads layers=$(number layers "$cost") cells=$(number cells "$cost") \
        all=$([ "$1" = ablated ] && echo "$ABLATED" || echo "$PREFIXES") \
        vocabulary=$(number vocabulary "$cost") files=$(number all_bytes "$cost") \
        forward=$(number forward_dump_bytes "$cost") topk=$(number topk_keys_bytes "$cost") \
        values=$(number project_values_bytes "$cost") forward_s=$(number forward_dump_seconds "$cost") \
        values_s=$(number project_values_seconds "$cost") awk 'BEGIN {
            for (name in ENVIRON) is[name] = ENVIRON[name] + 0
            kind = ENVIRON["kind"]
            keys = is["layers"] * is["cells"]
            found = is["topk"] + keys * 5600 # with counts and paths
            projection = is["values_s"] / keys
            prefixes = ENVIRON["all"] == "all" ? is["tokens"] : is["sentences"]
            runs = 1 # of the model, or of its projection, in one shard
            if (kind == "limited") { seconds = is["forward_s"] / is["shards"]; bytes = is["forward"] + found }
            if (kind == "projected") { seconds = is["values_s"] / is["shards"]; bytes = is["values"] }
            if (kind == "removed") {
                changed = is["layers"] * (is["keys"] ? is["keys"] : is["cells"]) * is["removals"] * 3
                # Prefixes, which are half as long as sentences.
                seconds = is["forward_s"] / is["sentences"] / 2 * changed / is["shards"]
                bytes = is["forward"]
            }
            if (kind == "sampled") {
                seconds = (is["forward_s"] + prefixes * is["layers"] * 3 * projection) / is["shards"]
                bytes = is["forward"] + is["values"] + is["threads"] * 8 * is["layers"] * is["vocabulary"]
            }
            if (kind == "ablated") {
                rows = 3 * int((is["layers"] - 1) / is["every"] + 1)
                runs = 1 + int((rows - 1) / is["shards"] + 1)
                seconds = runs * (is["forward_s"] + prefixes * 2 * projection)
                bytes = is["forward"] + is["values"]
            }
            if (kind ~ /^merge/) {
                last = kind == "merge" # whose job it is to make the report
                seconds = keys * (last * 0.0007 + is["shards"] * 7050 / 3e8)
                bytes = found
            }
            seconds += runs * 2 * is["files"] / 1e8
            printf "%d %d\n", 1.5 * bytes / 1e6 + 32 * is["threads"] + 200, 10 + 3 * seconds / 60
        }')
    memory=${figures% *} minutes=${figures#* }
}

# sample PREFIXES: of VALID, sentences and tokens
sample() {
    if [ "$1" = all ]; then count "$VALID"; else count "$VALID" --sample "$1"; fi
}

limited=$(count "$TEXT" ${SENTENCES:+--limit "$SENTENCES"})
sampled=$(sample "$PREFIXES")
ablated=$(sample "$ABLATED")
rate=${RATE:-0}
[ "$rate" != 0 ] ||
    rate=$(number operations_a_second "$(model-info --json --products "$products" --threads 1 "$MODEL")" |
        awk '{ print $1 / 1e9 }')

# ---- jobs ----

# submit NAME COMMAND OPTION...: prints the job's number
submit() {
    name=$1 command=$2
    shift 2
    # shellcheck disable=SC2086 # SBATCH is a list of words
    id=$(sbatch --parsable --job-name="$name" --requeue --open-mode=append --cpus-per-task="$threads" \
        --mem="${memory}M" --time="$minutes" "$@" ${SBATCH-} --wrap "$command") || exit
    echo "${id%%;*}" | tee -a "$logs/jobs"
}

# Where a command has failed, the job goes back to the queue, to another machine perhaps. Slurm ends what is
# left of it then; its own exit would be taken for that of the next try.
retried() {
    printf '%s\n' "$1 || { [ \"\${SLURM_RESTART_COUNT:-0}\" -ge $((tries - 1)) ] ||" \
        "{ scontrol requeue $2; sleep 60; }; exit 1; }"
}

behind=''
# merge NAME GOAL...: behind the arrays that were submitted since the last one
merge() {
    name=$1
    shift
    estimate "$name"
    behind=$(submit "$name" "$again $* SHARDS=$SHARDS THREADS=$threads" --output="$logs/$name.log" \
        ${behind:+"--dependency=afterok:$behind" --kill-on-invalid-dep=yes})
    echo "$name: job $behind, $memory MB, $minutes minutes: $*"
}

# divide EXPERIMENT SHARDS: its array, behind the last merge
divide() {
    options=$("$SCRIPTS/listed.sh" options "$1")
    estimate "${options:-projected}"
    # shellcheck disable=SC2016 # for the job to expand
    array=$(submit "$1" "$(retried "$again $1 SHARD=\$SLURM_ARRAY_TASK_ID/$SHARDS THREADS=$threads" \
        '"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"')" --array="$2" --output="$logs/$1.%a.log" \
        ${behind:+"--dependency=afterok:$behind" --kill-on-invalid-dep=yes})
    arrays=${arrays:+$arrays:}$array
    echo "$1: job $array, shards $2 of $SHARDS, each with $threads processors, $memory MB, $minutes minutes"
}

# with_needs GOAL...: and what they need
with_needs() {
    for goal; do
        while [ -n "$goal" ]; do
            echo "$goal"
            goal=$("$SCRIPTS/listed.sh" needs "$goal")
        done
    done
}

# Divided experiments that are to be made, a line each: EXPERIMENT ROUND. What needs none of the others is in
# round 1, what reads their results in the round behind theirs.
plan() {
    planned=' '
    for experiment in $("$SCRIPTS/listed.sh" experiment); do
        case " $("$SCRIPTS/listed.sh" scripts "$experiment") " in *" shard.sh "*) ;; *) continue ;; esac
        case $wanted in *" all "* | *" figures "* | *" report "* | *" $experiment "*) ;; *) continue ;; esac
        needs=$("$SCRIPTS/listed.sh" needs "$experiment")
        case $planned in
        *" $needs 1 "*) round=2 ;;
        *" $needs 2 "*) round=3 ;;
        *) ! is_current "$experiment" || continue; round=1 ;;
        esac
        planned="$planned$experiment $round "
        echo "$experiment $round"
    done
}

wanted=" $(with_needs "$@" | paste -sd ' ') "
plan=$(plan) last=''
for round in 1 2 3; do
    now=$(printf '%s\n' "$plan" | sed -n "s/ $round\$//p" | paste -sd ' ')
    [ -n "$now" ] || break
    # shellcheck disable=SC2086 # a list of words
    [ -z "$last" ] || merge "merge-$((round - 1))" $last
    arrays=''
    for experiment in $now; do
        # What reads what is made anew lacks all shards.
        shards=0-$((SHARDS - 1))
        [ $round -ne 1 ] || shards=$(missing "$experiment" | paste -sd ,)
        [ -z "$shards" ] || divide "$experiment" "$shards"
    done
    behind=${arrays:-$behind} last=$now
done
merge merge "$@"
echo "Logs are in $logs. If a shard fails $tries times, run the same again: what is done is not done again."
