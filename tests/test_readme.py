"""The README's example stage, as it stands there, on a real stream."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import streams
from helpers import TIMEOUT, ok

README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


@pytest.mark.release_only
def test_example_stage(bin, model, valid):
    """Oracle: the same count in other words, from the test suite's own reader."""
    program, = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    tokens = ok(bin, "tokenize", "--model", model, "--limit", 200, valid)
    activations = ok(bin, "forward-dump", "--model", model, stdin=tokens)
    triggers = ok(bin, "topk-keys", "--top", 5, stdin=activations)
    done = subprocess.run([sys.executable, "-c", program], input=triggers, capture_output=True, timeout=TIMEOUT,
                          check=True)

    expected = {}
    for record in streams.read(triggers).records:
        if "coef" not in record or not len(record["coef"]):
            continue
        prefixes = np.split(record["prefix"], np.cumsum(record["position"])[:-1])
        expected.setdefault(record["layer"], []).append(len({prefix[-1] for prefix in prefixes}) == 1)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [int(layer) for layer, _ in lines] == [layer + 1 for layer in sorted(expected)]
    assert [float(share) for _, share in lines] == [np.mean(expected[layer]) for layer in sorted(expected)]
    assert any(0 < float(share) < 1 for _, share in lines)

    cut = subprocess.run([sys.executable, "-c", program], input=triggers[:-50], capture_output=True,
                         timeout=TIMEOUT, check=False)
    assert cut.returncode != 0
