"""The recipe of `make bench` on a tiny shape: that its parts work, and that a difference between the programs
is noticed. What is measured here says nothing.
"""

import numpy as np
import pytest

import bench
from helpers import table

pytestmark = pytest.mark.release_only


@pytest.fixture(scope="module")
def measured(bin, tmp_path_factory):
    """The folder of a run, and what was found with the tools and with PyTorch."""
    folder = tmp_path_factory.mktemp("bench")
    options = bench.arguments(["--bin", str(bin), "--out", str(folder), "--shapes", "tiny", "--rounds", "1",
                               "--threads", "1", "--scales", "1,2"])
    tools = bench.Tools("tiny", folder, options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "TORCH", ("float32",))
        rows = bench.measure_tasks("tiny", tools, bench.torch_python(), options)
    rows += bench.measure_pipeline("tiny", tools, options)
    bench.write_csv(folder / "bench.csv", bench.COLUMNS, rows)
    return folder, tools, bench.measure_memory("tiny", tools, options)


def test_each_task_has_a_row_and_what_it_took(measured):
    rows = table(measured[0] / "bench.csv")
    tasks = [row["task"] for row in rows if (row["program"], row["type"]) == ("ffkv", "float32")]
    assert tasks == ["load", "products", "products of values", *bench.TASKS[1:], "forward in memory",
                     "stage tokenize", "stage forward-dump", "stage topk-keys", "stage project-values",
                     "search", "pipeline"]
    assert all(float(row["median"]) > 0 and float(row["units"]) > 0 for row in rows)


def test_pytorch_did_the_same_work(measured):
    folder, tools, _ = measured
    rows = {(row["program"], row["task"]): row for row in table(folder / "bench.csv")}
    if ("pytorch", "triggers") not in rows:
        pytest.skip("PyTorch cannot be installed")
    for task in "forward", "values", "section5":
        assert float(rows["pytorch", task]["units"]) == float(rows["ffkv", task]["units"])
        assert float(rows["pytorch", task]["peak_mb"]) > 0
    path = folder / "torch-triggers-float32.npz"
    bench.compare(tools, "triggers", "float32", path)
    found = np.load(path)["coefficients"]
    found[1, 7] *= 1.01
    np.savez(folder / "other.npz", coefficients=found)
    with pytest.raises(bench.Disagreement):
        bench.compare(tools, "triggers", "float32", folder / "other.npz")


def test_products_are_compared_with_each_other(measured):
    tools = measured[1]
    if "bf16" not in tools.kinds():
        pytest.skip("this processor has no bfloat16 products")
    bench.compare(tools, "triggers", "bf16")
    bench.compare(tools, "values", "bf16x3")
    exact, rounded = (bench.found_triggers(tools, kind) for kind in ("float32", "bf16"))
    with pytest.raises(bench.Disagreement):
        bench.compare_triggers(tools, exact, rounded, "float32")


def test_memory_is_that_of_each_process(measured):
    assert [row["stage"] for row in measured[2]] == ["tokenize", "forward-dump", "topk-keys",
                                                     "project-values"] * 2
    assert all(1 < float(row["peak_mb"]) < 500 for row in measured[2])


def test_rows_for_the_documentation_are_made_from_the_csv(tmp_path):
    rows = [dict.fromkeys(bench.COLUMNS, "1") | {"task": "triggers", "program": program, "type": kind,
                                                 "units": units, "median": median, "unit": "tokens"}
            for program, kind, units, median in (("ffkv", "float32", "200", "2"),
                                                 ("pytorch", "float32", "100", "3"))]
    bench.write_csv(tmp_path / "bench.csv", bench.COLUMNS, rows)
    memory = [{"shape": "1", "scale": scale, "stage": "topk-keys", "threads": "2", "peak_mb": peak}
              for scale, peak in (("1", "20"), ("16", "20.1"))]
    bench.write_csv(tmp_path / "memory.csv", list(memory[0]), memory)
    lines = bench.markdown(tmp_path)
    assert "| 100 tokens/s (n 1, 1 to 1 s) |  |  | 3.00 |  |" in lines  # 3 / 100 by 2 / 200
    assert "| 1 | topk-keys | 20 | 20.1 |" in lines
