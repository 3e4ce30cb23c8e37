"""make slurm, on Slurm itself: an array of shards, one of which is requeued and one killed while they run,
gives the bytes of one run; what always fails holds the merge back, and the next submission computes only
that.

The long form, FFKV_CLUSTER=long ('make cluster-test'), is all experiments with the shipped model."""

import os
import re
import shutil
import subprocess

import pytest

import random_model
import slurm_cluster
from conftest import ROOT
from helpers import TIMEOUT, environment, random_sentences, text
from test_paper import command, make, results, tools_but, until

IS_LONG = os.environ.get("FFKV_CLUSTER") == "long"
SHARDS = 8 if IS_LONG else 4
WHAT = "all" if IS_LONG else "triggers perturbation"
RATE = 30  # so that nothing is measured

pytestmark = pytest.mark.release_only


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    try:
        with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as cluster:
            yield cluster
    except slurm_cluster.CannotStart as error:
        pytest.skip(f"Slurm cannot be started here: {error}")


@pytest.fixture(scope="module")
def place(tmp_path_factory, model, valid):
    place = tmp_path_factory.mktemp("cluster")
    if IS_LONG:
        (place / "model").symlink_to(model)
        (place / "train.txt").write_text("".join(valid.read_text().splitlines(keepends=True)[:400]))
        shutil.copy(place / "train.txt", place / "valid.txt")
    else:
        random_model.write_model(place / "model", layers=2, d_model=16, d_ff=12, heads=2, vocabulary=60,
                                 cutoffs=(20, 40))
        (place / "train.txt").write_bytes(text(random_sentences(300, 60, seed=1)))
        (place / "valid.txt").write_bytes(text(random_sentences(80, 60, seed=2)))
    return place


@pytest.fixture(scope="module")
def whole(bin, place):
    make(bin, place, "whole", *([] if IS_LONG else WHAT.split()))
    return results(place / "whole" / "results")


def submit(slurm, bin, place, out, status=0, **settings):
    settings = {"SHARDS": SHARDS, "WHAT": WHAT, "RATE": RATE, **settings}
    done = subprocess.run(command(bin, place, out, "slurm", **settings), cwd=ROOT,
                          env=environment(slurm.variables), capture_output=True, text=True, timeout=TIMEOUT,
                          check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def computed(folder):
    """The results, without what Slurm's jobs said."""
    return {name: data for name, data in results(folder).items() if not name.startswith("slurm/")}


def test_a_requeued_and_a_killed_shard_and_the_bytes_of_one_run(slurm, bin, place, tmp_path, whole):
    out, begun = place / "disturbed" / "results", tmp_path / "begun"
    tools = tools_but(bin, tmp_path / "tools", "topk-keys", f"""
for word; do :; done
case $1 in --top) ;; *) exec "$tool" "$@" ;; esac
echo "${{word##*/}}" >>"{begun}"
case $word in
*.1-of-*) mkdir "{tmp_path}/killed" 2>/dev/null && kill -9 $$ ;;
*.2-of-*) mkdir "{tmp_path}/requeued" 2>/dev/null && {{ cat >/dev/null; sleep 100; }} ;;
esac
exec "$tool" "$@"
""")
    said = submit(slurm, tools, place, "disturbed")
    job, = re.findall(r"^search: job (\d+), shards 0,1,", said, re.MULTILINE)
    assert f"jobs of {out} are in the queue" in submit(slurm, tools, place, "disturbed", status=2)
    until((tmp_path / "requeued").exists)
    assert slurm.run("scontrol", "requeue", f"{job}_2").returncode == 0
    until(slurm.is_done)
    assert computed(out) == whole, (out / "slurm" / "merge.log").read_text()
    again = [f"search.{shard}-of-{SHARDS}" for shard in (*range(SHARDS), 1, 2)]
    assert sorted(begun.read_text().split()) == sorted(again)
    assert "DUE TO JOB REQUEUE" in (out / "slurm" / "search.2.log").read_text()


def test_a_shard_that_always_fails_holds_the_merge_back(slurm, bin, place, tmp_path, whole):
    """As often as TRIES says.  Repaired and submitted again, the others are not computed again."""
    out, begun = place / "failing" / "results", tmp_path / "begun"
    tools = tools_but(bin, tmp_path / "tools", "topk-keys", f"""
for word; do :; done
case $1 in --top) echo "${{word##*/}}" >>"{begun}" ;; esac
case $word in
*.1-of-*) [ -e "{tmp_path}/repaired" ] || {{ echo "topk-keys: it is broken" >&2; exit 1; }} ;;
esac
exec "$tool" "$@"
""")
    submit(slurm, tools, place, "failing", WHAT="triggers", TRIES=2)
    until(slurm.is_done)
    log = (out / "slurm" / "search.1.log").read_text()
    assert log.count("it is broken") == 2 and not (out / "triggers.msgpack").exists()
    assert not (out / "slurm" / "merge-1.log").exists()
    assert len(begun.read_text().split()) == SHARDS + 1

    begun.unlink()
    (tmp_path / "repaired").touch()
    said = submit(slurm, tools, place, "failing", WHAT="triggers")
    assert re.search(rf"^search: job \d+, shards 1 of {SHARDS}, ", said, re.MULTILINE)
    until(slurm.is_done)
    assert begun.read_text().split() == [f"search.1-of-{SHARDS}"]
    assert computed(out)["triggers.msgpack"] == whole["triggers.msgpack"]


def test_what_is_asked_for_is_computed_and_can_be_replaced(slurm, bin, place, whole):
    """Options of sbatch's own come last. Jobs that cannot start are cancelled here."""
    said = submit(slurm, bin, place, "asked", WHAT="triggers", THREADS=2,
                  SBATCH="--hold --time=77 --comment=mine")
    asked = r"^search: job (\d+), .* each with 2 processors, (\d+) MB"
    job, memory = re.findall(asked, said, re.MULTILINE)[0]
    shown = slurm.run("scontrol", "show", "job", job).stdout
    assert f"mem={memory}M" in shown and "TimeLimit=01:17:00" in shown and "Comment=mine" in shown
    assert "NumCPUs=2" in shown and "Requeue=1" in shown
    jobs = (place / "asked/results/slurm/jobs").read_text().split()
    assert len(jobs) == 4  # shards and merges of both are told what auto is
    for each in jobs:
        assert "AUTO_PRODUCTS=float32 " in slurm.run("scontrol", "write", "batch_script", each, "-").stdout
    assert slurm.run("scancel", "--user=root").returncode == 0
    until(slurm.is_done)


