"""The index files of corpora: CSV and tab-separated tables, read as text, with their columns checked."""

from __future__ import annotations

from pathlib import Path

from hear_delores.errors import DeloresError
from pretrain.inputs import csv_table

__all__ = ["read_table", "unique_rows"]


def read_table(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a table with a header, as stripped text.

    Raises:
        DeloresError: it cannot be read, lacks one of ``columns``, or has a row of another length than its header.
    """
    table = csv_table.read_table(path, columns, delimiter=delimiter, advice="unpack the corpus again")
    return [row.cells for row in table.rows]


def unique_rows(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """The rows as of :func:`read_table`, without repetition; the first of ``columns`` tells them apart.

    Raises:
        DeloresError: as of :func:`read_table`, and where two rows of one key say different things.
    """
    kept: dict[str, dict[str, str]] = {}
    for row in read_table(path, columns, delimiter):
        key = row[columns[0]]
        if kept.setdefault(key, row) != row:
            raise DeloresError(f"{path}: two rows of {key} differ; get the original table")
    return list(kept.values())
