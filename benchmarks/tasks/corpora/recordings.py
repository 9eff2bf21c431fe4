"""What a corpus module hands over: recordings with label, split and group; and how it finds them on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.tasks.names import clip_name
from hear_delores.documents import read_text
from hear_delores.errors import DeloresError, shown

__all__ = [
    "AUDIO_ENDINGS",
    "Listing",
    "Reading",
    "Recording",
    "audio_below",
    "audio_files",
    "crossing_groups",
    "find_folder",
    "find_folders",
    "read_lines",
]

AUDIO_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au")


@dataclass(frozen=True)
class Recording:
    """One clip of the task.

    Attributes:
        path: the audio file.
        file: its name in the task folder, ending in ``.wav``.
        label: its class; empty where ``labels`` says more, or it has none.
        labels: several classes, or events ``{"label", "start", "end"}`` in milliseconds.
        split: train, valid, test or foldNN; empty while it is to be drawn.
        group: speaker, place or source recording, which should not cross splits; empty where it is unknown.
        slice_s: (start, length) in seconds of the part of the file that is the clip; None for all of it.
        counted: False for a clip that is made beside the corpus's own recordings, such as silence.
    """

    path: Path
    file: str
    label: str
    split: str = ""
    group: str = ""
    slice_s: tuple[float, float] | None = None
    labels: tuple[Any, ...] = ()
    counted: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", clip_name(self.file))
        for name in ("label", "group"):  # where they are names of folders
            object.__setattr__(self, name, shown(getattr(self, name)))

    @property
    def items(self) -> tuple[Any, ...]:
        """What the task folder says of it: its classes or events."""
        return self.labels or ((self.label,) if self.label else ())

    @property
    def label_names(self) -> tuple[str, ...]:
        """Its classes, those of its events among them."""
        return tuple(item["label"] if isinstance(item, dict) else item for item in self.items)


class Listing:
    """Files by name, whatever the case of their ending, each folder read once."""

    def __init__(self) -> None:
        self._folders: dict[Path, tuple[dict[str, str], dict[str, str]]] = {}

    def find(self, folder: Path, name: str) -> Path | None:
        """The file ``name`` in ``folder``: as written, in another case, or as another kind of audio file."""
        if folder not in self._folders:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            stems = {path.stem.casefold(): path.name for path in audio_files(folder)}
            self._folders[folder] = {name.casefold(): name for name in names}, stems
        by_name, by_stem = self._folders[folder]
        found = by_name.get(name.casefold()) or by_stem.get(Path(name).stem.casefold())
        return folder / found if found else None


@dataclass
class Reading:
    """What a module found in a corpus.

    Attributes:
        recordings: every clip of the task, each with a split.
        missing: files that the corpus's own lists name and that are not there, relative to the source.
        own_split: True where the corpus's authors made the split: groups that cross it are then theirs, and
            noted; in a split that is drawn here they are a defect.
        drawn_from: how many recordings of the corpus ``recordings`` were drawn from, where they are not all of it.
        bad: what is wrong with files that had to be looked into for this, and of which there are no recordings.
    """

    recordings: list[Recording] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    own_split: bool = True
    drawn_from: int | None = None
    bad: list[str] = field(default_factory=list)
    _listing: Listing = field(default_factory=Listing, repr=False, compare=False)

    def add(
        self,
        path: Path,
        listed: str,
        label: str,
        split: str = "",
        group: str = "",
        *,
        file: str | None = None,
        labels: tuple[Any, ...] = (),
    ) -> None:
        """Adds a file that the corpus lists: to ``recordings``, or to ``missing`` where it is not there.

        Args:
            path: where it should be; it may be written in another case, or be another kind of audio file.
            listed: what ``missing`` calls it.
            file: its name in the task folder; by default its own, ending in ``.wav``.
        """
        found = self._listing.find(path.parent, path.name)
        if found is None:
            self.missing.append(listed)
        else:
            self.recordings.append(Recording(found, file or f"{path.stem}.wav", label, split, group, labels=labels))


def crossing_groups(items: Iterable[Any]) -> list[str]:
    """The groups of recordings, or of lines of a table, that are in more than one split, sorted."""
    splits: dict[str, set[str]] = {}
    for item in items:
        splits.setdefault(item.group, set()).add(item.split)
    return sorted(group for group, names in splits.items() if group and len(names) > 1)


def audio_files(folder: Path) -> list[Path]:
    """The audio files directly in ``folder``, sorted by name, without hidden ones (macOS leaves ``._*``)."""
    if not folder.is_dir():
        return []
    paths = (folder / name for name in sorted(os.listdir(folder)) if not name.startswith("."))
    return [path for path in paths if path.suffix.lower() in AUDIO_ENDINGS]


def audio_below(folder: Path) -> list[Path]:
    """The audio files in ``folder`` and below it, sorted, without hidden files and folders."""
    found = audio_files(folder)
    for child in _subfolders(folder):
        found += audio_below(child)
    return found


def find_folder(source: Path, fits: Callable[[Path], bool], expected: str) -> Path:
    """The one folder that ``fits``: ``source`` or a folder up to two levels below it.

    Raises:
        DeloresError: none does, or several on the highest level where one does, saying what was expected.
    """
    found = find_folders(source, fits)
    if not found:
        raise DeloresError(f"{source}: expected {expected}, here or up to two folders below; found {_content(source)}")
    if len(found) > 1:
        raise DeloresError(f"{source}: expected {expected} once; found it in {' and '.join(map(str, found))}")
    return found[0]


def find_folders(source: Path, fits: Callable[[Path], bool]) -> list[Path]:
    """The folders that ``fits``, on the highest level (of ``source`` and two below it) where any does."""
    level = [source]
    for _ in range(3):
        if found := [folder for folder in level if fits(folder)]:
            return found
        level = [child for folder in level for child in _subfolders(folder)]
    return []


def _subfolders(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    yield from (folder / name for name in names)


def _content(folder: Path) -> str:
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else "an empty folder"


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a text file that are not empty, stripped.

    Raises:
        DeloresError: no such file, or no text; ``expected`` says what it should be.
    """
    text = read_text(path, f"expected {expected}")
    return [line.strip() for line in text.splitlines() if line.strip()]
