"""How far results in folders are from those of another: differences.py EXPECTED FOUND...

For what another kind of matrix products, BLAS kernel or processor changes.  Writes CSV: of each column
of numbers of each table the median and the largest absolute difference, of texts the share of rows in
which they are equal.  A row is compared with the row of the same layer, cell, sentence or what else says
what it is of; common is the share of rows that both tables have.  Of triggers.msgpack it tells how many
triggers the same keys have in both, of it and values.msgpack how many values have the same most probable
token.
"""

import csv
import pathlib
import sys

import numpy as np

import streams
from experiments import TABLES

# What a row is of.  In tables of pairs of bounds, and others without these, rows go by their order.
NAMES = ("layer", "cell", "kind", "removed", "n", "ngram", "sentence", "position")
COLUMNS = ("found", "table", "column", "rows", "common", "equal", "median", "largest")


def rows_of(path):
    """{what it is of: {column: text}}"""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    found = {}
    for number, row in enumerate(rows):
        name = tuple(row[name] for name in NAMES if name in row) or (number,)
        assert name not in found, f"{path}: two rows of {name}"
        found[name] = row
    return found


def compare_table(expected, found):
    """For each column but those of NAMES: rows in both, common, equal, median, largest."""
    expected, found = rows_of(expected), rows_of(found)
    both = [name for name in expected if name in found]
    common = len(both) / max(1, len(expected.keys() | found.keys()))
    for column in next(iter(expected.values()), {}):
        pairs = [(expected[name][column], found[name].get(column)) for name in both]
        if column not in NAMES and pairs:
            yield {"column": column, "rows": len(pairs), "common": common,
                   "equal": np.mean([one == other for one, other in pairs]), **distances(pairs)}


def distances(pairs):
    """Of pairs of numbers; nothing where one is none."""
    try:
        numbers = np.array([(float(one), float(other)) for one, other in pairs if (one, other) != ("", "")])
    except (TypeError, ValueError):
        return {}
    apart = np.abs(numbers[:, 0] - numbers[:, 1]) if len(numbers) else np.zeros(1)
    return {"median": np.median(apart), "largest": apart.max()}


def keys_of(stream):
    """Records of keys or values; a stream of triggers ends with its counts."""
    return [record for record in stream.records if "cell" in record]


def compare_triggers(expected, found):
    """The share of all keys' triggers, by sentence and position, that both streams have."""
    pairs = list(zip(keys_of(expected), keys_of(found), strict=True))
    sets = [[set(zip(key["sentence"].tolist(), key["position"].tolist())) for key in pair] for pair in pairs]
    total = sum(len(one) for one, _ in sets)
    yield {"column": "trigger", "rows": total, "equal": sum(len(one & other) for one, other in sets) / total}


def compare_tops(expected, found):
    """The share of values that have the same most probable token, of those in both streams."""
    tops = [{(value["layer"], value["cell"]): value["top"][0] for value in keys_of(stream)}
            for stream in (expected, found)]
    both = tops[0].keys() & tops[1].keys()
    yield {"column": "top", "rows": len(both), "common": len(both) / len(tops[0].keys() | tops[1].keys()),
           "equal": np.mean([tops[0][value] == tops[1][value] for value in both])}


def compare(expected, found):
    """Rows of COLUMNS without the first."""
    for name in TABLES:
        one, other = expected / f"{name}.csv", found / f"{name}.csv"
        if one.exists() and other.exists():
            yield from ({"table": one.name, **row} for row in compare_table(one, other))
    for name, functions in ("triggers", (compare_triggers, compare_tops)), ("values", (compare_tops,)):
        paths = [folder / f"{name}.msgpack" for folder in (expected, found)]
        if all(path.exists() for path in paths):
            read = [streams.read(path) for path in paths]
            yield from ({"table": paths[0].name, **row} for function in functions for row in function(*read))


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: differences.py EXPECTED FOUND...")
    expected, *found = map(pathlib.Path, sys.argv[1:])
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for folder in found:
        for row in compare(expected, folder):
            short = {name: f"{value:.6g}" for name, value in row.items() if isinstance(value, float)}
            writer.writerow({"found": folder.name, **row, **short})


if __name__ == "__main__":
    main()
