"""The command line and what surrounds a tool: options, standard streams, output
files, signals, terminals.  Every rule is checked for every tool."""

import gzip
import os
import pathlib
import pty
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
import types

import numpy as np
import pytest

import random_model
import streams
from conftest import ROOT
from damage import OLD, in_parallel
from helpers import command, environment, fails, ok, run

TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.c"))
DIRECTORY_MAKERS = ["import-model", "report-pages"]  # test_import.py, test_report.py
MODEL_READERS = ["generate", "model-info", "value-ranks"]  # and no file besides: tests of their own
FILTERS = [tool for tool in TOOLS if tool not in (*DIRECTORY_MAKERS, *MODEL_READERS)]
TEXT_READERS = ["pattern-stats", "tokenize"]
STREAM_WRITERS = ["forward-dump", "perturb-triggers", "project-values", "tokenize", "topk-keys"]
SEVERAL_INPUTS = ["pattern-stats", "perturbation-stats"]
# Options that name a further table to write.
TABLES = {
    "agreement-stats": ["--rank", "--confidence"], "composition-stats": ["--active"],
    "pattern-stats": ["--kappa"], "intervention-stats": ["--tokens", "--sentences"],
    "refinement-stats": ["--cases", "--last-layer", "--settled", "--perplexity"],
    "trace-prompts": ["--memories-table", "--page"]
}
PROJECTING = ["composition-stats", "refinement-stats"]  # with --norm
SUMMING = [*PROJECTING, "intervention-stats"]  # these write streams with --sums
SUMMING_KEYS = ["agreement-stats", "coefficient-stats", "shallow-stats"]  # and these, of keys
CHAIN = ["tokenize", "forward-dump", "topk-keys", "project-values", "agreement-stats"]
PATIENCE = 60  # seconds, for what should take far less than one


@pytest.fixture(scope="module")
def made(bin, tmp_path_factory):
    """What each tool needs: arguments, input (bytes and file) and the output that comes of them."""
    class Use:
        def __init__(self, tool, arguments, data):
            self.tool, self.arguments, self.data = tool, [str(argument) for argument in arguments], data
            self.path = place / f"{tool}.in"
            self.path.write_bytes(data)
            self.output = ok(bin, tool, *arguments, stdin=data)

    place = tmp_path_factory.mktemp("made")
    model = place / "model"
    random_model.write_model(model, layers=2, d_model=8, d_ff=4, heads=2, vocabulary=12, cutoffs=(5, 8),
                             factor=2)
    uses, data = {}, b"w4 w5 w6\nw7 w8 other w9\nw5\n" * 20
    for tool, arguments in [("tokenize", ["-m", model]), ("forward-dump", ["-m", model, "--threads", 2]),
                            ("topk-keys", ["-t", 3]),
                            ("project-values", ["-m", model, "-k", 3, "--threads", 2]),
                            ("agreement-stats", [])]:
        uses[tool] = Use(tool, arguments, data)
        data = uses[tool].output
    uses["annotation-sheet"] = Use("annotation-sheet", ["-m", model], uses["project-values"].output)
    uses["pattern-stats"] = Use("pattern-stats", [],
                                (ROOT / "data" / "annotations" / "brown-lm.csv").read_bytes())
    uses["stream-cat"] = Use("stream-cat", [], uses["forward-dump"].output)
    triggers = uses["topk-keys"].output
    uses["perturb-triggers"] = Use("perturb-triggers", [], triggers)
    keyed = ok(bin, "forward-dump", "-m", model, "--emit", "key", stdin=uses["perturb-triggers"].output)
    uses["perturbation-stats"] = Use("perturbation-stats", [], keyed)
    uses["shallow-stats"] = Use("shallow-stats", [], triggers)
    counted = ok(bin, "forward-dump", "-m", model, "--emit", "max,magnitudes",
                 stdin=uses["forward-dump"].data)
    uses["coefficient-stats"] = Use("coefficient-stats", [], ok(bin, "topk-keys", stdin=counted))
    values, rows = place / "values", ok(bin, "forward-dump", "-m", model, "--emit", "coef,resid,ffn",
                                        stdin=uses["forward-dump"].data)
    values.write_bytes(ok(bin, "project-values", "-m", model, "--all", "-k", 1))
    uses["composition-stats"] = Use("composition-stats", ["-m", model, "--values", values, "--threads", 2],
                                    rows)
    uses["refinement-stats"] = Use("refinement-stats", ["-m", model, "--threads", 2], rows)
    edited = place / "edited"
    edited.write_bytes(ok(bin, "forward-dump", "-m", model, "--emit", "coef,resid,ffn", "--edit", "1:2=*2",
                          stdin=uses["forward-dump"].data))
    uses["intervention-stats"] = Use("intervention-stats", ["-m", model, "--edited", edited, "--threads", 2],
                                     rows)
    prompts = ok(bin, "tokenize", "-m", model, "--prompt", stdin=b"w4 w5 w6\nw7 other\n" * 20)
    uses["trace-prompts"] = Use("trace-prompts", ["-m", model, "-k", 3, "--positions", "all", "--threads", 2],
                                ok(bin, "forward-dump", "-m", model, "--emit", "coef,resid,ffn",
                                   stdin=prompts))
    assert sorted(uses) == FILTERS
    return uses


@pytest.fixture(params=FILTERS)
def use(request, made):
    return made[request.param]


def shell(bin, script, use, *args, **options):
    """Runs a shell script with "$@" the tool's command line; /bin/sh reports for the tool."""
    argv = ["/bin/sh", "-c", script, "sh", *command(bin, use.tool, *use.arguments, *args)]
    return subprocess.run(argv, capture_output=True, timeout=PATIENCE, check=False, env=environment(),
                          **options)


def start(bin, use, *args, **options):
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command(bin, use.tool, *use.arguments, *args), env=environment(), **options)


def end(process):
    """(status, message) of a process that ends by itself."""
    message = process.stderr.read().decode()
    process.stderr.close()
    return process.wait(PATIENCE), message


def until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


def names(directory):
    return sorted(path.name for path in pathlib.Path(directory).iterdir())


# ------------------------------------------------------------ help and version

def test_help(bin, tmp_path, use):
    for arguments in ["--help"], ["-h"], [*use.arguments, "--help"], ["-o", "file", "--help", "--nonsense"]:
        done = run(bin, use.tool, *arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == ok(bin, use.tool, "--help")
    text = done.stdout.decode()
    assert text.startswith(f"usage: {use.tool} [options] ") \
        and "Exit status: 0 done, 1 failed, 2 wrong usage." in text
    assert not names(tmp_path)


def test_version(bin, use):
    done = run(bin, use.tool, "--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.match(rf"{use.tool} \(ffkv\) \d+\.\d+\.\d+(\+\d+\.g[0-9a-f]+(\.dirty)?)?\ncompiler .+\n.*zlib "
                    r"\d.*msgpack-c \d.*OpenBLAS \d",
                    done.stdout.decode()), done.stdout


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_that_cannot_be_written(bin, use, option):
    for target in "/dev/full", "&-":
        done = shell(bin, f'"$@" >{target}', use, option)
        assert done.returncode == 1 and done.stderr.startswith(f"{use.tool}: standard output: ".encode())


def options_in_help(bin, tool):
    """[(letter or None, name, argument or None)]"""
    text = ok(bin, tool, "--help").decode()
    found = re.findall(r"^  (?:-(\w),|   ) --([\w-]+)(?: ([A-Z/]+))?  ?", text, re.M)
    assert len(found) == len(re.findall(r"^  .*--", text, re.M)) >= 4
    return [(letter or None, name, argument or None) for letter, name, argument in found]


@pytest.mark.parametrize("tool", TOOLS)
def test_synopsis_names_every_option(bin, tool):
    text = (ROOT / "man" / f"{tool}.1").read_text()
    synopsis = set(re.findall(r"Fl (-?[\w-]+)",
                              text[text.index(".Sh SYNOPSIS"):text.index(".Sh DESCRIPTION")]))
    for letter, name, _ in options_in_help(bin, tool):
        if name not in ("help", "version"):
            assert synopsis & {letter, f"-{name}"}, f"--{name} is not in the synopsis"


# ----------------------------------------------------------------- wrong usage

def misused(bin, directory, cases):
    """cases: (tool, arguments, message).  Status 2, one line, no output, nothing read or made."""
    def judge(case):
        tool, arguments, says = case
        done = run(bin, tool, *arguments, cwd=directory)
        message = done.stderr.decode(errors="replace")
        right = (done.returncode == 2 and message.startswith(f"{tool}: ") and message.count("\n") == 1
                 and message.endswith("\n") and says in message and done.stdout == b"")
        return None if right \
            else f"{tool} {arguments}: status {done.returncode}, {message!r} {done.stdout[:99]!r}"

    found = list(filter(None, in_parallel(judge, cases)))
    assert not found, f"{len(found)} of {len(cases)}:\n" + "\n".join(found[:50])
    assert not names(directory)


def test_unknown_options(bin, tmp_path, use):
    cases = [(use.tool, [*use.arguments, *arguments], says) for arguments, says in [
        (["--nonsense"], "unknown option '--nonsense'"), (["--nonsense=3"], "unknown option '--nonsense=3'"),
        (["-q"], "unknown option '-q'"), (["-o", "out", "-q"], "unknown option '-q'"),
        (["-qh"], "unknown option '-q'"),
        (["-9"], "unknown option '-9'"), (["--help=3"], "'--help=3'"),
        ([str(use.path), "--nonsense"], "'--nonsense'"),
        (["-o"], "option '-o' needs an argument"), (["--output"], "option '--output' needs an argument")]]
    if use.tool in STREAM_WRITERS:
        cases += [(use.tool, [*use.arguments, *arguments], says) for arguments, says in [
            (["-zq"], "unknown option '-q'"), (["-qz"], "unknown option '-q'"),
            (["--gzip", "-qz"], "unknown option '-q'"),
            (["--gzip=yes"], "'--gzip=yes'"), (["-zo"], "'-zo' needs an argument")]]
    misused(bin, tmp_path, [(tool, arguments, says) for tool, arguments, says in cases])


def test_options_that_need_an_argument(bin, tmp_path):
    misused(bin, tmp_path, [(tool, [f"--{name}"], f"option '--{name}' needs an argument")
                            for tool in TOOLS
                            for _, name, argument in options_in_help(bin, tool) if argument])


def test_operands(bin, made, tmp_path):
    cases = [(use.tool, [*use.arguments, use.path, use.path],
              "more than one input" if use.tool in ("topk-keys", "project-values", *SUMMING, *SUMMING_KEYS)
              else f"too many operands, from '{use.path}' on") for use in made.values()
             if use.tool not in SEVERAL_INPUTS]
    cases += [(tool, [], "--model DIR is needed")
              for tool in ("annotation-sheet", "tokenize", "forward-dump", "project-values", "report-pages",
                           "generate", "trace-prompts", "value-ranks",
                           *SUMMING)]
    composing, refining = made["composition-stats"].arguments, made["refinement-stats"].arguments
    values = composing[composing.index("--values") + 1]
    for tool, arguments in zip(PROJECTING, (composing, refining)):
        cases += [(tool, ["--merge"], "--merge needs"), (tool, ["--merge", "--sums"], "--merge needs"),
                  (tool, [*arguments, "-z"], "--gzip goes with --sums"),
                  (tool, ["--merge", "--norm", "gain", "x"], "--merge keeps"),
                  *((tool, [*arguments, "--sums", option, "x"], "--sums writes no tables")
                    for option in TABLES[tool])]
    cases += [("composition-stats", ["--merge", *more, "x"], "--merge keeps") for more in (
        ["--scaled"], ["--values", values], ["--rank", "abs"], ["--threshold", 1])]
    cases += [
        ("composition-stats", composing[:2], "give --values FILE"),
        ("composition-stats", [*composing, "--scaled"], "give --values FILE"),
        ("composition-stats", [*composing, "--norm", "full"], "--norm goes with --scaled"),
        ("composition-stats", [*composing[:2], "--scaled", "--norm", "full"], "has no final norm"),
        ("composition-stats", ["--merge", "--stop-words", "x", "x"], "--stop-words needs --model"),
        ("composition-stats", [*composing, "--sums", "--stop-words", "x"], "--sums writes no tables"),
        ("refinement-stats", [*refining, "--norm", "gain"], "has no final norm"),
        ("refinement-stats", ["--merge", "--last-layer", "x", "x"], "--model DIR is needed")]
    cases += [
        ("project-values", [*made["project-values"].arguments, "--all", made["project-values"].path],
         "--all reads no input"),
        ("project-values", [*made["project-values"].arguments, "-k", 13, made["project-values"].path],
         "--tops 13"),
        ("project-values", [*made["project-values"].arguments, "--bottoms", 13], "--bottoms 13"),
        ("topk-keys", ["--merge"], "--merge needs"), ("project-values", ["--merge"], "--merge needs"),
        *(("project-values", ["--merge", *more, "x"], "--merge keeps")
          for more in (["-m", "x"], ["--all"], ["-k", 1], ["--bottoms", 0], ["--norm", "none"],
                       ["--shard", "0/2"])),
        ("project-values", ["-m", "x", "--partial", "x"], "--partial goes with --merge"),
        ("topk-keys", ["--merge", "--layers", 1, "x"], "--merge keeps"),
        ("topk-keys", ["--merge", "--cells", 0, "x"], "--merge keeps"),
        ("topk-keys", ["--merge", "--following", 1, "x"], "--merge keeps"),
        ("topk-keys", ["--merge", "--sample", 1, "x"], "--merge keeps"),
        ("agreement-stats", ["--top-values", "x"], "--top-values needs --model"),
        ("shallow-stats", ["--keys", "x"], "need --model"),
        ("shallow-stats", ["--ngrams", "x"], "need --model"),
        ("shallow-stats", ["--corpus", "-"], "standard input cannot be both"),
        *[("forward-dump", [*made["forward-dump"].arguments, *more],
           "--emit key gives one coefficient a sentence")
          for more in (["--emit", "key,max"], ["--emit", "prediction,key"],
                       ["--emit", "key", "--layers", "1"],
                       ["--emit", "key", "--cells", "0"], ["--emit", "key", "--positions", "random"],
                       ["--emit", "key", "--with-bos"])],
        ("trace-prompts", ["-m", "x", "--page", "y"], "--positions all goes with it"),
        ("trace-prompts", ["-m", "x", "--triggers", "y"], "--memories-table or --page goes with it"),
        ("trace-prompts", [*made["trace-prompts"].arguments, "--norm", "full"], "has no final norm"),
        ("tokenize", ["-m", "x", "--whole"], "--whole goes with --prompt"),
        ("tokenize", ["-m", "x", "--prompt", "--mode", "raw"], "--mode and --long truncate do not go"),
        ("tokenize", ["-m", "x", "--prompt", "--max-length", 65535], "at most 65534 tokens"),
        ("report-pages", ["-m", "x"], "--output DIR is needed"),
        ("report-pages", ["-m", "x", "-o", ""], "--output DIR"),
        ("report-pages", ["-m", "x", "-o", "out", "--date", "\udcff"], "--date takes UTF-8"),
        ("tokenize", [*made["tokenize"].arguments, "--name", "\udcff", made["tokenize"].path],
         "--name takes UTF-8")]
    misused(bin, tmp_path, cases)


NOT_NUMBERS = ["", "x", "-1", "+1", " 1", "1 ", "1.0", "0x1", "1e3", "1,2", "\u0661", "18446744073709551616",
               "99999999999999999999999"]


@pytest.mark.parametrize("tool, name, least, most", [
    ("tokenize", "batch", 1, 1 << 20), ("tokenize", "max-length", 1, 65535),
    ("tokenize", "limit", 1, (1 << 63) - 1),
    ("tokenize", "from", 0, None), ("tokenize", "to", 0, None), ("tokenize", "sample", 1, 1 << 28),
    ("tokenize", "seed", 0, (1 << 63) - 1), ("composition-stats", "frequent", 0, 1 << 26),
    ("composition-stats", "short", 0, 65535), ("composition-stats", "threads", 1, 64),
    ("refinement-stats", "threads", 1, 64), ("intervention-stats", "threads", 1, 64),
    ("forward-dump", "seed", 0, (1 << 63) - 1), ("forward-dump", "threads", 1, 64),
    ("forward-dump", "paths", 1, 1 << 24),
    ("topk-keys", "top", 1, 1 << 24), ("topk-keys", "following", 1, 1000),
    ("topk-keys", "sample", 1, (1 << 63) - 1), ("topk-keys", "seed", 0, (1 << 63) - 1),
    ("annotation-sheet", "sample", 0, None), ("annotation-sheet", "seed", 0, (1 << 63) - 1),
    ("annotation-sheet", "top", 1, 10000), ("annotation-sheet", "tops", 1, 1 << 16),
    ("project-values", "tops", 1, 1 << 16), ("project-values", "bottoms", 0, 1 << 16),
    ("project-values", "threads", 1, 64),
    ("report-pages", "top", 1, 1 << 24),
    ("model-info", "tokens", 1, (1 << 63) - 1), ("model-info", "top", 1, 1 << 24),
    ("model-info", "threads", 1, 64),
    ("trace-prompts", "tops", 1, 1000), ("trace-prompts", "memories", 1, 1000),
    ("trace-prompts", "threads", 1, 64),
    ("value-ranks", "top", 1, 1 << 28), ("value-ranks", "threads", 1, 64),
    ("generate", "tokens", 1, 65535), ("generate", "top-k", 1, 1 << 26), ("generate", "threads", 1, 64),
    ("generate", "seed", 0, (1 << 63) - 1),
    ("agreement-stats", "bins", 1, 1 << 20), ("stream-cat", "records", 0, None),
    ("perturb-triggers", "keep", 1, 65535), ("perturb-triggers", "sample", 0, (1 << 63) - 1),
    ("perturb-triggers", "top", 1, 1 << 24), ("perturb-triggers", "seed", 0, (1 << 63) - 1),
    ("shallow-stats", "top", 2, 1 << 24), ("shallow-stats", "sample", 0, 1 << 26),
    ("shallow-stats", "skip-frequent", 0, 1 << 26), ("shallow-stats", "least", 1, 1 << 24),
    ("shallow-stats", "seed", 0, (1 << 63) - 1)])
def test_numbers(bin, tmp_path, tool, name, least, most):
    wrong = NOT_NUMBERS + ([str(least - 1)] if least else []) + ([str(most + 1)] if most else [])
    says = f"--{name} takes a whole number from {least} to {most or (1 << 64) - 1}, not '%s'"
    misused(bin, tmp_path, [(tool, [f"--{name}={text}"], says % text) for text in wrong])


def test_number_options_are_all_tested(bin):
    """A new option that takes a number needs a line above."""
    tested = {tuple(mark[:2]) for mark in test_numbers.pytestmark[0].args[1]}
    assert tested == {(tool, name) for tool in TOOLS for _, name, argument in options_in_help(bin, tool)
                      if argument == "N"}


@pytest.mark.parametrize("tool", ["forward-dump", "topk-keys"])
def test_ranges_in_other_programs_form_are_answered_with_ours(bin, made, tmp_path, tool):
    use = made[tool]
    misused(bin, tmp_path,
            [(tool, [*use.arguments, f"--{name}={text}", use.path], f"--{name}: write {right}, not '{text}'")
             for name in ("layers", "cells")
             for text, right in [("1..2", "1-2"), ("1:2", "1-2"), ("10...20", "10-20"),
                                 ("1..2,2..3", "1-2,2-3"),
                                 ("1-2,3..4", "1-2,3-4")]])


def test_choices(bin, tmp_path):
    misused(bin, tmp_path, [
        *[("tokenize", ["--mode", word], f"--mode does not know '{word}'; it takes: lines, wikitext, raw")
          for word in ("", "line", "Lines", "lines ", "lines,raw", "linesx")],
        *[("tokenize", ["--long", word], f"--long does not know '{word}'") for word in ("", "cut", "errors")],
        *[("topk-keys", ["--prefixes", word], f"--prefixes does not know '{word}'") for word in ("", "all")],
        *[("perturb-triggers", ["--change", words],
           f"--change does not know '{word}'; it takes: first, last, random, replace-first, "
           "replace-last, replace-random, truncate, none")
          for words, word in [("", ""), ("first,", ""), ("all", "all"), ("first last", "first last")]],
        *[("perturb-triggers", ["--replacement", word],
           f"--replacement does not know '{word}'; it takes: random, unknown")
          for word in ("", "first")],
        *[(tool, ["--norm", word], f"--norm does not know '{word}'; it takes: none, gain, full")
          for tool in PROJECTING for word in ("", "yes")],
        *[("composition-stats", ["--rank", word], f"--rank does not know '{word}'") for word in ("", "max")],
        *[("forward-dump", ["--positions", word], f"--positions does not know '{word}'")
          for word in ("", "some")],
        *[("forward-dump", ["--emit", words],
           f"--emit does not know '{word}'; it takes: max, coef, resid, ffn, prediction, key, counts")
          for words, word in [("", ""), ("max,", ""), (",max", ""), ("max,,coef", ""), ("MAX", "MAX"),
                              ("max coef", "max coef"),
                              ("max, coef", " coef"), ("max,coefs", "coefs"), ("ma", "ma")]]])


@pytest.mark.parametrize("tool", ["forward-dump", "topk-keys"])
def test_lists(bin, made, tmp_path, tool):
    use = made[tool]
    cases = []
    for name, first, last, note in ("layers", 1, 2, ": layers count from 1"), ("cells", 0, 3, ""):
        cases += [(tool, [*use.arguments, f"--{name}={text}", use.path],
                   f"--{name} takes a list such as {first}-3,7 of numbers from {first} to {last}, not "
                   f"'{text}'{note}\n")
                  for text in ("", ",", "1,", ",1", "1,,2", "a", "1-", "-1", "-", "2-1", "1-2-2",
                               str(first - 1), str(last + 1), f"1-{last + 1}", "1 ,2", " 1", "1, 2", "+1",
                               "0x1", "1;2", "1.0", "1-18446744073709551616", "18446744073709551616",
                               "1\u20132")]
    misused(bin, tmp_path, cases)


def test_other_arguments(bin, made, tmp_path):
    use = made["tokenize"]
    cases = [("tokenize", [*use.arguments, f"--shard={text}", use.path],
              f"--shard takes I/N with I from 0 to N-1, and N up to 999999999, not '{text}'")
             for text in ("", "1", "/", "0/", "/2", "2/2", "3/2", "0/0", "-0/2", "0/-2", "+0/2", "0/+2",
                          " 0/2", "0 /2", "0/ 2", "0/2 ", "0/2x", "0/2/", "0x0/2", "0.0/2", "0/4294967297",
                          "0/18446744073709551617", "a/b")]
    cases += [("agreement-stats", [f"--edges={text}", made["agreement-stats"].path], "--edges")
              for text in ("", "0", "1,0", "0,0", "0,x", "x", "nan,1", "0,nan", "0,inf", "-inf,0", ",0,1",
                           "0,1,", "0,,1", "0 1", "0,1x", ",".join(map(str, range(2000))))]
    misused(bin, tmp_path, cases)


# ------------------------------------------------------------- standard streams

def test_input_by_name_by_dash_and_by_default(bin, use):
    assert ok(bin, use.tool, *use.arguments, use.path) == use.output
    assert ok(bin, use.tool, *use.arguments, "-", stdin=use.data) == use.output
    assert ok(bin, use.tool, *use.arguments, "--", "-", stdin=use.data) == use.output
    assert ok(bin, use.tool, *use.arguments, stdin=gzip.compress(use.data)) == use.output


def test_options_and_operands_that_look_alike(bin, use, tmp_path):
    (tmp_path / "--help").write_bytes(use.data)
    assert ok(bin, use.tool, *use.arguments, "--", "--help", cwd=tmp_path) == use.output


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    """/dev/full and /dev/null; for root, whose broken tool could replace these, others like them."""
    def device(name, minor):
        if os.getuid():
            return f"/dev/{name}"
        path = tmp_path_factory.mktemp("devices") / name
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            os.close(os.open(path, os.O_WRONLY))
        except PermissionError:
            pytest.skip("root that may not make devices: run the tests as another user")
        return path

    return types.SimpleNamespace(full=device("full", 7), null=device("null", 3))


def test_full_device(bin, use, devices):
    says = "cannot write: No space left on device"
    for form in [[]] + ([["-z"]] if use.tool in STREAM_WRITERS else []):
        done = shell(bin, '"$@" >/dev/full', use, *form, use.path)
        assert (done.returncode, done.stderr.decode()) == (1, f"{use.tool}: standard output: {says}\n")
        for option in ["-o", *TABLES.get(use.tool, [])]:
            fails(bin, use.tool, *use.arguments, *form, option, devices.full, use.path,
                  says=f"{use.tool}: {devices.full}: {says}")
            assert stat.S_ISCHR(os.stat(devices.full).st_mode)


def test_device_as_output(bin, use, devices):
    """It is written to, and not replaced."""
    ok(bin, use.tool, *use.arguments, "-o", devices.null, use.path)
    assert stat.S_ISCHR(os.stat(devices.null).st_mode)
    assert ok(bin, use.tool, *use.arguments, "-o", "/proc/self/fd/1", use.path) == use.output


def test_closed_output(bin, use):
    for script in '"$@" >&-', '"$@" <"$INPUT" >&-':
        named = [] if "INPUT" in script else [use.path]
        done = shell(bin, f"INPUT='{use.path}'; {script}", use, *named)
        assert done.returncode == 1 and done.stderr.startswith(f"{use.tool}: standard output: ".encode()), \
            done
        assert done.stderr.count(b"\n") == 1


def test_closed_input(bin, use, tmp_path):
    done = shell(bin, '"$@" <&-', use, "-o", tmp_path / "out")
    message = f"{use.tool}: standard input: Bad file descriptor\n"
    assert (done.returncode, done.stderr.decode()) == (1, message)
    assert not names(tmp_path)


def test_closed_streams_that_are_not_needed(bin, use, tmp_path):
    """Files that get their numbers are not taken for them."""
    for i, closed in enumerate(["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-", ">&- 2>&-"]):
        done = shell(bin, f'"$@" {closed}', use, "-o", tmp_path / f"{i}", use.path)
        assert (done.returncode, done.stderr, done.stdout) == (0, b"", b""), closed
        assert (tmp_path / f"{i}").read_bytes() == use.output
    cut = tmp_path / "cut"
    cut.write_bytes(b"\xff" if use.tool in TEXT_READERS else use.data[:-1])
    for closed in "2>&-", "<&- 2>&-", ">&- 2>&-":
        done = shell(bin, f'"$@" {closed}', use, "-o", tmp_path / "out", cut)
        assert done.returncode == 1 and not (tmp_path / "out").exists()


def test_reader_that_has_gone(bin, use):
    """A closed pipe downstream: no message, a failure's status."""
    for dispositions in True, False:  # of SIGPIPE, as Python has it or as the shell has it
        read_end, write_end = os.pipe()
        os.close(read_end)
        process = start(bin, use, use.path, stdin=subprocess.DEVNULL, stdout=write_end,
                        restore_signals=dispositions)
        os.close(write_end)
        assert end(process) == (1, "")


def test_reader_that_leaves_early(bin, made):
    use = made["tokenize"]
    with tempfile.TemporaryFile() as text:
        text.write(b"w4 w5 w6 w7 w8 w9\n" * 200000)
        text.seek(0)
        process = start(bin, use, stdin=text, stdout=subprocess.PIPE)
        assert len(process.stdout.read(100000)) == 100000
        process.stdout.close()
        assert end(process) == (1, "")


def test_input_that_cannot_be_read(bin, use, tmp_path):
    out = tmp_path / "out"
    fails(bin, use.tool, *use.arguments, "-o", out, tmp_path / "no",
          says=f"{tmp_path}/no: No such file or directory")
    fails(bin, use.tool, *use.arguments, "-o", out, tmp_path,
          says=f"{tmp_path}: is a directory, a file is needed")
    fails(bin, use.tool, *use.arguments, "-o", out, "/proc/self/mem",
          says="/proc/self/mem: Input/output error")
    done = shell(bin, '"$@" </', use, "-o", out)
    assert (done.returncode,
            done.stderr.decode()) == (1, f"{use.tool}: standard input: is a directory, a file is needed\n")
    assert not names(tmp_path)


# ----------------------------------------------------------------- output files

@pytest.fixture(scope="module")
def large(bin, made):
    """Inputs that are larger than what tools read at a time, for those that write as they read."""
    class Large:
        def __init__(self, tool, more, data):
            self.tool, self.arguments, self.data = tool, [*made[tool].arguments, *more], data
            self.path = made[tool].path.with_suffix(".large")
            self.path.write_bytes(data)

    text = b"w4 w5 w6 w7 w8 w9\n" * 40000
    tokens = ok(bin, "tokenize", *made["tokenize"].arguments, stdin=text)
    maxima = ok(bin, "forward-dump", *made["forward-dump"].arguments, stdin=tokens)
    triggers = ok(bin, "topk-keys", "-t", 8000, stdin=maxima)
    assert len(tokens) > 1 << 20 < len(triggers)
    return {use.tool: use for use in [
        Large("tokenize", [], text), Large("forward-dump", ["--emit", "coef"], tokens),
        Large("project-values", [], triggers), Large("stream-cat", [], tokens)]}


def begun(bin, use, out, **options):
    """The tool that has read half of its input; in large, its temporary file is there."""
    process = start(bin, use, "-o", out, **options)
    process.stdin.write(use.data[:len(use.data) // 2])
    process.stdin.flush()
    if len(use.data) > 1 << 19:
        until(lambda: any(name.startswith("out.part-") for name in names(out.parent)), "a temporary file")
    time.sleep(0.02)
    return process


def test_output_is_what_standard_output_is(bin, use, tmp_path):
    assert ok(bin, use.tool, *use.arguments, "-o", tmp_path / "out", use.path) == b""
    assert (tmp_path / "out").read_bytes() == use.output
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("tool", STREAM_WRITERS)
def test_gzip_output(bin, made, tmp_path, tool):
    """Nothing in it but the data: neither names nor times, so that equal runs are equal bytes."""
    use = made[tool]
    compressed = ok(bin, tool, *use.arguments, "-z", use.path)
    assert gzip.decompress(compressed) == use.output and compressed[:8] == b"\x1f\x8b\x08\0\0\0\0\0"
    ok(bin, tool, *use.arguments, "--gzip", "-o", tmp_path / "out", use.path)
    assert (tmp_path / "out").read_bytes() == compressed


@pytest.mark.parametrize("tool", [*SUMMING, *SUMMING_KEYS])
def test_sums_are_a_stream(bin, made, tmp_path, tool):
    """It compresses as others do, and does not go to a terminal."""
    use = made[tool]
    sums = ok(bin, tool, *use.arguments, "--sums", use.path)
    assert streams.read(sums).header["kind"].removesuffix("s") == tool.removesuffix("-stats")
    compressed = ok(bin, tool, *use.arguments, "--sums", "-z", use.path)
    assert gzip.decompress(compressed) == sums and compressed[:8] == b"\x1f\x8b\x08\0\0\0\0\0"
    (tmp_path / "sums").write_bytes(compressed)
    assert ok(bin, tool, "--merge", tmp_path / "sums") == use.output
    assert ok(bin, tool, "--merge", "-", stdin=sums) == use.output
    assert ok(bin, tool, "--merge", "--sums", tmp_path / "sums") == sums
    for arguments in [*use.arguments, "--sums", use.path], ["--merge", "--sums", tmp_path / "sums"]:
        terminal = Terminal()
        process = subprocess.Popen(command(bin, tool, *arguments), stdout=terminal.descriptor,
                                   stderr=subprocess.PIPE, env=environment())
        status, message = end(process)
        assert (status, terminal.text()) == (2, "")
        assert message.startswith(f"{tool}: binary output does not go to a terminal")


def test_output_appears_only_when_complete(bin, use, large, tmp_path):
    out = tmp_path / "out"
    use = large.get(use.tool, use)
    for old in None, OLD:
        if old:
            out.write_bytes(old)
        process = begun(bin, use, out)
        assert process.poll() is None
        assert (out.read_bytes() if out.exists() else None) == old
        process.stdin.write(use.data[len(use.data) // 2:])
        process.stdin.close()
        assert end(process) == (0, "")
        assert names(tmp_path) == ["out"]
        assert out.read_bytes() == ok(bin, use.tool, *use.arguments, use.path)
        out.unlink()


def test_output_that_is_the_input(bin, use, tmp_path):
    """By its name, another, a link, a redirection; as the model's file, or another input's."""
    path = tmp_path / "both"
    path.write_bytes(use.data)
    os.link(path, tmp_path / "hard")
    (tmp_path / "soft").symlink_to("both")
    for output in "both", "./both", tmp_path / "hard", "soft":
        fails(bin, use.tool, *use.arguments, "-o", output, path, cwd=tmp_path, status=2,
              says=f"{output} is read from as well")
    for redirection, says in ('-o "$F" <"$F"', f"{path}"), ('"$F" >>"$F"', "standard output"), \
            ('- <"$F" >>"$F"', "standard output"):
        done = shell(bin, f'F="{path}"; "$@" {redirection}', use)
        assert (done.returncode, done.stderr.decode()) \
            == (2, f"{use.tool}: {says} is read from as well: an output needs a file of its own\n")
    if "-m" in use.arguments:
        model = tmp_path / "model"
        shutil.copytree(use.arguments[use.arguments.index("-m") + 1], model)
        before = (model / "dict.txt").read_bytes()
        arguments = [model if word == use.arguments[use.arguments.index("-m") + 1] else word
                     for word in use.arguments]
        fails(bin, use.tool, *arguments, "-o", model / "dict.txt", use.path, status=2,
              says="is read from as well")
        assert (model / "dict.txt").read_bytes() == before
    assert path.read_bytes() == use.data


@pytest.mark.parametrize("tool", TABLES)
def test_one_file_for_two_outputs(bin, made, tmp_path, tool):
    """Whether it is there or not, by whatever names."""
    use = made[tool]
    (tmp_path / "there").write_bytes(OLD)
    os.link(tmp_path / "there", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("there")
    (tmp_path / "hanging").symlink_to("new")
    (tmp_path / "folder").symlink_to(".")
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    options = ["-o", *TABLES[tool]]
    for first, second in ("new", "new"), ("new", "./new"), ("new", tmp_path / "new"), ("new", "hanging"), \
            ("new", "folder/new"), ("there", "hard"), ("there", "soft"), ("there", "folder/soft"), \
            ("pipe", "pipe"), \
            ("/dev/stdout", "/proc/self/fd/1"), ("-", "-"):
        for one, other in [options[:2], options[-2:], options[-2:][::-1]]:
            message = fails(bin, tool, *use.arguments, one, first, other, second, use.path, cwd=tmp_path,
                            status=2)
            assert "are the same file: each output needs one of its own" in message
    fails(bin, tool, *use.arguments, options[1], "/dev/stdout", use.path, status=2,
          says="standard output")
    assert names(tmp_path) == before and (tmp_path / "there").read_bytes() == OLD
    ok(bin, tool, *use.arguments, "-o", "/dev/null", options[1], "/dev/null", use.path)


@pytest.mark.parametrize("tool", TABLES)
def test_outputs_appear_together(bin, made, tmp_path, tool):
    """The last of them waits for the reader of a pipe, and the others, though complete, with it. Where one
    cannot take its name then, the message says which could."""
    use = made[tool]
    options = [option for option in TABLES[tool] if option != "--last-layer"]
    plain = [f"{option}={tmp_path / option}" for option in options]
    os.mkfifo(tmp_path / "pipe")

    def waiting():
        process = start(bin, use, "-o", tmp_path / "pipe", *plain, use.path)
        process.stdin.close()
        until(lambda: len(names(tmp_path)) == 1 + len(options), "temporary files")
        time.sleep(0.02)
        assert not any((tmp_path / option).exists() for option in options)
        return process

    process = waiting()
    process.terminate()
    assert end(process) == (-signal.SIGTERM, "") and names(tmp_path) == ["pipe"]
    process = waiting()
    (tmp_path / options[-1]).mkdir()
    assert (tmp_path / "pipe").read_bytes() == use.output
    status, message = end(process)
    assert status == 1 and message.count("\n") == 1
    assert message.startswith(
        f"{tool}: {tmp_path / options[-1]}: cannot give the finished file its name: Is a directory")
    if options[1:]:
        new = ", ".join(sorted((str(tmp_path / option) for option in options[:-1]), key=message.index))
        assert f"These are new: {new}; these are not: {tmp_path / options[-1]}\n" in message
    assert names(tmp_path) == sorted([*options, "pipe"])
    assert all((tmp_path / option).read_bytes() for option in options[:-1])


def test_output_through_links(bin, use, tmp_path):
    """What a link points at is replaced, and the link stays."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to("there/file")
    (tmp_path / "link2").symlink_to(tmp_path / "link")
    for link in "link", "link2":
        ok(bin, use.tool, *use.arguments, "-o", tmp_path / link, use.path)
        assert (tmp_path / link).is_symlink() and (tmp_path / "there" / "file").read_bytes() == use.output
        (tmp_path / "there" / "file").write_bytes(OLD)
    assert names(tmp_path) == ["link", "link2", "there"] and names(tmp_path / "there") == ["file"]


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0, 0o666)])
def test_file_mode(bin, made, tmp_path, mask, mode):
    def one(use):
        process = start(bin, use, "-o", tmp_path / use.tool, use.path, umask=mask)
        process.stdin.close()
        assert end(process) == (0, "")
        return stat.S_IMODE((tmp_path / use.tool).stat().st_mode)

    assert in_parallel(one, made.values()) == [mode] * len(made)


def test_mode_of_a_file_that_is_replaced(bin, made, tmp_path):
    """What was private stays private, what was open stays open; an owner stays the owner where root may see
    to it."""
    use = made["tokenize"]
    out = tmp_path / "out"
    for mode in 0o600, 0o640, 0o444, 0o666:
        out.write_bytes(OLD)
        out.chmod(mode)
        if not os.getuid():
            os.chown(out, 1234, 2345)
        ok(bin, use.tool, *use.arguments, "-o", out, use.path)
        assert out.read_bytes() == use.output and stat.S_IMODE(out.stat().st_mode) == mode
        assert os.getuid() or (out.stat().st_uid, out.stat().st_gid) == (1234, 2345)
        out.unlink()


def test_output_through_a_link_to_nothing(bin, use, tmp_path):
    """What it leads to is made, and the link stays."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/link")
    (tmp_path / "there" / "link").symlink_to("file")
    ok(bin, use.tool, *use.arguments, "-o", tmp_path / "link", use.path)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "link").is_symlink()
    assert not (tmp_path / "there" / "file").is_symlink() \
        and (tmp_path / "there" / "file").read_bytes() == use.output
    assert names(tmp_path) == ["link", "there"] and names(tmp_path / "there") == ["file", "link"]


def test_output_that_cannot_be_made(bin, use, tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "directory").mkdir()
    cases = [(tmp_path / "no" / "out", "No such file or directory"),
             (tmp_path / "file" / "out", "Not a directory"),
             (tmp_path / "directory", "Is a directory"), (f"{tmp_path}/directory/", "Is a directory"),
             ("/proc/out", "No such file or directory"),
             (tmp_path / "loop", "Too many levels of symbolic links"),
             (tmp_path / ("x" * 300), "File name too long")]
    if os.getuid():  # root may write anywhere
        (tmp_path / "closed").mkdir(0o555)
        cases.append((tmp_path / "closed" / "out", "Permission denied"))
    before = names(tmp_path)
    for path, says in cases:
        message = fails(bin, use.tool, *use.arguments, "-o", path, use.path, says=says)
        assert message.startswith(f"{use.tool}: {path}: ")
    fails(bin, use.tool, *use.arguments, "-o", "", use.path, cwd=tmp_path, status=2, says="empty")
    assert names(tmp_path) == before and not names(tmp_path / "directory")


@pytest.mark.parametrize("tool, option", [(tool, option) for tool in TABLES for option in TABLES[tool]])
def test_tables_that_cannot_be_made(bin, made, devices, tmp_path, tool, option):
    use = made[tool]
    for path, says in ("/proc/out", "/proc/out: "), (tmp_path, "Is a directory"), (devices.full, "No space"):
        fails(bin, tool, *use.arguments, "-o", tmp_path / "out", option, path, use.path, says=says)
    assert not names(tmp_path)


def test_named_pipe_as_output(bin, use, tmp_path):
    """It cannot be replaced when complete; its reader sees the trailer, or its absence."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    process = start(bin, use, "-o", path, use.path)
    process.stdin.close()
    assert path.read_bytes() == use.output
    assert end(process) == (0, "") and names(tmp_path) == ["pipe"]


def test_disk_that_is_full(bin, made, tmp_path):
    """As far as a limit on files' sizes can show it: the bytes end in the middle of the file."""
    use = made["tokenize"]
    text = tmp_path / "text"
    text.write_bytes(b"w4 w5 w6 w7 w8 w9\n" * 100000)
    out = tmp_path / "out"
    for trap in "trap '' XFSZ; ", "":  # the signal that such a limit sends is not to end it either
        out.write_bytes(OLD)
        done = shell(bin, f'{trap}ulimit -f 512; exec "$@"', use, "-o", out, text)
        assert (done.returncode, done.stderr.decode()) == (1,
                                                           f"tokenize: {out}: cannot write: File too large\n")
        assert out.read_bytes() == OLD and names(tmp_path) == ["out", "text"]


# ---------------------------------------------------------------------- signals

@pytest.mark.parametrize("number",
                         [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU],
                         ids=lambda number: number.name)
def test_interrupted(bin, made, large, tmp_path, number):
    def one(use):
        place = tmp_path / use.tool
        place.mkdir()
        (place / "out").write_bytes(OLD)
        process = begun(bin, use, place / "out")
        process.send_signal(number)
        status, message = end(process)
        process.stdin.close()
        return use.tool, status, message, names(place), (place / "out").read_bytes()

    for tool, *result in in_parallel(one, {**made, **large}.values()):
        assert result == [-number, "", ["out"], OLD], tool


def test_ignored_signal_stays_ignored(bin, made, tmp_path):
    """As under nohup."""
    use = made["tokenize"]
    process = subprocess.Popen(["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh",
                                *command(bin, use.tool, *use.arguments, "-o", tmp_path / "out")],
                               stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    process.stdin.write(use.data)
    process.stdin.flush()
    until(lambda: names(tmp_path), "a temporary file")
    process.send_signal(signal.SIGHUP)
    process.stdin.close()
    assert end(process) == (0, "") and (tmp_path / "out").read_bytes() == use.output


def test_killed(bin, made, large, tmp_path):
    """Nobody can clean up then, but the final name is not taken."""
    def one(use):
        place = tmp_path / use.tool
        place.mkdir()
        process = begun(bin, use, place / "out")
        process.kill()
        assert end(process) == (-signal.SIGKILL, "")
        process.stdin.close()
        return (place / "out").exists()

    assert not any(in_parallel(one, {**made, **large}.values()))


@pytest.mark.parametrize("tool, after", list(zip(CHAIN, CHAIN[1:])))
def test_neighbour_killed_in_the_middle(bin, made, tmp_path, tool, after):
    """The stage behind it fails, and nothing takes the final name."""
    out = tmp_path / "out"
    out.write_bytes(OLD)
    first = start(bin, made[tool], stdout=subprocess.PIPE)
    second = start(bin, made[after], "-o", out, stdin=first.stdout)
    first.stdout.close()
    data = made[tool].data
    first.stdin.write(data * 1000 if tool == "tokenize" else data[:-1])
    first.stdin.flush()
    time.sleep(0.05)
    assert second.poll() is None
    first.kill()
    assert end(first) == (-signal.SIGKILL, "")
    first.stdin.close()
    status, message = end(second)
    assert status == 1 and message.startswith(f"{after}: standard input: ") and message.count("\n") == 1
    assert "the stage before failed" in message
    assert names(tmp_path) == ["out"] and out.read_bytes() == OLD


def test_chain_whose_first_stage_fails(bin, made, tmp_path):
    """Every stage behind it fails too."""
    source = subprocess.PIPE
    running = []
    for tool in CHAIN:
        last = tool == CHAIN[-1]
        process = start(bin, made[tool], *(["-o", tmp_path / "out"] if last else []), stdin=source,
                        stdout=subprocess.DEVNULL if last else subprocess.PIPE)
        if running:
            source.close()
        source = process.stdout
        running.append(process)
    running[0].stdin.write(b"w4 w5\n" * 100000 + b"\xff\n")
    running[0].stdin.close()
    results = [end(process) for process in running]
    assert [status for status, _ in results] == [1] * len(CHAIN)
    assert "line 100001, byte 1: not UTF-8" in results[0][1]
    assert all("the stage before failed" in message for _, message in results[1:])
    assert not names(tmp_path)


FAILING_CLOSE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

/* Closes, but says that it failed, of the descriptor that FAILING_CLOSE names. */
int close(int descriptor)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
    int result = next(descriptor);
    const char *failing = getenv("FAILING_CLOSE");
    if (!failing || descriptor != atoi(failing))
        return result;
    errno = EIO;
    return -1;
}
"""


class TestCloseThatFails:
    """A stage whose status says that it failed has not given the next one a trailer; one that has
    says that it is done: so the last stage's status is that of the pipeline."""

    pytestmark = pytest.mark.release_only  # sanitizers want to be the first library

    @pytest.fixture(scope="class")
    def library(self, tmp_path_factory):
        place = tmp_path_factory.mktemp("close")
        (place / "close.c").write_text(FAILING_CLOSE)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", place / "close.so", place / "close.c", "-ldl"],
                       check=True)
        return place / "close.so"

    def run(self, bin, use, library, descriptor, *more, stdout):
        """(status, message) of a tool that reads a pipe, one of whose descriptors fails to close."""
        env = {**environment(), "LD_PRELOAD": str(library), "FAILING_CLOSE": str(descriptor)}
        done = subprocess.run(command(bin, use.tool, *use.arguments, *more), input=use.data, stdout=stdout,
                              stderr=subprocess.PIPE, env=env, timeout=PATIENCE, check=False)
        return done.returncode, done.stderr.decode(), done.stdout

    def test_of_a_pipe_that_has_everything(self, bin, use, library):
        for more in ([], ["-z"]) if use.tool in STREAM_WRITERS else ([],):
            status, message, output = self.run(bin, use, library, 1, *more, stdout=subprocess.PIPE)
            assert (status, message) == (0, "") \
                and (gzip.decompress(output) if more else output) == use.output

    def test_of_a_file(self, bin, use, library, tmp_path):
        """Which may be what tells of a disk that was full."""
        with open(tmp_path / "out", "wb") as file:
            assert self.run(bin, use, library, 1, stdout=file)[:2] \
                == (1, f"{use.tool}: standard output: cannot write: Input/output error\n")

    def test_of_the_input(self, bin, use, library, tmp_path):
        # which do not read all
        options = {"tokenize": ["--limit", 10], "stream-cat": ["--records", 1]}.get(use.tool)
        for more in [], *([options] if options else []):
            status, message, output = self.run(bin, use, library, 0, *more, stdout=subprocess.PIPE)
            assert (status,
                    message) == (1, f"{use.tool}: standard input: error on closing: Input/output error\n")
            if use.tool in STREAM_WRITERS:
                with pytest.raises(streams.StreamError):
                    streams.read(output)
            assert self.run(bin, use, library, 0, *more, "-o", tmp_path / "out",
                            stdout=subprocess.PIPE)[0] == 1
            assert not names(tmp_path)

    @pytest.mark.parametrize("descriptor", [0, 1])
    @pytest.mark.parametrize("tool", CHAIN)
    def test_in_a_pipeline(self, bin, made, library, tool, descriptor):
        """The status of a shell's pipeline, and what it wrote, tell of every stage."""
        def stage(name):
            preload = f"LD_PRELOAD={library} FAILING_CLOSE={descriptor} " if name == tool else ""
            line = " ".join(command(bin, name, *made[name].arguments))
            return f"{{ {preload}{line} || {{ echo {name} failed >&2; false; }}; }}"

        done = subprocess.run(["/bin/sh", "-c", " | ".join(map(stage, CHAIN))], input=made[CHAIN[0]].data,
                              capture_output=True, check=False, timeout=PATIENCE, env=environment())
        failed = b" failed\n" in done.stderr
        assert (done.returncode != 0) == failed == (descriptor == 0), done.stderr
        if not failed:
            assert done.stdout == made[CHAIN[-1]].output


# -------------------------------------------------------------------- terminals

class Terminal:
    """A pseudo terminal; .descriptor for the tool's end, .text for what it showed."""

    def __init__(self):
        self.master, self.descriptor = pty.openpty()
        self.name = os.ttyname(self.descriptor)
        self.shown = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        try:
            while data := os.read(self.master, 65536):
                self.shown.append(data)
        except OSError:  # all who had it open have closed it
            pass

    def text(self):
        os.close(self.descriptor)
        self.reader.join(PATIENCE)
        os.close(self.master)
        return b"".join(self.shown).decode().replace("\r\n", "\n")


def test_terminal_as_output(bin, use):
    """Binary does not go there; text does."""
    for named in False, True:
        for more in [[]] + ([["-z"]] if use.tool in STREAM_WRITERS else []):
            terminal = Terminal()
            process = start(bin, use, *more, *(["-o", terminal.name] if named else []), use.path,
                            stdout=subprocess.DEVNULL if named else terminal.descriptor)
            process.stdin.close()
            status, message = end(process)
            shown = terminal.text()
            if use.tool in STREAM_WRITERS:
                assert status == 2 and shown == "" and message.count("\n") == 1
                assert message.startswith(f"{use.tool}: binary output does not go to a terminal")
            else:
                assert (status, message, shown.encode()) == (0, "", use.output)


def slow_run(bin, use, *args, error, data=None, stdin=subprocess.DEVNULL):
    """Runs the tool with a reader that lets it wait for longer than reports are apart."""
    process = start(bin, use, *args, stdin=stdin, stdout=subprocess.PIPE, stderr=error)
    if data is not None:
        feeder = threading.Thread(target=lambda: (process.stdin.write(data), process.stdin.close()))
        feeder.start()
    process.stdout.read(1)
    time.sleep(0.35)
    while process.stdout.read(1 << 16):
        pass
    process.stdout.close()
    assert process.wait(PATIENCE) == 0
    if data is not None:
        feeder.join()


def test_progress(bin, large):
    """On a terminal, of a file whose size is known; then its line is wiped."""
    for use in (large[tool] for tool in ("tokenize", "forward-dump", "stream-cat")):
        terminal = Terminal()
        slow_run(bin, use, use.path, error=terminal.descriptor)
        shown = terminal.text()
        assert re.match(rf"\r{use.tool}: +\d+ %  \d+ (tokens|records)/s  \d+:\d\d left ", shown), repr(shown)
        assert shown.endswith("\r\x1b[K") and "\n" not in shown


def test_no_progress(bin, large, tmp_path):
    """Not in a pipeline, where only the first stage knows its input's size; not into a file."""
    for use in large.values():
        terminal = Terminal()
        slow_run(bin, use, error=terminal.descriptor, data=use.data, stdin=subprocess.PIPE)
        assert terminal.text() == ""
        with open(tmp_path / "log", "w+b") as log:
            slow_run(bin, use, use.path, error=log)
            log.seek(0)
            assert log.read() == b""


def test_progress_of_a_search(bin, tmp_path, made):
    """topk-keys writes at the end, so it must be its input that takes long: each batch is better
    than all before it."""
    header, *_ = [item.value for item in streams.items(made["topk-keys"].data)]
    sentences, cells = 512, 4
    lengths, text = np.full(sentences, 2, "<u4").tobytes(), np.full(2 * sentences, 5, "<u4").tobytes()
    argmax = np.ones(sentences * cells, "<u2").tobytes()
    batches = []
    for i in range(1000):
        maxima = np.arange(i * sentences + 1, (i + 1) * sentences + 1, dtype="<f4").repeat(cells).tobytes()
        batches.append({"id": i * sentences, "len": lengths, "tok": text})
        batches += [{"layer": layer, "max": maxima, "argmax": argmax} for layer in range(2)]
    path = tmp_path / "activations"
    path.write_bytes(streams.write(header, batches))
    terminal = Terminal()
    process = subprocess.Popen(command(bin, "topk-keys", "-t", 50000, "-o", tmp_path / "out", path),
                               stderr=terminal.descriptor, env=environment())
    time.sleep(0.05)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE) == 0
    assert re.match(r"\rtopk-keys: +\d+ %  \d+ sentences/s  \d+:\d\d left ", terminal.text())


READ = {"tokenize": "text", "pattern-stats": "a table (CSV)", "forward-dump": "a stream of kind tokens",
        "stream-cat": "a stream", "topk-keys": "a stream of kind activations",
        "perturbation-stats": "a stream of kind activations",
        **{tool: "a stream of kind activations" for tool in [*SUMMING, "trace-prompts"]}}


@pytest.mark.parametrize("tool", [*FILTERS, "report-pages"])
def test_terminal_as_input_is_told_what_is_read(bin, made, tmp_path, tool):
    """Somebody has forgotten the file; nothing is typed before the hint is there."""
    arguments = made[tool].arguments if tool in made else ["-m", made["tokenize"].arguments[1],
                                                           "-o", tmp_path / "pages"]
    terminal = Terminal()
    process = subprocess.Popen(command(bin, tool, *arguments), stdin=terminal.descriptor,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env=environment())
    hint = process.stderr.readline()
    os.write(terminal.master, b"\x04")  # Ctrl-D, once
    status, last = process.wait(PATIENCE), process.stderr.read()
    process.stderr.close()
    terminal.text()
    assert hint.startswith(f"{tool}: standard input is a terminal, and "
                           f"{READ.get(tool, 'a stream of kind triggers')} is to be read from it: ")
    assert "give a file or a pipe" in hint
    assert status == 1 and last.count("\n") == 1, last


def test_no_hint_where_the_input_is_no_terminal(bin, use):
    assert run(bin, use.tool, *use.arguments, stdin=use.data).stderr == b""
    assert run(bin, use.tool, *use.arguments, use.path).stderr == b""


def test_messages_on_a_terminal_cannot_steer_it(bin, use, tmp_path):
    path = tmp_path / "a\x1b[31m\nb"
    message = fails(bin, use.tool, *use.arguments, path, says="a?[31m?b: No such file or directory")
    assert "\x1b" not in message


@pytest.mark.parametrize("tool, args", [("import-model", []), ("model-info", []), ("import-model", ["x.pt"]),
                                        ("tokenize", ["--no-such-option"])])
def test_advice_names_the_program_as_it_was_started(bin, tmp_path, tool, args):
    """By the name that PROGRAM_PREFIX gave it, which others of its kind do not have."""
    prefixed = tmp_path / f"ffkv-{tool}"
    prefixed.symlink_to(bin / tool)
    fails(bin, prefixed, *args, status=2, says=f"try 'ffkv-{tool} --help'")
