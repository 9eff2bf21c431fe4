"""TUT Urban Acoustic Scenes 2018, development: ``meta.csv``, ``audio/`` and ``evaluation_setup/fold1_*.txt``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.corpora.drawing import VALID_OF_PUBLISHED, draw
from benchmarks.tasks.corpora.recordings import Listing, Reading, Recording, find_folder, read_lines
from benchmarks.tasks.corpora.tables import read_table, unique_rows
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
    rows = read_table(corpus / "meta.csv", ("filename", "scene_label", "identifier"), delimiter="\t")
    facts = {row["filename"]: row for row in unique_rows(corpus / "meta.csv", rows, "filename")}
    missing: list[str] = []
    train = _listed(corpus, "fold1_train.txt", "", facts, missing)
    test = _listed(corpus, "fold1_evaluate.txt", "test", facts, missing)
    drawn = draw(train, VALID_OF_PUBLISHED, whole_groups=spec.mode != "published")
    return Reading(drawn + test, missing)


def _listed(
    corpus: Path, name: str, split: str, facts: dict[str, dict[str, str]], missing: list[str]
) -> list[Recording]:
    listing = Listing()
    recordings = []
    for line in dict.fromkeys(read_lines(corpus / SETUP / name, "lines such as audio/airport-barcelona-0-0-a.wav")):
        file = line.split("\t")[0].strip()
        if file not in facts:
            raise DeloresError(f"{corpus / SETUP / name}: {file} is not in meta.csv; are both of one version?")
        path = listing.find((corpus / file).parent, Path(file).name)
        if path is None:
            missing.append(file)
            continue
        row = facts[file]
        recordings.append(Recording(path, f"{Path(file).stem}.wav", row["scene_label"], split, row["identifier"]))
    return recordings
