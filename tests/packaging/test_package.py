"""What pyproject.toml declares is true: package data, versions, Pythons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import hear_delores

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings its forerunner
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
PATTERNS: dict[str, list[str]] = PYPROJECT["tool"]["setuptools"]["package-data"]
CLASSIFIED = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.fullmatch(r".*Python :: 3\.\d+", line)]


@pytest.mark.parametrize("package", ["hear_delores", "pretrain", "benchmarks"])
def test_every_file_that_is_not_python_is_declared(package: str) -> None:
    files = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    declared = {path for pattern in PATTERNS[package] for path in (ROOT / package).glob(pattern)}
    assert files == declared
    assert ROOT / package / "py.typed" in files


def test_every_pattern_of_package_data_finds_something() -> None:
    for package, patterns in PATTERNS.items():
        for pattern in patterns:
            assert list((ROOT / package).glob(pattern)), f"{package}: {pattern}"


def test_there_is_one_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == hear_delores.__version__ == citation["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_an_spdx_expression_with_its_file() -> None:
    assert PROJECT["license"] == yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["license"] == "Apache-2.0"
    assert not [line for line in PROJECT["classifiers"] if line.startswith("License ::")]  # PEP 639 forbids both
    assert [(ROOT / name).is_file() for name in PROJECT["license-files"]] == [True]


def test_pythons_are_the_same_everywhere() -> None:
    assert PROJECT["requires-python"] == f">={CLASSIFIED[0]}"
    assert [f"3.{minor}" for minor in range(10, 10 + len(CLASSIFIED))] == CLASSIFIED
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {CLASSIFIED[0]} to {CLASSIFIED[-1]}" in readme
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == CLASSIFIED
