"""The table of trainings in docs/experiments.md: its means are those of its columns, and its picture can be drawn."""

from __future__ import annotations

import runpy
from pathlib import Path
from statistics import fmean

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TASKS = ("ESC-10", "digits", "speakers", "stroke", "tonic", "languages")


def test_the_picture_shows_the_table(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "examples" / "draw_experiments.py"))
    rows = script["trainings"]((DOCS / "experiments.md").read_text(encoding="utf-8"))
    assert {"shipped recipe", "maps alone"} <= {row["training"] for row in rows}
    for row in rows:  # each of seven figures is rounded to a tenth
        assert float(row["ridge"]) == pytest.approx(fmean(float(row[task]) for task in TASKS), abs=0.1), row
    script["draw"](rows, tmp_path / "experiments.png")
    assert (tmp_path / "experiments.png").stat().st_size > 10_000
