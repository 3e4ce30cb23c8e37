"""The tokenizers library as the oracle of test_tokenizer_kinds.py, of tokenizers that are not byte-level BPE; runs
in the virtual environment that the test makes.

    kinds_oracle.py DIR [TEXTS]    tokenizers, texts, and each text's tokens

DIR then holds texts (each ends with a NUL byte) and for every tokenizer NAME NAME.json and NAME.ids (a line a
text).  The library trains the vocabularies; normalizers, pre-tokenizers and decoders are those of model
families, and of mixtures that no family has, as tokenizer.json has them.
"""

import copy
import json
import pathlib
import sys

import subword_oracle as base

from tokenizers import Tokenizer, models, trainers
from tokenizers import normalizers, pre_tokenizers as pre

TEXTS = 2500
SPACE = "\u2581"
REPLACE_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
PREPEND = {"type": "Prepend", "prepend": SPACE}


def sequence(list_name, *members):
    return {"type": "Sequence", list_name: list(members)}


def metaspace(scheme, split=True, **more):
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split, **more}


LLAMA = sequence("normalizers", PREPEND, REPLACE_SPACE)
GEMMA_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


def added(text, **flags):
    return {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True, **flags}


# name: (vocabulary, what tokenizer.json has otherwise, added tokens)
SPECIALS = [added("<s>"), added("</s>"), added("<mask>", lstrip=True), added("<|im_end|>", rstrip=True),
            added("word", single_word=True, special=False), added(SPACE * 2, special=False),
            added("\u00e9t\u00e9", normalized=True, special=False), added("\n\n", special=False)]
NORMALIZED = [added("<s>", normalized=True), added("</s>", normalized=True, rstrip=True),
              added("<|im_end|>", normalized=True, lstrip=True), added("word", normalized=True, special=False)]
BPE_KINDS = {
    "llama-2": ("pieces", {"normalizer": LLAMA}, SPECIALS),
    "llama-1": ("pieces", {"normalizer": LLAMA}, NORMALIZED),
    "mistral": ("pieces", {"pre_tokenizer": metaspace("first", split=False)}, SPECIALS),
    "gemma": ("pieces", {"normalizer": REPLACE_SPACE, "pre_tokenizer": GEMMA_SPLIT}, SPECIALS),
    "always": ("pieces", {"pre_tokenizer": metaspace("always")}, SPECIALS),
    "never": ("pieces", {"pre_tokenizer": metaspace("never")}, NORMALIZED),
    "old-metaspace": ("pieces", {"pre_tokenizer": {"type": "Metaspace", "replacement": SPACE,
                                                   "add_prefix_space": True}}, SPECIALS),
    "no-bytes": ("no bytes", {"normalizer": LLAMA}, SPECIALS),
    "no-bytes-fused": ("no bytes, fused", {"normalizer": LLAMA}, SPECIALS),
    "some-bytes": ("some bytes", {"normalizer": LLAMA}, SPECIALS),
    "across": ("across", {"normalizer": LLAMA}, SPECIALS),
}


def byte_tokens():
    return [f"<0x{byte:02X}>" for byte in range(256)]


def piece_vocabulary(corpus, split=True, size=3000):
    """Of SentencePiece's kind, with byte_fallback; split: no token goes on behind a space."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    if split:
        tokenizer.pre_tokenizer = pre.Split(SPACE, "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>", *byte_tokens()], show_progress=False,
                                  initial_alphabet=[SPACE], limit_alphabet=300)
    tokenizer.train_from_iterator(corpus if split else corpus[:600], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    if split:
        vocabulary = model["vocab"]
        for count in range(2, 9):
            vocabulary.setdefault(SPACE * count, len(vocabulary))
            model["merges"].append([SPACE * (count - count // 2), SPACE * (count // 2)])
    return model


def without_bytes(model, fuse, keep=()):
    model = copy.deepcopy(model)
    names = [token for token in model["vocab"] if token not in byte_tokens() or token in keep]
    model["vocab"] = {token: i for i, token in enumerate(names)}
    model["byte_fallback"] = bool(keep)
    model["fuse_unk"] = fuse
    return model


def models_of(corpus):
    pieces = piece_vocabulary(corpus)
    some = [f"<0x{byte:02X}>" for byte in range(256) if byte % 3 or byte > 0xe0]
    return {"pieces": pieces, "no bytes": without_bytes(pieces, False), "no bytes, fused": without_bytes(pieces, True),
            "some bytes": without_bytes(pieces, True, some), "across": piece_vocabulary(corpus, split=False)}


def whole(model, settings, tokens):
    """tokenizer.json."""
    made = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model, **settings}
    vocabulary = model["vocab"]
    ids = vocabulary if isinstance(vocabulary, dict) else {token: i for i, (token, _) in enumerate(vocabulary)}
    size = len(ids)
    for token in tokens:
        made["added_tokens"].append({"id": ids.get(token["content"], size), **token})
        size += token["content"] not in ids
    made["added_tokens"].sort(key=lambda token: token["id"])
    return made


def make_tokenizers():
    writer = base.Writer(seed=5)
    corpus = [writer.training_text() for _ in range(4000)]
    kinds = models_of(corpus)
    return {name: whole(kinds[kind], settings, tokens) for name, (kind, settings, tokens) in BPE_KINDS.items()}


def make(directory, count):
    writer = base.Writer(seed=3)
    texts = ["", " ", "\n", "  a", "a  ", *(writer.text() for _ in range(count)), *base.every_character(),
             "a" * 3000, " " * 3000, "\u00e9'" * 2000]
    (directory / "texts").write_bytes("".join(text + "\0" for text in texts).encode())
    for name, tokenizer in make_tokenizers().items():
        (directory / f"{name}.json").write_text(json.dumps(tokenizer))
        rows = base.encode(tokenizer, texts)
        (directory / f"{name}.ids").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else TEXTS)
