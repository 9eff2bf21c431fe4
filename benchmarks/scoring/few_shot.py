"""Few-shot scoring: N training clips per class drawn by the seed, validation and test whole."""

from __future__ import annotations

import numpy as np

from benchmarks.scoring.fitting import derive_seed
from hear_delores.errors import DeloresError

__all__ = ["check_shots", "draw_shots", "shortfall", "shortfall_note"]

DRAW = 0x5807  # sets these random numbers apart from those of heads, which also come from (seed, fold)


def check_shots(shots: int | None) -> None:
    """Raises DeloresError unless ``shots`` is None or a whole number from 1 on."""
    if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
        raise DeloresError(f"shots: expected a whole number of training clips per class, 1 or more, got {shots!r}")


def draw_shots(targets: np.ndarray, shots: int, seed: int, fold: int, *, multilabel: bool = False) -> np.ndarray:
    """The training rows of a few-shot run, (m,) int64 ascending: the same for every model and protocol.

    Multiclass: ``shots`` rows of each class, without replacement. A larger ``shots`` with the same seed adds
    rows to those of a smaller one, so that a curve over shots does not carry the noise of new draws.

    Multilabel: the labels are filled one after another, the rarest first. To each, random rows that hold it are
    added until ``shots`` of the drawn rows hold it, those drawn for earlier labels included. A frequent label
    may so come to stand on more rows than ``shots``; at most ``shots`` x labels rows are drawn in all.

    A label with fewer rows than ``shots`` gives all it has (see :func:`shortfall`): one rare label need not keep
    a task from being scored.

    Args:
        targets: (n, n_labels) of 0 and 1, the training rows in stored order.

    Raises:
        DeloresError: no label has more than ``shots`` rows: the draw would be the whole training set.
    """
    counts = (targets > 0).sum(axis=0)
    if counts.max(initial=0) <= shots:
        raise DeloresError(
            f"shots: no class of fold {fold} has more than {shots} training clips (the largest has "
            f"{counts.max(initial=0)}); use fewer shots, or leave shots out to train on all clips"
        )
    taken = np.zeros(len(targets), dtype=bool)
    # Stable, so that of equally rare labels the first in the vocabulary comes first.
    for label in np.argsort(counts, kind="stable"):
        rows = np.flatnonzero(targets[:, label] > 0)
        order = np.random.default_rng(derive_seed(seed, fold, DRAW, int(label))).permutation(rows)
        if multilabel:
            order = order[~taken[order]][: max(0, shots - int(taken[rows].sum()))]
        taken[order[:shots]] = True
    return np.flatnonzero(taken)


def shortfall(drawn: np.ndarray, shots: int) -> int:
    """How many labels have fewer than ``shots`` of the drawn rows, whose targets (m, n_labels) are given."""
    return int(((drawn > 0).sum(axis=0) < shots).sum())


def shortfall_note(short: dict[int, int], shots: int) -> list[str]:
    """What a record says of the labels that had too few clips; ``short`` is {fold: number of such labels}."""
    folds = {fold: count for fold, count in short.items() if count}
    if not folds:
        return []
    return [
        f"shots: up to {max(folds.values())} classes have fewer than {shots} training clips in {len(folds)} folds; "
        "all of theirs were used"
    ]
