# What all figures share. figures.sh runs this in a folder with published.csv and a folder
# for each model, 1/, 2/, .., which has each figure's table by the figure's name; it sets
#   figure   "fig02" .. "fig11", "shallow" or "ablation"; figures/ has what each draws
#   panels   how many there are: "1", "2", or "models", one for each
#   models   numbers of the models that have this figure's table, as "1 3"
#   depths   number of layers of each model, as "16 30 16"
#   intervals  1 where one of these tables has a 95 % interval to draw, else 0
# and gives the folder of this file, then each model's name. The picture goes to standard
# output, as SVG.

array names[ARGC]
do for [i = 2:ARGC] { names[i - 1] = ARGV[i] }
name(m) = names[int(m)]
folder = ARG1

# ------------------------------------------------------------------- the picture

panels = panels eq "models" ? words(models) : int(panels)
width = 800
height = (panels == 1 ? 500 : 430 * panels + 50) + 30 * words(models)

# Fonts are as large as they can be read in a column. "white" and "black" are the page's: figures.css
# has what they are, and the colours below, where it is dark.
set terminal svg size width, height font "sans-serif,15" background rgb "white" noenhanced
set encoding utf8
set datafile separator comma
set datafile columnheaders

set border 3
set tics nomirror out scale 0.5
set grid ytics linetype 1 linecolor rgb "#dddddd" linewidth 1
set key outside below center horizontal Left reverse samplen 3
set xlabel offset 0, 0.5

# A figure's title, and below it the models in it, where panels do not name them.
names_below = ""
length = 0
do for [m in models] {
    length = length + strlen(name(m)) + 2
    names_below = names_below.(names_below eq "" ? "\n" : length > 90 ? ",\n" : ", ").name(m)
    if (length > 90) { length = strlen(name(m)) }
}
heading(text) = text.names_below

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
# Series whose intervals would lie on each other are a bit to the side of the layer's middle.
beside(m, series) = edge(column("layer") - 0.5 + shift[series], depth(m))
array shift[3] = [0, 0.22, -0.22]
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

set pointsize (deepest > 50 ? 0.5 : 1) * 0.7
if (deepest > 50) { set style fill solid noborder } else { set style fill solid border rgb "black" }

# ------------------------------------------------------------------- what is drawn

table(m) = sprintf("%d/%s.csv", int(m), figure)
percent(c) = 100 * column(c)

# Rows of published.csv: undefined in all rows but those of one series of this figure.
number = figure[4:4] eq "0" ? figure[5:5] : figure[4:5]
published(series, c) = strcol("figure") eq number && strcol("series") eq series ? percent(c) : NaN

# What spans from low to high is not drawn where one of them is not defined: gnuplot asks
# only whether the point is, so that is put between them.
between(low, high) = (low + high) / 2

# The 95 % interval of column c of model m: a thin bar, as
#   table(m) using (at(m)):(low(c)):(0):(long(c)) @bar
# before the values, which lie on the bars. Tables have NaN where it is not known. The key explains the
# bars where there are some: @explained, without a comma before it.
low(c) = percent(c."_low")
high(c) = percent(c."_high")
long(c) = high(c) - low(c)
bar = 'with vectors nohead linewidth 1.5'
explained = intervals ? ', keyentry '.bar.' linecolor rgb "black" title "thin bars: 95 % intervals"' : ''

# Values lie at 0, too, so the axis begins below it, and 0 has a line. @zero makes a free axis reach 0, and is
# what there is to draw, though with a warning of gnuplot's, where no value is defined. It comes last:
# gnuplot 6 does not know the variables of iterations behind a function.
free_axis = 'set yrange [*:*] noextend; set offsets 0, 0, graph 0.04, graph 0.04'
whole_axis = 'set yrange [-4:104]; set ytics 0, 20, 100'
set xzeroaxis linetype 1 linecolor rgb "black" linewidth 1
zero = '0 with dots linecolor rgb "black" notitle'
set samples 2

# A bar takes most of a layer's part of the axis. parts: columns whose bars lie on each
# other, from below.
left(m) = edge(column("layer") - 0.9, depth(m))
right(m) = edge(column("layer") - 0.1, depth(m))
stack(i) = sum [k = 1:i] percent(word(parts, k))

# The 95 % interval of a part's size is at the part's upper edge, or, where it would leave the whole there,
# at its lower one; each part's is at its own place across the bar, with a rim that shows it on any colour.
across(m, i) = edge(column("layer") - 0.9 + 0.8 * i / (words(parts) + 1.0), depth(m))
fits(i) = stack(i - 1) + high(word(parts, i)) <= 100
part_low(i) = fits(i) ? stack(i - 1) + low(word(parts, i)) : stack(i) - high(word(parts, i))
# Fills of parts are about the same where the page is dark, so these two colours are, too.
array rim_colours[2] = ["#fafafa", "#111111"]
array rim_widths[2] = [4, 1.5]
part_intervals = 'for [i = 1:words(parts)] for [rim = 1:2] table(m) '. \
    'using (across(m, i)):(part_low(i)):(0):(long(word(parts, i))) '. \
    'with vectors nohead linewidth rim_widths[rim] linecolor rgb rim_colours[rim] notitle'

load folder."/figures/".figure.".gp"
