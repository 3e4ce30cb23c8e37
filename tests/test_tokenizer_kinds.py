"""Tokenizers that are not byte-level BPE: identical to the tokenizers library, token by token.

The library (PyPI, pinned) runs in a virtual environment of its own; without a network the tests that need it are
skipped, and say so."""

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
    """Oracle: tokenizers 0.23.3, of which each name is a tokenizer with the settings of a family or a mixture."""
    different = {}
    for path in sorted(oracle.glob("*.json")):
        expected = path.with_suffix(".ids").read_text().split("\n")
        found = ok(bin, program(bin), path, "-0", "-i", oracle / "texts").decode().split("\n")
        assert len(found) == len(expected)
        different.update({(path.stem, i): (a, b) for i, (a, b) in enumerate(zip(found, expected)) if a != b})
    texts = (oracle / "texts").read_bytes().decode().split("\0")
    assert not different, [(name, ascii(texts[i]), *ids) for (name, i), ids in list(different.items())[:3]]
