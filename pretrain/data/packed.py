"""A pack: audio decoded and resampled once, or its log-mel features, in shards that are read through memory maps.

A folder with ``pack.json`` (what it was made of and with), and per shard ``shard-00000.bin`` (the clips one after
another, little-endian) and ``shard-00000.json`` (the clips' places). :mod:`pretrain.data.pack` writes it.
"""

from __future__ import annotations

import itertools
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
import pydantic
from numpy.typing import NDArray

from hear_delores.documents import read_text
from hear_delores.errors import DeloresError, shown
from hear_delores.files import file_hash
from pretrain.config import PretrainConfig, config_to_dict
from pretrain.data.audio import Piece
from pretrain.data.corpus import Corpus, Progress
from pretrain.data.synthesis.stream import NAME, is_synthetic, open_sounds

__all__ = ["Clips", "PackInfo", "PackedClips", "ShardInfo", "ShardRecord", "open_corpus", "relevant", "verify"]

Content = Literal["audio", "log-mel"]
DTYPES: dict[str, str] = {"audio": "<i2", "log-mel": "<f2"}
PACK_FILE = "pack.json"


class _Stored(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class Clips(_Stored):
    """The clips of a shard in the order of their bytes, in columns.

    Attributes:
        data: number of the --data that a clip is from.
        name, start, frames, rate: as of :class:`pretrain.data.audio.Piece`.
        length: in samples or log-mel frames; 0 for a clip with bad content.
        group: as of a piece; written only where a clip of the shard has one.
    """

    data: list[int] = []
    name: list[str] = []
    start: list[int] = []
    frames: list[int] = []
    rate: list[int] = []
    length: list[int] = []
    group: list[str] = []

    def groups(self) -> list[str]:
        """The group of each clip, "" where it has none."""
        return self.group or [""] * len(self.name)


class ShardInfo(_Stored):
    """``shard-00000.json``. ``bad``: (number of the clip in the shard, why its content is bad)."""

    bytes: int
    sha256: str
    clips: Clips
    bad: list[tuple[int, str]]


class ShardRecord(_Stored):
    """A shard as ``pack.json`` knows it: ``index`` is the SHA-256 of ``shard-00000.json``."""

    name: str = pydantic.Field(pattern=r"^shard-[0-9]{5,}$")
    index: str


class PackInfo(_Stored):
    """``pack.json``.

    Attributes:
        configuration: {key: value} of the pre-training configuration that decided what is in the pack.
        data: every --data, in the order in which they were added.
        skipped: for each of them, (name, reason) of files with bad headers.
        unfinished: the numbers of those that were begun and not ended.
        shards: none while one is unfinished.
    """

    format_version: Literal[1] = 1
    content: Content
    configuration: dict[str, Any]
    data: list[str]
    skipped: list[list[tuple[str, str]]]
    unfinished: list[int]
    shards: list[ShardRecord]

    def check_whole(self, folder: Path) -> None:
        """Raises a DeloresError when packing has not come to its end."""
        if self.unfinished:
            raise DeloresError(
                f"{folder}: the pack is not finished: run delores pack --data {self.data[self.unfinished[0]]} again"
            )

    def check(self, folder: Path, config: PretrainConfig) -> None:
        """Raises a DeloresError naming the first key of ``config`` with which this pack does not fit."""
        for key, value in relevant(config, self.content).items():
            packed = self.configuration.get(key)
            if packed != value:
                raise DeloresError(
                    f"{folder}: packed with {key}={packed}, and the configuration says {value}: "
                    f"set {key}={packed}, or pack again into another folder"
                )


def relevant(config: PretrainConfig, content: str) -> dict[str, Any]:
    """{key: JSON value} of what decides the bytes of a pack."""
    values = config_to_dict(config)
    frontend = values["frontend"]
    keys = {f"frontend.{key}": frontend[key] for key in (frontend if content == "log-mel" else ["sample_rate"])}
    return keys | {f"data.{key}": values["data"][key] for key in ("piece_s", "splits")}


Model = TypeVar("Model", bound=_Stored)


def read_stored(path: Path, kind: type[Model]) -> Model:
    """What a JSON file of a pack says.

    Raises:
        DeloresError: the file is missing or damaged.
    """
    if not path.exists():
        raise DeloresError(f"{path}: this part of the pack is missing. Pack again into another folder")
    text = read_text(path, "pack again into another folder")
    try:
        return kind.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DeloresError(f"{path}: not a readable part of a pack ({where}: {first['msg']})") from None


def shard_name(number: int) -> str:
    return f"shard-{number:05d}"


class _Pieces(Sequence[Piece]):
    """The pieces of a pack, kept in arrays: some hundred bytes a clip, whatever its length."""

    def __init__(self, data: Sequence[str], shards: Sequence[ShardInfo]) -> None:
        self._roots = [Path(name) for name in data]
        self._columns = {
            key: np.array([v for shard in shards for v in getattr(shard.clips, key)], dtype=np.int64)
            for key in ("data", "start", "frames", "rate")
        }
        self._names = [name for shard in shards for name in shard.clips.name]
        self._groups = [name for shard in shards for name in shard.clips.groups()]

    def __len__(self) -> int:
        return len(self._columns["data"])

    @overload
    def __getitem__(self, index: int) -> Piece: ...
    @overload
    def __getitem__(self, index: slice) -> list[Piece]: ...
    def __getitem__(self, index: int | slice) -> Piece | list[Piece]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]  # negative ones, and IndexError beyond the end
        data, start, frames, rate = (int(self._columns[key][i]) for key in ("data", "start", "frames", "rate"))
        # What two --data call a group is not one.
        group = f"{data}:{self._groups[i]}" if data and self._groups[i] else self._groups[i]
        return Piece(self._roots[data] / self._names[i], self._names[i], start, frames, rate, group=group)


class PackedClips:
    """The clips in a pack, a :class:`pretrain.data.corpus.ClipStore`: those of the audio it is made of, in its order.

    A clip is mapped into memory while it is being cropped, and only then: the pages that are read of it are the
    system's to keep or to drop, and the process does not grow with the corpus. Clips with bad content, which
    ``delores pack --skip-bad`` passed over, stay bad here.
    """

    def __init__(self, folder: Path, config: PretrainConfig, *, progress: Progress | None = None) -> None:
        """Opens the pack in ``folder``: compares its settings, its index's checksums and its shards' sizes.

        Raises:
            DeloresError: unfinished, damaged, empty, or packed with other settings than those of ``config``.
        """
        self.folder, self.info = folder, read_stored(folder / PACK_FILE, PackInfo)
        self.content: str = self.info.content
        self.facts = {"packed": self.content}
        self.info.check_whole(folder)
        self.info.check(folder, config)
        shards = list(open_shards(folder, self.info, progress))
        self._shape = (config.frontend.n_mels,) if self.content == "log-mel" else ()
        self._silence = math.log(config.frontend.eps) if self.content == "log-mel" else 0
        self._item = 2 * math.prod(self._shape)
        lengths = [np.array(shard.clips.length, dtype=np.int64) for shard in shards]
        self._shards = np.repeat(np.arange(len(shards)), [len(part) for part in lengths])
        self._lengths = np.concatenate([*lengths, np.zeros(0, np.int64)])
        self._offsets = np.concatenate([*(np.cumsum(part) - part for part in lengths), np.zeros(0, np.int64)])
        firsts = itertools.accumulate((len(part) for part in lengths), initial=0)
        self.faults = {first + i: why for first, shard in zip(firsts, shards, strict=False) for i, why in shard.bad}
        self.skipped = [pair for pairs in self.info.skipped for pair in pairs]
        self._paths = [str(folder / f"{shard_name(number)}.bin") for number in range(len(shards))]
        self._hashes = [bytes.fromhex(shard.sha256) for shard in shards]
        self.pieces: Sequence[Piece] = _Pieces(self.info.data, shards)
        if not len(self.pieces):
            raise DeloresError(f"{folder}: the pack holds no clips")

    def decode(self, index: int) -> NDArray[Any]:
        return self._mapped(index, 0, int(self._lengths[index]))

    def crop(self, index: int, length: int, start: Callable[[int], int]) -> NDArray[Any]:
        whole = int(self._lengths[index])
        first = start(whole)
        return self._mapped(index, first, min(length, whole - first))

    def _mapped(self, index: int, first: int, length: int) -> NDArray[Any]:
        """So many samples or frames of a clip, from number ``first`` on."""
        path = self._paths[self._shards[index]]
        offset = (int(self._offsets[index]) + first) * self._item
        before = offset % mmap.ALLOCATIONGRANULARITY
        try:
            with open(path, "rb", buffering=0) as stream:
                view = mmap.mmap(
                    stream.fileno(), before + length * self._item, access=mmap.ACCESS_READ, offset=offset - before
                )
        except ValueError:  # no DeloresError, which skip_bad would pass over as a bad clip
            raise OSError(f"{path}: the shard has been cut short since the pack was opened") from None
        flat = np.frombuffer(view, DTYPES[self.content], length * math.prod(self._shape), before)
        return flat.reshape(length, *self._shape)

    def blank(self, rows: int, length: int) -> NDArray[Any]:
        """Silence, which in log-mel is log(eps)."""
        return np.full((rows, length, *self._shape), self._silence, dtype=DTYPES[self.content])

    def worth_keeping(self, room: int) -> Iterator[int]:
        return iter(())  # there is nothing to decode

    def files(self) -> list[Path]:
        return [self.folder / f"{record.name}.bin" for record in self.info.shards]

    def stated_hashes(self) -> list[bytes]:
        return self._hashes


def open_shards(folder: Path, info: PackInfo, progress: Progress | None = None) -> Iterator[ShardInfo]:
    """The indices of a pack's shards, their checksums and the shards' sizes compared.

    Raises:
        DeloresError: a shard or its index is missing, damaged or of another size.
    """
    for done, record in enumerate(info.shards, 1):
        index, path = folder / f"{record.name}.json", folder / f"{record.name}.bin"
        shard = read_stored(index, ShardInfo)
        if file_hash(index) != record.index:
            raise DeloresError(f"{index}: the checksum is not the one in {PACK_FILE}. Pack again into another folder")
        size = path.stat().st_size if path.is_file() else None
        if size != shard.bytes:
            found = "it is missing" if size is None else f"it has {size}"
            raise DeloresError(f"{path}: expected {shard.bytes} bytes, but {found}. Pack again into another folder")
        if progress is not None:
            progress("opening", done, len(info.shards))
        yield shard


def verify(folder: str | Path, progress: Progress | None = None) -> PackInfo:
    """Reads every byte of a pack and compares its checksums.

    Raises:
        DeloresError: the pack is not finished, or a part of it, which the message names, is damaged.
    """
    folder = Path(folder)
    info = read_stored(folder / PACK_FILE, PackInfo)
    info.check_whole(folder)
    for done, (record, shard) in enumerate(zip(info.shards, open_shards(folder, info), strict=True), 1):
        path = folder / f"{record.name}.bin"
        if file_hash(path) != shard.sha256:
            raise DeloresError(f"{path}: the shard is damaged (checksum). Pack again into another folder")
        if progress is not None:
            progress("verifying", done, len(info.shards))
    return info


def open_corpus(
    path: str | Path, config: PretrainConfig, *, skip_bad: bool = False, progress: Progress | None = None
) -> Corpus:
    """The corpus in ``path``: a pack, or whatever :meth:`pretrain.data.corpus.Corpus.from_path` reads.

    The word "synthetic", as a string, is a stream of sounds without end; "synthetic+POOL" has both in every batch.

    Raises:
        DeloresError: nothing there, bad data, a pack that does not fit the configuration, or no groups of clips where
            ``views.renditions`` asks for them.
    """
    corpus = _open(path, config, skip_bad, progress)
    if config.views.renditions:
        corpus.renditions = config.views.renditions
        groups = corpus.groups()
        if len(np.unique(groups[groups >= 0])) == (groups >= 0).sum():
            raise DeloresError(
                f"{path}: views.renditions is {corpus.renditions}, and no two clips are of one group: give its CSV a "
                "column group (and pack it anew), or set views.renditions=0"
            )
    return corpus


def _open(path: str | Path, config: PretrainConfig, skip_bad: bool, progress: Progress | None) -> Corpus:
    if is_synthetic(path):
        pool = str(path)[len(NAME) + 1 :]
        return _with_sounds(pool, config, skip_bad, progress) if pool else open_sounds(config)
    path = Path(path)
    if (path / PACK_FILE).is_file():
        store = PackedClips(path, config, progress=progress)
        return Corpus(store, config.data, name=shown(path.resolve().name), skip_bad=skip_bad, progress=progress)
    return Corpus.from_path(
        path, config.data, sample_rate=config.frontend.sample_rate, skip_bad=skip_bad, progress=progress
    )


def _with_sounds(pool: str, config: PretrainConfig, skip_bad: bool, progress: Progress | None) -> Corpus:
    """The corpus of a pool, with a share of synthetic clips beside its own."""
    corpus = _open(Path(pool), config, skip_bad, progress)
    corpus.share = config.synthesis.share
    corpus.name = f"{NAME}+{corpus.name}"
    return corpus
