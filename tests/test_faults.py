"""A short run of the harness of faults; `make faults SEEDS=500` is a long one.  What it
sees, and faults that it found."""

import errno
import os
import re
import shutil
import subprocess
import sys

import pytest

import fault_classes
import fault_jobs
import fault_makes
import faults
from conftest import ROOT
from damage import in_parallel
from helpers import TIMEOUT

pytestmark = pytest.mark.release_only

SEEDS = 60
NAMES = list(fault_classes.CLASSES)


@pytest.fixture(scope="module")
def campaign(bin, tmp_path_factory):
    """The inputs and undisturbed results that all cases share."""
    campaign = faults.Campaign(bin, tmp_path_factory.mktemp("faults") / "place")
    campaign.prepare()
    return campaign


@pytest.mark.parametrize("name", NAMES)
def test_no_fault_is_silent_hangs_or_crashes(campaign, name):
    """Seeds 1 to 60, of which each class has its share; calls fail in a make in shards, too."""
    done = subprocess.run([sys.executable, ROOT / "tests" / "faults.py", "--seeds", str(SEEDS),
                           "--classes", name, "--bin", campaign.bin, "--place", campaign.place,
                           "--jobs", "2", "--verbose"], capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    count = sum(faults.class_of(seed, NAMES) == name for seed in range(1, SEEDS + 1))
    assert f"| {name} | {count} |" in done.stdout
    if name == "failing calls in makes":
        assert "make shards" in done.stdout


def test_every_tool_and_every_script_is_disturbed():
    """A new one is a line in fault_jobs.py. What paper.mk runs besides is none of the scripts' own."""
    tools = {path.stem for path in (ROOT / "tools").glob("*.c")}
    assert tools == {stage[0] for stages in fault_jobs.JOBS.values() for stage in stages}
    usages = {path.stem for path in (ROOT / "pipelines").glob("*.sh") if " OUT" in path.read_text()}
    assert usages - {"alone", "step", "options", "shard", "shards", "slurm"} == set(fault_jobs.SCRIPTS)


def test_what_a_killed_script_leaves_is_cleared_away():
    """By alone.sh, which goes by names."""
    for path in (ROOT / "pipelines").glob("*.sh"):
        for line in path.read_text().splitlines():
            assert "mktemp" not in line or re.search(r'[./]part-XXXXXX"', line), f"{path.name}: {line}"


# ------------------------------------------------------ what the harness sees

BROKEN = {  # what a tool does wrong: a script in its place, the outcome
    "ignores that its output was not written": ('"$real" "$@"; truncate -s -1 "$out"; exit 0', "silent"),
    "gives a cut file its name": ('"$real" "$@"; truncate -s -1 "$out"; echo "tool: failed" >&2; exit 1',
                                  "silent"),
    "writes nothing": ("exit 0", "silent"),
    "writes something else beside it": ('"$real" "$@"; cp "$out" "$out.more"', "silent"),
    "fails without a word": ("exit 1", "mute"),
    "kills itself": ("kill -SEGV $$", "crashed"),
    "has a child that crashed": ("sh -c 'kill -BUS $$'", "crashed"),
    "waits for ever": ("sleep 1000", "hung")}
HARMLESS = {"does what it should": ('exec "$real" "$@"', "right"),
            "says why it fails": ("echo 'tool: disk full' >&2; exit 1", "refused")}


@pytest.mark.parametrize("wrong", [*BROKEN, *HARMLESS])
def test_the_harness_sees(campaign, tmp_path, monkeypatch, wrong):
    script, expected = {**BROKEN, **HARMLESS}[wrong]
    for tool in campaign.bin.iterdir():
        if tool.is_file():
            (tmp_path / tool.name).symlink_to(tool)
    tool = tmp_path / "project-values"
    tool.unlink()
    tool.write_text(f'#!/bin/sh\nreal={campaign.bin}/project-values\nfor out; do :; done\n{script}\n')
    tool.chmod(0o755)
    monkeypatch.setattr(faults, "PATIENCE", 1)
    broken = faults.Campaign(tmp_path, campaign.place)
    broken.facts = campaign.facts
    result = faults.one(broken, wrong, "values", lambda case: case.pipeline("values"))
    assert result.outcome == expected, result.why


# -------------------------------------------------------- faults that it found

def failing(campaign, job, stage, call, numbers, reason, mode):
    """Outcomes of a pipeline of which one process's call fails, for each of its numbers."""
    def one(number):
        variables = {stage: {**campaign.failing(), "FAILING_CALL": f"{call} {number} {reason} {mode}"}}
        return faults.one(campaign, f"{job} {call} {number}", job,
                          lambda case: case.pipeline(job, variables=variables))

    results = in_parallel(one, numbers)
    assert not [result.why for result in results if result.outcome in faults.BAD]
    return {result.outcome for result in results}


def test_no_memory_for_a_list_of_words_is_a_message(campaign):
    """uthash ended the program with status 255 and without a word."""
    calls = campaign.facts["counts"]["shallow/0"]["malloc"]
    outcomes = failing(campaign, "shallow", 0, "malloc", range(1, calls, 7), errno.ENOMEM, "forever")
    assert outcomes - {"right"} == {"refused"}  # the last calls are those of the program's end


def test_a_table_that_cannot_be_looked_at_is_not_left_out(campaign):
    """Of a report: every error was taken for "no such file"."""
    calls = campaign.facts["counts"]["report/0"]["stat"]
    assert "refused" in failing(campaign, "report", 0, "stat", range(1, calls + 1), errno.EACCES, "once")


def test_a_number_that_cannot_be_printed_is_not_left_out(campaign):
    """Of a stream as JSON: where there was no memory to print one, nothing stood in its place."""
    calls = campaign.facts["counts"]["merge/1"]["malloc"]
    assert failing(campaign, "merge", 1, "malloc", range(calls // 2, calls // 2 + 40), errno.ENOMEM,
                   "once") == {"refused"}


def test_signs_of_gated_layers_are_not_left_out(campaign):
    """Whether there are any was asked in a condition, where a failure is the same as "no"."""
    def case(case):
        shutil.copytree(campaign.makes("gated tables"), case.out, dirs_exist_ok=True)
        return fault_makes.failing_make(case, "gated tables", "stream-cat 1 only",
                                        f"write 1 {errno.ENOSPC} once", faults.tree(case.out))

    result = faults.one(campaign, "signs", "signs", case)
    assert result.outcome == "refused", result.why


def test_results_of_gated_layers_go_though_a_program_fails(campaign, tmp_path):
    """With another model: what could not be looked for in the record counted as changed by somebody."""
    out, programs = tmp_path / "out", tmp_path / "bin"
    shutil.copytree(campaign.makes("gated tables"), out)
    failing_program(programs, "grep")
    done = subprocess.run([ROOT / "pipelines" / "step.sh", "signs", "--undo"], capture_output=True, text=True,
                          timeout=TIMEOUT, check=False,
                          env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OUT": str(out),
                               **dict.fromkeys(["MODEL", "TEXT", "VALID", "BIN", "SCRIPTS"], "")})
    assert done.returncode or not (out / "signs.csv").exists()


def failing_program(folder, name, number=1):
    """In the folder: the program that has this name, of which so manieth process fails."""
    folder.mkdir()
    (folder / name).write_text(f"""#!/bin/sh
echo >>"$0.starts"
[ "$(wc -l <"$0.starts")" != {number} ] || {{ echo '{name}: no memory' >&2; exit 2; }}
exec {shutil.which(name)} "$@"
""")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("script, program, number", [
    ("figures", "basename", 1), ("figures", "tr", 1), ("figures", "grep", 1), ("figures", "seq", 7),
    ("report", "readlink", 1), ("ablation", "tr", 2)])
def test_a_result_does_not_say_less_where_a_program_fails(campaign, tmp_path, script, program, number):
    """Pictures were without layers, intervals or names, or were left out; pages were without the paper's
    numbers, a table without rows."""
    programs = tmp_path / "bin"
    failing_program(programs, program, number)

    def case(case):
        there = campaign.found(script, case.out)
        path = f"{programs}:{campaign.bin}:{os.environ['PATH']}"
        run = campaign.script(script, case.out, variables={0: {"PATH": path}})
        return faults.judge(run, faults.tree(case.out), {**case.expected(f"{script}.sh"), **there})

    result = faults.one(campaign, f"{script} {program}", script, case)
    assert result.outcome not in faults.BAD, result.why
