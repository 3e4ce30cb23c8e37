# How often a value's top token is what comes after its key's first trigger, or ends it.
set title heading("Figure 4: live keys whose value's top token is the first trigger's next token")
set ylabel "live keys (%)"
eval free_axis
array columns[3] = ["agree_next", "agree_last", "frequent"]
plot for [m in models] for [i = 1:3] table(m) using (beside(m, i)):(low(columns[i])):(0):(long(columns[i])) \
        @bar lc rgb colour(m) notitle, \
    for [m in models] table(m) using (beside(m, 1)):(percent("agree_next")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": next token", \
    for [m in models] table(m) using (beside(m, 2)):(percent("agree_last")) \
        with linespoints lc rgb colour(m) pt open(m) dt 2 lw 1.5 title name(m).": last token", \
    for [m in models] table(m) using (beside(m, 3)):(percent("frequent")) \
        with lines lc rgb colour(m) dt 3 lw 2 title name(m).": most frequent token", \
    "published.csv" using (middle(0)):(published("agree_next", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 2 lw 2 title "published: next token", \
    "" using (middle(0)):(published("random", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 0 dt 3 lw 2 title "published: random token", \
    @zero @explained
