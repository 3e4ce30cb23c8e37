#!/usr/bin/python3
"""Writes the tables of results.md anew, from the CSV tables beside it and from the numbers
that the paper states, data/published.csv.  A test fails when that would change anything.

usage: doc/results.py

A table stands behind its mark, <!-- table: NAME -->.  Here is what is in it: rows of a
measure, the paper's number, and a function that gives a model's.  Layers count from 1.
Behind a share is its 95 % interval, of the columns X_low and X_high where a table has them.
"""

import csv
import math
import pathlib
import re
import statistics

FOLDER = pathlib.Path(__file__).resolve().parent
PAGE = FOLDER / "results.md"
NOT_STATED = "not stated in the text"
OTHERWISE = "not measured as in the paper"
OURS = "(ours)"


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------ numbers

def digits(number):
    """Two digits, or all before the point."""
    return f"{number:.0f}" if abs(number) >= 9.95 or number == 0 else f"{number:.2g}"


def change(numbers):
    """A range of changes in per cent, to a tenth."""
    low, high = (f"{round(end, 1) + 0.0:+.1f}".replace("+0.0", "0") for end in (min(numbers), max(numbers)))
    return f"{low} to {high} %"


def percent(share):
    return 100 * share


def of_hundred(share):
    return f"{percent(share):.0f} of 100"


def span(numbers, unit=""):
    low, high = digits(min(numbers)), digits(max(numbers))
    return (low if low == high else f"{low} to {high}") + unit


def brackets(limits):
    """Behind a share in per cent: (low, high), or nothing."""
    return f" ({digits(percent(limits[0]))} to {digits(percent(limits[1]))})" if limits else ""


def half(limits):
    return (limits[1] - limits[0]) / 2


def widest(intervals):
    """Behind a range over layers: the half of the widest of their intervals, {layer: (low, high)}, or
    nothing."""
    return f", ±{digits(percent(max(map(half, intervals.values()))))} at most" if intervals else ""


# ------------------------------------------------------- tables of the models

class Model:
    def __init__(self, name):
        self.name = name
        self.depth = len(self.table("agreement"))

    def table(self, name):
        return read(FOLDER / self.name / f"{name}.csv")

    def has(self, name):
        return (FOLDER / self.name / f"{name}.csv").exists()

    def column(self, table, column, **where):
        """{layer: number} of the rows that have these texts in other columns."""
        return {int(row["layer"]): float(row[column]) for row in self.table(table)
                if all(row[name] == text for name, text in where.items())}

    def limits(self, table, column, **where):
        """{layer: (low, high)} of the rows that have an interval of this share."""
        if f"{column}_low" not in self.table(table)[0]:
            return {}
        ends = [self.column(table, f"{column}_{end}", **where) for end in ("low", "high")]
        return {layer: (low, ends[1][layer]) for layer, low in ends[0].items()}

    def is_comparable(self, table):
        """Whether all layers were measured as the paper's were, as the table's column says."""
        return all(row.get("comparable") == "1" for row in self.table(table))

    def third(self, number):
        """Layers of the lower (0), middle (1) or upper (2) third of the depth."""
        return [layer for layer in range(1, self.depth + 1)
                if number * self.depth < 3 * layer <= (number + 1) * self.depth]


MODELS = [Model("brown-lm"), Model("smollm2")]


def share_of_row(row, name):
    """A share of a table's row, with its interval."""
    limits = [float(row[f"{name}_{end}"]) for end in ("low", "high") if f"{name}_{end}" in row]
    return f"{digits(percent(float(row[name])))} %{brackets(limits)}"


def share(column, model, layer):
    """Of one layer, with its interval."""
    return f"{digits(percent(column(model)[layer]))} %{brackets(column.limits(model).get(layer))}"


def at(column, layer):
    """A share of one layer, counted from the end where negative."""
    return lambda model: share(column, model, layer if layer > 0 else model.depth + 1 + layer)


def everywhere(column, within=lambda model, layer: True):
    """The range over these layers."""
    def cell(model):
        shares = [percent(share) for layer, share in column(model).items() if within(model, layer)]
        intervals = {layer: ends for layer, ends in column.limits(model).items() if within(model, layer)}
        return span(shares, " %") + widest(intervals)
    return cell


def thirds(what, column, paper=NOT_STATED, *, averaged=False, convert=percent, unit=" %"):
    """A row: of the lower, middle and upper third of the layers the range, or the mean."""
    def mean(model, layers, intervals):
        text = digits(statistics.fmean(convert(column(model)[layer]) for layer in layers))
        if not intervals:
            return text
        # Layers have different keys: their errors are independent.
        error = math.hypot(*(half(intervals[layer]) for layer in layers))
        return f"{text} ±{digits(convert(error) / len(layers))}"

    def cell(model):
        intervals = column.limits(model)
        if averaged:
            return " / ".join(mean(model, model.third(i), intervals) for i in range(3)) + unit
        parts = [[convert(column(model)[layer]) for layer in model.third(i)] for i in range(3)]
        return " / ".join(map(span, parts)) + unit + widest(intervals)
    return (f"{what}, by thirds", paper, cell)


def extreme(column, which):
    """The least (min) or largest (max) share, and the layers that have it when it is written down."""
    def cell(model):
        shares = {layer: digits(percent(share)) for layer, share in column(model).items()}
        first = which(column(model), key=column(model).get)
        layers = layer_list([layer for layer, text in shares.items() if text == shares[first]])
        interval = brackets(column.limits(model).get(first)).strip(" ()")
        return f"{shares[first]} % ({interval}{'; ' * bool(interval)}{layers})"
    return cell


def layer_list(layers):
    """[1, 2, 3, 5] -> "layers 1 to 3, 5"."""
    if not layers:
        return "no layer"
    runs = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    text = ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)
    return ("layer " if len(layers) == 1 else "layers ") + text


class Column:
    """Of a model's table: called, {layer: number}."""

    def __init__(self, table, name, **where):
        self.table, self.name, self.where = table, name, where

    def __call__(self, model):
        return model.column(self.table, self.name, **self.where)

    def limits(self, model):
        return model.limits(self.table, self.name, **self.where)


def of(table, name, **where):
    return Column(table, name, **where)


class Total:
    """The sums of columns, whose intervals the tables do not have."""

    def __init__(self, *columns):
        self.columns = columns

    def __call__(self, model):
        parts = [column(model) for column in self.columns]
        return {layer: sum(part[layer] for part in parts) for layer in parts[0]}

    def limits(self, model):
        return {}


def total(*columns):
    return Total(*columns)


# ------------------------------------------------------------- the paper

PUBLISHED = read(FOLDER.parent / "data" / "published.csv")


def stated(figure, series, layer=None, write=lambda number: digits(percent(number)) + " %"):
    """The number that the paper's text states, or the range; of the row that has this layer."""
    row, = [row for row in PUBLISHED if row["figure"] == figure and row["series"] == series
            and (layer is None or int(row["from_layer"]) <= layer <= int(row["to_layer"]))]
    if row["value"]:
        return write(float(row["value"]))
    low, high = float(row["low"]), float(row["high"])
    return f"at least {write(low)}" if high == 1 else span([percent(low), percent(high)], " %")


# ------------------------------------------------------------ the figures

def pattern_rows():
    shallow = total(of("patterns", "shallow"), of("patterns", "both"))
    semantic = total(of("patterns", "semantic"), of("patterns", "both"))

    def keys(model):
        rows = model.table("patterns")
        kinds = ", ".join(sorted({row["reader_kind"] for row in rows}))
        return f"{sum(int(row['keys']) for row in rows)} in {len(rows)} layers"\
               f" ({span([int(row['readers']) for row in rows])} a layer: {kinds})"

    def patterns(model):
        rows = model.table("patterns")
        return digits(sum(float(row["patterns_per_key"]) * int(row["keys"]) for row in rows)
                      / sum(int(row["keys"]) for row in rows))

    rows = [
        ("keys read (by how many readers: of which kind)", "ten of each layer (person)", keys),
        ("patterns a key", stated("2", "patterns_per_key", write=digits), like_paper("patterns", patterns)),
        ("triggers that show a pattern", stated("2", "covered"),
         like_paper("patterns", everywhere(of("patterns", "covered")))),
        ("triggers that show a shallow one", NOT_STATED, like_paper("patterns", everywhere(shallow))),
        ("triggers that show a semantic one", NOT_STATED, like_paper("patterns", everywhere(semantic))),
    ]
    return [(what, paper, lambda model, cell=cell: cell(model) if model.has("patterns") else "not read")
            for what, paper, cell in rows]


def like_paper(table, cell):
    """The cell of a model whose table was measured as the paper's was."""
    return lambda model: cell(model) if model.is_comparable(table) else OTHERWISE


def shallow_rows():
    alike, before = of("shallow", "same_last_1"), of("shallow", "overlap_before")
    return [
        thirds("triggers that end in the same token", alike, OURS),
        ("random prefixes that do", OURS, everywhere(of("shallow", "same_last_1_random"))),
        thirds("overlap of triggers' words before the last token", before, OURS),
        ("overlap of random prefixes' words", OURS,
         everywhere(of("shallow", "overlap_before_random"))),
    ]


def perturbation_rows():
    kinds = {kind: of("perturbation", "p50", kind=kind) for kind in ("first", "random", "last")}
    zeroed = of("perturbation", "zeroed", kind="last")

    def ordered(model):
        medians = [kinds[kind](model) for kind in ("last", "random", "first")]
        right = sum(a[layer] < b[layer] < c[layer] for a, b, c in [medians] for layer in a)
        return f"in {right} of {model.depth} layers"

    def weaker(model):
        return layer_list([layer for layer, median in kinds["last"](model).items() if median > -93])

    def median(kind):
        return lambda model: change(kinds[kind](model).values())

    return [
        ("without the first token: median change", NOT_STATED, median("first")),
        ("without a random token", NOT_STATED, median("random")),
        ("without the last token", NOT_STATED, median("last")),
        ("last changes more than random, random more than first", "yes", ordered),
        ("layers whose median without the last token is above -93 %", OURS, weaker),
        thirds("coefficients that are 0 without the last token", zeroed),
    ]


def agreement_rows():
    agree, frequent = of("agreement", "agree_next"), of("agreement", "frequent")

    def beaten(model):
        layers = sum(frequent(model)[layer] > share for layer, share in agree(model).items())
        low, high = frequent.limits(model), agree.limits(model)
        apart = sum(low[layer][0] > high[layer][1] for layer in low)
        return f"in {layers} of {model.depth} layers" + (f", in {apart} beyond the intervals" if low else "")

    low, high = stated("4", "agree_next", 1), stated("4", "agree_next", 16)
    random = stated("4", "random", write=lambda share: f"{100 * share:.4f} %")
    return [
        thirds("values that predict the next token, mean of the layers", agree,
               f"near {low} / near {low} / rising to {high}", averaged=True),
        ("most of any layer", high, extreme(agree, max)),
        ("last layer", high, at(agree, -1)),
        ("a random token would", random, everywhere(of("agreement", "random"))),
        ("the most frequent token would", OURS, everywhere(frequent)),
        ("the most frequent token would more often than the value", OURS, beaten),
    ]


def rank_rows():
    def middle(model):
        return digits(0.5 / float(model.table("agreement")[0]["random"]))

    return [
        thirds("median rank of the next token", of("rank", "p50"), convert=float, unit=""),
        thirds("rank that a tenth of the keys is below", of("rank", "p10"), convert=float, unit=""),
        ("half the tokens that can follow", OURS, middle),
    ]


def confidence_rows():
    def most(rows):
        return max(rows, key=lambda row: float(row["agree_next"]))

    def top(column, test):
        return lambda model: f"{sum(test(model, row[column]) for row in model.table('top-values'))} of 100"

    upper = top("layer", lambda model, layer: int(layer) in model.third(2))
    agree = top("agree_in_50", lambda model, count: int(count) > 0)
    return [
        ("values that predict the next token: the most confident tenth", NOT_STATED,
         lambda model: share_of_row(model.table("confidence")[-1], "agree_next")),
        ("at most in another tenth", NOT_STATED,
         lambda model: share_of_row(most(model.table("confidence")[:-1]), "agree_next")),
        ("largest probability of all", NOT_STATED,
         lambda model: digits(percent(float(model.table("confidence")[-1]["high"]))) + " %"),
        ("of the 100 most confident values, in the upper third",
         stated("6", "top_100_in_layers", write=of_hundred), upper),
        ("of these, predict what follows one of their key's triggers",
         stated("6", "top_100_agree", write=of_hundred), agree),
    ]


def top_values_table():
    """Of each model the most confident values, and the end of their first trigger."""
    lines = ["| model | layer | cell | promotes | probability | triggers "
             "| the first trigger ends in |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for model in MODELS:
        for row in model.table("top-values")[:5]:
            end = " ".join(row["example"].split()[-5:])
            cells = [model.name, row["layer"], row["cell"], code(row["token"]),
                     digits(percent(float(row["probability"]))) + " %", row["agree_in_50"], code(end)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def code(text):
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def active_rows():
    active = of("active", "mean")
    return [
        ("active is", "m > 0", lambda model: code_of_table(model.table("active")[0]["active"])),
        ("active memories: fewest of any layer", stated("7", "active"),
         like_paper("active", extreme(active, min))),
        ("most of any layer", stated("7", "active"), like_paper("active", extreme(active, max))),
        thirds("active memories, mean of the layers", active, "not compared", averaged=True),
    ]


def code_of_table(text):
    """In a cell of a table, where the sign | ends one."""
    return text.replace("|", "\\|")


def composition_rows():
    none = of("composition", "zero_agreement")
    return [
        ("no memory agrees: layer 1", stated("8", "zero_agreement"), at(none, 1)),
        ("layers where that is so for most prefixes", OURS,
         lambda model: layer_list([layer for layer, share in none(model).items() if share > 0.5])),
        thirds("no memory agrees", none, stated("8", "zero_agreement")),
        ("one agrees: its token is a stop word", stated("8", "stop_word"),
         everywhere(of("composition", "stop_word"))),
        ("one agrees: the prefix has fewer than 5 tokens", stated("8", "short_prefix"),
         everywhere(of("composition", "short_prefix"))),
    ]


def growth(column, papers=(NOT_STATED,) * 5):
    """Rows of what grows with the layers."""
    def end_of(number):
        return lambda model: at(column, model.third(number)[-1])(model)

    return [("layer 1", papers[0], at(column, 1)), ("layer 2", papers[1], at(column, 2)),
            ("end of the lower third", papers[2], end_of(0)),
            ("end of the middle third", papers[3], end_of(1)), ("last layer", papers[4], at(column, -1))]


def refinement_rows():
    third = f"bottom layers: about {stated('9', 'residual_is_final')}"
    return growth(of("refinement", "residual_is_final"), (third, third, *[NOT_STATED] * 3))


def probability_rows():
    rank = of("refinement", "rank_p50")

    def median(layer):
        return lambda model: digits(rank(model)[layer if layer > 0 else model.depth])

    probability = of("refinement", "probability")
    return [*growth(probability), ("most of any layer", NOT_STATED, extreme(probability, max)),
            ("median rank: layer 1", NOT_STATED, median(1)),
            ("median rank: last layer", NOT_STATED, median(-1))]


def case_rows():
    residual, block = of("cases", "residual"), of("cases", "ffn")
    kept, neither = total(residual, of("cases", "agreement")), of("cases", "composition")

    def changed(model):
        last = model.table("settled")[-1]
        assert int(last["layer"]) == model.depth + 1
        return f"{last['prefixes']} of {model.table('refinement')[0]['prefixes']}"

    return [
        ("the output keeps the residual's prediction: layer 1", NOT_STATED, at(kept, 1)),
        ("in all layers", NOT_STATED, everywhere(kept)),
        ("last layer", NOT_STATED, at(kept, -1)),
        ("changes to the block's: layers 1 and 2", NOT_STATED,
         lambda model: " and ".join(share(block, model, layer).replace(" %", "") for layer in (1, 2)) + " %"),
        ("layers above these", NOT_STATED, everywhere(block, lambda model, layer: layer > 2)),
        ("changes to neither's: layer 1", NOT_STATED, at(neither, 1)),
        ("layers 2 to the last but one", NOT_STATED,
         everywhere(neither, lambda model, layer: 1 < layer < model.depth)),
        ("last layer", NOT_STATED, at(neither, -1)),
        ("predictions that the last layer changes", NOT_STATED, changed),
        ("of these, to a word of distant meaning", stated("section 5.2", "distant", write=of_hundred),
         lambda model: "not read"),
    ]


def settled_rows():
    def settled(number):
        return lambda model: at(of("settled", "cumulative"), model.third(number)[-1])(model)

    return [
        ("perplexity on these prefixes", OURS,
         lambda model: digits(float(model.table("perplexity")[0]["perplexity"]))),
        ("the model's prediction is the next token", OURS,
         lambda model: share_of_row(model.table("perplexity")[0], "next_is_top")),
        ("the prediction stays from a layer of the lower third on", OURS, settled(0)),
        ("from one of the lower two thirds on", OURS, settled(1)),
        ("from some layer's residual on", OURS, settled(2)),
    ]


def ablation_rows():
    def changed(kind):
        return of("ablation", "changed", kind=kind, removed="10")

    def asked(model):
        layers = changed("top")(model)
        return f"{len(layers)} of {model.depth}, {model.table('ablation')[0]['prefixes']}"

    return [
        ("layers that were asked, prefixes", OURS, asked),
        ("predictions that change without the 10 that contribute most", OURS, everywhere(changed("top"))),
        ("most of any layer", OURS, extreme(changed("top"), max)),
        ("without 10 random active ones", OURS, everywhere(changed("random"))),
        ("without those that agree with the prediction, 10 at most", OURS, everywhere(changed("agreeing"))),
    ]


FIGURES = {
    "figure-2": pattern_rows, "shallow": shallow_rows, "figure-3": perturbation_rows,
    "figure-4": agreement_rows, "figure-5": rank_rows, "figure-6": confidence_rows,
    "figure-7": active_rows, "figure-8": composition_rows, "figure-9": refinement_rows,
    "figure-10": probability_rows, "figure-11": case_rows, "settled": settled_rows,
    "ablation": ablation_rows,
}
TABLES = {**{name: lambda rows=rows: figure_table(rows()) for name, rows in FIGURES.items()},
          "table-2": top_values_table}


# -------------------------------------------------------------- the page

def figure_table(rows):
    lines = ["| | paper | brown-lm | SmolLM2 |", "| --- | --- | --- | --- |"]
    for what, paper, cell in rows:
        lines.append(f"| {what} | {paper} | " + " | ".join(cell(model) for model in MODELS) + " |")
    return lines


def page(text):
    """The page with its tables as they should be."""
    for name, make in TABLES.items():
        mark = f"<!-- table: {name} -->\n"
        if text.count(mark) != 1:
            raise SystemExit(f"results.py: {PAGE}: there must be one {mark.strip()}")
        table = "\n".join(make()) + "\n"
        text = re.sub(re.escape(mark) + r"(?:\|.*\n)*", lambda found, whole=mark + table: whole, text)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
