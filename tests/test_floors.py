"""The three floors: hear_delores < pretrain < benchmarks; scoring and reading meet in results alone; no circles."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import structure

SOURCES = structure.read_sources(Path(__file__).parents[1])
GRAPH = structure.import_graph(SOURCES, structure.run_at_all)


def imports(module: str) -> set[str]:
    """All that a module imports, for type checkers too: modules, and names in them."""
    nodes = ast.walk(ast.parse(SOURCES[module]))
    return structure.names_of(node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_imports_upwards(module: str) -> None:
    above = structure.FLOORS[structure.FLOORS.index(module.split(".")[0]) + 1 :]
    assert not [name for name in imports(module) if name.split(".")[0] in above]


@pytest.mark.parametrize(("room", "other"), [("scoring", "reading"), ("reading", "scoring")])
def test_scoring_and_reading_do_not_know_each_other(room: str, other: str) -> None:
    for module in SOURCES:
        if structure.room_of(module) == f"benchmarks.{room}":
            assert not [name for name in imports(module) if name.startswith(f"benchmarks.{other}")], module


def test_metrics_are_pure() -> None:
    """No other room, no files, no command line: arrays in, numbers out."""
    allowed = ("benchmarks.metrics", "hear_delores.errors", "hear_delores.settings", "numpy", "scipy")
    pure = ("__future__", "abc", "collections", "dataclasses", "functools", "itertools", "math", "typing")
    for module in SOURCES:
        if structure.room_of(module) == "benchmarks.metrics":
            for name in imports(module):
                assert name.startswith(allowed) or name.split(".")[0] in pure, f"{module} imports {name}"


def test_the_ground_floor_imports_three_packages_alone() -> None:
    allowed = {"torch", "numpy", "safetensors", "hear_delores", *sys.stdlib_module_names}
    for module in SOURCES:
        if module.startswith("hear_delores"):
            plugin = {"pytest"} if module == "hear_delores.pytest_plugin" else set()  # which pytest alone imports
            assert {name.split(".")[0] for name in imports(module)} <= allowed | plugin, module


# --- circles


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not even in functions."""
    assert structure.circles(GRAPH) == []


def test_no_room_imports_itself_by_way_of_others_and_none_runs_back_up() -> None:
    rooms = structure.room_graph(GRAPH)
    assert structure.circles(rooms) == []
    assert structure.back_arrows(rooms, structure.order_of(rooms)) == []


def test_circles_are_found() -> None:
    sources = {
        "p": "", "p.a": "import p.b", "p.b": "from p import c", "p.c": "try:\n    from p.a import x\nexcept E: pass",
        "p.d": "def f():\n    import p.e\nif TYPE_CHECKING:\n    import p.e", "p.e": "from p.d import y",
    }  # fmt: skip
    assert structure.circles(structure.import_graph(sources)) == [{"p.a", "p.b", "p.c"}]
    at_all = structure.import_graph(sources, structure.run_at_all)
    assert structure.circles(at_all) == [{"p.a", "p.b", "p.c"}, {"p.d", "p.e"}]


def test_what_runs_back_up_is_found() -> None:
    rooms = {"hear_delores": {"pretrain.x"}, "pretrain.x": set(), "pretrain.y": {"pretrain.x"}}
    order = structure.order_of(rooms)
    assert order == ["hear_delores", "pretrain.x", "pretrain.y"]
    assert structure.back_arrows(rooms, order) == [("hear_delores", "pretrain.x")]


def test_the_drawing_shows_every_room() -> None:
    text = structure.draw(Path(__file__).parents[1])
    for room in structure.room_graph(GRAPH):
        assert f">{room.replace('.', '/')}<" in text
    assert 'class="back' not in text
