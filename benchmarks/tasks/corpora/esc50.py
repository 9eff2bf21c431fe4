"""ESC-50: ``meta/esc50.csv`` and ``audio/``, in the author's five folds, as HEAR's task has them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.corpora.recordings import Listing, Reading, Recording, find_folder
from benchmarks.tasks.corpora.tables import read_table, unique_rows
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

TABLE = Path("meta") / "esc50.csv"


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings of ESC-50; the group is the recording on Freesound that a clip is of."""
    corpus = find_folder(source, lambda folder: (folder / TABLE).is_file(), f"{TABLE} and audio/")
    listing = Listing()
    reading = Reading([])
    for row in unique_rows(
        corpus / TABLE, read_table(corpus / TABLE, ("filename", "fold", "category", "src_file")), "filename"
    ):
        if row["fold"] not in map(str, range(1, 6)):
            raise DeloresError(f"{corpus / TABLE}: {row['filename']} is in the fold {row['fold']!r}; expected 1 to 5")
        path = listing.find(corpus / "audio", row["filename"])
        if path is None:
            reading.missing.append(f"audio/{row['filename']}")
        else:
            file, fold = f"{Path(row['filename']).stem}.wav", f"fold{int(row['fold']) - 1:02d}"
            reading.recordings.append(Recording(path, file, row["category"], fold, row["src_file"]))
    return reading
