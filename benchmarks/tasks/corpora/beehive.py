"""To bee or not to bee, v2: the four archives that HEAR uses; trained on one of two hives, tested on the other."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.tasks.corpora.hear_draw import train_valid_test
from benchmarks.tasks.corpora.recordings import Reading, Recording, audio_below
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

ARCHIVES = ("Hive1_12_06_2018", "Hive1_31_05_2018", "Hive3_14_07_2017", "Hive3_28_07_2017")
_HIVE = re.compile(r"hive([13])_\d\d_\d\d_\d{4}", re.IGNORECASE)
#: A tenth of what is for training and validation: 10 of the kit's 80 + 10 per cent.
VALID_PERCENT = 10 / 0.9


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings with and without queen, by the rules of hear-preprocess 2021.1.1 (``beehive_states_fold0.py``)."""
    recordings = []
    for path in audio_below(source):
        hive = _hive(path.relative_to(source))
        if hive is None:
            raise DeloresError(f"{path}: expected it in the folder of its archive, such as {ARCHIVES[0]}")
        split = "train" if hive == str(spec.options["train_hive"]) else "test"
        label = "NOQUEEN" if "NO" in path.name else "QUEEN"
        recordings.append(Recording(path, f"{path.stem}.wav", label, split))
    if not recordings:
        raise DeloresError(f"{source}: expected the unpacked archives {', '.join(ARCHIVES)}; found no audio")
    return Reading(train_valid_test(recordings, {"valid": VALID_PERCENT}))


def _hive(path: Path) -> str | None:
    """1 or 3: of the innermost folder that is named as an archive, else of the file's own name."""
    for part in (*reversed(path.parts[:-1]), path.name):
        if found := _HIVE.match(part):
            return found[1]
    return None
