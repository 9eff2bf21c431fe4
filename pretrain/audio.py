"""Audio files -> 16-bit mono samples at one rate; every fault is one line that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from hear_delores.errors import DeloresError

__all__ = ["AUDIO_SUFFIXES", "Piece", "file_length", "read_piece"]

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


class Piece(NamedTuple):
    """One clip: ``frames`` frames of ``path`` from frame ``start`` on, at the file's own ``rate`` in Hz."""

    path: Path
    name: str
    start: int
    frames: int
    rate: int


def file_length(path: Path) -> tuple[int, int]:
    """(frames, rate in Hz) as the file's header states them.

    Raises:
        DeloresError: the file is missing, empty, not audio, or holds no samples.
    """
    if not path.is_file():
        raise DeloresError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise DeloresError(f"{path}: the file is empty")
    try:
        header = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise DeloresError(f"{path}: cannot be read as audio ({_short(error)})") from None
    if not 0 < header.frames < LONGEST_FRAMES or header.samplerate <= 0:
        raise DeloresError(f"{path}: the file holds no samples")
    return header.frames, header.samplerate


def read_piece(piece: Piece, sample_rate: int) -> NDArray[np.int16]:
    """The clip's samples (n,) int16 at ``sample_rate``: the mean channel, resampled by soxr and clipped.

    16 bits keep a cache of decoded audio small, and their rounding noise lies below the front-end's eps.

    Raises:
        DeloresError: undecodable, cut short, NaN or infinity, or not scaled to [-1, 1].
    """
    try:
        with soundfile.SoundFile(str(piece.path)) as stream:
            if piece.start:
                stream.seek(piece.start)
            audio = stream.read(piece.frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DeloresError(f"{piece.path}: cannot be decoded ({_short(error)})") from None
    if len(audio) == 0 or len(audio) < piece.frames - MISSING_FRAMES:
        raise DeloresError(f"{piece.path}: cut short, {piece.frames} frames promised and {len(audio)} found")
    if not np.isfinite(audio).all():
        raise DeloresError(f"{piece.path}: the audio holds NaN or infinity")
    peak = float(np.abs(audio).max())
    if peak > LARGEST_PEAK:
        raise DeloresError(f"{piece.path}: expected samples in [-1, 1], but the peak is {peak:g}")
    mono = audio.mean(axis=1)
    if piece.rate != sample_rate:
        mono = soxr.resample(mono, piece.rate, sample_rate)
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


def _short(error: Exception) -> str:
    """The decoder's own words without the path, which the message names already, in one line."""
    text = str(getattr(error, "error_string", "") or error)
    return " ".join(text.split()).rstrip(".")
