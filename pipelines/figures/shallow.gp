# What can be measured of shallow patterns without an annotator: a panel a model.
array columns[5] = ["same_last_1", "same_last_2", "same_last_3", "overlap", "overlap_random"]
array labels[5] = ["same last token", "same last 2 tokens", "same last 3 tokens", \
    "tokens in common", "tokens in common, random prefixes"]
set multiplot layout panels, 1 title "Shallow patterns: what a key's trigger examples have in common"
set ylabel "share (%)"
set yrange [0:*]
do for [m in models] {
    set title name(m)
    plot for [i = 1:5] table(m, "shallow") using (at(m)):(percent(columns[i])) \
        with linespoints lc rgb colour(i) pt full(i) dt i lw 2 title labels[i], \
        0 with lines lc rgb "black" lw 0.5 notitle
}
unset multiplot
