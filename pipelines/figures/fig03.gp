# How a coefficient changes when one token of the prefix is removed: quartiles, median, and mean, which
# can lie outside the quartiles, a panel a model. Published in words only: the last token matters most,
# the first least.
array kinds[3] = ["first", "last", "random"]
x(layer, i, side) = edge(layer - 0.5 + 0.28 * (i - 2) + 0.12 * side, depth(m))

set multiplot layout panels, 1 \
    title "Figure 3: removing one token of a trigger example: the first, the last, or a random one"
set ylabel "change of the coefficient (%)"
eval free_axis
do for [m in models] {
    # The rows of each kind by themselves, so that lines join layers.
    set datafile columnheaders
    do for [i = 1:3] {
        set table kinds[i] separator comma
        plot table(m) \
            using (strcol("layer")):(strcol("mean")):(strcol("p25")):(strcol("p50")):(strcol("p75")) \
            with table if (strcol("kind") eq kinds[i])
        unset table
    }
    unset datafile columnheaders
    set title name(m)
    plot for [i = 1:3] kinds[i] using (x($1, i, 0)):(between($3, $5)):(x($1, i, -1)):(x($1, i, 1)):3:5 \
            with boxxyerror lc rgb colour(i) fs transparent solid 0.35 noborder \
            title kinds[i].": quartiles", \
        for [i = 1:3] kinds[i] using (x($1, i, 0)):4 \
            with linespoints lc rgb colour(i) pt full(i) dt i lw 1.5 title kinds[i].": median", \
        for [i = 1:3] kinds[i] using (x($1, i, 0)):2 \
            with points lc rgb colour(i) pt 2 ps 1 lw 2 title kinds[i].": mean", \
        @zero
}
unset multiplot
