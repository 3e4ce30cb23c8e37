"""The same bytes whatever the number of threads and shards, their order, the
pieces of the corpus, compression, and whether a stage reads a pipe or a file."""

import gzip
import sys

import numpy as np
import pytest

import streams
from helpers import ok, pipeline, random_sentences, sentences_of, text

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
                    ["--emit", "coef,ffn", "--positions", "random", "--layers", "1-3", "--cells", "1,5-9"]):
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


# Which sentences and positions section 5's statistics are of.
PREFIXES = {"every position": ([], []), "random positions": ([], ["--positions", "random"]),
            "sample": (["--sample", "60", "--seed", "3"], ["--positions", "random", "--seed", "4"])}


@pytest.fixture(scope="module")
def summed(bin, data, tmp_path_factory):
    """Of section 5's tools: {tool: (function of threads and input: sums, function of sums' files:
    tables)}."""
    place = tmp_path_factory.mktemp("summed")
    ok(bin, "project-values", "-m", data[0], "--all", "-k", 1, "-o", place / "values")
    (place / "words").write_bytes(b"the\nof\nw4\nw5\nw6\nw7\nw8\n")
    making = {"composition-stats": ["--values", place / "values"], "refinement-stats": []}
    tables = {"composition-stats": ["--active"],
              "refinement-stats": ["--cases", "--last-layer", "--settled", "--perplexity"]}

    def made(tool):
        def all_tables(*options, stdin=b""):
            named = sum(([option, place / f"{tool}{option}"] for option in tables[tool]), [])
            words = ["--stop-words", place / "words"] if tool == "composition-stats" else []
            out = ok(bin, tool, "-m", data[0], *words, *named, *options, stdin=stdin)
            return [out, *((place / f"{tool}{option}").read_bytes() for option in tables[tool])]

        return (lambda rows, threads: ok(bin, tool, "-m", data[0], *making[tool],
                                         "--sums", "--threads", threads, stdin=rows),
                lambda rows, threads: all_tables(*making[tool], "--threads", threads, stdin=rows),
                lambda *paths: all_tables("--merge", *paths))

    return {tool: made(tool) for tool in tables}


def rows(bin, data, prefixes, *options):
    sentences, positions = PREFIXES[prefixes]
    return pipeline(bin, ["tokenize", "-m", data[0], "--batch", 256, *sentences, *options],
                    ["forward-dump", "-m", data[0], "--emit", "coef,resid,ffn", *positions], stdin=data[1])


@pytest.mark.parametrize("data, prefixes", [
    *(("small", prefixes) for prefixes in PREFIXES),
    pytest.param("shipped", "sample", marks=pytest.mark.release_only)], indirect=["data"])
def test_sums_and_tables_of_section_5(bin, data, prefixes, summed, tmp_path):
    """Two ways to the same bytes: one thread, two and three; one run, and 1, 3 and 7 shards merged
    in several orders, to tables and to sums, and merged from merged ones."""
    whole = rows(bin, data, prefixes)
    shards = {count: [rows(bin, data, prefixes, "--shard", f"{i}/{count}") for i in range(count)]
              for count in (1, 3, 7)}
    for tool, (to_sums, to_tables, merged_tables) in summed.items():
        sums, tables = to_sums(whole, 1), to_tables(whole, 1)
        assert all(len(table.splitlines()) > 1 for table in tables)
        assert to_sums(whole, 2) == sums and to_tables(whole, 3) == tables
        for count, parts in shards.items():
            paths = [tmp_path / f"{tool}-{i}-{count}" for i in range(count)]
            for i, path in enumerate(paths):
                path.write_bytes(to_sums(parts[i], 1 + i % 2))
            for order in paths, paths[::-1], paths[1::2] + paths[::2]:
                assert ok(bin, tool, "--merge", "--sums", *order) == sums
            assert merged_tables(*order) == tables
        # the last ones are 7: the first three, and the others
        for name, some in ("a", paths[2::-1]), ("b", paths[3:]):
            ok(bin, tool, "--merge", "--partial", "--sums", "-z", "-o", tmp_path / name, *some)
        assert merged_tables(tmp_path / "b", tmp_path / "a") == tables


class TestSampleOfSentences:
    """tokenize --sample."""

    def sampled(self, bin, data, *options):
        """{number: tokens}, and the batches' numbers."""
        stream = streams.read(tokenized(bin, data, *options))
        found = {}
        for record in stream.records:
            assert record["sentence"][0] == record["id"]
            for number, tokens in zip(record["sentence"].tolist(),
                                      np.split(record["tok"], np.cumsum(record["len"])[:-1])):
                found[number] = tokens.tolist()
        assert list(found) == sorted(found) and len(found) == stream.trailer["sentences"]
        return found, [record["sentence"].tolist() for record in stream.records]

    @pytest.fixture(scope="class")
    def whole(self, bin, data):
        return dict(enumerate(sentences_of(streams.read(tokenized(bin, data)))))

    def test_it_has_sentences_of_the_corpus_with_their_numbers(self, bin, data, whole):
        for size in 1, 7, 50:
            found, _ = self.sampled(bin, data, "--sample", size)
            assert len(found) == size and all(whole[number] == tokens for number, tokens in found.items())

    def test_a_larger_one_contains_the_smaller(self, bin, data, whole):
        numbers = [set(self.sampled(bin, data, "--sample", size)[0])
                   for size in (1, 2, 10, 50, len(whole), 10 ** 6)]
        assert all(a < b for a, b in zip(numbers[:4], numbers[1:5])) \
            and numbers[4] == numbers[5] == set(whole)

    def test_seeds_choose_others(self, bin, data):
        one, two = (set(self.sampled(bin, data, "--sample", 20, "--seed", seed)[0]) for seed in (1, 2))
        assert one == set(self.sampled(bin, data, "--sample", 20)[0]) and len(one & two) < 15

    def test_the_choice_does_not_depend_on_the_words(self, bin, data):
        """Nor on the batches: the same numbers in a text of other words, of as many lines."""
        lines = data[1].splitlines()
        other = data[0], b"".join(b"w%d\n" % (i % 9) for i in range(len(lines)))
        assert set(self.sampled(bin, data, "--sample", 20)[0]) \
            == set(self.sampled(bin, other, "--sample", 20)[0]) \
            == set(self.sampled(bin, data, "--sample", 20, "--batch", 16)[0])

    def test_shards_are_the_sample(self, bin, data):
        whole, batches = self.sampled(bin, data, "--sample", 40, "--batch", 64)
        assert len(batches) > 7
        for count in 3, 7:
            parts = [self.sampled(bin, data, "--sample", 40, "--batch", 64, "--shard", f"{i}/{count}")
                     for i in range(count)]
            assert [part for _, part in parts] == [batches[i::count] for i in range(count)]
            assert {number: tokens for found, _ in parts for number, tokens in found.items()} == whole
        found, _ = self.sampled(bin, data, "--sample", 40, "--batch", 64, "--to", batches[3][0])
        assert found == {number: whole[number] for number in sum(batches[:3], [])}

    def test_limit_comes_first(self, bin, data):
        assert set(self.sampled(bin, data, "--sample", 15, "--limit", 15)[0]) == set(range(15))

    def test_triggers_of_a_sample_keep_their_numbers(self, bin, data, whole):
        """Two ways to the same triggers, by number and words."""
        tokens = tokenized(bin, data, "--sample", 30)
        found, _ = self.sampled(bin, data, "--sample", 30)
        keys = [r for r in streams.read(searched(bin, data, tokens)).records if "layer" in r]
        ends = [(s, j, n) for key in keys
                for s, j, n in zip(key["sentence"].tolist(), key["position"].tolist(), key["next"].tolist())]
        assert len(ends) > 100 and all(found[s][j] == n for s, j, n in ends)


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
    assert batches("--from", 1, "--to", whole[1][0]) == []  # no batch begins there
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
    piped = pipeline(bin, ["tokenize", "-m", data[0], "--batch", 256, path],
                     ["forward-dump", "-m", data[0], "-"],
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
