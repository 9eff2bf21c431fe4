"""``labelvocabulary.csv`` of a task folder and of an embeddings folder, read in one place."""

from __future__ import annotations

import re
from pathlib import Path

from hear_delores.errors import DeloresError
from hear_delores.settings import shown
from pretrain.inputs.csv_table import read_table

__all__ = ["VOCABULARY_FILE", "read_vocabulary"]

VOCABULARY_FILE = "labelvocabulary.csv"


def read_vocabulary(path: Path, advice: str = "is this a HEAR task folder?") -> list[str]:
    """The labels of a ``labelvocabulary.csv`` (``idx,label``) by index, as strings: "NA" stays "NA".

    Args:
        advice: what to do about a file that is missing.

    Raises:
        DeloresError: wrong columns, indices that are not 0 .. n-1, or a label that occurs twice.
    """
    # Labels stay as they are, blanks included: those of the splits' files are compared with them.
    table = read_table(path, ("idx", "label"), strip=False, advice=advice)
    labels: dict[int, str] = {}
    for line, row in table.rows:
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", row["idx"], re.ASCII) or int(row["idx"]) in labels:
            raise DeloresError(
                f"{path}: line {line}: expected a new index and a label, got {shown(row['idx'] + ',' + row['label'])}"
            )
        labels[int(row["idx"])] = row["label"]
    if not labels or sorted(labels) != list(range(len(labels))):
        raise DeloresError(
            f"{path}: expected the indices 0 .. n-1; got {len(labels)} of them, {sorted(labels)[:3]} ..."
        )
    vocabulary = [labels[index] for index in range(len(labels))]
    if len(set(vocabulary)) != len(vocabulary):
        doubled = next(label for label in vocabulary if vocabulary.count(label) > 1)
        raise DeloresError(f"{path}: duplicate label {doubled!r}")
    return vocabulary
