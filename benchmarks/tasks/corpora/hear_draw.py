"""HEAR's own draws of splits, made again: hear-preprocess 2021.1.1 (``pipeline.py``), whose folds the archives hold.

Every draw is of sorted names by a seed that is a text, so that it depends on nothing but the whole set of names: with a
file more or less it is another draw. A name is a clip's file name without its ending, the kit's ``unique_filestem``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from benchmarks.tasks.corpora.recordings import Recording

__all__ = ["at_most", "file_stem", "new_folds", "train_valid_test"]

#: The kit tries so many seeds until every fold has every label.
TRIES = 1000


def file_stem(recording: Recording) -> str:
    """The name that the kit draws by, and calls the clip."""
    return recording.file.removesuffix(".wav")


def new_folds(
    recordings: Iterable[Recording], n_folds: int, key: Callable[[Recording], str] = file_stem
) -> list[Recording]:
    """The recordings with ``split`` fold00, fold01, ...: the kit's ``split_k_folds``.

    The sorted keys are shuffled and cut into ``n_folds`` parts whose sizes differ by one at most. The first seed that
    gives every fold every label is taken; where none does (part of a corpus), the first.
    """
    recordings = list(recordings)
    keys = sorted({key(recording) for recording in recordings})
    labels = {name for recording in recordings for name in recording.label_names}
    seeds = ["split_k_folds", *(f"split_k_folds_retry_{i}" for i in range(TRIES - 1))]
    for seed in seeds:
        folds = _folds(keys, n_folds, seed)
        found: dict[str, set[str]] = defaultdict(set)
        for recording in recordings:
            found[folds[key(recording)]].update(recording.label_names)
        if len(found) == n_folds and all(names == labels for names in found.values()):
            break
    else:
        folds = _folds(keys, n_folds, seeds[0])
    return [dataclasses.replace(recording, split=folds[key(recording)]) for recording in recordings]


def _folds(keys: list[str], n_folds: int, seed: str) -> dict[str, str]:
    shuffled = keys.copy()
    random.Random(seed).shuffle(shuffled)
    parts = np.array_split(np.arange(len(shuffled)), n_folds)
    return {shuffled[index]: f"fold{number:02d}" for number, part in enumerate(parts) for index in part}


def train_valid_test(recordings: Iterable[Recording], percent: Mapping[str, float]) -> list[Recording]:
    """The recordings of ``train`` divided: the kit's ``split_train_test_val``; those of other splits stay.

    Args:
        percent: of the names to ``valid`` and to ``test``; a split that is there already has none.
    """
    recordings = list(recordings)
    names = sorted(file_stem(recording) for recording in recordings if recording.split == "train")
    random.Random("split_train_test_val").shuffle(names)
    n_valid, n_test = (round(len(names) * percent.get(split, 0) / 100) for split in ("valid", "test"))
    chosen = dict.fromkeys(names[:n_valid], "valid") | dict.fromkeys(names[n_valid : n_valid + n_test], "test")
    return [
        dataclasses.replace(recording, split=chosen.get(file_stem(recording), recording.split))
        for recording in recordings
    ]


def at_most(recordings: Iterable[Recording], limits: Mapping[str, int]) -> list[Recording]:
    """So many recordings of each split, drawn from its sorted names: the kit's ``SubsampleSplit``.

    A split without a limit, or with fewer recordings, is kept whole.
    """
    by_split: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_split[recording.split].append(recording)
    kept = []
    for split, items in by_split.items():
        # pandas' DataFrame.sample(frac=1, random_state=seed) is this permutation.
        order = np.random.RandomState(_seed(f"SubsampleSplit({split})")).permutation(len(items))
        ordered = sorted(items, key=file_stem)
        kept += [ordered[index] for index in order[: limits.get(split, len(items))]]
    return kept


def _seed(text: str) -> int:
    return int(hashlib.sha1(text.encode()).hexdigest(), 16) % (2**32 - 1)
