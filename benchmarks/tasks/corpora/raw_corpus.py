"""A raw corpus as its authors distribute it -> a HEAR task folder, with its counts checked."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.tasks.corpora.preparation import PrepareReport, write_recordings
from benchmarks.tasks.corpora.recordings import Reading, crossing_groups
from benchmarks.tasks.registry import TaskSpec, find_task
from benchmarks.tasks.writer import Progress
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path

__all__ = ["check_whole", "prepare_corpus", "read_corpus"]

#: So many missing files are named in an error; the list of all is written beside.
_NAMED = 3


def prepare_corpus(
    task: str | TaskSpec,
    source: str | Path,
    out: str | Path,
    *,
    sample_rate: int = 16000,
    split: str | None = None,
    subset: bool = False,
    skip_bad: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Writes the task folder of ``task`` into ``out`` from the raw corpus in ``source``.

    Args:
        task: of the registry, with a corpus module.
        source: the folder that the corpus was unpacked into, or one up to two levels above it.
        split: one of the task's splits by name; None is its own (the honest one of the DeLoRes tasks).
        subset: accept a corpus that is not whole. The task's mode then ends in ``_subset`` and its metadata
            state how much of the corpus it holds, so that no table can take it for the task.
        skip_bad: leave out audio that cannot be read, and list it, instead of stopping.
        overwrite: replace a task folder that is there.

    Raises:
        DeloresError: an unknown task or split; another layout than the corpus has; recordings missing (how
            many and which; all names are written to ``<out>/<task folder>.missing.txt``) or too many.
    """
    spec = (find_task(task) if isinstance(task, str) else task).for_split(split)
    reading = read_corpus(spec, source)
    if reading.bad and not skip_bad:
        raise DeloresError(f"{reading.bad[0]}; fix or remove it, or run with --skip-bad")
    try:
        found = check_whole(spec, reading, Path(source), subset)
    except DeloresError as error:
        raise DeloresError(f"{error}{_list_missing(Path(out), spec, reading.missing)}") from None
    crossing = crossing_groups(reading.recordings)
    if crossing and not reading.own_split:
        raise DeloresError(f"{spec.name}: the group {crossing[0]!r} crosses splits; this is a bug, please report it")
    report = write_recordings(
        out,
        _metadata(spec, found, len(reading.missing), len(crossing)),
        sorted(reading.recordings, key=lambda recording: recording.file),
        sample_rate,
        skip_bad=skip_bad,
        overwrite=overwrite,
        progress=progress,
    )
    _missing_list(Path(out), spec).unlink(missing_ok=True)  # of an earlier attempt
    return replace(
        report,
        skipped=reading.bad + report.skipped,
        warnings=report.warnings + _warnings(found, reading, crossing),
        missing=reading.missing,
        subset=found,
    )


def read_corpus(spec: TaskSpec, source: str | Path) -> Reading:
    """What the task's corpus module finds in ``source``, not yet counted.

    Raises:
        DeloresError: the task has no corpus module, or the folder is laid out in another way.
    """
    if spec.corpus is None:
        raise DeloresError(f"{spec.name}: no corpus is read for this task; {_how_to_obtain(spec)}")
    if Path(source).is_file():
        raise DeloresError(
            f"{spec.name} is a task of the registry, so --source must be the folder of its unpacked corpus, but "
            f"{source} is a file; for a task from a CSV, choose another name"
        )
    if not Path(source).is_dir():
        raise DeloresError(f"{source}: no such folder; give the folder that the corpus was unpacked into")
    module = importlib.import_module(f"benchmarks.tasks.corpora.{spec.corpus.module}")
    reading: Reading = module.read(Path(source), spec)
    doubled = [file for file, n in Counter(recording.file for recording in reading.recordings).items() if n > 1]
    if doubled:
        raise DeloresError(f"{source}: two recordings would both become {doubled[0]}; is the corpus there twice?")
    if empty := [name for name in spec.splits if all(recording.split != name for recording in reading.recordings)]:
        n_missing = len(reading.missing)
        missing = f"; {n_missing:,} listed file(s) missing: {reading.missing[0]} ..." if n_missing else ""
        raise DeloresError(f"{source}: no recording of {spec.name} is in the split {empty[0]!r}{missing}")
    return reading


def _how_to_obtain(spec: TaskSpec) -> str:
    """One sentence on how a user gets the task folder."""
    ways = {
        "generated": f"`delores prepare {spec.name}` makes it",
        "prepare": f"`delores prepare {spec.name} --source CORPUS` makes it from {spec.source}",
        "download": f"`delores download {spec.folder_name}` fetches the official archive",
    }
    return " or ".join(ways[way] for way in spec.obtain) or "see its source"


def check_whole(spec: TaskSpec, reading: Reading, source: Path, subset: bool) -> str | None:
    """None for the whole corpus, else how much of it is there. Raises DeloresError unless a subset is accepted."""
    assert spec.corpus is not None
    drawn = reading.drawn_from is not None
    recorded = [recording for recording in reading.recordings if drawn or recording.counted]
    found = len(recorded) if reading.drawn_from is None else reading.drawn_from
    if not drawn and set(spec.counts) == set(spec.splits):
        expected = sum(spec.counts.values())
    else:
        expected = spec.corpus.recordings if drawn or len(recorded) < len(reading.recordings) else spec.clips
    faults = []
    if found != expected and not (spec.corpus.grows and found > expected):
        faults.append(f"{found:,} of {expected:,} recordings")
    by_split = Counter(recording.split for recording in recorded)
    faults += [f"{name} {by_split[name]:,} of {n:,}" for name, n in spec.counts.items() if by_split[name] != n]
    if (classes := len({name for recording in reading.recordings for name in recording.label_names})) != spec.classes:
        faults.append(f"{classes} of {spec.classes} classes")
    if reading.missing:
        named = ", ".join(reading.missing[:_NAMED]) + (" ..." if len(reading.missing) > _NAMED else "")
        faults.append(f"{len(reading.missing):,} listed file(s) missing: {named}")
    if found > expected and not spec.corpus.grows:
        raise DeloresError(f"{source}: holds more than {spec.name} should: {'; '.join(faults)}; is it another version?")
    if faults and not subset:
        raise DeloresError(
            f"{source}: not the whole corpus of {spec.name}: {'; '.join(faults)}; complete it, or ask for a subset "
            "(every table will say so)"
        )
    return f"{found:,} of {expected:,} recordings" if faults else None


def _list_missing(out: Path, spec: TaskSpec, missing: list[str]) -> str:
    if len(missing) <= _NAMED:
        return ""
    path = _missing_list(out, spec)
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(missing) + "\n", encoding="utf-8")
    return f"; all names: {path}"


def _missing_list(out: Path, spec: TaskSpec) -> Path:
    return out / f"{spec.folder_name}.missing.txt"


def _metadata(spec: TaskSpec, subset: str | None, missing: int, crossing: int) -> dict[str, Any]:
    metadata = {
        **spec.to_metadata(),
        "description": spec.description,
        "source": spec.source,
        "licence": spec.licence,
        "split_name": spec.mode,
        "split_description": spec.split_description,
    }
    if crossing:
        metadata["groups_crossing_splits"] = crossing
    if subset is not None:
        metadata |= {"mode": f"{spec.mode}_subset", "subset": subset, "missing_files": missing}
    return metadata


def _warnings(subset: str | None, reading: Reading, crossing: list[str]) -> list[str]:
    warnings = [f"a subset: {subset}"] if subset else []
    if reading.missing:
        warnings.append(f"{len(reading.missing):,} file(s) of the corpus's lists are missing")
    if crossing:
        warnings.append(f"{len(crossing)} group(s) cross the corpus's own splits, such as {crossing[0]}")
    return warnings
