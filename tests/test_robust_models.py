"""Models that are damaged, contradict themselves, or ask for unknown arithmetic."""

import json
import shutil
import struct

import numpy as np
import pytest

import random_model
from damage import MEMORY, bounded, complaint, in_parallel
from helpers import fails, ok, run

SIZES = {"layers": 2, "d_model": 8, "d_ff": 4, "heads": 2, "vocabulary": 12, "cutoffs": (5, 8), "factor": 2}
STORED = {"F32": "<u4", "F16": "<u2", "BF16": "<u2"}
NOT_FINITE = {  # dtype: [(bits, how the message calls them)]
    "F32": [(0x7FC00000, "NaN"), (0x7F800001, "NaN"), (0xFFFFFFFF, "NaN"), (0x7F800000, "infinity"),
            (0xFF800000, "infinity")],
    "F16": [(0x7E00, "NaN"), (0x7C01, "NaN"), (0xFFFF, "NaN"), (0x7C00, "infinity"), (0xFC00, "infinity")],
    "BF16": [(0x7FC0, "NaN"), (0x7F81, "NaN"), (0xFFFF, "NaN"), (0x7F80, "infinity"), (0xFF80, "infinity")]}


class Model:
    """A good model's parts, to be put together with faults in them."""

    def __init__(self, directory, dtype="F32"):
        self.directory = directory
        random_model.write_model(directory, dtype=dtype, **SIZES)
        self.config = json.loads((directory / "config.json").read_text())
        self.bytes = (directory / "model.safetensors").read_bytes()
        (length,) = struct.unpack_from("<Q", self.bytes)
        self.header, self.data = json.loads(self.bytes[8:8 + length]), self.bytes[8 + length:]
        self.names = [name for name in self.header if name != "__metadata__"]

    def file(self, changes=None, data=None, **options):
        """The tensors' file.  changes: {tensor: {member: value, None: without it}}."""
        header = json.loads(json.dumps(self.header))
        for name, members in (changes or {}).items():
            header.setdefault(name, {}).update(members)
            header[name] = {member: value for member, value in header[name].items() if value is not None}
        return random_model.safetensors_bytes(header, self.data if data is None else data, **options)

    def without(self, *names):
        """The tensors' file without some of them, and without holes."""
        header, data = {}, b""
        for name in self.names:
            if name not in names:
                begin, end = self.header[name]["data_offsets"]
                header[name] = {**self.header[name], "data_offsets": [len(data), len(data) + end - begin]}
                data += self.data[begin:end]
        return random_model.safetensors_bytes(header, data)

    def reshaped(self, name, shape):
        """The tensors' file with another shape of one, of numbers that are 0."""
        tensors = {}
        for other in self.names:
            begin, end = self.header[other]["data_offsets"]
            tensors[other] = np.frombuffer(self.data[begin:end], "<f4").reshape(self.header[other]["shape"])
        tensors[name] = np.zeros(shape, "<f4")
        header = random_model.layout({n: array.shape for n, array in tensors.items()}, "F32")
        return random_model.safetensors_bytes(header, b"".join(array.tobytes() for array in tensors.values()))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return Model(tmp_path_factory.mktemp("good") / "model")


@pytest.fixture(scope="module")
def tokens(bin, good):
    return ok(bin, "tokenize", "-m", good.directory, stdin=b"w4 w5 w6\nw7 w8\n" * 3)


def check(bin, good, directory, cases, tools=("project-values",), tokens="/dev/null"):
    """cases: (label, file with the fault, its bytes or config's changes, message)."""
    arguments = {"project-values": ["--all", "-k", 2], "forward-dump": [tokens],
                 "tokenize": ["/dev/null"]}

    def judge(numbered):
        number, (label, name, content, says) = numbered
        problems = []
        for tool in tools:
            place = directory / f"{tool}-{number}"
            shutil.copytree(good.directory, place)
            if isinstance(content, dict):
                config = {key: value for key, value in {**good.config, **content}.items() if value is not ...}
                content = json.dumps(config).encode()
            (place / name).write_bytes(content)
            argv = bounded(bin, tool, "-m", place, "-o", place / "out", *arguments[tool], memory=MEMORY)
            wrong = complaint(tool, place / name, run(bin, *argv), says)
            if wrong:
                problems.append(f"{label}: {wrong}")
            if len(list(place.iterdir())) != 3:
                problems.append(f"{label}: something was left behind")
        return problems

    found = sum(in_parallel(judge, enumerate(cases)), [])
    assert not found, f"{len(found)} of {len(cases)}:\n" + "\n".join(found[:100])


def tensor_cases(*cases):
    return [(label, "model.safetensors", content, says) for label, content, says in cases]


# ------------------------------------------------------------ the good ones

@pytest.mark.parametrize("dtype", STORED)
def test_good(bin, tmp_path, dtype):
    """Else the refusals below would mean nothing."""
    model = Model(tmp_path / "model", dtype)
    data = ok(bin, "tokenize", "-m", model.directory, stdin=b"w4 w5 w6\n")
    ok(bin, "forward-dump", "-m", model.directory, "--emit", "max,resid,prediction", stdin=data)
    ok(bin, "project-values", "-m", model.directory, "--all", "-k", 2)


def test_all_tools_check(bin, good, tmp_path):
    """The same reader serves them all; one fault of each kind for each."""
    faults = [("not JSON", "config.json", b"{", "not a JSON object"),
              ("activation", "config.json", {"activation_function": "tanh"}, '"tanh"')]
    check(bin, good, tmp_path, faults, ["tokenize", "forward-dump", "project-values"])
    (tmp_path / "tensors").mkdir()
    cut = tensor_cases(("cut", good.bytes[:-1], "cut"))
    check(bin, good, tmp_path / "tensors", cut, ["forward-dump", "project-values"])


# ------------------------------------------------------- numbers that are none

@pytest.mark.parametrize("dtype", STORED)
def test_not_finite(bin, tokens, tmp_path, dtype):
    """Each tensor, each kind of NaN and infinity, at its first, its last and another element."""
    model = Model(tmp_path / "model", dtype)
    size, cases = np.dtype(STORED[dtype]).itemsize, []
    for i, name in enumerate(model.names):
        begin, end = model.header[name]["data_offsets"]
        count = (end - begin) // size
        element = (0, count - 1, count // 2)[i % 3]
        bits, called = NOT_FINITE[dtype][i % 5]
        data = bytearray(model.data)
        data[begin + element * size:begin + (element + 1) * size] = np.array(bits, STORED[dtype]).tobytes()
        cases.append((f"{bits:#x} in {name}", model.file(data=bytes(data)),
                      f"tensor '{name}' has {called} at element {element}: "))
    assert len(cases) == 39
    (tmp_path / "tokens").write_bytes(tokens)
    check(bin, model, tmp_path, tensor_cases(*cases), ["forward-dump"], tmp_path / "tokens")


# -------------------------------------------------- the frame of safetensors

def test_length_of_header(bin, good, tmp_path):
    size, json_size = len(good.bytes), len(good.bytes) - len(good.data) - 8
    cases = [(f"length {length}", good.file(length=length), says) for length, says in [
        (0, "not a JSON object"), (1, "not a JSON object"), (json_size // 2, "not a JSON object"),
        (json_size + 8, "not a JSON object"), (size - 8, "not a JSON object"), (size - 7, "claims"),
        (size, "claims"), (1 << 31, "claims"), (1 << 32, "claims"), ((1 << 32) + json_size, "claims"),
        (1 << 63, "claims"), ((1 << 64) - 1, "claims"), ((1 << 64) - 8, "claims")]]
    cases += [("over 100 MiB", random_model.safetensors_bytes(good.header, bytes(101 << 20), (100 << 20) + 1),
               "claims"),
              ("empty file", b"", "not a safetensors file"), ("7 bytes", bytes(7), "not a safetensors file"),
              ("8 bytes", bytes(8), "not a JSON object")]
    check(bin, good, tmp_path, tensor_cases(*cases))


def test_cut_or_too_long(bin, good, tmp_path):
    size, data = len(good.bytes), len(good.data)
    places = [1, 8, 9, 100, size - data - 1, size - data, size - data + 1, size - data // 2, size - 4,
              size - 1]
    cases = [(f"cut at {at}", good.bytes[:at], "") for at in places]
    cases += [(f"{more} bytes more", good.bytes + bytes(more), f"{more} bytes follow the last tensor")
              for more in (1, 4, 4096)]
    check(bin, good, tmp_path, tensor_cases(*cases))


def test_header_that_is_no_table(bin, good, tmp_path):
    cases = [(label, random_model.safetensors_bytes(text), says) for label, text, says in [
        ("array", b"[]", "another value"), ("text", b'"x"', "not a JSON object"),
        ("null", b"null", "not a JSON object"),
        ("not JSON", b"tensors", "not a JSON object"), ("JSON cut", b'{"a": {', "not a JSON object"),
        ("something behind", b"{} {}", "not a JSON object"),
        ("NUL in it", b'{"a\0": 1}', "not a JSON object"),
        ("escaped NUL in a name", b'{"a\\u0000": 1}', "not a JSON object"),
        ("not UTF-8", b'{"\xff": 1}', "not a JSON object"), ("NaN", b'{"a": NaN}', "not a JSON object"),
        ("line ends", b'{"a\n\n": 1}', "not a JSON object"),
        ("number too large", b'{"a": 1e999}', "not a JSON object"),
        ("integer too large", b'{"a": 99999999999999999999}', "not a JSON object"),
        ("deep arrays", b'{"a": ' + b"[" * 1000000 + b"]" * 1000000 + b"}", "not a JSON object"),
        ("deep maps", b'{"a": ' * 1000000 + b"1" + b"}" * 1000000, "not a JSON object"),
        ("name twice", b'{"a": {}, "a": {}}', "duplicate object key"),
        ("entry a number", b'{"a": 1}', "tensor 'a'"), ("entry null", b'{"a": null}', "tensor 'a'"),
        ("entry an array", b'{"a": []}', "tensor 'a'"), ("entry empty", b'{"a": {}}', "tensor 'a'"),
        ("terminal codes", b'{"\\u001b[2J\\n": {}}', "tensor '?[2J?'"),
        ("no tensor", b"{}", "there is no tensor"),
        ("long name", b'{"' + b"a" * 100000 + b'": {}}', "tensor 'aaa")]]
    check(bin, good, tmp_path, tensor_cases(*cases))


def test_entries(bin, good, tmp_path):
    """Each wrong in its own way, of a tensor in the middle."""
    name, total = "decoder.layers.0.fc1.weight", len(good.data)
    begin, end = good.header[name]["data_offsets"]
    rows, columns = good.header[name]["shape"]
    cases = []
    for says, members in [
            (f"tensor '{name}' is of type",
             [{"dtype": value} for value in ("I32", "U32", "", "f32", 5, None, [])]),
            (f"tensor '{name}' has {end - begin} bytes of data",
             [{"dtype": value} for value in ("F64", "BOOL", "F8_E4M3")]),
            (f"tensor '{name}' has no valid shape", [{"shape": value} for value in (
                None, 5, "4", {}, [-rows, columns], [-1, -1], [4.0, 8], ["4", 8], [[4, 8]], [None], [True, 8],
                [1] * 9, [rows, columns, -1])]),
            (f"tensor '{name}' claims to be larger", [{"shape": value} for value in (
                [1 << 62], [1 << 62, 4], [1 << 32, 1 << 32], [1 << 31, 1 << 33], [(1 << 63) - 1], [total],
                [rows, columns, 1 << 60], [1 << 20, 0], [3, 0x5555555555555556], [1 << 32, 1 << 30])]),
            (f"tensor '{name}' has {end - begin} bytes of data", [{"shape": value} for value in (
                [], [0], [rows], [rows, columns + 1], [rows + 1, columns], [0, 1 << 62])]),
            (f"tensor '{name}' has data offsets", [{"data_offsets": value} for value in (
                None, 5, "0", [], [begin], [begin, end, end], [end, begin], [-1, end], [begin, -1],
                [begin, total + 1], [begin, 1 << 62], [1 << 62, (1 << 62) + end - begin], [float(begin), end],
                [begin, None], [[begin], [end]], {"0": begin})]),
            (f"tensor '{name}' has", [{"data_offsets": value} for value in (
                [begin, end - 1], [begin, end - 4], [begin, begin], [begin - 4, end], [0, total])]),
            ("those before it", [{"data_offsets": value} for value in (
                [begin - 4, end - 4], [begin + 4, end + 4], [0, end - begin],
                [total - end + begin, total])])]:
        cases += [(f"{change}", good.file({name: change}), says) for change in members]
    cases.append(("another type of the same size",
                  good.file({name: {"dtype": "F16", "shape": [2 * rows, columns]}}),
                  f"tensor '{name}' has shape [8, 8], config.json asks for [4, 8]"))
    check(bin, good, tmp_path, tensor_cases(*cases))


def test_overlap_and_holes(bin, good, tmp_path):
    first, second = good.names[:2]
    begin, end = good.header[first]["data_offsets"]
    last = good.names[-1]
    low, high = good.header[last]["data_offsets"]
    more = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    moved = {name: {"data_offsets": [offset + 8 for offset in good.header[name]["data_offsets"]]}
             for name in good.names}
    check(bin, good, tmp_path, tensor_cases(
        ("tensor over the first", good.file({"more": more}), "overlap"),
        ("tensor over the last", good.file({"more": {**more, "data_offsets": [high - 8, high]}}), "overlap"),
        ("tensor over two", good.file({"more": {**more, "data_offsets": [end - 4, end + 4]}}), "overlap"),
        ("the same data twice", good.file({"more": good.header[second]}), "overlap"),
        ("all the same data", good.file({name: {"shape": [], "data_offsets": [0, 4]} for name in good.names}),
         "overlap"),
        ("hole before all", good.file(moved, data=bytes(8) + good.data), "leave a hole"),
        ("hole in the middle", good.file(
            {name: moved[name] for name in good.names if good.header[name]["data_offsets"][0] >= end},
            data=good.data[:end] + bytes(8) + good.data[end:]), "leave a hole"),
        ("hole behind all", good.file(data=good.data + bytes(8)), "8 bytes follow"),
        ("nothing but a hole", random_model.safetensors_bytes({}, good.data), "bytes follow")))


@pytest.mark.release_only
def test_million_tensors(bin, good, tmp_path):
    """The time is bounded (by run's limit), whether their data overlap or not."""
    entry = '"%d":{"dtype":"F32","shape":[%d],"data_offsets":[%d,%d]}'
    for label, count, length, step, says in [
            ("in a row", 1000000, 1, 4, "there is no tensor"),
            ("backwards", 100000, 1, -4, "there is no tensor"),
            ("overlapping", 100000, 2, 4, "overlap"), ("empty", 100000, 0, 0, "there is no tensor")]:
        start = 4 * (count - 1) if step < 0 else 0
        header = "{" + ",".join(entry % (i, length, start + step * i, start + step * i + 4 * length)
                                for i in range(count)) + "}"
        place = tmp_path / label
        shutil.copytree(good.directory, place)
        (place / "model.safetensors").write_bytes(random_model.safetensors_bytes(
            header.encode(), bytes(abs(step) * (count - 1) + 4 * length)))
        argv = bounded(bin, "project-values", "--all", "-m", place, memory=2 * MEMORY)
        wrong = complaint("project-values", place / "model.safetensors", run(bin, *argv), says)
        assert not wrong, f"{label}: {wrong}"
        shutil.rmtree(place)


def test_missing_and_further_tensors(bin, good, tmp_path):
    cases = [(f"without {name}", good.without(name), f"there is no tensor '{name}'") for name in good.names]
    for name in "fc1.weight", "self_attn.q_proj.bias", "final_layer_norm.weight":
        further = {f"decoder.layers.2.{name}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}
        cases.append((f"a third layer's {name}", good.file(further), f"'decoder.layers.2.{name}'"))
    cases.append(("metadata for a tensor", random_model.safetensors_bytes(
        {"__metadata__": good.header[good.names[0]]}, b""), "there is no tensor"))
    check(bin, good, tmp_path, tensor_cases(*cases))


def test_shapes(bin, good, tmp_path):
    """Each tensor with each dimension one more, one less, turned round, flat."""
    cases = []
    for name in good.names:
        shape = good.header[name]["shape"]
        others = [[*shape[:i], size + more, *shape[i + 1:]] for i, size in enumerate(shape)
                  for more in (-1, 1)]
        others += [[*shape, 1], [1, *shape]]
        if len(shape) == 2 and shape[0] != shape[1]:
            others += [shape[::-1], [shape[0] * shape[1]]]
        for other in others:
            if 0 not in other:
                cases.append((f"{name} as {other}", good.reshaped(name, other),
                              f"tensor '{name}' has shape {other}, config.json asks for {shape}"))
    assert len(cases) > 200
    check(bin, good, tmp_path, tensor_cases(*cases))


# ------------------------------------------------------------- config.json

NUMBERS = {"num_hidden_layers": 4096, "hidden_size": 1 << 20, "intermediate_size": 1 << 20,
           "num_attention_heads": 1 << 20, "vocab_size": 1 << 26, "adaptive_input_factor": 1 << 20,
           "adaptive_softmax_factor": 1 << 20}


def config_cases(*cases):
    return [(f"{changes}", "config.json", changes, says) for changes, says in cases]


def test_config_that_is_none(bin, good, tmp_path):
    text = json.dumps(good.config).encode()
    check(bin, good, tmp_path, [(label, "config.json", content, says) for label, content, says in [
        ("empty", b"", "not a JSON object"),
        ("array", b"[]", "config.json: not a JSON object but a list; it must be"),
        ("text", b'"x"', "config.json: line 1: not a JSON object"),
        ("too long", b" " * (65 << 20), "longer than 64 MiB"),
        ("too many values", b"[" + b"1," * (1 << 22) + b"1]",
         "more than 4194304 values; this is no model's file"),
        ("cut", text[:-1], "not a JSON object"), ("something behind", text + b"{}", "not a JSON object"),
        ("key twice", text[:-1] + b', "hidden_size": 8}', "duplicate object key"),
        ("not UTF-8", b'{"\xff": 1}', "JSON"),
        ("line ends", b'{"a\n\n', "not a JSON object"), ("NUL", b"\0", "not a JSON object"),
        ("deep", b'{"a":' * 100000, "not a JSON object"),
        ("deep arrays", b"[" * 1000000, "not a JSON object"),
        ("a stream", b"\x82\xa6format", "not a JSON object"),
        ("nothing in it", b"{}", "model_type '(none)'")]])


def test_config_keys(bin, good, tmp_path):
    """Each key missing, and of each wrong type."""
    needed = set(good.config) - {"pad_token_id", "eos_token_id", "torch_dtype"}
    cases = []
    for key in needed:
        values = [..., None, [], {}, "", "8", -1, [8], {"a": 8}]
        if key in ("adaptive_input_cutoffs", "adaptive_softmax_cutoffs"):
            values = [..., None, {}, "", -1, 5, "5, 8", [], ["5", 8], [5.0, 8.0], [None, 8], [[5], 8]]
        elif key == "bos_token_id":  # of a list the first counts
            values = [..., None, [], {}, "", "8", -1, ["8"], [-1, 8], [[8]], {"a": 8}, 1.5, True, 1 << 40]
        elif key == "model_type":
            values = [..., None, [], "", 5, "bert", "FAIRSEQ_TRANSFORMER_LM", "fairseq_transformer_lm "]
        elif isinstance(good.config[key], bool):
            values += [0, 1, "true"]
        elif isinstance(good.config[key], str):
            values += ["tanh", "learned", "Relu", "RELU ", True]
        elif key in NUMBERS:
            values += [0, 1.5, True, 8.0, NUMBERS[key] + 1, 1 << 40, (1 << 63) - 1, 1e300]
        elif isinstance(good.config[key], int):
            values += [1.5, True, 1 << 40, 1 << 32]
        else:
            values += [0, True, 1e9, 1e300, -1e-5]
        cases += [({key: value}, "cutoffs" if "cutoffs" in key else key) for value in values]
    check(bin, good, tmp_path, config_cases(*cases))


def test_other_arithmetic_is_named(bin, good, tmp_path):
    check(bin, good, tmp_path, config_cases(
        ({"model_type": "bert"}, "model_type 'bert' is not known; these are: fairseq_transformer_lm, gpt2, "),
        ({"model_type": "gpt2"}, "is not known, and may change what the model computes"),
        ({"activation_function": "tanh"},
         "'activation_function' is \"tanh\"; this program knows only relu, "),
        ({"normalize_before": False}, "'normalize_before' is false; this program knows only true"),
        ({"final_norm": ...}, "'final_norm' must be true or false"),
        ({"position_embedding": "learned"}, "'position_embedding' is \"learned\""),
        ({"activation_function": "a\nb\x1b[2J"}, "'activation_function' is \"a\\nb\\u001B[2J\""),
        ({"model_type": "a\nb\x1b[2J"}, "model_type 'a?b?[2J'")))


def test_config_that_contradicts_itself(bin, good, tmp_path):
    check(bin, good, tmp_path, config_cases(
        ({"num_attention_heads": 3}, "hidden_size 8 is not a multiple of num_attention_heads 3"),
        ({"num_attention_heads": 16}, "num_attention_heads 16"),
        *[({"adaptive_input_cutoffs": cutoffs, "adaptive_softmax_cutoffs": cutoffs}, "must rise")
          for cutoffs in (
            [8, 5], [5, 5], [0, 5], [-1, 5], [5, 12], [5, 13], [12], [5, 1 << 40], [1 << 62], [5, 8, 7])],
        *[({"adaptive_input_cutoffs": cutoffs, "adaptive_softmax_cutoffs": cutoffs}, "list of 1 to")
          for cutoffs in (
            [], list(range(1, 12)) + [11] * 5, [1] * 100000)],
        ({"adaptive_softmax_cutoffs": [5, 9]}, "'adaptive_softmax_cutoffs' must be those of the input"),
        ({"adaptive_softmax_cutoffs": [5]}, "'adaptive_softmax_cutoffs' must be those of the input"),
        ({"adaptive_softmax_factor": 4}, "'adaptive_softmax_factor' must be that of the input"),
        ({"adaptive_input_factor": 4}, "'adaptive_softmax_factor' must be that of the input"),
        ({"adaptive_input_factor": 3, "adaptive_softmax_factor": 3},
         "leaves the last of 3 clusters without dimensions"),
        ({"bos_token_id": 12}, "'bos_token_id' must be a whole number from 0 to 11"),
        ({"unk_token_id": 12}, "'unk_token_id' must be a whole number from 0 to 11")))


def test_config_that_contradicts_the_tensors(bin, good, tmp_path):
    """Each dimension one more, one less, and half of it."""
    asks = "config.json asks for"
    cases = [(f"{changes}", "model.safetensors", {**changes}, says) for changes, says in [
        ({"num_hidden_layers": 3}, "there is no tensor 'decoder.layers.2."),
        ({"num_hidden_layers": 4096}, "there is no tensor 'decoder.layers.2."),
        ({"num_hidden_layers": 1}, "tensor 'decoder.layers.1."),
        ({"hidden_size": 10}, asks), ({"hidden_size": 6}, asks), ({"hidden_size": 4}, asks),
        ({"hidden_size": 16}, asks), ({"hidden_size": 1 << 20}, ""),
        ({"intermediate_size": 5}, asks), ({"intermediate_size": 3}, asks), ({"intermediate_size": 8}, asks),
        ({"intermediate_size": 2}, asks), ({"intermediate_size": 1 << 20}, asks),
        ({"vocab_size": 13}, asks), ({"vocab_size": 11}, asks), ({"vocab_size": 1 << 26}, ""),
        *[({"adaptive_input_cutoffs": cutoffs, "adaptive_softmax_cutoffs": cutoffs}, says)
          for cutoffs, says in [
            ([4, 8], asks), ([6, 8], asks), ([5, 7], asks), ([5, 9], asks), ([5], asks),
            ([5, 8, 9], asks), ([8], asks)]],
        ({"final_norm": True}, "there is no tensor 'decoder.layer_norm.weight'"),
        ({"tie_adaptive_weights": False}, "there is no tensor 'decoder.adaptive_softmax.head.weight'"),
        ({"tie_adaptive_proj": False}, "there is no tensor 'decoder.adaptive_softmax.tail.0.0.weight'"),
        ({"adaptive_input_factor": 1, "adaptive_softmax_factor": 1}, asks)]]
    found = []
    for number, (label, name, changes, says) in enumerate(cases):
        place = tmp_path / f"{number}"
        shutil.copytree(good.directory, place)
        (place / "config.json").write_text(json.dumps({**good.config, **changes}))
        argv = bounded(bin, "project-values", "--all", "-m", place, memory=2 * MEMORY)
        done = run(bin, *argv)
        wrong = complaint("project-values", place / name, done, says)
        if wrong and not (says == "" and b": out of memory" in done.stderr):
            found.append(f"{label}: {wrong}")
    assert not found, "\n".join(found)


def test_model_that_is_not_there(bin, good, tmp_path):
    for tool, *arguments in ["tokenize"], ["forward-dump"], ["project-values", "--all"]:
        missing = tmp_path / "missing"
        fails(bin, tool, "-m", missing, *arguments, says=f"{missing}/config.json")
        fails(bin, tool, "-m", good.directory / "config.json", *arguments, says="not a GGUF file")
    place = tmp_path / "place"
    shutil.copytree(good.directory, place)
    for name, tools in ("model.safetensors", ["forward-dump", "project-values"]), \
            ("config.json", ["tokenize", "forward-dump", "project-values"]):
        (place / name).unlink()
        for tool in tools:
            fails(bin, tool, "-m", place, says=f"{tool}: {place}/{name}: ")
        (place / name).mkdir()
        for tool in tools:
            fails(bin, tool, "-m", place, says=f"{tool}: {place}/{name}: ")


# ------------------------------------------------------ sums that overflow

HUGE = 3e38


def overflowing(good, place, tensors):
    """A model with other tensors, {name: the number that it holds throughout, or a factor of all}."""
    shutil.copytree(good.directory, place)
    data = bytearray(good.data)
    for name, value in tensors.items():
        begin, end = good.header[name]["data_offsets"]
        old = np.frombuffer(good.data[begin:end], "<f4")
        data[begin:end] = (old * np.float32(value[0]) if isinstance(value, tuple)
                           else np.full_like(old, value)).tobytes()
    (place / "model.safetensors").write_bytes(good.file(data=bytes(data)))
    return place


LAYER = "decoder.layers.1."
EMBEDDING = "decoder.embed_tokens.embeddings."
OVERFLOWS = {
    "embedded words": {EMBEDDING + "0.0.weight": HUGE},
    "embedding's projection": {EMBEDDING + "0.1.weight": HUGE},
    "variance": {EMBEDDING + "0.0.weight": (1e19,), EMBEDDING + "0.1.weight": (1e3,)},
    "attention's norm": {LAYER + "self_attn_layer_norm.weight": HUGE},
    "norm's bias": {LAYER + "self_attn_layer_norm.bias": HUGE},
    "queries and keys": {LAYER + "self_attn.q_proj.bias": 1e30, LAYER + "self_attn.k_proj.bias": 1e30},
    "attention's values": {LAYER + "self_attn.v_proj.bias": HUGE},
    "attention's output": {LAYER + "self_attn.out_proj.bias": HUGE},
    "feed-forward norm": {LAYER + "final_layer_norm.weight": HUGE},
    "coefficients": {LAYER + "final_layer_norm.weight": 0, LAYER + "final_layer_norm.bias": 1e20,
                     LAYER + "fc1.weight": 1e20},
    "values": {LAYER + "fc1.bias": 1e20, LAYER + "fc2.weight": 1e20},
    "values' bias": {LAYER + "fc1.bias": 1e19, LAYER + "fc2.weight": 1e19, LAYER + "fc2.bias": HUGE},
}


@pytest.mark.parametrize("where", OVERFLOWS)
def test_activations_that_overflow(bin, good, tokens, tmp_path, where):
    place = overflowing(good, tmp_path / "model", OVERFLOWS[where])
    for emit in "max", "max,ffn,prediction":
        if emit == "max" and where.startswith("values"):
            continue  # which the last layer does not need for its coefficients
        message = fails(bin, "forward-dump", "-m", place, "--emit", emit, "-o", tmp_path / "out",
                        stdin=tokens)
        assert "not finite" in message and "layer " in message, message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_one_thread_speaks(bin, good, tmp_path):
    """However many fail at the same time."""
    place = overflowing(good, tmp_path / "model", OVERFLOWS["values"])
    data = ok(bin, "tokenize", "-m", place, "--batch", 4, stdin=b"w4 w5 w6\n" * 200)
    for _ in range(20):
        fails(bin, "forward-dump", "-m", place, "--threads", 16, "-o", tmp_path / "out", "--emit", "ffn",
              stdin=data, says="not finite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_distributions_that_overflow(bin, good, tokens, tmp_path):
    logits = overflowing(good, tmp_path / "logits",
                         {EMBEDDING + "0.0.weight": 1e30, LAYER + "fc2.weight": 1e30})
    tail = overflowing(good, tmp_path / "tail", {EMBEDDING + "1.0.weight": 1e30, LAYER + "fc2.weight": 1e30})
    clusters = overflowing(good, tmp_path / "clusters", {
        "decoder.adaptive_softmax.head.class_proj.weight": 1e30, LAYER + "fc2.weight": 1e30})
    for place in logits, tail, clusters:
        fails(bin, "project-values", "--all", "-k", 2, "-m", place, says="not finite")
    output = overflowing(good, tmp_path / "output", {
        LAYER + "fc1.weight": 0, LAYER + "fc1.bias": 0, LAYER + "fc2.bias": HUGE,
        LAYER + "self_attn.out_proj.weight": 0, LAYER + "self_attn.out_proj.bias": 1e17})
    fails(bin, "forward-dump", "-m", output, "--emit", "prediction", stdin=tokens, says="not finite")
