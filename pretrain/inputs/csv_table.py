"""CSV and tab-separated tables with a header, read in one place, with the line of every fault named."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hear_delores.documents import read_text
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["LOOKALIKES", "Row", "Table", "parse_table", "read_number", "read_rows", "read_table"]

#: What other programs call the columns of our own tables, by our name; in small letters, without blanks and marks.
LOOKALIKES: Mapping[str, tuple[str, ...]] = {
    "file": ("filename", "filenames", "files", "filepath", "path", "paths", "audio", "audiofile", "audiopath", "wav",
             "wavfile", "fname", "clip", "clipname", "recording"),
    "label": ("labels", "class", "classes", "classname", "category", "target", "targets", "tag", "tags", "y", "event"),
    "group": ("groups", "speaker", "speakerid", "speakers", "spk", "spkid", "subject", "subjectid", "clientid", "user",
              "userid", "person", "singer", "artist", "source", "sourceid", "session", "patient"),
    "split": ("splits", "subset", "set", "partition", "usage", "part"),
    "fold": ("folds", "foldid", "cvfold"),
    "start": ("starts", "starttime", "starts", "startsec", "begin", "begintime", "from", "offset", "onset", "onsets"),
    "duration": ("durations", "dur", "durationsec", "length", "seconds", "len", "end", "endtime", "stop", "to",
                 "offsetend"),
}  # fmt: skip
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*", re.IGNORECASE | re.ASCII)


class Row(NamedTuple):
    """A row of a table: the line of the file it begins in, from 1, and the text of each column by name."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table: its columns (known ones under their known names) and rows.

    ``unused``: (column, known column that is not there and that it may be meant for).
    """

    where: str
    columns: tuple[str, ...]
    rows: list[Row]
    unused: list[tuple[str, str]]

    @property
    def notes(self) -> list[str]:
        """What the user may want to know, one line each."""
        return [self.note(column, like) for column, like in self.unused]

    def note(self, column: str, like: str) -> str:
        """A line on one of the unused columns."""
        return f"{self.where}: the column {_short(column)!r} is not used; if it is the {like}, call it {like!r}"


def read_number(text: str) -> float:
    """The finite number that a cell holds; NaN if it holds anything else, what only Python takes for one among it.

    >>> read_number(" 1.5e-3"), read_number("4_0"), read_number("inf")
    (0.0015, nan, nan)
    """
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else math.nan


def read_table(
    path: str | os.PathLike[str],
    required: Sequence[str] = (),
    optional: Sequence[str] = (),
    *,
    delimiter: str = ",",
    lookalikes: Mapping[str, Sequence[str]] | None = None,
    strip: bool = True,
    advice: str = "",
) -> Table:
    """The table in a UTF-8 file, with or without a byte order mark; see :func:`parse_table`.

    Raises:
        DeloresError: naming the file and line.
    """
    text = read_text(path, advice)
    return parse_table(
        text, os.fspath(path), required, optional, delimiter=delimiter, lookalikes=lookalikes, strip=strip
    )


def parse_table(
    text: str,
    where: str,
    required: Sequence[str] = (),
    optional: Sequence[str] = (),
    *,
    delimiter: str = ",",
    lookalikes: Mapping[str, Sequence[str]] | None = None,
    strip: bool = True,
) -> Table:
    """The table in a text whose first line names the columns.

    Columns are known whatever their case, with blanks around them: ``File, Start`` is ``file`` and ``start``.

    Args:
        where: what errors call the text.
        required: columns that must be there.
        optional: columns that may be there.
        lookalikes: other names for a known column, such as :data:`LOOKALIKES`. They are not read as that column, but
            named in :attr:`Table.notes`, or in the error where a required one is missing; so are misspelt ones.
        strip: remove blanks around cells.

    Raises:
        DeloresError: no header, a missing column or one named twice, a row with more or fewer fields than the header,
            a quote that is not closed, a control character in a known column.

    >>> table = parse_table("File, Start\\na.wav, 1.0\\n", "it", ["file"], ["start"])
    >>> table.rows[0]
    Row(line=2, cells={'file': 'a.wav', 'start': '1.0'})
    >>> parse_table("file,label\\na.wav,Bark, dog\\n", "it", ["file", "label"])
    Traceback (most recent call last):
    hear_delores.errors.DeloresError: it: line 2: expected 2 fields as in the header, got 3; quote a field with a comma
    """
    known = (*required, *optional)
    text = text.removeprefix("\ufeff")
    lines = read_rows(text, where, delimiter=delimiter, strip=strip)
    _, header = next(lines, (0, []))
    if not any(header):
        expected = f"a header line with {_columns(required or optional)}"
        raise DeloresError(f"{where}: {'no header' if text.strip() else 'empty'}; expected {expected}")
    columns = _known_names([name.strip() for name in header], known)
    _check_header(where, columns, required, delimiter, lookalikes or {})
    used = [name for name in columns if name in known]
    rows = []
    for line, cells in lines:
        if len(cells) != len(columns):
            mark = "tab" if delimiter == "\t" else "comma"
            hint = f"; quote a field with a {mark}" if len(cells) > len(columns) else ""
            raise DeloresError(
                f"{where}: line {line}: expected {len(columns)} fields as in the header, got {len(cells)}{hint}"
            )
        row = dict(zip(columns, cells, strict=True))
        for name in used:
            if _CONTROL.search(row[name]):
                raise DeloresError(
                    f"{where}: line {line}: the {name} holds a line break or control character; is a quote not closed?"
                )
        rows.append(Row(line, row))
    return Table(where, tuple(columns), rows, _unused(columns, known, lookalikes or {}))


def read_rows(text: str, where: str, *, delimiter: str = ",", strip: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each row that is not blank; the header is the first of them.

    Raises:
        DeloresError: a quote that is not closed or is followed by text, a field of more than 131,072 characters.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=strip, strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, [field.strip() for field in fields] if strip else fields
            line = reader.line_num + 1
    except csv.Error as error:
        what = "a quote is not closed" if "end of data" in str(error) else str(error)
        raise DeloresError(f"{where}: line {line}: not CSV ({what})") from None


def _known_names(header: Sequence[str], known: Sequence[str]) -> list[str]:
    """The header, with the known spelling where a column differs from it only in case and blanks."""
    if len(set(map(str.casefold, known))) != len(known):
        return list(header)
    by_fold = {name.casefold(): name for name in known}
    return [by_fold.get(name.casefold(), name) for name in header]


def _check_header(
    where: str, columns: list[str], required: Sequence[str], delimiter: str, lookalikes: Mapping[str, Sequence[str]]
) -> None:
    named = [name for name in columns if name]
    if doubled := [name for name in named if named.count(name) > 1]:
        raise DeloresError(f"{where}: two columns are called {doubled[0]!r}; remove or rename one")
    missing = [name for name in required if name not in columns]
    if not missing:
        return
    for other, name in _DELIMITERS.items():
        if other != delimiter and len(columns) == 1 and other in columns[0]:
            raise DeloresError(
                f"{where}: its fields are separated by {name}, expected {_DELIMITERS[delimiter]}; save it with those"
            )
    like = [name for name in named if _likeness(name, [missing[0]], lookalikes)]
    hint = f"; rename {like[0]!r} to it" if like else f". {did_you_mean(missing[0], map(_short, named))}"
    raise DeloresError(f"{where}: the column {missing[0]!r} is missing{hint}")


def _unused(
    columns: Iterable[str], known: Sequence[str], lookalikes: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    absent = [name for name in known if name not in columns]
    found = [(name, _likeness(name, absent, lookalikes)) for name in columns if name and name not in known]
    return [(name, like) for name, like in found if lookalikes and like]


def _likeness(name: str, wanted: Sequence[str], lookalikes: Mapping[str, Sequence[str]]) -> str | None:
    """Which of the wanted columns another one could be meant for."""
    bare = re.sub(r"[\W_]+", "", name.casefold()).removesuffix("ms")
    for column in wanted:
        if bare == column or bare in lookalikes.get(column, ()) or _one_edit(bare, column):
            return column
    return None


def _one_edit(one: str, other: str) -> bool:
    """Whether one letter added, left out, changed or exchanged with the next makes one word of the other."""
    if abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < 4:
        return False
    i = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[i:], other[i:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def _columns(names: Sequence[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "the names of the columns"


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."
