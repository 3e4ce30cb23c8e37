"""doc/results.md: its tables are what doc/results.py makes of the CSV tables in doc/ and of the paper's
numbers, and some of them, computed here in other words, are right; what it says is larger is so beyond the
intervals."""

import csv
import importlib.util
import re
import shutil
import statistics

import pytest

import intervals
from conftest import ROOT
from test_intervals import SHARES

PAGE = ROOT / "doc" / "results.md"


def load(folder):
    """doc/results.py of a folder that has doc/ and data/published.csv."""
    spec = importlib.util.spec_from_file_location("results", folder / "doc" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_csv():
    assert load(ROOT).page(PAGE.read_text()) == PAGE.read_text(), "run doc/results.py"


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "doc", tmp_path / "doc", ignore=shutil.ignore_patterns("*.svg", "__pycache__"))
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "published.csv", tmp_path / "data")
    return tmp_path


def change(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("path, old, new", [
    ("doc/results.md", "about 33 % | 3.6 % (3 to 4.2) |", "about 33 % | 3.7 % (3 to 4.2) |"),
    ("doc/brown-lm/refinement.csv", "1,3965,0.035813367", "1,3965,0.045813367"),
    ("doc/smollm2/cases.csv", "1,995,0.016080402", "1,995,0.026080402"),
    ("data/published.csv", "9,residual_is_final,1,1,0.33", "9,residual_is_final,1,1,0.43")])
def test_a_number_that_drifts_is_seen(copy, path, old, new):
    change(copy / path, old, new)
    page = copy / "doc" / "results.md"
    assert load(copy).page(page.read_text()) != page.read_text()


def test_readings_stand_beside_the_papers_where_people_read(copy):
    """And no program, in any layer; the number of keys and of readers, and who they are, stands there
    always."""
    table = copy / "doc" / "brown-lm" / "patterns.csv"

    def cells():
        made = load(copy).page((copy / "doc" / "results.md").read_text())
        found = [line.split(" | ")[2]
                 for line in made.split("<!-- table: figure-2 -->\n")[1].splitlines()[2:7]]
        return found[0], found[2]

    assert cells() == ("9 in 9 layers (1 a layer: program)", "not measured as in the paper")
    table.write_text(table.read_text().replace('"program",0', '"person",1'))
    assert cells() == ("9 in 9 layers (1 a layer: person)", "88 to 100 %, ±42 at most")
    table.write_text(table.read_text().replace('"person",1', '"mixed",0', 1))
    assert cells() == ("9 in 9 layers (1 a layer: mixed, person)", "not measured as in the paper")
    table.write_text("".join(line.rsplit(",", 1)[0] + "\n" for line in table.read_text().splitlines()))
    assert cells()[1] == "not measured as in the paper"


# ------------------------------------------------------ numbers, computed another way

# " (1.2 to 3)", "(1.2 to 3; " of a layer, ", ±1.2 at most", " ±1.2", ", in 3 beyond the intervals"
NUMBER = r"[\d.]+"
INTERVAL = (rf" \({NUMBER} to {NUMBER}\)|(?<=\(){NUMBER} to {NUMBER}; |, ±{NUMBER} at most| ±{NUMBER}"
            rf"|, in \d+ beyond the intervals")


def rows(name):
    """{what: (paper, brown-lm, SmolLM2)} of the table behind this mark, without intervals."""
    lines = PAGE.read_text().split(f"<!-- table: {name} -->\n")[1].split("\n\n")[0].splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {what: tuple(re.sub(INTERVAL, "", number) for number in numbers) for what, *numbers in cells}


def column(model, table, name, test=lambda row: True):
    with open(ROOT / "doc" / model / f"{table}.csv", newline="", encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file) if test(row)]


def test_numbers_written_out():
    """Read in the CSV tables by eye: of the first layer, of the last one, ranges, counts."""
    assert rows("figure-9")["layer 1"] == ("bottom layers: about 33 %", "3.6 %", "0.3 %")
    assert rows("figure-9")["last layer"] == ("not stated in the text", "88 %", "48 %")
    assert rows("figure-11")["predictions that the last layer changes"][1:] == ("479 of 3965", "518 of 995")
    assert rows("figure-8")["no memory agrees: layer 1"] == ("at least 68 %", "68 %", "65 %")
    assert rows("figure-2")["triggers that show a pattern"] == ("65 to 80 %", "not measured as in the paper",
                                                                "not read")
    assert rows("figure-7")["most of any layer"] == ("10 to 50 %", "16 % (layers 13 to 14)",
                                                     "not measured as in the paper")
    confident = rows("figure-6")["of these, predict what follows one of their key's triggers"]
    assert confident[:2] == ("46 of 100", "47 of 100")


def test_table_of_the_models():
    lines = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    for i, model in enumerate(("brown-lm", "smollm2")):
        said = {what: cells[i] for what, _, *cells in lines}
        cells = column(model, "agreement", "keys")
        assert said["layers, cells a layer"] == f"{len(cells)}, {cells[0]:,.0f}"
        prefixes = column(model, "composition", "prefixes")[0]
        assert re.match(f"{prefixes:,.0f} of ", said["prefixes for section 5"])


def test_thirds():
    """Layers 1 to 5, 6 to 10, 11 to 16 of 16; 1 to 10, 11 to 20, 21 to 30 of 30; two digits."""
    bounds = {"brown-lm": (0, 5, 10, 16), "smollm2": (0, 10, 20, 30)}
    what = "values that predict the next token, mean of the layers, by thirds"
    for model, cell in zip(bounds, rows("figure-4")[what][1:]):
        shares = column(model, "agreement", "agree_next")
        for i, number in enumerate(cell.removesuffix(" %").split(" / ")):
            mean = statistics.fmean(shares[bounds[model][i]:bounds[model][i + 1]])
            assert float(number) == pytest.approx(100 * mean, rel=0.05)


def test_order_of_removed_tokens():
    kinds = {kind: column("smollm2", "perturbation", "p50", lambda row, kind=kind: row["kind"] == kind)
             for kind in ("first", "last", "random")}
    ordered = sum(last < random < first for first, last, random in zip(*kinds.values()))
    weaker = [layer for layer, median in enumerate(kinds["last"], 1) if median > -93]
    assert weaker == list(range(15, 24))
    found = rows("figure-3")
    assert found["last changes more than random, random more than first"][2] == f"in {ordered} of 30 layers"
    assert found["layers whose median without the last token is above -93 %"][2] == "layers 15 to 23"


def test_prose_has_no_shares():
    """They would not be compared with anything."""
    text = re.sub(r"^\|.*$", "", PAGE.read_text(), flags=re.MULTILINE).replace("95 % interval", "")
    assert re.findall(r"\d+ %|\d per cent", text) == []


# ------------------------------------------------------ intervals

def with_intervals(path, table, count=None):
    """Writes a table of doc/ again with the intervals of its shares; count: the prefixes to pretend."""
    with open(path, newline="", encoding="utf-8") as file:
        found = intervals.without(csv.DictReader(file))
    found = [{**row, **intervals.of_row({name: float(row[name]) for name in SHARES[table]},
                                        **{name: count or int(row[n]) for name, n in SHARES[table].items()})}
             for row in found]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def test_tables_show_intervals(copy):
    """Of made up samples of 100: a layer's, the largest, ranges, means of thirds; 50 of 100 by hand."""
    (copy / "doc" / "brown-lm" / "perplexity.csv").write_text(
        "prefixes,perplexity,next_is_top\n100,179,0.5\n")
    for model in "brown-lm", "smollm2":
        for table in "agreement", "confidence", "cases", "refinement", "perplexity":
            with_intervals(copy / "doc" / model / f"{table}.csv", table, 100)
    text = load(copy).page((copy / "doc" / "results.md").read_text())
    for name, pattern in [
            ("figure-9", r"\| last layer \| [^|]* \| \d+ % \(\d+ to \d+\) \|"),
            ("figure-4",
             r"\| most of any layer \| [^|]* \| [\d.]+ % \([\d.]+ to [\d.]+; layers? [\d, to]+\) \|"),
            ("figure-4", r"mean of the layers, by thirds \| [^|]* \| [\d.]+ ±[\d.]+ / [\d.]+ ±[\d.]+ / "
             r"[\d.]+ ±[\d.]+ % \|"),
            ("figure-4",
             r"more often than the value \| [^|]* \| in \d+ of 16 layers, in \d+ beyond the intervals \|"),
            ("figure-6", r"most confident tenth \| [^|]* \| [\d.]+ % \([\d.]+ to [\d.]+\) \|"),
            ("figure-11",
             r"layers 1 and 2 \| [^|]* \| [\d.]+ \([\d.]+ to [\d.]+\) and [\d.]+ \([\d.]+ to [\d.]+\) % \|"),
            ("figure-11", r"layers 2 to the last but one \| [^|]* \| \d+ to \d+ %, ±[\d.]+ at most \|")]:
        assert re.search(pattern, text.split(f"<!-- table: {name} -->\n")[1].split("\n\n")[0]), name
    assert re.search(r"is the next token \| \(ours\) \| 50 % \(40 to 60\)", text)


# ------------------------------------------------------ what the page says is larger

with open(ROOT / "doc" / "claims.csv", newline="", encoding="utf-8") as file:
    CLAIMS = list(csv.DictReader(file, strict=True))


def numbers_of(layers):
    first, _, last = layers.partition("-")
    return range(int(first), int(last or first) + 1)


def limits(model, table, name, layers):
    """The least lower and the largest upper end of the intervals of these layers, or of these rows of a table
    without layers; both are the number itself where it has no interval.  A table from before has none: then
    they are computed, where a share is of independent observations."""
    if not model:
        return float(name), float(name)
    table, _, kind = table.partition(" ")
    with open(ROOT / "doc" / model / f"{table}.csv", newline="", encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if not kind or row["kind"] == kind]
    chosen = [row for i, row in enumerate(found, 1) if int(row.get("layer", i)) in numbers_of(layers)]
    assert len(chosen) == len(numbers_of(layers))
    ends = []
    for row in chosen:
        if f"{name}_low" in row:
            ends.append((float(row[f"{name}_low"]), float(row[f"{name}_high"])))
        elif name not in SHARES[table]:
            ends.append((float(row[name]), float(row[name])))
        elif table in ("shallow", "perturbation", "active"):
            pytest.skip(f"doc/{model}/{table}.csv is from before there were intervals: make it anew")
        else:
            ends.append(intervals.wilson(float(row[name]), int(row[SHARES[table][name]])))
    return min(low for low, _ in ends), max(high for _, high in ends)


@pytest.mark.parametrize("claim", CLAIMS,
                         ids=lambda claim: "-".join(filter(None, claim.values())).replace(" ", "_"))
def test_what_is_said_to_be_larger_is_so_beyond_the_intervals(claim):
    """Each of the layers is above, or below, each of the others."""
    assert claim["says"] in " ".join(PAGE.read_text().replace("*", " ").split())
    low, high = limits(*(claim[name] for name in ("model", "table", "column", "layers")))
    than_low, than_high = limits(*(claim[f"than_{name}"] for name in ("model", "table", "column", "layers")))
    assert low > than_high if claim["relation"] == ">" else high < than_low, (low, high, than_low, than_high)
    assert claim["relation"] in "<>"
