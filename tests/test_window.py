"""Models larger than memory: layers that are read one after the other, with the bytes of a run that
has them all in memory.

FFKV_LARGE_MODEL=1, `make large-model`: one of 24 layers and 2 GB in place of one of 200 MB.
"""

import json
import os
import re
import shutil
import subprocess

import pytest

import random_model
import streams
from helpers import TIMEOUT, command, environment, fails, ok, random_sentences, run, text
from test_experts import CONFIG, make_tensors
from test_model_info import PEAK

BATCH = 40
SMALL = {"layers": 6, "d_model": 48, "d_ff": 200, "heads": 4, "vocabulary": 100, "cutoffs": (30, 60),
         "factor": 2, "dtype": "BF16"}
LARGE = bool(os.environ.get("FFKV_LARGE_MODEL"))
# Sizes, sentences, megabytes that a run may take, and what project-values may take.
SIZES, SENTENCES, MEMORY, VALUES = (
    ({"layers": 24, "d_model": 2048, "d_ff": 6144}, 60, 600, 850) if LARGE else
    ({"layers": 8, "d_model": 1024, "d_ff": 4096}, 12, 130, 250))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("window") / "model"
    random_model.write_model(folder, **SMALL)
    return folder


@pytest.fixture(scope="module")
def tokens(bin, small):
    """Some seven batches, the last of which is short."""
    return ok(bin, "tokenize", "-m", small, "--batch", BATCH,
              stdin=text(random_sentences(40, 100, seed=8, longest=12)))


def takes(bin, model, tokens, limit, *options):
    return run(bin, "forward-dump", "-m", model, "--memory", limit, *options, stdin=tokens).returncode == 0


def least(bin, model, tokens, *options):
    """Bytes with which --memory is accepted, and 1 KB less is not."""
    message = fails(bin, "forward-dump", "-m", model, "--memory", "1M", *options, status=2, stdin=tokens)
    high = 1024 * int(re.search(r"at least (\d+)M", message)[1])
    low = high - 1024
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if takes(bin, model, tokens, f"{middle}K", *options) else (middle, high)
    return 1024 * high


def compare(bin, model, tokens, *options, windows=(1, 3), threads=(1, 2)):
    """The same bytes as in one run, with windows of so many batches."""
    wanted = ok(bin, "forward-dump", "-m", model, *options, stdin=tokens)
    d_model = SMALL["d_model"]
    for count in threads:
        argv = [*options, "--threads", count]
        one, empty = least(bin, model, tokens, *argv), {"TMPDIR": "/nowhere"}
        for window in windows:
            limit = ["--memory", one + (window - 1) * BATCH * (4 * d_model + 64)]
            fails(bin, "forward-dump", "-m", model, *argv, *limit, stdin=tokens, env=empty,
                  says="/nowhere: cannot make a temporary file")  # so there is a window
            found = ok(bin, "forward-dump", "-m", model, *argv, *limit, stdin=tokens)
            assert found == wanted, (count, window)


@pytest.mark.parametrize("options", [
    "--emit max,coef,resid,ffn,prediction",
    "--emit max,counts,magnitudes --with-bos --rank value,min",
    "--emit resid,prediction --positions random --layers 2,4",
    "--emit coef --layers 3 --cells 5,7-9",
    "--emit max,ffn --edit 1:3=0,4:*=*2 --edit-where >0.1 --edit-at last",
    "--emit max,prediction --remove 2:top=5,3:random=4",
])
def test_every_output_is_as_with_all_layers(bin, small, tokens, options):
    compare(bin, small, tokens, *options.split())


def test_paths_are_told_by_the_batches_before(bin, small):
    """Batches may be told nothing of those in their own window."""
    many = ok(bin, "tokenize", "-m", small, "--batch", BATCH,
              stdin=text(random_sentences(300, 100, seed=9, longest=12)))
    options = ["--emit", "max", "--paths", 2]
    wanted = ok(bin, "forward-dump", "-m", small, *options, stdin=many)
    assert sum(len(record["path"]) for record in streams.read(wanted).records if "path" in record) > 100
    one = least(bin, small, many, *options, "--threads", 2)
    for limit in (one, one + 150_000, one + 400_000):
        assert ok(bin, "forward-dump", "-m", small, *options, "--threads", 2, "--memory", limit,
                  stdin=many) == wanted


def test_agreeing_memories_take_a_pass_of_their_own(bin, small, tokens, tmp_path):
    ok(bin, "project-values", "-m", small, "--all", "-k", 1, "-o", tmp_path / "values")
    compare(bin, small, tokens, "--emit", "coef,ffn", "--remove", "2:agreeing=3,6:agreeing=9", "--values",
            tmp_path / "values")


def test_keys_end_in_layers_of_their_own(bin, small, tokens):
    maxima = ok(bin, "forward-dump", "-m", small, stdin=tokens)
    triggers = ok(bin, "topk-keys", "-t", 3, stdin=maxima)
    changed = ok(bin, "perturb-triggers", "--sample", 9, stdin=triggers)
    compare(bin, small, changed, "--emit", "key")


def test_no_batch(bin, small, tokens):
    compare(bin, small, streams.write(streams.read(tokens).header, [], {"sentences": 3}), threads=(2, ))


def test_experts(bin, tmp_path):
    random_model.write_tensors(tmp_path / "model.safetensors", make_tensors(), "BF16")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    random_model.write_dictionary(tmp_path / "dict.txt", CONFIG["vocab_size"])
    few = ok(bin, "tokenize", "-m", tmp_path, "--batch", 12,
             stdin=text(random_sentences(12, CONFIG["vocab_size"], seed=4, longest=9)))
    options = ["--emit", "max,signs,prediction", "--rank", "value,signs"]
    wanted = ok(bin, "forward-dump", "-m", tmp_path, *options, stdin=few)
    one = least(bin, tmp_path, few, *options)
    fails(bin, "forward-dump", "-m", tmp_path, *options, "--memory", one, stdin=few,
          env={"TMPDIR": "/nowhere"})
    assert ok(bin, "forward-dump", "-m", tmp_path, *options, "--memory", one, stdin=few) == wanted


@pytest.mark.release_only
def test_quantized(bin, smollm2):
    few = ok(bin, "tokenize", "-m", smollm2, "--batch", BATCH, stdin=b"The jury said.\n" * 12)
    assert not set(json.loads(ok(bin, "model-info", "--json", "--rate", 10, smollm2))
                   ["files"]["tensors"]) <= {"F32", "F16", "BF16"}
    options = ["--emit", "max,prediction"]
    wanted = ok(bin, "forward-dump", "-m", smollm2, *options, stdin=few)
    fails(bin, "forward-dump", "-m", smollm2, *options, "--memory", "300M", stdin=few,
          env={"TMPDIR": "/nowhere"})
    assert ok(bin, "forward-dump", "-m", smollm2, *options, "--memory", "300M", stdin=few) == wanted


# ---------------------------------------------------------------- messages

def test_what_is_refused(bin, small, tokens):
    for limit in ("0", "5X", "600MB", "-1", "", "99999999999T", "1.5G"):
        fails(bin, "forward-dump", "-m", small, "--memory", limit, status=2, says="--memory takes bytes",
              stdin=tokens)
    message = fails(bin, "forward-dump", "-m", small, "--memory", "1M", status=2, stdin=tokens,
                    says="--memory 1M is too little: at least ")
    enough = re.search(r"at least (\d+M)", message)[1]
    assert takes(bin, small, tokens, enough)


@pytest.mark.release_only
def test_a_full_disk_has_one_message(bin, small, tokens):
    """A limit on the size of files stands for it: a pipe has none."""
    options = ["--emit", "coef", "--threads", 2]
    limit = least(bin, small, tokens, *options)
    argv = command(bin, "forward-dump", "-m", small, *options, "--memory", limit)
    limited = ["/bin/sh", "-c", 'ulimit -f 40 && "$0" "$@" | cat >/dev/null', *argv]
    done = subprocess.run(limited, input=tokens, capture_output=True, timeout=TIMEOUT, check=False,
                          env=environment())
    message = done.stderr.decode()
    assert message.count("\n") == 1 and "cannot write" in message and "TMPDIR" in message, message


MEMINFO = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
FILE *fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
    return real(strcmp(path, "/proc/meminfo") ? path : getenv("MEMINFO"), mode);
}
"""


@pytest.mark.release_only
def test_a_machine_with_too_little_memory(bin, small, tokens, tmp_path):
    """Without --memory what is available decides, and a message says so."""
    (tmp_path / "meminfo.c").write_text(MEMINFO)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "meminfo.so", tmp_path / "meminfo.c", "-ldl"],
                   check=True, timeout=TIMEOUT)
    one = least(bin, small, tokens)

    def on_machine(available):
        (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {available // 1024} kB\n")
        return run(bin, "forward-dump", "-m", small, stdin=tokens,
                   env={"LD_PRELOAD": str(tmp_path / "meminfo.so"), "MEMINFO": str(tmp_path / "meminfo")})

    wanted = run(bin, "forward-dump", "-m", small, stdin=tokens)
    assert wanted.stderr == b""
    assert on_machine(1 << 30).stderr == b""
    little = on_machine(int(1.02 * one / 0.9))
    assert little.stdout == wanted.stdout
    assert b"are available: they are read one after the other, for " in little.stderr
    less = on_machine(one // 2)
    assert less.returncode == 1 and b"are available; fewer --threads take less" in less.stderr


# ------------------------------------------------------------------ memory

@pytest.fixture(scope="module")
def large(bin, tmp_path_factory):
    """A model and tokens of it."""
    place = tmp_path_factory.mktemp("large")
    random_model.write_model(place / "model", **SIZES, heads=16, vocabulary=2000, cutoffs=(500, 1000),
                             factor=4, dtype="BF16")
    sentences = text(random_sentences(SENTENCES, 2000, seed=3, longest=30))
    ok(bin, "tokenize", "-m", place / "model", "--batch", 128, "-o", place / "tokens", stdin=sentences)
    yield place
    shutil.rmtree(place)


def peak(bin, megabytes, *argv):
    """Megabytes that a run took, with a limit on its data, beside the addresses that OpenBLAS reserves."""
    threads, reserved = 2, 128 + 16
    limit = 1024 * (megabytes + threads * reserved)
    done = subprocess.run(["/bin/sh", "-c", f'ulimit -d {limit} && exec python3 -ISc "$0" "$@"', PEAK,
                           *command(bin, *argv, "--threads", threads)], stderr=subprocess.PIPE, check=True,
                          env=environment(), timeout=TIMEOUT)
    status, most = map(int, done.stderr.split())
    assert status == 0
    return most / (1 << 20)


@pytest.mark.release_only
def test_memory_is_kept_to(bin, large):
    options = ["forward-dump", "-m", large / "model", "--emit", "max,prediction"]
    ok(bin, *options, "-o", large / "all", large / "tokens")
    columns = 4 * SIZES["d_model"] + 2 * SIZES["d_ff"]
    size = 4 * SIZES["layers"] * SIZES["d_model"] * columns / (1 << 20)
    assert MEMORY < size / 2.5
    most = peak(bin, MEMORY, *options, "--memory", f"{MEMORY}M", "-o", large / "window", large / "tokens")
    print(f"{most:.0f} MB of {MEMORY}; all layers: {size:.0f} MB")
    assert most < MEMORY
    assert (large / "window").read_bytes() == (large / "all").read_bytes()


@pytest.mark.release_only
def test_values_alone_are_read(bin, large):
    """project-values converted all layers."""
    most = peak(bin, VALUES, "project-values", "-m", large / "model", "--all", "-k", 1, "-o", "/dev/null")
    print(f"{most:.0f} MB")
    assert most < VALUES
