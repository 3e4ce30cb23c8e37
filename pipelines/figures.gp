# What all figures share. figures.sh runs this in a folder with published.csv and a folder
# of tables for each model, 1/, 2/, ..; it sets
#   figure   "fig02" .. "fig11" or "shallow"; figures/ has what each draws
#   format   "svg" or "png"
#   models   numbers of the models that have this figure's table, as "1 3"
#   depths   number of layers of each model, as "16 30 16"
# and gives the folder of this file, then each model's name.

array names[ARGC]
do for [i = 2:ARGC] { names[i - 1] = ARGV[i] }
name(m) = names[int(m)]
folder = ARG1

# ------------------------------------------------------------------- the picture

# Some figures have a panel for each model, one has two kinds of shares.
panels = figure eq "fig08" ? 2 : strstrt("fig02 fig03 fig11 shallow", figure) ? words(models) : 1
width = 800
height = panels == 1 ? 500 : 380 * panels + 40

# PNG has twice the pixels, for print. Fonts are as large as they can be read in a column.
if (format eq "svg") {
    set terminal svg size width, height font "sans-serif,15" background rgb "white" noenhanced
} else {
    set terminal pngcairo size 2 * width, 2 * height font "DejaVu Sans,11" fontscale 2 \
        linewidth 2 pointscale 2 background rgb "white" noenhanced
}
set encoding utf8
set output figure.".".format
set datafile separator comma
set datafile columnheaders

set border 3
set tics nomirror out
set grid ytics linetype 1 linecolor rgb "#dddddd" linewidth 1
set key outside below center horizontal Left reverse samplen 3 maxrows 6
set style fill solid border rgb "black"

# Okabe and Ito's colours, which colour-blind readers tell apart; a model has a colour and a
# shape of points (full for what a figure is about, else open), and what is drawn of it a
# dash type. What is published is black.
colour(m) = word("#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9", int(m))
full(m) = int(word("7 5 9 11 13 15", int(m)))
open(m) = full(m) - 1

# ------------------------------------------------------------------- the layers

# Models of one depth share an axis of layers; for others it is the share of the depth.
# Published values, of 16 layers, always have their share of the depth.
depth(m) = int(word(depths, int(m)))
mixed = 0
do for [m in models] { if (depth(m) != depth(word(models, 1))) { mixed = 1 } }
axis = mixed ? 1.0 : depth(word(models, 1))
at(m) = column("layer") * axis / depth(m)
step = axis <= 20 ? 1 : axis <= 50 ? 2 : 10
if (mixed) {
    set xrange [0:1.03]
    set xlabel "layer / number of layers"
} else {
    set xrange [0.4:axis + 0.6]
    set xtics step
    set xlabel axis == 16 ? "layer" : "layer (published values: by share of the depth)"
}

# ------------------------------------------------------------------- what is drawn

table(m, t) = sprintf("%d/%s.csv", int(m), t)
percent(c) = 100 * column(c)

# Rows of published.csv: undefined in all rows but those of one series of this figure.
number = figure[4:4] eq "0" ? figure[5:5] : figure[4:5]
published(series, c) = strcol("figure") eq number && strcol("series") eq series ? percent(c) : NaN
from(x) = column("from_layer") * axis / 16
to(x) = column("to_layer") * axis / 16
middle(x) = (from(x) + to(x)) / 2

# Bars of parts that lie on each other; parts has the columns, from below.
half(m) = 0.4 * axis / depth(m)
left(m) = at(m) - half(m)
right(m) = at(m) + half(m)
stack(i) = sum [k = 1:i] percent(word(parts, k))

load folder."/figures/".figure.".gp"
