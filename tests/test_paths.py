"""Names with spaces, dollars and letters that are not ASCII: each works, or is refused in one
sentence before anything starts."""

import os
import shutil
import subprocess

import pytest

import random_model
from conftest import ROOT
from helpers import TIMEOUT, environment, random_sentences, text

pytestmark = pytest.mark.release_only

NAMES = {"MODEL": "model", "CORPUS": "train.txt", "VALID": "valid.txt", "OUT": "results"}
SMALL = ("SENTENCES=", "PREFIXES=50", "KEYS=3", "REMOVALS=5", "MODE=lines", "WHAT=agreement composition")
UNFIT = ["a b", "a$b", "a$(shell touch made)b", "a$$b", "a`touch made`b", 'a"b', "a'b", "a\tb", "a\nb",
         "a\\b", "a#b", "a%b", "a:b", "a(b", "a*"]


def make_inputs(folder):
    random_model.write_model(folder / NAMES["MODEL"], layers=2, d_model=16, d_ff=12, heads=2, vocabulary=60,
                             cutoffs=(20, 40))
    (folder / NAMES["CORPUS"]).write_bytes(text(random_sentences(300, 60, seed=1)))
    (folder / NAMES["VALID"]).write_bytes(text(random_sentences(80, 60, seed=2)))


def make(tree, *arguments, **changes):
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=tree, env=environment(changes),
                          timeout=TIMEOUT, capture_output=True, text=True, check=False)


def run(tree, folder, **changes):
    """make run of a tree on the files of a folder, but for changes."""
    names = {name: f"{folder}/{name_of_file}" for name, name_of_file in NAMES.items()}
    return make(tree, "run", *SMALL, *(f"{name}={value}" for name, value in {**names, **changes}.items()))


def tables(folder):
    return {path.name: path.read_bytes()
            for path in sorted(folder.glob("*.csv")) if path.name != "options.csv"}


@pytest.fixture(scope="module")
def plain(bin, tmp_path_factory):
    """A folder with inputs, and the tables that come of them."""
    folder = tmp_path_factory.mktemp("plain")
    make_inputs(folder)
    done = run(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"agreement.csv", "composition.csv"} <= tables(folder / "results").keys()
    return folder


@pytest.mark.parametrize("name", ["a folder", "price$HOME$$x", "größe-本", "it's \"new\" & `old`"])
def test_clone_in_a_folder_of_any_name(bin, plain, tmp_path, name):
    """It builds nothing anew, since a copy has the times, and its tables are the same."""
    tree = tmp_path / name
    for part in ("Makefile", "setup.sh", "install.sh", "LICENSE", "common", "tools", "pipelines", "man",
                 "data/brown-lm", "data/annotations", "data/stop-words.txt", "data/corpus.txt",
                 "data/published.csv"):
        source, target = ROOT / part, tree / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
    built = "build/release-gcc"
    shutil.copytree(ROOT / built, tree / built, ignore=shutil.ignore_patterns("tests"))
    (tree / "tools/tokenize.c").touch()
    done = run(tree, plain, OUT=f"results-{os.getpid()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compile build/release-gcc/tools/tokenize.o" in done.stdout \
        and "link    build/release-gcc/tokenize" in done.stdout
    assert tables(tree / f"results-{os.getpid()}") == tables(plain / "results")
    assert make(tree, "install", f"DESTDIR={tmp_path}/to", "PREFIX=/usr").returncode == 0
    assert (tmp_path / "to/usr/bin/tokenize").exists()


def test_colon_in_the_clones_path_is_refused(bin, tmp_path):
    """PATH cannot have it, so tools would not be found, or others."""
    tree = tmp_path / "a:b"
    shutil.copytree(ROOT / "tools", tree / "tools")
    shutil.copy(ROOT / "Makefile", tree)
    refused(make(tree, "run"), "colon")
    assert not (tree / "build").exists()


def test_letters_of_any_language(bin, plain, tmp_path):
    folder = tmp_path / "größe-本-é"
    folder.mkdir()
    for name, old in NAMES.items():
        if name != "OUT":
            (folder / f"ü-{old}").symlink_to(plain / old)
    done = run(ROOT, folder, **{name: folder / f"ü-{old}" for name, old in NAMES.items()},
               WHAT="agreement composition figures report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(folder / "ü-results").items() >= tables(plain / "results").items()
    assert (folder / "ü-results/report/index.html").stat().st_size \
        and (folder / "ü-results/figures/fig04.svg").stat().st_size


def refused(done, *words):
    assert done.returncode == 2 and done.stdout == "", done.stdout
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stderr.startswith("Makefile:") and done.stderr.endswith("Stop.\n") \
        and done.stderr.count("***") == 1, done.stderr


@pytest.mark.parametrize("goal", ["run", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_what_make_cannot_have_is_refused_before_anything_starts(tmp_path, name, goal):
    """On the command line and in the environment; nothing in it is expanded."""
    for unfit in UNFIT:
        value = f"{tmp_path}/{unfit}"
        refused(make(ROOT, goal, f"{name}={value}"), name, value)
        refused(make(ROOT, goal, **{name: value}), name, value)
    assert not list(tmp_path.iterdir()) and not (ROOT / "made").exists()


@pytest.mark.parametrize("goal", ["run", "paper"])
def test_what_is_not_there_is_said_before_anything_starts(tmp_path, goal):
    """A model, a text; also where another one is right, a folder is given for a file, or nothing."""
    gone, text = tmp_path / "gone", tmp_path / "text.txt"
    text.write_text("w5 w6\n")
    refused(make(ROOT, goal, f"MODEL={gone}"),
            f"MODEL={gone}: there is no such folder or file: give brown-lm, smollm2, ")
    for name, more in ("CORPUS", []), ("VALID", []), ("VALID", [f"CORPUS={text}"]), \
            ("CORPUS", [f"VALID={text}"]):
        refused(make(ROOT, goal, f"{name}={gone}", *more),
                f"{name}={gone}: there is no such file: give a text, or leave {name} out")
        refused(make(ROOT, goal, *more, **{name: str(gone)}), f"{name}={gone}: there is no such file")
        refused(make(ROOT, goal, f"{name}={text}/", *more), f"{name}={text}/: there is no such file")
        for folder in tmp_path, f"{tmp_path}/":
            refused(make(ROOT, goal, f"{name}={folder}", *more),
                    f"{name}={folder}: this is a folder: give a file with the text")
    for name in NAMES:
        refused(make(ROOT, goal, f"{name}="), f"{name} is empty: ")
    assert list(tmp_path.iterdir()) == [text]


def test_results_are_named_after_the_models_own_name(tmp_path):
    """A slash at the end is not part of it; what looks like an ending is, but for that of a GGUF file."""
    text, last = tmp_path / "a.text.txt", tmp_path / "model.gguf"
    (tmp_path / "Qwen2.5-0.5B").mkdir()
    for path in text, last:
        path.touch()
    for model, name in ((f"{tmp_path}/Qwen2.5-0.5B", "Qwen2.5-0.5B"),
                        (f"{tmp_path}/Qwen2.5-0.5B/", "Qwen2.5-0.5B"),
                        (f"{tmp_path}/Qwen2.5-0.5B//", "Qwen2.5-0.5B"),
                        (f"{tmp_path}/Qwen2.5-0.5B/.", "Qwen2.5-0.5B"),
                        (last, "model"), ("brown-lm", "brown-lm"), ("data/brown-lm/", "brown-lm"),
                        ("smollm2", "smollm2"), (".", ROOT.name)):
        for more, out in ([], f"out/{name}"), ([f"CORPUS={text}"], f"out/{name}-a.text"):
            assert make(ROOT, "--eval=show: ; @echo $(RESULTS)", "show", f"MODEL={model}",
                        *more).stdout == f"{out}\n"


def test_pipelines_take_names_with_spaces_and_dollars(bin, plain, tmp_path):
    """Alone, without make."""
    out, model, train = tmp_path / "my $HOME results", tmp_path / "my $HOME model", \
        tmp_path / "my $(text).txt"
    model.symlink_to(plain / "model")
    train.symlink_to(plain / "train.txt")
    for script, *arguments in (("search", model, train, out, "--mode", "lines", "--name", "train"),
                               ("triggers", model, out), ("agreement", model, out),
                               ("annotation", model, out),
                               ("shallow", model, train, out, "--mode", "lines", "--name", "train"),
                               ("perturbation", model, out), ("figures", out / "figures", out)):
        done = subprocess.run([ROOT / f"pipelines/{script}.sh", *arguments], capture_output=True, text=True,
                              check=False, timeout=TIMEOUT,
                              env=environment({"PATH": f"{bin}:{os.environ['PATH']}"}))
        assert done.returncode == 0, f"{script}: {done.stderr}"
    assert (out / "agreement.csv").read_bytes() == (plain / "results/agreement.csv").read_bytes()
    assert sorted(path.name
                  for path in tmp_path.iterdir()) == sorted(path.name for path in (out, model, train))
