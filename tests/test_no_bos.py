"""A model that reads no BOS, from tokens to every table: against the NumPy oracle, which reads
w_1 .. w_{n-1}, and against plain recomputations.  test_families.py has models of other families without BOS
against transformers."""

import json
import re

import numpy as np
import pytest

import oracle
import random_model
import streams
import test_coefficients
import test_composition
import test_perturbation
import test_refinement
import test_shallow
import test_triggers
from helpers import (assert_close, assert_table, by_sentence, batches_of, fails, ok, pipeline,
                     random_sentences, sentences_of, table, text)

VOCABULARY, LAYERS, CELLS, TOP = 100, 3, 37, 6
SENTENCES = random_sentences(90, VOCABULARY, seed=8, longest=9) + random_sentences(30, 6, seed=9, longest=4)
TOKENIZE = ["--bos", "none", "--batch", 24]
EMIT = "max,coef,resid,ffn,prediction"
SEARCH = ["--emit", "max,counts", "--paths", TOP]


@pytest.fixture(scope="module")
def tokens(bin, small_model):
    data = ok(bin, "tokenize", "-m", small_model, *TOKENIZE, stdin=text(SENTENCES))
    stream = streams.read(data)
    assert stream.header["tokenizer"]["bos"] is None and sentences_of(stream) == SENTENCES
    assert any(len(sentence) == 1 for sentence in SENTENCES)
    return data


@pytest.fixture(scope="module")
def dumped(bin, small_model, tokens):
    return ok(bin, "forward-dump", "-m", small_model, "--emit", EMIT, stdin=tokens)


@pytest.fixture(scope="module")
def exact(small_model):
    model = oracle.load_model(small_model)
    return model._replace(config={**model.config, "bos_token_id": None})


@pytest.fixture(scope="module")
def forwards(exact):
    return [oracle.forward(exact, sentence) for sentence in SENTENCES]


@pytest.fixture(scope="module")
def coefs(dumped):
    """The tool's own coefficients by position, NaN at position 0."""
    return [
        np.concatenate([np.full((LAYERS, 1, CELLS), np.nan, np.float32), array], axis=1)
        for array in by_sentence(streams.read(dumped), "coef")
    ]


@pytest.fixture(scope="module")
def triggers(bin, small_model, tokens):
    return pipeline(bin, ["forward-dump", "-m", small_model, *SEARCH],
                    ["topk-keys", "-t", TOP, "--following", 2], stdin=tokens)


# -------------------------------------------------------------- activations


def test_rows_are_the_oracles(bin, dumped, forwards, exact):
    """Oracle: NumPy in float64.  Positions are 1 to n-1; the prefix of one token is w_1, read first."""
    stream = streams.read(dumped)
    assert stream.header["first"] == 1
    for batch, _, _ in batches_of(stream):
        assert batch["row_position"].tolist() == [j for length in batch["len"] for j in range(1, length)]
    for name in ("coef", "resid", "ffn"):
        for found, forward in zip(by_sentence(stream, name), forwards, strict=True):
            assert_close(found, getattr(forward, name)[:, 1:])
    for found, forward, sentence in zip(by_sentence(stream, "next_logp"), forwards, SENTENCES, strict=True):
        log_p = oracle.log_probs(exact, forward.final[1:])
        assert_close(found, log_p[np.arange(len(found)), sentence[1:]])


def test_maxima_are_recomputed(dumped, coefs):
    """Exact: of the same dump's coefficients; minus infinity where the sentence has no position."""
    stream = streams.read(dumped)
    for best, where, coef in zip(by_sentence(stream, "max"), by_sentence(stream, "argmax"), coefs,
                                 strict=True):
        wanted, position = oracle.sentence_max(coef)
        assert np.array_equal(best, wanted) and np.array_equal(where, position)


def test_random_positions_are_the_same_rows(bin, small_model, tokens, dumped):
    """Sentences are computed up to their row only; numbers are those of the whole, but for last bits."""
    some = streams.read(
        ok(bin, "forward-dump", "-m", small_model, "--emit", "coef,prediction", "--positions", "random",
           stdin=tokens))
    every, drawn = by_sentence(streams.read(dumped), "coef"), by_sentence(some, "coef")
    positions = iter(np.concatenate([record["row_position"] for record in some.records if "tok" in record]))
    for sentence, all_rows, row in zip(SENTENCES, every, drawn, strict=True):
        assert row.shape[1] == (len(sentence) > 1)
        if row.shape[1]:
            assert_close(row[:, 0], all_rows[:, next(positions) - 1], 1e-6)


def test_a_sentence_has_one_token_more_than_the_model_can_attend_to(bin, tmp_path):
    """The last one is not read."""
    (tmp_path / "config.json").write_text(
        json.dumps({
            "model_type": "opt", "vocab_size": 60, "hidden_size": 8, "num_hidden_layers": 1, "ffn_dim": 4,
            "num_attention_heads": 2, "max_position_embeddings": 5
        }))
    random, shapes = np.random.default_rng(1), {"embed_tokens": (60, 8), "embed_positions": (7, 8)}
    tensors = {f"model.decoder.{name}.weight": shape for name, shape in shapes.items()}
    layer = "model.decoder.layers.0."
    for name, shape in {
            **{f"self_attn.{x}_proj": (8, 8)
               for x in ("q", "k", "v", "out")}, "fc1": (4, 8), "fc2": (8, 4)
    }.items():
        tensors |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
    for name in (layer + "self_attn_layer_norm", layer + "final_layer_norm",
                 "model.decoder.final_layer_norm"):
        tensors |= {f"{name}.weight": (8, ), f"{name}.bias": (8, )}
    random_model.write_tensors(
        tmp_path / "model.safetensors",
        {name: random.normal(size=shape).astype(np.float32)
         for name, shape in tensors.items()})
    (tmp_path / "dict.txt").write_text("".join(f"w{i} 1\n" for i in range(4, 60)))
    for options, most in ([], 5), (["--bos", "none"], 6):
        made = [
            ok(bin, "tokenize", "-m", tmp_path, *options, stdin=b"w4 " * count) for count in (most, most + 1)
        ]
        ok(bin, "forward-dump", "-m", tmp_path, stdin=made[0])
        fails(
            bin, "forward-dump", "-m", tmp_path, stdin=made[1], says=
            f"one has {most + 1} tokens, but {tmp_path} can attend to {most}: tokenize --max-length {most}")


# ----------------------------------------------------------------- triggers


@pytest.mark.parametrize("every", [False, True])
def test_triggers_are_recomputed(bin, dumped, coefs, every):
    """Exact: sort all coefficients of the same dump; no prefix is empty."""
    found = ok(bin, "topk-keys", "-t", TOP, "--following", 2, *["--prefixes", "every"] * every, stdin=dumped)
    test_triggers.assert_triggers(found, SENTENCES, coefs, range(LAYERS), range(CELLS), TOP, every,
                                  vocabulary=VOCABULARY, following=2)
    assert all(record["position"].all() for record in streams.read(found).records[:-1])


def test_paths_and_counts_are_recomputed(triggers, coefs):
    """Exact: from the same dump's coefficients."""
    stream = test_coefficients.assert_recomputed(triggers, coefs)
    assert sum(len(record["prefix_coef"]) for record in stream.records[:-1]) > 100


def test_shards_are_one_run(bin, small_model, triggers, tmp_path):
    """In any order; the same bytes."""
    paths = []
    for i in range(3):
        paths.append(tmp_path / str(i))
        paths[i].write_bytes(
            pipeline(bin, ["tokenize", "-m", small_model, *TOKENIZE, "--shard", f"{i}/3"],
                     ["forward-dump", "-m", small_model, *SEARCH], ["topk-keys", "-t", TOP, "--following", 2],
                     stdin=text(SENTENCES)))
    assert ok(bin, "topk-keys", "--merge", *paths[::-1]) == triggers


def test_streams_with_bos_and_without_are_not_mixed(bin, small_model, tmp_path):
    """Though their texts are the same."""
    for i, bos in enumerate(["none", "</s>", "<s>"]):
        (tmp_path / bos.strip("</>")).write_bytes(
            pipeline(bin,
                     ["tokenize", "-m", small_model, "--bos", bos, "--batch", 24, "--shard", f"{i % 2}/2"],
                     ["forward-dump", "-m", small_model], ["topk-keys", "-t", TOP], stdin=text(SENTENCES)))
    fails(bin, "topk-keys", "--merge", tmp_path / "none", tmp_path / "s", says="header")


# ------------------------------------------------------------------- values


def test_agreement_is_the_oracles(bin, small_model, triggers, exact):
    """Oracle: NumPy in float64.  The last token of a prefix of one token is that token."""
    projected = ok(bin, "project-values", "-m", small_model, "-k", 5, stdin=triggers)
    *records, counts = streams.read(projected).records
    for record, wanted in zip(records, oracle.project_values(exact, records, 5), strict=True):
        for name in ("top", "next_rank", "last_rank"):
            assert np.array_equal(record[name], wanted[name])
        assert_close(record["last_p"], wanted["last_p"])
    assert_table(ok(bin, "agreement-stats", stdin=projected),
                 oracle.agreement(records, counts["token_counts"], None, exact.candidates))


# -------------------------------------------------------------- perturbation


def test_changed_prefixes_are_the_oracles(bin, small_model, triggers, exact):
    """Oracle: NumPy in float64, on the changed sentence by itself.  Behind a first token that is removed
    the next one is read first; of a prefix of one token nothing is left, and no coefficient is."""
    data = pipeline(bin, ["perturb-triggers", "--sample", 12, "--change", ",".join(test_perturbation.KINDS)],
                    ["forward-dump", "-m", small_model, "--emit", "key"], stdin=triggers)
    rows = test_perturbation.key_coefficients(streams.read(data))
    long = [row for row in rows if len(row[0]) > 1]
    assert_close([row[5] for row in long],
                 [oracle.forward(exact, tokens).coef[layer, -1, cell] for tokens, layer, cell, *_ in long])
    same = [row for row in long if row[4] == "none"]
    assert_close([row[5] for row in same], [row[3] for row in same], 1e-6)
    assert [row[5]
            for row in rows if len(row[0]) == 1] == [0] * (len(rows) - len(long)) and len(long) < len(rows)
    for line in table(ok(bin, "perturbation-stats", stdin=data)):
        here = [row for row in rows if (row[1] + 1, row[4]) == (int(line["layer"]), line["kind"])]
        measured = [row for row in here if len(row[0]) > 1]
        assert (int(line["triggers"]), int(line["short"])) == (len(measured), len(here) - len(measured))
        assert float(line["mean"]) == pytest.approx(
            np.mean([100 * (row[5] / row[3] - 1) for row in measured]), rel=1e-4, abs=1e-4)


def test_any_other_token_may_replace_one(bin):
    """Of a vocabulary of two, the other one; with BOS there is none."""
    key = test_perturbation.key(0, 0, [([0, 1, 0], 1)])
    header = test_perturbation.header("triggers", test_perturbation.TRIGGERS, layers=[0], cells=None, keys=1,
                                      top=50, prefixes="sentence", rank="value")
    header["model"]["vocabulary"] = header["tokenizer"]["vocabulary"] = 2
    header["tokenizer"]["bos"] = None
    changes = "replace-first,replace-last,replace-random"
    rows, _ = test_perturbation.perturbed(bin, streams.write(header, [key]), "--change", changes)
    assert [row[4] for row in rows[:2]] == [[1, 1, 0, 1], [0, 1, 1, 1]]
    assert rows[2][4] in ([1, 1, 0, 1], [0, 0, 0, 1], [0, 1, 1, 1])
    header["tokenizer"]["bos"] = 0
    fails(bin, "perturb-triggers", stdin=streams.write(header, [key]), says="a vocabulary of 2 tokens")


# ------------------------------------------------------------ the other tables


def test_composition_and_refinement_are_the_oracles(bin, small_model, dumped, tmp_path):
    """Oracle: NumPy in float64; a prefix of j tokens is short when j is."""
    ok(bin, "project-values", "-m", small_model, "--all", "-k", 1, "-o", tmp_path / "values")
    found = test_composition.statistics(bin, small_model, tmp_path, dumped, "--values", tmp_path / "values")
    test_composition.check(found, test_composition.expected(small_model, dumped))
    test_refinement.check(test_refinement.statistics(bin, small_model, tmp_path, dumped),
                          test_refinement.expected(small_model, dumped))


def prefixes_of(record):
    ends = np.cumsum(record["position"])
    return [record["prefix"][end - length:end].tolist() for end, length in zip(ends, record["position"])]


def test_shallow_patterns_are_recomputed(bin, triggers):
    """Reference: plain Python, from the triggers."""
    found = test_shallow.shallow(bin, triggers, "--skip-frequent", 0)
    for layer, row in found.items():
        keys = [
            test_shallow.recomputed(prefixes_of(record), set())
            for record in streams.read(triggers).records[:-1]
            if record["layer"] == layer - 1 and len(record["coef"]) > 1
        ]
        for name, numbers in zip((*test_shallow.LAYER[2:6], "overlap_before"), zip(*keys), strict=True):
            assert_close(row[name], np.mean(numbers), 1e-8)


def test_words_of_prefixes(bin, small_model, triggers, tmp_path):
    """stream-cat shows the tokens of each prefix, report-pages has the same."""
    shown = ok(bin, "stream-cat", "--model", small_model, stdin=triggers).decode().splitlines()
    words = {i: word for word, i in oracle.load_dictionary(small_model).items()}
    records = [record for record in streams.read(triggers).records if "cell" in record]
    lines = [json.loads(line) for line in shown if '"cell"' in line and '"triggers"' in line]
    assert len(lines) == len(records)
    for line, record in zip(lines, records):
        assert [trigger["prefix"] for trigger in line["triggers"]] \
            == [" ".join(words[token] for token in prefix) for prefix in prefixes_of(record)]
    projected = ok(bin, "project-values", "-m", small_model, stdin=triggers)
    ok(bin, "report-pages", "--model", small_model, "-o", tmp_path / "report", stdin=projected)
    pages = "".join(path.read_text() for path in sorted((tmp_path / "report").rglob("*.js")))
    best = next(record for record in records if len(record["coef"]))
    assert re.search(r"\W" + r"\W+".join(words[token] for token in prefixes_of(best)[0]) + r"\W", pages)


# ------------------------------------------------------------------- refusals


def changed(data, change):
    stream = streams.read(data)
    records = [dict(record) for record in stream.records]
    header = json.loads(json.dumps(stream.header))
    change(header, records)
    return streams.write(header, records, {name: stream.trailer[name] for name in streams.COUNTS})


def test_there_is_no_position_0(bin, small_model, tokens, dumped, triggers):
    fails(bin, "forward-dump", "-m", small_model, "--with-bos", stdin=tokens,
          says="its sentences are read without BOS")

    def first_is_0(header, records):
        header["first"] = 0

    def row_at_0(header, records):
        records[0]["row_position"] = records[0]["row_position"] - (records[0]["row_position"] == 1)

    def empty_prefix(header, records):
        record = next(record for record in records if len(record.get("coef", ())))
        record["prefix"] = record["prefix"][record["position"][0]:]
        record["prefix_coef"] = record["prefix_coef"][record["position"][0]:]
        record["position"] = np.concatenate([[0], record["position"][1:]])

    fails(bin, "topk-keys", stdin=changed(dumped, first_is_0), says="first is 0")
    fails(bin, "topk-keys", stdin=changed(dumped, row_at_0), says="is not a position of a sentence")
    fails(bin, "perturb-triggers", stdin=changed(triggers, empty_prefix), says="is out of range")

    def with_bos(header, records):
        empty_prefix(header, records)
        header["tokenizer"]["bos"] = 2

    ok(bin, "perturb-triggers", stdin=changed(triggers, with_bos))
