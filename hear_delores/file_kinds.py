"""What a file is that was given as a checkpoint but is none: told by its first bytes, with advice."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

__all__ = ["begins_as_safetensors", "explain_no_checkpoint"]

ENOUGH = 1024
_LFS = b"version https://git-lfs.github.com/spec/"
_UNPACK = "it is {}: unpack it first ({})"
_UNKNOWN = "it is {}, of an unknown format here: give a file of torch.save or a .safetensors file"
_BEGINNINGS = (
    (b"\x1f\x8b", _UNPACK.format("compressed by gzip", "gunzip")),
    (b"BZh", _UNPACK.format("compressed by bzip2", "bunzip2")),
    (b"\xfd7zXZ\x00", _UNPACK.format("compressed by xz", "unxz")),
    (b"\x28\xb5\x2f\xfd", _UNPACK.format("compressed by zstd", "unzstd")),
    (b"7z\xbc\xaf\x27\x1c", _UNPACK.format("compressed by 7-Zip", "7z x")),
    (b"Rar!\x1a\x07", _UNPACK.format("compressed by RAR", "unrar x")),
    (b"\x89HDF\r\n\x1a\n", _UNKNOWN.format("an HDF5 file, as Keras writes them")),
    (b"\x93NUMPY", _UNKNOWN.format("a NumPy array")),
    (b"GGUF", _UNKNOWN.format("a GGUF file")),
    (b"RIFF", _UNKNOWN.format("a RIFF file, such as WAV audio")),
    (b"fLaC", _UNKNOWN.format("FLAC audio")),
    (b"\x89PNG", _UNKNOWN.format("a PNG picture")),
    (b"%PDF", _UNKNOWN.format("a PDF document")),
)


def begins_as_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then JSON. OSError: it cannot be read."""
    with open(path, "rb") as stream:
        return stream.read(9)[8:] == b"{"


def explain_no_checkpoint(path: Path) -> str | None:
    """What ``path`` is, and what to do, for the end of an error; None where it may be a checkpoint.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        start = stream.read(ENOUGH)
    if not start:
        return "it is empty: the file is damaged, copy it again"
    if start.startswith(_LFS):
        size = re.search(rb"^size (\d{1,18})$", start, re.MULTILINE)
        of = f" to a file of {int(size[1]):,} bytes" if size else ""
        return f"it is a Git LFS pointer{of}, not the file itself: run 'git lfs pull' in the repository that it is from"
    for mark, what in _BEGINNINGS:
        if start.startswith(mark):
            return what
    if start[257:262] == b"ustar":
        return _UNPACK.format("a tar archive", "tar -xf")
    if start.startswith(b"PK\x03\x04"):
        return _explain_zip(path)
    return _explain_text(start)


def _explain_text(start: bytes) -> str | None:
    """Text is no checkpoint of any kind: what the text looks like."""
    try:
        text = start.decode("utf-8-sig", errors="strict" if len(start) < ENOUGH else "ignore")
    except UnicodeDecodeError:
        return None
    if len(text) < 8 or not all(character.isprintable() or character in "\t\r\n\f" for character in text):
        return None
    lower = text.lstrip().lower()
    if lower.startswith(("<!doctype", "<html", "<?xml", "<head", "<body", "<!--", "<error")):
        return (
            "it is a web page, not the file that its address promised: download the file itself (on GitHub and Hugging "
            "Face the link 'raw' or 'download'), and sign in where that is asked for"
        )
    words = " ".join(text.split())
    words = words if len(words) <= 60 else f"{words[:60]}..."
    if lower.startswith(("{", "[")):
        return f"it is JSON text, such as a server's answer to a request that failed ({words}): download it again"
    return f"it is a text file of an unknown format, which begins {words!r}: check the path, or download it again"


def _explain_zip(path: Path) -> str | None:
    """torch.save writes a zip of uncompressed members, one of which is named data.pkl."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return None  # cut short: torch says so
    names = [member.filename for member in members]
    if not any(name.endswith("data.pkl") for name in names):
        inside = ", ".join(names[:3]) or "nothing"
        return f"it is a zip archive that torch.save did not make (it holds {inside}): unpack it first (unzip)"
    if any(name.endswith(("constants.pkl", "/code/")) or "/code/" in name for name in names):
        return (
            "it is a TorchScript archive, which holds code: save the state dict alone "
            "(torch.save(torch.jit.load(...).state_dict(), ...)) with the program that made it"
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        return "it is a zip archive with compressed members, which torch.save does not write: download the file again"
    return None
