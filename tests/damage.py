"""Damaged inputs: giving many of them to a tool, and what must come of each.

A tool that cannot do its work ends with status 1 and one line, "TOOL: FILE: what
is wrong".  Its output does not appear under its final name, a file that had
this name before stays as it was, and nothing else is left beside it.
"""

import concurrent.futures
import os
import pathlib
import time

from helpers import run

OLD = b"what was there before\n"
SECONDS = 120  # that a refusal may take, of a sanitizer's build too
MEMORY = 1 << 30  # bytes that it may have, where a sanitizer does not reserve terabytes


def in_parallel(function, items):
    """[function(item) ...], in threads: most of the time goes into starting tools."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


def bounded(bin, tool, *args, memory=None):
    """tool and arguments of helpers.run, with at most so many bytes of memory."""
    if memory is None or "sanitize" in pathlib.Path(bin).name:
        return [tool, *args]
    limits = f'ulimit -v {memory // 1024} && exec "$0" "$@"'
    return ["/bin/sh", "-c", limits, pathlib.Path(bin) / tool, *args]


class Reader:
    """A tool that reads one stream.

    arguments: of its command line, before the input; outputs: its options that
    name a file to write.  good: the bytes of a stream that it takes.  beside: a file that
    it compares with, at which a message may begin that names the damaged one, too: where two
    differ, nothing tells which is wrong.
    """

    def __init__(self, name, tool, arguments, good, outputs=("-o",), beside=None):
        self.name, self.tool, self.arguments, self.good = name, tool, list(arguments), good
        self.outputs, self.beside = outputs, beside

    def argv(self, path, out):
        named = [part for option in self.outputs for part in (option, f"{out}{option}")]
        return [*self.arguments, *named, path]

    def result(self, bin, path, out, **options):
        """The process, and {output option: bytes, or None where nothing came}."""
        tool, *args = bounded(bin, self.tool, *self.argv(path, out), **options)
        done = run(bin, tool, *args)
        paths = {option: pathlib.Path(f"{out}{option}") for option in self.outputs}
        return done, {option: path.read_bytes() if path.exists() else None
                      for option, path in paths.items()}


class Case:
    """data must be refused, with a message that has says in it.  harmless: bytes
    that may be taken as well, if the result is that of the good stream."""

    def __init__(self, label, data, says="", harmless=False):
        self.label, self.data, self.says, self.harmless = label, data, says, harmless


def complaint(tool, path, done, says="", beside=None):
    """What is wrong with a refusal; None: nothing."""
    message = done.stderr.decode(errors="backslashreplace")
    if done.returncode != 1:
        return f"status {done.returncode}: {message!r}"
    if message.count("\n") != 1 or not message.endswith("\n"):
        return f"not one line: {message!r}"
    if not (message.startswith(f"{tool}: {path}: ")
            or (beside and message.startswith(f"{tool}: {beside}: ") and str(path) in message)):
        return f"does not begin with tool and file: {message!r}"
    if says not in message:
        return f"does not say {says!r}: {message!r}"
    return None


def problems(bin, reader, cases, directory, memory=None):
    """What the tool does wrong, a line a case.  Works in directory, new and empty
    but for the input; every other case has an older output in its way."""
    cases = list(cases)
    assert cases, "nothing to test"
    wanted = None
    if any(case.harmless for case in cases):
        good = directory / "good"
        good.write_bytes(reader.good)
        done, wanted = reader.result(bin, good, directory / "wanted")
        assert done.returncode == 0, done.stderr

    def judge(numbered):
        number, case = numbered
        place = directory / f"{number}"
        place.mkdir()
        path, out = place / "input", place / "output"
        path.write_bytes(case.data)
        before = {option: OLD if number % 2 else None for option in reader.outputs}
        for option, old in before.items():
            if old:
                pathlib.Path(f"{out}{option}").write_bytes(old)
        start = time.monotonic()
        done, after = reader.result(bin, path, out, memory=memory)
        if time.monotonic() - start > SECONDS:
            return f"{case.label}: took more than {SECONDS} seconds"
        if case.harmless and done.returncode == 0:
            return None if after == wanted else f"{case.label}: taken, with another result"
        wrong = complaint(reader.tool, path, done, case.says, reader.beside)
        if wrong:
            return f"{case.label}: {wrong}"
        if after != before:
            return f"{case.label}: an output appeared or was changed"
        left = {file.name for file in place.iterdir()}
        left -= {"input", *(f"output{option}" for option in reader.outputs)}
        return f"{case.label}: left behind: {left}" if left else None

    return list(filter(None, in_parallel(judge, enumerate(cases))))


def check(bin, reader, cases, directory, memory=None):
    """Asserts that every case is refused."""
    found = problems(bin, reader, cases, directory, memory)
    assert not found, f"{len(found)} of them, of {reader.name}:\n" + "\n".join(found[:200])
