# Agreement in bins of the value's largest probability. What the paper says of its 100 most
# confident values is another measure (any of 50 triggers): it stands below the title.
stats "published.csv" using (published("top_100_agree", "value")) nooutput name "agree"
stats "published.csv" using (published("top_100_in_layers", "value")) nooutput name "upper"
set title "Figure 6: agreement by the value's largest probability\n".sprintf( \
    "published, of the 100 most confident values: %.0f agree with any of 50 triggers, %.0f are in layers 11 to 16", \
    agree_max, upper_max)
set xlabel "largest probability of the value's distribution"
set ylabel "live keys whose value's top token agrees (%)"
set logscale x
set xrange [*:*]
set xtics auto
set yrange [0:*]

# A bin from 0 begins, on this axis, at a tenth of its end.
low(x) = column("low") > 0 ? column("low") : column("high") / 10
plot for [m in models] table(m, "confidence") \
        using (sqrt(low(0) * column("high"))):(percent("agree_next")):(low(0)):(column("high")) \
        with xerrorbars lc rgb colour(m) pt full(m) lw 2 title name(m)
