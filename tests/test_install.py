"""make install: what it puts where, that the manual's examples and the pipelines run from there in a
folder that has nothing of the source, also with PROGRAM_PREFIX; make uninstall."""

import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT
from helpers import TIMEOUT, environment
from test_manual import PAGES, TOOLS, examples, put_inputs

pytestmark = pytest.mark.release_only

PREFIXES = ["", "ffkv-"]
SHARE = "share/ffkv"


def make(*arguments, **changes):
    return subprocess.run(["make", "--no-print-directory", *map(str, arguments)], cwd=ROOT,
                          env=environment(changes), timeout=TIMEOUT, capture_output=True, text=True,
                          check=False)


def install(*arguments):
    done = make("install", *arguments)
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


class Installed:
    def __init__(self, place, prefix):
        self.place, self.prefix = place, prefix
        install(f"PREFIX={place}", f"PROGRAM_PREFIX={prefix}")
        self.share, self.bin = place / SHARE, place / "bin"

    def page(self, page):
        """Where a page of the source is."""
        prefix = self.prefix if page.suffix == ".1" else ""
        return self.place / f"share/man/man{page.suffix[1:]}" / f"{prefix}{page.name}"

    def shell(self, folder, *argv, path=""):
        return subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=TIMEOUT,
                              check=False, cwd=folder, stdin=subprocess.DEVNULL,
                              env=environment({"PATH": f"{path}/usr/bin:/bin",
                                               "PYTHONPATH": str(ROOT / "python")}))


@pytest.fixture(scope="module", params=PREFIXES, ids=["plain", "prefixed"])
def installed(request, bin, tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed") / "usr", request.param)


def test_everything_is_there(installed):
    found = set(files(installed.place))
    assert {f"bin/{installed.prefix}{tool}" for tool in TOOLS} == {name for name in found
                                                                   if name.startswith("bin/")}
    assert {str(installed.page(page).relative_to(installed.place)) for page in PAGES} \
        == {name for name in found if name.startswith("share/man/")}
    tracked = [path for path in (ROOT / "pipelines").rglob("*")
               if path.is_file()] + list((ROOT / "data/brown-lm").iterdir())
    assert {f"{SHARE}/{path.relative_to(ROOT)}" for path in tracked} <= found
    assert {f"{SHARE}/data/{name}" for name in ("stop-words.txt", "published.csv", "corpus.txt",
                                                "annotations/brown-lm.csv")} <= found
    assert set((installed.share / "installed").read_text().splitlines()) == found - {f"{SHARE}/installed"}
    assert all(os.access(path, os.X_OK) for path in installed.bin.iterdir())


# All with the prefix, which adds a way to go wrong; a few without.
@pytest.mark.parametrize("installed, page", [(prefix, page) for prefix in PREFIXES for page in PAGES
                                             if prefix
                                             or page.stem in ("tokenize", "pattern-stats", "ffkv-stream")],
                         indirect=["installed"], ids=lambda value: getattr(value, "name", value))
def test_examples_of_the_installed_pages_run_anywhere(installed, tmp_path, page):
    """In a folder with the text, as ffkv(7) says, and for import-model the checkpoint that it is about."""
    shutil.copy(installed.share / "data/corpus.txt", tmp_path)
    put_inputs(installed.page(page), tmp_path)
    done = installed.shell(tmp_path, "/bin/sh", "-e", "-c", examples(installed.page(page)).script,
                           path=f"{installed.bin}:")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_pages_are_right_and_speak_of_what_is_installed(installed):
    for page in map(installed.page, PAGES):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True,
                              timeout=TIMEOUT, check=False)
        # the prefix changes it
        found = [line for line in done.stdout.splitlines() if "unusual Xr order" not in line]
        assert not found
        text = page.read_text()
        assert all((installed.place / "share/man" / f"man{section}" / f"{name}.{section}").exists()
                   for name, section in re.findall(r"^\.(?:It )?Xr (\S+) (\d)", text, re.MULTILINE)
                   if name not in ("cat", "gnuplot", "gunzip", "gzip", "iconv", "parallel",
                                    "rsvg-convert", "sbatch"))
        for path in re.findall(rf"{installed.place}/\S*", text):
            assert os.path.exists(path.rstrip(",.")), path
        assert not re.search(r"(^|[ =])(data|pipelines)/", text, re.MULTILINE)


def run_pipelines(shell, pipelines, model, text, out):
    for script, *arguments in (("search", model, text, out, "--limit", 40), ("triggers", model, out),
                               ("agreement", model, out),
                               ("annotation", model, out),
                               ("perturbation", model, out, "--sample", 1, "-t", 3),
                               ("shallow", model, text, out, "--limit", 40),
                               ("composition", model, text, out, "--prefixes", 20),
                               ("refinement", model, text, out, "--prefixes", 20),
                               ("ablation", model, text, out, "--prefixes", 5, "--removed", 3, "--every", 8),
                               ("figures", out / "figures", out),
                               ("report", model, out, "--date", "2026-01-01")):
        done = shell(pipelines / f"{script}.sh", *arguments)
        assert done.returncode == 0, f"{script}: {done.stderr}"


@pytest.mark.parametrize("installed", PREFIXES[1:], indirect=True)
def test_pipelines_find_what_they_need(installed, bin, tmp_path):
    """Tools that are not in PATH, and their siblings, also through links; results are those of the source."""
    model, text = installed.share / "data/brown-lm", installed.share / "data/corpus.txt"
    links = tmp_path / "links"
    links.mkdir()
    for script in (installed.share / "pipelines").glob("*.sh"):
        (links / script.name).symlink_to(script)
    out, expected = tmp_path / "installed/out", tmp_path / "source/out"
    run_pipelines(lambda *argv: installed.shell(tmp_path, *argv), links, model, text, out)
    run_pipelines(lambda *argv: installed.shell(tmp_path, *argv, path=f"{bin}:"), ROOT / "pipelines", model,
                  text, expected)
    assert {"agreement.csv", "composition.csv", "figures/fig08.svg", "report/index.html"} <= set(files(out))
    assert files(out) == files(expected)
    assert all((out / name).read_bytes() == (expected / name).read_bytes() for name in files(out))


def test_the_graph_of_experiments_runs(installed, tmp_path):
    text = installed.share / "data/corpus.txt"
    done = installed.shell(tmp_path, "make", "-f", installed.share / "pipelines/paper.mk",
                           f"BIN={installed.bin}", f"OUT={tmp_path}/out",
                           f"MODEL={installed.share}/data/brown-lm", f"TEXT={text}", f"VALID={text}",
                           "MODE=lines", "SENTENCES=20", "PREFIXES=10", "KEYS=1", "REMOVALS=2",
                           "ANNOTATIONS=", "agreement", "composition")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out/agreement.csv").stat().st_size \
        and (tmp_path / "out/composition.csv").stat().st_size


def test_tools_say_the_names_that_they_have(installed, tmp_path):
    """Messages, help and version; streams say the tool's own, since equal results are equal bytes."""
    name = f"{installed.prefix}tokenize"
    tool = installed.bin / name
    told = installed.shell(tmp_path, tool, "--help").stdout
    assert told.startswith(f"usage: {name} [options] ") and f"Manual: {name}(1)" in told
    assert installed.shell(tmp_path, tool, "--version").stdout.startswith(f"{name} (ffkv) ")
    assert installed.shell(tmp_path, tool, "--nonsense").stderr \
        == f"{name}: unknown option '--nonsense'; try '{name} --help'\n"
    text = installed.share / "data/corpus.txt"
    assert installed.shell(tmp_path, tool, "-m", installed.share / "data/brown-lm", "-o", "tokens",
                           text).returncode == 0
    header = installed.shell(tmp_path, installed.bin / f"{installed.prefix}stream-cat",
                             "--header", "tokens").stdout
    assert '"tool":"tokenize"' in header.replace(" ", "")


def test_uninstall_takes_all_away(bin, tmp_path):
    """And nothing else. DESTDIR is where it goes now, PREFIX where it is to be later."""
    for more in [], ["PROGRAM_PREFIX=ffkv-"]:
        where = f"DESTDIR={tmp_path}/to it's $$HOME", "PREFIX=/opt/suite"
        place = tmp_path / "to it's $HOME/opt/suite"
        install(*where, *more)
        assert "/opt/suite/share/ffkv/data/brown-lm " in (place / "share/man/man7/ffkv.7").read_text()
        (place / "bin/mine").touch()
        done = make("uninstall", *where)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        assert files(tmp_path) == ["to it's $HOME/opt/suite/bin/mine"] and not (place / SHARE).exists()
    done = make("uninstall", *where)
    assert done.returncode == 2 and "install.sh: nothing to take away: there is no " in done.stderr


def test_another_installation_replaces_the_one_before(bin, tmp_path):
    install(f"PREFIX={tmp_path}")
    install(f"PREFIX={tmp_path}", "PROGRAM_PREFIX=x.")
    assert files(tmp_path / "bin") == [f"x.{tool}" for tool in TOOLS]
    assert make("uninstall", f"PREFIX={tmp_path}").returncode == 0 and files(tmp_path) == []


@pytest.mark.parametrize("arguments, says", [
    (["PREFIX={place}/a b"], "PREFIX is "), (["PREFIX={place}/a|b"], "PREFIX is "),
    (["PREFIX={place}/a$$b"], "PREFIX is "),
    (["PREFIX="], "PREFIX is ''"), (["PREFIX={place}", "PROGRAM_PREFIX=a/b"], "PROGRAM_PREFIX is "),
    (["PREFIX={place}", "PROGRAM_PREFIX=a b"], "PROGRAM_PREFIX is "),
    (["PREFIX={place}", "PROGRAM_PREFIX=-a"], "PROGRAM_PREFIX is ")])
def test_names_that_pages_and_scripts_cannot_have_are_refused(bin, tmp_path, arguments, says):
    done = make("install", *(argument.format(place=tmp_path) for argument in arguments))
    assert done.returncode == 2 and done.stderr.startswith(f"install.sh: {says}"), done.stderr
    assert files(tmp_path) == []
