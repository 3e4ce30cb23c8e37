"""doc/tutorial.md: its commands run as they stand there, and print what stands behind them."""

import re
import subprocess

import pytest

from conftest import ROOT
from helpers import TIMEOUT, environment

TUTORIAL = ROOT / "doc" / "tutorial.md"
NUMBER = re.compile(r"\d+\.\d+(?:e[+-]\d+)?")


def commands(page):
    """[(command, what it prints)] of a page's blocks; a command goes on behind lines that begin with >."""
    found = []
    for block in re.findall(r"(?:^    .*\n)+", page.read_text(), re.MULTILINE):
        for line in block.splitlines():
            line = line[4:]
            if line.startswith("$ "):
                found.append([line[2:] + "\n", ""])
            elif line.startswith(">"):
                found[-1][0] += line.removeprefix(">").removeprefix(" ") + "\n"
            else:
                found[-1][1] += line + "\n"
    return found


def assert_printed(found, shown):
    """The same but for numbers' last digits, which the processor's BLAS kernel decides."""
    assert NUMBER.sub("N", found) == NUMBER.sub("N", shown)
    for number, wanted in zip(NUMBER.findall(found), NUMBER.findall(shown)):
        assert abs(float(number) - float(wanted)) <= 0.02 * float(wanted), (found, shown)


@pytest.mark.release_only
def test_commands_print_what_is_shown(bin, smollm2, tmp_path):
    """In one shell, which says where a command's output ends."""
    assert smollm2 == ROOT / "data" / "models" / "smollm2" / "model.gguf"
    listed = commands(TUTORIAL)
    assert len(listed) > 15
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "build").mkdir()
    (tmp_path / "build/release-gcc").symlink_to(bin)
    script = "set -e\n" + "".join(f"{command}printf '\\036'\n" for command, _ in listed)
    done = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, timeout=TIMEOUT,
                          check=False, cwd=tmp_path, env=environment({"PATH": "/usr/bin:/bin"}))
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.split("\036")[:-1]
    assert len(printed) == len(listed)
    for (command, shown), found in zip(listed, printed):
        assert_printed(found, shown)


@pytest.mark.parametrize("found", ["a 1.04\n", "b 1.0\n", "a 1.0 2.0\n", "a\n", ""])
def test_another_output_would_be_seen(found):
    with pytest.raises(AssertionError):
        assert_printed(found, "a 1.0\n")
