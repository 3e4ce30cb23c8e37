"""The sentencepiece library as the oracle of test_sentencepiece.py; runs in the virtual environment that it makes.

    pieces_oracle.py DIR TEXT

trains models on the file TEXT and on other scripts. DIR then holds texts (each ends with a NUL byte), and for
every model NAME: NAME.model, NAME.ids (a line a text), and NAME.gguf where GGUF files can have all of it.
"""

import pathlib
import random
import sys

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as form

import subword_oracle

TEXTS = 4000
USER_DEFINED = ["<sep>", "word", "  ", " the", "ab", "\u00e9t"]
PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True,
         "byte_fallback": True}
MODELS = {
    "bpe-bytes": {**PLAIN, "model_type": "bpe", "split_digits": True},
    "bpe-nfkc": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc"},
    "bpe-user": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc_cf", "user_defined_symbols": USER_DEFINED,
                 "byte_fallback": True, "control_symbols": ["<mask>"]},
    "bpe-suffix": {"model_type": "bpe", "treat_whitespace_as_suffix": True},
    "bpe-across": {"model_type": "bpe", "split_by_whitespace": False, "add_dummy_prefix": False},
    "unigram-bytes": {**PLAIN, "model_type": "unigram"},
    "unigram-nfkc": {"model_type": "unigram", "normalization_rule_name": "nfkc"},
    "unigram-user": {"model_type": "unigram", "normalization_rule_name": "nfkc_cf", "user_defined_symbols": USER_DEFINED,
                     "byte_fallback": True, "control_symbols": ["<mask>"]},
    "unigram-suffix": {"model_type": "unigram", "treat_whitespace_as_suffix": True, "hard_vocab_limit": False},
}
GGUF = {"bpe-bytes": "llama", "bpe-across": "llama", "bpe-unused": "llama", "unigram-bytes": "t5", "unigram-user": "t5"}


def train(directory, name, corpus):
    settings = {"vocab_size": 1500, "character_coverage": 0.99, "minloglevel": 2, "num_threads": 2, **MODELS[name]}
    if name == "bpe-across": # without a table of replacements, which tokenizer.ggml.model "llama" does not have
        settings["normalization_rule_name"] = "identity"
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_prefix=str(directory / name), **settings)
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


def make_texts(corpus):
    texts = [text for text in subword_oracle.test_texts() if "\0" not in text]
    some = random.Random(3)
    odd = [f"{before}{middle}{behind}" for middle in ("", "\u2581", "\r\n", "\u3000", "<mask>", "<unk>", "<0x41>", "ab \u2581ab")
           for before in ("", " ", "  a", "\u2581") for behind in ("", " ", "b  ", "\u2581 \u2581")]
    return odd + some.sample(texts, TEXTS) + texts[-3:] + corpus[:500]


def main(directory, text):
    writer = subword_oracle.Writer(seed=5)
    lines = text.read_text(encoding="utf-8").split("\n")
    corpus = [writer.training_text() for _ in range(4000)] + lines[:1500]
    for name in MODELS:
        train(directory, name, corpus)
    tangle(directory)
    texts = make_texts(lines[-500:])
    (directory / "texts").write_bytes("".join(text + "\0" for text in texts).encode())
    for path in sorted(directory.glob("*.model")):
        rows = sentencepiece.SentencePieceProcessor(model_file=str(path)).encode(texts)
        path.with_suffix(".ids").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    for name in GGUF:
        write_gguf(directory, name)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
