"""figures.sh: what is drawn is what the tables say.

The SVG is read back: tic marks and their labels give the axes, so that every
point, bar and line can be compared with the number it stands for.
"""

import collections
import csv
import math
import os
import re
import struct
import subprocess
import unicodedata
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import browser
from conftest import ROOT
from experiments import DRAWN, table_of
from helpers import TIMEOUT, environment, table

FIGURES = ROOT / "pipelines" / "figures.sh"
NAMES = list(DRAWN)
PIXELS = 0.3  # how far from its place something may be drawn; gnuplot writes hundredths

# Behind "layer", which only confidence lacks; of a table that is not written down here what its figure needs.
COLUMNS = {
    **{table_of(row): row["columns"].removeprefix("layer ") for row in DRAWN.values()
       if table_of(row) != "confidence"},
    "patterns": "keys triggers shallow semantic both none patterns_per_key readers reader_kind comparable",
    "perturbation": "kind triggers mean p25 p50 p75 zeroed short",
    "agreement": "keys live_keys agree_next agree_last random frequent",
    "rank": "live_keys p10 p25 p50 p75 p90",
    "active": "prefixes mean p25 p50 p75 active comparable",
    "composition": "prefixes zero_agreement stop_word frequent short_prefix memories",
    "refinement": "prefixes residual_is_final probability p25 p50 p75 rank_p50",
    "cases": "prefixes residual ffn agreement composition",
    "shallow": "keys same_last_1 same_last_2 same_last_3 overlap overlap_random",
}

# Shares that are drawn, and may have an interval.
SHARES = {
    "patterns": "shallow semantic both none", "agreement": "agree_next agree_last frequent", "active": "mean",
    "confidence": "agree_next", "composition": "zero_agreement stop_word short_prefix",
    "refinement": "residual_is_final probability", "cases": "residual ffn agreement composition",
    "shallow": "same_last_1 same_last_2 same_last_3 overlap overlap_random", "ablation": "changed",
}
FORMATS = ("pdf", "png", "svg")


# ------------------------------------------------------------------ the tables

def write(path, columns, rows):
    with open(path, "w", encoding="utf-8") as file:
        print(*columns, sep=",", file=file)
        for row in rows:
            print(*("" if row[name] is None else row[name] for name in columns), sep=",", file=file)


def add_intervals(path):
    """Behind the other columns, of whatever width; some are empty, and some end at the share."""
    rows = table(path)
    columns = list(rows[0])
    for column in SHARES.get(path.stem, "").split():
        for number, row in enumerate(rows):
            known = row[column] != "" and number % 4 != 3
            row[f"{column}_low"] = round(float(row[column]) * (0.8 if number % 3 else 1), 6) if known \
                else None
            row[f"{column}_high"] = round(1 - (1 - float(row[column])) * (0.9 if number % 3 < 2 else 1), 6) \
                if known else None
        columns += [f"{column}_low", f"{column}_high"]
    write(path, columns, rows)


def make_tables(folder, layers, seed=1, gaps=False, confidence=(0.001, 0.9), only=None, intervals=False):
    """Tables of all figures, of random numbers; gaps: some of them are missing; intervals: shares have
    some."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)

    def number(low, high):
        return None if gaps and random.random() < 0.2 else round(random.uniform(low, high), 6)

    def row(name, layer, kind=None):
        values = {column: number(0, 1) for column in COLUMNS[name].split()}
        if name == "rank":
            values = {column: number(1, 50000) for column in values}
        if name == "perturbation":
            values = {column: number(-100, 30) for column in values}
        if name == "patterns":
            values.update(keys=10, readers=2, reader_kind="person", comparable=1)
        if name == "ablation":
            values.update(removed=10)
        if name == "active":
            values.update(active="m > 0", comparable=1)
        if name in ("patterns", "cases"):  # shares of a whole
            shares = random.dirichlet(np.ones(4)).round(6)
            parts = ("shallow", "semantic", "both", "none") if name == "patterns" else \
                ("residual", "ffn", "agreement", "composition")
            values.update(zip(parts, map(float, shares)))
        return {"layer": layer, **values, **({"kind": kind} if kind else {})}

    for name, columns in COLUMNS.items():
        kinds = {"perturbation": KINDS, "ablation": REMOVED}.get(name, (None,))
        write(folder / f"{name}.csv", ["layer", *columns.split()],
              [row(name, layer, kind) for layer in range(1, layers + 1) for kind in kinds])
    edges = np.geomspace(*confidence, 11).round(9)
    write(folder / "confidence.csv", ["low", "high", "values", "agree_next", "live_keys"],
          [{"low": float(low), "high": float(high), "values": 10, "agree_next": number(0, 0.1),
            "live_keys": 9} for low, high in zip(edges, edges[1:])])
    for path in folder.iterdir():
        if only and path.stem not in only:
            path.unlink()
        elif intervals:
            add_intervals(path)
    return folder


def figures(out, *results, env=None, status=0, cwd=None, warning="$"):
    done = subprocess.run([FIGURES, out, *results], capture_output=True, text=True, check=False,
                          timeout=TIMEOUT, env=environment(env), cwd=cwd)
    assert done.returncode == status, done.stderr
    assert status or re.sub(warning, "", done.stderr) == ""
    return done


# ----------------------------------------------------------- reading the picture

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
PAIR = re.compile(r"(-?[\d.]+),(-?[\d.]+)")


def pairs(text):
    return [(float(x), float(y)) for x, y in PAIR.findall(text)]


class Axis:
    """From numbers to pixels, by the tics."""

    def __init__(self):
        self.tics = {}

    def __call__(self, value, log=False):
        low, high = min(self.tics), max(self.tics)
        scale = math.log10 if log else float
        share = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return self.tics[low] + share * (self.tics[high] - self.tics[low])


class Panel:
    def __init__(self):
        self.x, self.y = Axis(), Axis()
        self.bottom = None   # where the horizontal axis is; the key is below it
        self.left = None
        self.plots = {}      # by title


Plot = collections.namedtuple("Plot", "points boxes lines style")


def read_plot(group, bottom):
    """What is above the key: markers; rectangles as (left, right, top, bottom); lines as
    lists of corners, one for each unbroken piece.  style: colours and markers.  gnuplot 6
    draws a white marker below each one that is not full, which hides the line."""
    points, boxes, lines, style = [], [], [], set()
    for element in group.iter():
        if element.tag == SVG + "use" and element.get(LINK) != "#gpDot" and element.get("color") != "#FFFFFF":
            points += [place for place in pairs(element.get("transform")) if place[1] <= bottom + 1]
            style |= {element.get(LINK), element.get("color").replace(" ", "")}
        elif element.tag == SVG + "polygon":
            x, y = zip(*pairs(element.get("points")))
            if min(y) <= bottom:
                boxes.append((min(x), max(x), min(y), max(y)))
        elif element.tag == SVG + "path":
            pieces = [pairs(piece) for piece in element.get("d").split("M") if piece]
            lines += [piece for piece in pieces if piece[0][1] <= bottom + 1]
    return Plot(points, boxes, lines, style)


def read_svg(path):
    """The panels, from above, and all texts."""
    root = ET.parse(path).getroot()
    panels, mark = [], None

    def walk(element):
        nonlocal mark
        for child in element:
            if (child.get("id") or "").startswith("gnuplot_plot_"):
                title = next(child.iter(SVG + "text"), None)  # in the key
                panel = panels[-1]
                plot = read_plot(child, panel.bottom)
                panel.plots.setdefault(title.text if title is not None else None, []).append(plot)
            elif child.tag == SVG + "path" and child.get("class") is None:
                mark = pairs(child.get("d"))
            elif child.tag == SVG + "text" and mark and re.fullmatch(r"\s*-?[\d.]+", child.text or ""):
                (x0, y0), (x1, y1) = mark[-2:]  # minor tics may be before it
                if not panels or panels[-1].plots:
                    panels.append(Panel())
                axis, at = (panels[-1].x, x0) if x0 == x1 else (panels[-1].y, y0)
                axis.tics[float(child.text)] = at
                if x0 == x1:
                    panels[-1].bottom = min(y0, y1)
                else:
                    panels[-1].left = max(x0, x1)
                mark = None
            else:
                walk(child)

    walk(root)
    for panel in panels:
        if list(panel.x.tics) == [1]:  # of one layer; it begins half a layer before
            panel.x.tics[0.5] = panel.left
    return panels, [text.text for text in root.iter(SVG + "text")]


def close(found, expected):
    """The same places, in any order."""
    assert len(found) == len(expected), f"{len(found)} are drawn, not {len(expected)}"
    for one, other in zip(sorted(found), sorted(expected)):
        assert np.abs(np.subtract(one, other)).max() <= PIXELS, f"{one} is not {other}"


# -------------------------------------------------------------- what is expected

# Points and quartile boxes: figure -> table, [(end of the title, column, how far from the layer's middle)],
# title of the boxes or None. 100: shares are drawn in per cent.
POINTS = {
    "fig04": ("agreement", 100, [(": next token", "agree_next", 0), (": last token", "agree_last", 0.22)],
              None),
    "fig05": ("rank", 1, [(": median", "p50", 0)], ": quartiles"),
    "fig07": ("active", 100, [(": mean", "mean", 0)], ": quartiles"),
    "fig09": ("refinement", 100, [("", "residual_is_final", 0)], None),
    "fig10": ("refinement", 100, [(": mean", "probability", 0)], ": quartiles"),
}
LINES = {"fig04": (": most frequent token", ["frequent"], -0.22),
         "fig05": (": 10 %, 90 %", ["p10", "p90"], 0)}
MEDIANS = ("fig07", "fig10")  # as a line across the box
COMPOSITION = [[("", "zero_agreement", 0)],
               [(": stop word", "stop_word", 0), (": short prefix", "short_prefix", 0.22)]]
KINDS = {"first": -0.28, "last": 0, "random": 0.28}
REMOVED = {"top": ("those that contribute most", 0), "random": ("random active ones", -0.22),
           "agreeing": ("those that agree with the prediction", 0.22)}
STACKS = {
    "fig02": ("patterns", {"shallow patterns": "shallow", "both": "both", "semantic patterns": "semantic",
                           "none": "none"}),
    "fig11": ("cases", {"residual's only": "residual", "both's (agreement)": "agreement",
                        "feed-forward layer's only": "ffn", "neither's (composition)": "composition"}),
}
SHALLOW = {"same last token": "same_last_1", "same last 2 tokens": "same_last_2",
           "same last 3 tokens": "same_last_3", "tokens in common": "overlap",
           "in common, random prefixes": "overlap_random"}


def value(row, column):
    return float(row[column]) if row.get(column) else None


class Model:
    """A model's tables, and where its layers are on the axis."""

    def __init__(self, folder, layers, mixed):
        self.name, self.folder, self.layers, self.mixed = folder.name, folder, layers, mixed

    def rows(self, name):
        return table(self.folder / f"{name}.csv")

    def at(self, layer, offset=0.0):
        place = float(layer) + offset
        return (place - 0.5) / self.layers if self.mixed else place

    def points(self, panel, rows, column, scale, log=False, offset=0.0):
        return [(panel.x(self.at(row["layer"], offset)), panel.y(scale * value(row, column), log))
                for row in rows if value(row, column) is not None]

    def box(self, panel, layer, low, high, log=False, ends=(-0.4, 0.4)):
        return (panel.x(self.at(layer, ends[0])), panel.x(self.at(layer, ends[1])),
                panel.y(high, log), panel.y(low, log))

    def quartiles(self, panel, rows, scale, log=False, ends=(-0.4, 0.4)):
        return [self.box(panel, row["layer"], scale * value(row, "p25"), scale * value(row, "p75"), log, ends)
                for row in rows if row["p25"] and row["p75"]]

    def medians(self, panel, rows, scale):
        return [self.box(panel, row["layer"], scale * value(row, "p50"), scale * value(row, "p50"))
                for row in rows if row["p50"]]

    def intervals(self, panel, rows, column, offset=0.0):
        """As (x, top, bottom)."""
        return [(panel.x(self.at(row["layer"], offset)), panel.y(100 * value(row, f"{column}_high")),
                 panel.y(100 * value(row, f"{column}_low")))
                for row in rows if value(row, f"{column}_low") is not None]

    def line(self, panel, rows, column, scale, log=False, offset=0.0):
        """Pieces of at least two layers."""
        pieces = [[]]
        for row in rows:
            if value(row, column) is None:
                pieces.append([])
            else:
                pieces[-1] += self.points(panel, [row], column, scale, log, offset)
        return [piece for piece in pieces if len(piece) > 1]


def upright(boxes):
    """Boxes of a table whose p25 may be above its p75."""
    return [(left, right, min(top, bottom), max(top, bottom)) for left, right, top, bottom in boxes]


def corners(lines):
    """Of those that join layers."""
    return [corner for piece in lines for corner in piece if len(piece) > 1]


def ends(lines):
    """Of level lines, as boxes of no height."""
    return [(*sorted((piece[0][0], piece[-1][0])), piece[0][1], piece[-1][1]) for piece in lines]


def bars(panel):
    """Upright lines that no title explains, as (x, top, bottom)."""
    return [(piece[0][0], *sorted((piece[0][1], piece[1][1]))) for plot in panel.plots.get(None, [])
            for piece in plot.lines if len(piece) == 2 and piece[0][0] == piece[1][0]]


EXPLAINED = "thin bars: 95 % intervals"


def check_bars(panel, expected):
    """They are where they should be, and what they are is said where they can be."""
    # gnuplot draws nothing of no length, rounded
    short = [bar for bar in expected if bar[2] - bar[1] <= 0.05]
    expected = [bar for bar in expected if bar not in short]
    close([bar for bar in bars(panel)
           if not any(np.allclose(bar, other, rtol=0, atol=0.02) for other in short)], expected)
    assert EXPLAINED in panel.plots or not expected


def part_intervals(model, panel, rows, columns):
    """Twice, for the rim: at the upper edge of the part, or the lower one where that would leave the
    whole."""
    expected = []
    for row in rows:
        top = 0.0
        for number, column in enumerate(columns, 1):
            below, top = top, top + 100 * value(row, column)
            low, high = value(row, f"{column}_low"), value(row, f"{column}_high")
            if low is not None:
                low, high = (below + 100 * low, below + 100 * high) if below + 100 * high <= 100 \
                    else (top - 100 * high, top - 100 * low)
                x = panel.x(model.at(row["layer"], -0.4 + 0.8 * number / (len(columns) + 1)))
                expected += 2 * [(x, panel.y(min(high, 100)), panel.y(max(low, 0)))]
    return expected


def check_figures(out, models):
    """All pictures of these models."""
    svg = {name: read_svg(out / f"{name}.svg") for name in NAMES}
    for panels, _ in svg.values():
        check_visible(panels)
    for figure, (name, scale, series, boxes) in POINTS.items():
        (panel,), _ = svg[figure]
        log = figure == "fig05"
        for model in models:
            rows = model.rows(name)
            for title, column, offset in series:
                (plot,) = panel.plots[model.name + title]
                close(plot.points, model.points(panel, rows, column, scale, log, offset))
                close(corners(plot.lines), corners(model.line(panel, rows, column, scale, log, offset)))
            if boxes:
                (plot,) = panel.plots[model.name + boxes]
                close(plot.boxes, upright(model.quartiles(panel, rows, scale, log)))
            if figure in MEDIANS:
                (plot,) = panel.plots[model.name + ": median"]
                close(ends(plot.lines), model.medians(panel, rows, scale))
        shown = [(column, offset)
                 for _, column, offset in series] + ([("frequent", -0.22)] if figure == "fig04" else [])
        check_bars(panel, [bar for model in models for column, offset in shown
                           for bar in model.intervals(panel, model.rows(name), column, offset)])
    for figure, (title, columns, offset) in LINES.items():
        (panel,), _ = svg[figure]
        for number, model in enumerate(models):
            name, scale = POINTS[figure][:2]
            drawn = panel.plots[model.name + title] + panel.plots.get(None, [])[number:number + 1]
            for plot, column in zip(drawn[:len(columns)], columns, strict=True):
                close(corners(plot.lines),
                      corners(model.line(panel, model.rows(name), column, scale, figure == "fig05", offset)))
    for figure, (name, parts) in STACKS.items():
        panels, _ = svg[figure]
        for model, panel in zip(models, panels, strict=True):
            below = {row["layer"]: 0.0 for row in model.rows(name)}
            for title, column in parts.items():
                (plot,) = panel.plots[title]
                expected = []
                for row in model.rows(name):
                    low = below[row["layer"]]
                    below[row["layer"]] = high = low + 100 * value(row, column)
                    expected.append(model.box(panel, row["layer"], low, high))
                close(plot.boxes, expected)
            check_bars(panel, part_intervals(model, panel, model.rows(name), list(parts.values())))
    panels, _ = svg["fig03"]
    for model, panel in zip(models, panels, strict=True):
        for kind, offset in KINDS.items():
            rows = [row for row in model.rows("perturbation") if row["kind"] == kind]
            (median,), (mean,) = panel.plots[f"{kind}: median"], panel.plots[f"{kind}: mean"]
            close(median.points, model.points(panel, rows, "p50", 1, offset=offset))
            close(corners(median.lines), corners(model.line(panel, rows, "p50", 1, offset=offset)))
            close(mean.points, model.points(panel, rows, "mean", 1, offset=offset))
            assert not mean.lines \
                and {"#gpPt1"} == {mark for mark in mean.style if mark.startswith("#gpPt")} - median.style
            (plot,) = panel.plots[f"{kind}: quartiles"]
            close(plot.boxes, upright(model.quartiles(panel, rows, 1, ends=(offset - 0.12, offset + 0.12))))
    panels, _ = svg["shallow"]
    for model, panel in zip(models, panels, strict=True):
        for title, column in SHALLOW.items():
            (plot,) = panel.plots[title]
            close(plot.points, model.points(panel, model.rows("shallow"), column, 100))
        check_bars(panel, [bar for column in SHALLOW.values()
                           for bar in model.intervals(panel, model.rows("shallow"), column)])
    panels, _ = svg["ablation"]
    for model, panel in zip(models, panels, strict=True):
        rows = {kind: [row for row in model.rows("ablation") if row["kind"] == kind] for kind in REMOVED}
        for kind, (title, offset) in REMOVED.items():
            (plot,) = panel.plots[title]
            close(plot.points, model.points(panel, rows[kind], "changed", 100, offset=offset))
            close(corners(plot.lines), corners(model.line(panel, rows[kind], "changed", 100, offset=offset)))
        check_bars(panel, [bar for kind, (_, offset) in REMOVED.items()
                           for bar in model.intervals(panel, rows[kind], "changed", offset)])
    panels, _ = svg["fig08"]
    for panel, series in zip(panels, COMPOSITION, strict=True):
        for model in models:
            for title, column, offset in series:
                (plot,) = panel.plots[model.name + title]
                close(plot.points, model.points(panel, model.rows("composition"), column, 100, offset=offset))
        check_bars(panel, [bar for model in models for _, column, offset in series
                           for bar in model.intervals(panel, model.rows("composition"), column, offset)])
    (panel,), _ = svg["fig06"]
    bins = [row for model in models for row in model.rows("confidence")]
    log = max(float(row["high"]) for row in bins) > 20 * min(float(row["low"]) or float(row["high"]) / 10
                                                               for row in bins)
    expected = []
    for model in models:
        (plot,) = panel.plots[model.name]
        points, bins = [], []
        for row in model.rows("confidence"):
            if row["agree_next"]:
                low, high = float(row["low"]) or float(row["high"]) / 10, float(row["high"])
                y = panel.y(100 * float(row["agree_next"]))
                x = panel.x(math.sqrt(low * high) if log else (low + high) / 2, log)
                points.append((x, y))
                bins.append((panel.x(low, log), y, panel.x(high, log), y))
                if value(row, "agree_next_low") is not None:
                    expected.append((x, panel.y(100 * float(row["agree_next_high"])),
                                     panel.y(100 * float(row["agree_next_low"]))))
        close(plot.points, points)
        close([sum(sorted(piece), ()) for piece in plot.lines if piece[0][1] == piece[-1][1]], bins)
    check_bars(panel, expected)
    check_published(svg, models[0])


def check_visible(panels):
    """All of a point is within the axes."""
    for panel in panels:
        for plots in panel.plots.values():
            for plot in plots:
                assert all(y <= panel.bottom - 3 for _, y in plot.points)


def published(figure, series):
    rows = [row for row in table(ROOT / "data" / "published.csv")
            if (row["figure"], row["series"]) == (str(figure), series)]
    assert rows
    return rows


def check_published(svg, model):
    def edges(panel, row):
        """Of the paper's 16 layers on this axis."""
        scale, start = (1, 0) if model.mixed else (model.layers, 0.5)
        return [panel.x((float(row[column]) - before) / 16 * scale + start)
                for column, before in (("from_layer", 1), ("to_layer", 0))]

    for figure, place, series, title in ((4, 0, "agree_next", "published: next token"),
                                         (4, 0, "random", "published: random token"),
                                         (8, 1, "stop_word", "published: stop word"),
                                         (8, 1, "short_prefix", "published: short prefix"),
                                         (9, 0, "residual_is_final",
                                          "published: about a third in the bottom layers")):
        panel = svg[f"fig{figure:02}"][0][place]
        (plot,) = panel.plots[title]
        rows = published(figure, series)
        expected = []
        for row in rows:
            left, right = edges(panel, row)
            expected.append((left, panel.y(100 * float(row["value"])), right,
                             panel.y(100 * float(row["value"]))))
        flat = [sum(sorted(piece), ()) for piece in plot.lines if piece[0][1] == piece[-1][1]]
        close(flat, expected)
        if series != "random":  # which is no more than a line
            close(plot.points, [((left + right) / 2, y) for left, y, right, _ in expected])
    for figure, series, title in ((7, "active", "published: all layers"),
                                  (8, "zero_agreement", "published: all layers"),
                                  (2, "covered", "published: with any pattern")):
        panels = svg[f"fig{figure:02}"][0]
        for panel in panels if figure == 2 else panels[:1]:
            (plot,) = panel.plots[title]
            (row,) = published(figure, series)
            left, right = edges(panel, row)
            box = [left, right, panel.y(100 * float(row["high"])), panel.y(100 * float(row["low"]))]
            corners = [corner for piece in plot.lines for corner in piece]
            x, y = zip(*corners)
            close([(min(x), max(x), min(y), max(y))], [tuple(box)])
    text = " ".join(filter(None, svg["fig06"][1]))
    for series in ("top_100_agree", "top_100_in_layers"):
        (row,) = published(6, series)
        assert f" {100 * float(row['value']):.0f} " in text


# -------------------------------------------------------------------- the tests

def models_of(tmp_path, intervals, **layers):
    """Folders of tables by model's name, with gaps."""
    mixed = len(set(layers.values())) > 1
    return [Model(make_tables(tmp_path / name, count, seed, gaps=count > 2, intervals=intervals), count,
                  mixed)
            for seed, (name, count) in enumerate(layers.items())]


@pytest.mark.parametrize("layers, intervals",
                         [({"one": 16}, False), ({"one": 16}, True), ({"a": 16, "b_c": 30}, True),
                          ({"a": 5, "b": 5}, True), ({"flat": 1}, False), ({"deep": 100}, True)], ids=str)
def test_pictures_have_the_tables_numbers(tmp_path, layers, intervals):
    models = models_of(tmp_path, intervals, **layers)
    figures(tmp_path / "out", *(model.folder for model in models))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == \
        sorted(f"{name}.{kind}" for name in NAMES for kind in FORMATS)
    check_figures(tmp_path / "out", models)
    texts = {name: read_svg(tmp_path / "out" / f"{name}.svg")[1] for name in NAMES}
    for name, row in DRAWN.items():
        assert (EXPLAINED in texts[name]) \
            == (intervals and bool(set(SHARES.get(table_of(row), "").split()) & set(row["columns"].split())))
        titles = [part for text in texts[name] for part in re.split(", |: ", text or "")]
        assert {model.name for model in models} <= set(titles), "titles name the models"
        assert not {"layer", "layer\n "} & set(texts[name])
    assert len(layers) > 1 or "layer (1 is the first)" in texts["fig09"]


def test_intervals_of_one_model_alone(tmp_path):
    """The other's table is of a version that had none."""
    models = [Model(make_tables(tmp_path / "new", 6, 1, intervals=True), 6, False),
              Model(make_tables(tmp_path / "old", 6, 2), 6, False)]
    figures(tmp_path / "out", *(model.folder for model in models))
    check_figures(tmp_path / "out", models)


def test_values_at_the_axis_end_are_within_the_axes(tmp_path):
    """As figure 4's are, 0 in most layers of large models; ranks of 1."""
    folder = make_tables(tmp_path / "model", 6,
                         only=["agreement", "composition", "refinement", "shallow", "rank", "confidence"])
    for path in folder.iterdir():
        write(path, list(table(path)[0]), [
            {name: text if name in ("layer", "low", "high") else 0 if path.stem != "rank" else 1
             if row["layer"] == "2" else 1000
             for name, text in row.items()} for row in table(path)])
    figures(tmp_path / "out", folder, warning=r"Warning: empty y range .*\n")
    for path in (tmp_path / "out").glob("*.svg"):
        panels, _ = read_svg(path)
        check_visible(panels)
        for panel in panels:
            points = [y for title, plots in panel.plots.items() for plot in plots for _, y in plot.points
                      if title and title.startswith("model")]
            expected = panel.y(1, log=True) if path.stem == "fig05" else panel.y(0)
            assert path.stem == "shallow" or max(points) == pytest.approx(expected, abs=PIXELS)


def test_several_titles_of_models_have_lines_enough(tmp_path):
    """Long names go to further lines, so that none is cut off."""
    names = [letter * 40 for letter in "abcdef"]
    figures(tmp_path / "out", *(make_tables(tmp_path / name, 2, only=["refinement"]) for name in names))
    lines = [text for text in read_svg(tmp_path / "out" / "fig09.svg")[1] if text
             and re.fullmatch(r"[a-f, ]+", text) and ", " in text]
    assert lines == [f"{names[i]}, {names[i + 1]}," for i in (0, 2)] + [f"{names[4]}, {names[5]}"]


def luminance(color):
    parts = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.dot([0.2126, 0.7152, 0.0722],
                  [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts])


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


PAGE = {"light": "#ffffff", "dark": "#15181c"}
FAINT = {"#dddddd", "#eeeeee"}           # grid, areas with a border
RIM = {"#ffffff", "#FFFFFF", "white", "#fafafa"}
NAMED = {"black": "#000000", "white": "#ffffff"}


def colors_when_dark(svg):
    """{(attribute, colour): the one on a dark page}, of the picture's own style."""
    media = svg.split("@media (prefers-color-scheme: dark) {")[1].split("</style>")[0]
    rules = {}
    for selectors, name, color in re.findall(r"^\s*(\[.*\]) \{ (\w+): (#\w{6}) \}$", media, re.MULTILINE):
        for attribute, wanted in re.findall(r'\[(\w+)="([^"]+)"\]', selectors):
            assert attribute == name
            rules[attribute, wanted] = color
    return rules


def colors_of(svg):
    return {(attribute, color)
            for attribute, color in re.findall(r"(?<![-\w])(color|stroke|fill) ?= ?[\"']([^\"']+)[\"']", svg)
            if color not in ("none", "currentColor", "lightgrey")}


def test_pictures_are_legible_on_light_and_on_dark_pages(tmp_path):
    """WCAG's 3 to 1 on the dark page for whatever is drawn, of six models; 4.5 to 1 for text, which is
    black."""
    folders = [make_tables(tmp_path / name, 4, intervals=True) for name in "abcdef"]
    figures(tmp_path / "out", *folders)
    for name in NAMES:
        svg = (tmp_path / "out" / f"{name}.svg").read_text()
        rules = colors_when_dark(svg)
        found = colors_of(svg)
        assert ("fill", "#ffffff") in found and rules["fill", "#ffffff"] == PAGE["dark"]
        assert contrast(rules["fill", "black"], PAGE["dark"]) >= 4.5
        for attribute, color in found:
            assert re.fullmatch("#[0-9a-fA-F]{6}", color) or color in NAMED, color
            dark = rules.get((attribute, color), NAMED.get(color, color))
            if color in RIM - {"#fafafa"}:
                assert dark == PAGE["dark"], (attribute, color)
            elif color not in FAINT | RIM | {"#111111"}:
                assert contrast(dark, PAGE["dark"]) >= 3, (attribute, color)
        # What differs on a light page differs on a dark one.
        inks = {rules.get(("fill", color), color)
                for color in ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")}
        assert len(inks) == 6 and "#a5dcff" in inks


def test_browsers_show_the_picture_of_the_page(tmp_path):
    """As <img>, light or dark: as the system is, and as the page says when it has a say."""
    matplotlib = pytest.importorskip("matplotlib.image")
    figures(tmp_path / "out", make_tables(tmp_path / "model", 4, only=["refinement"]))
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    with browser.browser(900, 700) as window:
        for dark in (False, True):
            for scheme in ("light dark", "light", "dark"):
                page.write_text(
                    f'<html style="color-scheme: {scheme}"><body style="margin: 0"><img src="out/fig09.svg">')
                window.emulate(900, 700, dark)
                window.open(page)
                window.screenshot(shot)
                corner = "#" + "".join(f"{round(255 * part):02x}"
                                       for part in matplotlib.imread(shot)[5, 5][:3])
                assert corner == PAGE["dark" if scheme == "dark"
                                      or (dark and scheme != "light") else "light"], (dark, scheme)


def test_pdf_is_one_page_with_text(drawn):
    for name in NAMES:
        path = drawn / "out" / f"{name}.pdf"
        assert path.read_bytes().startswith(b"%PDF-")
        info = subprocess.run(["pdfinfo", path], capture_output=True, text=True, timeout=TIMEOUT,
                              check=True).stdout
        root = ET.parse(drawn / "out" / f"{name}.svg").getroot()
        points = " x ".join(f"{int(root.get(side)) * 0.75:g}" for side in ("width", "height"))
        assert re.search(r"^Pages: +1$", info, re.MULTILINE) and f" {points} pts" in info
        text = subprocess.run(["pdftotext", "-raw", path, "-"], capture_output=True, text=True,
                              timeout=TIMEOUT, check=True).stdout
        wanted = {line.strip()
                  for line in read_svg(drawn / "out" / f"{name}.svg")[1] if line and len(line.strip()) > 3}
        text = "".join(unicodedata.normalize("NFKC", text).split())  # without ligatures
        assert wanted and not {line for line in wanted if "".join(line.split()) not in text}


def test_png_and_pdf_are_light(drawn):
    """They are for print; and rsvg-convert does not follow the media query."""
    matplotlib = pytest.importorskip("matplotlib.image")
    for name in NAMES:
        assert matplotlib.imread(drawn / "out" / f"{name}.png")[3, 3][:3].tolist() == [1, 1, 1]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of tables and its pictures."""
    place = tmp_path_factory.mktemp("drawn")
    make_tables(place / "model", 16)
    figures(place / "out", place / "model")
    return place


def pictures(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_tables_same_bytes(tmp_path, drawn):
    """Whatever the place, the locale, and what gnuplot is told at home."""
    (tmp_path / "model").symlink_to(drawn / "model")
    (tmp_path / ".gnuplot").write_text("set grid\nset title 'mine'\n")
    figures("out", "model", cwd=tmp_path,
            env={"HOME": str(tmp_path), "LC_ALL": "de_DE.UTF-8", "TZ": "Asia/Tokyo"})
    assert pictures(tmp_path / "out") == pictures(drawn / "out")


def test_png_has_twice_the_pixels(drawn):
    for name in NAMES:
        root = ET.parse(drawn / "out" / f"{name}.svg").getroot()
        png = (drawn / "out" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG\r\n\x1a\n") and png.endswith(b"IEND\xaeB`\x82")
        assert struct.unpack(">II", png[16:24]) == (2 * int(root.get("width")), 2 * int(root.get("height")))


def test_a_changed_number_changes_its_picture_only(tmp_path, drawn):
    tables = tmp_path / "model"
    tables.mkdir()
    for path in (drawn / "model").iterdir():
        (tables / path.name).write_bytes(path.read_bytes())
    rows = table(tables / "cases.csv")
    rows[3]["ffn"] = float(rows[3]["ffn"]) / 2
    write(tables / "cases.csv", list(rows[0]), rows)
    figures(tmp_path / "out", tables)
    before, after = pictures(drawn / "out"), pictures(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {f"fig11.{kind}" for kind in FORMATS}


def test_models_differ_in_colour_and_in_shape(tmp_path):
    folders = [make_tables(tmp_path / name, 4, only=["active"]) for name in "abcdef"]
    figures(tmp_path / "out", *folders)
    (panel,), _ = read_svg(tmp_path / "out" / "fig07.svg")
    styles = [panel.plots[f"{name}: mean"][0].style for name in "abcdef"]
    assert all(len(style) == 2 for style in styles)
    assert len(set().union(*styles)) == 12


def test_a_model_keeps_its_colour_where_others_have_no_table(tmp_path):
    make_tables(tmp_path / "a", 4, only=["rank"])
    make_tables(tmp_path / "b", 4, only=["rank", "active"])
    figures(tmp_path / "out", tmp_path / "a", tmp_path / "b")
    (ranks,), _ = read_svg(tmp_path / "out" / "fig05.svg")
    (active,), _ = read_svg(tmp_path / "out" / "fig07.svg")
    assert ranks.plots["b: median"][0].style == active.plots["b: mean"][0].style
    assert "a: mean" not in active.plots


def test_narrow_confidence_has_a_linear_axis(tmp_path):
    """As the shipped model's: all bins within one power of ten."""
    model = Model(make_tables(tmp_path / "model", 4, confidence=(0.00056, 0.0011)), 4, False)
    figures(tmp_path / "out", model.folder)
    check_figures(tmp_path / "out", [model])


def test_confidence_from_0(tmp_path):
    model = Model(make_tables(tmp_path / "model", 4), 4, False)
    rows = table(model.folder / "confidence.csv")
    rows[0]["low"] = 0
    write(model.folder / "confidence.csv", list(rows[0]), rows)
    figures(tmp_path / "out", model.folder)
    check_figures(tmp_path / "out", [model])


def test_depth_is_that_of_all_tables(tmp_path):
    """Annotated keys may be of some layers only."""
    folder = make_tables(tmp_path / "model", 6)
    rows = [row for row in table(folder / "patterns.csv") if row["layer"] in ("2", "4")]
    write(folder / "patterns.csv", list(rows[0]), rows)
    figures(tmp_path / "out", folder)
    check_figures(tmp_path / "out", [Model(folder, 6, False)])
    (panel,), _ = read_svg(tmp_path / "out" / "fig02.svg")
    assert len(panel.plots["both"][0].boxes) == 2 and 6 in panel.x.tics


@pytest.mark.parametrize("words", ["|m| >= 0.1 max |m|", "-m > 0.5", "m > 1e-05", "m > 0"])
def test_another_meaning_of_active_is_not_drawn_beside_the_papers(tmp_path, words):
    """By hand: the model's title says what active means; what is published is there for the other model
    alone."""
    folders = [make_tables(tmp_path / name, 3, only=["active", "agreement"]) for name in ("other", "model")]
    rows = table(folders[1] / "active.csv")
    write(folders[1] / "active.csv", list(rows[0]),
          [{**row, "active": f'"{words}"', "comparable": 0} for row in rows])
    for models, published_too in ((folders[1:], False), (folders, True)):
        figures(tmp_path / "out", *models)
        (panel,), texts = read_svg(tmp_path / "out" / "fig07.svg")
        assert f"model: mean ({words})" in panel.plots
        assert ("published: all layers" in panel.plots, "other: mean" in panel.plots) == (published_too,) * 2
        assert ("Figure 7: active memories (m > 0, where nothing else is said)" in texts) == published_too


@pytest.mark.parametrize("rows, said, like_paper", [
    ([(10, 2, "person", 1)] * 3, "30 keys in 3 layers, 2 readers a layer (person)", True),
    ([(10, 1, "person", 1), (9, 1, "person", 0), (10, 2, "person", 1)],
     "29 keys in 3 layers, 2 readers a layer (person)", False),
    ([(1, 1, "program", 0)], "1 key in 1 layer, 1 reader a layer (program)", False),
    ([(10, 1, "person", 1), (10, 2, "mixed", 0), (10, 1, "mixed", 0)],
     "30 keys in 3 layers, 2 readers a layer (person mixed)", False)])
def test_a_programs_readings_are_not_drawn_beside_the_papers(tmp_path, rows, said, like_paper):
    """By hand.  Who read how many keys stands above the panel; beside another model's, of people, whose panel
    has both."""
    folders = [make_tables(tmp_path / name, 3, only=["patterns", "agreement"]) for name in ("other", "model")]
    made = table(folders[1] / "patterns.csv")[:len(rows)]
    for row, (keys, readers, kind, comparable) in zip(made, rows):
        row.update(keys=keys, readers=readers, reader_kind=kind, comparable=comparable)
    write(folders[1] / "patterns.csv", list(made[0]), made)
    figures(tmp_path / "out", *folders)
    panels, texts = read_svg(tmp_path / "out" / "fig02.svg")
    assert ["published: with any pattern" in panel.plots for panel in panels] == [True, like_paper]
    assert {"other: 30 keys in 3 layers, 2 readers a layer (person)", f"model: {said}"} <= set(texts)


def test_no_number_at_all(tmp_path):
    """As where no key is live: there are the axes and what is published."""
    model = Model(make_tables(tmp_path / "model", 3), 3, False)
    for path in model.folder.iterdir():
        rows = table(path)
        write(path, list(rows[0]),
              [{name: row[name] if name in ("layer", "kind", "removed", "keys", "readers", "reader_kind",
                                            "active", "comparable", "low", "high") else None
                for name in row} for row in rows])
    figures(tmp_path / "out", model.folder, warning=r"Warning: empty y range .*\n")
    check_published({name: read_svg(tmp_path / "out" / f"{name}.svg") for name in NAMES}, model)
    for name in NAMES:
        for panel in read_svg(tmp_path / "out" / f"{name}.svg")[0]:
            assert not any(plot.points or plot.boxes for title, plots in panel.plots.items() for plot in plots
                           if not (title or "").startswith("published"))


def test_a_missing_table_leaves_its_figure_out(tmp_path):
    folder = make_tables(tmp_path / "model", 4, only=["agreement", "refinement"])
    done = figures(tmp_path / "out", folder)
    assert sorted(pictures(tmp_path / "out")) == [f"{name}.{kind}" for name in ("fig04", "fig09", "fig10")
                                                  for kind in FORMATS]
    left_out = re.findall(r"^(\w+): left out, there is no ([\w-]+\.csv)$", done.stdout, re.MULTILINE)
    assert left_out == [(name, row["result"]) for name, row in DRAWN.items()
                        if name not in ("fig04", "fig09", "fig10")]
    assert {("fig02", "patterns.csv"), ("fig11", "cases.csv"), ("shallow", "shallow.csv")} <= set(left_out)


def test_the_papers_figures_are_drawn():
    assert {*(f"fig{number:02}" for number in range(2, 12)), "shallow", "ablation"} <= set(NAMES)


BAD = {
    "text for a number": ("active", lambda text: text.replace("\n2,", "\n2,7,many,0,0,0,m > 0,1\n2,"),
                          'line 3, column mean: "many" is not a number'),
    "nan": ("active", lambda text: text.replace("\n2,", "\n2,7,nan,0,0,0,m > 0,1\n2,"),
            '"nan" is not a number'),
    "hexadecimal": ("active", lambda text: text.replace("\n2,", "\n2,7,0x10,0,0,0,m > 0,1\n2,"), '"0x10"'),
    "terminal's escape": ("active", lambda text: text.replace("\n2,", "\n2,7,\x1b[31m,0,0,0,m > 0,1\n2,"),
                          '"?[31m"'),
    "an unknown meaning of active": ("active", lambda text: text.replace("m > 0", "m \x1b[31m"),
                                     '"m ?[31m" is not what composition-stats writes'),
    "a field too few": ("rank", lambda text: text.replace("\n3,", "\n3,1\n3,"), "line 4 has 2 fields"),
    "a field too many": ("rank", lambda text: text.replace("\n3,", "\n3,1,1,1,1,1,1,1\n3,"),
                         "line 4 has 8 fields"),
    "another table": ("cases", lambda text: text.replace("ffn", "fnn"), "no column ffn"),
    "no rows": ("cases", lambda text: text.splitlines()[0] + "\n", "no rows"),
    "empty": ("cases", lambda text: "", "no rows"),
    "layer 0": ("agreement", lambda text: text.replace("\n1,", "\n0,"), 'column layer: "0"'),
    "no layer": ("agreement", lambda text: text.replace("\n1,", "\n,"), 'column layer: ""'),
    "half a layer": ("agreement", lambda text: text.replace("\n1,", "\n1.5,"), 'column layer: "1.5"'),
    "half an interval": (
        "active", lambda text: re.sub("^(.*)$", r"\1,0", text.replace("p75", "p75,mean_low"),
                                      flags=re.MULTILINE).replace("low,0", "low"),
        "no column mean_high beside mean_low"),
    "text for an interval": (
        "active", lambda text: re.sub("^(.*)$", r"\1,0,much", text, flags=re.MULTILINE)
        .replace("0,much", "mean_low,mean_high", 1),
        'line 2, column mean_high: "much" is not a number'),
    "unknown kind": ("perturbation", lambda text: text.replace("first", "fist", 1),
                     "one of first|last|random"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused_before_anything_is_drawn(tmp_path, case):
    name, change, says = BAD[case]
    folder = make_tables(tmp_path / "model", 4)
    path = folder / f"{name}.csv"
    text = path.read_text()
    path.write_text(change(text))
    assert path.read_text() != text
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "fig04.svg").write_text("of an earlier run")
    done = figures(tmp_path / "out", folder, status=1)
    assert done.stderr.startswith(f"figures.sh: {path}: ") and says in done.stderr
    assert done.stderr.endswith("\n") and done.stderr[:-1].isprintable()
    assert pictures(tmp_path / "out") == {"fig04.svg": b"of an earlier run"}


def test_a_folder_in_a_tables_place(tmp_path):
    folder = make_tables(tmp_path / "model", 4, only=["rank"])
    (folder / "active.csv").mkdir()
    done = figures(tmp_path / "out", folder, status=1)
    assert done.stderr == f"figures.sh: {folder}/active.csv: this is not a file\n"


def test_names_of_models_are_text(tmp_path):
    names = ["a_{b}^c", "<svg> & 'q' \"d\"", "$(touch x) `touch y`", "größer", "%s\\n", "< ls |"]
    for name in names:
        make_tables(tmp_path / name, 2, only=["active", "cases"])
    figures("out", *("./" + name for name in names[:-1]), names[-1], cwd=tmp_path)
    (panel,), _ = read_svg(tmp_path / "out" / "fig07.svg")
    assert {f"{name}: mean" for name in names} < set(panel.plots)
    assert set(names) < set(read_svg(tmp_path / "out" / "fig11.svg")[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "out"])


def test_wrong_usage():
    for arguments in ([], ["out"], ["out", *"abcdefg"]):
        done = subprocess.run([FIGURES, *arguments], capture_output=True, text=True, timeout=TIMEOUT,
                              check=False)
        assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_no_such_folder(tmp_path):
    done = figures(tmp_path / "out", tmp_path / "none", status=1)
    assert done.stderr == f"figures.sh: {tmp_path}/none: there is no such folder\n"


def with_program(tmp_path, name, script):
    """The environment in which the program is this shell script."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / name).chmod(0o755)
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


def test_a_gnuplot_that_fails_leaves_no_picture(tmp_path):
    """Nor does one that claims to have drawn it, or half of it; and the picture of before stays."""
    folder = make_tables(tmp_path / "model", 4, only=["active"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "fig07.svg").write_text("of an earlier run")
    drew = "gnuplot could not draw fig07 from active.csv"
    for script, says in [("printf '<svg>\\n<defs>\\n</svg>\\n\\n'; exit 1", drew), ("kill -9 $$", drew),
                         ("exit 0", drew), ("echo '<svg></svg>'", drew),
                         ("printf '<svg>\\n<defs>\\n'", "gnuplot left fig07.svg incomplete"),
                         ("printf '<svg>\\n<defs>\\n</svg>\\n\\n'", "rsvg-convert could not make fig07.pdf")]:
        done = figures(tmp_path / "out", folder, status=1, env=with_program(tmp_path, "gnuplot", script))
        assert done.stderr.endswith(f"figures.sh: {says}\n")
        assert pictures(tmp_path / "out") == {"fig07.svg": b"of an earlier run"}


def test_a_converter_that_fails_leaves_no_picture(tmp_path):
    """Nor does one that claims to have converted it, or half of it."""
    folder = make_tables(tmp_path / "model", 4, only=["active"])
    for script, kind in [("exit 1", "pdf"), ("kill -9 $$", "pdf"), ("exit 0", "pdf"),
                         ("echo %PDF-1.5", "pdf"), ("echo %%EOF", "png")]:
        done = figures(tmp_path / "out", folder, status=1, env=with_program(tmp_path, "rsvg-convert", script))
        assert done.stderr.endswith(f"figures.sh: rsvg-convert could not make fig07.{kind}\n")
        assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("blocks, says", [(8, "gnuplot could not draw fig07 from active.csv"),
                                          (80, "rsvg-convert could not make fig07.png")])
def test_full_disk(tmp_path, blocks, says):
    """As far as a limit on the size of files can show it, of which gnuplot says as little as of a full
    disk."""
    folder = make_tables(tmp_path / "model", 4, only=["active"])
    done = subprocess.run(["/bin/sh", "-c", f"trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"", "sh", FIGURES,
                           tmp_path / "out", folder],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.endswith(f"figures.sh: {says}\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_picture_whose_table_has_gone(tmp_path):
    """It goes as well; what else is in the folder stays."""
    folder = make_tables(tmp_path / "model", 4, only=["active", "cases"])
    figures(tmp_path / "out", folder)
    (tmp_path / "out" / "mine.svg").write_text("mine")
    (folder / "cases.csv").unlink()
    figures(tmp_path / "out", folder)
    assert pictures(tmp_path / "out").keys() == {"fig07.svg", "fig07.pdf", "fig07.png", "mine.svg"}


def test_published_numbers_have_their_source():
    rows = table(ROOT / "data" / "published.csv")
    text = (ROOT / "data" / "published.csv").read_text()
    assert all(len(row) == 9 for row in csv.reader(text.splitlines()))
    for row in rows:
        assert 1 <= int(row["from_layer"]) <= int(row["to_layer"]) <= 16
        assert bool(row["value"]) != bool(row["low"] and row["high"])
        assert row["source"].startswith("text of section ") and row["says"]
