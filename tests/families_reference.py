"""Writes small random models of every family with the reference library
(transformers), and what it computes for a few sentences.

usage: families_reference.py FOLDER      (run in an environment with torch)

FOLDER/NAME/ is a model directory with a dict.txt, FOLDER/NAME.npz has, for the
sentences of SENTENCES (tokens; BOS before each, its last token not read): logits
(positions x vocabulary), and per layer resid, coef, ffn.  The reference's own
modules are watched by hooks: coefficients are what its down projection reads.
"""

import pathlib
import sys

import numpy as np
import torch
import transformers
from transformers import (GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig, OPTConfig, Qwen2Config,
                          Qwen3Config)

VOCABULARY = 61
SENTENCES = [[5, 9, 30, 7, 44, 60, 12, 5], [17], [4, 4, 4, 8, 59, 21, 33, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 6]]

ROPE3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 16}
SMALL = dict(vocab_size=VOCABULARY, num_hidden_layers=3, hidden_size=36, bos_token_id=2, eos_token_id=2,
             pad_token_id=1)
LLAMA = dict(SMALL, num_attention_heads=6, num_key_value_heads=2, intermediate_size=37, max_position_embeddings=64)


def rope(**settings):
    """rope settings under the name that this version of the library has for them."""
    if int(transformers.__version__.split(".")[0]) >= 5:
        return {"rope_parameters": {"rope_theta": 10000.0, **settings}}
    return {"rope_scaling": settings or None}


MODELS = {
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_layer=3, n_embd=30, n_head=5, n_positions=40, bos_token_id=2,
                       eos_token_id=2),
    "gpt2-inner": GPT2Config(vocab_size=VOCABULARY, n_layer=1, n_embd=24, n_head=3, n_inner=17, n_positions=40,
                             activation_function="gelu", tie_word_embeddings=False, bos_token_id=2),
    "opt": OPTConfig(**SMALL, num_attention_heads=4, ffn_dim=41, max_position_embeddings=40,
                     word_embed_proj_dim=36),
    "neox": GPTNeoXConfig(**SMALL, num_attention_heads=3, intermediate_size=50, max_position_embeddings=64,
                          rotary_pct=0.5, use_parallel_residual=True, hidden_act="gelu"),
    "neox-sequential": GPTNeoXConfig(**SMALL, num_attention_heads=3, intermediate_size=50, rotary_pct=1.0,
                                     max_position_embeddings=64, use_parallel_residual=False),
    "llama": LlamaConfig(**LLAMA, **rope(rope_type="default")),
    "llama3-scaled": LlamaConfig(**LLAMA, **rope(**ROPE3), tie_word_embeddings=True, head_dim=8),
    "llama-linear": LlamaConfig(**LLAMA, **rope(rope_type="linear", factor=4.0), attention_bias=True),
    "mistral": MistralConfig(**LLAMA, sliding_window=32),
    "qwen2": Qwen2Config(**LLAMA, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**LLAMA, head_dim=10),
}
FORMATS = {"qwen3-bf16": ("qwen3", torch.bfloat16), "gpt2-f16": ("gpt2", torch.float16)}


def parts(model, layer):
    """(layer module, attention module, norm before the feed-forward block, its down projection)"""
    kind = model.config.model_type
    if kind == "gpt2":
        block = model.transformer.h[layer]
        return block, block.attn, block.ln_2, block.mlp.c_proj
    if kind == "opt":
        block = model.model.decoder.layers[layer]
        return block, block.self_attn, block.final_layer_norm, block.fc2
    if kind == "gpt_neox":
        block = model.gpt_neox.layers[layer]
        return block, block.attention, block.post_attention_layernorm, block.mlp.dense_4h_to_h
    block = model.model.layers[layer]
    return block, block.self_attn, block.post_attention_layernorm, block.mlp.down_proj


def first(value):
    return value[0] if isinstance(value, tuple) else value


def watch(model, tokens):
    """What the model computes for one sentence; arrays by name."""
    layers = model.config.num_hidden_layers
    seen = {}
    hooks = []
    for l in range(layers):
        block, attention, norm, down = parts(model, l)
        hooks += [
            block.register_forward_pre_hook(lambda m, a, k, l=l: seen.__setitem__(("in", l), first(a) if a else k["hidden_states"]), with_kwargs=True),
            attention.register_forward_hook(lambda m, a, o, l=l: seen.__setitem__(("attention", l), first(o))),
            norm.register_forward_pre_hook(lambda m, a, l=l: seen.__setitem__(("norm", l), first(a))),
            down.register_forward_hook(lambda m, a, o, l=l: seen.update({("coef", l): first(a), ("ffn", l): o})),
        ]
    inputs = torch.tensor([[model.config.bos_token_id] + tokens[:-1]])
    with torch.no_grad():
        logits = model(input_ids=inputs, use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    parallel = getattr(model.config, "use_parallel_residual", False)

    def stack(name):
        return np.stack([seen[name, l].reshape(len(tokens), -1).double().numpy() for l in range(layers)])

    resid = stack("in") + stack("attention") if parallel else stack("norm")
    return {"logits": logits.double().numpy(), "resid": resid, "coef": stack("coef"), "ffn": stack("ffn")}


def make(folder, name, config, dtype):
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():  # livelier than the library's start values, which are nearly linear
        for key, tensor in model.named_parameters():
            if key.endswith("bias"):
                tensor.normal_(0, 0.3)
            elif tensor.dim() == 1:
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.normal_(0, 0.25)
    model = model.to(dtype)
    model.save_pretrained(folder / name, safe_serialization=True)
    # The arithmetic is in 32 bits, whatever the weights were stored in.
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32,
                                                              attn_implementation="eager").eval()
    with open(folder / name / "dict.txt", "w") as dictionary:
        dictionary.writelines(f"w{i} 1\n" for i in range(4, VOCABULARY))
    arrays = {f"tokens{i}": np.array(tokens) for i, tokens in enumerate(SENTENCES)}
    for i, tokens in enumerate(SENTENCES):
        arrays.update({f"{key}{i}": value for key, value in watch(model, tokens).items()})
    np.savez(folder / f"{name}.npz", **arrays)


def main(folder):
    folder = pathlib.Path(folder)
    for name, config in MODELS.items():
        make(folder, name, config, torch.float32)
    for name, (family, dtype) in FORMATS.items():
        make(folder, name, MODELS[family], dtype)


if __name__ == "__main__":
    main(sys.argv[1])
