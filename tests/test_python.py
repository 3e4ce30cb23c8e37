"""python/ffkv.py: it reads what the tools write and writes what they read, byte for byte; what is
damaged, cut or false is StreamError, and never a wrong record that nobody hears of.

Oracle: the tools, which share nothing with it: stream-cat's JSON, and what they make of its streams.
"""

import copy
import gzip
import io
import json
import os
import pickle
import pty
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import environments
import streams
from conftest import ROOT
from helpers import TIMEOUT, ok, random_sentences, table, text

import ffkv

pytestmark = pytest.mark.release_only

PYTHON = ROOT / "python"
VOCABULARY, LAYERS, D_FF = 100, 3, 37  # of the small model


@pytest.fixture(scope="module")
def made(bin, small_model, tmp_path_factory):
    """A stream of every kind, and of every form that changes its members."""
    place = tmp_path_factory.mktemp("made")
    model = ["-m", small_model]
    lines = text(random_sentences(30, VOCABULARY, longest=8))
    forward = "forward-dump", *model, "--threads", 1
    got = {"tokens": ok(bin, "tokenize", *model, "--batch", 20, stdin=lines)}
    got["sample"] = ok(bin, "tokenize", *model, "--batch", 20, "--sample", 12, stdin=lines)
    got["shard"] = ok(bin, "tokenize", *model, "--batch", 20, "--shard", "1/3", stdin=lines)
    got["rows"] = ok(bin, *forward, "--emit", "max,coef,resid,ffn,prediction", "--cells", "1-5",
                     stdin=got["sample"])
    got["random"] = ok(bin, *forward, "--emit", "coef", "--positions", "random", stdin=got["tokens"])
    got["predictions"] = ok(bin, *forward, "--emit", "prediction", stdin=got["tokens"])
    maxima = ok(bin, *forward, stdin=got["tokens"])
    got["triggers"] = ok(bin, "topk-keys", "--top", 4, stdin=maxima)
    got["part"] = ok(bin, "topk-keys", "--top", 4, stdin=ok(bin, *forward, stdin=got["shard"]))
    by_size = ok(bin, *forward, "--rank", "abs", stdin=got["tokens"])
    got["by size"] = ok(bin, "topk-keys", "--top", 4, "--rank", "abs", stdin=by_size)
    got["projected"] = ok(bin, "project-values", *model, "--bottoms", 2, stdin=got["triggers"])
    got["changed"] = ok(bin, "perturb-triggers", "--sample", 3, stdin=got["triggers"])
    got["keyed"] = ok(bin, *forward, "--emit", "key", stdin=got["changed"])
    got["values"] = ok(bin, "project-values", *model, "--all", "--tops", 3)
    whole = ok(bin, *forward, "--emit", "coef,resid,ffn", stdin=got["tokens"])
    got["composition"] = ok(bin, "composition-stats", *model, "--scaled", "--sums", stdin=whole)
    got["refinement"] = ok(bin, "refinement-stats", *model, "--sums", stdin=whole)
    edited = ok(bin, *forward, "--emit", "coef,resid,ffn", "--edit", "2:*=0", stdin=got["tokens"])
    for side, data in ("plain", whole), ("edited", edited):
        (place / side).write_bytes(data)
    got["intervention"] = ok(bin, "intervention-stats", *model, "--sums", "--ids", "7",
                             "--edited", place / "edited", place / "plain")
    return got


KINDS = ["tokens", "sample", "shard", "rows", "random", "predictions", "triggers", "part", "by size",
         "projected", "changed", "keyed", "values", "composition", "refinement", "intervention"]
each_kind = pytest.mark.parametrize("kind", KINDS)


def read(data):
    return ffkv.read(io.BytesIO(data))


def copied(data):
    """What write makes of a stream that read reads."""
    reader, out = read(data), io.BytesIO()
    ffkv.write(out, reader.header, reader)
    return out.getvalue()


# ------------------------------------------------------------ reading

def as_json(value):
    """A record as stream-cat shows it, but that infinities are numbers."""
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if isinstance(value, bytes):
        return [int.from_bytes(value, "little")]
    return {name: as_json(item) for name, item in value.items()} if isinstance(value, dict) else value


def shown(header, record):
    """What stream-cat shows, whose digits tell numbers of 32 bits apart, as as_json has it."""
    floats = [name for name in record if header["arrays"].get(name, {}).get("type") == "float32"]
    return {**record, **{name: np.array(record[name], np.float32).tolist() for name in floats}}


def test_every_kind_is_made(made):
    assert sorted(made) == sorted(KINDS)
    assert {read(data).header["kind"] for data in made.values()} == {
        "tokens", "activations", "triggers", "values", "composition", "refinement", "intervention"}


@each_kind
def test_reads_what_stream_cat_shows(bin, made, kind):
    lines = [json.loads(line) for line in ok(bin, "stream-cat", stdin=made[kind]).splitlines()]
    reader = read(made[kind])
    assert reader.header == lines[0] and reader.trailer is None
    records = list(reader)
    assert [as_json(record) for record in records] == [shown(reader.header, line) for line in lines[1:-1]]
    assert as_json(reader.trailer) == lines[-1]


@each_kind
def test_arrays_are_of_the_declared_types_and_shapes(made, kind):
    stream = ffkv.load(io.BytesIO(made[kind]))
    for record in stream.records:
        for name, value in record.items():
            if not isinstance(value, np.ndarray):
                assert type(value) is int
                continue
            declared = stream.header["arrays"][name]
            assert value.dtype == ffkv.TYPES[declared["type"]] and value.ndim == len(declared["shape"])
            assert all(size == dimension for size, dimension in zip(value.shape, declared["shape"])
                       if isinstance(dimension, int))


@each_kind
def test_a_copy_has_the_same_bytes(made, kind):
    assert copied(made[kind]) == made[kind]


def test_sources(made, tmp_path):
    """A path of any type, standard input, compressed in one member and in several."""
    data = made["triggers"]
    want = [as_json(record) for record in ffkv.load(io.BytesIO(data)).records]
    middle = len(data) // 2
    packed = gzip.compress(data[:middle]) + gzip.compress(b"") + gzip.compress(data[middle:])
    for name, content in ("plain", data), ("one", gzip.compress(data)), ("several", packed):
        path = tmp_path / name
        path.write_bytes(content)
        for source in path, str(path), open(path, "rb"):
            with ffkv.read(source) as reader:
                assert [as_json(record) for record in reader] == want, name
    script = "import ffkv; print(len(list(ffkv.read('-'))))"
    done = subprocess.run([sys.executable, "-c", script], input=packed, capture_output=True, timeout=TIMEOUT,
                          check=True, env={**os.environ, "PYTHONPATH": str(PYTHON)})
    assert int(done.stdout) == len(want)


def test_a_loop_that_ends_early_has_no_trailer(made, tmp_path):
    (tmp_path / "tokens").write_bytes(made["tokens"])
    with ffkv.read(tmp_path / "tokens") as reader:
        next(reader)
    assert reader.trailer is None
    with pytest.raises(ffkv.StreamError, match="is closed"):
        next(reader)


def test_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        ffkv.read(tmp_path / "none")
    with pytest.raises(TypeError, match="binary"):
        ffkv.read(io.StringIO("text"))


# ------------------------------------------------------------ damage

def given(data):
    """The records that a loop has before the end or the error, and the error."""
    found = []
    try:
        for record in read(data):
            found.append(as_json(record))
    except ffkv.StreamError as error:
        return found, error
    return found, None


def right(data):
    return [as_json(record) for record in ffkv.load(io.BytesIO(data)).records]


def some_places(data, count):
    return sorted({*random.Random(1).sample(range(len(data)), min(count, len(data))), 0, 1, len(data) - 1})


def test_cut_at_every_byte(made):
    data = made["tokens"]
    records = right(data)
    for at in range(len(data)):
        found, error = given(data[:at])
        assert error and found == records[:len(found)], at


@each_kind
def test_cut(made, kind):
    data = made[kind]
    records = right(data)
    for at in some_places(data, 40):
        found, error = given(data[:at])
        assert error and found == records[:len(found)], at


def flipped(data, at, bit):
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1:]


def test_flipped_bit_in_every_byte(made):
    for at in range(len(made["tokens"])):
        assert given(flipped(made["tokens"], at, at % 8))[1], at


@each_kind
def test_flipped_bit(made, kind):
    bits = random.Random(2)
    for at in some_places(made[kind], 150):
        assert given(flipped(made[kind], at, bits.randrange(8)))[1], at


@each_kind
def test_flipped_bit_with_a_right_checksum(made, kind):
    """What is still a stream may be read; what is not, is refused, and by no other error."""
    bits, refused = random.Random(3), 0
    for at in some_places(made[kind][:-4], 300):
        data = flipped(made[kind][:-4], at, bits.randrange(8))
        refused += given(data + streams.crc(data))[1] is not None
    assert refused > 20


def test_gzip_damage(made):
    data = gzip.compress(made["tokens"], mtime=0)
    for at in range(len(data)):
        assert given(data[:at])[1], f"cut at {at}"
        damaged = flipped(data, at, at % 8)
        found, error = given(damaged)
        if not error:  # as flags and times: they mean nothing
            assert gzip.decompress(damaged) == made["tokens"] and found == right(made["tokens"])
    assert "behind 1 whole members" in str(given(data + b"junk")[1])
    assert "behind 1 whole members" in str(given(data + bytes(8))[1])


NO_STREAMS = [
    (b"", "stream: empty: the stage before failed, or nothing was written"),
    (b"BZh91AY&SYxxxx", "compressed, and not by gzip: pipe it in from bzcat"),
    (b"\xfd7zXZ\0xxxxxx", "pipe it in from xzcat"),
    (b"\x28\xb5\x2f\xfdxxxxxxxx", "pipe it in from zstdcat"),
    (gzip.compress(gzip.compress(b"x")), "compressed twice: pipe it in from zcat and gunzip"),
    (b"text\n", "header, byte 0: not an ffkv stream"),
    (b"\x80", "not an ffkv stream: its header says no format 'ffkv'"),
    (b"\x81\xa1a" * 2000 + b"\xc0", "header, byte 0: "),
    (b"\xdd\xff\xff\xff\xff", "header, byte 0: "),
    (b"\x82\xa1a\x01\xa1a\x02", "a map has a key twice"),
    (b"\x81\x01\x01", "a map's key is not a string"),
    (b"\x81\xa1a\xc7\x00\x01", "header, byte 0: "),
]


@pytest.mark.parametrize("case", range(len(NO_STREAMS)))
def test_what_is_no_stream(case):
    data, says = NO_STREAMS[case]
    with pytest.raises(ffkv.StreamError) as caught:
        read(data)
    assert says in str(caught.value)


@pytest.mark.parametrize("kind", ["tokens", "triggers"])
def test_says_what_the_tools_say(bin, made, kind, tmp_path):
    """File, record, byte and the words, of what both find."""
    data, objects = made[kind], streams.items(made[kind])
    third = objects[3].start
    cases = {"within": data[:third + 5], "no trailer": data[:objects[-1].start], "changed": data[:-1] + b"x",
             "longer": data + b"\xc0", "text": data[:third] + b"\xc0" + data[third:],
             "count": streams.finish(data[:objects[-1].start], 1, objects[-1].value)}
    for name, damaged in cases.items():
        path = tmp_path / name
        path.write_bytes(damaged)
        done = subprocess.run([bin / "stream-cat", "--verify", path], capture_output=True, text=True,
                              timeout=TIMEOUT, check=False)
        with pytest.raises(ffkv.StreamError) as caught:
            ffkv.load(path)
        assert f"stream-cat: {caught.value}\n" == done.stderr
        assert caught.value.name == str(path) and f", byte {caught.value.byte}: " in done.stderr


@pytest.mark.parametrize("damage", ["cut", "false"])
def test_an_error_stays(made, damage):
    """A loop that goes on after it has no later record, and does not look as if it were complete."""
    data = made["tokens"][:-1] if damage == "cut" else spoiled(made["tokens"], put("tok", 0, VOCABULARY, 1))
    reader, errors = read(data), set()
    for _ in range(3):
        with pytest.raises(ffkv.StreamError) as caught:
            while True:
                assert next(reader)["id"] == 0 or damage == "cut"
        errors.add(str(caught.value))
    assert len(errors) == 1 and reader.trailer is None
    assert str(pickle.loads(pickle.dumps(caught.value))) in errors


def spoiled(data, change):
    """A stream with a right checksum in which change(header, records, trailer), of packed arrays, changed
    something."""
    objects = [copy.deepcopy(item.value) for item in streams.items(data)]
    header, records, trailer = objects[0], objects[1:-1], objects[-1]
    change(header, records, trailer)
    body = b"".join(map(streams.pack, [header, *records]))
    del trailer["crc"]
    packed = body + streams.pack({**trailer, "crc": bytes(4)})[:-4]
    return packed + streams.crc(packed)


def put(name, index, value, record=0):
    """Changes one number of an array."""
    def change(header, records, trailer):
        array = np.frombuffer(records[record][name], ffkv.TYPES[header["arrays"][name]["type"]]).copy()
        array[index] = value
        records[record][name] = array.tobytes()
    return change


def record_is(record=0, **members):
    return lambda header, records, trailer: records[record].update(members)


def drop(name, record=0):
    return lambda header, records, trailer: records[record].pop(name)


def longer(name, record=0):
    return lambda header, records, trailer: records[record].update({name: records[record][name] + bytes(8)})


def swap(one, other):
    def change(header, records, trailer):
        records[one], records[other] = records[other], records[one]
    return change


def without(record):
    def change(header, records, trailer):
        del records[record]
        trailer["records"] -= 1
    return change


def header_is(**members):
    return lambda header, records, trailer: header.update(members)


def declared(name, **members):
    return lambda header, records, trailer: header["arrays"][name].update(members)


def trailer_is(**members):
    return lambda header, records, trailer: trailer.update(members)


# kind, what is wrong, and how the message ends or what it has
FALSE = [
    ("tokens", header_is(version=3),
     "version 3 of the stream; this program reads up to 2: use a newer one"),
    ("tokens", header_is(version=2), "the header's prompts must be true in version 2, and in no other"),
    ("tokens", header_is(prompts=True), "the header's prompts must be true in version 2, and in no other"),
    ("tokens", header_is(arrays=3), "lacks kind, history or arrays"),
    ("tokens", declared("len", type="float16"), "a type other than"),
    ("tokens", declared("len", type="float32"), "the header's array 'len' is"),
    ("tokens", declared("len", shape=[3]), "the header's array 'len' is"),
    ("tokens", declared("len", shape=[]), "the header's array 'len' is"),
    ("rows", declared("coef", shape=["rows", 4]), "other columns than the 5"),
    ("rows", declared("ffn", shape=["rows", 5]), "other columns than the 24"),
    ("tokens", header_is(tokenizer={}), "tokenizer.vocabulary is not a number"),
    ("rows", header_is(model={}), "model.layers is not a number"),
    ("tokens", put("tok", 0, VOCABULARY), f"token {VOCABULARY} is outside of the vocabulary of {VOCABULARY}"),
    ("tokens", put("len", 0, 0), "no length from 1 to"),
    ("tokens", put("len", 0, 9), "add up to"),
    ("tokens", longer("tok"), "add up to"),
    ("tokens", record_is(tok=b"abc"), "not an array of 4-byte elements"),
    ("tokens", record_is(tok=7), "'tok' is not what the header declares"),
    ("tokens", record_is(other=b"abc"), "'other' is not what the header declares"),
    ("tokens", drop("tok"), "the record has no 'tok'"),
    ("tokens", record_is(id=-1), "id is not"),
    ("tokens", record_is(1, id=0), "id is not"),
    ("tokens", swap(0, 1), "id is not"),
    ("tokens", header_is(batch={"positions": 1}), "1 are possible"),
    ("tokens", trailer_is(sentences=29), "counts 29 sentences"),
    ("tokens", trailer_is(tokens=1), "counts 1 tokens"),
    ("tokens", trailer_is(records=1), "another number of records"),
    ("tokens", trailer_is(skipped=-1), "skipped is not a number"),
    ("tokens", trailer_is(end=1), "does not say that the stream is complete"),
    ("tokens", trailer_is(covers=[[0, 1, 1]]), "covers 1 batches"),
    ("tokens", trailer_is(covers=[[0, 2, 1], [1, 2, 1]]), "a batch twice"),
    ("tokens", trailer_is(covers=[[0, 10**9, 1]]), "no batches"),
    ("tokens", trailer_is(text=3), "of which text"),
    ("sample", put("sentence", 1, 0), "do not rise"),
    ("changed", put("key_cell", 0, D_FF), "key is out of range"),
    ("changed", put("key_coef", 0, 0), "key is out of range"),
    ("changed", put("key_coef", 0, np.nan), "not finite"),
    ("rows", put("row_sentence", 0, 99), "not a position of a sentence"),
    ("rows", put("row_position", 0, 99), "not a position of a sentence"),
    ("rows", put("coef", 0, np.inf, 1), "'coef' has a number that is not finite"),
    ("rows", put("max", 0, np.nan, 1), "'max' has a number that is not finite"),
    ("rows", put("argmax", 0, 99, 1), "outside of a sentence"),
    ("rows", longer("coef", 1), "elements, not"),
    ("rows", record_is(1, layer=LAYERS), "layer is not a number from 0 to 2"),
    ("rows", swap(1, 2), "layer 2 is out of order"),
    ("rows", without(2), "layer 3 is out of order"),
    ("rows", without(3), "missing"),
    ("rows", drop("ffn", 1), "the record has no 'ffn'"),
    ("rows", drop("top", 4), "the record has no 'top'"),
    ("rows", header_is(layers=[0, 0]), "rising numbers"),
    ("triggers", put("coef", 0, -1), "out of range"),
    ("triggers", put("coef", 0, 1e-9), "not in order"),
    ("triggers", put("position", 0, 70000), "should have"),
    ("triggers", put("next", 0, VOCABULARY), "outside of the vocabulary"),
    ("triggers", put("prefix", 0, VOCABULARY), "outside of the vocabulary"),
    ("triggers", longer("prefix"), "should have"),
    ("triggers", longer("next"), "elements, not"),
    ("triggers", header_is(top=1), "the header promises at most 1"),
    ("triggers", header_is(keys=1), "the header promises 1"),
    ("triggers", header_is(rank="other"), "which is not known"),
    ("triggers", swap(0, 1), "is not in order"),
    ("triggers", swap(-1, -2), "is not in order"),
    ("triggers", record_is(cell=D_FF), "cell is not a number from 0 to 36"),
    ("triggers", put("token_counts", 0, 2**48 + 1, -1), "a count above 2^48"),
    ("triggers", longer("token_counts", -1), "elements, not"),
    ("projected", put("top_p", 0, 1.5), "a probability of 'top_p'"),
    ("projected", put("next_rank", 0, 0), "a rank of 'next_rank'"),
    ("projected", drop("last_p"), "the record has no 'last_p'"),
    ("values", without(5), "keys, the header promises"),
    ("values", put("top", 0, VOCABULARY), "outside of the vocabulary"),
    ("composition", swap(0, 1), "out of order"),
    ("composition", without(0), "out of order"),
    ("composition", without(2), "missing"),
    ("composition", longer("active_bin"), "elements, not"),
    ("intervention", without(0), "prefixes"), ("intervention", put("rank", 0, 101, 0), "rank"),
    ("intervention", put("edited_top", 0, 100, 0), "token 100 is outside"),
    ("refinement", without(-2), "missing"),
    ("refinement", put("cases", 0, 2**50, -2), "a count above 2^48"),
]


@pytest.mark.parametrize("case", range(len(FALSE)), ids=lambda case: f"{case}-{FALSE[case][0]}")
def test_false_streams(made, case):
    kind, change, says = FALSE[case]
    _, error = given(spoiled(made[kind], change))
    assert error and says in str(error), error
    assert error.byte is not None and re.match(r"stream: (header|record \d+), byte \d+: ", str(error))


@each_kind
def test_spoiling_nothing_is_no_damage(made, kind):
    """Else the refusals above would mean nothing."""
    assert spoiled(made[kind], lambda *_: None) == made[kind]


def test_members_of_a_newer_program_are_kept(made):
    data = spoiled(made["triggers"], lambda header, records, trailer: (
        header.update(more={"a": [1, None]}), records[0].update(more="text"), trailer.update(more=True)))
    assert given(data)[1] is None and copied(data)[:-40] == data[:-40]


@pytest.mark.parametrize("one, other",
                         [((0, 9, 3), (1, 9, 3)), ((0, 9, 3), (1, 9, 2)), ((0, 4, 1), (4, 9, 1)),
                          ((0, 9, 6), (3, 9, 4)), ((0, 9, 6), (2, 9, 4)), ((5, 9, 1), (0, 9, 8))])
def test_batches_that_are_covered_twice(one, other):
    trailer = {"batches": 9, "covers": [list(one), list(other)], "text": "x"}
    if set(range(*one)) & set(range(*other)):
        with pytest.raises(ffkv._Problem, match="twice"):
            ffkv._covers(trailer, ffkv.COVERAGE, "text", "batch", "batches")
    else:
        assert ffkv._covers(trailer, ffkv.COVERAGE, "text", "batch", "batches")


# ------------------------------------------------------------ writing

def test_a_written_stream_goes_through_the_tools(bin, small_model, made, tmp_path):
    """Tokens that Python wrote give what tokenize's give, but for the history."""
    stream = ffkv.load(io.BytesIO(made["tokens"]))
    arrays = {"len": {"type": "uint32", "shape": ["sentences"]},
              "tok": {"type": "uint32", "shape": ["tokens"]}}
    header = {"kind": "tokens", "arrays": arrays, **{name: stream.header[name] for name in
                                                     ("corpus", "tokenizer", "batch")}}
    path = tmp_path / "tokens.msgpack.gz"
    with ffkv.Writer(path, header, tool="mine", version="2", options={"least": 1}) as writer:
        for record in stream.records:
            lists = [sentence.tokens.tolist() for sentence in ffkv.sentences(record)]
            writer.write({"id": record["id"], "len": list(map(len, lists)), "tok": sum(lists, [])})
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    ok(bin, "stream-cat", "--verify", path)
    shown = json.loads(ok(bin, "stream-cat", "--header", path))
    assert shown["history"] == [{"tool": "mine", "version": "2", "options": {"least": 1}}]

    def results(*source, **options):
        maxima = ok(bin, "forward-dump", "-m", small_model, *source, **options)
        found = ok(bin, "topk-keys", "--top", 3, stdin=maxima)
        return ok(bin, "agreement-stats", stdin=ok(bin, "project-values", "-m", small_model, stdin=found))

    assert results(path) == results(stdin=made["tokens"])


def test_fewer_triggers_go_through_the_tools(bin, made, tmp_path):
    """A filter of keys; agreement-stats counts those that are left."""
    def kept(reader):
        return (record for record in reader if record.get("layer", 1) == 1)

    reader = read(made["projected"])
    count = sum("cell" in record for record in kept(read(made["projected"])))
    path = tmp_path / "some"
    with ffkv.Writer(path, {**reader.header, "keys": count}, tool="one-layer") as writer:
        for record in kept(reader):
            writer.write(record)
        writer.trailer.update(reader.trailer)
    rows = {row["layer"]: row["keys"] for row in table(ok(bin, "agreement-stats", path))}
    assert count == D_FF and rows["2"] == str(D_FF) and {rows.get("1", "0"), rows.get("3", "0")} == {"0"}
    assert ffkv.load(path).header["history"][-1]["tool"] == "one-layer"


def batch(numbers=(5, 6), **members):
    return {"id": 0, "len": [len(numbers)], "tok": list(numbers), **members}


def writer_of(made, target):
    return ffkv.Writer(target, read(made["tokens"]).header)


@pytest.mark.parametrize("record, says", [
    (batch([VOCABULARY]), "outside of the vocabulary"), (batch(tok=[1, 2, 3]), "add up to"),
    (batch(tok=[-1, 5]), "a number that is no uint32"), (batch(tok=[2**40, 5]), "a number that is no uint32"),
    (batch(tok=[1.5, 5]), "'tok' has float64, not uint32"), (batch(tok=[[5, 6]]), "2 dimensions"),
    (batch(other=np.arange(3)), "cannot hold a ndarray"), (batch(end=True), "no record has a member 'end'"),
    ({"id": 0, "len": [1]}, "has no 'tok'"), (batch(more=2**64), "out of range"),
    (batch(more="\ud800"), "UTF-8"),
])
def test_a_false_record_is_not_written(made, tmp_path, record, says):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(ffkv.StreamError, match=says) as caught, writer_of(made, path) as writer:
        writer.write(batch())
        writer.write({**record, "id": 1})
    assert str(caught.value).startswith(f"{path}: record ")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("record", [batch([VOCABULARY]), {"id": 0, "len": 3, "tok": object()}, 7])
def test_who_goes_on_after_a_false_record_is_told(made, tmp_path, record):
    """Else the statement would end as if there were a file."""
    with pytest.raises(ValueError, match="failed before"), writer_of(made, tmp_path / "out") as writer:
        with pytest.raises((ffkv.StreamError, TypeError)):
            writer.write(record)
    assert os.listdir(tmp_path) == []


def test_shapes_are_the_declared_ones(made):
    """Of as many numbers, too."""
    reader, out = read(made["rows"]), io.BytesIO()
    writer = ffkv.Writer(out, reader.header)
    writer.write(next(reader))
    record = next(reader)
    with pytest.raises(ffkv.StreamError, match="'coef' has the shape"):
        writer.write({**record, "coef": record["coef"].T})


def test_an_exception_leaves_nothing(made, tmp_path):
    out = io.BytesIO()
    for target in tmp_path / "out", tmp_path / "out.gz", out:
        with pytest.raises(KeyError), writer_of(made, target) as writer:
            writer.write(batch())
            raise KeyError
        with pytest.raises(ValueError, match="finished"):
            writer.write(batch())
    assert os.listdir(tmp_path) == []
    with pytest.raises(ffkv.StreamError, match="without a trailer"):
        ffkv.load(io.BytesIO(out.getvalue()))


def test_a_program_that_ends_leaves_nothing(tmp_path, made):
    (tmp_path / "tokens").write_bytes(made["tokens"])
    script = "import ffkv; r = ffkv.read('tokens'); w = ffkv.Writer('out', r.header); w.write(next(r))"
    subprocess.run([sys.executable, "-c", script], timeout=TIMEOUT, check=True, cwd=tmp_path,
                   env={**os.environ, "PYTHONPATH": str(PYTHON)})
    assert os.listdir(tmp_path) == ["tokens"]


def test_what_a_killed_program_leaves_goes_with_the_next_make(tmp_path, made):
    """The random part of the name was longer than that of the tools' names."""
    (tmp_path / "tokens").write_bytes(made["tokens"])
    script = "import ffkv, os; r = ffkv.read('tokens'); w = ffkv.Writer('out', r.header); " \
        "w.write(next(r)); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script], timeout=TIMEOUT, check=False, cwd=tmp_path,
                   env={**os.environ, "PYTHONPATH": str(PYTHON)})
    assert len(os.listdir(tmp_path)) == 2
    subprocess.run([ROOT / "pipelines" / "alone.sh", tmp_path, "true"], timeout=TIMEOUT, check=True)
    assert sorted(os.listdir(tmp_path)) == [".made", "tokens"]


def test_the_end_of_records_that_fail_leaves_nothing(made, tmp_path):
    """A stage in Python whose input was cut has no output either."""
    reader = read(made["tokens"][:-3])
    with pytest.raises(ffkv.StreamError, match="cut"):
        ffkv.write(tmp_path / "out", reader.header, reader)
    assert os.listdir(tmp_path) == []


def test_a_file_appears_when_it_is_complete(made, tmp_path):
    """With the mode that a new file has, or that of the file that it replaces; a link stays one."""
    path, link = tmp_path / "out", tmp_path / "link"
    link.symlink_to("out")
    with writer_of(made, link) as writer:
        writer.write(batch())
        assert not path.exists()
    assert path.stat().st_mode & 0o777 == 0o644 and link.is_symlink()
    path.chmod(0o600)
    ffkv.write(link, writer.header, [batch()])
    assert path.stat().st_mode & 0o777 == 0o600 and link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "out"]


def test_nothing_binary_goes_to_a_terminal(made):
    leader, follower = pty.openpty()
    with open(leader, "rb"), open(follower, "wb", buffering=0) as terminal, \
            pytest.raises(ValueError, match="terminal"):
        writer_of(made, terminal)


def test_counts_that_cannot_be_known_are_asked_for(made):
    reader = read(made["triggers"])
    with pytest.raises(ffkv.StreamError, match="writer.trailer must have them"):
        ffkv.write(io.BytesIO(), reader.header, list(reader))


# ------------------------------------------------------------ views

def test_triggers_of_a_key(made):
    for record in ffkv.load(io.BytesIO(made["projected"])).records:
        if "coef" not in record:
            continue
        found, start = ffkv.triggers(record), 0
        assert len(found) == len(record["coef"])
        for i, trigger in enumerate(found):
            end = start + int(record["position"][i])
            assert trigger.prefix.tolist() == record["prefix"][start:end].tolist()
            assert trigger[:3] == (record["coef"][i], record["sentence"][i], record["position"][i])
            assert trigger[4:9] == tuple(record[name][i]
                                         for name in ("next", "next_rank", "next_p", "last_rank", "last_p"))
            start = end
    key = ffkv.load(io.BytesIO(made["triggers"])).records[0]
    assert ffkv.triggers(key)[0].next_rank is None


@pytest.mark.parametrize("kind", ["tokens", "sample"])
def test_sentences_of_a_batch(made, kind):
    """Each is the text's sentence of its number."""
    want = dict(enumerate(random_sentences(30, VOCABULARY, longest=8)))
    found = {sentence.number: sentence.tokens.tolist() for record in ffkv.load(io.BytesIO(made[kind])).records
             for sentence in ffkv.sentences(record)}
    assert len(found) == (30 if kind == "tokens" else 12)
    assert found == {number: want[number] for number in found}


def test_words(bin, model):
    line = "The jury said that it was out of date .\n"
    record, = ffkv.load(io.BytesIO(ok(bin, "tokenize", "-m", model, stdin=line.encode()))).records
    words = ffkv.words(model)
    assert " ".join(words[token] for token in record["tok"]) + "\n" == line
    assert len(words) == json.loads((model / "config.json").read_text())["vocab_size"]


def test_frames(made, tmp_path):
    path = tmp_path / "projected"
    path.write_bytes(made["projected"])
    records = [record for record in ffkv.load(path).records if "coef" in record]
    keys, each = ffkv.frame(path), ffkv.frame(records, by="trigger")
    assert len(keys) == len(records) == LAYERS * D_FF
    assert keys["layer"].tolist() == [record["layer"] + 1 for record in records] and keys["layer"].min() == 1
    assert keys["triggers"].tolist() == [len(record["coef"]) for record in records]
    assert keys.loc[0, "top"].tolist() == records[0]["top"].tolist()
    rows = [(record["layer"] + 1, record["cell"], number, *trigger) for record in records
            for number, trigger in enumerate(ffkv.triggers(record))]
    assert len(each) == len(rows) > 100
    names = ["layer", "cell", "trigger", "coef", "sentence", "position", "prefix", "next", "next_rank",
             "next_p", "last_rank", "last_p"]
    for name, column in zip(names, zip(*rows)):
        assert [as_json(value) for value in each[name]] == [as_json(value) for value in column], name
    assert each["coef"].dtype == np.float32
    values = ffkv.frame(io.BytesIO(made["values"]))
    assert len(values) == LAYERS * D_FF and set(values["triggers"]) == {0}
    assert len(ffkv.frame([], by="trigger")) == 0
    path.write_bytes(made["projected"][:-1])
    with pytest.raises(ffkv.StreamError):
        ffkv.frame(path)


def test_without_pandas_a_frame_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="python3-pandas"):
        ffkv.frame([])


# ------------------------------------------------------------ the package

def test_version():
    number, = re.findall(r'#define FFKV_VERSION "(.*)"', (ROOT / "common" / "base" / "version.h").read_text())
    assert ffkv.__version__ == number


def test_pip_installs_it(made, tmp_path):
    """As `pip install ./python` does, but with what it needs at fixed versions, which were fetched before."""
    python = environments.python("msgpack==1.1.2", "numpy==2.2.6", "setuptools==80.9.0")
    source = tmp_path / "python"
    source.mkdir()
    for name in "ffkv.py", "pyproject.toml":
        shutil.copy(PYTHON / name, source)
    (tmp_path / "tokens").write_bytes(made["tokens"])
    with environments.alone("ffkv"):
        for arguments in ["uninstall", "-qy", "ffkv"], \
                ["install", "-q", "--no-index", "--no-build-isolation", source]:
            environments.run(python, "-m", "pip", *arguments)
        shown = environments.run(python,
                                 "-c", "import importlib.metadata as m, sys, ffkv; print(m.version('ffkv'), "
                                 "ffkv.__file__, len(ffkv.load(sys.argv[1]).records))", tmp_path / "tokens")
        needs = environments.run(python, "-c", "import importlib.metadata as m; print(m.requires('ffkv'))")
    version, file, count = shown.split()
    assert version == ffkv.__version__ and "site-packages" in file
    assert int(count) == len(ffkv.load(tmp_path / "tokens").records)
    assert "msgpack" in needs and "numpy" in needs


# ------------------------------------------------------------ the notebook

RUN = """
import sys, nbformat, nbclient
book = nbformat.read("triggers.ipynb", 4)
book.cells.append(nbformat.v4.new_code_cell("print('found', agreement.to_json())"))
nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
print("".join(output.get("text", "") for output in book.cells[-1].outputs))
print("pictures", sum("image/png" in output.get("data", {}) for cell in book.cells
                      for output in cell.get("outputs", [])))
"""


def test_notebook(bin, model, valid, tmp_path):
    """It runs from its first cell to its last, and finds what agreement-stats finds."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    folder, out = tmp_path / "python", tmp_path / "out" / "brown-lm-quick"
    folder.mkdir()
    out.mkdir(parents=True)
    for name in "ffkv.py", "triggers.ipynb":
        shutil.copy(PYTHON / name, folder)
    tokens = ok(bin, "tokenize", "-m", model, "--limit", 100, valid)
    found = ok(bin, "topk-keys", "--top", 5, stdin=ok(bin, "forward-dump", "-m", model, stdin=tokens))
    (out / "triggers.msgpack").write_bytes(ok(bin, "project-values", "-m", model, stdin=found))
    done = subprocess.run([sys.executable, "-c", RUN], cwd=folder, capture_output=True, text=True,
                          timeout=TIMEOUT, check=False,
                          env={**os.environ, "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    agreement = json.loads(re.search(r"^found (.*)$", done.stdout, re.MULTILINE)[1])
    rows = table(ok(bin, "agreement-stats", out / "triggers.msgpack"))
    assert {layer: pytest.approx(share, abs=1e-5) for layer, share in agreement.items()} \
        == {row["layer"]: float(row["agree_next"]) for row in rows if row["agree_next"]}
    assert int(re.search(r"^pictures (\d+)$", done.stdout, re.MULTILINE)[1]) >= 1


def test_notebook_is_kept_without_outputs():
    cells = json.loads((PYTHON / "triggers.ipynb").read_text())["cells"]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
