# Read by scripts of experiments, whose words it takes --products KIND from. Sets products, an option of the
# tools that multiply with a model's matrices. Without these words it is what AUTO_PRODUCTS says, which is
# what auto is where shards.sh or slurm.sh began (again.sh), or nothing, which leaves it to the tools.
products=${AUTO_PRODUCTS:+--products $AUTO_PRODUCTS}
case ${1-} in --products) products="--products $2"; shift 2 ;; esac
