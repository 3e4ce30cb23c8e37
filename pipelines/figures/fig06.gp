# Agreement in bins of the value's largest probability. What the paper says of its 100 most
# confident values is another measure (any of 50 triggers), so it stands there in words.
stats "published.csv" using (published("top_100_agree", "value")) nooutput name "agree"
stats "published.csv" using (published("top_100_in_layers", "value")) nooutput name "upper"
set title "Figure 6: agreement by the value's largest probability"
set xlabel "largest probability of the value's distribution\n".sprintf( \
    "published: of the 100 most confident values %.0f agree with one of 50 triggers,\n", agree_max).sprintf( \
    "and %.0f are in layers 11 to 16\n ", upper_max)
set ylabel "live keys that agree (%)"

# The axis is logarithmic where it has many sizes; a bin from 0 begins there at a tenth of its end.
low(x) = column("low") > 0 ? column("low") : column("high") / 10
set xrange [*:*]
smallest = 1
largest = 0
do for [m in models] {
    stats table(m, "confidence") using (low(0)):(column("high")) nooutput
    if (STATS_min_x < smallest) { smallest = STATS_min_x }
    if (STATS_max_y > largest) { largest = STATS_max_y }
}
wide = largest > 20 * smallest
if (wide) { set logscale x }
middle_of_bin(x) = wide ? sqrt(low(0) * column("high")) : (low(0) + column("high")) / 2
set xrange [smallest / 1.03:largest * 1.03]
set xtics auto
set yrange [0:*]
plot for [m in models] table(m, "confidence") \
        using (middle_of_bin(0)):(percent("agree_next")):(low(0)):(column("high")) \
        with xerrorbars lc rgb colour(m) pt full(m) lw 2 title name(m), \
    0 with lines lc rgb "black" lw 0.5 notitle
