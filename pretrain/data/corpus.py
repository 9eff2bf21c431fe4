"""A corpus of unlabelled audio: clips by number, from wherever they are stored, good ones standing in for bad ones."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hear_delores.errors import DeloresError, shown
from pretrain.config import DataConfig
from pretrain.data.ahead import ahead
from pretrain.data.audio import Piece, file_length, read_crop, read_piece
from pretrain.data.sources import Source, find_sources

__all__ = ["AudioFiles", "ClipStore", "Corpus", "Progress"]

Progress = Callable[[str, int, int], None]  # what, done, total
T = TypeVar("T")
R = TypeVar("R")


class ClipStore(Protocol):
    """Where the clips of a corpus are: :class:`AudioFiles` or :class:`pretrain.data.packed.PackedClips`.

    Attributes:
        content: what :meth:`decode` gives: "audio", (n,) int16 samples; or "log-mel", (n, n_mels) float16 frames.
        pieces: the clips whose files have sound headers, in an order that only depends on the files' names.
        skipped: (name, reason) of each file whose header is bad.
        faults: why a clip's content is bad, by the clip's number, as far as this is known beforehand.
        facts: what a checkpoint says about this kind of store.
    """

    content: str
    pieces: Sequence[Piece]
    skipped: list[tuple[str, str]]
    faults: dict[int, str]
    facts: dict[str, Any]

    def decode(self, index: int) -> NDArray[Any]:
        """Clip ``index``. Raises DeloresError when its content is bad."""

    def crop(self, index: int, length: int, start: Callable[[int], int]) -> NDArray[Any]:
        """Up to ``length`` entries of what :meth:`decode` gives, from number ``start(how many there are)`` on.

        As far as the format allows, nothing else is read. Raises DeloresError where :meth:`decode` does.
        """

    def blank(self, rows: int, length: int) -> NDArray[Any]:
        """Room for crops of this length: silence."""

    def worth_keeping(self, room: int) -> Iterator[int]:
        """The clips that are better decoded once and kept, as far as ``room`` bytes go."""

    def files(self) -> list[Path]:
        """The files that the clips are read from, tars as a whole, each once, in the order of the clips."""

    def stated_hashes(self) -> list[bytes] | None:
        """SHA-256 of each of :meth:`files`, where the store itself states them."""


class Corpus:
    """The clips of a store by number.

    Attributes:
        store: where the clips are.
        content, pieces: as of the store.
        renditions: how probably the second view of a clip is of another clip of its group.
        share: of the clips of every batch that are not the store's but synthetic; 1 where the store only counts them.
        notes: what is allowed but may surprise, one line each.

    A file whose header is bad never becomes a clip. One whose *content* turns out bad is stood in for by the
    next good clip, whenever that is discovered: the result does not depend on cache, threads or resuming.
    """

    def __init__(
        self,
        store: ClipStore,
        config: DataConfig | None = None,
        *,
        name: str = "corpus",
        skip_bad: bool = False,
        notes: Iterable[str] = (),
        progress: Progress | None = None,
        share: float = 0.0,
    ) -> None:
        self.share, self.renditions = share, 0.0
        self._groups: NDArray[np.int64] | None = None
        self.store, self.content, self.pieces = store, store.content, store.pieces
        self.config, self.name, self.notes = config or DataConfig(), name, list(notes)
        self.skip_bad = skip_bad or bool(store.skipped or store.faults)  # what was skipped when it was packed
        self.blank, self.files, self.stated_hashes = store.blank, store.files, store.stated_hashes
        self._progress = progress
        self._cache: dict[int, NDArray[Any]] = {}
        self._bad = dict(store.faults)  # clip -> reason
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
        store = AudioFiles(sources, config, sample_rate=sample_rate, skip_bad=skip_bad, progress=progress, name=name)
        return cls(store, config, name=name, skip_bad=skip_bad, notes=notes, progress=progress)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(name, reason) of the bad files found so far, in corpus order; empty unless ``skip_bad``."""
        return self.store.skipped + [(self.pieces[i].name, reason) for i, reason in sorted(self._bad.items())]

    @property
    def hours(self) -> float:
        return sum(piece.frames / piece.rate for piece in self.pieces) / 3600

    def fingerprint(self) -> str:
        """SHA-256 over every clip's name, place, length and rate: a resumed run must see the same corpus.

        A pack of audio has that of the files, bit for bit the same corpus; features have one of their own.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for piece in self.pieces:
                digest.update(f"{piece.name}\0{piece.start}\0{piece.frames}\0{piece.rate}\n".encode())
            kind = "" if self.content == "audio" else f"{self.content}:"
            kind += f"synthetic {self.share}:" if self.share else ""
            if self.renditions:
                kind += "renditions:"
                digest.update(self.groups().tobytes())
            self._fingerprint = kind + digest.hexdigest()
        return self._fingerprint

    def groups(self) -> NDArray[np.int64]:
        """(n,) the number of each clip's group, in the order in which they first occur; -1 of a clip without one."""
        if self._groups is None:
            numbers: dict[str, int] = {}
            named = (piece.group for piece in self.pieces)
            self._groups = np.array(
                [numbers.setdefault(name, len(numbers)) if name else -1 for name in named], np.int64
            )
        return self._groups

    def summary(self) -> dict[str, Any]:
        """What a checkpoint says about the data it was trained on."""
        return {
            "name": self.name,
            "clips": len(self),
            "files": len({(piece.path, piece.member) for piece in self.pieces}),
            "hours": round(self.hours, 4),
            "skipped": len(self.skipped),
            "fingerprint": self.fingerprint(),
            **self.store.facts,
            **({"synthetic_share": self.share} if self.share else {}),
        }

    def load(self) -> None:
        """Decodes clips into the cache, in corpus order, until it is full.

        The cache is filled once and never evicts: an epoch visits every clip once, so that what was evicted
        would be asked for before what was kept.

        Raises:
            DeloresError: a clip with bad content, unless the corpus skips them.
        """
        chosen = list(self.store.worth_keeping(self.config.cache_mb * 2**20))
        decoded = _map("decoding", self.try_read, chosen, self.config.threads, self._progress)
        self._cache = {i: samples for i, samples in zip(chosen, decoded, strict=True) if samples is not None}

    def read(self, index: int) -> tuple[NDArray[Any], list[int]]:
        """Clip ``index`` or the next good one, as the store decodes it, and the bad clips met on the way.

        Raises:
            DeloresError: the content is bad and the corpus does not skip, or no clip is good.
        """
        return self._good(index, self._cache.get, self.store.decode)

    def crop(self, index: int, length: int, start: Callable[[int], int]) -> tuple[NDArray[Any], list[int]]:
        """Up to ``length`` entries of what :meth:`read` gives, from number ``start(how many there are)`` on.

        Raises:
            DeloresError: as :meth:`read`.
        """

        def kept(i: int) -> NDArray[Any] | None:
            if (samples := self._cache.get(i)) is None:
                return None
            first = start(len(samples))
            return samples[first : first + length]

        return self._good(index, kept, lambda i: self.store.crop(i, length, start))

    def _good(
        self, index: int, kept: Callable[[int], NDArray[Any] | None], decode: Callable[[int], NDArray[Any]]
    ) -> tuple[NDArray[Any], list[int]]:
        """Of clip ``index`` or the next good one, what is kept of it or decoded; and the bad ones met on the way."""
        bad: list[int] = []
        for offset in range(count := len(self)):
            i = (index + offset) % count
            samples = kept(i)
            if samples is None:
                samples = self._tried(i, decode)
            if samples is not None:
                return samples, bad
            bad.append(i)
        raise DeloresError(f"all {len(self)} clips are bad, the first one: {self.skipped[0][1]}")

    def try_read(self, index: int) -> NDArray[Any] | None:
        """Clip ``index`` itself, past the cache; None if its content is bad.

        Raises:
            DeloresError: the content is bad and the corpus does not skip.
        """
        return self._tried(index, self.store.decode)

    def _tried(self, index: int, decode: Callable[[int], NDArray[Any]]) -> NDArray[Any] | None:
        if index in self._bad:
            return None
        try:
            return decode(index)
        except DeloresError as error:
            if not self.skip_bad:
                raise _unskipped(str(error)) from None
            self._bad[index] = str(error)
            return None

    def learn(self, index: int, reason: str) -> None:
        """Takes another process's word that the content of clip ``index`` is bad."""
        self._bad.setdefault(index, reason)

    def reason(self, index: int) -> str:
        """Why clip ``index`` is bad."""
        return self._bad[index]


class AudioFiles:
    """Clips that are decoded and resampled from their files each time; a :class:`ClipStore`.

    Args:
        name: what errors call the files as a whole.

    Raises:
        DeloresError: a bad header, unless ``skip_bad``; or no clip is left.
    """

    content = "audio"

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
        self.config, self.sample_rate = config or DataConfig(), sample_rate
        self.skipped: list[tuple[str, str]] = []
        self.faults: dict[int, str] = {}
        self.facts: dict[str, Any] = {}
        pieces: list[Piece] = []
        sources = list(sources)
        found = _map("scanning", self._inspect, sources, self.config.threads, progress)
        for source, answer in zip(sources, found, strict=True):
            if isinstance(answer, str):
                self.skipped.append((source.name, answer))
            else:
                pieces += answer
        if self.skipped and not skip_bad:
            raise _unskipped(self.skipped[0][1], len(self.skipped) - 1)
        if not pieces:
            first = f", the first one: {self.skipped[0][1]}" if self.skipped else ""
            raise DeloresError(f"{name}: none of its {len(sources)} files can be used{first}")
        self.pieces: Sequence[Piece] = pieces

    def _inspect(self, source: Source) -> list[Piece] | str:
        """The source's clips, a long recording cut into equal pieces; or why it has none."""
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
        return [
            Piece(source.path, source.name, a, b - a, rate, source.member, source.group)
            for a, b in itertools.pairwise(edges)
        ]

    def decode(self, index: int) -> NDArray[Any]:
        return read_piece(self.pieces[index], self.sample_rate)

    def crop(self, index: int, length: int, start: Callable[[int], int]) -> NDArray[Any]:
        return read_crop(self.pieces[index], self.sample_rate, length, start)

    def blank(self, rows: int, length: int) -> NDArray[Any]:
        return np.zeros((rows, length), dtype=np.int16)

    def worth_keeping(self, room: int) -> Iterator[int]:
        for i, piece in enumerate(self.pieces):
            room -= 2 * math.ceil(piece.frames * self.sample_rate / piece.rate)
            if room < 0:
                return
            yield i

    def files(self) -> list[Path]:
        return list(dict.fromkeys(piece.path for piece in self.pieces))

    def stated_hashes(self) -> list[bytes] | None:
        return None


def _map(
    what: str, function: Callable[[T], R], items: Sequence[T], threads: int, progress: Progress | None
) -> Iterator[R]:
    """``map`` in threads, in order, reporting progress; an error cancels what is left."""
    for done, result in enumerate(ahead(function, items, threads, 4 * threads), 1):
        yield result
        if progress is not None:
            progress(what, done, len(items))


def _unskipped(message: str, others: int = 0) -> DeloresError:
    more = f" ({others} more bad file{'s' if others > 1 else ''})" if others else ""
    return DeloresError(f"{message}{more}. Fix or remove it, or run with --skip-bad")
