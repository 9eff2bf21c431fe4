"""The rooms of the house and who imports whom: counted, and drawn.

    python tests/structure.py [ROOT] [--svg FILE]

A room is a folder of modules on a floor; a module that lies on the floor itself is a room of its own, and so is the
whole ground floor. An arrow is the imports of one room by another: solid where a module runs one when it is imported,
dashed where functions alone do. ROOT is a checkout of this project, old or new.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

#: Each floor may import those before it.
FLOORS = ("hear_delores", "pretrain", "benchmarks")
Import = ast.Import | ast.ImportFrom
Graph = dict[str, set[str]]
WIDTH, ROW, BOX, HIGH = 1000, 76, 128, 30


# --- reading


def read_sources(root: Path, floors: Iterable[str] = FLOORS) -> dict[str, str]:
    """{``benchmarks.results.record``: the text of its file}; a package is that of its ``__init__.py``."""
    files = [path for floor in floors for path in sorted((root / floor).rglob("*.py"))]
    names = (".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in files)
    return {name: path.read_text(encoding="utf-8") for name, path in zip(names, files, strict=True)}


def run_on_import(nodes: Iterable[ast.stmt]) -> Iterator[Import]:
    """The imports that run when a module is imported: not those in functions, nor those for type checkers alone."""
    return _imports((n for n in nodes if not isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))), run_on_import)


def run_at_all(nodes: Iterable[ast.stmt]) -> Iterator[Import]:
    """As :func:`run_on_import`, and those in functions."""
    return _imports(nodes, run_at_all)


def _imports(nodes: Iterable[ast.stmt], inside: Callable[[list[ast.stmt]], Iterator[Import]]) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
            continue
        for part in ("body", "orelse", "handlers", "finalbody"):
            if part != "body" or not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
                yield from inside(getattr(node, part, None) or [])


def names_of(imports: Iterable[Import]) -> set[str]:
    """``a.b`` of ``import a.b`` and of ``from a import b``."""
    found = set()
    for node in imports:
        assert not getattr(node, "level", 0), f"{ast.unparse(node)}: a relative import"
        prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        found |= {prefix + alias.name for alias in node.names}
    return found


def import_graph(
    sources: Mapping[str, str], which: Callable[[list[ast.stmt]], Iterator[Import]] = run_on_import
) -> Graph:
    """{module: the modules among ``sources`` that it imports}."""
    graph: Graph = {}
    for name, text in sources.items():
        # "from package import module" imports the module, any other name is in the package's __init__
        found = {each if each in sources else each.rpartition(".")[0] for each in names_of(which(ast.parse(text).body))}
        graph[name] = found & sources.keys() - {name}
    return graph


def room_of(module: str) -> str:
    """The room of a module."""
    floor, _, rest = module.partition(".")
    return floor if floor == FLOORS[0] else f"{floor}.{rest.partition('.')[0] or '__init__'}"


def room_graph(modules: Graph) -> Graph:
    """{room: the rooms that its modules import}."""
    rooms: Graph = {room_of(name): set() for name in modules}
    for name, others in modules.items():
        rooms[room_of(name)] |= {room_of(other) for other in others} - {room_of(name)}
    return rooms


# --- counting


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The groups of modules or rooms that reach each other, largest first."""
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


def order_of(rooms: Graph) -> list[str]:
    """The rooms from the ground up, floor by floor: the next is one that needs no other, or fewest of its circle."""
    group_of = {room: group for group in circles(rooms) for room in group}
    order: list[str] = []

    def place(room: str) -> tuple[int, int, int, str]:
        needed = rooms[room] - {*order}
        return FLOORS.index(room.split(".")[0]), len(needed - group_of.get(room, set())), len(needed), room

    while left := rooms.keys() - {*order}:
        order.append(min(left, key=place))
    return order


def back_arrows(rooms: Graph, order: list[str]) -> list[tuple[str, str]]:
    """The arrows that run from a room to one above it."""
    return [(room, other) for n, room in enumerate(order) for other in order[n + 1 :] if other in rooms[room]]


def counts(root: Path) -> dict[str, str]:
    """What there is of each kind, on import and (in brackets) with the imports in functions."""
    sources = read_sources(root)
    found: dict[str, list[str]] = {}
    for which in (run_on_import, run_at_all):
        modules = import_graph(sources, which)
        rooms = room_graph(modules)
        for what, number in (
            ("modules", len(modules)),
            ("arrows between modules", sum(map(len, modules.values()))),
            ("modules in circles of modules", sum(map(len, circles(modules)))),
            ("rooms", len(rooms)),
            ("arrows between rooms", sum(map(len, rooms.values()))),
            ("arrows that run back up", len(back_arrows(rooms, order_of(rooms)))),
            ("rooms in circles of rooms", sum(map(len, circles(rooms)))),
        ):
            found.setdefault(what, []).append(str(number))
    return {what: one if one == both else f"{one} ({both})" for what, (one, both) in found.items()}


# --- drawing


def draw(root: Path) -> str:
    """The rooms as SVG, each above all that it imports; an arrow that a longer way implies is left out.

    Arrows that run back up are red.
    """
    sources = read_sources(root)
    on_import, at_all = (room_graph(import_graph(sources, which)) for which in (run_on_import, run_at_all))
    order = order_of(at_all)
    back = back_arrows(at_all, order)
    below = {room: {other for other in at_all[room] if (room, other) not in back} for room in order}
    level: dict[str, int] = {}
    for room in order:
        level[room] = 1 + max((level[other] for other in below[room]), default=-1)
    place = {}
    for n in range(max(level.values()) + 1):
        row = [room for room in order if level[room] == n]
        for column, room in enumerate(row):
            place[room] = WIDTH * (column + 0.5) / len(row), ROW * (max(level.values()) - n) + HIGH
    direct = [(a, b) for a in order for b in below[a] if not any(b in reachable(below, c) for c in below[a])]
    parts = [_arrow(place[a], place[b], "back" if (a, b) in back else "", b not in on_import[a])
             for a, b in (*sorted(direct), *back)]  # fmt: skip
    parts += [_box(room, *place[room]) for room in order]
    height = ROW * max(level.values()) + 2 * HIGH
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="11" text-anchor="middle">\n<title>The rooms, each above all that it imports</title>\n'
        "<style>rect{fill:#fff;stroke:#444} .hear_delores{fill:#fde9c9} .pretrain{fill:#d5ead5} "
        ".benchmarks{fill:#d6e4f5} .paper{stroke:none} path{fill:none;stroke:#777} .back{stroke:#c00;stroke-width:2} "
        ".lazy{stroke-dasharray:4 3}</style>\n"
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def reachable(graph: Graph, start: str) -> set[str]:
    """All that a room reaches in a graph without circles."""
    return graph[start].union(*(reachable(graph, other) for other in graph[start]))


def _arrow(start: tuple[float, float], end: tuple[float, float], kind: str, lazy: bool) -> str:
    (x1, y1), (x2, y2) = start, end
    down = 1 if y2 >= y1 else -1
    y1, y2 = y1 + down * HIGH / 2, y2 - down * HIGH / 2
    bend = (y1 + y2) / 2
    line = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {bend:.0f} {x2:.0f} {bend:.0f} {x2:.0f} {y2:.0f}"
    head = f"m-4 {-7 * down}l4 {7 * down}l4 {-7 * down}"
    return f'<path class="{kind}{" lazy" if lazy else ""}" d="{line}{head}"/>'


def _box(room: str, x: float, y: float) -> str:
    corner = f'x="{x - BOX / 2:.0f}" y="{y - HIGH / 2:.0f}"'
    return (
        f'<rect class="{room.split(".")[0]}" {corner} width="{BOX}" height="{HIGH}" rx="4"/>'
        f'<text x="{x:.0f}" y="{y + 4:.0f}">{room.replace(".", "/")}</text>'
    )


def main() -> None:
    """Prints the counts as a Markdown table, and names what is in circles or runs back up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", metavar="ROOT", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw the rooms")
    given = parser.parse_args()
    print("| what | how many |\n|---|---:|")
    for what, number in counts(given.root).items():
        print(f"| {what} | {number} |")
    rooms = room_graph(import_graph(read_sources(given.root), run_at_all))
    for room, other in back_arrows(rooms, order_of(rooms)):
        print(f"back up: {room} -> {other}")
    for group in circles(rooms):
        print(f"a circle of rooms: {', '.join(sorted(group))}")
    if given.svg is not None:
        given.svg.write_text(draw(given.root), encoding="utf-8")


if __name__ == "__main__":
    main()
