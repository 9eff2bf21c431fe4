"""VoxForge: packages ``<user>-<date>-<id>/{wav,flac}/*`` below a folder of each language."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from benchmarks.tasks.corpora.drawing import draw, draw_published
from benchmarks.tasks.corpora.recordings import Reading, Recording, audio_files, find_folder
from benchmarks.tasks.registry import TaskSpec
from hear_delores.errors import DeloresError

__all__ = ["read"]

#: What the folder of a language may be called; the English packages lie in ``SpeechCorpus`` on the server.
LANGUAGES = {
    "en": ("en", "english", "speechcorpus"),
    "es": ("es", "spanish"),
    "fr": ("fr", "french"),
    "de": ("de", "german"),
    "it": ("it", "italian"),
    "ru": ("ru", "russian"),
}
_BY_NAME = {name: code for code, names in LANGUAGES.items() for name in names}


def read(source: Path, spec: TaskSpec) -> Reading:
    """The recordings of the six languages; the group is the speaker, by the name before the package's first "-".

    Many speakers stayed ``anonymous``: each of their packages counts as a speaker of its own. A user who gave
    packages in two languages is one speaker.
    """
    corpus = find_folder(
        source,
        lambda folder: sum(child.is_dir() and child.name.lower() in _BY_NAME for child in folder.iterdir()) > 1,
        f"a folder of each language ({', '.join(LANGUAGES)})",
    )
    recordings: list[Recording] = []
    packed: list[str] = []
    for folder in sorted(corpus.iterdir()):
        code = _BY_NAME.get(folder.name.lower())
        if folder.is_dir() and code is not None:
            recordings += _language(folder, code)
            packed += [f"{path.relative_to(corpus)} (packed)" for path in _packed(folder)]
    if len({recording.label for recording in recordings}) < 2:
        raise DeloresError(f"{corpus}: expected packages with wav or flac folders; found {len(packed)} still packed")
    if spec.mode == "published":  # by clip: the speakers cross, as they did
        drawn = [dataclasses.replace(item, group="") for item in draw_published(recordings)]
    else:
        drawn = draw(recordings, {"valid": 0.1, "test": 0.1}, whole_groups=True)
    return Reading(drawn, packed, own_split=False)


def _language(folder: Path, code: str) -> Iterator[Recording]:
    for package in _packages(folder):
        user = package.name.split("-")[0].strip().casefold()
        speaker = package.name.casefold() if user in ("", "anonymous") else user
        seen = set()
        for kind in ("wav", "flac"):
            for path in audio_files(package / kind):
                if path.stem.casefold() not in seen:  # a package may hold both kinds
                    seen.add(path.stem.casefold())
                    name = f"{code}_{package.name}_{path.stem}.wav".replace(" ", "_")
                    yield Recording(path, name, code, group=speaker)


def _packages(folder: Path) -> Iterator[Path]:
    """The folders that hold ``wav`` or ``flac``, at any depth, sorted."""
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if (child / "wav").is_dir() or (child / "flac").is_dir():
            yield child
        else:
            yield from _packages(child)


def _packed(folder: Path) -> list[Path]:
    """Archives whose package is not unpacked beside them."""
    return [path for path in sorted(folder.rglob("*.tgz")) if not path.with_suffix("").is_dir()]
