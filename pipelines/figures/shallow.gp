# What can be measured of shallow patterns without an annotator: a panel a model.
array columns[5] = ["same_last_1", "same_last_2", "same_last_3", "overlap", "overlap_random"]
array labels[5] = ["same last token", "same last 2 tokens", "same last 3 tokens", \
    "tokens in common", "in common, random prefixes"]
set multiplot layout panels, 1 title "Shallow patterns: what a key's trigger examples have in common"
set ylabel "share (%)"
eval free_axis
do for [m in models] {
    set title name(m)
    plot for [i = 1:5] table(m) using (at(m)):(low(columns[i])):(0):(long(columns[i])) \
            @bar lc rgb colour(i) notitle, \
        for [i = 1:5] table(m) using (at(m)):(percent(columns[i])) \
            with linespoints lc rgb colour(i) pt full(i) dt i lw 2 title labels[i], \
        @zero @explained
}
unset multiplot
