# Read by scripts of experiments whose work is divided into shards. Takes from their words, where these come
# first,
#
#   --shard I/N   do the Ith of N parts of the work, from 0, and leave what was found in the file
#                 OUT/shards/NAME.I-of-N, NAME being that of the script
#   --merge N     make the results of these, which are the bytes that one run without shards gives
#
# and sets form: whole, shard or merge; shard, an option of tools; threads, an option of tools, from
# the variable THREADS. The functions take the folder of results from $out.
form=whole shard='' threads=${THREADS:+--threads $THREADS}
case ${1-} in
--shard) form=shard index=$2 shard="--shard $2"; shift 2 ;;
--merge) form=merge shards=$2; shift 2 ;;
esac

# part [I/N]: where what a shard found is, or is to be; by default of this one
part() {
    mkdir -p "$out/shards"
    name=${0##*/} of=${1-$index}
    printf '%s\n' "$out/shards/${name%.sh}.${of%/*}-of-${of#*/}"
}

# made NAME: where this run leaves its result, which is called NAME
made() {
    if [ $form = shard ]; then part; else printf '%s\n' "$out/$1"; fi
}

# on_parts COMMAND...: runs it on what all shards found
on_parts() {
    i=0
    while [ "$i" -lt "$shards" ]; do
        set -- "$@" "$(part "$i/$shards")"
        i=$((i + 1))
    done
    "$@"
}
