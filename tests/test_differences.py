"""differences.py: what it says of two folders of results, by hand."""

import csv
import subprocess
import sys

import msgpack
import pytest

from conftest import ROOT
from helpers import TIMEOUT, environment, ok

pytestmark = pytest.mark.release_only


def differences(expected, *found):
    """{(found, table, column): row}"""
    done = subprocess.run([sys.executable, ROOT / "tests/differences.py", expected, *found], check=True,
                          env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    return {(row["found"], row["table"], row["column"]): row
            for row in csv.DictReader(done.stdout.splitlines())}


def test_rows_are_compared_with_those_of_the_same_layer_or_cell(tmp_path):
    """In another order, and where one table has rows that the other has not."""
    tables = {"one": "layer,cell,probability,token\n1,3,0.5,a\n1,4,0.25,b\n2,3,0.125,c\n",
              "two": "layer,cell,probability,token\n2,3,0.25,c\n1,3,0.5,d\n1,9,7,b\n"}
    shares = {"one": 0.5, "two": 0.25}
    for name, text in tables.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "top-values.csv").write_text(text)
        (tmp_path / name / "confidence.csv").write_text(f"low,high,agree_next\n1,2,\n2,3,{shares[name]}\n")
    found = differences(tmp_path / "one", tmp_path / "two", tmp_path / "one")
    probability = found["two", "top-values.csv", "probability"]
    assert probability == {"found": "two", "table": "top-values.csv", "column": "probability", "rows": "2",
                           "common": "0.5", "equal": "0.5", "median": "0.0625", "largest": "0.125"}
    token = found["two", "top-values.csv", "token"]
    assert (token["equal"], token["median"], token["largest"]) == ("0.5", "", "")
    assert found["two", "confidence.csv", "agree_next"]["largest"] == "0.25"
    assert all(row["equal"] == row["common"] == "1" for key, row in found.items() if key[0] == "one")


def test_triggers_and_tops_that_are_the_same(bin, model, tmp_path):
    """Of one stream and the same without a key's last trigger: topk-keys --top 3, and --top 2."""
    text = b"The jury said it was there .\nThe man said no .\nIt was the end of the day .\n"
    tokens = ok(bin, "tokenize", "-m", model, stdin=text)
    dump = ok(bin, "forward-dump", "-m", model, "--layers", "1", stdin=tokens)
    counts = {}
    for top in "3", "2":
        (tmp_path / top).mkdir()
        triggers = ok(bin, "topk-keys", "--top", top, stdin=dump)
        (tmp_path / top / "triggers.msgpack").write_bytes(
            ok(bin, "project-values", "-m", model, stdin=triggers))
        counts[top] = sum(len(record.get("coef", b"")) // 4
                          for record in msgpack.Unpacker(open(tmp_path / top / "triggers.msgpack", "rb")))
    found = differences(tmp_path / "3", tmp_path / "2")
    trigger, top = (found["2", "triggers.msgpack", column] for column in ("trigger", "top"))
    assert int(trigger["rows"]) == counts["3"] > counts["2"] > 0
    assert float(trigger["equal"]) == pytest.approx(counts["2"] / counts["3"], rel=1e-5)
    assert top["equal"] == top["common"] == "1" and int(top["rows"]) > 0
