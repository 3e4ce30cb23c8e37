"""common/formats/gguf.c and quantized.c, through tests/gguf-print.c: against the
format's definition (gguf_format.py), the PyPI package gguf, and hostile files.

The package runs in a virtual environment of its own; where that cannot be made,
the tests that need it are skipped and say so.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import resource
import struct
import subprocess

import numpy as np
import pytest

import environments
import gguf_format as form

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent
BUILDS = ["release-gcc", "release-clang", "sanitize-gcc"]


def run(path, *arguments, build="release-gcc", leaks=True, **options):
    program = ROOT / "build" / build / "tests/gguf-print"
    if not program.exists():
        pytest.fail(f"{program} is not built: run make test")
    # What a sanitizer finds must not look like a refusal. A program that ends with a message
    # leaves its memory to the system.
    sanitizers = {"ASAN_OPTIONS": f"exitcode=99:detect_leaks={leaks:d}", "UBSAN_OPTIONS": "exitcode=99"}
    return subprocess.run([program, path, *map(str, arguments)], capture_output=True, timeout=60,
                          env={**os.environ, **sanitizers}, check=False, **options)


def good(path, *arguments, **options):
    done = run(path, *arguments, **options)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    return done.stdout


def floats(path, name, rows, columns, build="release-gcc", how="read"):
    return np.frombuffer(good(path, how, name, rows, columns, build=build), "<f4")


def refused(path, *arguments, build="sanitize-gcc", **options):
    """Exit 1 and one line of message, which is returned."""
    done = run(path, *arguments, build=build, leaks=False, **options)
    message = done.stderr.decode()
    assert done.returncode == 1, (done.returncode, message)
    assert message.startswith(f"gguf-print: {path}: ") and message.count("\n") == 1, message
    assert message.endswith("\n")
    return message


@pytest.fixture
def make(tmp_path):
    """make(bytes) -> path of a file that holds them."""
    count = 0

    def write(data):
        nonlocal count
        count += 1
        path = tmp_path / f"{count}.gguf"
        path.write_bytes(data)
        return path
    return write


@pytest.fixture(scope="session")
def package():
    """package(command, file, folder) runs gguf_package.py where the package is."""
    python = environments.python(*environments.TOKENIZERS)
    return lambda *arguments: environments.run(python, TESTS / "gguf_package.py", *arguments)


# ------------------------------------------------------------- number formats

EXTREME_HALVES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x8400, 0x7bff, 0xfbff, 0x3c00, 0xbc00]


EXTREME_FLOATS = [0, 1 << 31, 1, 0x807fffff, 0x00800000, 0x7bffffff, 0xfbffffff]


def finite_half(generator):
    return generator.choice(EXTREME_HALVES) if generator.random() < 0.5 \
        else generator.randrange(0x7c00) | generator.choice((0, 0x8000))


def blocks(name, count):
    """count blocks of random bytes, of which the first few are all ones or all
    zeros, with finite scales, half of them at the ends of their range."""
    generator = random.Random(name)
    _, _, size, places = form.FORMATS[name]
    rows = []
    for i in range(count):
        row = bytearray([bytes([255] * size), bytes(size)][i] if i < 2 else generator.randbytes(size))
        for place in places:
            row[place:place + 2] = struct.pack("<H", finite_half(generator))
        if name == "MXFP4":
            row[0] = generator.choice((0, 1, 2, 126, 127, 252, generator.randrange(253)))
        if name == "Q8_K":
            row[:4] = struct.pack("<I", generator.choice((*EXTREME_FLOATS, generator.randrange(0x7c000000))))
        rows.append(bytes(row))
    data = b"".join(rows)
    if name in ("F32", "BF16"):  # random bytes may be infinite: halve the exponent
        bits = np.frombuffer(data, "<u4" if name == "F32" else "<u2").copy()
        bits &= ~np.array(1, bits.dtype) << np.array(30 if name == "F32" else 14, bits.dtype)
        data = bits.tobytes()
    return data


def same_bits(got, expected):
    got, expected = (np.ascontiguousarray(values, "<f4").view("<u4").ravel() for values in (got, expected))
    assert len(got) == len(expected)
    different = np.flatnonzero(got != expected)
    assert not len(different), f"{len(different)} of {len(got)} differ, the first at {different[0]}: " \
        f"{got[different[0]]:#010x}, not {expected[different[0]]:#010x}"


ROWS, ROW_BLOCKS = 37, 30


@pytest.fixture(scope="module")
def all_formats(tmp_path_factory):
    """A file with a tensor of each format, and their bytes."""
    data = {name: blocks(name, ROWS * ROW_BLOCKS) for name in form.FORMATS}
    path = tmp_path_factory.mktemp("gguf") / "formats.gguf"
    path.write_bytes(form.build([("general.architecture", "string", "llama")],
                                [(name, [ROW_BLOCKS * form.FORMATS[name][1], ROWS], name, data[name])
                                 for name in data]))
    return path, data


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("name", form.FORMATS)
def test_every_block_is_what_the_definition_says(all_formats, name, build):
    path, data = all_formats
    columns = ROW_BLOCKS * form.FORMATS[name][1]
    same_bits(floats(path, name, ROWS, columns, build), form.dequantize(name, data[name]))


def test_every_block_is_what_the_package_says(all_formats, package, tmp_path):
    """Of all formats but Q8_K, which the package does not convert."""
    path, data = all_formats
    package("read", path, tmp_path)
    for index, name in enumerate(data):
        columns = ROW_BLOCKS * form.FORMATS[name][1]
        if name != "Q8_K":
            same_bits(floats(path, name, ROWS, columns), np.load(tmp_path / f"{index}.npy"))


@pytest.mark.parametrize("name, infinity", [("F16", 0x7c00), ("BF16", 0x7f80)])
def test_every_16_bit_number(make, name, infinity):
    bits = np.concatenate([np.arange(infinity), 0x8000 + np.arange(infinity)]).astype("<u2")
    path = make(form.build([], [("t", [len(bits)], name, bits.tobytes())]))
    expected = bits.view("<f2").astype("<f4") if name == "F16" else (bits.astype("<u4") << 16).view("<f4")
    for build in BUILDS:
        same_bits(floats(path, "t", len(bits), 0, build), expected)


@pytest.mark.parametrize("bits, word",
                         [(0x7c00, "infinity"), (0xfc00, "infinity"), (0x7c01, "NaN"), (0xffff, "NaN")])
def test_what_is_not_finite_is_refused(make, bits, word):
    values = np.ones(40000, "<u2")
    values[33333] = bits
    path = make(form.build([], [("t", [200, 200], "F16", values.tobytes())]))
    assert f"'t' has {word} at element 33333" in refused(path, "read", "t", 200, 200)
    block = struct.pack("<H", bits) + bytes([1] * 16)
    path = make(form.build([], [("t", [32], "Q4_0", block)]))
    assert f"'t' has {word} at element 0" in refused(path, "read", "t", 32, 0)


def test_scales_of_which_products_are_infinite_are_refused(make):
    for name, scale in ("MXFP4", b"\xfd"), ("Q8_K", struct.pack("<f", 3e38)):
        elements, size = form.FORMATS[name][1:3]
        path = make(form.build([], [("t", [elements], name, scale + bytes([0x66] * (size - len(scale))))]))
        assert "'t' has infinity at element 0" in refused(path, "read", "t", elements, 0)


def test_scales_that_overflow_nothing(make):
    """The largest scale times the largest whole number is finite in every format."""
    for name, (_, elements, size, places) in form.FORMATS.items():
        if not places:
            continue
        block = bytearray([255] * size)
        for place in places:
            block[place:place + 2] = struct.pack("<H", 0x7bff)
        path = make(form.build([], [("t", [elements], name, bytes(block))]))
        same_bits(floats(path, "t", elements, 0), form.dequantize(name, bytes(block)))


# -------------------------------------------------------------------- tensors

def test_shapes_are_columns_first(make):
    values = np.arange(6, dtype="<f4")
    path = make(form.build([], [("t", [3, 2], "F32", values.tobytes())]))
    same_bits(floats(path, "t", 2, 3), values)
    message = refused(path, "read", "t", 3, 2)
    assert "shape [3, 2, 1, 1]" in message and "[2, 3, 1, 1]" in message
    refused(path, "read", "t", 6, 0)
    assert "there is no tensor 'u'" in refused(path, "read", "u", 2, 3)


def test_vectors_scalars_empty_and_lengths_of_one(make):
    one = struct.pack("<f", 1.5)
    path = make(form.build([], [("scalar", [], "F32", one), ("vector", [2], "F32", one * 2),
                                ("row", [2, 1], "F32", one * 2), ("empty", [0], "Q6_K", b""),
                                ("cube", [1, 1, 2], "F32", one * 2)]))
    same_bits(floats(path, "scalar", 1, 0), [1.5])
    for name in "vector", "row":
        same_bits(floats(path, name, 2, 0), [1.5, 1.5])
        same_bits(floats(path, name, 1, 2), [1.5, 1.5])
    same_bits(floats(path, "empty", 0, 0, "sanitize-gcc"), [])
    assert "cube F32 1 1 2 1\n" in good(path).decode()
    refused(path, "read", "cube", 2, 0)


def test_floats_are_mapped_where_they_are_floats(all_formats, make):
    path, data = all_formats
    same_bits(floats(path, "F32", ROWS, ROW_BLOCKS, how="map"), np.frombuffer(data["F32"], "<f4"))
    assert not good(path, "map", "F16", ROWS, ROW_BLOCKS)
    odd = form.build([("general.alignment", "uint32", 1)], [("t", [1], "F32", struct.pack("<f", 2.5))],
                     alignment=1)
    path = make(odd)
    same_bits(floats(path, "t", 1, 0, "sanitize-gcc"), [2.5])
    assert len(odd) % 4 == 0 or not good(path, "map", "t", 1, 0, build="sanitize-gcc")


@pytest.mark.parametrize("alignment", [1, 2, 8, 64, 4096])
def test_alignments(make, alignment):
    contents = [np.arange(n, dtype="<f4") for n in (5, 3, 9)]
    path = make(form.build([("general.alignment", "uint32", alignment)],
                           [(f"t{i}", [len(c)], "F32", c.tobytes()) for i, c in enumerate(contents)],
                           alignment=alignment))
    for i, content in enumerate(contents):
        same_bits(floats(path, f"t{i}", len(content), 0, "sanitize-gcc"), content)


def test_what_the_package_writes(package, tmp_path):
    path = tmp_path / "written.gguf"
    package("write", path, tmp_path)
    assert good(path, "word", "general.architecture") == b"llama\n"
    assert good(path, "uint", "llama.block_count") == b"3\n"
    assert float(good(path, "real", "llama.attention.layer_norm_rms_epsilon")) == float(np.float32(1e-5))
    assert good(path, "bool", "tokenizer.ggml.add_bos_token") == b"true\n"
    assert good(path, "texts", "tokenizer.ggml.tokens") == "a\nĠb\nü\n".encode()
    assert good(path, "floats", "tokenizer.ggml.scores") == b"0.5\n-1.25\n3\n"
    assert good(path, "ints", "tokenizer.ggml.token_type") == b"1\n3\n-1\n"
    for index, (name, _, lengths, _) in enumerate(
            json.loads((tmp_path / "metadata.json").read_text())["tensors"]):
        same_bits(floats(path, name, lengths[1], lengths[0]), np.load(tmp_path / f"{index}.npy"))


def rows_and_columns(lengths):
    return (lengths[1], lengths[0]) if len(lengths) == 2 else (lengths[0], 0)


def test_smollm2_is_what_the_definition_says(smollm2):
    expected = form.Reader(smollm2)
    assert len(expected.tensors) == 272
    for name, (lengths, _, _) in expected.tensors.items():
        same_bits(floats(smollm2, name, *rows_and_columns(lengths)), expected.matrix(name))
    listing = good(smollm2).decode().splitlines()
    assert {line.removesuffix("[]") for line in listing[:-272]} == set(expected.metadata)
    assert {line.split()[0]: line.split()[1] for line in listing[-272:]} \
        == {name: kind for name, (_, kind, _) in expected.tensors.items()}
    for key, value in expected.metadata.items():
        kind = {bool: "bool", int: "uint", float: "real", str: "text"}.get(type(value)) \
            or ("texts" if isinstance(value[0], str) else "ints")
        got = good(smollm2, kind, key).decode()
        if kind == "real":
            assert float(got) == value, key
        elif isinstance(value, list):
            assert got == "".join(f"{element}\n" for element in value), key
        else:
            assert got == (str(value).lower() if kind == "bool" else str(value)) + "\n", key


def test_smollm2_is_what_the_package_says(smollm2, package, tmp_path):
    package("digest", smollm2, tmp_path)
    described = json.loads((tmp_path / "metadata.json").read_text())
    assert described["metadata"] == form.Reader(smollm2).metadata
    for name, _, lengths, digest in described["tensors"]:
        got = good(smollm2, "read", name, *rows_and_columns(lengths))
        assert hashlib.sha256(got).hexdigest() == digest, name


# ------------------------------------------------------------------- metadata

METADATA = [
    ("a.uint8", "uint8", 255), ("a.int8", "int8", -128), ("a.uint16", "uint16", 65535),
    ("a.int16", "int16", -32768), ("a.uint32", "uint32", 2**32 - 1), ("a.int32", "int32", 2**31 - 1),
    ("a.uint64", "uint64", 2**63 - 1), ("a.int64", "int64", 2**63 - 1), ("a.float32", "float32", 0.1),
    ("a.float64", "float64", 0.1), ("a.true", "bool", 1), ("a.false", "bool", 0),
    ("a.string", "string", "Grüße\n\0end"), ("a.empty", "string", ""), ("a.word", "string", "llama"),
    ("l.strings", ("array", "string"), ["", "x", "Ġthe"]), ("l.none", ("array", "string"), []),
    ("l.int32", ("array", "int32"), [-1, 0, 2**31 - 1]), ("l.uint8", ("array", "uint8"), [0, 255]),
    ("l.int64", ("array", "int64"), [-2**63, 2**63 - 1]), ("l.float32", ("array", "float32"), [0.5, -2.0]),
    ("l.float64", ("array", "float64"), [0.25]), ("l.bool", ("array", "bool"), [0, 1]),
    ("l.nested", ("array", ("array", "string")), [["a", "b"], [], ["c"]]), ("z.last", "uint8", 7),
]


@pytest.mark.parametrize("version", [2, 3])
def test_metadata_of_every_type(make, version):
    path = make(form.build(METADATA, version=version))
    for key, kind, value in METADATA:
        options = {"build": "sanitize-gcc"}
        if isinstance(kind, tuple):
            if kind[1] in ("bool", ("array", "string")):
                continue
            how = {"string": "texts", "float32": "floats", "float64": "floats"}.get(kind[1], "ints")
            assert good(path, how, key, **options).decode() \
                == "".join(f"{element:.9g}\n" if how == "floats" else f"{element}\n" for element in value)
        elif kind == "string":
            assert good(path, "text", key, **options).decode() == value + "\n"
        elif kind == "bool":
            assert good(path, "bool", key, **options) == (b"true\n" if value else b"false\n")
        elif kind.startswith("float"):
            exact = float(np.float32(value)) if kind == "float32" else value
            assert float(good(path, "real", key, **options)) == exact
        elif value >= 0:
            assert good(path, "uint", key, **options).decode() == f"{value}\n"
        else:
            assert f"'{key}' is {value}; a whole number from 0" in refused(path, "uint", key)
    listed = good(path).decode().split()
    assert listed == sorted(key + "[]" * isinstance(kind, tuple) for key, kind, _ in METADATA)


@pytest.mark.parametrize("how, key, message", [
    ("uint", "a.string", "is of type string; a whole number is needed"),
    ("uint", "a.true", "is of type bool"),
    ("uint", "l.int32", "is of type int32 array; a whole number is needed"),
    ("uint", "missing", "there is no metadata 'missing'"),
    ("real", "a.uint32", "is of type uint32; a number with a fraction is needed"),
    ("bool", "a.uint8", "is of type uint8; a bool is needed"),
    ("text", "a.uint8", "is of type uint8; a string is needed"),
    ("word", "a.string", "is not printable ASCII"),
    ("texts", "a.word", "is of type string; an array of strings is needed"),
    ("texts", "l.int32", "is of type int32 array; an array of strings is needed"),
    ("texts", "l.nested", "is of type array array; an array of strings is needed"),
    ("ints", "l.strings", "is of type string array"),
    ("floats", "l.int32", "is of type int32 array"),
    ("ints", "missing", "there is no metadata 'missing'"),
])
def test_wrong_types_are_refused(make, how, key, message):
    assert message in refused(make(form.build(METADATA)), how, key)


@pytest.mark.parametrize("kind, value, how, message", [
    ("float32", float("nan"), "real", "not finite"),
    ("float64", float("inf"), "real", "not finite"),
    ("uint64", 2**63, "uint", "a number larger than 9223372036854775807"),
    (("array", "float32"), [1.0, float("nan")], "floats", "not finite"),
    (("array", "float64"), [1e300], "floats", "too large for 32 bits"),
    (("array", "uint64"), [2**64 - 1], "ints", "a number larger than"),
])
def test_numbers_out_of_range_are_refused(make, kind, value, how, message):
    assert message in refused(make(form.build([("k", kind, value)])), how, "k")


# --------------------------------------------------------------- split models

def split_keys(number, parts, tensors):
    return [("split.no", "uint16", number), ("split.count", "uint16", parts),
            ("split.tensors.count", "int32", tensors)]


def one_vector(name, value, length=3):
    return name, [length], "F32", np.full(length, value, "<f4").tobytes()


SPLIT_METADATA = [("general.architecture", "string", "llama")]
SPLIT_TENSORS = [one_vector("a", 1.5), one_vector("c", 2.5, 9),  # of lengths that need padding
                 *(one_vector(name, i, i + 1) for i, name in enumerate("bed"))]


def parts_of(tensors=5, numbers=(0, 1, 2), counts=(3, 3, 3)):
    """Bytes of three parts: without tensors, with a and c, with the others."""
    contents = [], SPLIT_TENSORS[:2], SPLIT_TENSORS[2:]
    keys = [split_keys(number, count, tensors) for number, count in zip(numbers, counts, strict=True)]
    return [form.build([*([] if i else SPLIT_METADATA), *keys[i]], contents[i]) for i in range(3)]


def write_parts(folder, parts, name="model", count=3):
    folder.mkdir(exist_ok=True)
    for i, data in enumerate(parts):
        if data is not None:
            (folder / f"{name}-{i + 1:05}-of-{count:05}.gguf").write_bytes(data)
    return folder / f"{name}-00001-of-{count:05}.gguf"


@pytest.mark.parametrize("build", BUILDS)
def test_a_split_model_is_one_file(tmp_path, build):
    path = write_parts(tmp_path / "model", parts_of())
    for name, value, length in ("a", 1.5, 3), ("b", 0, 1), ("c", 2.5, 9), ("d", 2, 3), ("e", 1, 2):
        same_bits(floats(path, name, length, 0, build), np.full(length, value, "<f4"))
        same_bits(floats(path, name, length, 0, build, how="map"), np.full(length, value, "<f4"))
    assert good(path, "word", "general.architecture", build=build) == b"llama\n"
    assert [line.split()[0] for line in good(path, build=build).decode().splitlines()[-5:]] == list("abcde")
    assert "there is no tensor 'z'" in refused(path, "read", "z", 1, 0)


def test_a_split_models_hash_is_that_of_the_joined_file(tmp_path, make):
    """Of the one that llama-gguf-split --merge makes, with its keys split.*, or without."""
    path = write_parts(tmp_path / "model", parts_of())
    whole = make(form.padded(form.build(SPLIT_METADATA, SPLIT_TENSORS), 32))
    joined = make(form.build([*SPLIT_METADATA, *split_keys(0, 0, 5)], SPLIT_TENSORS))
    done = subprocess.run(["xxhsum", "-H2", whole], capture_output=True, check=True, text=True)
    for file in path, whole, joined:
        assert good(file, "hash").decode() == done.stdout.split()[0] + "\n"
    other = parts_of()
    other[2] = other[2][:-1] + b"\1"
    assert good(write_parts(tmp_path / "other", other), "hash").decode().strip() != done.stdout.split()[0]


def shuffled(*order):
    parts = parts_of()
    return [parts[i] if i is not None else None for i in order]


@pytest.mark.parametrize("parts, part, says", [
    (shuffled(0, 1, None), 3, "part 3 of 3 of the model is not there; put all parts beside"),
    (shuffled(0, 1, 1), 3, "split.no is 1, where 2 follows from its name"),
    (shuffled(0, 2, 1), 2, "split.no is 2, where 1 follows from its name"),
    (shuffled(1, 1, 2), 1, "part 2 of 3 of a split model; give the first, "),
    (parts_of(numbers=(3, 1, 2)), 1, "split.no is 3, of 3 parts: the file is damaged"),
    (parts_of(counts=(3, 3, 4)), 3, "split.count is 4, where 3 is that of the first"),
    ([form.build([("split.count", "uint32", 70000)])], 1,
     "'split.count' is 70000; a whole number from 0 to 6"),
    (parts_of(tensors=6), 1,
     "split.tensors.count is 6, but its 3 parts have 5 tensors: a part is of another"),
    ([*parts_of()[:2], parts_of(tensors=4)[2]], 3, "split.tensors.count is 4, where 5 is that of the first"),
    ([*parts_of()[:2], form.build([("general.name", "string", "x"), *split_keys(2, 3, 5)])], 3,
     "has metadata of its own, 'general.name', which only the first part of a split model has"),
    ([*parts_of()[:2], form.build(split_keys(2, 3, 5), [one_vector(name, 1) for name in "cde"])], None,
     "the tensor 'c' is in "),
    ([*parts_of()[:2], form.build([], [one_vector("b", 1)])], 3, "there is no metadata 'split.count'"),
    ([*parts_of()[:2], b"GGUF"], 3, "not a GGUF file"),
])
def test_parts_that_are_no_model_are_refused(tmp_path, parts, part, says):
    first = write_parts(tmp_path / "model", parts)
    done = run(first, build="sanitize-gcc", leaks=False)
    message = done.stderr.decode()
    assert done.returncode == 1 and message.count("\n") == 1 and says in message, message
    if part:
        assert message.startswith(f"gguf-print: {tmp_path}/model/model-{part:05}-of-00003.gguf: "), message


def test_another_part_or_another_name_is_refused_and_the_first_is_named(tmp_path):
    first = write_parts(tmp_path / "model", parts_of())
    second = tmp_path / "model/model-00002-of-00003.gguf"
    assert f"part 2 of 3 of a split model; give the first, {first}" in refused(second)
    renamed = tmp_path / "model/renamed.gguf"
    renamed.write_bytes(second.read_bytes())
    assert "give the first, whose name ends with -00001-of-00003.gguf" in refused(renamed)
    renamed.write_bytes(first.read_bytes())
    assert "whose name must end with -00001-of-00003.gguf" in refused(renamed)


# -------------------------------------------------------------- hostile files

def small_file():
    """A valid file that has everything, and where its data begin."""
    head = [("general.architecture", "string", "llama"), ("general.alignment", "uint32", 8),
            ("k.list", ("array", "string"), ["a", "bc"]), ("k.flag", "bool", 1),
            ("k.deep", ("array", ("array", "int16")), [[1, 2], [3]])]
    tensors = [("v", [3], "F32", bytes(12)), ("m", [32, 2], "Q4_1", bytes(40))]
    data = form.build(head, tensors, alignment=8)
    return data, len(data) - 16 - 40


def test_cut_at_any_byte(make, tmp_path):
    data, _ = small_file()
    good(make(data), "time", build="sanitize-gcc")

    def cut(length):
        path = tmp_path / f"cut{length}.gguf"
        path.write_bytes(data[:length])
        refused(path, "time")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(cut, range(len(data))))


def test_flipped_bits_never_do_more_than_be_refused(make, tmp_path):
    data, begin = small_file()
    generator = random.Random(0)

    def flip(place):
        for byte in (data[place] ^ 1 << generator.randrange(8), 0xff, 0x80):
            damaged = bytearray(data)
            damaged[place] = byte
            path = tmp_path / f"flip{place}.gguf"
            path.write_bytes(damaged)
            done = run(path, "time", build="sanitize-gcc", leaks=False)
            assert done.returncode in (0, 1) and done.stderr.count(b"\n") == done.returncode, \
                (place, byte, done)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(flip, range(begin)))


def info(name="t", lengths=(8,), number=0, offset=0):
    return form.tensor_info(name, lengths, number, offset)


def with_tensors(*infos, data=bytes(1024), entries=()):
    return form.padded(form.header(list(entries), list(infos)), 32) + data


def with_value(number, data):
    return form.header([form.text("k") + struct.pack("<I", number) + data], [])


def nested(depth):
    return struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQ", 0, 0)


HOSTILE = {
    "empty": (b"", "not a GGUF file"),
    "magic": (form.header([], [], magic=b"GGML"), "not a GGUF file"),
    "version 0": (form.header([], [], version=0), "GGUF version 0; versions 2 and 3"),
    "version 1": (form.header([], [], version=1), "GGUF version 1; versions 2 and 3"),
    "version 4": (form.header([], [], version=4), "GGUF version 4; versions 2 and 3"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian byte order"),
    "tensor count": (form.header([], [], counts=(2**64 - 1, 0)), "the number of tensors at byte 8 claims"),
    "key count": (form.header([], [], counts=(0, 2**63)), "the number of keys at byte 16 claims"),
    "one key too many": (form.header([form.entry("k", "uint64", 1)], [], counts=(0, 2)), "claims 2"),
    "one tensor too many": (form.header([], [info()], counts=(2, 0)) + bytes(8), "claims 2"),
    "one tensor too many, with data": (form.header([], [info()], counts=(2, 0)) + bytes(64),
                                       "printable ASCII"),
    "key length": (form.header([struct.pack("<Q", 2**64 - 1) + bytes(64)], []),
                   "needs 18446744073709551615 bytes"),
    "key empty": (form.header([form.entry("", "uint64", 1)], []), "printable ASCII"),
    "key with line end": (form.header([form.entry("a\nb", "uint8", 1)], []), "printable ASCII"),
    "key not ASCII": (form.header([form.entry(b"a\xff", "uint8", 1)], []), "printable ASCII"),
    "key too long": (form.header([form.entry("k" * 65536, "uint8", 1)], []), "printable ASCII"),
    "key with NUL": (form.header([form.entry(b"a\0b", "uint8", 1)], []), "printable ASCII"),
    "key twice": (form.header([form.entry("k", "uint8", 1), form.entry("j", "uint8", 1),
                               form.entry("k", "uint8", 2)], []), "the key 'k' is there twice"),
    "value type": (with_value(13, bytes(16)), "type 13"),
    "value type huge": (with_value(2**32 - 1, bytes(16)), "type 4294967295"),
    "element type": (with_value(9, struct.pack("<IQ", 99, 1) + bytes(16)), "type 99"),
    "array count": (with_value(9, struct.pack("<IQ", 4, 2**62) + bytes(16)), "claims 4611686018427387904"),
    "array count wraps": (with_value(9, struct.pack("<IQ", 10, 2**61 + 1) + bytes(16)), "claims"),
    "array of strings count": (with_value(9, struct.pack("<IQ", 8, 2**61) + bytes(16)), "claims"),
    "array of arrays count": (with_value(9, struct.pack("<IQ", 9, 2**40) + bytes(64)), "claims"),
    "string length": (with_value(8, struct.pack("<Q", 2**64 - 8) + bytes(16)), "needs"),
    "bool 2": (with_value(7, b"\2" + bytes(16)), "neither 0 nor 1"),
    "bools 2": (with_value(9, struct.pack("<IQ", 7, 3) + b"\0\1\2"), "neither 0 nor 1"),
    "nested 5": (with_value(9, nested(5)), "nested more than 4 deep"),
    "nested 100000": (with_value(9, nested(100000)), "nested more than 4 deep"),
    "alignment 0": (with_tensors(entries=[form.entry("general.alignment", "uint32", 0)]), "from 1 to"),
    "alignment 48": (with_tensors(entries=[form.entry("general.alignment", "uint32", 48)]),
                     "not a power of 2"),
    "alignment 2^31": (with_tensors(entries=[form.entry("general.alignment", "uint32", 2**31)]), "from 1 to"),
    "alignment a string": (with_tensors(entries=[form.entry("general.alignment", "string", "32")]),
                           "type string"),
    "alignment beyond": (with_tensors(info(), entries=[form.entry("general.alignment", "uint32", 2**16)]),
                         "end behind the end of the file"),
    "alignment 2^17": (with_tensors(entries=[form.entry("general.alignment", "uint32", 2**17)]), "to 65536"),
    "5 dimensions": (with_tensors(info(lengths=(1,) * 5)), "5 dimensions"),
    "2^32 dimensions": (with_tensors(form.text("t") + struct.pack("<I", 2**32 - 1) + bytes(64)),
                        "dimensions"),
    "length 2^64 - 1": (with_tensors(info(lengths=(2**64 - 1,))), "larger than the file"),
    "length 2^63": (with_tensors(info(lengths=(2**63,))), "larger than the file"),
    "lengths wrap to 0": (with_tensors(info(lengths=(2**32, 2**32))), "larger than the file"),
    "lengths wrap to 8": (with_tensors(info(lengths=(2**32 + 2, 2**31, 2))), "larger than the file"),
    "bytes wrap": (with_tensors(info(lengths=(2**62,))), "larger than the file"),
    "one element too many": (with_tensors(info(lengths=(257,))), "end behind the end of the file"),
    "half a block": (with_tensors(info(lengths=(48, 2), number=2)), "not whole blocks of 32 as Q4_0"),
    "half a block of 256": (with_tensors(info(lengths=(32, 8), number=12)),
                            "not whole blocks of 256 as Q4_K"),
    "type gone": (with_tensors(info(number=4)), "of type 4, which no format has"),
    "type not known": (with_tensors(info(number=17)), "type IQ2_XS (17), which is not read"),
    "type of integers": (with_tensors(info(number=26)), "type I32 (26), which is not read"),
    "type 2^32 - 1": (with_tensors(info(number=2**32 - 1)), "of type 4294967295, which no format has"),
    "offset odd": (with_tensors(info(offset=16)), "multiple of 32"),
    "offset beyond": (with_tensors(info(offset=1024)), "end behind the end of the file"),
    "offset wraps": (with_tensors(info(offset=2**64 - 32)), "behind the end of the file"),
    "overlap": (with_tensors(info("a", (16,)), info("b", (16,), offset=32)), "'b' overlap"),
    "overlap whole": (with_tensors(info("a"), info("b")), "overlap"),
    "overlap inner": (with_tensors(info("a", (64,)), info("b", (8,), offset=64)), "'b' overlap"),
    "tensor twice": (with_tensors(info(), info(offset=32)), "the tensor 't' is there twice"),
    "tensor empty name": (with_tensors(info("")), "printable ASCII"),
    "tensor with line end": (with_tensors(info("a\nb")), "printable ASCII"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file(make, name):
    data, message = HOSTILE[name]
    got = refused(make(data))
    assert message in got, got


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a GGUF file" in refused(tmp_path / "pipe")
    assert "not a GGUF file" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "missing")


def limited(path, *arguments, memory=1 << 30, seconds=10):
    """Runs within so much memory and processor time."""
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    return run(path, *arguments, preexec_fn=limit)


def test_a_million_tensors_are_read_in_bounded_time_and_memory(make):
    infos = [info(f"blk.{i}", (8,), offset=32 * i) for i in range(1000000)]
    data = with_tensors(*infos, data=bytes(32 * len(infos)))
    done = limited(make(data), memory=8 * len(data))
    assert done.returncode == 0 and done.stdout.count(b"\n") == len(infos), done.stderr
    same = with_tensors(*infos, info("blk.0", (8,), offset=0), data=bytes(32 * len(infos)))
    done = limited(make(same), memory=8 * len(same))
    assert done.returncode == 1 and b"'blk.0' is there twice" in done.stderr
    one_place = with_tensors(*(info(f"blk.{i}", (8,)) for i in range(1000000)))
    done = limited(make(one_place), memory=8 * len(one_place))
    assert done.returncode == 1 and b"overlap" in done.stderr


def test_a_million_keys_with_long_common_names(make):
    keys = [form.entry("k" * 60 + f"{i:06d}", "uint8", 1) for i in range(1000000)]
    data = form.header(keys, [])
    done = limited(make(data), memory=8 * len(data))
    assert done.returncode == 0 and done.stdout.count(b"\n") == len(keys)


def test_a_sparse_file_cannot_lie_itself_large(tmp_path):
    path = tmp_path / "sparse.gguf"
    for counts in (2**30, 0), (0, 2**30):
        path.write_bytes(form.header([], [], counts=counts))
        os.truncate(path, 1 << 38)
        done = limited(path, memory=1 << 40)
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1, done.stderr
