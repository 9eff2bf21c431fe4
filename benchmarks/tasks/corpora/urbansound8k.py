"""UrbanSound8K: ``metadata/UrbanSound8K.csv`` and ``audio/fold1`` .. ``audio/fold10``."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.corpora.recordings import Listing, Reading, Recording, find_folder
from benchmarks.tasks.corpora.tables import read_table, unique_rows
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

TABLE = Path("metadata") / "UrbanSound8K.csv"


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings of UrbanSound8K in its own ten folds; the group is the recording that a slice is of."""
    corpus = find_folder(source, lambda folder: (folder / TABLE).is_file(), f"{TABLE} and audio/fold1 to fold10")
    rows = read_table(corpus / TABLE, ("slice_file_name", "fsID", "fold", "class"))
    listing = Listing()
    reading = Reading([])
    for row in unique_rows(corpus / TABLE, rows, "slice_file_name"):
        name, fold = row["slice_file_name"], row["fold"]
        if fold not in map(str, range(1, 11)):
            raise DeloresError(f"{corpus / TABLE}: {name} is in the fold {fold!r}; expected 1 to 10")
        path = listing.find(corpus / "audio" / f"fold{fold}", name)
        if path is None:
            reading.missing.append(f"audio/fold{fold}/{name}")
        else:
            file = f"{Path(name).stem}.wav"
            reading.recordings.append(Recording(path, file, row["class"], f"fold{int(fold) - 1:02d}", row["fsID"]))
    return reading
