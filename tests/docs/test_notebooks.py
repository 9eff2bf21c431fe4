"""The notebooks run from top to bottom; `tox -e notebooks` asks for it by DELORES_NOTEBOOKS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if not os.environ.get("DELORES_NOTEBOOKS"):
    pytest.skip("the notebooks are run by `tox -e notebooks`", allow_module_level=True)

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["differences", "your-model"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = str([cell.get("outputs") for cell in notebook.cells])
    assert "log-mel" in shown
