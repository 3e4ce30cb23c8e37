"""Measures the tools beside PyTorch doing the same work: make bench.

usage: bench.py [--bin DIR] [--out DIR] [--shapes LIST] [--rounds N] [--threads LIST] [--layers N]
                [--scales LIST] [--without-torch]
       bench.py --table [--out DIR]

For the shapes of the shipped model, SmolLM2 and the paper, one after the other, each task runs in turns in
all programs: the tools, with each kind of products that the processor has, and PyTorch
(tests/bench_torch.py) with 32-bit and 16-bit floats, with one thread and two. What they find is compared
before a time is written. OUT/bench.csv has a line for each task, program, type and number of threads: median
and range of seconds, processor seconds, peak memory; OUT/memory.csv has the peak of each process of the
pipeline of triggers for 1, 4 and 16 times the text; --table prints both as the tables of doc/speed.md. Times
are without that of loading a model, which is measured by itself, but for those of section 5.
"""

import argparse
import contextlib
import csv
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing

import numpy as np
import pytest

import environments
import random_model
from helpers import PEAK, command, environment, table

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
import ffkv  # noqa: E402  (found by the line before)

TOP = 50
OURS = ("float32", "bf16x3", "bf16")  # products of the tools
TORCH = ("float32", "bfloat16")
TASKS = ("products", "forward", "triggers", "values", "section5")
# How far a key's coefficients may be from those of the tools with 32-bit floats, in parts of its largest: of
# every key, or, with 16-bit products, which round to 1 part in 256 at every step, of the median one; and the
# share of prefixes or values with another prediction: of small models' values many tokens are nearly as
# probable as the first.
COEFFICIENT = {"float32": (1e-3, 1), "bf16x3": (1e-3, 1), "bf16": (0.1, 0.5), "bfloat16": (0.1, 0.5)}
SHARE = {"float32": 0.02, "bf16x3": 0.02, "bf16": 0.5, "bfloat16": 0.5}
COLUMNS = ("shape", "layers", "task", "program", "type", "threads", "units", "unit", "rounds", "median",
           "low", "high", "processor", "peak_mb")
UNITS = {"products": "GFLOP", "forward": "tokens", "triggers": "tokens", "values": "values",
         "products of values": "values", "section5": "prefixes", "load": "models",
         "forward in memory": "GFLOP"}


class Shape(typing.NamedTuple):
    """A model, and how much of a text is taken for it."""

    text: str
    sentences: int
    prefixes: int
    forward: list  # options of bench-forward that give it these matrices


SHAPES = {
    "brown-lm": Shape("brown-train", 3500, 500, ["--d-model", 128, "--d-ff", 512, "--heads", 8]),
    "smollm2": Shape("brown-text-train", 300, 60,
                     ["--gated", "--d-model", 576, "--d-ff", 1536, "--heads", 9, "--key-value-heads", 3]),
    "paper": Shape("", 500, 200, ["--d-model", 1024, "--d-ff", 4096, "--heads", 8]),
    "tiny": Shape("", 30, 10, ["--d-model", 16, "--d-ff", 48, "--heads", 2, "--vocabulary", 60]),
}
RANDOM = {"paper": {"d_model": 1024, "d_ff": 4096, "heads": 8, "vocabulary": 267744,
                    "cutoffs": (20000, 60000), "factor": 4, "dtype": "BF16"},
          "tiny": {"dtype": "BF16"}}


class Disagreement(Exception):
    """The two programs found different things: their times would say nothing."""


class Round(typing.NamedTuple):
    seconds: float
    processor: typing.Optional[float]  # None: not known
    units: float
    kilobytes: int = 0


# ------------------------------------------------------------- the tools

def run(stages, out=None, source=None):
    """Runs stages, lists of arguments, joined by pipes, from a file to a file: wall and processor seconds."""
    with contextlib.ExitStack() as stack:
        before = stack.enter_context(open(source or os.devnull, "rb"))
        last = stack.enter_context(open(out or os.devnull, "wb"))
        start, running = time.perf_counter(), []
        for i, stage in enumerate(stages):
            to = last if i == len(stages) - 1 else subprocess.PIPE
            running.append(subprocess.Popen(stage, stdin=before, stdout=to, env=environment()))
            before.close()
            before = running[-1].stdout
        processor = 0.0
        for stage, process in zip(stages, running):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            processor += usage.ru_utime + usage.ru_stime
            if process.returncode:
                raise SystemExit(f"bench.py: {' '.join(map(str, stage))}: status {process.returncode}")
    return Round(time.perf_counter() - start, processor, 0)


def peaks(stages, source):
    """The most memory of each of these processes, in a pipe, in bytes."""
    with contextlib.ExitStack() as stack:
        before, running, files = stack.enter_context(open(source, "rb")), [], []
        for i, stage in enumerate(stages):
            files.append(stack.enter_context(tempfile.TemporaryFile()))
            to = subprocess.DEVNULL if i == len(stages) - 1 else subprocess.PIPE
            running.append(subprocess.Popen([sys.executable, "-ISc", PEAK, *stage], stdin=before, stdout=to,
                                            stderr=files[-1], env=environment()))
            before.close()
            before = running[-1].stdout
        most = []
        for stage, process, file in zip(stages, running, files):
            process.wait()
            file.seek(0)
            status, memory = map(int, file.read().split())
            if status:
                raise SystemExit(f"bench.py: {stage[0]}: status {status}")
            most.append(memory)
    return most


class Tools:
    """The tools on one shape: its files, and the commands of each task."""

    def __init__(self, name, folder, options):
        self.name, self.shape, self.folder, self.bin = name, SHAPES[name], folder, options.bin
        if name in RANDOM:
            self.layers = options.layers
            self.model = folder / "model"
            if not (self.model / "dict.txt").exists():
                random_model.write_model(self.model, layers=self.layers, **RANDOM[name])
        else:
            self.model = ROOT / ("data/brown-lm" if name == "brown-lm" else "data/models/smollm2/model.gguf")
        self.rounds, self.passes = min(options.rounds, 3), {}
        self.text = self.write_text()
        self.tokens = self.tokenized("tokens", self.shape.sentences)
        self.one = self.tokenized("one", 1)
        self.sampled = self.tokenized("sampled", self.shape.prefixes)
        self.write_data()

    def file(self, name):
        return self.folder / name

    def command(self, tool, *arguments, threads=None, kind="float32"):
        multiplies = tool in ("forward-dump", "project-values", "refinement-stats", "composition-stats")
        return command(self.bin, tool, *arguments, *(["--threads", threads] if threads else []),
                       *(["--products", kind] if multiplies else []))

    def kinds(self):
        """Kinds of products: bf16x3 where weights are bfloat16, which it is for; a message for those that
        this processor does not have."""
        for kind in OURS:
            if kind == "bf16x3" and not self.of_bfloats:
                continue
            tried = subprocess.run(self.dump("--layers", 1, self.one, threads=1, kind=kind),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                   env=environment())
            if tried.returncode:
                print(tried.stderr, end="", file=sys.stderr)
            else:
                yield kind

    def write_text(self):
        """Words of the random models: frequent ones far more often, as in a text."""
        if self.name not in RANDOM:
            return ROOT / "data/corpora" / f"{self.shape.text}.txt"
        draw, vocabulary = random.Random(1), random_model.make_config(**RANDOM[self.name])["vocab_size"]
        lines = (" ".join(f"w{4 + int((vocabulary - 4) ** draw.random()) - 1}"
                          for _ in range(draw.randint(5, 40))) for _ in range(40 * self.shape.sentences))
        self.file("text.txt").write_text("\n".join(lines) + "\n")
        return self.file("text.txt")

    def tokenized(self, name, sentences):
        run([self.command("tokenize", "-m", self.model, "--sample", sentences, self.text)],
            self.file(f"{name}.msgpack"))
        return self.file(f"{name}.msgpack")

    def write_data(self):
        """What PyTorch reads: the same tokens, and the prefixes that forward-dump draws."""
        header, records, _ = ffkv.load(self.tokens)
        sentences = [s for record in records for s in ffkv.sentences(record)]
        run([self.command("forward-dump", "-m", self.model, "--emit", "resid", "--layers", 1, "--positions",
                          "random", self.sampled)], self.file("drawn.msgpack"))
        sampled, positions, texts = [], [], []
        for record in ffkv.load(self.file("drawn.msgpack")).records:
            if "tok" not in record:
                continue
            own = ffkv.sentences(record)
            for s, position in zip(record["row_sentence"].tolist(), record["row_position"].tolist()):
                sampled.append(len(texts) + len(sentences))
                texts.append(own[s].tokens)
                positions.append(position)
        np.savez(self.file("data.npz"), tokens=np.concatenate([*(s.tokens for s in sentences), *texts]),
                 lengths=[*(len(s.tokens) for s in sentences), *map(len, texts)], sentences=len(sentences),
                 bos=header["tokenizer"]["bos"], sampled=sampled, positions=positions)
        self.token_count, self.prefix_count = sum(len(s.tokens) for s in sentences), len(texts)
        shape = ffkv.load(self.file("drawn.msgpack")).header["model"]
        self.layers, self.value_count = shape["layers"], shape["layers"] * shape["d_ff"]
        told = json.loads(subprocess.run(command(self.bin, "model-info", "--json", "--rate", 1, self.model),
                                         capture_output=True, check=True, env=environment()).stdout)
        self.value_operations = self.value_count * told["cost"]["operations_a_value"]
        self.of_bfloats = "BF16" in told["files"]["tensors"]

    # Each task gives a Round; what it finds is in files.

    def dump(self, *arguments, threads, kind):
        return self.command("forward-dump", "-m", self.model, *arguments, threads=threads, kind=kind)

    def load(self, threads, kind):
        found = run([self.dump("--layers", 1, "--cells", 0, self.one, threads=threads, kind=kind)])
        return found._replace(units=1)

    def less_load(self, found, threads, kind):
        load = self.load(threads, kind)
        return found._replace(seconds=max(found.seconds - load.seconds, 1e-6),
                              processor=max(found.processor - load.processor, 1e-6))

    def products(self, threads, kind):
        """The time of 10^9 operations of the matrices' products alone; of the whole pass, in self.passes."""
        bench = self.bin / "tests/bench-forward"
        text = subprocess.run(command(self.bin, bench, "--layers", min(self.layers, 4), "--rounds",
                                      self.rounds, "--threads", threads, *self.shape.forward, "--products",
                                      kind),
                              capture_output=True, text=True, check=True, env=environment()).stdout
        rates = re.findall(r"^round .*?([0-9.]+) GFLOP/s.*?([0-9.]+) GFLOP/s", text, re.MULTILINE)
        products, passes = (1 / statistics.median(map(float, rate)) for rate in zip(*rates))
        self.passes.setdefault((threads, kind), []).append(Round(passes, None, 1))
        return Round(products, None, 1)

    def forward(self, threads, kind):
        """All layers, and of them as good as nothing written."""
        found = run([self.dump("--layers", self.layers, "--cells", 0, self.tokens, threads=threads,
                               kind=kind)])
        return self.less_load(found._replace(units=self.token_count), threads, kind)

    def triggers(self, threads, kind):
        found = run([self.dump(self.tokens, threads=threads, kind=kind),
                     self.command("topk-keys", "--top", TOP)], self.file(f"triggers-{kind}.msgpack"))
        return self.less_load(found._replace(units=self.token_count), threads, kind)

    def values(self, threads, kind):
        bottoms = 1 if "--gated" in self.shape.forward else 0  # what negative coefficients promote
        found = run([self.command("project-values", "-m", self.model, "--all", "--all-tokens", "--tops", 1,
                                  "--bottoms", bottoms, threads=threads, kind=kind)],
                    self.file(f"values-{kind}.msgpack"))
        return self.less_load(found._replace(units=self.value_count), threads, kind)

    def section5(self, threads, kind):
        """From prefixes to both tables; loading three times, as it is a small part, counts."""
        drawn = self.file(f"activations-{kind}.msgpack")
        rounds = [
            run([self.dump("--emit", "coef,resid,ffn", "--positions", "random", self.sampled, threads=threads,
                           kind=kind)], drawn),
            run([self.command("composition-stats", "-m", self.model, "--all-tokens", "--values",
                              self.file(f"values-{kind}.msgpack"), drawn, threads=threads, kind=kind)],
                self.file(f"composition-{kind}.csv")),
            run([self.command("refinement-stats", "-m", self.model, "--all-tokens", drawn, threads=threads,
                              kind=kind)], self.file(f"refinement-{kind}.csv"))]
        return Round(sum(r.seconds for r in rounds), sum(r.processor for r in rounds), self.prefix_count)

    def stages(self, threads):
        return [self.command("tokenize", "-m", self.model, "--sample", self.shape.sentences, self.text),
                self.dump(threads=threads, kind="float32"), self.command("topk-keys", "--top", TOP),
                self.command("project-values", "-m", self.model, threads=threads)]

    def pipeline(self, threads):
        """{name: Round} of each stage of the pipeline of triggers alone, of the search, which is all but the
        last one, and of all at once: the last has nothing to do before the search ends."""
        found, source = {}, None
        for i, stage in enumerate(self.stages(threads)):
            out = self.file(f"stage{i}.msgpack")
            found[f"stage {pathlib.Path(stage[0]).name}"] = run([stage], out, source)._replace(
                units=self.token_count)
            source = out
        for name, stages in ("search", self.stages(threads)[:-1]), ("pipeline", self.stages(threads)):
            found[name] = run(stages)._replace(units=self.token_count)
        return found


# ------------------------------------------------------------- PyTorch

class Torch:
    """A process that has the model loaded, and does a task at a time."""

    def __init__(self, python, tools, kind, threads):
        self.kind = kind
        self.folder = tools.folder
        self.process = subprocess.Popen(
            [python, ROOT / "tests/bench_torch.py", tools.model, tools.file("data.npz"), kind, str(threads),
             str(TOP)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"})
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench.py: PyTorch, {self.kind}: status {self.process.wait()}")
        return json.loads(line)

    def run(self, task):
        """A Round, and the file with what was found."""
        path = self.folder / f"torch-{task}-{self.kind}.npz"
        print(task, path, file=self.process.stdin, flush=True)
        answer = self.answer()
        return Round(answer["seconds"], answer["processor"], answer["units"], answer["kilobytes"]), path

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ------------------------------------------------------------- comparing

def need(right, what):
    if not right:
        raise Disagreement(what)


def found_triggers(tools, kind):
    """The largest coefficients of each key, by rank: layers x cells x TOP."""
    shape = ffkv.load(tools.file(f"triggers-{kind}.msgpack")).header["model"]
    found = np.zeros((shape["layers"], shape["d_ff"], TOP))
    for record in ffkv.load(tools.file(f"triggers-{kind}.msgpack")).records:
        if "cell" in record:
            found[record["layer"], record["cell"], :len(record["coef"])] = record["coef"]
    return {"coefficients": found}


def compare_triggers(tools, ours, theirs, kind):
    mine, other = ours["coefficients"], theirs["coefficients"]
    need(mine.shape[:2] == other.shape[:2], f"triggers of {other.shape[:2]} layers and cells")
    errors = np.abs(mine[:, :, :other.shape[2]] - other).max(axis=2) / np.maximum(mine.max(axis=2), 1e-2)
    far, part = COEFFICIENT[kind]
    need(np.quantile(errors, part) <= far,
         f"triggers' coefficients differ by {np.quantile(errors, part):.2g} of a key's largest")


def found_values(tools, kind):
    records = ffkv.load(tools.file(f"values-{kind}.msgpack")).records
    tops = [(record["top"][0], record["top_p"][0]) for record in records]
    return dict(zip(("tokens", "probabilities"), map(np.array, zip(*tops))))


def compare_values(tools, ours, theirs, kind):
    need(len(ours["tokens"]) == len(theirs["tokens"]), f"{len(theirs['tokens'])} values")
    same = np.mean(ours["tokens"] == theirs["tokens"])
    need(same >= 1 - SHARE[kind], f"most probable tokens of values: {same:.1%} are equal")
    middle = np.median(np.abs(ours["probabilities"] - theirs["probabilities"]) / ours["probabilities"])
    need(middle <= COEFFICIENT[kind][0], f"values' probabilities differ by {middle:.2%} in the median")


def found_section5(tools, kind):
    return {name: np.array([float(row[name]) for row in table(tools.file(f"{file}-{kind}.csv"))])
            for name, file in (("residual_is_final", "refinement"), ("zero_agreement", "composition"))}


def compare_section5(tools, ours, theirs, kind):
    few = 2.5 / tools.prefix_count  # prefixes
    for name, mine in ours.items():
        worst = np.abs(mine - theirs[name][:len(mine)]).max()
        need(worst <= SHARE[kind] + few, f"{name}: {mine}, {theirs[name]}")


FOUND = {"triggers": (found_triggers, compare_triggers), "values": (found_values, compare_values),
         "section5": (found_section5, compare_section5)}


def compare(tools, task, kind, path=None):
    """What was found with products of this kind, or by PyTorch in the file, beside 32-bit floats."""
    if task not in FOUND or (kind == "float32" and path is None):
        return
    read, examine = FOUND[task]
    examine(tools, read(tools, "float32"), np.load(path) if path else read(tools, kind), kind)


# ------------------------------------------------------------- all of it

def summary(shape, tools, task, program, kind, threads, rounds):
    seconds = [r.seconds for r in rounds]
    peak = max(r.kilobytes for r in rounds)
    processor = [r.processor for r in rounds if r.processor is not None]
    return dict(zip(COLUMNS, (
        shape, tools.layers, task, program, kind, threads, f"{rounds[0].units:.6g}",
        UNITS.get(task, "tokens"), len(rounds), f"{statistics.median(seconds):.4g}", f"{min(seconds):.4g}",
        f"{max(seconds):.4g}", f"{statistics.median(processor):.4g}" if processor else "",
        f"{peak / 1024:.1f}" if peak else "")))


def products_of_values(shape, tools, kind, threads, rounds):
    """What the products of all values with the whole vocabulary take at the rate of the layers' products."""
    work = 1e-9 * tools.value_operations
    return summary(shape, tools, "products of values", "ffkv", kind, threads,
                   [Round(r.seconds / r.units * work, None, tools.value_count) for r in rounds])


def say(row):
    rate = float(row["units"]) / float(row["median"])
    print(f"{row['shape']:9} {row['task']:22} {row['program']:8} {row['type']:9} {row['threads']} threads: "
          f"{row['median']} s ({row['low']} to {row['high']}, n {row['rounds']}), "
          f"{rate:.4g} {row['unit']}/s, "
          f"{row['processor'] and row['processor'] + ' s of processors'} "
          f"{row['peak_mb'] and row['peak_mb'] + ' MB'}", flush=True)


def measure_tasks(shape, tools, python, options):
    """Rows of all tasks, each in turns in all programs."""
    rows, kinds = [], list(tools.kinds())
    for threads in options.threads:
        others = [Torch(python, tools, kind, threads) for kind in TORCH] if python else []
        for task in ("load", *TASKS):
            rounds = {}
            for _ in range(options.rounds):
                for kind in kinds:
                    rounds.setdefault(("ffkv", kind), []).append(getattr(tools, task)(threads, kind))
                    compare(tools, task, kind)
                for other in others if task != "load" else ():
                    found, path = other.run(task)
                    compare(tools, task, other.kind, path)
                    rounds.setdefault(("pytorch", other.kind), []).append(found)
            for (program, kind), found in rounds.items():
                rows.append(summary(shape, tools, task, program, kind, threads, found))
                say(rows[-1])
                if (task, program) == ("products", "ffkv"):
                    rows.append(products_of_values(shape, tools, kind, threads, found))
        for other in others:
            other.close()
        for kind in kinds:
            rows.append(summary(shape, tools, "forward in memory", "ffkv", kind, threads,
                                tools.passes[threads, kind]))
            say(rows[-1])
    return rows


def measure_pipeline(shape, tools, options):
    rows = []
    for threads in options.threads:
        all_rounds = [tools.pipeline(threads) for _ in range(options.rounds)]
        for name in all_rounds[0]:
            rows.append(summary(shape, tools, name, "ffkv", "float32", threads,
                                [r[name] for r in all_rounds]))
            say(rows[-1])
    return rows


def measure_projection(tools, options):
    """What it saves to leave out clusters of the shipped model's vocabulary: OUT/projection.txt."""
    path = options.out / "projection.txt"
    run([tools.command("tokenize", "-m", tools.model, "--sample", 500, ROOT / "data/corpora/brown-valid.txt"),
         tools.command("forward-dump", "-m", tools.model, "--emit", "resid,ffn", "--positions", "random"),
         command(tools.bin, tools.bin / "tests/bench-projection", "-m", tools.model, "--rounds",
                 tools.rounds)],
        path)
    print(path.read_text(), end="")


def measure_memory(shape, tools, options):
    """Peaks of the pipeline's processes, for some times as many sentences."""
    rows = []
    for scale in options.scales:
        stages = tools.stages(max(options.threads))
        stages[0][stages[0].index("--sample") + 1] = str(scale * tools.shape.sentences)
        for stage, most in zip(stages, peaks(stages, os.devnull)):
            rows.append({"shape": shape, "scale": scale, "stage": pathlib.Path(stage[0]).name,
                         "threads": max(options.threads), "peak_mb": f"{most / 2 ** 20:.2f}"})
            print(f"{shape:9} {scale:3} times the text: {rows[-1]['stage']:15} {rows[-1]['peak_mb']} MB")
    return rows


def write_csv(path, columns, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def ratio_rows(rows):
    """The pipeline beside its slowest stages, values beside their products, and two threads beside one."""
    found = {}
    for row in rows:
        key = row["shape"], row["threads"]
        found.setdefault(key, {})[row["task"], row["program"], row["type"]] = float(row["median"])
    for (shape, threads), times in found.items():
        stage = {task: t for (task, *_), t in times.items() if task.startswith("stage ")}
        if stage:
            of_search = max(t for task, t in stage.items() if task != "stage project-values")
            yield (f"| {shape}, {threads} threads: the search, by its slowest stage | "
                   f"{times['search', 'ffkv', 'float32'] / of_search:.2f} |")
            both = of_search + stage["stage project-values"]
            yield (f"| {shape}, {threads} threads: search and projection, by that stage and the projection | "
                   f"{times['pipeline', 'ffkv', 'float32'] / both:.2f} |")
        for (task, program, kind), time in times.items():
            if task == "products of values":
                ratio = times["values", program, kind] / time
                yield (f"| {shape}, {threads} threads, {kind}: values, by bare products of them (computed) | "
                       f"{ratio:.2f} |")
        for task in TASKS if threads != "1" else ():
            for (name, program, kind), time in times.items():
                one = found.get((shape, "1"), {}).get((task, program, kind))
                if name == task and one:
                    yield f"| {shape}, {task}, {program} {kind}: one thread by {threads} | {one / time:.2f} |"


def memory_rows(rows, memory):
    """Peaks in MB: each process at each size of the text, and PyTorch."""
    scales = list(dict.fromkeys(row["scale"] for row in memory))
    yield f"| shape | program | {' | '.join(f'{scale} times the text' for scale in scales)} |"
    yield f"| --- | --- |{' --- |' * len(scales)}"
    peak = {(row["shape"], row["stage"], row["scale"]): row["peak_mb"] for row in memory}
    for shape, stage in dict.fromkeys((row["shape"], row["stage"]) for row in memory):
        yield f"| {shape} | {stage} | {' | '.join(peak[shape, stage, scale] for scale in scales)} |"
    for row in rows:
        if row["task"] == "triggers" and row["program"] == "pytorch":
            yield (f"| {row['shape']} | PyTorch {row['type']}, {row['threads']} threads | {row['peak_mb']} |"
                   f"{' |' * (len(scales) - 1)}")


def markdown(folder):
    """For doc/speed.md: what the tools take for each task, and how many times as long the others do."""
    by_task, rows = {}, table(folder / "bench.csv")
    for row in rows:
        by_task.setdefault((row["shape"], row["layers"], row["task"], row["threads"]), []).append(row)
    others = [*(("ffkv", kind) for kind in OURS[1:]), *(("pytorch", kind) for kind in TORCH)]
    lines = [f"| shape | layers | task | threads | ffkv | {' | '.join(map(' '.join, others))} |",
             f"| --- | --- | --- | --- | --- |{' --- |' * len(others)}"]
    for key, of_task in by_task.items():
        found = {(row["program"], row["type"]): row for row in of_task}
        own = found["ffkv", "float32"]
        mine = float(own["median"]) / float(own["units"])
        cells = [f"{float(own['units']) / float(own['median']):.4g} {own['unit']}/s (n {own['rounds']}, "
                 f"{float(own['low']):.3g} to {float(own['high']):.3g} s)"]
        for other in others:
            row = found.get(other)
            cells.append(f"{float(row['median']) / float(row['units']) / mine:.2f}" if row else "")
        lines.append(f"| {' | '.join([*key, *cells])} |")
    return "\n".join([*lines, "", "| | times |", "| --- | --- |", *ratio_rows(rows), "",
                      *memory_rows(rows, table(folder / "memory.csv"))])


def torch_python():
    """None, and says why, where PyTorch cannot be installed."""
    try:
        return environments.python(*environments.TRANSFORMERS)
    except pytest.skip.Exception as reason:
        print(f"without PyTorch: {reason}", file=sys.stderr)
        return None


def arguments(argv):
    def numbers(text):
        return [int(part) for part in text.split(",") if part]

    parser = argparse.ArgumentParser(prog="bench.py", description="Measure the tools beside PyTorch.")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release-gcc")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out/bench")
    parser.add_argument("--shapes", default="brown-lm,smollm2,paper", help=", ".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--layers", type=int, default=2, help="of the random models; the paper's has 16")
    parser.add_argument("--scales", type=numbers, default=[1, 4, 16], help="of the text, for memory")
    parser.add_argument("--without-torch", action="store_true")
    parser.add_argument("--table", action="store_true", help="print OUT's tables again, measure nothing")
    options = parser.parse_args(argv)
    options.shapes = options.shapes.split(",")
    unknown = set(options.shapes) - set(SHAPES)
    if unknown or options.rounds < 1 or not options.threads:
        parser.error(f"--shapes of {', '.join(SHAPES)}; --rounds and --threads of at least 1")
    return options


def main(argv=None):
    options = arguments(argv)
    if options.table:
        print(markdown(options.out))
        return
    python = None if options.without_torch else torch_python()
    options.out.mkdir(parents=True, exist_ok=True)
    rows, memory = [], []
    for shape in options.shapes:
        folder = options.out / "work"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        tools = Tools(shape, folder, options)
        rows += measure_tasks(shape, tools, python, options)
        rows += measure_pipeline(shape, tools, options)
        memory += measure_memory(shape, tools, options)
        if shape == "brown-lm":
            measure_projection(tools, options)
        shutil.rmtree(folder)
        write_csv(options.out / "bench.csv", COLUMNS, rows)
        write_csv(options.out / "memory.csv", ("shape", "scale", "stage", "threads", "peak_mb"), memory)
    print(markdown(options.out))


if __name__ == "__main__":
    try:
        main()
    except Disagreement as problem:
        raise SystemExit(f"bench.py: the programs disagree, so their times say nothing: {problem}") from None
