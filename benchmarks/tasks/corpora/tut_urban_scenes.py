"""TUT Urban Acoustic Scenes 2018, development: ``meta.csv``, ``audio/`` and ``evaluation_setup/fold1_*.txt``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.corpora.drawing import draw_valid
from benchmarks.tasks.corpora.recordings import Reading, find_folder, read_lines
from benchmarks.tasks.corpora.tables import unique_rows
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

SETUP = Path("evaluation_setup")


def read(source: Path, spec: TaskSpec) -> Reading:
    """The segments of fold 1; the group is the place of the recording.

    Its training part gives the validation set: whole places of each scene, or single segments where
    ``published``.
    """
    corpus = find_folder(
        source,
        lambda folder: (folder / "meta.csv").is_file() and (folder / SETUP).is_dir(),
        "meta.csv, audio and evaluation_setup",
    )
    rows = unique_rows(corpus / "meta.csv", ("filename", "scene_label", "identifier"), delimiter="\t")
    facts = {row["filename"]: row for row in rows}
    reading = Reading()
    for name, split in (("fold1_train.txt", ""), ("fold1_evaluate.txt", "test")):
        for line in dict.fromkeys(read_lines(corpus / SETUP / name, "lines such as audio/airport-barcelona-0-0-a.wav")):
            file = line.split("\t")[0].strip()
            if file not in facts:
                raise DeloresError(f"{corpus / SETUP / name}: {file} is not in meta.csv; are both of one version?")
            reading.add(corpus / file, file, facts[file]["scene_label"], split, facts[file]["identifier"])
    reading.recordings = draw_valid(reading.recordings, whole_groups=spec.mode != "published")
    return reading
