"""The three floors: hear_delores < pretrain < benchmarks; scoring and reading meet in results alone; no circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
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


def test_metrics_are_pure() -> None:
    """No other room, no files, no command line: arrays in, numbers out."""
    allowed = ("benchmarks.metrics", "hear_delores.errors", "hear_delores.settings", "numpy", "scipy")
    pure = ("__future__", "abc", "collections", "dataclasses", "functools", "itertools", "math", "typing")
    for path in sorted((Path(benchmarks.__path__[0]) / "metrics").rglob("*.py")):
        for module in imports(path):
            assert module.startswith(allowed) or module.split(".")[0] in pure, f"{path} imports {module}"


def test_the_ground_floor_imports_three_packages_alone() -> None:
    allowed = {"torch", "numpy", "safetensors", "hear_delores"}
    by_pytest = {"pytest"}  # in the one module that pytest alone imports
    import sys

    for floor, path in SOURCES:
        if floor == "hear_delores":
            roots = {module.split(".")[0] for module in imports(path)}
            plugin = by_pytest if path.name == "pytest_plugin.py" else set()
            assert roots <= allowed | plugin | set(sys.stdlib_module_names), path


# --- circles

#: Circles that are known and have to go, each the set of its modules: add none.
KNOWN_CIRCLES: set[frozenset[str]] = set()


def module_name(path: Path) -> str:
    """``benchmarks.results.record`` of its file, ``benchmarks.results`` of its ``__init__.py``."""
    package = next(name for name in FLOORS if name in path.parts)
    parts = path.with_suffix("").parts
    inside = parts[len(parts) - parts[::-1].index(package) - 1 :]
    return ".".join(inside[:-1] if inside[-1] == "__init__" else inside)


def run_on_import(nodes: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when a module is imported: not those in functions, nor those for type checkers alone."""
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from run_on_import(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for field in ("body", "orelse", "handlers", "finalbody"):
                yield from run_on_import(getattr(node, field, None) or [])


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """{module: the modules among ``sources`` that it imports when it is imported}."""
    graph: dict[str, set[str]] = {name: set() for name in sources}
    for name, text in sources.items():
        for node in run_on_import(ast.parse(text).body):
            if isinstance(node, ast.Import):
                found = {alias.name for alias in node.names}
            else:  # "from package import module" imports the module, any other name is in the package's __init__
                found = {f"{node.module}.{alias.name}" for alias in node.names}
                found = {each if each in sources else str(node.module) for each in found}
            graph[name] |= found & graph.keys() - {name}
    return graph


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The groups of modules that reach each other, largest first."""
    reached = {}
    for start in graph:
        seen, left = set(), [start]
        while left:
            new = graph[left.pop()] - seen
            seen |= new
            left += new
        reached[start] = seen
    groups = {frozenset({a, *(b for b in reached[a] if a in reached[b])}) for a in graph if a in reached[a]}
    return sorted((set(group) for group in groups), key=lambda group: (-len(group), sorted(group)))


@pytest.mark.parametrize("floor", FLOORS)
def test_no_modules_import_each_other_in_a_circle(floor: str) -> None:
    sources = {module_name(path): path.read_text(encoding="utf-8") for name, path in SOURCES if name == floor}
    found = {frozenset(group) for group in circles(import_graph(sources))}
    assert found == {group for group in KNOWN_CIRCLES if min(group).startswith(floor)}


def test_circles_are_found() -> None:
    sources = {
        "p": "", "p.a": "import p.b", "p.b": "from p import c", "p.c": "try:\n    from p.a import x\nexcept E: pass",
        "p.d": "def f():\n    import p.e\nif TYPE_CHECKING:\n    import p.e", "p.e": "from p.d import y",
    }  # fmt: skip
    assert circles(import_graph(sources)) == [{"p.a", "p.b", "p.c"}]


def _name(path: Path) -> str:
    root = Path(hear_delores.__path__[0]).parent
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _imported_modules(path: Path, modules: set[str]) -> set[str]:
    """The modules of the house that one imports when it runs, in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & modules or {str(node.module)}
    return found & modules - {_name(path)}


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {_name(path) for _, path in SOURCES}
    left = {_name(path): _imported_modules(path, modules) for _, path in SOURCES}
    while free := {name for name, imported in left.items() if not imported & left.keys()}:
        left = {name: imported for name, imported in left.items() if name not in free}
    assert not left, f"a circle is among {sorted(left)}"
