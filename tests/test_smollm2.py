"""The suite on a real model, SmolLM2-135M from its GGUF file, against the
reference library (transformers), which dequantizes the same blocks.
"""

import pathlib

import numpy as np
import pytest

import environments
import streams
from helpers import assert_close, ok, sentences_of

SENTENCES = 40  # of the Brown corpus' validation part: more than 500 positions


@pytest.mark.release_only
def test_predictions_and_coefficients(bin, smollm2, valid, tmp_path):
    """Oracle: the reference library's model on the same tokens."""
    python = environments.python(*environments.TRANSFORMERS)
    tokens = ok(bin, "tokenize", "--model", smollm2, "--limit", SENTENCES, valid)
    sentences = sentences_of(streams.read(tokens))
    np.savez(tmp_path / "tokens.npz", **{f"tokens{i}": np.array(s) for i, s in enumerate(sentences)})
    environments.run(python, pathlib.Path(__file__).with_name("smollm2_reference.py"), smollm2,
                     tmp_path / "tokens.npz", tmp_path / "reference.npz")
    reference = np.load(tmp_path / "reference.npz")

    stream = streams.read(ok(bin, "forward-dump", "--model", smollm2, "--emit", "coef,prediction",
                             "--all-tokens", "--layers", "1,15,30", stdin=tokens))
    predictions = [record for record in stream.records if "top" in record]
    top = np.concatenate([record["top"] for record in predictions])
    assert len(top) > 500
    assert np.array_equal(top, reference["top"])
    assert_close(np.concatenate([record["next_logp"] for record in predictions]), reference["next"], 1e-3)
    for layer in (0, 14, 29):
        coefficients = np.concatenate([r["coef"] for r in stream.records if r.get("layer") == layer])
        assert_close(coefficients, reference[f"coef{layer}"], 1e-3)
