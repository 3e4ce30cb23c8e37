# Read by shards.sh and slurm.sh: how a process of its own, perhaps on another machine with the same folders,
# works on the graph of experiments (paper.mk) with the settings of this make, which are in the environment by
# the names in SETTINGS. Sets again, a command for a shell, to which goals and further settings are added.

# quoted WORD: for a shell
quoted() {
    printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"
}

# Not the options of this make, nor its lock.
again="env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u ALONE -u SHARDS"
again="$again make --no-print-directory -f $(quoted "$SCRIPTS/paper.mk")"
for setting in $SETTINGS; do
    case $setting in *[!A-Za-z0-9_]* | [0-9]*) continue ;; esac # not in the environment
    eval "value=\$$setting"
    value=$(printf '%s\n' "$value" | sed 's/\$/$$/g') # make takes half of the dollars
    again="$again $(quoted "$setting=$value")"
done
