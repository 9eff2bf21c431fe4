"""The API reference is made from the packages themselves: docs/_extensions/api_reference.py."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hear_delores", "pretrain", "benchmarks")


def _extension() -> ModuleType:
    path = ROOT / "docs" / "_extensions" / "api_reference.py"
    spec = spec_from_file_location("docs_api_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


api_reference = _extension()
PAGES = {page.module: page for page in api_reference.read_pages(PACKAGES)}


def test_every_module_with_public_names_has_a_page() -> None:
    for package in PACKAGES:
        root = Path(importlib.import_module(package).__path__[0])
        for path in [path for path in sorted(root.rglob("*.py")) if (path.parent / "__init__.py").exists()]:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
            name = ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")
            if path.name != "__main__.py" and any(getattr(target, "id", None) == "__all__" for target in targets):
                assert name in PAGES, name


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.module)
def test_every_public_name_is_explained_and_on_one_page(page: api_reference.Page) -> None:  # type: ignore[name-defined]
    module = importlib.import_module(page.module)
    assert page.summary, f"{page.module} has no docstring"
    shown = {*page.own, *(name.rpartition(".")[2] for name in page.passed_on)}
    assert shown == {*getattr(module, "__all__", ())} - {"__version__"}
    for name in page.own:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            explained = value.__doc__ and not value.__doc__.startswith(
                f"{name}("
            )  # what dataclass writes when nobody does
            assert explained, f"{page.module}.{name} has no docstring"
    for name in page.passed_on:
        home, _, last = name.rpartition(".")
        assert name in PAGES or last in PAGES[home].own, f"{page.module} passes on {name}, which no page describes"


def test_a_new_module_gets_a_page_and_a_removed_one_loses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "made_up_package"
    (package / "room").mkdir(parents=True)
    (package / "__init__.py").write_text(
        '"""A package."""\nfrom made_up_package.room.thing import Thing\n__all__ = ["Thing"]\n'
    )
    (package / "room" / "__init__.py").write_text('"""A room."""\n')
    (package / "room" / "thing.py").write_text(
        '"""A thing."""\n__all__ = ["Thing"]\nclass Thing:\n    """What it is."""\n'
    )
    (package / "room" / "_private.py").write_text('"""Nobody\'s."""\n__all__ = ["Other"]\nOther = 1\n')
    (package / "plain.py").write_text('"""Without public names."""\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "api"
    out.mkdir()
    (out / "made_up_package.gone.rst").write_text("old")
    api_reference.write_pages(out, ["made_up_package"])
    names = ["made_up_package", "made_up_package.room", "made_up_package.room.thing"]
    assert sorted(path.stem for path in out.iterdir()) == names
    assert ".. autoclass:: made_up_package.room.thing.Thing" in (out / "made_up_package.room.thing.rst").read_text()
    front = (out / "made_up_package.rst").read_text()
    assert ":py:obj:`~made_up_package.room.thing.Thing`\n     - What it is." in front
    assert ".. autoclass" not in front
    for name in [name for name in sys.modules if name.startswith("made_up_package")]:
        del sys.modules[name]
