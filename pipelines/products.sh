# Read by scripts of experiments, whose words it takes --products KIND from, and by again.sh. Sets
# products, an option of the tools that multiply with the matrices of $model. Without these words it
# is what AUTO_PRODUCTS says, or what auto is here, which is asked once: each tool would try for
# itself, and streams of different products are not compared or merged.

# What auto is for the model on this machine.
auto_products() {
    told=$(model-info --json --rate 1 "$model") || return
    kind=$(printf '%s\n' "$told" | sed -n 's/.*"products":"\([a-z0-9]*\)".*/\1/p') || return
    [ -n "$kind" ] || { echo "products.sh: model-info does not say how $model is multiplied" >&2; return 1; }
    printf '%s\n' "$kind"
}

case ${1-} in
--products) products="--products $2"; shift 2 ;;
*)
    [ -n "${AUTO_PRODUCTS-}" ] || AUTO_PRODUCTS=$(auto_products)
    export AUTO_PRODUCTS
    products="--products $AUTO_PRODUCTS"
    ;;
esac
