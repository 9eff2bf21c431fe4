"""Which classes a model confuses, from the saved predictions of multiclass tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reading.report.gather import Gathered
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import fold_predictions
from hear_delores.errors import DeloresError

__all__ = ["Confusion", "Pair", "confusion_counts", "confusions", "worst_pairs"]

#: Pairs that are listed, and classes up to which the whole matrix is shown.
PAIRS = 6
WHOLE = 12
LEVELS = 8


@dataclass(frozen=True)
class Pair:
    """Two classes: how many clips of each were taken for the other, of how many."""

    a: str
    b: str
    a_as_b: int
    b_as_a: int
    n_a: int
    n_b: int

    @property
    def share(self) -> float:
        """Of all clips of the two, the share taken for the other."""
        return (self.a_as_b + self.b_as_a) / (self.n_a + self.n_b)


@dataclass(frozen=True)
class MatrixRow:
    """A true class: for each predicted one (count, shade 0 to 8), then other classes, then all."""

    label: str
    cells: tuple[tuple[int, int], ...]
    other: int
    total: int


@dataclass(frozen=True)
class Confusion:
    """One task's worst pairs and the matrix of the classes in them, for the best model under one protocol."""

    task: str
    protocol: str
    model: str
    n_models: int
    n_clips: int
    n_errors: int
    n_seeds: int
    n_classes: int
    pairs: tuple[Pair, ...]
    labels: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    named: bool

    @property
    def whole(self) -> bool:
        """Whether the matrix shows every class."""
        return len(self.labels) == self.n_classes


def confusion_counts(records: Sequence[ResultRecord]) -> np.ndarray:
    """(n_labels, n_labels) int64: rows the true class, columns the predicted one, summed over folds and seeds.

    Raises:
        DeloresError: predictions that are missing, damaged, or do not give the accuracy of the record.
    """
    total: np.ndarray | None = None
    for record in records:
        for fold, part in zip(record.folds, fold_predictions(record), strict=True):
            truth, guess = part.target.argmax(axis=1), part.prediction.argmax(axis=1)
            n = part.target.shape[1]
            counts = np.bincount(truth * n + guess, minlength=n * n).reshape(n, n)
            accuracy = fold.scores.get("top1_acc", fold.scores.get("pitch_acc"))
            if accuracy is not None and abs(np.trace(counts) / max(1, counts.sum()) - accuracy) > 1e-6:
                raise DeloresError(
                    f"{record.folder}: the predictions of {fold.test_split} are not those that were scored; score again"
                )
            if total is not None and total.shape != counts.shape:
                raise DeloresError(f"{record.folder}: folds or seeds with different numbers of classes; score again")
            total = counts if total is None else total + counts
    if total is None:
        raise DeloresError("no result holds predictions, so there are no confusions to count")
    return total.astype(np.int64)


def worst_pairs(counts: np.ndarray, labels: Sequence[str], limit: int = PAIRS) -> list[Pair]:
    """The pairs of classes that cost most clips, both directions together; of equals the larger share first."""
    both = np.triu(counts + counts.T, k=1)
    size = counts.sum(axis=1)
    first, second = np.nonzero(both)
    share = both[first, second] / np.maximum(size[first] + size[second], 1)
    order = np.lexsort((second, first, -share, -both[first, second]))[:limit]
    return [
        Pair(labels[a], labels[b], int(counts[a, b]), int(counts[b, a]), int(size[a]), int(size[b]))
        for a, b in zip(first[order], second[order], strict=True)
    ]


def confusions(found: Gathered, vocabularies: dict[str, tuple[str, ...]]) -> list[Confusion]:
    """For each multiclass task of one label per clip, the best model's, under the task's main protocol.

    ``vocabularies`` are class names by task folder; without one (or with another number of classes) they are
    ``class 0``, ``class 1``, ...
    """
    shown = []
    for column in found.tasks:
        table = found.main_table(column)
        if table is None:
            continue
        ranked = found.ranked(table, column)
        records = found.of_cell(table.protocol, ranked[0], column)
        tasks = {(record.task.prediction_type, record.task.embedding_type) for record in records}
        if tasks != {("multiclass", "scene")} or len({record.task.folder_name for record in records}) > 1:
            continue
        if all(record.folder is not None for record in records):
            counts = confusion_counts(records)
            names = vocabularies.get(records[0].task.folder_name, ())
            shown.append(_confusion(column, table.protocol, ranked, records, counts, names))
    return shown


def _confusion(
    task: str, protocol: str, ranked: Sequence[str], records: list[ResultRecord], counts: np.ndarray,
    names: tuple[str, ...],
) -> Confusion:  # fmt: skip
    n, totals = len(counts), counts.sum(axis=1)
    named = len(names) == n
    labels = names if named else tuple(f"class {index}" for index in range(n))
    pairs = worst_pairs(counts, labels)
    listed = {name for pair in pairs for name in (pair.a, pair.b)}
    kept = [index for index in range(n) if n <= WHOLE or labels[index] in listed]
    rows = []
    for true in kept:
        inside = [(int(counts[true, guess]), _level(counts[true, guess], totals[true])) for guess in kept]
        rows.append(
            MatrixRow(labels[true], tuple(inside), int(totals[true] - counts[true, kept].sum()), int(totals[true]))
        )
    return Confusion(
        task, protocol, ranked[0], len(ranked), int(counts.sum()), int(counts.sum() - np.trace(counts)), len(records),
        n, tuple(pairs), tuple(labels[index] for index in kept), tuple(rows), named,
    )  # fmt: skip


def _level(count: int, total: int) -> int:
    """The shade of a share of a class: its square root, so that a few mistakes are seen; 0 for none."""
    if not count:
        return 0
    return max(1, round(LEVELS * float(np.sqrt(count / total))))
