"""What make slurm gives to sbatch, which is not needed for that: the jobs in the order of needs; and, in the
long form of test_slurm.py, memory and time that they ask for beside what they take."""

import pytest

import job_costs
import random_model
from helpers import random_sentences, text
from test_paper import command, make
from test_slurm import IS_LONG

pytestmark = pytest.mark.release_only


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("jobs")
    random_model.write_model(place / "model", layers=2, d_model=16, d_ff=12, heads=2, vocabulary=60,
                             cutoffs=(20, 40))
    (place / "train.txt").write_bytes(text(random_sentences(40, 60, seed=1)))
    (place / "valid.txt").write_bytes(text(random_sentences(40, 60, seed=2)))
    return place


def submitted(bin, place, out, *goals, **settings):
    """[job, numbers of the jobs before it, its shards]"""
    given = [word for word in command(bin, place, out, SHARDS=2, RATE=30, **settings) if "=" in word]
    for job in job_costs.submitted(bin, given, goals):
        before = job.get("dependency", "afterok").split(":")
        assert before.pop(0) == "afterok"
        yield [job["job-name"], [int(number) for number in before], job.get("array", "")]


def test_what_reads_results_is_behind_the_merge_that_makes_them(bin, place):
    assert [*submitted(bin, place, "new", "all")] == [
        ["search", [], "0,1"], ["values", [], "0,1"], ["refinement", [], "0,1"], ["merge-1", [1, 2, 3], ""],
        ["triggers", [4], "0-1"], ["composition", [4], "0-1"], ["ablation", [4], "0-1"],
        ["merge-2", [5, 6, 7], ""], ["perturbation", [8], "0-1"], ["merge", [9], ""]]
    assert [name for name, *_ in submitted(bin, place, "new", "agreement")] \
        == ["search", "merge-1", "triggers", "merge"]


def test_what_is_there_is_not_submitted(bin, place):
    """Of what needs it, only shards that are missing; of what needs what is not there, all."""
    make(bin, place, "begun", "values")
    make(bin, place, "begun", "composition", SHARD="1/2")
    assert [*submitted(bin, place, "begun", "composition", "perturbation")] == [
        ["search", [], "0,1"], ["composition", [], "0"], ["merge-1", [1, 2], ""], ["triggers", [3], "0-1"],
        ["merge-2", [4], ""], ["perturbation", [5], "0-1"], ["merge", [6], ""]]
    assert [name for name, *_ in submitted(bin, place, "begun", "values")] == ["merge"]


@pytest.mark.skipif(not IS_LONG, reason="make cluster-test compares it")
def test_jobs_ask_for_what_they_take(bin, model, valid, tmp_path):
    """The base, 232 MB and 10 minutes, decides here; the rest is at most three times as much."""
    (tmp_path / "text.txt").write_text("".join(valid.read_text().splitlines(keepends=True)[:300]))
    words = command(bin, tmp_path, "costs", MODEL=model, TEXT=tmp_path / "text.txt", EVERY=4, SHARDS=2,
                    VALID=tmp_path / "text.txt", RATE=30)
    for row in job_costs.costs(bin, [word for word in words if "=" in word]):
        assert row["mb_asked"] - 232 < 3 * row["mb_taken"] and row["mb_taken"] < row["mb_asked"], row
        assert row["processor_seconds"] < 60 * row["minutes_asked"], row
