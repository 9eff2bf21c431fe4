"""WebDataset shards: uncompressed tars whose members are read in place, at offsets that are indexed once.

A tar's labels and other members stand beside the audio and are not read. Follows the layout of
https://github.com/webdataset/webdataset, whose library is not needed: the pairing of a clip with its label by the
name before the first dot has no part in pre-training.
"""

from __future__ import annotations

import itertools
import re
import tarfile
from pathlib import Path, PurePosixPath

from hear_delores.errors import shown
from pretrain.audio import Member

__all__ = ["expand_braces", "is_tar", "read_members"]

_GROUP = re.compile(r"\{([^{}]*)\}")


def expand_braces(pattern: str) -> list[str]:
    """What a shell makes of ``{000..009}`` and ``{train,valid}``; a pattern without them stands for itself."""
    parts = _GROUP.split(pattern)  # literal, group, literal, ...
    choices = [_choices(part) if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _choices(group: str) -> list[str]:
    counted = re.fullmatch(r"(\d+)\.\.(\d+)", group)
    if counted:
        first, last = counted.groups()
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        step = 1 if int(first) <= int(last) else -1
        return [f"{number:0{width}d}" for number in range(int(first), int(last) + step, step)]
    return group.split(",") if "," in group else [f"{{{group}}}"]


def is_tar(path: Path) -> bool:
    return path.suffix.lower() == ".tar"


def read_members(path: Path) -> tuple[list[Member], str | None]:
    """The files of a tar in its order, hidden ones left out, and what is wrong with it, if anything.

    Of a damaged tar these are the members before the damage.
    """
    members: list[Member] = []
    fault = None
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                name = PurePosixPath(info.name)
                hidden = any(part.startswith(".") and part != ".." for part in name.parts)
                if info.isreg() and not info.issparse() and not hidden:
                    members.append(Member(str(name), info.offset_data, info.size))
            end = tar.offset
        with path.open("rb") as stream:
            stream.seek(end)
            # tarfile takes a broken or missing header for the end, which is a block of zeros
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                fault = f"{shown(path)}: damaged or cut short after {len(members)} files"
    except tarfile.TarError as error:
        whole = f"cut short after {len(members)} files" if members else "not an uncompressed tar"
        fault = f"{shown(path)}: {whole} ({error})"
    size = path.stat().st_size
    return [member for member in members if member.offset + member.size <= size], fault
