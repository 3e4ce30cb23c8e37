"""Coefficients of gated layers by their signs: lists of triggers of both ends and of each combination of the
signs of gate and input, how often each occurs, percentiles of |m|, values of negative coefficients.

Gate and input come from an independent forward pass in NumPy, coefficients from the same run's --emit
coef."""

import csv
import io
import json
import re

import numpy as np
import pytest

import fault_inputs
import intervals
import oracle
import random_model
import streams
import ffkv  # streams finds it
from browser import browser
from helpers import by_sentence, fails, ok, pipeline, random_sentences, table, text

SENTENCES = random_sentences(130, 100, seed=7) + random_sentences(70, 6, seed=8, longest=5)
TOKENIZE = ["--batch", 64]
SIGNS = ("gate+input+", "gate+input-", "gate-input+", "gate-input-")
BOTH = ("value", "min")
LISTS = {"value": BOTH[:1], "value,min": BOTH, "signs": SIGNS, "abs,signs": ("abs", *SIGNS),
         "value,min,signs": (*BOTH, *SIGNS)}
NEGATIVE = ("min", "gate+input-", "gate-input+")
EVERYTHING = ["--emit", "max,counts,magnitudes,signs", "--rank", "value,min,signs", "--paths", 6]


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """The directory of a small random Llama."""
    model = tmp_path_factory.mktemp("gated") / "llama"
    fault_inputs.write_llama(model)
    return model


@pytest.fixture(scope="module")
def tokens(bin, gated):
    return ok(bin, "tokenize", "-m", gated, *TOKENIZE, stdin=text(SENTENCES))


@pytest.fixture(scope="module")
def coefs(bin, gated, tokens):
    """Of each sentence layers x positions x cells."""
    data = ok(bin, "forward-dump", "-m", gated, "--emit", "coef", stdin=tokens)
    return by_sentence(streams.read(data), "coef")


# ------------------------------------------------------------ gate and input, in NumPy

def rms(x, weight):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6) * weight


def rotate(x):
    """heads x positions x width: the halves of each head turned by angles position * 10000^(-2 k / width)."""
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * 10000.0 ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def gates_and_inputs(tensors, read):
    """Two arrays, layers x positions x cells: x.g and x.u (the up projection) of a Llama that reads these."""
    h = tensors["model.embed_tokens.weight"][read]
    found, heads, n = [], fault_inputs.HEADS, len(read)
    for layer in range(fault_inputs.LAYERS):
        place = f"model.layers.{layer}."
        w = {name[len(place):]: value for name, value in tensors.items() if name.startswith(place)}
        x = rms(h, w["input_layernorm.weight"])
        q, k, v = ((x @ w[f"self_attn.{part}_proj.weight"].T).reshape(n, heads, -1).swapaxes(0, 1)
                   for part in "qkv")
        scores = rotate(q) @ rotate(k).swapaxes(1, 2) / np.sqrt(q.shape[-1])
        scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (weights / weights.sum(axis=-1, keepdims=True)) @ v
        h = h + mixed.swapaxes(0, 1).reshape(n, -1) @ w["self_attn.o_proj.weight"].T
        x = rms(h, w["post_attention_layernorm.weight"])
        gate, value = x @ w["mlp.gate_proj.weight"].T, x @ w["mlp.up_proj.weight"].T
        found.append((gate, value))
        h = h + gate / (1 + np.exp(-gate)) * value @ w["mlp.down_proj.weight"].T
    return tuple(np.stack(part) for part in zip(*found))


def signs_of(model, tokens, coefs, before):
    """Of each sentence which of SIGNS each coefficient is of, layers x positions x cells; and that gate and
    input are those of the coefficients.  before: what is read before the sentence's tokens."""
    tensors = oracle.load_safetensors(model / "model.safetensors")
    found = []
    sentences = [sentence for record in streams.read(tokens).records for sentence in ffkv.sentences(record)]
    for sentence, coef in zip(sentences, coefs, strict=True):
        read = [*before, *sentence.tokens.tolist()[:-1]]
        gate, value = gates_and_inputs(tensors, read)
        assert np.allclose(gate / (1 + np.exp(-gate)) * value, coef, atol=1e-4)
        assert min(np.abs(gate).min(), np.abs(value).min()) > 1e-7  # so that rounding changes no sign
        found.append(2 * (gate <= 0) + (value <= 0))
    assert {0, 1, 2, 3} == set(np.unique(np.concatenate([part.ravel() for part in found])))
    return found


@pytest.fixture(scope="module")
def signs(gated, tokens, coefs):
    return signs_of(gated, tokens, coefs, [fault_inputs.BOS])


# ------------------------------------------------------------ lists

def score(name, values):
    return np.abs(values) if name == "abs" else -values if name in NEGATIVE else values


def expected_list(name, coefs, signs, layer, cell, t, first=1):
    """[(coefficient, sentence, position)] by brute force: of each sentence the best, then the t best."""
    found = []
    for number, coef in enumerate(coefs):
        scores = score(name, coef[layer, first:, cell]).astype(float)
        if name in SIGNS:
            scores[signs[number][layer, first:, cell] != SIGNS.index(name)] = 0
        if len(scores) and scores.max() > 0:
            position = int(scores.argmax())
            found.append((-scores[position], number, position + first))
    return [(float(coefs[s][layer, position, cell]), s, position) for _, s, position in sorted(found)[:t]]


def items(record):
    return list(zip(record["coef"].tolist(), record["sentence"].tolist(), record["position"].tolist()))


def assert_lists(data, names, coefs, signs, t, first=1):
    stream = streams.read(data)
    records = stream.records[:-1]
    assert stream.header["rank"] == (list(names) if len(names) > 1 else names[0])
    assert stream.header["keys"] == 48 and len(records) == 48 * len(names)
    for i, record in enumerate(records):
        key, name = divmod(i, len(names))
        assert (record["layer"], record["cell"]) == divmod(key, 24) and record.get("list", 0) == name
        assert ("list" in record) == (len(names) > 1)
        wanted = expected_list(names[name], coefs, signs, record["layer"], record["cell"], t, first)
        assert items(record) == wanted, record
    return stream


@pytest.mark.parametrize("t", [1, 7, 300])
@pytest.mark.parametrize("rank", LISTS)
def test_lists_are_recomputed(bin, gated, tokens, coefs, signs, rank, t):
    """Exactly, from all coefficients of the same run and the signs of another forward pass."""
    data = ok(bin, "forward-dump", "-m", gated, "--rank", rank, stdin=tokens)
    assert_lists(ok(bin, "topk-keys", "-t", t, "--rank", rank, stdin=data), LISTS[rank], coefs, signs, t)


def test_lists_with_the_empty_prefix(bin, gated, tokens, coefs, signs):
    rank = "value,min,signs"
    data = ok(bin, "forward-dump", "-m", gated, "--rank", rank, "--with-bos", stdin=tokens)
    found = ok(bin, "topk-keys", "-t", 300, "--rank", rank, stdin=data)
    stream = assert_lists(found, LISTS[rank], coefs, signs, 300, first=0)
    assert any((record["position"] == 0).any() for record in stream.records[:-1])


def test_maxima_are_recomputed(bin, gated, tokens, coefs, signs):
    """The activations themselves: columns are the cells of each list in order; where no coefficient has the
    signs, 0."""
    stream = streams.read(ok(bin, "forward-dump", "-m", gated, "--rank", "min,signs", stdin=tokens))
    assert stream.header["arrays"]["max"]["shape"] == ["sentences", 5 * 24]
    absent = 0
    for s, (best, where) in enumerate(zip(by_sentence(stream, "max"), by_sentence(stream, "argmax"))):
        for l, name in enumerate(("min", *SIGNS)):
            some = np.ones_like(coefs[s][:, 1:], bool)
            if name in SIGNS:
                some = signs[s][:, 1:] == SIGNS.index(name)
            if not some.shape[1]:
                continue
            scores = np.where(some, score(name, coefs[s][:, 1:]), -np.inf if name == "min" else 0)
            at = scores.argmax(axis=1)
            value = np.take_along_axis(coefs[s][:, 1:], at[:, None], 1)[:, 0]
            none = ~some.any(axis=1)
            absent += none.sum()
            columns = slice(24 * l, 24 * l + 24)
            assert np.array_equal(best[:, columns], np.where(none, 0, value))
            assert np.array_equal(where[:, columns], np.where(none, 0, at + 1))
    assert absent > 100


def records_of(data, name):
    """A stream's records of one list, without what tells that there are others."""
    stream = streams.read(data)
    number = ffkv.lists(stream.header).index(name)
    return [{k: v for k, v in record.items() if k != "list"} for record in stream.records[:-1]
            if record.get("list", 0) == number]


def same(found, expected):
    assert len(found) == len(expected)
    for record, wanted in zip(found, expected):
        assert record.keys() == wanted.keys()
        assert all(np.array_equal(record[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", BOTH)
def test_a_list_of_several_is_the_list_alone(bin, gated, tokens, name):
    """Also its paths, and when it is chosen from activations that have more; its values, too."""
    everything = ok(bin, "forward-dump", "-m", gated, *EVERYTHING, stdin=tokens)
    alone = ok(bin, "forward-dump", "-m", gated, "--rank", name, "--emit", "max", "--paths", 6, stdin=tokens)
    values = ["project-values", "-m", gated, "--bottoms", 3]
    runs = ("value,min", everything), (name, everything), (name, alone)
    several, chosen, single = (pipeline(bin, ["topk-keys", "-t", 6, "--rank", rank], values, stdin=data)
                               for rank, data in runs)
    counts = [f"{kind}_{part}" for kind in ("coefs", "magnitudes", "signs") for part in ("bin", "count")]
    with_counts = records_of(several, name)
    assert all((counts[0] in record) == (name == "value") for record in with_counts)
    bare = [[{k: v for k, v in record.items() if k not in counts} for record in records]
            for records in (with_counts, records_of(chosen, name), records_of(single, name))]
    assert all("prefix_coef" in record for record in bare[0])
    same(bare[0], bare[2])
    same(bare[1], bare[2])


def test_relu_has_no_negative_end(bin, small_model):
    """A key without negative coefficients has no triggers of that end; all else is as with one list."""
    data = ok(bin, "tokenize", "-m", small_model, stdin=text(SENTENCES))
    found = pipeline(bin, ["forward-dump", "-m", small_model, "--rank", "value,min"],
                     ["topk-keys", "--rank", "value,min"], stdin=data)
    usual = pipeline(bin, ["forward-dump", "-m", small_model], ["topk-keys"], stdin=data)
    same(records_of(found, "value"), records_of(usual, "value"))
    assert all(len(record["coef"]) == 0 for record in records_of(found, "min"))


def test_from_all_coefficients(bin, gated, tokens, coefs):
    """Two ways to value and min, also where every prefix competes; signs need maxima."""
    emit = ["forward-dump", "-m", gated, "--emit", "coef"]
    data = pipeline(bin, emit, ["topk-keys", "-t", 5, "--rank", "value,min"], stdin=tokens)
    assert_lists(data, BOTH, coefs, None, 5)
    every = pipeline(bin, emit, ["topk-keys", "-t", 5, "--rank", "value,min", "--prefixes", "every"],
                     stdin=tokens)
    for name in BOTH:
        for record in records_of(every, name):
            values = [(-score(name, c), s, p) for s, coef in enumerate(coefs)
                      for p, c in enumerate(coef[record["layer"], :, record["cell"]])
                      if p and score(name, c) > 0]
            found = list(zip(record["sentence"], record["position"]))
            assert [(s, p) for _, s, p in sorted(values)[:5]] == found
    dumped = ok(bin, *emit, stdin=tokens)
    fails(bin, "topk-keys", "--rank", "signs", stdin=dumped, says="forward-dump --rank with signs gives it")
    dumped = ok(bin, "forward-dump", "-m", gated, "--emit", "max,coef", "--rank", "signs", stdin=tokens)
    fails(bin, "topk-keys", "--rank", "signs", "--prefixes", "every", stdin=dumped,
          says="only one prefix a sentence")
    fails(bin, "topk-keys", "--rank", "abs,signs", stdin=dumped, says="the record lacks what is searched")


@pytest.mark.parametrize("option", ["--rank", "--emit"])
def test_layers_without_gates_have_no_signs(bin, small_model, option):
    data = ok(bin, "tokenize", "-m", small_model, stdin=text(SENTENCES[:3]))
    fails(bin, "forward-dump", "-m", small_model, option, "signs", stdin=data, status=2,
          says=f"{option} signs: ")


def test_few_sentences_of_any_list_have_a_path(bin, gated, tokens):
    """Those that may be among the best of a list, which are fewer behind the first batches."""
    data = ok(bin, "forward-dump", "-m", gated, *EVERYTHING[:4], "--paths", 2, stdin=tokens)
    records = streams.read(data).records
    last = [record for record in records if "path" in record][-8:]
    for i, name in enumerate((*BOTH, *SIGNS)):
        of_list = sum((record["path"] // 24 % 6 == i).sum() for record in last)
        assert of_list < 0.3 * sum((record["max"][:, 24 * i:24 * i + 24] != 0).sum() for record in last), name


def test_threads_leave_all_as_it_is(bin, gated, tokens):
    one, several = (ok(bin, "forward-dump", "-m", gated, *EVERYTHING, "--threads", n, stdin=tokens)
                    for n in (1, 7))
    assert one == several


@pytest.fixture(scope="module")
def shards(bin, gated):
    """One run's triggers, and those of three shards."""
    def triggers(*options):
        return pipeline(bin, ["tokenize", "-m", gated, *TOKENIZE, *options],
                        ["forward-dump", "-m", gated, *EVERYTHING],
                        ["topk-keys", "-t", 6, "--rank", "value,min,signs"], stdin=text(SENTENCES))

    return triggers(), [triggers("--shard", f"{i}/3") for i in range(3)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_merged_shards_are_one_run(bin, shards, order, tmp_path):
    """Byte for byte, also in two steps."""
    for i in range(3):
        (tmp_path / str(i)).write_bytes(shards[1][i])
    parts = [tmp_path / str(i) for i in order]
    assert ok(bin, "topk-keys", "--merge", *parts) == shards[0]
    ok(bin, "topk-keys", "--merge", "--partial", *parts[:2], "-o", tmp_path / "two")
    assert ok(bin, "topk-keys", "--merge", parts[2], tmp_path / "two") == shards[0]


@pytest.mark.release_only
def test_lists_of_a_trained_model_agree(bin, smollm2):
    """SmolLM2's: the ends are the better ones of the combinations, whose counts are those of positive
    coefficients."""
    data = ok(bin, "tokenize", "-m", smollm2,
              stdin=b"The jury said that it did find many of the laws out of date.\n"
              b"He was a man of the world, and he did not know what to do.\n")
    stream = streams.read(ok(bin, "forward-dump", "-m", smollm2, "--layers", "2,3", "--emit",
                             "max,coef,signs", "--rank", "value,min,signs", stdin=data))
    batches = stream._replace(records=[record for record in stream.records if "sign_counts" not in record])
    for best in by_sentence(batches, "max"):
        value, lowest, both, gate, up, neither = np.split(best, 6, axis=1)
        assert np.array_equal(value.clip(0), np.maximum(both, neither))
        assert np.array_equal(lowest.clip(None, 0), np.minimum(gate, up))
        assert (both > 0).any() and (gate < 0).any() and (up < 0).any() and (neither > 0).any()
    every = np.concatenate([coef[:, 1:] for coef in by_sentence(batches, "coef")], axis=1)
    for layer, record in enumerate(record for record in stream.records if "sign_counts" in record):
        assert np.array_equal(record["sign_counts"][:, [0, 3]].sum(axis=1), (every[layer] > 0).sum(axis=0))


# ------------------------------------------------------------ counts

def tables(bin, data, tmp_path):
    """The tables of coefficient-stats: layers, keys, signs, sign-keys."""
    names = ("keys", "signs", "sign-keys")
    options = [part for name in names for part in (f"--{name}", tmp_path / name)]
    layers = ok(bin, "coefficient-stats", *options, stdin=data)
    return [table(layers), *(table(tmp_path / name) for name in names)]


def test_signs_are_counted(bin, shards, coefs, signs, tmp_path):
    """Exactly, in the records, in Python, and in the tables, whose intervals have keys as clusters."""
    every = np.concatenate([part[:, 1:] for part in signs], axis=1)
    counts = np.stack([(every == i).sum(axis=1) for i in range(4)], axis=-1)  # layers x cells x signs
    for record in records_of(shards[0], "value"):
        assert ffkv.sign_counts(record).tolist() == counts[record["layer"], record["cell"]].tolist()
    _, _, of_layers, of_keys = tables(bin, shards[0], tmp_path)
    positions = every.shape[1]
    assert [[int(text) for text in row.values()] for row in of_keys] == [
        [layer + 1, cell, positions, *counts[layer, cell]] for layer in range(2) for cell in range(24)]
    assert list(of_keys[0]) == ["layer", "cell", "positions", *SIGNS]
    for layer, row in enumerate(of_layers):
        assert (row["layer"], row["keys"], row["positions"]) == (str(layer + 1), "24", str(positions))
        for i, name in enumerate(SIGNS):
            assert float(row[name]) == pytest.approx(counts[layer, :, i].sum() / (24 * positions), rel=1e-8)
            expected = intervals.clustered(counts[layer, :, i], [positions] * 24, 24 * positions)
            interval = [float(row[f"{name}_{end}"]) for end in ("low", "high")]
            assert interval == pytest.approx(expected, rel=1e-4)


PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9, "p99.99": 99.99}


def test_percentiles_are_as_accurate_as_is_said(bin, shards, coefs, tmp_path):
    """numpy.percentile of all |m|, to within 1/33, of each key and of each layer."""
    every = np.abs(np.concatenate([part[:, 1:] for part in coefs], axis=1).astype(float))
    layers, keys, _, _ = tables(bin, shards[0], tmp_path)
    worst = 0
    for row in layers + keys:
        values = every[int(row["layer"]) - 1]
        values = values[:, int(row["cell"])] if "cell" in row else values.ravel()
        assert int(row["positions"]) == every.shape[1]
        for name, percentage in PERCENTILES.items():
            expected = np.percentile(values, percentage)
            worst = max(worst, abs(float(row[name]) - expected) / expected)
    assert 0.01 < worst <= 1 / 33 + 1e-9


def test_bins_of_magnitudes(bin, shards, coefs):
    """Recomputed from the edges, that the Python module has as the page tells them."""
    every = np.abs(np.concatenate([part[:, 1:] for part in coefs], axis=1))
    edges = np.array(ffkv.MAGNITUDE_EDGES)
    assert len(edges) == 514 and edges[0] == 0 and edges[1] == 2.0 ** -16 and edges[-1] == 2.0 ** 16
    assert np.allclose(edges[17::16] / edges[1:-16:16], 2) and (edges[2:] / edges[1:-1] <= 1 + 1 / 16).all()
    for record in records_of(shards[0], "value"):
        bins = np.searchsorted(edges, every[record["layer"], :, record["cell"]], side="right") - 1
        assert ffkv.magnitude_counts(record).tolist() == np.bincount(bins, minlength=514).tolist()


def test_what_lies_outside_of_the_bins(bin, shards, tmp_path):
    """Below 2^-16 is 0, and what is not below 2^16 has this number: made by hand."""
    stream = streams.read(shards[0])
    records = [dict(record) for record in stream.records]
    total = int(records[0]["magnitudes_count"].sum())
    for record in records:
        if "magnitudes_bin" in record:
            record.update(magnitudes_bin=[0, 513], magnitudes_count=[total - total // 20, total // 20])
    layers = tables(bin, streams.write(stream.header, records, stream.trailer), tmp_path)[0]
    assert [(row["p50"], row["p90"], row["p99"]) for row in layers] == [("0", "0", "65536")] * 2


def test_tables_need_their_counts(bin, gated, tokens, tmp_path):
    def triggers(emit):
        return pipeline(bin, ["forward-dump", "-m", gated, "--emit", emit], ["topk-keys"], stdin=tokens)

    fails(bin, "coefficient-stats", stdin=triggers("max,counts"), says="--emit max,magnitudes")
    fails(bin, "coefficient-stats", "--signs", tmp_path / "s", stdin=triggers("max,magnitudes"),
          says="--signs and --sign-keys need")
    fails(bin, "coefficient-stats", "--keys", tmp_path / "k", stdin=triggers("max,signs"),
          says="--keys needs")
    assert not list(tmp_path.iterdir())
    rows = table(ok(bin, "coefficient-stats", "--signs", tmp_path / "s", stdin=triggers("max,signs")))
    assert [row["p50"] for row in rows] == ["", ""] and len(table(tmp_path / "s")) == 2


# ------------------------------------------------------------ edited coefficients, and no BOS

def test_an_edited_coefficient_keeps_the_signs_of_gate_and_input(bin, gated, tokens, signs):
    """Its combination is that of gate and input as computed; of the other sign it is in no list of its
    combination.  Layer 1: cell 3 made stronger, 4 set to a positive number, 5 turned round, 6 removed; of
    others some coefficients change their sign."""
    edit = ["--edit", "1:3=*3,1:4=2.5,1:5=*-1,1:6=0,1:7-23=+0.5"]
    dump = ["forward-dump", "-m", gated, "--layers", 1, *edit]
    edited = by_sentence(streams.read(ok(bin, *dump, "--emit", "coef", stdin=tokens)), "coef")
    data = pipeline(bin, [*dump, "--emit", "max,signs", "--rank", "value,min,signs"],
                    ["topk-keys", "-t", 9, "--rank", "value,min,signs"], stdin=tokens)
    every = np.concatenate([part[0, 1:] for part in signs])
    for number, name in enumerate((*BOTH, *SIGNS)):
        for record in records_of(data, name):
            assert items(record) == expected_list(name, edited, signs, 0, record["cell"], 9)
            if not number:
                counts = np.bincount(every[:, record["cell"]], minlength=4)
                assert ffkv.sign_counts(record).tolist() == counts.tolist()
    lengths = {name: [len(record["coef"]) for record in records_of(data, name)[3:7]] for name in SIGNS}
    assert [lengths[name] for name in SIGNS] == [[9, 9, 0, 0], [9, 0, 0, 0], [9, 0, 0, 0], [9, 9, 0, 0]]


@pytest.fixture(scope="module")
def without_bos(bin, gated):
    """Tokens, coefficients and signs; position 0, which there is not, has no coefficient."""
    tokens = ok(bin, "tokenize", "-m", gated, *TOKENIZE, "--bos", "none", stdin=text(SENTENCES))
    data = ok(bin, "forward-dump", "-m", gated, "--emit", "coef", stdin=tokens)
    coefs = by_sentence(streams.read(data), "coef")
    signs = signs_of(gated, tokens, coefs, [])
    return tokens, *([np.pad(part, [(0, 0), (1, 0), (0, 0)]) for part in parts] for parts in (coefs, signs))


@pytest.mark.parametrize("rank", ["value,min", "signs", "value,min,signs"])
def test_lists_without_bos_are_recomputed(bin, gated, without_bos, rank):
    """Exactly, as those with BOS, and all prefixes have a token."""
    tokens, coefs, signs = without_bos
    data = ok(bin, "forward-dump", "-m", gated, "--rank", rank, "--paths", 7, stdin=tokens)
    found = ok(bin, "topk-keys", "-t", 7, "--rank", rank, stdin=data)
    stream = assert_lists(found, LISTS[rank], coefs, signs, 7)
    for record in stream.records[:-1]:
        paths = [coefs[s][record["layer"], 1:position + 1, record["cell"]]
                 for _, s, position in items(record)]
        assert np.array_equal(record["prefix_coef"], np.concatenate([[], *paths]))


def test_counts_without_bos_are_recomputed(bin, gated, without_bos):
    """Of each kind, at all positions but the first."""
    tokens, coefs, signs = without_bos
    data = pipeline(bin, ["forward-dump", "-m", gated, *EVERYTHING[:2]], ["topk-keys"], stdin=tokens)
    coef, sign = (np.concatenate([part[:, 1:] for part in parts], axis=1) for parts in (coefs, signs))
    for record in streams.read(data).records[:-1]:
        key = record["layer"], slice(None), record["cell"]
        assert ffkv.sign_counts(record).tolist() == np.bincount(sign[key], minlength=4).tolist()
        magnitudes = np.searchsorted(ffkv.MAGNITUDE_EDGES, np.abs(coef[key]), side="right") - 1
        assert ffkv.magnitude_counts(record).tolist() == np.bincount(magnitudes, minlength=514).tolist()
        positive = ffkv.coefficient_counts(record)[len(ffkv.COEFFICIENT_EDGES) // 2 + 1:].sum()
        assert positive == (coef[key] > 0).sum()


# ------------------------------------------------------------ thresholds

@pytest.mark.parametrize("rank, percentage", [(None, 90), (None, 99.5), ("value", 90), ("min", 50)])
def test_a_percentile_decides_what_is_active(bin, gated, tokens, coefs, shards, tmp_path, rank, percentage):
    """The share of active memories, with thresholds recomputed from the records' bins."""
    (tmp_path / "triggers").write_bytes(shards[0])
    data = ok(bin, "forward-dump", "-m", gated, "--emit", "coef,ffn", stdin=tokens)
    ok(bin, "composition-stats", "-m", gated, "--scaled", "--thresholds", tmp_path / "triggers",
       "--percentile", percentage, *(["--rank", rank] if rank else []), "--active", tmp_path / "active",
       stdin=data)
    every = np.concatenate([part[:, 1:] for part in coefs], axis=1)
    edges = np.array(ffkv.MAGNITUDE_EDGES)
    middle = [0.0, *(2 * edges[1:-1] * edges[2:] / (edges[1:-1] + edges[2:])), edges[-1]]
    threshold = np.zeros((2, 24), np.float32)
    for record in records_of(shards[0], "value"):
        values = np.repeat(middle, ffkv.magnitude_counts(record).astype(int))
        threshold[record["layer"], record["cell"]] = np.percentile(values, percentage)
    is_active = score(rank or "abs", every) > threshold[:, None, :]
    rows = table(tmp_path / "active")
    means = is_active.mean(axis=(1, 2)).tolist()
    assert [float(row["mean"]) for row in rows] == pytest.approx(means, rel=1e-8)
    words = {"value": "m", "min": "-m"}.get(rank, "|m|")
    assert {(row["active"], row["comparable"]) for row in rows} == {(f"{words} > p{percentage}", "0")}


def test_thresholds_are_of_the_model_and_of_all_keys(bin, gated, tokens, small_model, tmp_path):
    """What is missing or does not fit is refused; shards of other thresholds do not merge."""
    dumped = ok(bin, "forward-dump", "-m", gated, "--emit", "coef,ffn", stdin=tokens)

    def triggers(name, model, *options, emit="max,magnitudes"):
        data = ok(bin, "tokenize", "-m", model, stdin=text(SENTENCES[:50]))
        data = pipeline(bin, ["forward-dump", "-m", model, "--emit", emit], ["topk-keys", *options],
                        stdin=data)
        (tmp_path / name).write_bytes(data)
        return ["--thresholds", tmp_path / name, "--percentile", 90]

    run = ["composition-stats", "-m", gated, "--scaled"]
    fails(bin, *run, *triggers("other", small_model), stdin=dumped, says="model")
    fails(bin, *run, *triggers("bare", gated, emit="max"), stdin=dumped,
          says="keys without counts of magnitudes")
    fails(bin, *run, *triggers("some", gated, "--cells", "0-22"), stdin=dumped,
          says="there is no threshold of layer 1 cell 23")
    right = triggers("right", gated)
    for wrong, says in (([*right, "--relative", 0.1], "--thresholds is a definition of active"),
                        (right[:2], "go together"), (right[2:], "go together"),
                        ([*right[:3], 101], "up to 100")):
        fails(bin, *run, *wrong, stdin=dumped, status=2, says=says)
    for name, percentage in ("a", 90), ("b", 99):
        ok(bin, *run, *right[:3], percentage, "--sums", "-o", tmp_path / name, stdin=dumped)
    fails(bin, "composition-stats", "-m", gated, "--merge", tmp_path / "a", tmp_path / "b",
          says="made with another model, corpus or options")


# ------------------------------------------------------------ values

@pytest.fixture(scope="module")
def projected(bin, gated, shards):
    return ok(bin, "project-values", "-m", gated, "-k", 6, "--bottoms", 6, stdin=shards[0])


def test_negative_coefficients_promote_what_their_value_demotes(gated, projected):
    """softmax(-v E) in NumPy: tops, bottoms, ranks and probabilities of each list."""
    tensors = oracle.load_safetensors(gated / "model.safetensors")
    stream, can = streams.read(projected), np.arange(60) < 25
    for record in stream.records[:-1]:
        name = ffkv.lists(stream.header)[record["list"]]
        value = tensors[f"model.layers.{record['layer']}.mlp.down_proj.weight"][:, record["cell"]]
        log_p = oracle.log_softmax(tensors["lm_head.weight"] @ (-value if name in NEGATIVE else value))
        order = np.argsort(-np.where(can, log_p, -np.inf), kind="stable")
        assert record["top"].tolist() == order[:6].tolist()
        assert record["bottom"].tolist() == order[:25][::-1][:6].tolist()
        assert np.allclose(record["top_p"], np.exp(log_p[order[:6]]), rtol=1e-4)
        ranks = {token: place + 1 for place, token in enumerate(order.tolist())}
        assert record["next_rank"].tolist() == [ranks[token] for token in record["next"].tolist()]
        assert np.allclose(record["next_p"], np.exp(log_p[record["next"]]), rtol=1e-4)


def test_tops_and_bottoms_change_places(bin, projected):
    """Here, where logits have no bias."""
    lists = [records_of(projected, name) for name in (*BOTH, *SIGNS)]
    for value, lowest, both, *mixed, neither in zip(*lists):
        for negative in (lowest, *mixed):
            assert negative["top"].tolist() == value["bottom"].tolist()
            assert negative["bottom"].tolist() == value["top"].tolist()
        for positive in both, neither:
            assert positive["top"].tolist() == value["top"].tolist()


def test_values_of_an_adaptive_softmax(bin, tmp_path):
    """Of a model whose logits are no product: log p(-v) by the oracle."""
    directory = tmp_path / "model"
    config = random_model.write_model(directory)
    (directory / "config.json").write_text(json.dumps({**config, "activation_function": "gelu"}))
    found = pipeline(bin, ["tokenize", "-m", directory], ["forward-dump", "-m", directory, "--rank", "min"],
                     ["topk-keys", "--rank", "min", "-t", 3], ["project-values", "-m", directory, "-k", 4],
                     stdin=text(SENTENCES))
    # the oracle knows ReLU alone, and values do not depend on it
    (directory / "config.json").write_text(json.dumps(config))
    model = oracle.load_model(directory)
    records = streams.read(found).records[:-1]
    assert sum(len(record["coef"]) for record in records) > 100
    for record in records:
        log_p = oracle.log_probs(model, -oracle.value_vectors(model, record["layer"])[[record["cell"]]])[0]
        assert record["top"].tolist() == oracle.top(log_p, 4, model.candidates).tolist()
        ranks = [oracle.rank(log_p, token, model.candidates) for token in record["next"]]
        assert record["next_rank"].tolist() == ranks


# ------------------------------------------------------------ what takes one list

def test_one_list_is_named_or_refused(bin, gated, tokens, projected, tmp_path):
    """And gives what that list alone does."""
    alone = pipeline(bin, ["forward-dump", "-m", gated, "--rank", "min"],
                     ["topk-keys", "-t", 6, "--rank", "min"],
                     ["project-values", "-m", gated, "-k", 6, "--bottoms", 6], stdin=tokens)
    sheet = ["annotation-sheet", "-m", gated, "--sample", 3]
    for tool in (["agreement-stats"], ["shallow-stats", "--sample", 5, "--top", 4], sheet):
        fails(bin, *tool, stdin=projected,
              says="each key has several lists of triggers (value, min, gate+input+, gate+input-, "
              "gate-input+, gate-input-): take one with --list")
        fails(bin, *tool, "--list", "abs", stdin=projected,
              says="there is no list 'abs' of triggers (but value, min,")
        assert ok(bin, *tool, "--list", "min", stdin=projected) == ok(bin, *tool, stdin=alone) \
            == ok(bin, *tool, "--list", "min", stdin=alone)
    fails(bin, "perturb-triggers", stdin=projected, says="take one with --list")
    changed = streams.read(ok(bin, "perturb-triggers", "--list", "gate-input+", stdin=projected))
    assert changed.header["history"][-1]["options"]["list"] == "gate-input+" and "rank" not in changed.header
    assert all((record["key_coef"] < 0).all() for record in changed.records)
    usual = streams.read(ok(bin, "perturb-triggers", stdin=alone))
    assert "list" not in usual.header["history"][-1]["options"]
    same(streams.read(ok(bin, "perturb-triggers", "--list", "min", stdin=projected)).records, usual.records)


def test_readings_are_of_one_list(bin, projected, tmp_path):
    (tmp_path / "triggers").write_bytes(projected)
    model = streams.read(projected).header["model"]["id"]
    (tmp_path / "readings.csv").write_text(
        "reader,model,layer,cell,triggers,pattern,kind,description,shows\n"
        f"me,{model},1,0,3,1,semantic,x,1 2 3\n")
    options = ["pattern-stats", tmp_path / "readings.csv"]
    fails(bin, *options, "--triggers", tmp_path / "triggers", says="take one with --list")
    fails(bin, *options, "--list", "min", status=2, says="--list goes with --triggers")
    assert ok(bin, *options, "--triggers", tmp_path / "triggers", "--list", "min") == ok(bin, *options)


def test_agreement_is_with_the_top_of_the_opposite(bin, projected):
    """Figure 4's table of a list of negative coefficients, from the records."""
    for name in (*BOTH, *SIGNS):
        rows = table(ok(bin, "agreement-stats", "--list", name, stdin=projected))
        records = records_of(projected, name)
        for row in rows:
            live = [record for record in records
                    if record["layer"] + 1 == int(row["layer"]) and len(record["coef"])]
            assert int(row["live_keys"]) == len(live) > 10
            agree = sum(record["next"][0] == record["top"][0] for record in live)
            assert float(row["agree_next"]) == pytest.approx(agree / len(live), rel=1e-8)


# ------------------------------------------------------------ shown

def test_stream_cat_selects_what_forward_dump_would(bin, gated, tokens):
    def lines(data, *options):
        return [json.loads(line) for line in ok(bin, "stream-cat", *options, stdin=data).splitlines()]

    chosen = ["--cells", "3,20-22"]
    whole, some = (ok(bin, "forward-dump", "-m", gated, *EVERYTHING, *cells, stdin=tokens)
                   for cells in ([], chosen))
    assert lines(whole, *chosen)[1:-1] == lines(some)[1:-1]
    assert lines(whole, *chosen)[0]["arrays"] == lines(some)[0]["arrays"]
    keys = lines(ok(bin, "topk-keys", "-t", 2, "--rank", "value,min,signs", stdin=whole),
                 "--layers", "2", "--cells", "5")
    assert [(key["layer"], key["cell"], key["list"]) for key in keys[1:7]] == [(1, 5, i) for i in range(6)]
    assert all("layer" not in key for key in keys[7:])


def test_in_words_lists_have_their_names(bin, gated, shards):
    options = ["-m", gated, "--layers", 1, "--cells", 4]
    lines = [json.loads(line) for line in ok(bin, "stream-cat", *options, stdin=shards[0]).splitlines()]
    assert [line["list"] for line in lines] == [*BOTH, *SIGNS]
    bins = records_of(shards[0], "value")[4]["signs_bin"]
    assert [name for name, _ in lines[0]["signs"]] == [name for i, name in enumerate(SIGNS) if i in bins]
    assert sum(count for _, count in lines[0]["magnitudes"]) == sum(count for _, count in lines[0]["signs"])
    shown = ok(bin, "stream-cat", *options, "--format", "tsv", stdin=shards[0]).decode()
    rows = csv.DictReader(io.StringIO(shown), delimiter="\t")
    assert list(dict.fromkeys(row["list"] for row in rows)) == [*BOTH, *SIGNS]


def test_frames_have_the_number_of_the_list(shards):
    pytest.importorskip("pandas")
    rows = ffkv.frame(io.BytesIO(shards[0]))
    assert rows["list"].tolist() == [0, 1, 2, 3, 4, 5] * 48
    rows = ffkv.frame(io.BytesIO(shards[0]), by="trigger")
    assert ((rows["coef"] < 0) == rows["list"].isin([1, 3, 4])).all()


@pytest.fixture(scope="module")
def page():
    with browser() as found:
        yield found


def test_the_report_shows_all_lists(bin, gated, projected, page, tmp_path):
    """Each list's triggers, what agrees with its own value, the value of either sign, how often signs
    occur."""
    ok(bin, "report-pages", "-m", gated, "-o", tmp_path / "out", "--top", 4, stdin=projected)
    page.driver.get((tmp_path / "out" / "index.html").as_uri() + "#/memory/2/7")
    page.driver.execute_async_script("""
        const done = arguments[0];
        const wait = () => document.body.dataset.shown === location.hash ? done() : setTimeout(wait, 5);
        setTimeout(wait, 5);""")
    heads = page.script("return [...document.querySelectorAll('main h2')].map(e => e.textContent)")
    assert heads == ["Triggers: largest coefficients", "Triggers: lowest coefficients",
                     "Triggers: gate and input positive", "Triggers: gate positive, input negative",
                     "Triggers: gate negative, input positive", "Triggers: gate and input negative",
                     "Coefficients in the corpus", "Signs of gate and input", "Value",
                     "Value of negative coefficients", "Key"]
    found = page.script("""return [...document.querySelectorAll('table')].map(table =>
        [...table.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.textContent)))""")
    lists = [records_of(projected, name)[24 + 7] for name in (*BOTH, *SIGNS)]
    for rows, record in zip(found, lists):
        assert [row[0] for row in rows] == [str(i + 1) for i in range(min(4, len(record["coef"])))]
        assert [float(row[1]) for row in rows] == pytest.approx(record["coef"][:4].tolist(), rel=0.01)
        assert ["agrees" in row[3] for row in rows] == (record["next"][:4] == record["top"][0]).tolist()
    counts = ffkv.sign_counts(lists[0])
    assert [int(row[1].replace(",", "")) for row in found[6]] == counts.tolist()
    shares = [float(row[2].split(" ")[0]) for row in found[6]]
    assert shares == pytest.approx((100 * counts / counts.sum()).tolist(), abs=0.051)
    texts = [[re.sub("\u2423", " ", row[0]) for row in rows] for rows in found[7:11]]
    assert texts[0] == texts[3] and texts[1] == texts[2] and texts[0] != texts[1]
    assert page.complaints() == []


# ------------------------------------------------------------ hostile streams

def test_wrong_ranks_of_headers_are_refused(bin, gated, shards, tokens):
    stream = streams.read(shards[0])
    dumped = streams.read(ok(bin, "forward-dump", "-m", gated, "--rank", "value,min", stdin=tokens))
    for rank, says in (([], "neither a text nor a list of texts"),
                       (7, "neither a text nor a list of texts"), (None, "neither"),
                       (["value", 7], "'no text', which is not known"),
                       (["value", "max"], "'max', which is not known"),
                       (["min", "value"], "has 'value' behind 'min', which is out of order"),
                       (["value"] * 3, "has 'value' behind 'value'"), (["value"] * 4000, "behind 'value'")):
        for tool, other in ((["coefficient-stats"], stream), (["topk-keys", "--merge", "-"], stream),
                            (["topk-keys"], dumped)):
            data = streams.write({**other.header, "rank": rank}, other.records, other.trailer)
            fails(bin, *tool, stdin=data, says=says)
            with pytest.raises(streams.StreamError):
                streams.read(data)


def without(record, name):
    return {other: value for other, value in record.items() if other != name}


@pytest.mark.parametrize("change, says", [
    (lambda records: [without(records[0], "list"), *records[1:]], "the record has no 'list'"),
    (lambda records: [records[0], {**records[1], "list": 2}, *records[2:]], "has list 2, list 1 should come"),
    (lambda records: records[1:], "has list 1, list 0 should come"),
    (lambda records: [*records[:5], *records[6:]], "has list 0, list 5 should come"),
    (lambda records: [records[0], {**records[1], "cell": 1}, *records[2:]], "is not in order"),
    (lambda records: [*records[:6], *records[:6], *records[12:]], "is not in order"),
    (lambda records: [*records[:-2], records[-1]],
     "the last key has 5 lists of triggers, the header promises 6"),
    (lambda records: [records[0], {**records[1], "coef": -records[1]["coef"]}, *records[2:]],
     "is out of range"),
    (lambda records: [{**records[0], "signs_count": records[0]["signs_count"] + 1}, *records[1:]],
     "coefficients and"),
    (lambda records: [{**records[0], "magnitudes_bin": records[0]["magnitudes_bin"] + 500}, *records[1:]],
     "the bins of 'magnitudes'"),
    (lambda records: [without(records[0], "signs_count"), *records[1:]], "'signs_count'"),
])
def test_damaged_lists_are_refused(bin, shards, change, says):
    stream = streams.read(shards[0])
    data = streams.write(stream.header, change(list(stream.records)), stream.trailer)
    for tool in ["coefficient-stats"], ["topk-keys", "--merge", "-"], ["shallow-stats", "--list", "min"]:
        fails(bin, *tool, stdin=data, says=says)
    with pytest.raises(streams.StreamError):
        streams.read(data)


@pytest.mark.parametrize("name, change, says", [
    ("sign_counts", lambda counts: counts + 1, "'sign_counts' of cell 0 add up to"),
    ("magnitude_counts", lambda counts: counts[:-1], "'magnitude_counts' has"),
    ("max", lambda best: best[:, :-1], "'max' has"),
    ("argmax", lambda where: where[:, 1:], "'argmax' has"),
    ("max", lambda best: np.where(best < 0, -np.inf, best), "'max' has an element that is not a coefficient"),
])
def test_damaged_activations_are_refused(bin, gated, tokens, name, change, says):
    stream = streams.read(ok(bin, "forward-dump", "-m", gated, *EVERYTHING[:4], stdin=tokens))
    records = [dict(record) for record in stream.records]
    record = next(record for record in records if name in record)
    record[name] = change(record[name])
    data = streams.write(stream.header, records, stream.trailer)
    fails(bin, "topk-keys", "--rank", "value,min,signs", stdin=data, says=says)
