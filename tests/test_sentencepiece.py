"""SentencePiece's models, the unigram model, WordPiece, and the table of replacements: identical to the
sentencepiece and the tokenizers library, token by token, and what is refused.

The libraries (PyPI, pinned) run in a virtual environment of their own; without a network the tests that
need them are skipped, and say so."""

import base64
import json
import os
import struct

import numpy as np
import pytest

import environments
import streams

from conftest import ROOT
from helpers import fails, ok, sentences_of
from test_tokenize import LLAMA, llama_gguf

MODELS = ["bpe-across", "bpe-bytes", "bpe-nfkc", "bpe-suffix", "bpe-unused", "bpe-user", "unigram-bytes",
          "unigram-nfkc", "unigram-suffix", "unigram-unused", "unigram-user"]
GGUF = {"bpe-across": [], "bpe-bytes": [], "bpe-unused": [], "unigram-bytes": ["--unigram"],
        "unigram-user": ["--unigram"]}
TOKENIZERS = ["unigram-bytes", "unigram-nfkc", "unigram-suffix", "unigram-unused", "unigram-user", "tied",
              "wordpiece"]
PRE = ["bloom", "command-r", "dbrx", "deepseek-coder", "gpt-4o", "gpt3-finnish", "olmo", "poro-chat",
       "smaug-bpe", "tekken", "viking"]


@pytest.fixture(scope="session")
def oracle(tmp_path_factory):
    """A directory of models, texts, and what the libraries make of them; MIXTURES: of all texts."""
    directory = tmp_path_factory.mktemp("pieces")
    environments.run(environments.python(*environments.SENTENCEPIECE), ROOT / "tests" / "pieces_oracle.py",
                     directory, ROOT / "data" / "corpora" / "brown-text-valid.txt",
                     "all" if "MIXTURES" in os.environ else "some")
    return directory


def pieces(bin):
    return bin / "tests" / "piece-encode"


def subword(bin):
    return bin / "tests" / "subword-encode"


def compare(found, expected, texts):
    rows, expected = found.decode().split("\n"), expected.read_text().split("\n")
    texts = texts.read_bytes().decode().split("\0")
    assert len(rows) == len(expected) == len(texts) > 2000
    print(len(texts) - 1, "texts")
    different = [(ascii(text), a, b) for text, a, b in zip(texts, rows, expected) if a != b]
    assert not different, f"{len(different)} texts, the first: {different[0]}"


@pytest.mark.parametrize("name", MODELS)
def test_pieces_are_the_librarys(bin, oracle, name):
    """Oracle: sentencepiece 0.2.3, on 4,600 texts, or 25,000, and models trained by it."""
    found = ok(bin, pieces(bin), oracle / f"{name}.model", "-i", oracle / "texts")
    compare(found, oracle / f"{name}.ids", oracle / "texts")


@pytest.mark.parametrize("name", GGUF)
def test_a_gguf_file_has_the_same_pieces(bin, oracle, name):
    """Written by the gguf package."""
    found = ok(bin, pieces(bin), oracle / f"{name}.gguf", *GGUF[name], "-i", oracle / "texts")
    compare(found, oracle / f"{name}.ids", oracle / "texts")
    about = [ok(bin, pieces(bin), oracle / f"{name}.{form}", *more, "--about")
             for form, more in (("gguf", GGUF[name]), ("model", []))]
    assert about[0] == about[1]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_are_the_librarys(bin, oracle, name):
    """Oracle: tokenizers 0.23.3, which has read the same file, in which it rounds scores in its own way."""
    found = ok(bin, subword(bin), oracle / f"{name}.json", "-0", "-i", oracle / "texts")
    compare(found, oracle / f"{name}.json.ids", oracle / "texts")


@pytest.mark.parametrize("name", ["graphemes", "rounded"])
def test_tokens_are_the_librarys_on_the_edge(bin, oracle, name):
    """Whatever Unicode ICU knows, a replaced character takes the marks of a short grapheme along; and the
    library reads scores with an error in the last bit, which decides ties."""
    found = ok(bin, subword(bin), oracle / f"{name}.json", "-0", "-i", oracle / f"{name}.texts")
    compare(found, oracle / f"{name}.json.ids", oracle / f"{name}.texts")


@pytest.mark.parametrize("name", PRE)
def test_pre_tokenizers_of_gguf_files(bin, oracle, name):
    """The name means what the model's own expressions do in the library."""
    found = ok(bin, subword(bin), "--metadata", oracle / f"{name}.pre", "-0", "-i", oracle / "texts")
    compare(found, oracle / f"{name}.pre.ids", oracle / "texts")


# ------------------------------------------------------------- without the libraries

def test_the_manual_lists_the_pre_tokenizers(bin, tmp_path):
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps({"tokens": ["a"], "types": [1], "merges": [], "pre": "unheard-of"}))
    said = fails(bin, subword(bin), "--metadata", path, says="'unheard-of' is not known to this program; ")
    names = said.split("; ")[1].removesuffix(" are\n").split(", ")
    page = (ROOT / "man" / "ffkv.7").read_text().split("with one of the pre-tokenizers\n")[1].split(".Pq")[0]
    lines = [line.split()[1:] for line in page.splitlines() if line.startswith(".Cm")]
    listed = [word for line in lines for word in line if word != ","]
    assert sorted(names) == sorted(listed) and set(PRE) <= set(names)


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
PIECES = [("<unk>", 0, UNKNOWN), ("<s>", 0, CONTROL), ("</s>", 0, CONTROL), ("\u2581", -1, NORMAL),
          ("a", -2, NORMAL), ("b", -3, NORMAL), ("ab", -0.5, NORMAL), ("\u2581ab", -0.25, NORMAL),
          ("<x>", 0, USER_DEFINED)]
BYTES = [(f"<0x{byte:02X}>", 0, BYTE) for byte in range(256)]


def varint(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def field(number, value):
    """A field of a message of protocol buffers."""
    if isinstance(value, (int, np.bool_)):
        return varint(number << 3) + varint(int(value))
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def message(**fields):
    return b"".join(field(int(name[1:]), value) for name, value in fields.items())


def piece(text, score, kind):
    text = text if isinstance(text, bytes) else text.encode()
    return field(1, message(_1=text, _2=float(score), _3=kind))


def model_file(listed=(), trainer=b"", normalizer=b"", more=b"", kind=2):
    return (b"".join(piece(*item) for item in (listed or PIECES))
            + field(2, message(_3=kind) + trainer) + field(3, normalizer) + more)


@pytest.fixture
def model(tmp_path):
    """A folder of a model of this tokenizer.model, and other files (__ for a dot)."""
    def write(content=None, **files):
        (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "bos_token_id": 1, "vocab_size": 300}))
        (tmp_path / "tokenizer.model").write_bytes(model_file() if content is None else content)
        for name, value in files.items():
            (tmp_path / name.replace("__", ".")).write_text(json.dumps(value))
        return tmp_path
    return write


def tokens(bin, model, text):
    stream = streams.read(ok(bin, "tokenize", "-m", model, stdin=text.encode()))
    return [list(row) for row in sentences_of(stream)]


UNIGRAM = {"kind": 1}


@pytest.mark.parametrize("content, text, expected", [
    (model_file(), "ab ab", [7, 7]),
    (model_file(), "ba", [3, 5, 4]),
    (model_file(), "a<s>b", [3, 4, 0, 5]), # a control piece is not found; what is unknown is one
    (model_file(), "a<x>ab", [3, 4, 8, 6]),
    (model_file(**UNIGRAM), "ab ab", [7, 7]),
    (model_file(**UNIGRAM), "axyb", [3, 4, 0, 5]),
    (model_file(normalizer=field(3, 0)), "ab ab", [6, 7]),
    (model_file(normalizer=field(4, 0)), "ab  ab", [7, 3, 7]),
    (model_file(normalizer=field(4, 1)), "ab  ab", [7, 7]),
    (model_file(normalizer=field(5, 0)), "ab", [0, 6]), # the space stays one, which is no piece
    (model_file(trainer=field(24, 1)), "ab", [6, 3]),
    (model_file(PIECES + BYTES, trainer=field(35, 1)), "a\u00e9", [3, 4, 9 + 0xc3, 9 + 0xa9]),
    (model_file([*PIECES[:6], ("ab", -0.5, UNUSED)]), "ab", [3, 4, 5]),
    (model_file(trainer=field(19, 0) + field(53, b"|") + field(4, 9)), "ab", [7]), # of the training
])
def test_by_hand(bin, model, content, text, expected):
    assert tokens(bin, model(content), text + "\n") == [expected]


def test_reads_as_the_text(bin, model):
    """With the spaces of pieces, and bytes; what is not UTF-8 is escaped."""
    path = model(model_file(PIECES + BYTES, trainer=field(35, 1))) / "tokenizer.model"
    texts = path.parent / "texts"
    texts.write_bytes("ab ab\0a\u00e9<x>\u2581b\0".encode())
    assert ok(bin, pieces(bin), path, "--text", "-i", texts).decode() == " ab ab\n a\u00e9<x> b\n"
    assert ok(bin, pieces(bin), path, "--about").decode().split()[2] == "000" + "1" * 6 + "1" * 256


@pytest.mark.parametrize("kind", [1, 2])
def test_long_texts_take_no_square_of_their_time(bin, model, kind):
    """2 MB without a space, in which something is joined everywhere."""
    path = model(model_file(kind=kind)) / "tokenizer.model"
    (path.parent / "texts").write_bytes(b"ab" * (1 << 20))
    rows = ok(bin, pieces(bin), path, "-i", path.parent / "texts").split()
    assert rows == [b"7", *[b"6"] * ((1 << 20) - 1)]


def test_tokenizer_json_is_read_where_there_is_both(bin, model):
    plain = {"version": "1.0", "added_tokens": [],
             "model": {"type": "Unigram", "unk_id": 0, "vocab": [["?", 0], ["a", -1]]}}
    assert tokens(bin, model(tokenizer__json=plain), "a!\n") == [[1, 0]]


def test_gguf(bin, tmp_path):
    """Of a model file as a whole; a space before the text unless the metadata say that there is none."""
    texts, scores, types = zip(*PIECES)
    keys = [("tokenizer.ggml.scores", ("array", "float32"), list(scores)),
            ("tokenizer.ggml.token_type", ("array", "int32"), list(types)),
            ("tokenizer.ggml.bos_token_id", "uint32", 1)]

    def write(*more):
        path = llama_gguf(tmp_path / "model.gguf", None, [*keys, *more], kind="llama", vocabulary=texts)
        return tokens(bin, path, "ab <x>ab\n")
    assert write() == [[7, 3, 8, 6]]
    assert write(("tokenizer.ggml.add_space_prefix", "bool", 0)) == [[6, 3, 8, 6]]
    llama_gguf(tmp_path / "model.gguf", 1, kind="bert", vocabulary=texts)
    fails(bin, "tokenize", "-m", tmp_path / "model.gguf", stdin=b"ab\n",
          says="'bert' is not known; gpt2, llama and t5 are")
    llama_gguf(tmp_path / "model.gguf", 1, keys[:1], kind="llama", vocabulary=texts)
    fails(bin, "tokenize", "-m", tmp_path / "model.gguf", stdin=b"ab\n", says="tokenizer.ggml.token_type")


@pytest.mark.parametrize("content, says", [
    (b"", "no model of SentencePiece"),
    (model_file()[:-3], "no model of SentencePiece"),
    (b"IQ== 0\nIg== 1\n", "a file of tiktoken"),
    (model_file(kind=3), "the model_type is WORD"),
    (model_file(kind=4), "the model_type is CHAR"),
    (model_file(kind=9), "the model_type is a newer one"),
    (model_file(trainer=field(60, 1)), "trainer_spec has a field 60"),
    (model_file(normalizer=field(7, 1)), "normalizer_spec has a field 7"),
    (model_file(more=field(200, b"x")), "the model has a field 200"),
    (model_file([*PIECES, ("c", 0, 7)]), "piece 9 is of type 7"),
    (model_file([*PIECES, ("c", float("nan"), 1)]), "the score of piece 9"),
    (model_file([*PIECES, ("", 0, 1)]), "piece 9 has 0 bytes"),
    (model_file([*PIECES, ("c\0d", 0, 1)]), "piece 9 has 3 bytes, or a NUL"),
    (model_file([*PIECES, ("c" * 8000, 0, 1)]), "piece 9 has 8000 bytes"),
    (model_file([*PIECES, (b"\xff", 0, 1)]), "the text of token 9 is not UTF-8"),
    (model_file([*PIECES, ("ab", 0, 1)]), "tokens 6 and 9 are both 'ab'"),
    (model_file([*PIECES, ("<unk2>", 0, UNKNOWN)]), "pieces 0 and 9 are both the unknown one"),
    (model_file(PIECES[1:]), "there is no unknown piece"),
    (model_file([*PIECES, ("<0x4>", 0, BYTE)]), "piece 9 is to be a byte"),
    (model_file(PIECES + BYTES[:9], trainer=field(35, 1)), "no piece for byte 0x09"),
    (model_file(normalizer=field(2, b"\x04\0\0")), "precompiled_charsmap) of 3 bytes is damaged"),
    (model_file(normalizer=field(2, b"\xff\0\0\0" + bytes(9))),
     "precompiled_charsmap) of 13 bytes is damaged"),
    (model_file(normalizer=field(2, b"\x04\0\0\0" + bytes(4) + b"a")),
     "precompiled_charsmap) of 9 bytes is damaged"),
    (model_file(normalizer=field(2, b"\x04\0\0\0" + bytes(4) + b"\xff\0")), "text that is not UTF-8"),
    (model_file(normalizer=field(2, b"\x04\0\0\0" + bytes(4) + b"a\0")), "leads out of itself"),
])
def test_refused(bin, model, content, says):
    path = model(content)
    assert str(path / "tokenizer.model") in fails(bin, "tokenize", "-m", path, stdin=b"ab\n", says=says)


def test_advice_for_files_of_tiktoken(bin, model):
    fails(bin, "tokenize", "-m", model(b"IQ== 0\n"), stdin=b"ab\n",
          says="save_pretrained write what it has as tokenizer.json")


@pytest.mark.parametrize("files, says", [
    ({"tokenizer_config__json": {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "legacy": True,
                                 "sp_model_kwargs": {}, "add_prefix_space": True,
                                 "added_tokens_decoder": {"8": {"content": "<x>"}}}}, None),
    ({"special_tokens_map__json": {"eos_token": {"content": "</s>"}, "additional_special_tokens": ["<x>"]}},
     None),
    ({"added_tokens__json": {"<x>": 8}}, None),
    ({"tokenizer_config__json": {"tokenizer_class": "XLNetTokenizer"}}, "tokenizer_class 'XLNetTokenizer'"),
    ({"tokenizer_config__json": {"pad_token": "<pad>"}}, "'<pad>' is added to the pieces"),
    ({"tokenizer_config__json": {"added_tokens_decoder": {"9": {"content": "<pad>"}}}},
     "'<pad>' is added to the pieces"),
    ({"tokenizer_config__json": {"added_tokens_decoder": {"7": {"content": "<x>"}}}},
     "'<x>' has id 7, but in tokenizer.model 8"),
    ({"tokenizer_config__json": {"add_prefix_space": False}}, "add_prefix_space is false"),
    ({"tokenizer_config__json": {"sp_model_kwargs": {"alpha": 0.1}}}, "sp_model_kwargs"),
    ({"tokenizer_config__json": {"unheard_of": 1}}, "the setting 'unheard_of'"),
    ({"special_tokens_map__json": {"pad_token": {"content": "<pad>"}}}, "'<pad>' is added to the pieces"),
    ({"special_tokens_map__json": {"additional_special_tokens": ["<y>"]}}, "'<y>' is added to the pieces"),
    ({"special_tokens_map__json": {"pad_token": 5}}, "a token is expected"),
    ({"added_tokens__json": {"<y>": 9}}, "'<y>' is added to the pieces"),
    ({"added_tokens__json": {"<x>": 9}}, "'<x>' has id 9, but in tokenizer.model 8"),
])
def test_files_beside_it(bin, model, files, says):
    path = model(**files)
    if says:
        message = fails(bin, "tokenize", "-m", path, stdin=b"ab\n", says=says)
        assert str(path / next(iter(files)).replace("__", ".")) in message
    else:
        assert tokens(bin, path, "ab\n") == [[7]]


def unigram(**changes):
    model = {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
             "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.0], ["ab", -2.5]]}
    return {**model, **changes}


def wordpiece(**changes):
    model = {"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 4, "vocab": {"?": 0, "a": 1, "##b": 2, "##bc": 3, "ab": 4}}
    return {**model, **changes}


@pytest.fixture
def tokenizer(tmp_path):
    def write(model, **more):
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model, **more}))
        return path
    return write


@pytest.mark.parametrize("model, text, expected", [
    (unigram(), "abba", "3 2 1"),
    (unigram(), "a\u00e9\u00e8b", "1 0 2"),
    # of two equal ways the first
    (unigram(vocab=[["<unk>", 0], ["a", -1], ["b", -1], ["ab", -2]]), "ab", "3"),
    (unigram(vocab=[["<unk>", 0], ["a", -1], ["xy", -50]]), "axy", "1 2"), # found again as a whole
    (unigram(byte_fallback=True, vocab=[["<unk>", 0], ["<0xC3>", 0], ["<0xA9>", 0]]), "\u00e9", "1 2"),
    (unigram(byte_fallback=True, vocab=[["<unk>", 0], ["<0xC3>", 0]]), "\u00e9", "0"),
    (wordpiece(), "abc", "0"),
    (wordpiece(), "abb", "4 2"),
    (wordpiece(), "acb", "0"),
    (wordpiece(), "abbbb", "0"),
    (wordpiece(continuing_subword_prefix=""), "aab", "1 4"),
    ({"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "a": 1, "ab": 2, "b": 3}}, "ab", "2"),
    ({"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "a": 1, "ab": 2, "b": 3}}, "aab", "0"),
    (wordpiece(vocab={"?": 0, "##": 1, "##a": 2, "a": 3}), "##aa", "2 2"),
])
def test_models_by_hand(bin, tokenizer, model, text, expected):
    assert ok(bin, subword(bin), tokenizer(model), stdin=text.encode() + b"\n").decode() == expected + "\n"


@pytest.mark.parametrize("model, more, says", [
    (unigram(vocab={}), {}, "vocab: a list of 1 to"),
    (unigram(vocab=[]), {}, "vocab: a list of 1 to"),
    (unigram(vocab=[["a"]]), {}, "token 0 must be a list of its text and its score"),
    (unigram(vocab=[["a", "b"]]), {}, "token 0 must be a list of its text and its score"),
    (unigram(vocab=[["a", 0], ["a", 1]]), {}, "tokens 0 and 1 are both 'a'"),
    (unigram(unk_id=4), {}, "'unk_id' must be a whole number below 4"),
    (unigram(unk_id="a"), {}, "'unk_id' must be a whole number below 4"),
    (unigram(fuse_unk=True), {}, "the setting 'fuse_unk'"),
    (wordpiece(unk_token="[UNK]"), {}, "the unknown token '[UNK]' is not in the vocabulary"),
    (wordpiece(max_input_chars_per_word=-1), {}, "'max_input_chars_per_word' must be a whole number"),
    (wordpiece(lowercase=True), {}, "the setting 'lowercase'"),
    ({"type": "Morphemes"}, {}, "type 'Morphemes'; this program knows BPE, Unigram, WordPiece and WordLevel"),
    ({"type": "WordLevel", "vocab": {"?": 0}}, {}, "'unk_token' must be there"),
    ({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}, {}, "the unknown token '?'"),
    (unigram(), {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}, "is not base64"),
    (unigram(), {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}}, "of 0 bytes is damaged"),
    (unigram(), {"normalizer": {"type": "Precompiled"}}, "'precompiled_charsmap' must be text"),
])
def test_models_that_are_refused(bin, tokenizer, model, more, says):
    fails(bin, subword(bin), tokenizer(model, **more), says=says)


def test_text_that_is_not_known(bin, tokenizer):
    fails(bin, subword(bin), tokenizer(unigram(unk_id=None)), stdin=b"ac\n", says="no token for 'c'")


def test_a_table_that_leads_out_of_itself(bin, tokenizer):
    """Only text that comes there finds out."""
    table = base64.b64encode(b"\x04\0\0\0" + bytes(4) + b"a\0").decode()
    path = tokenizer(unigram(), normalizer={"type": "Precompiled", "precompiled_charsmap": table})
    fails(bin, subword(bin), path, stdin=b"ab\n", says="leads out of itself")
