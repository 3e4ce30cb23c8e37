"""Limits on memory, and files that are cut short while they are mapped: every tool ends, with its
result or with a message."""

import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest

import random_model
import streams
from damage import in_parallel
from helpers import command, environment, ok
from test_import import Made

ROOT = pathlib.Path(__file__).resolve().parent.parent
SECONDS = 60  # that a tool may take to end, on a machine that does other things too

# Geometric, in KB: from where not even libraries can be loaded to where everything fits.
LADDER = [20_000, 30_000, 45_000, 68_000, 100_000, 150_000, 225_000, 340_000, 500_000, 1_000_000]

# OpenBLAS would start threads of its own where nothing says how many; it must not.
LIBRARY = {"OPENBLAS_NUM_THREADS": None}


# ------------------------------------------------------------- limits on memory

def under_limit(argv, kilobytes, stdin=None):
    """(exit status or "hangs", standard output, standard error) with so much memory."""
    limited = ["/bin/sh", "-c", f'ulimit -v {kilobytes} && exec "$0" "$@"', *argv]
    try:
        done = subprocess.run(limited, capture_output=True, timeout=SECONDS, check=False,
                              env=environment(LIBRARY), stdin=stdin or subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "hangs", b"", ""
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


@pytest.fixture(scope="module")
def work(bin, model, tmp_path_factory):
    """{name: [tool, argument...]}, one or two for every tool, on small inputs for the shipped model."""
    place = tmp_path_factory.mktemp("work")
    names = ["text", "tokens", "maxima", "rows", "triggers", "projected", "values", "changed", "counting",
             "counted", "keyed", "composed", "refined", "edited", "intervened", "prompts", "prompts' rows"]
    at = {name: place / name for name in names}
    at["text"].write_text(
        "The jury said that it had taken place .\nNo evidence was found in the city of Atlanta .\n" * 8)
    forward = ["forward-dump", "-m", model, "--threads", 2]
    steps = {
        "tokens": ["tokenize", "-m", model, at["text"]],
        "maxima": [*forward, at["tokens"]],
        "rows": [*forward, "--emit", "coef,resid,ffn", "--positions", "random", at["tokens"]],
        "triggers": ["topk-keys", at["maxima"]],
        "counting": [*forward, "--emit", "max,magnitudes", at["tokens"]],
        "counted": ["topk-keys", "-t", 1, at["counting"]],
        "projected": ["project-values", "-m", model, "--threads", 2, at["triggers"]],
        "values": ["project-values", "-m", model, "--threads", 2, "-k", 1, "--all"],
        "changed": ["perturb-triggers", "--sample", 4, at["triggers"]],
        "keyed": [*forward, "--emit", "key", at["changed"]],
        "composed": ["composition-stats", "-m", model, "--threads", 2, "--values", at["values"],
                     "--sums", at["rows"]],
        "refined": ["refinement-stats", "-m", model, "--threads", 2, "--sums", at["rows"]],
        "edited": [*forward, "--emit", "coef,resid,ffn", "--positions", "random", "--edit", "16:*=0",
                   at["tokens"]],
        "intervened": ["intervention-stats", "-m", model, "--threads", 2, "--edited", at["edited"], "--sums",
                       at["rows"]],
        "raw text": ["tokenize", "-m", model, "--mode", "raw", at["text"]],
        "predictions": [*forward, "--emit", "prediction", at["tokens"]],
        "prompts": ["tokenize", "-m", model, "--prompt", "--limit", 3, at["text"]],
        "prompts' rows": [*forward, "--emit", "coef,resid,ffn", at["prompts"]],
        "traced": ["trace-prompts", "-m", model, "--threads", 2, "-k", 1, "--memories", 1, "--memories-table",
                   "-", "-o", "/dev/null", at["prompts' rows"]],
        "triggers merged": ["topk-keys", "--merge", at["triggers"]],
        "agreement": ["agreement-stats", at["projected"]],
        "last layer": ["refinement-stats", "-m", model, "--last-layer", "-", "-o", "/dev/null",
                       "--merge", at["refined"]],
        "composition merged": ["composition-stats", "--merge", at["composed"]],
        "intervention": ["intervention-stats", "--merge", at["intervened"]],
        "perturbation": ["perturbation-stats", at["keyed"]],
        "shallow": ["shallow-stats", at["triggers"]],
        "coefficients": ["coefficient-stats", at["counted"]],
        "sheet": ["annotation-sheet", "-m", model, "--sample", 1, "-t", 2, at["projected"]],
        "patterns": ["pattern-stats", ROOT / "data" / "annotations" / "brown-lm.csv"],
        "shown": ["stream-cat", at["tokens"]],
        "in words": ["stream-cat", "-m", model, "--format", "tsv", at["triggers"]],
        "ranks": ["value-ranks", "-m", model, "--threads", 2, "--ids", "4,5", "--top", 5],
        "edits": ["value-ranks", "-m", model, "--threads", 2, "--ids", "4,5", "--top", 5, "--as-edits", 2],
        "generated": ["generate", "-m", model, "--threads", 2, "--tokens", 5, "The jury said"],
        "info": ["model-info", "--rate", 10, "--threads", 2, model],
        "import": ["import-model", "-d", ROOT / "tests" / "fairseq-tiny" / "dict.txt",
                   "-o", place / "imported", ROOT / "tests" / "fairseq-tiny" / "zip.pt"],
        "report": ["report-pages", "-m", model, "-t", 1, "-o", place / "pages", at["projected"]],
    }
    for name, (tool, *arguments) in steps.items():
        if name in at:
            at[name].write_bytes(ok(bin, tool, *arguments))
    return steps


@pytest.mark.release_only
def test_ends_under_every_limit_of_memory(bin, work):
    """OpenBLAS asked for its buffers for ever, or ended the tool by a signal when it was loaded."""
    assert {step[0] for step in work.values()} == {path.stem for path in (ROOT / "tools").glob("*.c")}
    wanted = {}

    def complaint(case):
        name, limit = case
        tool, *arguments = work[name]
        argv = command(bin, tool, *arguments)
        directory = argv[argv.index("-o") + 1] if tool in ("import-model", "report-pages") else None
        if directory:
            argv[argv.index("-o") + 1] += f"-{limit}"
        status, out, message = under_limit(argv, limit)
        if status == 0:
            return None if directory or out == wanted[name] else f"{name}, {limit} KB: another result"
        if status not in (1, 127) or message.count("\n") != 1 or tool not in message:
            return f"{name}, {limit} KB: {status}, {message!r}"
        return f"{name}, {limit} KB: too little memory: {message}" if limit == LADDER[-1] else None

    for name, (tool, *arguments) in work.items():
        if tool not in ("import-model", "report-pages"):
            wanted[name] = ok(bin, tool, *arguments)
    assert list(filter(None,
                       in_parallel(complaint, [(name, limit) for name in work for limit in LADDER]))) == []


@pytest.mark.release_only
def test_buffers_are_taken_for_every_thread(bin, work):
    """More threads than the limit has room for end the program before it reads anything."""
    tool, *arguments = work["maxima"]
    arguments[arguments.index("--threads") + 1] = 16
    status, out, message = under_limit(command(bin, tool, *arguments), 1_000_000)
    assert (status, out) == (1, b"") and "BLAS" in message and "--threads" in message


def test_allocations_take_no_products():
    """new_array and the like check count * size; a product in either would overflow before that."""
    product = re.compile(r"\b(?:new_array|grow_array|new_aligned|new_floats)\((?:[^;]*?[\w\])])? \* [\w(]")
    found = [f"{path.name}: {line.strip()}" for folder in ("common", "tools")
             for path in sorted((ROOT / folder).glob("*.c")) for line in path.read_text().splitlines()
             if product.search(line) and not re.search(r"[( ]\d \* |[A-Z_]{4,} \* [A-Z_]{4,}", line)]
    assert found == []


# ------------------------------------------------- files cut while they are mapped

def test_files_are_mapped_in_one_place():
    """The one that watches them."""
    assert [path.name
            for path in sorted((ROOT / "common").rglob("*.c")) + sorted((ROOT / "tools").glob("*.c"))
            if "mmap(" in path.read_text()] == ["mapping.c"]


def write_shards(model):
    """Two files and an index in the place of model.safetensors."""
    data = (model / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    names, tensors = [name for name in header if name != "__metadata__"], data[8 + length:]
    weight_map = {}
    for number, part in enumerate((names[:len(names) // 2], names[len(names) // 2:])):
        file, kept, content = f"part-{number}.safetensors", {}, b""
        for name in part:
            begin, end = header[name]["data_offsets"]
            kept[name] = {**header[name], "data_offsets": [len(content), len(content) + end - begin]}
            content += tensors[begin:end]
            weight_map[name] = file
        random_model.write_safetensors(model / file, kept, content)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (model / "model.safetensors").unlink()


SIZES = {"layers": 1, "d_model": 16, "d_ff": 32, "heads": 2, "vocabulary": 2000, "cutoffs": (500,),
         "factor": 2}
FIRST = 300_000  # bytes of the input: zlib hands on no fewer than 2^18 of a pipe


class Held:
    """forward-dump with two threads that has loaded the model, and waits for more of its input."""

    def __init__(self, bin, model, out):
        random_model.write_model(model, **SIZES)
        self.model, self.out = model, out
        text = b"".join(b" ".join(b"w%d" % (4 + (i * k) % 1990) for k in range(1, 21)) + b"\n"
                        for i in range(5000))
        self.tokens = ok(bin, "tokenize", "-m", model, stdin=text)

    def start(self, bin, variables=None, is_ready=None):
        argv = command(bin, "forward-dump", "-m", self.model, "--threads", 2, "--emit", "prediction",
                       "-o", self.out)
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=environment(variables))
        self.feed(self.tokens[:FIRST])
        # The output is made when the model was loaded.
        self.wait_for(is_ready or (lambda: list(self.out.parent.glob(f"{self.out.name}.part-*"))))
        return self

    def feed(self, data):
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def wait_for(self, condition):
        for _ in range(100 * SECONDS):
            if condition():
                return
            time.sleep(0.01)
        pytest.fail("forward-dump does not begin")

    def end(self):
        """Gives it the rest; (status, message)."""
        self.feed(self.tokens[FIRST:])
        _, message = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, message.decode()


@pytest.mark.parametrize("shards", [False, True], ids=["one-file", "shards"])
def test_model_cut_short_while_it_is_used(bin, tmp_path, shards):
    held = Held(bin, tmp_path / "model", tmp_path / "out")
    if shards:
        write_shards(held.model)
    held.start(bin)
    for path in held.model.glob("*.safetensors"):
        os.truncate(path, 4096)
    status, message = held.end()
    assert status == 1 and message.count("\n") == 1, (status, message)
    assert re.fullmatch(rf"forward-dump: {held.model}/[a-z0-9-]+\.safetensors: was cut short, .*\n"
                        if shards else rf"forward-dump: {held.model}/model\.safetensors: was cut short, .*\n",
                        message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def cut_within_the_last_page(path):
    os.truncate(path, path.stat().st_size - 1)


def overwrite(path):
    """As cp does: the same file, of the same length, with other bytes."""
    with open(path, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")


@pytest.mark.parametrize("change", [cut_within_the_last_page, overwrite], ids=lambda change: change.__name__)
def test_model_that_changes_without_a_signal(bin, tmp_path, change):
    """The rest of a mapping's last page reads as zeros, and other bytes as they are: no signal comes of
    it."""
    held = Held(bin, tmp_path / "model", tmp_path / "out").start(bin)
    change(held.model / "model.safetensors")
    status, message = held.end()
    assert status == 1 and message.count("\n") == 1, (status, message)
    assert message.startswith(
        f"forward-dump: {held.model}/model.safetensors: was written to while it was in use")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("changes", [True, False], ids=["changes", "is-left-alone"])
def test_a_pipe_has_no_trailer_when_the_model_changes(bin, tmp_path, changes):
    """The next stage cannot take what it got for all of it."""
    pipe, is_open, received = tmp_path / "pipe", threading.Event(), []
    os.mkfifo(pipe)

    def read():
        with open(pipe, "rb") as file:  # waits until it is opened to be written to
            is_open.set()
            received.append(file.read())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    held = Held(bin, tmp_path / "model", pipe).start(bin, is_ready=is_open.is_set)
    if changes:
        overwrite(held.model / "model.safetensors")
    status, _ = held.end()
    reader.join(SECONDS)
    assert status == int(changes) and received[0]
    assert (b"\xa3end\xc3" in received[0]) == (not changes)


def test_model_that_another_one_takes_the_place_of(bin, tmp_path):
    """A new file under the old name leaves the old one as it was mapped."""
    held = Held(bin, tmp_path / "model", tmp_path / "out").start(bin)
    new = tmp_path / "model" / "new"
    new.write_bytes(b"another")
    new.rename(held.model / "model.safetensors")
    assert held.end() == (0, "")
    assert len(streams.read(tmp_path / "out").records) > 6


def test_bus_error_elsewhere_is_one(bin, tmp_path):
    held = Held(bin, tmp_path / "model", tmp_path / "out").start(bin)
    held.process.send_signal(signal.SIGBUS)
    assert held.end() == (-signal.SIGBUS, "")


def test_model_that_is_left_alone(bin, tmp_path):
    """Else the two above would mean nothing."""
    held = Held(bin, tmp_path / "model", tmp_path / "out").start(bin)
    assert held.end() == (0, "")
    assert len(streams.read(tmp_path / "out").records) > 6


@pytest.mark.release_only
def test_the_blas_library_starts_no_threads(bin, tmp_path):
    """It does when it is loaded, one for each processor, unless it is told not to."""
    held = Held(bin, tmp_path / "model", tmp_path / "out").start(bin, LIBRARY)
    threads = len(os.listdir(f"/proc/{held.process.pid}/task"))
    assert threads <= 2 and held.end() == (0, "")


def test_checkpoint_cut_short_while_it_is_imported(bin, tmp_path):
    """The dictionary, a named pipe, is read when the checkpoint is mapped and its tree was read."""
    checkpoint, dictionary, out = tmp_path / "model.pt", tmp_path / "dict.txt", tmp_path / "out"
    checkpoint.write_bytes(Made(decoder_ffn_embed_dim=4096, decoder_layers=2).save("old"))
    os.mkfifo(dictionary)
    process = subprocess.Popen(command(bin, "import-model", "-d", dictionary, "-o", out, checkpoint),
                               stderr=subprocess.PIPE, env=environment())
    words = "".join(f"w{i} 1\n" for i in range(56))
    with open(dictionary, "w") as pipe:  # waits until it is opened to be read
        os.truncate(checkpoint, 4096)
        pipe.write(words)
    _, message = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, (process.returncode, message)
    assert message.decode().startswith(f"import-model: {checkpoint}: was written to while it was in use")
    assert message.count(b"\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dict.txt", "model.pt"]
