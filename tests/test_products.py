"""--products: sums of bfloat16 terms against NumPy in float64, and what the tools do with them.

Where oneDNN is not there, or has no products of bfloat16 numbers for this processor, what needs them is
skipped, and the message that refuses them is tested instead.
"""

import platform
import shutil

import numpy as np
import pytest

import oracle
import streams
import systems
from conftest import ROOT
from helpers import (assert_close, by_sentence, fails, ok, pipeline, random_sentences, run,
                     sentences_of, text)
from random_model import write_model

KINDS = ("bf16x3", "bf16x2", "bf16")
# Of the product's root mean square: what a sum of n random products may lose. Measured here 6e-8 to 3.3e-7,
# 2.5e-6 to 7e-6 and 1e-3 to 3.2e-3; that of float32 is up to 4.4e-7.
TOLERANCE = {"float32": 1e-6, "bf16x3": 1e-6, "bf16x2": 2e-5, "bf16": 1e-2}
LARGEST = np.finfo(np.float32).max


def to_bfloat(values):
    """The nearest bfloat16 numbers of finite ones below the largest, as float32."""
    bits = np.asarray(values, "<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype("<u4").view("<f4")


def multiplied(bin, kind, matrix, x, wide, before, env=None):
    """What matrix-multiply gives: {name: array}."""
    (rows, columns), count = matrix.shape, len(x)
    data = b"".join(np.asarray(array, "<f4").tobytes() for array in (matrix, x, wide, before))
    out = ok(bin, bin / "tests" / "matrix-multiply", "--products", kind, "--rows", rows, "--columns", columns,
             "--count", count, stdin=data, env=env)
    shapes = {"product": (count, rows + 3), "vector": (rows,), "transposed": (count, columns),
              "rows": (rows, columns), "columns": (columns, rows)}
    values, found = np.frombuffer(out, "<f4"), {}
    for name, shape in shapes.items():
        found[name], values = values[:np.prod(shape)].reshape(shape), values[np.prod(shape):]
    assert not len(values) and not found["product"][:, rows:].any()  # the gap behind each row is left alone
    return {**found, "product": found["product"][:, :rows]}


# --------------------------------------------------------------------- terms

def split(bin, values):
    """(3, count): the terms of the numbers."""
    values = np.asarray(values, "<f4")
    out = ok(bin, bin / "tests" / "matrix-multiply", "--split", "--columns", len(values),
             stdin=values.tobytes())
    return np.frombuffer(out, "<f4").reshape(3, len(values))


def test_terms_are_those_by_hand(bin):
    """1 + 2^-7 + 2^-9 + 2^-23: the nearest of 8 bits is 1 + 2^-7, what is left has the other two. A half goes
    to the even one: 1 + 2^-8 to 1, and 1 + 3 * 2^-8 to 1 + 2^-6."""
    numbers = [1 + 2**-7 + 2**-9 + 2**-23, 1 + 2**-8, 1 + 3 * 2**-8, -3.0, 0.0]
    assert split(bin, numbers).T.tolist() == [[1 + 2**-7, 2**-9, 2**-23], [1, 2**-8, 0],
                                              [1 + 2**-6, -2**-8, 0], [-3, 0, 0], [0, 0, 0]]


def test_three_terms_are_the_number_exactly(bin):
    """All exponents whose last bit a bfloat can have, random fractions; and the largest numbers there are, of
    which the nearest bfloat would be infinite. Terms are bfloats, each at most half the last one's unit."""
    random = np.random.default_rng(3)
    bits = random.integers(17 << 23, 254 << 23, 50000, dtype=np.uint32)
    bits |= random.integers(0, 2, len(bits), dtype=np.uint32) << 31
    numbers = np.concatenate([bits.view("<f4"), [LARGEST, -LARGEST, np.nextafter(LARGEST, np.float32(0))]])
    terms = split(bin, numbers)
    assert np.isfinite(terms).all() and not (terms.view("<u4") & 0xFFFF).any()
    assert (terms.astype(float).sum(axis=0) == numbers).all()
    assert (terms[0][:50000] == to_bfloat(numbers[:50000])).all()
    assert (np.abs(terms[1][:50000]) <= np.abs(numbers[:50000]) * 2.0**-8).all()


def test_what_terms_leave_of_the_smallest_numbers_is_half_their_unit(bin):
    """Numbers below 2^-110, subnormal ones among them: 2^-134 is half of the smallest bfloat."""
    bits = np.random.default_rng(4).integers(0, 17 << 23, 50000, dtype=np.uint32)
    numbers = np.concatenate([bits.view("<f4"), np.array([1, 2, 0x8000, 0xFFFF, 0x10000], "<u4").view("<f4")])
    left = split(bin, numbers).astype(float).sum(axis=0) - numbers
    assert np.abs(left).max() <= 2.0**-134 and left.any()


def test_what_is_no_number_stays_none(bin):
    values = np.array([0x7F800001, 0x7FFFFFFF, 0xFFC00000, 0x7F800000, 0xFF800000], "<u4").view("<f4")
    first = split(bin, values)[0]
    assert np.isnan(first[:3]).all() and first[3:].tolist() == [np.inf, -np.inf]


# ------------------------------------------------------------------ products

SHAPES = [(64, 64, 64), (1, 17, 8), (37, 53, 11), (8, 1536, 512), (1536, 576, 64), (2100, 128, 100),
          (5, 1, 3), (7, 200, 1)]  # rows, columns, vectors
STORED = {"float32": lambda values: values, "float16": lambda values: values.astype("<f2").astype("<f4"),
          "bfloat16": to_bfloat}


def drawn(shape, stored, seed=1):
    """(matrix, x, wide, before) of random numbers, the matrix's as a file stores them."""
    rows, columns, count = shape
    random = np.random.default_rng(seed)
    arrays = [random.standard_normal(size).astype("<f4")
              for size in ((rows, columns), (count, columns), (count, rows), (count, rows))]
    return (STORED[stored](arrays[0]), *arrays[1:])


def error(found, exact, terms):
    """Root mean square, of what a sum of so many products of such numbers has."""
    return np.sqrt(np.mean((found - exact) ** 2) / terms)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind", ["float32", *KINDS])
def test_products_are_numpys(bin, request, kind, stored):
    """Reference: NumPy in float64. A product of one row is of 32-bit floats: as exact as the weights are."""
    if kind != "float32":
        request.getfixturevalue("bfloats")
    for shape in SHAPES:
        matrix, x, wide, before = drawn(shape, stored)
        found, (rows, columns, _) = multiplied(bin, kind, matrix, x, wide, before), shape
        exact = {"product": before + x.astype(float) @ matrix.T.astype(float),
                 "transposed": wide.astype(float) @ matrix.astype(float)}
        for name, terms in ("product", columns), ("transposed", rows):
            assert error(found[name], exact[name], terms) < TOLERANCE[kind], (shape, name)
        weights = found["rows"].astype(float)
        assert error(found["vector"], weights @ x[0], columns) < TOLERANCE["float32"], shape
        assert (found["columns"] == found["rows"].T).all()


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind, terms", zip(KINDS, (3, 2, 1)))
def test_weights_are_rounded_to_as_many_terms(bin, bfloats, kind, terms, stored):
    """Reference: NumPy. All of a bfloat is in one term, all of a float16 in two, of a float32 in three."""
    matrix, *rest = drawn((37, 53, 2), stored)
    rounded = np.zeros_like(matrix)
    for _ in range(terms):
        rounded += to_bfloat(matrix - rounded)
    assert (multiplied(bin, kind, matrix, *rest)["rows"] == rounded).all()
    exact = {"bfloat16": 1, "float16": 2, "float32": 3}[stored]
    assert (rounded == matrix).all() == (terms >= exact)


def test_three_terms_are_no_worse_than_a_running_sum_of_floats(bin, bfloats):
    """A long sum of numbers above 0, where every rounding is of the whole: the worst there is."""
    matrix, x, *rest = (np.abs(array) for array in drawn((16, 4096, 16), "bfloat16"))
    exact = x.astype(float) @ matrix.T.astype(float) + rest[1]
    running = np.cumsum(x[:, None, :] * matrix, axis=2, dtype=np.float32)[:, :, -1] + rest[1]
    found = multiplied(bin, "bf16x3", matrix, x, *rest)["product"]
    assert np.sqrt(np.mean((found / exact - 1)**2)) < 1.5 * np.sqrt(np.mean((running / exact - 1)**2)) < 1e-5


def test_a_row_is_the_same_at_every_place(bin, bfloats):
    """Batches are padded, and experts have as many rows as chose them."""
    matrix, x, wide, before = drawn((96, 200, 64), "bfloat16")
    for kind in KINDS:
        whole = multiplied(bin, kind, matrix, x, wide, before)["product"]
        turned = multiplied(bin, kind, matrix, x[::-1], wide, before[::-1])["product"]
        assert (whole == turned[::-1]).all()


# -------------------------------------------------------------------- models

@pytest.fixture(scope="module")
def bfloat_model(tmp_path_factory):
    """The directory of a model whose weights are stored as bfloats."""
    directory = tmp_path_factory.mktemp("bfloats")
    write_model(directory, layers=3, d_model=64, d_ff=150, heads=4, vocabulary=300, cutoffs=(100, 200),
                factor=2, dtype="BF16", seed=5)
    return directory


@pytest.fixture(scope="module")
def sentences():
    return random_sentences(60, 300, seed=8)


def dumped(bin, model, sentences, *options, batch=64, env=None):
    tokens = ok(bin, "tokenize", "-m", model, "--batch", batch, stdin=text(sentences))
    return ok(bin, "forward-dump", "-m", model, *options, stdin=tokens, env=env)


@pytest.mark.parametrize("kind, tolerance", [("float32", 1e-4), ("bf16x3", 1e-4), ("bf16x2", 1e-3),
                                             ("bf16", 0.1)])
def test_the_forward_pass_is_the_oracles(bin, request, bfloat_model, sentences, kind, tolerance):
    """Reference: the oracle, in float64. float32 and bf16x3 meet one tolerance."""
    if kind != "float32":
        request.getfixturevalue("bfloats")
    found = streams.read(dumped(bin, bfloat_model, sentences, "--products", kind, "--emit",
                                "coef,resid,ffn,prediction"))
    exact = oracle.load_model(bfloat_model)
    assert sentences_of(found) == sentences
    expected = [oracle.forward(exact, tokens) for tokens in sentences]
    for name in "coef", "resid", "ffn":
        for array, activations in zip(by_sentence(found, name), expected):
            assert_close(array, getattr(activations, name), tolerance)
    for array, activations, tokens in zip(by_sentence(found, "next_logp"), expected, sentences):
        log_p = oracle.log_probs(exact, activations.final)
        assert_close(array, log_p[np.arange(len(tokens)), tokens], tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_do_not_depend_on_threads_or_shards(bin, bfloats, bfloat_model, sentences, kind):
    options = ["-m", bfloat_model, "--products", kind]
    tokens = ok(bin, "tokenize", "-m", bfloat_model, "--batch", 64, stdin=text(sentences))
    dump = ok(bin, "forward-dump", *options, "--threads", 1, stdin=tokens)
    assert ok(bin, "forward-dump", *options, "--threads", 2, stdin=tokens) == dump
    triggers = ok(bin, "topk-keys", "-t", 5, stdin=dump)
    shards = [pipeline(bin, ["tokenize", "-m", bfloat_model, "--batch", 64, "--shard", f"{i}/3"],
                       ["forward-dump", *options], ["topk-keys", "-t", 5], stdin=text(sentences))
              for i in range(3)]
    assert merged(bin, shards, bfloat_model) == triggers
    values = [ok(bin, "project-values", *options, "--threads", n, stdin=triggers) for n in (1, 2)]
    assert values[0] == values[1]


def merged(bin, parts, directory):
    paths = [directory / f"part-{i}" for i in range(len(parts))]
    for path, part in zip(paths, parts):
        path.write_bytes(part)
    return ok(bin, "topk-keys", "--merge", *paths)


def history(stream):
    return streams.read(stream).header["history"][-1]["options"]


def test_the_history_says_how_products_were_made(bin, bfloats, bfloat_model, sentences):
    """float32 as ever; of the others the kind and the library."""
    found = {kind: history(dumped(bin, bfloat_model, sentences, "--products", kind))
             for kind in ("float32", *KINDS)}
    assert not {"products", "onednn"} & set(found["float32"])
    for kind in KINDS:
        assert found[kind]["products"] == kind and found[kind]["onednn"].startswith("oneDNN ")
        assert found[kind]["blas"] == found["float32"]["blas"]


def test_shards_of_two_kinds_are_not_merged(bin, bfloats, bfloat_model, sentences, tmp_path):
    paths = [tmp_path / "1", tmp_path / "2"]
    for i, (path, kind) in enumerate(zip(paths, ("float32", "bf16x3"))):
        path.write_bytes(pipeline(bin, ["tokenize", "-m", bfloat_model, "--shard", f"{i}/2"],
                                  ["forward-dump", "-m", bfloat_model, "--products", kind], ["topk-keys"],
                                  stdin=text(sentences)))
    fails(bin, "topk-keys", "--merge", *paths, says="made with another model, corpus or options")


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_auto_is_float32_for_weights_that_are_no_bfloats(bin, sentences, tmp_path, dtype):
    """Also where BLAS is slow, so that a trial would find bfloats faster."""
    write_model(tmp_path, d_model=64, d_ff=150, heads=4, vocabulary=300, dtype=dtype)
    slow = {"OPENBLAS_CORETYPE": "Haswell"}
    assert dumped(bin, tmp_path, sentences, env=slow) == dumped(bin, tmp_path, sentences, "--products",
                                                                "float32", env=slow)


def test_auto_is_float32_or_the_same_as_exact(bin, bfloat_model, sentences):
    """Which one the machine's trial tells; it says so."""
    found = dumped(bin, bfloat_model, sentences)
    kind = history(found).get("products", "float32")
    assert kind in ("float32", "bf16x3")
    assert found == dumped(bin, bfloat_model, sentences, "--products", kind)


def test_auto_is_float32_without_instructions_for_bfloats(bin, bfloat_model, sentences):
    """As on a processor with AVX2 only, which oneDNN is told to take this one for."""
    env = {"DNNL_MAX_CPU_ISA": "AVX2"}
    assert dumped(bin, bfloat_model, sentences, env=env) == dumped(bin, bfloat_model, sentences,
                                                                  "--products", "float32")


# x86-64 with SSE2 alone, with SSE4.2, with AVX2, as qemu has them.
OLDER = ("kvm64", "Nehalem", "Haswell")


@pytest.mark.release_only
@pytest.mark.parametrize("processor", OLDER)
def test_an_older_processor_has_all_instructions(bin, bfloat_model, sentences, tmp_path, processor):
    """Nothing there needs an instruction of this one: auto is float32, others are refused by name.  BLAS
    takes another kernel, so that numbers are equal to within 1e-5."""
    qemu = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if not qemu or platform.machine() != "x86_64":
        pytest.skip("qemu-x86_64 is not there: setup.sh test installs qemu-user on x86-64")
    env = {"OPENBLAS_CORETYPE": None, "DNNL_MAX_CPU_ISA": None}
    if "sanitize" in bin.name:
        pytest.skip("sanitizers do not run in qemu")
    model, emulated = ["-m", bfloat_model], [qemu, "-cpu", processor]
    dump = dumped(bin, bfloat_model, sentences[:10])
    (tmp_path / "tokens").write_bytes(ok(bin, "tokenize", *model, "--batch", 64, stdin=text(sentences[:10])))
    found = {kind: ok(bin, *emulated, bin / "forward-dump", *model, "--products", kind, tmp_path / "tokens",
                      env=env) for kind in ("auto", "float32")}
    assert found["auto"] == found["float32"] and "products" not in history(found["auto"])
    triggers = [pipeline(bin, [*prefix, bin / "topk-keys", "-t", 5],
                         [*prefix, bin / "project-values", *model], stdin=stream, env=changes)
                for prefix, stream, changes in (([], dump, {}), (emulated, found["auto"], env))]
    assert systems.compare_pipelines(*triggers) == []
    done = run(bin, *emulated, bin / "forward-dump", *model, "--products", "bf16x3", env=env)
    assert done.returncode == 1 and b"forward-dump: --products bf16x3: " in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_products_that_are_not_there_are_refused_by_name(bin, bfloat_model, kind):
    """Without the library, or with it on a processor without them."""
    fails(bin, "forward-dump", "-m", bfloat_model, "--products", kind, env={"DNNL_MAX_CPU_ISA": "AVX2"},
          says=f"--products {kind}: ")


def test_a_merge_takes_no_products(bin, tmp_path):
    fails(bin, "composition-stats", "--merge", "--products", "bf16", tmp_path / "none", status=2,
          says="--products does not go with it")


def test_every_tool_that_multiplies_has_the_choice(bin):
    """The tools whose --help says so are those that compute with a model."""
    tools = {path.stem for path in (ROOT / "tools").glob("*.c")}
    have = {path.stem for path in bin.iterdir() if path.name in tools
            and b"--products" in ok(bin, path.name, "--help")}
    assert have == {"composition-stats", "forward-dump", "generate", "intervention-stats", "model-info",
                    "project-values", "refinement-stats", "trace-prompts", "value-ranks"}
