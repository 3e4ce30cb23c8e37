"""What all tests share: running tools, pipelines, and reading their tables.

A tool's directory is called bin here, as is the fixture that gives it.
"""

import csv
import io
import os
import pathlib
import re
import subprocess
import tempfile

import numpy as np

TIMEOUT = 300  # seconds; nothing here should come near it

# A sanitizer's report is told from a tool's own failure by its exit status.
SANITIZER_STATUS = 99
SANITIZERS = {
    "ASAN_OPTIONS": f"exitcode={SANITIZER_STATUS}:detect_leaks=1:allocator_may_return_null=1:"
                    "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": f"exitcode={SANITIZER_STATUS}:print_stacktrace=1:halt_on_error=1",
    "LSAN_OPTIONS": f"exitcode={SANITIZER_STATUS}",
}
REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:")

# A process begins with the memory of the one that starts it; this one, a program for python3 -ISc, is small.
# On standard error: status, bytes.
PEAK = """import os, sys
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(status, 1024 * usage.ru_maxrss, file=sys.stderr)"""


def environment(changes=None):
    """The environment of every tool that the tests run, of what surroundings.py leaves.
    changes: {name: value or None}, None removes a variable."""
    result = {**os.environ, **SANITIZERS}
    for name, value in (changes or {}).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def command(bin, tool, *args):
    """argv of a tool; one with a slash in it is taken as it is."""
    tool = str(tool)
    return [tool if "/" in tool else str(pathlib.Path(bin) / tool), *map(str, args)]


def check_sanitizers(status, stderr, what):
    assert status != SANITIZER_STATUS and not REPORT.search(stderr), f"{what}:\n{stderr}"


def run(bin, tool, *args, stdin=b"", env=None, cwd=None):
    """Runs bin/tool; the completed process with bytes.  A sanitizer's report is
    an assertion's failure whatever the test expects."""
    argv = command(bin, tool, *args)
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=TIMEOUT, check=False,
                          env=environment(env), cwd=cwd)
    check_sanitizers(done.returncode, done.stderr.decode(errors="replace"), " ".join(argv))
    return done


def ok(bin, tool, *args, **options):
    """run that must succeed; its standard output, as bytes."""
    done = run(bin, tool, *args, **options)
    message = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{tool}: status {done.returncode}: {message}"
    return done.stdout


def fails(bin, tool, *args, status=1, says="", **options):
    """run that must fail: with this status and one line on standard error that
    begins with the tool's name and contains says.  Returns the line."""
    done = run(bin, tool, *args, **options)
    message = done.stderr.decode(errors="replace")
    assert done.returncode == status, f"{tool}: status {done.returncode}, not {status}: {message}"
    assert message.startswith(pathlib.Path(str(tool)).name + ": "), message
    assert message.count("\n") == 1 and message.endswith("\n"), f"not one line: {message!r}"
    assert says in message, f"{says!r} is not in {message!r}"
    return message


def pipeline(bin, *stages, stdin=b"", env=None):
    """Runs stages, each [tool, argument...], joined by pipes; all must succeed.
    The last one's standard output, as bytes."""
    running, errors = [], []
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as last:
        first.write(stdin)
        first.seek(0)
        source = first
        for i, stage in enumerate(stages):
            error = tempfile.TemporaryFile()
            errors.append(error)
            process = subprocess.Popen(
                command(bin, *stage), stdin=source, stderr=error, env=environment(env),
                stdout=last if i == len(stages) - 1 else subprocess.PIPE)
            if source is not first:
                source.close()  # so that a stage which dies ends the one before
            source = process.stdout
            running.append(process)
        for stage, process, error in zip(stages, running, errors):
            status = process.wait(timeout=TIMEOUT)
            error.seek(0)
            message = error.read().decode(errors="replace")
            error.close()
            check_sanitizers(status, message, stage[0])
            assert status == 0, f"{stage[0]}: status {status}: {message}"
        last.seek(0)
        return last.read()


def table(source):
    """CSV, a path or bytes -> [{column: text}], texts as they were before ffkv(7)'s rule for spreadsheets."""
    return [{name: re.sub(r"^'('*[=+@\t\r\n-])", r"\1", field) for name, field in row.items()}
            for row in raw_table(source)]


def raw_table(source):
    """The same with fields as they are in the file."""
    text = source.decode() if isinstance(source, bytes) else pathlib.Path(source).read_text()
    return list(csv.DictReader(io.StringIO(text)))


# ------------------------------------------------- text and what comes of it

def text(sentences):
    """Token ids -> text for the random models, whose word w<id> is id; 3 is a
    word that they do not know."""
    return "".join(" ".join("other" if token == 3 else f"w{token}" for token in tokens) + "\n"
                   for tokens in sentences).encode()


def random_sentences(count, vocabulary, seed=1, longest=20):
    """Token ids, some of them unknown words, in sentences of 1 to longest."""
    random = np.random.default_rng(seed)
    return [random.integers(3, vocabulary, random.integers(1, longest + 1)).tolist()
            for _ in range(count)]


def sentences_of(stream):
    """Of a tokens or activations stream, each sentence's tokens."""
    return [tokens.tolist() for record in stream.records if "tok" in record
            for tokens in np.split(record["tok"], np.cumsum(record["len"])[:-1])]


def batches_of(stream):
    """Of an activations stream: [(tokens record, {layer: record}, prediction or None)]."""
    batches = []
    for record in stream.records:
        if "tok" in record:
            batches.append((record, {}, None))
        elif "layer" in record:
            batches[-1][1][record["layer"]] = record
        else:
            batches[-1] = (*batches[-1][:2], record)
    return batches


def by_sentence(stream, name):
    """Of an activations stream one array for each sentence: of layers x rows x
    columns, of layers x cells for max and argmax, of rows for predictions."""
    arrays = []
    for batch, layers, prediction in batches_of(stream):
        if name in ("max", "argmax"):
            arrays += list(np.stack([layers[l][name] for l in sorted(layers)], axis=1))
            continue
        rows = [batch["row_sentence"] == s for s in range(len(batch["len"]))]
        if prediction and name in prediction:
            arrays += [prediction[name][here] for here in rows]
        else:
            values = np.stack([layers[l][name] for l in sorted(layers)])
            arrays += [values[:, here] for here in rows]
    return arrays


def assert_close(found, expected, tolerance=1e-4):
    """Differences of at most tolerance times the largest expected number, in
    each matrix (the last two axes) by itself."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    if found.size == 0:
        return
    axes = tuple(range(max(0, found.ndim - 2), found.ndim))
    error = np.abs(found - expected).max(axis=axes) / np.abs(expected).max(axis=axes).clip(1e-30)
    assert error.max() <= tolerance, f"relative error {error.max():.3g}"


# --------------------------------------------------- rows of activations

def rows_of(stream):
    """Of an activations stream, its rows at positions that count: arrays
    sentence, position, next (rows), a list prefix (rows) of tokens, and of what
    there is of coef, resid and ffn (layers, rows, columns)."""
    found = {"sentence": [], "position": [], "next": [], "prefix": []}
    arrays = {}
    for batch, layers, _ in batches_of(stream):
        numbers = batch["sentence"] if "sentence" in batch else batch["id"] + np.arange(len(batch["len"]))
        texts = np.split(batch["tok"], np.cumsum(batch["len"])[:-1])
        counts = batch["row_position"] >= stream.header["first"]
        for s, j in zip(batch["row_sentence"][counts].tolist(), batch["row_position"][counts].tolist()):
            found["sentence"].append(int(numbers[s]))
            found["position"].append(j)
            found["next"].append(int(texts[s][j]))
            found["prefix"].append(texts[s][:j].tolist())
        for name in ("coef", "resid", "ffn"):
            if any(name in record for record in layers.values()):
                arrays.setdefault(name,
                                  []).append(np.stack([layers[l][name][counts] for l in sorted(layers)]))
    for name in "sentence", "position", "next":
        found[name] = np.array(found[name], np.int64)
    return {**found, **{name: np.concatenate(parts, axis=1) for name, parts in arrays.items()}}


def assert_table(source, expected, tolerance=1e-5, low=()):
    """A CSV table has the rows expected, dicts of numbers and texts; NaN is an
    empty field.  Columns in low may be too low by 0.1 %, as quantiles of binned
    probabilities are."""
    found = table(source)
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected):
        assert list(row) == list(wanted)
        for name, value in wanted.items():
            where = f"{name} of {row}"
            if isinstance(value, (str, int)):
                assert row[name] == str(value), where
            elif np.isnan(value):
                assert row[name] == "", where
            else:
                below = abs(value) * (tolerance + (name in low) / 1024) + 1e-9
                assert value - below <= float(row[name]) <= value + abs(value) * tolerance + 1e-9, \
                    (where, value)
