#!/usr/bin/python3
"""Streams of triggers as those of a corpus' shards, with made-up triggers, to measure merges with:

    tests/synthetic_shards.py FOLDER --shards 64 --layers 16 --cells 4096 --top 50
    /usr/bin/time -v topk-keys --merge -o /dev/null FOLDER/*

Shard number i has batch i, and sentences that are i modulo the number of shards.  Prefixes have ten tokens
on average.  --check says whether a merged stream, read from standard input, is what NumPy makes of all of
them."""

import argparse
import pathlib
import sys

import numpy as np

import streams

VOCABULARY = 50000
ARRAYS = {"coef": ("float32", ["triggers"]), "sentence": ("uint64", ["triggers"]),
          "position": ("uint32", ["triggers"]), "next": ("uint32", ["triggers"]),
          "prefix": ("uint32", ["prefix tokens"]), "token_counts": ("uint64", ["vocabulary"])}


def make_header(layers, cells, top):
    return {"format": "ffkv", "version": 1, "kind": "triggers",
            "arrays": {name: {"type": kind, "shape": shape} for name, (kind, shape) in ARRAYS.items()},
            "history": [], "corpus": {"name": "synthetic"},
            "tokenizer": {"id": "synthetic", "vocabulary": VOCABULARY, "bos": 0, "unknown": 1},
            "batch": {"positions": 512},
            "model": {"id": "synthetic", "architecture": "gpt2", "layers": layers, "d_model": 64,
                      "d_ff": cells, "vocabulary": VOCABULARY, "activation": "relu"},
            "layers": list(range(layers)), "cells": None, "rank": "value", "keys": layers * cells, "top": top,
            "prefixes": "sentence"}


def make_triggers(shard, shards, keys, top):
    """{member: keys x elements}; of each key the best first"""
    random = np.random.default_rng(shard)
    coefficient = np.sort(random.random((keys, top), dtype=np.float32) + 1, axis=1)[:, ::-1]
    sentence = (random.integers(0, 1 << 20, (keys, 1)) + np.arange(top)) * shards + shard
    position = np.tile(np.arange(top) % 19 + 1, (keys, 1))
    return {"coef": coefficient.astype("<f4"), "sentence": sentence.astype("<u8"),
            "position": position.astype("<u4"),
            "next": random.integers(0, VOCABULARY, (keys, top), dtype=np.uint32).astype("<u4"),
            "prefix": random.integers(0, VOCABULARY, (keys, position[0].sum()), dtype=np.uint32)}


def fill(record, member, bytes_of_rows):
    """Puts rows of bytes into the places of a bin in copies of a packed record."""
    start = record["bytes"].index(streams.pack(member)) + len(streams.pack(member))
    head = len(streams.pack(bytes(bytes_of_rows.shape[1]))) - bytes_of_rows.shape[1]
    record["rows"][:, start + head:start + head + bytes_of_rows.shape[1]] = bytes_of_rows


def pack_keys(triggers, layers, cells):
    """All records in a row: they are equally long, for their numbers are packed in as many bytes."""
    keys = layers * cells
    empty = {name: bytes(array[0].nbytes) for name, array in triggers.items()}
    large = streams.pack({"layer": 255, "cell": 65535, **empty})
    record = {"bytes": large, "rows": np.tile(np.frombuffer(large, np.uint8), (keys, 1))}
    number = np.arange(keys)
    at = large.index(streams.pack("layer")) + len(streams.pack("layer")) + 1
    record["rows"][:, at] = number // cells
    at = large.index(streams.pack("cell")) + len(streams.pack("cell")) + 1
    record["rows"][:, at], record["rows"][:, at + 1] = number % cells >> 8, number % cells & 255
    for name, array in triggers.items():
        fill(record, name, np.ascontiguousarray(array).view(np.uint8).reshape(keys, -1))
    return record["rows"].tobytes()


def write_shard(path, shard, shards, layers, cells, top):
    triggers = make_triggers(shard, shards, layers * cells, top)
    counts = np.full(VOCABULARY, shard, "<u8")
    body = streams.pack(make_header(layers, cells, top)) + pack_keys(triggers, layers, cells)
    body += streams.pack({"token_counts": counts.tobytes()})
    trailer = {"end": True, "records": layers * cells + 1, "sentences": 1, "tokens": 1, "unknown": 0,
               "truncated": 0, "skipped": 0, "batches": shards, "covers": [[shard, shard + 1, 1]],
               "text": "synthetic", "crc": bytes(4)}
    body += streams.pack(trailer)[:-4]
    path.write_bytes(body + streams.crc(body))


def is_merge(merged, shards, layers, cells, top):
    """Whether the stream has the best triggers of all shards; equal coefficients: the lower sentence."""
    made = [make_triggers(shard, shards, layers * cells, top) for shard in range(shards)]
    stream = streams.read(merged)
    score = np.concatenate([triggers["coef"] for triggers in made], axis=1)
    sentence = np.concatenate([triggers["sentence"] for triggers in made], axis=1)
    edges = np.concatenate([[0], np.cumsum(made[0]["position"][0].astype(int))])
    for key, record in enumerate(stream.records[:-1]):
        best = np.lexsort((sentence[key], -score[key]))[:top]
        prefix = [made[i // top]["prefix"][key][edges[i % top]:edges[i % top + 1]] for i in best]
        expected = {name: np.concatenate([triggers[name][key] for triggers in made])[best]
                    for name in ("coef", "sentence", "position", "next")}
        if not all(np.array_equal(record[name], value) for name, value in expected.items()) \
                or not np.array_equal(record["prefix"], np.concatenate(prefix)):
            return False
    return bool((stream.records[-1]["token_counts"] == sum(range(shards))).all())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    for name, value in ("shards", 64), ("layers", 16), ("cells", 4096), ("top", 50):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    sizes = options.shards, options.layers, options.cells, options.top
    if options.check:
        sys.exit(0 if is_merge(sys.stdin.buffer.read(), *sizes) else "not the best of these shards' triggers")
    options.folder.mkdir(exist_ok=True)
    for shard in range(options.shards):
        write_shard(options.folder / f"shard-{shard:04d}.msgpack", shard, *sizes)


if __name__ == "__main__":
    main()
