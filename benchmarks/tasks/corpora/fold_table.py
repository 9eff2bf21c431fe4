"""Corpora in their authors' own folds, by one table of file, fold, class and source: ESC-50 and UrbanSound8K."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.corpora.recordings import Reading, find_folder
from benchmarks.tasks.corpora.tables import unique_rows
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings that ``options.table`` lists; the group is the recording that a clip is of.

    ``options.columns`` names its columns of file, fold (from 1), class and source recording, and ``options.audio`` the
    folder of the audio, in which ``{fold}`` stands for the number of the fold.
    """
    table, audio = spec.options["table"], spec.options["audio"]
    file, fold, label, group = columns = tuple(spec.options["columns"])
    corpus = find_folder(source, lambda folder: (folder / table).is_file(), f"{table} and {audio.format(fold=1)}/")
    folds = [str(number) for number in range(1, len(spec.splits) + 1)]
    reading = Reading()
    for row in unique_rows(corpus / table, columns):
        if row[fold] not in folds:
            raise DeloresError(
                f"{corpus / table}: {row[file]} is in the fold {row[fold]!r}; expected 1 to {len(folds)}"
            )
        listed = f"{audio.format(fold=row[fold])}/{row[file]}"
        reading.add(corpus / listed, listed, row[label], spec.splits[int(row[fold]) - 1], row[group])
    return reading
