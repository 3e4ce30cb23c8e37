"""make with SHARDS and PARALLEL="--sshlogin ...": shards on machines that GNU parallel logs in to by ssh,
which passes nothing of the environment on, give the bytes of one run; a machine that is down, or whose tools
fail, leaves its shards to the other."""

import platform

import pytest

import random_model
import ssh_machines
from helpers import random_sentences, text
from test_paper import make, results, tools_but

pytestmark = pytest.mark.release_only
GOALS = ["triggers"]


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    try:
        with ssh_machines.machines(tmp_path_factory.mktemp("ssh")) as config:
            yield config
    except ssh_machines.CannotStart as error:
        pytest.skip(f"sshd cannot be started here: {error}")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("machines")
    random_model.write_model(place / "model", layers=2, d_model=16, d_ff=12, heads=2, vocabulary=60,
                             cutoffs=(20, 40))
    (place / "it's my $HOME text.txt").write_bytes(text(random_sentences(100, 60, seed=1)))
    return place


@pytest.fixture(scope="module")
def whole(bin, place):
    make(bin, place, "whole", *GOALS, **names(place))
    return results(place / "whole" / "results")


def names(place):
    """A name that goes through three shells and two makes."""
    return {"TEXT": place / "it's my $$HOME text.txt"}


def watched(bin, folder, script=""):
    """Tools that note on which machine topk-keys --top ran, and then do this."""
    return tools_but(bin, folder / "tools", "topk-keys",
                     f'host=${{SSH_CONNECTION% *}} host=${{host##* }}\n'
                     f'[ "$1" = --merge ] || echo "$host" >>"{folder}/hosts"\n{script}\nexec "$tool" "$@"')


def test_two_machines_give_the_bytes_of_one_run(bin, ssh, place, tmp_path, whole):
    make(watched(bin, tmp_path), place, "two", *GOALS, **names(place), SHARDS=4,
         PARALLEL=f"--ssh 'ssh -F {ssh}' --sshlogin 2/one,2/two")
    assert results(place / "two" / "results") == whole
    assert set((tmp_path / "hosts").read_text().split()) == {*ssh_machines.ADDRESSES.values()}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenBLAS has other kernels here")
def test_the_kernel_of_blas_that_is_chosen_here(bin, ssh, place, monkeypatch):
    """By a variable that nobody sets on the other machine."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    make(bin, place, "kernel", "search", **names(place), SHARDS=1,
         PARALLEL=f"--ssh 'ssh -F {ssh}' --sshlogin one")
    assert b" Prescott" in results(place / "kernel" / "results")["search.msgpack"]


def test_a_machine_that_is_down(bin, ssh, place, tmp_path, whole):
    """One login with a command of its own."""
    make(watched(bin, tmp_path), place, "down", *GOALS, **names(place), SHARDS=3,
         PARALLEL=f"--sshlogin '1/ssh -F {ssh} down,2/ssh -F {ssh} two'")
    assert results(place / "down" / "results") == whole
    assert (tmp_path / "hosts").read_text().split() == ["127.0.0.2"] * 3


def test_a_machine_whose_tools_fail(bin, ssh, place, tmp_path, whole):
    tools = watched(bin, tmp_path, '[ "$host" != 127.0.0.1 ] || { echo "topk-keys: no disk" >&2; exit 1; }')
    make(tools, place, "failing", *GOALS, **names(place), SHARDS=3,
         PARALLEL=f"--ssh 'ssh -F {ssh}' --sshlogin 1/one,1/two")
    assert results(place / "failing" / "results") == whole
    hosts = (tmp_path / "hosts").read_text().split()
    assert hosts.count("127.0.0.2") == 3 and "127.0.0.1" in hosts
