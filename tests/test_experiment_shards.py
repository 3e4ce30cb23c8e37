"""Experiments in shards, pipelines/paper.mk with SHARDS=N, by GNU parallel: results are those of one run,
whatever happens to a shard; what is finished is kept; what always fails ends the run and its log is named."""

import json
import os
import re
import shutil
import subprocess

import pytest

import random_model
from conftest import ROOT
from experiments import EXPERIMENTS, ROWS
from helpers import TIMEOUT, environment, ok, random_sentences, text
from test_paper import command, make, results, scripts, tools_but, until

pytestmark = [pytest.mark.release_only,
              pytest.mark.skipif(not shutil.which("parallel"), reason="GNU parallel is not there")]

DIVIDED = [row["experiment"] for row in ROWS if "shard.sh" in row["scripts"].split()]

# Words of forward-dump where it is only asked whether layers are gated.
PROBES = "*signs"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("shards")
    random_model.write_model(place / "a model", layers=2, d_model=16, d_ff=12, heads=2, vocabulary=60,
                             cutoffs=(20, 40))
    (place / "model").symlink_to("a model")
    (place / "train.txt").write_bytes(text(random_sentences(300, 60, seed=1)))
    (place / "valid.txt").write_bytes(text(random_sentences(80, 60, seed=2)))
    return place


@pytest.fixture(scope="module")
def whole(bin, place):
    make(bin, place, "whole")
    return results(place / "whole" / "results")


def fails(bin, place, out, *words, **settings):
    done = subprocess.run(command(bin, place, out, *words, **settings), cwd=ROOT, env=environment(),
                          capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 2
    return done.stderr


def begun(tries):
    return tries.read_text().split() if tries.exists() else []


def test_what_computes_with_the_model_is_divided():
    """All that runs it or projects its values to the vocabulary."""
    working = {row["experiment"] for row in ROWS
               if {"forward-dump", "project-values"} & {*row["tools"].split()}}
    assert set(DIVIDED) == working
    assert {"search", "triggers", "values", "ablation", "composition", "refinement"} <= set(DIVIDED)


def test_shards_give_the_bytes_of_one_run(bin, place, whole):
    """All results, among them options.csv; a run without shards then has nothing to do, and the other way
    round; more shards than there are batches."""
    make(bin, place, "in-2", SHARDS=2)
    assert results(place / "in-2" / "results") == whole
    assert not list((place / "in-2" / "results" / ".made").glob("*-of-*"))
    assert "pipelines/" not in make(bin, place, "in-2") + make(bin, place, "whole", SHARDS=2)
    make(bin, place, "in-7", "refinement", "ablation", SHARDS=7, PREFIXES=10)  # in one batch, and 6 rows
    make(bin, place, "in-1", "refinement", "ablation", PREFIXES=10)
    assert results(place / "in-7" / "results") == results(place / "in-1" / "results")


def test_names_with_spaces_dollars_and_quotes(bin, place, whole):
    """They go through two shells and a make more than without shards."""
    odd = place / "it's my $HOME {} text.txt"
    shutil.copy(place / "train.txt", odd)
    settings = {"TEXT": str(odd).replace("$", "$$"), "MODEL": place / "a model"}
    make(bin, place, "odd", "triggers", **settings)
    make(bin, place, "o d'd", "triggers", SHARDS=2, **settings)
    assert results(place / "odd" / "results") == results(place / "o d'd" / "results")


def test_a_shard_whose_process_is_killed_is_tried_again(bin, place, tmp_path, whole):
    once = tmp_path / "once"
    tools = tools_but(bin, tmp_path / "tools", "forward-dump",
                      f'case "$*" in {PROBES}) ;; *) mkdir "{once}" 2>/dev/null && kill -9 $$ ;; esac\n'
                      'exec "$tool" "$@"')
    make(tools, place, "killed", "triggers", SHARDS=3)
    assert once.exists()
    assert results(place / "killed" / "results")["triggers.msgpack"] == whole["triggers.msgpack"]
    assert not (place / "killed" / "results" / "shards").exists()


def test_a_shard_that_always_fails_ends_the_run_and_the_others_are_kept(bin, place, tmp_path, whole):
    tries, out = tmp_path / "tries", place / "failing" / "results"
    tools = tools_but(bin, tmp_path / "tools", "topk-keys",
                      f'for word; do :; done; [ "$1" = --merge ] || echo "${{word##*/}}" >>"{tries}"\n'
                      f'case "$*" in *search.1-of-3*) [ -e "{tmp_path}/repaired" ] || '
                      '{ echo "topk-keys: it is broken" >&2; exit 1; } ;; esac\n'
                      'exec "$tool" "$@"')
    said = fails(tools, place, "failing", "triggers", SHARDS=3)
    log = out / "shards" / "search.1-of-3.log"
    assert f"shards.sh: search: a shard failed 3 times, and the others are kept for the next run; {log}: " \
        "topk-keys: it is broken\n" in said
    assert log.read_text().count("it is broken") == 3 and not (out / "search.msgpack").exists()
    assert sorted(begun(tries)) == ["search.0-of-3", *["search.1-of-3"] * 3, "search.2-of-3"]

    tries.unlink()
    fails(tools, place, "failing", "triggers", SHARDS=3, TRIES=1)
    assert begun(tries) == ["search.1-of-3"]
    tries.unlink()
    (tmp_path / "repaired").touch()
    make(tools, place, "failing", "triggers", SHARDS=3)
    assert begun(tries) == ["search.1-of-3"]
    assert results(out)["triggers.msgpack"] == whole["triggers.msgpack"]


def test_shards_of_other_settings_or_texts_are_not_taken(bin, place, tmp_path, whole):
    """Sums that a run left before it was interrupted are there, with the right names."""
    out = place / "stale" / "results"
    tools = tools_but(bin, tmp_path / "tools", "topk-keys",
                      '[ "$1" != --merge ] && exec "$tool" "$@"; exit 1')
    fails(tools, place, "stale", "triggers", SHARDS=2, SENTENCES=200)
    assert {path.name for path in (out / "shards").iterdir()} == {"search.0-of-2", "search.1-of-2"}
    make(bin, place, "stale", "triggers", SHARDS=2)
    assert results(out)["triggers.msgpack"] == whole["triggers.msgpack"]


# What fails of a run in shards: the program that asks which are there, so that none seems to be missing; the
# one that runs them, which runs none; the one that tells them a setting, which is its default then.
FAILING = {"xargs": 'case "$*" in *"-n 1 "*) exit 1 ;; esac', "parallel": "cat >/dev/null; exit",
           "printenv": '[ "$1" != SENTENCES ] || exit 2'}


@pytest.mark.parametrize("program", FAILING)
def test_shards_of_other_settings_are_not_merged_where_a_program_fails(bin, place, tmp_path, program):
    make(bin, place, "of 200", "triggers", SENTENCES=200)
    for shard in "0/2", "1/2":
        make(bin, place, program, "search", SHARD=shard)
    tools = tools_but(bin, tmp_path / "tools", program,
                      f'{FAILING[program]}\nexec {shutil.which(program)} "$@"')
    done = subprocess.run(command(tools, place, program, "triggers", SHARDS=2, SENTENCES=200), cwd=ROOT,
                          env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    found, wanted = (results(place / name / "results") for name in (program, "of 200"))
    if done.returncode:
        assert "triggers.msgpack" not in found
        assert re.search("^(topk-keys|project-values|shards.sh): ", done.stderr, re.MULTILINE)
    else:
        assert found == wanted


def test_threads_of_tools_and_jobs_are_as_given(bin, place, tmp_path):
    """A thread a tool and shard unless THREADS says otherwise; PARALLEL is GNU parallel's."""
    said = tmp_path / "said"
    tools = tools_but(bin, tmp_path / "tools", "forward-dump",
                      f'case "$*" in {PROBES}) ;; *) echo "$*" >>"{said}"; echo begin >>"{said}"; sleep 0.3; '
                      f'echo end >>"{said}" ;; esac\nexec "$tool" "$@"')
    make(tools, place, "threads", "triggers", SHARDS=3, PARALLEL="--jobs 1")
    assert said.read_text().count("--threads 1 ") == 3
    assert re.findall("begin|end", said.read_text()) == ["begin", "end"] * 3
    said.unlink()
    make(tools, place, "threads", "refinement", SHARDS=2, THREADS=2)
    assert said.read_text().count("--threads 2 ") == 2


def test_auto_is_decided_once_for_machines_of_unequal_speed(bin, place, bfloats, tmp_path, whole):
    """For all shards of an experiment: here model-info finds another answer each second time, and so for the
    next experiment, the projection.  Not part of what results are made of: a whole run then has nothing to
    do."""
    tools = tools_but(bin, tmp_path / "tools", "model-info", f"""
if mkdir "{tmp_path}/odd" 2>/dev/null; then kind=bf16x3; else rmdir "{tmp_path}/odd"; kind=float32; fi
exec "$tool" --products $kind "$@"
""")
    make(tools, place, "unequal", "triggers", SHARDS=4)
    history = header(bin, place / "unequal" / "results" / "triggers.msgpack")["history"]
    assert [stage["options"].get("products") for stage in history] == [None, "bf16x3", None, None]
    assert not scripts(make(tools, place, "unequal", "triggers"))


def test_shards_of_other_products_are_made_anew(bin, place, bfloats, whole):
    """And then the bytes are those of one run with the products that are asked for."""
    make(bin, place, "two terms", "triggers", PRODUCTS="bf16x2")
    for shard, products in ("0/2", "float32"), ("1/2", "bf16x2"):
        make(bin, place, "two kinds", "search", SHARD=shard, PRODUCTS=products)
    make(bin, place, "two kinds", "triggers", SHARDS=2, PRODUCTS="bf16x2")
    found, expected = (results(place / name / "results") for name in ("two kinds", "two terms"))
    assert found == expected and expected["triggers.msgpack"] != whole["triggers.msgpack"]


def header(bin, stream):
    return json.loads(ok(bin, "stream-cat", "--header", stream))


def test_shards_by_hand_in_a_new_folder(bin, place, tmp_path, whole):
    """In the order of needs, each merged before what reads it; none is run again."""
    tools = tools_but(bin, tmp_path / "tools", "forward-dump",
                      f'[ ! -e "{tmp_path}/done" ] || case "$*" in {PROBES}) ;; *) exit 1 ;; esac\n'
                      'exec "$tool" "$@"')
    for shard in "1/2", "0/2":
        make(tools, place, "by hand", "search", SHARD=shard)
    (tmp_path / "done").touch()
    make(tools, place, "by hand", "search", SHARDS=2)
    for shard in "1/2", "0/2":
        make(tools, place, "by hand", "triggers", SHARD=shard)
    make(tools, place, "by hand", "triggers", SHARDS=2)
    assert results(place / "by hand" / "results")["triggers.msgpack"] == whole["triggers.msgpack"]


def test_rows_of_another_text_or_of_none_are_not_merged(bin, place, tmp_path):
    """Those of ablation, by its script alone: a row has no trailer that tells what it is of."""
    def ablation(*words):
        return subprocess.run([ROOT / "pipelines/ablation.sh", *words], capture_output=True, text=True,
                              env=environment({"PATH": f"{bin}:{os.environ['PATH']}"}), timeout=TIMEOUT,
                              check=False)
    given = [place / "model", place / "valid.txt", tmp_path / "out", "--prefixes", "10", "--removed", "1"]
    first, second = [tmp_path / "out" / "shards" / f"ablation.{i}-of-2" for i in (0, 1)]
    for i in 0, 1:
        assert ablation("--shard", f"{i}/2", *given).returncode == 0
    assert ablation("--merge", "2", *given).returncode == 0
    assert ablation(*given[:2], tmp_path / "whole", *given[3:]).returncode == 0
    table = tmp_path / "out" / "ablation.csv"
    assert table.read_bytes() == (tmp_path / "whole" / "ablation.csv").read_bytes()

    table.unlink()
    rows = second.read_text()
    second.write_text("".join(rows.splitlines(keepends=True)[:-1]))
    refused = ablation("--merge", "2", *given)
    assert refused.returncode == 1 and not table.exists()
    assert refused.stderr == f"ablation.sh: {second} lacks the row that begins with 2,random,1,\n"
    second.unlink()
    assert ablation("--merge", "2", *given).stderr == f"ablation.sh: {second} is not there\n"
    ablation("--shard", "1/2", given[0], place / "train.txt", *given[2:])
    refused = ablation("--merge", "2", *given)
    assert refused.stderr == f"ablation.sh: {second} is of another model, text or processor than {first}\n"
    assert refused.returncode == 1 and not table.exists()


def test_an_experiment_that_is_not_divided_has_no_shards(bin, place, whole):
    assert "annotation is not divided into shards" in fails(bin, place, "whole", "annotation", SHARD="0/2")


def test_interrupted_shards_go_on(bin, place, whole):
    """Make is killed while shards run; what was finished by then is not run again."""
    out = place / "interrupted" / "results"
    process = subprocess.Popen(command(bin, place, "interrupted", "triggers", SHARDS=9), cwd=ROOT,
                               env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    until(lambda: len(list((out / ".made").glob("search.*-of-9.step"))) >= 3)
    process.kill()
    process.wait(TIMEOUT)
    subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
    finished = {path.name: path.stat().st_mtime_ns for path in (out / "shards").glob("*-of-9")}
    assert 3 <= len(finished) <= 9
    make(bin, place, "interrupted", "triggers", SHARDS=9)
    assert results(out)["triggers.msgpack"] == whole["triggers.msgpack"]


# ------------------------------------------------------- the page of worked plans

CLUSTER = ROOT / "doc" / "cluster.md"
# layers, d_model, heads' width, keys' and values' width, matrices of a memory, cells: model-info(1)
SHAPES = {"the paper's model": (16, 1024, 1024, 1024, 2, 4096),
          "Llama 3 8B": (32, 4096, 4096, 1024, 3, 14336)}


def plans(first_column):
    """The rows of the page's table that has this column: names, and numbers as they are written."""
    lines = CLUSTER.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| plan") and first_column in line)
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            break
        name, *numbers = [cell.strip() for cell in line.strip("|").split("|")]
        yield SHAPES[name.split(", ")[1]], [float(number.replace(",", "")) for number in numbers]


def test_hours_of_the_worked_plans_are_what_their_formula_gives():
    for shape, (operations, tokens, hours, *on) in plans("operations a token"):
        layers, width, heads, pairs, matrices, cells = shape
        assert operations == 2 * layers * width * (2 * heads + 2 * pairs + matrices * cells)
        computed = operations * tokens / 35e9 / 3600 * 1.1
        assert hours == pytest.approx(computed, abs=0.5)
        assert on == pytest.approx([computed / cores for cores in (16, 128, 1024)], rel=0.005)


def test_merging_in_the_worked_plans_is_what_its_formula_gives():
    for shape, (keys, shards, each, together, seconds) in plans("seconds of merging"):
        assert keys == shape[0] * shape[5]
        computed = [keys * 7.05e-6, keys * 7.05e-6 * shards, keys * 7.05e-6 * shards / 1.3]
        assert [each, together, seconds] == pytest.approx(computed, rel=0.005)
