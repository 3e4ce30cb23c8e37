"""README and the other pages in Markdown: links lead somewhere, paths and names are there, the
README is short, its map shows the rooms; the example stage runs as it stands there."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import streams
from conftest import ROOT
from helpers import TIMEOUT, environment, ok, table
from test_rooms import ROOMS

README = ROOT / "README.md"
EXTENDING = ROOT / "doc" / "extending.md"
PLACES = ("*.md", "doc/*.md", "data/*.md", "data/brown-lm/*.md", "data/annotations/*.md")
PAGES = sorted(path for place in PLACES for path in ROOT.glob(place))
FETCHED = ("data/corpora/", "data/models/")  # what the recipes make
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page):
    """A page without its blocks of code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def anchors(page):
    """What a link's #... may say: headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def wrong_links(page):
    wrong = []
    for link in re.findall(r"\]\(([^)\s]*)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if re.match(r"https://", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    return wrong


@each_page
def test_links_lead_somewhere(page):
    assert wrong_links(page) == []


def test_a_wrong_link_would_be_seen(tmp_path):
    (tmp_path / "there.md").write_text("# What is there?\n")
    page = tmp_path / "page.md"
    page.write_text("# Page\n[a](there.md#what-is-there) [b](gone.md) ![c](no.svg)\n"
                    "[d](there.md#other) [e](#page) [f](#x)\n    [g](code.md)\n")
    assert wrong_links(page) == ["gone.md", "no.svg", "there.md#other", "#x"]


@each_page
def test_paths_that_are_named_are_there(page):
    words = [word for code in re.findall(r"`([^`\n]+)`", prose(page)) for word in code.split()]
    folders = r"(tools|man|common|pipelines|python|data|doc|tests)"
    paths = [word for word in words if re.match(folders + r"/[\w./*-]*$", word)
             and "NAME" not in word and not word.startswith(FETCHED)]
    assert [path for path in paths if not list(ROOT.glob(path))] == []


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 130


def test_readme_has_the_two_commands_first():
    commands = re.findall(r"^    (make .*)$", README.read_text(), re.MULTILINE)
    assert commands[:2] == ["make run", "make test"]


def test_map_shows_the_rooms_in_their_order():
    assert tuple(re.findall(r"^\| `common/(\w+)/` \|", README.read_text(), re.MULTILINE)) == ROOMS


def test_map_has_every_folder():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert folders - {"build", "out"} <= set(re.findall(r"^\| `(\w+)/`", README.read_text(), re.MULTILINE))


def test_names_that_extending_tells_to_touch_are_in_their_files():
    found = []
    for files, what in re.findall(r"^\| (`.*?) \| (.*) \|$", EXTENDING.read_text(), re.MULTILINE):
        paths = [ROOT / path for path in re.findall(r"`([^`]+)`", files)]
        texts = [path.read_text() for path in paths if path.is_file()]
        for name in re.findall(r"`([A-Za-z]+(?:_[A-Za-z]+)*)`", what):
            if texts:
                found.append(name)
                assert any(re.search(rf"\b{name}\b", text) for text in texts), f"{name} is not in {files}"
    assert len(found) > 5


# ------------------------------------------------------------ version

def version():
    number, = re.findall(r'#define FFKV_VERSION "(.*)"', (ROOT / "common" / "base" / "version.h").read_text())
    return number


def test_citation_has_the_version():
    assert re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE) == [version()]


def test_changelog_ends_in_the_version():
    titles = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    numbered = [title for title in titles if title != "Unreleased"]
    assert re.fullmatch(re.escape(version()) + r" - \d{4}-\d\d-\d\d", numbered[0])


def test_tools_and_streams_have_the_version(bin, model):
    """Of a clone --version tells the commit too; streams do not, since equal results are equal bytes."""
    first = ok(bin, "tokenize", "--version").decode().splitlines()[0]
    assert re.fullmatch(rf"tokenize \(ffkv\) {re.escape(version())}(\+\d+\.g[0-9a-f]+(\.dirty)?)?", first)
    tokens = ok(bin, "tokenize", "--model", model, stdin=b"The man .\n")
    assert [stage["version"] for stage in streams.read(tokens).header["history"]] == [version()]


def test_version_counts_commits_to_what_is_compiled(tmp_path):
    """Since the release; others do not have tools linked anew. What is no clone says the release."""
    tree = tmp_path / "tree"
    for name in "common/base/version.sh", "common/base/version.h", "Makefile":
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    (tree / "tools").mkdir()

    def told():
        done = subprocess.run([tree / "common/base/version.sh"], capture_output=True, text=True,
                              timeout=TIMEOUT, check=True, cwd=tmp_path)
        assert done.stderr == ""
        return done.stdout.removesuffix("\n")

    def git(*arguments):
        settings = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *settings, *arguments], cwd=tree, capture_output=True, text=True,
                              timeout=TIMEOUT, check=True).stdout.strip()

    def commit(name, text):
        (tree / name).write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", name)
        return git("rev-parse", "--short", "HEAD")

    assert told() == version()
    git("init", "-q")
    commit("CHANGELOG.md", "# Changelog\n\n## Unreleased\n")
    assert told() == version()  # that is not yet there
    commit("CHANGELOG.md", f"# Changelog\n\n## Unreleased\n\n## {version()} - 2026-01-01\n")
    assert told() == version()
    commit("README.md", "a page\n")
    assert told() == version()
    first = commit("tools/new.c", "int main;\n")
    commit("CHANGELOG.md", f"# Changelog\n\n## Unreleased\n\n- New\n\n## {version()} - 2026-01-01\n")
    assert told() == f"{version()}+1.g{first}"
    second = commit("tools/new.c", "int main(void);\n")
    assert told() == f"{version()}+2.g{second}"
    (tree / "tools/new.c").write_text("int main(void) {}\n")
    assert told() == f"{version()}+2.g{second}.dirty"
    (tree / ".git").rename(tmp_path / ".git")  # now it is a folder of somebody else's clone
    assert told() == version()


# ------------------------------------------------------------ the example stage

@pytest.mark.release_only
def test_first_example_runs_as_it_stands(bin, tmp_path):
    """Pasted into a shell in a clone that was built, with nothing of it in PATH."""
    example, = re.findall(r"paste it:\n\n((?:    .*\n)+)", README.read_text())
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "build").mkdir()
    (tmp_path / "build/release-gcc").symlink_to(bin)
    done = subprocess.run(["/bin/sh"], input=example, capture_output=True, text=True, timeout=TIMEOUT,
                          check=False, cwd=tmp_path, env=environment({"PATH": "/usr/bin:/bin"}))
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["layer"] for row in table(done.stdout.encode())] == [str(layer + 1) for layer in range(16)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "data"]


def test_text_of_the_examples_is_of_the_brown_corpus(valid):
    assert valid.read_text().splitlines()[:120] == (ROOT / "data/corpus.txt").read_text().splitlines()


@pytest.mark.release_only
def test_example_stage(bin, model, valid):
    """Oracle: the same count in other words."""
    program, = re.findall(r"```python\n(.*?)```", EXTENDING.read_text(), re.DOTALL)
    tokens = ok(bin, "tokenize", "--model", model, "--limit", 200, valid)
    activations = ok(bin, "forward-dump", "--model", model, stdin=tokens)
    triggers = ok(bin, "topk-keys", "--top", 5, stdin=activations)
    command = [sys.executable, "-c", program]
    installed = environment({"PYTHONPATH": str(ROOT / "python")})
    done = subprocess.run(command, input=triggers, capture_output=True, timeout=TIMEOUT, check=True,
                          env=installed)

    expected = {}
    for record in streams.read(triggers).records:
        if "coef" not in record or not len(record["coef"]):
            continue
        prefixes = np.split(record["prefix"], np.cumsum(record["position"])[:-1])
        expected.setdefault(record["layer"], []).append(len({prefix[-1] for prefix in prefixes}) == 1)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [int(layer) for layer, _ in lines] == [layer + 1 for layer in sorted(expected)]
    shares = [np.mean(expected[layer]) for layer in sorted(expected)]
    assert [float(share) for _, share in lines] == shares
    assert any(0 < float(share) < 1 for _, share in lines)

    cut = subprocess.run(command, input=triggers[:-50], capture_output=True, timeout=TIMEOUT, check=False,
                         env=installed)
    assert cut.returncode == 1 and cut.stdout == b""
    assert cut.stderr.startswith(b"same-last-word: standard input: record ")
