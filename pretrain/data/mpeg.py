"""The frames of an MP3, counted: without a tag that says how many there are, libsndfile guesses from the first one."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FrameCount", "Tag", "count_frames", "find_frame", "frame_size", "informed", "read_tag"]

# kbit/s by the header's four bits, layer III of MPEG-1 and of MPEG-2 and 2.5; 0 is "free", 15 is not allowed
_KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_RATES = {3: (44100, 48000, 32000, 0), 2: (22050, 24000, 16000, 0), 0: (11025, 12000, 8000, 0)}  # by version bits
_ENDS = (b"", b"TAG", b"APE")  # what may follow the last frame
_LARGEST = 1 << 16  # bytes in which two frames in a row are looked for


class Tag(NamedTuple):
    """What the Xing, Info or VBRI tag in the first frame says; None for what it leaves out.

    Attributes:
        frames: that follow the tag's own.
        size: bytes from the tag's frame to the end of the last one.
    """

    frames: int | None
    size: int | None


class FrameCount(NamedTuple):
    """``frames`` in a row from byte ``first`` on."""

    first: int
    frames: int


def _size(second: int, third: int) -> int:
    """Bytes of the frame with this second and third byte of its header; 0: there is no such frame of layer III."""
    version, rate = second >> 3 & 3, _RATES.get(second >> 3 & 3, (0, 0, 0, 0))[third >> 2 & 3]
    kbits = _KBITS[1 if version == 3 else 2][third >> 4]
    if second & 0xE0 != 0xE0 or second >> 1 & 3 != 1 or not rate or not kbits:
        return 0
    return (144000 if version == 3 else 72000) * kbits // rate + (third >> 1 & 1)


_SIZES = [_size(pair >> 8, pair & 0xFF) for pair in range(1 << 16)]


def frame_size(data: bytes, place: int) -> int:
    """The size of the frame whose header is at ``place``; 0 where there is none."""
    if place + 4 > len(data) or data[place] != 0xFF:
        return 0
    return _SIZES[data[place + 1] << 8 | data[place + 2]]


def find_frame(data: bytes, start: int = 0) -> int | None:
    """The place of the first frame that another one follows, or the end."""
    place = start - 1
    while (place := data.find(b"\xff", place + 1, start + _LARGEST)) >= 0:
        size = frame_size(data, place)
        end = place + size
        if size and end <= len(data) and (_alike(data, place, end) or data[end : end + 3] in _ENDS):
            return place
    return None


def _alike(data: bytes, one: int, other: int) -> bool:
    """Whether there is a frame at ``other`` of the version and sample rate of that at ``one``."""
    return (
        frame_size(data, other) > 0
        and (data[one + 1] ^ data[other + 1]) & 0x1E == (data[one + 2] ^ data[other + 2]) & 0xC == 0
    )


def count_frames(data: bytes, first: int) -> FrameCount:
    """The whole frames from that at ``first`` on; what lies between them, such as tags, is passed over."""
    place, frames = first, 0
    while place < len(data):
        size = frame_size(data, place)
        if size and _alike(data, first, place):
            frames += place + size <= len(data)
            place += size
            continue
        while (found := find_frame(data, place)) is None and place + _LARGEST < len(data):
            place += _LARGEST
        if found is None:
            break
        place = found if _alike(data, first, found) else found + 1
    return FrameCount(first, frames)


def _side(header: bytes) -> int:
    """Bytes of a frame between its header of four and a Xing tag."""
    is_mono = header[3] >> 6 == 3
    return (17 if is_mono else 32) if header[1] >> 3 & 3 == 3 else (9 if is_mono else 17)


def read_tag(data: bytes, first: int) -> Tag | None:
    """The tag in the frame at ``first``, if it holds one."""
    place = first + 4 + _side(data[first : first + 4])
    if data[place : place + 4] in (b"Xing", b"Info") and len(data) >= place + 16:
        flags = data[place + 7]
        numbers = [int.from_bytes(data[place + i : place + i + 4], "big") for i in (8, 12)]
        frames = numbers[0] if flags & 1 else None
        return Tag(frames, numbers[flags & 1] if flags & 2 else None)
    if data[first + 36 : first + 40] == b"VBRI" and len(data) >= first + 54:
        size, frames = (int.from_bytes(data[first + i : first + i + 4], "big") for i in (46, 50))
        return Tag(frames, size)
    return None


def informed(header: bytes, frames: int) -> bytes:
    """A frame like that with these first four bytes, silent, with a tag that says how many ``frames`` follow it."""
    head = bytearray(header)
    head[1] |= 1  # no checksum
    head[2] = head[2] & 0x0D | 0xE0  # the largest of its kind, without padding: the tag has room
    frame = bytearray(_SIZES[head[1] << 8 | head[2]])
    frame[:4] = head
    place = 4 + _side(header)
    frame[place : place + 12] = b"Info" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return bytes(frame)
