"""Every form shows the same: measured beside published, intervals, protocols; LaTeX compiles, HTML is well formed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.reading.command import tables as tables_command
from benchmarks.reading.tables.plain import to_csv, to_markdown, to_rich
from benchmarks.reading.tables.table import ComparisonTable, comparison_tables
from benchmarks.reading.tables.typeset import escape_latex, to_html, to_latex


@pytest.fixture
def delores(saved: Callable, make_fold: Callable) -> list[ComparisonTable]:
    """A model with specials in its name, linear, on two tasks of the paper."""
    values = {"label": "S_64 & <50%>", "protocol": "linear"}
    records = [
        saved({"test": make_fold(80, 2.0, 0)}, task="bird_song", version="1", mode="honest", **values),
        saved(
            {f"fold{i:02d}": make_fold(40, 2.0, i) for i in range(5)},
            task="iemocap_emotion", version="1", mode="honest", **values,
        ),
    ]  # fmt: skip
    return comparison_tables(records, intervals=True, paper="delores")


def test_measured_stands_beside_published_with_protocol_split_and_interval(delores: list[ComparisonTable]) -> None:
    [table] = delores
    text = to_markdown(delores)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert re.search(r"\| linear \|.* \d+\.\d \[\d+\.\d, \d+\.\d\]", rows["S_64 & <50%>"].replace("**", ""))
    assert "linear (published)" in rows["DeLoRes"]
    assert "86.7" in rows["DeLoRes"]
    assert set(rows["DeLoRes-M"].split(" | ")[2:]) <= {"", " ", " |"}
    assert "transfer" not in text  # fine-tuned figures do not stand beside frozen ones
    assert "bird_song (top1_acc, one split, honest)" in text
    assert "iemocap_emotion (top1_acc, 5 folds, honest)" in text
    assert "random stratified 80/20 (bird_song)" in text
    assert "arXiv 2203.13628 table 4" in text
    assert table.cells["S_64 & <50%>", "iemocap_emotion"].interval_over == "5 folds"


def test_latex_has_booktabs_rules_and_as_many_cells_in_every_row(delores: list[ComparisonTable]) -> None:
    text = to_latex(delores)
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [
        1,
        3,
        1,
    ]  # the last above the chance levels
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
    assert r"S\_64 \& \textless{}50\%\textgreater{}" in text
    assert escape_latex("\\{}$&#%_^~") == (r"\textbackslash{}\{\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(delores: list[ComparisonTable], tmp_path: Path) -> None:
    (tmp_path / "t.tex").write_text(to_latex(delores, document=True), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert (tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")
    assert "Overfull" not in ran.stdout


class Outline(HTMLParser):
    """Every tag closed in order; the number of cells of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_and_asks_for_nothing(delores: list[ComparisonTable]) -> None:
    text = to_html(delores, title="A & B")
    outline = Outline()
    outline.feed(text)
    assert not outline.open
    assert set(outline.rows) == {len(delores[0].tasks) + 3}
    assert "S_64 &amp; &lt;50%&gt;" in text
    assert "http" not in text.replace("https://github.com/nttcslab", "").replace("http-equiv", "")
    assert "default-src 'none'" in text
    # A legend within the box that scrolls would be cut off on a phone.
    assert text.index("Best in bold") < text.index('<div class="scroll"')
    assert "<b>86.7</b>" in text


def test_the_leaderboard_stands_beside_protocol_hear_and_beehive_needs_both(
    saved: Callable, make_fold: Callable
) -> None:
    names = {"version": "v2", "metrics": ("aucroc", "mAP")}
    records = [saved({"test": make_fold(40, 1.0, 0, labels=2)}, task="beehive_states_fold0", **names)]
    records.append(saved({"test": make_fold(40, 1.0, 0)}, task="nsynth_pitch", version="v2.2.3", mode="5h"))
    records.append(saved({"test": make_fold(40, 2.0, 0)}, task="nsynth_pitch", version="v2.2.3", mode="50h"))
    [table] = comparison_tables(records, paper="hear")
    assert len(table.tasks) == 19
    assert len(table.published) == 34
    assert ("ours", "Beehive") not in table.cells
    assert table.cells["ours", "NSynth Pitch 5h"].score < table.cells["ours", "NSynth Pitch 50h"].score
    records.append(saved({"test": make_fold(40, 1.0, 1, labels=2)}, task="beehive_states_fold1", **names))
    [table] = comparison_tables(records, paper="hear")
    expected = 50 * (records[0].primary_score + records[3].primary_score)
    assert table.cells["ours", "Beehive"].score == pytest.approx(expected)
    assert "(of 3)" in to_markdown([table])
    assert to_rich(table).row_count == 36  # ours, the leaderboard, and the chance levels
    [plain] = comparison_tables(records)
    assert "nsynth_pitch-5h" in plain.tasks
    assert comparison_tables(records, ["nsynth_pitch"])[0].tasks == ("nsynth_pitch-5h", "nsynth_pitch-50h")


def test_nothing_of_the_paper_measured_is_one_line(saved: Callable, make_fold: Callable) -> None:
    record = saved({"test": make_fold(40, 1.0, 0)})
    with pytest.raises(ValueError, match="--paper hear"):
        comparison_tables([record], paper="hear")
    with pytest.raises(ValueError, match="unknown paper"):
        comparison_tables([record], paper="heer")
    assert "low,high,interval_over" in to_csv([record], intervals=True)


def test_the_command_writes_each_form_and_names_a_damaged_record(
    saved: Callable, make_fold: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved({"test": make_fold(40, 1.0, 0)})
    broken = saved({"test": make_fold(40, 1.0, 0)}, task="other")
    (Path(broken.folder) / "record.json").write_text("{")
    with pytest.raises(ValueError, match="damaged result record"):
        tables_command([tmp_path / "results"])
    out = tmp_path / "out"
    tables_command([tmp_path / "results"], out=out, formats="md,csv,tex,html", intervals=True, skip_damaged=True)
    assert sorted(path.name for path in out.iterdir()) == ["results.csv", "tables.html", "tables.md", "tables.tex"]
    assert "left out" in capsys.readouterr().err
    for formats in ("docx", "", " , "):
        with pytest.raises(ValueError, match="--format: expected some of"):
            tables_command([tmp_path / "results"], formats=formats, skip_damaged=True)
