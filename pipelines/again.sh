# Read by shards.sh and slurm.sh: how a process of its own, perhaps on another machine with the same folders,
# works on the graph of experiments (paper.mk) with the settings of this make, which are in the environment by
# the names in SETTINGS. Sets again, a command for a shell, to which goals and further settings are added, and
# AUTO_PRODUCTS, where products are auto; missing tells which shards there are to run.

# quoted WORD: for a shell
quoted() {
    printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"
}

# Not the options of this make, nor its lock. What OpenBLAS and oneDNN read in the environment, which ssh does
# not pass on, may choose another kernel, and so other bytes.
again="env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u ALONE -u SHARDS"
for variable in $(env | sed -nE 's/^((OPENBLAS|ONEDNN|DNNL)_[A-Z0-9_]+)=.*/\1/p'); do
    eval "value=\$$variable"
    again="$again $(quoted "$variable=$value")"
done
again="$again make --no-print-directory -f $(quoted "$SCRIPTS/paper.mk")"
for setting in $SETTINGS; do
    case $setting in *[!A-Za-z0-9_]* | [0-9]*) continue ;; esac # not in the environment
    eval "value=\$$setting"
    value=$(printf '%s\n' "$value" | sed 's/\$/$$/g') # make takes half of the dollars
    again="$again $(quoted "$setting=$value")"
done

# Decided once, so that machines of unequal speed do not find different answers: their shards are not merged.
case ${PRODUCTS-} in
'' | auto)
    model=$MODEL
    . "$SCRIPTS/products.sh"
    again="$again AUTO_PRODUCTS=$AUTO_PRODUCTS"
    ;;
esac

# current EXPERIMENT: its shards whose sums are there, and are not of something else, each between two spaces
current() {
    shard=0
    while [ $shard -lt "$SHARDS" ]; do
        printf '%s\n' "! $again $1 SHARD=$shard/$SHARDS QUESTION=yes >/dev/null 2>&1 || echo $shard"
        shard=$((shard + 1))
    done | tr '\n' '\0' | xargs -0 -n 1 -P "$(nproc)" sh -c | sed 's/.*/ & /'
}

# missing EXPERIMENT: all others, a line each; where it cannot be asked which are current, none is
missing() {
    found=$(current "$1") shard=0
    while [ $shard -lt "$SHARDS" ]; do
        case $found in
        *" $shard "*) ;;
        *) echo $shard ;;
        esac
        shard=$((shard + 1))
    done
}
