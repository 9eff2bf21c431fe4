"""NSynth (jsonwav): ``nsynth-{train,valid,test}/examples.json`` and ``audio/<note>.wav``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.tasks.corpora.drawing import draw_valid
from benchmarks.tasks.corpora.hear_draw import at_most
from benchmarks.tasks.corpora.recordings import Reading, Recording, find_folder
from benchmarks.tasks.registry import TaskSpec
from hear_delores.documents import read_json
from hear_delores.errors import DeloresError

__all__ = ["read"]

#: Pitches of HEAR's tasks: those of a piano.
LOWEST, HIGHEST = 21, 108


def read(source: Path, spec: TaskSpec) -> Reading:
    """The notes of NSynth with the family of their instrument, or their pitch; the group is the instrument.

    The published figures take ``valid`` as the test set: a tenth of the training instruments then validates.
    HEAR's pitch tasks are drawn from the official splits (hear-preprocess 2021.1.1, ``nsynth_pitch.py``).
    """
    corpus = find_folder(
        source, lambda folder: (folder / "nsynth-train").is_dir(), "nsynth-train, nsynth-valid and nsynth-test"
    )
    if spec.options["label"] == "pitch":
        return _pitches(corpus, spec.options["at_most"])
    reading = Reading()
    if spec.mode == "published":
        _read_part(corpus, "valid", "test", reading)
        _read_part(corpus, "train", "", reading)
        reading.recordings = draw_valid(reading.recordings, whole_groups=True)
        return reading
    for split in ("train", "valid", "test"):
        _read_part(corpus, split, split, reading)
    return reading


def _pitches(corpus: Path, limits: dict[str, int]) -> Reading:
    """Notes drawn by their names: so only those that were drawn have to be there as audio."""
    notes = []
    n_notes = 0
    for split in ("train", "valid", "test"):
        folder = corpus / f"nsynth-{split}"
        examples = _examples(folder / "examples.json")
        n_notes += len(examples)
        for note, facts in examples.items():
            if not isinstance(facts, dict) or not isinstance(facts.get("pitch"), int):
                raise DeloresError(f"{folder / 'examples.json'}: {note}: expected a pitch")
            if LOWEST <= facts["pitch"] <= HIGHEST:
                wav = folder / "audio" / f"{note}.wav"
                notes.append(Recording(wav, wav.name, str(facts["pitch"]), split, note.split("-")[0]))
    reading = Reading(drawn_from=n_notes)
    for item in at_most(notes, limits):
        reading.add(item.path, item.path.relative_to(corpus).as_posix(), item.label, item.split, item.group)
    return reading


def _read_part(corpus: Path, part: str, split: str, reading: Reading) -> None:
    folder = corpus / f"nsynth-{part}"
    for note, facts in _examples(folder / "examples.json").items():
        try:
            label, instrument = str(facts["instrument_family_str"]), str(facts["instrument_str"])
        except (KeyError, TypeError):
            raise DeloresError(
                f"{folder / 'examples.json'}: {note}: expected instrument_family_str and instrument_str"
            ) from None
        listed = f"{folder.name}/audio/{note}.wav"
        reading.add(corpus / listed, listed, label, split, instrument)


def _examples(path: Path) -> dict[str, Any]:
    examples: dict[str, Any] = read_json(path, advice=f"unpack the whole of {path.parent.name}.jsonwav.tar.gz")
    return examples
