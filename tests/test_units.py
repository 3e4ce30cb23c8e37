"""Unit tests written in C: build/<build>/tests/unit_*, each a program that
fails with a status other than 0."""

import os
import platform

import pytest

from conftest import BUILDS
from helpers import ok

PROGRAMS = [path for build in BUILDS for path in sorted(build.glob("tests/unit_*"))
            if path.suffix == "" and os.access(path, os.X_OK)]

if PROGRAMS:
    @pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parent.parent.name}-{path.name}")
    def test_unit(program):
        ok(program.parent, program)

    @pytest.mark.parametrize("program", [path for path in PROGRAMS if path.name == "unit_aggregation"],
                             ids=lambda path: path.parent.parent.name)
    @pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels of x86 processors")
    def test_unit_with_another_kernel(program):
        """This one gives a row the same bytes in every place of a product, so answers are compared
        exactly."""
        ok(program.parent, program, env={"OPENBLAS_CORETYPE": "Sandybridge"})
