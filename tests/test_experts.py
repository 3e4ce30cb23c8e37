"""Mixtures of experts through all stages, of a random model: what the cells of a chosen and of
an unchosen expert are, by plain NumPy in float64.  tests/test_families.py has the families
beside transformers.
"""

import json

import numpy as np
import pytest

import oracle
import random_model
import streams
import ffkv  # streams finds it
from helpers import (assert_close, assert_table, by_sentence, fails, ok, pipeline, random_sentences, rows_of,
                     sentences_of, table, text)

LAYERS, WIDTH, HEADS, HEAD, VOCABULARY = 2, 24, 3, 8, 45
EXPERTS, CELLS, CHOSEN, SHARED = 9, 5, 2, 4
ALL_CELLS = EXPERTS * CELLS + SHARED
NO_SIGNS = 4
CONFIG = {
    "model_type": "qwen2_moe", "num_hidden_layers": LAYERS, "hidden_size": WIDTH,
    "num_attention_heads": HEADS, "num_key_value_heads": 1, "vocab_size": VOCABULARY,
    "hidden_act": "silu", "rms_norm_eps": 1e-5, "intermediate_size": 77,
    "moe_intermediate_size": CELLS, "num_experts": EXPERTS, "num_experts_per_tok": CHOSEN,
    "shared_expert_intermediate_size": SHARED, "norm_topk_prob": False, "qkv_bias": False,
    "bos_token_id": 2, "rope_theta": 100.0, "router_aux_loss_coef": 0.01, "router_jitter_noise": 0.1,
    "output_router_logits": True,
}
SENTENCES = random_sentences(40, VOCABULARY, seed=3, longest=9)


def make_tensors():
    random = np.random.default_rng(5)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "lm_head.weight": (VOCABULARY, WIDTH)}
    for l in range(LAYERS):
        place = f"model.layers.{l}."
        for name, rows in ("q", HEADS * HEAD), ("k", HEAD), ("v", HEAD), ("o", WIDTH):
            shapes[f"{place}self_attn.{name}_proj.weight"] = (rows, HEADS * HEAD if name == "o" else WIDTH)
        blocks = {f"experts.{e}": CELLS for e in range(EXPERTS)} | {"shared_expert": SHARED}
        for block, cells in blocks.items():
            for name in ("gate", "up"):
                shapes[f"{place}mlp.{block}.{name}_proj.weight"] = (cells, WIDTH)
            shapes[f"{place}mlp.{block}.down_proj.weight"] = (WIDTH, cells)
        shapes[f"{place}mlp.gate.weight"] = (EXPERTS, WIDTH)
        shapes[f"{place}mlp.shared_expert_gate.weight"] = (1, WIDTH)
    tensors = {name: random.normal(0, 0.4, shape) for name, shape in shapes.items()}
    norms = [f"layers.{l}.{name}_layernorm" for l in range(LAYERS) for name in ("input", "post_attention")]
    tensors |= {f"model.{name}.weight": random.uniform(0.5, 1.5, WIDTH) for name in [*norms, "norm"]}
    return {name: array.astype(np.float32) for name, array in tensors.items()}


@pytest.fixture(scope="module")
def tensors():
    return make_tensors()


@pytest.fixture(scope="module")
def model(tensors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("experts")
    random_model.write_tensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    random_model.write_dictionary(folder / "dict.txt", VOCABULARY)
    return folder


def rms_norm(x, gain):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + CONFIG["rms_norm_eps"]) * gain


def rotate(x):
    """(positions, HEAD)"""
    angles = np.arange(len(x))[:, None] * CONFIG["rope_theta"] ** (-np.arange(HEAD // 2) / (HEAD / 2))
    a, b = np.split(x, 2, axis=1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=1)


def attention(get, x):
    keys, values = rotate(x @ get("self_attn.k_proj").T), x @ get("self_attn.v_proj").T
    heads = []
    for query in np.split(x @ get("self_attn.q_proj").T, HEADS, axis=1):
        scores = rotate(query) @ keys.T / np.sqrt(HEAD)
        scores[np.triu_indices(len(x), 1)] = -np.inf
        heads.append(np.exp(oracle.log_softmax(scores)) @ values)
    return np.concatenate(heads, axis=1) @ get("self_attn.o_proj").T


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cells_of(get, block, x):
    """Their coefficients without the router's weight, and which of the four combinations of signs."""
    gate, up = (get(f"mlp.{block}.{name}_proj") @ x for name in ("gate", "up"))
    assert min(np.abs(gate).min(), np.abs(up).min()) > 1e-5  # so that rounding changes no sign
    return gate * sigmoid(gate) * up, 2 * (gate <= 0) + (up <= 0)


def block(get, x):
    """Coefficients and combinations of signs, NO_SIGNS where there is none (positions, ALL_CELLS), and which
    experts were chosen (positions, EXPERTS)."""
    coef, chosen = np.zeros((len(x), ALL_CELLS)), np.zeros((len(x), EXPERTS), bool)
    signs = np.full(coef.shape, NO_SIGNS)
    for row, vector in enumerate(x):
        p = np.exp(oracle.log_softmax(get("mlp.gate") @ vector))
        weights = [(slice(e * CELLS, (e + 1) * CELLS), f"experts.{e}", p[e])
                   for e in np.argsort(-p, kind="stable")[:CHOSEN]]
        chosen[row, [cells.start // CELLS for cells, _, _ in weights]] = True
        weights.append((slice(EXPERTS * CELLS, None), "shared_expert",
                        sigmoid(get("mlp.shared_expert_gate") @ vector)))
        for cells, name, weight in weights:
            alone, signs[row, cells] = cells_of(get, name, vector)
            coef[row, cells] = weight * alone
    return coef, chosen, signs


def values_of(tensors, layer):
    """(ALL_CELLS, WIDTH)"""
    place = f"model.layers.{layer}.mlp."
    parts = [tensors[f"{place}experts.{e}.down_proj.weight"] for e in range(EXPERTS)]
    return np.concatenate([*parts, tensors[f"{place}shared_expert.down_proj.weight"]], axis=1).T.astype(float)


def forward(tensors, sentence):
    """coef (layers, positions, cells), ffn, resid, chosen (layers, positions, experts), in float64, and signs
    (as coef)."""
    o = tensors["model.embed_tokens.weight"][[2, *sentence[:-1]]].astype(float)
    found = []
    for l in range(LAYERS):
        def get(name, l=l):
            return tensors[f"model.layers.{l}.{name}.weight"].astype(float)
        r = o + attention(get, rms_norm(o, get("input_layernorm")))
        coef, chosen, signs = block(get, rms_norm(r, get("post_attention_layernorm")))
        y = coef @ values_of(tensors, l)
        found.append((coef, y, r, chosen, signs))
        o = r + y
    return [np.stack(arrays) for arrays in zip(*found, strict=True)]


@pytest.fixture(scope="module")
def activations(bin, model):
    return pipeline(bin, ["tokenize", "-m", model, "--batch", 60],
                    ["forward-dump", "-m", model, "--emit", "max,coef,resid,ffn"], stdin=text(SENTENCES))


@pytest.fixture(scope="module")
def expected(tensors):
    return [forward(tensors, sentence) for sentence in SENTENCES]


def test_activations_of_experts(activations, expected):
    """Oracle: NumPy.  Cells of experts that are not chosen are 0, and only these."""
    stream = streams.read(activations)
    shape = stream.header["model"]
    assert (shape["d_ff"], shape["experts"], shape["expert_cells"]) == (ALL_CELLS, EXPERTS, CELLS)
    found = [by_sentence(stream, name) for name in ("coef", "ffn", "resid")]
    for coef, ffn, resid, (wanted, y, r, chosen, _) in zip(*found, expected, strict=True):
        assert_close(coef, wanted, 1e-5)
        assert_close(ffn, y, 1e-5)
        assert_close(resid, r, 1e-5)
        assert (chosen.sum(axis=2) == CHOSEN).all()
        assert np.array_equal(coef[..., :-SHARED] != 0, np.repeat(chosen, CELLS, axis=2))
        assert (coef[..., -SHARED:] != 0).all()


def test_a_sentence_that_never_has_an_expert_has_maxima_of_0(activations, expected):
    """Expected by the definition, at the lowest position, of equal coefficients."""
    stream, idle_cells = streams.read(activations), 0
    found = [by_sentence(stream, name) for name in ("max", "argmax")]
    for most, where, (_, _, _, chosen, _) in zip(*found, expected, strict=True):
        if chosen.shape[1] > 1:
            idle = np.repeat(~chosen[:, 1:].any(axis=1), CELLS, axis=1)
            assert (most[:, :-SHARED][idle] == 0).all() and (where[:, :-SHARED][idle] == 1).all()
            idle_cells += idle.sum()
    assert idle_cells > 1000


@pytest.mark.parametrize("rank", ["value", "abs", "min"])
def test_a_trigger_is_a_prefix_whose_expert_was_chosen(bin, activations, expected, rank):
    """Expected by the definition, of every prefix that can be a trigger."""
    stream = streams.read(ok(bin, "topk-keys", "--prefixes", "every", "--rank", rank, "--top", 1000,
                             stdin=activations))
    triggers = 0
    for record in stream.records[:-1]:
        expert = record["cell"] // CELLS
        for s, position in zip(record["sentence"].tolist(), record["position"].tolist(), strict=True):
            assert expert == EXPERTS or expected[s][3][record["layer"], position, expert]
            triggers += 1
    prefixes = sum(len(sentence) - 1 for sentence in SENTENCES)
    computed = LAYERS * prefixes * (CHOSEN * CELLS + SHARED)
    assert triggers == computed if rank == "abs" else 0 < triggers < computed


def of_cell(arrays, layer, cell):
    """At all positions that a trigger may have, from 1 on."""
    return np.concatenate([array[layer, 1:, cell] for array in arrays])


SIGNED = ["--emit", "max,magnitudes,signs", "--rank", "value,min,signs"]


def test_cells_of_an_expert_have_signs_where_it_is_chosen(bin, model, activations, expected, tmp_path):
    """Oracle: NumPy, for which combination a coefficient of the program's is of.  Elsewhere a cell has none:
    it is in no list and no count of them, but is 0 among magnitudes, so that percentiles are of all
    positions."""
    coefs, signs = by_sentence(streams.read(activations), "coef"), [arrays[4] for arrays in expected]
    data = pipeline(bin, ["tokenize", "-m", model, "--batch", 60], ["forward-dump", "-m", model, *SIGNED],
                    ["topk-keys", "--rank", "value,min,signs", "-t", 5], stdin=text(SENTENCES))
    records, positions = streams.read(data).records[:-1], sum(len(sentence) - 1 for sentence in SENTENCES)
    assert len(records) == 6 * LAYERS * ALL_CELLS
    for record in records:
        layer, cell, wanted = record["layer"], record["cell"], record["list"] - 2
        coef, combination = of_cell(coefs, layer, cell), of_cell(signs, layer, cell)
        if wanted >= 0:
            best = [max((abs(c), -s, -j) for j, (c, which) in enumerate(zip(coefs[s][layer, :, cell],
                                                                           signs[s][layer, :, cell]))
                        if j and which == wanted)
                    for s in range(len(SENTENCES)) if (signs[s][layer, 1:, cell] == wanted).any()]
            found = zip(np.abs(record["coef"]), -record["sentence"].astype(int),
                        -record["position"].astype(int), strict=True)
            assert list(found) == sorted(best, reverse=True)[:5]
        if not record["list"]:
            counts = np.bincount(combination, minlength=5)
            assert ffkv.sign_counts(record).tolist() == counts[:4].tolist()
            assert ffkv.magnitude_counts(record)[0] == (np.abs(coef) < 2.0**-16).sum() >= counts[NO_SIGNS]
            assert ffkv.magnitude_counts(record).sum() == counts.sum() == positions
    ok(bin, "coefficient-stats", "--signs", tmp_path / "signs", "--sign-keys", tmp_path / "keys", "--keys",
       tmp_path / "percentiles", stdin=data)
    for row in table(tmp_path / "keys"):
        combination = of_cell(signs, int(row["layer"]) - 1, int(row["cell"]))
        assert int(row["positions"]) == (combination != NO_SIGNS).sum()
    for row in table(tmp_path / "signs"):
        combination = np.concatenate([array[int(row["layer"]) - 1, 1:].ravel() for array in signs])
        shares = np.bincount(combination, minlength=5)[:4] / (combination != NO_SIGNS).sum()
        assert [float(row[name]) for name in ffkv.SIGNS] == pytest.approx(shares.tolist(), rel=1e-8)
    for row in table(tmp_path / "percentiles"):
        coef = np.abs(of_cell(coefs, int(row["layer"]) - 1, int(row["cell"])).astype(float))
        assert float(row["p90"]) == pytest.approx(np.percentile(coef, 90), rel=1 / 33, abs=2.0**-16)


def test_signs_of_experts_alone_and_of_one_that_nothing_chooses(bin, model, expected, tmp_path):
    """Counts of signs do not tell the positions; shares of none are empty.  Shards add up."""
    sentence = next(i for i, arrays in enumerate(expected)
                    if len(SENTENCES[i]) > 2 and not arrays[3][0, 1:].any(axis=0).all())
    idle = int((~expected[sentence][3][0, 1:].any(axis=0)).argmax()) * CELLS
    options = ["--emit", "max,signs", "--layers", 1, "--cells"]
    dump = ["tokenize", "-m", model], ["forward-dump", "-m", model, *options, f"{idle}-{idle + 1}"]
    data = pipeline(bin, *dump, ["topk-keys"], stdin=text(SENTENCES[sentence:sentence + 1]))
    ok(bin, "coefficient-stats", "--signs", tmp_path / "signs", stdin=data)
    assert [list(row.values())[:7] for row in table(tmp_path / "signs")] == [["1", "2", "0", *[""] * 4]]
    for i in range(2):
        (tmp_path / str(i)).write_bytes(pipeline(
            bin, ["tokenize", "-m", model, "--shard", f"{i}/2"], ["forward-dump", "-m", model, *SIGNED],
            ["topk-keys", "--rank", "value,min,signs"], stdin=text(SENTENCES)))
    assert ok(bin, "topk-keys", "--merge", tmp_path / "1", tmp_path / "0") == pipeline(
        bin, ["tokenize", "-m", model], ["forward-dump", "-m", model, *SIGNED],
        ["topk-keys", "--rank", "value,min,signs"], stdin=text(SENTENCES))


def test_more_signs_than_positions_are_refused(bin, model):
    """Where fewer are right."""
    data = pipeline(bin, ["tokenize", "-m", model], ["forward-dump", "-m", model, *SIGNED],
                    stdin=text(SENTENCES))
    stream = streams.read(data)
    records = [dict(record) for record in stream.records]
    first = next(record for record in records if "sign_counts" in record)
    for more, fault in (10_000, "'sign_counts' of cell 0 add up to"), (1, None):
        first["sign_counts"] = np.array(first["sign_counts"])
        first["sign_counts"][0, 0] += more
        changed = streams.write(stream.header, records, stream.trailer)
        first["sign_counts"][0, 0] -= more
        if fault:
            fails(bin, "topk-keys", stdin=changed, says=fault)
            with pytest.raises(streams.StreamError):
                streams.read(changed)
        else:
            ok(bin, "topk-keys", stdin=changed)
    found = streams.read(ok(bin, "topk-keys", stdin=data))
    records = [dict(record) for record in found.records]
    records[0]["signs_count"] = records[0]["signs_count"] + 10_000
    changed = streams.write(found.header, records, found.trailer)
    fails(bin, "coefficient-stats", stdin=changed, says="the first key has")
    with pytest.raises(streams.StreamError):
        streams.read(changed)


def test_an_edited_cell_of_an_idle_expert_has_no_signs(bin, model, activations, expected):
    """It is a trigger of its value all the same."""
    data = pipeline(bin, ["tokenize", "-m", model, "--batch", 60],
                    ["forward-dump", "-m", model, *SIGNED, "--layers", 1, "--edit", "1:7=3"],
                    ["topk-keys", "--rank", "value,min,signs", "-t", 100], stdin=text(SENTENCES))
    value, lowest, *by_signs = [record for record in streams.read(data).records if record.get("cell") == 7]
    long = [i for i, sentence in enumerate(SENTENCES) if len(sentence) > 1]
    assert value["sentence"].tolist() == long and not len(lowest["coef"])
    signs = [arrays[4][0, :, 7] for arrays in expected]
    for wanted, record in enumerate(by_signs):
        here = [i for i in long if (signs[i][1:] == wanted).any()] if wanted in (0, 3) else []
        assert record["sentence"].tolist() == here and len(here) < len(long)


def log_probs(tensors, vectors):
    return oracle.log_softmax(vectors @ tensors["lm_head.weight"].T.astype(float))


def projected(tensors, records, can, k):
    """As oracle.project_values has it, of this model."""
    values = [values_of(tensors, layer) for layer in range(LAYERS)]
    for record in records:
        log_p = log_probs(tensors, values[record["layer"]][record["cell"]][None])[0]
        first = oracle.top(log_p, k, can)
        ranks = [oracle.rank(log_p, token, can) for token in record["next"].tolist()]
        yield dict(record, top=first, top_p=np.exp(log_p[first]), next_rank=np.array(ranks))


def test_agreement_of_experts_values(bin, model, tensors, activations, tmp_path):
    """Oracle: NumPy; triggers of the program's own coefficients, which others compare."""
    stream = streams.read(activations)
    coefs, can = by_sentence(stream, "coef"), oracle.candidates(model, VOCABULARY)
    keys = oracle.triggers(coefs, 4)
    assert len(keys) == LAYERS * ALL_CELLS
    wanted = list(projected(tensors, oracle.trigger_records(keys, SENTENCES), can, 3))
    data = pipeline(bin, ["topk-keys", "--top", 4], ["project-values", "-m", model, "--top", 3],
                    stdin=activations)
    found = streams.read(data).records[:-1]
    for record, other in zip(found, wanted, strict=True):
        assert (record["layer"], record["cell"]) == (other["layer"], other["cell"])
        for name in ("sentence", "position", "next", "top", "next_rank"):
            assert np.array_equal(record[name], other[name])
        assert_close(record["top_p"], other["top_p"])
    counts = oracle.token_counts(sentences_of(stream), VOCABULARY)
    agreement = ok(bin, "agreement-stats", "-m", model, "--rank", tmp_path / "rank.csv", stdin=data)
    assert_table(agreement, oracle.agreement(wanted, counts, can=can))
    assert_table(tmp_path / "rank.csv", oracle.rank_quantiles(wanted))


def test_composition_of_experts(bin, model, tensors, activations, tmp_path):
    """Oracle: NumPy.  A share of active memories is one of all the layer's cells; those of experts
    that were not chosen are among them, and never active."""
    rows, can = rows_of(streams.read(activations)), oracle.candidates(model, VOCABULARY)
    counts, layers = oracle.token_counts(SENTENCES, VOCABULARY), []

    def tops(vectors):
        return np.argmax(np.where(can, log_probs(tensors, vectors), -np.inf), axis=1)
    for layer in range(LAYERS):
        coef, values = rows["coef"][layer], values_of(tensors, layer)
        active = oracle.active(coef, "abs", relative=0.1)
        assert not active[coef == 0].any()
        least = np.argmin(np.where(can, log_probs(tensors, values), np.inf), axis=1)
        token = np.where(coef < 0, least, tops(values))
        own = tops(rows["ffn"][layer])
        layers.append((layer, active, own, (active & (token == own[:, None])).sum(axis=1)))
    words = oracle.active_words("abs", relative=0.1)
    expected = oracle.composition(layers, counts, rows["position"], words=words, comparable=0)
    ok(bin, "project-values", "-m", model, "--all", "-k", 1, "-o", tmp_path / "values")
    found = ok(bin, "composition-stats", "-m", model, "--values", tmp_path / "values", "--active",
               tmp_path / "active.csv", stdin=activations)
    assert_table(tmp_path / "active.csv", expected[0])
    assert_table(found, expected[1])


def test_results_depend_on_neither_threads_nor_shards(bin, model, tmp_path):
    """The program's own results, compared: experts have other positions in each batch."""
    source = text(SENTENCES)
    tokens = ok(bin, "tokenize", "-m", model, "--batch", 30, stdin=source)
    one, three = (ok(bin, "forward-dump", "-m", model, "--emit", "max,coef,ffn", "--threads", threads,
                     stdin=tokens) for threads in (1, 3))
    assert one == three
    parts = []
    for i in range(3):
        parts.append(tmp_path / f"part-{i}")
        parts[-1].write_bytes(pipeline(
            bin, ["tokenize", "-m", model, "--batch", 30, "--shard", f"{i}/3"],
            ["forward-dump", "-m", model], ["topk-keys", "--top", 5], stdin=source))
    whole = pipeline(bin, ["forward-dump", "-m", model], ["topk-keys", "--top", 5], stdin=tokens)
    assert ok(bin, "topk-keys", "--merge", *parts) == whole


def test_removing_a_token_may_take_the_expert_away(bin, model, tensors):
    """Oracle: NumPy; the key's coefficient after the change, 0 where its expert is not chosen any more."""
    changed = streams.read(pipeline(
        bin, ["tokenize", "-m", model], ["forward-dump", "-m", model], ["topk-keys", "--top", 3],
        ["perturb-triggers", "--sample", 4, "--top", 2], ["forward-dump", "-m", model, "--emit", "key"],
        stdin=text(SENTENCES)))
    found, wanted = [], []
    for batch, after in zip(changed.records[::2], changed.records[1::2], strict=True):
        sentences = np.split(batch["tok"], np.cumsum(batch["len"])[:-1])
        for sentence, layer, cell in zip(sentences, batch["key_layer"], batch["key_cell"], strict=True):
            wanted.append(forward(tensors, sentence.tolist())[0][layer, -1, cell])
        found += after["key"].tolist()
    found, wanted = np.array(found), np.array(wanted)
    assert np.array_equal(found == 0, wanted == 0) and 0 < (found == 0).sum() < len(found)
    assert_close(found, wanted)


@pytest.mark.parametrize("change, says", [
    ({"num_experts": 8}, "shape"),
    ({"num_experts": 10}, "shape [9, 24], config.json asks for [10, 24]"),
    ({"num_experts": 0}, "'num_experts' must be a whole number from 1"),
    ({"num_experts": 4097}, "'num_experts' must be a whole number from 1 to 4096"),
    ({"num_experts": 4096, "moe_intermediate_size": 1 << 20}, "cells of a layer"),
    ({"num_experts_per_tok": 10}, "'num_experts_per_tok' must be a whole number from 1 to 9"),
    ({"num_experts_per_tok": 0}, "'num_experts_per_tok'"),
    ({"moe_intermediate_size": 6}, "shape"),
    ({"shared_expert_intermediate_size": 0}, "'shared_expert_intermediate_size'"),
    ({"decoder_sparse_step": 2}, "layer 1 has no experts and 'intermediate_size' 77 cells"),
    ({"mlp_only_layers": [1]}, "layer 2 has no experts"),
    ({"mlp_only_layers": 1}, "'mlp_only_layers'"),
    ({"mlp_only_layers": ["1"]}, "'mlp_only_layers'"),
    ({"decoder_sparse_step": 0}, "'decoder_sparse_step'"),
    ({"norm_topk_prob": "yes"}, "'norm_topk_prob' must be true or false"),
    ({"moe_capacity": 2}, "'moe_capacity' is not known"),
    ({"model_type": "deepseek_v3"}, "model_type 'deepseek_v3' is not known"),
])
def test_experts_that_are_not_known_are_refused(bin, model, tmp_path, change, says):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **change}))
    for name in ("model.safetensors", "dict.txt"):
        (tmp_path / name).symlink_to(model / name)
    fails(bin, "project-values", "-m", tmp_path, "--all", "--all-tokens", says=says)


@pytest.mark.parametrize("shape", [(EXPERTS, 2 * CELLS), (EXPERTS, 2 * CELLS, WIDTH, 1),
                                   (2 * CELLS, EXPERTS, WIDTH), (EXPERTS * 2 * CELLS, WIDTH)])
def test_a_stack_of_another_shape_is_refused(bin, model, tensors, tmp_path, shape):
    """The right number of elements is not enough: [10, 9, 24] is no stack of 9 matrices of 10 rows."""
    packed = {name: array for name, array in tensors.items() if ".experts." not in name}
    for l in range(LAYERS):
        place = f"model.layers.{l}.mlp.experts."
        packed[place + "gate_up_proj"] = np.zeros(shape)
        packed[place + "down_proj"] = np.zeros((EXPERTS, WIDTH, CELLS))
    random_model.write_tensors(tmp_path / "model.safetensors", packed)
    for name in ("config.json", "dict.txt"):
        (tmp_path / name).symlink_to(model / name)
    fails(bin, "project-values", "-m", tmp_path, "--all", says="config.json asks for [9, 10, 24]")


def test_a_router_that_is_not_finite_is_found(bin, model, tensors, tmp_path):
    """Weights whose products overflow."""
    broken = {name: np.sign(array) * 3e38 if name.endswith("mlp.gate.weight") else array
              for name, array in tensors.items()}
    random_model.write_tensors(tmp_path / "model.safetensors", broken)
    for name in ("config.json", "dict.txt"):
        (tmp_path / name).symlink_to(model / name)
    tokens = ok(bin, "tokenize", "-m", tmp_path, stdin=text(SENTENCES))
    fails(bin, "forward-dump", "-m", tmp_path, stdin=tokens,
          says="layer 1, sentences from 0 on: activations are not finite")
