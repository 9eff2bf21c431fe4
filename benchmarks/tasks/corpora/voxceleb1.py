"""VoxCeleb1: ``wav/id10001/<video>/00001.wav`` from the development and test archives, and ``iden_split.txt``."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.tasks.corpora.recordings import Listing, Reading, find_folder, read_lines
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

LIST = "iden_split.txt"
SPLITS = {"1": "train", "2": "valid", "3": "test"}
_SPEAKER = re.compile(r"id\d{5}")


def read(source: Path, spec: TaskSpec) -> Reading:
    """The utterances that the official identification split lists, with their speaker."""
    place = find_folder(source, lambda path: (path / LIST).is_file(), f"{LIST}, and the audio as wav/id10001/...")
    roots = _roots(source)
    if not roots:
        raise DeloresError(
            f"{source}: expected the audio as wav/id10001/<video>/00001.wav; found no folder id10001 ..."
        )
    listing = Listing()
    reading = Reading()
    seen = set()
    for number, line in enumerate(read_lines(place / LIST, "lines such as 1 id10001/1zcIwhmdeo4/00001.wav"), 1):
        split, _, name = line.partition(" ")
        parts = name.strip().split("/")
        if split not in SPLITS or len(parts) != 3:
            raise DeloresError(
                f"{place / LIST}: line {number}: expected 1, 2 or 3 and speaker/video/file; got {line[:60]!r}"
            )
        if name in seen:
            continue
        seen.add(name)
        speaker, video, file = parts
        folders = [root / speaker / video for root in roots]
        folder = next((folder for folder in folders if listing.find(folder, file)), folders[0])
        clip = f"{speaker}_{video}_{Path(file).stem}.wav"
        reading.add(folder / file, name, speaker, SPLITS[split], f"{speaker}/{video}", file=clip)
    return reading


def _roots(source: Path) -> list[Path]:
    """The folders that hold folders of speakers, up to three levels below ``source``."""
    roots, level = [], [source]
    for _ in range(4):
        below = []
        for folder in level:
            children = sorted(path for path in folder.iterdir() if path.is_dir())
            if any(_SPEAKER.fullmatch(path.name) for path in children):
                roots.append(folder)
            below += [path for path in children if not _SPEAKER.fullmatch(path.name)]
        level = below
    return roots
