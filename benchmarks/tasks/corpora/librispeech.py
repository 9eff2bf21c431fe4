"""LibriSpeech train-clean-100: ``<speaker>/<chapter>/<speaker>-<chapter>-<n>.flac``, a ``.trans.txt`` per chapter."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tasks.corpora.drawing import draw, draw_published
from benchmarks.tasks.corpora.recordings import Listing, Reading, Recording, audio_files, find_folder, read_lines
from benchmarks.tasks.registry import TaskSpec

__all__ = ["read"]

PART = "train-clean-100"


def read(source: Path, spec: TaskSpec) -> Reading:
    """The utterances of train-clean-100 with their speaker, or with speaker and chapter where ``published``.

    What should be there is known from the transcripts, which name every utterance.
    """
    corpus = find_folder(
        source,
        lambda folder: folder.name == PART and any(path.name.isdecimal() for path in folder.iterdir()),
        f"the folder {PART} with a folder of each speaker",
    )
    published = spec.mode == "published"
    listing = Listing()
    recordings, missing = [], []
    for chapter in sorted(path for path in corpus.glob("*/*") if path.is_dir() and path.parent.name.isdecimal()):
        speaker = chapter.parent.name
        for transcript in sorted(chapter.glob("*.trans.txt")):
            for line in read_lines(transcript, "lines of an utterance's name and text"):
                name = line.split(maxsplit=1)[0]
                if listing.find(chapter, f"{name}.flac") is None:
                    missing.append(f"{speaker}/{chapter.name}/{name}.flac")
        label = f"{speaker}-{chapter.name}" if published else speaker
        recordings += [Recording(path, f"{path.stem}.wav", label) for path in audio_files(chapter)]
    drawn = draw_published(recordings) if published else draw(recordings, {"valid": 0.1, "test": 0.1})
    return Reading(drawn, missing, own_split=False)
