"""Damaged, false and hostile streams: every tool that reads one refuses it."""

import copy
import gzip
import json
import random
import struct
import subprocess
import sys
import types
import zlib

import msgpack
import numpy as np
import pytest

import random_model
import streams
from damage import MEMORY, Case, Reader, bounded, check
from helpers import TIMEOUT, command, environment, fails, ok, run

SIZES = {"layers": 2, "d_model": 8, "d_ff": 4, "heads": 2, "vocabulary": 12, "cutoffs": (5, 8), "factor": 2}
TOKENS = 12  # of the vocabulary
TOP = 3      # triggers a key
TEXT = "".join(f"w{4 + i % 8} w{4 + 3 * i % 8} w{4 + i * i % 8} w{4 + i // 2 % 8}\n" for i in range(6))
TEXT += "w5\nw4 other w6\n"

READERS = [
    "stream-cat", "stream-cat --model", "stream-cat --cells", "forward-dump", "topk-keys",
    "topk-keys --prefixes every", "topk-keys --merge", "project-values", "agreement-stats",
    "perturb-triggers", "forward-dump --emit key", "perturbation-stats", "shallow-stats", "coefficient-stats",
    "composition-stats", "composition-stats --values", "composition-stats --merge",
    "refinement-stats", "refinement-stats --merge",
    "intervention-stats", "intervention-stats --edited", "intervention-stats --merge", "annotation-sheet",
    "trace-prompts", "trace-prompts --triggers"
]


class OptionReader(Reader):
    """A tool as a reader of what an option names: the damaged stream is that, the input a good one."""

    def __init__(self, name, tool, arguments, good, option, rows):
        super().__init__(name, tool, arguments, good)
        self.option, self.rows = option, rows

    def argv(self, path, out):
        return [*self.arguments, self.option, path, "-o", f"{out}-o", self.rows]


@pytest.fixture(scope="module")
def made(bin, tmp_path_factory):
    """A small model, a stream of each kind made with it, and the tools that read them."""
    place = tmp_path_factory.mktemp("made")
    model, other = place / "model", place / "other"
    random_model.write_model(model, **SIZES)
    random_model.write_model(other, seed=2, **SIZES)
    (other / "dict.txt").write_text("".join(f"x{i} 1\n" for i in range(4, TOKENS)))

    def chain(model, text):
        got = types.SimpleNamespace(model=model)
        got.tokens = ok(bin, "tokenize", "--model", model, "--batch", 12, stdin=text.encode())
        forward = "forward-dump", "--model", model, "--threads", 2
        got.maxima = ok(bin, *forward, stdin=got.tokens)
        got.rows = ok(bin, *forward, "--emit", "coef", stdin=got.tokens)
        got.triggers = ok(bin, "topk-keys", "-t", TOP, stdin=got.maxima)
        got.counted = ok(bin, "topk-keys", "-t", TOP,
                         stdin=ok(bin, *forward, "--emit", "max,magnitudes", stdin=got.tokens))
        got.projected = ok(bin, "project-values", "--model", model, "-k", 3, "--bottoms", 2,
                           stdin=got.triggers)
        got.values = ok(bin, "project-values", "--model", model, "-k", 3, "--all")
        got.changed = ok(bin, "perturb-triggers", "--change", "first,last,random,replace-last",
                         stdin=got.triggers)
        got.keyed = ok(bin, *forward, "--emit", "key", stdin=got.changed)
        got.whole = ok(bin, *forward, "--emit", "coef,resid,ffn", stdin=got.tokens)
        got.values_path = place / f"values-{model.name}"
        got.values_path.write_bytes(got.values)
        got.rows_path = place / f"rows-{model.name}"
        got.rows_path.write_bytes(got.whole)
        got.composing = ["--model", model, "--threads", 2, "--values", got.values_path]
        got.composed = ok(bin, "composition-stats", *got.composing, "--sums", stdin=got.whole)
        edited = place / f"edited-{model.name}"
        edited.write_bytes(ok(bin, *forward, "--emit", "coef,resid,ffn", "--edit", "2:1=+0.5",
                              stdin=got.tokens))
        got.edited_path, got.edited = edited, edited.read_bytes()
        got.intervening = ["--model", model, "--threads", 2]
        got.comparing = [*got.intervening, "--edited", edited]
        got.intervened = ok(bin, "intervention-stats", *got.comparing, "--ids", "5", "--sums",
                            stdin=got.whole)
        got.traced = ok(bin, *forward, "--emit", "coef,resid,ffn", stdin=ok(
            bin, "tokenize", "--model", model, "--batch", 12, "--prompt", stdin=text.encode()))
        got.traced_path = place / f"traced-{model.name}"
        got.traced_path.write_bytes(got.traced)
        got.refined = ok(bin, "refinement-stats", "--model", model, "--sums", stdin=got.whole)
        return got

    got = chain(model, TEXT)
    got.other = chain(other, TEXT.replace("w", "x"))
    got.readers = {
        reader.name: reader for reader in [
            Reader("stream-cat", "stream-cat", [], got.tokens),
            Reader("stream-cat --model", "stream-cat", ["--model", model], got.projected),
            Reader("stream-cat --cells", "stream-cat", ["--cells", "1-2"], got.maxima),
            Reader("forward-dump", "forward-dump",
                   ["--model", model, "--threads", 2, "--emit", "max,coef,prediction"], got.tokens),
            Reader("topk-keys", "topk-keys", ["-t", TOP], got.maxima),
            Reader("topk-keys --prefixes every", "topk-keys", ["-t", TOP, "--prefixes", "every"], got.rows),
            Reader("topk-keys --merge", "topk-keys", ["--merge"], got.triggers),
            Reader("project-values", "project-values", ["--model", model, "--threads", 2, "-k", 3],
                   got.triggers),
            Reader("agreement-stats", "agreement-stats", [], got.projected, outputs=("-o", "--rank",
                                                                                     "--confidence")),
            Reader("perturb-triggers", "perturb-triggers", [], got.triggers),
            Reader("forward-dump --emit key", "forward-dump",
                   ["--model", model, "--threads", 2, "--emit", "key"], got.changed),
            Reader("perturbation-stats", "perturbation-stats", [], got.keyed),
            Reader("shallow-stats", "shallow-stats", [], got.triggers),
            Reader("coefficient-stats", "coefficient-stats", [], got.counted, outputs=("-o", "--keys")),
            Reader("composition-stats", "composition-stats", got.composing, got.whole, outputs=("-o",
                                                                                                "--active")),
            OptionReader("composition-stats --values", "composition-stats", ["--model", model], got.values,
                         "--values", got.rows_path),
            Reader("composition-stats --merge", "composition-stats", ["--merge"], got.composed, outputs=(
                "-o", "--active")),
            Reader("refinement-stats", "refinement-stats", ["--model", model, "--threads", 2], got.whole,
                   outputs=("-o", "--cases", "--last-layer", "--settled", "--perplexity")),
            Reader("refinement-stats --merge", "refinement-stats", ["--merge", "--model", model], got.refined,
                   outputs=("-o", "--cases", "--last-layer", "--settled", "--perplexity")),
            Reader("intervention-stats", "intervention-stats", got.comparing, got.whole, outputs=(
                "-o", "--tokens", "--sentences"), beside=got.edited_path),
            OptionReader("intervention-stats --edited", "intervention-stats", got.intervening, got.edited,
                         "--edited", got.rows_path),
            Reader("intervention-stats --merge", "intervention-stats", ["--merge"], got.intervened, outputs=(
                "-o", "--tokens", "--sentences")),
            Reader("annotation-sheet", "annotation-sheet", ["--model", model], got.projected),
            Reader("trace-prompts", "trace-prompts", ["--model", model, "--threads", 2, "-k", 3], got.traced,
                   outputs=("-o", "--memories-table")),
            OptionReader("trace-prompts --triggers", "trace-prompts",
                         ["--model", model, "--threads", 2, "-k", 3, "--memories-table", "/dev/null"],
                         got.triggers, "--triggers", got.traced_path),
        ]
    }
    return got


@pytest.fixture(params=READERS)
def reader(request, made):
    return made.readers[request.param]


# ------------------------------------------------------- damage on the way

def places(data, count, seed):
    """Bytes to cut at or to flip: around the ends of objects, and others at random."""
    edges = {item.end + shift for item in streams.items(data) for shift in (-1, 0, 1)}
    some = random.Random(seed).sample(range(len(data)), min(count, len(data)))
    return sorted(place for place in edges | {0, 1} | set(some) if place < len(data))


def cut(data, at):
    return Case(f"cut at {at} of {len(data)}", data[:at], "empty" if at == 0 else "")


def flip(data, at, bit):
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return Case(f"bit {bit} of byte {at} flipped", bytes(damaged))


def test_cut(bin, reader, tmp_path):
    check(bin, reader, [cut(reader.good, at) for at in places(reader.good, 40, 1)], tmp_path)


def test_cut_at_every_byte(bin, made, tmp_path):
    reader = made.readers["stream-cat"]
    check(bin, reader, [cut(reader.good, at) for at in range(len(reader.good))], tmp_path)


def test_flipped_bit(bin, reader, tmp_path):
    bits = random.Random(2)
    check(bin, reader, [flip(reader.good, at, bits.randrange(8)) for at in places(reader.good, 60, 3)],
          tmp_path)


def test_flipped_bit_in_every_byte(bin, made, tmp_path):
    reader = made.readers["stream-cat"]
    check(bin, reader, [flip(reader.good, at, at % 8) for at in range(len(reader.good))], tmp_path)


# Flags, time and operating system: a bit there may mean nothing to a reader.
GZIP_FREE = range(3, 10)


def flip_gzip(data, at, bit):
    """Some bits say the same in another way, such as from which of two equal places to copy;
    Python's gzip tells which."""
    case = flip(data, at, bit)
    try:
        case.harmless = at in GZIP_FREE or gzip.decompress(case.data) == gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        case.harmless = at in GZIP_FREE
    return case


def test_cut_gzip(bin, reader, tmp_path):
    data = gzip.compress(reader.good, mtime=0)
    some = random.Random(4).sample(range(len(data)), 20)
    check(bin, reader,
          [cut(data, at) for at in sorted({*some, 1, 2, 9, 10, 11, len(data) - 8, len(data) - 1})],
          tmp_path)


def test_cut_gzip_at_every_byte(bin, made, tmp_path):
    reader = made.readers["stream-cat"]
    data = gzip.compress(reader.good, mtime=0)
    check(bin, reader, [cut(data, at) for at in range(len(data))], tmp_path)


def test_flipped_bit_in_gzip(bin, reader, tmp_path):
    data, bits = gzip.compress(reader.good, mtime=0), random.Random(5)
    some = {*range(10), *range(len(data) - 8, len(data)), *random.Random(6).sample(range(len(data)), 20)}
    check(bin, reader, [flip_gzip(data, at, bits.randrange(8)) for at in sorted(some)], tmp_path)


def test_every_bit_of_gzip_head_and_tail(bin, made, tmp_path):
    reader = made.readers["stream-cat"]
    data = gzip.compress(reader.good, mtime=0)
    ends = [*range(10), *range(len(data) - 8, len(data))]
    check(bin, reader, [flip_gzip(data, at, bit) for at in ends for bit in range(8)], tmp_path)


def test_gzip_is_taken_as_the_plain_stream(bin, reader, tmp_path):
    """Else the refusals of damaged gzip would mean nothing."""
    results = []
    for name, data in ("plain", reader.good), ("gzip", gzip.compress(reader.good)):
        path = tmp_path / name
        path.write_bytes(data)
        done, outputs = reader.result(bin, path, tmp_path / f"{name}.out")
        assert done.returncode == 0 and all(outputs.values()), done.stderr
        results.append(outputs)
    assert results[0] == results[1]


def test_garbage(bin, reader, tmp_path):
    draw = random.Random(7)
    header = reader.good[:streams.items(reader.good)[0].end]
    cases = [Case("text", b"The Fulton County Grand Jury said Friday\n"), Case("zeros", bytes(100000)),
             Case("ones", b"\xff" * 100000), Case("JSON", b'{"format": "ffkv"}\n')]
    for i in range(30):
        noise = draw.randbytes(1 << draw.randrange(14))
        cases += [Case(f"noise {i}", noise), Case(f"noise {i} behind the header", header + noise)]
    check(bin, reader, cases, tmp_path)


def test_standard_input_is_named(bin, made):
    for reader in made.readers.values():
        if isinstance(reader, OptionReader):
            continue
        where = ["-"] if reader.name.endswith(" --merge") else []
        message = fails(bin, reader.tool, *reader.arguments, *where, stdin=b"", says="empty")
        assert message.startswith(f"{reader.tool}: standard input: ")


# ----------------------------------------- framing: the objects of a stream

def parts(data):
    """Header and records as bytes, and the trailer's counts."""
    objects = streams.items(data)
    raw = [data[item.start:item.end] for item in objects]
    counts = {name: objects[-1].value[name]
              for name in streams.COUNTS + streams.COVERAGE if name in objects[-1].value}
    return raw[0], raw[1:-1], counts


def joined(header, records, counts=None):
    """The stream of these packed objects, with a right trailer."""
    records = list(records)
    return streams.finish(b"".join([header, *records]), len(records), counts)


def with_members(packed_map, *members):
    """A packed map with more members, each a pair of packed objects; names may repeat."""
    size = len(msgpack.unpackb(packed_map))
    begin = 1 if packed_map[0] < 0x90 else 3
    return b"\xde" + struct.pack(">H", size + len(members)) + packed_map[begin:] + b"".join(
        name + value for name, value in members)


X = streams.pack("x")
NULL = b"\xc0"


def lies():
    """What claims to go on for longer than it can: (label, bytes, message)."""
    most, cut_off = struct.pack(">I", 0xFFFFFFFF), "ends within an object"
    yield "binary of 4 GiB", b"\xc6" + most, "claims more than"
    yield "text of 4 GiB", b"\xdb" + most, "claims more than"
    yield "array of 2^32 elements", b"\xdd" + most, "claims more than"
    yield "map of 2^32 elements", b"\xdf" + most, "claims more than"
    yield "array of arrays", b"\xdc\x00\x20" + (b"\xdc\xff\xff" + NULL * 65535) * 32, "claims more than"
    yield "binary of nearly 1 GiB", b"\xc6\x3f\xff\x00\x00", "claims more than"
    yield "binary of 4 MiB", b"\xc6\x00\x40\x00\x00", cut_off
    yield "text of 4 MiB", b"\xdb\x00\x40\x00\x00", "claims more than"
    yield "array of 2^20 elements", b"\xdd\x00\x0f\xff\x00" + NULL * 1000, cut_off
    yield "map of 2^19 elements", b"\xdf\x00\x07\xff\x00" + NULL * 1000, cut_off


def test_lengths_that_lie(bin, reader, tmp_path):
    header, records, _ = parts(reader.good)
    cases = []
    for label, lie, says in lies():
        cases += [
            Case(f"{label} for a header", lie, says),
            Case(f"{label} in the header", with_members(header, (X, lie)), says),
            Case(f"{label} for a record", header + lie, says),
            Case(f"{label} in a record", header + with_members(records[0], (X, lie)), says),
            Case(f"{label} before zeros", header + with_members(records[0], (X, lie)) + bytes(1 << 19)),
        ]
    check(bin, reader, cases, tmp_path, memory=MEMORY)


# A program's peak has in it what the process that started it had, so a small one starts it.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def peak(bin, tool, *args):
    """(exit status, message, bytes of memory that the tool had at most)."""
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command(bin, tool, *args)], capture_output=True,
                          text=True, env=environment(), timeout=TIMEOUT, check=True)
    status, memory = map(int, done.stdout.split())
    return status, done.stderr, memory


@pytest.mark.release_only
def test_little_gzip_that_is_much_takes_little_memory(bin, reader, tmp_path):
    """400 MB of zeros in 0.4 MB: more than the header says that a record can be, or than any header is."""
    count = 400 << 20
    zeros, packer = b"", zlib.compressobj(1, wbits=31)
    for _ in range(count >> 20):
        zeros += packer.compress(bytes(1 << 20))
    zeros += packer.flush()
    header, records, _ = parts(reader.good)
    long = b"\xc6" + struct.pack(">I", count)
    array = next(iter(streams.items(reader.good)[0].value["arrays"]))
    name = next((name for name, value in streams.items(reader.good)[1].value.items()
                 if isinstance(value, bytes)), array)
    for label, start, says in [
            ("a record", header + with_members(records[0], (X, long)),
             "which is what the header's arrays can have"),
            ("an array", header + b"\x81" + streams.pack(name) + long,
             "which is what the header's arrays can have"),
            ("a header's array", with_members(header, (X, long)), "claims more than"),
            ("a header's string", with_members(header, (X, b"\xdb" + struct.pack(">I", count))),
             "a string claims more")]:
        path = tmp_path / "input"
        path.write_bytes(gzip.compress(start, 1) + zeros)
        argv = reader.argv(path, tmp_path / "output")
        status, message, memory = peak(bin, reader.tool, *argv)
        if reader.name == "refinement-stats --merge" and header in start:
            continue  # prefixes of changed predictions: 2^16 tokens at each of 2^16 positions are possible
        assert (status, says in message) == (1, True), (label, message)
        assert memory < 100 << 20, (label, memory)


@pytest.mark.parametrize("name", ["composition-stats", "refinement-stats", "intervention-stats", "topk-keys",
                                  "project-values", "forward-dump", "composition-stats --merge"])
def test_no_header_goes_out_before_a_record_was_read(bin, made, tmp_path, name):
    """To standard output, which cannot be taken back: its reader has nothing then, not half a stream."""
    reader = made.readers[name]
    header, records, _ = parts(reader.good)
    more = ["--sums"] if name.endswith("-stats") else []
    (tmp_path / "cut").write_bytes(header + records[0][:-1])
    done = run(bin, reader.tool, *reader.arguments, *more, tmp_path / "cut")
    assert (done.returncode, done.stdout) == (1, b""), done.stderr


def test_records_as_large_as_the_header_says_are_taken(bin, made):
    """Sentences of 65535 tokens are, where a batch has 12 positions."""
    header, _, trailer = parts(made.tokens)
    tokens = np.full(65535, 5, "<u4")
    record = streams.pack({"id": 0, "len": np.array([65535], "<u4").tobytes(), "tok": tokens.tobytes()})
    items = streams.items(made.tokens)
    end = {**items[-1].value, "records": 1, "sentences": 1, "tokens": 65535, "crc": bytes(4)}
    data = header + record + streams.pack(end)[:-4]
    assert b'"tok":[5,5' in ok(bin, "stream-cat", stdin=data + streams.crc(data))


@pytest.mark.release_only
def test_memory_follows_the_text(bin, made, tmp_path):
    """Not the number of triggers that a key may have, nor the positions that a batch may have."""
    path, other = tmp_path / "maxima", tmp_path / "tokens"
    path.write_bytes(made.maxima)
    most = 1 << 24
    limited = bounded(bin, "topk-keys", "--top", most, path, memory=300 << 20)
    many, few = (streams.read(out) for out in (ok(bin, *limited), ok(bin, "topk-keys", "--top", 1000, path)))
    assert many.header["top"] == most and len(many.records) == len(few.records)
    for a, b in zip(many.records, few.records):
        assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
    other.write_bytes(ok(bin, "tokenize", "--model", made.model, "--batch", 1 << 20, stdin=TEXT.encode()))
    status, message, memory = peak(bin, "forward-dump", "--model", made.model, "--threads", 2, other)
    assert status == 0, message
    assert memory < 100 << 20


def test_depth(bin, reader, tmp_path):
    header, records, counts = parts(reader.good)
    cases = []
    for depth in 16, 40, 3000, 1 << 20:
        for nested in b"\x91" * depth + NULL, (b"\x81" + X) * min(depth, 1 << 18) + NULL:
            deep = with_members(header, (X, nested)), with_members(records[0], (X, nested))
            cases += [Case(f"header {depth} deep", joined(deep[0], records, counts), "levels"),
                      Case(f"record {depth} deep", joined(header, [deep[1]] + records[1:], counts), "levels"),
                      Case(f"{depth} deep for a header", nested, "levels")]
    check(bin, reader, cases, tmp_path, memory=MEMORY)


def test_depth_that_is_allowed(bin, made):
    header, records, counts = parts(made.tokens)
    deep = with_members(records[0], (X, b"\x91" * 13 + NULL))
    assert b"[[[[[[[[[[[[[null]" in ok(bin, "stream-cat", stdin=joined(header, [deep] + records[1:], counts))


@pytest.mark.parametrize("label, item", [
    ("fixed extension", b"\xd4\x01\x00"), ("extension", b"\xc7\x01\x01\x00"), ("unused byte", b"\xc1"),
    ("time", b"\xd6\xff\x00\x00\x00\x00")])
def test_extension(bin, reader, tmp_path, label, item):
    header, records, counts = parts(reader.good)
    says = f"byte {item[0]:#04x}"
    check(bin, reader, [
        Case(f"{label} for a header", item, says),
        Case(f"{label} for a record", joined(header, [item, *records], counts), says),
        Case(f"{label} in the header", joined(with_members(header, (X, item)), records, counts), says),
        Case(f"{label} in a record",
             joined(header, [with_members(records[0], (X, item)), *records[1:]], counts), says)], tmp_path)


def test_objects_that_are_no_maps(bin, reader, tmp_path):
    header, records, counts = parts(reader.good)
    cases = []
    for value in None, True, 0, -1, 1 << 40, 1.5, "text", b"bytes", [], [{}]:
        packed = streams.pack(value)
        cases += [Case(f"{value!r} for a header", joined(packed, records, counts), "a map is expected"),
                  Case(f"{value!r} for a record", joined(header, [packed, *records], counts),
                       "a map is expected"),
                  Case(f"{value!r} for a trailer", header + b"".join(records) + packed, "a map is expected")]
    check(bin, reader, cases, tmp_path)


def test_names_of_members(bin, reader, tmp_path):
    header, records, counts = parts(reader.good)
    first = next(iter(msgpack.unpackb(records[0])))
    cases = []
    for label, member, says in [
            ("twice", (streams.pack("kind"), streams.pack("tokens")), "twice"),
            ("number", (b"\x07", NULL), "not a string"), ("null", (NULL, NULL), "not a string"),
            ("array", (b"\x90", NULL), "not a string"),
            ("binary", (streams.pack(b"x"), NULL), "not a string"),
            ("not UTF-8", (b"\xa2\xc3\x28", NULL), "UTF-8"), ("NUL", (b"\xa2\x00x", NULL), "NUL")]:
        cases.append(Case(f"{label} in the header", joined(with_members(header, member), records, counts),
                          says))
        if label == "twice":
            member = streams.pack(first), NULL
        if label in ("twice", "number", "null", "array", "binary") \
                or reader.name in ("stream-cat", "stream-cat --cells"):
            damaged = with_members(records[0], member)
            cases.append(Case(f"{label} in a record", joined(header, [damaged, *records[1:]], counts), says))
    check(bin, reader, cases, tmp_path)


def test_values_that_json_does_not_have(bin, reader, tmp_path):
    header, records, counts = parts(reader.good)
    cases = [
        Case(label, joined(with_members(header, (X, value)), records, counts), says)
        for label, value, says in [
            ("text that is not UTF-8", b"\xa4ab\xff\xfe", "UTF-8"),
            ("surrogate", b"\xa3\xed\xa0\x80", "UTF-8"),
            ("overlong", b"\xa2\xc0\xaf", "UTF-8"), ("2^63", streams.pack(1 << 63), "out of range"),
            ("NaN", streams.pack(float("nan")), "out of range"),
            ("infinity", streams.pack(float("inf")), "out of range"),
            ("binary", streams.pack(b"1234"), "declared type")]]
    check(bin, reader, cases, tmp_path)


def test_header(bin, reader, tmp_path):
    header, records, counts = parts(reader.good)
    cases = []
    for changes, says in [
            ({"format": "kvff"}, "format"), ({"format": None}, "format"), ({"format": 1}, "format"),
            ({"version": 3}, "newer"), ({"version": 1 << 40}, "newer"), ({"version": 0}, "version"),
            ({"version": -1}, "version"), ({"version": "1"}, "version"), ({"kind": None}, "kind"),
            ({"kind": 3}, "kind"), ({"arrays": None}, "arrays"), ({"arrays": []}, "arrays"),
            ({"history": None}, "history"), ({"history": {}}, "history")]:
        false = {**msgpack.unpackb(header), **changes}
        absent = {name: value for name, value in false.items() if value is not None}
        cases += [Case(f"header with {changes}", joined(streams.pack(false), records, counts), says),
                  Case(f"header without {changes}", joined(streams.pack(absent), records, counts), says)]
    cases.append(Case("empty map", joined(b"\x80", records, counts), "format"))
    check(bin, reader, cases, tmp_path)


def test_kind(bin, made, reader, tmp_path):
    if reader.tool == "stream-cat":
        for data in (made.tokens, made.maxima, made.rows, made.triggers, made.projected, made.values,
                     made.changed, made.keyed, made.composed, made.refined, made.intervened):
            ok(bin, "stream-cat", stdin=data)
        return
    kind = streams.items(reader.good)[0].value["kind"]
    others = [data for data in (made.tokens, made.maxima, made.triggers, made.values, made.composed,
                                made.refined, made.intervened)
              if streams.items(data)[0].value["kind"] != kind]
    assert len(others) == 6
    check(bin, reader, [Case(f"{data[:60]}", data, f"where '{kind}' is needed") for data in others], tmp_path)


def false_trailer(body, count, counts, **other):
    """body and a trailer that says other things, with a right CRC-32 unless that is one of them."""
    trailer = {"end": True, "records": count, **counts, "crc": bytes(4), **other}
    trailer = {name: value for name, value in trailer.items() if value is not None}
    if "crc" in other or "crc" not in trailer:
        return body + streams.pack(trailer)
    data = body + streams.pack(trailer)[:-4]
    return data + streams.crc(data)


def test_trailer(bin, reader, tmp_path):
    header, records, counts = parts(reader.good)
    good = joined(header, records, counts)
    assert good == reader.good
    body = header + b"".join(records)
    trailer, count = good[len(body):], len(records)
    cases = [Case(f"trailer with {other}", false_trailer(body, count, counts, **other), says)
             for other, says in [
        ({"records": count + 1}, "number of records"), ({"records": count - 1}, "number of records"),
        ({"records": str(count)}, "number of records"), ({"records": None}, "number of records"),
        ({"records": -count}, "number of records"), ({"end": False}, "complete"), ({"end": 1}, "complete"),
        ({"end": None}, ""), ({"sentences": -1}, "sentences"), ({"tokens": "many"}, "tokens"),
        ({"tokens": (1 << 48) + 1}, "tokens"), ({"skipped": (1 << 63) - 1}, "skipped"),
        ({"unknown": 1 << 63}, "out of range"),
        ({"unknown": 0.5}, "unknown"), ({"crc": 0}, "CRC-32"), ({"crc": bytes(3)}, "CRC-32"),
        ({"crc": bytes(4)}, "or a stage of one's own changed it and did not compute the checksum anew"),
        ({"crc": bytes(8)}, "CRC-32"), ({"crc": "abcd"}, "CRC-32"),
        ({"crc": None}, "CRC-32")]]
    cases += [Case(label, data, says) for label, data, says in [
        ("no trailer", body, "without a trailer"),
        ("header only", header, "without a trailer"),
        ("no header", good[len(header):], "format"),
        ("trailer only", trailer, "format"),
        ("one record less", header + b"".join(records[:-1]) + trailer, "checksum"),
        ("one record twice", header + records[0] + b"".join(records) + trailer, ""),
        ("records in another order", header + b"".join(records[::-1]) + trailer, ""),
        ("trailer without a CRC-32", body + streams.pack({"end": True, "records": count, **counts}),
         "CRC-32"),
        ("shortest trailer", body + streams.pack({"end": True}), "CRC-32"),
        ("something behind the CRC-32", false_trailer(body, count, counts, crc=bytes(4), more=0), "CRC-32"),
        ("trailer twice", good + trailer, "follows the trailer"),
        ("record behind the trailer", good + records[0], "follows the trailer"),
        ("header behind the trailer", good + header, "follows the trailer"),
        ("stream twice", good + good, "follows the trailer"),
        ("gzip twice", gzip.compress(good) * 2, "follows the trailer"),
        ("zero byte behind", good + b"\0", ""),
        ("line end behind", good + b"\n", ""),
        ("many bytes behind", good + NULL * 100000, ""),
        ("unused byte behind", good + b"\xc1", ""),
        ("half a record behind", good + records[0][:-1], ""),
    ]]
    check(bin, reader, cases, tmp_path)


def test_record_that_is_damaged_within(bin, made, tmp_path):
    """stream-cat knows no kinds, but what the header declares."""
    header, records, counts = parts(made.tokens)
    cases = []
    for name, value, says in [("x", b"1234", "no declared type"), ("len", b"12345", "whole number"),
                              ("tok", b"1", "whole number")]:
        record = {**msgpack.unpackb(records[0]), name: value}
        cases.append(Case(f"{name} of {len(value)} bytes",
                          joined(header, [streams.pack(record), *records[1:]], counts), says))
    for declared in {"type": "float16", "shape": ["x"]}, {"shape": ["x"]}, "uint32", None:
        false = msgpack.unpackb(header)
        false["arrays"]["tok"] = declared
        cases.append(Case(f"tok declared as {declared}", joined(streams.pack(false), records, counts),
                          "no declared type"))
    check(bin, made.readers["stream-cat"], cases, tmp_path)


def test_64_bit_numbers_are_printed_as_they_are(bin, made):
    """Recomputation: NumPy's numbers, from arrays up to 2^64 - 1, and from members."""
    def printed(data):
        return [json.loads(line) for line in ok(bin, "stream-cat", stdin=data).splitlines()][1:-1]

    stream = streams.read(made.refined)
    sums = [record[name].tolist() for record in stream.records for name in record if name.endswith("_sum")]
    assert any(limb >= 1 << 63 for limbs in sums for limb in limbs)
    found = printed(made.refined)
    assert [record[name] for record in found for name in record if name.endswith("_sum")] == sums
    numbers = [0, 1, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    made_up = printed(change(made.tokens, lambda header, records: (
        header["arrays"].update(x={"type": "uint64", "shape": ["x"]}),
        records[0].update(x=np.array(numbers, "<u8").tobytes(), y={"z": numbers, "": {}, "e": []}))))
    assert made_up[0]["x"] == numbers and made_up[0]["y"] == {"z": numbers, "": {}, "e": []}


# ----------------------------------------------------- kinds: what it says

def change(data, function):
    """The stream that says what function(header, records) makes of it, and is otherwise right."""
    objects = copy.deepcopy([item.value for item in streams.items(data)])
    header, records, counts = objects[0], objects[1:-1], objects[-1]
    function(header, records)
    return joined(streams.pack(header), map(streams.pack, records), counts)


def first_with(records, name):
    return next(record for record in records if name in record)


def put(name, index, value, record=None):
    """Sets one element of the array called name, of the first record that has it."""
    def function(header, records):
        target = records[record] if record is not None else first_with(records, name)
        elements = np.frombuffer(target[name], streams.TYPES[header["arrays"][name]["type"]]).copy()
        elements[index] = value
        target[name] = elements.tobytes()
    return function


def member(name, value, record=0):
    """Sets a member of a record; None takes it away."""
    def function(header, records):
        records[record][name] = value
        if value is None:
            del records[record][name]
    return function


def in_header(path, value):
    """Sets what the header says under "section.name"; None takes it away."""
    def function(header, records):
        *sections, name = path.split(".")
        for section in sections:
            header = header[section]
        header[name] = value
        if value is None:
            del header[name]
    return function


def swapped(i, j):
    def function(header, records):
        records[i], records[j] = records[j], records[i]
    return function


def without(i):
    return lambda header, records: records.pop(i)


def twice(i):
    return lambda header, records: records.insert(i, records[i])


def cases_of_arrays(data):
    """Every array of every kind of record: missing, too short, too long, not an array."""
    objects = [item.value for item in streams.items(data)]
    for name, declared in objects[0]["arrays"].items():
        if not any(name in record for record in objects[1:-1]):
            continue
        size = np.dtype(streams.TYPES[declared["type"]]).itemsize
        for label, function in [
                ("missing", lambda bytes_: None), ("one element less", lambda bytes_: bytes_[:-size]),
                ("one element more", lambda bytes_: bytes_ + bytes(size)),
                ("one byte more", lambda bytes_: bytes_ + b"\0"),
                ("one byte less", lambda bytes_: bytes_[:-1]),
                ("nothing", lambda bytes_: b""), ("a number", lambda bytes_: 1),
                ("a text", lambda bytes_: "0" * len(bytes_)),
                ("a list", lambda bytes_: [0] * (len(bytes_) // size))]:
            def damage(header, records, name=name, function=function):
                record = first_with(records, name)
                record[name] = function(record[name])
                if record[name] is None:
                    del record[name]
            yield Case(f"{name}: {label}", change(data, damage))


def cases_of_numbers(data, record, names, most):
    """Numbers of a record that must be from 0 to most."""
    for name in names:
        for value in None, -1, most + 1, 1 << 63, 1.0, "0", [0], b"\0":
            yield Case(f"{name} {value!r}", change(data, member(name, value, record)), name)


def cases_of_header(data, paths, values):
    for path in paths:
        for value in values:
            yield Case(f"{path} {value!r}", change(data, in_header(path, value)), path)


def make_cases(data, table):
    return [Case(label, change(data, function), says) for label, function, says in table]


def test_tokens(bin, made, tmp_path):
    data, reader = made.tokens, made.readers["forward-dump"]
    cases = [*cases_of_arrays(data), *cases_of_numbers(data, 0, ["id"], (1 << 63) - 1)]
    cases += cases_of_header(data, ["tokenizer.id"], [None, 5])
    cases += cases_of_header(data, ["tokenizer.bos", "tokenizer.vocabulary"], [None, -1, "2", 1 << 40])
    cases += cases_of_header(data, ["batch.positions"], [None, 0, -1, "512", 1 << 40, 0.5])
    cases += make_cases(data, [
        ("token beyond the vocabulary", put("tok", 0, TOKENS), f"token {TOKENS} is outside"),
        ("last token beyond the vocabulary", put("tok", -1, 0xFFFFFFFF, -1), "is outside"),
        ("empty sentence", put("len", 0, 0), "has 0 tokens"),
        ("long sentence", put("len", 0, 65536), "has 65536 tokens"),
        ("longest sentence", put("len", 0, 0xFFFFFFFF), "tokens"),
        ("lengths that add up to more", put("len", 0, 5), "add up"),
        ("no sentence", lambda header, records: records[0].update(len=b"", tok=b""), "without a sentence"),
        ("another dictionary", in_header("tokenizer.id", "0" * 32), "another tokenizer"),
        ("another vocabulary", in_header("tokenizer.vocabulary", 13), "another tokenizer"),
        ("no tokenizer", in_header("tokenizer", None), "tokenizer.id"),
        ("tokenizer a list", in_header("tokenizer", []), "tokenizer.id"),
        ("no batch", in_header("batch", None), "batch.positions"),
    ])
    cases.append(Case("another model's tokens", made.other.tokens, "another tokenizer"))
    check(bin, reader, cases, tmp_path, memory=MEMORY)


MODEL_SIZES = ["model.layers", "model.d_model", "model.d_ff", "model.vocabulary"]


def cases_of_activations(data):
    cases = [*cases_of_arrays(data), *cases_of_numbers(data, 1, ["layer"], SIZES["layers"] - 1)]
    cases += [Case(f"{path} {value!r}", change(data, in_header(path, value)), "model")
              for path in MODEL_SIZES for value in (None, 0, -1, "2", 1 << 40)]
    cases += cases_of_header(data, ["layers", "cells"],
                             [3, "all", [0, 0], [1, 0], [-1], ["0"], [0.0], [99], {}])
    cases += cases_of_header(data, ["first"], [None, 2, -1, "1"])
    cases += make_cases(data, [
        ("layers in another order", swapped(1, 2), "out of order"),
        ("layer before its batch", swapped(0, 1), "out of order"),
        ("first layer missing", without(1), "out of order"),
        ("last layer missing", without(2), "the header promises 2"),
        ("last layer of all missing", without(-1), "the header promises 2"),
        ("layer twice", twice(1), "out of order"),
        ("last layer twice", twice(2), "out of order"),
        ("batch missing", without(3), "out of order"),
        ("fewer layers in the header", in_header("layers", [0]), "out of order"),
        ("fewer cells in the header", in_header("cells", [0, 2]), "elements"),
        ("fewer cells in the model", in_header("model.d_ff", 3), "elements"),
        ("token beyond the vocabulary", put("tok", 0, TOKENS), "is outside"),
        ("lengths that add up to less", put("len", 0, 1), "add up"),
    ])
    return cases


def test_activations_of_maxima(bin, made, tmp_path):
    data, reader = made.maxima, made.readers["topk-keys"]
    cases = cases_of_activations(data)
    cases += make_cases(data, [(f"max of {value}", put("max", 0, value, record), "not a coefficient")
                               for value in (np.nan, np.inf) for record in (1, -1)])
    cases += make_cases(data, [
        ("no maxima", lambda header, records: [record.pop("max", None) for record in records], "--emit max"),
        ("position outside", lambda header, records: (put("max", 0, 9)(header, records),
                                                      put("argmax", 0, 4)(header, records)), "outside"),
    ])
    check(bin, reader, cases, tmp_path, memory=MEMORY)


def test_activations_of_rows(bin, made, tmp_path):
    data, reader = made.rows, made.readers["topk-keys --prefixes every"]
    cases = cases_of_activations(data)
    cases += make_cases(data, [(f"coefficient {value}", put("coef", 0, value, record), "not a coefficient")
                               for value in (np.nan, np.inf, -np.inf) for record in (1, -1)])
    cases += make_cases(data, [
        ("position outside", put("row_position", 0, 4), "row 0"),
        ("sentence outside", put("row_sentence", -1, 99), "row"),
        ("rows out of order", put("row_sentence", 0, 1), "row 1"),
        ("positions out of order", put("row_position", 2, 0), "row 2"),
        ("one batch without rows", lambda header, records: [records[3].pop(name) for name in
                                                            ("row_sentence", "row_position")], ""),
    ])
    check(bin, reader, cases, tmp_path, memory=MEMORY)
    maxima = [Case("maxima", made.maxima, "--emit coef")]
    (tmp_path / "maxima").mkdir()
    check(bin, reader, maxima, tmp_path / "maxima")


def cases_of_triggers(data):
    cases = [*cases_of_arrays(data), *cases_of_numbers(data, 0, ["layer"], SIZES["layers"] - 1),
             *cases_of_numbers(data, 0, ["cell"], SIZES["d_ff"] - 1)]
    cases += [Case(f"{path} {value!r}", change(data, in_header(path, value)), "model")
              for path in MODEL_SIZES for value in (None, 0, -1, "2", 1 << 40)]
    cases += make_cases(data, [(f"coefficient {value}", put("coef", 0, value), "trigger 0")
                               for value in (np.nan, np.inf, -np.inf, 0, -1)])
    cases += make_cases(data, [
        ("next token beyond the vocabulary", put("next", 0, TOKENS), "trigger 0"),
        ("prefix' token beyond the vocabulary", put("prefix", 0, TOKENS), "is outside"),
        ("prefix too long", put("position", 0, 65535), "trigger 0"),
        ("prefix longest", put("position", 0, 0xFFFFFFFF), "trigger 0"),
        ("prefixes that add up to more", put("position", 0, 9), "prefixes"),
        ("sentence beyond all", put("sentence", 0, 1 << 63), "trigger 0"),
        ("coefficients that rise", put("coef", -1, 1000), "not in order"),
        ("equal coefficients, sentences that fall",
         lambda header, records: [put("coef", i, 5)(header, records) for i in range(TOP)]
         + [put("sentence", i, 9 - i)(header, records) for i in range(TOP)], "not in order"),
        ("trigger twice", lambda header, records: [put(name, 1, np.frombuffer(
            records[0][name], streams.TYPES[header["arrays"][name]["type"]])[0])(header, records)
            for name in ("coef", "sentence", "position")], ""),
        ("keys in another order", swapped(0, 1), "not in order"),
        ("key twice", lambda header, records: records.insert(1, records[0]), "not in order"),
        ("key missing", without(0), "keys"),
        ("last key missing", without(7), "keys"),
        ("counts of tokens twice", twice(-1), "token_counts"),
        ("counts of tokens before the last key", swapped(-1, -2), "not in order"),
    ])
    cases += cases_of_header(data, ["keys"], [None, -1, "8", 1 << 40, 9, 7, 0])
    return cases


def test_triggers_to_be_merged(bin, made, tmp_path):
    cases = cases_of_triggers(made.triggers)
    cases += cases_of_header(made.triggers, ["top"], [None, 0, -1, "3", 1 << 40, 1 << 30])
    cases += make_cases(made.triggers,
                        [("more triggers than the header says", in_header("top", TOP - 1), "triggers")])
    cases.append(Case("projected", made.projected, "before project-values"))
    check(bin, made.readers["topk-keys --merge"], cases, tmp_path, memory=MEMORY)


def test_inputs_that_do_not_merge(bin, made, tmp_path):
    first = tmp_path / "first"
    first.write_bytes(made.triggers)
    reader = Reader("topk-keys --merge", "topk-keys", ["--merge", first], made.triggers)
    fewer = ok(bin, "topk-keys", "-t", TOP - 1, stdin=made.maxima)
    cases = [Case("another model", made.other.triggers, "another model"),
             Case("other options", fewer, "options"), Case("cut", made.triggers[:-1]),
             Case("projected", made.projected),
             Case("keys in another order", change(made.triggers, swapped(0, 1)))]
    (tmp_path / "second").mkdir()
    check(bin, reader, cases, tmp_path / "second")

    first.write_bytes(ok(bin, "topk-keys", "-t", TOP, "--cells", "0,2", stdin=made.maxima))
    (tmp_path / "third").mkdir()
    check(bin, Reader("topk-keys --merge", "topk-keys", ["--merge", first], first.read_bytes()),
          [Case("another key", change(first.read_bytes(), member("cell", 1)),
                "the first input has layer 1 cell 0")],
          tmp_path / "third")
    fails(bin, "topk-keys", "--merge", "--partial", first, first, "-o", tmp_path / "out", says="overlap")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("out.*"))


def test_triggers_to_be_projected(bin, made, tmp_path):
    cases = cases_of_triggers(made.triggers)
    cases += make_cases(made.triggers, [
        ("another id", in_header("model.id", "0" * 32), "another model"),
        ("no id", in_header("model.id", None), "model.id"),
        ("another shape", in_header("model.layers", 3), "another shape")])
    cases += [Case("another model", made.other.triggers, "another model"),
              Case("projected", made.projected, "projected values already")]
    check(bin, made.readers["project-values"], cases, tmp_path, memory=MEMORY)


def test_projected_triggers(bin, made, tmp_path):
    data = made.projected
    cases = cases_of_triggers(data)
    cases += cases_of_header(data, ["tokenizer.bos"], [None, -1, TOKENS, "2"])
    cases += make_cases(data, [(f"{name} of {value}", put(name, 0, value), "out of range")
                               for name in ("top_p", "bottom_p", "next_p", "last_p")
                               for value in (np.nan, -0.5, np.inf, 1.5)])
    cases += make_cases(data, [(f"{name} of {value}", put(name, 0, value), "out of range")
                               for name in ("next_rank", "last_rank")
                               for value in (0, TOKENS + 1, 0xFFFFFFFF)])
    cases += make_cases(data, [(f"{name} beyond the vocabulary", put(name, 0, TOKENS), "out of range")
                               for name in ("top", "bottom")])
    cases.append(Case("not projected", made.triggers, "run project-values first"))
    cases.append(Case("no key",
                      change(data, lambda header, records: (records.clear(), header.update(keys=0))),
                      "no key"))
    check(bin, made.readers["agreement-stats"], cases, tmp_path, memory=MEMORY)


def test_table_of_top_values(bin, made, tmp_path):
    many = ok(bin, "topk-keys", "-t", 50, stdin=made.maxima)
    many = ok(bin, "project-values", "--model", made.model, "-k", 3, stdin=many)
    reader = Reader("agreement-stats --top-values", "agreement-stats", ["--model", made.model], many,
                    outputs=("-o", "--rank", "--confidence", "--top-values"))
    cases = [Case("too few triggers", made.projected, "topk-keys -t 50"),
             Case("another dictionary", change(many, in_header("tokenizer.id", "0" * 32)),
                  "another tokenizer"),
             Case("no dictionary", change(many, in_header("tokenizer", None)), "tokenizer"),
             *[cut(many, at) for at in places(many, 10, 8)]]
    check(bin, reader, cases, tmp_path)


def test_triggers_to_be_perturbed(bin, made, tmp_path):
    data = made.triggers
    cases = cases_of_triggers(data)
    cases += cases_of_header(data, ["batch.positions"], [None, 0, -1, "512", 1 << 40, 0.5])
    cases += cases_of_header(data, ["tokenizer.bos"], [None, -1, TOKENS, "2"])
    check(bin, made.readers["perturb-triggers"], cases, tmp_path, memory=MEMORY)
    fails(bin, "perturb-triggers", "--replacement", "unknown",
          stdin=change(data, in_header("tokenizer.unknown", None)), says="tokenizer.unknown")


WRONG_CHANGES = [None, [], {}, "first", 4, [1], [""], ["first", None]]


def cases_of_sentence_keys(data):
    cases = [Case(f"changes {value!r}", change(data, in_header("changes", value)),
                  "perturb-triggers" if value is None
                  else "list of names") for value in WRONG_CHANGES]
    cases += make_cases(data, [(f"coefficient {value}", put("key_coef", 0, value),
                                "coefficient that is 0 or not finite")
                               for value in (np.nan, np.inf, -np.inf, 0)])
    cases += make_cases(data, [
        ("layer that the model does not have", put("key_layer", 0, SIZES["layers"]),
         "has layer 3 cell 0; the model has 2 layers of 4 cells"),
        ("cell that the model does not have", put("key_cell", 0, SIZES["d_ff"]),
         "the model has 2 layers of 4 cells"),
        ("largest cell", put("key_cell", -1, 0xFFFFFFFF), "the model has 2 layers of 4 cells"),
        ("change without a name", put("key_change", 0, 4), "the header names 4"),
        ("fewer names", in_header("changes", ["first"]), "the header names 1"),
        ("token beyond the vocabulary", put("tok", 0, TOKENS), "is outside")])
    return cases


def test_tokens_with_keys(bin, made, tmp_path):
    cases = [*cases_of_arrays(made.changed), *cases_of_sentence_keys(made.changed)]
    cases += make_cases(made.changed, [("another id", in_header("model.id", "0" * 32), "another model"),
                                       ("no model", in_header("model", None), "model.id")])
    cases += [Case("another model", made.other.changed, "another"),
              Case("no keys", made.tokens, "perturb-triggers")]
    check(bin, made.readers["forward-dump --emit key"], cases, tmp_path, memory=MEMORY)


def test_coefficients_of_keys(bin, made, tmp_path):
    data = made.keyed
    cases = [*cases_of_arrays(data), *cases_of_sentence_keys(data)]
    cases += [Case(f"{path} {value!r}", change(data, in_header(path, value)), "model")
              for path in MODEL_SIZES for value in (None, 0, -1, "2", 1 << 40)]
    cases += make_cases(data, [(f"coefficient {value}", put("key", 0, value, record), "not a coefficient")
                               for value in (np.nan, np.inf, -np.inf) for record in (1, -1)])
    cases += make_cases(data, [
        ("coefficients before their batch", swapped(0, 1), "without their batch"),
        ("coefficients missing", without(1), "a batch without its coefficients"),
        ("last coefficients missing", without(-1), "the last batch has no coefficients"),
        ("coefficients twice", twice(1), "without their batch"),
        ("batch twice", lambda header, records: records.__setitem__(slice(2, 2), records[:2]),
         "sentence 0 is not in order"),
        ("keys in another order", put("key_cell", 0, SIZES["d_ff"] - 1), "not in order"),
        ("nothing", lambda header, records: records.clear(), "no sentence")])
    cases.append(Case("other activations", made.maxima, "perturb-triggers"))
    check(bin, made.readers["perturbation-stats"], cases, tmp_path, memory=MEMORY)


def test_triggers_that_are_compared(bin, made, tmp_path):
    data = made.triggers
    cases = cases_of_triggers(data)
    cases += [Case("no counts of tokens", change(data, without(-1)), "--skip-frequent 0"),
              Case("no key with two triggers", ok(bin, "topk-keys", "-t", 1, stdin=made.maxima),
                   "no key in it has two")]
    check(bin, made.readers["shallow-stats"], cases, tmp_path, memory=MEMORY)

    triggers = tmp_path / "triggers"
    triggers.write_bytes(data)
    (tmp_path / "corpus").mkdir()
    reader = Reader("shallow-stats --corpus", "shallow-stats", [], made.tokens)
    reader.argv = lambda path, out: ["-o", f"{out}-o", "--corpus", path, triggers]
    cases = [*cases_of_arrays(made.tokens), *[cut(made.tokens, at) for at in places(made.tokens, 10, 9)]]
    cases += make_cases(made.tokens,
                        [("another tokenizer", in_header("tokenizer.id", "0" * 32), "another tokenizer"),
                         ("no tokenizer", in_header("tokenizer", None), "tokenizer.id"),
                         ("no sentence", lambda header, records: records.clear(), "no sentence")])
    cases.append(Case("no tokens", data, "where 'tokens' is needed"))
    check(bin, reader, cases, tmp_path / "corpus", memory=MEMORY)


# ------------------------------------------- section 5: rows, values and sums

def not_finite(names):
    """These arrays with a number that is none, in the first and in the last record that has them."""
    for name in names:
        for value in np.nan, np.inf, -np.inf:
            for place in 0, -1:
                def damage(header, records, name=name, value=value, place=place):
                    target = [record for record in records if name in record][place]
                    elements = np.frombuffer(target[name], "<f4").copy()
                    elements[-1] = value
                    target[name] = elements.tobytes()
                yield f"{name} of {value} in record {place}", damage, f"'{name}'"


def dropped(name):
    return lambda header, records: [record.pop(name, None) for record in records]


CASES_OF_ROWS = [
    ("position outside", put("row_position", 0, 9), "row 0"),
    ("sentence outside", put("row_sentence", -1, 99), "row"),
    ("rows out of order", put("row_sentence", 0, 1), "row 1"),
    ("one batch without rows", lambda header, records: [records[3].pop(name) for name in
                                                        ("row_sentence", "row_position")], ""),
    ("another id", in_header("model.id", "0" * 32), "another model"),
    ("another shape", in_header("model.layers", 3), "another shape"),
    ("fewer cells in the model, whose id stays", in_header("model.d_ff", 3), "another shape"),
]


def test_rows_that_are_composed(bin, made, tmp_path):
    data = made.whole
    without_resid = change(data, dropped("resid"))
    cases = [case for case in cases_of_activations(data)
             if not case.label.startswith(("resid: ", "fewer cells in the model"))]
    cases += make_cases(data, [*CASES_OF_ROWS, *not_finite(["coef", "ffn"]),
                               *((f"no {name}", dropped(name), "forward-dump --emit coef,ffn")
                                 for name in ("coef", "ffn"))])
    cases += [Case("another model's", made.other.whole, "another model"),
              Case("maxima", made.maxima, "--emit coef,ffn")]
    check(bin, made.readers["composition-stats"], cases, tmp_path, memory=MEMORY)
    ok(bin, "composition-stats", *made.composing, stdin=without_resid)


def test_rows_that_are_refined(bin, made, tmp_path):
    data = made.whole
    cases = [case for case in cases_of_activations(data)
             if not case.label.startswith(("coef: ", "cells", "fewer"))]
    cases += make_cases(data, [*CASES_OF_ROWS, *not_finite(["resid", "ffn"]),
                               *((f"no {name}", dropped(name), "forward-dump --emit resid,ffn")
                                 for name in ("resid", "ffn"))])
    cases += [Case("another model's", made.other.whole, "another model"),
              Case("maxima", made.maxima, "--emit resid,ffn")]
    some = ok(bin, "forward-dump", "--model", made.model, "--emit", "coef,resid,ffn", "--layers", "2",
              stdin=made.tokens)
    cases.append(Case("some layers", some, "1 of 2 layers"))
    check(bin, made.readers["refinement-stats"], cases, tmp_path, memory=MEMORY)
    ok(bin, "composition-stats", *made.composing, stdin=some)


def test_sampled_tokens(bin, made, tmp_path):
    data = ok(bin, "tokenize", "--model", made.model, "--batch", 12, "--sample", 5, "--seed", 2,
              stdin=TEXT.encode())
    cases = [case for case in cases_of_arrays(data) if case.label != "sentence: missing"]
    cases += make_cases(data, [("first is not the id", put("sentence", 0, 99), "do not rise"),
                               ("falling", put("sentence", 1, 0), "do not rise"),
                               ("beyond all", put("sentence", -1, 1 << 63), "do not rise"),
                               ("id that is not the first", member("id", 0), "do not rise")])
    reader = made.readers["forward-dump"]
    assert streams.read(data).records[0]["id"] > 0
    check(bin, Reader("sampled", reader.tool, reader.arguments, data), cases, tmp_path, memory=MEMORY)


def test_values_that_are_compared(bin, made, tmp_path):
    data = made.values
    cases = [case for case in cases_of_arrays(data) if not case.label.startswith("top_p")
             and case.label not in ("top: one element less", "top: one element more")]
    cases += [*cases_of_numbers(data, 0, ["layer"], SIZES["layers"] - 1),
              *cases_of_numbers(data, 0, ["cell"], SIZES["d_ff"] - 1)]
    cases += cases_of_header(data, ["norm"], [None, 3, "some"])
    cases += make_cases(data, [
        ("another id", in_header("model.id", "0" * 32), "another model"),
        ("top beyond", put("top", 0, TOKENS), "has no token"),
        ("value missing", without(3), "not in order"),
        ("last value missing", without(7), "7 values; the model has 8"),
        ("value twice", twice(2), "not in order"),
        ("values in another order", swapped(0, 1), "not in order")])
    cases.append(Case("another model's", made.other.values, "another model"))
    check(bin, made.readers["composition-stats --values"], cases, tmp_path, memory=MEMORY)


def histogram_cases(data, names):
    for name in names:
        for label, function, says in [
                ("bins that fall", put(f"{name}_bin", 0, 0xFFFFFFFF), "do not rise"),
                ("an empty bin", put(f"{name}_count", 0, 0), "count of 0"),
                ("a count of 2^63", put(f"{name}_count", 0, 1 << 63), "count of"),
                ("one more", put(f"{name}_count", 0, 99), ""),
                ("nothing", lambda header, records, name=name: first_with(records, f"{name}_bin").update(
                    {f"{name}_bin": b"", f"{name}_count": b""}), "")]:
            yield Case(f"{name}: {label}", change(data, function), says)


def none_active(header, records):
    """As many prefixes as before."""
    record = first_with(records, "active_bin")
    prefixes = np.frombuffer(record["active_count"], "<u8").sum()
    record.update(active_bin=np.zeros(1, "<u4").tobytes(), active_count=np.array([prefixes], "<u8").tobytes())


def test_sums_of_composition(bin, made, tmp_path):
    data = made.composed
    cases = [*cases_of_arrays(data), *histogram_cases(data, ["active", "memories", "agreement"]),
             *cases_of_numbers(data, 0, ["short"], 1 << 48)]
    cases += [Case(f"{path} {value!r}", change(data, in_header(path, value)), "model")
              for path in MODEL_SIZES for value in (None, 0, -1, "2", 1 << 40)]
    cases += make_cases(data, [
        *((f"layer {value!r}", member("layer", value), "layer") for value in (None, -1, 1, 2, "0")),
        ("more short prefixes than agree", member("short", 1 << 40), "contradict"),
        ("more prefixes with memories than agree", put("memories_count", 0, 1 << 40), "contradict"),
        ("no memory at a prefix that agrees", put("memories_bin", 0, 0), "contradict"),
        ("more memories than are active", none_active, "contradict"),
        ("layers in another order", swapped(0, 1), "not the header's"),
        ("layer missing", without(0), "not the header's"),
        ("last layer missing", without(1), "layer"), ("layer twice", twice(0), "not the header's"),
        ("no counts of tokens", without(-1), "nothing behind"),
        ("counts of tokens twice", twice(-1), "follows"),
        ("fewer layers in the header", in_header("layers", [0]), ""),
        ("nothing", lambda header, records: records.clear(), "0 of 2 layers")])
    check(bin, made.readers["composition-stats --merge"], cases, tmp_path, memory=MEMORY)


def test_sums_of_refinement(bin, made, tmp_path):
    data = made.refined
    records = [item.value for item in streams.items(data)[1:-1]]
    first = next(i for i, record in enumerate(records) if "layer" in record)
    assert first > 1 and len(records) == first + 3
    cases = [*cases_of_arrays(data), *histogram_cases(data, ["probability", "rank", "settled"])]
    cases += [Case(f"{path} {value!r}", change(data, in_header(path, value)), "model")
              for path in MODEL_SIZES for value in (None, 0, -1, "2", 1 << 40)]
    cases += cases_of_numbers(data, first, ["prefixes"], 1 << 48)
    cases += make_cases(data, [
        *((f"residual_is_final {value!r}", member("residual_is_final", value, first), "")
          for value in (None, -1, 1 << 40, "0")),
        *((f"layer {value!r}", member("layer", value, first), "layer") for value in (None, -1, 1, 2, "0")),
        ("another case", put("cases", 0, 99), "contradict"),
        ("a case of 2^64 - 1", put("cases", 1, (1 << 64) - 1), "contradict"),
        ("a sum above all prefixes", put("probability_sum", 5, 1), "contradict"),
        ("a rank of 0", put("rank_bin", 0, 0), "contradict"),
        ("other prefixes in one layer", lambda header, records: (
            member("prefixes", records[first]["prefixes"] + 1, first)(header, records)), "contradict"),
        ("token beyond the vocabulary", put("old", 0, TOKENS), "out of range"),
        ("new token beyond the vocabulary", put("new", 0, TOKENS), "out of range"),
        ("prefix' token beyond the vocabulary", put("prefix", 0, TOKENS), "out of range"),
        ("probability that is none", put("p_old", 0, np.nan), "out of range"),
        ("probability of 2", put("p_new", 0, 2), "out of range"),
        ("prefix too long", put("position", 0, 99), "out of range"),
        ("sentence beyond all", put("sentence", 0, 1 << 63), "out of order"),
        ("no change in a record", lambda header, records: records[0].update(
            {name: b"" for name in ("sentence", "position", "old", "new", "p_old", "p_new", "prefix")}),
         "out of order"),
        ("changes in another order", swapped(0, 1), "is not in order"),
        ("changes twice", twice(0), "is not in order"),
        ("changes missing", without(0), "changed predictions"),
        ("changes behind the sums", swapped(0, -1), ""),
        ("layers in another order", swapped(first, first + 1), "not the header's"),
        ("layer missing", without(first), "not the header's"),
        ("last layer missing", without(first + 1), "layer"),
        ("layer twice", twice(first), "not the header's"),
        ("no last record", without(-1), "2 layers and nothing behind"),
        ("last record twice", twice(-1), "follows"),
        ("more hits than prefixes", member("next_is_top", 1 << 40, -1), "next_is_top"),
        ("nothing", lambda header, records: records.clear(), "no sums")])
    check(bin, made.readers["refinement-stats --merge"], cases, tmp_path, memory=MEMORY)


def test_sums_that_do_not_merge(bin, made, tmp_path):
    """Of other options, models or corpora; and shards that overlap, as far as they are noticed."""
    for tool, data, others in [
            ("composition-stats", made.composed, [
                made.other.composed,
                ok(bin, "composition-stats", *made.composing, "--sums", "--short", 4, stdin=made.whole),
                ok(bin, "composition-stats", *made.composing, "--sums", "--threshold", 0.5, stdin=made.whole),
                ok(bin, "composition-stats", *made.composing, "--sums", "--rank", "abs", stdin=made.whole),
                ok(bin, "composition-stats", "--model", made.model, "--scaled", "--sums", stdin=made.whole)]),
            ("intervention-stats", made.intervened, [
                made.other.intervened,
                ok(bin, "intervention-stats", *made.comparing, "--sums", stdin=made.whole)]),
            ("refinement-stats", made.refined, [made.other.refined])]:
        others.append(change(data, in_header("corpus.name", "another")))
        first = tmp_path / tool
        first.write_bytes(data)
        (tmp_path / f"{tool}.d").mkdir()
        check(bin, Reader(tool, tool, ["--merge", first], data),
              [Case(f"other {i}", other, "another model, corpus or options")
               for i, other in enumerate(others)],
              tmp_path / f"{tool}.d")
    fails(bin, "refinement-stats", "--merge", first, first, "-o", tmp_path / "out", says="overlap")
    assert not (tmp_path / "out").exists()


def test_stop_words_that_are_none(bin, made, tmp_path):
    for label, text, says in [("empty", b"", "no word"), ("comments", b"# a\n\n#b\n", "no word"),
                              ("bytes", b"a\n\xff\n", "not UTF-8"), ("absent", None, "No such file")]:
        path = tmp_path / label
        if text is not None:
            path.write_bytes(text)
        fails(bin, "composition-stats", *made.composing, "--stop-words", path, "-o", tmp_path / "out",
              stdin=made.whole, says=says)
        assert not (tmp_path / "out").exists()


def test_norm_that_the_model_does_not_have(bin, made, tmp_path):
    """A false header of values cannot make the tool read a norm that is not there."""
    path = tmp_path / "values"
    path.write_bytes(change(made.values, in_header("norm", "full")))
    done = ["--model", made.model, "--values", path]
    fails(bin, "composition-stats", *done, stdin=made.whole, status=2, says="has no final norm")
