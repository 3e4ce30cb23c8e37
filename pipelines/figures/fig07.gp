# How many cells are active, over the validation prefixes: mean and quartiles.
set title "Figure 7: active memories (coefficient above 0)"
set ylabel "cells of the layer (%)"
set yrange [0:*]
plot "published.csv" using (middle(0)):(published("active", "low")):(from(0)):(to(0)): \
        (published("active", "low")):(published("active", "high")) \
        with boxxyerror fc rgb "#eeeeee" fs solid border rgb "black" title "published: where all layers lie", \
    for [m in models] table(m, "active") \
        using (at(m)):(between(percent("p25"), percent("p75"))):(left(m)):(right(m)):(percent("p25")):(percent("p75")) \
        with boxxyerror lc rgb colour(m) fs transparent solid 0.25 noborder title name(m).": quartiles", \
    for [m in models] table(m, "active") using (at(m)):(percent("mean")) \
        with linespoints lc rgb colour(m) pt full(m) lw 2 title name(m).": mean"
