# What patterns readers found in the triggers: stacked bars, a panel a model, which says who read how
# many keys. What the paper's readers found is drawn where people read as many, as patterns.csv says.
parts = "shallow both semantic none"
array labels[4] = ["shallow patterns", "both", "semantic patterns", "none"]
array fills[4] = ["#0072B2", "#56B4E9", "#E69F00", "#eeeeee"]

array said[|names|]
array like_paper[|names|]
counted(n, what) = sprintf("%.0f %s%s", n, what, n == 1 ? "" : "s")
do for [m in models] {
    layers = 0
    keys = 0
    most = 0
    kinds = ""
    like_paper[int(m)] = 1
    stats table(m) using (layers = layers + 1, keys = keys + column("keys"), \
        most = column("readers") > most ? column("readers") : most, \
        kinds = strstrt(kinds, strcol("reader_kind")) ? kinds : kinds." ".strcol("reader_kind"), \
        like_paper[int(m)] = like_paper[int(m)] && column("comparable") == 1, 0) nooutput
    said[int(m)] = sprintf("%s in %s, %s a layer (%s)", counted(keys, "key"), \
        counted(layers, "layer"), counted(most, "reader"), kinds[2:])
}

set multiplot layout panels, 1 title "Figure 2: patterns in the trigger examples"
set yrange [0:100]
set ylabel "trigger examples (%)"
do for [m in models] {
    set title name(m).": ".said[int(m)]
    plot for [i = 1:4] table(m) \
            using (at(m)):(stack(i)):(left(m)):(right(m)):(stack(i - 1)):(stack(i)) \
            with boxxyerror fillcolor rgb fills[i] title labels[i], \
        @part_intervals, \
        for [rim = 1:2 * like_paper[int(m)]] "published.csv" \
            using (middle(0)):(published("covered", "low")):(from(0)):(to(0)): \
            (published("covered", "low")):(published("covered", "high")) \
            with boxxyerror fillstyle empty linecolor rgb rim == 1 ? "white" : "black" \
            linewidth 6 / (rim + 1) dashtype rim \
            title rim == 2 ? "published: with any pattern" : "" @explained
}
unset multiplot
