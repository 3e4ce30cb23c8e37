"""What every reader does with compressed input: gzip of several members, damage in any of
them, and what is not gzip.  Expected: Python's gzip, bz2 and lzma, and RFC 1952."""

import bz2
import fcntl
import gzip
import lzma
import os
import subprocess
import time
from pathlib import Path

import pytest

import streams
from conftest import ROOT
from helpers import command, environment, fails, ok, random_sentences, text

TEXT = text(random_sentences(300, 100, seed=8))
HEAD_BYTES, TAIL_BYTES = 10, 8  # of a member, around the compressed data


@pytest.fixture(scope="module")
def readers(bin, small_model):
    """{what is read: (tool, arguments, input)}"""
    tokens = ok(bin, "tokenize", "-m", small_model, stdin=TEXT)
    return {"text": ("tokenize", ["-m", small_model], TEXT), "stream": ("stream-cat", [], tokens),
            "table": ("pattern-stats", [], (ROOT / "data" / "annotations" / "brown-lm.csv").read_bytes())}


@pytest.fixture(params=["text", "stream", "table"])
def reader(request, readers):
    return readers[request.param]


def members(data, count):
    step = len(data) // count
    pieces = [data[i * step:(i + 1) * step if i < count - 1 else None] for i in range(count)]
    assert b"".join(pieces) == data
    return [gzip.compress(piece, mtime=0) for piece in pieces]


def test_members_are_joined(bin, reader):
    """Two ways to the same bytes, also with members that are empty."""
    tool, arguments, data = reader
    whole = ok(bin, tool, *arguments, stdin=data)
    for count in 1, 2, 50:
        assert ok(bin, tool, *arguments, stdin=b"".join(members(data, count))) == whole
    empty = gzip.compress(b"")
    assert ok(bin, tool, *arguments, stdin=empty * 3 + empty.join(members(data, 4)) + empty) == whole


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def test_a_damaged_member_is_no_end(bin, reader):
    """Each byte of the head and tail of the second and of the last member, some between them, and every place
    to cut."""
    tool, arguments, data = reader
    first, second, third = members(data, 3)
    harmless = {3, 4, 5, 6, 7, 8, 9}  # a flag that says it is text, time, extra flags, operating system
    for at in {*range(HEAD_BYTES), *range(len(second) - TAIL_BYTES, len(second)),
               len(second) // 2} - harmless:
        fails(bin, tool, *arguments, stdin=first + flipped(second, at) + third,
              says="damaged or cut gzip data")
    for at in {0, 1, 2, len(third) // 2, *range(len(third) - TAIL_BYTES, len(third))}:
        fails(bin, tool, *arguments, stdin=first + second + flipped(third, at),
              says="damaged or cut gzip data")
    for length in {*range(1, HEAD_BYTES + 1), *range(len(third) - TAIL_BYTES, len(third)), len(third) // 2}:
        fails(bin, tool, *arguments, stdin=first + second + third[:length],
              says="damaged or cut gzip data (unexpected end of file), behind 2 whole members")


def test_what_follows_a_member_is_another_or_an_error(bin, reader):
    tool, arguments, data = reader
    for more in b"\0", bytes(100000), b"\n", b"w4 w5\n", b"\x1f", b"\x1f\x8b", b"\x1f\x8c", b"BZh9", TEXT:
        fails(bin, tool, *arguments, stdin=gzip.compress(data) + more, says="behind 1 whole members")


def test_a_dictionary_with_something_behind_it(bin, small_model, tmp_path):
    """What belongs to the model is read by the same rule."""
    for path in small_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    words = (small_model / "dict.txt").read_bytes()
    whole = ok(bin, "tokenize", "-m", small_model, stdin=TEXT)
    first, second = members(words, 2)
    (tmp_path / "dict.txt").write_bytes(first + second)
    assert ok(bin, "tokenize", "-m", tmp_path, stdin=TEXT) == whole
    for damaged in first + flipped(second, 0), first + second + b"x", first + second[:-1]:
        (tmp_path / "dict.txt").write_bytes(damaged)
        fails(bin, "tokenize", "-m", tmp_path, stdin=TEXT, says="dict.txt: damaged or cut gzip data")


ZSTD = b"\x28\xb5\x2f\xfd" + bytes(20)  # RFC 8878: how a frame begins


def test_other_compression_is_named(bin, reader, tmp_path):
    tool, arguments, data = reader
    for compressed, program in [(bz2.compress(data, 9), "bzcat"), (bz2.compress(data, 1), "bzcat"),
                                (lzma.compress(data), "xzcat"), (ZSTD, "zstdcat")]:
        fails(bin, tool, *arguments, stdin=compressed,
              says=f"standard input: compressed, and not by gzip: pipe it in from {program}")
        (tmp_path / "file").write_bytes(compressed)
        fails(bin, tool, *arguments, tmp_path / "file",
              says=f"{tmp_path / 'file'}: compressed, and not by gzip")
        fails(bin, tool, *arguments, stdin=gzip.compress(compressed),
              says=f"compressed twice: pipe it in from zcat and {program}")
    fails(bin, tool, *arguments, stdin=gzip.compress(gzip.compress(data)),
          says="compressed twice: pipe it in from zcat and gunzip")


def test_text_that_begins_like_a_signature_is_text(bin, small_model):
    for word in "BZh", "BZh9", "BZh9 1AY&SY", "BZh91AY&SX", "7zXZ", "(", "1AY&SY":
        stream = streams.read(ok(bin, "tokenize", "-m", small_model, stdin=f"{word}\n{word} w4\n".encode()))
        assert stream.trailer["sentences"] == 2


@pytest.mark.parametrize("size", [*range(13), 65536, 1 << 18, (1 << 18) + 1])
def test_inputs_of_every_size(bin, small_model, size):
    """Whole, byte by byte, and compressed: the same sentences."""
    data = (b"w4 w5\n" * (size // 6 + 1))[:size]
    if not data.strip():
        fails(bin, "tokenize", "-m", small_model, stdin=data, says="there is no sentence in it")
        return
    whole = ok(bin, "tokenize", "-m", small_model, stdin=data)
    assert ok(bin, "tokenize", "-m", small_model, stdin=gzip.compress(data)) == whole
    if size < 100:
        with subprocess.Popen(command(bin, "tokenize", "-m", small_model), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=environment(), bufsize=0) as process:
            for i in range(size):
                process.stdin.write(data[i:i + 1])
            process.stdin.close()
            assert process.stdout.read() == whole


def test_a_pipe_takes_a_burst_of_records(bin):
    """The usual 64 KB hold less than one layer's record, so that two stages would work in turns."""
    reading, writing = os.pipe()
    most = int(Path("/proc/sys/fs/pipe-max-size").read_text())
    with subprocess.Popen([bin / "stream-cat"], stdin=reading, stdout=subprocess.DEVNULL, env=environment(),
                          stderr=subprocess.DEVNULL) as reader:
        os.close(reading)
        for _ in range(200):
            if (capacity := fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)) >= min(most, 1 << 20):
                break
            time.sleep(0.05)
        os.close(writing)
        assert reader.wait() == 1  # nothing is no stream
    assert capacity >= min(most, 1 << 20)
