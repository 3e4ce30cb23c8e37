"""forward-dump against PyTorch's numbers, against the NumPy oracle, and against
itself: identities between the arrays that one run gives."""

import csv
import gzip
import pathlib

import numpy as np
import pytest

import oracle
import streams
from helpers import (assert_close, batches_of, by_sentence, fails, ok, pipeline,
                     random_sentences, sentences_of, text)
from random_model import write_model, write_tensors

REFERENCE = pathlib.Path(__file__).parent / "reference"
ROWS = "coef,resid,ffn"


def dump(bin, model, data, *options, batch=512, tokenize=()):
    """text -> activations stream."""
    return streams.read(pipeline(bin, ["tokenize", "-m", model, "--batch", batch, *tokenize],
                                 ["forward-dump", "-m", model, *options], stdin=data))


@pytest.fixture(scope="module")
def brown(bin, model, valid):
    """All arrays of the first 18 validation sentences."""
    return dump(bin, model, valid.read_bytes(), "--emit", ROWS + ",prediction", "--all-tokens",
                tokenize=["--limit", 18])


@pytest.fixture(scope="module")
def sentences():
    """For models of 41 words and more: one token, two, batches that are just
    full, and more than a batch of 16 holds."""
    random = np.random.default_rng(5)
    return [random.integers(3, 41, n).tolist() for n in (1, 1, 2, 13, 16, 1, 17, 40, 3, 31, 1)]


# ----------------------------------------------------------- against PyTorch

@pytest.mark.parametrize("sentence", [0, 17])
@pytest.mark.parametrize("name", ["coef", "resid", "ffn"])
def test_layers_are_pytorchs(brown, sentence, name):
    """Reference: PyTorch, one sentence at a time."""
    expected = np.load(REFERENCE / f"valid{sentence}_{name}.npy")
    assert_close(by_sentence(brown, name)[sentence], expected)


@pytest.mark.parametrize("sentence", [0, 17])
def test_predictions_are_pytorchs(brown, sentence):
    """Reference: PyTorch's most probable tokens and their log-probabilities."""
    expected, tokens = np.load(REFERENCE / f"valid{sentence}_logprob_top8.npy")
    assert_close(by_sentence(brown, "top_logp")[sentence], expected[:, 0])
    assert by_sentence(brown, "top")[sentence].tolist() == tokens[:, 0].tolist()


@pytest.mark.parametrize("sentence", [0, 17])
def test_oracle_is_pytorchs(brown, model, sentence):
    """Reference: PyTorch; what is tested is the oracle of the other tests."""
    exact = oracle.load_model(model)
    found = oracle.forward(exact, sentences_of(brown)[sentence])
    for name in "coef", "resid", "ffn":
        assert_close(getattr(found, name), np.load(REFERENCE / f"valid{sentence}_{name}.npy"), 1e-5)
    expected, tokens = np.load(REFERENCE / f"valid{sentence}_logprob_top8.npy")
    log_p = oracle.log_probs(exact, found.final)
    assert_close(np.take_along_axis(log_p, tokens.astype(int), axis=1), expected, 1e-5)


@pytest.mark.release_only
def test_log_probabilities_and_perplexity_are_pytorchs(bin, model, valid):
    """Reference: PyTorch, every position of 300 validation sentences."""
    found = dump(bin, model, valid.read_bytes(), "--emit", "prediction", "--all-tokens",
                 tokenize=["--limit", 300])
    with gzip.open(REFERENCE / "valid_logprob.csv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    expected = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    arrays = {name: np.concatenate(by_sentence(found, name)) for name in ("next_logp", "top", "top_logp")}
    assert np.concatenate(sentences_of(found)).tolist() == expected["next"].tolist()
    assert_close(arrays["next_logp"], expected["logprob"])
    assert_close(arrays["top_logp"], expected["top_logprob"])
    assert arrays["top"].tolist() == expected["top"].tolist()
    perplexity = np.exp(-arrays["next_logp"].mean(dtype=np.float64))
    assert perplexity == pytest.approx(np.exp(-expected["logprob"].mean()), rel=1e-4)


# -------------------------------------------------------- against the oracle

@pytest.mark.parametrize("batch", [16, 512])
def test_random_models_are_the_oracles(bin, random_model, sentences, batch):
    """Oracle: NumPy in float64, one sentence at a time, for other shapes."""
    exact = oracle.load_model(random_model)
    found = dump(bin, random_model, text(sentences), "--emit", ROWS + ",max,prediction", batch=batch)
    assert sentences_of(found) == sentences
    expected = [oracle.forward(exact, tokens) for tokens in sentences]
    for name in "coef", "resid", "ffn":
        for array, activations in zip(by_sentence(found, name), expected):
            assert_close(array, getattr(activations, name))
    log_p = [oracle.log_probs(exact, activations.final) for activations in expected]
    for array, rows, tokens in zip(by_sentence(found, "next_logp"), log_p, sentences):
        assert_close(array, rows[np.arange(len(tokens)), tokens])
    for array, best, rows in zip(by_sentence(found, "top_logp"), by_sentence(found, "top"), log_p):
        most = np.where(exact.candidates, rows, -np.inf).max(axis=1)
        assert_close(array, most)
        assert_close(rows[np.arange(len(best)), best], most)
        assert exact.candidates[best].all()
    for array, activations in zip(by_sentence(found, "max"), expected):
        largest, _ = oracle.sentence_max(activations.coef)
        assert np.array_equal(np.isneginf(array), np.isneginf(largest))
        assert_close(array[largest > -np.inf], largest[largest > -np.inf])


def test_long_sentence_is_the_oracles(bin, random_model):
    """Oracle: NumPy in float64; 700 positions in batches of 64."""
    tokens = np.random.default_rng(7).integers(3, 41, 700).tolist()
    found = dump(bin, random_model, text([tokens]), "--emit", ROWS, batch=64)
    expected = oracle.forward(oracle.load_model(random_model), tokens)
    for name in "coef", "resid", "ffn":
        assert_close(by_sentence(found, name)[0], getattr(expected, name))


def test_small_16_bit_numbers(bin, tmp_path):
    """Oracle: NumPy in float64; values with subnormal 16-bit floats only."""
    write_model(tmp_path, dtype="F16", layers=1)
    tensors = oracle.load_safetensors(tmp_path / "model.safetensors", np.float32)
    tensors["decoder.layers.0.fc2.weight"] *= 1e-5
    tensors["decoder.layers.0.fc2.bias"] *= 0
    write_tensors(tmp_path / "model.safetensors", tensors, "F16")
    tokens = np.random.default_rng(3).integers(3, 60, 30).tolist()
    found = dump(bin, tmp_path, text([tokens]), "--emit", "ffn")
    expected = oracle.forward(oracle.load_model(tmp_path), tokens).ffn
    assert 0 < np.abs(expected).max() < 1e-4
    assert_close(by_sentence(found, "ffn")[0], expected)


# ---------------------------------------------- identities within one stream

def test_layer_enters_the_next_one(brown, model):
    """Recomputation in float64: what enters the feed-forward block of layer
    l + 1 is o^l = r^l + y^l, and attention to it."""
    exact = oracle.load_model(model)
    eps = exact.config["layer_norm_eps"]
    for sentence in 0, 17:
        resid, ffn = (by_sentence(brown, name)[sentence].astype(float) for name in ("resid", "ffn"))
        for layer in range(15):
            out = resid[layer] + ffn[layer]
            prefix = f"decoder.layers.{layer + 1}.self_attn"
            normed = oracle.layer_norm(out, exact.tensors[prefix + "_layer_norm.weight"],
                                       exact.tensors[prefix + "_layer_norm.bias"], eps)
            expected = out + oracle.attention(exact, prefix + ".", normed)
            assert_close(resid[layer + 1], expected, 1e-5)


def test_output_is_the_sum_of_the_memories(brown, model):
    """Recomputation in float64: y = sum_i m_i v_i + b2 and m = relu(LN(r) K^T +
    b1), from the coefficients and residuals that the tool gave."""
    exact = oracle.load_model(model)
    resid, coef, ffn = (np.concatenate(by_sentence(brown, name), axis=1).astype(float)
                        for name in ("resid", "coef", "ffn"))
    for layer in range(16):
        def get(name):
            return exact.tensors[f"decoder.layers.{layer}.{name}"]

        normed = oracle.layer_norm(resid[layer], get("final_layer_norm.weight"),
                                   get("final_layer_norm.bias"), exact.config["layer_norm_eps"])
        keys = np.maximum(normed @ get("fc1.weight").T + get("fc1.bias"), 0)
        assert_close(coef[layer], keys, 1e-5)
        memories = sum(np.outer(coef[layer, :, i], value)
                       for i, value in enumerate(oracle.value_vectors(exact, layer)))
        assert_close(ffn[layer], memories + get("fc2.bias"), 1e-5)


def test_prediction_is_of_the_last_output(brown, model):
    """Recomputation in float64: log p of o^L = r^L + y^L of the last layer."""
    exact = oracle.load_model(model)
    for sentence in 0, 17:
        out = sum(by_sentence(brown, name)[sentence][-1].astype(float) for name in ("resid", "ffn"))
        log_p = oracle.log_probs(exact, out)
        tokens = sentences_of(brown)[sentence]
        assert_close(by_sentence(brown, "next_logp")[sentence], log_p[range(len(tokens)), tokens], 1e-5)
        assert_close(by_sentence(brown, "top_logp")[sentence], log_p.max(axis=1), 1e-5)


@pytest.mark.parametrize("with_bos", [False, True])
@pytest.mark.parametrize("cells", [None, "0,5-7,36"])
def test_max_is_of_the_coefficients(bin, small_model, with_bos, cells):
    """Recomputation, exact: max and argmax from the same run's coefficients."""
    data = text(random_sentences(60, 100))
    found = dump(bin, small_model, data, "--emit", "max,coef", *["--with-bos"] * with_bos,
                 *["--cells", cells] * bool(cells), batch=64)
    first = 0 if with_bos else 1
    assert found.header["first"] == first
    lengths = set()
    for coef, largest, where in zip(*(by_sentence(found, name) for name in ("coef", "max", "argmax"))):
        expected, position = oracle.sentence_max(coef, first)
        assert np.array_equal(largest, expected)
        assert np.array_equal(where, position)
        lengths.add(coef.shape[1])
    assert 1 in lengths
    if with_bos:
        assert any((where == 0).any() for where in by_sentence(found, "argmax"))


# ----------------------------------------------------------------- selections

@pytest.mark.parametrize("emit", ["max", ROWS, "max,coef,resid,ffn,prediction"])
def test_layers_and_cells_select(bin, small_model, emit):
    """Recomputation, exact: a selection is a part of what all layers give."""
    data = text(random_sentences(30, 100))
    everything = dump(bin, small_model, data, "--emit", emit, batch=64)
    for layers, cells in (("1", None), ("2", "0-36"), ("3,1", "36,3,4-6"), (None, "7")):
        options = [*(["--layers", layers] if layers else []), *(["--cells", cells] if cells else [])]
        part = dump(bin, small_model, data, "--emit", emit, *options, batch=64)
        chosen_layers = sorted(int(layer) - 1 for layer in layers.split(",")) if layers else [0, 1, 2]
        chosen_cells = {None: slice(None), "0-36": slice(None), "36,3,4-6": [3, 4, 5, 6, 36],
                        "7": [7]}[cells]
        assert part.header["layers"] == chosen_layers
        assert part.header["cells"] == (None if cells is None else list(range(37))[chosen_cells]
                                        if isinstance(chosen_cells, slice) else chosen_cells)
        for (batch, found, prediction), (whole_batch, whole, whole_prediction) in zip(
                batches_of(part), batches_of(everything)):
            assert sorted(found) == chosen_layers
            assert all(np.array_equal(batch[name], whole_batch[name]) for name in whole_batch)
            assert (prediction is None) == (whole_prediction is None)
            assert not prediction or all(np.array_equal(prediction[name], whole_prediction[name])
                                         for name in prediction)
            for layer, record in found.items():
                assert set(record) == set(whole[layer])
                for name in set(record) - {"layer"}:
                    expected = whole[layer][name]
                    if name in ("max", "argmax", "coef"):
                        expected = expected[:, chosen_cells]
                    assert np.array_equal(record[name], expected)


def random_positions(stream):
    """{sentence: its position}."""
    return {int(batch["id"] + s): int(j) for batch, _, _ in batches_of(stream)
            for s, j in zip(batch["row_sentence"], batch["row_position"])}


@pytest.mark.parametrize("with_bos", [[], ["--with-bos"]])
def test_random_positions(bin, small_model, with_bos):
    """Recomputation: the rows are those of a run over all positions, but for the last bits,
    since sentences are computed up to their row only; a position depends on the seed and
    the sentence's number only; all of them occur."""
    sentences = random_sentences(400, 100, longest=7)
    data = text(sentences)
    options = ["--emit", ROWS + ",prediction", "--layers", "1,3", *with_bos]
    first = 0 if with_bos else 1
    everything = dump(bin, small_model, data, *options, batch=64)
    found = dump(bin, small_model, data, *options, "--positions", "random", batch=64)
    positions = random_positions(found)
    assert set(positions) == {i for i, tokens in enumerate(sentences) if len(tokens) > first}
    assert all(first <= j < len(sentences[i]) for i, j in positions.items())
    for name in "coef", "resid", "ffn":
        for i, (row, rows) in enumerate(zip(by_sentence(found, name), by_sentence(everything, name))):
            assert_close(row, rows[:, [positions[i]] if i in positions else []], 1e-5)
    for name in "next_logp", "top", "top_logp":
        for i, (row, rows) in enumerate(zip(by_sentence(found, name), by_sentence(everything, name))):
            if i in positions:
                assert row[0] == pytest.approx(rows[positions[i]], rel=1e-5)
    counts = np.bincount([j for i, j in positions.items() if len(sentences[i]) == 7], minlength=7)
    assert counts[first:].min() > counts.sum() / (7 - first) / 3  # of about 8 each

    def again(*more, batch=64, tokenize=()):
        return random_positions(dump(bin, small_model, data, "--emit", "coef", "--positions", "random",
                                     *with_bos, *more, batch=batch, tokenize=tokenize))

    assert again("--layers", "2", "--cells", "3") == positions
    assert again(batch=7) == positions
    assert again("--threads", "2", batch=512) == positions
    shards = [again(batch=16, tokenize=["--shard", f"{i}/3"]) for i in range(3)]
    assert {**shards[0], **shards[1], **shards[2]} == positions
    assert sum(map(len, shards)) == len(positions)
    assert again("--seed", "1") == positions  # the default
    other = again("--seed", "2")
    assert other.keys() == positions.keys() and other != positions


def test_sentences_of_one_token(bin, small_model):
    """Expected by the definition: without a prefix there is no maximum and no
    random position, but BOS has its row."""
    data = text([[5], [6], [7]])
    found = dump(bin, small_model, data, "--emit", "max,coef,prediction")
    assert all(np.isneginf(array).all() for array in by_sentence(found, "max"))
    assert not any(array.any() for array in by_sentence(found, "argmax"))
    coef = by_sentence(found, "coef")
    assert coef[0].shape == (3, 1, 37) and coef[0].any()
    for array in coef[1:]:  # all read BOS at position 0
        assert_close(array, coef[0], 1e-5)
    found = dump(bin, small_model, data, "--emit", "coef", "--positions", "random")
    assert all(array.shape == (3, 0, 37) for array in by_sentence(found, "coef"))


def test_overflow_is_found(bin, small_model, tmp_path):
    """Expected by the contract: numbers that are not finite are an error, but
    only in layers that are computed."""
    tensors = oracle.load_safetensors(small_model / "model.safetensors", np.float32)
    tensors["decoder.layers.1.fc1.weight"][3] = 3e38
    write_tensors(tmp_path / "model.safetensors", tensors)
    for name in "config.json", "dict.txt":
        (tmp_path / name).write_bytes((small_model / name).read_bytes())
    tokens = ok(bin, "tokenize", "-m", tmp_path, stdin=text([[5, 6, 7]]))
    fails(bin, "forward-dump", "-m", tmp_path, stdin=tokens, says="layer 2, sentences from 0 on")
    ok(bin, "forward-dump", "-m", tmp_path, "--layers", "1", stdin=tokens)
