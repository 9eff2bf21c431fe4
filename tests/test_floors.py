"""The three floors: hear_delores < pretrain < benchmarks; scoring and reading meet in results alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import benchmarks
import hear_delores
import pretrain

FLOORS = {"hear_delores": 0, "pretrain": 1, "benchmarks": 2}
SOURCES = [
    (name, path)
    for name, package in (("hear_delores", hear_delores), ("pretrain", pretrain), ("benchmarks", benchmarks))
    for path in sorted(Path(package.__path__[0]).rglob("*.py"))
]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize(("floor", "path"), SOURCES, ids=lambda value: getattr(value, "name", value))
def test_nothing_imports_upwards(floor: str, path: Path) -> None:
    for module in imports(path):
        other = module.split(".")[0]
        if other in FLOORS:
            assert FLOORS[other] <= FLOORS[floor], f"{path} imports {module}"


@pytest.mark.parametrize(("room", "other"), [("scoring", "reading"), ("reading", "scoring")])
def test_scoring_and_reading_do_not_know_each_other(room: str, other: str) -> None:
    for path in sorted((Path(benchmarks.__path__[0]) / room).rglob("*.py")):
        assert not [module for module in imports(path) if module.startswith(f"benchmarks.{other}")], path


def test_the_ground_floor_imports_three_packages_alone() -> None:
    allowed = {"torch", "numpy", "safetensors", "hear_delores"}
    by_pytest = {"pytest"}  # in the one module that pytest alone imports
    import sys

    for floor, path in SOURCES:
        if floor == "hear_delores":
            roots = {module.split(".")[0] for module in imports(path)}
            plugin = by_pytest if path.name == "pytest_plugin.py" else set()
            assert roots <= allowed | plugin | set(sys.stdlib_module_names), path
