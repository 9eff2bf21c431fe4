"""What ``import benchmarks`` gives a program."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import benchmarks


def test_public_names_are_those_of_their_modules() -> None:
    assert sorted([*benchmarks._HOMES, "validate"]) == benchmarks.__all__
    for name, home in benchmarks._HOMES.items():
        module = importlib.import_module(home)
        assert getattr(benchmarks, name) is getattr(module, name)
        assert getattr(benchmarks, name).__module__ == home
        assert name in module.__all__
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = benchmarks.runs


def test_importing_it_imports_nothing_large() -> None:
    code = (
        "import sys, benchmarks; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pandas', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
