"""project-values against PyTorch, against the NumPy oracle, and against the
whole distributions that it lists itself with -k of the vocabulary's size."""

import csv
import gzip
import pathlib

import numpy as np
import pytest

import oracle
import streams
from helpers import assert_close, ok, pipeline, random_sentences, text
from random_model import write_tensors

REFERENCE = pathlib.Path(__file__).parent / "reference"
LISTED = ("top", "top_p")
JUDGED = ("next_rank", "next_p", "last_rank", "last_p")


def keys(stream):
    return [record for record in stream.records if "layer" in record]


def triggers(bin, model, *options, sentences=None, vocabulary=41):
    """A triggers stream of random sentences, with the empty prefix among them."""
    sentences = sentences or random_sentences(40, vocabulary, seed=2)
    return pipeline(bin, ["tokenize", "-m", model], ["forward-dump", "-m", model, "--with-bos"],
                    ["topk-keys", *(options or ["-t", 60])], stdin=text(sentences))


def project(bin, model, *options, stdin=b""):
    return streams.read(ok(bin, "project-values", "-m", model, *options, stdin=stdin))


def assert_tops(record, log_p, k, can):
    """The k most probable tokens that can follow, of the exact log-probabilities log_p;
    nearly equal ones may change places."""
    found = record["top"]
    assert len(found) == len(set(found.tolist())) == len(record["top_p"]) == k and can[found].all()
    assert_close(record["top_p"], np.exp(np.sort(log_p[can])[::-1][:k]))
    assert_close(record["top_p"], np.exp(log_p[found]))
    assert all(np.diff(record["top_p"]) <= 0)


def assert_rank(rank, log_p, token, can):
    """The token's rank among the exact log_p of those that can follow, but for nearly equal ones."""
    near, others = 1e-5, can & (np.arange(len(log_p)) != token)
    assert (log_p > log_p[token] + near)[can].sum() + 1 <= rank \
        <= (log_p >= log_p[token] - near)[others].sum() + 1


# ----------------------------------------------------------- against PyTorch

@pytest.mark.release_only
@pytest.mark.parametrize("options, of", [([], ""), (["--all-tokens"], "_of_all")], ids=["can-follow", "all"])
def test_values_are_pytorchs(bin, model, options, of):
    """Reference: PyTorch's top token, of those that can follow or of all, and its probability, of all 8,192
    values."""
    with gzip.open(REFERENCE / "values.csv.gz", "rt") as lines:
        expected = list(csv.DictReader(lines))
    stream = project(bin, model, "--all", "-k", 1, *options)
    assert stream.header["kind"] == "values"
    assert [(r["layer"], r["cell"]) for r in stream.records] \
        == [(int(row["layer"]), int(row["cell"])) for row in expected]
    assert [int(r["top"][0]) for r in stream.records] == [int(row[f"top{of}"]) for row in expected]
    found = np.array([r["top_p"][0] for r in stream.records], float)
    assert found == pytest.approx(np.array([float(row[f"probability{of}"]) for row in expected]), rel=1e-4)


# -------------------------------------------------------- against the oracle

def test_annotations_are_the_oracles(bin, random_model):
    """Oracle: NumPy in float64; every field that project-values adds."""
    exact = oracle.load_model(random_model)
    before = triggers(bin, random_model)
    stream = project(bin, random_model, "-k", 7, stdin=before)
    found = keys(stream)
    expected = list(oracle.project_values(exact, keys(streams.read(before)), k=7))
    assert len(found) == len(expected) > 0
    for record, wanted in zip(found, expected):
        assert set(record) == set(wanted)
        for name in ("layer", "cell", "coef", "sentence", "position", "next", "prefix"):
            assert np.array_equal(record[name], wanted[name])
        log_p = oracle.log_probs(exact, oracle.value_vectors(exact, record["layer"])[record["cell"]][None])[0]
        assert_tops(record, log_p, 7, exact.candidates)
        last = oracle.last_tokens(record, exact.config["bos_token_id"])
        for i, tokens in enumerate(zip(record["next"].tolist(), last)):
            for name, token in zip(("next", "last"), tokens):
                assert_rank(record[name + "_rank"][i], log_p, token, exact.candidates)
        for name in "next_p", "last_p":
            assert record[name] == pytest.approx(wanted[name], rel=1e-4)
    assert np.array_equal(stream.records[-1]["token_counts"],
                          streams.read(before).records[-1]["token_counts"])


def test_all_values_are_the_oracles(bin, random_model):
    """Oracle: NumPy in float64; --all, every value of the model in order."""
    exact = oracle.load_model(random_model)
    stream = project(bin, random_model, "--all")
    sizes = exact.config["num_hidden_layers"], exact.config["intermediate_size"]
    assert [(r["layer"], r["cell"]) for r in stream.records] == list(np.ndindex(sizes))
    for record in stream.records:
        value = oracle.value_vectors(exact, record["layer"])[record["cell"]]
        assert_tops(record, oracle.log_probs(exact, value[None])[0], 10, exact.candidates)


# ------------------------------------------------------------ against itself

def test_all_and_annotated_agree(bin, small_model):
    """Two ways to the same distributions, exact where the same 32 values are
    projected together."""
    everything = project(bin, small_model, "--all")
    annotated = keys(project(bin, small_model, stdin=triggers(bin, small_model)))
    assert len(annotated) == len(everything.records) == 3 * 37
    for record, whole in zip(annotated, everything.records):
        assert all(np.array_equal(record[name], whole[name]) for name in ("layer", "cell", *LISTED))
    sample = keys(project(bin, small_model, stdin=triggers(bin, small_model, "--sample", 5)))
    assert len(sample) == 15
    for record in sample:
        whole = everything.records[record["layer"] * 37 + record["cell"]]
        assert record["top"].tolist() == whole["top"].tolist()
        assert_close(record["top_p"], whole["top_p"], 1e-6)


@pytest.mark.parametrize("all_values", [False, True])
def test_k_lists_the_first_k(bin, small_model, all_values):
    """Two ways to the same tokens, exact."""
    data = b"" if all_values else triggers(bin, small_model)
    option = ["--all"] * all_values
    assert ok(bin, "project-values", "-m", small_model, *option, stdin=data) \
        == ok(bin, "project-values", "-m", small_model, *option, "-k", 10, stdin=data)
    ten = keys(project(bin, small_model, *option, stdin=data))
    for k in 1, 3, 97:
        for record, other in zip(keys(project(bin, small_model, *option, "-k", k, stdin=data)), ten):
            for name in LISTED:
                assert len(record[name]) == k
                assert np.array_equal(record[name][:10], other[name][:k])
            for name in JUDGED * (not all_values):
                assert np.array_equal(record[name], other[name])


@pytest.mark.parametrize("tops", [1, 5])
@pytest.mark.parametrize("all_values", [False, True])
def test_bottoms_end_the_order(bin, random_model, all_values, tops):
    """Recomputation, exact, from the list of all tokens; and without --bottoms nothing changes."""
    count = oracle.load_model(random_model).candidates.sum()
    data = b"" if all_values else triggers(bin, random_model, "-t", 2)
    whole = keys(project(bin, random_model, *["--all"] * all_values, "-k", count, stdin=data))
    option = ["--all"] * all_values + ["-k", tops]
    stream = project(bin, random_model, *option, "--bottoms", 4, stdin=data)
    assert stream.header["history"][-1]["options"]["bottoms"] == 4
    for record, everything in zip(keys(stream), whole, strict=True):
        assert record["bottom"].tolist() == everything["top"][:-5:-1].tolist()
        assert record["bottom_p"].tolist() == everything["top_p"][:-5:-1].tolist()
    plain = project(bin, random_model, *option, stdin=data)
    assert plain.header["arrays"].keys() == stream.header["arrays"].keys() - {"bottom", "bottom_p"}
    for record, bare in zip(keys(stream), keys(plain), strict=True):
        assert bare.keys() == record.keys() - {"bottom", "bottom_p"}
        assert all(np.array_equal(record[name], bare[name]) for name in bare)


def test_whole_distributions(bin, random_model):
    """Recomputation, exact, from the list of all tokens: ranks and probabilities;
    and probabilities sum to 1."""
    config = oracle.load_model(random_model).config
    vocabulary, bos = config["vocab_size"], config["bos_token_id"]
    for record in keys(project(bin, random_model, "-k", vocabulary, "--all-tokens",
                               stdin=triggers(bin, random_model))):
        assert sorted(record["top"].tolist()) == list(range(vocabulary))
        assert record["top_p"].sum(dtype=float) == pytest.approx(1, abs=1e-5)
        place = np.argsort(record["top"])
        for name, tokens in ("next", record["next"]), ("last", oracle.last_tokens(record, bos)):
            assert np.array_equal(record[name + "_rank"], place[tokens] + 1)
            assert np.array_equal(record[name + "_p"], record["top_p"][place[tokens]])


def test_shipped_models_distributions_sum_to_1(bin, model):
    """Expected by the definition: 3 keys, all 21,176 tokens each."""
    data = triggers(bin, model, "--cells", "0-2", "--layers", "1", sentences=[[5, 6, 7]])
    for record in keys(project(bin, model, "-k", 21176, "--all-tokens", stdin=data)):
        assert record["top_p"].sum(dtype=float) == pytest.approx(1, abs=1e-5)


def test_equal_probabilities_go_by_token(bin, small_model, tmp_path):
    """Expected by the definition: a value of zeros gives every word of a cluster
    the same probability, and the head's as much as each further cluster."""
    tensors = oracle.load_safetensors(small_model / "model.safetensors", np.float32)
    for layer in range(3):
        tensors[f"decoder.layers.{layer}.fc2.weight"] *= 0
    write_tensors(tmp_path / "model.safetensors", tensors)
    for name in "config.json", "dict.txt":
        (tmp_path / name).write_bytes((small_model / name).read_bytes())
    head = 1 / (30 + 2)  # words 0-29 and two clusters, 30-59 and 60-99
    expected = [head] * 30 + [head / 30] * 30 + [head / 40] * 40
    data = triggers(bin, tmp_path, vocabulary=100)
    for first, options in (0, ["--all-tokens"]), (3, []):  # <s>, <pad> and </s> cannot follow
        found = keys(project(bin, tmp_path, "-k", 100 - first, "--bottoms", 3, *options, stdin=data))
        assert len(found) == 111
        assert any(0 in record["position"] for record in found)  # BOS is the last token
        for record in found:
            assert record["top"].tolist() == list(range(first, 100))
            assert record["bottom"].tolist() == [99, 98, 97]
            assert record["top_p"] == pytest.approx(expected[first:], rel=1e-5)
            assert record["next_rank"].tolist() == [token - first + 1 for token in record["next"].tolist()]
            assert record["last_rank"].tolist() == [max(token - first, 0) + 1
                                                    for token in oracle.last_tokens(record, 2)]


def test_dead_keys_have_values(bin, small_model):
    """Expected by the contract: a key without triggers has its top tokens."""
    found = keys(project(bin, small_model, stdin=pipeline(
        bin, ["tokenize", "-m", small_model], ["forward-dump", "-m", small_model], ["topk-keys"],
        stdin=text([[5]]))))
    everything = project(bin, small_model, "--all").records
    for record, whole in zip(found, everything):
        assert all(len(record[name]) == 0 for name in JUDGED)
        assert np.array_equal(record["top"], whole["top"])


def test_a_high_logit_does_not_overflow(bin, small_model, tmp_path):
    """Oracle: NumPy in float64, for logits in the thousands."""
    tensors = oracle.load_safetensors(small_model / "model.safetensors", np.float32)
    tensors["decoder.layers.1.fc2.weight"] *= 3000
    write_tensors(tmp_path / "model.safetensors", tensors)
    for name in "config.json", "dict.txt":
        (tmp_path / name).write_bytes((small_model / name).read_bytes())
    exact = oracle.load_model(tmp_path)
    for record in project(bin, tmp_path, "--all", "-k", 100, "--all-tokens").records:
        value = oracle.value_vectors(exact, record["layer"])[record["cell"]]
        log_p = oracle.log_probs(exact, value[None])[0]
        assert record["top"][0] == np.argmax(log_p)
        assert record["top_p"] == pytest.approx(np.exp(log_p[record["top"]]), abs=2e-3)
        assert record["top_p"].sum(dtype=float) == pytest.approx(1, abs=1e-4)
