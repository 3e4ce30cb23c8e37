"""doc/results.md: its tables are what doc/results.py makes of the CSV tables in doc/ and of the paper's
numbers, and some of them, computed here in other words, are right."""

import csv
import importlib.util
import re
import shutil
import statistics

import pytest

from conftest import ROOT

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
    ("doc/results.md", "about 33 % | 3.4 % |", "about 33 % | 3.5 % |"),
    ("doc/brown-lm/refinement.csv", "1,3965,0.0340479193", "1,3965,0.0440479193"),
    ("doc/smollm2/cases.csv", "1,995,0.0190954774", "1,995,0.0290954774"),
    ("data/published.csv", "9,residual_is_final,1,1,0.33", "9,residual_is_final,1,1,0.43")])
def test_a_number_that_drifts_is_seen(copy, path, old, new):
    change(copy / path, old, new)
    page = copy / "doc" / "results.md"
    assert load(copy).page(page.read_text()) != page.read_text()


def test_readings_stand_beside_the_papers_where_people_read(copy):
    """And no program, in any layer; the number of keys and of readers, and who they are, stands there always."""
    table = copy / "doc" / "brown-lm" / "patterns.csv"

    def cells():
        made = load(copy).page((copy / "doc" / "results.md").read_text())
        found = [line.split(" | ")[2] for line in made.split("<!-- table: figure-2 -->\n")[1].splitlines()[2:7]]
        return found[0], found[2]

    assert cells() == ("9 in 9 layers (1 a layer: program)", "not measured as in the paper")
    table.write_text(table.read_text().replace('"program",0', '"person",1'))
    assert cells() == ("9 in 9 layers (1 a layer: person)", "92 to 100 %")
    table.write_text(table.read_text().replace('"person",1', '"mixed",0', 1))
    assert cells() == ("9 in 9 layers (1 a layer: mixed, person)", "not measured as in the paper")
    table.write_text("".join(line.rsplit(",", 1)[0] + "\n" for line in table.read_text().splitlines()))
    assert cells()[1] == "not measured as in the paper"


# ------------------------------------------------------ numbers, computed another way

def rows(name):
    """{what: (paper, brown-lm, SmolLM2)} of the table behind this mark."""
    lines = PAGE.read_text().split(f"<!-- table: {name} -->\n")[1].split("\n\n")[0].splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {what: tuple(numbers) for what, *numbers in cells}


def column(model, table, name, test=lambda row: True):
    with open(ROOT / "doc" / model / f"{table}.csv", newline="", encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file) if test(row)]


def test_numbers_written_out():
    """Read in the CSV tables by eye: of the first layer, of the last one, ranges, counts."""
    assert rows("figure-9")["layer 1"] == ("bottom layers: about 33 %", "3.4 %", "0.3 %")
    assert rows("figure-9")["last layer"] == ("not stated in the text", "88 %", "46 %")
    assert rows("figure-11")["predictions that the last layer changes"][1:] == ("466 of 3965", "537 of 995")
    assert rows("figure-8")["no memory agrees: layer 1"] == ("at least 68 %", "55 %", "43 %")
    assert rows("figure-2")["triggers that show a pattern"] == ("65 to 80 %", "not measured as in the paper", "not read")
    assert rows("figure-7")["most of any layer"] == ("10 to 50 %", "19 % (layer 13)", "not measured as in the paper")
    confident = rows("figure-6")["of these, predict what follows one of their key's triggers"]
    assert confident[:2] == ("46 of 100", "23 of 100")


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
    assert weaker == list(range(16, 24))
    found = rows("figure-3")
    assert found["last changes more than random, random more than first"][2] == f"in {ordered} of 30 layers"
    assert found["layers whose median without the last token is above -93 %"][2] == "layers 16 to 23"


def test_prose_has_no_shares():
    """They would not be compared with anything."""
    text = re.sub(r"^\|.*$", "", PAGE.read_text(), flags=re.MULTILINE)
    assert re.findall(r"\d+ %|\d per cent", text) == []
