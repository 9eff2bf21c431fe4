"""A corpus of unlabelled audio, scanned, checked and cached: a folder, a CSV manifest, a task folder or tars."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hear_delores.documents import read_json
from hear_delores.errors import DeloresError, did_you_mean, shown
from hear_delores.files import check_name
from pretrain.config import DataConfig
from pretrain.data.audio import AUDIO_SUFFIXES, Member, Piece, file_length, read_piece
from pretrain.data.tar import expand_braces, is_tar, read_members
from pretrain.inputs.csv_table import LOOKALIKES, read_table

__all__ = ["Corpus", "Source", "find_sources", "task_metadata"]

#: A year: what a manifest's start or duration may be at most. No audio file is longer.
MAX_SECONDS = 366 * 86400.0
Progress = Callable[[str, int, int], None]  # what, done, total
T = TypeVar("T")
R = TypeVar("R")


class Source(NamedTuple):
    """A row of a manifest: of a file, ``duration`` seconds (None: the rest) from second ``start`` on.

    ``member``: the file inside the tar ``path``; ``fault``: why there is nothing to be read, known beforehand.
    """

    path: Path
    name: str
    start: float = 0.0
    duration: float | None = None
    member: Member | None = None
    fault: str | None = None


class Corpus:
    """Clips that can be read by number, in an order that only depends on the names of their files.

    Attributes:
        content: what :meth:`read` gives, "audio" or "log-mel"; the latter from a pack alone.
        pieces: the clips whose files have sound headers.
        notes: what is allowed but may surprise, one line each.
        skipped: (name, reason) of the bad files found so far, in corpus order; empty unless ``skip_bad``.

    A file whose header is bad never becomes a clip. One whose *content* turns out bad is stood in for by the
    next good clip, whenever that is discovered: the result does not depend on cache, threads or resuming.
    """

    content: str = "audio"

    def __init__(
        self,
        sources: Iterable[Source],
        config: DataConfig | None = None,
        *,
        sample_rate: int = 16000,
        skip_bad: bool = False,
        progress: Progress | None = None,
        name: str = "corpus",
    ) -> None:
        self.config, self.sample_rate, self.skip_bad = config or DataConfig(), sample_rate, skip_bad
        self.name = name
        self.notes: list[str] = []
        self._report: Progress = progress or (lambda what, done, total: None)
        self._cache: dict[int, NDArray[Any]] = {}
        self._bad: dict[int, str] = {}  # clip -> reason, for bad content
        self._headers: list[tuple[str, str]] = []  # (name, reason), for bad headers
        self.pieces: Sequence[Piece] = self._scan(list(sources))
        self._fingerprint: str | None = None

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        config: DataConfig | None = None,
        *,
        sample_rate: int = 16000,
        skip_bad: bool = False,
        progress: Progress | None = None,
    ) -> Corpus:
        """The corpus in a folder (searched with its subfolders), a manifest, a task folder or tars.

        Raises:
            DeloresError: nothing there, no audio in it, or, without ``skip_bad``, a bad file.
        """
        config = config or DataConfig()
        notes: list[str] = []
        sources = find_sources(Path(path), config, sample_rate, notes)
        name = shown(Path(path).resolve().name)
        corpus = cls(sources, config, sample_rate=sample_rate, skip_bad=skip_bad, progress=progress, name=name)
        corpus.notes = notes
        return corpus

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        return self._headers + [(self.pieces[i].name, reason) for i, reason in sorted(self._bad.items())]

    @property
    def hours(self) -> float:
        return sum(piece.frames / piece.rate for piece in self.pieces) / 3600

    def fingerprint(self) -> str:
        """SHA-256 over every clip's name, place, length and rate: a resumed run must see the same corpus."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for piece in self.pieces:
                digest.update(f"{piece.name}\0{piece.start}\0{piece.frames}\0{piece.rate}\n".encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def files(self) -> list[Path]:
        """The files that the clips are read from, tars as a whole, each once, in corpus order."""
        return list(dict.fromkeys(piece.path for piece in self.pieces))

    def stated_hashes(self) -> list[bytes] | None:
        """SHA-256 of each of :meth:`files`, where the corpus itself states them."""
        return None

    def summary(self) -> dict[str, Any]:
        """What a checkpoint says about the data it was trained on."""
        files = len({(piece.path, piece.member) for piece in self.pieces})
        return {
            "name": self.name,
            "clips": len(self),
            "files": files,
            "hours": round(self.hours, 4),
            "skipped": len(self.skipped),
            "fingerprint": self.fingerprint(),
        }

    def load(self) -> None:
        """Decodes clips into the cache, in corpus order, until it is full.

        The cache is filled once and never evicts: an epoch visits every clip once, so that what was evicted
        would be asked for before what was kept.

        Raises:
            DeloresError: a clip with bad content, unless the corpus skips them.
        """
        chosen = list(self._fitting(self.config.cache_mb * 2**20))
        for i, samples in zip(chosen, self._map("decoding", self.try_read, chosen), strict=True):
            if samples is not None:
                self._cache[i] = samples

    def read(self, index: int) -> tuple[NDArray[Any], list[int]]:
        """Clip ``index`` or the next good one, and the bad clips met on the way.

        The clip is (n,) int16 samples, or log-mel frames (n, n_mels) float16.

        Raises:
            DeloresError: the content is bad and the corpus does not skip, or no clip is good.
        """
        bad: list[int] = []
        for offset in range(len(self)):
            i = (index + offset) % len(self)
            samples = self._cache.get(i)
            if samples is None:
                samples = self.try_read(i)
            if samples is not None:
                return samples, bad
            bad.append(i)
        raise DeloresError(f"all {len(self)} clips are bad, the first one: {self.skipped[0][1]}")

    def learn(self, index: int, reason: str) -> None:
        """Takes another process's word that the content of clip ``index`` is bad."""
        self._bad.setdefault(index, reason)

    def reason(self, index: int) -> str:
        """Why clip ``index`` is bad."""
        return self._bad[index]

    def blank(self, rows: int, length: int) -> NDArray[Any]:
        """Room for crops of this length: silence."""
        return np.zeros((rows, length), dtype=np.int16)

    def try_read(self, index: int) -> NDArray[Any] | None:
        """The samples of clip ``index`` itself, past the cache; None if its content is bad.

        Raises:
            DeloresError: the content is bad and the corpus does not skip.
        """
        if index in self._bad:
            return None
        try:
            return self._decode(index)
        except DeloresError as error:
            if not self.skip_bad:
                raise _unskipped(str(error)) from None
            self._bad[index] = str(error)
            return None

    def _decode(self, index: int) -> NDArray[Any]:
        return read_piece(self.pieces[index], self.sample_rate)

    def _fitting(self, room: int) -> Iterator[int]:
        for i, piece in enumerate(self.pieces):
            room -= 2 * math.ceil(piece.frames * self.sample_rate / piece.rate)
            if room < 0:
                return
            yield i

    def _scan(self, sources: list[Source]) -> Sequence[Piece]:
        """The clips of the sources with sound headers, long recordings cut into equal pieces."""
        found = self._map("scanning", self._inspect, sources)
        pieces: list[Piece] = []
        for source, answer in zip(sources, found, strict=True):
            if isinstance(answer, str):
                self._headers.append((source.name, answer))
            else:
                pieces += answer
        if self._headers and not self.skip_bad:
            raise _unskipped(self._headers[0][1], len(self._headers) - 1)
        if not pieces:
            first = f", the first one: {self._headers[0][1]}" if self._headers else ""
            raise DeloresError(f"{self.name}: none of its {len(sources)} files can be used{first}")
        return pieces

    def _inspect(self, source: Source) -> list[Piece] | str:
        """The source's clips, or why it has none."""
        if source.fault is not None:
            return source.fault
        try:
            frames, rate = file_length(source.path, source.member)
        except DeloresError as error:
            return str(error)
        start = round(source.start * rate)
        stop = frames if source.duration is None else min(frames, start + round(source.duration * rate))
        if stop <= start:
            return f"{shown(source.path)}: no samples from {source.start} s on, the file has {frames / rate:.3f} s"
        count = math.ceil((stop - start) / (self.config.piece_s * rate))
        edges = [start + (stop - start) * k // count for k in range(count + 1)]
        return [Piece(source.path, source.name, a, b - a, rate, source.member) for a, b in itertools.pairwise(edges)]

    def _map(self, what: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """``map`` in background threads, in order, reporting progress; an error cancels what is left."""
        if self.config.threads == 0 or len(items) < 2:
            for done, item in enumerate(items, 1):
                yield function(item)
                self._report(what, done, len(items))
            return
        pool = ThreadPoolExecutor(self.config.threads)
        try:
            for done, result in enumerate(pool.map(function, items), 1):
                yield result
                self._report(what, done, len(items))
        finally:
            pool.shutdown(cancel_futures=True)


def _unskipped(message: str, others: int = 0) -> DeloresError:
    more = f" ({others} more bad file{'s' if others > 1 else ''})" if others else ""
    return DeloresError(f"{message}{more}. Fix or remove it, or run with --skip-bad")


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
        if (path / "task_metadata.json").is_file():
            return _task_folder(path, config, sample_rate)
        return _folder(path, path)
    if not path.is_file():
        tars = [Path(name) for name in expand_braces(str(path))]
        if is_tar(path) and len(tars) > 1:
            return _tars(tars)
        raise DeloresError(f"there is no folder or manifest {path}")
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
    rates = sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())
    if not rates:
        raise DeloresError(f"{folder}: the task folder has no audio folder such as 48000/")
    rate = next((r for r in rates if r >= sample_rate), rates[-1])
    chosen = config.splits or (("train",) if "train" in splits else tuple(splits))
    sources: list[Source] = []
    for split in chosen:
        if split not in splits:
            raise DeloresError(f"{folder} has no split {split!r}. {did_you_mean(split, splits)}")
        if not (folder / str(rate) / split).is_dir():
            raise DeloresError(f"{folder}: the audio folder {rate}/{split} is missing")
        sources += _folder(folder / str(rate) / split, folder)
    return sources


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
        raise DeloresError(f"{path}: expected 'splits' to be a list of different names, got {_shown(splits)}")
    for name in names:
        check_name(name, f"{path}: splits")
    return metadata


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _manifest(path: Path, notes: list[str]) -> list[Source]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    table = read_table(path, ("file",), ("start", "duration"), delimiter=delimiter, lookalikes=LOOKALIKES)
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
    return Source(path.parent / name, name, start or 0.0, duration)


def _seconds(path: Path, line: int, column: str, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_SECONDS:
        raise DeloresError(f"{path}, line {line}: expected {column} in seconds, got {text!r}")
    return value
