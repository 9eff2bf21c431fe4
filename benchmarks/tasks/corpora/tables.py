"""The index files of corpora: CSV and tab-separated tables, read as text, with their columns checked."""

from __future__ import annotations

import csv
from pathlib import Path

from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["read_table", "unique_rows"]


def read_table(path: Path, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a table with a header, as stripped text.

    Raises:
        DeloresError: it cannot be read, or lacks one of ``columns``.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter)
            found = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = found
            rows = [{key: (value or "").strip() for key, value in row.items() if key in found} for row in reader]
    except FileNotFoundError:
        raise DeloresError(f"{path}: no such file; expected a table with the columns {', '.join(columns)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeloresError(f"{path}: cannot be read as a table: {error}") from None
    for name in columns:
        if name not in found:
            raise DeloresError(f"{path}: the column {name!r} is missing. {did_you_mean(name, found)}")
    return rows


def unique_rows(path: Path, rows: list[dict[str, str]], key: str) -> list[dict[str, str]]:
    """The rows without repetition. Raises DeloresError where two rows of one ``key`` say different things."""
    kept: dict[str, dict[str, str]] = {}
    for row in rows:
        if kept.setdefault(row[key], row) != row:
            raise DeloresError(f"{path}: two rows of {row[key]} differ; mend the table or get the original")
    return list(kept.values())
