"""perturb-triggers, forward-dump --emit key and perturbation-stats (figure 3):
changed prefixes worked out by hand, their coefficients against the NumPy oracle
and against --emit coef, the table against a plain recomputation."""

import subprocess

import numpy as np
import pytest

import intervals
import oracle
import random_model
import streams
from conftest import ROOT
from helpers import (TIMEOUT, assert_close, by_sentence, environment, fails, ok, pipeline, random_sentences,
                     sentences_of, table, text)

VOCABULARY, BOS, UNKNOWN = 20, 2, 3
KINDS = ["first", "last", "random", "replace-first", "replace-last", "replace-random", "truncate", "none"]
TRIGGERS = {"coef": "float32", "sentence": "uint64", "position": "uint32", "next": "uint32",
            "prefix": "uint32"}
KEYED = {"len": "uint32", "tok": "uint32", "key_layer": "uint32", "key_cell": "uint32", "key_coef": "float32",
         "key_change": "uint32", "key": "float32"}


def header(kind, arrays, **more):
    return {"format": "ffkv", "version": 1, "kind": kind, "corpus": {"name": "made"},
            "tokenizer": {"id": "none", "vocabulary": VOCABULARY, "bos": BOS, "unknown": UNKNOWN},
            "batch": {"positions": 512}, "history": [],
            "arrays": {name: {"type": type_, "shape": ["any " + name]} for name, type_ in arrays.items()},
            "model": {"id": "none", "architecture": "none", "layers": 3, "d_model": 4, "d_ff": 10,
                      "vocabulary": VOCABULARY, "activation": "relu"}, **more}


def key(layer, cell, triggers):
    """triggers: [(prefix, next token)], best first; their coefficients fall to 1."""
    return {"layer": layer, "cell": cell, "coef": range(len(triggers), 0, -1),
            "sentence": range(len(triggers)), "position": [len(prefix) for prefix, _ in triggers],
            "next": [token for _, token in triggers],
            "prefix": sum((list(prefix) for prefix, _ in triggers), [])}


def triggers_stream(keys, positions=512):
    return streams.write(header("triggers", TRIGGERS, layers=[0, 1, 2], cells=None, keys=len(keys), top=50,
                                prefixes="sentence", rank="value") | {"batch": {"positions": positions}},
                         keys)


def perturbed(bin, data, *options):
    """[(layer, cell, coefficient, kind, tokens)], and the stream."""
    found = streams.read(ok(bin, "perturb-triggers", *options, stdin=data))
    names, rows = found.header["changes"], []
    for record, tokens in zip([r for r in found.records for _ in r["len"]], sentences_of(found)):
        place = len(rows) - int(record["id"])
        rows.append((int(record["key_layer"][place]), int(record["key_cell"][place]),
                     float(record["key_coef"][place]), names[record["key_change"][place]], tokens))
    return rows, found


# ------------------------------------------------------- changed prefixes

BY_HAND = triggers_stream([key(0, 4, [([5, 6, 7], 8), ([9], 10)]), key(2, 1, [([11, 12], 13)]),
                           key(2, 7, [])])


def test_removal_by_hand(bin):
    """Expected by hand: the prefix without a token, and the next token behind it,
    alone where nothing is left."""
    rows, found = perturbed(bin, BY_HAND, "--change", "first,last")
    assert rows == [
        (0, 4, 2, "first", [6, 7, 8]), (0, 4, 2, "last", [5, 6, 8]), (0, 4, 1, "first", [10]),
        (0, 4, 1, "last", [10]),
        (2, 1, 1, "first", [12, 13]), (2, 1, 1, "last", [11, 13])]
    assert [int(r["id"]) for r in found.records] == [0, 4]  # a batch has one layer
    assert (found.trailer["sentences"], found.trailer["tokens"]) == (6, 12)
    assert found.header["kind"] == "tokens" and found.header["changes"] == ["first", "last"]


def test_other_changes_by_hand(bin):
    """Expected by hand: replaced by the unknown token, cut to the last two, left as they are."""
    rows, _ = perturbed(bin, BY_HAND, "--change", "replace-first,replace-last,truncate,none",
                        "--replacement", "unknown", "--keep", 2)
    assert rows == [
        (0, 4, 2, "replace-first", [3, 6, 7, 8]), (0, 4, 2, "replace-last", [5, 6, 3, 8]),
        (0, 4, 2, "truncate-2", [6, 7, 8]), (0, 4, 2, "none", [5, 6, 7, 8]),
        (0, 4, 1, "replace-first", [3, 10]), (0, 4, 1, "replace-last", [3, 10]),
        (0, 4, 1, "truncate-2", [10]),
        (0, 4, 1, "none", [9, 10]),
        (2, 1, 1, "replace-first", [3, 12, 13]), (2, 1, 1, "replace-last", [11, 3, 13]),
        (2, 1, 1, "truncate-2", [13]),
        (2, 1, 1, "none", [11, 12, 13])]


def test_empty_prefix(bin):
    """Expected by the definition: BOS alone, of --with-bos, is too short for any change."""
    rows, _ = perturbed(bin, triggers_stream([key(1, 0, [([], 8)])]), "--change", ",".join(KINDS))
    assert [row[4] for row in rows] == [[8]] * len(KINDS)


def test_random_tokens(bin):
    """Each token of a prefix is removed or replaced for some trigger, and each other
    token but BOS takes its place for some; the seed decides."""
    prefix = [4, 5, BOS, 7]
    data = triggers_stream([key(0, cell, [(prefix, 8)] * 50) for cell in range(10)])
    rows, _ = perturbed(bin, data, "--change", "random,replace-random,replace-last", "--sample", 0)
    removed, replaced = (dict.fromkeys(range(4), 0) for _ in range(2))
    last = dict.fromkeys(range(VOCABULARY), 0)
    for _, _, _, kind, tokens in rows:
        assert tokens.pop() == 8
        if kind == "random":
            places = [i for i in range(4) if prefix[:i] + prefix[i + 1:] == tokens]
            assert len(places) == 1
            removed[places[0]] += 1
        else:
            places = [i for i in range(4) if prefix[i] != tokens[i]]
            assert len(tokens) == 4 and len(places) == 1 and tokens[places[0]] != BOS
            replaced[places[0]] += kind == "replace-random"
            if kind == "replace-last":
                assert places == [3]
                last[tokens[3]] += 1
    # 500 draws: 125 expected of each place (standard deviation 9.7), 27.8 of each token (5.1)
    assert all(80 < count < 170 for count in (*removed.values(), *replaced.values()))
    assert all(5 < count < 55 for token, count in last.items() if token not in (BOS, 7)) \
        and last[BOS] == last[7] == 0
    again, _ = perturbed(bin, data, "--change", "random,replace-random,replace-last", "--sample", 0,
                         "--seed", 2)
    assert again != rows \
        and ok(bin, "perturb-triggers", stdin=data) == ok(bin, "perturb-triggers", "--seed", 1, stdin=data)


def test_sample_and_top(bin):
    """Expected by the definitions: N keys a layer, those of topk-keys --sample with
    the same seed, and N triggers a key."""
    data = triggers_stream([key(layer, cell, [([4 + cell], 5)] * 7) for layer in range(3)
                            for cell in range(10)])
    rows, _ = perturbed(bin, data, "--sample", 4, "--top", 3, "--change", "none", "--seed", 5)
    drawn = list(dict.fromkeys((row[0], row[1]) for row in rows))
    assert [[key[0] for key in drawn].count(layer) for layer in range(3)] == [4, 4, 4] \
        and drawn == sorted(drawn)
    assert [row[2] for row in rows] == [7, 6, 5] * 12
    everything, _ = perturbed(bin, data, "--sample", 0, "--change", "none")
    assert len(everything) == 30 * 7


def test_batches(bin):
    """Expected by the definition: full to the budget, of one layer, numbered in a row;
    a longer sentence is alone."""
    data = triggers_stream([key(0, 0, [([4] * 4, 5)] * 5), key(0, 1, [([4] * 30, 5), ([4], 5)]),
                            key(1, 0, [([4], 5)])],
                           positions=12)
    _, found = perturbed(bin, data, "--change", "none")
    assert [(int(r["id"]), r["len"].tolist()) for r in found.records] == [
        (0, [5, 5]), (2, [5, 5]), (4, [5]), (5, [31]), (6, [2]), (7, [2])]
    assert found.header["batch"] == {"positions": 12}


# ------------------------------------------- the coefficients of their keys

def stages(model, *options, emit="key", limit=400, threads=2):
    return (["tokenize", "-m", model, "--limit", limit], ["forward-dump", "-m", model],
            ["topk-keys", "-t", 3], ["perturb-triggers", *options],
            ["forward-dump", "-m", model, "--emit", emit, "--threads", threads])


def key_coefficients(stream):
    """[(tokens, layer, cell, coefficient before, kind, coefficient now)]"""
    rows, sentences = [], iter(sentences_of(stream))
    for batch, found in zip(stream.records[::2], stream.records[1::2]):
        rows += [(next(sentences), *(int(batch[name][s]) for name in ("key_layer", "key_cell")),
                  batch["key_coef"][s], stream.header["changes"][batch["key_change"][s]], found["key"][s])
                 for s in range(len(batch["len"]))]
    return rows


def check_against_oracle(model, rows):
    """Reference: the oracle, run on the sentence by itself, from its own BOS on."""
    exact = oracle.load_model(model)
    assert rows
    for kind in {row[4] for row in rows}:
        here = [row for row in rows if row[4] == kind]
        expected = [oracle.forward(exact, tokens).coef[layer, -1, cell] for tokens, layer, cell, *_ in here]
        assert_close([row[5] for row in here], expected)
        if kind == "none":
            assert_close([row[3] for row in here], expected)
        else:
            assert not np.allclose([row[3] for row in here], expected)


@pytest.mark.release_only
def test_removal_is_the_oracles(bin, model, valid):
    data = pipeline(bin, *stages(model, "--sample", 1, "--change", "first,last,random,none", limit=100),
                    stdin=valid.read_bytes())
    rows = key_coefficients(streams.read(data))
    assert {row[1] for row in rows} == set(range(16))
    check_against_oracle(model, rows)


def test_changes_of_other_models_are_the_oracles(bin, random_model):
    vocabulary = oracle.load_model(random_model).config["vocab_size"]
    data = text(random_sentences(60, vocabulary))
    found = pipeline(bin, *stages(random_model, "--sample", 4, "--change", ",".join(KINDS), "--keep", 2),
                     stdin=data)
    check_against_oracle(random_model, key_coefficients(streams.read(found)))


def keyed(sentences, keys, positions=512, **more):
    """A tokens stream with keys, of one batch: sentences, and (layer, cell) of each."""
    record = {"id": 0, "len": [len(tokens) for tokens in sentences], "tok": sum(sentences, []),
              "key_layer": [layer for layer, _ in keys], "key_cell": [cell for _, cell in keys],
              "key_coef": [1] * len(keys), "key_change": [0] * len(keys)}
    arrays = {name: type_ for name, type_ in KEYED.items() if name != "key"}
    return streams.write(header("tokens", arrays, changes=["made"], **more)
                         | {"batch": {"positions": positions}}, [record])


def test_key_is_coef(bin, small_model):
    """The same numbers as --emit coef gives, to the last bit; also where the batch has
    keys of several layers, in any order."""
    sentences = random_sentences(30, 100, longest=12)
    data = pipeline(bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model], ["topk-keys"],
                    ["perturb-triggers"], stdin=text(sentences))
    origin = streams.read(data).header
    random = np.random.default_rng(3)
    keys = [(int(random.integers(3)), int(random.integers(37))) for _ in sentences]
    mixed = keyed(sentences, keys, tokenizer=origin["tokenizer"], model=origin["model"])
    for stream in data, mixed:
        rows = key_coefficients(streams.read(ok(bin, "forward-dump", "-m", small_model, "--emit", "key",
                                                stdin=stream)))
        every = by_sentence(streams.read(ok(bin, "forward-dump", "-m", small_model, "--emit", "coef",
                                            stdin=stream)), "coef")
        assert len(rows) == len(every) > 20
        assert [row[5] for row in rows] == [coef[layer, -1, cell]
                                            for coef, (_, layer, cell, *_) in zip(every, rows)]
        assert any(row[5] > 0 for row in rows)


def test_other_arrays_of_such_streams(bin, small_model):
    """What does not know of keys reads such a stream as any other."""
    text_ = text(random_sentences(20, 100))
    found = streams.read(pipeline(bin, *stages(small_model, emit="max,coef")[:5], ["topk-keys", "-t", 2],
                                  stdin=text_))
    assert found.header["keys"] == 3 * 37
    fails(bin, "topk-keys", stdin=pipeline(bin, *stages(small_model), stdin=text_),
          says="no records of layers")


def test_threads(bin, small_model):
    data = text(random_sentences(200, 100))
    one, two = (pipeline(bin, *stages(small_model, threads=threads), stdin=data) for threads in (1, 2))
    assert one == two and len(streams.read(one).records) > 10


def test_layers_above_the_key_are_not_computed(bin, tmp_path):
    """Where they overflow, nobody notices."""
    random_model.write_model(tmp_path, layers=2, d_model=8, d_ff=4, heads=2, vocabulary=12, cutoffs=(5, 8),
                             factor=2)
    tensors = oracle.load_safetensors(tmp_path / "model.safetensors")
    tensors["decoder.layers.1.self_attn.out_proj.bias"][:] = 3e38
    tensors["decoder.layers.0.fc2.bias"][:] = 3e38
    random_model.write_tensors(tmp_path / "model.safetensors", tensors)
    tokens = streams.read(ok(bin, "tokenize", "-m", tmp_path, stdin=b"w4 w5"))
    shape = {"model": streams.read(ok(bin, "forward-dump", "-m", tmp_path, "--layers", 1,
                                      stdin=ok(bin, "tokenize", "-m", tmp_path,
                                               stdin=b"w4 w5"))).header["model"],
             "tokenizer": tokens.header["tokenizer"]}
    ok(bin, "forward-dump", "-m", tmp_path, "--emit", "key", stdin=keyed([[4, 5]], [(0, 1)], **shape))
    fails(bin, "forward-dump", "-m", tmp_path, "--emit", "key", stdin=keyed([[4, 5]], [(1, 1)], **shape),
          says="not finite")


# ---------------------------------------------------------------- the table

def keyed_activations(batches, changes=("first", "last"), **more):
    """batches: each a list of (tokens of the sentence, layer, cell, before, change, now)."""
    records = []
    for rows in batches:
        length, layer, cell, before, change, now = zip(*rows)
        records += [{"id": sum(len(r["len"]) for r in records[::2]), "len": length, "tok": [4] * sum(length),
                     "key_layer": layer, "key_cell": cell, "key_coef": before, "key_change": change},
                    {"key": now}]
    return streams.write(header("activations", KEYED, changes=list(changes), layers=[], cells=None, **more),
                         records)


HAND = [  # (tokens, layer, cell, before, change, now)
    [(3, 0, 1, 2, 0, 1), (3, 0, 1, 2, 1, 0), (3, 0, 1, 4, 0, 5), (3, 0, 1, 4, 1, 1), (1, 0, 1, 1, 0, 9),
     (1, 0, 1, 1, 1, 9)],
    [(3, 0, 5, 8, 0, 0), (3, 0, 5, 8, 1, 6)],
    # a negative coefficient: halved; its sign changed
    [(2, 2, 0, -2, 0, -1), (2, 2, 0, -4, 0, 1), (1, 2, 0, -1, 1, 0)]]


def test_table_by_hand(bin):
    """Expected by hand: -50, +25, -100 and -100, -75, -25; shorts left out of all else."""
    assert intervals.without(table(ok(bin, "perturbation-stats", stdin=keyed_activations(HAND)))) == [
        {"layer": "1", "kind": "first", "triggers": "3", "mean": "-41.6666667", "p25": "-75", "p50": "-50",
         "p75": "-12.5", "zeroed": "0.333333333", "increased": "0.333333333", "short": "1", "keys": "2"},
        {"layer": "1", "kind": "last", "triggers": "3", "mean": "-66.6666667", "p25": "-87.5", "p50": "-75",
         "p75": "-50", "zeroed": "0.333333333", "increased": "0", "short": "1", "keys": "2"},
        {"layer": "3", "kind": "first", "triggers": "2", "mean": "-87.5", "p25": "-106.25", "p50": "-87.5",
         "p75": "-68.75", "zeroed": "0.5", "increased": "0", "short": "0", "keys": "1"},
        {"layer": "3", "kind": "last", "triggers": "0", "mean": "", "p25": "", "p50": "", "p75": "",
         "zeroed": "", "increased": "", "short": "1", "keys": "0"}]


def test_threshold_by_hand(bin):
    """Expected by hand: a quarter of the coefficient or less is left."""
    found = table(ok(bin, "perturbation-stats", "--threshold", 0.25, stdin=keyed_activations(HAND)))
    assert [row["zeroed"] for row in found] == ["0.333333333", "0.666666667", "0.5", ""]


def test_table_is_recomputed(bin, small_model):
    """Reference: NumPy, from the stream."""
    data = pipeline(bin, *stages(small_model, "--sample", 5, "--change", "first,last,random,truncate"),
                    stdin=text(random_sentences(200, 100, longest=9)))
    rows, found = key_coefficients(streams.read(data)), table(ok(bin, "perturbation-stats", stdin=data))
    assert [(row["layer"], row["kind"]) for row in found] == [
        (str(layer), kind) for layer in (1, 2, 3) for kind in ("first", "last", "random", "truncate-1")]
    for line in found:
        here = [row for row in rows if (row[1] + 1, row[4]) == (int(line["layer"]), line["kind"])]
        measured = [row for row in here if len(row[0]) > 1]
        before, now = (np.array([row[i] for row in measured], np.float64) for i in (3, 5))
        change = 100 * (now - before) / before
        expected = [len(measured), change.mean(), *np.percentile(change, (25, 50, 75)), (now == 0).mean(),
                    (now > before).mean(), len(here) - len(measured)]
        assert_close([float(line[name]) for name in
                      ("triggers", "mean", "p25", "p50", "p75", "zeroed", "increased", "short")], expected,
                     1e-7)
        assert len(measured) > 5
        cell, found_cells = np.array([row[2] for row in measured]), sorted({row[2] for row in measured})
        wholes = [(cell == c).sum() for c in found_cells]
        assert int(line["keys"]) == len(found_cells) > 2
        for name, counts in ("zeroed", now == 0), ("increased", now > before):
            limits = intervals.clustered([counts[cell == c].sum() for c in found_cells], wholes,
                                         len(measured))
            assert [float(line[f"{name}_{end}"])
                    for end in ("low", "high")] == pytest.approx(limits, rel=1e-7, abs=1e-12)



def test_pipeline(bin, small_model, tmp_path):
    """The script gives what its stages give."""
    triggers = pipeline(bin, *stages(small_model)[:3], stdin=text(random_sentences(50, 100)))
    (tmp_path / "triggers.msgpack").write_bytes(triggers)
    subprocess.run([ROOT / "pipelines" / "perturbation.sh", small_model, tmp_path, "--top", "2"], check=True,
                   capture_output=True, timeout=TIMEOUT, env=environment({"PATH": f"{bin}:/usr/bin:/bin"}))
    expected = pipeline(bin, ["perturb-triggers", "--top", 2],
                        ["forward-dump", "-m", small_model, "--emit", "key"],
                        ["perturbation-stats"], stdin=triggers)
    assert (tmp_path / "perturbation.csv").read_bytes() == expected
