"""IEMOCAP: ``Session1`` .. ``Session5``, each with ``dialog/EmoEvaluation/*.txt`` and ``sentences/wav``."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from benchmarks.tasks.corpora.drawing import draw_valid
from benchmarks.tasks.corpora.recordings import Reading, find_folder
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

SESSIONS = 5
EMOTIONS = ("ang", "hap", "neu", "sad")  # excited is not merged into happy
_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\s+(\S+)\s+(\w+)\s+\[")


def read(source: Path, spec: TaskSpec) -> Reading:
    """The utterances of four emotions; the group is the session, which no fold shares with another."""
    corpus = find_folder(
        source, lambda folder: (folder / "Session1" / "dialog").is_dir(), "Session1 to Session5, each with dialog"
    )
    reading = Reading()
    for session in range(1, SESSIONS + 1):
        _read_session(corpus / f"Session{session}", f"fold{session - 1:02d}", reading)
    if spec.mode == "published":
        reading.recordings = draw_valid(
            dataclasses.replace(item, split="test" if item.group == "Session5" else "") for item in reading.recordings
        )
    return reading


def _read_session(session: Path, fold: str, reading: Reading) -> None:
    folder = session / "dialog" / "EmoEvaluation"
    tables = sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))
    if not tables:
        raise DeloresError(f"{folder}: expected the evaluations of the dialogues, such as Ses01F_impro01.txt")
    seen = set()
    for table in tables:
        try:
            text = table.read_text(encoding="utf-8", errors="replace")  # the annotators' remarks hold odd bytes
        except OSError as error:
            raise DeloresError(f"{table}: cannot be read: {error.strerror}") from None
        for match in _LINE.finditer(text):
            utterance, emotion = match.groups()
            if emotion not in EMOTIONS or utterance in seen:
                continue
            seen.add(utterance)
            listed = f"{session.name}/sentences/wav/{table.stem}/{utterance}.wav"
            reading.add(session.parent / listed, listed, emotion, fold, session.name)
