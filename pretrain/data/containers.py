"""What the header of an audio file promises, compared with the bytes that are there.

libsndfile reads what it finds: a file cut in half comes out as half a sound, with no word about it. It also guesses
the length of an MP3 that does not state it, and takes a length of zero, as programs that write into a pipe leave it
behind, at its word. :func:`examine` tells these cases apart before the sound is decoded.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from hear_delores.errors import DeloresError
from pretrain.data.mpeg import count_frames, find_frame, frame_size, informed, read_tag

__all__ = ["AS_IT_IS", "HEAD", "RATES", "Layout", "check_rate", "examine", "plain_samples"]

RATES = range(1000, 768_000 + 1)
"""Hz. Nothing is recorded below (telephones have 8,000), nothing but bats above 192,000, and their detectors end at
768,000. Resampling beyond such bounds is how a damaged header asks for gigabytes."""
_OPEN_ENDS = (0x7F00_0000, 0x7FFF_0000, 0xFFFF_0000)  # up to 64 KiB above these, a size says that it was not known
_OPEN_END_64 = 1 << 60
HEAD = 4096  # bytes that are read at once: the headers of nearly all files
_OGG_PAGE = 27 + 255 + 255 * 255  # the longest
_MOST_CHUNKS = 10_000
_CODED_IN_BLOCKS = {b"\x02\0": "MS ADPCM", b"\x11\0": "IMA ADPCM", b"1\0": "GSM"}  # by the tag of a WAV's format
_ID3 = 10

Read = Callable[[int, int], bytes]  # up to n bytes from an offset on
_Order = Literal["<", ">"]


class Layout(NamedTuple):
    """How a file is to be given to the decoder: ``head``, and what follows the first ``replaced`` bytes.

    Attributes:
        frames: how many there are, where the decoder would count wrongly.
    """

    head: bytes = b""
    replaced: int = 0
    frames: int | None = None


AS_IT_IS = Layout()


class _Chunk(NamedTuple):
    name: bytes
    place: int  # of its content
    size: int  # of its content, as it is stated


def examine(read: Read, size: int, is_mp3: bool) -> Layout:
    """Looks at the header, and where it is needed at the end, of a file of ``size`` bytes.

    Args:
        read: gives up to n bytes from an offset on.
        is_mp3: the file is called so, whatever its first bytes are.

    Raises:
        DeloresError: the file is cut short, or states a sample rate outside :data:`RATES`.
    """
    head = read(0, HEAD)

    def reading(place: int, count: int) -> bytes:
        return head[place : place + count] if place + count <= len(head) else read(place, count)

    kind = head[:4]
    if kind in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _wave(reading, size, ">" if kind == b"RIFX" else "<")
    if kind == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(reading, size)
    if kind in (b".snd", b"dns."):
        return _au(head, size, ">" if kind == b".snd" else "<")
    if kind == b"riff":
        return _wave64(reading, size)
    if kind == b"caff":
        return _caf(reading, size)
    if kind == b"OggS":
        return _ogg(read, size)
    if kind == b"fLaC":
        return _flac(head, size)
    if is_mp3 or kind[:3] == b"ID3" or (kind[:1] == b"\xff" and find_frame(head) == 0):
        return _mp3(read, size, head, is_mp3)
    return AS_IT_IS


def plain_samples(head: bytes, size: int) -> tuple[range, int] | None:
    """Where the samples of a WAV file of ``size`` bytes are, and its rate, if they are plain: 16-bit, one channel.

    The bytes from the first sample to the last, all of which are there. None for any other file, and where ``head``,
    its first bytes, does not tell.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    rate = 0
    for chunk in _chunks(lambda place, count: head[place : place + count], 12, "<"):
        if chunk.name == b"fmt ":
            tag, channels, rate, _, block, bits = struct.unpack(
                "<HHIIHH", head[chunk.place : chunk.place + 16].ljust(16)
            )
            if (tag, channels, block, bits) != (1, 1, 2, 16) or rate not in RATES:
                return None
        elif chunk.name == b"data":
            known = 0 < chunk.size <= size - chunk.place and not _is_unknown(chunk.size) and chunk.size % 2 == 0
            return (range(chunk.place, chunk.place + chunk.size), rate) if rate and known else None
        elif chunk.name not in (b"LIST", b"fact", b"JUNK", b"bext", b"PEAK"):
            return None
    return None


def check_rate(rate: float) -> None:
    """Raises a DeloresError for a sample rate that no recording has."""
    if not (math.isfinite(rate) and RATES.start <= rate < RATES.stop):
        raise DeloresError(
            f"the header states a sample rate of {rate:.10g} Hz; expected {RATES.start:,} to {RATES.stop - 1:,} Hz"
        )


def _is_unknown(stated: int) -> bool:
    """Whether a size of 32 bits is what programs write who do not know it: -1, the largest, or a little less."""
    return any(end <= stated <= end + 0x1_0000 for end in _OPEN_ENDS)


def _check_whole(stated: int, present: int) -> None:
    if present < stated:
        raise DeloresError(
            f"cut short: the header states {stated:,} bytes of audio, and the file holds {max(0, present):,}; copy or "
            "download it again"
        )


def _number(order: _Order, kind: str, data: bytes) -> int:
    """The integer at the beginning of the data; 0 where the file ends before it."""
    width = struct.calcsize(kind)
    return int(struct.unpack(order + kind, data[:width])[0]) if len(data) >= width else 0


def _chunks(
    read: Read, start: int, order: _Order, kind: str = "I", *, header: int = 8, counted: int = 0, align: int = 2
) -> Iterator[_Chunk]:
    """The chunks of a RIFF, IFF, Wave64 or CAF file; the last one may reach beyond its end.

    Args:
        kind: of the size, which ends the ``header`` bytes before the content.
        counted: bytes of the header that the size counts in.
        align: the content is padded to a multiple of it.
    """
    place = start
    for _ in range(_MOST_CHUNKS):
        found = read(place, header)
        if len(found) < header:
            return
        size = _number(order, kind, found[-struct.calcsize(kind) :]) - counted
        yield _Chunk(found[:4], place + header, size)
        place += header + max(0, size + -size % align)


def _wave(read: Read, size: int, order: _Order) -> Layout:
    whole, fmt, fact, long = _number(order, "I", read(4, 4)), b"", None, b""
    for chunk in _chunks(read, 12, order):
        if chunk.name == b"fmt ":
            fmt = read(chunk.place, min(chunk.size, 40))
            check_rate(_number(order, "I", fmt[4:8]))
        elif chunk.name == b"fact":
            fact = _number(order, "I", read(chunk.place, 4))
        elif chunk.name == b"ds64":
            long = read(chunk.place, 24)
        elif chunk.name == b"data":
            present = size - chunk.place
            if long:
                return _wave_64_bit(read, chunk, present, fmt, long)
            if chunk.size == 0 and present and _is_open(read, size, chunk, whole):
                return Layout(read(0, chunk.place - 4) + b"\xff\xff\xff\xff", chunk.place)
            if not _is_unknown(chunk.size):
                _check_whole(chunk.size, present)
                return Layout(frames=_block_frames(fmt, chunk.size, fact))
            break
    return AS_IT_IS


def _is_open(read: Read, size: int, data: _Chunk, whole: int) -> bool:
    """Whether a data chunk of size 0 is one whose size was never filled in, rather than one without a sound."""
    if whole + 8 <= data.place or _is_unknown(whole):
        return True
    following = read(data.place, 8)
    is_chunk = re.fullmatch(rb"[ -~]{4}", following[:4]) is not None
    return not (is_chunk and data.place + 8 + _number("<", "I", following[4:]) <= size + 1)


def _block_frames(fmt: bytes, size: int, fact: int | None) -> int | None:
    """The frames of a coding in blocks, the last of which is filled up; None for any other, and where it is not known.

    Of GSM 6.10, libsndfile takes the pad byte for another block, and decodes what it has not read.
    """
    coding = _CODED_IN_BLOCKS.get(fmt[:2])
    block, per_block = _number("<", "H", fmt[12:14]), _number("<", "H", fmt[18:20])
    if coding is None or not block or not per_block:
        return None
    frames = (size // block if coding == "GSM" else -(-size // block)) * per_block
    if fact and frames - per_block < fact <= frames:
        return fact
    return frames if coding == "GSM" else None


def _wave_64_bit(read: Read, data: _Chunk, present: int, fmt: bytes, long: bytes) -> Layout:
    """RF64, whose sizes are in the chunk ds64: of the file, of the data, and the number of frames."""
    stated = _number("<", "Q", long[8:16]) if data.size == 0xFFFF_FFFF else data.size
    if 0 < stated < _OPEN_END_64:
        _check_whole(stated, present)
        return AS_IT_IS
    block = _number("<", "H", fmt[12:14])
    if not present or not block:
        return AS_IT_IS
    head = read(0, data.place)
    place = head.index(b"ds64") + 8
    sizes = struct.pack("<QQQ", data.place + present - 8, present, present // block)
    return Layout(head[:place] + sizes + head[place + 24 :], data.place)


def _aiff(read: Read, size: int) -> Layout:
    for chunk in _chunks(read, 12, ">"):
        if chunk.name == b"COMM":
            check_rate(_extended(read(chunk.place + 8, 10)))
        elif chunk.name == b"SSND":
            if chunk.size > 8 and not _is_unknown(chunk.size):
                _check_whole(chunk.size - 8, size - chunk.place - 8)
            break
    return AS_IT_IS


def _extended(data: bytes) -> float:
    """The number of 80 bits that an AIFF states its sample rate in."""
    exponent, mantissa = _number(">", "H", data), _number(">", "Q", data[2:])
    if exponent & 0x7FFF == 0x7FFF:
        return math.nan
    value = math.ldexp(mantissa, min(exponent & 0x7FFF, 17000) - 16383 - 63) if exponent & 0x7FFF < 17000 else math.inf
    return -value if exponent & 0x8000 else value


def _au(head: bytes, size: int, order: _Order) -> Layout:
    place, stated = (_number(order, "I", head[i : i + 4]) for i in (4, 8))
    check_rate(_number(order, "I", head[16:20]))
    present = size - place
    if stated == 0 and present > 0 and 24 <= place <= len(head):
        return Layout(head[:8] + b"\xff\xff\xff\xff" + head[12:place], place)
    if not _is_unknown(stated):
        _check_whole(stated, present)
    return AS_IT_IS


def _wave64(read: Read, size: int) -> Layout:
    for chunk in _chunks(read, 40, "<", "Q", header=24, counted=24, align=8):
        if chunk.name == b"fmt ":
            check_rate(_number("<", "I", read(chunk.place + 4, 4)))
        elif chunk.name == b"data":
            if 0 < chunk.size < _OPEN_END_64:
                _check_whole(chunk.size, size - chunk.place)
            break
    return AS_IT_IS


def _caf(read: Read, size: int) -> Layout:
    for chunk in _chunks(read, 8, ">", "q", header=12, align=1):
        if chunk.name == b"desc":
            check_rate(struct.unpack(">d", read(chunk.place, 8).ljust(8, b"\0"))[0])
        elif chunk.name == b"data":
            present = size - chunk.place
            if chunk.size == -1 and present > 4:
                return Layout(read(0, chunk.place - 8) + struct.pack(">q", present), chunk.place)
            _check_whole(chunk.size - 4, present - 4)
            break
    return AS_IT_IS


def _ogg(read: Read, size: int) -> Layout:
    """A file that was cut ends within a page."""
    tail = read(max(0, size - _OGG_PAGE), _OGG_PAGE)
    place = tail.rfind(b"OggS\0")
    if place < 0:
        return AS_IT_IS
    page = tail[place:]
    segments = page[26] if len(page) > 26 else 255
    stated = 27 + segments + sum(page[27 : 27 + segments])
    if len(page) < 27 + segments or len(page) < stated:
        raise DeloresError("cut short: the file ends within a page of its Ogg stream; copy or download it again")
    return AS_IT_IS


def _flac(head: bytes, size: int) -> Layout:
    """A frame takes ten bytes or more and holds 65,535 samples or fewer."""
    if len(head) < 26:
        return AS_IT_IS
    bits = int.from_bytes(head[18:26], "big")  # rate 20, channels 3, sample size 5, samples 36
    check_rate(bits >> 44)
    if (bits & (1 << 36) - 1) > size * 6554:
        raise DeloresError(
            "cut short: the header states more samples than the file can hold; copy or download it again"
        )
    return AS_IT_IS


def _mp3(read: Read, size: int, head: bytes, is_mp3: bool) -> Layout:
    """Counts the frames, unless there is a tag that says how many there are and agrees with the size of the file."""
    start = 0
    while head[:3] == b"ID3" and len(head) >= _ID3:
        start += _ID3 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        head = read(start, HEAD)
    if not is_mp3 and head[:1] != b"\xff":
        return AS_IT_IS  # tags before something else, such as FLAC
    is_clean = find_frame(head) == 0
    if not is_clean:  # no frame where the tags end: looked for in all of the file
        start, head = 0, read(0, size)
    first = find_frame(head)
    if first is None:
        if re.match(rb"\xff[\xf4-\xf7\xfc-\xff]", head):
            return AS_IT_IS  # of layer I or II
        raise DeloresError("cannot be read as audio: no frame of an MP3 in it")
    tag = read_tag(head, first)
    present = size - start - first
    as_it_is = AS_IT_IS if is_clean else Layout(replaced=start + first)
    if tag is not None and tag.frames and tag.size and abs(present - tag.size) <= 256 + tag.size // 100:
        return as_it_is
    data = read(start, size - start)
    found = count_frames(data, first)
    if tag is None or not tag.frames:
        return Layout(informed(data[first : first + 4], found.frames), start + first)
    if found.frames - 1 < tag.frames - 2:
        raise DeloresError(
            f"cut short: the header states {tag.frames:,} frames of MP3, and the file holds "
            f"{max(0, found.frames - 1):,}; copy or download it again"
        )
    if found.frames - 1 <= tag.frames + 1:
        return as_it_is
    # several files in a row, of which the tag counts the first one
    return Layout(informed(data[first : first + 4], found.frames - 1), start + first + frame_size(data, first))
