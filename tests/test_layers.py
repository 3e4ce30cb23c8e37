"""Layers count from 1 where people type and read, and from 0 in streams: the same layer asked for of
every tool that takes --layers, and what it gives compared with the oracle's numbers of that layer."""

import json
import re

import numpy as np
import pytest

import oracle
import streams
from conftest import ROOT
from helpers import assert_close, by_sentence, fails, ok, pipeline, random_sentences, table, text
from test_cli import TOOLS, options_in_help

ID = 42  # of a token
SENTENCES = [tokens for tokens in random_sentences(40, 100, seed=8) if len(tokens) > 1]
WITH_LAYERS = {"annotation-sheet", "forward-dump", "stream-cat", "topk-keys", "value-ranks"}


@pytest.fixture(scope="module")
def made(bin, small_model, tmp_path_factory):
    """Streams of all layers: {name: path}."""
    place = tmp_path_factory.mktemp("layers")

    def make(name, tool, *args, model=True):
        (place / name).write_bytes(ok(bin, tool, *(["-m", small_model] if model else []), *args))
        return place / name

    (place / "text").write_bytes(text(SENTENCES))
    tokens = make("tokens", "tokenize", place / "text")
    rows = make("rows", "forward-dump", "--emit", "max,coef,resid,ffn", tokens)
    triggers = make("triggers", "topk-keys", "-t", 4, rows, model=False)
    return {"tokens": tokens, "rows": rows, "triggers": make("projected", "project-values", triggers)}


@pytest.fixture(scope="module")
def coefficients(small_model):
    """The oracle's, of each sentence: (layers, positions, cells)."""
    exact = oracle.load_model(small_model)
    return [oracle.forward(exact, tokens).coef for tokens in SENTENCES]


@pytest.fixture(scope="module", params=[1, 2, 3])
def layer(request, coefficients):
    """A layer's number for people.  No other layer could be taken for it."""
    for other in {1, 2, 3} - {request.param}:
        assert not np.allclose(coefficients[0][request.param - 1], coefficients[0][other - 1], atol=0.01)
    return request.param


def maxima(coefficients, layer):
    """(cells): the largest coefficient that a sentence's prefix has; 0 where none is above 0."""
    return np.maximum(0, np.max([coef[layer - 1][1:].max(axis=0) for coef in coefficients], axis=0))


def check_keys(records, number, coefficients, layer):
    """The best trigger's coefficient of every cell."""
    assert [(record["layer"], record["cell"]) for record in records] == [(number, cell) for cell in range(37)]
    assert_close([max(record["coef"], default=0) for record in records], maxima(coefficients, layer))


def keys(stream):
    return [record for record in stream.records if "cell" in record]


def test_forward_dump_computes_the_layer_that_is_asked_for(bin, small_model, made, coefficients, layer):
    found = streams.read(ok(bin, "forward-dump", "-m", small_model, "--emit", "coef", "--layers", layer,
                            made["tokens"]))
    assert found.header["layers"] == [layer - 1]
    assert {record["layer"] for record in found.records if "layer" in record} == {layer - 1}
    for row, coef in zip(by_sentence(found, "coef"), coefficients, strict=True):
        assert_close(row[0], coef[layer - 1])


def test_topk_keys_searches_the_layer_that_is_asked_for(bin, made, coefficients, layer):
    found = streams.read(ok(bin, "topk-keys", "--layers", layer, made["rows"]))
    assert found.header["layers"] == [layer - 1]
    check_keys(keys(found), layer - 1, coefficients, layer)


def test_what_a_stream_records_is_the_same_however_a_list_is_written(bin, small_model, made):
    one = ok(bin, "forward-dump", "-m", small_model, "--layers", "1-2", made["tokens"])
    assert one == ok(bin, "forward-dump", "-m", small_model, "--layers", "2,1,1", made["tokens"])
    every = ok(bin, "forward-dump", "-m", small_model, "--layers", "1-3", made["tokens"])
    assert every == ok(bin, "forward-dump", "-m", small_model, made["tokens"])


def test_stream_cat_prints_the_layer_that_is_asked_for(bin, small_model, made, coefficients, layer):
    """In words its number is the one that was typed; without, the stream's."""
    def lines(*options):
        return [json.loads(line)
                for line in ok(bin, "stream-cat", "--layers", layer, *options, made["triggers"]).splitlines()]

    check_keys([record for record in lines() if "cell" in record], layer - 1, coefficients, layer)
    in_words = lines("-m", small_model)
    check_keys([{**record, "coef": [row["coef"] for row in record["triggers"]]} for record in in_words],
               layer, coefficients, layer)
    rows = ok(bin, "stream-cat", "--layers", layer, "-m", small_model, "--format", "tsv",
              made["triggers"]).decode().splitlines()
    assert rows[0].startswith("layer\t") and {row.split("\t")[0] for row in rows[1:]} == {str(layer)}


def test_value_ranks_ranks_in_the_layer_that_is_asked_for(bin, small_model, layer):
    exact = oracle.load_model(small_model)
    rows = table(ok(bin, "value-ranks", "-m", small_model, "--ids", ID, "--layers", layer))
    assert [(row["layer"], row["cell"]) for row in rows] == [(str(layer), str(cell)) for cell in range(37)]
    expected = oracle.log_probs(exact, oracle.value_vectors(exact, layer - 1))[:, ID]
    assert_close(np.log([float(row["probability"]) for row in rows]), expected)


def test_perturbation_is_that_of_the_layer_that_is_asked_for(bin, small_model, made, layer):
    """Through three tools, to the table's row."""
    activations = pipeline(bin, ["topk-keys", "-t", 4, "--layers", layer],
                           ["perturb-triggers", "--sample", 0, "--change", "first"],
                           ["forward-dump", "-m", small_model, "--emit", "key"],
                           stdin=made["rows"].read_bytes())
    stream, exact, changes = streams.read(activations), oracle.load_model(small_model), []
    for batch, found in zip(stream.records[::2], stream.records[1::2], strict=True):
        assert set(batch["key_layer"]) == {layer - 1}
        sentences = np.split(batch["tok"], np.cumsum(batch["len"])[:-1])
        for tokens, cell, before, now in zip(sentences, batch["key_cell"], batch["key_coef"], found["key"],
                                             strict=True):
            expected = oracle.forward(exact, tokens.tolist()).coef[layer - 1, -1, cell]
            assert now == pytest.approx(expected, abs=1e-4)
            changes += [100 * (expected - before) / before] if len(tokens) > 1 else []
    (row,) = table(ok(bin, "perturbation-stats", stdin=activations))
    assert row["layer"] == str(layer) and len(changes) > 50
    assert float(row["mean"]) == pytest.approx(np.mean(changes), rel=1e-3, abs=1e-3)


def test_tables_have_the_layer_under_the_number_that_is_asked_for(bin, small_model, made, coefficients, layer,
                                                                  tmp_path):
    """The share of active memories is the oracle's, and the row is the same in the table of all layers."""
    values = tmp_path / "values"
    values.write_bytes(ok(bin, "project-values", "-m", small_model, "--all"))

    def active(*options):
        selected = ok(bin, "forward-dump", "-m", small_model, "--emit", "coef,ffn", *options, made["tokens"])
        ok(bin, "composition-stats", "-m", small_model, "--values", values, "--active", tmp_path / "active",
           "-o", tmp_path / "composition", stdin=selected)
        return {row["layer"]: row for row in table(tmp_path / "active")}

    found = active("--layers", layer)
    assert list(found) == [str(layer)] and found[str(layer)] == active()[str(layer)]
    shares = np.concatenate([(coef[layer - 1][1:] > 0).mean(axis=1) for coef in coefficients])
    assert int(found[str(layer)]["prefixes"]) == len(shares)
    assert float(found[str(layer)]["mean"]) == pytest.approx(shares.mean(), abs=1e-4)

    selected = pipeline(bin, ["topk-keys", "-t", 4, "--layers", layer], ["project-values", "-m", small_model],
                        stdin=made["rows"].read_bytes())
    (row,) = table(ok(bin, "agreement-stats", stdin=selected))
    assert row == table(ok(bin, "agreement-stats", made["triggers"]))[layer - 1] \
        and row["layer"] == str(layer)


def test_pages_have_the_layer_under_the_number_that_is_asked_for(bin, small_model, made, coefficients, layer):
    page = ok(bin, "annotation-sheet", "-m", small_model, "--sample", 0, "--layers", layer,
              made["triggers"]).decode()
    shown = json.loads(re.search(r'<script [^>]*type="application/json"[^>]*>(.*?)</script>', page,
                                 re.DOTALL)[1])["keys"]
    best = maxima(coefficients, layer)
    assert [key["layer"] for key in shown] == [layer] * np.count_nonzero(best)
    assert_close([key["triggers"][0]["coefficient"] for key in shown], best[best > 0])


# ------------------------------------------------------- what people are told

def test_layer_0_is_refused(bin, small_model, made):
    """By every tool that has the option, and by its form, before anything is computed."""
    inputs = {"annotation-sheet": ["-m", small_model, made["triggers"]],
              "forward-dump": ["-m", small_model, made["tokens"]], "stream-cat": [made["triggers"]],
              "topk-keys": [made["rows"]], "value-ranks": ["-m", small_model, "--ids", ID]}
    assert set(inputs) == WITH_LAYERS == {tool for tool in TOOLS
                                          if "layers" in {name for _, name, _ in options_in_help(bin, tool)}}
    for tool, args in inputs.items():
        for wrong in "0", "0-1", "2,0", "4":
            fails(bin, tool, *args, "--layers", wrong, status=2,
                  says=f"--layers takes a list such as 1-3,7 of numbers from 1 to 3, not '{wrong}': layers "
                  "count from 1\n")
    fails(bin, "stream-cat", "-m", small_model, "--layers", "0", made["triggers"], status=2,
          says="layers count from 1")


@pytest.mark.parametrize("tool", sorted(WITH_LAYERS))
def test_help_and_manual_say_that_layers_count_from_1(bin, tool):
    (line,) = re.findall(r"^ +--layers .*(?:\n {10,}.*)*", ok(bin, tool, "--help").decode(), re.MULTILINE)
    assert "counted from 1" in " ".join(line.split())
    page = (ROOT / "man" / f"{tool}.1").read_text()
    (entry,) = re.findall(r"^\.It Fl -layers Ar LIST\n(.*?)^\.(?:It|El)", page, re.MULTILINE | re.DOTALL)
    assert "counted from 1" in " ".join(entry.split())


def test_raw_json_says_that_it_has_the_streams_numbers(bin):
    assert "with layers from 0" in ok(bin, "stream-cat", "--help").decode()


def test_messages_name_a_layer_as_it_was_typed(bin, small_model, made):
    first = ok(bin, "forward-dump", "-m", small_model, "--layers", "1,2", made["tokens"])
    fails(bin, "topk-keys", "--layers", "3", stdin=first,
          says="layer 3 is asked for but is not in the stream")
    fails(bin, "stream-cat", "--layers", "3", stdin=first,
          says="the stream does not have layer 3 (counted from 1)")


@pytest.mark.parametrize("tool, name",
                         [("topk-keys", "rows"), ("agreement-stats", "triggers"), ("stream-cat", "triggers")])
def test_messages_on_a_stream_name_its_layers_from_1(bin, made, tool, name):
    """A record of the second layer that comes once too often."""
    header, *records, _ = [item.value for item in streams.items(made[name].read_bytes())]
    place = next(i for i, record in enumerate(records) if record.get("layer") == 1)
    data = b"".join(map(streams.pack, [header, *records[:place], records[place], records[place]]))
    fails(bin, tool, *(["--layers", "3"] if tool == "stream-cat" else []), stdin=data,
          says="layer 2 is out of order" if name == "rows" else "layer 2 cell 0 is not in order")
