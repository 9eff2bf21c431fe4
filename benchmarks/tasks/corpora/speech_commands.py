"""Speech Commands v0.01 and v0.02: ``<word>/<speaker>_nohash_<n>.wav``, two lists, ``_background_noise_``.

Twelve classes are ten words, ``_unknown_`` (any other word) and ``_silence_``: slices of 1 s, every 0.5 s, of
the background noises, as TensorFlow Datasets and HEAR cut them.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.tasks.corpora.drawing import draw_valid
from benchmarks.tasks.corpora.hear_draw import at_most
from benchmarks.tasks.corpora.recordings import (
    Listing,
    Reading,
    Recording,
    audio_files,
    find_folder,
    find_folders,
    read_lines,
)
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError
from pretrain.data.audio import file_length

__all__ = ["read"]

WORDS = {"down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes"}
UNKNOWN, SILENCE, NOISE = "_unknown_", "_silence_", "_background_noise_"
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
#: Which noise is cut for which split; a noise that is not named here trains.
NOISES = ("doing_the_dishes", "dude_miaowing", "exercise_bike", "pink_noise", "running_tap", "white_noise")
HONEST_NOISES = {"running_tap": "valid", "exercise_bike": "test"}
HEAR_NOISES = {"running_tap": "valid"}  # the separate test set has its own silence
_SPEAKER = re.compile(r"([0-9a-z]+)_nohash_\d+")


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings of a Speech Commands task, split as ``spec.mode`` says."""
    corpus = find_folder(
        source,
        lambda folder: all((folder / name).is_file() for name in LISTS.values()),
        "validation_list.txt and testing_list.txt among folders of words",
    )
    twelve = spec.options["classes"] == 12
    reading = _spoken(corpus, twelve)
    if spec.mode == "published":
        reading.recordings = draw_valid(reading.recordings, whole_groups=True)
        noises: dict[str, str] = {}
    elif spec.mode == "honest":
        noises = HONEST_NOISES
    else:  # HEAR's task and test_archive
        archive = _archived(source, corpus)
        reading.recordings = [item for item in reading.recordings if item.split != "test"] + archive
        reading.missing = [name for name in reading.missing if not name.startswith(LISTS["test"])]
        noises = HEAR_NOISES
    if twelve:
        _add_silence(reading, corpus, noises)
    if limits := spec.options.get("at_most"):
        reading.drawn_from = sum(item.counted for item in reading.recordings)
        reading.recordings = at_most(reading.recordings, limits)
    return reading


def _spoken(corpus: Path, twelve: bool) -> Reading:
    listing = Listing()
    split_of: dict[Path, str] = {}
    missing = []
    for split, name in LISTS.items():
        for line in read_lines(corpus / name, "lines such as right/bb05582b_nohash_3.wav"):
            word, _, file = line.partition("/")
            found = listing.find(corpus / word, file) if file else None
            if found is None:
                missing.append(f"{name}: {line}")
            else:
                split_of[found] = split
    recordings = []
    for folder in sorted(path for path in corpus.iterdir() if path.is_dir() and path.name[0] not in "_."):
        label = folder.name if not twelve or folder.name in WORDS else UNKNOWN
        for path in audio_files(folder):
            recordings.append(_word(path, label, split_of.get(path, "train")))
    if not recordings:
        raise DeloresError(f"{corpus}: expected folders of words with WAV files beside the lists; found none")
    return Reading(recordings, missing)


def _archived(source: Path, corpus: Path) -> list[Recording]:
    def fits(folder: Path) -> bool:
        return (folder / UNKNOWN).is_dir() and not (folder / LISTS["test"]).exists()

    beside = [folder for folder in sorted(corpus.parent.iterdir()) if folder.is_dir() and fits(folder)]
    folders = find_folders(source, fits) or beside
    if len(folders) != 1:
        raise DeloresError(
            f"{source}: expected the separate test set once, a folder with {UNKNOWN} and {SILENCE} beside the corpus; "
            f"found {' and '.join(map(str, folders)) or 'none'}"
        )
    return [
        _word(path, folder.name, "test")
        for folder in sorted(path for path in folders[0].iterdir() if path.is_dir())
        for path in audio_files(folder)
    ]


def _add_silence(reading: Reading, corpus: Path, splits: dict[str, str]) -> None:
    paths = {path.stem: path for path in audio_files(corpus / NOISE)}
    reading.missing += [f"{NOISE}/{name}.wav" for name in NOISES if name not in paths]
    for name, path in sorted(paths.items()):
        try:
            frames, rate = file_length(path)
        except DeloresError as error:
            reading.bad.append(str(error))
            continue
        for start in range(0, frames - rate, rate // 2):
            file = f"{SILENCE}_{name}-{start}.wav"
            split = splits.get(name, "train")
            part = (start / rate, 1.0)
            reading.recordings.append(Recording(path, file, SILENCE, split, name, part, counted=False))


def _word(path: Path, label: str, split: str) -> Recording:
    speaker = _SPEAKER.search(path.name)
    return Recording(path, f"{path.parent.name}_{path.stem}.wav", label, split, speaker[1] if speaker else "")
