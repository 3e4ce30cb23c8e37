"""shallow-stats: what a key's triggers have in common, by hand and against a plain
recomputation; random prefixes by what must hold of any choice of sentences."""

import itertools
import subprocess

import numpy as np
import pytest

import intervals
import streams
from conftest import ROOT
from helpers import (TIMEOUT, assert_close, environment, fails, ok, pipeline, random_sentences, raw_table,
                     table, text)
from test_perturbation import TRIGGERS, header, key

LAYER = ["layer", "keys", "same_last_1", "same_last_2", "same_last_3", "overlap", "overlap_random",
         "overlap_before", "overlap_before_random", "same_last_1_random", "same_last_2_random",
         "same_last_3_random"]
QUARTILES = [f"{name}_p{q}" for name in LAYER[2:] for q in (25, 50, 75)]


def stream(keys, counts=None, tokenizer=None):
    records = [*keys, {"token_counts": counts}] if counts else keys
    arrays = {**TRIGGERS, "token_counts": "uint64"}
    more = {"tokenizer": tokenizer} if tokenizer else {}
    if tokenizer:
        more["model"] = {"id": "none", "architecture": "none", "layers": 3, "d_model": 4, "d_ff": 10,
                         "vocabulary": tokenizer["vocabulary"], "activation": "relu"}
    return streams.write(header("triggers", arrays, layers=[0, 1, 2], cells=None, keys=len(keys), top=50,
                                prefixes="sentence", rank="value") | more, records)


def triggers(*prefixes):
    return [(prefix, 5) for prefix in prefixes]


def shallow(bin, data, *options):
    """{layer: {column: number or None}}"""
    rows = table(ok(bin, "shallow-stats", *options, stdin=data))
    assert all(list(row) == [*LAYER, *QUARTILES,
                             *intervals.named(dict.fromkeys(LAYER[2:], intervals.NOTHING))] for row in rows)
    return {int(row["layer"]): {name: float(value) if value else None for name, value in row.items()}
            for row in rows}


# -------------------------------------------------------------- worked by hand

HAND = [
    # last 1: 6 in three of four; last 2: 5 6 in two; last 3: 4 5 6 once, as is 9 8 6
    key(0, 1, triggers([4, 5, 6], [5, 6], [9, 8, 6], [7])),
    # last 1: both; nothing longer
    key(0, 3, triggers([4], [4])),
    # one trigger: not counted
    key(0, 4, triggers([4, 5, 6])),
    # no token in common; 10 stands twice in one
    key(2, 0, triggers([10, 11, 10], [12])),
]


def test_ends_by_hand(bin):
    """Expected by hand, of keys with two triggers and more: (3/4 + 1) / 2, (2/4 + 0) / 2, (1/4 + 0) / 2."""
    found = shallow(bin, stream(HAND), "--skip-frequent", 0)
    assert sorted(found) == [1, 3]
    assert [found[1][name] for name in LAYER[1:5]] == [2, 0.875, 0.25, 0.125]
    assert [found[3][name] for name in LAYER[1:5]] == [1, 0.5, 0.5, 0.5]
    assert all(found[layer][name] is None for layer in found for name in LAYER if name.endswith("random"))


def test_overlap_by_hand(bin):
    """Expected by hand: of the first key's six pairs {4 5 6}{5 6}: 2/3, {4 5 6}{6 8 9}: 1/5, {5 6}{6 8 9}:
    1/4, the others 0; without the last tokens {4 5}{5}: 1/2 and five of 0."""
    found = shallow(bin, stream(HAND), "--skip-frequent", 0)
    first = (2 / 3 + 1 / 5 + 1 / 4) / 6
    assert_close([found[1]["overlap"], found[1]["overlap_before"]], [(first + 1) / 2, (0.5 / 6 + 0) / 2],
                 1e-8)
    assert (found[3]["overlap"], found[3]["overlap_before"]) == (0, 0)


def test_frequent_tokens_by_hand(bin):
    """Expected by hand, without 6 and 4 (the lower one of equals, 4 and 8): {5}{5}: 1, {8 9}: 0; but ends
    stay."""
    counts = [0, 0, 0, 0, 7, 1, 9, 1, 7] + [0] * 11
    found = shallow(bin, stream(HAND, counts), "--skip-frequent", 2)
    assert_close(found[1]["overlap"], (1 / 6 + 0) / 2, 1e-8)
    assert found[1]["same_last_1"] == 0.875
    assert shallow(bin, stream(HAND, counts), "--skip-frequent", 3)[1]["overlap"] == found[1]["overlap"]
    assert shallow(bin, stream(HAND, counts))[1]["overlap"] == 0  # 100 are all


def test_top_and_sample(bin):
    """Expected by hand: only the best two triggers; only one key a layer, always the same one."""
    assert shallow(bin, stream(HAND), "--skip-frequent", 0, "--top", 2)[1]["same_last_2"] == 0.5
    keys = [key(1, cell, triggers(*[[4 + i] for i in range(2 + cell)])) for cell in range(10)]
    found = [shallow(bin, stream(keys), "--skip-frequent", 0, "--sample", 1, "--seed", seed)[2]
             for seed in range(20)]
    assert {row["keys"] for row in found} == {1} and len({row["same_last_1"] for row in found}) > 3
    assert shallow(bin, stream(keys), "--skip-frequent", 0)[2]["keys"] == 10


@pytest.fixture(scope="module")
def tokenizer(bin, small_model):
    return streams.read(ok(bin, "tokenize", "-m", small_model, stdin=b"x")).header["tokenizer"]


def test_keys_and_ngrams_by_hand(bin, small_model, tokenizer, tmp_path):
    """Expected by hand: the n-gram of most prefixes, equal ones by lower tokens; those
    shared by two prefixes or more, however often they stand in one."""
    keys = [key(0, 1, triggers([4, 5, 6], [5, 6], [9, 8, 6], [7])),
            key(1, 2, triggers([9, 9, 9, 9, 9], [8, 9, 9]))]
    ok(bin, "shallow-stats", "-m", small_model, "--skip-frequent", 0, "--least", 2,
       "--keys", tmp_path / "keys", "--ngrams", tmp_path / "ngrams", stdin=stream(keys, tokenizer=tokenizer))
    first, second = table(tmp_path / "keys")
    assert list(first.items()) == [
        ("layer", "1"), ("cell", "1"), ("triggers", "4"), ("same_last_1", "0.75"), ("last_1", "w6"),
        ("same_last_2", "0.5"),
        ("last_2", "w5 w6"), ("same_last_3", "0.25"), ("last_3", "w4 w5 w6"),
        ("overlap", f"{(2 / 3 + 1 / 5 + 1 / 4) / 6:.9g}"),
        ("overlap_random", ""), ("overlap_before", f"{1 / 12:.9g}"), ("overlap_before_random", "")]
    assert (second["last_2"], second["same_last_3"], second["last_3"]) == ("w9 w9", "0.5", "w8 w9 w9")
    assert [tuple(row.values()) for row in table(tmp_path / "ngrams")] == [
        ("1", "1", "1", "3", "w6"), ("1", "1", "1", "2", "w5"), ("1", "1", "2", "2", "w5 w6"),
        ("2", "2", "1", "2", "w9"), ("2", "2", "2", "2", "w9 w9")]


def test_ngrams_of_frequent_tokens(bin, small_model, tokenizer, tmp_path):
    """Expected by hand: those of 6 only are left out, those with 6 in them are not; at most five."""
    prefix = [6, 6, 10, 11, 12, 13, 14, 15]
    counts = [0] * 6 + [9] + [0] * 93
    ok(bin, "shallow-stats", "-m", small_model, "--skip-frequent", 1, "--ngrams", tmp_path / "ngrams",
       stdin=stream([key(0, 1, triggers(prefix, prefix, prefix))], counts, tokenizer))
    found = table(tmp_path / "ngrams")
    assert [row["ngram"] for row in found if row["n"] == "1"] == ["w10", "w11", "w12", "w13", "w14"]
    assert [row["ngram"] for row in found if row["n"] == "2"] == ["w6 w10", "w10 w11", "w11 w12", "w12 w13",
                                                                  "w13 w14"]
    assert {row["triggers"] for row in found} == {"3"}


# ------------------------------------------------------- against a recomputation

def jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 0


def recomputed(prefixes, skip):
    """same_last_1 .. 3, overlap, overlap_before of one key."""
    shares = []
    for n in (1, 2, 3):
        ends = [tuple(p[-n:]) for p in prefixes if len(p) >= n]
        shares.append(max(map(ends.count, ends), default=0) / len(prefixes))
    for cut in (0, 1):
        sets = [set(p[:len(p) - cut]) - skip for p in prefixes]
        pairs = list(itertools.combinations(sets, 2))
        shares.append(sum(jaccard(a, b) for a, b in pairs) / len(pairs))
    return shares


def test_layers_are_recomputed(bin, small_model):
    """Reference: plain Python, from the triggers."""
    data = pipeline(bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model],
                    ["topk-keys", "-t", 30],
                    stdin=text(random_sentences(300, 100, longest=12)))
    *records, counts = streams.read(data).records
    skip = set(np.argsort(-counts["token_counts"].astype(np.int64), kind="stable")[:7].tolist())
    found, checked = shallow(bin, data, "--skip-frequent", 7), 0
    for layer, row in found.items():
        keys = []
        for record in records:
            ends = np.cumsum(record["position"])
            prefixes = [record["prefix"][end - length:end].tolist()
                        for end, length in zip(ends, record["position"])][:25]
            if record["layer"] == layer - 1 and len(prefixes) > 1:
                keys.append(recomputed(prefixes, skip))
        assert row["keys"] == len(keys) > 10
        for name, numbers in zip((*LAYER[2:6], "overlap_before"), zip(*keys), strict=True):
            assert_close(row[name], np.mean(numbers), 1e-8)
            assert_close([row[f"{name}_p{q}"] for q in (25, 50, 75)], np.percentile(numbers, (25, 50, 75)),
                         1e-8)
            limits = intervals.clustered(numbers, np.ones(len(keys)))
            assert [row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(limits, rel=1e-7, abs=1e-12)
        checked += 1
    assert checked == 3


# ------------------------------------------------------------- random prefixes

def corpus(bin, model, sentences, path, batch=512):
    ok(bin, "tokenize", "-m", model, "--batch", batch, "-o", path, stdin=text(sentences))
    return path


RANDOM = ["overlap_random", "overlap_before_random", "same_last_1_random", "same_last_2_random",
          "same_last_3_random"]


def random_row(bin, model, tokenizer, sentences, prefixes, path, *options):
    data = stream([key(0, 0, triggers(*prefixes))], tokenizer=tokenizer)
    row = shallow(bin, data, "--skip-frequent", 0, "--corpus", corpus(bin, model, sentences, path),
                  *options)[1]
    return [row[name] for name in RANDOM]


def test_equal_sentences(bin, small_model, tokenizer, tmp_path):
    """Expected by the definition: prefixes of 2, 2 and 3 tokens of 7 8 9 10."""
    found = random_row(bin, small_model, tokenizer, [[7, 8, 9, 10]] * 50, [[4, 4], [5, 5], [4, 5, 6]],
                       tmp_path / "c")
    assert_close(found, [(1 + 2 / 3 + 2 / 3) / 3, (1 + 1 / 2 + 1 / 2) / 3, 2 / 3, 2 / 3, 1 / 3], 1e-8)


def test_sentences_are_taken_once(bin, small_model, tokenizer, tmp_path):
    """As many sentences as triggers, and none has a token of another: nothing is in common."""
    sentences = [[4 + 4 * i + j for j in range(4)] for i in range(20)]
    found = random_row(bin, small_model, tokenizer, sentences, [[50, 51, 52]] * 20, tmp_path / "c")
    assert found == [0, 0, 0.05, 0.05, 0.05]


def test_sentences_are_long_enough(bin, small_model, tokenizer, tmp_path):
    """A next token follows a prefix, so two of 3 tokens can only be of the one sentence of 4;
    longer ones are as long as the longest sentence."""
    sentences = [[10 + i, 20 + i, 30 + i] for i in range(10)] + [[4, 5, 6, 7]]
    found = random_row(bin, small_model, tokenizer, sentences, [[50, 51, 52]] * 2, tmp_path / "c")
    assert found == [1] * 5
    assert random_row(bin, small_model, tokenizer, sentences, [[50] * 9, [50] * 3], tmp_path / "c")[0] == 0.75


def test_random_overlap_is_expected(bin, small_model, tokenizer, tmp_path):
    """Reference: the mean over random pairs of sentences, drawn by NumPy."""
    sentences = random_sentences(3000, 30, longest=14)
    enough = [set(tokens[:6]) for tokens in sentences if len(tokens) > 6]
    draw = np.random.default_rng(1)
    pairs = [jaccard(enough[a], enough[b]) for a, b in draw.integers(len(enough), size=(20000, 2)) if a != b]
    keys = [key(0, cell, triggers(*[[50] * 6] * 25)) for cell in range(10)]
    path = corpus(bin, small_model, sentences, tmp_path / "c")
    found = shallow(bin, stream(keys, tokenizer=tokenizer), "--skip-frequent", 0, "--corpus", path)[1]
    assert abs(found["overlap_random"] - np.mean(pairs)) < 0.01 < np.mean(pairs)


def test_sample_of_sentences(bin, small_model, tokenizer, tmp_path):
    """More sentences than are kept: how they are cut into batches does not matter, the seed does."""
    sentences = random_sentences(1000, 60, longest=6) * 32
    data = stream([key(0, 0, triggers(*[[50, 51]] * 25))], tokenizer=tokenizer)
    paths = [corpus(bin, small_model, sentences, tmp_path / str(batch), batch) for batch in (64, 512)]
    first, second = (ok(bin, "shallow-stats", "--skip-frequent", 0, "--corpus", path, stdin=data)
                     for path in paths)
    assert first == second
    assert ok(bin, "shallow-stats", "--skip-frequent", 0, "--seed", 2, "--corpus", paths[0],
              stdin=data) != first
    (tmp_path / "triggers").write_bytes(data)
    assert ok(bin, "shallow-stats", "--skip-frequent", 0, "--corpus", "-", tmp_path / "triggers",
              stdin=paths[1].read_bytes()) == first


# --------------------------------------------------------------------- the rest

def test_another_tokenizer(bin, small_model, tokenizer):
    """Texts are not those of another model's tokens."""
    fails(bin, "shallow-stats", "-m", small_model, "--keys", "x",
          stdin=stream(HAND, tokenizer={**tokenizer, "id": "0" * 32}), says="another tokenizer")


def test_pipeline(bin, small_model, tmp_path):
    """The script gives what its stages give."""
    lines = tmp_path / "corpus.txt"
    lines.write_bytes(text(random_sentences(100, 100)))
    tokens = ok(bin, "tokenize", "-m", small_model, lines)
    found = pipeline(bin, ["forward-dump", "-m", small_model], ["topk-keys", "-t", 8], stdin=tokens)
    (tmp_path / "triggers.msgpack").write_bytes(found)
    subprocess.run([ROOT / "pipelines" / "shallow.sh", small_model, lines, tmp_path, "--mode", "lines"],
                   check=True, capture_output=True, timeout=TIMEOUT,
                   env=environment({"PATH": f"{bin}:/usr/bin:/bin"}))
    expected = ok(bin, "shallow-stats", "-m", small_model, "--corpus", "-", "--keys", tmp_path / "k",
                  "--ngrams", tmp_path / "n", tmp_path / "triggers.msgpack", stdin=tokens)
    assert (tmp_path / "shallow.csv").read_bytes() == expected
    assert (tmp_path / "shallow-keys.csv").read_bytes() == (tmp_path / "k").read_bytes()
    assert (tmp_path / "shallow-ngrams.csv").read_bytes() == (tmp_path / "n").read_bytes()


def test_tokens_that_a_spreadsheet_takes_for_formulas(bin):
    """Prefixes that end with --: the token has an apostrophe before it in the file; 'em and numbers have
    none."""
    model = ROOT / "data" / "brown-lm"
    lines = ["He said -- he", "They said -- it", "We said -- no", "Take 'em all", "Get 'em now",
             "Tell 'em so"]
    triggers = pipeline(bin, ["tokenize", "-m", model], ["forward-dump", "-m", model, "--layers", "1"],
                        ["topk-keys", "-t", 9],
                        stdin="".join(line + "\n" for line in lines).encode())
    data = ok(bin, "shallow-stats", "-m", model, "-o", "/dev/null", "--keys", "/proc/self/fd/1",
              stdin=triggers)
    assert {"'--", "'em"} <= {row["last_1"] for row in raw_table(data)}
    assert not [field for row in raw_table(data)
                for field in row.values() if field[:1] in ("=", "+", "-", "@")]
    assert {"--", "'em"} <= {row["last_1"] for row in table(data)}
