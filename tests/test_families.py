"""Model families against the reference library (transformers, with torch): small
random models with odd sizes, written by it, run by both.
"""

import json
import pathlib
import re
import shutil
import string
import subprocess

import numpy as np
import pytest

import environments
import oracle
import random_model
import streams
from families import known_families, listed_families
from helpers import assert_close, by_sentence, fails, ok, table, text

NAMES = [
    "gpt2", "gpt2-inner", "opt", "opt-projected", "opt-post-norm", "opt-no-final-norm", "neox",
    "neox-sequential", "neox-odd", "gpt-neo", "gptj", "phi", "phi-ungrouped", "phi-normed", "falcon",
    "falcon-grouped", "falcon-grouped-one-norm", "falcon-two-norms", "falcon-alibi", "bloom", "mpt",
    "mpt-clipped", "starcoder2", "starcoder2-plain", "llama", "llama3-scaled", "llama-linear", "llama-yarn",
    "llama-yarn-betas", "llama-yarn-stated", "llama-longrope", "llama-dynamic", "mistral", "mistral-window",
    "qwen2", "qwen2-window", "qwen3", "gemma", "gemma-untied", "gemma2", "gemma2-uncapped", "gemma3-text",
    "gemma3", "olmo", "olmo-clipped", "olmo-biased", "olmo2", "phi3", "phi3-longrope", "phi4", "phi4-odd",
    "stablelm", "stablelm-parallel", "stablelm-normed", "granite", "cohere", "cohere-normed",
    "cohere-untied", "cohere2", "cohere2-plain", "smollm3-plain", "smollm3", "mixtral", "mixtral-one",
    "olmoe", "olmoe-clipped", "qwen2-moe", "qwen2-moe-step", "qwen3-moe", "qwen3-moe-mixed", "gpt-oss",
    "gpt-oss-limited", "gpt-oss-blocks", "smollm3-window", "qwen2-no-bos", "olmo-no-bos", "gpt2-no-bos",
    "bloom-no-bos", "qwen3-bf16", "gpt2-f16", "mixtral-f16", "gpt-oss-bf16", "gpt-oss-mxfp4",
    "mixtral-packed", "qwen2-moe-packed"]


def test_every_family_has_a_reference(bin, reference, tmp_path):
    """Of the program's own list; the paper's family has tests of its own."""
    folders, _ = known_families(bin, tmp_path)
    types = {name: json.loads((reference / name / "config.json").read_text())["model_type"] for name in NAMES}
    assert {*types.values(), "fairseq_transformer_lm"} == set(folders)
    assert {path.stem for path in reference.glob("*.npz")} == set(NAMES)
    listed = listed_families(bin)
    assert [row["family"] for row in listed] == folders
    assert {row["family"] for row in listed if row["compared_with"] == "transformers"} == set(types.values())
    assert [(row["family"], row["directory"]) for row in listed if row["compared_with"] == "fairseq"] \
        == [("fairseq_transformer_lm", "import-model")]  # fairseq_reference.py


def load(reference, name):
    """The reference's arrays, a dictionary a sentence."""
    arrays = np.load(reference / f"{name}.npz")
    count = sum(key.startswith("tokens") for key in arrays)
    names = "tokens", "logits", "resid", "coef", "ffn", "edited"
    return [{key: arrays[f"{key}{i}"] for key in names} for i in range(count)]


def following(sentence):
    """The next token at each of a sentence's positions, of which a model without BOS has one fewer."""
    return sentence["tokens"][len(sentence["tokens"]) - len(sentence["logits"]):]


def dump(bin, model, sentences, *options):
    tokens = ok(bin, "tokenize", "--model", model, stdin=text(s["tokens"] for s in sentences))
    return streams.read(ok(bin, "forward-dump", "--model", model, *options, stdin=tokens))


def generated_names():
    """Models that families_reference.py has go on with a sentence."""
    source = pathlib.Path(__file__).with_name("families_reference.py").read_text()
    names, = re.findall(r"^GENERATED = \((.*?)\)$", source, re.MULTILINE | re.DOTALL)
    return re.findall(r'"([^"]+)"', names)


@pytest.mark.parametrize("name", generated_names())
def test_text_that_is_gone_on_with(bin, reference, tmp_path, name):
    """The tokens of the library's greedy generation with its own cache of keys and values, as the model is
    and with edits; either may end with the end token."""
    arrays = np.load(reference / f"{name}.npz")
    prompt = text([arrays["tokens0"].tolist()]).decode().strip()
    for wanted, options in (arrays["generated"], []), (arrays["generated_edited"],
                                                       ["--edit", str(arrays["edits"])]):
        ok(bin, "generate", "-m", reference / name, "--tokens", 20, "--all-tokens", "--steps",
           tmp_path / "steps", *options, prompt)
        assert [int(row["id"]) for row in table(tmp_path / "steps")] == wanted.tolist(), options


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
            expected = {"next_logp": log_p[rows, following(sentence)], "top_logp": log_p[rows, top],
                        "top": top}[key]
            if key == "top":
                assert np.array_equal(found, expected)
            else:
                assert_close(found, expected)


def weights(folder):
    """{name: array} of a reference model; the head and the final norm by its own names."""
    tensors = oracle.load_safetensors(folder / "model.safetensors")

    def find(*names):
        return next((tensors[name] for name in names if name in tensors), None)

    return (find("lm_head.weight", "embed_out.weight", "model.embed_tokens.weight", "transformer.wte.weight"),
            find("model.norm.weight", "transformer.ln_f.weight", "gpt_neox.final_layer_norm.weight"))


def logit_parts(name, tensors, output, token, x):
    """What x (rows, d) adds to the token's logit: the final norm, its statistics of output held fixed, and
    the head."""
    head, gain = tensors
    gain = gain + 1 if name.startswith("gemma") else gain
    rms = name not in ("gpt2", "neox")
    spread = (output ** 2).mean() if rms else output.var()
    epsilon = {"gpt2": 1e-5, "neox": 1e-5}.get(name, 1e-6)
    return (x if rms else x - x.mean(-1, keepdims=True)) * gain / np.sqrt(spread + epsilon) @ head[token]


@pytest.mark.parametrize("name", ["gpt2", "neox", "llama", "qwen2", "gemma", "gemma2", "olmo2", "granite",
                                  "mixtral", "qwen2-moe", "gpt-oss", "cohere2", "opt-post-norm",
                                  "qwen2-no-bos", "phi"])
def test_traces(bin, reference, tmp_path, name):
    """At every position what the reference library computes: tokens and probabilities of the output; and the
    memories' contributions to the logit, which with the bias's add up to the block's."""
    sentences = [s for s in load(reference, name) if len(s["tokens"]) > 1]
    prompts = text(s["tokens"][:-1] for s in sentences)
    model, plain = reference / name, name in ("llama", "qwen2", "gpt2", "neox", "gemma", "gemma2", "mixtral")
    tokens = ok(bin, "tokenize", "-m", model, "--prompt", stdin=prompts)
    stream = ok(bin, "forward-dump", "-m", model, "--with-bos" if name != "qwen2-no-bos" else "--threads=1",
                "--emit", "resid,ffn,coef", stdin=tokens)
    layers = table(ok(bin, "trace-prompts", "-m", model, "--all-tokens", "--positions", "all", "-k", 3,
                      "--memories", 1000, "--memories-table", tmp_path / "m", stdin=stream))
    rows = iter([row for row in layers if int(row["layer"]) == len(sentences[0]["resid"])])
    log_p = np.concatenate([log_softmax(s["logits"]) for s in sentences])
    for expected in log_p:
        for rank, token in enumerate(np.argsort(-expected, kind="stable")[:3], 1):
            row = next(rows)
            assert (int(row["rank"]), row["output"]) == (rank, words(token))
            assert float(row["p_output"]) == pytest.approx(np.exp(expected[token]), rel=1e-3)
    assert next(rows, None) is None
    check_contributions(name, weights(model) if plain else None, sentences, layers, table(tmp_path / "m"))


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_a_negative_coefficient_promotes_what_its_value_demotes(bin, reference, tmp_path, name):
    """Gated layers have both signs. The ends of each value's distribution by NumPy, from the files."""
    model, (head, _) = reference / name, weights(reference / name)
    tensors = oracle.load_safetensors(model / "model.safetensors")
    tokens = ok(bin, "tokenize", "-m", model, "--prompt", stdin=text([[5, 9, 30, 7]]))
    stream = ok(bin, "forward-dump", "-m", model, "--emit", "resid,ffn,coef", stdin=tokens)
    ok(bin, "trace-prompts", "-m", model, "--all-tokens", "-k", 3, "--memories-table", tmp_path / "m", "-o",
       tmp_path / "layers", stdin=stream)
    rows = table(tmp_path / "m")
    assert {float(row["coefficient"]) > 0 for row in rows} == {True, False}
    for row in rows:
        value = tensors[f"model.layers.{int(row['layer']) - 1}.mlp.down_proj.weight"][:, int(row["cell"])]
        order = np.argsort(-(head @ value), kind="stable")
        ends = [[words(token) for token in end] for end in (order[:3], order[::-1][:3])]
        promoted, demoted = ends if float(row["coefficient"]) > 0 else ends[::-1]
        assert (json.loads(row["promotes"]), json.loads(row["demotes"])) == (promoted, demoted)


def words(token):
    return ["<s>", "<pad>", "</s>", "<unk>"][token] if token < 4 else f"w{token}"


def check_contributions(name, tensors, sentences, layers, memories):
    added, signs = {}, set()
    for row in memories:
        key = row["prompt"], row["position"], row["layer"]
        added[key] = added.get(key, 0) + float(row["logit"] or "nan")
        signs.add(float(row["coefficient"]) > 0)
    blocks = [row for row in layers if row["rank"] == "1"]
    found = np.array([float(row["ffn_logit"] or "nan") for row in blocks])
    total = np.array([added.get((row["prompt"], row["position"], row["layer"]), 0) for row in blocks])
    if name == "opt-post-norm":
        assert np.isnan(found).all() and np.isnan(total).all()
        return
    assert np.isfinite(found).all()
    if name not in ("gpt2", "neox", "phi", "granite", "gpt-oss"):  # whose blocks have a bias
        assert_close(total, found, 1e-4)
        assert signs == {True, False}
    if tensors:
        expected = []
        for s in sentences:
            for j in range(len(s["logits"])):
                output = s["resid"][-1, j] + s["ffn"][-1, j]
                expected += list(logit_parts(name, tensors, output, s["logits"][j].argmax(), s["ffn"][:, j]))
        assert_close(found, expected, 1e-3)


@pytest.mark.parametrize("name", ["gpt-oss", "gpt-oss-limited"])
def test_biases_of_experts_are_what_values_leave_of_a_block(bin, reference, name):
    """y = sum of m_i v_i + sum of w_e b_e, the router's weights times the experts' biases, by NumPy from the
    files; edited coefficients change the first sum only."""
    tensors = oracle.load_safetensors(reference / name / "model.safetensors")
    sentences, edits = load(reference, name), "1:0-34=0,2:0-34=0,3:0-34=0"
    chosen = 2 if name == "gpt-oss" else 3
    streams_of = [dump(bin, reference / name, sentences, "--emit", "coef,ffn,resid", *more)
                  for more in ([], ["--edit", edits])]
    for stream in streams_of:
        rows = zip(*(by_sentence(stream, key) for key in ("coef", "ffn", "resid")), strict=True)
        for coef, ffn, resid in rows:
            assert np.any(coef) == (stream is streams_of[0])
            for layer in range(3):
                def get(key, layer=layer):
                    return tensors[f"model.layers.{layer}.{key}"].astype(float)
                r = resid[layer].astype(float)
                x = r / np.sqrt((r * r).mean(1, keepdims=True) + 1e-5)
                x *= get("post_attention_layernorm.weight")
                logits = x @ get("mlp.router.weight").T + get("mlp.router.bias")
                logits[logits < np.sort(logits, axis=1)[:, -chosen, None]] = -np.inf
                added = np.exp(log_softmax(logits)) @ get("mlp.experts.down_proj_bias")
                assert np.abs(added).max() > 0.1
                assert_close(ffn[layer] - coef[layer] @ get("mlp.experts.down_proj").reshape(-1, 36), added)


@pytest.mark.parametrize("name", NAMES)
def test_edited_predictions(bin, reference, name):
    """Oracle: the reference library, with hooks that make the edits in what the down projections read."""
    sentences, edits = load(reference, name), str(np.load(reference / f"{name}.npz")["edits"])
    stream = dump(bin, reference / name, sentences, "--emit", "prediction", "--all-tokens", "--edit", edits)
    found = by_sentence(stream, "next_logp"), by_sentence(stream, "top_logp")
    for next_log_p, top_log_p, sentence in zip(*found, sentences, strict=True):
        if len(sentence["edited"]) == 0:  # one token, of a model without BOS
            continue
        log_p = log_softmax(sentence["edited"])
        near = 1e-4 * np.abs(sentence["edited"]).max()  # a log-probability near 0 has the error of logits
        assert np.abs(next_log_p - log_p[np.arange(len(log_p)), following(sentence)]).max() <= near
        assert np.abs(top_log_p - log_p.max(axis=1)).max() <= near
        assert np.abs(log_p - log_softmax(sentence["logits"])).max() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_refinement_ends_in_the_models_prediction(bin, reference, name, tmp_path):
    """Oracle: the reference library's logits; o^L = r^L + y^L, through the final norm, in every family."""
    sentences = load(reference, name)
    tokens = ok(bin, "tokenize", "--model", reference / name, stdin=text(s["tokens"] for s in sentences))
    rows = ok(bin, "forward-dump", "--model", reference / name, "--emit", "resid,ffn", stdin=tokens)
    ok(bin, "refinement-stats", "--all-tokens", "--model", reference / name,
       "--perplexity", tmp_path / "perplexity", stdin=rows)
    empty = [len(s["logits"]) == len(s["tokens"]) for s in sentences]  # the empty prefix does not count
    log_p = np.concatenate([log_softmax(s["logits"])[skipped:] for s, skipped in zip(sentences, empty)])
    tokens = np.concatenate([s["tokens"][1:] for s in sentences])
    (found,) = table(tmp_path / "perplexity")
    assert int(found["prefixes"]) == len(tokens)
    assert float(found["perplexity"]) \
        == pytest.approx(np.exp(-log_p[np.arange(len(tokens)), tokens].mean()), rel=1e-3)
    assert float(found["next_is_top"]) == pytest.approx((log_p.argmax(axis=1) == tokens).mean())


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
    assert all(np.array_equal(a, b)
               for a, b in zip(by_sentence(one, "coef"), by_sentence(several, "coef"), strict=True))
    index["weight_map"][names[0]] = "../elsewhere.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    fails(bin, "forward-dump", "--model", tmp_path, says="is not in a file of this folder")


@pytest.mark.parametrize("name, change, says", [
    ("llama", {"model_type": "mamba"}, "mamba"),
    ("llama", {"hidden_act": "relu6"}, "relu6"),
    ("llama", {"rope_parameters": {"rope_type": "ntk", "rope_theta": 1e4}}, "ntk"),
    ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "'rope_parameters.factor'"),
    ("llama-longrope", {"head_dim": 8}, "lists of 4 numbers"),
    ("llama", {"num_hidden_layers": 2}, "model.layers.2."),
    ("llama", {"num_key_value_heads": 4}, "num_key_value_heads"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ("gpt2", {"n_positions": 41}, "wpe.weight"),
    ("opt", {"do_layer_norm_before": False}, "final_layer_norm"),
    ("opt", {"word_embed_proj_dim": 20}, "embed_tokens.weight"),
    ("opt", {"word_embed_proj_dim": 37}, "word_embed_proj_dim"),
    ("phi", {"qk_layernorm": True}, "q_layernorm"),
    ("phi", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.42}},
     "an even number"),
    ("stablelm", {"qk_layernorm": True}, "q_layernorm.norms.0"),
    ("mpt", {"attn_config": {"alibi_bias_max": 16}}, "attn_config.alibi_bias_max"),
    ("mpt", {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln"),
    ("mpt", {"logit_scale": 0.5}, "logit_scale"),
    ("falcon", {"new_decoder_architecture": True, "parallel_attn": False}, "parallel_attn"),
    ("falcon", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn"),
    ("falcon", {"multi_query": False, "num_kv_heads": 3}, "num_kv_heads"),
    ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual_connection_post_layernorm"),
    ("gpt-neo", {"attention_types": [[["global"], 2]]}, "attention_layers"),
    ("gpt-neo", {"attention_layers": ["global"] * 3}, "attention_layers"),
    ("gpt-neo", {"attention_types": 5}, "attention_layers"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("gemma3-text", {"attn_logit_softcapping": 5.0}, "attn_logit_softcapping"),
    ("gemma3-text", {"layer_types": ["full_attention"]}, "layer_types"),
    ("gemma3", {"text_config": 5}, "text_config"),
    ("gemma3", {"bos_token_id": 5}, "'bos_token_id' differs"),
    ("gemma2", {"layer_types": ["chunked_attention"] * 3}, "layer_types"),
    ("smollm3", {"no_rope_layers": [1, 1]}, "no_rope_layers"),
    ("gpt-oss", {"swiglu_alpha": 1.5}, "'swiglu_alpha' is 1.5"),
    ("gpt-oss", {"swiglu_limit": None}, "swiglu_limit"),
    ("gpt-oss", {"hidden_act": "gelu"}, "hidden_act"),
    ("gpt-oss", {"experts_per_token": 3}, "experts_per_token"),
    ("gpt-oss", {"intermediate_size": 8}, "gate_up_proj"),
    ("gpt-oss-mxfp4", {"quantization_config": {"quant_method": "fp8"}}, "quantization_config.quant_method"),
    ("gpt-oss-mxfp4", {"quantization_config": {"quant_method": "mxfp4", "bits": 8}},
     "quantization_config.bits"),
    ("gpt-oss-mxfp4", {"hidden_size": 66}, "embed_tokens.weight"),
    ("gpt-oss-mxfp4", {"intermediate_size": 33}, "gate_up_proj_blocks' has shape [5, 64, 2, 16]"),
    ("cohere", {"num_heads_of_another_kind": 5}, "num_heads_of_another_kind"),
    ("neox", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.01}},
     "rotated"),
])
def test_unknown_settings_are_refused_by_name(bin, reference, tmp_path, name, change, says):
    model = tmp_path / "model"
    shutil.copytree(reference / name, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **change}))
    fails(bin, "project-values", "--all", "--model", model, says=says)


@pytest.mark.parametrize("name, most", [("llama-longrope", 32), ("llama-dynamic", 64), ("opt", 40)])
def test_a_sentence_that_would_have_other_positions_is_refused(bin, reference, name, most):
    """Both scalings have other frequencies for longer sentences; in the reference dynamic's depend on those
    before."""
    model = reference / name
    tokens = ok(bin, "tokenize", "--model", model, stdin=text([[5] * most]))
    ok(bin, "forward-dump", "--model", model, stdin=tokens)
    tokens = ok(bin, "tokenize", "--model", model, stdin=text([[5] * (most + 1)]))
    fails(bin, "forward-dump", "--model", model, stdin=tokens, says=f"can attend to {most}")


GGUF = [
    "gpt2", "gpt2-inner", "neox", "neox-sequential", "neox-odd", "phi", "falcon", "falcon-grouped-one-norm",
    "falcon-two-norms", "bloom", "mpt", "mpt-clipped", "starcoder2", "llama", "llama3-scaled", "llama-yarn",
    "llama-longrope", "llama-yarn-betas", "mistral-window", "qwen2", "qwen3", "gemma", "gemma2",
    "gemma3-text", "olmo", "olmo-clipped", "olmo2", "phi3", "phi3-longrope", "phi4", "granite", "stablelm",
    "stablelm-parallel", "stablelm-normed", "cohere", "cohere-normed", "cohere2-plain", "smollm3-plain",
    "mixtral", "olmoe", "qwen2-moe", "qwen3-moe", "gpt-oss", "gpt-oss-mxfp4"]
LETTERS = string.ascii_letters + string.digits
# What no metadata say: attention's scale of Gemma's models and MPT, which layers have a window, the
# activation.
UNSAID = {"gemma2": {"query_pre_attn_scalar": 10},
          "gemma3-text": {"query_pre_attn_scalar": 10, "layer_types": None},
          "mpt-clipped": {"attn_config": {"clip_qkv": 0.7}},
          "gpt2-inner": {"activation_function": "gelu_new"}}


def test_blocks_that_are_not_right_are_refused(bin, reference, tmp_path):
    """Another type, another shape of scales, and an exponent whose numbers have no 32-bit floats."""
    shutil.copytree(reference / "gpt-oss-mxfp4", tmp_path, dirs_exist_ok=True)
    whole, name = (tmp_path / "model.safetensors").read_bytes(), "model.layers.1.mlp.experts.down_proj"
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:8 + length])
    scales, blocks = header[f"{name}_scales"], header[f"{name}_blocks"]
    exponent = bytearray(whole)
    exponent[8 + length + scales["data_offsets"][0] + 3] = 255
    for changed, says in [({"dtype": "I8"}, f"'{name}_blocks' is of type I8, where U8 is expected"),
                          ({"shape": [5, 64, 16]}, "config.json asks for [5, 64, 1, 16]"), ({}, "")]:
        text = json.dumps({**header, f"{name}_blocks": {**blocks, **changed}}).encode()
        data = len(text).to_bytes(8, "little") + text + whole[8 + length:]
        (tmp_path / "model.safetensors").write_bytes(data if changed else exponent)
        fails(bin, "project-values", "--all", "--all-tokens", "--model", tmp_path,
              says=says or f"'{name}_scales' has an exponent beyond 32-bit floats at block 3")


@pytest.fixture(scope="session")
def gguf_files(reference, tmp_path_factory):
    """The folder that gguf_families.py fills."""
    folder = tmp_path_factory.mktemp("gguf-families")
    environments.run(environments.python(*environments.TRANSFORMERS),
                     pathlib.Path(__file__).with_name("gguf_families.py"), reference, folder)
    return folder


def letters(sentences):
    """The sentences as a text, a letter each token."""
    return "".join("".join(LETTERS[token] for token in s["tokens"]) + "\n" for s in sentences).encode()


def test_every_architecture_has_a_file(bin, gguf_files, tmp_path):
    """Of the program's own list; each family's file is one of its own models."""
    _, architectures = known_families(bin, tmp_path)
    key, made = b"general.architecture", {}
    for name in GGUF:
        data = (gguf_files / f"{name}.gguf").read_bytes()
        begin = data.index(key) + len(key) + 12  # behind the value's type and length
        length = int.from_bytes(data[begin - 8:begin], "little")
        made[name] = data[begin:begin + length].decode()
    assert set(made.values()) == set(architectures)
    assert {path.stem for path in gguf_files.glob("*.gguf") if "-of-" not in path.stem} == set(GGUF)
    assert {row["gguf"] for row in listed_families(bin)} - {""} == set(architectures)


@pytest.mark.parametrize("name", GGUF)
def test_a_gguf_file_is_the_directory_that_it_was_made_of(bin, reference, gguf_files, tmp_path, name):
    """Names of tensors and settings are those of the package gguf; the directory is compared with
    transformers above."""
    model = tmp_path / "model"
    shutil.copytree(reference / name, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **UNSAID.get(name, {})}))
    sentences = load(reference, name)
    one = dump(bin, model, sentences, "--emit", "coef,resid,ffn,prediction")
    tokens = ok(bin, "tokenize", "--model", gguf_files / f"{name}.gguf", stdin=letters(sentences))
    other = streams.read(ok(bin, "forward-dump", "--model", gguf_files / f"{name}.gguf", "--emit",
                            "coef,resid,ffn,prediction", stdin=tokens))
    for key in ("coef", "resid", "ffn", "next_logp"):
        for a, b in zip(by_sentence(one, key), by_sentence(other, key), strict=True):
            assert_close(a, b, 3e-6)  # factors of frequencies have 32 bits


# Not the norms of StableLM's heads and Falcon's groups, which the library leaves as the file has them.
READ = "gpt2", "bloom", "starcoder2", "llama", "qwen", "gemma2", "gemma3", "phi3", "phi4", "stablelm"
SECOND = ["falcon", *(name for name in GGUF if name.startswith(READ) and name != "stablelm-normed")]


def test_a_second_reader_finds_the_same_weights(reference, gguf_files):
    """Oracle: the reference library's own reading of GGUF files; so these are arranged as others expect."""
    script = pathlib.Path(__file__).with_name("gguf_second_reader.py")
    python = environments.python(*environments.TRANSFORMERS)
    assert environments.run(python, script, reference, gguf_files, *SECOND) == ""


def test_a_split_file_is_the_file_that_was_split(bin, reference, gguf_files, tmp_path):
    """The package gguf wrote both; the model's id is the hash of the whole file."""
    whole, first = gguf_files / "olmo2.gguf", gguf_files / "olmo2-00001-of-00006.gguf"
    streams_of = []
    for model in whole, first:
        tokens = ok(bin, "tokenize", "--model", model, stdin=letters(load(reference, "olmo2")))
        streams_of.append(ok(bin, "forward-dump", "--model", model, "--emit", "coef,resid,ffn,prediction",
                             stdin=tokens))
    assert streams_of[0] == streams_of[1]
    done = subprocess.run(["xxhsum", "-H2", whole], capture_output=True, check=True, text=True)
    assert streams.read(streams_of[0]).header["model"]["id"] == done.stdout.split()[0]
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(gguf_files / "olmo2-00003-of-00006.gguf", tmp_path / "elsewhere")
    fails(bin, "tokenize", "--model", tmp_path / "elsewhere/olmo2-00003-of-00006.gguf",
          says=f"part 3 of 6 of a split model; give the first, {tmp_path}/elsewhere/olmo2-00001-of-")


def test_a_scale_of_yarn_that_programs_read_differently_is_refused(bin, reference, tmp_path):
    """The converter writes all of it, llama.cpp multiplies its own by it: only what YaRN has anyway is
    known."""
    script, python = pathlib.Path(__file__).with_name("gguf_families.py"), environments.TRANSFORMERS
    for scale, says in (0.8, "yarn_attn_factor is 0.8; this program knows only 1.1386"), (1.1386294, ""):
        model = tmp_path / str(scale)
        shutil.copytree(reference / "gpt-oss-limited", model)
        config = json.loads((model / "config.json").read_text())
        config["rope_parameters"]["attention_factor"] = scale
        (model / "config.json").write_text(json.dumps(config))
        environments.run(environments.python(*python), script, model, tmp_path / "made.gguf", "GPT_OSS")
        (fails if says else ok)(bin, "model-info", tmp_path / "made.gguf", **({"says": says} if says else {}))


def logits_of(tensors, vectors):
    """Of a Gemma 2 model, whose words are tied and whose logits are capped at 4."""
    return 4 * np.tanh(vectors @ tensors["model.embed_tokens.weight"].T.astype(float) / 4)


def test_a_value_behind_a_norm_has_its_gain(bin, reference):
    """By the formulas of ffkv(7): v_i is a column of the down projection times the gain, p(v_i) is capped as
    the model's logits are, and y^l is a positive number times the sum of m_i v_i."""
    model = reference / "gemma2"
    tensors = oracle.load_safetensors(model / "model.safetensors")
    values = streams.read(ok(bin, "project-values", "--all", "--all-tokens", "--model", model, "--top", 5))
    seen = {(r["layer"], r["cell"]): r for r in values.records}
    stream = dump(bin, model, load(reference, "gemma2"), "--emit", "coef,ffn")
    coef, ffn = by_sentence(stream, "coef"), by_sentence(stream, "ffn")
    assert len(seen) == 3 * 37
    for layer in range(3):
        place = f"model.layers.{layer}."
        gain = 1 + tensors[place + "post_feedforward_layernorm.weight"].astype(float)
        rows = tensors[place + "mlp.down_proj.weight"].T.astype(float) * gain
        log_p = log_softmax(logits_of(tensors, rows))
        for cell in range(37):
            record = seen[layer, cell]
            tops = np.argsort(-log_p[cell], kind="stable")[:5]
            assert record["top"].tolist() == tops.tolist()
            assert_close(record["top_p"], np.exp(log_p[cell, tops]))
        for m, y in zip(coef, ffn, strict=True):
            total = m[layer] @ rows
            scale = (y[layer] * total).sum(axis=1, keepdims=True) / (total * total).sum(axis=1, keepdims=True)
            assert (scale > 0).all()
            assert_close(y[layer], scale * total)


def test_settings_as_version_4_of_transformers_wrote_them(bin, reference, tmp_path):
    """Rotary positions outside of rope_parameters, types and lists of numbers as they were: the same
    model."""
    for name, change in [
            ("gemma3-text",
             {"rope_parameters": ..., "rope_theta": 5000.0, "rope_local_base_freq": 100.0, "layer_types": ...,
              "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window_pattern": 2}),
            ("gemma2",
             {"hidden_act": "gelu_pytorch_tanh", "cache_implementation": "hybrid", "layer_types": ...,
              "rope_parameters": ..., "rope_theta": 10000.0}),
            ("gemma", {"hidden_act": "gelu", "hidden_activation": None, "rope_parameters": ...}),
            ("phi3-longrope", {"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": {
                "type": "su", "short_factor": [1.0, 1.5, 2.0], "long_factor": [2, 3, 4]}}),
            ("phi4", {"rope_parameters": ..., "rope_theta": 10000.0, "partial_rotary_factor": 0.75}),
            ("stablelm", {"rope_parameters": ..., "rope_theta": 10000, "partial_rotary_factor": 0.34}),
            ("cohere", {"rope_parameters": ...}),
            ("smollm3", {"layer_types": ..., "no_rope_layers": [1, 0, 1], "no_rope_layer_interval": ...}),
            ("bloom",
             {"n_head": ..., "num_attention_heads": 6, "n_embed": 36, "offset_alibi": 100, "n_inner": None}),
            ("mixtral", {"rope_parameters": ..., "rope_theta": 1000000.0, "head_dim": ...}),
            ("olmoe", {"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": None}),
            ("qwen2-moe", {"rope_parameters": ..., "rope_theta": 10000.0, "layer_types": ..., "qkv_bias": ...,
                           "mlp_only_layers": ..., "sliding_window": 32768, "max_window_layers": 21}),
            ("qwen3-moe", {"rope_parameters": ..., "rope_theta": 10000.0, "num_local_experts": ...,
                           "num_experts": 6, "max_window_layers": 48, "rope_scaling": None}),
            ("gpt-oss", {"rope_parameters": ..., "rope_theta": 150000, "swiglu_alpha": ...,
                         "layer_types": ..., "experts_per_token": 2, "initial_context_length": 4096,
                         "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0,
                                          "beta_slow": 1.0, "truncate": False,
                                          "original_max_position_embeddings": 4096}}),
            ("gpt-oss-blocks", {"rope_parameters": None}),
            ("gptj", {"n_embd": 30, "n_inner": None, "rotary": True}),
            ("falcon", {"rope_parameters": ..., "ffn_hidden_size": ...})]:
        model = tmp_path / name
        shutil.copytree(reference / name, model)
        config = json.loads((model / "config.json").read_text())
        config = {**config, **change, "torch_dtype": "float32", "dtype": ..., "eos_token_id": [2, 3],
                  "pad_token_id": None}
        (model / "config.json").write_text(
            json.dumps({key: value for key, value in config.items() if value is not ...}))
        sentences = load(reference, name)
        one, other = (by_sentence(dump(bin, place, sentences, "--emit", "coef"), "coef")
                      for place in (reference / name, model))
        for a, b in zip(one, other, strict=True):
            assert_close(a, b, 1e-6)
