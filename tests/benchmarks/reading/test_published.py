"""Published figures: as printed in the papers, DeLoRes-M empty until a user fills it, each with its source."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.reading.published import PublishedFigure, published_figures, published_table_six
from benchmarks.reading.tables.plain import to_csv, to_markdown, to_rich
from benchmarks.reading.tables.table import TABLE_SIX, comparison_tables
from benchmarks.reading.tables.typeset import to_latex
from benchmarks.results.format import ResultRecord
from benchmarks.tasks.registry import list_columns, list_tasks

HEADER = "model,task,metric,score,protocol,split,source\n"


def test_figures_are_those_of_the_papers() -> None:
    figures = {(f.model, f.task, f.protocol): f.score for f in published_figures("delores")}
    assert figures["DeLoRes", "speech_commands_v1_12", "linear (published)"] == 86.1
    assert figures["COLA", "speech_commands_v2_35", "linear (published)"] == 62.4
    assert figures["DeLoRes", "speech_commands_v2_35", "transfer (published)"] == 95.9  # table 5; table 6 prints 95.8
    assert figures["random initialisation", "bird_song", "transfer (published)"] == 85.1
    assert figures["BYOL-A 2048-d", "voxceleb1_speaker", "linear (BYOL-A README)"] == 40.1
    columns = [
        sum(s is not None for (m, _, p), s in figures.items() if m == "DeLoRes" and p.startswith(w))
        for w in ("lin", "tr")
    ]
    assert columns == [9, 9]


def test_every_figure_has_a_source_a_protocol_and_a_known_task() -> None:
    tasks = {spec.name for spec in list_tasks("delores")}
    for figure in published_figures("delores"):
        assert figure.source
        assert figure.protocol
        assert figure.task in tasks
    hear = published_figures("hear")
    assert {f.task for f in hear} == set(list_columns())
    assert len({f.model for f in hear}) == 34
    assert next(f.score for f in hear if (f.model, f.task) == ("CP-JKU PaSST 2lvl", "ESC-50")) == pytest.approx(
        94.7499991
    )


def test_delores_m_is_empty_until_an_overlay_fills_it(tmp_path: Path) -> None:
    def medium(overlay: Path | None = None) -> list[float | None]:
        return [f.score for f in published_figures("delores", overlay) if f.model == "DeLoRes-M"]

    assert medium() == [None] * 22  # 11 tasks, linear and transfer
    overlay = tmp_path / "mine.csv"
    overlay.write_text(HEADER + "DeLoRes-M,bird_song,top1_acc,12.5,linear (published),80/20,my reading\n")
    assert sorted(score for score in medium(overlay) if score is not None) == [12.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,task\n", "'metric' is missing"),
        (HEADER + "M,bird_song,top1_acc,much,linear,s,src\n", "line 2: expected a score in per cent"),
        (HEADER + "M,bird_song,top1_acc,120,linear,s,src\n", "from 0 to 100"),
        (HEADER + "M,bird_song,top1_acc,50,linear,s,\n", "'source' is empty"),
        (HEADER + 2 * "M,bird_song,top1_acc,50,linear,s,src\n", "two figures of M, bird_song, linear; keep one"),
        (HEADER + "M,bird_song,top1_acc\n", "line 2: expected 7 fields as in the header, got 3"),
    ],
)
def test_a_bad_overlay_is_named_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    overlay = tmp_path / "mine.csv"
    overlay.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        published_figures("delores", overlay)
    assert "mine.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_papers_are_named() -> None:
    with pytest.raises(ValueError, match="Did you mean 'delores'"):
        published_figures("delore")


# --- against the reference's tables: delores.md, section 5

NAMES = {
    "SC-V1": "speech_commands_v1_12", "SC-V2-12": "speech_commands_v2_12", "SC-V2-35": "speech_commands_v2_35",
    "LibriSpeech": "librispeech100_speaker", "VoxCeleb1": "voxceleb1_speaker", "NSynth": "nsynth_instrument",
    "VoxForge": "voxforge_language", "IEMOCAP": "iemocap_emotion", "Bird Song": "bird_song",
}  # fmt: skip


def reference_table(text: str, title: str) -> dict[tuple[str, str], float]:
    """{(row, column): score} of the table below a line that begins with ``title``."""
    lines = text[text.index(f"\n{title}") :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    head, body = rows[0], rows[2:]
    return {
        (row[0], name): float(cell) for row in body for name, cell in zip(head[1:], row[1:], strict=True) if cell != "-"
    }


def scores(figures: list[PublishedFigure], protocol: str) -> dict[tuple[str, str], float]:
    tasks = {task: name for name, task in NAMES.items()}
    return {
        (tasks[f.task], f.model): f.score
        for f in figures
        if f.protocol == protocol and f.score is not None and f.task in tasks
    }


def test_every_figure_is_the_references(shared_data: Path) -> None:
    text = (shared_data.parent / "reference" / "delores.md").read_text(encoding="utf-8")
    figures = published_figures("delores")
    six = reference_table(text, "Random initialisation against DeLoRes")
    known = {"random": "random initialisation", "DeLoRes": "DeLoRes"}
    printed = {
        (row, f"{known[name.split(', ')[0]]}, {name.split(', ')[1]}"): score for (row, name), score in six.items()
    }
    ours = published_table_six()
    assert {**scores(ours, "linear (published)"), **scores(ours, "transfer (published)")} == printed
    for title, protocol, kind in (
        ("Linear evaluation\n", "linear (published)", "frozen"),
        ("Transfer (fine-tuning)", "transfer (published)", "fine-tuned"),
    ):
        expected = reference_table(text, title)
        expected |= {(r, "random initialisation"): s for (r, name), s in six.items() if name == f"random, {kind}"}
        assert scores(figures, protocol) == expected
    readme = re.search(r"BYOL-A's own README[^:]*: (.*)\.", text)[1]
    assert re.findall(r"\d+\.\d", readme) == [
        f"{f.score:.1f}" for f in figures if f.protocol == "linear (BYOL-A README)"
    ]


# --- the paper's tables


def two_models(saved: Callable[..., ResultRecord], make_fold: Callable) -> list[ResultRecord]:
    records = []
    for label, weights in (("ours", "ab" * 32), ("random", "cd" * 32)):
        values = {"label": label, "weights": weights, "task": "bird_song", "version": "1"}
        records.append(saved({"test": make_fold(40, 2.0, 0)}, mode="honest", protocol="linear", **values))
        records.append(saved({"test": make_fold(40, 1.0, 1)}, mode="published", protocol="linear", **values))
    return records


def test_tables_4_5_and_6_come_out_whatever_was_measured(saved: Callable, make_fold: Callable, tmp_path: Path) -> None:
    records = two_models(saved, make_fold)
    overlay = tmp_path / "mine.csv"
    tasks = [spec.name for spec in list_tasks("delores")]
    overlay.write_text(
        HEADER
        + "".join(f"DeLoRes-M,{task},top1_acc,{10 + i},linear (published),?,mine\n" for i, task in enumerate(tasks))
    )
    linear, tuned, six = comparison_tables(records, paper="delores", overlay=overlay, whole_paper=True)
    assert [table.protocol for table in (linear, tuned, six)] == ["linear", "finetune", TABLE_SIX]
    assert linear.models == ("ours", "random")
    assert {task for _, task in linear.cells} == {"bird_song", "bird_song-published"}
    assert set(tasks) < set(linear.tasks)  # every task has a column: empty where nothing was measured
    medium = next(row for row in linear.published if row.model == "DeLoRes-M")
    assert medium.scores == {task: 10.0 + i for i, task in enumerate(tasks)}
    assert (tuned.models, tuned.cells) == ((), {})
    assert {row.model for row in tuned.published} >= {"DeLoRes", "SSAST", "random initialisation"}
    assert six.models == ("ours, frozen", "random, frozen")
    assert [row.model for row in six.published] == [
        "random initialisation, frozen", "random initialisation, fine-tuned", "DeLoRes, frozen", "DeLoRes, fine-tuned",
    ]  # fmt: skip
    values = {"label": "ours", "weights": "ab" * 32, "task": "bird_song", "version": "1", "mode": "honest"}
    records.append(saved({"test": make_fold(40, 3.0, 2)}, protocol="finetune", **values))
    *_, six = comparison_tables(records, paper="delores", whole_paper=True)
    assert six.models == ("ours, frozen", "ours, fine-tuned", "random, frozen")
    assert six.cells["ours, fine-tuned", "bird_song"].score == 100 * records[-1].scores["top1_acc"]
    assert six.cells["ours, frozen", "bird_song"].score == 100 * records[0].scores["top1_acc"]
    text = to_markdown([linear, tuned, six])
    assert text.count("### Protocol: ") == 3


def test_a_subset_is_marked_in_every_table(saved: Callable, make_fold: Callable) -> None:
    values = {"task": "bird_song", "version": "1", "protocol": "linear"}
    whole = saved({"test": make_fold(40, 2.0, 0)}, mode="honest", **values)
    part = saved({"test": make_fold(20, 2.0, 0)}, mode="honest_subset", subset="20 of 15,690 recordings", **values)
    for paper in (None, "delores"):
        [table, *_] = comparison_tables([whole, part], paper=paper)
        column = next(task for task in table.tasks if "subset" in task)
        assert table.cells["ours", column].subset == "20 of 15,690 recordings"
        markdown, latex = to_markdown([table]), to_latex([table])
        assert markdown.count("†") == 2  # the score, and its note
        assert f"† ours on a subset of {column}: 20 of 15,690 recordings." in markdown
        assert latex.count(r"\textdagger{}") == 2
        assert "20 of 15,690" in str(to_rich(table).caption)
    assert "bird_song-honest_subset" in comparison_tables([part], paper="delores")[0].tasks
    assert "one split, honest_subset; subset: 20 of 15,690 recordings" in to_csv([part])
    skipped = saved(
        {"test": make_fold(20, 2.0, 0)}, mode="honest", subset="3 unusable clips skipped by embed", **values
    )
    assert "†" in to_markdown(comparison_tables([skipped]))
