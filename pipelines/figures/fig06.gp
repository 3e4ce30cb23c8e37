# Agreement in bins of the value's largest probability. What the paper says of its 100 most
# confident values is another measure (any of 50 triggers), so it stands there in words.
stats "published.csv" using (published("top_100_agree", "value")) nooutput name "agree"
stats "published.csv" using (published("top_100_in_layers", "value")) nooutput name "upper"
set title heading("Figure 6: agreement by the value's largest probability")
set xlabel "largest probability of the value's distribution\n".sprintf( \
    "published: of the 100 most confident values %.0f agree with one of 50 triggers,\n", agree_max).sprintf( \
    "and %.0f are in layers 11 to 16\n ", upper_max)
set ylabel "live keys that agree (%)"

# The axis is logarithmic where it has many sizes; a bin from 0 begins there at a tenth of its end.
begin(x) = column("low") > 0 ? column("low") : column("high") / 10
set xrange [*:*]
smallest = 1
largest = 0
do for [m in models] {
    stats table(m) using (begin(0)):(column("high")) nooutput
    if (STATS_min_x < smallest) { smallest = STATS_min_x }
    if (STATS_max_y > largest) { largest = STATS_max_y }
}
wide = largest > 20 * smallest
middle_of_bin(x) = wide ? sqrt(begin(0) * column("high")) : (begin(0) + column("high")) / 2
set xrange [smallest / 1.03:largest * 1.03]
set format x "%g"
set xtics auto

# Tics have labels at powers of ten, and at 2 and 5 times these where they are few.
if (wide) {
    set logscale x
    set xtics ()
    few = largest < 500 * smallest
    do for [power = floor(log10(smallest)):floor(log10(largest))] {
        do for [factor = 1:9] {
            tic = factor * 10.0 ** power
            labelled = factor == 1 || few && (factor == 2 || factor == 5)
            if (tic >= smallest / 1.03 && tic <= largest * 1.03) {
                if (labelled) { set xtics add (sprintf("%g", tic) tic) } else { set xtics add ("" tic 1) }
            }
        }
    }
}

c = "agree_next"
eval free_axis
plot for [m in models] table(m) using (middle_of_bin(0)):(low(c)):(0):(long(c)) \
        @bar lc rgb colour(m) notitle, \
    for [m in models] table(m) \
        using (middle_of_bin(0)):(percent(c)):(begin(0)):(column("high")) \
        with xerrorbars lc rgb colour(m) pt full(m) lw 2 title name(m), \
    @zero @explained
