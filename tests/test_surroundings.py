"""The tests do not depend on who starts them, and none waits for ever: surroundings.py."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

import surroundings
from conftest import ROOT
from helpers import TIMEOUT

TESTS = pathlib.Path(__file__).resolve().parent

# A background job of a shell without job control, a nohup, a cron job; what is left of their ways is
# to be made up for by surroundings.py.
AS_IN_THE_BACKGROUND = "trap '' INT HUP QUIT TERM; umask 077; exec \"$@\" <&-"


def pytest_run(*words, script='exec "$@"', cwd=ROOT, **variables):
    return subprocess.run(["setsid", "sh", "-c", script, "sh", sys.executable, "-m", "pytest",
                           "-q", "-p", "no:cacheprovider",
                           *words], cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)


@pytest.mark.release_only
def test_tests_of_interruption_end_in_the_background(bin):
    """They waited for ever: their tools had inherited signals that were ignored."""
    done = pytest_run("tests/test_cli.py", "-k", "test_interrupted or signal or test_file_mode or closed",
                      "--maxfail=1", script=AS_IN_THE_BACKGROUND, FFKV_TEST_LIMIT="60", FFKV_BUILDS=str(bin),
                      LC_ALL="tr_TR.UTF-8", TZ="Asia/Tokyo", MAKEFLAGS="-n")
    assert done.returncode == 0, done.stdout + done.stderr


def test_children_find_what_tests_expect(tmp_path):
    """Signals, locale, umask, time zone, standard streams, no options of a calling make."""
    (tmp_path / "test_children.py").write_text('''
import subprocess
def test_it():
    shown = subprocess.run(["sh", "-c", "grep Sig[IB] /proc/self/status; umask; "
                                        "echo $LC_ALL $TZ $MAKEFLAGS; date +%Z; readlink /proc/self/fd/0"],
                           capture_output=True, text=True).stdout
    blocked, ignored, *others = shown.splitlines()
    ours = (1 << 31) - 1  # signals 32 and 33 are the C library's own
    assert [int(line.split()[1], 16) & ours for line in (blocked, ignored)] == [0, 0]
    assert others == ["0022", "C.UTF-8 UTC", "UTC", "/dev/null"]
''')
    done = pytest_run("-p", "surroundings", "test_children.py", script=AS_IN_THE_BACKGROUND, cwd=tmp_path,
                      PYTHONPATH=str(TESTS), LC_ALL="POSIX", TZ="Asia/Tokyo", MAKEFLAGS="-n")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("wait", ["child.wait()", "child.stdout.read()", "threading.Event().wait()",
                                  "ThreadPoolExecutor().__enter__().submit(child.wait).result()"])
def test_no_test_waits_for_ever(tmp_path, wait):
    """It fails and says so, what it started is killed, and the next test runs."""
    (tmp_path / "test_wait.py").write_text(f'''
import subprocess, threading
from concurrent.futures import ThreadPoolExecutor
def test_one():
    child = subprocess.Popen(["sh", "-c", "echo $$ >pid; sleep 1000; true"], stdout=subprocess.PIPE)
    {wait}
def test_two():
    pass
''')
    start = time.monotonic()
    done = pytest_run("-p", "surroundings", "test_wait.py", cwd=tmp_path, PYTHONPATH=str(TESTS),
                      FFKV_TEST_LIMIT="0.5")
    assert time.monotonic() - start < 30
    assert "took more than 0.5 seconds" in done.stdout and "1 failed, 1 passed" in done.stdout, \
        done.stdout + done.stderr
    assert not pathlib.Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_process_that_ends_while_all_are_listed_is_passed_over(monkeypatch):
    """Its folder was there when /proc was read, and a test failed that had nothing to do with it."""
    monkeypatch.setattr(surroundings.os, "listdir", lambda path: ["999999999", "self", str(os.getpid())])
    assert [process for process, _ in surroundings.processes()] == [os.getpid()]
    assert surroundings.children() == {os.getppid(): [os.getpid()]}
