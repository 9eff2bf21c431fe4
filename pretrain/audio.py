"""Audio files -> 16-bit mono samples at one rate; every fault is one line that names the file."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from hear_delores.errors import DeloresError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["AUDIO_SUFFIXES", "Member", "Piece", "file_length", "read_piece"]

AUDIO_SUFFIXES = frozenset(  # what libsndfile reads
    {
        ".aif",
        ".aifc",
        ".aiff",
        ".au",
        ".caf",
        ".flac",
        ".mp3",
        ".oga",
        ".ogg",
        ".opus",
        ".rf64",
        ".snd",
        ".w64",
    }
    | {".wav", ".wave"}
)
LARGEST_PEAK = 16.0  # full scale is 1; decoders overshoot a little, integers stored as floats by thousands
MISSING_FRAMES = 4096  # by which a lossy file may be shorter than its header says
LONGEST_FRAMES = 1 << 40  # libsndfile's "length unknown" lies beyond


class Member(NamedTuple):
    """A file inside an uncompressed tar: its name there, and the ``size`` bytes from ``offset`` on that it takes."""

    name: str
    offset: int
    size: int


class Piece(NamedTuple):
    """One clip: ``frames`` frames from frame ``start`` on, at the file's own ``rate`` in Hz.

    The file is ``path``, or a ``member`` of the tar ``path``.
    """

    path: Path
    name: str
    start: int
    frames: int
    rate: int
    member: Member | None = None


class _Window(io.RawIOBase):
    """``size`` bytes of a file from ``offset`` on, as a file of their own."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__()
        self._stream = path.open("rb", buffering=0)
        self._offset, self._size, self._place = offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence])
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        wanted = memoryview(buffer).cast("B")[: max(0, self._size - self._place)]
        self._stream.seek(self._offset + self._place)
        got = self._stream.readinto(wanted) or 0
        self._place += got
        return got

    def close(self) -> None:
        self._stream.close()
        super().close()


def _open(path: Path, member: Member | None) -> soundfile.SoundFile:
    """The decoder of a file or a tar's member."""
    if member is None:
        return soundfile.SoundFile(str(path))
    return soundfile.SoundFile(io.BufferedReader(_Window(path, member.offset, member.size), 1 << 16))


def _label(path: Path, member: Member | None) -> str:
    return str(path) if member is None else f"{path}/{member.name}"


def file_length(path: Path, member: Member | None = None) -> tuple[int, int]:
    """(frames, rate in Hz) as the header of the file, or of a tar's member, states them.

    Raises:
        DeloresError: the file is missing, empty, not audio, or holds no samples.
    """
    if not path.is_file():
        raise DeloresError(f"{path}: there is no such file")
    label = _label(path, member)
    if (path.stat().st_size if member is None else member.size) == 0:
        raise DeloresError(f"{label}: the file is empty")
    try:
        with _open(path, member) as stream:
            frames, rate = stream.frames, stream.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise DeloresError(f"{label}: cannot be read as audio ({_short(error)})") from None
    if not 0 < frames < LONGEST_FRAMES or rate <= 0:
        raise DeloresError(f"{label}: the file holds no samples")
    return frames, rate


def read_piece(piece: Piece, sample_rate: int) -> NDArray[np.int16]:
    """The clip's samples (n,) int16 at ``sample_rate``: the mean channel, resampled by soxr and clipped.

    16 bits keep a cache of decoded audio small, and their rounding noise lies below the front-end's eps.

    Raises:
        DeloresError: undecodable, cut short, NaN or infinity, or not scaled to [-1, 1].
    """
    label = _label(piece.path, piece.member)
    try:
        with _open(piece.path, piece.member) as stream:
            if piece.start:
                stream.seek(piece.start)
            # 16-bit samples of one channel at the rate wanted are what float32 and back would make of them.
            plain = stream.subtype == "PCM_16" and stream.channels == 1 and piece.rate == sample_rate
            audio = stream.read(piece.frames, dtype="int16" if plain else "float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DeloresError(f"{label}: cannot be decoded ({_short(error)})") from None
    if len(audio) == 0 or len(audio) < piece.frames - MISSING_FRAMES:
        raise DeloresError(f"{label}: cut short, {piece.frames} frames promised and {len(audio)} found")
    if plain:
        return np.ascontiguousarray(audio[:, 0])
    peak = float(max(audio.max(), -audio.min()))
    if not math.isfinite(peak):
        raise DeloresError(f"{label}: the audio holds NaN or infinity")
    if peak > LARGEST_PEAK:
        raise DeloresError(f"{label}: expected samples in [-1, 1], but the peak is {peak:g}")
    mono = audio.mean(axis=1) if audio.shape[1] > 1 else audio[:, 0]
    if piece.rate != sample_rate:
        mono = soxr.resample(mono, piece.rate, sample_rate)
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


def _short(error: Exception) -> str:
    """The decoder's own words without the path, which the message names already, in one line."""
    text = str(getattr(error, "error_string", "") or error)
    return " ".join(text.split()).rstrip(".")
