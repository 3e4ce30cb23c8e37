# How many cells are active, over the validation prefixes: mean, median and quartiles. What the paper
# found is drawn beside models in which active means what it means there, as active.csv says.
array meaning[|names|]
like_paper = 0
do for [m in models] {
    same = 1
    words_of = ""
    stats table(m) using (same = same && column("comparable") == 1, \
        words_of = strcol("active"), 0) nooutput
    meaning[int(m)] = same ? "" : " (".words_of.")"
    like_paper = like_paper || same
}
set title heading(like_paper ? "Figure 7: active memories (m > 0, where nothing else is said)" \
    : "Figure 7: active memories")
set ylabel "cells of the layer (%)"
eval free_axis
plot for [i = 1:like_paper] "published.csv" \
        using (middle(0)):(published("active", "low")):(from(0)):(to(0)): \
        (published("active", "low")):(published("active", "high")) \
        with boxxyerror fc rgb "#eeeeee" fs solid border rgb "black" title "published: all layers", \
    for [m in models] table(m) \
        using (at(m)):(between(percent("p25"), percent("p75"))):(left(m)):(right(m)): \
        (percent("p25")):(percent("p75")) \
        with boxxyerror lc rgb colour(m) fs transparent solid 0.35 noborder title name(m).": quartiles", \
    for [m in models] table(m) using (left(m)):(percent("p50")):(right(m) - left(m)):(0) \
        with vectors nohead lc rgb colour(m) lw 2 title name(m).": median", \
    for [m in models] table(m) using (at(m)):(low("mean")):(0):(long("mean")) @bar lc rgb colour(m) notitle, \
    for [m in models] table(m) using (at(m)):(percent("mean")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": mean".meaning[int(m)], \
    @zero @explained
