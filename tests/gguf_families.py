"""Model directories as GGUF files, by the package gguf, which knows what files call tensors and settings.

usage: gguf_families.py FOLDER OUTPUT      (run in an environment with gguf and safetensors)

For each of MODELS, FOLDER/NAME becomes OUTPUT/NAME.gguf.  What the package does not know is how llama.cpp's
convert_hf_to_gguf.py arranges weights: Gemma's gains have 1 added, Granite's queries and keys are permuted as
Llama's, BLOOM's queries, keys and values are put one below the other, and experts' matrices become one tensor.
"""

import json
import pathlib
import string
import sys

import gguf
import numpy as np
from safetensors.numpy import load_file

MODELS = {"gemma": "GEMMA", "gemma2": "GEMMA2", "gemma3-text": "GEMMA3", "olmo2": "OLMO2", "phi": "PHI2", "phi3": "PHI3",
          "granite": "GRANITE", "cohere": "COMMAND_R", "starcoder2": "STARCODER2", "bloom": "BLOOM",
          "stablelm": "STABLELM", "stablelm-parallel": "STABLELM", "mixtral": "LLAMA", "olmoe": "OLMOE",
          "qwen2-moe": "QWEN2MOE", "qwen3-moe": "QWEN3MOE"}
RMS = ("gemma", "gemma2", "gemma3-text", "olmo2", "phi3", "granite", "mixtral", "olmoe", "qwen2-moe", "qwen3-moe")
PERMUTED = ("granite", "mixtral")


def arrange(name, key, array, config):
    """A tensor as the converter writes it."""
    heads = config.get("num_attention_heads", config.get("n_head"))
    if name.startswith("gemma") and key.endswith("norm.weight"):
        return array + 1
    if name in PERMUTED and key.endswith(("q_proj.weight", "k_proj.weight")):
        count = heads if "q_proj" in key else config["num_key_value_heads"]
        return array.reshape(count, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
    if name == "bloom" and "query_key_value" in key:
        return array.reshape(heads, 3, -1, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)
    return array


def describe(writer, name, config):
    """The settings, by the package's methods."""
    heads = config.get("num_attention_heads", config.get("n_head"))
    d_model, layers = config["hidden_size"], config.get("num_hidden_layers", config.get("n_layer"))
    epsilon = next(config[key] for key in ("rms_norm_eps", "layer_norm_eps", "norm_epsilon", "layer_norm_epsilon") if key in config)
    writer.add_context_length(64)
    writer.add_embedding_length(d_model)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config.get("intermediate_size", 4 * d_model))
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    (writer.add_layer_norm_rms_eps if name in RMS else writer.add_layer_norm_eps)(epsilon)
    rope = config.get("rope_parameters", {})
    if "head_dim" in config and config["head_dim"]:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if "partial_rotary_factor" in rope:
        writer.add_rope_dimension_count(int(d_model // heads * rope["partial_rotary_factor"]))
    if "rope_theta" in rope:
        writer.add_rope_freq_base(rope["rope_theta"])
    if "full_attention" in rope:
        writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["full_attention"]["factor"])
    if config.get("sliding_window"):
        writer.add_sliding_window(config["sliding_window"])
    if name == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if name == "granite":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    if name.startswith("stablelm"):
        writer.add_parallel_residual(config["use_parallel_residual"])
    if name == "cohere":
        writer.add_logit_scale(config["logit_scale"])
    experts = config.get("num_local_experts", config.get("num_experts"))
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if "moe_intermediate_size" in config:
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if "shared_expert_intermediate_size" in config:
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])


def stack_experts(tensors):
    """Tensors of single experts as one, by the name that is left without their numbers."""
    stacked = {}
    for key in sorted(tensors, key=lambda key: [int(part) if part.isdigit() else 0 for part in key.split(".")]):
        head, found, tail = key.partition(".experts.")
        if not found:
            stacked[key] = tensors[key]
            continue
        head = head.replace("model.layers", "layers").replace("block_sparse_moe", "feed_forward")  # Mixtral's
        head = head if "feed_forward" in head else f"model.{head}"
        stacked.setdefault(f"{head}.experts.{tail.partition('.')[2]}", []).append(tensors[key])
    return {key: np.stack(value) if isinstance(value, list) else value for key, value in stacked.items()}


def write(source, path, name, arch):
    config = json.loads((source / "config.json").read_text())
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    arch = gguf.MODEL_ARCH[arch]
    names = gguf.get_tensor_name_map(arch, layers)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    describe(writer, name, config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    tokens = list((string.ascii_letters + string.digits)[:config["vocab_size"]])
    tokens[3] = "ab"  # of the one merge, since the package writes no empty list; no sentence has it
    writer.add_token_list(tokens)
    writer.add_array("tokenizer.ggml.merges", ["a b"])
    writer.add_bos_token_id(2)
    for key, array in stack_experts(load_file(source / "model.safetensors")).items():
        stem = key.removeprefix("transformer.")  # as the converter does
        writer.add_tensor(names.get_name(stem, try_suffixes=(".weight", ".bias")),
                          np.ascontiguousarray(arrange(name, key, array, config)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(folder, output):
    for name, arch in MODELS.items():
        write(pathlib.Path(folder) / name, pathlib.Path(output) / f"{name}.gguf", name, arch)


if __name__ == "__main__":
    main(*sys.argv[1:])
