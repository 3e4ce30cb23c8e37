"""fuzz_seeds.py FOLDER BIN: files for the fuzzers to begin with, in FOLDER/NAME-seeds/; streams are made by
the tools in BIN."""

import base64
import json
import pathlib
import struct
import sys
import tempfile

import fault_inputs
import gguf_format as form
import random_model
import streams
import test_subword as bpe
import test_gguf as gguf
import test_tokenizer_kinds as kinds
import test_sentencepiece as pieces
from helpers import ok

ROOT = pathlib.Path(__file__).resolve().parent
MAX_BYTES = 4096


def files(**contents):
    """Several files as one, as fuzz_files takes them apart; __ in a name is a dot."""
    return b"\n".join(b"%% " + name.replace("__", ".").encode() + b"\n" + content
                      for name, content in contents.items())


def tensors(**entries):
    """A safetensors file of {name: (dtype, shape, bytes)}."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, content) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def weights_seeds():
    ones = {"F32": struct.pack("<f", 1), "F16": b"\0\x3c", "BF16": b"\x80\x3f"}
    a = tensors(norm=("F32", [3], 3 * ones["F32"]), half=("F16", [2, 2], 4 * ones["F16"]))
    b = tensors(brain=("BF16", [2, 1], 2 * ones["BF16"]), none=("F32", [0, 4], b""),
                deep=("F16", [1, 1, 1], ones["F16"]))
    index = json.dumps({"metadata": {"total_size": 28},
                        "weight_map": {"norm": "a", "half": "a", "brain": "b"}}).encode()
    return {"one": files(model__safetensors=a),
            "nan": files(model__safetensors=tensors(x=("F32", [1], b"\xff" * 4))),
            "shards": files(model__safetensors__index__json=index, a=a, b=b),
            "missing": files(model__safetensors__index__json=index, a=a)}


def tokenizer_seeds():
    text = "ab <s>abcab\u00e9 e\u0301\n  12 don't\tab!?\n".encode()
    refused = [parameter for mark in bpe.test_refused.pytestmark for parameter in mark.args[1]]
    by_hand = [parameter for mark in bpe.test_by_hand.pytestmark for parameter in mark.args[1]]
    seeds = {f"json-{i}": files(tokenizer__json=bpe.small(**changes).encode(), text=text)
             for i, (changes, *_) in enumerate([*refused, *by_hand])}
    vocabulary = json.dumps({"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120a": 4, "<s>": 5}).encode()
    specials = json.dumps({"bos_token": "<s>", "unk_token": {"content": "b"}}).encode()
    pair = {"vocab__json": vocabulary, "merges__txt": b"#version: 0.2\na b\n\xc4\xa0 a\n"}
    for name in "GPT2Tokenizer", "GPTNeoXTokenizerFast", "Qwen2Tokenizer":
        settings = {"tokenizer_class": name, "add_prefix_space": True, "eos_token": "<s>", "x_token": "b",
                    "unk_token": None,
                    "pad_token": {"__type": "AddedToken", "content": "<p>", "lstrip": True},
                    "additional_special_tokens": ["<q>", "a"]}
        seeds[name] = files(**pair, text=text, tokenizer_config__json=json.dumps(settings).encode(),
                            special_tokens_map__json=specials, added_tokens__json=b'{"<x>": 6, "<y>": 7}')
        settings["added_tokens_decoder"] = {"5": {"content": "<s>", "rstrip": True},
                                            "6": {"content": "<z>", "special": True}}
        seeds[f"{name}-decoder"] = files(**pair, text=b"!\n",
                                         tokenizer_config__json=json.dumps(settings).encode())
    spaces = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": kinds.SPACE}, {
        "type": "Replace", "pattern": {"String": " "}, "content": kinds.SPACE}]}
    steps = [*({"type": name} for name in ("NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt",
                                           "ByteLevel", "BertNormalizer", "Strip")),
             {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]
    splits = [*({"type": name}
                for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "Punctuation")),
              {"type": "CharDelimiterSplit", "delimiter": "b"}, {**kinds.METASPACE, "split": True},
              bpe.BYTE_LEVEL]
    for name, changes in {"few": kinds.FEW, "word-pieces": kinds.WORD_PIECES,
                          "suffixes": kinds.SUFFIXES}.items():
        seeds[name] = files(tokenizer__json=bpe.small(**changes).encode(), text=text)
        for i, (normalizer, split) in enumerate(zip([*steps, spaces], [*splits, *splits])):
            seeds[f"{name}-{i}"] = files(tokenizer__json=bpe.small(**{
                **changes, "normalizer": normalizer, "pre_tokenizer": split}).encode(), text=text)
    for name in "LlamaTokenizer", "GemmaTokenizer", "CohereTokenizer":
        changes = {**kinds.FEW, "normalizer": spaces, "pre_tokenizer": None}
        settings = {"tokenizer_class": name, "legacy": True}
        seeds[name] = files(tokenizer__json=bpe.small(**changes).encode(),
                            tokenizer_config__json=json.dumps(settings).encode(), text=text)
    plain = json.dumps({"extra_special_tokens": {"x": "<s>"}, "add_prefix_space": False}).encode()
    marks = "e\u0301\u0316".encode() * 100 + b" Mr. Lee. He\n\nran.\n"
    seeds["raw"] = files(tokenizer__json=bpe.small(normalizer={"type": "NFC"}).encode(), raw=marks,
                         tokenizer_config__json=plain,
                         config__json=b'{"tokenizer_class": "PreTrainedTokenizerFast"}')
    seeds.update(model_seeds())
    return seeds


def table(*replacements):
    """A table that replaces each of these bytes by itself in capitals."""
    units = [0] * 1024
    units[0] = 256 << 10
    texts = b""
    for leaf, byte in enumerate(replacements, 512):
        units[256 ^ byte] = (leaf ^ 256 ^ byte) << 10 | 1 << 8 | byte
        units[leaf] = 1 << 31 | len(texts)
        texts += bytes([byte]).upper() + b"\0"
    return struct.pack("<I", 4 * len(units)) + struct.pack("<1024I", *units) + texts


def charsmap_seeds():
    return {"letters": files(table=table(*b"abc"), text="abc a\u0301\r\n e\u0301".encode()),
            "ascii": files(table=table(*b" x"), text=b"a x\r\n"),
            "young": files(table=table(*b"a"), text="a\u0897".encode()),
            "empty": files(table=struct.pack("<I", 4) + bytes(6), text="\u00e9".encode())}


def pieces_seeds():
    by_hand = [parameter for mark in pieces.test_by_hand.pytestmark for parameter in mark.args[1]]
    refused = [parameter for mark in pieces.test_refused.pytestmark for parameter in mark.args[1]]
    beside = [parameter for mark in pieces.test_files_beside_it.pytestmark for parameter in mark.args[1]]
    seeds = {f"model-{i}": files(tokenizer__model=content, text="ab  b<x>a\u00e9".encode())
             for i, (content, *_) in enumerate([*by_hand, *refused])}
    for i, (others, _) in enumerate(beside):
        members = {name: json.dumps(value).encode() for name, value in others.items()}
        seeds[f"beside-{i}"] = files(tokenizer__model=pieces.model_file(), text=b"ab", **members)
    small = pieces.model_file(normalizer=pieces.field(2, table(*b"ab")), kind=1)
    seeds["table"] = files(tokenizer__model=small, text=b"ab b")
    return seeds


def model_seeds():
    """tokenizer.json of other models than BPE."""
    by_hand = [model for mark in pieces.test_models_by_hand.pytestmark for model, *_ in mark.args[1]]
    refused = [model for mark in pieces.test_models_that_are_refused.pytestmark for model, *_ in mark.args[1]]
    charsmap = base64.b64encode(table(*b"ab")[:2100]).decode()
    normalizer = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    return {f"model-{i}": files(text=b"abba abc\n", tokenizer__json=json.dumps(
                {"version": "1.0", "added_tokens": [], "model": model,
                 "normalizer": normalizer if i % 8 == 0 else None}).encode())
            for i, model in enumerate([*by_hand, *refused])}


def dictionary_seeds():
    return {"words": b"the 120\n, 7\n\xc3\xa9t\xc3\xa9 1\n", "return": b"the 1\r\nof 2 \r\n",
            "mark": b"\xef\xbb\xbfthe 1\n", "twice": b"a 1\na 2\n", "special": b"</s> 1\n", "bare": b"word\n",
            "nul": b"a\0b 1\n", "cut": b"a 1", "gzip": bytes.fromhex("1f8b0800000000000003")
            + b"\x4b\x54\x30\xe4\x02\x00" + struct.pack("<II", 0, 4)}


def gguf_seeds():
    seeds = {"small": gguf.small_file()[0], "metadata": form.build(gguf.METADATA)}
    for name, (_, elements, _, _) in form.FORMATS.items():
        seeds[name] = form.build([("k", "string", "v")],
                                 [(name, [2 * elements], name, gguf.blocks(name, 2)),
                                  ("z", [1], "F32", bytes(4))])
    seeds.update((f"hostile-{index}", data) for index, (data, _) in enumerate(gguf.HOSTILE.values()))
    head = [("general.architecture", "string", "llama"), *gguf.split_keys(0, 2, 2)]
    second = form.build(gguf.split_keys(1, 2, 2), [gguf.one_vector("b", 2.5)])
    seeds["split"] = files(**{"m-00001-of-00002__gguf": form.build(head, [gguf.one_vector("a", 1.5)]),
                              "m-00002-of-00002__gguf": second})
    return seeds


def import_seeds():
    return {path.name: path.read_bytes() for path in (ROOT / "fairseq-tiny").glob("*.pt")}


def stream_seeds(bin):
    """One of each kind, with all members that it may have."""
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        return streams_of(bin, place, place / "model")


def streams_of(bin, place, model):
    random_model.write_model(model, layers=2, d_model=4, d_ff=3, heads=2, vocabulary=12, cutoffs=(6,))
    text = b"w4 w5 w4 w6\nw7 w4 w9\nw5\nw8 w8 w9 w10\n"
    made = {}

    def make(name, tool, *args, stdin=b"", model_given=True):
        given = ["-m", model] if model_given else []
        made[name] = ok(bin, tool, *given, *args, stdin=stdin)
        (place / name).write_bytes(made[name])
        return made[name]

    tokens = make("tokens", "tokenize", "--batch", 8, stdin=text)
    whole = make("whole", "forward-dump", "--emit", "coef,resid,ffn", stdin=tokens)
    make("edited", "forward-dump", "--emit", "coef,resid,ffn", "--edit", "1:1=2", stdin=tokens)
    make("random", "forward-dump", "--emit", "coef,prediction", "--positions", "random", stdin=tokens)
    maxima = make("maxima", "forward-dump", "--emit", "max,counts", "--paths", 2, "--rank", "value,min",
                  stdin=tokens)
    triggers = make("triggers", "topk-keys", "-t", 2, "--rank", "value,min", "--following", 2, stdin=maxima,
                    model_given=False)
    keys = make("projected", "project-values", "-k", 2, "--bottoms", 1, stdin=triggers)
    for tool in ["agreement-stats"], ["shallow-stats", "--skip-frequent", 0]:
        make(tool[0], *tool, "--list", "value", "--sums", stdin=keys, model_given=False)
    make("ranks", "value-ranks", "--ids", "4-5", "--sums")
    make("values", "project-values", "--all", "-k", 1)
    changed = make("changed", "perturb-triggers", "-t", 1, "--sample", 1, "--list", "value", stdin=triggers,
                   model_given=False)
    make("keyed", "forward-dump", "--emit", "key", stdin=changed)
    make("prompts", "tokenize", "--prompt", stdin=text)
    make("composition", "composition-stats", "--values", place / "values", "--sums", stdin=whole)
    make("refinement", "refinement-stats", "--sums", stdin=whole)
    make("intervention", "intervention-stats", "--edited", place / "edited", "--ids", "5", "--sums",
         stdin=whole)
    header, *records = [item.value for item in streams.items(made["random"])][:-1]
    made["empty"] = streams.write(header, [record | {"coef": b""} if "coef" in record else record
                                           for record in records])
    return made


def csv_seeds():
    tables = ROOT.parent / "data"
    cut = (tables / "annotations" / "brown-lm.csv").read_bytes().splitlines(keepends=True)
    return {"published": (tables / "published.csv").read_bytes()[:3000], "annotations": b"".join(cut[:12]),
            "quotes": b'\xef\xbb\xbflayer,cell,"a ""b"""\r\n1,2,"x\ny"\r\n', "cut": b'layer\n"1',
            "formula": b"layer,cell\n'=1,'--\n", "other": b"layer;cell\n1;2\n"}


def settings_seeds():
    """Settings of all forms of fault_inputs.py, a list of sums, and edits."""
    with tempfile.TemporaryDirectory() as place:
        fault_inputs.write(pathlib.Path(place))
        configs = {path.parent.name: path.read_bytes() for path in pathlib.Path(place).glob("*/config.json")}
    sums = b"0123456789abcdef0123456789abcdef  config.json\n\\00112233445566778899aabbccddeeff  a\\nb\n"
    edits = b"# some\n1:0-3=0, 2:5=*2\n3:*=+0.5 # all\n"
    shipped = (ROOT.parent / "data" / "brown-lm" / "config.json").read_bytes()
    return {"sums": files(XXH128SUMS=sums), "edits": files(edits=edits),
            "shipped": files(config__json=shipped),
            "all": files(config__json=shipped, XXH128SUMS=sums, edits=edits),
            **{name: files(config__json=config) for name, config in configs.items()}}


def main(folder, bin):
    for name, seeds in {"weights": weights_seeds(), "tokenizer": tokenizer_seeds(),
                        "dictionary": dictionary_seeds(), "gguf": gguf_seeds(), "import": import_seeds(),
                        "charsmap": charsmap_seeds(), "pieces": pieces_seeds(), "csv": csv_seeds(),
                        "settings": settings_seeds(), "stream": stream_seeds(bin)}.items():
        place = folder / f"{name}-seeds"
        place.mkdir(parents=True, exist_ok=True)
        for seed, data in seeds.items():
            if len(data) <= MAX_BYTES or name in ("import", "charsmap", "pieces", "stream"):
                (place / seed).write_bytes(data)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
