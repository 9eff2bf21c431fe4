"""The row of chance levels and the mark of scores at chance, in every form of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.page import Sources, render_report
from benchmarks.reading.tables.plain import to_csv, to_markdown, to_rich
from benchmarks.reading.tables.table import comparison_tables
from benchmarks.reading.tables.typeset import to_html, to_latex
from benchmarks.results.format import ResultRecord


@pytest.fixture
def records(saved: Callable[..., ResultRecord], make_fold: Callable[..., Any]) -> list[ResultRecord]:
    """One model that knows the labels, and one that does not; four labels, so that chance is about 25 %."""
    return [
        saved(
            {"test": make_fold(80, skill, 1)}, task="toy", metrics=("top1_acc", "mAP"), label=label, weights=digit * 64
        )
        for label, skill, digit in (("good", 4.0, "a"), ("bad", 0.0, "b"))
    ]


@pytest.mark.parametrize("intervals", [False, True])
def test_the_row_stands_at_the_foot_and_scores_at_chance_are_marked(
    records: list[ResultRecord], intervals: bool
) -> None:
    [table] = comparison_tables(records, intervals=intervals)
    level = table.chance["toy"].best()
    assert 25.0 <= level < 40.0
    lines = [line for line in to_markdown([table]).splitlines() if line.startswith("| ")]
    assert lines[-1].startswith(f"| chance | {level:.1f}")
    assert ("[" in lines[-1]) == intervals
    good, bad = (table.cells[model, "toy"] for model in ("good", "bad"))
    assert (good.at_chance, bad.at_chance) == (False, True)
    if intervals:
        assert bad.low is not None
        assert bad.low <= level
    [marked] = [line for line in lines if "‡" in line]
    assert marked.startswith("| bad |")
    text = to_markdown([table])
    assert text.count("- ‡ at chance: ") == 1
    assert ("holds the chance level" in text) == intervals


def test_every_form_has_the_row(records: list[ResultRecord]) -> None:
    tables = comparison_tables(records)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(to_rich(tables[0]))
    printed = console.export_text()
    assert printed.index("good") < printed.index("chance")
    assert "‡ at chance" in printed
    assert r"\textdaggerdbl{}" in to_latex(tables)
    assert "\nchance & " in to_latex(tables)
    assert '<tbody class="chance">\n<tr><th scope="row">chance</th>' in to_html(tables)
    page = render_report(gather(records), Sources())
    assert '<tbody class="chance">' in page
    assert "<sup>‡</sup>" in page
    rows = list(csv.DictReader(io.StringIO(to_csv(records))))
    chance = [row for row in rows if row["model"] == "chance"]
    assert [row["metric"] for row in chance] == ["top1_acc", "mAP"]
    assert rows[-2:] == chance
    assert float(chance[0]["score"]) == pytest.approx(tables[0].chance["toy"].best() / 100)
    assert {row["model"]: row["at_chance"] for row in rows if row["metric"] == "top1_acc"} == {
        "good": "0", "bad": "1", "chance": "",
    }  # fmt: skip


def test_no_row_where_chance_is_not_known(
    make_result: Callable[..., ResultRecord], make_fold: Callable[..., Any]
) -> None:
    [table] = comparison_tables([make_result({"test": make_fold(20, 1.0, 1)}, task="toy")])
    assert table.chance == {}
    assert "chance" not in to_markdown([table])


def test_what_did_not_train_is_a_note(records: list[ResultRecord]) -> None:
    line = "not trained: every head gives all test clips the same answer"
    records[1] = records[1].model_copy(update={"untrained": line})
    assert f"- bad on toy, seed {records[1].seed}: {line}." in to_markdown(comparison_tables(records))
