# What all figures share. figures.sh runs this in a folder with published.csv and a folder
# of tables for each model, 1/, 2/, ..; it sets
#   figure   "fig02" .. "fig11" or "shallow"; figures/ has what each draws
#   format   "svg" or "png"
#   panels   how many there are: "1", "2", or "models", one for each
#   models   numbers of the models that have this figure's table, as "1 3"
#   depths   number of layers of each model, as "16 30 16"
# and gives the folder of this file, then each model's name. The picture goes to standard
# output.

array names[ARGC]
do for [i = 2:ARGC] { names[i - 1] = ARGV[i] }
name(m) = names[int(m)]
folder = ARG1

# ------------------------------------------------------------------- the picture

panels = panels eq "models" ? words(models) : int(panels)
width = 800
height = (panels == 1 ? 480 : 430 * panels + 30) + 20 * words(models)

# PNG has twice the pixels, for print. Fonts are as large as they can be read in a column.
if (format eq "svg") {
    set terminal svg size width, height font "sans-serif,15" background rgb "white" noenhanced
} else {
    set terminal pngcairo size 2 * width, 2 * height font "DejaVu Sans,11" fontscale 2 \
        linewidth 2 pointscale 2 background rgb "white" noenhanced
}
set encoding utf8
set datafile separator comma
set datafile columnheaders

set border 3
set tics nomirror out scale 0.5
set grid ytics linetype 1 linecolor rgb "#dddddd" linewidth 1
set key outside below center horizontal Left reverse samplen 3
set xlabel offset 0, 0.5

# Okabe and Ito's colours, which colour-blind readers tell apart; a model has a colour and a
# shape of points (full for what a figure is about, else open), and what is drawn of it a
# dash type. What is published is black.
colour(m) = word("#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9", int(m))
full(m) = int(word("7 5 9 11 13 15", int(m)))
open(m) = full(m) - 1

# ------------------------------------------------------------------- the layers

# Models of one depth share an axis of layers. Models of several depths share one of the
# depth, of which layer l of L takes the part from (l-1)/L to l/L. So do published values,
# of 16 layers, on the axis of a model with another number of layers.
depth(m) = int(word(depths, int(m)))
depth_of_first = depth(word(models, 1))
mixed = 0
deepest = 1
do for [m in models] {
    if (depth(m) != depth_of_first) { mixed = 1 }
    if (depth(m) > deepest) { deepest = depth(m) }
}
scale = mixed ? 1.0 : depth_of_first
start = mixed ? 0.0 : 0.5
edge(l, layers) = l * scale / layers + start
at(m) = edge(column("layer") - 0.5, depth(m))
from(x) = edge(column("from_layer") - 1, 16)
to(x) = edge(column("to_layer"), 16)
middle(x) = (from(x) + to(x)) / 2

set xrange [edge(0, 1):edge(1, 1)]
if (mixed) {
    set xlabel "depth (part of the layers)\n "
} else {
    set xlabel "layer (1 is the first)\n "
    set xtics depth_of_first <= 20 ? 1 : depth_of_first <= 50 ? 2 : 10
}

set pointsize (deepest > 50 ? 0.5 : 1) * (format eq "svg" ? 0.7 : 1)
if (deepest > 50) { set style fill solid noborder } else { set style fill solid border rgb "black" }

# ------------------------------------------------------------------- what is drawn

table(m, t) = sprintf("%d/%s.csv", int(m), t)
percent(c) = 100 * column(c)

# Rows of published.csv: undefined in all rows but those of one series of this figure.
number = figure[4:4] eq "0" ? figure[5:5] : figure[4:5]
published(series, c) = strcol("figure") eq number && strcol("series") eq series ? percent(c) : NaN

# What spans from low to high is not drawn where one of them is not defined: gnuplot asks
# only whether the point is, so that is put between them.
between(low, high) = (low + high) / 2

# Figures whose axis has no fixed end, and in which nothing is published, also draw the line
# that their values are above or beside: so there is something to draw, though with a
# warning of gnuplot's, where no value is defined.
set samples 2

# A bar takes most of a layer's part of the axis. parts: columns whose bars lie on each
# other, from below.
left(m) = edge(column("layer") - 0.9, depth(m))
right(m) = edge(column("layer") - 0.1, depth(m))
stack(i) = sum [k = 1:i] percent(word(parts, k))

load folder."/figures/".figure.".gp"
