"""Audio files as finite mono float32 at the rate that is asked for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import soundfile
import soxr

from hear_delores.errors import DeloresError

__all__ = ["read_audio", "resample"]

#: libsndfile's remark on a RIFF chunk that promises more bytes than the file has.
_SHORT_CHUNK = re.compile(r"data : (\d+) \(should be (\d+)\)")
#: Streamed WAV files carry a placeholder of this size or more where the length was not known.
_UNKNOWN_LENGTH = 0x7FFF_0000


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    """The audio of a file, mixed to mono, and its sample rate.

    Args:
        path: any format that soundfile reads (WAV, FLAC, Ogg, Opus, MP3 ...).
        sample_rate: Hz to resample to; None keeps the file's own.

    Returns:
        (n_samples,) float32, at least one sample, all finite; and its rate in Hz.

    Raises:
        DeloresError: naming the file, when it is missing, empty, corrupt, cut short, without samples or
            holds NaN or infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise DeloresError(f"{path}: no such audio file")
    if path.stat().st_size == 0:
        raise DeloresError(f"{path}: the audio file is empty (0 bytes)")
    try:
        with soundfile.SoundFile(path) as stream:
            rate, promised, remarks = int(stream.samplerate), stream.frames, stream.extra_info
            samples = stream.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")
        raise DeloresError(f"{path}: cannot be read as audio: {reason}") from None
    short = _SHORT_CHUNK.search(remarks)
    is_short = short is not None and int(short[2]) < int(short[1]) < _UNKNOWN_LENGTH
    if is_short or (len(samples) < promised < _UNKNOWN_LENGTH):
        raise DeloresError(f"{path}: the audio file ends before its stated length; copy or download it again")
    if len(samples) == 0:
        raise DeloresError(f"{path}: the audio file holds no samples (zero length)")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise DeloresError(f"{path}: {int((~np.isfinite(mono)).sum())} sample(s) are NaN or infinite")
    if sample_rate is not None and sample_rate != rate:
        mono, rate = resample(mono, rate, sample_rate), sample_rate
    return np.ascontiguousarray(mono, dtype=np.float32), rate


def resample(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """``audio`` (n_samples,) float32 at ``rate`` Hz, resampled to ``new_rate`` Hz by soxr (quality HQ).

    The length is round(n_samples * new_rate / rate), at least 1, so clips of equal length stay equal.
    """
    if rate == new_rate:
        return audio
    length = max(1, round(len(audio) * new_rate / rate))
    # A clip of a sample or two would come out empty: zeros after it let the filter answer.
    padded = np.pad(audio, (0, max(0, 2 * -(-rate // new_rate) - len(audio))))
    result = soxr.resample(padded, rate, new_rate, quality="HQ")[:length]
    return np.pad(result, (0, length - len(result))).astype(np.float32, copy=False)
