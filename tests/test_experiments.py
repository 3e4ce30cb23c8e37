"""The list of experiments, pipelines/experiments.csv: it agrees with itself, with the scripts and drawings,
and with all places that name its tables and cannot read it.  Who adds an experiment touches nothing else of
the pipelines."""

import csv
import re
import shutil
import subprocess

import pytest

import random_model
from conftest import ROOT
from experiments import DRAWN, EXPERIMENTS, LIST, NOTED, PIPELINES, RESULTS, ROWS, SOMETIMES, TABLES
from helpers import TIMEOUT, environment, random_sentences, table, text
from test_manual import section

RECIPE = ("needs", "text", "options", "scripts", "tools")
COLUMNS = ["experiment", *RECIPE, "result", "figure", "panels", "columns", "title", "caption"]
OTHER_FILES = ["options.csv", "report/index.html"]  # that the graph makes of what the experiments make
OURS = ("ablation", "shallow")  # figures that the paper does not have
README = (ROOT / "README.md").read_text()


def rows_of(experiment):
    return [row for row in ROWS if row["experiment"] == experiment]


# ------------------------------------------------------------------ the list

def test_scripts_can_read_all_but_the_texts_for_people():
    """They split lines at commas."""
    lines = LIST.read_text().splitlines()
    assert lines[0].split(",") == COLUMNS and len(lines) == len(ROWS) + 1
    for line, row in zip(lines[1:], ROWS, strict=True):
        assert line.split(",")[:len(COLUMNS) - 2] == [row[name] for name in COLUMNS[:-2]]
        assert not re.search(r"[^\w ./-]", "".join(row[name] for name in COLUMNS[:-2]))


def test_every_row_has_a_result_and_an_experiment_its_rows_together():
    assert all(row["experiment"] and row["result"] for row in ROWS)
    assert ROWS == [row for name in EXPERIMENTS for row in rows_of(name)]
    assert len({(row["experiment"], row["result"]) for row in ROWS}) == len(RESULTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_what_an_experiment_is_made_of_is_in_its_first_row(experiment):
    first, *others = rows_of(experiment)
    assert not any(row[name] for row in others for name in RECIPE)
    assert first["scripts"].split()[0].endswith(".sh")
    assert all((PIPELINES / name).is_file() for name in first["scripts"].split())
    assert all((ROOT / "tools" / f"{name}.c").is_file() for name in first["tools"].split())
    assert first["text"] in ("", "TEXT", "VALID")
    assert first["needs"] in ("", *EXPERIMENTS[:EXPERIMENTS.index(experiment)])
    assert not first["needs"] or f"{first['needs']}.msgpack" in {row["result"] for row in ROWS}
    known = re.findall(r"^(\w+) := (?:--|\$\(if .*--)", (PIPELINES / "paper.mk").read_text(), re.MULTILINE)
    assert set(first["options"].split()) <= set(known)


@pytest.mark.parametrize("experiment", sorted({*EXPERIMENTS} - {"annotation", "patterns"}))
def test_an_experiment_is_made_of_what_its_script_runs(experiment):
    """A tool, or a file beside the script, that the list lacked could change, and results would not be made
    again.  (annotation.sh is two experiments, each of which runs a half.)"""
    first = rows_of(experiment)[0]
    scripts = first["scripts"].split()
    lines = (PIPELINES / scripts[0]).read_text().splitlines()
    commands = " ".join(line for line in lines if not re.match(r"\s*(#|echo )", line))
    tools = {path.stem for path in ROOT.glob("tools/*.c")}
    run = {word for word in re.findall(r"(?<![\w./$-])[a-z-]+(?= )", commands) if word in tools}
    assert run == set(first["tools"].split())
    assert set(re.findall(r"\$here/([\w./-]+)", commands)) == set(scripts[1:])


@pytest.mark.parametrize("script", sorted({row["scripts"].split()[0] for row in ROWS if row["scripts"]}))
def test_a_script_makes_the_results_that_are_listed(script):
    """One script may be of two experiments."""
    streams = {f"{row['needs']}.msgpack" for row in ROWS}  # that most of them read
    name = r'"\$(?:out|work)/(\w[\w-]*\.(?:csv|html|msgpack))"'
    made = set(re.findall(name, (PIPELINES / script).read_text()))
    owners = {row["experiment"] for row in ROWS if row["scripts"].split()[:1] == [script]}
    assert made - streams == {row["result"] for row in ROWS if row["experiment"] in owners} - streams


def listed(*arguments):
    return subprocess.run([PIPELINES / "listed.sh", *arguments], capture_output=True, text=True, check=False)


def test_listed_is_what_python_reads():
    for name in COLUMNS[:-2]:
        expected = [f"{row[name]} {row['result']}" for row in ROWS if row[name]]
        assert listed(f"{name} result").stdout.splitlines() == list(dict.fromkeys(expected))
    results = [row["result"] for row in rows_of("refinement")]
    assert listed("result", "refinement").stdout.splitlines() == list(dict.fromkeys(results))
    assert len(set(results)) < len(results)


@pytest.mark.parametrize("arguments, status, says", [
    (["reslut"], 1, "there is no column reslut to read"), (["title"], 1, "there is no column title to read"),
    ([], 2, "usage: ")])
def test_listed_refuses_what_it_cannot_read(arguments, status, says):
    done = listed(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr and done.stderr.count("\n") == 1


# ------------------------------------------------------- who cannot read the list

def test_every_drawing_is_listed():
    assert {path.stem for path in PIPELINES.glob("figures/*.gp")} == set(DRAWN)
    assert len(DRAWN) == sum(bool(row["figure"]) for row in ROWS)


@pytest.mark.parametrize("figure", DRAWN)
def test_a_drawing_uses_its_table_and_its_columns(figure):
    row, script = DRAWN[figure], (PIPELINES / "figures" / f"{figure}.gp").read_text()
    assert "table(m)" in script and "table(m, " not in script  # which is the one of its row
    shared = (PIPELINES / "figures.gp").read_text()
    assert all(re.search(rf"\b{column}\b", script) or f'column("{column}")' in shared
               for column in row["columns"].split())
    assert row["panels"] in ("1", "2", "models")
    assert (row["panels"] != "1") == ("set multiplot layout panels" in script)


def test_titles_name_their_figures():
    for row in ROWS:
        assert row["result"].endswith(".csv") or not (row["figure"] or row["title"])
        assert row["figure"] or not (row["caption"] or row["columns"] or row["panels"])
        if row["title"]:
            numbers = re.findall(r"\d+", row["title"].partition("(figure")[2])
            figures = {other["figure"]
                       for other in ROWS if other["result"] == row["result"]} - {"", *OURS}
            assert {f"fig{int(number):02}" for number in numbers} == figures
    titled = [row["result"] for row in ROWS if row["title"]]
    assert len(set(titled)) == len(titled)


def manual_files():
    """{name: text} of FILES in ffkv(7)."""
    found, names = {}, []
    for line in section(ROOT / "man" / "ffkv.7", "FILES"):
        if line.startswith(".Ss"):
            break
        if line.startswith(".It Pa "):
            names = line.removeprefix(".It Pa ").split(" , ")
            found.update({name: "" for name in names})
        else:
            found.update({name: f"{found[name]}{line}\n" for name in names})
    return found


def test_the_manual_lists_the_tables_and_their_columns():
    files = manual_files()
    assert sorted(files) == sorted([*(f"{name}.csv" for name in TABLES), *OTHER_FILES])
    for row in DRAWN.values():
        described = files[row["result"]]
        columns = " ".join(re.findall(r"^\.Va (.*)", described, re.MULTILINE))
        assert set(row["columns"].split()) <= set(re.findall(r"\w+", columns))
        number = row["figure"].removeprefix("fig").lstrip("0")
        assert re.search(rf"^Figures? .*\b{number}\b", described, re.MULTILINE) or row["figure"] in OURS


def test_readme_tells_what_comes_out():
    """Whatever the report has a title for, and nothing that nobody makes, with the figures' numbers."""
    part = README.split("## What comes out")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*`) \| (.*) \| .* \|$", part, re.MULTILINE)
    told = {name: where for names, where in rows for name in re.findall(r"`([\w./-]+)`", names)}
    titled = {row["result"] for row in ROWS if row["title"]}
    assert titled <= set(told) <= {*RESULTS, *OTHER_FILES, "figures/"}
    for row in DRAWN.values():
        number = row["figure"].removeprefix("fig").lstrip("0")
        assert re.search(rf"\b{number}\b", told[row["result"]]) or row["figure"] in OURS


def test_results_that_are_shown_are_listed():
    """doc/ has copies of tables and figures."""
    assert {path.stem for path in ROOT.glob("doc/*/*.csv")} <= set(TABLES)
    assert {path.stem for path in ROOT.glob("doc/figures/*.svg")} <= set(DRAWN)


def test_published_numbers_are_of_figures_that_are_listed():
    figures = {row["figure"] for row in table(ROOT / "data" / "published.csv")}
    assert {f"fig{int(figure):02}" for figure in figures if figure.isdigit()} <= set(DRAWN)


# ------------------------------------------------------- adding an experiment

SCRIPT = """#!/bin/sh
set -eu
model=$1 text=$2 out=$3
shift 3
tokenize --model "$model" "$@" "$text" | stream-cat >/dev/null
printf 'layer,answer\\n1,0.25\\n2,0.5\\n' >"$out/answers.csv"
"""
DRAWING = """set title "What everybody asks"
set yrange [0:100]
plot for [m in models] table(m) using (at(m)):(percent("answer")) with linespoints title name(m)
"""
ROW = ["extra", "", "TEXT", "limited", "extra.sh", "tokenize stream-cat", "answers.csv", "fig99", "1",
       "layer answer", "Answers, of all kinds", "What everybody asks"]


@pytest.fixture
def tree(tmp_path):
    """A copy of what the graph is made of, with a model and a text."""
    shutil.copytree(PIPELINES, tmp_path / "pipelines")
    (tmp_path / "data").mkdir()
    for name in "published.csv", "stop-words.txt":
        shutil.copy(ROOT / "data" / name, tmp_path / "data")
    random_model.write_model(tmp_path / "model", layers=2, d_model=16, d_ff=12, heads=2, vocabulary=60,
                             cutoffs=(20, 40))
    (tmp_path / "text.txt").write_bytes(text(random_sentences(40, 60, seed=1)))
    return tmp_path


def run_graph(bin, tree, *goals):
    settings = {"MODEL": "model", "TEXT": "text.txt", "VALID": "text.txt", "MODE": "lines", "PREFIXES": "20",
                "KEYS": "2", "REMOVALS": "2", "SENTENCES": "", "ANNOTATIONS": "", "BIN": bin, "OUT": "out"}
    command = ["make", "--no-print-directory", "-f", "pipelines/paper.mk", *goals,
               *(f"{name}={value}" for name, value in settings.items())]
    return subprocess.run(command, cwd=tree, env=environment(), capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)


def add_row(tree, **changes):
    row = {**dict(zip(COLUMNS, ROW, strict=True)), **changes}
    with open(tree / "pipelines" / "experiments.csv", "a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(row.values())


@pytest.mark.release_only
def test_an_experiment_is_a_script_a_row_and_a_drawing(bin, tree):
    """Its table, its figure, its row of options.csv, and when it is made again: no other file knew of it."""
    add_row(tree)
    (tree / "pipelines" / "extra.sh").write_text(SCRIPT)
    (tree / "pipelines" / "extra.sh").chmod(0o755)
    (tree / "pipelines" / "figures" / "fig99.gp").write_text(DRAWING)
    done = run_graph(bin, tree)
    assert done.returncode == 0, done.stderr
    out = tree / "out"
    assert {f"{name}.csv" for name in {*TABLES, "answers"} - NOTED} <= {path.name for path in out.iterdir()}
    assert {path.stem for path in out.glob("figures/*.svg")} == {*DRAWN, "fig99"} - {"fig02"}
    assert "What everybody asks" in (out / "figures" / "fig99.svg").read_text()
    rows = {row["experiments"]: row["options"] for row in table(out / "options.csv")}
    assert list(rows) == [*(name for name in EXPERIMENTS if name not in SOMETIMES), "extra"]
    assert rows["extra"] == "model text.txt --mode lines --name text"
    assert run_graph(bin, tree).stdout == ""
    (out / "answers.csv").unlink()
    said = run_graph(bin, tree).stdout
    assert re.findall(r"^pipelines/(\S+) ", said, re.MULTILINE) == ["extra.sh"]


@pytest.mark.release_only
@pytest.mark.parametrize("changes, says", [
    ({"options": "smapled"}, "experiments.csv: extra: no options are called smapled"),
    ({"needs": "trigers"}, "No rule to make target 'trigers'"),
    ({"tools": "tokenise"}, "tokenise is not there, and extra is made of it"),
    ({"result": "questions.csv"}, "questions.csv is not there, though the command that makes it succeeded")])
def test_a_row_that_names_nothing_is_refused(bin, tree, changes, says):
    add_row(tree, **changes)
    (tree / "pipelines" / "extra.sh").write_text(SCRIPT)
    (tree / "pipelines" / "extra.sh").chmod(0o755)
    done = run_graph(bin, tree, "extra")
    assert done.returncode == 2 and says in done.stderr, done.stderr


@pytest.mark.release_only
def test_without_the_list_nothing_is_made(bin, tree):
    """Though make goes on where a command of $(shell) fails."""
    (tree / "pipelines" / "experiments.csv").unlink()
    done = run_graph(bin, tree)
    assert done.returncode == 2 and "experiments.csv, beside" in done.stderr
    assert [path.name for path in (tree / "out").iterdir()] == [".made"]
