"""WebDataset shards: uncompressed tars whose members are read in place, at offsets that are indexed once.

A tar's labels and other members stand beside the audio and are not read. Follows the layout of
https://github.com/webdataset/webdataset, whose library is not needed: the pairing of a clip with its label by the
name before the first dot has no part in pre-training.
"""

from __future__ import annotations

import itertools
import math
import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, cast

from hear_delores.errors import DeloresError, shown
from pretrain.data.audio import Member
from pretrain.data.bounded import TAR_FAULTS, BoundedReader, check_member

__all__ = ["expand_braces", "is_tar", "read_members"]

_GROUP = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
#: Shards that a pattern may stand for; a folder may hold any number.
MAX_NAMES = 100_000
MAX_DIGITS = 30


def expand_braces(pattern: str) -> list[str]:
    """What a shell makes of ``{000..009}`` and ``{train,valid}``; a pattern without them stands for itself.

    Raises:
        DeloresError: more than 100,000 names, or braces within braces.
    """
    parts = _GROUP.split(pattern)  # literal, group, literal, ...
    names = math.prod(_count(part) for part in parts[1::2])
    if names > MAX_NAMES:
        raise DeloresError(f"{_short(pattern)}: expands to more than {MAX_NAMES:,} names; give fewer, or their folder")
    if len(parts) > 1 and any("{" in part or "}" in part for part in parts[::2]):
        raise DeloresError(f"{_short(pattern)}: expected no braces within braces; write the names out")
    choices = [_choices(part) if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _count(group: str) -> int:
    """How many texts a group stands for, counted without making them."""
    counted = _RANGE.fullmatch(group)
    if counted is None:
        return group.count(",") + 1
    if max(map(len, counted.groups())) > MAX_DIGITS:
        return MAX_NAMES + 1
    first, last = map(int, counted.groups())
    return abs(last - first) + 1


def _choices(group: str) -> list[str]:
    counted = _RANGE.fullmatch(group)
    if counted:
        first, last = counted.groups()
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        step = 1 if int(first) <= int(last) else -1
        return [f"{number:0{width}d}" for number in range(int(first), int(last) + step, step)]
    return group.split(",") if "," in group else [f"{{{group}}}"]


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."


def is_tar(path: Path) -> bool:
    """Whether a file is a WebDataset shard, by its name."""
    return path.suffix.lower() == ".tar"


def read_members(path: Path) -> tuple[list[Member], str | None]:
    """The files of a tar in its order, hidden ones left out, and what is wrong with it, if anything.

    Of a damaged tar these are the members before the damage.
    """
    members: list[Member] = []
    fault = None
    try:
        with path.open("rb") as stream, tarfile.open(fileobj=cast(IO[bytes], BoundedReader(stream)), mode="r:") as tar:
            for info in tar:
                check_member(info)
                name = PurePosixPath(info.name)
                hidden = any(part.startswith(".") and part != ".." for part in name.parts)
                if info.isreg() and not info.issparse() and not hidden:
                    members.append(Member(str(name), info.offset_data, info.size))
            # tarfile takes a broken or missing header for the end, which is a block of zeros
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                fault = f"{shown(path)}: damaged or cut short after {len(members)} files"
    except TAR_FAULTS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        whole = f"cut short after {len(members)} files" if members else "not an uncompressed tar"
        fault = f"{shown(path)}: {whole} ({error})"
    size = path.stat().st_size
    return [member for member in members if member.offset + member.size <= size], fault
