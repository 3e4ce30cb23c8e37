# Where does the residual stream already predict what the model will say?
set title "Figure 9: the residual's top token is the model's final one"
set ylabel "prefixes (%)"
set yrange [0:100]
plot for [m in models] table(m, "refinement") using (at(m)):(percent("residual_is_final")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m), \
    "published.csv" using (middle(0)):(published("residual_is_final", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 2 lw 2 title "published: about a third in the bottom layers"
