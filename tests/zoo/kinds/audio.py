"""Changed sounds, each given to everything that reads sounds: `prepare`, `pretrain`, `pack` and `embed`."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from tests.zoo.cases import EQUAL, HARMFUL, HARMLESS, OPEN, Case, Change, Expectation, Route
from tests.zoo.inputs import pcm, tone
from tests.zoo.kinds.common import HANGS
from tests.zoo.mutations import BYTES, IN_PLACE, mutate_bytes, put
from tests.zoo.routes import EMBED, PACK, PREPARE, PRETRAIN

__all__ = ["cases"]

#: The clip that is changed, which holds tone(4).
CLIP = {
    PREPARE: "in/corpus/c04.wav",
    PRETRAIN: "in/corpus/c04.wav",
    PACK: "in/corpus/c04.wav",
    EMBED: "in/task/toy-1-full/16000/valid/valid1.wav",
}
RATE = 16000
Bytes = Callable[[random.Random], bytes]


def encoded(samples: np.ndarray, format: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    """A sound file in memory."""
    stream = io.BytesIO()
    if subtype == "PCM_16":  # rounded here: the formats do it differently
        samples = pcm(samples)
    soundfile.write(stream, samples, rate, format=format, subtype=subtype)
    return stream.getvalue()


def _patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _wav(rng: random.Random) -> bytes:
    return encoded(tone(4), "WAV", "PCM_16")


def _field(at: int, layout: str, value: float) -> Bytes:
    """The clip as WAV with one field of its header changed."""
    return lambda rng: _patched(_wav(rng), at, struct.pack(layout, value))


def _float(change: Callable[[np.ndarray], np.ndarray]) -> Bytes:
    return lambda rng: encoded(change(tone(4)).astype(np.float32), "WAV", "FLOAT")


def _with(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def changed(samples: np.ndarray) -> np.ndarray:
        samples = samples.copy()
        samples[1000] = value
        return samples

    return changed


def _cut(format: str, share: float, subtype: str | None = "PCM_16") -> Bytes:
    def made(rng: random.Random) -> bytes:
        data = encoded(tone(4), format, subtype)
        return data[: round(len(data) * share)]

    return made


def _extensible(tag: int) -> Bytes:
    return lambda rng: _patched(encoded(tone(4), "WAVEX", "PCM_16"), 20, struct.pack("<H", tag))


#: Sounds that no reader may take. The clip's name stays ``.wav`` unless one is given.
REFUSED: dict[str, tuple[Bytes, str]] = {
    "float scaled as 16-bit integers": (_float(lambda x: x * 32768), ".wav"),
    "float scaled as 24-bit integers": (_float(lambda x: x * 2**23), ".wav"),
    "float of peak 1000": (_float(lambda x: 1000 * x / np.abs(x).max()), ".wav"),
    "double scaled as integers": (lambda rng: encoded(tone(4) * 30000, "WAV", "DOUBLE"), ".wav"),
    "float AU scaled as integers": (lambda rng: encoded((tone(4) * 30000).astype(np.float32), "AU", "FLOAT"), ".au"),
    "one NaN": (_float(_with(np.nan)), ".wav"),
    "one infinity": (_float(_with(np.inf)), ".wav"),
    "one sample of 1e30": (_float(_with(1e30)), ".wav"),
    "all NaN": (_float(lambda x: x * np.nan), ".wav"),
    "no samples": (lambda rng: encoded(np.zeros(0), "WAV", "PCM_16"), ".wav"),
    "rate 0": (_field(24, "<I", 0), ".wav"),
    "rate 1": (_field(24, "<I", 1), ".wav"),
    "rate 2^31 - 1": (_field(24, "<I", 2**31 - 1), ".wav"),
    "rate 2^32 - 1": (_field(24, "<I", 2**32 - 1), ".wav"),
    "rate 7": (_field(24, "<I", 7), ".wav"),
    "0 channels": (_field(22, "<H", 0), ".wav"),
    "65535 channels": (_field(22, "<H", 65535), ".wav"),
    "0 bits": (_field(34, "<H", 0), ".wav"),
    "unknown coding": (_field(20, "<H", 0x7A21), ".wav"),
    "rate 0 in AU": (lambda rng: _patched(encoded(tone(4), "AU", "PCM_16"), 16, bytes(4)), ".au"),
    "rate NaN in AIFF": (
        lambda rng: (lambda data: _patched(data, data.index(b"COMM") + 16, b"\x7f\xff\xc0" + bytes(7)))(
            encoded(tone(4), "AIFF", "PCM_16")
        ),
        ".aiff",
    ),
    "rate infinity in AIFF": (
        lambda rng: (lambda data: _patched(data, data.index(b"COMM") + 16, b"\x7f\xff" + bytes(8)))(
            encoded(tone(4), "AIFF", "PCM_16")
        ),
        ".aiff",
    ),
    **{
        f"{format} cut at {share:.0%}": (_cut(format, share), ending)
        for format, ending in (("WAV", ".wav"), ("AIFF", ".aiff"), ("AU", ".au"), ("W64", ".w64"), ("RF64", ".wav"),
                               ("CAF", ".caf"), ("WAVEX", ".wav"))
        for share in (0.5, 0.95)
    },
    "FLAC cut at 50%": (_cut("FLAC", 0.5), ".flac"),
    "FLAC cut at 95%": (_cut("FLAC", 0.95), ".flac"),
    "float WAV cut": (_cut("WAV", 0.6, "FLOAT"), ".wav"),
    "mu-law WAV cut": (_cut("WAV", 0.6, "ULAW"), ".wav"),
    "IMA ADPCM cut": (_cut("WAV", 0.6, "IMA_ADPCM"), ".wav"),
    "header alone": (lambda rng: _wav(rng)[:44], ".wav"),
    "half a header": (lambda rng: _wav(rng)[:30], ".wav"),
    "text": (lambda rng: b"this is no sound\n" * 40, ".wav"),
    "an empty MP3": (lambda rng: b"ID3\x03\x00\x00\x00\x00\x00\x00", ".mp3"),
}  # fmt: skip


def _unknown_length(rng: random.Random) -> bytes:
    data = bytearray(encoded(tone(4), "FLAC", "PCM_16"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


def _junk_chunk(rng: random.Random) -> bytes:
    data = _wav(rng)
    chunk = b"JUNK" + struct.pack("<I", 28) + bytes(28)
    return data[:4] + struct.pack("<I", len(data) - 8 + len(chunk)) + data[8:12] + chunk + data[12:]


def _list_after(rng: random.Random) -> bytes:
    data = _wav(rng)
    chunk = b"LIST" + struct.pack("<I", 12) + b"INFOISFT\0\0\0\0"
    return data[:4] + struct.pack("<I", len(data) - 8 + len(chunk)) + data[8:] + chunk


def _stereo(rng: random.Random) -> bytes:
    return encoded(np.stack([tone(4)] * 2, 1), "WAV", "PCM_16")


#: The same sound, written otherwise: every reader must give what it gives for the untouched one.
SAME: dict[str, tuple[Bytes, str]] = {
    "a JUNK chunk first": (_junk_chunk, ".wav"),
    "a LIST chunk last": (_list_after, ".wav"),
    "as WAVEX": (lambda rng: encoded(tone(4), "WAVEX", "PCM_16"), ".wav"),
    "as RF64": (lambda rng: encoded(tone(4), "RF64", "PCM_16"), ".wav"),
    "two equal channels": (_stereo, ".wav"),
    "FLAC named .wav": (lambda rng: encoded(tone(4), "FLAC", "PCM_16"), ".wav"),
    "AIFF named .wav": (lambda rng: encoded(tone(4), "AIFF", "PCM_16"), ".wav"),
    "FLAC of unknown length": (_unknown_length, ".wav"),
}

#: Sounds that are sound, but others: read, or refused, by all readers alike.
OTHER: dict[str, tuple[Bytes, str]] = {
    "GSM 6.10": (lambda rng: encoded(tone(4, 0.5, 8000), "WAV", "GSM610", 8000), ".wav"),
    "IMA ADPCM": (lambda rng: encoded(tone(4), "WAV", "IMA_ADPCM"), ".wav"),
    "MS ADPCM": (lambda rng: encoded(tone(4), "WAV", "MS_ADPCM"), ".wav"),
    "mu-law": (lambda rng: encoded(tone(4), "WAV", "ULAW"), ".wav"),
    "G.721": (lambda rng: encoded(tone(4), "WAV", "G721_32"), ".wav"),
    "24 bits": (lambda rng: encoded(tone(4), "WAV", "PCM_24"), ".wav"),
    "8 bits": (lambda rng: encoded(tone(4), "WAV", "PCM_U8"), ".wav"),
    "float of peak 1.2": (_float(lambda x: 1.2 * x / np.abs(x).max()), ".wav"),
    "Ogg Vorbis": (lambda rng: encoded(tone(4), "OGG", "VORBIS"), ".ogg"),
    "Opus": (lambda rng: encoded(tone(4, 0.5, 48000), "OGG", "OPUS", 48000), ".opus"),
    "MP3": (lambda rng: encoded(tone(4), "MP3", None), ".mp3"),
    "8 kHz": (lambda rng: encoded(tone(4, 0.5, 8000), "WAV", "PCM_16", 8000), ".wav"),
    "44.1 kHz": (lambda rng: encoded(tone(4, 0.5, 44100), "WAV", "PCM_16", 44100), ".wav"),
    "192 kHz": (lambda rng: encoded(tone(4, 0.5, 192000), "WAV", "PCM_16", 192000), ".wav"),
    "11 channels": (lambda rng: encoded(np.stack([tone(4)] * 11, 1), "WAV", "PCM_16"), ".wav"),
    "one sample": (lambda rng: encoded(tone(4)[:1], "WAV", "PCM_16"), ".wav"),
    "silence": (lambda rng: encoded(np.zeros(8000), "WAV", "PCM_16"), ".wav"),
    "data size 0": (_field(40, "<I", 0), ".wav"),
    "data size 2^32 - 1 (a stream)": (_field(40, "<I", 2**32 - 1), ".wav"),
    "RIFF size 0": (_field(4, "<I", 0), ".wav"),
    "block align 3": (_field(32, "<H", 3), ".wav"),
    "channels 3": (_field(22, "<H", 3), ".wav"),
    "24 bits in a 16-bit file": (_field(34, "<H", 24), ".wav"),
    "float in a 16-bit file": (_field(20, "<H", 3), ".wav"),
    "extensible, inner tag broken": (_extensible(0xFFFE), ".wav"),
}


def _write(route: Route, make: Bytes, ending: str) -> Change:
    """Puts the sound in the clip's place. With another ending the CSV or task folder calls it by its new name."""

    def change(work: Path, rng: random.Random) -> None:
        path = work / CLIP[route]
        data = make(rng)
        # A task folder's clips are called .wav whatever is in them; other endings are for corpora.
        if ending == ".wav" or route is EMBED:
            path.write_bytes(data)
            return
        path.unlink()
        path.with_suffix(ending).write_bytes(data)
        table = path.parent / "labels.csv"
        table.write_text(table.read_text().replace(path.name, path.with_suffix(ending).name))

    return change


def _each(name: str, make: Bytes, ending: str, expect: Expectation) -> list[Case]:
    return [
        Case("audio", f"{route.name}: {name}", route, expect, _write(route, make, ending), agree=name) for route in CLIP
    ]


def _damaged(route: Route, how: str, number: int) -> Case:
    def change(work: Path, rng: random.Random) -> None:
        path = work / CLIP[route]
        format, subtype = rng.choice((("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"),
                                      ("OGG", "VORBIS"), ("MP3", None)))  # fmt: skip
        path.write_bytes(encoded(tone(4), format, subtype))
        mutate_bytes(path, how, rng)

    return Case("audio", f"{route.name}: {how} {number}", route, OPEN, change)


def _replaced(route: Route, what: str) -> Case:
    quick = replace(route, seconds=HANGS)
    return Case(
        "audio", f"{route.name}: {what} as a clip", quick, HARMFUL, lambda work, rng: put(work / CLIP[route], what)
    )


DAMAGE = ("truncate", "flip bits", "flip head", "insert bytes", "delete bytes", "zero a range", "swap blocks", "twice",
          "trailing bytes", "random bytes", "web page", "git lfs pointer", "gzip")  # fmt: skip
assert set(DAMAGE) <= set(BYTES)


def cases() -> list[Case]:
    """All of this kind."""
    found: list[Case] = []
    for table, expect in ((REFUSED, HARMFUL), (SAME, HARMLESS), (OTHER, OPEN)):
        for name, (make, ending) in table.items():
            found += _each(name, make, ending, EQUAL if name == "FLAC of unknown length" else expect)
    routes = list(CLIP)
    for number, how in enumerate(DAMAGE * 3):
        found.append(_damaged(routes[(number + number // len(DAMAGE)) % len(routes)], how, number // len(DAMAGE)))
    # A folder of audio has no file that is missing.
    listed = {PREPARE, EMBED}
    for what in IN_PLACE:
        found += [_replaced(route, what) for route in routes if what != "missing" or route in listed]
    return found
