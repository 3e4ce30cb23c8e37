# How probable the model's final token is by the residual stream: mean, which can lie outside the
# quartiles, median and quartiles. Published as a curve only.
set title heading("Figure 10: the residual's probability of the model's final token")
set ylabel "probability (%)"
eval whole_axis
plot for [m in models] table(m) \
        using (at(m)):(between(percent("p25"), percent("p75"))):(left(m)):(right(m)): \
        (percent("p25")):(percent("p75")) \
        with boxxyerror lc rgb colour(m) fs transparent solid 0.35 noborder title name(m).": quartiles", \
    for [m in models] table(m) using (left(m)):(percent("p50")):(right(m) - left(m)):(0) \
        with vectors nohead lc rgb colour(m) lw 2 title name(m).": median", \
    for [m in models] table(m) using (at(m)):(low("probability")):(0):(long("probability")) \
        @bar lc rgb colour(m) notitle, \
    for [m in models] table(m) using (at(m)):(percent("probability")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": mean", \
    @zero @explained
