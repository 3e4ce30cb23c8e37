"""Virtual environments for reference libraries that Debian does not have: made
once, under build/, from pinned versions, by the tests that need them.
"""

import contextlib
import fcntl
import hashlib
import pathlib
import subprocess
import sys

import pytest

# Reference libraries; the tests that compare with the same ones share an environment.
TOKENIZERS = ("tokenizers==0.23.3", "gguf==0.19.0", "numpy==2.2.6")
SENTENCEPIECE = ("sentencepiece==0.2.3", "protobuf==7.36.2", *TOKENIZERS)
TRANSFORMERS = ("torch==2.15.0", "transformers==5.23.0", "accelerate==1.15.0", "gguf==0.19.0", "numpy==2.2.6")

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT = 800  # seconds, for what fetches or computes much


@contextlib.contextmanager
def alone(name):
    """What one of several test processes does while the others wait for it."""
    lock = ROOT / "build" / "environments" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def python(*packages):
    """The Python of an environment that has these packages ("torch==2.15.0").
    Skips the test, saying so, where they cannot be had."""
    name = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    folder = ROOT / "build" / "environments" / name
    ready = folder / "ready"
    with alone(name):
        if not ready.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], timeout=TIMEOUT, check=True)
            done = subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *packages],
                                  capture_output=True, text=True, timeout=TIMEOUT, check=False)
            if done.returncode:
                pytest.skip(f"cannot install {', '.join(packages)}: {done.stderr.strip().splitlines()[-1:]}")
            ready.touch()
    return folder / "bin/python"


def run(python, *arguments):
    """Runs a script of the tests there; its output."""
    done = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
