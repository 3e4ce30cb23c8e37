"""Model directories and GGUF files as people have them: settings that are missing,
stated twice or not known, buffers of other types, tensors at other places, sums.

Oracle: the reference library (transformers), on directories with the same faults.
"""

import json
import pathlib
import shutil
import string
import subprocess

import numpy as np
import pytest

import environments
import gguf_format
import oracle
import random_model
import streams
from damage import in_parallel
from families import known_families
from helpers import by_sentence, fails, ok, run, text

TESTS = pathlib.Path(__file__).parent
FAMILIES = ["gpt2", "opt", "neox", "llama", "llama3-scaled", "mistral", "qwen2", "qwen3", "gemma3-text",
            "phi3", "smollm3", "mpt", "mixtral", "olmoe-clipped", "qwen2-moe", "qwen3-moe"]


def sentences_of(reference):
    arrays = np.load(reference / "llama.npz")
    return [arrays[key].tolist() for key in sorted(arrays) if key.startswith("tokens")]


def load(place):
    return oracle.load_safetensors(place / "model.safetensors", np.float32)


class Cases:
    """Variants of the reference's models, to be run by both."""

    def __init__(self, reference, folder):
        self.reference, self.folder, self.count = reference, folder, 0
        self.sentences = sentences_of(reference)

    def add(self, name, changes, tensors=None):
        """A variant's folder.  changes: {setting: value, or ... to leave it out}; tensors: {name: array or
        None}."""
        place = self.folder / f"{self.count:04}"
        self.count += 1
        place.mkdir()
        config = {**json.loads((self.reference / name / "config.json").read_text()), **changes}
        (place / "config.json").write_text(
            json.dumps({key: value for key, value in config.items() if value is not ...}))
        (place / "dict.txt").symlink_to(self.reference / name / "dict.txt")
        if tensors is None:
            (place / "model.safetensors").symlink_to(self.reference / name / "model.safetensors")
        else:
            whole = {**load(self.reference / name), **tensors}
            write(place / "model.safetensors",
                  {key: array for key, array in whole.items() if array is not None})
        return place

    def ask(self):
        """What the reference library says of each."""
        environments.run(environments.python(*environments.TRANSFORMERS), TESTS / "settings_reference.py",
                         self.folder)

    def said(self, place):
        return json.loads(place.with_suffix(".json").read_text())


TYPES = {"bool": "BOOL", "uint8": "U8", "int64": "I64", "float64": "F64", "int8": "I8", "complex64": "C64",
         "float32": "F32", "float16": "F16"}


def write(path, tensors):
    """A safetensors file of arrays of their own types."""
    header, data = {}, b""
    for name, array in sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize):
        end = len(data) + array.nbytes
        header[name] = {"dtype": TYPES[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [len(data), end]}
        data += array.tobytes()
    random_model.write_safetensors(path, header, data)


def predictions(bin, model, sentences, encode=text, warn=None):
    """next_logp of each sentence, or the message of whichever tool refuses the model.  warn: what is said
    beside them; otherwise nothing is."""
    tokens = run(bin, "tokenize", "--model", model, stdin=encode(sentences))
    done = tokens if tokens.returncode else run(bin, "forward-dump", "--model", model, "--emit", "prediction",
                                                stdin=tokens.stdout)
    message = done.stderr.decode()
    if done.returncode:
        assert done.returncode == 1 and message.count("\n") == 1, message
        return message
    assert warn in message if warn is not None else not message, message
    return by_sentence(streams.read(done.stdout), "next_logp")


def agree(found, said):
    return all(np.abs(np.array(a) - b).max() < 1e-3 for a, b in zip(found, said["next_logp"], strict=True))


def check_same(bin, cases, place, model=None, **options):
    """The reference library loads place, and the suite computes the same of it (or of another form of it)."""
    said = cases.said(place)
    assert "next_logp" in said, said
    found = predictions(bin, model or place, cases.sentences, **options)
    assert not isinstance(found, str), found
    assert agree(found, said)
    return found


# ---------------------------------------------------------------- every key

def others(value):
    """Other values of a setting."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value * 2 + 1]
    if isinstance(value, str):
        return ["relu", "zzz"]
    if isinstance(value, list):
        return [[], ["sliding_attention"] * len(value)] if value else [[1]]
    if isinstance(value, dict):
        return [{}, *({**value, key: other} for key in value for other in others(value[key])),
                *({k: v for k, v in value.items() if k != key} for key in value), {**value, "zzz": 2.0}]
    return [True, 5, "zzz"]


EXTRA = {"zzz": 2.0, "rope_theta": 500.0, "rotary_pct": 0.5, "rotary_emb_base": 500,
         "partial_rotary_factor": 0.5, "rope_scaling": {"type": "linear", "factor": 2.0}, "head_dim": 8,
         "attention_bias": True, "mlp_bias": True, "sliding_window": 2, "use_sliding_window": True,
         "max_window_layers": 1, "num_key_value_heads": 3, "n_inner": 20, "hidden_size": 30,
         "max_position_embeddings": 7, "n_positions": 7, "rope_interleaved": True,
         "logit_scale": 0.5, "pruned_heads": {"0": [1]}, "is_encoder_decoder": True,
         "layer_types": ["sliding_attention"] * 3, "original_max_position_embeddings": 8, "value_length": 5,
         "rope_dimension_count": 2}


def variants(config):
    """[(key, value)]: each key left out, null, and of other values; then keys that this model does not
    state."""
    found = []
    for key in set(config) - {"model_type", "vocab_size"}:
        found += [(key, value) for value in (..., None, *others(config[key])) if value != config[key]]
    return sorted(found + [(key, value) for key, value in EXTRA.items() if key not in config], key=str)


@pytest.fixture(scope="module")
def walk(reference, tmp_path_factory):
    """{family: [(key, value, folder)]}, and what the reference library says of all of them."""
    cases = Cases(reference, tmp_path_factory.mktemp("walk"))
    walked = {}
    for name in FAMILIES:
        config = json.loads((reference / name / "config.json").read_text())
        walked[name] = [(key, value, cases.add(name, {key: value})) for key, value in variants(config)]
    cases.ask()
    return cases, walked


@pytest.mark.release_only
@pytest.mark.parametrize("name", FAMILIES)
def test_each_setting_counts_as_in_transformers_or_is_refused(bin, walk, name):
    """Whatever is left out, changed or added: never another result without a word.
    What is left out and has a default is taken, and is the default."""
    cases, walked = walk

    def judge(variant):
        key, value, place = variant
        said = cases.said(place)
        found = predictions(bin, place, cases.sentences,
                            warn=key if key == "tie_word_embeddings" and value is True else None)
        if isinstance(found, str):
            odd = "an even number of them can be" in found  # of turned dimensions: a limit that is said
            legitimate = value is ... and "next_logp" in said and not odd
            return f"{key} left out, refused: {found}" if legitimate else None
        if "error" in said:
            return f"{key}: {value}: taken; the reference library: {said['error'][:200]}" \
                if "made up" in said["error"] else None
        return None if agree(found, said) else f"{key}: {value}: other numbers"

    wrong = [problem for problem in in_parallel(judge, walked[name]) if problem]
    assert not wrong, "\n".join(wrong)
    assert len(walked[name]) > 80


def test_a_setting_that_nobody_knows_is_refused_by_name(bin, reference, tmp_path):
    cases = Cases(reference, tmp_path)
    for name in FAMILIES:
        for value in 2.0, True, "x", [0], {"a": 1}:
            message = predictions(bin, cases.add(name, {"a_new_scale": value}), cases.sentences)
            assert "'a_new_scale' is not known, and may change what the model computes" in message
        for value in None, False, 0, 0.0, "", [], {}:
            assert not isinstance(predictions(bin, cases.add(name, {"a_new_scale": value}), cases.sentences),
                                  str)


# ---------------------------------------------------------- cases as they come

LINEAR, YARN = {"rope_type": "linear", "factor": 4.0}, {"rope_type": "yarn", "factor": 4.0,
                                                        "original_max_position_embeddings": 16}
ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
MASK = np.tril(np.ones((1, 1, 40, 40)))
SAME = {  # what both take, to the same numbers: (model, settings, tensors)
    "linear scaling beside rope_parameters": ("qwen2", {"rope_scaling": LINEAR}, None),
    "yarn beside rope_parameters": ("qwen2", {"rope_scaling": YARN}, None),
    "an empty rope_scaling": ("qwen2", {"rope_scaling": {}}, None),
    "theta of 1e9": ("llama", {"rope_parameters": {**ROPE, "rope_theta": 1e9}}, None),
    "theta of 1e12, before version 5": ("llama", {"rope_parameters": ..., "rope_theta": 1e12}, None),
    "Qwen2 with a window that is not used": ("qwen2", {"use_sliding_window": ..., "sliding_window": 2,
                                                       "layer_types": ...}, None),
    "Qwen2 with a window from layer 28 on": ("qwen2", {"use_sliding_window": True, "sliding_window": 2,
                                                       "max_window_layers": 28, "layer_types": ...}, None),
    "no window": ("mistral", {"sliding_window": None}, None),
    "Pythia's settings of before": ("neox", {"rope_parameters": ..., "rotary_pct": 0.5,
                                             "rotary_emb_base": 500}, None),
    "masks of bytes": ("neox", {},
                       {f"gpt_neox.layers.{l}.attention.bias": MASK.astype(np.uint8) for l in range(3)}),
    "masks of bools": ("gpt2", {}, {f"transformer.h.{l}.attn.bias": MASK.astype(bool) for l in range(3)}),
    **{f"masks of {kind}": ("gpt2", {}, {"transformer.h.0.attn.bias": MASK.astype(kind)})
       for kind in ("int8", "int64", "float64", "complex64", "float16")},
}
REFUSED = {  # what is refused by name: (model, settings, tensors, message)
    "a scaling of no known name": ("qwen2", {"rope_scaling": {**YARN, "rope_type": "ntk"}}, None,
                                   "'rope_scaling.rope_type' is \"ntk\""),
    "two thetas": ("llama", {"rope_theta": 5e5}, None, "'rope_parameters.rope_theta' is 10000, where 500000"),
    "a theta that rope_scaling replaces": ("llama", {"rope_parameters": {**ROPE, "rope_theta": 5e5},
                                                     "rope_scaling": LINEAR},
                                           None, "'rope_parameters.rope_theta' is 500000, where 10000"),
    "two scalings": ("llama",
                     {"rope_parameters": {**ROPE, **LINEAR}, "rope_scaling": {**LINEAR, "factor": 2.0}}, None,
                     "'rope_parameters.factor' is not known"),
    "a factor without a type": ("llama", {"rope_parameters": ..., "rope_scaling": {"factor": 4.0}}, None,
                                "'rope_scaling.factor' is not known"),
    "a partial factor, which llama ignores": ("llama",
                                              {"rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}},
                                              None,
                                              "'rope_parameters.partial_rotary_factor' is 0.5, where 1"),
    "biases that the settings do not have": (
        "llama", {}, {"model.layers.0.self_attn.q_proj.bias": np.ones(36, "<f4")},
        "has no place for tensor 'model.layers.0.self_attn.q_proj.bias'"),
    "biases that are missing": ("qwen2", {}, {"model.layers.1.self_attn.k_proj.bias": None},
                                "there is no tensor 'model.layers.1.self_attn.k_proj.bias'"),
    "heads' norms that are missing": ("qwen3", {}, {"model.layers.2.self_attn.k_norm.weight": None},
                                      "there is no tensor 'model.layers.2.self_attn.k_norm.weight'"),
    "a weight of a type that is not read": ("llama", {}, {"model.norm.weight": np.ones(36, "<f8")},
                                            "tensor 'model.norm.weight' is of type F64; F32, F16 and BF16 "
                                            "can be read"),
    "theta that is no number": ("llama", {"rope_parameters": {**ROPE, "rope_theta": True}}, None,
                                "must be a positive number"),
}
TIED = [("qwen2", "model.embed_tokens.weight", "lm_head.weight"),
        ("gpt2", "transformer.wte.weight", "lm_head.weight"),
        ("opt", "model.decoder.embed_tokens.weight", "lm_head.weight"),
        ("llama3-scaled", "model.embed_tokens.weight", "lm_head.weight")]


@pytest.fixture(scope="module")
def given(reference, tmp_path_factory):
    """{name: folder} of the cases above, of tied words with an output of their own, or the same, and
    {factor: folder} of the model llama with linear scaling."""
    cases = Cases(reference, tmp_path_factory.mktemp("cases"))
    places = {name: cases.add(*case) for name, case in SAME.items()}
    for name, words, output in TIED:
        tensor = load(reference / name)[words]
        places[f"tied {name}"] = cases.add(name, {}, {output: tensor})
        places[f"other {name}"] = cases.add(name, {}, {output: tensor[::-1].copy()})
    places.update({1: cases.add("llama", {}), 4: cases.add("llama", {"rope_parameters": {**ROPE, **LINEAR}})})
    cases.ask()
    places.update({name: cases.add(*case[:3]) for name, case in REFUSED.items()})
    return cases, places


@pytest.mark.parametrize("name", SAME)
def test_what_transformers_takes(bin, given, name):
    cases, places = given
    check_same(bin, cases, places[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_by_name(bin, given, name):
    cases, places = given
    assert REFUSED[name][3] in str(predictions(bin, places[name], cases.sentences))


@pytest.mark.parametrize("name", [name for name, _, _ in TIED])
def test_an_output_that_differs_from_tied_words_is_used_and_said(bin, given, name):
    cases, places = given
    tied = check_same(bin, cases, places[f"tied {name}"])
    other = check_same(bin, cases, places[f"other {name}"],
                       warn="tensor 'lm_head.weight' differs from")
    assert any(np.abs(a - b).max() > 0.1 for a, b in zip(tied, other, strict=True))


# --------------------------------------------------------------------- shards

def shard(place, reference, parts, index):
    """The model llama as shards.  parts: {file: {tensor: array}}; index: {tensor: file}."""
    for file in ("config.json", "dict.txt"):
        shutil.copy(reference / "llama" / file, place)
    for file, part in parts.items():
        write(place / file, part)
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def test_a_tensor_in_a_shard_that_the_index_does_not_name_for_it(bin, reference, tmp_path):
    whole = load(reference / "llama")
    names = sorted(whole)
    parts = {file: {name: whole[name] for name in names[i::2]}
             for i, file in enumerate(("a.safetensors", "b.safetensors"))}
    index = {name: file for file, part in parts.items() for name in part}
    name = next(iter(parts["b.safetensors"]))
    sentences = sentences_of(reference)

    def check(place, says, parts=parts, index=index):
        (tmp_path / place).mkdir()
        shard(tmp_path / place, reference, parts, index)
        found = predictions(bin, tmp_path / place, sentences)
        assert says in found if says else not isinstance(found, str), found

    twice = {**parts, "a.safetensors": {**parts["a.safetensors"], name: np.zeros_like(whole[name])}}
    check("good", None)
    check("twice",
          f"a.safetensors: tensor '{name}' is in this file, but model.safetensors.index.json places it in"
                   " b.safetensors", parts=twice)
    check("nowhere", f"there is no tensor '{name}'",
          index={key: file for key, file in index.items() if key != name})
    check("elsewhere",
          f"a.safetensors: there is no tensor '{name}', which model.safetensors.index.json says is in it",
          index={**index, name: "a.safetensors"})
    unused = {**parts, "a.safetensors": {**parts["a.safetensors"],
                                         "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3)}}
    check("ignored", None, parts=unused)


def test_an_index_that_is_none(bin, reference, tmp_path):
    shard(tmp_path, reference, {"a.safetensors": load(reference / "llama")}, {})
    index = tmp_path / "model.safetensors.index.json"
    for content, says in [("", "line 1: not a JSON object: "), ("{\n{}}", "line 2: not a JSON object: "),
                          ("[]", "not a JSON object but a list; it must be an index: "),
                          ('{"weight_map": {}, "weight_map": {}}',
                           "line 1: not a JSON object: duplicate object key"),
                          ("{}", "there is no 'weight_map'"),
                          ('{"weight_map": []}', "there is no 'weight_map'"),
                          (" " * (65 << 20), "longer than 64 MiB; this is no model's file")]:
        index.write_text(content)
        fails(bin, "project-values", "-m", tmp_path, "--all", says=f"{index}: {says}")


# ----------------------------------------------------------------------- GGUF

GGUF_NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
              "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
              "post_attention_layernorm": "ffn_norm"}
LETTERS = string.ascii_letters + string.digits


def letters(sentences):
    """Token ids -> text for write_gguf's tokenizer, a letter each."""
    return "".join("".join(LETTERS[token] for token in tokens) + "\n" for tokens in sentences).encode()


def write_gguf(path, reference, more=(), without=()):
    """The reference's model llama as a GGUF file, with more metadata, or some keys missing."""
    config = json.loads((reference / "llama" / "config.json").read_text())
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    tensors = []
    for name, array in load(reference / "llama").items():
        name = name.removeprefix("model.").removesuffix(".weight")
        if name.split(".")[-1] in heads:  # dimensions that are turned together stand side by side
            array = array.reshape(heads[name.split(".")[-1]], 2, -1,
                                  array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        if name.startswith("layers."):
            _, layer, part = name.split(".", 2)
            name = f"blk.{layer}.{GGUF_NAMES[part]}"
        name = {"embed_tokens": "token_embd", "lm_head": "output", "norm": "output_norm"}.get(name, name)
        tensors.append((name + ".weight", list(array.shape[::-1]), "F32",
                        np.ascontiguousarray(array, "<f4").tobytes()))
    numbers = {"embedding_length": "hidden_size", "block_count": "num_hidden_layers",
               "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
               "attention.head_count_kv": "num_key_value_heads", "context_length": "max_position_embeddings"}
    keys = [("general.architecture", "string", "llama"), ("general.name", "string", "made"),
            *((f"llama.{key}", "uint32", config[name]) for key, name in numbers.items()),
            ("llama.attention.layer_norm_rms_epsilon", "float32", config["rms_norm_eps"]),
            ("tokenizer.ggml.model", "string", "gpt2"), ("tokenizer.ggml.pre", "string", "gpt-2"),
            ("tokenizer.ggml.tokens", ("array", "string"), list(LETTERS[:config["vocab_size"]])),
            ("tokenizer.ggml.merges", ("array", "string"), []), ("tokenizer.ggml.bos_token_id", "uint32", 2),
            *more]
    path.write_bytes(gguf_format.build([key for key in keys if key[0] not in without], tensors))
    return path


FACTOR, OLD = ("llama.rope.scaling.factor", "float32", 4.0), ("llama.rope.scale_linear", "float32", 4.0)


def kind(name):
    return "llama.rope.scaling.type", "string", name


@pytest.mark.parametrize("factor, more", [
    (1, []), (4, [OLD]), (4, [FACTOR]), (4, [kind("linear"), FACTOR]), (4, [kind("linear"), OLD]),
    (4, [FACTOR, OLD]),
    (1, [kind("none"), FACTOR]), (1, [kind("linear")]), (1, [("llama.expert_count", "uint32", 0)]),
    (1, [("llama.rope.freq_base", "float32", 10000.0),
         ("llama.tensor_data_layout", "string", "Meta AI original pth")]),
    (1, [("quantize.imatrix.entries_count", "uint32", 7), ("general.tags", ("array", "string"), ["x"])])])
def test_gguf_scaling_by_each_of_its_names(bin, reference, given, tmp_path, factor, more):
    """Oracle: the reference library on the folder that the file was made from.  As llama.cpp has it, a factor
    without a type is linear scaling, and so is rope.scale_linear."""
    cases, places = given
    check_same(bin, cases, places[factor], write_gguf(tmp_path / "model.gguf", reference, more),
               encode=letters)


@pytest.mark.parametrize("more, without, says", [
    ([kind("ntk"), FACTOR], (),
     "llama.rope.scaling.type is 'ntk'; of GGUF files this program knows only none, linear, yarn, longrope"),
    ([kind("yarn"), FACTOR, ("llama.rope.scaling.yarn_attn_factor", "float32", 1.0)], (),
     "yarn_attn_factor is 1; this program knows only"),
    ([kind("longrope")], (),
     "llama.rope.scaling.type is 'longrope', but there is no tensor 'rope_factors_short"),
    ([FACTOR, (OLD[0], "float32", 2.0)], (),
     "llama.rope.scaling.factor is 4, and llama.rope.scale_linear, its name of before, 2"),
    ([("llama.attention.clamp_kqv", "float32", 8.0)], (),
     "metadata 'llama.attention.clamp_kqv' is not known"),
    ([("llama.expert_count", "uint32", 8)], (), "there is no metadata 'llama.expert_used_count'"),
    ([("llama.expert_used_count", "uint32", 2)], (), "metadata 'llama.expert_used_count' is not known"),
    ([("llama.expert_count", "uint32", 8), ("llama.expert_used_count", "uint32", 2)], (),
     "there is no metadata 'llama.rope.freq_base'"),
    ([("llama.logit_scale", "float32", 0.5)], (), "metadata 'llama.logit_scale' is not known"),
    ([("llama.attention.causal", "bool", 1)], (), "metadata 'llama.attention.causal' is not known"),
    ([("split.count", "uint16", 3), ("split.no", "uint16", 0)], (),
     "the first of 3 parts of a split model, whose name must end with -00001-of-00003.gguf"),
    ([("split.count", "uint16", 3), ("split.no", "uint16", 1)], ("general.architecture",),
     "part 2 of 3 of a split model; give the first, whose name ends with -00001-of-00003.gguf"),
    ([("general.type", "string", "adapter")], (), "an adapter (LoRA), not a model; merge it"),
    ([("general.type", "string", "imatrix")], (), "general.type is 'imatrix'"),
    *([[], (f"llama.{key}",), f"there is no metadata 'llama.{key}'"] for key in (
        "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
        "attention.layer_norm_rms_epsilon")),
])
def test_gguf_files_that_are_refused_by_name(bin, reference, tmp_path, more, without, says):
    path = write_gguf(tmp_path / "model.gguf", reference, more, without)
    for tool, *arguments in ["tokenize"], ["forward-dump"], ["project-values", "--all"]:
        assert f"{tool}: {path}: " in fails(bin, tool, "-m", path, *arguments, says=says)


# -------------------------------------------------------------- other forms

def test_forms_of_models_that_are_none_of_ours(bin, small_model, tmp_path):
    """Each says what it is and what to do."""
    for number, (name, says) in enumerate([
            ("pytorch_model.bin",
             'has its weights in pytorch_model.bin, not in model.safetensors; load it with transformers'
             ' and save it again: AutoModelForCausalLM.from_pretrained('),
            ("pytorch_model.bin.index.json", "has its weights in pytorch_model.bin.index.json"),
            ("tf_model.h5", "has its weights in tf_model.h5"),
            ("consolidated.00.pth", "has its weights in")]):
        place = tmp_path / f"{number}"
        shutil.copytree(small_model, place)
        (place / "model.safetensors").rename(place / name)
        fails(bin, "project-values", "--all", "-m", place, says=f"{place}: {says}")
        shutil.copy(small_model / "model.safetensors", place)
        ok(bin, "project-values", "--all", "-k", 2, "-m", place)  # beside our form, it does not matter
    place = tmp_path / "adapter"
    place.mkdir()
    (place / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (place / "adapter_model.safetensors").write_bytes(random_model.safetensors_bytes({}))
    for tool, *arguments in ["tokenize"], ["forward-dump"], ["project-values", "--all"]:
        fails(bin, tool, "-m", place, *arguments,
              says=f"{place}/adapter_config.json: the folder of an adapter (LoRA), not of"
              " a model; merge it into its model")


@pytest.mark.parametrize("prefix, says", [
    ("_orig_mod.", "the names of its tensors begin with '_orig_mod.', which torch.compile puts there"),
    ("module.", "begin with 'module.', which DataParallel puts there"),
    ("base_model.model.", "begin with 'base_model.model.', which PEFT puts there")])
def test_a_wrapped_modules_names(bin, reference, tmp_path, prefix, says):
    for name in "llama", "gpt2":
        place = tmp_path / name
        shutil.copytree(reference / name, place)
        whole = load(place)
        write(place / "model.safetensors", {prefix + key: array for key, array in whole.items()})
        fails(bin, "project-values", "--all", "-m", place, says=f"{place}/model.safetensors: ")
        fails(bin, "project-values", "--all", "-m", place, says=says)


EXPERTS = {"expert_count": 3, "expert_used_count": 2}
GGUF_NEEDS = {
    "granite": {"attention.scale": 1.0, "embedding_scale": 1.0, "residual_scale": 1.0, "logit_scale": 1.0},
    "command-r": {"logit_scale": 1.0}, "stablelm": {"use_parallel_residual": True},
    "bloom": {"attention.head_count_kv": 1}, "gemma3": {"attention.sliding_window": 2},
    "gptneox": {"use_parallel_residual": True}, "falcon": {"attention.head_count_kv": 1},
    "mpt": {"attention.max_alibi_bias": 8.0}, "cohere2": {"logit_scale": 1.0, "attention.sliding_window": 2},
    "gemma2": {"attn_logit_softcapping": 9.0, "final_logit_softcapping": 9.0, "attention.sliding_window": 2},
    "olmoe": EXPERTS, "qwen3moe": {**EXPERTS, "expert_feed_forward_length": 3},
    "qwen2moe": {**EXPERTS, "expert_feed_forward_length": 3, "expert_shared_feed_forward_length": 2},
    "gpt-oss": {**EXPERTS, "expert_feed_forward_length": 3, "attention.sliding_window": 2},
}


def test_each_family_has_names_for_its_tensors(bin, tmp_path):
    """Of all that the settings know, in a folder and, where there are such, in a GGUF file: without any
    tensor."""
    folders, files = known_families(bin, tmp_path)
    path = tmp_path / "model.gguf"
    for family in folders:
        place = tmp_path / family
        place.mkdir()
        (place / "config.json").write_text(json.dumps({"model_type": family}))
        if family == "fairseq_transformer_lm":
            random_model.write_model(place)
        (place / "model.safetensors").write_bytes(random_model.safetensors_bytes({}))
        fails(bin, "project-values", "--all", "-m", place, says="there is no tensor '")
    for family in files:
        keys = {"embedding_length": 4, "block_count": 1, "feed_forward_length": 3, "attention.head_count": 1,
                "context_length": 9, "vocab_size": 5, **GGUF_NEEDS.get(family, {})}
        messages = []
        for epsilon in "layer_norm_epsilon", "layer_norm_rms_epsilon":
            path.write_bytes(gguf_format.build([
                ("general.architecture", "string", family),
                *((f"{family}.{key}", {float: "float32", int: "uint32", bool: "bool"}[type(n)], n)
                  for key, n in keys.items()),
                (f"{family}.attention.{epsilon}", "float32", 1e-5)]))
            messages.append(fails(bin, "project-values", "--all", "-m", path))
        assert any("there is no tensor 'token_embd.weight'" in message for message in messages), messages


# ------------------------------------------------------- dictionaries and sums

@pytest.mark.parametrize("change, says", [
    (lambda lines: [],
     "4 words and special symbols, the model has 100: the file was cut, or is another model's"),
    (lambda lines: lines[:40], "44 words and special symbols, the model has 100"),
    (lambda lines: lines[:40] + lines[41:], "99 words and special symbols, the model has 100"),
    (lambda lines: lines + ["w100 1\n"], "more words than the model's vocabulary of 100")])
def test_a_dictionary_of_another_size_than_the_vocabulary(bin, small_model, tmp_path, change, says):
    """A line that is missing moves every word behind it; all of them missing makes all words <unk>."""
    place = tmp_path / "model"
    shutil.copytree(small_model, place)
    lines = (place / "dict.txt").read_text().splitlines(keepends=True)
    tokens = ok(bin, "tokenize", "-m", place, stdin=b"w4 w5")
    (place / "dict.txt").write_text("".join(change(lines)))
    assert f"{place}/dict.txt: " in fails(bin, "tokenize", "-m", place, stdin=b"w4 w5", says=says)
    fails(bin, "forward-dump", "-m", place, stdin=tokens, says=says)


def test_the_shipped_model_has_its_sums(model):
    """Oracle: Debian's xxhsum."""
    done = subprocess.run(["xxhsum", "-c", "XXH128SUMS"], cwd=model, capture_output=True, text=True,
                          check=True)
    assert {line.split(":")[0]
            for line in done.stdout.splitlines()} == {"config.json", "dict.txt", "model.safetensors"}


def test_a_file_that_does_not_have_its_sum_is_refused(bin, small_model, tmp_path):
    """Changed where no other check can see it: a digit of a weight, two words swapped, a setting that is
    allowed."""
    place = tmp_path / "model"
    shutil.copytree(small_model, place)
    tokens = ok(bin, "tokenize", "-m", place, stdin=b"w4 w5")
    names = sorted(path.name for path in place.iterdir())
    listed = subprocess.run(["xxhsum", "-H2", *names], cwd=place, capture_output=True, check=True).stdout
    (place / "XXH128SUMS").write_bytes(listed)
    ok(bin, "tokenize", "-m", place, stdin=b"w4 w5")
    ok(bin, "forward-dump", "-m", place, stdin=tokens)

    def check(name, content, tools, says="not as it was written: its sum differs from that in XXH128SUMS"):
        good = (place / name).read_bytes()
        (place / name).write_bytes(content)
        for tool in tools:
            assert f"{place}/{name}: " in fails(bin, tool, "-m", place,
                                                stdin=tokens if tool != "tokenize" else b"w4", says=says)
        (place / name).write_bytes(good)

    words, weights = (place / "dict.txt").read_bytes(), bytearray((place / "model.safetensors").read_bytes())
    weights[-2] ^= 1
    check("model.safetensors", bytes(weights), ["forward-dump"])
    check("dict.txt", words.replace(b"w10 ", b"x ").replace(b"w11 ", b"w10 ").replace(b"x ", b"w11 "),
          ["tokenize", "forward-dump"])
    check("config.json",
          (place / "config.json").read_bytes().replace(b'"embed_scale": 4', b'"embed_scale": 5'),
          ["tokenize", "forward-dump"])
    lines = listed.decode().splitlines(keepends=True)
    check("XXH128SUMS", listed[:-5], ["tokenize", "forward-dump"], "line 3 is not a sum and a file's name")
    (place / "XXH128SUMS").write_text("".join(line for line in lines if "dict.txt" not in line))
    fails(bin, "tokenize", "-m", place, stdin=b"w4",
          says=f"{place}/dict.txt: not on the list of the directory's files, XXH128SUMS")
    (place / "XXH128SUMS").unlink()
    ok(bin, "forward-dump", "-m", place, stdin=tokens)
