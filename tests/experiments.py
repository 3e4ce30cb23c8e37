"""pipelines/experiments.csv, read with Python's csv: which experiments, tables and figures the tests
expect."""

import csv
import pathlib

PIPELINES = pathlib.Path(__file__).resolve().parent.parent / "pipelines"
LIST = PIPELINES / "experiments.csv"

with open(LIST, newline="", encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file, strict=True))

EXPERIMENTS = list(dict.fromkeys(row["experiment"] for row in ROWS))
RESULTS = list(dict.fromkeys(row["result"] for row in ROWS))
TABLES = [name.removesuffix(".csv") for name in RESULTS if name.endswith(".csv")]
# Made of what readers noted, or of gated layers, so not in every run.
SOMETIMES = ("patterns", "signs")
NOTED = {row["result"].removesuffix(".csv") for row in ROWS if row["experiment"] in SOMETIMES}
DRAWN = {row["figure"]: row for row in sorted(ROWS, key=lambda row: row["figure"]) if row["figure"]}


def table_of(row):
    return row["result"].removesuffix(".csv")
