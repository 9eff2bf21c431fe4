"""A command, a change, and the command once more over what it left: the end is that of a fresh folder, or one line."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
import soundfile

from tests.zoo.cases import EQUAL, Case, Change, Route
from tests.zoo.inputs import RATE, own_module, pcm, tone
from tests.zoo.kinds.checkpoints import read_safetensors, write_safetensors
from tests.zoo.routes import EMBED, EMBED_EVENTS, MODEL, PACK, PREPARE, PRETRAIN, RUN, SCORE, SCORE_FOLDS

__all__ = ["cases"]

TASK, CORPUS = "in/task/toy-1-full", "in/corpus"


def _module(**changed: str) -> Change:
    """Writes the model's module, with parts of it changed."""

    def change(work: Path, rng: random.Random) -> None:
        (work / "own_zoo.py").write_text(own_module(**changed))

    return change


EDITS: dict[str, dict[str, str]] = {
    "mean to maximum": {"scene": "features(audio).amax(1) * model.weight * model.scale"},
    "zeros": {"scene": "torch.zeros(len(audio), 4)"},
    "the sign": {"scene": "-features(audio).mean(1) * model.weight * model.scale"},
    "one dimension": {"scene": "features(audio).mean(1) * torch.tensor([1.0, 1.0, 1.0, 1.001]) * model.scale"},
    "a function beneath": {"body": "parts.abs().sqrt()"},
    "only loud sounds": {"scene": "features(audio).mean(1) * torch.where(audio.abs().amax(1) > 0.25, 2.0, 1.0)[:, None]"},
    "only short sounds": {"scene": "features(audio).mean(1) * (2.0 if audio.shape[1] < 9000 else 1.0)"},
    "only sounds of one batch": {"scene": "features(audio).mean(1) * (2.0 if len(audio) > 1 else 1.0)"},
    "the order of dimensions": {"scene": "features(audio).mean(1).flip(1) * model.weight"},
    "float64 inside": {"scene": "features(audio).double().pow(2).mean(1).float() * model.weight"},
}  # fmt: skip


def _touched(path: Path, write: object) -> None:
    """Writes a file and puts its old times back, as rsync and cp -p do."""
    before = path.stat()
    write(path)  # type: ignore[operator]
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _sound(file: str) -> Change:
    """Another sound of the same length and size."""

    def change(work: Path, rng: random.Random) -> None:
        path = work / file
        seconds = soundfile.info(path).duration
        soundfile.write(path, pcm(tone(77, seconds)), RATE, subtype="PCM_16")

    return change


def _sound_of_old_times(file: str) -> Change:
    """The same, put in its place by a rename and with the old times: size and mtime say nothing."""

    def change(work: Path, rng: random.Random) -> None:
        path = work / file
        before, new = path.stat(), path.with_name("new.tmpwav")
        soundfile.write(new, pcm(tone(77, soundfile.info(path).duration)), RATE, subtype="PCM_16", format="WAV")
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(new, path)

    return change


def _swapped(split: str) -> Change:
    """The labels of two clips exchanged."""

    def change(work: Path, rng: random.Random) -> None:
        path = work / TASK / f"{split}.json"
        labels = json.loads(path.read_text())
        first, second = list(labels)[:2]
        labels[first], labels[second] = labels[second], labels[first]
        _touched(path, lambda file: file.write_text(json.dumps(labels, indent=1)))

    return change


def _weight(work: Path, rng: random.Random) -> None:
    header, block = read_safetensors(work / "in/model.safetensors")
    at = header["encoder.fc.3.weight"]["data_offsets"][0]
    changed = bytearray(block)
    changed[at : at + 4] = np.float32(0.5).tobytes()
    _touched(work / "in/model.safetensors", lambda path: write_safetensors(path, header, bytes(changed)))


def _statistics(work: Path, rng: random.Random) -> None:
    header, block = read_safetensors(work / "in/model.safetensors")
    own = json.loads(header["__metadata__"]["hear_delores"])
    own["normalization"]["mean"] = -6.0
    header["__metadata__"]["hear_delores"] = json.dumps(own)
    write_safetensors(work / "in/model.safetensors", header, block)


def _rows(work: Path, rng: random.Random) -> None:
    path = work / "in/embeddings/toy-1-full/test.embeddings.npy"
    _touched(path, lambda file: np.fromfile(file, dtype=np.float32)[::-1].tofile(file))


def _event(work: Path, rng: random.Random) -> None:
    path = work / "in/events/sounds-1-full/train.json"
    _touched(path, lambda file: file.write_text(file.read_text().replace("100.0", "150.0", 1)))


def _nothing(work: Path, rng: random.Random) -> None:
    """No change: what is there already may stand, and must."""


def _case(
    name: str, route: Route, change: Change, words: tuple[str, ...] | None = None, first: tuple[str, ...] | None = None
) -> Case:
    return Case(
        "again", f"{route.name}: {name}", route, EQUAL, change, words=words, first=first or words or route.words
    )


def _of_own(route: Route, more: str = "") -> tuple[str, ...]:
    """The route's words, with the module in the working folder as its model."""
    return tuple(f"own_zoo{more}" if word == MODEL else word for word in route.words)


def cases() -> list[Case]:
    """All of this kind."""
    found: list[Case] = []
    for route in (EMBED, RUN):
        words = _of_own(_with_module(route))
        for name, edit in EDITS.items():
            found.append(_case(f"edited: {name}", _with_module(route), _module(**edit), words))
        found.append(_case("edited: a comment", _with_module(route), _module(imports="# a comment"), words))
        for more in ("?pool=max", "?scale=2.0", "?scale=2"):
            found.append(
                _case(f"other options {more}", _with_module(route), _nothing, _of_own(route, more), first=words)
            )
        for split in ("train", "valid", "test"):
            clip = f"{TASK}/16000/{split}/{split}1.wav"
            found.append(_case(f"another sound in {split}", route, _sound(clip)))
            found.append(_case(f"another sound in {split}, of old times", route, _sound_of_old_times(clip)))
            found.append(_case(f"labels swapped in {split}", route, _swapped(split)))
        found.append(_case("a weight", route, _weight))
        found.append(_case("the statistics", route, _statistics))
        found.append(_case("nothing", route, _nothing))
    found.append(_case("an event", EMBED_EVENTS, _event))
    found.append(_case("rows reversed", SCORE, _rows))
    found.append(_case("nothing", SCORE_FOLDS, _nothing))
    found.append(_case("another seed", SCORE, _nothing, (*SCORE.words, "--seed", "1"), first=SCORE.words))
    found.append(_case("few shots", SCORE, _nothing, (*SCORE.words, "--shots", "1"), first=SCORE.words))
    resumed = (*PRETRAIN.words, "--resume")
    for number in (0, 7, 11):
        clip = f"{CORPUS}/c{number:02d}.wav"
        found.append(_case(f"--resume, another sound {number}", PRETRAIN, _sound(clip), resumed))
        found.append(
            _case(f"--resume, another sound {number}, of old times", PRETRAIN, _sound_of_old_times(clip), resumed)
        )
        found.append(_case(f"another sound {number}", PACK, _sound(clip)))
        found.append(_case(f"another sound {number}, of old times", PACK, _sound_of_old_times(clip)))
    found.append(_case("--resume, nothing", PRETRAIN, _nothing, resumed))
    for word in ("optimizer.lr=0.5", "seed=5", "batch_size=2", "segment_s=0.2", "frontend.f_max=7000"):
        found.append(_case(f"--resume {word}", PRETRAIN, _nothing, (*resumed, word), first=resumed))
    found.append(_case("without --resume", PRETRAIN, _nothing))
    found.append(_case("nothing", PACK, _nothing))
    found.append(_case("nothing", PREPARE, _nothing))
    found.append(
        _case("--overwrite, another sound", PREPARE, _sound(f"{CORPUS}/c04.wav"), (*PREPARE.words, "--overwrite"))
    )
    return found


def _with_module(route: Route) -> Route:
    return Route(
        f"{route.name} own",
        route.words,
        (*route.inputs, "own_zoo.py:own_zoo.py"),
        route.result,
        route.seconds,
        whole=False,
    )
