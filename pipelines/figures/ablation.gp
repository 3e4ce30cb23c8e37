# How often the prediction changes when memories of one layer are removed at a prefix: a line a kind of
# memories, a panel a model. Where a table has several numbers of memories, the largest is drawn.
array kinds[3] = ["top", "agreeing", "random"]
array labels[3] = ["those that contribute most", "those that agree with the prediction", "random active ones"]
x(layer, i) = edge(layer - 0.5 + shift[i], depth(m))

set multiplot layout panels, 1 title "Predictions that change when memories of one layer are removed"
set ylabel "predictions that change (%)"
eval free_axis
do for [m in models] {
    most = 0
    set table $numbers
    plot table(m) using (most = column("removed") > most ? column("removed") : most) with table
    unset table
    # The rows of each kind by themselves, so that lines join layers.
    set datafile columnheaders
    do for [i = 1:3] {
        set table kinds[i] separator comma
        plot table(m) \
            using (strcol("layer")):(strcol("changed")):(strcol("changed_low")):(strcol("changed_high")) \
            with table if (strcol("kind") eq kinds[i] && !(column("removed") < most))
        unset table
    }
    unset datafile columnheaders
    set title sprintf("%s: %d memories of a layer", name(m), most)
    plot for [i = 1:3] kinds[i] using (x($1, i)):(100 * $3):(0):(100 * ($4 - $3)) \
            @bar lc rgb colour(i) notitle, \
        for [i = 1:3] kinds[i] using (x($1, i)):(100 * $2) \
            with linespoints lc rgb colour(i) pt full(i) dt i lw 2 title labels[i], \
        @zero @explained
}
unset multiplot
