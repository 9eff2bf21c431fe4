"""Vocal Imitation Set v1.1.3: ``vocal_imitations.txt`` and ``vocal_imitations/included``, in HEAR's own folds."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.corpora.hear_draw import new_folds
from benchmarks.tasks.corpora.recordings import Reading, Recording, audio_below, find_folder
from benchmarks.tasks.corpora.tables import read_table
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

TABLE, AUDIO = "vocal_imitations.txt", Path("vocal_imitations") / "included"
COLUMNS = ("imitation_filename", "reference_filename", "included")


def read(source: Path, spec: TaskSpec) -> Reading:
    """The imitations that the authors included; the label is the file that is imitated.

    As the benchmark has it (hear-preprocess 2021.1.1, ``vocal_imitation.py``), the audio decides what is there, the
    table what it is; a participant may be in several folds.
    """
    corpus = find_folder(
        source, lambda path: (path / TABLE).is_file() and (path / AUDIO).is_dir(), f"{TABLE} and {AUDIO}"
    )
    rows = [row for row in read_table(corpus / TABLE, COLUMNS, "\t") if row["included"].lower() in ("1", "true")]
    reference = {row["imitation_filename"].casefold(): row["reference_filename"] for row in rows}
    audio = audio_below(corpus / AUDIO)
    recordings = []
    for path in audio:
        if path.name.casefold() not in reference:
            raise DeloresError(f"{path}: no row of {TABLE} includes it; are both of one version?")
        recordings.append(Recording(path, f"{path.stem}.wav", reference[path.name.casefold()]))
    there = {path.name.casefold() for path in audio}
    # The kit takes no notice of a row without audio; here it says what a corpus that is not whole lacks.
    missing = [row["imitation_filename"] for row in rows if row["imitation_filename"].casefold() not in there]
    return Reading(new_folds(recordings, len(spec.splits)), missing if len(recordings) < spec.clips else [])
