"""The endless stream of sounds as training reads it: sound ``n`` is a function of the seed and of ``n`` alone.

Batch ``k`` of ``B`` clips holds the sounds k B .. k B + B - 1, whatever was made before, on whatever number of
processes: a run that is interrupted goes on with the same sounds.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from hear_delores.documents import to_json
from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig, config_to_dict
from pretrain.data.audio import Piece
from pretrain.data.corpus import Corpus
from pretrain.data.synthesis.parameters import Sounds, draw
from pretrain.data.synthesis.synthesiser import Synthesiser

__all__ = ["NAME", "SoundStream", "SyntheticClips", "is_synthetic", "open_sounds", "synthesiser"]

NAME = "synthetic"
KEY = 2022  # keeps these random numbers apart from those of crops and orders
VERSION = 1  # of the generators: another number is another stream, which no run goes on with
BLOCK = 64  # clips that are packed at a time


def is_synthetic(data: str | Path) -> bool:
    """Whether this --data asks for synthetic sounds, alone or beside a pool. A path object is always a path.

    Raises:
        DeloresError: "synthetic+" and nothing behind it.
    """
    if isinstance(data, Path) or not (data == NAME or data.startswith(f"{NAME}+")):
        return False
    if data == f"{NAME}+":
        raise DeloresError(f"expected the data beside the sounds, as in --data {NAME}+my_audio/, got {data!r}")
    return True


def open_sounds(config: PretrainConfig, clips: int | None = None) -> Corpus:
    """The corpus of synthetic sounds alone. It counts ``clips``, ``synthesis.epoch_clips`` by default, as an epoch."""
    counted = clips or config.synthesis.epoch_clips
    notes = [f"every clip is a new sound; an epoch is counted as {counted:,} of them"]
    if Path(NAME).exists():
        notes.append(f"{NAME} is the stream of sounds; the folder or file of this name is ./{NAME}/")
    return Corpus(SyntheticClips(config, counted), config.data, name=NAME, notes=notes, share=1.0)


class SoundStream:
    """The parameters of the sounds of a configuration.

    Args:
        stream: 0 for training; others are for statistics and maps, which hear other sounds.
    """

    def __init__(self, config: PretrainConfig, stream: int = 0) -> None:
        self._key, self._delta = (KEY, stream, config.seed), config.views.delta

    def pairs(self, first: int, count: int) -> tuple[Sounds, Sounds]:
        """The sounds ``first`` .. ``first + count - 1``, as two neighbours each; both the same with a delta of 0."""
        return draw(self._key, first, count, self._delta)

    def sounds(self, first: int, count: int) -> Sounds:
        """The sounds themselves, the common centres of those pairs."""
        return draw(self._key, first, count)[0]


def synthesiser(config: PretrainConfig, device: torch.device | str = "cpu") -> Synthesiser:
    """What makes clips of one segment, as ``config`` says."""
    return Synthesiser(config.segment_samples, config.frontend.sample_rate, config.synthesis.families, device)


class SyntheticClips:
    """The first sounds of the stream as clips by number, a :class:`pretrain.data.corpus.ClipStore`.

    Training does not read them so: it renders a batch at a time, without end. These are what ``delores pack`` stores,
    and how a corpus without files states its length and its identity.
    """

    content = "audio"

    def __init__(self, config: PretrainConfig, clips: int) -> None:
        self.config = config
        self.pieces: Sequence[Piece] = _Places(clips, f"{NAME}-{identity(config)}", config)
        self.skipped: list[tuple[str, str]] = []
        self.faults: dict[int, str] = {}
        self.facts: dict[str, Any] = {"synthetic": identity(config)}
        self._stream, self._guard = SoundStream(config), threading.Lock()
        self._made: dict[int, NDArray[np.int16]] = {}

    def decode(self, index: int) -> NDArray[Any]:
        block, row = divmod(index, BLOCK)
        with self._guard:  # the threads of a pack ask for one clip after another
            if block not in self._made:
                made = synthesiser(self.config)(self._stream.sounds(block * BLOCK, BLOCK))
                self._made = {
                    **{number: clips for number, clips in self._made.items() if number == block - 1},
                    block: (made * 32767).round().short().numpy(),
                }
            return self._made[block][row]

    def crop(self, index: int, length: int, start: Callable[[int], int]) -> NDArray[Any]:
        samples = self.decode(index)
        first = start(len(samples))
        return samples[first : first + length]

    def blank(self, rows: int, length: int) -> NDArray[Any]:
        return np.zeros((rows, length), dtype=np.int16)

    def worth_keeping(self, room: int) -> Iterator[int]:
        return iter(())

    def files(self) -> list[Path]:
        return []

    def stated_hashes(self) -> list[bytes] | None:
        return None


class _Places(Sequence[Piece]):
    """The pieces of a stream that is one long recording: clip ``i`` begins at sample i n."""

    def __init__(self, clips: int, name: str, config: PretrainConfig) -> None:
        self._clips, self._name = clips, name
        self._samples, self._rate = config.segment_samples, config.frontend.sample_rate

    def __len__(self) -> int:
        return self._clips

    @overload
    def __getitem__(self, index: int) -> Piece: ...
    @overload
    def __getitem__(self, index: slice) -> list[Piece]: ...
    def __getitem__(self, index: int | slice) -> Piece | list[Piece]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(self._clips)[index]
        return Piece(Path(self._name), self._name, i * self._samples, self._samples, self._rate)


def identity(config: PretrainConfig) -> str:
    """Eight hexadecimal digits of what decides the sounds of a stream."""
    decisive = {
        "version": VERSION,
        "seed": config.seed,
        "samples": config.segment_samples,
        "sample_rate": config.frontend.sample_rate,
        "families": config_to_dict(config)["synthesis"]["families"],
    }
    return hashlib.sha256(to_json(decisive).encode()).hexdigest()[:8]
