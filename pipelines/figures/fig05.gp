# Where in a value's distribution the token is that follows its key's first trigger.
set title heading("Figure 5: rank of the trigger's next token in the value's distribution")
set ylabel "rank (1 is the top token)"
set logscale y
set yrange [0.7:*] # rank 1 is within the axes
plot for [m in models] table(m) \
        using (at(m)):(between(column("p25"), column("p75"))):(left(m)):(right(m)): \
        (column("p25")):(column("p75")) \
        with boxxyerror lc rgb colour(m) fs transparent solid 0.35 noborder title name(m).": quartiles", \
    for [m in models] table(m) using (at(m)):(column("p10")) \
        with lines lc rgb colour(m) dt 3 lw 2 title name(m).": 10 %, 90 %", \
    for [m in models] table(m) using (at(m)):(column("p90")) \
        with lines lc rgb colour(m) dt 3 lw 2 notitle, \
    for [m in models] table(m) using (at(m)):(column("p50")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": median", \
    1 with lines lc rgb "black" lw 1 notitle
