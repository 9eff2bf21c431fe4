"""Writes the pages of the API reference: one for every module of the packages that has public names.

The packages are walked, so that a new or moved module is in the reference without a list of names. A name is public
when it stands in ``__all__``. It is described where it is defined; a package that only passes it on links there.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

FOLDER = "api"


@dataclass(frozen=True)
class Page:
    """What one module's page shows: names that it defines, and names of other modules that it passes on."""

    module: str
    summary: str
    own: tuple[str, ...]
    passed_on: tuple[str, ...]  # full names, as they are defined


def module_names(package: str) -> list[str]:
    """A package and the modules below it, private ones and ``__main__`` left out."""
    root = importlib.import_module(package)
    found = [module.name for module in pkgutil.walk_packages(root.__path__, f"{package}.")]
    return [package, *(name for name in found if not any(part.startswith("_") for part in name.split(".")))]


def read_pages(packages: Iterable[str]) -> list[Page]:
    """The pages of all modules with public names, and of the packages that hold them."""
    modules = [importlib.import_module(name) for package in packages for name in module_names(package)]
    defined = {id(module): dict(_own_names(module)) for module in modules}
    homes = {module.__name__: defined[id(module)] for module in modules}
    pages = [_page(module, homes) for module in modules]
    filled = {page.module for page in pages if page.own or page.passed_on}
    return [page for page in pages if any(f"{name}.".startswith(f"{page.module}.") for name in filled)]


def _own_names(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The names of ``__all__`` that are defined in this module itself (a constant belongs to whom it is listed by)."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if getattr(value, "__module__", module.__name__) == module.__name__:
            yield name, value


def _page(module: ModuleType, homes: dict[str, dict[str, Any]]) -> Page:
    own, passed_on = [], []
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        home = getattr(value, "__module__", module.__name__)
        if isinstance(value, ModuleType):  # a package that can be called has a page of its own
            passed_on.append(value.__name__)
        elif home != module.__name__ and name in homes.get(home, ()):
            passed_on.append(f"{home}.{name}")
        elif name != "__version__":
            own.append(name)
    return Page(module.__name__, _first_line(module), tuple(own), tuple(passed_on))


def page_text(page: Page, pages: Iterable[Page]) -> str:
    """One module's page as reStructuredText."""
    inside = [other for other in pages if other.module.rpartition(".")[0] == page.module]
    parts = [f"{page.module}\n{'=' * len(page.module)}\n", f".. automodule:: {page.module}\n   :no-members:\n"]
    if page.own:
        parts += [".. rubric:: Public names\n", _summary_table(page.own)]
    if page.passed_on:
        parts += [".. rubric:: Public names of other modules\n", _link_table(page.passed_on)]
    parts += [_directive(page.module, name) for name in page.own]
    if inside:
        parts += ["Modules\n-------\n", _module_table(inside), _toctree(inside)]
    return "\n".join(parts)


def _directive(module: str, name: str) -> str:
    value = getattr(importlib.import_module(module), name)
    # An alias such as dict[str, Tensor] can be called, and is a constant all the same.
    kind = "function" if callable(inspect.unwrap(value)) and get_origin(value) is None else "data"
    if isinstance(value, type):
        kind = "exception" if issubclass(value, BaseException) else "class"
    told = isinstance(value, type) and not {*value.__bases__} <= {object, tuple}
    return f".. auto{kind}:: {module}.{name}\n" + ("   :show-inheritance:\n" if told else "")


def _link_table(names: Iterable[str]) -> str:
    """Names of other modules, each with the first line of its docstring."""
    rows = []
    for name in names:
        module, _, last = name.rpartition(".")
        value = getattr(importlib.import_module(module), last)
        rows.append(f"   * - :py:obj:`~{name}`\n     - {_first_line(value)}")
    return "\n".join([".. list-table::\n   :class: modules\n   :widths: auto\n", *rows, ""])


def _first_line(value: Any) -> str:
    return " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())


def _summary_table(names: Iterable[str]) -> str:
    return "\n".join([".. autosummary::\n   :nosignatures:\n", *(f"   {name}" for name in names), ""])


def _module_table(pages: Iterable[Page]) -> str:
    rows = [f"   * - :doc:`{page.module}`\n     - {page.summary}" for page in pages]
    return "\n".join([".. list-table::\n   :class: modules\n   :widths: auto\n", *rows, ""])


def _toctree(pages: Iterable[Page]) -> str:
    entries = [f"   {page.module.rpartition('.')[2]} <{page.module}>" for page in pages]
    return "\n".join([".. toctree::\n   :hidden:\n", *entries, ""])


def write_pages(folder: Path, packages: Iterable[str]) -> None:
    """Writes all pages into a folder; leaves what has not changed, and removes pages of modules that are gone."""
    pages = read_pages(packages)
    texts = {f"{page.module}.rst": page_text(page, pages) for page in pages}
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.rst"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _skip(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out the fields of named tuples, whose docstrings only count them, and what pydantic adds to a model."""
    if (getattr(value, "__doc__", None) or "").startswith("Alias for field number"):
        return True
    return True if name.startswith("model_") and what in ("class", "pydantic_model") else None


def _no_docstring_of_a_type(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """A constant without words of its own has those of its type, such as ``dict``, which say nothing about it."""
    of_types = [(inspect.getdoc(kind) or "").partition("\n")[0] for kind in (type(value), get_origin(value))]
    if what == "data" and lines and lines[0] in of_types:
        lines.clear()


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_config_value("api_packages", [], "env")
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / FOLDER, app.config.api_packages))
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _no_docstring_of_a_type)
    return {"parallel_read_safe": True}
