"""The one reader of audio files, whole, in part, or their length only. Every fault is one line that names the file.

:mod:`pretrain.data.containers` tells what the decoder would not: that a file is cut short, or how long it really is.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from hear_delores.errors import DeloresError, shown
from pretrain.data.containers import AS_IT_IS, HEAD, RATES, Layout, check_rate, examine, plain_samples
from pretrain.data.quiet import quiet_decoders

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = [
    "AUDIO_SUFFIXES",
    "Member",
    "Piece",
    "file_length",
    "read_channels",
    "read_crop",
    "read_piece",
    "regular_size",
    "sample_rate_folders",
]

AUDIO_SUFFIXES = frozenset(  # what libsndfile reads
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".w64"}
    | {".wav", ".wave"}
)
LARGEST_PEAK = 16.0  # full scale is 1; decoders overshoot a little, integers stored as floats by thousands
MISSING_FRAMES = 4096  # by which an MP3 or Ogg may be shorter than its header says
MP3_LEAD = 16 * 1152  # frames of sound that are decoded before a place in the middle of an MP3
LONGEST_FRAMES = 1 << 40  # libsndfile's "length unknown" lies beyond
BLOCK = 1 << 24  # samples that are decoded in one call: a false header cannot ask for more memory


class Member(NamedTuple):
    """A file inside an uncompressed tar: its name there, and the ``size`` bytes from ``offset`` on that it takes."""

    name: str
    offset: int
    size: int


class Piece(NamedTuple):
    """One clip: ``frames`` frames from frame ``start`` on, at the file's own ``rate`` in Hz.

    The file is ``path``, or a ``member`` of the tar ``path``. Pieces of one ``group`` are renditions of the same
    content; "" is none.
    """

    path: Path
    name: str
    start: int
    frames: int
    rate: int
    member: Member | None = None
    group: str = ""


class _Window(io.RawIOBase):
    """``head``, and what a file holds from byte ``start`` on before byte ``stop``, as a file of their own."""

    def __init__(self, path: Path, head: bytes, start: int, stop: int) -> None:
        super().__init__()
        self._stream = path.open("rb", buffering=0)
        self._head, self._start, self._size, self._place = head, start, len(head) + stop - start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence])
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        wanted = memoryview(buffer).cast("B")[: max(0, self._size - self._place)]
        if self._place < len(self._head):
            part = self._head[self._place : self._place + len(wanted)]
            wanted[: len(part)] = part
            got = len(part)
        else:
            self._stream.seek(self._start + self._place - len(self._head))
            got = self._stream.readinto(wanted) or 0
        self._place += got
        return got

    def close(self) -> None:
        self._stream.close()
        super().close()


class _NoWayThere(Exception):
    """A place in a file can only be reached by decoding all that lies before."""


class _Decoder(soundfile.SoundFile):
    """Only reads on. soundfile's own seeks back after each read, which fails at the end of an open-ended FLAC."""

    def seekable(self) -> bool:
        return False

    def skip(self, frames: int) -> None:
        """Goes on to frame ``frames``, decoding what lies before where the format has no other way.

        Raises:
            _NoWayThere: it said that it could seek, and could not; it is of no more use.
        """
        if super().seekable():
            # A frame of MP3 takes bits from those before it: without them the first ones are noise.
            before = min(frames, MP3_LEAD) if self.format == "MP3" else 0
            try:
                self.seek(frames - before)
            except soundfile.SoundFileError:
                raise _NoWayThere from None
            frames = before
        self.count(frames)

    def count(self, most: int = LONGEST_FRAMES) -> int:
        """Decodes to the end, or so many frames, and says how many there were."""
        found, step = 0, BLOCK // self.channels // 16
        while found < most and (passed := len(self.read(min(step, most - found), dtype="int16"))):
            found += passed
        return found

    def take(self, frames: int | None, dtype: Literal["int16", "float32"]) -> NDArray[Any]:
        """The next ``frames`` frames (n, channels), or all that are left; fewer at the end of the file."""
        block = BLOCK // self.channels
        if frames is None:
            block //= 64  # libsndfile fills all of it
        parts: list[NDArray[Any]] = []
        while True:
            wanted = block if frames is None else min(block, frames)
            part = self.read(wanted, dtype=dtype, always_2d=True)
            if frames is not None:
                frames -= wanted
            if len(part) == wanted and frames != 0:
                parts.append(part)
            elif parts:
                return np.concatenate([*parts, part])
            else:
                return part if len(part) == wanted else part.copy()  # without the room behind it


def regular_size(path: Path) -> int:
    """The bytes of a file.

    Raises:
        DeloresError: there is none, or it is a directory, a device or a pipe, on which reading could wait for ever.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        link = "this is a link to a file that does not exist" if os.path.islink(path) else "there is no such file"
        raise DeloresError(f"{shown(path)}: {link}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise DeloresError(f"{shown(path)}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if stat.S_ISREG(status.st_mode):
        return status.st_size
    kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
    raise DeloresError(f"{shown(path)}: expected a regular file, but this is {kind}")


def sample_rate_folders(folder: Path) -> list[int]:
    """The sample rates in Hz, ascending, that a task folder has its audio at, each in a folder of that name.

    Raises:
        DeloresError: there is none, or one is a rate that nothing is recorded at.
    """
    names = [path.name for path in folder.iterdir() if re.fullmatch("[0-9]+", path.name) and path.is_dir()]
    for name in names:
        if len(name) > 6 or name[0] == "0" or int(name) not in RATES:
            raise DeloresError(
                f"{folder}: the audio folder {name[:20]!r} is no sample rate; expected {RATES.start} to "
                f"{RATES.stop - 1} (Hz), such as 16000; rename or remove it"
            )
    if not names:
        raise DeloresError(f"{folder}: no audio; expected a folder named by its sample rate, such as 16000/")
    return sorted(map(int, names))


def _layout(path: Path, offset: int, size: int, is_mp3: bool) -> Layout:
    with path.open("rb", buffering=0) as stream:

        def read(place: int, count: int) -> bytes:
            if place >= size:  # a header may point anywhere
                return b""
            stream.seek(offset + place)
            return stream.read(min(count, size - place))

        return examine(read, size, is_mp3)


@functools.lru_cache(maxsize=1024)
def _counted_layout(path: Path, offset: int, size: int, changed_ns: int) -> Layout:
    """That of an MP3, which may have to be read whole for it: once for all pieces of a long recording."""
    return _layout(path, offset, size, True)


def _open(path: Path, member: Member | None, needed: int | None) -> tuple[_Decoder, Layout]:
    """The decoder of a file or a tar's member; ``needed``: the frames that an earlier look has found in it."""
    whole = regular_size(path)
    offset, size = (0, whole) if member is None else (member.offset, member.size)
    if size == 0:
        raise DeloresError("the file is empty (0 bytes)")
    if needed is not None and member is None and (decoder := _plain(path, needed)) is not None:
        return decoder, AS_IT_IS
    if os.path.splitext(path if member is None else member.name)[1].lower() == ".mp3":
        layout = _counted_layout(path, offset, size, os.stat(path).st_mtime_ns)
    else:
        layout = _layout(path, offset, size, False)
    if member is None and not layout.replaced:
        return _Decoder(_native(path)), layout
    window = _Window(path, layout.head, offset + layout.replaced, offset + size)
    return _Decoder(io.BufferedReader(window, 1 << 16)), layout


def _native(path: Path) -> str | bytes:
    """A path as soundfile takes it: bytes, where a name may hold any."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def _plain(path: Path, needed: int) -> _Decoder | None:
    """The decoder of a file whose sound is all there by libsndfile's own count, which spares the look at its header."""
    try:
        decoder = _Decoder(_native(path))
    except soundfile.SoundFileError:
        return None  # the header says why
    if needed <= decoder.frames < LONGEST_FRAMES and decoder.format != "MP3" and decoder.subtype != "GSM610":
        return decoder
    decoder.close()
    return None


@contextlib.contextmanager
def _opened(path: Path, member: Member | None, needed: int | None = None) -> Iterator[tuple[_Decoder, int | None]]:
    """The decoder and the number of frames, None where only decoding tells; faults name the file."""
    label = shown(path) if member is None else f"{shown(path)}/{shown(member.name)}"
    fault = "cannot be read as audio"
    try:
        with quiet_decoders(), contextlib.ExitStack() as stack:
            decoder, layout = _open(path, member, needed)
            stack.enter_context(decoder)
            if decoder.format == "RAW":  # what libsndfile makes of anything called .au
                raise DeloresError("cannot be read as audio (no known header)")
            check_rate(decoder.samplerate)
            fault = "cannot be decoded: damaged or cut short"
            frames = decoder.frames if layout.frames is None else min(decoder.frames, layout.frames)
            yield decoder, frames if frames < LONGEST_FRAMES else None
    except (soundfile.SoundFileError, OSError, RuntimeError, MemoryError) as error:
        raise DeloresError(f"{label}: {fault} ({_short(error)})") from None
    except DeloresError as error:
        text = str(error)
        raise DeloresError(text if text.startswith(f"{label}: ") else f"{label}: {text}") from None


def file_length(path: Path, member: Member | None = None) -> tuple[int, int]:
    """(frames, rate in Hz) of the file, or of a tar's member, by its header if that can be trusted.

    Raises:
        DeloresError: the file is missing, empty, not audio, cut short, or holds no samples.
    """
    with _opened(path, member) as (decoder, frames):
        if frames is None:
            frames = decoder.count()
        if frames <= 0:
            raise DeloresError("the file holds no samples")
        return frames, int(decoder.samplerate)


def read_channels(path: Path) -> tuple[NDArray[np.float32], int]:
    """The whole file as it is: (n, channels) float32, n > 0, all finite and on the scale of [-1, 1]; its rate in Hz.

    Raises:
        DeloresError: missing, no audio, cut short, without samples, NaN or infinity, or on another scale.
    """
    with _opened(path, None) as (decoder, frames):
        audio = decoder.take(frames, "float32")
        _check_length(decoder, audio, frames)
        _check_scale(audio)
        return audio, int(decoder.samplerate)


def read_piece(piece: Piece, sample_rate: int) -> NDArray[np.int16]:
    """The clip's samples (n,) int16 at ``sample_rate``: the mean channel, resampled by soxr and clipped.

    16 bits keep a cache of decoded audio small, and their rounding noise lies below the front-end's eps.

    Raises:
        DeloresError: undecodable, cut short, NaN or infinity, or not scaled to [-1, 1].
    """
    try:
        audio = _part(piece, sample_rate)
    except _NoWayThere:  # DWVW, and a FLAC whose header is wrong about its blocks
        audio = _part(piece, sample_rate, by_decoding=True)
    if audio.dtype == np.int16:
        return np.ascontiguousarray(audio[:, 0])
    mono = audio.mean(axis=1) if audio.shape[1] > 1 else audio[:, 0]
    if piece.rate != sample_rate:
        mono = soxr.resample(mono, piece.rate, sample_rate)
    return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)


def read_crop(piece: Piece, sample_rate: int, length: int, start: Callable[[int], int]) -> NDArray[np.int16]:
    """Up to ``length`` of the samples of :func:`read_piece`, from number ``start(how many there are)`` on.

    Of a plain WAV file no other sample is read.

    Raises:
        DeloresError: as :func:`read_piece`.
    """
    if piece.member is None and piece.rate == sample_rate:
        crop = _plain_crop(piece, length, start(piece.frames))
        if crop is not None:
            return crop
    samples = read_piece(piece, sample_rate)
    first = start(len(samples))
    return samples[first : first + length]


def _plain_crop(piece: Piece, length: int, start: int) -> NDArray[np.int16] | None:
    """A crop of a piece of 16-bit samples of one channel in a WAV file, as it lies there; None of any other file."""
    size = regular_size(piece.path)
    try:
        with open(piece.path, "rb", buffering=0) as stream:
            found = plain_samples(stream.read(HEAD), size)
            if found is None or found[1] != piece.rate or len(found[0]) < 2 * (piece.start + piece.frames):
                return None
            stream.seek(found[0].start + 2 * (piece.start + start))
            wanted = 2 * min(length, piece.frames - start)
            samples = stream.read(wanted)
    except OSError:
        return None  # the decoder says what it is
    return np.frombuffer(samples, "<i2").astype(np.int16, copy=False) if len(samples) == wanted else None


def _part(piece: Piece, sample_rate: int, by_decoding: bool = False) -> NDArray[Any]:
    """(n, channels) float32; int16 where resampling and mixing would give back what the file holds."""
    with _opened(piece.path, piece.member, piece.start + piece.frames) as (decoder, _):
        if by_decoding:
            decoder.count(piece.start)
        elif piece.start:
            decoder.skip(piece.start)
        # 16-bit samples of one channel at the rate wanted are what float32 and back would make of them.
        plain = decoder.subtype == "PCM_16" and decoder.channels == 1 and piece.rate == sample_rate
        audio = decoder.take(piece.frames, "int16" if plain else "float32")
        _check_length(decoder, audio, piece.frames)
        if not plain:
            _check_scale(audio)
        return audio


def _check_length(decoder: _Decoder, audio: NDArray[Any], frames: int | None) -> None:
    # An MP3's or Ogg's header has the length of the sound before it was encoded, which may come out shorter.
    if frames is not None and len(audio) < frames - (MISSING_FRAMES if decoder.format in ("MP3", "OGG") else 0):
        raise DeloresError(f"cut short, {frames} frames promised and {len(audio)} found; copy or download it again")
    if len(audio) == 0:
        raise DeloresError("the file holds no samples")


def _check_scale(audio: NDArray[Any]) -> None:
    peak = float(max(audio.max(), -audio.min()))  # NaN, if there is one
    if not math.isfinite(peak):
        raise DeloresError(f"the audio holds NaN or infinity ({int((~np.isfinite(audio)).sum())} samples)")
    if peak > LARGEST_PEAK:
        raise DeloresError(
            f"expected samples in [-1, 1], but the peak is {peak:g}: integers stored as floats? Divide by full scale"
        )


def _short(error: Exception) -> str:
    """The decoder's own words without the path, which the message names already, in one line."""
    text = " ".join(str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or "").split()).rstrip(".")
    if "regular file" in text:  # it is one: libsndfile's answer to an MP3 without a sound frame
        text = "no audio found in it"
    return text.removeprefix("Error : ") or "libsndfile does not say why"
