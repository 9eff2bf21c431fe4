"""The parts of a pool on disk: for each unit a folder of FLAC files, and ``part.json``, which says what they are.

FLAC loses nothing, and the same samples give the same bytes again (an Ogg stream has a random serial number). A part
is whole or not there at all.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pydantic
import soundfile
from numpy.typing import NDArray

from hear_delores.documents import read_text, to_json
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_folder
from pretrain.pools.clips import DIMENSIONS, fingerprint, trimmed
from pretrain.pools.recipe import Recipe
from pretrain.pools.unit import Fault, Notice, Sound, Unit

__all__ = ["PART_FILE", "Clip", "Part", "make_part", "read_part"]

PART_FILE = "part.json"
VERSION = 1  # of the code that makes a part: after a change of this number, all parts are made again
MOST_UNUSED = 200  # sounds in a row without a clip, of a unit whose sounds have no end


class Clip(pydantic.BaseModel):
    """A file of a part; its keys are those of :class:`pretrain.pools.unit.Sound`, and three more.

    Attributes:
        file: the name of the FLAC file in the part's folder.
        samples: its length.
        sounding: its length without the silence that was left at both ends, in samples.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    file: str
    original: str
    start: float
    licence: str
    group: str
    samples: int
    sounding: int


class Part(pydantic.BaseModel):
    """``part.json``: the hash of what a part was made of, its clips in order, their fingerprints, and (file, reason)
    of what gave no clips."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    identity: str
    clips: list[Clip]
    prints: str  # (n, 96) int8 in base 64
    faults: list[tuple[str, str]]

    def fingerprints(self) -> NDArray[np.int8]:
        """(n_clips, 96) int8, as of :func:`pretrain.pools.clips.fingerprint`."""
        return np.frombuffer(base64.b64decode(self.prints), np.int8).reshape(len(self.clips), DIMENSIONS)


def identity(unit: Unit, recipe: Recipe) -> str:
    """The hash of everything that decides a part's content."""
    decisive = {"version": VERSION, "unit": unit.key, "hours": unit.hours}
    decisive |= recipe.model_dump(include={"seed", "sample_rate", "clip_s", "min_s"})
    return hashlib.sha256(to_json(decisive, sort_keys=True).encode()).hexdigest()


def read_part(folder: Path, unit: Unit, recipe: Recipe) -> Part | None:
    """The part in a folder; None where there is none, or one that was made of something else."""
    if not (folder / PART_FILE).is_file():
        return None
    try:
        part = Part.model_validate_json(read_text(folder / PART_FILE))
    except (pydantic.ValidationError, DeloresError):  # of another version, or damaged
        return None
    return part if part.identity == identity(unit, recipe) else None


def make_part(folder: Path, unit: Unit, recipe: Recipe) -> Part:
    """Makes the part of a unit in ``folder``, in place of any part that is there.

    What is rendered has no end. It stops at the unit's hours, or where 200 sounds in a row are silent or too short.
    """
    clips: list[Clip] = []
    prints: list[NDArray[np.int8]] = []
    faults: list[tuple[str, str]] = []
    room = None if unit.hours is None else round(unit.hours * 3600 * recipe.sample_rate)
    unused = 0
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder, (PART_FILE,)) as new, tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as work:
        for sound in unit.sounds(Path(work)):
            if isinstance(sound, Notice):
                (new / "copyright.txt").write_text(sound.text, encoding="utf-8")
            elif isinstance(sound, Fault):
                faults.append((sound.original, sound.reason))
            elif (clip := _write(new, len(clips), sound, recipe)) is not None:
                clips.append(clip[0])
                prints.append(clip[1])
                room = None if room is None else room - clip[0].samples
                unused = 0
            else:
                unused += 1
            if room is not None and (room <= 0 or unused == MOST_UNUSED):
                break
        if room is not None and unused == MOST_UNUSED:
            reason = f"no more were made: {unused} sounds in a row are silent or shorter than {recipe.min_s:g} s"
            faults.append((unit.name, reason))
        raw = np.concatenate(prints).tobytes() if prints else b""
        code = base64.b64encode(raw).decode("ascii")
        part = Part(identity=identity(unit, recipe), clips=clips, prints=code, faults=faults)
        (new / PART_FILE).write_text(part.model_dump_json() + "\n", encoding="utf-8")
    return part


def _write(folder: Path, number: int, sound: Sound, recipe: Recipe) -> tuple[Clip, NDArray[np.int8]] | None:
    """Writes a sound without its silent ends; the clip and its fingerprint, None if less than ``min_s`` is left."""
    rate = recipe.sample_rate
    samples = trimmed(sound.samples, rate)
    if len(samples) < recipe.min_s * rate:
        return None
    name = f"{number:05d}.flac"
    soundfile.write(folder / name, samples, rate, subtype="PCM_16")
    bare = trimmed(samples, rate, margin=0)
    clip = Clip(
        file=name,
        original=sound.original,
        start=round(sound.start, 3),
        licence=sound.licence,
        group=sound.group,
        samples=len(samples),
        sounding=len(bare),
    )
    return clip, fingerprint(bare, rate)
