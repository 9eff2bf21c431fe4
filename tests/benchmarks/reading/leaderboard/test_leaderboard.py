"""A submission: every other byte as it was, and nothing that breaks the site or misleads."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.reading.leaderboard.command import submit
from benchmarks.reading.leaderboard.pull_request import TEMPLATE, pull_request, write_submission
from benchmarks.reading.leaderboard.submission import (
    SubmissionFacts,
    append_row,
    leaderboard_header,
    prepare_submission,
)
from benchmarks.reading.published import published_text
from benchmarks.results.format import ResultRecord
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
    assert row["Model"] == "A team DeLoRes-S small"
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
    steps = paths[2].read_text()
    for words in ("branch `a-team`", 'title "A team"', "A team DeLoRes-S small", "Beehive is the mean", "seed 42"):
        assert words in steps


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
    body = pull_request(found).body
    assert "and why:** Beehive. No disk for them.\n" in body
    assert "* [ ] yes\n* [x] no\n" in body


FULL = SubmissionFacts(
    "DeLoRes-S small", "https://x.org/m", "2026-01-31", "A team", "A. Author", "https://x.org/p", "An encoder.",
    "FSD50K", data_kinds=("speech", "music"),
)  # fmt: skip


def test_the_template_is_filled_in_its_own_order(hear: list[ResultRecord]) -> None:
    """What is not an answer stays as it was, the committee's block with it."""
    found = pull_request(prepare_submission(changed(hear, 0, "model", n_trainable=1234567), FULL))
    filled = dict(line[2:].split(":** ") for line in found.body.splitlines() if ":** " in line)
    assert filled == {
        "Team Name": "A team", "Model Name": "DeLoRes-S small", "Author(s)": "A. Author",
        "Model URL/GitHub": "https://x.org/m", "Paper Link": "https://x.org/p",
        "Model Description": "An encoder. Pre-trained on FSD50K.", "Number of Model Trainable Parameters": "1,234,567",
        "Scene Embedding Dimensions": "2,048", "Timestamp Embedding Dimensions": "512",
    }  # fmt: skip
    restored = found.body.replace("[x]", "[ ]").replace("**A team**", "**TEAM NAME**")
    for answer in filled.values():
        restored = restored.replace(f":** {answer}\n", ":**\n")
    assert restored == TEMPLATE
    ticked = [line for line in found.body.splitlines() if "[x]" in line]
    assert ticked == ["* [x] speech", "* [x] music", "* [x] yes"]
    assert (found.title, found.branch, found.left) == ("A team", "a-team", ())


def test_a_newer_template_is_filled_and_what_is_new_is_said(hear: list[ResultRecord]) -> None:
    begin = "<!-- Title: the team -->\n**Team Name**:{}\n\n- [] of the team\n\n**Licence:**\n\n"
    template = begin.format("") + (
        "**Model Name:**\n**Model URL:**\n**Model Description:**\n**Pre-training Data (tick all):**\n- [ ] Music\n\n"
        "---\n**Team Name:**\n"
    )
    found = pull_request(prepare_submission(hear, FULL), template)
    assert found.body == begin.format(" A team") + (
        "**Model Name:** DeLoRes-S small\n**Model URL:** https://x.org/m\n"
        "**Model Description:** An encoder. Pre-trained on FSD50K.\n**Pre-training Data (tick all):**\n- [x] Music\n\n"
        "---\n**Team Name:**\n"
    )
    assert found.left == ("Licence",)
    sparse = SubmissionFacts("A", "https://x.org", "2026-01-31")
    assert pull_request(prepare_submission(hear, sparse)).left == (
        "Team Name (--team)", "Author(s) (--authors)", "Paper Link (--paper)", "Model Description (--description)",
        "Pre-training Data (--data-kind)",
    )  # fmt: skip
    for facts, text, words in (
        (FULL, "**Name:** x\n", "no field 'name'"),
        (SubmissionFacts("A", "https://x.org", "2026-01-31", data_kinds=("speach",)), None, "Did you mean 'speech'"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            pull_request(prepare_submission(hear, facts), text)
        assert "\n" not in str(caught.value)


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
    form = tmp_path / "form.md"
    form.write_text(TEMPLATE + "\nThe newest.\n")
    submit(
        [tmp_path / "results"], "A", "https://x.org", out=tmp_path / "out", leaderboard=current, why_missing="later",
        team="A team", template=form,
    )  # fmt: skip
    assert (tmp_path / "out" / "leaderboard.csv").read_bytes().startswith(current.read_bytes() + b"\r\n")
    assert (tmp_path / "out" / "PULL_REQUEST.md").read_text().endswith("The newest.\n")
    said = capsys.readouterr().out
    for words in ("title: A team; branch: a-team", "left for you to fill in: Author(s) (--authors)", "without a score"):
        assert words in said
