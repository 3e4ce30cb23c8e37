"""The same bytes whatever the number of threads and shards, their order, the
pieces of the corpus, compression, and whether a stage reads a pipe or a file."""

import gzip
import sys

import pytest

import streams
from helpers import ok, pipeline, random_sentences, text

SENTENCES = 120

# A stage of one's own: reads a stream with a MessagePack library, checks its
# CRC-32, and writes all of it anew.
PYTHON_STAGE = """
import struct, sys, zlib, msgpack
data = sys.stdin.buffer.read()
assert struct.unpack("<I", data[-4:])[0] == zlib.crc32(data[:-4])
unpacker = msgpack.Unpacker(raw=False, max_buffer_size=0)
unpacker.feed(data)
*objects, trailer = unpacker
assert trailer["end"] and trailer["records"] == len(objects) - 1
body = b"".join(map(msgpack.packb, objects))
trailer["crc"] = bytes(4)
body += msgpack.packb(trailer)[:-4]
sys.stdout.buffer.write(body + struct.pack("<I", zlib.crc32(body)))
"""


@pytest.fixture(scope="module",
                params=["small", pytest.param("shipped", marks=pytest.mark.release_only)])
def data(request, model, small_model, valid):
    """A model's directory and text for it."""
    if request.param == "small":
        return small_model, text(random_sentences(400, 100, seed=6))
    lines = valid.read_bytes().splitlines(keepends=True)
    return model, b"".join(lines[:SENTENCES])


def tokenized(bin, data, *options):
    return ok(bin, "tokenize", "-m", data[0], "--batch", 256, *options, stdin=data[1])


def searched(bin, data, tokens, threads=1, search=("-t", 6), positions="max"):
    return pipeline(bin, ["forward-dump", "-m", data[0], "--threads", threads, "--emit", positions],
                    ["topk-keys", *search], stdin=tokens)


def finished(bin, data, triggers, directory, threads=1):
    """Every result that follows from triggers, as bytes."""
    values = ok(bin, "project-values", "-m", data[0], "--threads", threads, stdin=triggers)
    files = [directory / name for name in ("rank", "confidence")]
    agreement = ok(bin, "agreement-stats", "--rank", files[0], "--confidence", files[1], stdin=values)
    return [triggers, values, agreement, *(path.read_bytes() for path in files)]


@pytest.fixture(scope="module")
def one_run(bin, data, tmp_path_factory):
    """One thread, one shard, files without compression."""
    triggers = searched(bin, data, tokenized(bin, data))
    return finished(bin, data, triggers, tmp_path_factory.mktemp("one"))


def test_two_threads(bin, data, one_run, tmp_path):
    """Two ways to the same bytes: one thread, and two and three."""
    for threads in 2, 3:
        triggers = searched(bin, data, tokenized(bin, data), threads)
        assert finished(bin, data, triggers, tmp_path, threads) == one_run


def test_every_array_with_two_threads(bin, data):
    """Two ways to the same bytes: all that forward-dump can write."""
    tokens = tokenized(bin, data, "--limit", 60)
    for options in (["--emit", "max,coef,resid,ffn,prediction"],
                    ["--emit", "coef,ffn", "--positions", "random", "--layers", "0-2", "--cells", "1,5-9"]):
        one = ok(bin, "forward-dump", "-m", data[0], "--threads", 1, *options, stdin=tokens)
        assert ok(bin, "forward-dump", "-m", data[0], "--threads", 2, *options, stdin=tokens) == one
        assert ok(bin, "forward-dump", "-m", data[0], *options, stdin=tokens) == one


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_shards(bin, data, one_run, tmp_path, shards):
    """Two ways to the same bytes: one run, and shards merged in several orders."""
    paths = []
    for i in range(shards):
        paths.append(tmp_path / f"shard{i}")
        tokens = tokenized(bin, data, "--shard", f"{i}/{shards}")
        paths[-1].write_bytes(searched(bin, data, tokens, threads=1 + i % 2))
    for order in paths, paths[::-1], paths[1::2] + paths[::2]:
        assert ok(bin, "topk-keys", "--merge", *order) == one_run[0]
    assert finished(bin, data, one_run[0], tmp_path, threads=2) == one_run


def test_shards_of_every_prefix(bin, data, tmp_path):
    """Two ways to the same bytes, with all prefixes and a sample of the keys."""
    search = ["-t", 30, "--prefixes", "every", "--sample", 7, "--seed", 5]
    whole = searched(bin, data, tokenized(bin, data), search=search, positions="coef")
    for i in range(3):
        tokens = tokenized(bin, data, "--shard", f"{i}/3")
        (tmp_path / f"{i}").write_bytes(searched(bin, data, tokens, search=search, positions="coef"))
    assert ok(bin, "topk-keys", "--merge", *(tmp_path / f"{i}" for i in (2, 0, 1))) == whole


def test_pieces(bin, data, one_run, tmp_path):
    """Two ways to the same bytes: --from and --to cut between batches wherever
    they fall, also with shards within a piece."""
    edges = [0, 1, 17, 60, 61, 100]
    paths = []
    for start, end in zip(edges, [*edges[1:], None]):
        for shard in ["0/2", "1/2"] if start == 61 else ["0/1"]:
            options = ["--from", start, "--shard", shard, *(["--to", end] if end else [])]
            paths.append(tmp_path / f"{len(paths)}")
            paths[-1].write_bytes(searched(bin, data, tokenized(bin, data, *options)))
    assert ok(bin, "topk-keys", "--merge", *paths) == one_run[0]


def test_pieces_are_whole_batches(bin, data):
    """Expected by the contract: the pieces' batches are those of one run."""
    def batches(*options):
        return [(r["id"], r["len"].tolist(), r["tok"].tolist())
                for r in streams.read(tokenized(bin, data, *options)).records]

    whole = batches()
    assert len(whole) > 8
    assert batches("--shard", "1/3") == whole[1::3]
    assert batches("--from", whole[2][0]) == whole[2:]
    assert batches("--from", whole[2][0] + 1) == whole[3:]
    assert batches("--to", whole[4][0] + 1) == whole[:5]
    assert batches("--to", whole[4][0]) == whole[:4]
    assert batches("--from", whole[1][0], "--to", whole[6][0], "--shard", "0/2") == whole[2:6:2]
    assert batches("--from", 10 ** 6) == []
    counts = [streams.read(tokenized(bin, data, "--shard", f"{i}/3")).trailer for i in range(3)]
    total = streams.read(tokenized(bin, data)).trailer
    for name in "sentences", "tokens", "unknown":
        assert sum(count[name] for count in counts) == total[name]


def test_gzip_and_files(bin, data, one_run, tmp_path):
    """Two ways to the same bytes: compressed files between all stages."""
    stages = [["tokenize", "-m", data[0], "--batch", 256], ["forward-dump", "-m", data[0]],
              ["topk-keys", "-t", 6], ["project-values", "-m", data[0]]]
    (tmp_path / "text.gz").write_bytes(gzip.compress(data[1]))
    before, plain = tmp_path / "text.gz", b""
    for stage in stages:
        after = tmp_path / (stage[0] + ".gz")
        ok(bin, *stage, "-z", "-o", after, before)
        plain = ok(bin, *stage, before)
        assert after.read_bytes()[:2] == b"\x1f\x8b"
        assert gzip.decompress(after.read_bytes()) == plain
        assert ok(bin, *stage, "-z", before) == after.read_bytes()
        before = after
    assert plain == one_run[1]
    assert ok(bin, "agreement-stats", before) == one_run[2]


def test_pipes_are_files(bin, data, one_run, tmp_path):
    """Two ways to the same bytes: one pipeline, and a file after each stage."""
    path = tmp_path / "text"
    path.write_bytes(data[1])
    piped = pipeline(bin, ["tokenize", "-m", data[0], "--batch", 256, path], ["forward-dump", "-m", data[0], "-"],
                     ["topk-keys", "-t", 6], ["project-values", "-m", data[0]], ["agreement-stats"])
    assert piped == one_run[2]


def test_stage_in_python(bin, data, one_run):
    """Two ways to the same bytes: with scripts between the stages, which read
    the stream and write it anew."""
    script = [sys.executable, "-c", PYTHON_STAGE]
    piped = pipeline(bin, ["tokenize", "-m", data[0], "--batch", 256], script,
                     ["forward-dump", "-m", data[0]], script, ["topk-keys", "-t", 6], script,
                     ["project-values", "-m", data[0]], script, stdin=data[1])
    assert piped == one_run[1]
