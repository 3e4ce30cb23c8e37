"""Writes small random models of every family with the reference library
(transformers), and what it computes for a few sentences.

usage: families_reference.py FOLDER      (run in an environment with torch)

FOLDER/NAME/ is a model directory with a dict.txt, FOLDER/NAME.npz has, for the
sentences of SENTENCES (tokens; BOS before each, its last token not read): logits
(positions x vocabulary), and per layer resid, coef, ffn.  The reference's own
modules are watched by hooks: coefficients are what its down projection reads.
edited are the logits where hooks change them before it does, as EDITS says.  For some models, generated and
generated_edited are what the library's greedy generate, with its own cache, goes on with behind a sentence.
"""

import contextlib
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (BloomConfig, Cohere2Config, CohereConfig, FalconConfig, Gemma2Config, Gemma3Config,
                          Gemma3TextConfig, GemmaConfig, GPT2Config, GPTJConfig, GPTNeoConfig, GPTNeoXConfig,
                          GptOssConfig, GraniteConfig, LlamaConfig, MistralConfig, MixtralConfig, MptConfig,
                          Olmo2Config, OlmoConfig, OlmoeConfig, OPTConfig, Phi3Config, PhiConfig, Qwen2Config,
                          Qwen2MoeConfig, Qwen3Config, Qwen3MoeConfig, SmolLM3Config, StableLmConfig,
                          Starcoder2Config)

VOCABULARY = 61
SENTENCES = [[5, 9, 30, 7, 44, 60, 12, 5], [17],
             [4, 4, 4, 8, 59, 21, 33, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 6]]

ROPE3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 16}
SMALL = dict(vocab_size=VOCABULARY, num_hidden_layers=3, hidden_size=36, bos_token_id=2, eos_token_id=2,
             pad_token_id=1)
LLAMA = dict(SMALL, num_attention_heads=6, num_key_value_heads=2, intermediate_size=37,
             max_position_embeddings=64)


def rope(**settings):
    """rope settings under the name that this version of the library has for them."""
    if int(transformers.__version__.split(".")[0]) >= 5:
        return {"rope_parameters": {"rope_theta": 10000.0, **settings}}
    return {"rope_scaling": settings or None}


# Odd numbers of heads for ALiBi, whose slopes follow another rule where they are no power of 2.
GEMMA = dict(LLAMA, num_key_value_heads=1, head_dim=10)
SIX = dict(SMALL, num_attention_heads=6)
GPT = dict(vocab_size=VOCABULARY, bos_token_id=2, eos_token_id=2)
YARN = rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=512)
LONG = rope(rope_type="longrope", short_factor=[1.0, 1.5, 2.0], long_factor=[2.0, 3.0, 4.0], factor=4.0,
            original_max_position_embeddings=32)
LAYERS = {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
          "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0}}
GEMMA3 = dict(GEMMA, query_pre_attn_scalar=7, sliding_window=4, rope_parameters=LAYERS,
              layer_types=["sliding_attention", "full_attention", "sliding_attention"])
# Experts of 7 cells; where layers without experts are among them, these have as many cells as all experts.
EXPERTS = dict(LLAMA, intermediate_size=7, num_experts_per_tok=2)
QWEN_EXPERTS = dict(LLAMA, moe_intermediate_size=7, num_experts=6)
GPT_OSS = dict(EXPERTS, num_local_experts=5, head_dim=10, sliding_window=5)
SHARED = dict(QWEN_EXPERTS, shared_expert_intermediate_size=9, intermediate_size=51)
VISION = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=28,
              patch_size=14)

MODELS = {
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_layer=3, n_embd=30, n_head=5, n_positions=40, bos_token_id=2,
                       eos_token_id=2),
    "gpt2-inner": GPT2Config(vocab_size=VOCABULARY, n_layer=1, n_embd=24, n_head=3, n_inner=17,
                             n_positions=40, activation_function="gelu", tie_word_embeddings=False,
                             bos_token_id=2),
    "opt": OPTConfig(**SMALL, num_attention_heads=4, ffn_dim=41, max_position_embeddings=40,
                     word_embed_proj_dim=36),
    "opt-projected": OPTConfig(**SMALL, num_attention_heads=4, ffn_dim=41, max_position_embeddings=40,
                               word_embed_proj_dim=13),
    "opt-post-norm": OPTConfig(**SMALL, num_attention_heads=4, ffn_dim=41, max_position_embeddings=40,
                               word_embed_proj_dim=13, do_layer_norm_before=False),
    "opt-no-final-norm": OPTConfig(**SMALL, num_attention_heads=4, ffn_dim=41, max_position_embeddings=40,
                                   word_embed_proj_dim=36, _remove_final_layer_norm=True),
    "neox": GPTNeoXConfig(**SMALL, num_attention_heads=3, intermediate_size=50, max_position_embeddings=64,
                          rotary_pct=0.5, use_parallel_residual=True, hidden_act="gelu"),
    "neox-sequential": GPTNeoXConfig(**SMALL, num_attention_heads=3, intermediate_size=50, rotary_pct=1.0,
                                     max_position_embeddings=64, use_parallel_residual=False),
    "neox-odd": GPTNeoXConfig(**SMALL, num_attention_heads=3, intermediate_size=50,
                              max_position_embeddings=64, attention_bias=False,
                              **rope(rope_type="default", partial_rotary_factor=0.42)),
    "gpt-neo": GPTNeoConfig(**GPT, hidden_size=30, num_layers=3, num_heads=5, max_position_embeddings=40,
                            attention_types=[[["global", "local"], 1], [["local"], 1]], window_size=4),
    "gptj": GPTJConfig(**GPT, n_embd=30, n_layer=3, n_head=3, rotary_dim=6, n_positions=40),
    "phi": PhiConfig(**dict(LLAMA, num_attention_heads=3, num_key_value_heads=1)),
    "phi-ungrouped": PhiConfig(**dict(LLAMA, num_key_value_heads=None), tie_word_embeddings=True,
                               **rope(rope_type="default", partial_rotary_factor=0.67)),
    "phi-normed": PhiConfig(**dict(LLAMA, num_attention_heads=3, num_key_value_heads=1), qk_layernorm=True),
    "falcon": FalconConfig(**SIX),
    "falcon-grouped": FalconConfig(**SIX, num_kv_heads=2, new_decoder_architecture=True, bias=True,
                                   ffn_hidden_size=41),
    "falcon-grouped-one-norm": FalconConfig(**SIX, num_kv_heads=3, new_decoder_architecture=True,
                                            num_ln_in_parallel_attn=1, tie_word_embeddings=False),
    "falcon-two-norms": FalconConfig(**SIX, num_kv_heads=2, new_decoder_architecture=True),
    "falcon-alibi": FalconConfig(**SIX, alibi=True, multi_query=False, parallel_attn=False, bias=True),
    "bloom": BloomConfig(**GPT, hidden_size=36, n_layer=3, n_head=6),
    "mpt": MptConfig(**GPT, d_model=36, n_layers=3, n_heads=6, max_seq_len=40),
    "mpt-clipped": MptConfig(**GPT, d_model=32, n_layers=2, n_heads=4, max_seq_len=40,
                             tie_word_embeddings=False, attn_config={"clip_qkv": 0.7, "softmax_scale": 0.3}),
    "starcoder2": Starcoder2Config(**LLAMA, sliding_window=5),
    "starcoder2-plain": Starcoder2Config(**LLAMA, use_bias=False, sliding_window=None),
    "llama": LlamaConfig(**LLAMA, **rope(rope_type="default")),
    "llama3-scaled": LlamaConfig(**LLAMA, **rope(**ROPE3), tie_word_embeddings=True, head_dim=8),
    "llama-linear": LlamaConfig(**LLAMA, **rope(rope_type="linear", factor=4.0), attention_bias=True),
    "llama-yarn": LlamaConfig(**LLAMA, **YARN, head_dim=20, mlp_bias=True),
    "llama-yarn-betas": LlamaConfig(**LLAMA, head_dim=20, **rope(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=512, beta_fast=20.0, beta_slow=2.0)),
    "llama-yarn-stated": LlamaConfig(**LLAMA, head_dim=20, **rope(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=512, beta_fast=20.0, beta_slow=2.0,
        mscale=0.7, mscale_all_dim=0.4, truncate=False)),
    "llama-longrope": LlamaConfig(**LLAMA, **LONG),
    "llama-dynamic": LlamaConfig(**LLAMA, **rope(rope_type="dynamic", factor=4.0)),
    "mistral": MistralConfig(**LLAMA, sliding_window=32),
    "mistral-window": MistralConfig(**LLAMA, sliding_window=5),
    "qwen2": Qwen2Config(**LLAMA, tie_word_embeddings=True),
    "qwen2-window": Qwen2Config(**LLAMA, use_sliding_window=True, sliding_window=3, max_window_layers=1),
    "qwen3": Qwen3Config(**LLAMA, head_dim=10),
    "gemma": GemmaConfig(**GEMMA),
    "gemma-untied": GemmaConfig(**GEMMA, attention_bias=True, tie_word_embeddings=False),
    "gemma2": Gemma2Config(**GEMMA, query_pre_attn_scalar=7, sliding_window=5, attn_logit_softcapping=3.0,
                           final_logit_softcapping=4.0),
    "gemma2-uncapped": Gemma2Config(**GEMMA, attn_logit_softcapping=None, final_logit_softcapping=None),
    "gemma3-text": Gemma3TextConfig(**GEMMA3, final_logit_softcapping=6.0),
    "gemma3": Gemma3Config(text_config=GEMMA3, vision_config=VISION, mm_tokens_per_image=4, bos_token_id=2),
    "olmo": OlmoConfig(**LLAMA),
    "olmo-clipped": OlmoConfig(**LLAMA, clip_qkv=0.8, tie_word_embeddings=True),
    "olmo-biased": OlmoConfig(**LLAMA, attention_bias=True),
    "olmo2": Olmo2Config(**LLAMA),
    "phi3": Phi3Config(**LLAMA, sliding_window=6),
    "phi3-longrope": Phi3Config(**dict(LLAMA, max_position_embeddings=128), **LONG,
                                original_max_position_embeddings=32, tie_word_embeddings=True),
    "phi4": Phi3Config(**LLAMA, **rope(rope_type="default", partial_rotary_factor=0.75)),
    "phi4-odd": Phi3Config(**LLAMA, **rope(rope_type="default", partial_rotary_factor=0.84)),
    "stablelm": StableLmConfig(**dict(LLAMA, num_attention_heads=3, num_key_value_heads=1), use_qkv_bias=True,
                               **rope(rope_type="default", partial_rotary_factor=0.34)),
    "stablelm-parallel": StableLmConfig(**dict(LLAMA, num_attention_heads=3, num_key_value_heads=3),
                                        use_parallel_residual=True,
                                        **rope(rope_type="default", partial_rotary_factor=0.5)),
    "stablelm-normed": StableLmConfig(**dict(LLAMA, num_key_value_heads=3), qk_layernorm=True,
                                      **rope(rope_type="default", partial_rotary_factor=0.67)),
    "granite": GraniteConfig(**LLAMA, embedding_multiplier=5.0, residual_multiplier=0.4,
                             attention_multiplier=0.3, logits_scaling=3.0, mlp_bias=True,
                             tie_word_embeddings=True),
    "cohere": CohereConfig(**LLAMA, logit_scale=0.3),
    "cohere-normed": CohereConfig(**LLAMA, use_qk_norm=True, attention_bias=True),
    "cohere-untied": CohereConfig(**LLAMA, tie_word_embeddings=False),
    "cohere2": Cohere2Config(**LLAMA, sliding_window=5, attention_bias=True),
    "cohere2-plain": Cohere2Config(**dict(LLAMA, num_hidden_layers=4), sliding_window=5),
    "smollm3-plain": SmolLM3Config(**dict(LLAMA, num_hidden_layers=4)),
    "smollm3": SmolLM3Config(**LLAMA, no_rope_layer_interval=2),
    "mixtral": MixtralConfig(**EXPERTS, num_local_experts=5),
    "mixtral-one": MixtralConfig(**dict(EXPERTS, num_experts_per_tok=1, num_key_value_heads=1),
                                 num_local_experts=9, sliding_window=5, tie_word_embeddings=True),
    "olmoe": OlmoeConfig(**dict(EXPERTS, num_experts_per_tok=3), num_experts=8, attention_bias=True),
    "olmoe-clipped": OlmoeConfig(**dict(EXPERTS, num_experts_per_tok=4), num_experts=4, clip_qkv=0.8,
                                 norm_topk_prob=True),
    "qwen2-moe": Qwen2MoeConfig(**SHARED, num_experts_per_tok=3),
    "qwen2-moe-step": Qwen2MoeConfig(**SHARED, num_experts_per_tok=2, norm_topk_prob=True, qkv_bias=False,
                                     decoder_sparse_step=2, tie_word_embeddings=True, use_sliding_window=True,
                                     sliding_window=4, max_window_layers=3),
    "qwen3-moe": Qwen3MoeConfig(**QWEN_EXPERTS, num_experts_per_tok=2, head_dim=10, norm_topk_prob=True),
    "qwen3-moe-mixed": Qwen3MoeConfig(**dict(QWEN_EXPERTS, intermediate_size=42), num_experts_per_tok=6,
                                      mlp_only_layers=[1], use_sliding_window=True, sliding_window=5,
                                      attention_bias=True),
    "gpt-oss": GptOssConfig(**GPT_OSS),
    "gpt-oss-limited": GptOssConfig(
        **dict(GPT_OSS, num_experts_per_tok=3, head_dim=12), swiglu_limit=0.5, attention_bias=False,
        tie_word_embeddings=True, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        **rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=512, attention_factor=0.8)),
    # Widths that blocks of MXFP4 make up.
    "gpt-oss-blocks": GptOssConfig(**dict(GPT_OSS, hidden_size=64, intermediate_size=32)),
    "smollm3-window": SmolLM3Config(**LLAMA, no_rope_layers=[0, 1, 0], use_sliding_window=True,
                                    sliding_window=5),
    # Without BOS, which moves what each kind of positions begins with.
    "qwen2-no-bos": Qwen2Config(**dict(LLAMA, bos_token_id=None)),
    "olmo-no-bos": OlmoConfig(**dict(LLAMA, bos_token_id=None)),
    "gpt2-no-bos": GPT2Config(vocab_size=VOCABULARY, n_layer=2, n_embd=30, n_head=5, n_positions=40,
                              bos_token_id=None, eos_token_id=2),
    "bloom-no-bos": BloomConfig(**dict(GPT, bos_token_id=None), hidden_size=36, n_layer=2, n_head=6),
}
FORMATS = {"qwen3-bf16": ("qwen3", torch.bfloat16), "gpt2-f16": ("gpt2", torch.float16),
           "mixtral-f16": ("mixtral", torch.float16), "gpt-oss-bf16": ("gpt-oss", torch.bfloat16)}
# Saved with one tensor for all experts.
PACKED = {"mixtral-packed": ("mixtral", torch.float32), "qwen2-moe-packed": ("qwen2-moe", torch.bfloat16)}
# Saved with blocks of MXFP4.
BLOCKS = {"gpt-oss-mxfp4": ("gpt-oss-blocks", torch.bfloat16)}

# These go on with a sentence: every kind of positions, windows, caps, norms of sums, experts, no BOS.
GENERATED = ("gpt2", "opt-post-norm", "neox", "gptj", "falcon-alibi", "bloom", "mpt", "llama3-scaled",
             "mistral-window", "gemma2", "gemma3-text", "olmo2", "phi3-longrope", "cohere2", "mixtral",
             "qwen2-moe-step", "gpt-oss", "qwen2-no-bos", "gpt2-no-bos", "bloom-no-bos")
GENERATED_TOKENS = 20

# Of a model's layer: the layers themselves, attention, the norm before the feed-forward block, its down
# projection.
USUAL = ("model.layers", "self_attn", "post_attention_layernorm", "mlp.down_proj")
PARALLEL = ("model.layers", "self_attn", None, "mlp.down_proj")
SANDWICH = ("model.layers", "self_attn", "pre_feedforward_layernorm", "mlp.down_proj")
PLACES = {
    "gpt2": ("transformer.h", "attn", "ln_2", "mlp.c_proj"),
    "opt": ("model.decoder.layers", "self_attn", "final_layer_norm", "fc2"),
    "gpt_neox": ("gpt_neox.layers", "attention", "post_attention_layernorm", "mlp.dense_4h_to_h"),
    "gpt_neo": ("transformer.h", "attn", "ln_2", "mlp.c_proj"),
    "gptj": ("transformer.h", "attn", None, "mlp.fc_out"),
    "phi": ("model.layers", "self_attn", None, "mlp.fc2"),
    "falcon": ("transformer.h", "self_attention", "post_attention_layernorm", "mlp.dense_4h_to_h"),
    "bloom": ("transformer.h", "self_attention", "post_attention_layernorm", "mlp.dense_4h_to_h"),
    "mpt": ("transformer.blocks", "attn", "norm_2", "ffn.down_proj"),
    "starcoder2": ("model.layers", "self_attn", "post_attention_layernorm", "mlp.c_proj"),
    "gemma2": SANDWICH,
    "gemma3_text": SANDWICH,
    "gemma3": ("model.language_model.layers", *SANDWICH[1:]),
    "olmo2": ("model.layers", "self_attn", "mlp", "mlp.down_proj"),
    "cohere": PARALLEL,
    "cohere2": PARALLEL,
}


def parts(model, layer):
    """(layer module, attention module, what reads the residual, its down projection, what is behind that or
    None)"""
    layers, attention, norm, down = PLACES.get(model.config.model_type, USUAL)
    block = model.get_submodule(layers)[layer]
    norm = None if is_parallel(model) else norm
    down = None if hasattr(getattr(block, "mlp", None), "experts") else block.get_submodule(down)
    return (block, block.get_submodule(attention), norm and block.get_submodule(norm), down,
            getattr(block, "post_feedforward_layernorm", None))


def is_parallel(model):
    """Whether attention and the feed-forward block read the same."""
    config = model.config
    if config.model_type == "falcon":
        return config.new_decoder_architecture or config.parallel_attn
    if config.model_type in ("gpt_neox", "stablelm"):
        return config.use_parallel_residual
    return config.model_type in ("gptj", "phi", "cohere", "cohere2")


# Of the first layer and of the last: "layer:cells=value" for forward-dump, and the same in NumPy's words.
EDITS = [(0, "0-4=0", lambda m: m.index_fill_(-1, torch.arange(5), 0)),
         (0, "7=*2", lambda m: m[..., 7].mul_(2)), (0, "9-11=-0.75", lambda m: m[..., 9:12].fill_(-0.75)),
         (-1, "13-16=+0.5", lambda m: m[..., 13:17].add_(0.5)), (-1, "5=*-1", lambda m: m[..., 5].mul_(-1))]


def edits_text(layers):
    return ",".join(f"{layer % layers + 1}:{text}" for layer, text, _ in EDITS)


def inputs_of(model, tokens):
    """What the model reads of one sentence: BOS, where there is one, and all tokens but the last."""
    bos = model.config.get_text_config().bos_token_id
    return [bos] * (bos is not None) + tokens[:-1]


@contextlib.contextmanager
def edits(model):
    """The model with EDITS, made in what the down projections read."""
    config = model.config.get_text_config()
    layers = config.num_hidden_layers

    def change(layer, coefficients):
        changed = coefficients.clone()
        for where, _, apply in EDITS:
            if where % layers == layer:
                apply(changed)
        return changed

    hooks = []
    for l in range(layers):
        block, _, _, down, _ = parts(model, l)
        if down:
            hooks.append(down.register_forward_pre_hook(lambda m, a, l=l: (change(l, a[0]), *a[1:])))
        else:
            hooks += edit_experts(block.mlp, change, l)
    yield
    for hook in hooks:
        hook.remove()


def edited(model, tokens):
    """The logits for one sentence with EDITS."""
    with edits(model), torch.no_grad():
        inputs = inputs_of(model, tokens)
        logits = model(input_ids=torch.tensor([inputs or [0]]), use_cache=False).logits[0, :len(inputs)]
    return logits.double().numpy()


def generated(model, tokens):
    """Tokens that the most probable ones go on with, the end token among them."""
    # The last one of inputs_of is not read.
    inputs = torch.tensor([inputs_of(model, [*tokens, 0])])
    with torch.no_grad():
        all_tokens = model.generate(inputs, attention_mask=torch.ones_like(inputs), do_sample=False,
                                    use_cache=True, max_new_tokens=GENERATED_TOKENS)
    return all_tokens[0, inputs.shape[1]:].numpy()


def first(value):
    return value[0] if isinstance(value, tuple) else value


def has_biases(mlp):
    """Whether the experts are those of gpt-oss, whose matrices are transposed, too."""
    return hasattr(mlp.experts, "down_proj_bias")


def router_of(mlp):
    return mlp.router if has_biases(mlp) else mlp.gate


def cells_of(experts, expert, vector):
    """An expert's own cells; what their values are multiplied by."""
    if not hasattr(experts, "gate_up_proj_bias"):
        gate, up = (experts.gate_up_proj[expert] @ vector).chunk(2)
        return experts.act_fn(gate) * up
    both = vector @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert]
    gate, up = both[::2].clamp(max=experts.limit), both[1::2].clamp(-experts.limit, experts.limit)
    return gate * torch.sigmoid(1.702 * gate) * (up + 1)


def expert_coefficients(mlp, x, scores, chosen):
    """A layer's cells at positions x: the router's score times the expert's own, or 0."""
    found = torch.zeros(len(x), mlp.experts.gate_up_proj.shape[0], values_of(mlp)[0].shape[0])
    for row, (vector, row_scores, row_chosen) in enumerate(zip(x, scores, chosen, strict=True)):
        for score, expert in zip(row_scores, row_chosen, strict=True):
            found[row, expert] = score * cells_of(mlp.experts, expert, vector)
    found = found.flatten(1)
    if not hasattr(mlp, "shared_expert"):
        return found
    shared = mlp.shared_expert
    own = shared.act_fn(x @ shared.gate_proj.weight.T) * (x @ shared.up_proj.weight.T)
    return torch.cat([found, torch.sigmoid(x @ mlp.shared_expert_gate.weight.T) * own], dim=1)


def expert_biases(mlp, scores, chosen):
    """What is added beside the values at each position: biases of the chosen experts, times their scores."""
    return (scores[..., None] * mlp.experts.down_proj_bias[chosen]).sum(1) if has_biases(mlp) else 0


def values_of(mlp):
    """Of each expert, cells x model."""
    values = [expert if has_biases(mlp) else expert.T for expert in mlp.experts.down_proj]
    return [*values, mlp.shared_expert.down_proj.weight.T] if hasattr(mlp, "shared_expert") else values


def edit_experts(mlp, change, l):
    """Hooks of a layer with experts, whose output becomes the sum of changed coefficients times values."""
    seen = {}

    def summed(_, __, output):
        found = change(l, seen["coef", l]) @ torch.cat(values_of(mlp)) + seen["bias", l]
        found = found.reshape(first(output).shape)
        return (found, *output[1:]) if isinstance(output, tuple) else found
    return [watch_experts(mlp, seen, l)[0], mlp.register_forward_hook(summed)]


def watch_experts(mlp, seen, l):
    """Hooks of a layer with experts; which of them compute a position is what the library's router says."""
    def routed(_, arguments, output):
        x = arguments[0].reshape(-1, router_of(mlp).hidden_dim)
        seen["coef", l] = expert_coefficients(mlp, x, *output[1:])
        seen["bias", l] = expert_biases(mlp, *output[1:])
    return [router_of(mlp).register_forward_hook(routed),
            mlp.register_forward_hook(lambda m, a, o: seen.__setitem__(("ffn", l), first(o)))]


def watch(model, tokens):
    """What the model computes for one sentence; arrays by name."""
    config = model.config.get_text_config()
    layers = config.num_hidden_layers
    seen = {}
    hooks = []
    # Where the residual is normed behind attention, the first product that reads it sees it.
    post_norm = config.model_type == "opt" and not config.do_layer_norm_before
    for l in range(layers):
        block, attention, norm, down, behind = parts(model, l)
        norm = block.fc1 if post_norm else norm
        hooks += [
            block.register_forward_pre_hook(
                lambda m, a, k, l=l: seen.__setitem__(("in", l), first(a) if a else k["hidden_states"]),
                with_kwargs=True),
            attention.register_forward_hook(
                lambda m, a, o, l=l: seen.__setitem__(("attention", l), first(o))),
        ]
        if down:
            hooks.append(down.register_forward_hook(lambda m, a, o, l=l: seen.update(
                {("coef", l): first(a), ("ffn", l): o.clone()})))  # Falcon adds to it
        else:
            hooks += watch_experts(block.mlp, seen, l)
        if norm:
            hooks.append(
                norm.register_forward_pre_hook(lambda m, a, l=l: seen.__setitem__(("norm", l), first(a))))
        if behind:
            hooks.append(behind.register_forward_hook(lambda m, a, o, l=l: seen.__setitem__(("ffn", l), o)))
    inputs = inputs_of(model, tokens)
    with torch.no_grad():  # a model has to read something
        logits = model(input_ids=torch.tensor([inputs or [0]]), use_cache=False).logits[0, :len(inputs)]
    for hook in hooks:
        hook.remove()

    def stack(name):
        rows = max(len(inputs), 1)
        return np.stack([seen[name, l].reshape(rows, -1).double().numpy()[:len(inputs)]
                         for l in range(layers)])

    resid = stack("in") + stack("attention") if is_parallel(model) else stack("norm")
    return {"logits": logits.double().numpy(), "resid": resid, "coef": stack("coef"),
            "ffn": stack("ffn") * getattr(config, "residual_multiplier", 1)}


def in_blocks(array):
    """(blocks, scales) of MXFP4 along the last axis: numbers of 4 bits, the even one below, and exponents."""
    blocks = array.reshape(*array.shape[:-1], -1, 32).astype(np.float64)
    exponents = np.floor(np.log2(np.maximum(np.abs(blocks).max(-1, keepdims=True), 2.0**-100))) - 2
    table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    distances = np.abs(np.abs(blocks / 2**exponents)[..., None] - table)
    codes = (distances.argmin(-1) + 8 * (blocks < 0)).astype(np.uint8)
    return codes[..., ::2] | codes[..., 1::2] << 4, (exponents[..., 0] + 127).astype(np.uint8)


def save_in_blocks(folder):
    """A saved model of gpt-oss as the original files have it."""
    tensors, others = load_file(folder / "model.safetensors"), {}
    for name, tensor in tensors.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            parts = in_blocks(tensor.float().numpy().swapaxes(1, 2))
            for part, array in zip(("blocks", "scales"), parts):
                others[f"{name}_{part}"] = torch.from_numpy(np.ascontiguousarray(array))
        else:
            others[name] = tensor
    save_file(others, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(config))


def make(folder, name, config, dtype, packed=False, blocks=False):
    # Falcon's "eager" adds ALiBi twice, to the mask and to the scores; "sdpa", the default, does once.
    ways = {"attn_implementation": "sdpa" if getattr(config, "alibi", False) else "eager"}
    if hasattr(config, "num_experts_per_tok"):  # other ways want widths that are multiples of 4
        ways["experts_implementation"] = "eager"
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config, **ways).float().eval()
    with torch.no_grad():  # livelier than the library's start values, which are nearly linear
        for key, tensor in model.named_parameters():
            if key.endswith(("bias", "sinks")):
                tensor.normal_(0, 0.3)
            elif tensor.dim() == 1:
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.normal_(0, 0.25)
    model = model.to(dtype)
    model.save_pretrained(folder / name, safe_serialization=True, save_original_format=not packed)
    if blocks:
        save_in_blocks(folder / name)
    # The arithmetic is in 32 bits, whatever the weights were stored in.
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32, **ways)
    model.eval()
    with open(folder / name / "dict.txt", "w") as dictionary:
        dictionary.writelines(f"w{i} 1\n" for i in range(4, VOCABULARY))
    arrays = {f"tokens{i}": np.array(tokens) for i, tokens in enumerate(SENTENCES)}
    for i, tokens in enumerate(SENTENCES):
        arrays.update({f"{key}{i}": value for key, value in watch(model, tokens).items()})
        arrays[f"edited{i}"] = edited(model, tokens)
    if name in GENERATED:
        arrays["generated"] = generated(model, SENTENCES[0])
        with edits(model):
            arrays["generated_edited"] = generated(model, SENTENCES[0])
    arrays["edits"] = np.array(edits_text(model.config.get_text_config().num_hidden_layers))
    np.savez(folder / f"{name}.npz", **arrays)


def main(folder):
    folder = pathlib.Path(folder)
    torch.set_num_threads(1)  # more wait for each other longer than they compute
    for name, config in MODELS.items():
        make(folder, name, config, torch.float32)
    for name, (family, dtype) in FORMATS.items():
        make(folder, name, MODELS[family], dtype)
    for name, (family, dtype) in PACKED.items():
        make(folder, name, MODELS[family], dtype, packed=True)
    for name, (family, dtype) in BLOCKS.items():
        make(folder, name, MODELS[family], dtype, blocks=True)


if __name__ == "__main__":
    main(sys.argv[1])
