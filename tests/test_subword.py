"""Byte-level BPE: identical to the tokenizers library, token by token, and what
it refuses.

The library (PyPI, pinned) runs in a virtual environment of its own; so does the
reading of SmolLM2's tokenizer from its GGUF file.  Without a network the tests
that need them are skipped, and say so."""

import json
import unicodedata

import pytest

import environments

from conftest import ROOT
from helpers import fails, ok

NAMES = ["gpt2", "prefix", "llama3", "qwen2", "smollm", "gpt4o", "llama.cpp", "deepseek", "removed",
         "inverted", "previous", "next", "digits", "spaces", "flags", "tangled", "few-bytes", "unknown",
         "fused"]


@pytest.fixture(scope="session")
def library():
    """The Python that has the library."""
    return environments.python(*environments.TOKENIZERS)


@pytest.fixture(scope="session")
def oracle(library, smollm2, tmp_path_factory):
    """A directory of tokenizers, texts, and what the library makes of them."""
    directory = tmp_path_factory.mktemp("bpe")
    environments.run(library, ROOT / "tests" / "subword_oracle.py", "make", directory, smollm2)
    return directory


def program(bin):
    return bin / "tests" / "subword-encode"


def encode(bin, *args, texts=None, stdin=b""):
    options = ["-0", "-i", texts] if texts else []
    return ok(bin, program(bin), *args, *options, stdin=stdin).decode()


def compare(found, directory, name):
    expected = (directory / f"{name}.ids").read_text().split("\n")
    texts = (directory / "texts").read_bytes().decode().split("\0")
    found = found.split("\n")
    assert len(found) == len(expected) > 20_000
    different = [(ascii(text), a, b) for text, a, b in zip(texts, found, expected) if a != b]
    assert not different, f"{len(different)} texts, the first: {different[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_the_librarys(bin, oracle, name):
    """Oracle: tokenizers 0.23.3, on 24,000 texts and tokenizers trained by it."""
    compare(encode(bin, oracle / f"{name}.json", texts=oracle / "texts"), oracle, name)


def test_smollm2(bin, oracle):
    """The same for a real tokenizer, from tokenizer.json and from a GGUF file's metadata."""
    compare(encode(bin, oracle / "smollm2.json", texts=oracle / "texts"), oracle, "smollm2")
    compare(encode(bin, "--metadata", oracle / "smollm2-metadata.json", texts=oracle / "texts"), oracle,
            "smollm2")
    assert encode(bin, "--about", oracle / "smollm2.json") \
        == encode(bin, "--about", "--metadata", oracle / "smollm2-metadata.json")


@pytest.mark.parametrize("name, pre", [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2", "qwen2"),
                                       ("smollm", "smollm"), ("llama.cpp", "default")])
def test_other_forms_of_a_tokenizer(bin, oracle, tmp_path, name, pre):
    """GGUF metadata mean what tokenizer.json does."""
    tokenizer = json.loads((oracle / f"{name}.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    merges = [" ".join(merge) for merge in tokenizer["model"]["merges"]]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.get)
    metadata = {"tokens": tokens, "types": [3 if token in special else 1 for token in tokens],
                "merges": merges, "pre": pre}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    compare(encode(bin, "--metadata", tmp_path / "metadata.json", texts=oracle / "texts"), oracle, name)


@pytest.mark.parametrize("name", ["gpt2", "llama3", "smollm", "tangled"])
def test_tokens_read_as_the_text(bin, oracle, name):
    """All bytes have tokens there and nothing is normalized: the text comes back."""
    texts = (oracle / "texts").read_bytes()
    assert ok(bin, program(bin), oracle / f"{name}.json", "-0", "--text", "-i", oracle / "texts") == texts


# ------------------------------------------------------------- without the library

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def small(**changes):
    """A tokenizer.json; changes: a member, or model__member."""
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": {"a": 0, "b": 1, "c": 2, "\u0120": 3, "ab": 4, "abc": 5, "\u00f0": 6, "\u0121": 7},
             "merges": ["a b", ["ab", "c"]]}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [added("<s>", 8)],
                 "normalizer": None, "pre_tokenizer": BYTE_LEVEL, "post_processor": None,
                 "decoder": {"type": "ByteLevel"}, "model": model}
    for name, value in changes.items():
        target, name = (model, name[7:]) if name.startswith("model__") else (tokenizer, name)
        target[name] = value
    return json.dumps(tokenizer)


def added(text, token, **flags):
    return {"id": token, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True, **flags}


def split(expression, kind="Regex", behavior="Isolated"):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {kind: expression}, "behavior": behavior, "invert": False},
        {**BYTE_LEVEL, "use_regex": False}]}


@pytest.fixture
def tokenizer(tmp_path):
    """Writes a tokenizer.json; its path."""
    def write(content):
        path = tmp_path / "tokenizer.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path
    return write


@pytest.mark.parametrize("changes, text, tokens", [
    ({}, "abcab<s>b a", "5 4 8 1 3 0"),
    ({}, "", ""),
    ({}, "!", ""), # the first word has no tokens: once a sum with a null pointer
    ({"model__merges": []}, "abc", "0 1 2"),
    ({"model__merges": [["ab", "c"]]}, "abc", "0 1 2"),
    ({"model__merges": [["ab", "c"]], "model__ignore_merges": True}, "abc", "5"),
    ({"model__unk_token": "c"}, "axyb", "0 2 2 1"),
    ({"model__unk_token": "c", "model__fuse_unk": True}, "axyb", "0 2 1"),
    ({"added_tokens": [added("<s>", 8), added("<s><s>", 9)]}, "<s><s><s>", "9 8"),
    ({"added_tokens": [added("<s>", 8, lstrip=True, rstrip=True)]}, "a  <s>\t b", "0 8 1"),
    ({"added_tokens": [added("ab", 4, single_word=True)]}, "ab abb-ab\u093f", "4 3 4 1 4"),
    ({"model__vocab": {"a": 0, "b": 9, "\u0120": 3, "ab": 7}, "model__merges": ["a b"], "added_tokens": []},
     "ab b", "7 3 9"),
    ({"pre_tokenizer": split("b", "String")}, "abc", "0 1 2"),
    ({"pre_tokenizer": split("[bc]+|\\s")}, "abc abc", "0 1 2 3 0 1 2"),
])
def test_by_hand(bin, tokenizer, changes, text, tokens):
    assert encode(bin, tokenizer(small(**changes)), stdin=text.encode() + b"\n") == tokens + "\n"


@pytest.mark.parametrize("expression, categories",
                         [("\\p{P}", "P"), ("\\p{S}", "S"), ("[^\\s\\p{P}a-c]", "CSLN"),
                           ("\\p{M}", ""), ("\\P{M}", "CPSLNZ"), ("[\\p{Lt}\\p{N}]", "N")])
def test_categories_of_ascii(bin, tokenizer, expression, categories):
    """Text of ASCII alone has expressions of its own. Oracle: unicodedata. What is split stays apart from
    what it stands between, a and b, which otherwise become ab: other characters than a, b and c have no
    tokens here."""
    path = tokenizer(small(pre_tokenizer=split(expression)))
    characters = [chr(i) for i in range(1, 0x7f) if chr(i) not in "abc\n "]
    found = encode(bin, path, stdin="".join(f"a{c}b\n" for c in characters).encode()).splitlines()
    for character, tokens in zip(characters, found, strict=True):
        apart = unicodedata.category(character)[0] in categories \
            and not ("s" in expression and character in "\t\v\f\r")
        assert tokens == ("0 1" if apart else "4"), repr(character)


def test_readable_text(bin, tokenizer):
    """Bytes that are not UTF-8 are escaped; those without a token are gone."""
    found = encode(bin, tokenizer(small()), "--text", stdin="\U0001f600 ab<s>\u0001x".encode())
    assert found == "\\xF0 ab<s>\n"


@pytest.mark.parametrize("changes, says", [
    ({"version": "2.0"}, "version '2.0'"),
    ({"extra": 1}, "the setting 'extra'"),
    ({"model__type": "WordLevel"}, "model: the setting 'dropout'"),
    ({"model__type": "Tiktoken"}, "type 'Tiktoken'"),
    ({"model__type": 5}, "'type' must be text"),
    ({"model": None}, "an object with a 'type'"),
    ({"model__vocab": None}, "an object of tokens and ids"),
    ({"model__merges": {}}, "'merges' must be a list"),
    ({"model__merges": ["a x"]}, "merge 1: its right side 'x' is not in the vocabulary"),
    ({"model__merges": ["b a"]}, "merge 1: its result 'ba' is not in the vocabulary"),
    ({"model__merges": ["a b", "a b c"]}, "merge 2: two tokens with a space"),
    ({"model__merges": ["ab"]}, "merge 1"),
    ({"model__merges": ["a "]}, "merge 1"),
    ({"model__merges": [["a", ""]]}, "merge 1: its right side"),
    ({"model__merges": [["a", "b", "c"]]}, "merge 1"),
    ({"model__merges": [5]}, "merge 1"),
    ({"model__vocab": {"a": 0, "b": 0}}, "have the same id 0"),
    ({"model__vocab": {"a": -1}}, "'a' must be a whole number"),
    ({"model__vocab": {"a": 1 << 40}}, "'a' must be a whole number"),
    ({"model__vocab": {"a": 0.5}}, "'a' must be a whole number"),
    ({"model__dropout": 0.1}, "'dropout'"),
    ({"model__byte_fallback": 1}, "'byte_fallback' must be true or false"),
    ({"model__continuing_subword_prefix": "##"}, "merge 1: its right side 'b' does not begin with '##'"),
    ({"model__unk_token": "?"}, "the unknown token '?'"),
    ({"model__fuse_unk": "no"}, "'fuse_unk' must be true or false"),
    ({"normalizer": {"type": "NFX"}}, "normalizer 'NFX'"),
    ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Upper"}]}}, "'Upper'"),
    ({"normalizer": {"type": "NFC", "form": 1}}, "normalizer: the setting 'form'"),
    ({"normalizer": {"type": "Prepend"}}, "'prepend' must be text"),
    ({"normalizer": {"type": "Replace", "pattern": {"String": "a"}}}, "'content' must be text"),
    ({"normalizer": {"type": "Replace", "pattern": {"String": "<s>"}, "content": ""},
      "added_tokens": [added("<s>", 8, normalized=True)]}, "nothing is left of added token '<s>'"),
    ({"decoder": {"type": "CTC"}}, "decoder 'CTC'"),
    ({"pre_tokenizer": {"type": "Sentences"}}, "pre_tokenizer 'Sentences'"),
    ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "'length' must be a whole number from 1 to"),
    ({"pre_tokenizer": {"type": "UnicodeScripts", "version": 9}}, "the setting 'version'"),
    ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        BYTE_LEVEL, {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}]}},
     "as the first step only"),
    ({"pre_tokenizer": {"type": "Metaspace", "replacement": "__"}}, "'replacement' must be one character"),
    ({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "add_prefix_space": False}}, "not never"),
    ({"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}},
     "'last' is not known"),
    ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}] * 40 + [BYTE_LEVEL]}},
     "more than 16"),
    ({"pre_tokenizer": {**BYTE_LEVEL, "new": 1}}, "the setting 'new'"),
    ({"pre_tokenizer": split("a", behavior="Twice")}, "'Twice'"),
    ({"pre_tokenizer": split("", "String")}, "matches where there is nothing"),
    ({"pre_tokenizer": split("a*")}, "matches where there is nothing"),
    ({"pre_tokenizer": split("(a")}, "( without )"),
    ({"pre_tokenizer": split("a)")}, ") without ("),
    ({"pre_tokenizer": split("[a")}, "a class that does not end"),
    ({"pre_tokenizer": split("[a[^b]]")}, "a class inside of a class"),
    ({"pre_tokenizer": split("[a-[b]]")}, "a class inside of a class"),
    ({"pre_tokenizer": split("[[b]-c]")}, "a range behind a class"),
    ({"pre_tokenizer": split("[a[b")}, "a class that does not end"),
    ({"pre_tokenizer": split("[+-\\p{L}]")}, "invalid range"),
    ({"pre_tokenizer": split("\\p{Greek}")}, "a character category other than"),
    ({"pre_tokenizer": split("\\w+")}, "an escape other than"),
    ({"pre_tokenizer": split("a\\")}, "an escape other than"),
    ({"pre_tokenizer": split("^a")}, "an anchor"),
    ({"pre_tokenizer": split("a{2}+")}, "no simple repetition"),
    ({"pre_tokenizer": split("a{,2}b")}, "no simple repetition"),
    ({"pre_tokenizer": split("(*UTF)a")}, "(*"),
    ({"pre_tokenizer": split("(?<n>a)")}, "a group other than"),
    ({"pre_tokenizer": split("a(?i)b")}, "a group other than"),
    ({"pre_tokenizer": split("(" * 3000 + "a" + ")" * 3000)}, "parentheses"),
    ({"added_tokens": [added("<s>", 9)]}, "would give it 8"),
    ({"added_tokens": [added("ab", 8)]}, "would give it 4"),
    ({"added_tokens": [added("<s>", 8), added("<s>", 8)]}, "would give it 9"),
    ({"added_tokens": [added("ab", 4), added("ab", 4, special=False)]}, "two added tokens are 'ab'"),
    ({"added_tokens": [added("", 8)]}, "added token 8 has 0 bytes"),
    ({"added_tokens": [added("x" * 5000, 8)]}, "5000 bytes"),
    ({"added_tokens": [added("<s>", 1 << 30)]}, "whole number"),
    ({"added_tokens": [{"id": 8}]}, "without 'content'"),
    ({"added_tokens": [added("<s>", 8, fancy=True)]}, "the setting 'fancy'"),
    ({"added_tokens": {}}, "a list is expected"),
    ({"normalizer": {"type": "NFC"}, "added_tokens": [
        added("\u00e9", 8, normalized=True), added("e\u0301", 9, normalized=True)]},
     "two added tokens are '\u00e9'"),
])
def test_refused(bin, tokenizer, changes, says):
    fails(bin, program(bin), tokenizer(small(**changes)), says=says)


@pytest.mark.parametrize("content, says", [
    pytest.param(b"", "not a JSON object", id="empty"),
    pytest.param(b"[]", "not a JSON object but a list; it must be", id="a list"),
    pytest.param(b"{\"a\": 1, \"a\": 2}", "duplicate", id="a member twice"),
    pytest.param(b"[" * 1_000_000, "maximum parsing depth", id="deep"),
    pytest.param(b"[" + b"1," * 5_000_000 + b"1]", "more than", id="many values"),
    pytest.param(small().encode().replace(b"\"ab\"", b"\"a\xff\""), "unable to decode byte 0xff",
                 id="not UTF-8"),
    pytest.param(small().encode()[:-20], "not a JSON object", id="cut"),
    pytest.param(b" " * (65 << 20), "longer than 64 MiB", id="long"),
])
def test_damaged_files(bin, tokenizer, content, says):
    fails(bin, program(bin), tokenizer(content), says=says)


@pytest.mark.parametrize("change, says", [
    ({"pre": "unheard-of"}, "the pre-tokenizer 'unheard-of'"),
    ({"types": [1, 1, 6]}, "token 2 is of type 6"),
    ({"tokens": ["a", "b", "a"]}, "tokens 0 and 2 are both 'a'"),
    ({"merges": ["a b", "a  b"]}, "merge 2"),
    ({"merges": ["a c"]}, "its right side 'c'"),
])
def test_refused_metadata(bin, tokenizer, change, says):
    metadata = {"tokens": ["a", "b", "ab"], "types": [1, 1, 1], "merges": ["a b"], "pre": "gpt-2", **change}
    fails(bin, program(bin), "--metadata", tokenizer(json.dumps(metadata)), says=says)


def test_a_pattern_that_explodes_is_an_error(bin, tokenizer):
    path = tokenizer(small(pre_tokenizer=split("(?:a|b|ab)+[cd]")))
    fails(bin, program(bin), path, stdin=b"ab" * 200 + b"\n", says="takes too long")


def test_text_that_is_not_utf8_is_refused(bin, tokenizer):
    for text in (b"\xff", b"ab\xc3", b"\xed\xa0\x80", b"\xc0\x80"):
        fails(bin, program(bin), tokenizer(small()), stdin=text + b"\n", says="not UTF-8")


def test_long_words_take_no_square_of_their_time(bin, tokenizer):
    """A word of 4 MB that merges at every step."""
    vocabulary = {"a" * 2 ** i: i for i in range(12)}
    path = tokenizer(small(model__vocab=vocabulary, added_tokens=[],
                           model__merges=[["a" * 2 ** i] * 2 for i in range(11)]))
    assert encode(bin, path, stdin=b"a" * (1 << 22)).split() == ["11"] * (1 << 11)
