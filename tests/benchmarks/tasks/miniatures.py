"""Helpers of the tests that make small copies of corpora, laid out as their authors distribute them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.tasks.corpora.raw_corpus import read_corpus
from benchmarks.tasks.corpora.recordings import Reading
from benchmarks.tasks.registry import find_task
from hear_delores.errors import DeloresError


def sound(path: Path, seconds: float = 0.05, rate: int = 16000, channels: int = 1) -> None:
    """A short tone that differs from file to file, in the format that the ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(np.arange(round(seconds * rate)) * (1 + len(path.name)) / 50)
    kind = {".flac": "FLAC", ".mp3": "MP3"}.get(path.suffix.lower(), "WAV")
    soundfile.write(path, np.tile(tone[:, None], channels), rate, format=kind)


def reads(task: str, source: Path, split: str | None = None) -> Reading:
    return read_corpus(find_task(task).for_split(split), source)


def by_split(reading: Reading) -> dict[str, dict[str, str]]:
    """Label by file of each split."""
    found: dict[str, dict[str, str]] = {}
    for item in reading.recordings:
        found.setdefault(item.split, {})[item.file] = item.label
    return found


def refused(task: str, source: Path, words: str, split: str | None = None) -> None:
    with pytest.raises(DeloresError, match=words) as caught:
        reads(task, source, split)
    assert "\n" not in str(caught.value)
