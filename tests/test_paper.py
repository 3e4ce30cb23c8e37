"""The graph of experiments, pipelines/paper.mk, on a small model with random weights:
it makes every result, a second time nothing, after a change what depends on it, and
after interruptions the bytes of an undisturbed run."""

import csv
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import pytest

import random_model
from conftest import ROOT
from helpers import TIMEOUT, environment, random_sentences, text

pytestmark = pytest.mark.release_only

TABLES = {"agreement", "rank", "confidence", "top-values", "active", "composition", "refinement", "cases",
          "last-layer", "settled", "perplexity", "perturbation", "shallow", "shallow-keys", "shallow-ngrams"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("paper")
    random_model.write_model(place / "model", layers=2, d_model=16, d_ff=12, heads=2, vocabulary=60, cutoffs=(20, 40))
    (place / "train.txt").write_bytes(text(random_sentences(300, 60, seed=1)))
    (place / "valid.txt").write_bytes(text(random_sentences(80, 60, seed=2)))
    return place


def command(bin, place, out, *words, **settings):
    settings = {"MODEL": place / "model", "TEXT": place / "train.txt", "VALID": place / "valid.txt", "MODE": "lines",
                "SENTENCES": "", "PREFIXES": 50, "KEYS": 3, "REMOVALS": 5, "ANNOTATIONS": "", "BIN": bin,
                "OUT": place / out / "results", **settings}  # figures show the last name
    return ["make", "--no-print-directory", "-f", "pipelines/paper.mk",
            *(f"{name}={value}" for name, value in settings.items()), *words]


def make(bin, place, out, *words, status=0, **settings):
    """Runs make; what it says."""
    done = subprocess.run(command(bin, place, out, *words, **settings), cwd=ROOT, env=environment(),
                          capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def scripts(said):
    """The pipelines and tools that make ran, by their names."""
    return set(re.findall(r"^(?:pipelines/)?([a-z-]+)(?:\.sh)? ", said, re.MULTILINE)) & {
        "triggers", "agreement", "project-values", "composition", "refinement", "perturbation", "shallow", "annotation",
        "figures", "report"}


def results(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*"))
            if path.is_file() and ".options" not in path.parts}


@pytest.fixture(scope="module")
def undisturbed(bin, place):
    make(bin, place, "undisturbed")
    return results(place / "undisturbed" / "results")


def test_everything_is_made(undisturbed):
    assert {f"{name}.csv" for name in TABLES} <= undisturbed.keys()
    assert {"triggers.msgpack", "values.msgpack", "annotation.html", "report/index.html"} <= undisturbed.keys()
    assert {f"figures/fig{number:02}.{kind}" for number in (*range(3, 12),) for kind in ("svg", "png")} \
        <= undisturbed.keys()
    assert all(data for name, data in undisturbed.items() if not name.endswith(".complete"))


def test_options_are_told(place, undisturbed):
    rows = list(csv.reader(undisturbed["options.csv"].decode().splitlines()))
    train, valid = place / "train.txt", place / "valid.txt"
    assert rows == [["experiments", "options"], ["all", f"{place / 'model'}"],
                    ["triggers and shallow", f'{train} --mode lines --name "train"'],
                    ["composition and refinement", f'{valid} --prefixes 50 --mode lines --name "valid"'],
                    ["perturbation", "--sample 3 --top 5"], ["patterns", ""]]


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
    runs({"composition", "refinement", *pages}, KEYS=2, PREFIXES=20)
    runs({"triggers", "agreement", "perturbation", "shallow", "annotation", *pages}, KEYS=2, PREFIXES=20, SENTENCES=250)
    runs({"triggers", "agreement", "composition", "refinement", "perturbation", "shallow", "annotation", *pages})
    assert results(place / "changed" / "results") == undisturbed

    time.sleep(0.01)
    os.utime(place / "valid.txt")
    runs({"composition", "refinement", *pages})
    os.utime(place / "model" / "model.safetensors")
    runs({"triggers", "agreement", "project-values", "composition", "refinement", "perturbation", "shallow",
          "annotation", *pages})


def test_parts_can_be_asked_for(bin, place):
    assert scripts(make(bin, place, "part", "agreement")) == {"triggers", "agreement"}
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
    assert {name: data for name, data in results(place / "interrupted" / "results").items() if ".part-" not in name} == undisturbed


def test_a_failed_stage_is_a_failed_run(bin, place):
    """And what it should have made is not there."""
    broken = place / "broken.txt"
    broken.write_bytes(b"w5 \xff w6\n")
    make(bin, place, "broken", TEXT=broken, status=2)
    assert not (place / "broken" / "results" / "triggers.msgpack").exists()
