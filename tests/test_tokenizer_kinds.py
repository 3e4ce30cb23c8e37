"""Tokenizers that are not byte-level BPE: identical to the tokenizers library, token by token.

The library (PyPI, pinned) runs in a virtual environment of its own; without a network the tests that need it
are skipped, and say so."""

import pytest

import environments

from conftest import ROOT
from helpers import ok
from test_subword import program


@pytest.fixture(scope="session")
def oracle(tmp_path_factory):
    """A directory of tokenizers, texts, and what the library makes of them."""
    directory = tmp_path_factory.mktemp("kinds")
    library = environments.python(*environments.TOKENIZERS)
    environments.run(library, ROOT / "tests" / "kinds_oracle.py", directory)
    return directory


def test_tokens_are_the_librarys(bin, oracle):
    """Oracle: tokenizers 0.23.3; each tokenizer has the settings of a family, or a mixture of settings."""
    different, count = [], 0
    for path in sorted(oracle.glob("*.json")):
        expected = path.with_suffix(".ids").read_text().split("\n")
        texts = path.with_suffix(".texts").read_bytes().decode().split("\0")
        found = ok(bin, program(bin), path, "-0", "-i", path.with_suffix(".texts")).decode().split("\n")
        assert len(found) == len(expected) == len(texts)
        count = max(count, len(texts))
        different += [(path.stem, ascii(text), ours, theirs)
                      for text, ours, theirs in zip(texts, found, expected) if ours != theirs]
    assert count > 20_000
    assert not different, different[:3]
