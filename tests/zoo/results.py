"""What a command wrote, read independently of the project: a digest to compare by, and what is wrong with it by itself."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

__all__ = ["READERS", "Result"]


class Result(NamedTuple):
    """``digest`` is equal for equal results; ``faults`` are what no right result has; ``final`` what may only be whole.

    ``parts`` are the digests of single folders of embeddings or records: an older one may lie beside a newer one.
    """

    digest: str
    faults: list[str]
    final: list[str]
    parts: frozenset[str] = frozenset()


def _hash(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def strict_json(text: str) -> Any:
    """As RFC 8259 has it: no NaN, no infinity."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def _json(path: Path, faults: list[str]) -> Any:
    try:
        return strict_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        faults.append(f"{path.name}: {error}")
        return {}


def read_tasks(out: Path, stdout: str) -> Result:
    """Task folders: labels, vocabulary, and every sample."""
    faults: list[str] = []
    parts: list[Any] = []
    final = sorted(path.parent for path in out.rglob("task_metadata.json"))
    for folder in final:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.suffix == ".json":
                parts += [name, _json(path, faults)]
            elif path.suffix == ".wav":
                samples, rate = soundfile.read(path, dtype="int16")
                parts += [name, rate, samples.tobytes()]
                if len(samples) == 0:
                    faults.append(f"{name} holds no samples")
            elif path.is_file():
                parts += [name, path.read_bytes()]
    return Result(_hash(*parts), faults, [str(path.relative_to(out)) for path in final])


def read_embeddings(out: Path, stdout: str) -> Result:
    """Embeddings folders: rows, labels and timestamps, without what says when and how long."""
    faults: list[str] = []
    digests: list[str] = []
    done = sorted(path.parent for path in out.rglob("embedding-info.json"))
    for folder in done:
        parts: list[Any] = []
        _json(folder / "embedding-info.json", faults)
        for path in sorted(folder.iterdir()):
            if path.name.endswith(".embeddings.npy"):
                rows = np.fromfile(path, dtype=np.float32)
                if rows.size == 0 or not np.isfinite(rows).all():
                    faults.append(f"{path.name} is empty or not finite")
                parts += [path.name, rows.tobytes()]
            elif path.name.endswith((".pkl", "-timestamps.json", "-dimensions.json")):
                parts += [path.name, path.read_bytes()]
        digests.append(_hash(*parts))
    return Result(_hash(*digests), faults, [str(path.relative_to(out)) for path in done], frozenset(digests))


_UNIT = ("top1_acc", "mAP", "aucroc", "pitch_acc", "chroma_acc")


def read_record(out: Path, stdout: str) -> Result:
    """Result records: scores by fold to the last bit, and the predictions."""
    faults: list[str] = []
    digests: list[str] = []
    files = sorted(out.rglob("record.json"))
    for file in files:
        parts: list[Any] = []
        record = _json(file, faults)
        for scores in (record.get("scores", {}), *(fold["scores"] for fold in record.get("folds", []))):
            for name, value in scores.items():
                # JSON has no infinity: how a d' of perfect ranks is written is the record's own affair.
                if isinstance(value, float) and (not math.isfinite(value) or (name in _UNIT and not 0 <= value <= 1)):
                    faults.append(f"{name} is {value}")
        parts += [record.get("scores"), [fold["scores"] for fold in record.get("folds", [])]]
        with np.load(file.with_name("predictions.npz")) as arrays:
            parts += [(name, arrays[name].tobytes()) for name in sorted(arrays.files)]
        digests.append(_hash(*parts))
    if stdout.lstrip().startswith(("[", "{")):
        try:
            strict_json(stdout)
        except ValueError as error:
            faults.append(f"--json: {error}")
    return Result(_hash(*digests), faults, [str(path.relative_to(out)) for path in files], frozenset(digests))


def read_checkpoint(out: Path, stdout: str) -> Result:
    """safetensors files: names and bytes of the tensors; and the losses of a run's log."""
    faults: list[str] = []
    parts: list[Any] = []
    files = sorted(out.rglob("*.safetensors"))
    for file in files:
        data = file.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        header = strict_json(data[8 : 8 + length].decode())
        own = header.pop("__metadata__", {}).get("hear_delores")
        if own is None:
            faults.append(f"{file.name} has no header of ours")
        else:
            about = strict_json(own)
            parts += [about.get(key) for key in ("encoder", "frontend", "normalization", "scene")]
        for name, entry in sorted(header.items()):
            start, stop = entry["data_offsets"]
            block = data[8 + length + start : 8 + length + stop]
            if entry["dtype"] == "F32" and not np.isfinite(np.frombuffer(block, dtype="<f4")).all():
                faults.append(f"{name} is not finite")
            parts += [name, block]
    for log in sorted(out.rglob("log.jsonl")):
        for line in log.read_text().splitlines():
            entry = strict_json(line)
            loss = entry.get("loss")
            if loss is not None and (not math.isfinite(loss) or loss == 0):
                faults.append(f"a loss is {loss}")
            parts.append(loss)
    return Result(_hash(*parts), faults, [str(path.relative_to(out)) for path in files])


def read_pack(out: Path, stdout: str) -> Result:
    """The shards of a pack, and what its index says of clips."""
    faults: list[str] = []
    parts: list[Any] = []
    final = []
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            value: Any = path.read_bytes()
            if path.suffix == ".json":
                value = _json(path, faults)
                value.pop("data", None)  # the place that was packed
            parts += [path.name, value]
            final.append(str(path.relative_to(out)))
    return Result(_hash(*parts), faults, final)


_TIMES = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]+\S*)?|\d+\.\d s\b")


def read_text(out: Path, stdout: str) -> Result:
    """What was printed and every text file that was written, without dates; nowhere a NaN."""
    faults = []
    parts: list[Any] = [_TIMES.sub("", stdout)]
    final = []
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name != "keep.txt":
            final.append(str(path.relative_to(out)))
            parts.append(path.name)
            if path.suffix in (".md", ".csv", ".html", ".tex", ".json"):
                parts.append(_TIMES.sub("", path.read_text(encoding="utf-8")))
    if any(re.search(r"(?<![\w.])-?(nan|inf)(?![\w.])", part) for part in parts if isinstance(part, str)):
        faults.append("nan or inf is printed as a figure")
    return Result(_hash(*parts), faults, final)


def read_nothing(out: Path, stdout: str) -> Result:
    """For commands whose output is no result: only the exit counts."""
    return Result("", [], [])


READERS: dict[str, Callable[[Path, str], Result]] = {
    "tasks": read_tasks,
    "embeddings": read_embeddings,
    "record": read_record,
    "checkpoint": read_checkpoint,
    "pack": read_pack,
    "text": read_text,
    "nothing": read_nothing,
}
