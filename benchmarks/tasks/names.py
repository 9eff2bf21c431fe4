"""How a clip of a corpus is called in a task folder."""

from __future__ import annotations

import hashlib
import os
import unicodedata

__all__ = ["LONGEST_NAME", "clip_name"]

#: Bytes of a file's name that every usual file system takes.
LONGEST_NAME = 255


def clip_name(name: str) -> str:
    """``name`` as a file's name that JSON, CSV and every usual file system take; most names stay as they are.

    Bytes that are no UTF-8, and control characters, become ``%`` and two hexadecimal digits. A name of more than
    255 bytes ends in a hash of all of it: different names stay different.

    >>> clip_name("a__b.wav"), clip_name("caf\\udce9.wav"), clip_name("Käfer.wav")
    ('a__b.wav', 'caf%E9.wav', 'Käfer.wav')
    """
    written = "".join(map(_written, name)) if not name.isprintable() else name
    if len(written.encode()) <= LONGEST_NAME:
        return written
    stem, ending = os.path.splitext(written)
    end = f"-{hashlib.sha256(written.encode()).hexdigest()[:16]}{ending}"
    return stem.encode()[: LONGEST_NAME - len(end.encode())].decode(errors="ignore") + end


def _written(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # as Python keeps a byte that is no UTF-8
        return f"%{ord(character) - 0xDC00:02X}"
    if unicodedata.category(character) in ("Cc", "Cs"):
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
    return character
