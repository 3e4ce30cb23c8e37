"""The manual pages: mandoc finds nothing wrong with them, they have the options
that --help has, and their examples run.

What stands in a page's section EXAMPLES is run as one shell script: every .Dl
line and every .Bd block, in order, in a directory with corpus.txt, links to
data/, and a small checkpoint's model.pt and dict.txt.  A comment in front of a block changes that: after
    .\\" file NAME
the block is a file of that name, and after
    .\\" output
it is something to look at.
"""

import collections
import itertools
import json
import re
import subprocess

import pytest

import fault_inputs
import streams
from conftest import ROOT
from families import known_families, listed_families
from helpers import TIMEOUT, environment, ok

PAGES = sorted(ROOT.glob("man/*.[1-9]"))
TOOLS = sorted(path.stem for path in ROOT.glob("tools/*.c"))
STREAM_PAGE = ROOT / "man" / "ffkv-stream.5"

Examples = collections.namedtuple("Examples", "script files outputs")


def by_name(path):
    return path.name


# ----------------------------------------------------------- reading the pages

def section(page, title):
    """The source lines of a section."""
    text = page.read_text()
    match = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", text, re.DOTALL | re.MULTILINE)
    assert match, f"{page.name} has no section {title}"
    return match[1].splitlines()


def unescape(line):
    """What mandoc makes of a literal line."""
    for escape, character in (r"\(aq", "'"), (r"\(dq", '"'), (r"\&", ""), (r"\e", "\\"):
        line = line.replace(escape, character)
    return line


def examples(page):
    script, files, outputs = [], {}, []
    mark, block = None, None  # block: lines of the .Bd at hand
    for line in section(page, "EXAMPLES"):
        if block is not None and line == ".Ed":
            text = "".join(f"{unescape(part)}\n" for part in block)
            if mark is None:
                script.append(text)
            elif mark == "output":
                outputs.append(text)
            else:
                files[mark.removeprefix("file ")] = text
            mark, block = None, None
        elif block is not None:
            block.append(line)
        elif line.startswith('.\\" '):
            mark = line[4:]
            assert mark == "output" or re.fullmatch(r"file \S+", mark), line
        elif line.startswith(".Bd -literal"):
            block = []
        elif line.startswith(".Dl "):
            script.append(unescape(line[4:]) + "\n")
    assert script, f"{page.name} has no example"
    return Examples("".join(script), files, outputs)


def page_options(page):
    """{(letter or None, name, argument or None): text}, in order."""
    found, nested = {}, 0
    for line in section(page, "OPTIONS"):
        nested += line.startswith(".Bl") - line.startswith(".El")
        if nested == 1 and line.startswith(".It "):
            match = re.fullmatch(r"\.It (?:Fl (\w) , )?Fl -([\w-]+)(?: Ar (\S+))?",
                                 line.replace(" Ns / Ns Ar ", "/"))
            assert match, line
            text = found.setdefault(match.groups(), [])
        elif found and not line.startswith((".Bl", ".El")):
            text.append(re.sub(r"^\.[A-Z][a-z] ", "", line))
    return {option: " ".join(lines) for option, lines in found.items()}


def help_options(text):
    """The same of --help."""
    lines = re.findall(r"^  (?:-(\w), |    )--([\w-]+)(?: ([A-Z][A-Z/]*))? +(\S.*)$", text,
                       re.MULTILINE)
    return {(letter or None, name, argument or None): rest for letter, name, argument, rest in lines}


# -------------------------------------------------------------- the directory

def sentences():
    """Some 2,000 tokens, so that there are several batches: a few long sentences,
    because triggers cost time, and short ones."""
    subjects = ("The committee", "A young man", "Her brother", "The new school", "Nobody here",
                "The company")
    verbs = ("had seen", "would not pay for", "was thinking of", "asked about", "could remember",
             "wrote of")
    objects = ("the old house in the city", "the war , and what came after it",
               "a program that was never finished", "the men who had gone home ; first",
               "the long day at work", "what the paper said of the river and of the people there")
    for number, (subject, verb) in enumerate(itertools.product(subjects, verbs)):
        yield " , then ".join(f"{subject} {verb} {what}" for what in objects) + " ."
        if number % 4 == 0:
            yield ("Yes .", "He did not .", "Why ?")[number % 3]


def put_inputs(page, place):
    """What the examples of a page have as files: those of the page, and a checkpoint with a text of its
    words."""
    for name, text in examples(page).files.items():
        (place / name).write_text(text)
    if "model.gguf" in page.read_text():
        fault_inputs.write_gguf(place / "model.gguf")
        (place / "book.txt").write_text("w1 w2 other w3\nw5 w4 w1 w2 w0\n" * 20)
    if page.name.endswith("import-model.1"):
        (place / "model.pt").symlink_to(ROOT / "tests" / "fairseq-tiny" / "zip.pt")
        (place / "dict.txt").symlink_to(ROOT / "tests" / "fairseq-tiny" / "dict.txt")
        (place / "corpus.txt").write_text("w1 w2 w3 w4\n" * 50)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "corpus.txt").write_text("".join(f"{line}\n" for line in sentences()))
    return tmp_path


def shell(bin, place, script, stdin=b""):
    """Runs a script as a reader of the manual would; the completed process."""
    return subprocess.run(["/bin/sh", "-e", "-c", script], input=stdin, capture_output=True,
                          timeout=TIMEOUT, check=False, cwd=place,
                          env=environment({"PATH": f"{bin}:/usr/bin:/bin",
                                           "PYTHONPATH": str(ROOT / "python")}))


# -------------------------------------------------------------------- the tests

@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_lint(page):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True,
                          text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.release_only
@pytest.mark.parametrize("tool", TOOLS)
def test_options_are_those_of_help(bin, tool):
    shown = help_options(ok(bin, tool, "--help").decode())
    described = page_options(ROOT / "man" / f"{tool}.1")
    assert list(described) == list(shown)
    for option, text in shown.items():
        for default in re.findall(r"\(default:? ([\w ]+)\)", text):
            assert re.search(rf"\bdefault:? {default}\b|\b{default} \(default\)", described[option]), \
                f"--{option[1]}: --help says {text!r}, the manual {described[option]!r}"


@pytest.mark.release_only
@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_examples_run(bin, place, page):
    put_inputs(page, place)
    done = shell(bin, place, examples(page).script)
    message = done.stderr.decode()
    assert done.returncode == 0 and message == "", f"status {done.returncode}: {message}"


def commands(lines):
    """The words that are marked as commands, in a list's heads or in the text."""
    return [word for line in lines if re.match(r"\.(It )?Cm ", line)
            for word in re.sub(r"^\.(It )?Cm ", "", line).split() if word not in (",", ".")]


@pytest.mark.release_only
def test_families_are_those_of_the_program(bin, tmp_path):
    lines = section(ROOT / "man" / "ffkv.7", "MODELS")
    first = lines.index("The families are")
    end = next(i for i in range(first, len(lines)) if lines[i].startswith("All have"))
    folders, _ = known_families(bin, tmp_path)
    assert sorted(commands(lines[first:end])) == sorted(folders)


@pytest.mark.release_only
def test_table_of_families_is_that_of_the_program(bin):
    """Heads and rows, in order; the page has - for what is empty."""
    lines = section(ROOT / "man" / "ffkv-models.7", "DESCRIPTION")
    head, *rows = [line.removeprefix(".It ").split(" Ta ") for line in lines if " Ta " in line]
    listed = listed_families(bin)
    assert [name.removeprefix("Em ") for name in head] == list(listed[0])
    assert rows == [[field or "-" for field in row.values()] for row in listed]


@pytest.mark.release_only
def test_header_is_the_one_shown(bin, place):
    done = shell(bin, place, "tokenize -m data/brown-lm corpus.txt | stream-cat --header")
    (shown,) = examples(STREAM_PAGE).outputs
    assert json.loads(done.stdout) == json.loads(shown)


class TestStageInPython:
    """The stage of ffkv-stream(5) keeps what the page says of it."""

    pytestmark = pytest.mark.release_only

    @pytest.fixture
    def place(self, place):
        put_inputs(STREAM_PAGE, place)
        return place

    def test_gives_what_the_text_without_short_sentences_gives(self, bin, place):
        kept = [line for line in sentences() if len(line.split()) >= 5]
        dropped = shell(bin, place, "tokenize -m data/brown-lm corpus.txt | python3 drop-short.py")
        without = ok(bin, "tokenize", "-m", place / "data" / "brown-lm",
                     stdin="".join(f"{line}\n" for line in kept).encode())
        found, expected = streams.read(dropped.stdout), streams.read(without)
        assert len(expected.records) > 1
        assert [{name: list(value) if name != "id" else value for name, value in record.items()}
                for record in found.records] \
            == [{name: list(value) if name != "id" else value for name, value in record.items()}
                for record in expected.records]
        assert found.header["history"].pop()["tool"] == "drop-short"
        assert found.header == expected.header
        assert found.trailer["skipped"] == len(list(sentences())) - len(kept)

    @pytest.mark.parametrize("damage", ["cut", "no trailer", "changed", "longer", "empty"])
    def test_refuses_damage(self, bin, place, damage):
        data = ok(bin, "tokenize", "-m", place / "data" / "brown-lm", place / "corpus.txt")
        middle = len(data) // 2
        data = {
            "cut": data[:middle],
            "no trailer": data[:streams.items(data)[-1].start],
            "changed": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:],
            "longer": data + b"\xc0",
            "empty": b"",
        }[damage]
        done = shell(bin, place, "python3 drop-short.py", stdin=data)
        assert done.returncode == 1
        with pytest.raises(streams.StreamError):
            streams.read(done.stdout)
