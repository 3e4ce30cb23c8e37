# Where does the residual stream already predict what the model will say?
set title heading("Figure 9: the residual's top token is the model's final one")
set ylabel "prefixes (%)"
eval whole_axis
c = "residual_is_final"
plot for [m in models] table(m) using (at(m)):(low(c)):(0):(long(c)) \
        @bar lc rgb colour(m) notitle, \
    for [m in models] table(m) using (at(m)):(percent(c)) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m), \
    "published.csv" using (middle(0)):(published("residual_is_final", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 2 lw 2 title "published: about a third in the bottom layers" \
        @explained
