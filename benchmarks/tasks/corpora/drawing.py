"""Splits drawn by seed: the same on every machine, whatever the order in which files are found."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from benchmarks.tasks.corpora.recordings import Recording

__all__ = ["draw", "draw_published", "draw_valid"]


def draw(
    recordings: Iterable[Recording],
    shares: Mapping[str, float],
    *,
    whole_groups: bool = False,
    stratum: Callable[[Recording], str] = lambda recording: recording.label,
    seed: str = "hear-delores",
) -> list[Recording]:
    """The recordings with ``split`` set: ``shares`` of each stratum to the splits they name, the rest to train.

    Which ones is decided by the SHA-256 of seed and file name (or group), so that a clip more or less in the
    corpus moves no other one. A share is met to the nearest clip; every split gets at least one clip (group) of
    each stratum that has enough of them.

    Args:
        shares: by split, such as {"valid": 0.1, "test": 0.1}.
        whole_groups: groups are drawn, never divided; a group belongs to its most frequent stratum.
        stratum: within which the shares hold; by default the label.
    """
    units: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        units[recording.group if whole_groups and recording.group else f"/{recording.file}"].append(recording)
    strata: dict[str, list[str]] = defaultdict(list)
    for key, unit in units.items():
        counted = Counter(stratum(recording) for recording in unit)
        strata[min(counted, key=lambda name: (-counted[name], name))].append(key)
    chosen: dict[str, str] = {}
    for keys in strata.values():
        ordered = sorted(keys, key=lambda key: hashlib.sha256(f"{seed}\0{key}".encode()).digest())
        chosen |= _assign({key: len(units[key]) for key in ordered}, shares)
    return [
        dataclasses.replace(recording, split=chosen.get(key, "train"))
        for key, unit in units.items()
        for recording in unit
    ]


def _assign(weights: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, str]:
    """Split by unit, for those that do not stay in training; ``weights`` is in the order of the draw."""
    total = sum(weights.values())
    free = {split: round(share * total) for split, share in shares.items()}
    chosen: dict[str, str] = {}
    for key, weight in weights.items():
        for split in shares:
            if weight <= free[split]:
                chosen[key] = split
                free[split] -= weight
                break
    # Too few, or too large: a split left empty takes the smallest unit that leaves training one.
    for split in shares:
        left = [key for key in weights if key not in chosen]
        if split not in chosen.values() and len(left) > 1:
            chosen[min(left, key=lambda key: weights[key])] = split
    return chosen


def draw_valid(recordings: Iterable[Recording], *, whole_groups: bool = False) -> list[Recording]:
    """A tenth of all but the test set to valid, the rest to train: the published figures had no validation set."""
    recordings = list(recordings)
    rest = [recording for recording in recordings if recording.split != "test"]
    test = [recording for recording in recordings if recording.split == "test"]
    return draw(rest, {"valid": 0.1}, whole_groups=whole_groups) + test


def draw_published(recordings: Iterable[Recording], test_share: float = 0.2) -> list[Recording]:
    """A share of the clips of each label to test, then a tenth of the others to valid: the papers' 80/20."""
    return draw_valid(draw(recordings, {"test": test_share}))
