"""The families of models that the program knows, as its own messages list them."""

import json

import gguf_format
from helpers import fails, ok, table


def listed_families(bin):
    """The rows of forward-dump --models."""
    return table(ok(bin, "forward-dump", "--models"))


def known_families(bin, folder):
    """(names in model directories, names in GGUF files); writes to folder."""
    place = folder / "of-no-family"
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"model_type": "none"}))
    (place / "model.gguf").write_bytes(gguf_format.build([("general.architecture", "string", "none")]))
    return tuple(fails(bin, "tokenize", "-m", path,
                       says="'none' is not known").split("these are: ")[1].strip().split(", ")
                 for path in (place, place / "model.gguf"))
