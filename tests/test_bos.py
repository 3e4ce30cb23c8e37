"""Which token is BOS: of families' tokenizers as their authors wrote them, against the tokenizers library and
transformers; of what else says so; and what --bos makes of it."""

import json
import pathlib

import pytest

import environments
import gguf_format
import streams
from helpers import fails, ok, pipeline

VOCABULARY = {"a": 0, "b": 1, "ab": 2, "\u0120": 3}
SIZE = 16
SIZES = {
    "vocab_size": SIZE, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
    "intermediate_size": 3
}
RMS = {**SIZES, "hidden_act": "silu", "rms_norm_eps": 1e-5}
CONFIGS = {
    "gpt2": {"vocab_size": SIZE, "n_embd": 4, "n_layer": 1, "n_head": 1, "n_positions": 8},
    "opt": {
        "vocab_size": SIZE, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "ffn_dim": 3
    },
    "falcon": {"vocab_size": SIZE, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1},
    "bloom": {"vocab_size": SIZE, "hidden_size": 4, "n_layer": 1, "n_head": 1},
    "gpt_neox": {**SIZES, "hidden_act": "gelu", "rotary_pct": 1.0},
    "olmo": {**SIZES, "hidden_act": "silu"},
    **{
        name: {**RMS, "num_key_value_heads": 1}
        for name in ("llama", "mistral", "qwen2", "qwen3", "olmo2", "granite")
    },
}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
NFC = {"type": "NFC"}
QWEN = {
    "type": "Sequence", "pretokenizers": [{
        "type": "Split", "pattern": {
            "Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                     r"|\s*[\r\n]+|\s+(?!\S)|\s+"
        }, "behavior": "Isolated", "invert": False
    }, {**LEVEL, "use_regex": False}]
}
END = "<|endoftext|>"


def template(*pieces, ids=None):
    """A TemplateProcessing; a text where "$A" is.  ids: of the special tokens, by default from 4 on."""
    specials = [piece for piece in pieces if piece != "$A"]
    ids = ids or {name: [4 + i] for i, name in enumerate(dict.fromkeys(specials))}
    single = [{"Sequence": {"id": "A", "type_id": 0}}
              if piece == "$A" else {"SpecialToken": {"id": piece, "type_id": 0}} for piece in pieces]
    return {
        "type": "TemplateProcessing", "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {
            name: {"id": name, "ids": ids[name], "tokens": [name] * len(ids[name])}
            for name in specials
        }
    }


def sequence(*processors):
    return {"type": "Sequence", "processors": list(processors)}


def sep_cls(kind, **more):
    return {"type": kind, "sep": ["</s>", 5], "cls": ["<s>", 4], **more}


# By family: model_type, special tokens (of ids 4 and up), post-processor, tokenizer_config.json, bos_token_id
# of config.json, pre-tokenizer and normalizer, and BOS as it is to be.
FAMILIES = {
    "GPT-2": ("gpt2", [END], LEVEL, {"model_max_length": 1024}, 4, LEVEL, None, 4),
    "Pythia": ("gpt_neox", [END, "<|padding|>"], LEVEL, {
        "tokenizer_class": "GPTNeoXTokenizer", "bos_token": END, "eos_token": END, "unk_token": END,
        "add_prefix_space": False
    }, 4, LEVEL, NFC, 4),
    "OPT": ("opt", ["<pad>", "</s>"], None, {
        "tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False,
        "bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"
    }, 5, None, None, 5),
    "Llama 3": ("llama", ["<|begin_of_text|>",
                          "<|end_of_text|>"], sequence(LEVEL, template("<|begin_of_text|>", "$A")), {
                              "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
                              "eos_token": "<|end_of_text|>"
                          }, 4, LEVEL, None, 4),
    "Mistral Nemo": ("mistral", ["<s>", "</s>"], template("<s>", "$A"), {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True, "add_eos_token": False,
        "bos_token": "<s>", "eos_token": "</s>"
    }, 4, LEVEL, None, 4),
    "DeepSeek": ("llama", ["<begin>", "<end>"], template("<begin>", "$A"), {
        "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False,
        "bos_token": "<begin>", "eos_token": "<end>", "unk_token": None
    }, 4, LEVEL, None, 4),
    "Qwen2": ("qwen2", [END, "<|im_end|>"], LEVEL, {
        "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>", "pad_token": END,
        "unk_token": None, "add_prefix_space": False
    }, 4, QWEN, NFC, None),
    "Qwen3": ("qwen3", [END, "<|im_end|>"], LEVEL, {
        "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False, "bos_token": None,
        "eos_token": "<|im_end|>", "pad_token": END, "unk_token": None
    }, 4, QWEN, NFC, None),
    "Qwen's class, which names no BOS":
        ("qwen2", [END, "<|im_end|>"], LEVEL, {"tokenizer_class": "Qwen2Tokenizer"}, 4, QWEN, NFC, None),
    "OLMo": ("olmo", [END, "<|padding|>"], template("$A"), {
        "tokenizer_class": "GPTNeoXTokenizer", "bos_token": None, "eos_token": END,
        "pad_token": "<|padding|>", "unk_token": None
    }, None, LEVEL, NFC, None),
    "OLMo 2": ("olmo2", [END], LEVEL, {
        "tokenizer_class": "GPT2Tokenizer", "add_bos_token": False, "bos_token": END, "eos_token": END,
        "unk_token": END
    }, None, LEVEL, None, 4),
    "Falcon": ("falcon", [END, ">>TITLE<<"], LEVEL,
               {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False,
                "eos_token": END}, 4, LEVEL, None, None),
    "SmolLM2": ("llama", [END, "<|im_start|>", "<|im_end|>"], None, {
        "tokenizer_class": "GPT2Tokenizer", "bos_token": END, "eos_token": END, "unk_token": END,
        "vocab_size": SIZE
    }, 4, LEVEL, None, 4),
    "BLOOM": ("bloom", ["<unk>", "<s>", "</s>", "<pad>"], LEVEL, {
        "tokenizer_class": "BloomTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "pad_token": "<pad>", "add_prefix_space": False
    }, 5, LEVEL, None, 5),
    "Granite": ("granite", [END], LEVEL,
                {"tokenizer_class": "GPT2Tokenizer", "bos_token": END, "eos_token": END,
                 "unk_token": END}, 4, LEVEL, None, 4),
    "RoBERTa's post-processor": ("llama", ["<s>", "</s>"],
                                 sep_cls("RobertaProcessing", trim_offsets=True, add_prefix_space=False),
                                 {"tokenizer_class": "PreTrainedTokenizerFast"}, 5, LEVEL, None, 4),
    "BERT's post-processor": ("llama", ["<s>", "</s>"], sep_cls("BertProcessing"),
                              {"tokenizer_class": "PreTrainedTokenizerFast"}, None, LEVEL, None, 4),
    "of another token than the configuration":
        ("llama", ["<s>", "</s>"], template("</s>", "$A", "<s>", ids={"<s>": [4], "</s>": [5]}),
         {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>",
          "add_bos_token": False}, 4, LEVEL, None, 5),
}


def write(folder, model_type, specials, post, settings, bos, pre, normalizer):
    folder.mkdir(parents=True)
    vocabulary = {**VOCABULARY, **{name: 4 + i for i, name in enumerate(specials)}}
    added = [{
        "id": vocabulary[name], "content": name, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": True
    } for name in specials]
    (folder / "config.json").write_text(
        json.dumps({"model_type": model_type, "bos_token_id": bos, **CONFIGS[model_type]}))
    settings = {name: value for name, value in settings.items() if name != "vocab_size"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if pre:
        (folder / "tokenizer.json").write_text(
            json.dumps({
                "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
                "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": LEVEL,
                "model": {"type": "BPE", "vocab": vocabulary, "merges": ["a b"]}
            }))
    else:
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    return folder


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """The folders, and what the libraries make of them."""
    place = tmp_path_factory.mktemp("families-bos")
    for name, (*parts, _) in FAMILIES.items():
        write(place / name, *parts)
    script = pathlib.Path(__file__).with_name("bos_oracle.py")
    return place, json.loads(environments.run(environments.python(*environments.TRANSFORMERS), script, place))


def bos_of(bin, model, *options):
    return streams.read(ok(bin, "tokenize", "-m", model, *options,
                           stdin=b"ab a\n")).header["tokenizer"]["bos"]


@pytest.mark.parametrize("name", FAMILIES)
def test_bos_is_the_libraries(bin, families, name):
    """Oracle: what the library's post-processor puts before a text; else transformers' bos_token."""
    place, found = families
    bos = bos_of(bin, place / name)
    assert bos == FAMILIES[name][-1] == found[name]["bos"]
    assert not found[name]["put"] or found[name]["put"] == [bos]
    stream = streams.read(ok(bin, "tokenize", "-m", place / name, stdin=b"aba\n"))
    assert stream.records[0]["tok"].tolist() == [2, 0]  # BOS is no token of the sentence


PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast"}


@pytest.mark.parametrize("settings, bos, expected", [(PLAIN, 5, 5), (PLAIN, [5, 4], 5), (PLAIN, None, None),
                                                     ({**PLAIN, "bos_token": "<s>"}, 5, 4),
                                                     ({**PLAIN, "bos_token": {"content": "<s>"}}, None, 4),
                                                     ({**PLAIN, "bos_token": None}, 5, None),
                                                     ({**PLAIN, "unk_token": None}, 5, 5),
                                                     ({**PLAIN, "pad_token": "</s>"}, 5, None)])
def test_bos_without_a_post_processor(bin, tmp_path, settings, bos, expected):
    """Expected by the manual: the settings' bos_token, none where they name others; else config.json's."""
    assert bos_of(bin, write(tmp_path / "m", "llama", ["<s>", "</s>"], None, settings, bos, LEVEL,
                             None)) == expected


def test_special_tokens_map_names_it(bin, tmp_path):
    model = write(tmp_path / "m", "llama", ["<s>", "</s>"], None, PLAIN, None, LEVEL, None)
    (model / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": {"content": "</s>", "lstrip": False}}))
    assert bos_of(bin, model) == 5


@pytest.mark.parametrize("post, says", [
    (template("<s>", "</s>", "$A"), "several tokens before a text"),
    (template("<s>", "$A", ids={"<s>": [4, 5]}), "several tokens before a text"),
    (sequence(template("<s>", "$A"), sep_cls("BertProcessing")), "several tokens before a text"),
    ({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]
      }, "the special token '<s>' has no ids"),
    (template("<s>", "$A", ids={"<s>": ["4"]}), "id is missing or out of range"),
    (template("<s>", "$A", ids={"<s>": [-1]}), "id is missing or out of range"),
    (template("<s>", "$A", ids={"<s>": [1 << 32]}), "id is missing or out of range"),
    (template("<s>", "$A", ids={"<s>": [SIZE]
                                }), f"puts token {SIZE} before a text, the model has a vocabulary of {SIZE}"),
    ({"type": "BertProcessing", "sep": ["</s>", 5]}, "id is missing or out of range"),
    (template("<s>"), "'single' must be a list of special tokens and a text"),
    ({"type": "TemplateProcessing", "single": "<s> $A"}, "'single' must be a list"),
    ({"type": "TemplateProcessing", "single": [{"Other": {}}]}, "'single' must be a list"),
    ({"type": "Reversed"}, "post_processor 'Reversed' is not known"),
    ([], "an object with a 'type'"),
    ({"type": "Sequence"}, "post_processor 'Sequence' is not known"),
])
def test_post_processors_that_are_refused(bin, tmp_path, post, says):
    model = write(tmp_path / "m", "llama", ["<s>", "</s>"], post, PLAIN, 4, LEVEL, None)
    fails(bin, "tokenize", "-m", model, stdin=b"ab\n", says=says)


def test_sequences_within_each_other(bin, tmp_path):
    for depth, good in (7, True), (9, False):
        post = template("<s>", "$A")
        for _ in range(depth):
            post = sequence(LEVEL, post)
        model = write(tmp_path / str(depth), "llama", ["<s>", "</s>"], post, PLAIN, 5, LEVEL, None)
        if good:
            assert bos_of(bin, model) == 4
        else:
            fails(bin, "tokenize", "-m", model, stdin=b"ab\n", says="post_processor 'Sequence' is not known")


# --------------------------------------------------------------------- GGUF


def write_gguf(path, pre, bos, adds):
    numbers = {"embedding_length": 4, "block_count": 1, "feed_forward_length": 3, "attention.head_count": 1}
    keys = [("general.architecture", "string", "llama"),
            *((f"llama.{key}", "uint32", n) for key, n in numbers.items()),
            ("llama.attention.layer_norm_rms_epsilon", "float32", 1e-5),
            ("tokenizer.ggml.model", "string", "gpt2"), ("tokenizer.ggml.pre", "string", pre),
            ("tokenizer.ggml.tokens", ("array", "string"), [*VOCABULARY, "<s>"]),
            ("tokenizer.ggml.merges", ("array", "string"), ["a b"])]
    if bos is not None:
        keys.append(("tokenizer.ggml.bos_token_id", "uint32", bos))
    if adds is not None:
        keys.append(("tokenizer.ggml.add_bos_token", "bool", adds))
    path.write_bytes(gguf_format.build(keys))
    return path


@pytest.mark.parametrize("pre, bos, adds, expected", [("gpt-2", 4, None, 4), ("gpt-2", 4, False, 4),
                                                      ("gpt-2", 0, True, 0), ("gpt-2", None, None, None),
                                                      ("gpt-2", None, False, None), ("smollm", 4, False, 4),
                                                      ("llama-bpe", 4, True, 4), ("qwen2", 4, False, None),
                                                      ("qwen2", 4, None, None), ("qwen2", 4, True, 4)])
def test_bos_of_gguf_files(bin, tmp_path, pre, bos, adds, expected):
    """Expected by the manual: the file's; of Qwen's tokenizer only where it is to be added."""
    assert bos_of(bin, write_gguf(tmp_path / "m.gguf", pre, bos, adds)) == expected


# -------------------------------------------------------------------- --bos


def test_bos_can_be_said(bin, tmp_path):
    model = write(tmp_path / "m", "llama", ["<s>", "</s>"], template("<s>", "$A"), PLAIN, 4, LEVEL, None)
    assert bos_of(bin, model) == 4
    assert bos_of(bin, model, "--bos", "</s>") == 5 and bos_of(bin, model, "--bos", "none") is None
    assert bos_of(bin, model, "--bos", "ab") == 2
    fails(bin, "tokenize", "-m", model, "--bos", "<x>", stdin=b"ab\n", status=2,
          says="--bos '<x>' is not one token")


def test_what_is_said_is_what_is_read(bin, small_model):
    """forward-dump goes by the header: numbers differ with BOS, and are those of the model whose it is."""

    def maxima(*options, model=small_model):
        data = pipeline(bin, ["tokenize", "-m", small_model, *options], ["forward-dump", "-m", model],
                        stdin=b"w5 w6 w7\n")
        return [record["max"].tolist() for record in streams.read(data).records if "max" in record]

    assert maxima() == maxima("--bos", "</s>") != maxima("--bos", "<s>") != maxima("--bos", "none")


def test_bos_beyond_the_vocabulary_is_refused(bin, small_model):
    stream = streams.read(ok(bin, "tokenize", "-m", small_model, stdin=b"w5 w6\n"))
    for bos in (100, -1, "2", True):
        header = {**stream.header, "tokenizer": {**stream.header["tokenizer"], "bos": bos}}
        fails(bin, "forward-dump", "-m", small_model, stdin=streams.write(header, stream.records),
              says="the header's tokenizer.bos is not a number from 0 to 99")
