"""The report's drawings and counts against scikit-learn, numpy and counting by hand."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from benchmarks.reading.report.confusion import confusion_counts, confusions, worst_pairs
from benchmarks.reading.report.costs import costs
from benchmarks.reading.report.curves import MAX_POINTS, PretrainRun, curves_of, draw_curve, read_run
from benchmarks.reading.report.gather import gather
from benchmarks.reading.report.maps import draw_map, embedding_maps
from benchmarks.reading.report.projection import MAX_POINTS as MAX_MARKS
from benchmarks.reading.report.projection import TSNE_POINTS, find_embeddings, label_order, project, sample
from benchmarks.reading.report.svg import axis_of, tick_texts, ticks
from benchmarks.results.format import FoldPredictions, ResultRecord
from hear_delores.errors import DeloresError

# --- confusions


def test_confusions_are_those_of_scikit_learn_over_all_folds(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., FoldPredictions]
) -> None:
    folds = {f"fold{i:02d}": make_fold(60, 1.0, i, labels=5) for i in range(3)}
    record = saved(folds)
    truth = np.concatenate([fold.target.argmax(axis=1) for fold in folds.values()])
    guess = np.concatenate([fold.prediction.argmax(axis=1) for fold in folds.values()])
    counts = confusion_counts([record])
    np.testing.assert_array_equal(counts, confusion_matrix(truth, guess))
    np.testing.assert_array_equal(confusion_counts([record, record]), 2 * counts)


def test_worst_pairs_are_those_that_cost_most_clips() -> None:
    counts = np.random.default_rng(0).integers(0, 30, (9, 9))
    labels = [f"l{i}" for i in range(9)]
    by_hand = sorted((-(counts[a, b] + counts[b, a]) for a, b in itertools.combinations(range(9), 2)))
    found = worst_pairs(counts, labels, limit=7)
    assert [-(pair.a_as_b + pair.b_as_a) for pair in found] == by_hand[:7]
    for pair in found:
        a, b = labels.index(pair.a), labels.index(pair.b)
        assert (pair.a_as_b, pair.b_as_a) == (counts[a, b], counts[b, a])
        assert (pair.n_a, pair.n_b) == (counts[a].sum(), counts[b].sum())
    assert worst_pairs(np.diag([3, 4]), ["a", "b"]) == []


def test_the_best_models_matrix_is_shown_and_its_rows_add_up(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., FoldPredictions]
) -> None:
    records = [
        saved({"test": make_fold(400, skill, 1, labels=20)}, label=label, weights=label * 64)
        for label, skill in (("a", 0.5), ("b", 2.0))
    ]
    [shown] = confusions(gather(records), {"toy-v1-full": tuple(f"name{i}" for i in range(20))})
    assert (shown.model, shown.n_models, shown.named, shown.whole) == ("b", 2, True, False)
    counts = confusion_counts([records[1]])
    assert shown.n_errors == counts.sum() - np.trace(counts)
    assert {name for pair in shown.pairs for name in (pair.a, pair.b)} == set(shown.labels)
    for row in shown.rows:
        assert sum(count for count, _ in row.cells) + row.other == row.total == counts[int(row.label[4:])].sum()
    [unnamed] = confusions(gather(records), {"toy-v1-full": ("too", "few")})
    assert not unnamed.named
    assert unnamed.labels[0].startswith("class ")


def test_predictions_that_were_not_scored_are_refused(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., FoldPredictions]
) -> None:
    record = saved({"test": make_fold(50, 1.0, 0)})
    other = saved({"test": make_fold(50, 3.0, 5)}, label="other")
    assert record.folder is not None
    assert other.folder is not None
    (record.folder / "predictions.npz").write_bytes((other.folder / "predictions.npz").read_bytes())
    with pytest.raises(DeloresError, match="not those that were scored"):
        confusion_counts([record])


# --- maps


def write_folder(path: Path, labels: list[list[str]], size: int = 6, **metadata: object) -> Path:
    path.mkdir(parents=True)
    values = np.random.default_rng(len(labels)).normal(size=(len(labels), size)).astype(np.float32)
    values[:, 0] += [3 * len(row[0]) if row else 0 for row in labels]
    about = {
        "task_name": "toy", "version": "v1", "mode": "full", "splits": ["train", "valid", "test"],
        "embedding_type": "scene", "prediction_type": "multilabel", "split_mode": "trainvaltest", "evaluation": ["mAP"],
        **metadata,
    }  # fmt: skip
    (path / "task_metadata.json").write_text(json.dumps(about))
    (path / "train.embeddings.npy").write_bytes(values.tobytes())
    (path / "train.embedding-dimensions.json").write_text(json.dumps([len(labels), size]))
    (path / "train.target-labels.pkl").write_bytes(pickle.dumps(labels))
    return path


def test_the_map_is_the_first_two_principal_components() -> None:
    values = np.random.default_rng(0).normal(size=(TSNE_POINTS + 1, 12)) * np.arange(1, 13)
    flat, shares, close = project(values.astype(np.float32))
    centred = values.astype(np.float32).astype(np.float64)
    centred -= centred.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    expected = (left * singular)[:, :2]
    np.testing.assert_allclose(np.abs(flat), np.abs(expected), atol=1e-8)
    np.testing.assert_allclose(shares, (singular**2 / (singular**2).sum())[:2])
    assert close is None  # too many for t-SNE
    assert (flat[np.abs(flat).argmax(axis=0), [0, 1]] > 0).all()


def test_tsne_of_few_clips_keeps_clusters_and_repeats() -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(size=(25, 8)) + 20 * k for k in range(2)]).astype(np.float32)
    _, _, close = project(values)
    assert close is not None
    centres = close[:25].mean(axis=0), close[25:].mean(axis=0)
    within = max(np.linalg.norm(close - np.repeat(centres, 25, axis=0), axis=1))
    assert np.linalg.norm(centres[0] - centres[1]) > within
    np.testing.assert_array_equal(close, project(values)[2])


def test_rows_are_sampled_with_their_own_labels_and_the_cap_is_kept(tmp_path: Path) -> None:
    labels = [[f"{'x' * (i % 3 + 1)}"] for i in range(MAX_MARKS + 100)]
    labels[5] = []
    labels[6] = ["x", "xx"]
    [folder] = find_embeddings(write_folder(tmp_path / "m" / "toy", labels))
    points = sample(folder)
    assert points is not None
    assert (len(points.labels), points.total, points.without) == (MAX_MARKS, MAX_MARKS + 98, 2)
    raw = np.fromfile(folder.path / "train.embeddings.npy", dtype=np.float32).reshape(-1, 6)
    where = {row.tobytes(): index for index, row in enumerate(raw)}
    for row, label in zip(points.embeddings, points.labels, strict=True):
        assert labels[where[row.tobytes()]] == [label]
    drawn = draw_map("toy", "m", folder)
    assert drawn is not None
    assert str(drawn.drawings[0][2]).count("<use") == MAX_MARKS
    assert sum(entry.count for entry in drawn.legend) == MAX_MARKS


def test_every_label_has_its_own_colour_and_shape(tmp_path: Path) -> None:
    [folder] = find_embeddings(write_folder(tmp_path / "toy", [[f"{i % 70}"] for i in range(300)]))
    drawn = draw_map("toy", "m", folder)
    assert drawn is not None
    assert len({(entry.colour, entry.shape) for entry in drawn.legend}) == len(drawn.legend) == 64
    assert drawn.others == 6
    assert label_order(["10", "9", "b", "a"]) == ["9", "10", "a", "b"]


def test_embeddings_of_another_revision_or_that_run_code_are_not_drawn(
    tmp_path: Path, saved: Callable[..., ResultRecord], make_fold: Callable[..., FoldPredictions]
) -> None:
    folder = write_folder(tmp_path / "emb" / "m" / "toy", [["a"], ["b"]] * 20)
    found = gather([saved({"test": make_fold(50, 1.0, 0)})])
    (folder / "embedding-info.json").write_text(json.dumps({"task": {"revision": "other"}}))
    maps = embedding_maps(found, tmp_path / "emb")
    assert not maps.maps
    assert "another revision" in maps.notes[0]
    (folder / "embedding-info.json").unlink()
    [drawn] = embedding_maps(found, tmp_path / "emb").maps
    assert drawn.model == "m"

    class Bad:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("ran",)

    (folder / "train.target-labels.pkl").write_bytes(pickle.dumps([Bad()]))
    with pytest.raises(DeloresError, match="only lists of labels"):
        embedding_maps(found, tmp_path / "emb")
    (folder / "train.target-labels.pkl").write_bytes(pickle.dumps([["a"]] * 41))
    with pytest.raises(DeloresError, match="labels for more"):
        embedding_maps(found, tmp_path / "emb")
    (folder / "train.embeddings.npy").write_bytes(b"short")
    with pytest.raises(DeloresError, match="expected 960 bytes for 40 x 6 float32"):
        embedding_maps(found, tmp_path / "emb")


# --- learning curves


def write_log(folder: Path, *lines: object, end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end
    (folder / "log.jsonl").write_text(text)
    return folder


def test_whatever_number_the_log_holds_becomes_a_curve(tmp_path: Path) -> None:
    lines = [
        {"event": "start", "method": "m", "steps": 20},
        {"step": 10, "lr": 0.1, "anything": 5, "loss": 2.0, "seconds": 1},
        {"event": "skipped", "file": "f"},
        {"step": 20, "lr": 0.2, "anything": 4, "loss": math.nan, "seconds": 2},
    ]
    run = read_run(write_log(tmp_path / "run", *lines))
    assert run.series["anything"] == ((10.0, 5.0), (20.0, 4.0))
    assert run.events == {"start": 1, "skipped": 1}
    assert [curve.name for curve in curves_of([run])] == ["loss", "anything", "lr"]


def test_an_unfinished_last_line_is_left_out_and_another_damaged_one_refused(tmp_path: Path) -> None:
    run = read_run(write_log(tmp_path / "run", {"step": 1, "loss": 2.0}, '{"step": 2, "lo', end=""))
    assert run.unfinished_line
    assert run.steps == 1
    with pytest.raises(DeloresError, match=r"line 1: not JSON .*; correct or remove this log line"):
        read_run(write_log(tmp_path / "run", '{"step"', {"step": 2, "loss": 1.0}))
    with pytest.raises(DeloresError, match="no logged step yet"):
        read_run(write_log(tmp_path / "run", {"event": "start"}))
    with pytest.raises(DeloresError, match="a number as step"):
        read_run(write_log(tmp_path / "run", {"step": "one", "loss": 1.0}))


def test_a_step_logged_twice_counts_as_logged_last(tmp_path: Path) -> None:
    run = read_run(
        write_log(tmp_path / "run", *({"step": step, "loss": value} for step, value in ((1, 5), (2, 4), (2, 3))))
    )
    assert run.series["loss"] == ((1.0, 5.0), (2.0, 3.0))


def test_thinned_curves_keep_their_extremes_and_gaps_stay_gaps() -> None:
    values = [(float(step), math.sin(step / 50)) for step in range(5000)]
    values[1234] = (1234.0, 9.0)
    curve = draw_curve("loss", [PretrainRun("a", {}, {"loss": tuple(values)}, {"step": 5000})], "")
    assert curve.thinned
    path = re.search(r' d="([^"]+)"', str(curve.drawing))
    assert path is not None
    heights = [float(point.split()[1]) for point in re.split("[ML]", path[1]) if point]
    assert len(heights) <= MAX_POINTS + 2
    assert min(heights) < 25  # the spike, near the top
    gap = draw_curve("loss", [PretrainRun("a", {}, {"loss": ((1, 1.0), (2, math.nan), (3, 1.0))}, {})], "")
    assert str(gap.drawing).count(' d="M') == 1
    assert len(re.findall("M", str(gap.drawing))) == 2


def test_two_methods_losses_are_drawn_apart_and_two_runs_of_one_together() -> None:
    def run(name: str, method: str, loss: float) -> PretrainRun:
        return PretrainRun(name, {"method": method}, {"loss": ((1.0, loss), (2.0, loss / 2))}, {})

    curves = curves_of([run("a", "s", 700.0), run("b", "m", 9.0), run("c", "s", 600.0)])
    assert [(curve.method, str(curve.drawing).count("<path")) for curve in curves] == [("s", 2), ("m", 1)]


# --- axes, seconds


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.3, 0.31), (-5, 5), (1e-9, 3e-9), (0, 28642.8), (11.2, 12.1)])
def test_ticks_are_even_within_the_axis_and_told_apart(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 11
    assert low - 1e-12 <= found[0]
    assert found[-1] <= high + 1e-12
    np.testing.assert_allclose(np.diff(found), np.diff(found)[0], rtol=1e-6)
    assert len(set(tick_texts(found))) == len(found)


def test_axes_hold_their_values_and_turn_logarithmic_over_a_wide_span() -> None:
    assert axis_of([1.0, 1000.0]).log
    assert not axis_of([0.0, 1000.0]).log
    for values in ([3.0], [0.0, 0.0], [math.nan], [-1.0, 2.0], [1.0, 1e6]):
        axis = axis_of(values)
        assert all(0 <= axis.at(value) <= 1 for value in values if math.isfinite(value))
        assert axis.ticks()


def test_costs_add_up_and_shared_embeddings_count_once(
    saved: Callable[..., ResultRecord], make_fold: Callable[..., FoldPredictions]
) -> None:
    seconds = {"embedding": 10.0, "training": 2.0, "total": 3.0}
    records = [
        saved({"test": make_fold(50, 1.0, 0)}, seed=seed, task=task, embeddings_hash=task * 64, seconds=seconds,
              peak_memory_bytes=seed)
        for task in ("a", "b") for seed in (1, 2)
    ]  # fmt: skip
    [summed], each = costs(gather(records))
    assert (summed.n_tasks, summed.embedding, summed.training, summed.scoring) == (2, 20.0, 8.0, 12.0)
    assert summed.whole == 32.0
    assert summed.peak_bytes == 2
    assert [cost.whole for cost in each] == [13.0] * 4
    widths = [float(width) for width in re.findall(r'width="([\d.]+)%"', str(summed.drawing))]
    assert sum(widths) == pytest.approx(100.0)
