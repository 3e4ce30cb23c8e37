"""Tokenizers that are not byte-level BPE: identical to the tokenizers library, token by token.

The library (PyPI, pinned) runs in a virtual environment of its own; without a network the tests that need it
are skipped, and say so."""

import concurrent.futures
import json
import os

import pytest

import environments

from conftest import ROOT
from helpers import ok, sentences_of
from test_subword import added, encode, program, small
from test_tokenize import LLAMA, read


SCRIPT = ROOT / "tests" / "kinds_oracle.py"
CHUNK = 8  # tokenizers whose tokens are there at a time, for each processor


@pytest.fixture(scope="session")
def library():
    return environments.python(*environments.TOKENIZERS)


@pytest.fixture(scope="session")
def oracle(library, tmp_path_factory):
    """A directory of tokenizers and texts. MIXTURES is the long form: so many tokenizers of mixed settings,
    and all texts for each tokenizer."""
    directory, mixtures = tmp_path_factory.mktemp("kinds"), os.environ.get("MIXTURES")
    environments.run(library, SCRIPT, "make", directory, mixtures or 30, "all" if mixtures else "some")
    return directory


def differences(bin, library, paths):
    """(how many texts these tokenizers had, those of which their tokens differ)."""
    different, counts = [], []
    environments.run(library, SCRIPT, "encode", *paths)
    for path in paths:
        expected = path.with_suffix(".ids").read_text().split("\n")
        texts = path.with_suffix(".texts").read_bytes().decode().split("\0")
        found = ok(bin, program(bin), path, "-0", "-i", path.with_suffix(".texts")).decode().split("\n")
        assert len(found) == len(expected) == len(texts)
        path.with_suffix(".ids").unlink()
        counts.append(len(texts) - 1)
        different += [(path.stem, ascii(text), ours, theirs)
                      for text, ours, theirs in zip(texts, found, expected) if ours != theirs]
    return counts, different


def test_tokens_are_the_librarys(bin, library, oracle):
    """Oracle: tokenizers 0.23.3; each tokenizer has the settings of a family, or a mixture of settings."""
    paths = sorted(oracle.glob("*.json"))
    chunks = [paths[i:i + CHUNK] for i in range(0, len(paths), CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda chunk: differences(bin, library, chunk), chunks))
    counts = [count for some, _ in results for count in some]
    different = [difference for _, some in results for difference in some]
    print(f"{len(counts)} tokenizers, {min(counts)} to {max(counts)} texts each, {sum(counts)} in all,"
          f" {len(different)} different")
    assert max(counts) > 20_000
    assert not different, different[:3]


# ------------------------------------------------------------- without the library

SPACE = "\u2581"
METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": False}
BYTES = {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
PIECES = {"<unk>": 0, "<s>": 1, "</s>": 2, **BYTES, SPACE: 259, "t": 260, "h": 261, "e": 262, "th": 263,
          "the": 264, SPACE + "the": 265, SPACE * 2: 266}
MERGES = [["t", "h"], ["th", "e"], [SPACE, "the"], [SPACE, SPACE]]
LLAMA_LIKE = {"pre_tokenizer": METASPACE, "decoder": None, "model__vocab": PIECES, "model__merges": MERGES,
              "model__byte_fallback": True, "model__fuse_unk": True, "model__unk_token": "<unk>",
              "added_tokens": [added("<unk>", 0), added("<s>", 1), added("</s>", 2)]}
FEW = {**LLAMA_LIKE, "model__vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, SPACE: 3, "t": 4, "<0x41>": 5},
       "model__merges": []}
WORD_PIECES = {"model": {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
                         "max_input_chars_per_word": 100,
                         "vocab": {"<unk>": 0, "the": 1, "un": 2, "##the": 3, ",": 4}},
               "pre_tokenizer": {"type": "BertPreTokenizer"}, "added_tokens": [added("<unk>", 0)],
               "decoder": {"type": "WordPiece", "prefix": "##"}}
SUFFIXES = {"model__vocab": {"<unk>": 0, "t": 1, "t</w>": 2, "tt</w>": 3}, "model__merges": ["t t</w>"],
            "model__end_of_word_suffix": "</w>", "model__unk_token": "<unk>",
            "decoder": {"type": "BPEDecoder"}, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "added_tokens": [added("<unk>", 0)]}


@pytest.fixture
def tokenizer(tmp_path):
    """Writes a tokenizer.json; its path."""
    def write(changes):
        path = tmp_path / "tokenizer.json"
        path.write_text(small(**changes))
        return path
    return write


SCRIPT_WORDS = ["<unk>", "a b", "1.", "\u6f22\u30fc\u304b\u30ab ", "a", "a\U0001fae8", "\u0915\u0953",
                "\u0301", "\u0589.", "\u0531"]
SCRIPTS = {"model": {"type": "WordLevel", "unk_token": "<unk>",
                     "vocab": {word: i for i, word in enumerate(SCRIPT_WORDS)}},
           "pre_tokenizer": {"type": "UnicodeScripts"}, "added_tokens": [added("<unk>", 0)], "decoder": None}


@pytest.mark.parametrize("changes, text, ids, reads", [
    (LLAMA_LIKE, "the the", "265 265", " the the"),
    (LLAMA_LIKE, " the  the", "265 259 265", " the  the"),
    (LLAMA_LIKE, "th\u00e9<s>the", "259 263 198 172 1 264", " th\u00e9<s>the"),
    (FEW, "t\u00e9\u00e9A", "3 4 5 0", " tA<unk>"), # what has no token waits behind bytes, as in the library
    (FEW, "\u00e9t\u00e9", "3 0 4 0", " <unk>t<unk>"),
    (WORD_PIECES, "the unthe, x", "1 2 3 4 0", " the unthe ,<unk>"),
    (SUFFIXES, "tt t x", "3 2 0", "tt t <unk>"),
    # What has no script yet in the library's table goes with what is before it, and is left out before all.
    (SCRIPTS, " \U0001fae8a b1.\u6f22\u30fc\u304b\u30ab a", "1 2 3 4", " a b 1. \u6f22\u30fc\u304b\u30ab  a"),
    (SCRIPTS, "a\U0001fae8\u0915\u0953\u0301z", "5 6 7 0", " a\U0001fae8 \u0915\u0953 \u0301<unk>"),
    (SCRIPTS, "\u0589.\u0531", "8 9", " \u0589. \u0531"),
    (SCRIPTS, "\u0378 \U0001fae8", "", ""),
])
def test_by_hand(bin, tokenizer, changes, text, ids, reads):
    """Ids, and what they read: spaces, bytes in a row, words of several tokens."""
    path = tokenizer(changes)
    assert encode(bin, path, stdin=text.encode() + b"\n") == ids + "\n"
    assert encode(bin, path, "--text", stdin=text.encode() + b"\n") == reads + "\n"


def test_bytes_in_a_row_read_as_the_character_that_they_make_up(bin, tokenizer):
    vocabulary = {**FEW["model__vocab"], "<0xC3>": 6, "<0xA9>": 7, "<0x00>": 8}
    path = tokenizer({**FEW, "model__vocab": vocabulary, "model__merges": []})
    assert encode(bin, path, "--text", stdin="\u00e9".encode()) == " \u00e9\n"


@pytest.mark.parametrize("changes, cannot", [
    # Bytes of characters that have a token, those that UTF-8 does not have, and the space's, which is
    # another.
    (LLAMA_LIKE, {0, 1, 2, *(3 + byte for byte in [*b"the", 0x20, 0xc0, 0xc1, *range(0xf5, 0x100)])}),
    (FEW, {1, 2}), (WORD_PIECES, set()), (SUFFIXES, set())])
def test_which_tokens_a_text_can_have(bin, tokenizer, changes, cannot):
    found = set(map(int, encode(bin, "--candidates", tokenizer(changes)).split()))
    assert found == set(json.loads(small(**changes))["model"]["vocab"].values()) - cannot


def test_a_models_sentences_are_stripped_and_begin_with_their_space(bin, tmp_path):
    (tmp_path / "tokenizer.json").write_text(small(**LLAMA_LIKE))
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "vocab_size": 267, "bos_token_id": 1}))
    stream = read(bin, tmp_path, "  the the \n\tth\n")
    assert [list(tokens) for tokens in sentences_of(stream)] == [[265, 265], [259, 263]]
