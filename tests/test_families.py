"""Model families against the reference library (transformers, with torch): small
random models with odd sizes, written by it, run by both.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest

import environments
import oracle
import random_model
import streams
from families import known_families
from helpers import assert_close, by_sentence, fails, ok, table, text

NAMES = ["gpt2", "gpt2-inner", "opt", "neox", "neox-sequential", "llama", "llama3-scaled", "llama-linear",
         "mistral", "qwen2", "qwen3", "qwen3-bf16", "gpt2-f16"]


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The folder that families_reference.py fills."""
    python = environments.python(*environments.TRANSFORMERS)
    folder = tmp_path_factory.mktemp("families")
    environments.run(python, pathlib.Path(__file__).with_name("families_reference.py"), folder)
    return folder


def test_every_family_has_a_reference(bin, reference, tmp_path):
    """Of the program's own list; the paper's family has tests of its own."""
    folders, _ = known_families(bin, tmp_path)
    types = {name: json.loads((reference / name / "config.json").read_text())["model_type"] for name in NAMES}
    assert {*types.values(), "fairseq_transformer_lm"} == set(folders)
    assert {path.stem for path in reference.glob("*.npz")} == set(NAMES)


def load(reference, name):
    """The reference's arrays, a dictionary a sentence."""
    arrays = np.load(reference / f"{name}.npz")
    count = sum(key.startswith("tokens") for key in arrays)
    return [{key: arrays[f"{key}{i}"] for key in ("tokens", "logits", "resid", "coef", "ffn")} for i in range(count)]


def dump(bin, model, sentences, *options):
    tokens = ok(bin, "tokenize", "--model", model, stdin=text(s["tokens"] for s in sentences))
    return streams.read(ok(bin, "forward-dump", "--model", model, *options, stdin=tokens))


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("name", NAMES)
def test_activations_and_predictions(bin, reference, name):
    """Oracle: the reference library's own modules, watched by hooks."""
    sentences = load(reference, name)
    stream = dump(bin, reference / name, sentences, "--emit", "coef,resid,ffn,prediction", "--all-tokens")
    for key in ("resid", "coef", "ffn"):
        for found, sentence in zip(by_sentence(stream, key), sentences, strict=True):
            assert_close(found, sentence[key])
    for key in ("next_logp", "top_logp", "top"):
        for found, sentence in zip(by_sentence(stream, key), sentences, strict=True):
            log_p = log_softmax(sentence["logits"])
            top = log_p.argmax(axis=1)
            rows = np.arange(len(top))
            expected = {"next_logp": log_p[rows, sentence["tokens"]], "top_logp": log_p[rows, top], "top": top}[key]
            if key == "top":
                assert np.array_equal(found, expected)
            else:
                assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_refinement_ends_in_the_models_prediction(bin, reference, name, tmp_path):
    """Oracle: the reference library's logits; o^L = r^L + y^L, through the final norm, in every family."""
    sentences = load(reference, name)
    tokens = ok(bin, "tokenize", "--model", reference / name, stdin=text(s["tokens"] for s in sentences))
    rows = ok(bin, "forward-dump", "--model", reference / name, "--emit", "resid,ffn", stdin=tokens)
    ok(bin, "refinement-stats", "--all-tokens", "--model", reference / name, "--perplexity", tmp_path / "perplexity", stdin=rows)
    log_p = np.concatenate([log_softmax(s["logits"])[1:] for s in sentences])  # the empty prefix does not count
    following = np.concatenate([s["tokens"][1:] for s in sentences])
    (found,) = table(tmp_path / "perplexity")
    assert int(found["prefixes"]) == len(following)
    assert float(found["perplexity"]) == pytest.approx(np.exp(-log_p[np.arange(len(following)), following].mean()), rel=1e-3)
    assert float(found["next_is_top"]) == pytest.approx((log_p.argmax(axis=1) == following).mean())


def test_sharded_files(bin, reference, tmp_path):
    """A model in several files is the model in one: its own results, compared."""
    whole = oracle.load_safetensors(reference / "llama" / "model.safetensors")
    for file in ("config.json", "dict.txt"):
        shutil.copy(reference / "llama" / file, tmp_path)
    names = sorted(whole)
    parts = {f"model-{i}.safetensors": names[i::3] for i in range(3)}
    for file, part in parts.items():
        random_model.write_tensors(tmp_path / file, {name: whole[name] for name in part}, "F32")
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    sentences = load(reference, "llama")
    one = dump(bin, reference / "llama", sentences, "--emit", "coef")
    several = dump(bin, tmp_path, sentences, "--emit", "coef")
    assert all(np.array_equal(a, b) for a, b in zip(by_sentence(one, "coef"), by_sentence(several, "coef"), strict=True))
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    fails(bin, "forward-dump", "--model", tmp_path, says="is not in a file of this folder")


@pytest.mark.parametrize("name, change, says", [
    ("llama", {"model_type": "mamba"}, "mamba"),
    ("llama", {"hidden_act": "relu6"}, "relu6"),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn"),
    ("llama", {"num_hidden_layers": 2}, "model.layers.2."),
    ("llama", {"num_key_value_heads": 4}, "num_key_value_heads"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ("gpt2", {"n_positions": 41}, "wpe.weight"),
    ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before"),
    ("opt", {"word_embed_proj_dim": 20}, "word_embed_proj_dim"),
    ("neox", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.01}}, "rotated"),
])
def test_unknown_settings_are_refused_by_name(bin, reference, tmp_path, name, change, says):
    model = tmp_path / "model"
    shutil.copytree(reference / name, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **change}))
    fails(bin, "project-values", "--all", "--model", model, says=says)


def test_a_window_shorter_than_the_text_is_refused(bin, reference, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(reference / "mistral", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "sliding_window": 10}))
    tokens = ok(bin, "tokenize", "--model", model, stdin=text([range(4, 14)]))
    ok(bin, "forward-dump", "--model", model, stdin=tokens)
    tokens = ok(bin, "tokenize", "--model", model, stdin=text([range(4, 15)]))
    fails(bin, "forward-dump", "--model", model, stdin=tokens, says="can attend to 10")
