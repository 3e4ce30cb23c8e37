# How probable the model's final token is by the residual stream. Published as a curve only.
set title "Figure 10: the residual's probability of the model's final token"
set ylabel "probability (%)"
set yrange [0:100]
plot for [m in models] table(m, "refinement") \
        using (at(m)):(between(percent("p25"), percent("p75"))):(left(m)):(right(m)):(percent("p25")):(percent("p75")) \
        with boxxyerror lc rgb colour(m) fs transparent solid 0.25 noborder title name(m).": quartiles", \
    for [m in models] table(m, "refinement") using (at(m)):(percent("probability")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": mean"
