"""The sentencepiece and tokenizers libraries as the oracles of test_sentencepiece.py; runs in the virtual
environment that it makes.

    pieces_oracle.py DIR TEXT some|all

trains models on the file TEXT and on other scripts. DIR then holds some texts, or all of them (each ends with
a NUL byte), and for every model NAME: NAME.model, NAME.ids (a line a text), and NAME.gguf where GGUF files
can have all of it; NAME.json, the same pieces for the tokenizers library, and WordPiece, with NAME.json.ids;
PRE.pre, a GGUF file's metadata with this pre-tokenizer as JSON, with PRE.pre.ids; and graphemes.json, whose
tokens are the bytes of normalized text, and rounded.json, whose scores all but tie, with texts of their own,
NAME.texts.
"""

import json
import pathlib
import random
import sys
import unicodedata

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as form
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre

import subword_oracle
from expressions import GPT4O, LLAMA3

TEXTS = 4000
USER_DEFINED = ["<sep>", "word", "  ", " the", "ab", "\u00e9t"]
PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False,
         "allow_whitespace_only_pieces": True, "byte_fallback": True}
MARKED = {"user_defined_symbols": USER_DEFINED, "byte_fallback": True, "control_symbols": ["<mask>"]}
MODELS = {
    "bpe-bytes": {**PLAIN, "model_type": "bpe", "split_digits": True},
    "bpe-nfkc": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc"},
    "bpe-user": {**MARKED, "model_type": "bpe", "normalization_rule_name": "nmt_nfkc_cf"},
    "bpe-suffix": {"model_type": "bpe", "treat_whitespace_as_suffix": True},
    "bpe-across": {"model_type": "bpe", "split_by_whitespace": False, "add_dummy_prefix": False},
    "unigram-bytes": {**PLAIN, "model_type": "unigram"},
    "unigram-nfkc": {"model_type": "unigram", "normalization_rule_name": "nfkc"},
    "unigram-user": {**MARKED, "model_type": "unigram", "normalization_rule_name": "nfkc_cf"},
    "unigram-suffix": {"model_type": "unigram", "treat_whitespace_as_suffix": True,
                       "hard_vocab_limit": False},
}
GGUF = {"bpe-bytes": "llama", "bpe-across": "llama", "bpe-unused": "llama", "unigram-bytes": "t5",
        "unigram-user": "t5"}


def train(directory, name, corpus):
    settings = {"vocab_size": 1500, "character_coverage": 0.99, "minloglevel": 2, "num_threads": 2,
                **MODELS[name]}
    if name == "bpe-across": # GGUF files of "llama" have no table of replacements
        settings["normalization_rule_name"] = "identity"
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus),
                                             model_prefix=str(directory / name), **settings)
    (directory / f"{name}.vocab").unlink()


def model_of(path):
    model = form.ModelProto()
    model.ParseFromString(path.read_bytes())
    return model


def tangle(directory):
    """Models with what training does not make: pieces that are not used, and of equal scores."""
    some = random.Random(4)
    for name, kind in ("bpe-bytes", "bpe-unused"), ("unigram-nfkc", "unigram-unused"):
        model = model_of(directory / f"{name}.model")
        for piece in model.pieces:
            if piece.type == piece.NORMAL:
                piece.type = piece.UNUSED if some.random() < 0.1 and len(piece.piece) > 1 else piece.NORMAL
                piece.score = round(piece.score / 4 if "bpe" in name else piece.score)
        (directory / f"{kind}.model").write_bytes(model.SerializeToString())


def write_gguf(directory, name):
    model = model_of(directory / f"{name}.model")
    writer = gguf.GGUFWriter(directory / f"{name}.gguf", "llama")
    writer.add_tokenizer_model(GGUF[name])
    writer.add_token_list([piece.piece.encode() for piece in model.pieces])
    writer.add_token_scores([piece.score for piece in model.pieces])
    writer.add_token_types([piece.type for piece in model.pieces])
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)
    writer.add_remove_extra_whitespaces(model.normalizer_spec.remove_extra_whitespaces)
    if model.normalizer_spec.precompiled_charsmap:
        writer.add_precompiled_charsmap(model.normalizer_spec.precompiled_charsmap)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


# ------------------------------------------------------------ for the tokenizers library

def unigram(path):
    """The pieces as a Unigram model, as the converters of transformers make it of most files."""
    model = model_of(path)
    tokenizer = Tokenizer(models.Unigram([(piece.piece, piece.score) for piece in model.pieces], unk_id=0,
                                         byte_fallback=model.trainer_spec.byte_fallback))
    table = model.normalizer_spec.precompiled_charsmap
    steps = [normalizers.Precompiled(table)] if table else []
    if "bytes" not in path.stem:
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre.Metaspace(prepend_scheme="first" if "user" in path.stem else "always",
                                            split="suffix" not in path.stem)
    tokenizer.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True)])
    return tokenizer


def tied():
    """Scores that tie in many ways, what is unknown beside what is, bytes of which one has no token."""
    some = random.Random(1)
    words = {"".join(some.choice("abc\u00e9" if some.random() < 0.9 else "\u4e2d")
                     for _ in range(some.randrange(1, 6))) for _ in range(300)} - {"\u4e2d", "b", "c"}
    vocabulary = [("<unk>", 0.0), *((word, float(-some.randrange(1, 5))) for word in sorted(words)),
                  ("xy", -40.0), ("xyx", 5.0),
                  *((f"<0x{byte:02X}>", -3.0) for byte in range(256) if byte != ord("y"))]
    return Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))


def write_rounded(directory):
    """Pairs of characters that are one token, with just the sum of both scores: the rounding of what is read
    decides between the one and the two."""
    some = random.Random(7)
    vocabulary, texts = [("<unk>", -40.0)], []
    for first in range(0x4e00, 0x5200, 2):
        scores = [-10 * some.random(), -10 * some.random()]
        texts.append(chr(first) + chr(first + 1))
        vocabulary += [*zip(texts[-1], scores), (texts[-1], sum(scores))]
    Tokenizer(models.Unigram(vocabulary, unk_id=0)).save(str(directory / "rounded.json"))
    (directory / "rounded.texts").write_bytes("".join(text + "\0" for text in texts * 5).encode())
    rows = subword_oracle.encode(json.loads((directory / "rounded.json").read_text()), texts * 5)
    assert 20 < sum(len(row) == 2 for row in rows[:len(texts)]) < len(texts) - 20
    write_ids(directory / "rounded.json.ids", rows)


def wordpiece(corpus):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=12))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre.Sequence([pre.Split(Regex(r"\s+"), "removed"),
                                            pre.Split(Regex(r"\p{P}"), "isolated")])
    trainer = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=["[UNK]", "[CLS]", "[MASK]"],
                                        show_progress=False, limit_alphabet=200)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def write_graphemes(directory):
    """What the table of replacements makes of every mark, and of characters of no category, which may be
    marks of a younger Unicode, beside characters that it replaces."""
    byte_tokens = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -1.0) for byte in range(256))]
    tokenizer = Tokenizer(models.Unigram(byte_tokens, unk_id=0, byte_fallback=True))
    table = model_of(directory / "unigram-user.model").normalizer_spec.precompiled_charsmap
    tokenizer.normalizer = normalizers.Precompiled(table)
    planes = map(chr, [*range(0x300, 0x3100), *range(0xa600, 0xac00), *range(0xfb00, 0x12000),
                       *range(0x16100, 0x16200), *range(0x1d100, 0x1d200), *range(0x1e000, 0x1ea00)])
    marks = [c for c in planes if unicodedata.category(c) in ("Mn", "Mc", "Me", "Cn", "Cf", "Cc")]
    texts = [f"A{c}A\u00b2{c}\u00b2A\u0301{c}\r{c}\u1100{c}\u11a8\u0915{c}\u0915B\u200d{c}\ufb01{c}"
             for c in marks]
    tokenizer.save(str(directory / "graphemes.json"))
    (directory / "graphemes.texts").write_bytes("".join(text + "\0" for text in texts).encode())
    write_ids(directory / "graphemes.json.ids", [tokenizer.encode(text).ids for text in texts])


def write_tokenizers(directory, corpus, texts):
    made = {path.stem: unigram(path) for path in directory.glob("unigram-*.model")}
    made.update({"tied": tied(), "wordpiece": wordpiece(corpus)})
    for name, tokenizer in made.items():
        tokenizer.save(str(directory / f"{name}.json"))
        read = json.loads((directory / f"{name}.json").read_text())
        write_ids(directory / f"{name}.json.ids", subword_oracle.encode(read, texts))


# Pre-tokenizers by the name that GGUF files have for them; expressions of the models' own tokenizer.json.
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")
TEKKEN = GPT4O.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
GPT2 = subword_oracle.byte_level()
DIGITS = pre.Digits(individual_digits=True)
PRE_TOKENIZERS = {
    "bloom": subword_oracle.split((BLOOM, "isolated", False)),
    "command-r": pre.Sequence([DIGITS, GPT2]),
    "dbrx": subword_oracle.split((LLAMA3, "removed", True)),
    "deepseek-coder": pre.Sequence([*(pre.Split(Regex(expression), "isolated") for expression in CODER),
                                    DIGITS, subword_oracle.byte_level(regex=False)]),
    "gpt-4o": subword_oracle.split((GPT4O, "isolated", False)),
    "gpt3-finnish": subword_oracle.split((BLOOM, "isolated", False)),
    "olmo": GPT2,
    "poro-chat": subword_oracle.split((BLOOM, "isolated", False)),
    "smaug-bpe": subword_oracle.split((LLAMA3, "isolated", False)),
    "tekken": subword_oracle.split((TEKKEN, "isolated", False)),
    "viking": subword_oracle.split((BLOOM, "isolated", False), (r"\p{N}", "isolated", False)),
}
NORMALIZERS = {"command-r": normalizers.NFC(), "olmo": normalizers.NFC()}


def write_metadata(directory, corpus, texts):
    subword_oracle.PRE_TOKENIZERS.update(PRE_TOKENIZERS)
    subword_oracle.NORMALIZERS.update(NORMALIZERS)
    for name in PRE_TOKENIZERS:
        tokenizer = subword_oracle.trained(name, corpus[:1500], size=900)
        if name == "tekken":
            subword_oracle.thin(tokenizer)
        vocabulary = tokenizer["model"]["vocab"]
        tokens = sorted(vocabulary, key=vocabulary.get)
        special = {token["content"] for token in tokenizer["added_tokens"]}
        merges = [" ".join(subword_oracle.pair(merge)) for merge in tokenizer["model"]["merges"]]
        metadata = {"tokens": tokens, "types": [3 if token in special else 1 for token in tokens],
                    "merges": merges, "pre": name}
        (directory / f"{name}.pre").write_text(json.dumps(metadata))
        write_ids(directory / f"{name}.pre.ids", subword_oracle.encode(tokenizer, texts))


def write_ids(path, rows):
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


# ------------------------------------------------------------------------ all of it

def make_texts(corpus, all_texts):
    texts = [text for text in subword_oracle.test_texts() if "\0" not in text]
    some = random.Random(3)
    middles = ("", "\u2581", "\r\n", "\u3000", "<mask>", "<unk>", "<0x41>", "ab \u2581ab")
    odd = [f"{before}{middle}{behind}" for middle in middles
           for before in ("", " ", "  a", "\u2581") for behind in ("", " ", "b  ", "\u2581 \u2581")]
    return odd + (texts if all_texts else some.sample(texts, TEXTS) + texts[-3:]) + corpus[:500]


def main(directory, text, all_texts):
    writer = subword_oracle.Writer(seed=5)
    lines = text.read_text(encoding="utf-8").split("\n")
    corpus = [writer.training_text() for _ in range(4000)] + lines[:1500]
    for name in MODELS:
        train(directory, name, corpus)
    tangle(directory)
    texts = make_texts(lines[-500:], all_texts)
    (directory / "texts").write_bytes("".join(text + "\0" for text in texts).encode())
    for path in sorted(directory.glob("*.model")):
        library = sentencepiece.SentencePieceProcessor(model_file=str(path))
        write_ids(path.with_suffix(".ids"), library.encode(texts))
    for name in GGUF:
        write_gguf(directory, name)
    write_tokenizers(directory, corpus, texts)
    write_graphemes(directory)
    write_rounded(directory)
    write_metadata(directory, corpus, texts)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] == "all")
