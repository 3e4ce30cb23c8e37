"""model-info: facts against the files that other programs wrote, refusals in the words of the other tools,
and the estimate of memory against what the tools take."""

import contextlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

import gguf_format
import oracle
import random_model
import streams
from damage import in_parallel
from helpers import PEAK, TIMEOUT, command, environment, fails, ok, random_sentences, run, table, text

RATE = ["--rate", 10, "--threads", 2]  # so that nothing is measured
FACTOR = 1.5  # by which a peak of memory may differ from its estimate, as model-info(1) says
# Settings by their names in config.json.
NAMES = {"family": ["model_type"], "d_model": ["hidden_size", "n_embd", "d_model"],
         "layers": ["num_hidden_layers", "n_layer", "n_layers", "num_layers"],
         "cells": ["intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner"],
         "heads": ["num_attention_heads", "n_head", "n_heads", "num_heads"], "head_width": ["head_dim"],
         "key_value_heads": ["num_key_value_heads"], "vocabulary": ["vocab_size"],
         "norm_epsilon": ["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon"],
         "activation": ["hidden_act", "activation_function", "hidden_activation"],
         "tied": ["tie_word_embeddings"]}


def info(bin, model, *options):
    return json.loads(ok(bin, "model-info", *RATE, "--json", *options, model))


def refused(bin, model, *options):
    """(what is written, the message) for a model that is not supported."""
    done = run(bin, "model-info", *RATE, "--json", *options, model)
    message = done.stderr.decode()
    assert done.returncode == 1 and message.startswith("model-info: ") and message.count("\n") == 1, message
    found = json.loads(done.stdout)
    assert found["supported"] is False and found["refused"]
    return found, message


@pytest.fixture
def copied(reference, tmp_path):
    """A function: a reference model in a folder of its own, with changes of its settings."""
    def copy(name="llama", **change):
        shutil.copytree(reference / name, tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps({**config, **change}))
        return tmp_path / name

    return copy


def peak(bin, *argv, stdin, out):
    """Bytes of memory that a run took at most."""
    with open(stdin, "rb") as source, open(out, "wb") as to:
        done = subprocess.run([sys.executable, "-ISc", PEAK, *command(bin, *argv)], stdin=source, stdout=to,
                              stderr=subprocess.PIPE, env=environment(), timeout=TIMEOUT, check=True)
    status, most = map(int, done.stderr.split())
    assert status == 0
    return most


# ------------------------------------------------------------------- facts

def cells_of_experts(config):
    """Of all experts of a layer together, by config.json of a mixture."""
    count = config.get("num_local_experts") or config["num_experts"]
    width = config.get("moe_intermediate_size") or config["intermediate_size"]
    return count * width + config.get("shared_expert_intermediate_size", 0)


def test_settings_of_every_family(bin, reference):
    """Oracle: config.json as transformers wrote it, wherever it states the setting as a plain value."""
    folders = sorted(path for path in reference.iterdir() if path.is_dir())
    assert len(folders) > 40
    seen = set()
    for folder, found in zip(folders, in_parallel(lambda folder: info(bin, folder), folders), strict=True):
        assert found["supported"] and found["refused"] == {}
        config = json.loads((folder / "config.json").read_text())
        config.update({key: value for key, value in config.get("text_config", {}).items()
                       if key not in ("model_type", "tie_word_embeddings")})
        if config["model_type"] == "gpt_oss":  # which has its own, whatever is stated
            config["hidden_act"] = "quick_gelu"
        for name, keys in NAMES.items():
            stated = [config[key] for key in keys if config.get(key) is not None]
            if name == "cells" and found["settings"]["experts"]:
                stated = [cells_of_experts(config)]
            if stated:
                assert stated[-1] == found["settings"][name], (folder.name, name)
                seen.add(name)
    assert seen == set(NAMES)


@pytest.mark.parametrize("name, expected", [
    ("gpt2", {"positions": "learned", "norm": "LayerNorm", "gated": False, "windows": None, "cells": 120,
              "block": "behind attention", "context_limit": 40, "tied": True}),
    ("phi", {"positions": "rotary", "block": "beside attention", "key_value_heads": 1, "tied": False,
             "rotated_layers": [1, 2, 3]}),
    ("bloom", {"positions": "ALiBi", "norm": "LayerNorm", "final_norm": True, "context_limit": None}),
    ("gpt-neo", {"windows": {"4": [2, 3]}}), ("mistral-window", {"windows": {"5": [1, 2, 3]}}),
    ("qwen2-window", {"windows": {"3": [2, 3]}}), ("gemma3-text", {"windows": {"4": [1, 3]}}),
    ("gemma2", {"head_width": 10, "norm": "RMSNorm", "gated": True, "activation": "gelu_pytorch_tanh"}),
    ("smollm3-window", {"rotated_layers": [2], "windows": {"5": [1, 3]}}),
    ("opt", {"norms_of_sums": False, "experts": None}), ("opt-post-norm", {"norms_of_sums": True}),
    ("mixtral-one", {"experts": {"count": 9, "chosen": 1, "cells": 7, "shared_cells": 0,
                                 "layers": [1, 2, 3]}})])
def test_arithmetic(bin, reference, name, expected):
    """By hand, from the settings in families_reference.py and what the family is."""
    settings = info(bin, reference / name)["settings"]
    assert {key: settings.get(key) for key in expected} == expected


def header(path):
    """Of a safetensors file: {tensor: its entry}."""
    data = path.read_bytes()
    found = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
    found.pop("__metadata__", None)
    return found


@pytest.mark.parametrize("name", ["llama", "qwen3-bf16", "gpt2", "gpt2-f16"])
def test_files_and_weights(bin, reference, name):
    """Oracle: the file's header, read here.  GPT-2's matrices lie the other way round, and are copied.  Of
    16-bit numbers vectors are, and the words of the output, once there are products with them."""
    path = reference / name / "model.safetensors"
    found, tensors = info(bin, reference / name, "--products", "float32"), header(path)
    files = found["files"]
    assert (files["format"], files["count"], files["all_bytes"]) == ("safetensors", 1, path.stat().st_size)
    types = {entry["dtype"] for entry in tensors.values()}
    for kind in types:
        own = [entry["data_offsets"] for entry in tensors.values() if entry["dtype"] == kind]
        assert files["tensors"][kind] == len(own)
        assert files["weights_bytes"][kind] == sum(end - begin for begin, end in own)
    assert set(files["tensors"]) == types
    elements = {tensor: int(np.prod(entry["shape"])) for tensor, entry in tensors.items()}
    turned = [tensor for tensor in elements if ".h." in tensor and len(tensors[tensor]["shape"]) == 2]
    stacked = [tensor for tensor in elements if tensor.endswith("c_attn.bias")]
    copies = {*turned, *stacked}
    if types != {"F32"}:
        config = json.loads((reference / name / "config.json").read_text())
        words = {"lm_head.weight"} & set(tensors) or {
            tensor for tensor in elements if "embed_tokens" in tensor or "wte." in tensor}
        assert len(words) == 1 and ("lm_head.weight" in words) != config["tie_word_embeddings"]
        copies |= words | {tensor for tensor in elements
                           if len(tensors[tensor]["shape"]) == 1 or "wpe" in tensor}
    assert found["weights"]["copied_bytes"] == 4 * sum(elements[tensor] for tensor in copies)


def test_id_and_tokenizer_are_those_of_streams(bin, reference):
    """What forward-dump and tokenize write into their headers."""
    model = reference / "llama"
    stream = streams.read(ok(bin, "tokenize", "-m", model, stdin=text([[5, 6, 7]])))
    found = info(bin, model)
    tokenizer = stream.header["tokenizer"]
    assert found["tokenizer"] == {"kind": "words", "tokens": 61, "can_follow": tokenizer["vocabulary"] - 3,
                                  **{key: tokenizer[key] for key in ("id", "bos", "unknown")}}
    rows = streams.read(ok(bin, "project-values", "--all", "-m", model))
    assert found["weights"]["id"] == rows.header["model"]["id"]


def test_shipped_model(bin, model):
    """By its README and files."""
    found = info(bin, model)
    config = json.loads((model / "config.json").read_text())
    settings = found["settings"]
    assert (settings["family"], settings["layers"], settings["cells"]) == ("fairseq_transformer_lm", 16, 512)
    assert settings["clusters"] == [*config["adaptive_input_cutoffs"], config["vocab_size"]]
    assert settings["positions"] == "sinusoidal" and settings["activation"] == "relu"
    assert settings["final_norm"] is False and settings["tied"] is True
    assert found["tokenizer"]["tokens"] == len((model / "dict.txt").read_text().splitlines()) + 4


def write_gguf(path, source):
    """A Llama model as a GGUF file with a byte-level tokenizer; its tensors are zeros."""
    config = json.loads((source / "config.json").read_text())
    layers, d, f, v = 3, 36, 37, config["vocab_size"]
    shapes = {"token_embd.weight": (v, d), "output_norm.weight": (d,), "output.weight": (v, d)}
    for i in range(layers):
        shapes.update({f"blk.{i}.{name}.weight": shape for name, shape in {
            "attn_norm": (d,), "ffn_norm": (d,), "attn_q": (d, d), "attn_k": (12, d), "attn_v": (12, d),
            "attn_output": (d, d), "ffn_gate": (f, d), "ffn_up": (f, d), "ffn_down": (d, f)}.items()})
    keys = [("general.architecture", "string", "llama"), ("llama.embedding_length", "uint32", d),
            ("llama.block_count", "uint32", layers), ("llama.feed_forward_length", "uint32", f),
            ("llama.attention.head_count", "uint32", 6), ("llama.attention.head_count_kv", "uint32", 2),
            ("llama.attention.layer_norm_rms_epsilon", "float32", 1e-6),
            ("tokenizer.ggml.model", "string", "gpt2"), ("tokenizer.ggml.pre", "string", "gpt-2"),
            ("tokenizer.ggml.tokens", ("array", "string"), [chr(33 + i) for i in range(v)]),
            ("tokenizer.ggml.merges", ("array", "string"), []), ("tokenizer.ggml.bos_token_id", "uint32", 1)]
    path.write_bytes(gguf_format.build(keys, [
        (name, tuple(reversed(shape)), "F32", np.zeros(shape, np.float32).tobytes())
        for name, shape in shapes.items()]))
    return shapes


def test_gguf_file(bin, reference, tmp_path):
    """By hand; queries and keys of the layers are arranged in another way and so are copied."""
    shapes = write_gguf(tmp_path / "model.gguf", reference / "llama")
    found = info(bin, tmp_path / "model.gguf")
    weights = {key: found["files"][key] for key in ("format", "count", "tensors", "weights_bytes")}
    assert weights == {"format": "GGUF", "count": 1, "tensors": {"F32": len(shapes)},
                       "weights_bytes": {"F32": 4 * sum(int(np.prod(shape)) for shape in shapes.values())}}
    assert found["weights"]["copied_bytes"] == 4 * 3 * (36 * 36 + 12 * 36)
    assert (found["tokenizer"]["kind"], found["tokenizer"]["tokens"]) == ("byte-level BPE", 61)


def test_text_has_what_json_has(bin, model):
    """The lines of names and values, of the shipped model."""
    found, lines = info(bin, model), ok(bin, "model-info", *RATE, model).decode().splitlines()
    pairs = dict(line.strip().split("  ", 1) for line in lines if "  " in line.strip())
    values = {name: value.strip() for name, value in pairs.items()}
    assert values["supported"] == "yes" and values["family"] == found["settings"]["family"]
    assert values["clusters"] == ",".join(map(str, found["settings"]["clusters"]))
    assert values["windows"] == "none" and values["gated"] == "no" and values["norm epsilon"] == "1e-05"
    assert values["weights"].startswith("F16: 7.5 MB") and values["copied"] == "2.3 MB"  # the output's words
    assert [line for line in lines if line and "  " not in line] == ["settings", "files", "weights",
                                                                     "tokenizer", "cost"]


# --------------------------------------------------------- what is not supported

def test_settings_are_refused_as_the_tools_refuse_them(bin, copied):
    """The files are told all the same; what depends on the settings is not."""
    model = copied(hidden_act="relu6")
    found, message = refused(bin, model)
    said = fails(bin, "project-values", "--all", "-m", model, says="relu6")
    assert message.removeprefix("model-info: ") == said.removeprefix("project-values: ")
    assert list(found["refused"]) == ["settings"] and "files" in found
    assert "weights" not in found and "tokenizer" not in found and "cost" not in found


def test_a_tokenizer_that_is_not_known_hides_nothing_else(bin, copied):
    model = copied()
    (model / "dict.txt").unlink()
    (model / "tokenizer.model").write_bytes(b"\n")
    found, message = refused(bin, model)
    said = fails(bin, "tokenize", "-m", model)
    assert message.removeprefix("model-info: ") == said.removeprefix("tokenize: ")
    assert list(found["refused"]) == ["tokenizer"]
    assert found["settings"]["layers"] == 3 and found["weights"]["id"] and found["cost"]["pipeline_bytes"]


def test_two_refusals_are_both_told_in_one_line(bin, copied):
    model = copied()
    (model / "dict.txt").unlink()
    tensors = oracle.load_safetensors(model / "model.safetensors", np.float32)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    random_model.write_tensors(model / "model.safetensors", tensors)
    found, message = refused(bin, model)
    assert sorted(found["refused"]) == ["tokenizer", "weights"]
    assert "there is no tensor 'model.layers.1.mlp.up_proj.weight'" in message and "; and " in message
    assert "there is no tokenizer" in message and "cost" not in found


@pytest.mark.parametrize("damage, says", [
    ("shape", "has shape"), ("type", "is of type I8"), ("more", "has no place for tensor"), ("nan", "NaN")])
def test_weights_that_are_refused(bin, copied, damage, says):
    """Found without reading any matrix, but for what the matrix itself has."""
    model = copied()
    tensors = oracle.load_safetensors(model / "model.safetensors", np.float32)
    name = "model.layers.2.mlp.down_proj.weight"
    if damage == "shape":
        tensors[name] = tensors[name][:, 1:]
    elif damage == "more":
        tensors["model.layers.3.mlp.up_proj.weight"] = tensors[name]
    elif damage == "nan":
        tensors[name][0, 0] = np.nan
    random_model.write_tensors(model / "model.safetensors", tensors)
    if damage == "type":
        data = (model / "model.safetensors").read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        entries = json.loads(data[8:8 + size])
        entries[name].update(dtype="I8", shape=[36, 4 * 37])
        entries = json.dumps(entries).encode().ljust(size + 64)
        (model / "model.safetensors").write_bytes(struct.pack("<Q", len(entries)) + entries + data[8 + size:])
        says = "has shape"
    found, message = refused(bin, model)
    assert list(found["refused"]) == ["weights"] and says in message
    said = fails(bin, "project-values", "--all", "-m", model)
    assert message.removeprefix("model-info: ") == said.removeprefix("project-values: ")


def write_sparse(place, config, shapes, kind):
    """A model directory whose weights are zeros that take no room; the bytes that they have."""
    (place / "config.json").write_text(json.dumps({**config, "vocab_size": 61, "bos_token_id": 2}))
    (place / "dict.txt").write_text("".join(f"w{i} 1\n" for i in range(4, 61)))
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + {"BF16": 2, "F32": 4}[kind] * int(np.prod(shape))
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    entries = json.dumps(entries).encode()
    with open(place / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(entries)) + entries)
        file.truncate(8 + len(entries) + end)
    return end


def check_changes(bin, place, changes):
    """Settings that are not those of the weights are refused without a look at these."""
    config = json.loads((place / "config.json").read_text())
    for change, says in changes:
        (place / "config.json").write_text(json.dumps({**config, **change}))
        assert says in refused(bin, place)[1]


@pytest.mark.release_only  # sanitizers have memory of their own for all that is allocated
def test_large_weights_are_not_read(bin, tmp_path):
    """20 GB take next to no time and memory; the tensors are checked all the same."""
    shapes = {"model.embed_tokens.weight": (61, 4096), "model.norm.weight": (4096,)}
    for i in range(4):
        shapes.update({f"model.layers.{i}.{name}.weight": shape for name, shape in {
            "input_layernorm": (4096,), "post_attention_layernorm": (4096,), "mlp.gate_proj": (200000, 4096),
            "mlp.up_proj": (200000, 4096), "mlp.down_proj": (4096, 200000),
            **{f"self_attn.{part}_proj": (4096, 4096) for part in "qkvo"}}.items()})
    size = write_sparse(tmp_path, {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 4,
                                   "num_attention_heads": 32, "intermediate_size": 200000,
                                   "tie_word_embeddings": True}, shapes, "BF16")
    out = tmp_path.with_name(f"{tmp_path.name}-found")  # which is not within the model
    most = peak(bin, "model-info", *RATE, "--json", tmp_path, stdin=os.devnull, out=out)
    found = json.loads(out.read_text())
    assert most < 200_000_000
    assert found["weights"] == {"copied_bytes": 4 * 4096 * (61 + 9), "id": None}  # the output, and nine gains
    widened = 4 * 200000 * 4096  # the largest matrix, by each thread
    assert size + 2 * widened < found["cost"]["forward_dump_bytes"] < 1.1 * (size + 2 * widened)
    check_changes(bin, tmp_path, [({"intermediate_size": 100000}, "has shape"),
                                  ({"num_hidden_layers": 5}, "there is no tensor"),
                                  ({"num_hidden_layers": 3}, "has no place")])


@pytest.mark.release_only
def test_large_weights_in_another_order_are_not_read(bin, tmp_path):
    """Of GPT-2, whose matrices lie the other way round in the file, and are copied."""
    d, cells, shapes = 2048, 70000, {}
    for name in "ln_1", "ln_2":
        shapes.update({f"h.0.{name}.weight": (d,), f"h.0.{name}.bias": (d,)})
    for name, rows, columns in [("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, cells),
                                ("mlp.c_proj", cells, d)]:
        shapes.update({f"h.0.{name}.weight": (rows, columns), f"h.0.{name}.bias": (columns,)})
    shapes.update({"wte.weight": (61, d), "wpe.weight": (40, d), "ln_f.weight": (d,), "ln_f.bias": (d,)})
    config = {"model_type": "gpt2", "n_embd": d, "n_layer": 1, "n_head": 8, "n_inner": cells,
              "n_positions": 40}
    write_sparse(tmp_path, config, shapes, "F32")
    copied = 4 * (4 * d * d + 2 * cells * d + 3 * d)  # the stacked bias, too
    assert info(bin, tmp_path)["weights"] == {"copied_bytes": copied, "id": None}
    write_sparse(tmp_path, config, {**shapes, "h.0.mlp.c_fc.weight": (d, cells - 1)}, "F32")
    assert "'h.0.mlp.c_fc.weight' has shape" in refused(bin, tmp_path)[1]


HOSTILE = {
    "nothing": lambda place: None,
    "no JSON": lambda place: (place / "config.json").write_bytes(b"\xff{"),
    "a list": lambda place: (place / "config.json").write_text("[]"),
    "deep": lambda place: (place / "config.json").write_text("[" * 100000),
    "huge numbers": lambda place: (place / "config.json").write_text(json.dumps(
        {"model_type": "llama", "hidden_size": 1 << 20, "num_hidden_layers": 4096, "num_attention_heads": 1,
         "intermediate_size": 1 << 20, "vocab_size": 1 << 26})),
    "steering": lambda place: (place / "config.json").write_text(json.dumps({"model_type": "\x1b[2J\n\r"})),
    "a folder": lambda place: (place / "config.json").mkdir(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_directories(bin, tmp_path, name):
    HOSTILE[name](tmp_path)
    found, message = refused(bin, tmp_path)
    assert "\x1b" not in message
    lines = run(bin, "model-info", *RATE, tmp_path).stdout
    assert not set(lines) & (set(range(32)) - {10}) and b"supported               no" in lines


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 16, bytes(range(100))],
                         ids=["empty", "magic", "counts", "noise"])
def test_hostile_files(bin, tmp_path, data):
    """The settings and the files are in one: one message for both."""
    (tmp_path / "model.gguf").write_bytes(data)
    found, message = refused(bin, tmp_path / "model.gguf")
    assert sorted(found["refused"]) == ["files", "settings"] and "; and " not in message


def test_a_name_that_is_no_text(bin, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\n"
    done = run(bin, "model-info", "--json", os.fsdecode(name))
    assert done.returncode == 1 and json.loads(done.stdout)["model"].endswith("/?\n")


@pytest.mark.release_only  # the sanitizers start a process of their own at the end
def test_a_part_that_is_killed_is_told(bin, model):
    """Signal 9, as the system sends it where memory ends."""
    process = subprocess.Popen(command(bin, "model-info", "--json", model), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment())
    stop = threading.Event()

    def kill():
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not stop.is_set():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # one that has ended
                for child in children.read_text().split():
                    os.kill(int(child), 9)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        out, message = process.communicate(timeout=TIMEOUT)
    finally:
        stop.set()
        thread.join()
    assert process.returncode == 1
    assert message == b"model-info: a part of the work was ended by signal 9\n"
    assert json.loads(out)["refused"]


# ------------------------------------------------------------------------- cost

# Of some there are several types: F16 is as BF16, but for --products.
CASES = [("small", "F32", "float32", 1), ("small", "F32", "float32", 2),
         ("of many cells", "F32", "float32", 2),
         ("wide", "F32", "float32", 1), ("wide", "BF16", "float32", 2), ("wide", "F16", "bf16x3", 1),
         ("of many words", "BF16", "float32", 1), ("of many words", "BF16", "bf16x3", 2),
         ("of many words", "F32", "bf16", 1)]
SIZES = {"small": dict(layers=3, d_model=32, d_ff=64, heads=2, vocabulary=300, cutoffs=(100,), factor=2),
         "of many cells": dict(layers=4, d_model=64, d_ff=4096, heads=4, vocabulary=500, cutoffs=(200,),
                               factor=2),
         "of many words": dict(layers=1, d_model=256, d_ff=256, heads=4, vocabulary=60000, cutoffs=(59999,),
                               factor=1),
         "wide": dict(layers=3, d_model=768, d_ff=1024, heads=8, vocabulary=5000, cutoffs=(5000 - 1,),
                      factor=1)}


@pytest.mark.release_only
@pytest.mark.parametrize("size, dtype, products, threads", CASES)
def test_memory_is_as_estimated(bin, request, tmp_path, size, dtype, products, threads):
    """Measured: peaks of real runs."""
    if products != "float32":
        request.getfixturevalue("bfloats")
    model = tmp_path / "model"
    random_model.write_model(model, **SIZES[size], dtype=dtype)
    sentences = random_sentences(200, SIZES[size]["vocabulary"], longest=40)
    (tmp_path / "text").write_bytes(text(sentences))
    count = sum(map(len, sentences))
    kind = ["--products", products]
    cost = info(bin, model, "--tokens", count, "--threads", threads, *kind)["cost"]
    assert cost["products"] == products
    (tmp_path / "tokens").write_bytes(ok(bin, "tokenize", "-m", model, tmp_path / "text"))
    stages = [("forward-dump", ["-m", model, "--threads", threads, *kind], "tokens", "maxima"),
              ("topk-keys", ["--top", 50], "maxima", "triggers"),
              ("project-values", ["-m", model, "--threads", threads, *kind], "triggers", "values")]
    found = {}
    for tool, options, source, out in stages:
        taken = peak(bin, tool, *options, stdin=tmp_path / source, out=tmp_path / out)
        found[tool] = taken / cost[tool.replace("-", "_") + "_bytes"]
    assert all(1 / FACTOR < ratio < FACTOR for ratio in found.values()), found


def test_formulas(bin, model):
    """By hand, from model-info(1): 16 layers, d_model 128, 512 cells, 8 heads of 16, three clusters."""
    cost = info(bin, model, "--tokens", 2000, "--top", 7)["cost"]
    assert (cost["tokens"], cost["top"], cost["threads"]) == (2000, 7, 2)
    position = 2 * 16 * 128 * (2 * 128 + 2 * 128 + 2 * 512)
    assert cost["operations_a_token"] == position
    assert cost["forward_dump_seconds"] == pytest.approx(2000 * position / 2e10)
    words = 2000 * 128 + 6000 * 32 + 13176 * 8 + 128 * (32 + 8)
    assert cost["operations_a_value"] == 2 * words
    assert cost["project_values_seconds"] == pytest.approx(16 * 512 * (2 * words / 2e10 + 21176 * 5e-9 / 2))
    record = 12 * 26 * 512
    assert cost["topk_keys_bytes"] == 7_000_000 + record + 16 * 512 * (28 + 24 * 7) + 100 * 104


def test_measured_rate(bin, model):
    """That of a machine, so only its order."""
    cost = json.loads(ok(bin, "model-info", "--json", "--threads", 1, model))["cost"]
    assert 1e8 < cost["operations_a_second"] < 1e14


def test_output_file(bin, model, tmp_path):
    ok(bin, "model-info", *RATE, "--json", "-o", tmp_path / "out", model)
    assert json.loads((tmp_path / "out").read_text()) == info(bin, model)


def test_list_of_families_goes_alone(bin, model):
    fails(bin, "forward-dump", "--models", "-m", model, status=2, says="--models reads nothing")
    assert {row["family"] for row in table(ok(bin, "forward-dump", "--models"))} >= {"gpt2", "llama"}
