"""The systems that people have: packages by each release's names, what is missing said before
anything compiles, and a bare Debian 13 (systems.py tries the others: make systems)."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

import streams
import systems
from conftest import ROOT
from helpers import TIMEOUT, environment, ok

pytestmark = pytest.mark.release_only


def make(*arguments, **changes):
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=ROOT, env=environment(changes),
                          timeout=TIMEOUT, capture_output=True, text=True, check=False)


# ------------------------------------------------- a bare system

SMALL = ("MODE=lines", "SENTENCES=200", "PREFIXES=50", "KEYS=1", "REMOVALS=5", "ABLATED=10", "EVERY=8")
PATIENCE = 900  # seconds: 150 MB are fetched


def test_debian_13_builds_and_runs(bin, tmp_path):
    """As on a new machine but for npm and the corpus, which are there; nothing is mounted."""
    log = tmp_path / "log"
    try:
        with systems.system("debian-13", mounts=False) as debian:
            systems.copy_tree(debian)
            systems.copy(ROOT / "data/corpora", debian.path / systems.TREE / "data/corpora")
            npm = debian.path / "usr/local/bin/npm"
            npm.write_text("#!/bin/sh\nexit 1\n")
            npm.chmod(0o755)
            debian.must(f"cd /{systems.TREE} && make run {' '.join(SMALL)} OUT=out/small", log, PATIENCE)
            here = make("run", *SMALL, f"OUT={tmp_path}/small")
            assert here.returncode == 0, here.stderr
            assert systems.compare_tables(debian.path / systems.TREE / "out/small", tmp_path / "small") == []
    except systems.Unavailable as reason:
        pytest.skip(f"Debian 13: {reason}")
    except systems.Failed as failure:
        pytest.fail(f"{failure}\n{log.read_text(errors='replace')[-3000:]}")


# ------------------------------------------------- packages

KNOWN = {  # what differs between releases
    "debian-12": "libmsgpack-dev libclang-rt-14-dev libclang-rt-dev pkg-config pkgconf chromium "
    "chromium-driver",
    "debian-13": "libmsgpack-c-dev libmsgpack-dev libclang-rt-dev libclang-rt-19-dev pkg-config pkgconf "
    "chromium chromium-driver",
    "ubuntu-24.04": "libmsgpack-c-dev libmsgpack-dev libclang-rt-dev pkg-config pkgconf",
}
WANTED = {
    "debian-12": {"libmsgpack-dev", "libclang-rt-dev", "chromium", "chromium-driver"},
    "debian-13": {"libmsgpack-c-dev", "libclang-rt-dev", "chromium", "chromium-driver"},
    "ubuntu-24.04": {"libmsgpack-c-dev", "libclang-rt-dev"},
}


def ask_setup(tmp_path, what, known, installed=""):
    """setup.sh as a user for whom apt knows some packages; what it says."""
    programs = {"id": "echo 1000", "npm": "exit 0",
                "dpkg-query": f'case " {installed} " in *" $4 "*) echo "install ok installed";; *) exit 1;; '
                'esac',
                "apt-cache": f'case " {known} " in *" $2 "*) echo "  Candidate: 1";; *) echo "  Candidate: '
                '(none)";; esac'}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([ROOT / "setup.sh", what], capture_output=True, text=True, check=False,
                          timeout=TIMEOUT, env=environment({"PATH": f"{tmp_path}:{os.environ['PATH']}"}))
    return done.returncode, done.stderr


@pytest.mark.parametrize("release", KNOWN)
def test_packages_by_the_names_of_the_release(tmp_path, release):
    status, said = ask_setup(tmp_path, "test", KNOWN[release])
    words = set(said.split("--no-install-recommends")[1].split())
    differing = {word for names in KNOWN.values() for word in names.split()} - {"pkg-config", "pkgconf"}
    assert status == 1 and words & differing == WANTED[release]
    assert {"gcc", "make", "libopenblas-dev"} <= words and len(words & {"pkg-config", "pkgconf"}) == 1


def test_package_of_another_name_that_is_installed_is_enough(tmp_path):
    _, said = ask_setup(tmp_path, "run", KNOWN["debian-13"], installed="libmsgpack-dev gcc")
    assert not re.search(r"msgpack| gcc\b", said) and "libzip-dev" in said


def test_nothing_to_install_but_what_the_release_has_not(tmp_path):
    everything = re.sub(r"[|?]", " ", ask_setup(tmp_path, "test", "")[1].split("--no-install-recommends")[1])
    assert ask_setup(tmp_path, "test", "", installed=" ".join(everything.split())) == (0, "")


# ------------------------------------------------- what is missing

def missing(done):
    """What make says is missing; that it says so in one sentence, and compiles nothing."""
    assert done.returncode == 2 and "compile" not in done.stdout, done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "run ./setup.sh" in lines[0] \
        and re.match(r"make: \*\*\* .*libraries", lines[1]), done.stderr
    return lines[0].split(":")[2].split()


def test_missing_library_is_one_sentence_before_anything_compiles(tmp_path):
    to_build = f"DIR={tmp_path}/built"
    assert {"msgpack-c", "jansson", "openblas",
            "libzip"} <= set(missing(make(to_build, PKG_CONFIG_LIBDIR=str(tmp_path))))
    assert missing(make(to_build, "CPPFLAGS=-nostdinc")) == ["csv.h", "uthash.h"]
    assert missing(make(to_build, "unit-tests", "CPPFLAGS=-nostdinc")) == ["csv.h", "uthash.h", "cmocka.h"]
    assert missing(make(to_build, "CC=no-such-compiler")) == ["no-such-compiler"]
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("name", ["msgpack", "msgpack-c"])
def test_msgpack_by_either_name(tmp_path, name):
    """Debian 12's pkg-config knows it by one, Debian 13's by the other."""
    folders = subprocess.run(["pkg-config", "--variable", "pc_path", "pkg-config"], capture_output=True,
                             text=True, check=True).stdout.strip().split(":")
    for folder in map(str, reversed(folders)):
        if os.path.isdir(folder):
            shutil.copytree(folder, tmp_path / "pc", dirs_exist_ok=True)
    here = next(path for path in (tmp_path / "pc/msgpack-c.pc", tmp_path / "pc/msgpack.pc") if path.exists())
    text = here.read_text()
    for other in "msgpack", "msgpack-c":
        (tmp_path / f"pc/{other}.pc").unlink(missing_ok=True)
    (tmp_path / f"pc/{name}.pc").write_text(text)
    done = make(f"DIR={tmp_path}/built", f"{tmp_path}/built/stream-cat", PKG_CONFIG_LIBDIR=f"{tmp_path}/pc")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert b"msgpack-c" in ok(tmp_path / "built", "stream-cat", "--version")


# ------------------------------------------------- comparisons

def test_tables_of_another_processor_are_told_from_wrong_ones(tmp_path):
    def compare(found, expected):
        for folder, rows in (("found", found), ("expected", expected)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "a.csv").write_text("layer,keys,share,text\n"
                                                     + "".join(f"{row}\n" for row in rows))
        return systems.compare_tables(tmp_path / "found", tmp_path / "expected")

    assert compare(["1,500,0.1,a"], ["1,500,0.1,a"]) == []
    assert compare(["1,500,0.1001,a"], ["1,500,0.1,a"]) == []
    assert compare(["1,500,0.104,a"], ["1,500,0.1,a"]) == []  # two of 500 keys
    assert compare(["1,500,0.105,a"], ["1,500,0.1,a"])
    assert compare(["1,500,0.1,b"], ["1,500,0.1,a"])
    assert compare(["1,500,,a"], ["1,500,0.1,a"])
    assert compare(["1,500,nan,a"], ["1,500,0.1,a"])
    assert compare(["1,500,0.1,a"] * 2, ["1,500,0.1,a"])
    assert compare(["1,500,0.1,a"] * 999 + ["1,500,0.1,b"], ["1,500,0.1,a"] * 1000) == []  # a tie
    assert compare(["1,500,0.1,a"] * 998 + ["1,500,0.1,b"] * 2, ["1,500,0.1,a"] * 1000)
    (tmp_path / "found/b.csv").write_text("layer\n")
    assert compare([], [])


def test_pipelines_of_another_processor_are_told_from_wrong_ones(bin, model, tmp_path):
    tokens = ok(bin, "tokenize", "--model", model, stdin=b"The jury said .\n")
    activations = ok(bin, "forward-dump", "--model", model, "--emit", "coef", "--layers", "2", stdin=tokens)
    assert systems.compare_pipelines(activations, activations) == []
    stream = streams.read(activations)
    coefficient = max(stream.records[1]["coef"].flat)
    for change, wrong in ((1 + 2e-6, False), (1 + 5e-5, True)):
        packed = streams.np.float32(coefficient).tobytes()
        assert activations.count(packed) == 1
        changed = activations.replace(packed, streams.np.float32(coefficient * change).tobytes())
        changed = changed[:-4] + streams.crc(changed[:-4])
        assert bool(systems.compare_pipelines(changed, activations)) == wrong


def test_triggers_that_are_equal_but_for_the_last_bits_may_change_places():
    """Those of one key with each other, and its last one with what is none of them; no others may."""
    of_triggers = ["coef", "sentence", "position", "next"]

    def key(*triggers):
        coefficients, sentences = (np.array(numbers) for numbers in zip(*triggers))
        return {"layer": 0, "cell": 0, "coef": coefficients, "sentence": sentences, "next": sentences,
                "position": np.ones(len(triggers), int), "prefix": sentences}

    def differ(*triggers):
        expected = key((3, 7), (2 + 1e-6, 8), (2, 9), (1, 10))
        return bool(systems.compare_records([key(*triggers)], [expected], of_triggers))

    assert not differ((3, 7), (2 + 1e-6, 8), (2, 9), (1, 10))
    assert not differ((3, 7), (2 + 1e-6, 9), (2, 8), (1, 10))
    assert not differ((3, 7), (2 + 1e-6, 8), (2, 9), (1 + 1e-6, 11))
    assert not differ((3 + 2e-5, 7), (2 + 1e-6, 8), (2, 9), (1 + 2e-5, 10))
    assert differ((3, 7), (2 + 1e-6, 8), (2, 9), (1 + 4e-5, 10))
    assert differ((3, 7), (2 + 1e-6, 8), (2, 11), (1, 10))
    assert differ((3, 8), (2 + 1e-6, 7), (2, 9), (1, 10))
    assert differ((3, 7), (2 + 1e-6, 8), (2, 9), (1.1, 11))
    assert differ((3, 7), (2 + 1e-6, 8), (2, 9))


def test_ranks_of_another_processor_may_be_a_few_off():
    def differ(*ranks):
        return bool(systems.compare_records([{"next_rank": np.uint32(ranks)}],
                                            [{"next_rank": np.uint32([1, 9, 8000])}], []))

    assert not differ(1, 9, 8000) and not differ(2, 8, 8008) and not differ(1, 9, 7992)
    assert differ(3, 9, 8000) and differ(1, 7, 8000) and differ(1, 9, 8009) and differ(1, 9, 7991)
