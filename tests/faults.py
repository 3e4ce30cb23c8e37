"""Faults on purpose: each seed is one case, and none may be silent, hang, or crash.

    faults.py --seeds 500 [--first 1] [--classes signals,calls] [--bin DIR] [--jobs 2]
              [--place DIR] [--csv FILE]

runs the cases first .. first + seeds - 1 on small random models and texts and prints how
they came out, class by class, in Markdown.  A seed's class and all that is random in it
follow from the seed; times of signals are shares of the undisturbed run's, so that a
race may need some tries.  fault_jobs.py has the pipelines that are disturbed, fault_classes.py the
classes of faults.

After each case there is the complete right result, to the byte that of an undisturbed
run, or a status other than 0, a message of a program, and no file under its final name
that is not complete and right.  Exit status: 0 if that is so, 1 if not.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import ctypes
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import surroundings
from fault_jobs import DIVIDED, FORMS_OF_MAKES, JOBS, MAKES, MODELS, SCRIPTS

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE = 60  # seconds for a pipeline that takes a tenth of one; make takes some
GOOD = ("right", "refused", "killed", "other")
BAD = ("silent", "mute", "hung", "crashed")
MEANINGS = {
    "right": "the complete right result", "refused": "a status other than 0 and a message",
    "killed": "ended by the signal sent", "other": "another valid input, and the result names it",
    "silent": "status 0 or a final name, and wrong", "mute": "failed without a message",
    "hung": "did not end", "crashed": "ended by a signal that nobody sent"}

# Whose messages count: our tools and scripts, and what runs them.
SPEAKER = re.compile(r"^\S*?([\w.-]+)(\[\d+\])?: |^\*\*\* ", re.MULTILINE)


class Bad(Exception):
    """A case that came out as it must not: outcome, one of BAD, and what was seen."""

    def __init__(self, outcome, why):
        super().__init__(f"{outcome}: {why}")
        self.outcome = outcome


def patience():
    """PATIENCE, of a machine that has as many processes to run as processors; longer of one that has more, so
    that what waits for a processor is not taken for what waits for ever."""
    return PATIENCE * max(1, max(os.getloadavg()[:2]) / os.cpu_count())


# A command that takes away root's right to read and write what others may not.
WITHOUT_RIGHTS = () if os.getuid() else (
    "setpriv", "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search")

CLASSES = {}  # name: a function that takes a case, draws what happens, lets it happen, and gives the outcome


def fault_class(name):
    def add(function):
        CLASSES[name] = function
        return function
    return add


# ------------------------------------------------------------------- pipelines

def tree(folder):
    """{path in it: bytes} of what has its final name; links and pipes are none."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(pathlib.Path(folder).rglob("*"))
            if path.is_file() and is_final(path.relative_to(folder))}


def is_final(path):
    return not any(part.startswith(".") or re.search(r"\.part|\.new", part) for part in path.parts)


class Run:
    """A pipeline that has ended: of its stages statuses, messages, and the signals sent."""

    def __init__(self, stages):
        self.stages, self.sent = stages, [set() for _ in stages]
        self.statuses, self.messages, self.hung, self.seconds = [], [], False, 0

    def __str__(self):
        return "; ".join(f"{stage[0]} {status}" + (f" ({message.strip()[-300:]})" if message.strip() else "")
                         for stage, status, message in zip(self.stages, self.statuses, self.messages))


class Campaign:
    """The inputs, the results of undisturbed runs, and the cases."""

    def __init__(self, bin, place):
        self.bin, self.place = pathlib.Path(bin).resolve(), pathlib.Path(place).resolve()
        self.made, self.expected = self.makes("all"), self.place / "expected"
        self.may_mount = False  # whether this process has a mount namespace of its own
        self.facts = {}

    def makes(self, name):
        """The folder that an undisturbed make of MAKES leaves."""
        return self.place / "makes" / name / "results"

    # ---- what is not disturbed ----

    def prepare(self):
        """Makes what all cases share, or takes what an earlier call has made."""
        import fault_inputs
        ready = self.place / "facts.json"
        if not ready.exists():
            (self.place / "in").mkdir(parents=True)
            fault_inputs.write(self.place / "in")
            subprocess.run(["gcc", "-std=c11", "-O1", "-fPIC", "-shared",
                            "-o", self.place / "failing_calls.so",
                            ROOT / "tests" / "failing_calls.c", "-ldl"], check=True, timeout=PATIENCE)
            self.facts = {"seconds": {}, "counts": {}, "starts": {}}
            for name in MAKES:
                self.undisturbed_make(name)
            first, *others = [tree(self.makes(name)) for name in FORMS_OF_MAKES]
            if any(other != first for other in others):
                sys.exit("undisturbed makes in one run and in shards differ")
            for job in JOBS:
                self.undisturbed(job)
            for name in SCRIPTS:
                self.undisturbed_script(name)
            for settings in "right", "other":
                self.undisturbed_shards(settings)
            ready.write_text(json.dumps(self.facts))
        self.facts = json.loads(ready.read_text())

    def undisturbed_make(self, name):
        """Its result, time, and the calls of all processes: {program: [{call: how often} of its first]}."""
        start, counted = time.monotonic(), self.place / "starts" / name
        counted.mkdir(parents=True)
        done = subprocess.run(self.make(self.makes(name), name), cwd=ROOT, capture_output=True, text=True,
                              timeout=5 * patience(), check=False,
                              env={**os.environ, **self.failing(counted),
                                   "FAILING_COUNT": str(counted / ".calls")})
        self.facts["seconds"][f"make {name}"] = time.monotonic() - start
        if done.returncode:
            sys.exit(f"an undisturbed make fails:\n{done.stdout}{done.stderr}")
        starts = {path.name: [{} for _ in range(path.stat().st_size)]
                  for path in sorted(counted.glob("[!.]*"))}
        for process in (counted / ".calls").read_text().split("process ")[1:]:
            (program, number), *calls = [line.split() for line in process.splitlines()]
            starts[program][int(number) - 1] = {call: int(count) for call, count in calls if count != "0"}
        self.facts["starts"][name] = starts

    def failing(self, counted=None):
        """Variables that make failing_calls.c part of a process, and of all that it starts: where they count
        themselves."""
        return {"LD_PRELOAD": str(self.place / "failing_calls.so"),
                **({"FAILING_STARTS": str(counted)} if counted else {})}

    def undisturbed(self, job):
        """Its result, time, the streams between its stages, and the calls of each stage."""
        out = self.expected / job
        out.mkdir(parents=True)
        run = self.run(job, out)
        self.facts["seconds"][job] = run.seconds
        if any(run.statuses):
            sys.exit(f"an undisturbed {job} fails: {run}")
        between = self.place / "between" / job
        between.mkdir(parents=True)
        stdin, again = None, between / "again"
        again.mkdir()
        for i, stage in enumerate(JOBS[job]):
            with open(between / f"{i}", "wb") as output, open(stdin or os.devnull, "rb") as source:
                subprocess.run(self.argv(stage, job, again), stdin=source, stdout=output, check=True,
                               timeout=patience(),
                               env={**os.environ, **self.failing(),
                                    "FAILING_COUNT": str(between / f"{i}.calls")})
            stdin = between / f"{i}"
            calls = [line.split() for line in (between / f"{i}.calls").read_text().splitlines()]
            self.facts["counts"][f"{job}/{i}"] = {name: int(count) for name, count in calls}
        if tree(again) != tree(out):
            sys.exit(f"two undisturbed runs of {job} differ")

    def script_results(self, name):
        """The folder that an undisturbed script leaves."""
        return self.place / "scripts" / name / "results"

    def undisturbed_script(self, name):
        """Its result, which is that of the pipeline, and of make, that have its name."""
        out = self.script_results(name)
        out.mkdir(parents=True)
        found = self.found(name, out)
        run = self.script(name, out)
        self.facts["seconds"][f"{name}.sh"] = run.seconds
        if run.statuses != [0]:
            sys.exit(f"an undisturbed {name}.sh fails: {run}")
        if name == "report":  # of other tables
            return
        made = tree(self.made) if MODELS.get(name, "model") == "model" else {}
        for other in (tree(self.expected / name) if name in JOBS else {}, made):
            for path, data in tree(out).items():
                if path not in found and other.get(path, data) != data:
                    sys.exit(f"{name}.sh gives another {path} than the pipeline or the make of its name")

    def shards(self, settings):
        """The folder whose shards/ has what undisturbed shards leave, of the makes' settings or of others."""
        return self.place / "parts" / settings

    def undisturbed_shards(self, settings):
        out, count = self.shards(settings), MAKES["shards"][1]["SHARDS"]
        shutil.copytree(self.makes("whole"), out)
        other = {"--prefixes": "20", "--sample": "2"} if settings == "other" else {}
        for name in DIVIDED:
            words = SCRIPTS[name][0]
            words = [other.get(before, word) for before, word in zip(["", *words], words)]
            for i in range(count):
                script = [f"{ROOT}/pipelines/{name}.sh", "--shard", f"{i}/{count}"]
                run = self.run(name, out, [[*script, *words]])
                if run.statuses != [0]:
                    sys.exit(f"an undisturbed shard of {name}.sh fails: {run}")

    def found(self, name, out):
        """Puts what a script finds in OUT there: {name: bytes}."""
        there = {}
        for place in SCRIPTS[name][1]:
            path = pathlib.Path(place.format(**self.inputs(name)))
            there[path.name] = path.read_bytes()
            (out / path.name).write_bytes(there[path.name])
        return there

    # ---- running ----

    def inputs(self, job):
        place = self.place / "in"
        texts = {name: place / f"{name}.txt" for name in ("train", "valid", "few", "prompts")}
        return {"model": place / MODELS.get(job, "model"), **texts, "edits": place / "edits",
                "dictionary": ROOT / "tests/fairseq-tiny/dict.txt", "checkpoint": ROOT
                / "tests/fairseq-tiny/zip.pt", "made": self.made, "expected": self.expected, "root": ROOT}

    def argv(self, stage, job, out, **inputs):
        places = {**self.inputs(job), "out": out, **inputs}
        words = [word.format(**places) for word in stage]
        return [str(self.bin / words[0]) if "/" not in words[0] else words[0], *words[1:]]

    def make(self, out, name, **settings):
        """The words of a make of MAKES."""
        place, (words, own) = self.place / "in", MAKES[name]
        settings = {"MODEL": place / "model", "TEXT": place / "train.txt", "VALID": place / "valid.txt",
                    "MODE": "lines", "SENTENCES": "", "PREFIXES": 50, "KEYS": 3, "REMOVALS": 5,
                    "ANNOTATIONS": "", "BIN": self.bin, "OUT": out,
                    **{key: str(value).format(place=place) for key, value in own.items()}, **settings}
        return ["make", "--no-print-directory", "-f", "pipelines/paper.mk",
                *(f"{n}={v}" for n, v in settings.items()), *words]

    def script(self, name, out, **options):
        """Runs one of SCRIPTS, as one stage; what it starts is its group's."""
        return self.run(name, out, [[f"{ROOT}/pipelines/{name}.sh", *SCRIPTS[name][0]]], **options)

    def run(self, job, out, stages=None, stdin=None, before=(), variables=(), events=(), last=None,
            **inputs):
        """Runs a pipeline.  before: {stage: words of a command that runs it}; variables: {stage: {name:
        value}}; events: [(seconds, stage, signal) or (seconds, function of the Run)]; stages: other ones
        than the job's; last: the last one's standard output."""
        stages = JOBS[job] if stages is None else stages
        run, processes, messages = Run(stages), [], []
        start = time.monotonic()
        with contextlib.ExitStack() as files:
            source = files.enter_context(open(stdin or os.devnull, "rb"))
            for i, stage in enumerate(stages):
                messages.append(files.enter_context(tempfile.TemporaryFile()))
                is_last = i == len(stages) - 1
                process = subprocess.Popen(
                    [*dict(before).get(i, ()), *self.argv(stage, job, out, **inputs)], stdin=source, cwd=ROOT,
                    process_group=0, stdout=(last or subprocess.DEVNULL) if is_last else subprocess.PIPE,
                    stderr=messages[i], env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}",
                                             **dict(variables).get(i, {})})
                source.close()
                source = process.stdout
                processes.append(process)
            for moment, *event in sorted(events, key=lambda event: event[0]):
                time.sleep(max(0, start + moment - time.monotonic()))
                if callable(event[0]):
                    event[0](run)
                elif processes[event[0]].poll() is None:
                    run.sent[event[0]].add(event[1])
                    processes[event[0]].send_signal(event[1])
            run.hung = not all(ended(process, start + patience()) for process in processes)
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(PATIENCE)
            run.seconds = time.monotonic() - start
            for message in messages:
                message.seek(0)
                run.messages.append(message.read().decode(errors="replace"))
            run.statuses = [process.returncode for process in processes]
        return run


def signal_each(processes, number, run):
    """Those that are still there; the run's only stage."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
            run.sent[0].add(number)


def ended(process, deadline):
    try:
        process.wait(max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


# --------------------------------------------------------------------- judging

def has_spoken(messages):
    return any(SPEAKER.search(message) for message in messages)


def check_ends(run):
    """None hung, none by a signal other than the one sent."""
    if run.hung:
        raise Bad("hung", f"{run}")
    for i, status in enumerate(run.statuses):
        number = -status if status < 0 else status - 128  # as a shell tells it
        if number > 0 and number not in run.sent[i]:
            raise Bad("crashed", f"{run}")


def is_right(name, data, expected):
    """Whether a file is what an undisturbed run leaves; or, of the table of what was run so far, a part of
    it; or what model-info says of a model that it could not read; or the log of a shard."""
    wanted = expected.get(name)
    if re.fullmatch(r"shards/[^/]*\.log", name):
        return True
    if name == "model.json" and b'"supported":false' in data:
        return True
    if name == "options.csv" and wanted is not None:
        return set(data.splitlines()) <= set(wanted.splitlines())
    return data == wanted


def judge(run, after, expected, before=None, is_other=None, passing=None):
    """The outcome of a run that left the files after, where before was before it.  is_other: of the
    files, whether another valid input explains them; None: there is none.  passing: files that an undisturbed
    run takes away again, such as those of shards."""
    check_ends(run)
    is_complete = run.statuses[-1] == 0
    before, known = ({}, expected) if is_complete else (before or {}, {**(passing or {}), **expected})
    wrong = sorted(name for name, data in after.items()
                   if not is_right(name, data, known) and data != before.get(name))
    if is_complete:
        if all(after.get(name) == data for name, data in expected.items()) and not wrong:
            return "right"
        if is_other and is_other(after):
            return "other"
        missing = sorted(name for name, data in expected.items() if after.get(name) != data)
        raise Bad("silent", f"status 0, and not as they must be: {wrong + missing}; {run}")
    if wrong and not (is_other and is_other(after)):
        raise Bad("silent", f"status {run.statuses[-1]}, and with final names but not right: {wrong}; {run}")
    if any({-status, status - 128} & sent for status, sent in zip(run.statuses, run.sent)):
        return "killed"
    if not has_spoken(run.messages):
        raise Bad("mute", f"{run}")
    return "refused"


class Case:
    """What a class of faults gets: its chance, a folder, and the campaign."""

    def __init__(self, campaign, seed, folder):
        self.campaign, self.folder, self.chance = campaign, folder, random.Random(seed)
        self.what = []  # what was done, in words
        self.out = folder / "results"
        self.out.mkdir(parents=True)

    def say(self, *words):
        self.what.append(" ".join(str(word) for word in words))

    def moment(self, job):
        """Seconds from the start: any time of an undisturbed run, and a little more."""
        return self.chance.uniform(0, 1.1) * self.campaign.facts["seconds"][job]

    def old_files(self, names):
        """In half of the cases something has the final names before."""
        before = {}
        if self.chance.random() < 0.5:
            before = {name: b"what was there before\n" for name in names if "/" not in name}
        for name, data in before.items():
            (self.out / name).write_bytes(data)
        return before

    def expected(self, job):
        """What an undisturbed pipeline leaves, or, of NAME.sh, a script."""
        is_script = job.endswith(".sh")
        return tree(self.campaign.script_results(job[:-3]) if is_script else self.campaign.expected / job)

    def made(self, name):
        """What an undisturbed make of MAKES leaves."""
        return tree(self.campaign.makes(name))

    def shards(self, name):
        """What shards of it leave while it runs."""
        files = tree(self.campaign.shards("right")) if "SHARDS" in MAKES[name][1] else {}
        return {path: data for path, data in files.items() if path.startswith("shards/")}

    def pipeline(self, job, is_other=None, expected=None, **options):
        """Runs it, disturbed as the options say; the outcome."""
        expected = expected or self.expected(job)
        before = self.old_files(expected)
        run = self.campaign.run(job, self.out, **options)
        return judge(run, tree(self.out), expected, before, is_other)


# ------------------------------------------------------------------- the driver

def private_mounts():
    """A mount namespace of our own, so that no mount outlives this process; whether there is one."""
    clone_newns = 0x00020000
    if os.getuid() or not shutil.which("mount") or ctypes.CDLL(None).unshare(clone_newns):
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True,
                          timeout=PATIENCE).returncode == 0


class Result:
    def __init__(self, seed, name, outcome, what, why, seconds):
        self.seed, self.name, self.outcome, self.what, self.why, self.seconds = seed, name, outcome, what, \
            why, seconds


def class_of(seed, classes):
    return list(classes)[seed % len(classes)]


def one(campaign, seed, name, function):
    folder = campaign.place / "cases" / f"{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    case, start, why = Case(campaign, seed, folder), time.monotonic(), ""
    try:
        outcome = function(case)
    except Bad as bad:
        outcome, why = bad.outcome, str(bad)
    except Exception as error:
        raise RuntimeError(f"the harness itself fails at seed {seed}: {case.what}") from error
    if outcome not in BAD:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(seed, name, outcome, "; ".join(case.what), why, time.monotonic() - start)


def stopped(number, _):
    """Ctrl-C and the like reach this process alone: what it started is in groups of its own."""
    surroundings.kill(surroundings.descendants(os.getpid()))
    os._exit(128 + number)


def summary(results, classes):
    """Rows: a class, its cases, and how many of them came out how; the last row is the sum."""
    header = ["class", "cases", *GOOD, *BAD, "skipped"]
    rows = []
    for name in [*classes, "all"]:
        found = collections.Counter(result.outcome for result in results if name in (result.name, "all"))
        rows.append([name, sum(found.values()), *(found[column] for column in header[2:])])
    return header, [row for row in rows if row[1]]


def markdown(header, rows):
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main():
    import fault_classes
    classes = fault_classes.CLASSES
    parser = argparse.ArgumentParser(description="Runs tools and makes with faults, one case a seed.")
    parser.add_argument("--seeds", type=int, default=len(classes), help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--classes", default=",".join(classes), help="only seeds of these")
    parser.add_argument("--bin", default=ROOT / "build/release-gcc", help="the folder of the tools")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases at a time")
    parser.add_argument("--place", help="where to work, kept; what all cases share is taken from there")
    parser.add_argument("--csv", help="write the table there, too")
    parser.add_argument("--verbose", action="store_true", help="say what each case was and how it came out")
    options = parser.parse_args()

    surroundings.settle()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stopped)
    may_mount = private_mounts()
    wanted = options.classes.split(",")
    seeds = [seed for seed in range(options.first, options.first + options.seeds)
             if class_of(seed, classes) in wanted]
    with contextlib.ExitStack() as stack:
        place = options.place or stack.enter_context(tempfile.TemporaryDirectory(prefix="ffkv-faults-"))
        campaign = Campaign(options.bin, place)
        campaign.prepare()
        campaign.may_mount = may_mount
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            cases = [pool.submit(one, campaign, seed, class_of(seed, classes),
                                 classes[class_of(seed, classes)]) for seed in seeds]
            results = []
            for case in concurrent.futures.as_completed(cases):
                result = case.result()
                results.append(result)
                if result.outcome in BAD:
                    print(f"seed {result.seed}, {result.name}: {result.why}\n    {result.what}\n    "
                          f"again: make faults SEEDS=1 FIRST={result.seed}\n", flush=True)
                elif options.verbose:
                    print(f"seed {result.seed}, {result.name}: {result.outcome}, {result.seconds:.1f} s: "
                          f"{result.what}", flush=True)
    header, rows = summary(results, classes)
    print(markdown(header, rows))
    print("\n" + "; ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items()) + ".")
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    return any(result.outcome in BAD for result in results)


if __name__ == "__main__":
    import faults  # by its name, so that its exceptions are those of fault_classes.py
    sys.exit(faults.main())
