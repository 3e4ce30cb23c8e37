"""The tokenizers library as the oracle of test_tokenizer_kinds.py, of tokenizers that are not byte-level BPE;
runs in the virtual environment that the test makes.

    kinds_oracle.py train NAME FILE TOKENIZER    one of KINDS, from a file's lines
    kinds_oracle.py make DIR MIXTURES some|all    tokenizers, and some texts for each, or all of them
    kinds_oracle.py encode FILE...    of each FILE, a NAME.json: NAME.ids

DIR then holds for every tokenizer NAME NAME.json, NAME.texts (each ends with a NUL byte) and NAME.ids (a line
a text).  The library trains the vocabularies; normalizers, pre-tokenizers and decoders are those of model
families, and of mixtures that no family has, as tokenizer.json has them.
"""

import copy
import json
import pathlib
import random
import sys

import subword_oracle as base

from tokenizers import Tokenizer, models, trainers
from tokenizers import normalizers, pre_tokenizers as pre

TEXTS = 20_000
ALL_TEXTS = ["llama-2", "t5", "bert"]
SPACE = "\u2581"
REPLACE_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
PREPEND = {"type": "Prepend", "prepend": SPACE}


def sequence(list_name, *members):
    return {"type": "Sequence", list_name: list(members)}


def metaspace(scheme, split=True, **more):
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split, **more}


LLAMA = sequence("normalizers", PREPEND, REPLACE_SPACE)
GEMMA_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


WORD_METASPACE = sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always"))


def added(text, **flags):
    return {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True, **flags}


SPECIALS = [added("<s>"), added("</s>"), added("<mask>", lstrip=True), added("<|im_end|>", rstrip=True),
            added("word", single_word=True, special=False), added(SPACE * 2, special=False),
            added("\u00e9t\u00e9", normalized=True, special=False), added("\n\n", special=False)]
NORMALIZED = [added("<s>", normalized=True), added("</s>", normalized=True, rstrip=True),
              added("<|im_end|>", normalized=True, lstrip=True),
              added("word", normalized=True, special=False)]


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def punctuation(behavior):
    return {"type": "Punctuation", "behavior": behavior}


def bert(clean=True, chinese=True, accents=None, lowercase=True):
    return {"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese,
            "strip_accents": accents, "lowercase": lowercase}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def kinds(*names):
    return [{"type": name} for name in names]


FALCON = sequence("pretokenizers", punctuation("Contiguous"), byte_level(), digits(False),
                  split({"Regex": "[0-9][0-9][0-9]"}))
BLOOM = sequence("pretokenizers", split(
    {"Regex": " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"}), byte_level(regex=False))
COHERE = sequence("pretokenizers", digits(True), byte_level())
WORDS = sequence("pretokenizers", *kinds("Whitespace"))
# name: (vocabulary, what tokenizer.json has otherwise, added tokens)
KINDS = {
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
    "ignoring": ("ignoring", {"pre_tokenizer": metaspace("first")}, SPECIALS),
    "falcon": ("byte level", {"pre_tokenizer": FALCON}, SPECIALS),
    "bloom": ("byte level", {"pre_tokenizer": BLOOM}, SPECIALS),
    "cohere": ("byte level", {"normalizer": {"type": "NFC"}, "pre_tokenizer": COHERE}, NORMALIZED),
    "byte-normalizer": ("byte level", {"normalizer": {"type": "ByteLevel"}, "pre_tokenizer": split(
        {"String": "\u0120"}, "MergedWithNext")}, SPECIALS),
    "t5": ("unigram", {"normalizer": sequence("normalizers", replace({"Regex": " {2,}"}, " ")),
                       "pre_tokenizer": WORD_METASPACE}, SPECIALS),
    "xlnet": ("unigram", {"normalizer": sequence(
        "normalizers", replace({"String": "``"}, "\""), replace({"String": "''"}, "\""),
        *kinds("NFKD", "StripAccents", "Lowercase")), "pre_tokenizer": WORD_METASPACE}, SPECIALS),
    "xglm": ("unigram", {"normalizer": replace({"Regex": " {2,}"}, " "),
                         "pre_tokenizer": metaspace("always")}, NORMALIZED),
    "unigram-bytes": ("unigram, bytes", {"normalizer": LLAMA}, SPECIALS),
    "unigram-whole": ("unigram", {"pre_tokenizer": metaspace("first", split=False)}, SPECIALS),
    "bert": ("pieces of words", {"normalizer": bert(), "pre_tokenizer": {"type": "BertPreTokenizer"},
                                 "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}},
             SPECIALS),
    "bert-cased": ("pieces of words", {"normalizer": bert(lowercase=False, accents=False),
                                       "pre_tokenizer": {"type": "BertPreTokenizer"}}, NORMALIZED),
    "first-word": ("pieces", {"pre_tokenizer": sequence("pretokenizers", *kinds("WhitespaceSplit"),
                                                        metaspace("first"))}, SPECIALS),
    "suffix": ("suffix", {"normalizer": bert(), "pre_tokenizer": {"type": "BertPreTokenizer"}}, SPECIALS),
    "scripts": ("unigram", {"pre_tokenizer": sequence("pretokenizers", *kinds("UnicodeScripts",
                                                                              "WhitespaceSplit"))}, SPECIALS),
    "lengths": ("byte level", {"pre_tokenizer": sequence(
        "pretokenizers", {"type": "FixedLength", "length": 7}, byte_level())}, SPECIALS),
    "scripts-alone": ("pieces", {"pre_tokenizer": {"type": "UnicodeScripts"}}, NORMALIZED),
    "words": ("words", {"normalizer": sequence("normalizers", *kinds("NFD", "StripAccents", "Lowercase")),
                        "pre_tokenizer": WORDS}, SPECIALS),
    "prefix": ("prefix", {"normalizer": sequence("normalizers", *kinds("NFD", "StripAccents", "Lowercase")),
                          "pre_tokenizer": WORDS}, SPECIALS),
}
NORMALIZERS = [
    *kinds("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"), PREPEND, REPLACE_SPACE,
    {"type": "Prepend", "prepend": "ab"}, {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Strip", "strip_left": True, "strip_right": False}, bert(), bert(lowercase=False),
    bert(clean=False, chinese=False, accents=True, lowercase=False), bert(accents=False),
    replace({"Regex": " {2,}"}, " "), replace({"Regex": "\\s+"}, SPACE), replace({"String": "``"}, "\""),
    replace({"String": "e"}, ""), replace({"Regex": "[a-c]"}, "xyz"), {"type": "ByteLevel"}]
PRE_TOKENIZERS = [
    *(metaspace(scheme, split=each) for scheme in ("always", "never", "first") for each in (True, False)),
    *(punctuation(each) for each in ("Isolated", "Contiguous", "Removed", "MergedWithNext",
                                     "MergedWithPrevious")),
    *kinds("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "Punctuation", "UnicodeScripts",
           "FixedLength"), digits(True), digits(False),
    {"type": "CharDelimiterSplit", "delimiter": "e"}, GEMMA_SPLIT, split({"String": SPACE}, "MergedWithNext"),
    split({"Regex": "\\p{L}+|\\s"}, "Removed", True), split({"Regex": "\\p{Lu}"}, "MergedWithPrevious", True),
    byte_level(), byte_level(prefix=True, regex=False)]


def byte_tokens():
    return [f"<0x{byte:02X}>" for byte in range(256)]


def piece_vocabulary(corpus, split=True, size=3000):
    """Of SentencePiece's kind, with byte_fallback; split: no token goes on behind a space."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    if split:
        tokenizer.pre_tokenizer = pre.Split(SPACE, "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>", *byte_tokens()],
                                  show_progress=False, initial_alphabet=[SPACE], limit_alphabet=300)
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


def affixed_vocabulary(corpus, **affixes):
    """Words between white space, with marks of where tokens are in them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **affixes))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre.BertPreTokenizer()
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=["<unk>"], show_progress=False,
                                  limit_alphabet=300, **affixes)
    tokenizer.train_from_iterator(corpus, trainer)
    return json.loads(tokenizer.to_str())["model"]


def unigram_vocabulary(corpus, byte_fallback):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre.Metaspace()
    specials = ["<unk>", *(byte_tokens() if byte_fallback else [])]
    trainer = trainers.UnigramTrainer(vocab_size=1500, special_tokens=specials, unk_token="<unk>",
                                      show_progress=False)
    tokenizer.train_from_iterator(corpus[:1500], trainer)
    return {**json.loads(tokenizer.to_str())["model"], "byte_fallback": byte_fallback}


def word_pieces(corpus):
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=2000, special_tokens=["<unk>"], show_progress=False,
                                        limit_alphabet=400)
    tokenizer.train_from_iterator(corpus, trainer)
    return json.loads(tokenizer.to_str())["model"]


def whole_words(corpus):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre.Whitespace()
    trainer = trainers.WordLevelTrainer(vocab_size=5000, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    return json.loads(tokenizer.to_str())["model"]


def models_of(corpus):
    pieces = piece_vocabulary(corpus)
    ignoring = {**pieces, "ignore_merges": True, "merges": pieces["merges"][::2]}
    some = [f"<0x{byte:02X}>" for byte in range(256) if byte % 3 or byte > 0xe0]
    return {"pieces": pieces, "no bytes": without_bytes(pieces, False), "ignoring": ignoring,
            "no bytes, fused": without_bytes(pieces, True), "some bytes": without_bytes(pieces, True, some),
            "across": piece_vocabulary(corpus, split=False),
            "byte level": base.trained("gpt2", corpus)["model"],
            "unigram": unigram_vocabulary(corpus, False), "unigram, bytes": unigram_vocabulary(corpus, True),
            "pieces of words": word_pieces(corpus), "words": whole_words(corpus),
            "suffix": affixed_vocabulary(corpus, end_of_word_suffix="</w>"),
            "prefix": affixed_vocabulary(corpus, continuing_subword_prefix="##")}


def whole(model, settings, tokens):
    """tokenizer.json."""
    made = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model, **settings}
    vocabulary = model["vocab"]
    is_list = isinstance(vocabulary, list)
    ids = {token: i for i, (token, _) in enumerate(vocabulary)} if is_list else vocabulary
    size = len(ids)
    for token in tokens:
        made["added_tokens"].append({"id": ids.get(token["content"], size), **token})
        size += token["content"] not in ids
    made["added_tokens"].sort(key=lambda token: token["id"])
    return made


def mixture(draw, models_by_name):
    """Steps that no family has together; some that leave nothing of an added token are drawn again."""
    def steps(list_name, choices, most):
        return sequence(list_name, *draw.choices(choices, k=draw.randint(0, most)))
    def loses_start(settings):
        later = settings["pre_tokenizer"]["pretokenizers"][1:]
        return any(step.get("prepend_scheme") == "first" for step in later)

    while True:
        tokens = draw.sample(SPECIALS, 4) if draw.random() < 0.5 else draw.sample(NORMALIZED, 3)
        settings = {"normalizer": steps("normalizers", NORMALIZERS, 3),
                    "pre_tokenizer": steps("pretokenizers", PRE_TOKENIZERS, 3)}
        if loses_start(settings):
            continue
        made = whole(models_by_name[draw.choice(list(models_by_name))], settings, tokens)
        normalizer = Tokenizer.from_str(json.dumps(made)).normalizer
        normal = [normalizer.normalize_str(token["content"]) for token in tokens if token["normalized"]]
        if all(normal) and len(set(normal)) == len(normal):
            return made


def make_tokenizers(mixtures):
    writer = base.Writer(seed=5)
    models_by_name = models_of([writer.training_text() for _ in range(4000)])
    made = {name: whole(models_by_name[model], *rest) for name, (model, *rest) in KINDS.items()}
    draw = random.Random(9)
    made.update((f"mixture-{i}", mixture(draw, models_by_name)) for i in range(mixtures))
    return made


def texts_of(names, count):
    """All texts, and the number of which each name takes one; those of ALL_TEXTS take them all."""
    writer = base.Writer(seed=3)
    edges = ["", " ", "\n", "  a", "a  ", "a" * 3000, " " * 3000, "\u00e9'" * 2000]
    texts = [*(writer.text() for _ in range(count)), *base.every_character()]
    shares = {name: 1 if name in ALL_TEXTS else 16 if name.startswith("mixture") else 6 for name in names}
    return edges, texts, shares


def make(directory, mixtures, all_texts):
    made = make_tokenizers(mixtures)
    edges, texts, shares = texts_of(made, TEXTS)
    (directory / "all-texts").write_bytes("".join(text + "\0" for text in edges + texts).encode())
    for number, (name, share) in enumerate(shares.items()):
        (directory / f"{name}.json").write_text(json.dumps(made[name]))
        if share == 1 or all_texts:
            (directory / f"{name}.texts").symlink_to("all-texts")
            continue
        some = "".join(text + "\0" for text in edges + texts[number % share::share])
        (directory / f"{name}.texts").write_bytes(some.encode())


def encode(path):
    texts = path.with_suffix(".texts").read_bytes().decode().split("\0")[:-1]
    rows = base.encode(json.loads(path.read_text()), texts)
    path.with_suffix(".ids").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def train(name, path, tokenizer_path):
    model, *rest = KINDS[name]
    models_by_name = models_of(pathlib.Path(path).read_text(encoding="utf-8").split("\n"))
    pathlib.Path(tokenizer_path).write_text(json.dumps(whole(models_by_name[model], *rest)))


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(*sys.argv[2:])
    elif sys.argv[1] == "make":
        make(pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "all")
    else:
        for name_of_file in sys.argv[2:]:
            encode(pathlib.Path(name_of_file))
