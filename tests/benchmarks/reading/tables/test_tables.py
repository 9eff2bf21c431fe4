"""Tables show what the records say: nothing mixed, nothing averaged in silently."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from benchmarks.reading.tables.plain import to_csv, to_markdown, to_rich, to_rich_blocks
from benchmarks.reading.tables.table import comparison_tables
from benchmarks.results.format import FoldResult, ModelInfo, ProtocolInfo, ResultRecord, TaskInfo
from benchmarks.tasks.registry import list_tasks


def record(
    model: str,
    task: str,
    scores: list[float],
    *,
    metric: str = "top1_acc",
    maximise: bool = True,
    protocol: str = "hear",
    weights: str = "ab" * 32,
    seed: int = 42,
    revision: str = "r1",
) -> ResultRecord:
    mean = sum(scores) / len(scores)
    deviation = (sum((s - mean) ** 2 for s in scores) / max(1, len(scores) - 1)) ** 0.5
    fold: dict[str, Any] = {
        "loss": 0.1, "validation_score": 0.5, "epoch": 3, "epochs_run": 9, "hyperparameters": {},
        "n_train_rows": 5, "n_test_rows": 5, "seconds": 1.0,
    }  # fmt: skip
    return ResultRecord(
        fingerprint="f",
        embeddings_hash="e" * 64,
        model=ModelInfo(label=model, module="m", weights_hash=weights),
        task=TaskInfo(
            name=task, version="1", mode="full", revision=revision, embedding_type="scene",
            prediction_type="multiclass", primary_metric=metric, metrics=[metric], maximise=maximise, n_clips=10,
        ),
        protocol=ProtocolInfo(name=protocol),
        seed=seed,
        scores={metric: mean},
        scores_std={metric: deviation} if len(scores) > 1 else {},
        folds=[FoldResult(test_split=f"fold{i:02d}", scores={metric: s}, **fold) for i, s in enumerate(scores)],
        device="cpu",
        versions={},
        created="2026-01-01",
    )  # fmt: skip


def rows(markdown: str) -> dict[str, list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("| ") and "---" not in line]
    return {cells[0]: cells[1:] for cells in ([c.strip() for c in line.strip("|").split("|")] for line in lines)}


def test_best_is_bold_ties_share_it_and_missing_cells_are_empty() -> None:
    records = [
        record("a", "t1", [0.5]), record("b", "t1", [0.75]), record("c", "t1", [0.75]), record("a", "t2", [0.9]),
    ]  # fmt: skip
    found = rows(to_markdown(comparison_tables(records)))
    assert found["a"] == ["50.0", "**90.0**", "70.0"]
    assert found["b"] == ["**75.0**", "", "75.0 (of 1)"]
    assert found["c"][0] == "**75.0**"


def test_folds_show_their_deviation_and_lower_is_better_is_kept_out_of_the_mean() -> None:
    records = [
        record("a", "t", [0.2, 0.4]),
        record("a", "e", [1.2], metric="segment_1s_er", maximise=False),
        record("b", "e", [0.8], metric="segment_1s_er", maximise=False),
    ]
    markdown = to_markdown(comparison_tables(records))
    found = rows(markdown)
    assert found["a"] == ["**30.0 ± 14.1**", "1.200", "30.0 (of 1)"]
    assert found["b"] == ["", "**0.800**", ""]
    assert "lower is better" in markdown


def test_protocols_never_share_a_table() -> None:
    tables = comparison_tables([record("a", "t", [0.5]), record("a", "t", [0.9], protocol="linear")])
    assert [table.protocol for table in tables] == ["hear", "linear"]
    assert [table.cells["a", "t"].score for table in tables] == [50.0, 90.0]


def test_two_weights_under_one_label_are_told_apart() -> None:
    tables = comparison_tables([record("a", "t", [0.5]), record("a", "t", [0.9], weights="cd" * 32)])
    assert tables[0].models == ("a (abababab)", "a (cdcdcdcd)")


def test_seeds_are_averaged_and_their_spread_shown() -> None:
    table = comparison_tables([record("a", "t", [0.5], seed=1), record("a", "t", [0.7], seed=2)])[0]
    cell = table.cells["a", "t"]
    assert (round(cell.score, 6), cell.n_seeds, cell.spread_over) == (60.0, 2, "seeds")
    assert cell.spread == pytest.approx(100 * 0.02**0.5)


def test_two_revisions_of_a_task_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="two revisions") as caught:
        comparison_tables([record("a", "t", [0.5]), record("b", "t", [0.5], revision="r2")])
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no results"):
        comparison_tables([])


def test_csv_has_every_digit() -> None:
    found = list(csv.DictReader(io.StringIO(to_csv([record("a", "t", [1 / 3, 0.5])]))))
    assert float(found[0]["score"]) == (1 / 3 + 0.5) / 2
    assert (found[0]["n_folds"], found[0]["primary"], found[0]["metric"]) == ("2", "1", "top1_acc")


def test_csv_intervals_are_plain_numbers() -> None:
    [row] = csv.DictReader(io.StringIO(to_csv([record("a", "t", [0.4, 0.5, 0.7])], intervals=True)))
    assert float(row["low"]) < float(row["score"]) < float(row["high"])
    assert row["interval_over"] == "3 folds"


def test_tables_load_no_pandas() -> None:
    modules = "benchmarks.reading.command, benchmarks.reading.tables.ablation_table, benchmarks.reading.tables.typeset"
    csv_of_none = "from benchmarks.reading.tables.plain import to_csv; to_csv([])"
    code = f"import sys, {modules}; {csv_of_none}; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_terminal_table_fits_80_columns() -> None:
    names = ["demo_timbre", "demo_pitch", "demo_mixture", "demo_events"]
    stream = io.StringIO()
    tables = comparison_tables([record(m, t, [0.5, 0.6]) for m in ("DeLoRes-S", "log-mel") for t in names])
    Console(file=stream, width=80).print(to_rich(tables[0]))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("DeLoRes-S" in line and "55.0 ± 7.1" in line for line in lines)


@pytest.mark.parametrize(("paper", "suite"), [("delores", "delores"), ("hear", "hear"), (None, "hear")])
def test_on_a_terminal_many_tasks_are_blocks_that_fit(paper: str | None, suite: str) -> None:
    """Each task is in one block, the mean in the last one, and no score is broken."""
    records = []
    for spec in list_tasks(suite):
        made = record("DeLoRes-S", spec.name, [0.5, 0.6], protocol="linear" if suite == "delores" else "hear")
        place = {"version": spec.version, "mode": spec.mode}
        records.append(made.model_copy(update={"task": made.task.model_copy(update=place)}))
    for table in comparison_tables(records, paper=paper, whole_paper=True):
        stream = io.StringIO()
        console = Console(file=stream, width=80)
        blocks = to_rich_blocks(table, console)
        for block in blocks:
            console.print(block)
        shown = stream.getvalue()
        assert max(map(len, shown.splitlines())) <= 80
        assert "…" not in shown
        heads = ["".join(str(column.header).split()) for block in blocks for column in block.columns]
        named = [f"{task}{table.metrics[task]}".replace(" ", "") for task in table.tasks]
        assert [head for head in heads if head not in ("model", "protocol")] == [*named, "mean"]
        assert len(blocks) > 1
