"""Bounds on what is read of an archive: headers of a tar may state any size, and compressed ones unpack to any."""

from __future__ import annotations

import errno
import struct
import tarfile
import zlib
from typing import IO

from hear_delores.errors import DeloresError

__all__ = ["TAR_FAULTS", "BoundedReader", "TooLarge", "check_member"]

#: What the tarfile, gzip and zlib modules raise on a damaged archive, a chain of a thousand long names among it.
TAR_FAULTS = (
    tarfile.TarError, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError, IndexError,
    RecursionError,
)  # fmt: skip
#: A long name or an extended header is read whole into memory, and takes some hundred bytes.
MOST_AT_ONCE = 4 << 20


class TooLarge(DeloresError):
    """More than the bounds allow."""


class BoundedReader:
    """A stream as tarfile reads it, that ends in an error where a header asks for too much.

    Args:
        stream: the archive's bytes, decompressed.
        limit: bytes from its start that may be read or passed over; None is no limit.
    """

    def __init__(self, stream: IO[bytes], limit: int | None = None) -> None:
        self._stream, self._limit, self._at = stream, limit, stream.tell()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_AT_ONCE:
            raise TooLarge(f"a header of {size:,} bytes at byte {self._at:,}, expected at most {MOST_AT_ONCE:,}")
        self._check(self._at + size)
        content = self._stream.read(size)
        self._at += len(content)
        return content

    def seek(self, place: int) -> int:
        self._check(place)
        try:
            self._at = self._stream.seek(place)
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise tarfile.ReadError("unexpected end of data") from None  # further than a file can reach
        return self._at

    def tell(self) -> int:
        return self._at

    def _check(self, place: int) -> None:
        # tarfile reads whole blocks: the end of the last may lie behind the last byte that is allowed.
        if self._limit is not None and place > self._limit + MOST_AT_ONCE:
            raise TooLarge(f"it unpacks to more than {self._limit:,} bytes")


def check_member(member: tarfile.TarInfo) -> None:
    """Raises ReadError for a size below 0, with which some versions of tarfile loop forever."""
    if member.size < 0 or member.offset_data < 0:
        raise tarfile.ReadError(f"a file of {member.size} bytes")
