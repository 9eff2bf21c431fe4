"""Words spoken by espeak-ng, each by several of its voices."""

from __future__ import annotations

import codecs
import functools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hear_delores.errors import DeloresError
from pretrain.data.audio import Piece, file_length, read_piece
from pretrain.pools.debian import Archive, unpacked
from pretrain.pools.recipe import Espeak, Recipe
from pretrain.pools.unit import Fault, Sound, Unit

__all__ = ["spoken_unit"]

PROGRAM = "espeak-ng"
WORD_LETTERS = range(2, 16)  # how many letters the words of a list have
WORDS_PER_MINUTE = (120, 220)
PITCH = (20, 85)  # on espeak-ng's scale from 0 to 99
MOST_FAULTS = 20  # after so many clips in a row that could not be spoken, the language ends


def spoken_unit(source: Espeak, language: str, archive: Archive | None, recipe: Recipe) -> Unit:
    """The unit of one language: words of a package's list, or of the recipe, spoken.

    Raises:
        DeloresError: espeak-ng is not installed.
    """
    words = source.languages[language]
    version, variants = _program()

    def sounds(work: Path) -> Iterator[Sound | Fault]:
        known = tuple(words) if archive is None else _word_list(archive, work)
        yield from _speak(known, language, variants, work, source, recipe)

    key = {"language": language, "espeak-ng": version, "variants": variants, "words": source.words}
    key |= {"renditions": source.renditions, "licence": source.licence}
    key |= {"list": list(words)} if archive is None else {"package": archive.package, "version": archive.version}
    hours = source.max_hours / len(source.languages)
    return Unit(source.name, language, PROGRAM, version, key, sounds, hours)


@functools.cache
def _program() -> tuple[str, list[str]]:
    """espeak-ng's version, and the names of its voices' variants."""
    if shutil.which(PROGRAM) is None:
        raise DeloresError("a source of the kind espeak needs espeak-ng: run `apt-get install espeak-ng`")
    first = _run("--version").split("Data at")[0]
    found = re.search(r"\d+(\.\d+)+\S*", first)
    lines = _run("--voices=variant").splitlines()[1:]
    named = [match[1].strip() for line in lines if (match := re.search(r"!v[/\\](.+)$", line))]
    return found[0] if found else "unknown", sorted(named)


def _run(*arguments: str) -> str:
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, check=False)
    if done.returncode:
        raise DeloresError(f"{PROGRAM} {arguments[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode("utf-8", "replace")


def _speak(
    words: tuple[str, ...], language: str, variants: list[str], work: Path, source: Espeak, recipe: Recipe
) -> Iterator[Sound | Fault]:
    """Endless groups of clips that say the same; a text that a voice cannot speak is a fault."""
    group, faults = 0, 0
    licence = source.licence or "GPL-3+"
    while faults < MOST_FAULTS:
        rng = np.random.default_rng([recipe.seed, 2, *language.encode(), group])
        text = " ".join(rng.choice(words, size=int(rng.integers(1, source.words + 1))))
        for variant in rng.permutation(variants)[: source.renditions]:
            speed, pitch = int(rng.integers(*WORDS_PER_MINUTE)), int(rng.integers(*PITCH))
            said = f"{language}+{variant}: {text}"
            spoken = _speech(text, f"{language}+{variant}", speed, pitch, work / "said.wav", recipe)
            faults = faults + 1 if isinstance(spoken, str) else 0
            if isinstance(spoken, str):
                yield Fault(said, spoken)
            else:
                yield Sound(spoken, said, 0.0, licence, f"{source.name}-{language}-{group}")
        group += 1


def _speech(text: str, voice: str, speed: int, pitch: int, path: Path, recipe: Recipe) -> NDArray[np.int16] | str:
    """(n,) int16: a text as a voice speaks it, cut after ``clip_s``; or the reason why there is no sound.

    ``speed`` is in words per minute, ``pitch`` from 0 to 99; ``path`` is a temporary file.
    """
    try:
        _run("-v", voice, "-s", str(speed), "-p", str(pitch), "-w", str(path), "--", text)
        frames, rate = file_length(path)
        frames = min(frames, int(recipe.clip_s * rate))
        return read_piece(Piece(path, text, 0, frames, rate), recipe.sample_rate)
    except DeloresError as error:
        return str(error).removeprefix(f"{path}: ")


def _word_list(archive: Archive, work: Path) -> tuple[str, ...]:
    """The words of a package's list (usr/share/dict) or hunspell dictionary, in the order of the file.

    Raises:
        DeloresError: the package has no such words.
    """
    lists: dict[str, Path] = {}
    wanted = re.compile(r"usr/share/dict/.+|usr/share/hunspell/.+\.(dic|aff)")
    for name, local in unpacked(archive, work, lambda name: wanted.fullmatch(name) is not None):
        lists[name] = local
    for name in sorted(lists):
        if name.endswith(".aff"):
            continue
        affixes = lists.get(re.sub(r"\.dic$", ".aff", name))
        text = lists[name].read_bytes().decode(_encoding(affixes), "replace")
        entries = (re.split(r"[/\t ]", line, maxsplit=1)[0].strip() for line in text.splitlines())
        words = tuple(dict.fromkeys(word for word in entries if word.isalpha() and len(word) in WORD_LETTERS))
        if words:
            return words
    raise DeloresError(f"{archive.path}: the package holds no list of words (usr/share/dict or usr/share/hunspell)")


def _encoding(affixes: Path | None) -> str:
    """The encoding of a hunspell dictionary, which its affix file states; else UTF-8."""
    found = None if affixes is None else re.search(rb"^\s*SET\s+(\S+)", affixes.read_bytes(), re.MULTILINE)
    name = "utf-8" if found is None else found[1].decode("ascii", "replace").lower()
    try:
        return codecs.lookup(name.removeprefix("microsoft-")).name
    except LookupError:
        return "utf-8"
