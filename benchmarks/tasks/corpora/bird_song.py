"""Bird Audio Detection: freefield1010 and Warblr, each a folder ``wav`` and a table ``itemid[,datasetid],hasbird``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmarks.tasks.corpora.drawing import draw, draw_published, draw_valid
from benchmarks.tasks.corpora.recordings import Reading, find_folder
from benchmarks.tasks.corpora.tables import unique_rows
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

#: How the name of a table begins; 2016's and 2018's end differently.
TABLES = {"freefield1010": "ff1010bird_metadata", "warblr": "warblrb10k_public_metadata"}
#: What the folder of the audio is called, or begins with, where it does not lie beside its table.
FOLDERS = {"freefield1010": ("ff1010bird", "freefield1010"), "warblr": ("warblrb10k", "warblr")}
LABELS = {"0": "absent", "1": "present"}


def read(source: Path, spec: TaskSpec) -> Reading:
    """The clips of both corpora; the group is the corpus where each is tested against the other."""
    parts = {corpus: _read_corpus(source, corpus) for corpus in TABLES}
    every = [recording for part in parts.values() for recording in part.recordings]
    if spec.mode == "published":
        drawn = draw_published(every)
    elif spec.mode == "honest":
        drawn = draw(every, {"valid": 0.1, "test": 0.1}, stratum=lambda item: f"{item.file[:4]} {item.label}")
    else:
        tested = spec.mode.removesuffix("_test")
        [other] = set(parts) - {tested}
        tests = [dataclasses.replace(recording, split="test") for recording in parts[tested].recordings]
        drawn = draw_valid(parts[other].recordings + tests)
    return Reading(drawn, [file for part in parts.values() for file in part.missing], own_split=False)


def _read_corpus(source: Path, corpus: str) -> Reading:
    prefix = TABLES[corpus]
    place = find_folder(source, lambda folder: any(folder.glob(f"{prefix}*.csv")), f"a table {prefix}*.csv")
    table = sorted(place.glob(f"{prefix}*.csv"))[-1]
    wav = _audio_folder(source, place, corpus)
    reading = Reading()
    for row in unique_rows(table, ("itemid", "hasbird")):
        if row["hasbird"] not in LABELS:
            raise DeloresError(f"{table}: {row['itemid']}: expected hasbird 0 or 1, got {row['hasbird']!r}")
        name = f"{row['itemid']}.wav"  # the ids of the two corpora could meet
        reading.add(wav / name, f"{corpus}/{name}", LABELS[row["hasbird"]], file=f"{corpus}_{name}")
    return reading


def _audio_folder(source: Path, place: Path, corpus: str) -> Path:
    """The folder ``wav`` of one corpus: below a folder of its name, else beside its table."""
    named = [
        path / "wav"
        for folder in dict.fromkeys((place, source))
        for path in (folder, *sorted(folder.iterdir()))
        if path.name.lower().startswith(FOLDERS[corpus]) and (path / "wav").is_dir()
    ]
    tables = [prefix for prefix in TABLES.values() if any(place.glob(f"{prefix}*.csv"))]
    if not named and (place / "wav").is_dir() and len(tables) == 1:
        named = [place / "wav"]
    if not named:
        raise DeloresError(
            f"{source}: expected the audio of {corpus} as {FOLDERS[corpus][0]}/wav, or as wav beside its own table only"
        )
    return named[0]
