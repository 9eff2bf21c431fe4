"""One perturbation of a clip, such as ``noise:20`` or ``codec:mp3-32``: its grammar, its name, and what it does.

A perturbed clip is as long as the clip and not delayed, and depends on the clip's samples, its name and a seed alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.perturbing import band, codecs, noise, rooms
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.settings import require_integer

__all__ = ["KINDS", "VERSION", "Perturbation", "parse_perturbations", "refuse_perturbations"]

#: To be raised with every change of what a perturbation does: embeddings of another version are made again.
VERSION = 1


@dataclass(frozen=True)
class Kind:
    """A kind of perturbation.

    Attributes:
        canonical: takes the text of a value, and returns the one spelling of that value.
        example: describes the values in an error.
        apply: takes (samples, rate, value, clip, seed), and returns the perturbed samples.
        draws: whether ``apply`` draws random numbers.
    """

    canonical: Callable[[str], str]
    example: str
    apply: Callable[[np.ndarray, int, str, str, int], np.ndarray]
    draws: bool = False


KINDS = {
    "noise": Kind(noise.canonical, noise.EXAMPLE, noise.white, draws=True),
    "pink": Kind(noise.canonical, noise.EXAMPLE, noise.pink, draws=True),
    "reverb": Kind(rooms.canonical, rooms.EXAMPLE, rooms.reverberate, draws=True),
    "band": Kind(band.canonical, band.EXAMPLE, band.limit),
    "codec": Kind(codecs.canonical, codecs.EXAMPLE, codecs.transcode),
}


@dataclass(frozen=True)
class Perturbation:
    """A kind and its value; ``seed`` chooses the random numbers of a kind that draws some, and is 0 for others."""

    kind: str
    value: str
    seed: int = 0

    @property
    def name(self) -> str:
        """The name in columns and records: ``noise:20``, or ``noise:20 (seed 1)`` where the seed is not 0."""
        return f"{self.kind}:{self.value}" + (f" (seed {self.seed})" if self.seed else "")

    @property
    def folder_name(self) -> str:
        """The name of a folder: ``noise_20``, or ``noise_20_seed_1``."""
        return f"{self.kind}_{self.value}" + (f"_seed_{self.seed}" if self.seed else "")

    def info(self) -> dict[str, Any]:
        """The name and :data:`VERSION`, which are stored with perturbed embeddings."""
        return {"name": self.name, "version": VERSION}

    def apply(self, samples: np.ndarray, rate: int, clip: str) -> np.ndarray:
        """The perturbed clip, (n_samples,) float32 like ``samples``, at ``rate`` Hz; ``clip`` is its file's name.

        It is not clipped to [-1, 1]: clipping would change the signal-to-noise ratio.
        """
        found = KINDS[self.kind].apply(samples, rate, self.value, clip, self.seed)
        return np.ascontiguousarray(found, dtype=np.float32)

    def check(self) -> None:
        """Raises DeloresError where the library that it needs is not installed."""
        if self.kind == "reverb" and importlib.util.find_spec("pyroomacoustics") is None:
            raise DeloresError(f"{self.name} needs pyroomacoustics: pip install 'hear-delores[rooms]'")


def parse_perturbations(words: Sequence[str], seed: int = 0) -> tuple[Perturbation, ...]:
    """The perturbations of words such as ``noise:20,10,0``, each once, in order; a word may hold several, with blanks.

    Raises:
        DeloresError: a kind is not known, or does not take a value.

    >>> [each.name for each in parse_perturbations(["noise:20,10 band:4000", "codec:mp3-32"])]
    ['noise:20', 'noise:10', 'band:4k', 'codec:mp3-32']
    """
    require_integer("perturb", "seed", seed, 0)
    found: dict[Perturbation, None] = {}
    for word in (part for each in words for part in each.split() or [each]):
        kind, colon, values = word.partition(":")
        if kind not in KINDS:
            raise DeloresError(f"--perturb: unknown perturbation {kind!r}. {did_you_mean(kind, KINDS)}")
        for value in values.split(","):
            try:
                canonical = KINDS[kind].canonical(value)
            except ValueError as error:
                about = f" ({error})" if str(error) else ""
                expected = f"expected {kind}:{KINDS[kind].example}"
                raise DeloresError(f"--perturb: {expected}, got {word if colon else kind!r}{about}") from None
            found[Perturbation(kind, canonical, seed if KINDS[kind].draws else 0)] = None
    return tuple(found)


def refuse_perturbations(models: Sequence[str], perturb: Sequence[str] | None, seed: int) -> None:
    """Raises DeloresError where a perturbation is among the models, or a seed is given without perturbations."""
    if seed and not perturb:
        raise DeloresError("--perturb-seed is the seed of --perturb, which is missing")
    for word in models:
        if word.partition(":")[0] in KINDS and ":" in word:
            raise DeloresError(f"{word} is a perturbation and not a model; write --perturb {word}")
