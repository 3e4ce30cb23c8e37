"""Text and dictionaries that are not as they should be, and text that is only odd."""

import gzip
import random
import subprocess

import pytest

import random_model
import streams
from damage import Case, Reader, bounded, check
from helpers import command, environment, fails, ok, table

VOCABULARY = 12
MODES = "lines", "wikitext", "raw"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    directory = tmp_path_factory.mktemp("small") / "model"
    random_model.write_model(directory, layers=2, d_model=8, d_ff=4, heads=2, vocabulary=VOCABULARY,
                             cutoffs=(5, 8), factor=2)
    return directory


@pytest.fixture
def place(small, tmp_path):
    """A model directory to damage."""
    directory = tmp_path / "model"
    directory.mkdir()
    for name in "config.json", "dict.txt":
        (directory / name).write_bytes((small / name).read_bytes())
    return directory


def tokenize(model, *options):
    return Reader(" ".join(map(str, ["tokenize", *options])), "tokenize", ["--model", model, *options],
                  b"w4 w5\n")


def tokens(bin, model, data, *options):
    """[(length of each sentence)], [tokens] and the trailer."""
    stream = streams.read(ok(bin, "tokenize", "-m", model, *options, stdin=data))
    return ([int(n) for record in stream.records for n in record["len"]],
            [int(n) for record in stream.records for n in record["tok"]], stream.trailer)


# ------------------------------------------------------------- no sentences

@pytest.mark.parametrize("mode", MODES)
def test_nothing_in_it(bin, small, tmp_path, mode):
    cases = [Case(repr(data), data, "no sentence") for data in (
        b"", b"\n", b"\n\n\n", b" ", b" \t \r\n\x0b\x0c\n", "\u3000\u00a0\n\u2028\n".encode(),
        b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b"\n" * 300000)]
    if mode == "wikitext":
        cases += [Case("headings", b"\n = Title = \n\n = = Section = = \n", "no sentence")]
    check(bin, tokenize(small, "--mode", mode), cases, tmp_path)


def test_sentences_of_one_token(bin, small):
    """They have no prefix that could be a trigger: all keys are dead, and that is a result."""
    data = ok(bin, "tokenize", "-m", small, stdin=b"w5\nw6\n\nw7\n")
    for emit in "max", "max,coef,resid,ffn,prediction":
        for positions in "all", "random":
            dumped = ok(bin, "forward-dump", "-m", small, "--emit", emit, "--positions", positions,
                        stdin=data)
            for record in streams.read(dumped).records:
                if "max" in record:
                    assert (record["max"] == float("-inf")).all() and (record["argmax"] == 0).all()
                if positions == "random" and "coef" in record:
                    assert record["coef"].size == record["resid"].size == 0
            for prefixes in ["sentence"] if emit == "max" else ["sentence", "every"]:
                triggers = ok(bin, "topk-keys", "--prefixes", prefixes, stdin=dumped)
                assert all(len(record["coef"]) == 0 for record in streams.read(triggers).records[:-1])
                merged = ok(bin, "topk-keys", "--merge", "-", stdin=triggers)
                projected = ok(bin, "project-values", "-m", small, "-k", 2, stdin=merged)
                rows = table(ok(bin, "agreement-stats", stdin=projected))
                assert [(row["keys"], row["live_keys"], row["agree_next"])
                        for row in rows] == [("4", "0", "")] * 2


# ---------------------------------------------------------- long sentences

MANY = 1000000


@pytest.fixture(scope="module")
def long_line(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "long"
    path.write_bytes(b"w4\nw5 w6\n" + b"w7 " * MANY + b"\nw8\n")
    return path


def test_long_sentence(bin, small, tmp_path, long_line):
    out = tmp_path / "out"
    says = f"{long_line}: line 3: a sentence of {MANY} tokens, more than --max-length 4096; raise it"
    fails(bin, "tokenize", "-m", small, "-o", out, long_line, says=says)
    assert not list(tmp_path.iterdir())
    for mode in MODES:
        fails(bin, "tokenize", "-m", small, "--mode", mode, long_line, says="tokens, more than --max-length")


def test_long_sentence_truncated(bin, small, long_line):
    stream = streams.read(ok(bin, "tokenize", "-m", small, "--long", "truncate", long_line))
    assert [record["len"].tolist() for record in stream.records] == [[1, 2], [4096], [1]]
    assert (stream.trailer["truncated"], stream.trailer["skipped"]) == (1, 0)
    longest = streams.read(ok(bin, "tokenize", "-m", small, "--long", "truncate", "--max-length", 65535,
                              long_line))
    assert longest.records[1]["len"].tolist() == [65535]


def test_long_sentence_skipped(bin, small, tmp_path, long_line):
    stream = streams.read(ok(bin, "tokenize", "-m", small, "--long", "skip", long_line))
    assert [record["len"].tolist() for record in stream.records] == [[1, 2, 1]]
    assert (stream.trailer["truncated"], stream.trailer["skipped"]) == (0, 1)
    check(bin, tokenize(small, "--long", "skip", "--max-length", 1),
          [Case("nothing is left", b"w4 w5\nw6 w7 w8\n", "not longer than --max-length")], tmp_path)


@pytest.mark.release_only
def test_line_without_end(bin, small, tmp_path):
    """Memory is bounded, and the message comes before the end of the input."""
    for fill in b"a", b" ", b"ab ", b"a. ", "\u00e9".encode():
        for mode in MODES:
            tool, *args = bounded(bin, "tokenize", "--model", small, "--mode", mode, "-o", tmp_path / "out",
                                  memory=600 << 20)
            process = subprocess.Popen(command(bin, tool, *args), stdin=subprocess.PIPE,
                                       stderr=subprocess.PIPE, env=environment())
            chunk, written = fill * ((1 << 20) // len(fill)), 0
            try:
                while written < 200 << 20:
                    written += process.stdin.write(chunk)
                process.stdin.close()
            except BrokenPipeError:
                pass
            message = process.stderr.read().decode()
            process.stderr.close()
            assert process.wait(60) == 1 and written < 200 << 20
            assert message.startswith("tokenize: standard input: line 1, byte 67") and "64 MiB" in message
            assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------ bytes, not text

BAD = {"a Latin-1 letter": b"\xe9", "a lone continuation": b"\x80", "an overlong slash": b"\xc0\xaf",
       "an overlong NUL": b"\xc0\x80", "a surrogate": b"\xed\xa0\x80", "beyond Unicode": b"\xf4\x90\x80\x80",
       "five bytes": b"\xf8\x88\x80\x80\x80", "cut character": b"\xe2\x82", "0xff": b"\xff", "0xfe": b"\xfe"}


@pytest.mark.parametrize("mode", MODES)
def test_not_utf8(bin, small, tmp_path, mode):
    before = "w4 \u20ac w5 .\n".encode() * 10000  # more than one read
    cases = []
    for label, bad in BAD.items():
        cases += [
            Case(f"{label} first", bad + b" w4\n", "line 1, byte 1: not UTF-8"),
            Case(f"{label} in a line", b"w4 w5 .\nw4 w" + bad + b" w6\nw5\n", "line 2, byte 5: not UTF-8"),
            Case(f"{label} before a line's end", b"w4 w5 .\n\nw" + bad + b"\n", "line 3, byte 2: not UTF-8"),
            Case(f"{label} last", b"w4 w5 .\nw4 w" + bad, "line 2, byte 5: not UTF-8"),
            Case(f"{label} far behind", before + b"w4 w" + bad, "line 10001, byte 5: not UTF-8")]
    check(bin, tokenize(small, "--mode", mode), cases, tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_not_text(bin, small, tmp_path, mode):
    draw = random.Random(1)
    check(bin, tokenize(small, "--mode", mode), [
        Case("NUL", b"w4 w5 .\nw4 w\0 w6\n", "line 2, byte 5: a NUL byte"),
        Case("NUL last", b"w4 w5\n\0", "line 2, byte 1: a NUL byte"),
        Case("zeros", bytes(200000), "line 1, byte 1: a NUL byte"),
        Case("UTF-16, little endian", b"\xff\xfe" + "w4 w5\n".encode("utf-16-le"),
             "line 1, byte 1: not UTF-8"),
        Case("UTF-16 without a mark", "w4 w5\n".encode("utf-16-be"), "line 1, byte 1: a NUL byte"),
        Case("a stream", streams.write({"format": "ffkv", "arrays": {}}, []), "line 1"),
        *[Case(f"noise {i}", draw.randbytes(3000), "line") for i in range(10)]], tmp_path)


def test_characters_across_reads(bin, small):
    """A character's bytes may come with two reads: nothing is cut between them."""
    for shift in range(4):
        text = b"w4 " * 21844 + b" " * shift + "\u20ac \U0001f600 w5\n".encode() * 3
        assert tokens(bin, small, text, "--long", "truncate", "--max-length", 65535)[0] == [21847, 3, 3]


# --------------------------------------------------- what is odd but is text

@pytest.mark.parametrize("mode", MODES)
def test_ends_of_lines(bin, small, mode):
    text = b"w4 w5 .\n\nw6 w7 other .\n"
    plain = ok(bin, "tokenize", "-m", small, "--mode", mode, stdin=text)
    for label, odd in {"no last line end": text[:-1], "carriage returns": text.replace(b"\n", b"\r\n"),
                       "byte order mark": b"\xef\xbb\xbf" + text, "gzip": gzip.compress(text),
                       "two gzip members": gzip.compress(text[:9]) + gzip.compress(text[9:]),
                       "blank lines": b"\n \n" + text + b"\n\n",
                       "spaces": text.replace(b" ", b"\t  ")}.items():
        assert ok(bin, "tokenize", "-m", small, "--mode", mode, stdin=odd) == plain, label


def test_byte_order_mark_in_the_middle_is_text(bin, small):
    assert tokens(bin, small, b"w4\n\xef\xbb\xbfw5\n")[1] == [4, 3]


@pytest.mark.parametrize("mode", MODES)
def test_damaged_gzip(bin, small, tmp_path, mode):
    reader = tokenize(small, "--mode", mode)
    draw = random.Random(2)
    reader.good = b"".join(b"w%d w%d .\n" % (draw.randrange(4, 12), draw.randrange(4, 12))
                           for _ in range(200))
    data = gzip.compress(reader.good, mtime=0)
    flips = [(at, bytes([*data[:at], data[at] ^ 1 << draw.randrange(8), *data[at + 1:]]))
             for at in [*range(10, 30), *range(len(data) - 8, len(data))]]
    check(bin, reader, [Case(f"cut at {at}", data[:at], "gzip") for at in
                        [2, 9, 10, 11, 12, len(data) // 2, len(data) - 9, len(data) - 8, len(data) - 1]]
          + [Case(f"bit flipped in byte {at}", flipped, "gzip") for at, flipped in flips], tmp_path)


def test_files_that_are_none(bin, small, tmp_path):
    out = tmp_path / "out"
    fails(bin, "tokenize", "-m", small, "-o", out, tmp_path / "missing",
          says="missing: No such file or directory")
    fails(bin, "tokenize", "-m", small, "-o", out, tmp_path, says=f"{tmp_path}: is a directory")
    fails(bin, "tokenize", "-m", small, "-o", out, "/proc/self/mem",
          says="/proc/self/mem: Input/output error")
    (tmp_path / "line\nend\x1b[2J").mkdir()
    fails(bin, "tokenize", "-m", small, "-o", out, tmp_path / "line\nend\x1b[2J",
          says="line?end?[2J: is a directory")
    assert not out.exists()


# -------------------------------------------------------------- dictionaries

GOOD = "".join(f"w{i} {20 - i}\n" for i in range(4, VOCABULARY))


@pytest.mark.parametrize("words, says", [
    (b"w4 8\nw5\n", "line 2: 'word count'"), (b"w4 8\nw5 \n", "line 2: 'word count'"),
    (b"w4 8\nw5 x\n", "line 2: 'word count'"), (b"w4 8\nw5 1.5\n", "line 2: 'word count'"),
    (b"w4 8\n5\n", "line 2: 'word count'"), (b"w4 8\n 5\n", "line 2: 'word count'"),
    (b"w4 8\n-5\n", "line 2: 'word count'"), (b"w4 8\nw5\t7\n", "line 2: 'word count'"),
    (b"w4 8\nw\xff 7\n", "line 2, byte 2: not UTF-8"), (b"w4 8\nw\0 7\n", "line 2, byte 2: a NUL byte"),
    (b"w4 8\nw5 7\nw4 6\n", "line 3: the word 'w4' is here a second time"),
    (b"<unk> 8\n", "line 1: the word '<unk>' is here a second time"),
    (b"<s> 8\n", "line 1: the word '<s>'"), (b"w4 8\n\nw4 7\n", "line 3: the word 'w4'"),
    (GOOD.encode() + b"w12 1\n", f"line 9: more words than the model's vocabulary of {VOCABULARY}"),
    (b"".join(b"word%d 1\n" % i for i in range(100000)), "line 9: more words"),
    (gzip.compress(GOOD.encode(), mtime=0)[:-4], "gzip"),
    (b"a" * 1000 + b"\n", "line 1: 'word count'")], ids=lambda value: repr(value[:30]))
def test_dictionary(bin, place, tmp_path, words, says):
    (place / "dict.txt").write_bytes(words)
    message = fails(bin, "tokenize", "-m", place, "-o", tmp_path / "out", stdin=b"w4\n", says=says)
    assert message.startswith(f"tokenize: {place}/dict.txt: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_dictionary_for_every_tool_that_reads_it(bin, small, place):
    data = ok(bin, "tokenize", "-m", small, stdin=b"w4 w5\n")
    (place / "model.safetensors").write_bytes((small / "model.safetensors").read_bytes())
    (place / "dict.txt").write_bytes(b"w4\n")
    fails(bin, "forward-dump", "-m", place, stdin=data, says=f"{place}/dict.txt: line 1: 'word count'")


def test_no_dictionary(bin, place):
    (place / "dict.txt").unlink()
    fails(bin, "tokenize", "-m", place, stdin=b"w4\n",
          says=f"{place}: there is no tokenizer: it is to be in tokenizer.json")
    (place / "dict.txt").mkdir()
    fails(bin, "tokenize", "-m", place, stdin=b"w4\n", says=f"{place}/dict.txt: is a directory")


def test_dictionaries_that_are_odd(bin, place):
    for words, expected in [
            (GOOD.replace("\n", "\r\n"), [4, 5, 3]), (GOOD.rstrip("\n"), [4, 5, 3]),
            ("\ufeff" + GOOD, [4, 5, 3]),
            (GOOD.replace("w5 15\n", "w5 15 \n"), [4, 5, 3]), (GOOD.replace("w4 ", "two words "), [3, 5, 3])]:
        (place / "dict.txt").write_bytes(words.encode())
        assert tokens(bin, place, b"w4 w5 w99\n")[1] == expected, words
