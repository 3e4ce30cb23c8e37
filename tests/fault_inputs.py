"""The models and texts that faults.py runs on: small, random, of every form that is read."""

import json
import struct

import numpy as np

import gguf_format
import random_model
from helpers import random_sentences, text
from test_gguf import split_keys, write_parts
from test_sentencepiece import CONTROL, NORMAL, UNKNOWN, model_file
from test_subword import added, small
from test_tokenizer_kinds import METASPACE, SPACE

VOCABULARY = 60
D, CELLS, LAYERS = 16, 24, 2
HEADS = 2
EXPERTS = 3

# Of the texts below: a token a letter, and words that merge.
MERGES = ["\u0120 w", "w 1", "w 2", "\u0120w 3", "\u0120w 4", "o t", "ot h", "\u0120w 5"]
TOKENS = list(dict.fromkeys([*"wother0123456789", "\u0120", *(merge.replace(" ", "") for merge in MERGES)]))
BOS = len(TOKENS)

# The same in other kinds of tokenizers: pieces with scores, and merges of characters.
SPACED = [token.replace("\u0120", SPACE) for token in TOKENS]
PIECES = [("<unk>", 0.0), ("<s>", 0.0), *((token, -1.0 - len(TOKENS) + i) for i, token in enumerate(SPACED))]
SPECIAL = [added("<unk>", 0), added("<s>", 1)]
LISTED = {token: i for i, (token, _) in enumerate(PIECES)}
MODEL_FILE = model_file([(token, score, {"<unk>": UNKNOWN, "<s>": CONTROL}.get(token, NORMAL))
                         for token, score in PIECES])

# name: the files of a Hugging Face directory that are its tokenizer. Its BOS is what it calls <s>.
TOKENIZERS = {
    "llama": {"tokenizer.json": small(model__vocab={token: i for i, token in enumerate(TOKENS)},
                                      model__merges=MERGES, added_tokens=[added("<s>", BOS)])},
    "unigram": {"tokenizer.json": small(
        model={"type": "Unigram", "unk_id": 0, "vocab": PIECES}, pre_tokenizer=METASPACE, decoder=None,
        added_tokens=SPECIAL)},
    "word pieces": {"tokenizer.json": small(
        model={"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
               "max_input_chars_per_word": 100,
               "vocab": {piece: i for i, piece in enumerate(
                   ["<unk>", "<s>", "w", "other", "##o", *(f"##{digit}" for digit in range(10))])}},
        pre_tokenizer={"type": "BertPreTokenizer"}, decoder={"type": "WordPiece", "prefix": "##"},
        added_tokens=SPECIAL)},
    "characters": {"tokenizer.json": small(
        model__vocab=LISTED, model__merges=[merge.replace("\u0120", SPACE) for merge in MERGES],
        model__byte_fallback=True, model__fuse_unk=True, model__unk_token="<unk>", pre_tokenizer=METASPACE,
        decoder=None, added_tokens=SPECIAL)},
    "merges": {"vocab.json": json.dumps({token: i for i, token in enumerate([*TOKENS, "<s>"])}),
               "merges.txt": "#version: 0.2\n" + "".join(f"{merge}\n" for merge in MERGES),
               "tokenizer_config.json": json.dumps({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>",
                                                    "unk_token": None, "add_prefix_space": False})},
    "pieces": {"tokenizer.model": MODEL_FILE},
}


def write(place):
    random_model.write_model(place / "model", layers=LAYERS, d_model=D, d_ff=CELLS, heads=HEADS,
                             vocabulary=VOCABULARY, cutoffs=(20, 40))
    (place / "train.txt").write_bytes(text(random_sentences(1200, VOCABULARY, seed=1)))
    (place / "valid.txt").write_bytes(text(random_sentences(300, VOCABULARY, seed=2)))
    (place / "few.txt").write_bytes(text(random_sentences(40, VOCABULARY, seed=3)))
    (place / "prompts.txt").write_bytes(text(random_sentences(3, VOCABULARY, seed=4)))
    (place / "edits").write_text("# of both layers\n1:0-3=0\n2:5=*2, 2:7=+0.5\n")
    for name, files in TOKENIZERS.items():
        write_folder(place / name, files, LLAMA_NAMES, bos_token_id=BOS if name in ("llama", "merges") else 1)
    for name, names in {"experts": MIXTRAL_NAMES, "packed experts": PACKED_NAMES}.items():
        write_folder(place / name, TOKENIZERS["llama"], names, bos_token_id=BOS, model_type="mixtral",
                     num_local_experts=EXPERTS, num_experts_per_tok=2)
    write_gguf(place / "llama.gguf")
    write_gguf(place / "pieces.gguf", PIECE_KEYS)
    write_gguf(place / "experts.gguf", names=GGUF_EXPERT_NAMES)
    write_gguf(place / "split", parts=3)


# ----------------------------------------------------------------- weights

# What a Llama-like model's matrices and vectors are called: of all, and of layer {}.
ATTENTION = {**{part: f"model.layers.{{}}.self_attn.{part}_proj.weight" for part in "qkvo"},
             "attention norm": "model.layers.{}.input_layernorm.weight",
             "ffn norm": "model.layers.{}.post_attention_layernorm.weight",
             "embedding": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"}
LLAMA_NAMES = {**ATTENTION, **{part: f"model.layers.{{}}.mlp.{part}_proj.weight"
                               for part in ("gate", "up", "down")}}
SPARSE = "model.layers.{}.block_sparse_moe."
MIXTRAL_NAMES = {**ATTENTION, "router": SPARSE + "gate.weight",
                 "expert gate": SPARSE + "experts.{}.w1.weight",
                 "expert up": SPARSE + "experts.{}.w3.weight",
                 "expert down": SPARSE + "experts.{}.w2.weight"}
PACKED_NAMES = {**ATTENTION, "router": "model.layers.{}.mlp.gate.weight",
                "all gates and ups": "model.layers.{}.mlp.experts.gate_up_proj",
                "all downs": "model.layers.{}.mlp.experts.down_proj"}
GGUF_ATTENTION = {**{part: f"blk.{{}}.attn_{part}.weight" for part in "qkv"},
                  "o": "blk.{}.attn_output.weight",
                  "attention norm": "blk.{}.attn_norm.weight", "ffn norm": "blk.{}.ffn_norm.weight",
                  "embedding": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight"}
GGUF_NAMES = {**GGUF_ATTENTION, **{part: f"blk.{{}}.ffn_{part}.weight" for part in ("gate", "up", "down")}}
GGUF_EXPERT_NAMES = {**GGUF_ATTENTION, "router": "blk.{}.ffn_gate_inp.weight",
                     **{f"all {part}s": f"blk.{{}}.ffn_{part}_exps.weight"
                        for part in ("gate", "up", "down")}}
SHAPES = {"embedding": (VOCABULARY, D), "norm": (D,), "head": (VOCABULARY, D),
          **dict.fromkeys("qkvo", (D, D)), "attention norm": (D,), "ffn norm": (D,),
          "gate": (CELLS, D), "up": (CELLS, D), "down": (D, CELLS),
          "router": (EXPERTS, D), "expert gate": (CELLS, D), "expert up": (CELLS, D),
          "expert down": (D, CELLS),
          "all gates and ups": (EXPERTS, 2 * CELLS, D), "all downs": (EXPERTS, D, CELLS),
          "all gates": (EXPERTS, CELLS, D), "all ups": (EXPERTS, CELLS, D)}


def tensors(names, seed):
    """{name: array} of a model whose parts have these names."""
    random = np.random.default_rng(seed)
    found = {}
    for part, name in names.items():
        for l in range(LAYERS if "{}" in name else 1):
            for e in range(EXPERTS if part.startswith("expert ") else 1):
                found[name.format(l, e)] = SHAPES[part]
    return {name: random.normal(len(shape) == 1, 0.3, shape).astype(np.float32)
            for name, shape in found.items()}


def write_folder(folder, files, names, **settings):
    """A Hugging Face directory."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": D, "intermediate_size": CELLS,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 4096,
        "tie_word_embeddings": False, "torch_dtype": "float32", **settings}))
    random_model.write_tensors(folder / "model.safetensors", tensors(names, 4))
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def write_llama(folder):
    """The one of these whose tokenizer is of bytes, a gated model, which other tests take, too."""
    write_folder(folder, TOKENIZERS["llama"], LLAMA_NAMES, bos_token_id=BOS)


BYTE_KEYS = [("tokenizer.ggml.model", "string", "gpt2"),
             ("tokenizer.ggml.pre", "string", "gpt-2"),
             ("tokenizer.ggml.merges", ("array", "string"), MERGES),
             ("tokenizer.ggml.bos_token_id", "uint32", BOS)]
UNUSED = [f"unused {i}" for i in range(VOCABULARY - len(TOKENS) - 2)]
PIECE_KEYS = [("tokenizer.ggml.model", "string", "llama"),
              ("tokenizer.ggml.scores", ("array", "float32"),
               [*(score for _, score in PIECES), *(0.0 for _ in UNUSED)]),
              ("tokenizer.ggml.bos_token_id", "uint32", 1)]


def gguf_metadata(tokenizer, has_experts):
    if tokenizer is PIECE_KEYS:
        listed = [*(token for token, _ in PIECES), *UNUSED]
    else:
        listed = [*TOKENS, "<s>", *UNUSED, "unused"]
    numbers = [("embedding_length", D), ("block_count", LAYERS), ("feed_forward_length", CELLS),
               ("attention.head_count", HEADS), ("attention.head_count_kv", HEADS), ("context_length", 4096),
               ("vocab_size", VOCABULARY)]
    if has_experts:
        numbers += [("expert_count", EXPERTS), ("expert_used_count", 2)]
    kinds = {"<s>": CONTROL, **({"<unk>": UNKNOWN} if tokenizer is PIECE_KEYS else {})}
    return [("general.architecture", "string", "llama"),
            *((f"llama.{name}", "uint32", value) for name, value in numbers),
            ("llama.attention.layer_norm_rms_epsilon", "float32", 1e-6),
            ("llama.rope.freq_base", "float32", 10000.0), *tokenizer,
            ("tokenizer.ggml.tokens", ("array", "string"), listed),
            ("tokenizer.ggml.token_type", ("array", "int32"), [kinds.get(token, NORMAL) for token in listed])]


def write_gguf(path, tokenizer=BYTE_KEYS, names=GGUF_NAMES, parts=1):
    """A file, or a folder with the parts of a split model."""
    metadata = gguf_metadata(tokenizer, names is GGUF_EXPERT_NAMES)
    listed = [(name, list(values.shape[::-1]), "F32", values.tobytes())
              for name, values in tensors(names, 5).items()]
    if parts == 1:
        path.write_bytes(gguf_format.build(metadata, listed))
    else:
        each = -(-len(listed) // parts)
        keys = [[*([] if i else metadata), *split_keys(i, parts, len(listed))] for i in range(parts)]
        write_parts(path, [gguf_format.build(keys[i], listed[i * each:(i + 1) * each])
                           for i in range(parts)], count=parts)


def gguf_header_bytes(data):
    """Where the tensors' numbers begin, about: behind the last name that the file has."""
    return data.rindex(b".weight") + struct.calcsize("<QIQIQ")
