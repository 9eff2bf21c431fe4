"""A submission: every other byte as it was, and nothing that breaks the site or misleads."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.reading.command import submit
from benchmarks.reading.leaderboard.submission import (
    SubmissionFacts,
    append_row,
    leaderboard_header,
    prepare_submission,
    pull_request,
    write_submission,
)
from benchmarks.reading.published import published_text
from benchmarks.results.record import ResultRecord
from benchmarks.tasks.registry import list_columns

FACTS = SubmissionFacts("DeLoRes-S small", "https://example.org/model", "2026-01-31", team="A team")


@pytest.fixture
def hear(make_result: Callable, make_fold: Callable) -> list[ResultRecord]:
    """One record for each of the 20 tasks behind the 19 columns, scores 0.30, 0.31, ..."""
    records = []
    for specs in list_columns().values():
        for spec in specs:
            splits = [f"fold{i:02d}" for i in range(spec.nfolds)] if spec.nfolds else ["test"]
            folds = {split: make_fold(5, 1.0, i) for i, split in enumerate(splits)}
            record = make_result(folds, task=spec.name, version=spec.version, mode=spec.mode, n_clips=spec.clips)
            score = 0.30 + 0.01 * len(records)
            task = record.task.model_copy(
                update={
                    "primary_metric": spec.evaluation[0],
                    "metrics": spec.evaluation,
                    "embedding_type": spec.embedding_type,
                }
            )
            scores = dict.fromkeys(spec.evaluation, score)
            changes = {
                "task": task,
                "scores": scores,
                "scores_std": dict.fromkeys(spec.evaluation, 0.0) if len(folds) > 1 else {},
                "folds": [fold.model_copy(update={"scores": scores}) for fold in record.folds],
            }
            records.append(record.model_copy(update=changes))
    return records


def changed(records: list[ResultRecord], index: int, part: str | None = None, **values: object) -> list[ResultRecord]:
    record = records[index]
    if part is not None:
        values = {part: getattr(record, part).model_copy(update=values)}
    return [*records[:index], record.model_copy(update=values), *records[index + 1 :]]


def test_the_row_has_every_score_in_its_column_and_beehive_is_the_mean_of_two(hear: list[ResultRecord]) -> None:
    found = prepare_submission(hear, FACTS)
    row = dict(zip(found.header, found.row, strict=True))
    assert row["Model"] == "DeLoRes-S small"
    assert not found.missing
    scores = {record.task.folder_name: record.primary_score for record in hear}
    for column, specs in list_columns().items():
        expected = sum(scores[spec.folder_name] for spec in specs) / len(specs)
        assert float(row[column]) == pytest.approx(expected, abs=1e-9)
    assert len(list_columns()["Beehive"]) == 2


def test_appending_leaves_every_other_byte(hear: list[ResultRecord], tmp_path: Path) -> None:
    before = published_text("leaderboard.csv").encode()
    paths = write_submission(prepare_submission(hear, FACTS), tmp_path)
    after = paths[0].read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].count(b"\n") == 1  # the official file ends without one
    rows = list(csv.reader(io.StringIO(after.decode())))
    assert {len(row) for row in rows} == {22}
    assert len(rows) == 36
    request = paths[1].read_text()
    for words in ("5,321,856", "2,048", "512", "A team", "All 19 tasks run:** Yes", "Beehive is the mean"):
        assert words in request


@pytest.mark.parametrize(("text", "expected"), [("a,b\n1,2\n", "a,b\n1,2\n3,\n"), ("a,b\r\n1,2", "a,b\r\n1,2\r\n3,")])
def test_line_ends_are_followed(text: str, expected: str) -> None:
    assert append_row(text, ["3", ""]) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: changed(r, 3, "task", n_clips=5), "subset"),
        (lambda r: changed(r, 3, "task", subset="2 unreadable clips skipped"), "subset"),
        (lambda r: changed(r, 3, "protocol", name="linear"), "several protocols"),
        (
            lambda r: [x.model_copy(update={"protocol": x.protocol.model_copy(update={"variant": "fast"})}) for x in r],
            "hear",
        ),
        (lambda r: changed(r, 3, "model", weights_hash="cd" * 32), "several weights"),
        (lambda r: changed(r, 3, "model", label="other"), "several models"),
        (lambda r: changed(r, 3, seed=1), "several seeds"),
        (lambda r: changed(r, 2, scores={r[2].task.primary_metric: 0.5}), "lacks the metric"),
        (lambda r: changed(r, 2, scores=dict.fromkeys(r[2].task.metrics, float("nan"))), "not a number"),
        (lambda r: changed(r, 2, folds=r[2].folds[:1]), "folds"),
        (lambda r: changed(r, 3, "task", mode="small"), "not the official task"),
        (lambda r: [*r, r[0]], "two results"),
        (lambda r: r[1:], "1 of the 19 tasks have no score"),
        (lambda r: [], "no result of a HEAR task"),
    ],
)
def test_what_would_mislead_is_refused_in_one_line(hear: list[ResultRecord], change: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        prepare_submission(change(hear), FACTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"name": "A, B"}, "breaks the leaderboard"), ({"name": 'A "B"'}, "breaks the leaderboard"),
        ({"name": ""}, "empty"),
        ({"name": " A"}, "blank"), ({"name": "openl3"}, "already"), ({"url": "example.org"}, "https"),
        ({"url": "https://x.org/a,b"}, "breaks the leaderboard"), ({"date": "yesterday"}, "2026-01-31"),
    ],
)  # fmt: skip
def test_cells_that_break_the_site_are_refused(hear: list[ResultRecord], facts: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        prepare_submission(
            hear, SubmissionFacts(**{"name": "A", "url": "https://x.org", "date": "2026-01-31", **facts})
        )
    assert "\n" not in str(caught.value)


def test_missing_tasks_are_blank_and_explained(hear: list[ResultRecord]) -> None:
    facts = SubmissionFacts("A", "https://x.org", "2026-01-31", why_missing="No disk for them.")
    found = prepare_submission(hear[1:], facts)  # one half of Beehive is none of it
    assert found.missing == ("Beehive",)
    assert dict(zip(found.header, found.row, strict=True))["Beehive"] == ""
    assert "No: Beehive missing. No disk for them." in pull_request(found)


def test_another_csv_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the columns"):
        leaderboard_header("Model,URL\n")


def test_the_command_writes_both_files(
    hear: list[ResultRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.results.record import save_record

    for record in hear[:6]:
        save_record(record, tmp_path / "results")
    current = tmp_path / "current.csv"
    current.write_bytes(published_text("leaderboard.csv").replace("\n", "\r\n").encode())
    submit([tmp_path / "results"], "A", "https://x.org", out=tmp_path / "out", leaderboard=current, why_missing="later")
    assert (tmp_path / "out" / "leaderboard.csv").read_bytes().startswith(current.read_bytes() + b"\r\n")
    assert "without a score" in capsys.readouterr().out
