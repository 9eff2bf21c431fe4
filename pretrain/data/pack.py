"""``delores pack``: decodes and resamples a corpus once, into the shards that :mod:`pretrain.data.packed` reads.

Each shard is written whole or not at all, in the order of the corpus: killed at any moment and started again, the
command goes on after the last whole shard and ends in the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hear_delores.documents import read_text
from hear_delores.errors import DeloresError, shown
from hear_delores.files import atomic_path, file_hash, remove_leftovers
from hear_delores.frontend import LogMel
from pretrain.config import PretrainConfig
from pretrain.data.ahead import ahead
from pretrain.data.audio import Piece
from pretrain.data.batches import to_log_mel
from pretrain.data.content import Part, content_hashes
from pretrain.data.corpus import Corpus, Progress
from pretrain.data.data_hashes import KEPT
from pretrain.data.packed import (
    DTYPES,
    PACK_FILE,
    Clips,
    Content,
    PackInfo,
    ShardInfo,
    ShardRecord,
    read_stored,
    relevant,
    shard_name,
)
from pretrain.data.synthesis.stream import NAME, is_synthetic, open_sounds
from pretrain.locks import LOCK_FILE, folder_lock

__all__ = ["Packed", "pack"]

HASHED_AT_ONCE = 256
#: name, start, frames, rate, group: what makes a clip of one --data the same again
Key = tuple[str, int, int, int, str]


class Packed(NamedTuple):
    """What a pack holds after :func:`pack`, ``added`` clips of which are new; (name, reason) of the bad files."""

    clips: int
    added: int
    shards: int
    bytes: int
    skipped: list[tuple[str, str]]
    notes: list[str] = []  # noqa: RUF012 (never changed)


def pack(
    data: str | Path,
    out: str | Path,
    config: PretrainConfig,
    *,
    content: Content = "audio",
    clips: int | None = None,
    shard_mb: float = 256,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Packed:
    """Packs the clips of ``data`` that ``out`` does not hold yet.

    Args:
        data: whatever ``delores pretrain --data`` reads, but a pack.
        config: its front-end, ``data.piece_s`` and ``data.splits`` decide what is packed; pre-training takes the
            pack only with the same ones.
        clips: of ``data="synthetic"``, and of that alone, how many sounds from the beginning of their stream.
        content: "audio", int16 at the front-end's rate; or "log-mel", the clips' log-mel frames as float16.
        shard_mb: a shard is closed when it has grown to so many MiB.
        skip_bad: leave out bad files, and list them.

    Raises:
        DeloresError: bad data, ``out`` holds something else, or the settings or files of a pack that is gone on
            with have changed.
    """
    progress = progress or (lambda what, done, total: None)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise DeloresError(f"{out}: expected an empty folder or a pack, but it is a file")
    with folder_lock(out, "packing into this folder"):
        info = _begin(out, config, content)
        corpus = _open(data, config, clips, skip_bad, progress)
        source = corpus.name if corpus.share else shown(Path(data).resolve())
        if source not in info.data:
            info = info.model_copy(update={"data": [*info.data, source], "skipped": [*info.skipped, []]})
        number = info.data.index(source)
        skipped = [corpus.skipped if i == number else bad for i, bad in enumerate(info.skipped)]
        info = info.model_copy(update={"skipped": skipped})
        shards = _whole_shards(out)
        todo = _missing(corpus.pieces, number, shards, out, source, progress)
        if todo:
            info = info.model_copy(update={"unfinished": sorted({*info.unfinished, number}), "shards": []})
            _write(out / PACK_FILE, info)
        encode = _encoder(corpus, config, content)
        made = ahead(encode, todo, config.data.threads, 4 * config.data.threads)
        hashed = _hashed([corpus.pieces[i] for i in todo])
        ready = zip(todo, hashed, made, strict=True)
        for done in _write_shards(out, len(shards), ready, corpus, number, shard_mb * 2**20):
            progress("packing", done, len(todo))
        info = info.model_copy(update={"unfinished": [i for i in info.unfinished if i != number]})
        return _finish(out, info, len(todo))._replace(notes=corpus.notes)


def _open(data: str | Path, config: PretrainConfig, clips: int | None, skip_bad: bool, progress: Progress) -> Corpus:
    """The corpus to pack.

    Raises:
        DeloresError: ``clips`` is missing for the stream of sounds, or given for something else.
    """
    if not is_synthetic(data):
        if clips is not None:
            raise DeloresError(f"--clips is for --data {NAME} only: leave it out to pack all of {data}")
        return Corpus.from_path(
            data, config.data, sample_rate=config.frontend.sample_rate, skip_bad=skip_bad, progress=progress
        )
    if data != NAME:
        raise DeloresError(
            f"{data}: expected one --data for a pack: pack {NAME} and the recordings one after the other"
        )
    if clips is None:
        raise DeloresError(f"expected --clips N, how many sounds of the endless --data {NAME} to pack")
    return open_sounds(config, clips)


def _begin(out: Path, config: PretrainConfig, content: Content) -> PackInfo:
    """What ``out`` holds so far, freed of what a killed process left half-written."""
    if (out / PACK_FILE).is_file():
        info = read_stored(out / PACK_FILE, PackInfo)
        if info.content != content:
            raise DeloresError(
                f"{out} is a pack of {info.content}: give --content {info.content}, or choose another --out"
            )
        info.check(out, config)
    elif any(p for p in out.iterdir() if p.name != LOCK_FILE and not p.name.startswith(f".{PACK_FILE}")):
        raise DeloresError(f"{out}: expected an empty folder or a pack, but it is neither")
    else:
        settings = relevant(config, content)
        info = PackInfo(content=content, configuration=settings, data=[], skipped=[], unfinished=[], shards=[])
    remove_leftovers(out)
    return info


def _whole_shards(out: Path) -> list[ShardInfo]:
    """The shards that are there, from the first one on: a shard is whole when its index is."""
    shards: list[ShardInfo] = []
    while (index := out / f"{shard_name(len(shards))}.json").is_file():
        shards.append(read_stored(index, ShardInfo))
    return shards


def _missing(
    pieces: Sequence[Piece], number: int, shards: list[ShardInfo], out: Path, source: str, progress: Progress
) -> list[int]:
    """The pieces that the shards do not hold; a clip listed n times is packed n times.

    Raises:
        DeloresError: the shards hold a clip of a file as it no longer is, by its length, its content or its group.
    """
    held: dict[Key, list[str]] = {}
    # A pack from before there were groups is gone on with as it was.
    grouped = any(name for shard in shards for name in shard.clips.group) or not shards
    for place, shard in enumerate(shards):
        clips = shard.clips
        content = _stated(out, place, len(clips.name))
        columns = (clips.data, clips.name, clips.start, clips.frames, clips.rate, clips.groups(), content)
        for data, name, start, frames, rate, group, digest in zip(*columns, strict=True):
            if data == number:
                held.setdefault((name, start, frames, rate, group), []).append(digest)
    todo: list[int] = []
    stated: list[tuple[int, str]] = []
    for i, piece in enumerate(pieces):
        group = piece.group if grouped else ""
        digests = held.get((piece.name, piece.start, piece.frames, piece.rate, group))
        if digests:
            stated.append((i, digests.pop()))
        else:
            todo.append(i)
    present = {piece.name for piece in pieces}
    changed = [name for (name, *_), digests in held.items() if digests and name in present]
    stated = [(i, digest) for i, digest in stated if digest]
    found = _hashed([pieces[i] for i, _ in stated], lambda done: progress("comparing", done, len(stated)))
    changed += [pieces[i].name for (i, digest), now in zip(stated, found, strict=True) if now != digest]
    if changed:
        raise DeloresError(f"{source}: {changed[0]} has changed since it was packed: pack into another folder")
    return todo


def _hashed(pieces: Sequence[Piece], progress: Callable[[int], None] | None = None) -> Iterator[str]:
    """The hash of what each piece is cut from, the first 16 digits of a SHA-256; "" where it cannot be read.

    The files are read a few at a time, shortly before they are decoded, so that the system still has them by then.
    """
    for first in range(0, len(pieces), HASHED_AT_ONCE):
        batch = [_whole(piece) for piece in pieces[first : first + HASHED_AT_ONCE]]
        different = list(dict.fromkeys(batch))
        digests = dict(zip(different, content_hashes(different), strict=True))
        for done, item in enumerate(batch, first + 1):
            yield (digests[item] or b"")[:KEPT].hex()
            if progress is not None:
                progress(done)


def _sources(out: Path, shard: int) -> Path:
    """Beside a shard: a line for each clip, what :func:`_hashed` gave when it was packed."""
    return out / f".{shard_name(shard)}.sources"


def _stated(out: Path, shard: int, clips: int) -> list[str]:
    """The lines of that file; empty ones, with which nothing is compared, for packs from before there was one."""
    try:
        lines = read_text(_sources(out, shard)).split("\n")[:-1]
    except DeloresError:
        lines = []
    return lines if len(lines) == clips else [""] * clips


def _whole(piece: Piece) -> Path | Part:
    """What a piece is cut from: a file, or a member of a tar."""
    return piece.path if piece.member is None else Part(piece.path, piece.member.offset, piece.member.size)


def _encoder(corpus: Corpus, config: PretrainConfig, content: Content) -> Callable[[int], NDArray[Any] | str]:
    """A function that gives a clip as it is stored, or why it is bad."""
    logmel = LogMel(config.frontend)

    def encode(index: int) -> NDArray[Any] | str:
        samples = corpus.try_read(index)
        if samples is None:
            return corpus.reason(index)
        if content == "log-mel":
            with torch.no_grad():
                samples = to_log_mel(torch.from_numpy(samples)[None], logmel)[0].T.numpy()  # (n_frames, n_mels)
        return np.ascontiguousarray(samples, dtype=DTYPES[content])

    return encode


def _write_shards(
    out: Path,
    first: int,
    made: Iterator[tuple[int, str, NDArray[Any] | str]],
    corpus: Corpus,
    number: int,
    largest: float,
) -> Iterator[int]:
    """Writes shard after shard, each closed when it has grown to ``largest`` bytes; yields the clips done."""
    done, shard, item = 0, first, next(made, None)
    while item is not None:
        name = out / shard_name(shard)
        digest, size, bad, sources = hashlib.sha256(), 0, [], []
        rows: list[tuple[Any, ...]] = []
        with atomic_path(name.with_suffix(".bin")) as temporary, temporary.open("wb") as stream:
            while item is not None and size < largest:
                index, held, content = item
                if isinstance(content, str):
                    bad.append((len(rows), content))
                    content = np.zeros(0, np.int16)
                size += _append(stream, digest, content)
                piece = corpus.pieces[index]
                row = (number, piece.name, piece.start, piece.frames, piece.rate, len(content), piece.group)
                rows.append(row)
                sources.append(held)
                done += 1
                yield done
                item = next(made, None)
        with atomic_path(_sources(out, shard)) as temporary:
            temporary.write_text("".join(f"{held}\n" for held in sources), encoding="ascii")
        clips = Clips(**dict(zip(Clips.model_fields, map(list, zip(*rows, strict=True)), strict=True)))
        _write(name.with_suffix(".json"), ShardInfo(bytes=size, sha256=digest.hexdigest(), clips=clips, bad=bad))
        shard += 1


def _append(stream: BinaryIO, digest: Any, content: NDArray[Any]) -> int:
    data = content.tobytes()
    digest.update(data)
    return stream.write(data)


def _finish(out: Path, info: PackInfo, added: int) -> Packed:
    """Writes ``pack.json``, with the checksums of all shards' indices unless another --data is unfinished."""
    shards = _whole_shards(out)
    names = [] if info.unfinished else [shard_name(i) for i in range(len(shards))]
    records = [ShardRecord(name=name, index=file_hash(out / f"{name}.json")) for name in names]
    _write(out / PACK_FILE, info.model_copy(update={"shards": records}))
    bad = [(shard.clips.name[i], reason) for shard in shards for i, reason in shard.bad]
    return Packed(
        clips=sum(len(shard.clips.name) for shard in shards),
        added=added,
        shards=len(shards),
        bytes=sum(shard.bytes for shard in shards),
        skipped=[pair for pairs in info.skipped for pair in pairs] + bad,
    )


def _write(path: Path, stored: PackInfo | ShardInfo) -> None:
    with atomic_path(path) as temporary:
        bare = isinstance(stored, ShardInfo) and not any(stored.clips.group)
        written = stored.model_dump_json(exclude={"clips": {"group"}} if bare else None)
        temporary.write_text(written + "\n", encoding="utf-8")
