# What patterns an annotator found in the triggers: stacked bars, a panel a model.
parts = "shallow both semantic none"
array labels[4] = ["shallow patterns", "both", "semantic patterns", "none"]
array fills[4] = ["#0072B2", "#56B4E9", "#E69F00", "#eeeeee"]

set multiplot layout panels, 1 title "Figure 2: patterns in the trigger examples"
set yrange [0:100]
set ylabel "trigger examples (%)"
do for [m in models] {
    set title name(m)
    plot for [i = 1:4] table(m) \
            using (at(m)):(stack(i)):(left(m)):(right(m)):(stack(i - 1)):(stack(i)) \
            with boxxyerror fillcolor rgb fills[i] title labels[i], \
        @part_intervals, \
        for [rim = 1:2] "published.csv" using (middle(0)):(published("covered", "low")):(from(0)):(to(0)): \
            (published("covered", "low")):(published("covered", "high")) \
            with boxxyerror fillstyle empty linecolor rgb rim == 1 ? "white" : "black" linewidth 6 / (rim + 1) dashtype rim \
            title rim == 2 ? "published: with any pattern" : "" @explained
}
unset multiplot
