"""Recordings of packages and folders, cut into clips."""

from __future__ import annotations

import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hear_delores.errors import DeloresError, shown
from pretrain.data.audio import AUDIO_SUFFIXES, Piece, file_length, read_piece
from pretrain.pools.debian import Archive, unpacked
from pretrain.pools.licences import Licences
from pretrain.pools.recipe import Debian, Folder, Recipe
from pretrain.pools.unit import Fault, Notice, Sound, Unit

__all__ = ["audio_below", "clips_of", "folder_unit", "package_unit"]

ZIPS = frozenset({".pk3", ".pk4", ".wz", ".zip"})
LARGEST_MEMBER = 1 << 30  # bytes of a zip's member, unpacked


def package_unit(source: Debian, archive: Archive, recipe: Recipe) -> Unit:
    """The unit of the recordings in a package."""

    def sounds(work: Path) -> Iterator[Sound | Fault | Notice]:
        files, text = _files_of(archive, work)
        licences = Licences(text, source.licence)
        yield Notice(text)
        for name, local in files:
            if isinstance(local, str):
                yield Fault(name, local)
            else:
                yield from clips_of(local, name, licences.of(name), recipe, source.minutes_per_file)

    key: dict[str, Any] = {"package": archive.package, "version": archive.version}
    key |= {"minutes": source.minutes_per_file, "licence": source.licence}
    return Unit(source.name, archive.package, archive.package, archive.version, key, sounds)


def folder_unit(source: Folder, base: Path, recipe: Recipe, out: Path) -> Unit:
    """The unit of the recordings in a folder, without those of the pool ``out`` if it lies in there.

    Raises:
        DeloresError: there is no such folder, or no audio in it.
    """
    folder = base / source.path
    files = audio_below(folder, out)

    def sounds(_: Path) -> Iterator[Sound | Fault]:
        for path in files:
            name = shown(path.relative_to(folder).as_posix())
            yield from clips_of(path, name, source.licence or "not stated", recipe, source.minutes_per_file)

    listing = [[path.relative_to(folder).as_posix(), *_stamp(path)] for path in files]
    key = {"files": listing, "minutes": source.minutes_per_file, "licence": source.licence}
    return Unit(source.name, "files", "", "", key, sounds)


def audio_below(folder: Path, out: Path) -> list[Path]:
    """The audio files in a folder and its subfolders, except hidden ones and those in ``out``, sorted by path.

    Raises:
        DeloresError: there is no such folder, or no audio in it.
    """
    if not folder.is_dir():
        raise DeloresError(f"{folder}: there is no such folder; check the path")
    below = [p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    audio = [p for p in below if p.suffix.lower() in AUDIO_SUFFIXES]
    if out.resolve().is_relative_to(folder.resolve()):  # the pool is no source of itself
        audio = [p for p in audio if not p.parent.resolve().is_relative_to(out.resolve())]
    files = sorted(audio, key=lambda p: p.as_posix())
    if not files:
        raise DeloresError(f"{folder}: the folder holds no audio files ({' '.join(sorted(AUDIO_SUFFIXES))})")
    return files


def _stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds: a file of which either differs is read again."""
    try:
        status = os.stat(path)
    except OSError:  # a link to nothing, or a file that was removed meanwhile: the fault is noted when it is read
        return -1, -1
    return status.st_size, status.st_mtime_ns


def clips_of(
    path: Path, name: str, licence: str, recipe: Recipe, minutes: float | None = None
) -> Iterator[Sound | Fault]:
    """The clips of a file: equal parts of at most ``clip_s``; of more than ``minutes`` of them, an even choice."""
    try:
        frames, rate = file_length(path)
    except DeloresError as error:
        yield Fault(name, _reason(error, path))
        return
    count = max(1, math.ceil(frames / (recipe.clip_s * rate)))
    edges = [frames * k // count for k in range(count + 1)]
    most = count if minutes is None else max(1, int(minutes * 60 / recipe.clip_s))
    chosen = range(count) if count <= most else [(2 * k + 1) * count // (2 * most) for k in range(most)]
    for k in chosen:
        piece = Piece(path, name, edges[k], edges[k + 1] - edges[k], rate)
        try:
            yield Sound(read_piece(piece, recipe.sample_rate), name, edges[k] / rate, licence)
        except DeloresError as error:
            yield Fault(name, _reason(error, path))
            return


def _reason(error: DeloresError, path: Path) -> str:
    """The error's text without the path, which may be that of a temporary file."""
    return str(error).removeprefix(f"{shown(path)}: ")


def _files_of(archive: Archive, work: Path) -> tuple[list[tuple[str, Path | str]], str]:
    """(path in the package, its local audio file or why it has none), sorted; and the text of the copyright file."""
    notice = f"usr/share/doc/{archive.package}/copyright"

    def wanted(name: str) -> bool:
        return name == notice or Path(name).suffix.lower() in AUDIO_SUFFIXES | ZIPS

    files: list[tuple[str, Path | str]] = []
    text = ""
    for name, local in unpacked(archive, work, wanted):
        if name == notice:
            text = local.read_text("utf-8", "replace")
        elif local.suffix in ZIPS:
            files += _zipped(name, local)
            local.unlink()
        else:
            files.append((shown(name), local))
    return sorted(files, key=lambda pair: pair[0]), text


def _zipped(name: str, path: Path) -> Iterator[tuple[str, Path | str]]:
    """(path in the package, local file or why there is none) of the audio members of a zip, unpacked beside it."""
    try:
        with zipfile.ZipFile(path) as archive:
            for number, member in enumerate(archive.infolist()):
                suffix = Path(member.filename).suffix.lower()
                if suffix not in AUDIO_SUFFIXES:
                    continue
                whole = shown(f"{name}/{member.filename}")
                if member.file_size > LARGEST_MEMBER:
                    yield whole, f"it has {member.file_size:,} bytes, expected at most {LARGEST_MEMBER:,}"
                    continue
                local = path.with_name(f"{path.stem}-{number:06d}{suffix}")
                with archive.open(member) as stream, local.open("wb") as written:
                    while block := stream.read(1 << 20):
                        written.write(block)
                yield whole, local
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError) as error:
        yield shown(name), f"not a readable zip ({' '.join(str(error).split())})"
