# Whose top token the layer's output has: stacked bars, a panel a model. Published in words
# only: residual and agreement cover the vast majority.
parts = "residual agreement ffn composition"
array labels[4] = ["residual's only", "both's (agreement)", "feed-forward layer's only", \
    "neither's (composition)"]
array fills[4] = ["#0072B2", "#56B4E9", "#D55E00", "#F0E442"]

set multiplot layout panels, 1 title "Figure 11: whose top token is that of the layer's output?"
set yrange [0:100]
set ylabel "prefixes (%)"
do for [m in models] {
    set title name(m)
    plot for [i = 1:4] table(m) \
        using (at(m)):(stack(i)):(left(m)):(right(m)):(stack(i - 1)):(stack(i)) \
        with boxxyerror fillcolor rgb fills[i] title labels[i], \
        @part_intervals @explained
}
unset multiplot
