"""Published figures: as printed in the papers, DeLoRes-M empty until a user fills it, each with its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reading.published import published_figures
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
        (HEADER + "M,bird_song,top1_acc\n", "expected one cell"),
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
