"""A short run of the fuzzers; `make fuzz SECONDS=600` is a long one."""

import subprocess

import pytest

from conftest import ROOT
from helpers import TIMEOUT


@pytest.mark.release_only
def test_fuzzers_find_nothing(bin):
    """clang's libFuzzer with sanitizers: a finding ends it with a status that is not 0."""
    done = subprocess.run(["make", "fuzz", "SECONDS=5"], cwd=ROOT, capture_output=True,
                          text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("Done ") == len(list((ROOT / "tests").glob("fuzz-*.c"))), done.stderr[-3000:]
