"""Every reader of text takes a time that grows with the text's length, not with its square.

What is compared is a program's own processor time, for two lengths in one ratio: a slow machine slows both. A
linear program is three times below the bound, and has three attempts."""

import resource
import subprocess
import tempfile
import unicodedata

import pytest

import expressions
from helpers import command, environment, ok
from test_subword import BYTE_LEVEL, added, program, small
from test_tokenize import gpt2_characters

RATIO = 8           # of the two lengths
MOST = 3 * RATIO    # of the two times; a square is RATIO ** 2
LEAST_TIME = 0.02   # seconds; below, a time is mostly the program's start
SHORT = 1 << 16     # bytes

TEXTS = {
    "a mark": "\u0301", "marks": "\u0301\u0316", "marks of marks": "\u0345\u0301\u0334\u0f73\u0344",
    "vowel signs": "\u0bbe", "jamo": "\u1161", "spaces": " ", "wide spaces": "\u00a0\u3000", "a letter": "a",
    "capitals": "A", "an emoji": "\U0001f469\u200d", "no spaces": "Thequickbrownfox", "newlines": "\n",
    "line ends": "\r\n", "punctuation": ".", "signs": "?!.\"'(", "digits": "1", "Thai": "\u0e01\u0e32",
    "Chinese": "\u4e2d", "words": "'s a ", "added tokens": "<s> ", "abbreviations": "Mr. ",
    "short lines": "word and more\n",
}


def split(*rules):
    return {"type": "Sequence", "pretokenizers": [
        *({"type": "Split", "pattern": {"Regex": rule}, "behavior": "Isolated", "invert": False}
          for rule in rules),
        {**BYTE_LEVEL, "use_regex": False}]}


FORM_C = {"type": "NFC"}
ADDED = [added("<s>", 300, single_word=True, lstrip=True, rstrip=True, normalized=True),
         added("a" * 24 + "!", 301, lstrip=True)]
LLAMA = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
PLAIN = {"type": "Sequence", "normalizers": [
    {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "Strip"},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}
TOKENIZERS = {
    "characters": {"normalizer": LLAMA, "pre_tokenizer": None},
    "plain words": {"normalizer": PLAIN, "pre_tokenizer": {"type": "Whitespace"}},
    "bert": {"normalizer": {"type": "BertNormalizer"}, "pre_tokenizer": {"type": "BertPreTokenizer"}},
    "gpt-2": {}, "gpt-2 form C": {"normalizer": FORM_C, "added_tokens": ADDED},
    "prefix": {"pre_tokenizer": {**BYTE_LEVEL, "add_prefix_space": True}},
    "llama": {"pre_tokenizer": split(expressions.LLAMA3), "model__ignore_merges": True},
    "qwen2": {"pre_tokenizer": split(expressions.QWEN2), "normalizer": FORM_C},
    "gpt-4o": {"pre_tokenizer": split(expressions.GPT4O)},
    "llama.cpp": {"pre_tokenizer": split(*expressions.LLAMA_CPP)},
    "deepseek": {"pre_tokenizer": split(*expressions.DEEPSEEK)},
    "smollm": {"pre_tokenizer": {"type": "Sequence",
                                 "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                                   BYTE_LEVEL]}},
}


def vocabulary():
    """All bytes, and merges that words of the texts above go through."""
    tokens = {character: i for i, character in enumerate(gpt2_characters())}
    merges = []
    for left, right in [("a", "a"), ("aa", "aa"), ("\u0120", "\u0120"), (".", "."), ("1", "1"),
                        ("\u00cc", "\u0123"),
                        ("\u00cc\u0123", "\u00cc\u0123"), ("\u010a", "\u010a")]:
        tokens[left + right] = len(tokens)
        merges.append([left, right])
    tokens.update((f"<unused {i}>", i) for i in range(len(tokens), 300))
    return {"model__vocab": tokens, "model__merges": merges}


def seconds(argv, data):
    """Of the program's own processor time."""
    with tempfile.TemporaryFile() as source:
        source.write(data)
        source.seek(0)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(argv, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=environment(), check=False, timeout=300)
        assert done.returncode == 0 or b"there is no sentence in it" in done.stderr, done.stderr
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def assert_linear(argv, what, text, short=SHORT, ratio=RATIO):
    times = []
    for _ in range(3):
        few, many = (seconds(argv, ("b" + text * (length // len(text.encode())) + "b").encode())
                     for length in (short, ratio * short))
        times.append((few, many))
        if many < MOST / RATIO * ratio * max(few, LEAST_TIME):
            return
    raise AssertionError(f"{what}: {times} seconds for {ratio} times the text")


@pytest.mark.release_only
@pytest.mark.parametrize("name", TOKENIZERS)
def test_byte_pairs_take_no_square_of_their_time(bin, tmp_path, name):
    path = tmp_path / "tokenizer.json"
    path.write_text(small(**vocabulary(), **{"added_tokens": [], **TOKENIZERS[name]}))
    for what, text in TEXTS.items():
        assert_linear(command(bin, program(bin), "-0", path), what, text)


@pytest.mark.release_only
@pytest.mark.parametrize("mode", ["lines", "wikitext", "raw"])
def test_words_take_no_square_of_their_time(bin, small_model, mode):
    for what, text in TEXTS.items():
        assert_linear(command(bin, "tokenize", "-m", small_model, "--mode", mode, "--long", "skip"), what,
                      text)


@pytest.mark.release_only
def test_a_sentence_of_many_lines_takes_no_square_of_its_time(bin, small_model):
    """Once a sentence that was not complete was searched again for every MiB of it."""
    argv = command(bin, "tokenize", "-m", small_model, "--mode", "raw", "--long", "skip")
    assert_linear(argv, "lines", TEXTS["short lines"], short=15 << 18, ratio=16)


@pytest.mark.parametrize("marks", ["\u0301\u0316", "\u0316\u0345\u0301\u0334",
                                   "\u0344\u0f73\u0340\u0343\u0316", "\u3099\u0301\u093c",
                                   "\U0001d165\U0001d16e\u0301", "\u0301\u1dfb\u0316"])
def test_long_runs_of_marks_are_in_form_c(bin, tmp_path, marks):
    """Oracle: unicodedata; tokens are bytes. U+1DFB is of Unicode 9, which the tokenizers library knows."""
    path = tmp_path / "tokenizer.json"
    path.write_text(small(**vocabulary(), normalizer=FORM_C, added_tokens=[]))
    texts = ["e" + marks * n + end for n in (1, 5, 20, 40, 300, 1500)
             for end in ("", "e\u0301", "\u304b\u3099")]
    done = ok(bin, program(bin), "--text", "-0", path, stdin="".join(text + "\0" for text in texts).encode())
    assert done.decode().split("\0")[:-1] == [unicodedata.normalize("NFC", text) for text in texts]
