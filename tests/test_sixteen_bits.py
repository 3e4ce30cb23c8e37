"""Models of 16-bit numbers, which are used where the file has them, beside the same numbers in 32 bits: the
same bytes; and what is damaged is refused by its name before there is any result."""

import json
import shutil

import numpy as np
import pytest

import oracle
import random_model
import streams
from helpers import fails, ok, random_sentences, run, text
from test_products import to_bfloat

# Widths that are no multiple of a vector; two layers; words of two widths.
SIZES = {"layers": 2, "d_model": 76, "d_ff": 203, "heads": 4, "vocabulary": 300, "cutoffs": (130, ),
         "factor": 2}
KINDS = ("float32", "bf16x3", "bf16x2", "bf16")


def widened(model, folder):
    """The same model with 32-bit numbers."""
    shutil.copytree(model, folder)
    tensors = oracle.load_safetensors(model / "model.safetensors", np.float32)
    random_model.write_tensors(folder / "model.safetensors", tensors)
    return folder


def shifted(model, folder):
    """The same model with tensors at odd addresses."""
    shutil.copytree(model, folder)
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8:8 + length].rstrip() + b" "
    header += b" " * (len(header) % 2 == 0)
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length:])
    return folder


@pytest.fixture(scope="module", params=["BF16", "F16"])
def models(tmp_path_factory, request):
    """(of 16 bits, the same at odd addresses, of 32 bits)"""
    folder = tmp_path_factory.mktemp("sixteen")
    random_model.write_model(folder / "narrow", **SIZES, dtype=request.param)
    return (folder / "narrow", shifted(folder / "narrow", folder / "odd"),
            widened(folder / "narrow", folder / "wide"))


def assert_same(outs):
    """The records of streams of models that differ in their ids alone."""
    found = [[{key: np.asarray(value).tobytes() for key, value in record.items()}
              for record in streams.read(out).records] for out in outs]
    assert len(found[0]) > 2
    for other in found[1:]:
        assert found[0] == other


@pytest.mark.parametrize("kind", KINDS)
def test_activations_and_predictions(bin, request, models, kind):
    if kind != "float32":
        request.getfixturevalue("bfloats")
    sentences = text(random_sentences(20, 300, seed=5, longest=30))
    streams_of = [ok(bin, "tokenize", "-m", model, "--batch", 100, stdin=sentences) for model in models]
    outs = [ok(bin, "forward-dump", "-m", model, "--emit", "max,coef,resid,ffn,prediction", "--products",
               kind, "--threads", 2, stdin=stream) for model, stream in zip(models, streams_of)]
    assert_same(outs)


@pytest.mark.parametrize("kind", KINDS)
def test_values(bin, request, models, kind):
    if kind != "float32":
        request.getfixturevalue("bfloats")
    assert_same([ok(bin, "project-values", "--all", "-k", 5, "-m", model, "--products", kind)
                 for model in models])


@pytest.mark.parametrize("kind", ["float32", "bf16x3"])
def test_what_is_written_behind_a_prompt(bin, request, models, kind):
    """Products of the prompt, and those of one vector behind it."""
    if kind != "float32":
        request.getfixturevalue("bfloats")
    outs = [ok(bin, "generate", "-m", model, "--tokens", 30, "--products", kind, "w5 w9 w30 w7")
            for model in models]
    assert outs[0] == outs[1] == outs[2] and len(outs[0].split()) > 10


@pytest.mark.parametrize("tensor", ["embeddings.0.0.weight", "embeddings.1.0.weight", "fc2.weight"])
@pytest.mark.parametrize("bits, says", [("nan", "NaN"), ("inf", "infinity")])
@pytest.mark.parametrize("kind", ["float32", "bf16"])
def test_what_is_not_finite_is_refused_by_name(bin, request, models, tmp_path, tensor, bits, says, kind):
    if kind != "float32":
        request.getfixturevalue("bfloats")
    shutil.copytree(models[0], tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    name = next(name for name in header if name.endswith(tensor))
    exponent = 0x7F80 if header[name]["dtype"] == "BF16" else 0x7C00
    at = 8 + length + header[name]["data_offsets"][0] + 2 * 1234
    data[at:at + 2] = (exponent | (bits == "nan")).to_bytes(2, "little")
    path.write_bytes(data)
    stdin = ok(bin, "tokenize", "-m", models[0], stdin=b"w5 w9\n")
    done = run(bin, "forward-dump", "-m", tmp_path / "model", "--products", kind, stdin=stdin)
    assert done.returncode == 1 and not done.stdout
    assert f"tensor '{name}' has {says} at element 1234".encode() in done.stderr
    fails(bin, "project-values", "--all", "-m", tmp_path / "model", "--products", kind,
          says=f"'{name}' has {says} at element 1234")


def write_llama(folder, change=lambda values: values, dtype="F32"):
    """One layer, whose words have no projection."""
    folder.mkdir()
    d, cells, words = 24, 37, 61
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": d, "num_hidden_layers": 1, "num_attention_heads": 4,
        "intermediate_size": cells, "vocab_size": words, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "max_position_embeddings": 64, "tie_word_embeddings": True, "bos_token_id": 2, "eos_token_id": 2}))
    layer, random = "model.layers.0.", np.random.default_rng(7)
    shapes = {"model.embed_tokens.weight": (words, d), "model.norm.weight": (d,),
              **{f"{layer}self_attn.{name}_proj.weight": (d, d) for name in "qkvo"},
              **{f"{layer}{name}layernorm.weight": (d,) for name in ("input_", "post_attention_")},
              layer + "mlp.gate_proj.weight": (cells, d), layer + "mlp.up_proj.weight": (cells, d),
              layer + "mlp.down_proj.weight": (d, cells)}
    tensors = {name: random.standard_normal(shape).astype("<f2").astype("<f4")
               for name, shape in shapes.items()}
    random_model.write_tensors(folder / "model.safetensors", {
        name: change(values) if values.ndim == 2 else values for name, values in tensors.items()}, dtype)
    random_model.write_dictionary(folder / "dict.txt", words)
    return folder


def test_with_one_term_words_are_rounded_as_matrices_are(bin, bfloats, tmp_path):
    """Reference: a model whose matrices were rounded before it was written."""
    models = [write_llama(tmp_path / "halves", dtype="F16"), write_llama(tmp_path / "rounded", to_bfloat)]
    sentences = text(random_sentences(5, 61, seed=6, longest=30))
    assert_same([ok(bin, "forward-dump", "-m", model, "--emit", "resid,prediction", "--products", "bf16",
                    stdin=ok(bin, "tokenize", "-m", model, stdin=sentences)) for model in models])
