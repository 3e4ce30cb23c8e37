# Does any cell's top token equal that of the whole layer? And where one does, of what kind?
set multiplot layout panels, 1 title heading("Figure 8: composition within a layer")
eval whole_axis
set title "how often no cell's top token is the layer's"
set ylabel "prefixes (%)"
c = "zero_agreement"
plot "published.csv" using (middle(0)):(published(c, "low")):(from(0)):(to(0)): \
        (published(c, "low")):(published(c, "high")) \
        with boxxyerror fc rgb "#eeeeee" fs solid border rgb "black" title "published: all layers", \
    for [m in models] table(m) using (at(m)):(low(c)):(0):(long(c)) \
        @bar lc rgb colour(m) notitle, \
    for [m in models] table(m) using (at(m)):(percent(c)) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m) @explained
set title "where one is: that token is a stop word, the prefix is short (fewer than 5 tokens)"
set ylabel "prefixes with agreement (%)"
array kinds[2] = ["stop_word", "short_prefix"]
plot for [m in models] for [i = 1:2] table(m) using (beside(m, i)):(low(kinds[i])):(0):(long(kinds[i])) \
        @bar lc rgb colour(m) notitle, \
    for [m in models] table(m) using (beside(m, 1)):(percent("stop_word")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": stop word", \
    for [m in models] table(m) using (beside(m, 2)):(percent("short_prefix")) \
        with linespoints lc rgb colour(m) pt open(m) dt 2 lw 1.5 title name(m).": short prefix", \
    "published.csv" using (middle(0)):(published("stop_word", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 2 lw 2 title "published: stop word", \
    "" using (middle(0)):(published("short_prefix", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 1 dt 2 lw 1.5 title "published: short prefix" @explained
unset multiplot
