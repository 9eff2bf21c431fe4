"""The report shows what the records say, escapes what they hold, asks nothing of anyone, and is the same each time."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.reading.command import report
from benchmarks.reading.published import published_figures
from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.page import Sources, render_report
from benchmarks.reading.statistics.intervals import record_interval
from benchmarks.results.format import FoldPredictions, ResultRecord
from hear_delores.errors import DeloresError

EVIL = '<script>alert("x")</script> & "q" \'s\' </style>'
VOID = {"meta", "link", "input", "br", "img", "hr"}


@dataclass
class Cell:
    text: str = ""
    attributes: dict[str, str | None] = field(default_factory=dict)
    bold: bool = False


class Page(HTMLParser):
    """The tables of a page by their caption or region, all tags, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[Cell]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {"script": "", "style": ""}
        self.text = ""
        self._open: list[str] = []
        self._region = ""
        self.feed(text)
        assert not self._open, f"never closed: {self._open}"

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.append((tag, values))
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("section", "article", "details"):
            self._region = ""
        self._region = values.get("aria-label") or self._region
        if tag == "table":
            self.rows: list[list[Cell]] = self.tables.setdefault(self._region, [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append(Cell(attributes=values))
        elif tag == "b" and "tr" in self._open:
            self.rows[-1][-1].bold = True

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in self.raw:
            self.raw[self._open[-1]] += data
            return
        self.text += data
        if "tr" in self._open and ("td" in self._open or "th" in self._open):
            separator = " " if self._open[-1] == "small" else ""
            self.rows[-1][-1].text += separator + data.strip()

    def row(self, table: str, model: str) -> list[Cell]:
        [row] = [row for row in self.tables[table] if row and row[0].text == model]
        return row


@pytest.fixture
def records(saved: Callable[..., ResultRecord], make_fold: Callable[..., FoldPredictions]) -> list[ResultRecord]:
    """Two models under hear on a one-split task of the benchmark and on a 5-fold task; one of them under linear too."""
    found = []
    for number, label in enumerate(("good", EVIL)):
        values = {"label": label, "weights": f"{number:02d}" * 32}
        one = {"test": make_fold(90, 1.5 - number, number)}
        found.append(saved(one, task="nsynth_pitch", version="v2.2.3", mode="5h", metrics=("top1_acc",), **values))
        if number == 0:
            folds = {f"fold{i:02d}": make_fold(40, 1.0, i, labels=14) for i in range(5)}
            found.append(saved(folds, task="toy", metrics=("top1_acc", "mAP"), **values))
    values = {"label": "good", "weights": "00" * 32, "protocol": "linear", "subset": f"max 90 clips {EVIL}"}
    found.append(saved({"test": make_fold(90, 3.0, 7)}, task="toy2", **values))
    return found


def render(records: list[ResultRecord], **sources: Any) -> str:
    return render_report(gather(records), Sources(**sources))


def test_each_cell_is_its_record_with_its_interval_and_the_best_is_bold(records: list[ResultRecord]) -> None:
    page = Page(render(records))
    good, evil = (page.row("Scores under protocol hear", name)[1:] for name in ("good", EVIL))
    for record, cell in ((records[0], good[0]), (records[1], good[1]), (records[2], evil[0])):
        interval = record_interval(record)
        assert interval is not None
        assert float(cell.attributes["data-v"] or "") == pytest.approx(100 * record.primary_score)
        low, high = 100 * interval.low, 100 * interval.high
        assert cell.text.replace("‡", "") == f"{100 * record.primary_score:.1f} [{low:.1f}, {high:.1f}]"
    assert good[0].bold is True
    assert evil[0].bold is False
    assert (evil[1].text, evil[1].attributes) == ("", {})  # no score: nothing, not a zero
    assert good[2].text == f"{50 * (records[0].primary_score + records[1].primary_score):.1f}"
    assert evil[2].text.split() == [f"{100 * records[2].primary_score:.1f}", "of", "1"]
    assert len(page.row("Scores under protocol linear", "good")) == 2  # protocols are never mixed; one task, no mean


def test_headings_say_metric_split_and_clips_and_a_subset_is_marked(records: list[ResultRecord]) -> None:
    page = Page(render(records))
    heads = {cell.attributes.get("data-task"): cell for cell in page.tables["Scores under protocol hear"][0]}
    assert heads["toy"].text.split() == ["toy", "top1_acc", "5", "folds", "200", "clips"]
    assert all(cell.attributes["scope"] == "col" for cell in page.tables["Scores under protocol hear"][0])
    [_, cell] = page.row("Scores under protocol linear", "good")
    assert "subset" in cell.text
    assert EVIL in (cell.attributes["title"] or "")
    heat = page.row("Heatmap, protocol hear", "good")
    assert heat[1].text == f"{100 * records[0].primary_score:.1f}"
    assert [heat[1].attributes["class"], page.row("Heatmap, protocol hear", EVIL)[1].attributes["class"]] == [
        "h8",
        "h0",
    ]


def test_everything_that_was_run_is_named(records: list[ResultRecord]) -> None:
    page = Page(render(records))
    for record in records:
        for text in (record.model.weights_hash, record.task.revision, record.task.folder_name, record.model.module):
            assert text in page.text
    assert "hear-delores 0.1.0, torch 2" in page.text
    assert "5 results" not in page.text
    assert "4 results" in page.text
    assert "2026-01-01" in page.text


def test_published_figures_stand_beside_the_same_task_metric_and_protocol_alone(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., FoldPredictions]
) -> None:
    from benchmarks.tasks.registry import list_columns

    column = "CREMA-D"
    [spec] = list_columns()[column]
    fold = {"test": make_fold(50, 1.0, 0)}
    fits = {"task": spec.name, "version": spec.version, "mode": spec.mode, "metrics": (spec.evaluation[0],)}
    theirs = {f.model: f.score for f in published_figures("hear") if f.task == column and f.score is not None}
    [table] = gather([saved(fold, **fits)]).tables
    assert {row.model: row.scores[spec.name] for row in table.published} == theirs
    page = Page(render([saved(fold, **fits)]))
    shown = {row[0].text: row[2].text for row in page.tables["Scores under protocol hear"] if row[0].text in theirs}
    assert shown == {model: f"{score:.1f}" for model, score in theirs.items()}
    assert f"{len(theirs) - 6} more published" in page.text
    for change in ({"protocol": "linear"}, {"version": "other"}, {"metrics": ("mAP",)}):
        [table] = gather([saved(fold, **{**fits, **change})]).tables
        assert not table.published, change


def test_nothing_of_a_record_becomes_markup_and_no_request_can_be_made(
    records: list[ResultRecord], tmp_path: Path
) -> None:
    embeddings = write_embeddings(tmp_path / "emb" / "m" / "toy", records[1], ["a", EVIL, "c"])
    run = tmp_path / EVIL.replace("/", "_")
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 1, "loss": 2.0, "<b>x</b>": 1}\n{"step": 2, "loss": 1.0, "<b>x</b>": 2}\n')
    text = render_report(gather(records), Sources([run], embeddings), title=EVIL)
    page = Page(text)  # every element closes: no text broke out
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == tags.count("style") == 1
    assert "img" not in tags
    assert "alert(" not in page.raw["script"]
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    assert not re.search(r"@import|url\((?!#)", page.raw["style"])
    [policy] = [a["content"] or "" for t, a in page.tags if t == "meta" and a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_drawings_have_a_name_or_are_hidden_and_ids_are_met_once(records: list[ResultRecord], tmp_path: Path) -> None:
    embeddings = write_embeddings(tmp_path / "emb" / "m" / "toy", records[1], ["a", "b", "c"])
    page = Page(render(records, embeddings=embeddings))
    drawings = [attributes for tag, attributes in page.tags if tag == "svg" and "x" not in attributes]
    assert drawings
    assert all(a.get("aria-hidden") == "true" or (a.get("role") == "img" and a.get("aria-label")) for a in drawings)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = {(a.get("href") or "") for _, a in page.tags if (a.get("href") or "").startswith("#")}
    assert {reference[1:] for reference in references} <= set(ids)


def test_the_same_records_give_the_same_bytes(records: list[ResultRecord], tmp_path: Path) -> None:
    embeddings = write_embeddings(tmp_path / "emb" / "m" / "toy", records[1], ["a", "b", "c"])
    assert render(records, embeddings=embeddings) == render(records, embeddings=embeddings)


def test_thirty_tasks_of_forty_models_are_all_there_in_a_few_megabytes(
    make_result: Callable[..., ResultRecord],
) -> None:
    empty = {f"fold{i:02d}": _fold() for i in range(3)}
    template = make_result(empty)
    generator = np.random.default_rng(0)
    records = []
    for model in range(40):
        for task in range(30):
            scores = generator.uniform(0.1, 0.9, 3)
            folds = [
                fold.model_copy(update={"scores": {"top1_acc": float(score)}})
                for fold, score in zip(template.folds, scores, strict=True)
            ]
            records.append(
                template.model_copy(
                    update={
                        "model": template.model.model_copy(update={"label": f"model {model:02d}"}),
                        "task": template.task.model_copy(update={"name": f"task{task:02d}"}),
                        "scores": {"top1_acc": float(scores.mean())},
                        "scores_std": {"top1_acc": float(scores.std(ddof=1))},
                        "folds": folds,
                    }
                )
            )
    text = render(records)
    assert len(text) < 8_000_000
    cells = re.findall(r'<td data-v="([\d.]+)" title=', text)
    assert len(cells) == 1200
    assert sorted(map(float, cells)) == pytest.approx(sorted(100 * record.primary_score for record in records))


def test_a_damaged_record_is_refused_or_left_out_and_named(records: list[ResultRecord], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    folder = records[2].folder
    assert folder is not None
    (folder / "predictions.npz").write_bytes(b"not a zip")
    with pytest.raises(DeloresError, match="damaged predictions"):
        run_command(tmp_path, out)
    assert not out.exists()
    run_command(tmp_path, out, skip_damaged=True)
    assert "1 damaged record left out" in out.read_text()
    (folder / "record.json").write_text("{")
    with pytest.raises(DeloresError, match=r"record\.json: not JSON .* a damaged result record"):
        run_command(tmp_path, out)
    run_command(tmp_path, out, skip_damaged=True)
    text = out.read_text()
    assert "a damaged result record" in text
    assert "3 results" in text


def test_bad_input_is_named_and_nothing_is_written(records: list[ResultRecord], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    for message, changes in (
        ("no such folder of embeddings", {"embeddings": tmp_path / "none"}),
        ("found none in it", {"embeddings": tmp_path / "results"}),
        ("no such log", {"pretrain": [tmp_path]}),
        ("no such folder of tasks", {"tasks_dir": tmp_path / "none"}),
        ("unknown paper", {"paper": "heer"}),
        ("there are no results", {"task": ["nothing"]}),
        ("expected the HTML file to write", {"out": tmp_path}),
    ):
        with pytest.raises(DeloresError, match=message):
            run_command(tmp_path, **{"out": out, **changes})
    assert not out.exists()
    assert not list(tmp_path.glob(".page*"))


def run_command(folder: Path, out: Path, **changes: Any) -> None:
    values: dict[str, Any] = {
        "pretrain": None, "embeddings": None, "tasks_dir": None, "task": None, "paper": None, "overlay": None,
        "title": "Report", "skip_damaged": False,
    }  # fmt: skip
    report([folder / "results"], out, **{**values, **changes})


def _fold() -> FoldPredictions:
    truth = np.eye(2, dtype=np.float32)[[0, 1, 0]]
    return FoldPredictions(truth, truth, np.array(["a.wav", "b.wav", "c.wav"]))


def write_embeddings(folder: Path, record: ResultRecord, labels: list[str]) -> Path:
    """A folder as ``delores embed`` writes it, of 60 clips in two splits."""
    import json
    import pickle

    folder.mkdir(parents=True)
    generator = np.random.default_rng(3)
    metadata = {"task_name": record.task.name, "version": record.task.version, "mode": record.task.mode,
                "splits": ["train", "valid", "test"], "split_mode": "trainvaltest", "evaluation": ["top1_acc"],
                "embedding_type": "scene", "prediction_type": "multiclass"}  # fmt: skip
    (folder / "task_metadata.json").write_text(json.dumps(metadata))
    info = {"model": {"label": record.model.label, "weights_hash": record.model.weights_hash},
            "task": {"name": record.task.folder_name, "revision": record.task.revision}}  # fmt: skip
    (folder / "embedding-info.json").write_text(json.dumps(info))
    for split in ("train", "test"):
        truth = generator.integers(0, len(labels), 30)
        values = generator.normal(size=(30, 5)) + 3 * truth[:, None]
        (folder / f"{split}.embeddings.npy").write_bytes(values.astype(np.float32).tobytes())
        (folder / f"{split}.embedding-dimensions.json").write_text("[30, 5]")
        (folder / f"{split}.target-labels.pkl").write_bytes(pickle.dumps([[labels[index]] for index in truth]))
    return folder
