"""PyTorch's values of the paper's section 5 (reference/section5.csv.gz), and the
activations of the positions that they are of."""

import csv
import gzip
import pathlib

import numpy as np

import streams
from helpers import batches_of, ok

REFERENCE = pathlib.Path(__file__).parent / "reference"


def reference():
    """{column: array (layers, rows)}; rows by sentence, one a sentence."""
    with gzip.open(REFERENCE / "section5.csv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    layers = 1 + max(int(row["layer"]) for row in rows)
    assert [int(row["layer"]) for row in rows] == list(range(layers)) * (len(rows) // layers)
    return {name: np.array([(float if name.startswith("p_") else int)(row[name]) for row in rows])
            .reshape(-1, layers).T for name in rows[0]}


def activations(bin, model, text, sentences, positions):
    """A stream of coef, resid and ffn at one given position of each of the
    sentences, made of all positions batch by batch, which bounds memory."""
    wanted = dict(zip(sentences, positions))
    tokens = streams.read(ok(bin, "tokenize", "-m", model, "--limit", max(sentences) + 1, text))
    records = []
    for record in tokens.records:
        whole = streams.read(ok(bin, "forward-dump", "-m", model, "--emit", "coef,resid,ffn",
                                stdin=streams.write(tokens.header, [record])))
        ((batch, layers, _),) = batches_of(whole)
        keep = np.array([wanted.get(batch["id"] + s) == j
                         for s, j in zip(batch["row_sentence"].tolist(), batch["row_position"].tolist())])
        for kept in batch, *(layers[l] for l in sorted(layers)):
            records.append({name: value[keep]
                            if name in ("row_sentence", "row_position", "coef", "resid", "ffn")
                            else value for name, value in kept.items()})
    return streams.write({**whole.header, "positions": "random"}, records)
