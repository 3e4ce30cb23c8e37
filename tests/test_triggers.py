"""topk-keys: triggers against plain recomputation from the same coefficients,
against streams made by hand, and against PyTorch."""

import collections
import csv
import gzip
import pathlib

import numpy as np
import pytest

import oracle
import streams
from helpers import by_sentence, fails, ok, pipeline, random_sentences, sentences_of, text

REFERENCE = pathlib.Path(__file__).parent / "reference"
ARRAYS = {"len": "uint32", "tok": "uint32", "row_sentence": "uint32", "row_position": "uint32",
          "max": "float32", "argmax": "uint16", "coef": "float32"}


def activations(sentences, coef, layers, cells, emit=("max", "coef"), batch=3, order=None, first=1,
                vocabulary=60, d_ff=8):
    """An activations stream made by hand.  coef: for each sentence its
    coefficients, layers x positions x cells; batch: sentences in a batch; order:
    of the batches in the stream."""
    header = {
        "format": "ffkv", "version": 1, "kind": "activations", "corpus": {"name": "made"},
        "tokenizer": {"id": "none", "vocabulary": vocabulary, "bos": 2}, "batch": {"positions": 512},
        "arrays": {name: {"type": kind, "shape": ["any " + name]} for name, kind in ARRAYS.items()},
        "history": [], "model": {"id": "none", "architecture": "none", "layers": 4, "d_model": 4,
                                 "d_ff": d_ff, "vocabulary": vocabulary, "activation": "relu"},
        "layers": layers, "cells": cells, "positions": "all", "first": first,
    }
    batches = []
    for start in range(0, len(sentences), batch):
        here = slice(start, start + batch)
        lengths = list(map(len, sentences[here]))
        tokens = {"id": start, "len": lengths, "tok": sum(sentences[here], [])}
        if "coef" in emit:
            tokens["row_sentence"] = np.repeat(range(len(lengths)), lengths)
            tokens["row_position"] = [j for length in lengths for j in range(length)]
        records = [tokens]
        for i, layer in enumerate(layers):
            record = {"layer": layer}
            if "max" in emit:
                pairs = [oracle.sentence_max(array, first) for array in coef[here]]
                record["max"] = np.stack([largest[i] for largest, _ in pairs])
                record["argmax"] = np.stack([where[i] for _, where in pairs])
            if "coef" in emit:
                record["coef"] = np.concatenate([array[i] for array in coef[here]])
            records.append(record)
        batches.append(records)
    order = range(len(batches)) if order is None else order
    covered = {"batches": len(batches), "covers": [[i, i + 1, 1] for i in sorted(order)],
               "text": str(sentences)}
    return streams.write(header, sum([batches[i] for i in order], []), covered)


def keys_of(data):
    """A triggers stream -> (Stream, {(layer, cell): [(coef, sentence, position)]})."""
    stream = streams.read(data)
    assert "token_counts" in stream.records[-1]
    keys = {(r["layer"], r["cell"]): list(zip(r["coef"].tolist(), r["sentence"].tolist(),
                                              r["position"].tolist()))
            for r in stream.records[:-1]}
    assert len(keys) == len(stream.records) - 1 == stream.header["keys"]
    assert list(keys) == sorted(keys)
    return stream, keys


def assert_triggers(data, sentences, coef, layers, cells, t, every=False, first=1, vocabulary=60,
                    following=0):
    """Everything in the stream is as plain recomputation from coef has it."""
    stream, found = keys_of(data)
    by_index = oracle.triggers(coef, t, every, first)
    assert found == {(layers[l], cells[c]): items for (l, c), items in by_index.items()}
    expected = oracle.trigger_records(by_index, sentences, layers, cells, following)
    assert stream.header.get("following", 0) == following
    for record, wanted in zip(stream.records, expected):
        assert ("following" in record) == ("following" in wanted) == bool(following)
        if following:
            assert record["following"].tolist() == wanted["following"].tolist()
        assert record["next"].tolist() == wanted["next"].tolist()
        assert record["prefix"].tolist() == wanted["prefix"].tolist()
    counts = oracle.token_counts(sentences, vocabulary)
    assert stream.records[-1]["token_counts"].tolist() == counts.tolist()
    assert stream.trailer["sentences"] == len(sentences)
    assert stream.trailer["tokens"] == sum(map(len, sentences))


# ------------------------------------------------- from the tool's own numbers

@pytest.fixture(scope="module")
def dumped(bin, small_model):
    """Activations of a small model, with many sentences that begin alike."""
    sentences = random_sentences(120, 100, seed=3) + random_sentences(40, 6, seed=4, longest=5)
    data = pipeline(bin, ["tokenize", "-m", small_model, "--batch", 64],
                    ["forward-dump", "-m", small_model, "--emit", "max,coef"], stdin=text(sentences))
    assert sentences_of(streams.read(data)) == sentences
    return data, sentences, by_sentence(streams.read(data), "coef")


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("t", [1, 2, 5, 25, 160, 100000])
def test_triggers_are_recomputed(bin, dumped, t, every):
    """Recomputation, exact: sort all coefficients of the same dump."""
    data, sentences, coef = dumped
    found = ok(bin, "topk-keys", "-t", t, *["--prefixes", "every"] * every, stdin=data)
    assert_triggers(found, sentences, coef, range(3), range(37), t, every, vocabulary=100)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("following", [1, 3, 1000])
def test_what_follows_is_recomputed(bin, small_model, dumped, following, every):
    """Recomputation, exact, up to each sentence's end and not beyond; all else is as without, also with
    values."""
    data, sentences, coef = dumped
    options = ["-t", 30, *["--prefixes", "every"] * every]
    found = ok(bin, "topk-keys", *options, "--following", following, stdin=data)
    assert_triggers(found, sentences, coef, range(3), range(37), 30, every, vocabulary=100,
                    following=following)
    with_it, without = streams.read(found), streams.read(ok(bin, "topk-keys", *options, stdin=data))
    ends = [row for record in with_it.records[:-1]
            for row in (record["following"] == oracle.NO_FOLLOWING).tolist()]
    assert any(row[0] for row in ends) and any(not row[0] for row in ends)
    projected = streams.read(ok(bin, "project-values", "-m", small_model, "-k", 2, stdin=found))
    for record, whole, bare in zip(projected.records[:-1], with_it.records, without.records):
        assert set(whole) == {*bare, "following"}
        for name in bare:
            assert np.array_equal(whole[name], bare[name])
        for name in whole:
            assert np.array_equal(record[name], whole[name])
    changed = streams.read(ok(bin, "perturb-triggers", stdin=found)).header
    assert "following" not in changed and "following" not in changed["arrays"]


def test_damaged_following_is_refused(bin, dumped):
    stream = streams.read(ok(bin, "topk-keys", "-t", 2, "--following", 3, stdin=dumped[0]))
    number, record = next((i, record) for i, record in enumerate(stream.records) if "coef" in record
                          and len(record["coef"]) == 2)

    def check(says, rows=None, header=()):
        records = [dict(other) for other in stream.records]
        if rows is not None:
            records[number]["following"] = np.array(rows, np.uint32)
        fails(bin, "shallow-stats", says=says,
              stdin=streams.write({**stream.header, **dict(header)}, records, stream.trailer))

    for rows in [[1, 2, 100], [1, 2, 3]], [[1, oracle.NO_FOLLOWING, 2], [1, 2, 3]], \
            [[1, 2, 3], [oracle.NO_FOLLOWING, oracle.NO_FOLLOWING, 5]]:
        check("what follows trigger", rows)
    check("'following'", [[1, 2], [3, 4]])
    for wrong in 1001, -1, "3", None:
        check("the header's following is not a number from 0 to 1000", header={"following": wrong})
    check("'following'", header={"following": 2})


def test_default_is_25_a_sentence_each(bin, dumped):
    """Two ways to say the same."""
    data = dumped[0]
    assert ok(bin, "topk-keys", stdin=data) \
        == ok(bin, "topk-keys", "-t", 25, "--prefixes", "sentence", stdin=data)


def test_coefficients_alone_give_the_same(bin, small_model, dumped):
    """Two ways to the same triggers: from maxima, from all coefficients."""
    _, sentences, coef = dumped
    for emit in "max", "coef":
        found = pipeline(bin, ["tokenize", "-m", small_model, "--batch", 64],
                         ["forward-dump", "-m", small_model, "--emit", emit], ["topk-keys", "-t", 7],
                         stdin=text(sentences))
        assert_triggers(found, sentences, coef, range(3), range(37), 7, vocabulary=100)


@pytest.mark.parametrize("every", [False, True])
def test_with_bos(bin, small_model, every):
    """Recomputation, exact, with the empty prefix among the candidates."""
    sentences = random_sentences(50, 100, seed=5, longest=4)
    data = pipeline(bin, ["tokenize", "-m", small_model],
                    ["forward-dump", "-m", small_model, "--emit", "max,coef", "--with-bos"],
                    stdin=text(sentences))
    found = ok(bin, "topk-keys", "-t", 30, *["--prefixes", "every"] * every, stdin=data)
    coef = by_sentence(streams.read(data), "coef")
    assert_triggers(found, sentences, coef, range(3), range(37), 30, every, 0, vocabulary=100)
    assert any(p == 0 for items in keys_of(found)[1].values() for _, _, p in items)


def test_layers_and_cells(bin, dumped):
    """Recomputation, exact: a selection is a part of the whole result."""
    data = dumped[0]
    whole = keys_of(ok(bin, "topk-keys", "-t", 4, stdin=data))[1]
    for layers, cells, chosen in (("2", None, {1}), (None, "3,30-36", None), ("3,1", "5", {0, 2})):
        options = [*(["--layers", layers] if layers else []), *(["--cells", cells] if cells else [])]
        stream, found = keys_of(ok(bin, "topk-keys", "-t", 4, *options, stdin=data))
        wanted = {3, *range(30, 37)} if cells and "-" in cells else {5} if cells else set(range(37))
        assert found == {key: items for key, items in whole.items()
                         if key[0] in (chosen or {0, 1, 2}) and key[1] in wanted}
        assert stream.header["layers"] == sorted(chosen or {0, 1, 2})
        assert stream.header["cells"] == (sorted(wanted) if cells else None)


def test_sample(bin, dumped):
    """By the definition: N keys a layer, a function of the seed alone."""
    data = dumped[0]

    def cells(*options):
        stream, found = keys_of(ok(bin, "topk-keys", *options, stdin=data))
        chosen = collections.defaultdict(set)
        for layer, cell in found:
            chosen[layer].add(cell)
        assert stream.header["cells"] is None or "--cells" in options
        return dict(chosen), found

    whole = keys_of(ok(bin, "topk-keys", "-t", 3, stdin=data))[1]
    chosen, found = cells("--sample", 10, "-t", 3)
    assert {layer: len(some) for layer, some in chosen.items()} == {0: 10, 1: 10, 2: 10}
    assert found == {key: items for key, items in whole.items() if key[1] in chosen[key[0]]}
    assert chosen[0] != chosen[1] != chosen[2]
    assert cells("--sample", 10, "-t", 9, "--prefixes", "every", "--seed", 1)[0] == chosen
    assert cells("--sample", 10, "--layers", "2-3")[0] == {1: chosen[1], 2: chosen[2]}
    fewer = cells("--sample", 4)[0]  # the first of the same order
    assert all(fewer[layer] < chosen[layer] for layer in range(3))
    assert cells("--sample", 1000)[0] == {layer: set(range(37)) for layer in range(3)}
    drawn = collections.Counter(cell for seed in range(2, 32)
                                for cell in cells("--sample", 10, "--seed", seed, "--layers", 2)[0][1])
    assert len(drawn) == 37 and max(drawn.values()) < 20  # 300 draws, about 8 of each


def test_sample_among_cells(bin, dumped):
    """By the definition: --sample chooses among --cells."""
    stream, found = keys_of(ok(bin, "topk-keys", "--sample", 3, "--cells", "0-5", stdin=dumped[0]))
    assert stream.header["cells"] == list(range(6))
    assert collections.Counter(layer for layer, _ in found) == {0: 3, 1: 3, 2: 3}
    assert {cell for _, cell in found} <= set(range(6))


# -------------------------------------------------------------- made by hand

def test_small_case_worked_by_hand(bin):
    """Expected by hand: one layer, two cells, four sentences."""
    sentences = [[10, 11, 12], [20, 21], [30], [40, 41, 42, 43]]
    coef = [
        #  BOS      after w_1   after w_2
        [[[9, 9], [1.5, 0], [0.5, 0]]],             # position 1 for cell 0
        [[[9, 9], [2.5, 0]]],
        [[[9, 9]]],                                 # no prefix at all
        [[[9, 9], [0.25, 0], [1.5, 0], [1.5, 0]]],  # a tie inside: position 2
    ]
    data = activations(sentences, list(map(np.float32, coef)), [2], [0, 5])
    stream, found = keys_of(ok(bin, "topk-keys", "-t", 3, stdin=data))
    assert found == {(2, 0): [(2.5, 1, 1), (1.5, 0, 1), (1.5, 3, 2)], (2, 5): []}
    best, dead, counts = stream.records
    assert best["next"].tolist() == [21, 11, 42]
    assert best["prefix"].tolist() == [20, 10, 40, 41]
    assert all(len(dead[name]) == 0 for name in ("coef", "sentence", "position", "next", "prefix"))
    assert np.flatnonzero(counts["token_counts"]).tolist() == [10, 11, 12, 20, 21, 30, 40, 41, 42, 43]
    found = keys_of(ok(bin, "topk-keys", "-t", 6, "--prefixes", "every", stdin=data))[1]
    assert found[2, 0] == [(2.5, 1, 1), (1.5, 0, 1), (1.5, 3, 2), (1.5, 3, 3), (0.5, 0, 2), (0.25, 3, 1)]
    assert keys_of(ok(bin, "topk-keys", "-t", 4, "--prefixes", "every", stdin=data))[1][2, 0] \
        == [(2.5, 1, 1), (1.5, 0, 1), (1.5, 3, 2), (1.5, 3, 3)]


def tied(levels, seed=1, count=200):
    """Sentences and coefficients of few different values, some cells never active."""
    random = np.random.default_rng(seed)
    sentences = [random.integers(4, 60, random.integers(1, 9)).tolist() for _ in range(count)]
    coef = [random.integers(0, levels, (2, len(tokens), 4)).astype(np.float32) / 4 for tokens in sentences]
    for array in coef:
        array[:, 1:, 3] = 0  # dead but for BOS
        array[0, :, 2] -= 1  # zero at most, or partly below
    return sentences, coef


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("levels", [2, 5, 40])
@pytest.mark.parametrize("t", [1, 3, 25, 128])
def test_ties_and_dead_keys(bin, levels, t, every):
    """Recomputation, exact, by sorting: equal coefficients go by sentence, then
    position, whatever the order in which batches come, and whether a sentence's
    largest coefficient is given or found."""
    sentences, coef = tied(levels, seed=t)
    layers, cells = [1, 3], [0, 2, 3, 7]
    order = np.random.default_rng(t).permutation(67).tolist()
    results = []
    for emit, how in ((("max", "coef"), None), (["coef"], order), (["coef"], range(66, -1, -1))):
        data = activations(sentences, coef, layers, cells, emit, order=how)
        results.append(ok(bin, "topk-keys", "-t", t, *["--prefixes", "every"] * every, stdin=data))
    assert_triggers(results[0], sentences, coef, layers, cells, t, every)
    assert results[1] == results[0] and results[2] == results[0]
    found = keys_of(results[0])[1]
    assert found[1, 7] == found[3, 7] == []
    if levels == 2:
        assert found[1, 3] == []  # never above zero


def test_all_sentences_without_a_prefix(bin):
    """Expected by the definition: every key is dead."""
    sentences, coef = [[5], [6], [5]], [np.ones((1, 1, 2), np.float32)] * 3
    stream, found = keys_of(ok(bin, "topk-keys", stdin=activations(sentences, coef, [0], [0, 1])))
    assert found == {(0, 0): [], (0, 1): []}
    assert stream.records[-1]["token_counts"][[5, 6]].tolist() == [2, 1]


# -------------------------------------------------------------------- merging

@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("t", [1, 10])
def test_merge_is_one_run(bin, tmp_path, t, every):
    """Two ways to the same bytes: shards with ties between them, merged in
    several orders and in two steps, and one run."""
    sentences, coef = tied(5, seed=9)
    options = ["-t", t, *["--prefixes", "every", "--following", 2] * every]
    batches = range(67)
    whole = ok(bin, "topk-keys", *options, stdin=activations(sentences, coef, [0, 1], [0, 1, 2, 3]))
    ok(bin, "topk-keys", "--merge", "-", "-o", tmp_path / "whole", stdin=whole)  # in the shortest form
    whole = (tmp_path / "whole").read_bytes()
    assert_triggers(whole, sentences, coef, [0, 1], [0, 1, 2, 3], t, every, following=2 * every)
    paths = []
    for i in range(4):
        part = activations(sentences, coef, [0, 1], [0, 1, 2, 3], order=[b for b in batches if b % 4 == i])
        paths.append(tmp_path / f"{i}")
        ok(bin, "topk-keys", *options, "-o", paths[-1], stdin=part)
    for order in (0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1):
        assert ok(bin, "topk-keys", "--merge", *(paths[i] for i in order)) == whole
    ok(bin, "topk-keys", "--merge", "--partial", paths[2], paths[0], "-o", tmp_path / "half")
    assert ok(bin, "topk-keys", "--merge", paths[1], tmp_path / "half", "-",
              stdin=paths[3].read_bytes()) == whole
    assert ok(bin, "topk-keys", "--merge", "--partial", tmp_path / "half") == (tmp_path / "half").read_bytes()


def test_merge_of_overlapping_shards_fails(bin, tmp_path):
    """Expected by the contract: a sentence in two inputs is an error, also where they say that
    they are of different batches."""
    sentences, coef = tied(40)
    for name, numbers in ("a", range(67)), ("b", range(67, 134)):
        data = ok(bin, "topk-keys", stdin=activations(sentences, coef, [0, 1], [0, 1, 2, 3]))
        stream = streams.items(data)
        counts = {**stream[-1].value, "batches": 134, "covers": [[numbers.start, numbers.stop, 1]]}
        (tmp_path / name).write_bytes(streams.write(stream[0].value, [item.value for item in stream[1:-1]],
                                                    counts))
    fails(bin, "topk-keys", "--merge", "--partial", tmp_path / "a", tmp_path / "a", says="shards overlap")
    fails(bin, "topk-keys", "--merge", tmp_path / "a", tmp_path / "b",
          says="as well: the shards overlap")


# ------------------------------------------------------------ against PyTorch

@pytest.mark.release_only
def test_triggers_are_pytorchs(bin, model, train):
    """Reference: PyTorch's top 5 of all 8,192 keys over 2,000 sentences.  Nearly
    equal coefficients may change places: oracle.trigger_differences."""
    expected = {(layer, cell): [] for layer in range(16) for cell in range(512)}
    with gzip.open(REFERENCE / "triggers2000.csv.gz", "rt") as lines:
        for row in csv.DictReader(lines):
            expected[int(row["layer"]), int(row["cell"])].append(
                (float(row["coef"]), int(row["sentence"]), int(row["position"])))
    data = pipeline(bin, ["tokenize", "-m", model, "--limit", 2000, train], ["forward-dump", "-m", model],
                    ["topk-keys", "-t", 400])
    found = keys_of(data)[1]
    assert found.keys() == expected.keys()
    assert oracle.trigger_differences(expected, found, 5, 1e-5) == []
    identical = sum([item[1:] for item in expected[key]] == [item[1:] for item in found[key][:5]]
                    for key in expected)
    assert identical > 7500, f"only {identical} of 8192 keys have the very same triggers"
