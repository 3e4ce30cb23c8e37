"""The folders of common/ are layers: what a file includes is in its own folder or in one before it."""

import re

import pytest

from conftest import ROOT

ROOMS = ("base", "table", "numeric", "formats", "stream", "model", "text", "analysis", "report")
FILES = sorted(ROOT.glob("common/**/*.[ch]"))


def included(path):
    """Files of ours that a file includes, by their paths below common/."""
    return re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE)


def room(path):
    return path.parent.relative_to(ROOT / "common").as_posix()


def wrong_includes(own, names):
    """Of names that a file of the room own includes, those in no room or in one behind it."""
    allowed = ROOMS[:ROOMS.index(own) + 1]
    return [name for name in names if name.split("/")[0] not in allowed]


def test_every_file_of_common_is_in_a_room():
    assert FILES
    assert {room(path) for path in FILES} == set(ROOMS)


def test_an_include_of_a_later_room_would_be_seen():
    assert wrong_includes("stream", ["base/input.h", "stream/records.h", "model/model.h", "messages.h"]) == [
        "model/model.h", "messages.h"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT / "common").as_posix())
def test_a_room_uses_only_those_before_it(path):
    assert wrong_includes(room(path), included(path)) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("tools/*.c")), ids=lambda path: path.stem)
def test_a_tool_includes_no_other_tool(path):
    assert wrong_includes("report", included(path)) == []


def test_only_common_numeric_knows_the_libraries_of_the_products():
    """Others ask matrix.h, so that another backend touches no one else.  version.c tells its version."""
    named = {path.relative_to(ROOT).as_posix() for path in (*FILES, *ROOT.glob("tools/*.[ch]"))
             if re.search(r"blas[_.]|onednn[_.]|dnnl[_.]", path.read_text())}
    assert {name for name in named if not name.startswith("common/numeric/")} == {"common/base/version.c"}
    assert {"common/numeric/matrix.c", "common/numeric/onednn.c"} <= named
    assert {name for name in named if "oneapi/dnnl" in (ROOT / name).read_text()} == {
        "common/numeric/onednn.c", "common/base/version.c"}


@pytest.mark.parametrize("path", sorted([*FILES, *ROOT.glob("tools/*.[ch]"), *ROOT.glob("tests/*.[ch]")]),
                         ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lines_of_c_fit(path):
    """.clang-format tells how a longer one is broken."""
    assert [line for line in path.read_text().splitlines() if len(line) > 110] == []


OTHERS = ("Makefile", "Dockerfile", "CITATION.cff", "*.sh", "common/**/*.sh", "data/*.sh", "data/*.awk",
          "pipelines/**/*.sh", "pipelines/**/*.gp", "pipelines/**/*.mk", "pipelines/**/*.css",
          "tools/*.js", "tools/*.html", "tools/*.css",
          "tests/*.py", "python/*.py", "doc/*.py", "data/**/*.py")


@pytest.mark.parametrize("pattern", OTHERS)
def test_lines_of_others_fit(pattern):
    """.style.yapf tells how a longer one of Python is broken.  The others are broken by hand."""
    paths = sorted(ROOT.glob(pattern))
    assert paths
    assert [f"{path.relative_to(ROOT)}: {line}" for path in paths for line in path.read_text().splitlines()
            if len(line) > 110] == []


def test_kernels_have_names_of_their_own():
    """clang 14 makes a global symbol of a static function that it clones, so two of one name do not link."""
    names = [name for path in sorted((ROOT / "common").glob("*/*.c")) + sorted((ROOT / "tools").glob("*.c"))
             for name in re.findall(r"^KERNEL [^;{(]*?(\w+)\(", path.read_text(), re.MULTILINE)]
    assert len(names) > 10 and sorted(set(names)) == sorted(names)
