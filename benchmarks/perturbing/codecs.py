"""Lossy codecs: a clip is encoded and decoded again by libsndfile, as MP3, Ogg Vorbis or Opus."""

from __future__ import annotations

import io

import numpy as np

from benchmarks.tasks.mono_audio import resample
from hear_delores.errors import DeloresError

__all__ = ["EXAMPLE", "canonical", "transcode"]

EXAMPLE = "mp3-KBPS or opus-KBPS, both in kbit/s, or vorbis-QUALITY from 0 to 10, such as mp3-32"
#: The least and the largest value of each codec; those of MP3 depend on the rate, too. The rates are in Hz.
RANGES = {"mp3": (8, 320), "opus": (6, 256), "vorbis": (0, 10)}
RATES = {
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "opus": (8000, 12000, 16000, 24000, 48000),
}
#: Bitrates in kbit/s of Layer III, of MPEG-1 and MPEG-2 together (ISO/IEC 11172-3 and 13818-3). Others are refused:
#: an encoder would silently take the nearest.
MP3_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320)
#: The delay in samples of LAME's encoder (576) and a decoder (529). The decoder removes it, except where the frames
#: have no room for the tag that states it.
MP3_DELAY = 1105


def canonical(text: str) -> str:
    """A codec and its value in their one spelling. Raises ValueError for anything else.

    >>> canonical("mp3-032"), canonical("vorbis-3.0")
    ('mp3-32', 'vorbis-3')
    """
    name, _, number = text.partition("-")
    if name not in RANGES:
        raise ValueError(f"the codecs are {', '.join(RANGES)}")
    low, high = RANGES[name]
    if not low <= float(number) <= high:
        raise ValueError(f"{name} has {low} to {high}")
    if name == "mp3" and float(number) not in MP3_KBPS:
        raise ValueError(f"mp3 has {', '.join(map(str, MP3_KBPS))}")
    return f"{name}-{float(number):g}"


def transcode(samples: np.ndarray, rate: int, value: str, clip: str, seed: int) -> np.ndarray:
    """The clip encoded and decoded, without the codec's delay.

    A codec that lacks the clip's rate works at its next higher rate, or else at its highest.

    Raises:
        DeloresError: MP3 has no such bitrate at that rate, or libsndfile cannot write the codec.
    """
    name, _, number = value.partition("-")
    rates = RATES.get(name, (rate,))
    coded_rate = next((each for each in rates if each >= rate), rates[-1])
    peak = max(1.0, float(np.abs(samples).max()))  # louder samples would be clipped
    sound = resample(np.asarray(samples / peak, dtype=np.float32), rate, coded_rate)
    decoded = _decoded(sound, coded_rate, name, float(number))
    return _fitted(resample(decoded, coded_rate, rate), len(samples)) * peak


def _decoded(sound: np.ndarray, rate: int, name: str, number: float) -> np.ndarray:
    """The sound (n,) after encoding and decoding at ``rate`` Hz, as long and not delayed."""
    import soundfile

    how, form = {}, ("MP3", "MPEG_LAYER_III")
    if name == "mp3":
        how = {"compression_level": _mp3_level(rate, number), "bitrate_mode": "CONSTANT"}
    elif name == "vorbis":
        form, how = ("OGG", "VORBIS"), {"compression_level": 1 - number / 10}
    else:
        form, how = ("OGG", "OPUS"), {"compression_level": 1 - (number - 6) / 250}
    stream = io.BytesIO()
    try:
        soundfile.write(stream, sound, rate, format=form[0], subtype=form[1], **how)
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise DeloresError(
            f"codec:{name}-{number:g}: this libsndfile ({soundfile.__libsndfile_version__}) cannot write it ({error}); "
            "install a newer soundfile"
        ) from None
    stream.seek(0)
    decoded, _ = soundfile.read(stream, dtype="float32")
    delayed = name == "mp3" and len(decoded) > len(sound)
    return _fitted(decoded[MP3_DELAY:] if delayed else decoded, len(sound))


def _mp3_level(rate: int, kbps: float) -> float:
    """libsndfile's compression level for a bitrate: 0 is the highest that MP3 has at the rate, 1 the lowest."""
    low, high = (32, 320) if rate >= 32_000 else (8, 160) if rate >= 16_000 else (8, 64)
    if not low <= kbps <= high:
        raise DeloresError(f"codec:mp3-{kbps:g}: MP3 at {rate} Hz has {low} to {high} kbit/s")
    return min((high - kbps) / (high - low), 0.9999)  # libsndfile refuses 1


def _fitted(decoded: np.ndarray, length: int) -> np.ndarray:
    """Cut, or padded with zeros, to ``length`` samples."""
    return np.pad(decoded[:length], (0, max(0, length - len(decoded))))
