"""Notes, chords, phrases and drums, rendered from a sound font by TinySoundFont."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from hear_delores.errors import DeloresError
from pretrain.pools.debian import Archive, unpacked
from pretrain.pools.licences import Licences
from pretrain.pools.recipe import Recipe, SoundFont
from pretrain.pools.unit import Notice, Sound, Unit

__all__ = ["soundfont_unit"]

RENDERED_HZ = 48000  # TinySoundFont interpolates linearly; resampling to the pool's rate removes the images above it
RELEASE_S = 0.6  # rendered after the last note ends
DRUMS = 128  # the bank of drum kits
FORMS = ("note", "chord", "phrase", "drums")
SHARES = (0.35, 0.2, 0.3, 0.15)  # the probability of each form
#: In semitones above the lowest note, as the scales are.
CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 3, 7, 10), (0, 7), (0, 5, 7), (0, 4, 7, 11), (0, 3, 6))
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))
MOST_SILENT = 50  # after so many silent clips in a row, the font ends


class Note(NamedTuple):
    """``key``: semitones above the base note, or a drum's MIDI key; ``onset`` and ``duration`` in seconds; ``velocity``
    from 1 to 127."""

    key: int
    onset: float
    duration: float
    velocity: int


def soundfont_unit(source: SoundFont, archive: Archive, recipe: Recipe) -> Unit:
    """The unit of the clips that are rendered from the sound font of a package (the first by name).

    Raises:
        DeloresError: tinysoundfont is not installed.
    """
    if importlib.util.find_spec("tinysoundfont") is None:
        raise DeloresError(
            "a source of the kind soundfont needs tinysoundfont: pip install 'hear-delores[pools]', or, where its "
            "PyAudio does not build, pip install --no-deps tinysoundfont"
        )

    def sounds(work: Path) -> Iterator[Sound | Notice]:
        notice, fonts, text = f"usr/share/doc/{archive.package}/copyright", [], ""
        found = unpacked(archive, work, lambda name: name == notice or name.lower().endswith((".sf2", ".sf3")))
        for name, local in found:
            if name == notice:
                text = local.read_text("utf-8", "replace")
            else:
                fonts.append((name, local))
        if not fonts:
            raise DeloresError(f"{archive.path}: the package holds no sound font (.sf2 or .sf3)")
        yield Notice(text)
        name, local = min(fonts)
        band = _Band(local, recipe.sample_rate)
        yield from _play(band, name, Licences(text, source.licence).of(name), source, recipe)

    key: dict[str, Any] = {"package": archive.package, "version": archive.version, "group_by": source.group_by}
    key |= {"renditions": source.renditions, "licence": source.licence}
    key |= {"synthesiser": importlib.metadata.version("tinysoundfont")}
    hours = source.max_hours / len(source.packages)
    return Unit(source.name, archive.package, archive.package, archive.version, key, sounds, hours)


def _play(band: _Band, name: str, licence: str, source: SoundFont, recipe: Recipe) -> Iterator[Sound]:
    """Endless groups of clips that share the instrument, or the melody."""
    group, silent = 0, 0
    while silent < MOST_SILENT:
        rng = np.random.default_rng([recipe.seed, 1, group])
        form = str(rng.choice(FORMS, p=SHARES))
        presets = band.kits if form == "drums" else band.instruments
        if not presets:
            form, presets = ("note", band.instruments) if form == "drums" else ("drums", band.kits)
        preset = presets[int(rng.integers(len(presets)))]
        notes, base = _score(rng, form), int(rng.integers(33, 85))
        for _ in range(source.renditions):
            played = band.play(preset, notes, 0 if form == "drums" else base, float(rng.uniform(0.1, 0.9)))
            silent = silent + 1 if not played.any() else 0
            yield Sound(played, f"{name}: {band.names[preset]}, {form}", 0.0, licence, f"{source.name}-{group}")
            if source.group_by == "melody":
                preset = presets[int(rng.integers(len(presets)))]
            else:
                form = "drums" if form == "drums" else str(rng.choice(FORMS[:3]))
                notes, base = _score(rng, form), int(rng.integers(33, 85))
        group += 1


def _score(rng: np.random.Generator, form: str) -> list[Note]:
    """Notes of a random length and velocity, in the given form."""
    velocity = int(rng.integers(40, 128))
    if form == "note":
        return [Note(0, 0.0, float(rng.uniform(0.2, 3.0)), velocity)]
    if form == "chord":
        chord, length = CHORDS[int(rng.integers(len(CHORDS)))], float(rng.uniform(0.4, 3.0))
        strum = float(rng.choice([0.0, rng.uniform(0.0, 0.08)]))
        return [Note(key, i * strum, length, velocity) for i, key in enumerate(chord)]
    step, count = float(rng.uniform(0.1, 0.4)), int(rng.integers(4, 13))
    if form == "drums":
        keys = rng.integers(35, 82, size=int(rng.integers(1, 5)))
        count = 1 if rng.random() < 0.3 else count
        return [
            Note(int(rng.choice(keys)), i * step, 0.3, int(rng.integers(40, 128)))
            for i in range(count)
            if i == 0 or rng.random() < 0.8
        ]
    scale, place, notes = SCALES[int(rng.integers(len(SCALES)))], 0, []
    for i in range(count):
        octave, degree = divmod(place, len(scale))
        if i == 0 or rng.random() < 0.85:
            notes.append(Note(12 * octave + scale[degree], i * step, step * float(rng.uniform(0.5, 1.5)), velocity))
        place = int(np.clip(place + rng.integers(-3, 4), -7, 14))
    return notes


class _Band:
    """The instruments and drum kits of a sound font, each given by (bank, preset)."""

    def __init__(self, font: Path, rate: int) -> None:
        import tinysoundfont

        self._rate = rate
        self._synth: Any = tinysoundfont.Synth(samplerate=RENDERED_HZ)
        try:
            self._font = self._synth.sfload(str(font))
        except Exception as error:  # pybind raises RuntimeError, which is not documented
            raise DeloresError(f"{font.name}: not a readable sound font ({error})") from None
        banks = [(bank, preset) for bank in (0, DRUMS) for preset in range(128)]
        names = {place: self._synth.sfpreset_name(self._font, *place) for place in banks}
        self.names: dict[tuple[int, int], str] = {place: str(name) for place, name in names.items() if name is not None}
        self.instruments = [place for place in self.names if place[0] != DRUMS]
        self.kits = [place for place in self.names if place[0] == DRUMS]
        if not self.names:
            raise DeloresError(f"{font.name}: the sound font has no instruments")

    def play(self, preset: tuple[int, int], notes: list[Note], base: int, peak: float) -> NDArray[np.int16]:
        """(n,) int16 at the pool's rate, scaled to ``peak`` (1 is full scale); zeros if the instrument is silent.

        ``base`` is the MIDI key that is added to the keys of the notes.
        """
        channel = 9 if preset[0] == DRUMS else 0
        self._synth.sounds_off(channel)
        self._synth.program_select(channel, self._font, *preset, preset[0] == DRUMS)
        events = [(note.onset, True, note.key + base, note.velocity) for note in notes]
        events += [(note.onset + note.duration, False, note.key + base, 0) for note in notes]
        now, parts = 0, []
        for seconds, is_on, key, velocity in sorted(events):
            parts.append(self._generate(round(seconds * RENDERED_HZ) - now))
            now = round(seconds * RENDERED_HZ)
            if is_on:
                self._synth.noteon(channel, key, velocity)
            else:
                self._synth.noteoff(channel, key)
        parts.append(self._generate(round(RELEASE_S * RENDERED_HZ)))
        mono = soxr.resample(np.concatenate(parts), RENDERED_HZ, self._rate)
        loudest = float(np.abs(mono).max()) if len(mono) else 0.0
        if loudest < 1e-4:
            return np.zeros(len(mono), dtype=np.int16)
        return np.rint(mono * (peak / loudest * 32767)).astype(np.int16)

    def _generate(self, samples: int) -> NDArray[np.float32]:
        """(samples,) float32, the mean of both channels."""
        if samples <= 0:
            return np.zeros(0, dtype=np.float32)
        stereo = np.frombuffer(bytes(self._synth.generate(samples)), dtype=np.float32)
        return stereo.reshape(-1, 2).mean(axis=1)
