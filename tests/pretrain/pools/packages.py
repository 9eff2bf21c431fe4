"""Debian packages, sound fonts and sounds that tests make by hand, byte by byte."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

__all__ = ["make_deb", "make_soundfont", "noise", "wav"]


def noise(seed: int, seconds: float, rate: int = 16000) -> NDArray[np.float64]:
    """(n,) noise of a colour of its own, at some -12 dB of full scale."""
    rng = np.random.default_rng(seed)
    white = np.fft.rfft(rng.standard_normal(round(seconds * rate)))
    shape = np.interp(np.linspace(0, 1, len(white)), np.linspace(0, 1, 9), rng.uniform(0.02, 1.0, 9))
    coloured = np.fft.irfft(white * shape, round(seconds * rate))
    return 0.25 * coloured / np.abs(coloured).max()


def wav(samples: NDArray[np.float64], rate: int = 16000, format: str = "WAV") -> bytes:
    """The samples, (n,) or (n, channels), as a file's bytes."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=format)
    return stream.getvalue()


def make_deb(folder: Path, package: str, files: dict[str, bytes], version: str = "1.0-1") -> Path:
    """A .deb as deb(5) says: an ar archive of debian-binary, control.tar.gz and data.tar.xz."""
    control = f"Package: {package}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: x\n"
    members = [
        (b"debian-binary", b"2.0\n"),
        (b"control.tar.gz", _tar({"control": control.encode()}, "w:gz")),
        (b"data.tar.xz", _tar(files, "w:xz")),
    ]
    content = b"!<arch>\n"
    for name, data in members:
        content += name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) + b"0".ljust(6) + b"100644".ljust(8)
        content += str(len(data)).encode().ljust(10) + b"`\n" + data + b"\n" * (len(data) % 2)
    path = folder / f"{package}_{version}_all.deb"
    path.write_bytes(content)
    return path


def _tar(files: dict[str, bytes], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def make_soundfont() -> bytes:
    """A SoundFont 2 with one sample, a looped sine, that the presets 0, 5 and a drum kit share."""
    period, rate = 100, 44100
    sine = (20000 * np.sin(2 * np.pi * np.arange(40 * period) / period)).astype("<i2")
    presets = [(0, 0), (5, 0), (0, 128)]  # program, bank
    records = {
        b"phdr": b"".join(struct.pack("<20sHHHIII", f"p{i}".encode(), *place, i, 0, 0, 0)
                          for i, place in enumerate([*presets, (255, 255)])),
        b"pbag": b"".join(struct.pack("<HH", i, 0) for i in range(len(presets) + 1)),
        b"pmod": bytes(10),
        b"pgen": struct.pack("<HH", 41, 0) * len(presets) + bytes(4),  # 41: the instrument
        b"inst": struct.pack("<20sH", b"tone", 0) + struct.pack("<20sH", b"EOI", 1),
        b"ibag": struct.pack("<HHHH", 0, 0, 2, 0),
        b"imod": bytes(10),
        b"igen": struct.pack("<HH", 54, 1) + struct.pack("<HH", 53, 0) + bytes(4),  # 54: it loops; 53: the sample
        b"shdr": struct.pack("<20sIIIIIBbHH", b"sine", 0, len(sine), period, 39 * period, rate, 69, 0, 0, 1)
        + struct.pack("<20sIIIIIBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0),
    }  # fmt: skip
    info = _chunk(b"ifil", struct.pack("<HH", 2, 1)) + _chunk(b"isng", b"EMU8000\0") + _chunk(b"INAM", b"tiny\0\0")
    body = _list(b"INFO", info) + _list(b"sdta", _chunk(b"smpl", sine.tobytes() + bytes(92)))
    body += _list(b"pdta", b"".join(_chunk(name, data) for name, data in records.items()))
    return _chunk(b"RIFF", b"sfbk" + body)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def _list(name: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", name + data)
