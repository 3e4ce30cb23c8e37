"""Fixtures, builds under test, and the count of results as the last line.

FFKV_BUILDS: directories of built tools, separated by colons; the default is the
release build and the one with sanitizers.  Tests marked release_only, those
that need a whole corpus, run on the first one only.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

import environments
import oracle
import random_model as random_models
import surroundings
from helpers import run

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILDS = [ROOT / name for name in
          os.environ.get("FFKV_BUILDS", "build/release-gcc:build/sanitize-gcc").split(":") if name]


@pytest.fixture(scope="session", params=BUILDS, ids=lambda path: path.name)
def bin(request):
    """The directory of the tools."""
    if not (request.param / "forward-dump").exists():
        pytest.fail(f"no tools in {request.param}: run `make test`, which builds them")
    return request.param


@pytest.fixture(scope="session")
def bfloats(bin):
    """Skips where the tools have no products of bfloat16 numbers."""
    done = run(bin, bin / "tests" / "matrix-multiply", "--products", "bf16", stdin=bytes(16))
    if done.returncode:
        pytest.skip(done.stderr.decode().strip())


@pytest.fixture(scope="session")
def model():
    """The directory of the model that comes with the suite."""
    return ROOT / "data" / "brown-lm"


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2's GGUF file, which its recipe fetches."""
    with environments.alone("smollm2"):
        done = subprocess.run([ROOT / "data" / "smollm2.sh"], capture_output=True, text=True,
                              timeout=environments.TIMEOUT, check=False)
    if done.returncode:
        pytest.skip(f"SmolLM2 cannot be fetched: {done.stderr.strip()}")
    return ROOT / "data" / "models" / "smollm2" / "model.gguf"


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The folder that families_reference.py fills, once for all processes of a run."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder = place / "families"
    python = environments.python(*environments.TRANSFORMERS)
    with environments.alone("families"):
        if not (folder / "ready").exists():
            folder.mkdir(exist_ok=True)
            environments.run(python, ROOT / "tests" / "families_reference.py", folder)
            (folder / "ready").touch()
    return folder


# Shapes that the shipped model does not have: widths that are no multiple of the
# loops' 16 lanes, one cell, two to four clusters, each stored type.
SHAPES = {
    "one-cell": {"layers": 1, "d_model": 12, "d_ff": 1, "heads": 4, "vocabulary": 60,
                 "cutoffs": (20,), "factor": 3, "dtype": "F32"},
    "odd-width": {"layers": 1, "d_model": 9, "d_ff": 17, "heads": 3, "vocabulary": 41,
                  "cutoffs": (15,), "factor": 4, "dtype": "F32"},
    "head-of-3": {"layers": 3, "d_model": 30, "d_ff": 37, "heads": 10, "vocabulary": 203,
                  "cutoffs": (50, 120), "factor": 5, "dtype": "F16"},
    "4-clusters": {"layers": 2, "d_model": 20, "d_ff": 50, "heads": 4, "vocabulary": 45,
                   "cutoffs": (10, 20, 30), "factor": 2, "dtype": "BF16"},
    "one-head": {"layers": 3, "d_model": 64, "d_ff": 100, "heads": 1, "vocabulary": 700,
                 "cutoffs": (100, 300), "factor": 4, "dtype": "F32"},
}


@pytest.fixture(scope="session", params=SHAPES)
def random_model(request, tmp_path_factory):
    """The directory of a small model with random weights; one of them has other
    constants than all fairseq models have."""
    directory = tmp_path_factory.mktemp(request.param)
    config = random_models.write_model(directory, seed=list(SHAPES).index(request.param),
                                       **SHAPES[request.param])
    if request.param == "one-head":
        config.update(layer_norm_eps=0.25, position_offset=7, embed_scale=3.5, bos_token_id=0)
        (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """The directory of one such model, where one is enough."""
    directory = tmp_path_factory.mktemp("small")
    random_models.write_model(directory, layers=3, d_model=24, d_ff=37, heads=4, vocabulary=100,
                              cutoffs=(30, 60), factor=2)
    return directory


@pytest.fixture(scope="session")
def normed_model(small_model, tmp_path_factory):
    """The directory of the small model with a final norm, far from doing nothing."""
    directory = tmp_path_factory.mktemp("normed")
    config = json.loads((small_model / "config.json").read_text())
    tensors = oracle.load_safetensors(small_model / "model.safetensors", np.float32)
    random = np.random.default_rng(12)
    for name, mean in ("weight", 1.5), ("bias", 0):
        tensors[f"decoder.layer_norm.{name}"] = random.normal(mean, 1,
                                                              config["hidden_size"]).astype(np.float32)
    random_models.write_tensors(directory / "model.safetensors", tensors)
    (directory / "config.json").write_text(json.dumps({**config, "final_norm": True}))
    (directory / "dict.txt").write_bytes((small_model / "dict.txt").read_bytes())
    return directory


def corpus(name):
    path = ROOT / "data" / "corpora" / name
    if not path.exists():
        pytest.fail(f"{path} is missing: run `make test`, which makes the corpus first")
    return path


@pytest.fixture(scope="session")
def train():
    """The Brown corpus' training part, a sentence a line."""
    return corpus("brown-train.txt")


@pytest.fixture(scope="session")
def valid():
    """The Brown corpus' validation part."""
    return corpus("brown-valid.txt")


# ------------------------------------------------------------ which tests run

def pytest_configure(config):
    config.addinivalue_line("markers", "release_only: runs on the first build only")
    config.pluginmanager.register(surroundings, "surroundings")
    config.pluginmanager.register(Results(), "results")


def pytest_collection_modifyitems(config, items):
    def is_wanted(item):
        build = getattr(item, "callspec", None) and item.callspec.params.get("bin")
        return not build or build == BUILDS[0] or not item.get_closest_marker("release_only")

    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = [item for item in items if is_wanted(item)]


# ----------------------------------------------------------------- the results

class Results:
    """The worst outcome of each test's phases: a test that errs in its setup or
    its teardown has failed."""

    ORDER = ("passed", "skipped", "failed")

    def __init__(self):
        self.outcomes = {}

    def add(self, report):
        known = self.outcomes.get(report.nodeid)
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = max(known or "passed", report.outcome,
                                               key=self.ORDER.index)

    def pytest_runtest_logreport(self, report):
        self.add(report)

    def pytest_collectreport(self, report):
        if report.outcome == "failed":
            self.outcomes[report.nodeid] = "failed"

    def __str__(self):
        counts = [list(self.outcomes.values()).count(outcome) for outcome in self.ORDER]
        passed, skipped, failed = counts
        return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    results = config.pluginmanager.get_plugin("results")
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist: the controller counts
    if results and not is_worker and not config.option.collectonly:
        config.get_terminal_writer().line(str(results))
