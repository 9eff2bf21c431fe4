"""``delores pool``: a recipe -> a pool of clips with a table that says where each is from, and under what licence.

The pool is a function of the recipe, the versions of its packages and synthesisers, its folders of audio, and the
folders of ``without``. A stopped command resumes with the first part that is not whole.
"""

from __future__ import annotations

import csv
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hear_delores.errors import DeloresError, shown
from hear_delores.files import atomic_path, remove_leftovers, remove_tree
from pretrain.locks import LOCK_FILE, folder_lock
from pretrain.pools.clips import DIMENSIONS, fingerprint, near_duplicates, trimmed
from pretrain.pools.debian import find_archives
from pretrain.pools.notes import soundfont_unit
from pretrain.pools.parts import PART_FILE, Clip, Part, make_part, read_part
from pretrain.pools.recipe import Debian, Espeak, Folder, Recipe, SoundFont, read_recipe
from pretrain.pools.recordings import audio_below, clips_of, folder_unit, package_unit
from pretrain.pools.spoken import spoken_unit
from pretrain.pools.unit import Fault, Sound, Unit

if TYPE_CHECKING:
    from pretrain.data import corpus  # which loads torch

__all__ = ["COLUMNS", "Made", "make_pool"]

POOL_FILE, SKIPPED_FILE, AUDIO, ARCHIVES = "pool.csv", "skipped.csv", "audio", "debs"
COLUMNS = ("file", "group", "source", "package", "version", "licence", "hours", "original", "original_start")


class Made(NamedTuple):
    """A pool, as :func:`make_pool` has made it.

    Attributes:
        table: the path of pool.csv.
        clips: their number in the table.
        hours: (source, licence) -> hours, in the order of the recipe.
        near: the number of clips that were left out as near duplicates of a clip that stays, or of one of ``without``.
        capped: the number of clips that were left out because their source has more than its ``max_hours``.
        skipped: (source/unit, file, reason) of the files that cannot be read, and ("without", file, reason) of those
            of ``without``, with which nothing was compared.
    """

    table: Path
    clips: int
    hours: dict[tuple[str, str], float]
    near: int
    capped: int
    skipped: list[tuple[str, str, str]]


def make_pool(
    recipe: str | Path,
    out: str | Path,
    *,
    debs: Sequence[str | Path] = (),
    without: Sequence[str | Path] = (),
    progress: corpus.Progress | None = None,
) -> Made:
    """Makes the pool of a recipe in the folder ``out``, keeping the parts that are there already.

    Args:
        recipe: a YAML file, or the name of a bundled recipe.
        debs: folders with .deb files; a package that is in none of them is downloaded.
        without: folders of audio, such as tasks: the pool has no near duplicate of their clips.
        progress: called with what is done, how many of them are, and how many there are.

    Raises:
        DeloresError: the recipe does not fit, a package cannot be fetched or read, a program is missing, ``out`` holds
            something else, or no clip is left.
    """
    progress = progress or (lambda what, done, total: None)
    wanted, base = read_recipe(recipe)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise DeloresError(f"{out}: expected an empty folder or a pool, but it is a file")
    with folder_lock(out, "making a pool in this folder"):
        ours = {AUDIO, ARCHIVES, POOL_FILE, SKIPPED_FILE, LOCK_FILE}
        others = sorted(p.name for p in out.iterdir() if p.name not in ours and not p.name.startswith("."))
        if others and not (out / AUDIO).is_dir():
            raise DeloresError(f"{out}: expected an empty folder or a pool, but it holds {others[0]}")
        remove_leftovers(out)
        units = _units(wanted, base, [Path(folder) for folder in debs], out)
        known, lengths, unread = _fingerprints_of([Path(folder) for folder in without], wanted, out, progress)
        parts = [_part(out, unit, wanted) for unit in _with_progress(units, progress)]
        kept, near, capped = _chosen(units, parts, wanted, known, lengths)
        for unit, part, stays in zip(
            units, parts, kept, strict=True
        ):  # an earlier run may have removed a clip of these
            folder = _folder(out, unit)
            if not all((folder / clip.file).is_file() for clip, stay in zip(part.clips, stays, strict=True) if stay):
                make_part(folder, unit, wanted)
        skipped = [(f"{unit.source}/{unit.name}", *fault) for unit, part in zip(units, parts, strict=True)
                   for fault in part.faults]  # fmt: skip
        skipped += unread
        hours = _write_tables(out, wanted, units, parts, kept, skipped)
        _remove_leftout(out, units, parts, kept)
    made = Made(out / POOL_FILE, sum(int(stays.sum()) for stays in kept), hours, near, capped, skipped)
    if not made.clips and capped:
        raise DeloresError(f"{recipe}: expected clips, but each is longer than max_hours allows; allow more")
    if not made.clips:
        raise DeloresError(
            f"{recipe}: expected clips, but its sources give none; {out / SKIPPED_FILE} lists what was left out"
        )
    return made


def _units(recipe: Recipe, base: Path, debs: list[Path], out: Path) -> list[Unit]:
    """The units of all sources, in the order of the recipe."""
    for folder in debs:
        if not folder.is_dir():
            raise DeloresError(f"{folder}: there is no such folder of .deb files; check --debs")
    units: list[Unit] = []
    store = out / ARCHIVES
    for source in recipe.sources:
        if isinstance(source, Folder):
            units.append(folder_unit(source, base, recipe, out))
        elif isinstance(source, Espeak):
            packages = [words for words in source.languages.values() if isinstance(words, str)]
            archives = find_archives(packages, debs, store)
            for language, words in source.languages.items():
                archive = archives[words] if isinstance(words, str) else None
                units.append(spoken_unit(source, language, archive, recipe))
        else:
            for archive in find_archives(source.packages, debs, store).values():
                if isinstance(source, Debian):
                    units.append(package_unit(source, archive, recipe))
                else:
                    assert isinstance(source, SoundFont)
                    units.append(soundfont_unit(source, archive, recipe))
    return units


def _with_progress(units: list[Unit], progress: corpus.Progress) -> Iterator[Unit]:
    for done, unit in enumerate(units):
        progress("making", done, len(units))
        yield unit
    progress("making", len(units), len(units))


def _folder(out: Path, unit: Unit) -> Path:
    return out / AUDIO / unit.source / unit.name


def _part(out: Path, unit: Unit, recipe: Recipe) -> Part:
    folder = _folder(out, unit)
    return read_part(folder, unit, recipe) or make_part(folder, unit, recipe)


def _fingerprints_of(
    folders: list[Path], recipe: Recipe, out: Path, progress: corpus.Progress
) -> tuple[NDArray[np.int8], NDArray[np.int64], list[tuple[str, str, str]]]:
    """The clips in folders of audio, cut and trimmed as the pool's are.

    Returns their fingerprints (n, 96), their lengths in samples (n,), and ("without", file, reason) of the files that
    cannot be read.
    """
    prints: list[NDArray[np.int8]] = []
    lengths: list[int] = []
    unread: list[tuple[str, str, str]] = []
    files = [path for folder in folders for path in audio_below(folder, out)]
    for done, path in enumerate(files, 1):
        for sound in clips_of(path, shown(path), "", recipe):
            if isinstance(sound, Fault):
                unread.append(("without", *sound))
            elif isinstance(sound, Sound) and len(samples := trimmed(sound.samples, recipe.sample_rate, margin=0)):
                prints.append(fingerprint(samples, recipe.sample_rate))
                lengths.append(len(samples))
        progress("comparing", done, len(files))
    return np.array(prints, np.int8).reshape(len(prints), DIMENSIONS), np.array(lengths, np.int64), unread


def _chosen(
    units: list[Unit], parts: list[Part], recipe: Recipe, known: NDArray[np.int8], lengths: NDArray[np.int64]
) -> tuple[list[NDArray[np.bool_]], int, int]:
    """Which clips of each part stay; the number left out as near duplicates; the number left out by ``max_hours``.

    Rendered clips are not compared: two notes a semitone apart have near fingerprints, and are different sounds.
    """
    compared = [part for unit, part in zip(units, parts, strict=True) if unit.hours is None]
    prints = np.concatenate([known, *(part.fingerprints() for part in compared)])
    sounding = [np.array([clip.sounding for clip in part.clips], np.int64) for part in compared]
    is_known = np.arange(len(prints)) < len(known)
    near = near_duplicates(prints, np.concatenate([lengths, *sounding]), is_known)[len(known) :]
    kept: list[NDArray[np.bool_]] = []
    for unit, part in zip(units, parts, strict=True):
        if unit.hours is None:
            kept.append(~near[: len(part.clips)])
            near = near[len(part.clips) :]
        else:
            kept.append(np.ones(len(part.clips), bool))
    repeated = sum(int((~stays).sum()) for stays in kept)
    for source in recipe.sources:
        if isinstance(source, (Debian, Folder)) and source.max_hours is not None:
            own = [i for i, unit in enumerate(units) if unit.source == source.name]
            most = source.max_hours * 3600 * recipe.sample_rate
            share = _equal_share([float(_samples(parts[i])[kept[i]].sum()) for i in own], most)
            for i in own:
                kept[i] = _capped(kept[i], _samples(parts[i]), share, recipe.seed, units[i].name)
    left = sum(int(stays.sum()) for stays in kept)
    return kept, repeated, sum(len(part.clips) for part in parts) - repeated - left


def _samples(part: Part) -> NDArray[np.int64]:
    return np.array([clip.samples for clip in part.clips], np.int64)


def _equal_share(amounts: list[float], most: float) -> float:
    """The share s with sum(min(amount, s)) = ``most``: whoever has less than s gives all. Infinity if all fit."""
    left = most
    ordered = sorted(amounts)
    for i, amount in enumerate(ordered):
        share = left / (len(ordered) - i)
        if amount > share:
            return share
        left -= amount
    return float("inf")


def _capped(
    stays: NDArray[np.bool_], samples: NDArray[np.int64], share: float, seed: int, name: str
) -> NDArray[np.bool_]:
    """(n,) a random choice among the clips that stay, of at most ``share`` samples together."""
    order = np.random.default_rng([seed, 3, zlib.crc32(name.encode())]).permutation(len(stays))
    order = order[stays[order]]
    chosen = np.zeros(len(stays), bool)
    chosen[order[samples[order].cumsum() <= share]] = True
    return chosen


def _write_tables(
    out: Path,
    recipe: Recipe,
    units: list[Unit],
    parts: list[Part],
    kept: list[NDArray[np.bool_]],
    skipped: list[tuple[str, str, str]],
) -> dict[tuple[str, str], float]:
    """Writes pool.csv and skipped.csv, and returns the hours by (source, licence)."""
    hours: dict[tuple[str, str], float] = defaultdict(float)
    with atomic_path(out / POOL_FILE) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(COLUMNS)
        for unit, part, stays in zip(units, parts, kept, strict=True):
            for clip, stay in zip(part.clips, stays, strict=True):
                if stay:
                    length = clip.samples / recipe.sample_rate / 3600
                    table.writerow(_row(unit, clip, length))
                    hours[unit.source, clip.licence] += length
    with atomic_path(out / SKIPPED_FILE) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("source", "original", "reason"))
        table.writerows(skipped)
    return dict(hours)


def _row(unit: Unit, clip: Clip, hours: float) -> tuple[str, ...]:
    file = f"{AUDIO}/{unit.source}/{unit.name}/{clip.file}"
    cells = (file, clip.group, unit.source, unit.package, unit.version, clip.licence, f"{hours:.6f}")
    return (*cells, clip.original, f"{clip.start:g}")


def _remove_leftout(out: Path, units: list[Unit], parts: list[Part], kept: list[NDArray[np.bool_]]) -> None:
    """Removes the files of clips that do not stay, and the parts of units that the recipe no longer names."""
    for unit, part, stays in zip(units, parts, kept, strict=True):
        for clip, stay in zip(part.clips, stays, strict=True):
            if not stay:
                (_folder(out, unit) / clip.file).unlink(missing_ok=True)
    named = {_folder(out, unit) for unit in units}
    for mark in (out / AUDIO).glob(f"*/*/{PART_FILE}"):
        if mark.parent not in named:
            remove_tree(mark.parent)
