"""The models and texts that faults.py runs on: small, random, of three forms."""

import json
import struct

import numpy as np

import gguf_format
import random_model
from helpers import random_sentences, text
from test_subword import added, small

VOCABULARY = 60
D, CELLS, LAYERS = 16, 24, 2
HEADS = 2


def write(place):
    random_model.write_model(place / "model", layers=LAYERS, d_model=D, d_ff=CELLS, heads=HEADS,
                             vocabulary=VOCABULARY, cutoffs=(20, 40))
    (place / "train.txt").write_bytes(text(random_sentences(1200, VOCABULARY, seed=1)))
    (place / "valid.txt").write_bytes(text(random_sentences(300, VOCABULARY, seed=2)))
    (place / "few.txt").write_bytes(text(random_sentences(40, VOCABULARY, seed=3)))
    write_llama(place / "llama")
    write_gguf(place / "llama.gguf")


def tensors(prefixes, names, seed):
    """{name: matrix or vector} of a Llama-like model, by names of the parts."""
    random = np.random.default_rng(seed)
    shapes = {"embedding": (VOCABULARY, D), "norm": (D,), "head": (VOCABULARY, D)}
    found = {names[part]: shape for part, shape in shapes.items()}
    layer = {"q": (D, D), "k": (D, D), "v": (D, D), "o": (D, D), "gate": (CELLS, D), "up": (CELLS, D),
             "down": (D, CELLS), "attention norm": (D,), "ffn norm": (D,)}
    found.update({prefixes.format(i) + names[part]: shape for i in range(LAYERS)
                  for part, shape in layer.items()})
    return {name: random.normal(len(shape) == 1, 0.3, shape).astype(np.float32)
            for name, shape in found.items()}


def write_llama(folder):
    """A Hugging Face directory with a byte-level tokenizer."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY,
        "hidden_size": D, "intermediate_size": CELLS, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "hidden_act": "silu",
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 4096, "bos_token_id": BOS,
        "eos_token_id": BOS, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
        "torch_dtype": "float32"}))
    random_model.write_tensors(folder / "model.safetensors", tensors("model.layers.{}.", {
        "embedding": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight",
        **{part: f"self_attn.{part}_proj.weight" for part in "qkvo"},
        **{part: f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")},
        "attention norm": "input_layernorm.weight", "ffn norm": "post_attention_layernorm.weight"}, 4))
    (folder / "tokenizer.json").write_text(small(
        model__vocab={token: i for i, token in enumerate(TOKENS)}, model__merges=MERGES,
        added_tokens=[added("<s>", BOS)]))


# Of the texts above: a token a letter, and words that merge.
MERGES = ["\u0120 w", "w 1", "w 2", "\u0120w 3", "\u0120w 4", "o t", "ot h", "\u0120w 5"]
TOKENS = list(dict.fromkeys([*"wother0123456789", "\u0120", *(merge.replace(" ", "") for merge in MERGES)]))
BOS = len(TOKENS)


def write_gguf(path):
    listed = [*TOKENS, "<s>", *(f"unused {i}" for i in range(VOCABULARY - len(TOKENS) - 1))]
    metadata = [("general.architecture", "string", "llama")]
    metadata += [(f"llama.{name}", "uint32", value) for name, value in (
        ("embedding_length", D), ("block_count", LAYERS), ("feed_forward_length", CELLS),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", HEADS), ("context_length", 4096), ("vocab_size", VOCABULARY))]
    metadata += [("llama.attention.layer_norm_rms_epsilon", "float32", 1e-6),
                 ("tokenizer.ggml.model", "string", "gpt2"),
                 ("tokenizer.ggml.pre", "string", "gpt-2"),
                 ("tokenizer.ggml.tokens", ("array", "string"), listed),
                 ("tokenizer.ggml.token_type", ("array", "int32"),
                  [3 if token == "<s>" else 1 for token in listed]),
                 ("tokenizer.ggml.merges", ("array", "string"), MERGES),
                 ("tokenizer.ggml.bos_token_id", "uint32", BOS)]
    parts = tensors("blk.{}.", {
        "embedding": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight",
        "o": "attn_output.weight",
        **{part: f"attn_{part}.weight" for part in "qkv"},
        **{part: f"ffn_{part}.weight" for part in ("gate", "up", "down")},
        "attention norm": "attn_norm.weight", "ffn norm": "ffn_norm.weight"}, 5)
    path.write_bytes(gguf_format.build(metadata, [
        (name, list(values.shape[::-1]), "F32", values.tobytes()) for name, values in parts.items()]))


def gguf_header_bytes(data):
    """Where the tensors' numbers begin, about: behind the last name that the file has."""
    return data.rindex(b"ffn_norm.weight") + struct.calcsize("<QIQIQ")
