# How often a value's top token is what comes after its key's first trigger, or ends it.
set title "Figure 4: live keys whose value's top token is the first trigger's next token"
set ylabel "live keys (%)"
set yrange [0:*]
plot for [m in models] table(m, "agreement") using (at(m)):(percent("agree_next")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": next token", \
    for [m in models] table(m, "agreement") using (at(m)):(percent("agree_last")) \
        with linespoints lc rgb colour(m) pt open(m) dt 2 lw 1.5 title name(m).": last token", \
    for [m in models] table(m, "agreement") using (at(m)):(percent("frequent")) \
        with lines lc rgb colour(m) dt 3 lw 2 title name(m).": most frequent token", \
    "published.csv" using (middle(0)):(published("agree_next", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 2 lw 2 title "published: next token", \
    "" using (middle(0)):(published("random", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 0 dt 3 lw 2 title "published: random token"
