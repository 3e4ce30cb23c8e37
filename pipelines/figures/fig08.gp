# Does any cell's top token equal that of the whole layer? And where one does, of what kind?
set multiplot layout panels, 1 title "Figure 8: composition within a layer"
set yrange [0:100]
set title "how often no cell's top token is the layer's"
set ylabel "prefixes (%)"
plot "published.csv" using (middle(0)):(published("zero_agreement", "low")):(from(0)):(to(0)): \
        (published("zero_agreement", "low")):(published("zero_agreement", "high")) \
        with boxxyerror fc rgb "#eeeeee" fs solid border rgb "black" title "published: where all layers lie", \
    for [m in models] table(m, "composition") using (at(m)):(percent("zero_agreement")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m)
set title "where one is: that token is a stop word, the prefix is short (fewer than 5 tokens)"
set ylabel "prefixes with agreement (%)"
plot for [m in models] table(m, "composition") using (at(m)):(percent("stop_word")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": stop word", \
    for [m in models] table(m, "composition") using (at(m)):(percent("short_prefix")) \
        with linespoints lc rgb colour(m) pt open(m) dt 2 lw 1.5 title name(m).": short prefix", \
    "published.csv" using (middle(0)):(published("stop_word", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 2 lw 2 title "published: stop word", \
    "" using (middle(0)):(published("short_prefix", "value")):(from(0)):(to(0)) \
        with xerrorbars lc rgb "black" pt 1 dt 2 lw 1.5 title "published: short prefix"
unset multiplot
