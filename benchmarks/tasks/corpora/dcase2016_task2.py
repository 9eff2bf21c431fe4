"""DCASE 2016 task 2: ``annotation/*.txt`` and ``sound/*.wav`` of the development and the public test archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.tasks.corpora.hear_draw import train_valid_test
from benchmarks.tasks.corpora.recordings import Reading, read_lines
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

#: The challenge's own division is given up: of all its recordings so many per cent validate and test.
PERCENT = {"valid": 20, "test": 20}


def read(source: Path, spec: TaskSpec) -> Reading:
    """All recordings with their events, divided as by hear-preprocess 2021.1.1 (``dcase2016_task2.py``)."""
    annotations = [path for path in sorted(source.rglob("annotation")) if any(path.glob("*.txt"))]
    parts = [path.parent for path in annotations if (path.parent / "sound").is_dir()]
    if not parts:
        raise DeloresError(f"{source}: expected folders with annotation/*.txt beside sound/*.wav; found none")
    reading = Reading()
    assert spec.sample_duration_s is not None
    for part in parts:
        for table in sorted(path for path in (part / "annotation").glob("*.txt") if not path.name.startswith(".")):
            path = part / "sound" / f"{table.stem}.wav"
            events = _events(table, 1000 * spec.sample_duration_s)
            reading.add(path, str(path.relative_to(source)), "", "train", labels=events)
    reading.recordings = train_valid_test(reading.recordings, PERCENT)
    return reading


def _events(table: Path, end_ms: float) -> tuple[dict[str, Any], ...]:
    """The lines ``start<tab>end<tab>label`` (seconds) as events in milliseconds, none beyond the clip's end."""
    events = []
    for number, line in enumerate(read_lines(table, "lines of start, end and label"), 1):
        try:
            start, end, label = line.split("\t")
            start_ms, stop_ms = 1000 * float(start), 1000 * float(end)
        except ValueError:
            raise DeloresError(
                f"{table}: line {number}: expected start, end and label with tabs between; got {line[:60]!r}"
            ) from None
        if start_ms < end_ms:
            events.append({"label": label.strip(), "start": start_ms, "end": min(stop_ms, end_ms)})
    return tuple(events)
