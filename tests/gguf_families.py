"""Model directories as GGUF files, by the package gguf, which knows what files call tensors and settings.

usage: gguf_families.py FOLDER OUTPUT      (run in an environment with gguf, safetensors and torch)
       gguf_families.py MODEL FILE ARCHITECTURE

For each of MODELS, FOLDER/NAME becomes OUTPUT/NAME.gguf; or MODEL becomes FILE.  What the package does not
know is how llama.cpp's convert_hf_to_gguf.py arranges weights, and what it writes of settings: `arrange`,
`part_experts`, `describe` and `extra` have it, architecture by architecture as there (its folder
conversion/).  OUTPUT/SPLIT.gguf is split, too, into parts of a few tensors.
"""

import json
import math
import pathlib
import string
import sys

import gguf
import numpy as np
from safetensors.torch import load_file

MODELS = {
    "gpt2": "GPT2", "gpt2-inner": "GPT2", "neox": "GPTNEOX", "neox-sequential": "GPTNEOX",
    "neox-odd": "GPTNEOX", "phi": "PHI2", "falcon": "FALCON", "falcon-grouped-one-norm": "FALCON",
    "falcon-two-norms": "FALCON", "bloom": "BLOOM", "mpt": "MPT", "mpt-clipped": "MPT",
    "starcoder2": "STARCODER2", "llama": "LLAMA", "llama3-scaled": "LLAMA", "llama-yarn": "LLAMA",
    "llama-yarn-betas": "LLAMA", "llama-longrope": "LLAMA", "mistral-window": "LLAMA", "qwen2": "QWEN2",
    "qwen3": "QWEN3", "gemma": "GEMMA", "gemma2": "GEMMA2", "gemma3-text": "GEMMA3", "olmo": "OLMO",
    "olmo-clipped": "OLMO", "olmo2": "OLMO2", "phi3": "PHI3", "phi3-longrope": "PHI3", "phi4": "PHI3",
    "granite": "GRANITE", "stablelm": "STABLELM", "stablelm-parallel": "STABLELM",
    "stablelm-normed": "STABLELM", "cohere": "COMMAND_R", "cohere-normed": "COMMAND_R",
    "cohere2-plain": "COHERE2", "smollm3-plain": "SMOLLM3", "mixtral": "LLAMA", "olmoe": "OLMOE",
    "qwen2-moe": "QWEN2MOE", "qwen3-moe": "QWEN3MOE", "gpt-oss": "GPT_OSS", "gpt-oss-mxfp4": "GPT_OSS"}
RMS = ("GEMMA", "GEMMA2", "GEMMA3", "OLMO2", "PHI3", "GRANITE", "LLAMA", "QWEN2", "QWEN3", "SMOLLM3",
       "OLMOE", "QWEN2MOE", "QWEN3MOE", "GPT_OSS")
PERMUTED = ("GRANITE", "LLAMA", "OLMO", "SMOLLM3")
SPLIT, TENSORS_OF_A_PART = "olmo2", 7


def setting(config, *names, otherwise=None):
    """The first of these settings that is there."""
    return next((config[name] for name in names if config.get(name) is not None), otherwise)


def sizes(config):
    """(heads, key-value heads, layers, d_model)"""
    heads = setting(config, "num_attention_heads", "n_head", "n_heads")
    return (heads, setting(config, "num_key_value_heads", otherwise=heads),
            setting(config, "num_hidden_layers", "n_layer", "n_layers"),
            setting(config, "hidden_size", "n_embd", "d_model"))


def permute(array, heads):
    """Dimensions that are rotated together next to each other: LlamaModel.permute."""
    return array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def stack(array, groups, queries):
    """Each group's queries, key and value as all queries, all keys, all values."""
    rows = array.reshape(groups, queries + 2, -1, *array.shape[1:])
    parts = rows[:, :-2], rows[:, -2], rows[:, -1]
    return np.concatenate([part.reshape(-1, *array.shape[1:]) for part in parts])


def arrange(arch, key, array, config):
    """A tensor as the converter writes it."""
    heads, groups, _, _ = sizes(config)
    if key.endswith("shared_expert_gate.weight"):
        return array.reshape(-1)
    if arch == "GPT2" and key.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return array.T
    if arch.startswith("GEMMA") and key.endswith("norm.weight"):
        return array + 1
    if arch in PERMUTED and key.endswith(("q_proj.weight", "k_proj.weight")):
        return permute(array, heads if "q_proj" in key else groups)
    if arch in PERMUTED and arch != "OLMO" and key.endswith(("q_proj.bias", "k_proj.bias")):
        return permute(array, heads if "q_proj" in key else groups)
    if arch in ("BLOOM", "GPTNEOX") and "query_key_value" in key:
        return stack(array, heads, 1)
    if arch == "FALCON" and "query_key_value" in key:
        return stack(array, falcon_groups(config), heads // falcon_groups(config))
    return array


def falcon_groups(config):
    return config["num_kv_heads"] if config["new_decoder_architecture"] else 1


def norms_in_one(tensors):
    """StableLM's norms of heads, a tensor each, as one a layer; all else as it is."""
    joined = {key: array for key, array in tensors.items() if ".norms." not in key}
    for key in sorted(tensors, key=lambda key: (len(key), key)):
        if ".norms." in key:
            name = key.split(".norms.")[0] + ".weight"
            joined[name] = np.vstack([joined[name], tensors[key]]) if name in joined else tensors[key][None]
    return joined


def rotary(config):
    """(settings of the rotary positions, a head's dimensions that are rotated)"""
    heads, _, _, d_model = sizes(config)
    width = setting(config, "head_dim", otherwise=d_model // heads)
    rope = config.get("rope_parameters") or {}
    return rope, int(width * rope.get("partial_rotary_factor", 1))


def extra(arch, config):
    """Tensors that no directory has: divisors of rotary frequencies."""
    rope, width = rotary(config)
    if rope.get("rope_type") == "longrope":
        return {f"rope_factors_{kind}.weight": np.array(rope[f"{kind}_factor"], np.float32)
                for kind in ("long", "short")}
    if rope.get("rope_type") == "llama3":
        frequencies = rope["rope_theta"] ** (-np.arange(0, width, 2) / width)
        waves = 2 * math.pi / frequencies
        length, factor = rope["original_max_position_embeddings"], rope["factor"]
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        smooth = (length / waves - low) / (high - low)
        divisors = np.where(waves > length / low, factor, 1 / ((1 - smooth) / factor + smooth))
        return {"rope_freqs.weight": np.where(waves < length / high, 1, divisors).astype(np.float32)}
    return {}


def describe_rotary(writer, arch, config):
    rope, width = rotary(config)
    if arch in ("GPTNEOX", "PHI2", "PHI3", "STABLELM", "COHERE2", "LLAMA", "GRANITE", "SMOLLM3"):
        writer.add_rope_dimension_count(width)
    if "rope_theta" in rope and arch not in ("GPTNEOX", "PHI2", "FALCON"):
        writer.add_rope_freq_base(rope["rope_theta"])
    if "full_attention" in rope:
        writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["full_attention"]["factor"])
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if "beta_fast" in rope:
            writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
            writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
        if "attention_factor" in rope:
            writer.add_rope_scaling_yarn_attn_factor(rope["attention_factor"])
    if arch == "PHI3" or rope.get("rope_type") == "longrope":
        length = rope.get("original_max_position_embeddings", config["max_position_embeddings"])
        writer.add_rope_scaling_orig_ctx_len(length)
    if rope.get("rope_type") == "longrope":
        factor = config["max_position_embeddings"] / length if arch == "PHI3" else rope["factor"]
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(factor) / math.log(length)))
        if arch != "PHI3":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
    if arch in ("COMMAND_R", "COHERE2"):
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)


def describe_families(writer, arch, config):
    """What the settings of only some architectures say."""
    if config.get("sliding_window") and arch not in ("QWEN2", "QWEN3"):
        writer.add_sliding_window(config["sliding_window"])
    if arch == "GEMMA2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if arch in ("GEMMA2", "GEMMA3"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if arch == "GRANITE":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    if arch in ("STABLELM", "GPTNEOX"):
        writer.add_parallel_residual(config["use_parallel_residual"])
    if arch in ("COMMAND_R", "COHERE2"):
        writer.add_logit_scale(config["logit_scale"])
    if arch == "MPT":
        writer.add_max_alibi_bias(8.0)
    if arch == "FALCON":
        writer.add_tensor_data_layout("jploski")
    clip = setting(config, "clip_qkv", otherwise=config.get("attn_config", {}).get("clip_qkv"))
    if clip is not None:
        writer.add_clamp_kqv(clip)
    describe_experts(writer, config)


def describe_experts(writer, config):
    experts = setting(config, "num_local_experts", "num_experts")
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config or config["model_type"] == "gpt_oss":
        width = setting(config, "moe_intermediate_size", "intermediate_size")
        writer.add_expert_feed_forward_length(width)
    if "shared_expert_intermediate_size" in config:
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])


def stack_experts(tensors):
    """Tensors of single experts as one, by the name that is left without their numbers."""
    def numbers(key):
        return [int(part) if part.isdigit() else 0 for part in key.split(".")]

    stacked = {}
    for key in sorted(tensors, key=numbers):
        head, found, tail = key.partition(".experts.")
        if not found:
            stacked[key] = tensors[key]
            continue
        head = head.replace("model.layers", "layers").replace("block_sparse_moe", "feed_forward")  # Mixtral's
        head = head if "feed_forward" in head else f"model.{head}"
        stacked.setdefault(f"{head}.experts.{tail.partition('.')[2]}", []).append(tensors[key])
    return {key: np.stack(value) if isinstance(value, list) else value for key, value in stacked.items()}


def repack(blocks, scales):
    """MXFP4 as GGUF files have it: a block's exponent, then element i below element i + 16."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:-1], 32)
    packed = np.concatenate([scales[..., None], codes[..., :16] | codes[..., 16:] << 4], axis=-1)
    return packed.reshape(*packed.shape[:-2], -1)


def part_experts(tensors):
    """gpt-oss's experts, gates and inputs of which are every second row, as three stacks and their biases."""
    parted = {}
    for key, array in tensors.items():
        head, found, tail = key.partition(".experts.")
        if not found:
            parted[f"{key}.weight" if key.endswith("sinks") else key] = array
            continue
        if key.endswith("_scales"):
            continue
        matrix, _, form = tail.partition("_proj")
        if form == "_blocks":
            array = repack(array, tensors[key.replace("_blocks", "_scales")])
        elif not form:
            array = array.swapaxes(1, 2)
        kind = "bias" if form == "_bias" else "weight"
        parts = {"down": array} if matrix == "down" else {"gate": array[:, ::2], "up": array[:, 1::2]}
        parted |= {f"{head}.experts.{name}_proj.{kind}": part for name, part in parts.items()}
    return parted


def load(path):
    """The tensors, numbers of 16 bits as 32-bit ones."""
    return {key: tensor.numpy() if str(tensor.dtype) in ("torch.float32", "torch.uint8") else
            tensor.float().numpy() for key, tensor in load_file(path).items()}


def describe(writer, arch, config):
    """The settings, by the package's methods."""
    heads, groups, layers, d_model = sizes(config)
    epsilons = "rms_norm_eps", "layer_norm_eps", "norm_epsilon", "layer_norm_epsilon"
    lengths = "max_position_embeddings", "n_positions", "max_seq_len"
    writer.add_context_length(setting(config, *lengths, otherwise=64))
    writer.add_embedding_length(d_model)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(setting(config, "intermediate_size", "n_inner", otherwise=4 * d_model))
    writer.add_head_count(heads)
    if arch == "FALCON":
        writer.add_head_count_kv(falcon_groups(config))
    elif arch not in ("GPT2", "MPT", "GPTNEOX"):
        writer.add_head_count_kv(groups)
    (writer.add_layer_norm_rms_eps if arch in RMS else writer.add_layer_norm_eps)(
        setting(config, *epsilons, otherwise=1e-5))
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    describe_rotary(writer, arch, config)
    describe_families(writer, arch, config)


def describe_tokenizer(writer, config):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    tokens = list((string.ascii_letters + string.digits)[:config["vocab_size"]])
    tokens[3] = "ab"  # of the one merge, since the package writes no empty list; no sentence has it
    writer.add_token_list(tokens)
    writer.add_array("tokenizer.ggml.merges", ["a b"])
    writer.add_bos_token_id(2)


def write(source, path, arch, **options):
    config = json.loads((source / "config.json").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch], sizes(config)[2])
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH[arch]], **options)
    writer.add_name("made")
    describe(writer, arch, config)
    describe_tokenizer(writer, config)
    tensors = load(source / "model.safetensors")
    tensors = part_experts(tensors) if arch == "GPT_OSS" else stack_experts(norms_in_one(tensors))
    for key, array in tensors.items():
        stem = key  # as the converter has it
        if arch not in ("MPT", "FALCON", "GPTNEOX"):
            stem = key.removeprefix("transformer.")
        name = names.get_name(stem, try_suffixes=(".weight", ".bias"))
        kind = gguf.GGMLQuantizationType.MXFP4 if array.dtype == np.uint8 else None
        writer.add_tensor(name, np.ascontiguousarray(arrange(arch, key, array, config)), raw_dtype=kind)
    for name, array in extra(arch, config).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(folder, output):
    folder, output = pathlib.Path(folder), pathlib.Path(output)
    for name, arch in MODELS.items():
        write(folder / name, output / f"{name}.gguf", arch)
    write(folder / SPLIT, output / f"{SPLIT}.gguf", MODELS[SPLIT], split_max_tensors=TENSORS_OF_A_PART)


if __name__ == "__main__":
    if sys.argv[3:]:
        write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])
    else:
        main(*sys.argv[1:])
