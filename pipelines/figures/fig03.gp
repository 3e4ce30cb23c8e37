# How a coefficient changes when one token of the prefix is removed: mean and quartiles, a
# panel a model. Published in words only: the last token matters most, the first least.
array kinds[3] = ["first", "last", "random"]

set multiplot layout panels, 1 title "Figure 3: removing one token of a trigger example"
set ylabel "change of the coefficient (%)"
do for [m in models] {
    # The rows of each kind by themselves, so that lines join layers.
    set datafile columnheaders
    do for [i = 1:3] {
        set table kinds[i] separator comma
        plot table(m, "perturbation") \
            using (strcol("layer")):(strcol("mean")):(strcol("p25")):(strcol("p75")) \
            with table if (strcol("kind") eq kinds[i])
        unset table
    }
    unset datafile columnheaders
    set title name(m)
    plot for [i = 1:3] kinds[i] \
            using (edge($1 - 0.5, depth(m))):(between($3, $4)): \
            (edge($1 - 0.9, depth(m))):(edge($1 - 0.1, depth(m))):3:4 \
            with boxxyerror lc rgb colour(i) fs transparent solid 0.2 noborder \
            title kinds[i]." token removed: quartiles", \
        for [i = 1:3] kinds[i] using (edge($1 - 0.5, depth(m))):2 \
            with linespoints lc rgb colour(i) pt full(i) dt i lw 2 title kinds[i]." token removed: mean", \
        0 with lines lc rgb "black" lw 0.5 notitle
}
unset multiplot
