"""Where the audio of a corpus is: in a folder, a CSV manifest, a task folder or tars."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from hear_delores import settings
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError, did_you_mean, shown
from hear_delores.files import check_name
from pretrain.config import DataConfig
from pretrain.data.audio import AUDIO_SUFFIXES, Member, sample_rate_folders
from pretrain.data.tar import expand_braces, is_tar, read_members
from pretrain.inputs.csv_table import LOOKALIKES, read_number, read_table

__all__ = ["Source", "find_sources", "task_audio", "task_metadata"]

#: A year: what a manifest's start or duration may be at most. No audio file is longer.
MAX_SECONDS = 366 * 86400.0


class Source(NamedTuple):
    """A row of a manifest: of a file, ``duration`` seconds (None: the rest) from second ``start`` on.

    ``member``: the file inside the tar ``path``; ``fault``: why there is nothing to be read, known beforehand;
    ``group``: of what it is a rendition, "" if of nothing.
    """

    path: Path
    name: str
    start: float = 0.0
    duration: float | None = None
    member: Member | None = None
    fault: str | None = None
    group: str = ""


def find_sources(path: Path, config: DataConfig, sample_rate: int, notes: list[str] | None = None) -> list[Source]:
    """The files of a folder, manifest, task folder or tars, in an order that does not depend on the file system.

    A folder without audio files may hold tars. A pattern such as ``shards-{000..009}.tar`` stands for several.
    What the user may want to know of a manifest is added to ``notes``, a line each.

    Raises:
        DeloresError: there is nothing at ``path``, no audio in it, or a manifest that cannot be read.
    """
    try:
        is_folder = path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise DeloresError(f"{path}: cannot be read ({error.strerror})") from None
    if is_folder:
        if os.path.lexists(path / "task_metadata.json"):  # whatever it is: the reader says what is wrong with it
            return _task_folder(path, config, sample_rate)
        return _folder(path, path)
    if not path.is_file():
        tars = [Path(name) for name in expand_braces(str(path))]
        if is_tar(path) and len(tars) > 1:
            return _tars(tars)
        raise DeloresError(f"there is no folder or manifest {path}; check the path")
    if is_tar(path):
        return _tars([path])
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise DeloresError(f"{path}: expected a folder, a .csv manifest or a task folder, or uncompressed .tar files")
    return _manifest(path, [] if notes is None else notes)


def _tars(tars: list[Path]) -> list[Source]:
    """The audio in tars, in the order of the list and of each tar."""
    missing = [tar for tar in tars if not tar.is_file()]
    if missing:
        raise DeloresError(f"{missing[0]}: there is no such tar ({len(missing)} of {len(tars)} are missing)")
    root = Path(os.path.commonpath([tar.parent for tar in tars]))
    sources: list[Source] = []
    suffixes: set[str] = set()
    for tar in tars:
        name = shown(tar.relative_to(root).as_posix())
        members, fault = read_members(tar)
        suffixes |= {Path(member.name).suffix.lower() for member in members}
        audio = [member for member in members if Path(member.name).suffix.lower() in AUDIO_SUFFIXES]
        sources += [Source(tar, f"{name}/{shown(member.name)}", member=member) for member in audio]
        sources += [Source(tar, name, fault=fault)] if fault is not None else []
    if not sources:
        found = f"members of the kinds {' '.join(sorted(suffixes))}" if suffixes else "nothing"
        raise DeloresError(f"{tars[0]}{' ...' if len(tars) > 1 else ''}: no audio members, but {found}")
    return sources


def _folder(folder: Path, root: Path) -> list[Source]:
    seen = [p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    found = [p for p in seen if p.suffix.lower() in AUDIO_SUFFIXES]
    if not found and (tars := sorted((p for p in seen if is_tar(p)), key=Path.as_posix)):
        return _tars(tars)
    if not found:
        raise DeloresError(f"{folder}: the folder holds no audio files ({' '.join(sorted(AUDIO_SUFFIXES))}) or .tar")
    return sorted((Source(p, shown(p.relative_to(root).as_posix())) for p in found), key=lambda source: source.name)


def _task_folder(folder: Path, config: DataConfig, sample_rate: int) -> list[Source]:
    """Audio of the training split, or of all folds, at the nearest rate from above."""
    splits = task_metadata(folder)["splits"]
    audio = task_audio(folder, sample_rate)
    chosen = config.splits or (("train",) if "train" in splits else tuple(splits))
    sources: list[Source] = []
    for split in chosen:
        if split not in splits:
            raise DeloresError(f"{folder} has no split {split!r}. {did_you_mean(split, splits)}")
        if not (audio / split).is_dir():
            raise DeloresError(f"{folder}: the audio folder {audio.name}/{split} is missing")
        sources += _folder(audio / split, folder)
    return sources


def task_audio(folder: Path, sample_rate: int) -> Path:
    """The audio of a task folder at the lowest rate from ``sample_rate`` (Hz) on, or at the highest there is.

    Raises:
        DeloresError: see :func:`pretrain.data.audio.sample_rate_folders`.
    """
    rates = sample_rate_folders(folder)
    return folder / str(next((rate for rate in rates if rate >= sample_rate), rates[-1]))


def task_metadata(folder: Path) -> dict[str, Any]:
    """``task_metadata.json`` of a HEAR task folder, as far as pre-training needs it: ``splits`` is a list of names.

    Raises:
        DeloresError: it is missing or damaged, or its splits are not what they must be.
    """
    path = folder / "task_metadata.json"
    metadata: dict[str, Any] = read_json(path, advice="is this a HEAR task folder?")
    splits = metadata.get("splits")
    names = splits if isinstance(splits, list) else []
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise DeloresError(f"{path}: expected 'splits' to be a list of different names, got {settings.shown(splits)}")
    for name in names:
        check_name(name, f"{path}: splits")
    return metadata


def _manifest(path: Path, notes: list[str]) -> list[Source]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    # A column of speakers or sessions is no slip for one of renditions, which only some manifests have.
    lookalikes = {name: others for name, others in LOOKALIKES.items() if name != "group"}
    known = ("start", "duration", "group")
    table = read_table(path, ("file",), known, delimiter=delimiter, lookalikes=lookalikes)
    if not table.rows:
        raise DeloresError(f"{path}: the manifest lists no files")
    sources = [_row(path, line, row) for line, row in table.rows]
    notes += table.notes
    if twice := _listed_twice(sources):
        one, other = twice[0]
        notes.append(f"{path}: {len(twice)} clip(s) are listed twice, such as {one} and {other}; they count twice")
    return sources


def _listed_twice(sources: list[Source]) -> list[tuple[str, str]]:
    """The names of two rows that are one clip of one file, also by ``a/../x.wav`` or a link."""
    first: dict[tuple[int, int, float, float | None], str] = {}
    twice = []
    for source in sources:
        try:
            status = os.stat(source.path)
        except (OSError, ValueError):  # missing: for whoever reads the audio to say
            continue
        key = (status.st_dev, status.st_ino, source.start, source.duration)
        if not status.st_ino:  # a file system that does not number its files
            continue
        if key in first:
            twice.append((first[key], source.name))
        first.setdefault(key, source.name)
    return twice


def _row(path: Path, line: int, row: dict[str, str]) -> Source:
    name = row["file"]
    if not name:
        raise DeloresError(f"{path}, line {line}: the file is missing")
    start = _seconds(path, line, "start", row.get("start"))
    duration = _seconds(path, line, "duration", row.get("duration"))
    if duration == 0:
        raise DeloresError(f"{path}, line {line}: expected a duration above 0 s")
    return Source(path.parent / name, name, start or 0.0, duration, group=row.get("group") or "")


def _seconds(path: Path, line: int, column: str, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    value = read_number(text)
    if not 0 <= value <= MAX_SECONDS:
        raise DeloresError(f"{path}, line {line}: expected {column} in seconds, got {text!r}")
    return value
