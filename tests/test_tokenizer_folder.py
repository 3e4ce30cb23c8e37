"""A model folder's tokenizer: identical to what transformers' AutoTokenizer makes of the same files, token by
token, or refused by name.

The library (PyPI, pinned) runs in a virtual environment of its own; without a network the test that needs it
is skipped, and says so."""

import copy
import json

import pytest

import environments

from conftest import ROOT
from helpers import fails, ok, run
from test_subword import encode, program, small
from test_tokenize import LLAMA, llama_folder, llama_gguf


@pytest.fixture(scope="session")
def oracle(tmp_path_factory):
    """Folders, texts, and what transformers makes of them."""
    directory = tmp_path_factory.mktemp("folders")
    environments.run(environments.python(*environments.TRANSFORMERS), ROOT / "tests" / "folder_oracle.py",
                     directory)
    return directory


def tokens_or_message(bin, oracle, name, model_type):
    done = run(bin, program(bin), "--folder", model_type, "-0", "-i", oracle / "texts", oracle / name)
    if done.returncode == 0:
        return [[int(token) for token in line.split()] for line in done.stdout.decode().split("\n")[:-1]], \
            None
    assert done.returncode == 1
    return None, done.stderr.decode()


@pytest.mark.release_only
def test_tokens_are_those_of_transformers(bin, oracle):
    """Oracle: transformers 5.23's AutoTokenizer. What contradicts itself may be refused, by the file's
    name."""
    index = json.loads((oracle / "index.json").read_text())
    found = {name: tokens_or_message(bin, oracle, name, case["model_type"]) for name, case in index.items()}
    different = [name for name, (tokens, _) in found.items() if tokens is not None
                 and tokens != index[name]["ids"]]
    assert not different, different
    read = {name for name, (tokens, _) in found.items() if tokens is not None}
    assert len(read) > len(index) / 2
    for model_type in "gpt2", "opt", "gpt_neox", "llama", "mistral", "qwen2", "qwen3":
        assert {f"{model_type}-fast", f"{model_type}-fast-harmless"} <= read
    for model_type in "gpt2", "opt", "gpt_neox", "qwen2", "qwen3":
        for what in "", "-harmless", "-prefix", "-added", "-decoder", "-map":
            assert f"{model_type}-slow{what}" in read
    assert all(name in read for name in index if name.startswith("family-"))
    for name in "llama-first-0", "llama-first-3", "llama-always-1", "llama-always-2", "llama-never-1":
        assert f"spaces-{name}-LlamaTokenizer" in read
    for name, (tokens, message) in found.items():
        if tokens is None:
            assert str(oracle / name) in message and message.count("\n") == 1


# ------------------------------------------------------------- without the library

END = "<|endoftext|>"
VOCABULARY = {"a": 0, "b": 1, "ab": 2, "\u0120": 3, END: 4, "\u0120a": 5}


@pytest.fixture
def folder(tmp_path):
    """Writes vocab.json, merges.txt and other files (__ for a dot; None: no such file)."""
    def write(**files):
        contents = {"vocab.json": VOCABULARY, "merges.txt": "#version: 0.2\na b\n\u0120 a\n",
                    **{name.replace("__", "."): content for name, content in files.items()}}
        for name, content in contents.items():
            if content is None:
                (tmp_path / name).unlink(missing_ok=True)
            else:
                (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content),
                                             encoding="utf-8")
        return tmp_path
    return write


@pytest.mark.parametrize("model_type, files, text, tokens", [
    ("gpt2", {}, f"a{END}b", "0 4 1"),
    ("gpt2", {"special_tokens_map__json": {"eos_token": "ab"}}, f"ab{END}", "2 4"),
    ("gpt2", {"tokenizer_config__json": {"add_prefix_space": True}}, "ab a", "3 2 5"),
    ("gpt2", {"added_tokens__json": {"<x>": 6}}, "a<x>b", "0 6 1"),
    ("qwen2", {"added_tokens__json": {"<x>": 6, "ba": 7}}, "a<x>baab", "0 6 7 2"),
    ("llama", {"tokenizer_config__json": {"tokenizer_class": "GPT2TokenizerFast"}}, "a ab", "0 3 2"),
    ("gpt2", {"tokenizer_config__json": {"added_tokens_decoder": {"4": {"content": END, "lstrip": True}}}},
     f"a {END} a", "0 4 5"),
    ("qwen3", {"tokenizer_config__json": {"pad_token": "b", "additional_special_tokens": ["<q>"]}}, "abab<q>",
     "0 1 0 1 6"),
    ("llama", {"tokenizer__json": small(), "tokenizer_config__json": {"eos_token": "c"}}, "abc", "4 2"),
])
def test_by_hand(bin, folder, model_type, files, text, tokens):
    assert encode(bin, "--folder", model_type, folder(**files), stdin=text.encode() + b"\n") == tokens + "\n"


@pytest.mark.parametrize("model_type, files, says", [
    ("llama", {}, "how vocab.json and merges.txt split text is not said"),
    ("gpt2", {"merges__txt": None}, "merges.txt is missing beside vocab.json"),
    ("gpt2", {"vocab__json": None}, "vocab.json is missing beside merges.txt"),
    ("gpt2", {"vocab__json": [1]},
     "vocab.json: not a JSON object but a list; it must be tokens and their ids"),
    ("gpt2", {"special_tokens_map__json": [{"bos_token": "a"}]},
     "special_tokens_map.json: not a JSON object but a list; it must be names and texts of special tokens: "
     "{\"bos_token\": \"<s>\"}"),
    ("gpt2", {"special_tokens_map__json": "{"}, "special_tokens_map.json: line 1"),
    ("gpt2", {"special_tokens_map__json": {"bos_token": 5}},
     "special_tokens_map.json: 'bos_token' is no name"),
    ("gpt2", {"special_tokens_map__json": {"bos_token": {"text": "a"}}},
     "bos_token: text, or an object with 'content'"),
    ("gpt2", {"special_tokens_map__json": {"begin": "a"}}, "'begin' is no name of a special token"),
    ("gpt2", {"special_tokens_map__json": {"additional_special_tokens": [{"content": "a"}]}},
     "must be a list of texts"),
    ("gpt2", {"special_tokens_map__json": {"bos_token": {"content": "a", "fancy": True}}},
     "the setting 'fancy'"),
    ("gpt2", {"tokenizer_config__json": {"bos_token": True}}, "the setting 'bos_token'"),
    ("gpt2", {"tokenizer_config__json": {"split_special_tokens": True}}, "'split_special_tokens'"),
    ("gpt2", {"tokenizer_config__json": {"do_lower_case": True}}, "'do_lower_case'"),
    ("gpt2", {"tokenizer_config__json": {"lowercase": True}}, "'lowercase'"),
    ("gpt2", {"tokenizer_config__json": {"add_prefix_space": "no"}},
     "'add_prefix_space' must be true or false"),
    ("gpt2", {"tokenizer_config__json": {"tokenizer_class": "RobertaTokenizer"}},
     "tokenizer_class 'RobertaTokenizer' is not known"),
    ("gpt2", {"tokenizer_config__json": {"tokenizer_class": 5}}, "'tokenizer_class' must be text"),
    ("gpt2", {"tokenizer_config__json": {"added_tokens_decoder": []}}, "an object of ids and tokens"),
    ("gpt2", {"tokenizer_config__json": {"added_tokens_decoder": {"x": {"content": "a"}}}},
     "the id of 'a' must be a whole number"),
    ("gpt2", {"tokenizer_config__json": {"added_tokens_decoder": {"5": {"content": "a"}}}},
     "'a' has id 5, but"),
    ("gpt2", {"tokenizer_config__json": {"added_tokens_decoder": {"0": {"content": "a", "stem": 1}}}},
     "the setting 'stem'"),
    ("gpt2", {"tokenizer_config__json": {"extra_special_tokens": 5}}, "extra_special_tokens must be a list"),
    ("gpt2", {"added_tokens__json": {"<x>": 9}},
     "added_tokens.json: added tokens: '<x>' has id 9, but the tokenizers library would give it 6"),
    ("gpt2", {"added_tokens__json": {"<x>": "6"}}, "the id of '<x>' must be a whole number"),
    ("gpt2", {"added_tokens__json": {"<x>": 6, "<y>": 6}}, "has id 6, and so has"),
    ("gpt2", {"tokenizer__json": small(normalizer={"type": "NFC"})},
     "normalizer is not that of the tokenizer_class, GPT2Tokenizer"),
    ("gpt2", {"tokenizer__json": small(model__unk_token="a")},
     "unk_token is not that of the tokenizer_class"),
    ("gpt2", {"tokenizer__json": small(model__ignore_merges=True)},
     "ignore_merges is not that of the tokenizer_class"),
    ("qwen2", {"tokenizer__json": small()},
     "pre_tokenizer is not that of the tokenizer_class, Qwen2Tokenizer"),
    ("llama", {"tokenizer__json": small(), "tokenizer_config__json": {"add_prefix_space": True}},
     "make them agree"),
    ("llama", {"tokenizer__json": small(), "added_tokens__json": {"<s>": 3}},
     "'<s>' has id 3, and id 8 in another file"),
    ("gpt2", {"tokenizer__json": small(),
              "tokenizer_config__json": {"added_tokens_decoder": {"0": {"content": "a"}}}},
     "added token '<s>' of tokenizer.json is not in added_tokens_decoder"),
])
def test_refused(bin, folder, model_type, files, says):
    place = folder(**files)
    assert str(place) in fails(bin, program(bin), "--folder", model_type, place, says=says)


def keys(value, path=()):
    """Where the keys of JSON objects stand: (key, ..., key)."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield (*path, key)
            yield from keys(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from keys(member, (*path, index))


def renamed(value, path):
    """With the key at path called otherwise."""
    value = copy.deepcopy(value)
    owner = value
    for key in path[:-1]:
        owner = owner[key]
    owner[f"{path[-1]}_x"] = owner.pop(path[-1])
    return value


def test_every_key_that_is_not_known_is_refused_by_name(bin, folder):
    """Every key of every file in turn is called otherwise, as if it were a setting of tomorrow. Keys that are
    tokens, ids, or names of special tokens' own say what they say."""
    full = json.loads(small())
    token = full["added_tokens"][0]
    files = {
        "tokenizer.json": full,
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False,
                                  "legacy": True,
                                  "pad_token": {"__type": "AddedToken",
                                                **{k: v for k, v in token.items() if k != "id"}},
                                  "eos_token": "<s>", "model_max_length": 5, "split_special_tokens": False,
                                  "additional_special_tokens": ["a"]},
        "special_tokens_map.json": {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "<s>"},
    }
    place = folder(**{name.replace(".", "__"): content for name, content in files.items()})
    encode(bin, "--folder", "llama", place, stdin=b"ab\n")
    walked = 0
    for name, content in files.items():
        for path in keys(content):
            if path[:2] == ("model", "vocab") and len(path) > 2:
                continue
            folder(**{name.replace(".", "__"): renamed(content, path)})
            done = run(bin, program(bin), "--folder", "llama", place, stdin=b"ab\n")
            assert done.returncode == 1 and str(path[-1]) in done.stderr.decode(), (name, path, done.stderr)
            walked += 1
        folder(**{name.replace(".", "__"): content})
    assert walked > 40


# ------------------------------------------------------------------ GGUF metadata

@pytest.mark.parametrize("key, kind, value, says", [
    ("add_space_prefix", "bool", 1, "tokenizer.ggml.add_space_prefix is true"),
    ("remove_extra_whitespaces", "bool", 1, "tokenizer.ggml.remove_extra_whitespaces is true"),
    ("precompiled_charsmap", ("array", "uint8"), [1, 2],
     "does not know what tokenizer.ggml.precompiled_charsmap does"),
    ("added_tokens", ("array", "string"), ["<x>"], "does not know what tokenizer.ggml.added_tokens does"),
    ("normalizer.lowercase", "bool", 0, "does not know what tokenizer.ggml.normalizer.lowercase does"),
    ("add_space_prefix", "bool", 0, None), ("remove_extra_whitespaces", "bool", 0, None),
    ("eot_token_id", "uint32", 1, None),
    ("scores", ("array", "float32"), [0.0] * 5, None), ("add_bos_token", "bool", 1, None),
])
def test_every_key_of_a_gguf_tokenizer_is_known_or_refused_by_name(bin, tmp_path, key, kind, value, says):
    model = llama_gguf(tmp_path / "model.gguf", 4, [(f"tokenizer.ggml.{key}", kind, value)])
    if says:
        fails(bin, "tokenize", "-m", model, stdin=b"ab\n", says=f"{model}: ")
        fails(bin, "tokenize", "-m", model, stdin=b"ab\n", says=says)
    else:
        assert ok(bin, "tokenize", "-m", model, stdin=b"ab\n") \
            == ok(bin, "tokenize", "-m", llama_gguf(tmp_path / "plain.gguf", 4), stdin=b"ab\n")


# ---------------------------------------------------------------------- messages

def test_a_folder_without_a_tokenizer_says_what_is_missing(bin, tmp_path):
    model = llama_folder(tmp_path / "model", 4)
    (model / "tokenizer.json").unlink()
    message = fails(bin, "tokenize", "-m", model, stdin=b"ab\n",
                    says=f"{model}: there is no tokenizer: it is to be in tokenizer.json")
    assert "in vocab.json and merges.txt, or in tokenizer.model; copy what there is of them" in message
    assert "dict.txt" not in message


def test_a_folder_without_words_names_every_file_that_would_do(bin, small_model, tmp_path):
    """A family that may have a list of words."""
    for name in "config.json", "model.safetensors":
        (tmp_path / name).symlink_to(small_model / name)
    message = fails(bin, "tokenize", "-m", tmp_path, stdin=b"w5\n",
                    says=f"{tmp_path}: there is no tokenizer: ")
    assert "in vocab.json and merges.txt, or in tokenizer.model, or in dict.txt; " in message


def test_tokens_beyond_the_models_vocabulary_are_refused(bin, tmp_path):
    model = llama_folder(tmp_path / "model", 4)
    (model / "added_tokens.json").write_text(json.dumps({"<x>": 5}))
    fails(bin, "tokenize", "-m", model, stdin=b"ab\n",
          says="the tokenizer has 6 tokens, the model a vocabulary of 5")
    (model / "config.json").write_text(json.dumps({**LLAMA, "vocab_size": 6, "bos_token_id": 4}))
    ok(bin, "tokenize", "-m", model, stdin=b"ab<x>\n")
