"""What the tests depend on and what a shell, a cron job or nohup may have set otherwise:
signals, locale, time zone, umask, standard streams, variables of a calling make.  And a
limit on the time of each test, so that none waits for ever.

A pytest plugin, which conftest.py loads; faults.py calls settle() by itself.
"""

import faulthandler
import os
import pathlib
import signal
import sys
import threading
import time

import pytest

# Seconds for a test, and for its fixtures, of which the slowest install a library.
LIMIT = float(os.environ.get("FFKV_TEST_LIMIT", 900))
GRACE = 60  # seconds more, after which a test that cannot even be interrupted ends its process

# Signals that tests send, or wait for. (Python ignores SIGPIPE and SIGXFSZ itself, and subprocess
# gives them back to children.)
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1,
           signal.SIGUSR2, signal.SIGCHLD, signal.SIGXCPU)

# Variables that change what children do: the calling make's options would go to those that the
# tests call, a shell's files would be read by every script.
CHANGING = ("MFLAGS", "GNUMAKEFLAGS", "LANGUAGE", "ENV", "BASH_ENV", "CDPATH", "POSIXLY_CORRECT",
            "LD_PRELOAD", "COLUMNS", "LINES")
CHANGING_BEGINNINGS = ("MAKE", "LC_", "OPENBLAS_", "OMP_", "MALLOC_")
FIXED = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TZ": "UTC", "OPENBLAS_NUM_THREADS": "1"}


def ignore(number, frame):
    """A handler, where a process is to ignore a signal: what is ignored stays so in its
    children, what is handled is at its default there."""


def settle():
    """Makes this process and those that it starts independent of who started it."""
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would take its number
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
    os.umask(0o022)
    for name in [name for name in os.environ if name in CHANGING or name.startswith(CHANGING_BEGINNINGS)]:
        del os.environ[name]
    os.environ.update(FIXED)
    time.tzset()


# -------------------------------------------------------------- limits of time

def processes():
    """All: (number, [what /proc/NUMBER/stat has behind the command's name: state, parent, group, session,
    ...]).

    By names alone: a pattern for paths asks for each whether it is there, and fails where one ends
    meanwhile."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = pathlib.Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended just now
                continue
            if fields:
                yield int(name), fields


def children():
    """Of all processes: {parent: [child]}."""
    found = {}
    for process, (_, parent, *_) in processes():
        found.setdefault(int(parent), []).append(process)
    return found


def descendants(root):
    """The processes that root started, and those that they started."""
    tree, found, parents = children(), set(), [root]
    while parents:
        here = tree.get(parents.pop(), [])
        found.update(here)
        parents += here
    return found


def kill(processes):
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Overtime:
    """Ends what runs in the block after so many seconds: its processes are killed, which ends
    waiting threads too, and the test fails."""

    def __init__(self, seconds):
        self.seconds = seconds

    def ended(self, number, frame):
        faulthandler.dump_traceback(sys.__stderr__)
        kill(descendants(os.getpid()) - self.before)
        pytest.fail(f"took more than {self.seconds:g} seconds")

    def __enter__(self):
        self.before = descendants(os.getpid())
        # execnet, under pytest-xdist, rarely has a worker's tests in another thread, which no signal reaches.
        self.is_main = threading.current_thread() is threading.main_thread()
        if self.is_main:
            self.handler = signal.signal(signal.SIGALRM, self.ended)
            signal.setitimer(signal.ITIMER_REAL, self.seconds, GRACE / 4)
        # For what no Python code interrupts.
        faulthandler.dump_traceback_later(self.seconds + GRACE, exit=True, file=sys.__stderr__)

    def __exit__(self, *_):
        faulthandler.cancel_dump_traceback_later()
        if self.is_main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.handler)


def limited(item):
    with Overtime(LIMIT):
        yield


pytest_runtest_setup = pytest.hookimpl(hookwrapper=True)(limited)
pytest_runtest_call = pytest.hookimpl(hookwrapper=True)(limited)
pytest_runtest_teardown = pytest.hookimpl(hookwrapper=True)(limited)

settle()
