"""The graph of experiments, pipelines/paper.mk, on a small model with random weights:
it makes every result, a second time nothing, after a change what depends on it, and
after interruptions the bytes of an undisturbed run. What changed is told by contents, of
inputs and results, and one make at a time works in a folder."""

import csv
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

import fault_inputs
import random_model
from conftest import ROOT
from experiments import DRAWN, EXPERIMENTS, NOTED, SOMETIMES, TABLES
from helpers import TIMEOUT, environment, ok, random_sentences, text
from test_sheet import data_of

pytestmark = pytest.mark.release_only


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("paper")
    random_model.write_model(place / "model", layers=2, d_model=16, d_ff=12, heads=2, vocabulary=60,
                             cutoffs=(20, 40))
    (place / "train.txt").write_bytes(text(random_sentences(300, 60, seed=1)))
    (place / "valid.txt").write_bytes(text(random_sentences(80, 60, seed=2)))
    return place


def command(bin, place, out, *words, **settings):
    settings = {"MODEL": place / "model", "TEXT": place / "train.txt", "VALID": place / "valid.txt",
                "MODE": "lines", "SENTENCES": "", "PREFIXES": 50, "KEYS": 3, "REMOVALS": 5, "ANNOTATIONS": "",
                "BIN": bin,
                "OUT": place / out / "results", **settings}  # figures show the last name
    return ["make", "--no-print-directory", "-f", "pipelines/paper.mk",
            *(f"{name}={value}" for name, value in settings.items()), *words]


def make(bin, place, out, *words, status=0, **settings):
    """Runs make; what it says."""
    done = subprocess.run(command(bin, place, out, *words, **settings), cwd=ROOT, env=environment(),
                          capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "jobserver" not in done.stderr
    return done.stdout


def scripts(said):
    """The pipelines and tools that make ran, by their names."""
    return set(re.findall(r"^(?:pipelines/)?([a-z-]+)(?:\.sh)? ", said, re.MULTILINE)) & {
        "search", "triggers", "values", "agreement", "composition", "refinement", "ablation", "perturbation",
        "shallow", "annotation", "figures", "report"}


def results(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*"))
            if path.is_file() and ".made" not in path.parts}


@pytest.fixture(scope="module")
def undisturbed(bin, place):
    make(bin, place, "undisturbed")
    return results(place / "undisturbed" / "results")


def test_everything_is_made(undisturbed):
    """What only readers can note is left out."""
    assert {f"{name}.csv" for name in set(TABLES) - NOTED} <= undisturbed.keys()
    assert {"agreement", "cases", "shallow-ngrams"} <= set(TABLES) and "patterns" in NOTED
    assert {"search.msgpack", "triggers.msgpack", "values.msgpack", "annotation.html",
            "report/index.html"} <= undisturbed.keys()
    assert {f"figures/{name}.{kind}" for name in set(DRAWN) - {"fig02"}
            for kind in ("svg", "pdf", "png")} <= undisturbed.keys()
    assert all(undisturbed.values())


def test_options_are_told(place, undisturbed):
    rows = list(csv.reader(undisturbed["options.csv"].decode().splitlines()))
    model, train, valid = place / "model", place / "train.txt", place / "valid.txt"
    limited = f"{model} {train} --mode lines --name train"
    sampled = f"{model} {valid} --prefixes 50 --mode lines --name valid"
    assert [name for name, _ in rows] == ["experiments",
                                          *(name for name in EXPERIMENTS if name not in SOMETIMES)]
    ablated = f"{model} {valid} --prefixes 50 --removed 10 --mode lines --name valid"
    assert rows[1:11] == [
        ["search", limited], ["triggers", str(model)], ["values", str(model)], ["agreement", str(model)],
        ["composition", sampled], ["refinement", sampled], ["ablation", ablated],
        ["perturbation", f"{model} --sample 3 --top 5"], ["shallow", limited], ["annotation", str(model)]]


def test_second_run_does_nothing(bin, place, undisturbed):
    assert not scripts(make(bin, place, "undisturbed"))
    assert results(place / "undisturbed" / "results") == undisturbed


def test_only_what_depends_on_a_change_is_made_again(bin, place, undisturbed):
    pages = {"figures", "report"}

    def runs(expected, **settings):
        assert scripts(make(bin, place, "changed", **settings)) == expected
        assert not scripts(make(bin, place, "changed", **settings))

    make(bin, place, "changed")
    runs({"perturbation", *pages}, KEYS=2)
    runs({"composition", "refinement", "ablation", *pages}, KEYS=2, PREFIXES=20)
    runs({"search", "triggers", "agreement", "perturbation", "shallow", "annotation", *pages}, KEYS=2,
         PREFIXES=20, SENTENCES=250)
    runs({"search", "triggers", "agreement", "composition", "refinement", "ablation", "perturbation",
          "shallow", "annotation", *pages})
    assert results(place / "changed" / "results") == undisturbed


MULTIPLY = ("forward-dump", "project-values", "composition-stats", "refinement-stats", "intervention-stats")


def test_products_are_part_of_what_results_are_made_of(bin, place, tmp_path, undisturbed):
    """They reach each tool that multiplies, options.csv and the report; auto is what is done without them."""
    assert not scripts(make(bin, place, "undisturbed", PRODUCTS="auto"))
    said, tools = tmp_path / "said", bin
    for name in MULTIPLY:
        tools = tools_but(tools, tmp_path / name, name, f'echo "{name} $*" >>"{said}"; exec "$tool" "$@"')
    make(tools, place, "floats", PRODUCTS="float32")
    calls = [line for line in said.read_text().splitlines() if not line.endswith("--emit signs")]
    assert {line.split()[0] for line in calls} == set(MULTIPLY)
    assert all("--products float32 " in line for line in calls)
    assert not scripts(make(tools, place, "floats", PRODUCTS="float32"))
    options = list(csv.DictReader((place / "floats/results/options.csv").read_text().splitlines()))
    assert {row["experiments"] for row in options if "--products float32 " in f"{row['options']} "} \
        == {"search", "triggers", "values", "composition", "refinement", "ablation", "perturbation"}
    pages = "".join(path.read_text() for path in (place / "floats/results/report").rglob("*.js"))
    assert "--products float32 --mode lines" in pages
    made = results(place / "floats" / "results")
    assert {name for name in made if made[name] != undisturbed[name]} - {"options.csv"} \
        <= {name for name in made if name.startswith("report/")}
    make(tools, place, "floats", "triggers", QUESTION="yes", status=2)


def test_times_do_not_matter(bin, place, undisturbed):
    """Everything touched, with times of today, of long ago and of the future: nothing is run."""
    out = place / "undisturbed" / "results"
    files = [path
             for path in (*out.rglob("*"), *place.iterdir(), *(place / "model").iterdir()) if path.is_file()]
    for moment in None, (1, 1), (2**32, 2**32):
        for path in files:
            os.utime(path, moment)
        assert not scripts(make(bin, place, "undisturbed"))
    assert results(out) == undisturbed


def write_over(path, data):
    """Other bytes in the same file, with the times that it had."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_edits_that_times_do_not_show(bin, place, undisturbed):
    """Of inputs: as many bytes as before, and the time of before; back, and all is as it was."""
    valid, model, goals = place / "valid.txt", place / "model" / "model.safetensors", \
        ["agreement", "refinement"]
    text, weights = valid.read_bytes(), model.read_bytes()
    make(bin, place, "edited", *goals)
    for path, old, new, expected in [(valid, text, text.replace(b"w5", b"w6"), {"refinement"}),
                                     (model, weights, weights[:-1] + bytes([weights[-1] ^ 1]),
                                      {"search", "triggers", "refinement"})]:
        write_over(path, new)
        assert expected <= scripts(make(bin, place, "edited", *goals))
        write_over(path, old)
        assert expected <= scripts(make(bin, place, "edited", *goals))
        made = results(place / "edited" / "results")
        assert all(made[f"{name}.csv"] == undisturbed[f"{name}.csv"]
                   for name in ("agreement", "rank", "refinement", "cases"))


def test_results_that_were_damaged_are_made_again(bin, place, undisturbed):
    """Only they: what is made of them is right when they are what they were."""
    out = place / "undisturbed" / "results"

    def damage(name, data):
        write_over(out / name, data) if data is not None else (out / name).unlink()

    damage("triggers.msgpack", undisturbed["triggers.msgpack"][:-9])
    damage("cases.csv", undisturbed["cases.csv"].replace(b"0", b"1"))
    damage("settled.csv", None)
    damage("figures/fig03.svg", b"")
    damage("figures/fig04.png", None)
    damage("figures/fig05.pdf", undisturbed["figures/fig05.pdf"][:-9])
    damage("report/index.html", b"?")
    damage("report/data/overview.js", None)
    damage("options.csv", b"experiments,options\n")
    assert scripts(make(bin, place, "undisturbed")) == {"triggers", "refinement", "figures", "report"}
    assert results(out) == undisturbed
    assert not scripts(make(bin, place, "undisturbed"))


def test_a_damaged_table_of_options_is_made_again_without_a_report(bin, place, undisturbed):
    """No step has it among what it is made of, but the report."""
    table = place / "undisturbed" / "results" / "options.csv"
    time.sleep(2.1)  # younger files are hashed again, which changes the record of a step
    make(bin, place, "undisturbed", "agreement")
    write_over(table, undisturbed["options.csv"][:-9])
    assert not scripts(make(bin, place, "undisturbed", "agreement"))
    assert table.read_bytes() == undisturbed["options.csv"]


def test_a_run_that_fails_leaves_no_other_run_s_table_of_options(bin, place, tmp_path):
    """Nor one that is interrupted: the table goes before the first step, and comes behind the last."""
    goals, out = ["agreement", "refinement"], place / "stopped" / "results"
    make(bin, place, "stopped", *goals)
    table = (out / "options.csv").read_text()
    assert "--prefixes 50 " in table
    tools = tools_but(bin, tmp_path / "tools", "refinement-stats", 'exit 1')
    make(tools, place, "stopped", *goals, SENTENCES=200, PREFIXES=20, status=2)
    assert not (out / "options.csv").exists()
    make(bin, place, "stopped", *goals, SENTENCES=200, PREFIXES=20)
    changed = table.replace("--prefixes 50 ",
                            "--prefixes 20 ").replace("--name train", "--name train --limit 200")
    assert (out / "options.csv").read_text() == changed != table
    make(bin, place, "stopped", "refinement", SENTENCES=200, PREFIXES=20)  # of the others, the records tell
    assert (out / "options.csv").read_text() == changed


def tools_but(bin, folder, name, script):
    """A folder of the tools, of which one is this shell script, with the real one in "$tool"."""
    folder.mkdir()
    for tool in pathlib.Path(bin).iterdir():
        if tool.is_file() and tool.name != name:
            (folder / tool.name).symlink_to(tool)
    (folder / name).write_text(f"#!/bin/sh\ntool={pathlib.Path(bin) / name}\n{script}\n")
    (folder / name).chmod(0o755)
    return folder


def copy_of_scripts(folder, name, script):
    """paper.mk and all beside it, of which one is this shell script, with the real one in "$real"."""
    shutil.copytree(ROOT / "pipelines", folder / "pipelines")
    (folder / "data").symlink_to(ROOT / "data")
    (folder / "pipelines" / name).write_text(f"#!/bin/sh\nreal={ROOT}/pipelines/{name}\n{script}\n")
    return folder / "pipelines" / "paper.mk"


@pytest.mark.parametrize("column", ["options", "needs", "result", "scripts"])
def test_what_of_the_list_cannot_be_read_is_not_taken_for_nothing(bin, place, tmp_path, column):
    """An experiment without its options runs with defaults; one without its needs, before they are there."""
    graph = copy_of_scripts(tmp_path, "listed.sh", f'[ "$1" != {column} ] || exit 1\nexec "$real" "$@"')
    words = command(bin, place, f"without {column}", "refinement", OUT=tmp_path / "out")
    words[words.index("pipelines/paper.mk")] = str(graph)
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT,
                          check=False)
    assert done.returncode == 2 and f"experiments.csv, beside {graph}, cannot be read" in done.stderr
    assert not list((tmp_path / "out").glob("*.csv"))


def test_other_options_are_seen_where_a_program_fails(bin, place, tmp_path):
    """One that was to take out what is compared failed on both sides, and nothing is equal to nothing."""
    make(bin, place, "cut", "refinement")
    tools = tools_but(bin, tmp_path / "tools", "cut", 'echo "cut: no memory" >&2; exit 1')
    make(bin, place, "20", "refinement", PREFIXES=20)
    make(tools, place, "cut", "refinement", PREFIXES=20)
    assert results(place / "cut" / "results") == results(place / "20" / "results")


def test_an_input_that_changes_while_it_is_read(bin, place, tmp_path, undisturbed):
    """Also when it says at the end what it said at the beginning."""
    text = tmp_path / "train.txt"
    original = (place / "train.txt").read_bytes()
    for i, edit in enumerate([f'echo w5 w6 >>"{text}"',
                              f'cp "{text}" "{text}.0"; echo w5 >"{text}"; cp "{text}.0" "{text}"']):
        text.write_bytes(original)
        # When topk-keys has ended, tokenize has read the text: an earlier edit may end it.
        tools = tools_but(bin, tmp_path / f"tools{i}", "topk-keys",
                          f'"$tool" "$@" >"{tmp_path}/triggers" || exit\n[ -e "{tmp_path}/once{i}" ] || {{ '
                          f'{edit}; }}\n'
                          f': >"{tmp_path}/once{i}"\nexec cat "{tmp_path}/triggers"')
        done = subprocess.run(command(tools, place, f"during{i}", "agreement", TEXT=text), cwd=ROOT,
                              env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert done.returncode == 2 \
            and f"step.sh: {text} changed while it was read; run again\n" in done.stderr
        assert "agreement.sh" not in done.stdout
        text.write_bytes(original)
        assert scripts(make(tools, place, f"during{i}", "agreement", TEXT=text)) \
            == {"search", "triggers", "agreement"}
        assert (place / f"during{i}" / "results" / "agreement.csv").read_bytes() \
            == undisturbed["agreement.csv"]


def test_every_part_of_a_split_model_counts(tmp_path):
    """By the script that runs a step, which sees files and its command only; parts may be moved together."""
    def step(folder):
        first = folder / "m-00001-of-00002.gguf"
        done = subprocess.run([ROOT / "pipelines/step.sh", "one", first, "--results", "made", "--",
                               "sh", "-c", 'echo run; echo x >"$OUT/made"'],
                              capture_output=True, text=True, check=True,
                              env={**environment(), "OUT": str(tmp_path / "out"), "MODEL": str(first)})
        return "run\n" in done.stdout
    for folder in "here", "out/.made":
        (tmp_path / folder).mkdir(parents=True)
    for name in "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "m-00002-of-00003.gguf":
        (tmp_path / "here" / name).write_text(name)
    assert step(tmp_path / "here") and not step(tmp_path / "here")
    (tmp_path / "here/m-00002-of-00003.gguf").write_text("of another model")
    assert not step(tmp_path / "here")
    (tmp_path / "here/m-00002-of-00002.gguf").write_text("changed")
    assert step(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert not step(tmp_path / "there")


def test_two_makes_in_one_folder(bin, place, tmp_path, undisturbed):
    """The second is refused as long as the first, or what is left of it, runs; by any name of the folder."""
    go, out = tmp_path / "go", place / "two" / "results"
    tools = tools_but(bin, tmp_path / "tools", "topk-keys",
                      f'while [ ! -e "{go}" ]; do sleep 0.05; done; exec "$tool" "$@"')
    first = subprocess.Popen(command(tools, place, "two", "agreement"), cwd=ROOT, env=environment(),
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until(lambda: (out / ".made" / "lock").exists() and (out / ".made" / "lock").read_text())
    (place / "alias").symlink_to("two")
    for name, words in ("two", ["-j2"]), ("alias", ["refinement"]):
        done = subprocess.run(command(bin, place, name, *words, SENTENCES=5), cwd=ROOT, env=environment(),
                              capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert done.returncode == 2 and not scripts(done.stdout)
        says = re.escape(f"make: {place / name / 'results'} is in use by process ") + r"\d+ .*OUT=\n"
        assert re.match(says, done.stderr), done.stderr
    go.touch()
    said, _ = first.communicate(timeout=TIMEOUT)
    assert first.returncode == 0, said
    assert (out / "agreement.csv").read_bytes() == undisturbed["agreement.csv"]
    assert not (out / "refinement.csv").exists()


def until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_leftovers_of_killed_runs_are_cleared_away(bin, place, undisturbed):
    out = place / "undisturbed" / "results"
    for name in "triggers.msgpack.part-abc123", ".made/triggers.part-ABCDEF", \
            "figures/.part-0a1B2c/1/shallow.csv", \
            "report.part-xyzXYZ/new/index.html":
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"?")
    (out / "my.part-of-it").write_bytes(b"mine")
    assert not scripts(make(bin, place, "undisturbed"))
    assert results(out) == {**undisturbed, "my.part-of-it": b"mine"}
    assert not [path for path in (out / ".made").iterdir() if ".part-" in path.name]
    (out / "my.part-of-it").unlink()


def test_folders_can_be_moved(bin, place, tmp_path, undisturbed):
    """Names with spaces, dollars and other letters. Of texts and models that lie elsewhere, options.csv
    tells, so the report too."""
    out = tmp_path / "o ü" / "results"
    shutil.copytree(place / "undisturbed" / "results", out)
    assert not scripts(make(bin, place, "undisturbed", OUT=out))
    folder = tmp_path / "a ü folder"
    shutil.copytree(place / "model", folder / "the model")
    shutil.copy(place / "train.txt", folder)
    there = {"OUT": out, "MODEL": folder / "the model", "TEXT": folder / "train.txt"}
    assert scripts(make(bin, place, "undisturbed", **there)) == {"report"}
    assert not scripts(make(bin, place, "undisturbed", **there))
    (folder / "train.txt").rename(folder / "my $$ text.v1.txt")
    there["TEXT"] = folder / "my $$$$ text.v1.txt"  # make's way to write two dollars
    assert {"search", "agreement"} <= scripts(make(bin, place, "undisturbed", "agreement", **there))
    assert "--name my $$ text.v1\n" in (out / ".made" / "search.step").read_text()


def test_only_gated_models_have_signs(bin, place):
    """And what a gated model left goes when another model's results take its place."""
    fault_inputs.write_llama(place / "gated")
    out = place / "signs" / "results"
    make(bin, place, "signs", "signs", MODEL=place / "gated")
    expected = place / "expected"
    ok(bin, "coefficient-stats", "--signs", expected, out / "triggers.msgpack")
    assert (out / "signs.csv").read_bytes() == expected.read_bytes()
    assert len(expected.read_text().splitlines()) == 3
    assert "signs" in (out / "options.csv").read_text()
    make(bin, place, "signs", "signs")
    assert not (out / "signs.csv").exists() and "signs" not in (out / "options.csv").read_text()


def test_patterns_that_nobody_asks_for_any_more(bin, place):
    """Tables and figure of annotations that a later run is not given are not left beside its other
    results."""
    data = data_of((place / "undisturbed" / "results" / "annotation.html").read_text())
    key = data["keys"][0]
    row = f'A,{data["model"]},{key["layer"]},{key["cell"]},{len(key["triggers"])},1,shallow,=x,1 2 3\n'
    annotations = place / "a.csv"
    annotations.write_text("reader,model,layer,cell,triggers,pattern,kind,description,shows\n" + row)
    out = place / "patterns" / "results"
    made = {"patterns.csv", "kappa.csv", "annotations.csv", "figures/fig02.svg"}
    make(bin, place, "patterns", "figures", ANNOTATIONS=annotations)
    assert made <= results(out).keys()
    make(bin, place, "patterns", "figures")
    assert not made & results(out).keys()
    assert "patterns" not in (out / "options.csv").read_text()


def test_parts_can_be_asked_for(bin, place):
    assert scripts(make(bin, place, "part", "agreement")) == {"search", "triggers", "agreement"}
    assert not (place / "part" / "results" / "composition.csv").exists()


def test_interrupted_runs_go_on(bin, place, undisturbed):
    """Ten times the whole process group, which works on two things at once, gets a signal
    after a random time."""
    chance = random.Random(1)
    argv, interrupted = command(bin, place, "interrupted", "-j2"), 0
    for _ in range(10):
        process = subprocess.Popen(argv, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(chance.uniform(0.05, 1.5))
        try:
            os.killpg(process.pid, chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL]))
        except ProcessLookupError:
            pass
        interrupted += process.wait(TIMEOUT) != 0
    assert interrupted >= 3
    make(bin, place, "interrupted", "-j2")
    assert results(place / "interrupted" / "results") == undisturbed


def test_a_failed_stage_is_a_failed_run(bin, place):
    """And what it should have made is not there."""
    broken = place / "broken.txt"
    broken.write_bytes(b"w5 \xff w6\n")
    make(bin, place, "broken", TEXT=broken, status=2)
    assert not (place / "broken" / "results" / "triggers.msgpack").exists()


@pytest.mark.parametrize("name, fetched", [("brown", "corpora"), ("smollm2", "models/smollm2")])
def test_one_at_a_time_fetches(tmp_path, name, fetched):
    """Two at once: the second begins when the first has ended; what a killed one left goes."""
    folder = tmp_path / fetched
    (folder / f".{name}.abc123" / "package").mkdir(parents=True)
    shutil.copy(ROOT / "data" / f"{name}.sh", tmp_path)
    for program in "npm", "python":
        (tmp_path / program).write_text('#!/bin/sh\n[ "$3" != --version ] || exit 0\n'
                                        f'echo begin >>"{tmp_path}/log"; sleep 0.3; echo end '
                                        f'>>"{tmp_path}/log"; exit 1\n')
        (tmp_path / program).chmod(0o755)
    changes = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(tmp_path / "python")}
    both = [subprocess.Popen([tmp_path / f"{name}.sh"], env=environment(changes), stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, message = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 1 and "is the network there?" in message
    assert (tmp_path / "log").read_text().split() == ["begin", "end"] * 2
    assert [path.name for path in folder.iterdir()] == [".lock"]
