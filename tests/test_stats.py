"""agreement-stats: its four tables against numbers worked out by hand, and
against plain recomputation from the projected stream."""

import numpy as np
import pytest

import intervals
import oracle
import streams
from helpers import fails, ok, pipeline, random_sentences, table, text

ARRAYS = {"coef": "float32", "sentence": "uint64", "position": "uint32", "next": "uint32",
          "prefix": "uint32", "top": "uint32", "top_p": "float32", "next_rank": "uint32",
          "next_p": "float32", "last_rank": "uint32", "last_p": "float32", "token_counts": "uint64"}
FILES = ("rank", "confidence", "top-values")


def key(layer, cell, tops, triggers, ranks=None):
    """tops: [(token, probability)]; triggers: [(prefix, next token)], best first."""
    ranks = ranks or [1] * len(triggers)
    return {"layer": layer, "cell": cell, "top": [token for token, _ in tops],
            "top_p": [p for _, p in tops], "coef": range(len(triggers), 0, -1),
            "sentence": range(len(triggers)), "position": [len(prefix) for prefix, _ in triggers],
            "next": [token for _, token in triggers], "next_rank": ranks,
            "next_p": [0.1] * len(triggers), "last_rank": [1] * len(triggers),
            "last_p": [0.1] * len(triggers), "prefix": sum((prefix for prefix, _ in triggers), [])}


def projected(keys, counts=None, layers=3, top=50, vocabulary=20, tokenizer=None, d_ff=10):
    """A triggers stream with projected values; tokenizer: of its header."""
    header = {
        "format": "ffkv", "version": 1, "kind": "triggers", "corpus": {"name": "made"},
        "tokenizer": tokenizer or {"id": "none", "vocabulary": vocabulary, "bos": 2},
        "batch": {"positions": 512},
        "arrays": {name: {"type": kind, "shape": ["any " + name]} for name, kind in ARRAYS.items()},
        "history": [], "model": {"id": "none", "architecture": "none", "layers": layers, "d_model": 4,
                                 "d_ff": d_ff, "vocabulary": vocabulary, "activation": "relu"},
        "layers": list(range(layers)), "cells": None, "keys": len(keys), "prefixes": "sentence",
        "top": top,
    }
    return streams.write(header, keys + ([{"token_counts": counts}] if counts is not None else []))


def tokenizer_of(bin, model):
    return streams.read(ok(bin, "tokenize", "-m", model, stdin=b"x")).header["tokenizer"]


def statistics(bin, directory, data, *options, model=None):
    """The four tables: agreement, rank, confidence, and with a model top-values."""
    paths = {name: directory / name for name in FILES if model or name != "top-values"}
    files = sum((["--" + name, path] for name, path in paths.items()), [])
    options = [*options, *(["-m", model] if model else [])]
    agreement = ok(bin, "agreement-stats", *files, *options, stdin=data)
    return [table(agreement), *(table(paths[name]) for name in paths)]


# -------------------------------------------------------------- worked by hand

BY_HAND = [
    # layer 1: agrees with the next token; with the last token; with neither; dead
    key(0, 0, [(7, 0.5), (8, 0.25)], [([4, 5], 7), ([6], 9)], [1, 4]),
    key(0, 3, [(5, 0.0625), (7, 0.03125)], [([4, 5], 6)], [11]),
    key(0, 4, [(8, 0.125)], [([], 9)], [3]),
    key(0, 9, [(9, 0.875)], []),
    # layer 3: BOS, number 2, is the last token of the empty prefix
    key(2, 1, [(2, 0.25)], [([], 6), ([2], 2)], [20, 1]),
]
COUNTS = [0, 0, 0, 1, 5, 9, 9] + [0] * 13  # the most frequent: 5, and not 6


def test_by_hand(bin, tmp_path):
    """Expected by hand: agreement, rank, and confidence in two bins."""
    agreement, rank, confidence = map(intervals.without, statistics(
        bin, tmp_path, projected(BY_HAND, COUNTS), "--bins", 2))
    assert agreement == [
        {"layer": "1", "keys": "4", "live_keys": "3", "agree_next": "0.333333333",
         "agree_last": "0.333333333", "random": "0.05", "frequent": "0"},
        {"layer": "3", "keys": "1", "live_keys": "1", "agree_next": "0", "agree_last": "1",
         "random": "0.05", "frequent": "0"}]
    # ranks 1, 3, 11: p10 is a fifth of the way from 1 to 3
    assert rank == [
        {"layer": "1", "live_keys": "3", "p10": "1.4", "p25": "2", "p50": "3", "p75": "7", "p90": "9.4"},
        {"layer": "3", "live_keys": "1", "p10": "20", "p25": "20", "p50": "20", "p75": "20", "p90": "20"}]
    # 0.0625, 0.125 | 0.25, 0.5 (agrees), 0.875 (dead)
    assert confidence == [
        {"low": "0.0625", "high": "0.125", "values": "2", "agree_next": "0", "live_keys": "2"},
        {"low": "0.25", "high": "0.875", "values": "3", "agree_next": "0.5", "live_keys": "2"}]


def test_edges_by_hand(bin, tmp_path):
    """Expected by hand: a bin has its lower edge, the last one also its upper."""
    data = projected(BY_HAND, COUNTS)
    assert intervals.without(statistics(bin, tmp_path, data, "--edges", "0.125,0.25,0.26,0.3,0.5")[2]) == [
        {"low": "0.125", "high": "0.25", "values": "1", "agree_next": "0", "live_keys": "1"},
        {"low": "0.25", "high": "0.26", "values": "1", "agree_next": "0", "live_keys": "1"},
        {"low": "0.26", "high": "0.3", "values": "0", "agree_next": "", "live_keys": "0"},
        {"low": "0.3", "high": "0.5", "values": "1", "agree_next": "1", "live_keys": "1"}]
    dead = statistics(bin, tmp_path, data, "--edges", "0.75,1e0")[2]
    assert dead == [{"low": "0.75", "high": "1", "values": "1", "agree_next": "", "live_keys": "0",
                     "agree_next_low": "", "agree_next_high": ""}]


def test_frequent_by_hand(bin, tmp_path):
    """Expected by hand: the first trigger's next token is the most frequent one;
    the lower of equals; undefined without counts."""
    keys = [key(0, 0, [(7, 0.5)], [([4], 5)]), key(0, 1, [(7, 0.5)], [([4], 6)]),
            key(0, 2, [(7, 0.5)], [([4], 6), ([4], 5)]), key(0, 3, [(7, 0.5)], [])]
    assert statistics(bin, tmp_path, projected(keys, COUNTS))[0][0]["frequent"] == "0.333333333"
    more = COUNTS[:6] + [10] + COUNTS[7:]
    assert statistics(bin, tmp_path, projected(keys, more))[0][0]["frequent"] == "0.666666667"
    rest = [10] + COUNTS[1:]  # a dead key's next token is not number 0
    assert statistics(bin, tmp_path, projected(keys, rest))[0][0]["frequent"] == "0"
    assert statistics(bin, tmp_path, projected(keys))[0][0]["frequent"] == ""


def test_baselines_are_of_tokens_that_can_follow(bin, tmp_path):
    """Expected by hand: 6 of 20 can, and the most frequent token, 5, is not among them."""
    keys = [key(0, 0, [(7, 0.5)], [([4], 6)]), key(0, 1, [(7, 0.5)], [([4], 5)]),
            key(0, 2, [(7, 0.5)], [([4], 6)])]
    made = streams.read(projected(keys, COUNTS[:5] + [10] + COUNTS[6:]))
    data = streams.write({**made.header, "candidates": [[3, 5], [6, 10]]}, made.records)
    (row,) = statistics(bin, tmp_path, data)[0]
    assert (row["random"], row["frequent"]) == ("0.166666667", "0.666666667")


@pytest.mark.parametrize("wrong",
                         [[], {}, "3-9", [[3, 3]], [[5, 3]], [[3, 5], [5, 9]], [[3, 21]], [[-1, 3]], [3, 9],
                          [[3, 5, 9]], [[3, 5.0]], [["3", 5]], [[4, 9], [0, 2]]])
def test_candidates_that_are_no_ranges(bin, wrong):
    made = streams.read(projected(BY_HAND, COUNTS))
    fails(bin, "agreement-stats", stdin=streams.write({**made.header, "candidates": wrong}, made.records),
          says="the header's candidates are")


def test_dead_layer(bin, tmp_path):
    """Expected by the definition: nothing is defined for a layer of dead keys."""
    agreement, rank, _ = statistics(bin, tmp_path, projected([key(1, 2, [(5, 0.5)], [])], COUNTS))
    assert agreement == [{"layer": "2", "keys": "1", "live_keys": "0", "agree_next": "",
                          "agree_last": "", "random": "0.05", "frequent": "", **dict.fromkeys(intervals.named(
                              dict.fromkeys(["agree_next", "agree_last", "frequent"], ("", ""))), "")}]
    assert rank == [{"layer": "2", "live_keys": "0", "p10": "", "p25": "", "p50": "", "p75": "", "p90": ""}]


def test_top_values_by_hand(bin, small_model, tmp_path):
    """Expected by hand: the most confident first, equals as they come; 50
    triggers count; the example is the first that agrees, or else the first."""
    tokenizer = tokenizer_of(bin, small_model)
    other = [([10, 11], 8)]
    keys = [
        key(0, 0, [(7, 0.25)], other * 3 + [([12, 13], 7), ([14], 7)] + other),
        key(0, 1, [(7, 0.5)], other * 49 + [([15], 7)] + [([16], 7)]),  # the 50th, not the 51st
        key(1, 0, [(7, 0.25)], other * 50 + [([16], 7)]),
        key(1, 5, [(0, 0.75)], []),
        key(2, 0, [(7, 0.125)], [([], 7)]),
        key(2, 1, [(9, 0.0625)], [([3, 2], 1)]),
    ]
    found = statistics(bin, tmp_path, projected(keys, vocabulary=100, tokenizer=tokenizer, top=60),
                       model=small_model)[3]
    columns = ["layer", "cell", "probability", "token", "agree_in_50", "example", "example_next"]
    assert [[row[name] for name in columns] for row in found] == [
        ["2", "5", "0.75", "<s>", "0", "", ""],
        ["1", "1", "0.5", "w7", "1", "w15", "w7"],
        ["1", "0", "0.25", "w7", "2", "w12 w13", "w7"],
        ["2", "0", "0.25", "w7", "0", "w10 w11", "w8"],
        ["3", "0", "0.125", "w7", "1", "", "w7"],
        ["3", "1", "0.0625", "w9", "0", "<unk> </s>", "<pad>"],
    ]


def test_only_the_100_most_confident(bin, small_model, tmp_path):
    """Expected by the definition: 100 of 250 values, equals by layer and cell."""
    tokenizer = tokenizer_of(bin, small_model)
    random = np.random.default_rng(1)
    confidence = random.integers(1, 12, 250) / 16
    keys = [key(i // 10, i % 10, [(7, p)], []) for i, p in enumerate(confidence)]
    found = statistics(bin, tmp_path, projected(keys, layers=25, vocabulary=100, tokenizer=tokenizer),
                       model=small_model)[3]
    order = np.argsort(-confidence, kind="stable")[:100]
    assert [(int(row["layer"]) - 1, int(row["cell"])) for row in found] == [(i // 10, i % 10) for i in order]


def test_top_values_need_50_triggers(bin, small_model, tmp_path):
    """Expected by the contract: agree_in_50 is not made from fewer."""
    tokenizer = tokenizer_of(bin, small_model)
    data = projected(BY_HAND, vocabulary=100, tokenizer=tokenizer, top=49)
    fails(bin, "agreement-stats", "-m", small_model, "--top-values", tmp_path / "out", stdin=data, says="50")
    assert not (tmp_path / "out").exists()


def test_text_fields_are_quoted(bin, tmp_path, small_model):
    """Expected by RFC 4180: words with commas and quotation marks."""
    for name in "config.json", "model.safetensors":
        (tmp_path / name).write_bytes((small_model / name).read_bytes())
    words = ['","', '"', "a,b", "=1+1", "\N{GREEK SMALL LETTER ALPHA}"] + [f"x{i}" for i in range(91)]
    (tmp_path / "dict.txt").write_text("".join(f"{word} 1\n" for word in words), encoding="utf-8")
    tokenizer = tokenizer_of(bin, tmp_path)
    keys = [key(0, 0, [(4, 0.5)], [([5, 6, 7, 8], 5)])]
    found = statistics(bin, tmp_path, projected(keys, vocabulary=100, tokenizer=tokenizer), model=tmp_path)[3]
    assert found[0]["token"] == '","' and found[0]["example_next"] == '"'
    assert found[0]["example"] == '" a,b =1+1 \N{GREEK SMALL LETTER ALPHA}'


# ----------------------------------------------------------------- recomputed

@pytest.fixture(scope="module")
def small_projected(bin, small_model):
    """Triggers of a small model; few live keys in the first layer."""
    sentences = random_sentences(100, 12, seed=8, longest=6)
    return pipeline(bin, ["tokenize", "-m", small_model],
                    ["forward-dump", "-m", small_model, "--with-bos"], ["topk-keys", "-t", 60],
                    ["project-values", "-m", small_model], stdin=text(sentences))


@pytest.fixture(scope="module")
def random_projected():
    """Made at random, with agreeing, dead and equally confident keys."""
    random = np.random.default_rng(3)
    keys = []
    for layer in 0, 2, 3, 7:
        for cell in range(10):
            count = random.integers(0, 4) if layer != 3 else 0
            triggers = [(random.integers(3, 6, random.integers(0, 3)).tolist(), int(random.integers(3, 6)))
                        for _ in range(count)]
            tops = [(int(random.integers(2, 6)), random.integers(1, 9) / 8)]
            keys.append(key(layer, cell, tops, triggers, random.integers(1, 21, count).tolist()))
    return projected(keys, random.integers(0, 4, 20), layers=9)


def same(row, expected):
    """A CSV row is the dict expected; NaN is an empty field."""
    assert list(row) == list(expected)
    for name, value in expected.items():
        if np.isnan(value):
            assert row[name] == ""
        else:
            assert float(row[name]) == pytest.approx(value, rel=1e-8)


@pytest.mark.parametrize("source", ["small_projected", "random_projected"])
def test_agreement_and_rank_are_recomputed(bin, tmp_path, source, request):
    """Oracle: plain Python, and NumPy's percentiles, from the projected stream."""
    data = request.getfixturevalue(source)
    stream = streams.read(data)
    *keys, last = stream.records
    agreement, rank, _ = statistics(bin, tmp_path, data)
    can = np.zeros(len(last["token_counts"]), bool)
    for first, end in stream.header.get("candidates", [[0, len(can)]]):
        can[first:end] = True
    assert can.all() == (source == "random_projected")
    expected = oracle.agreement(keys, last["token_counts"], can=can)
    assert len(agreement) == len(expected)
    for row, wanted in zip(agreement, expected):
        same(row, wanted)
    assert sum(float(row["agree_next"] or 0) + float(row["agree_last"] or 0) for row in agreement) > 0
    expected = oracle.rank_quantiles(keys)
    assert len(rank) == len(expected)
    for row, wanted in zip(rank, expected):
        same(row, wanted)


def bin_of(keys, low, high):
    live = [key for key in keys if len(key["next"])]
    agree = sum(key["top"][0] == key["next"][0] for key in live)
    return intervals.of_all({"low": low, "high": high, "values": len(keys),
                             "agree_next": agree / len(live) if live else float("nan"),
                             "live_keys": len(live)},
                            len(live), "agree_next")


@pytest.mark.parametrize("source", ["small_projected", "random_projected"])
@pytest.mark.parametrize("bins", [None, 1, 7, 39, 1000])
def test_bins_are_recomputed(bin, tmp_path, source, bins, request):
    """Oracle: plain Python; bins of equally many values, but for one."""
    data = request.getfixturevalue(source)
    keys = [r for r in streams.read(data).records if "layer" in r]
    keys.sort(key=lambda key: key["top_p"][0])  # stable: equals by layer and cell
    count = min(bins or 10, len(keys))
    found = statistics(bin, tmp_path, data, *(["--bins", bins] if bins else []))[2]
    assert len(found) == count
    assert sum(int(row["values"]) for row in found) == len(keys)
    assert {int(row["values"]) for row in found} <= {len(keys) // count, len(keys) // count + 1}
    start = 0
    for row in found:
        here = keys[start:start + int(row["values"])]
        same(row, bin_of(here, here[0]["top_p"][0], here[-1]["top_p"][0]))
        start += len(here)


@pytest.mark.parametrize("source", ["small_projected", "random_projected"])
@pytest.mark.parametrize("edges", [[0, 1], [0.125, 0.25, 0.5, 0.875], [0.02, 0.021, 0.0215, 0.05, 0.3, 1]])
def test_edges_are_recomputed(bin, tmp_path, source, edges, request):
    """Oracle: plain Python; values between edges."""
    data = request.getfixturevalue(source)
    keys = [r for r in streams.read(data).records if "layer" in r]
    found = statistics(bin, tmp_path, data, "--edges", ",".join(map(str, edges)))[2]
    assert len(found) == len(edges) - 1
    for i, row in enumerate(found):
        last = i == len(edges) - 2
        here = [key for key in keys if edges[i] <= key["top_p"][0] < edges[i + 1]
                or last and key["top_p"][0] == edges[-1]]
        same(row, bin_of(here, edges[i], edges[i + 1]))


def test_top_values_are_recomputed(bin, tmp_path, small_model, small_projected):
    """Oracle: plain Python, from the projected stream and dict.txt."""
    words = {i: word for word, i in oracle.load_dictionary(small_model).items()}
    keys = [r for r in streams.read(small_projected).records if "layer" in r]
    keys.sort(key=lambda key: -key["top_p"][0])
    found = statistics(bin, tmp_path, small_projected, model=small_model)[3]
    assert len(found) == 100
    for row, wanted in zip(found, keys):
        agree = [i for i, token in enumerate(wanted["next"][:50]) if token == wanted["top"][0]]
        best = agree[0] if agree else 0
        prefixes = np.split(wanted["prefix"], np.cumsum(wanted["position"]))
        assert (int(row["layer"]), int(row["cell"])) == (wanted["layer"] + 1, wanted["cell"])
        assert row["token"] == words[wanted["top"][0]]
        assert float(row["probability"]) == pytest.approx(wanted["top_p"][0], rel=1e-8)
        assert int(row["agree_in_50"]) == len(agree)
        if len(wanted["next"]):
            assert row["example"] == " ".join(words[token] for token in prefixes[best])
            assert row["example_next"] == words[wanted["next"][best]]
        else:
            assert row["example"] == row["example_next"] == ""
    assert any(int(row["agree_in_50"]) for row in found)


def test_output_file(bin, tmp_path, random_projected):
    """Two ways to the same table."""
    ok(bin, "agreement-stats", "-o", tmp_path / "agreement.csv", stdin=random_projected)
    assert (tmp_path / "agreement.csv").read_bytes() == ok(bin, "agreement-stats", stdin=random_projected)
