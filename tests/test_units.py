"""Unit tests written in C: build/<build>/tests/unit_*, each a program that
fails with a status other than 0."""

import os

import pytest

from conftest import BUILDS
from helpers import ok

PROGRAMS = [path for build in BUILDS for path in sorted(build.glob("tests/unit_*"))
            if path.suffix == "" and os.access(path, os.X_OK)]

if PROGRAMS:
    @pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parent.parent.name}-{path.name}")
    def test_unit(program):
        ok(program.parent, program)
