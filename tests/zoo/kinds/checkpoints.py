"""Checkpoints: ours (header and tensors), other programs' `.pth` and `.safetensors`, and the state that a run resumes from."""

from __future__ import annotations

import collections
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.zoo.cases import EQUAL, HARMFUL, HARMLESS, OPEN, WRONG, Case, Change, Expectation, Route
from tests.zoo.kinds.common import byte_cases, json_cases, place_cases, value_cases
from tests.zoo.mutations import VALUES, json_paths, set_value
from tests.zoo.routes import CONVERT, CONVERT_OURS, EMBED, EMBED_FOREIGN, PRETRAIN_PACK, RESUME, VERIFY

__all__ = ["cases"]

OURS, THEIRS = "in/model.safetensors", "in/foreign/byola.pth"
DAMAGE = ("truncate", "flip head", "insert bytes", "delete bytes", "zero a range", "swap blocks", "twice", "trailing bytes",
          "one byte less", "random bytes", "web page", "git lfs pointer", "gzip")  # fmt: skip
Header, Tensors = dict[str, Any], dict[str, bytes]


def read_safetensors(path: Path) -> tuple[Header, bytes]:
    """The header as JSON, and the block of all tensors."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_safetensors(path: Path, header: Any, block: bytes) -> None:
    """The same back again, whatever the header now is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + block)


def _outer(change: Callable[[Header], Any]) -> Change:
    """Changes the header of safetensors: names, shapes, offsets."""

    def changed(work: Path, rng: random.Random) -> None:
        header, block = read_safetensors(work / OURS)
        new = change(header)
        write_safetensors(work / OURS, header if new is None else new, block)

    return changed


def _inner(place: tuple[Any, ...], new: Any) -> Change:
    """Changes our own JSON inside it."""

    def changed(work: Path, rng: random.Random) -> None:
        header, block = read_safetensors(work / OURS)
        own = json.loads(header["__metadata__"]["hear_delores"])
        header["__metadata__"]["hear_delores"] = json.dumps(set_value(own, place, new) if place else new)
        write_safetensors(work / OURS, header, block)

    return changed


def _any_inner(work: Path, rng: random.Random) -> None:
    header, block = read_safetensors(work / OURS)
    own = json.loads(header["__metadata__"]["hear_delores"])
    place = rng.choice(
        [p for p in json_paths(own) if p[0] in ("encoder", "frontend", "normalization", "scene", "format_version")]
    )
    new = set_value(own, place) if rng.random() < 0.2 else set_value(own, place, rng.choice(list(VALUES.values())))
    header["__metadata__"]["hear_delores"] = json.dumps(new)
    write_safetensors(work / OURS, header, block)


INNER: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    *(((key,), value, HARMFUL) for key in ("encoder", "frontend", "normalization", "scene") for value in (..., None, {}, [], "x", 3)),
    *((("format_version",), value, HARMFUL) for value in (..., None, 2, "1", 0, True, [])),
    *((("normalization", "std"), value, HARMFUL) for value in (0, -4.0, float("nan"), float("inf"), None, "4", True, ..., [4], 10**400)),
    *((("normalization", "mean"), value, HARMFUL) for value in (float("nan"), None, "x", ..., 1e400)),
    *((("frontend", "sample_rate"), value, HARMFUL) for value in (0, -1, 1, 16000.5, None, "16000", True, float("nan"), 10**30, ...)),
    *((("frontend", "n_mels"), value, HARMFUL) for value in (0, 63, 128, None, 10**12, ...)),
    *((("frontend", "hop_length"), value, HARMFUL) for value in (0, -160, None, 1.5, ...)),
    *((("frontend", "n_fft"), value, HARMFUL) for value in (0, 1023, 512, 2**40, None)),
    *((("frontend", "f_max"), value, HARMFUL) for value in (60.0, 9000.0, float("nan"), None, ...)),
    (("frontend", "mel_scale"), "bark", HARMFUL),
    (("frontend", "eps"), 0, HARMFUL),
    (("frontend", "zoo"), 1, HARMFUL),
    *((("encoder", "embedding_size"), value, HARMFUL) for value in (17, 0, -1, 10**12, None, "16", 16.5, ...)),
    *((("encoder", "channels"), value, HARMFUL) for value in (9, 0, 10**9, None)),
    (("encoder", "zoo"), 1, HARMFUL),
    *((("scene",), value, HARMFUL) for value in (["nonsense"], [None], [[]], "pooled")),
    *((("timestamp",), value, HARMFUL) for value in (["nonsense"], [], None, 5)),
    (("step",), "many", OPEN),
    (("config",), VALUES["deep"], OPEN),
    ((), "no json object", HARMFUL),
    ((), [], HARMFUL),
]  # fmt: skip


def _renamed(prefix: str, old: str = "encoder.") -> Callable[[Header], Any]:
    return lambda header: {(prefix + k[len(old) :] if k.startswith(old) else k): v for k, v in header.items()}


def _first(change: Callable[[dict[str, Any]], Any]) -> Callable[[Header], Any]:
    """Changes the entry of one tensor."""

    def changed(header: Header) -> None:
        change(header["encoder.fc.0.weight"])

    return changed


OUTER: dict[str, tuple[Callable[[Header], Any], Expectation]] = {
    "no header of ours": (lambda h: {k: v for k, v in h.items() if k != "__metadata__"}, HARMFUL),
    "metadata that is null": (lambda h: {**h, "__metadata__": None}, HARMFUL),
    "metadata of no text": (lambda h: {**h, "__metadata__": {"hear_delores": 5}}, HARMFUL),
    "another program's metadata": (lambda h: {**h, "__metadata__": {"format": "pt"}}, HARMFUL),
    "more metadata": (lambda h: {**h, "__metadata__": {**h["__metadata__"], "x": "y"}}, EQUAL),
    "names of DDP": (_renamed("module.encoder."), EQUAL),
    "names of torch.compile": (_renamed("_orig_mod.encoder."), EQUAL),
    "names without a prefix": (_renamed(""), HARMFUL),
    "no fc.0.weight": (lambda h: {k: v for k, v in h.items() if k != "encoder.fc.0.weight"}, HARMFUL),
    "a tensor too many": (lambda h: {**h, "encoder.zoo": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, HARMFUL),
    "a tensor of integers": (_first(lambda e: e.update(dtype="I32")), HARMFUL),
    "a tensor of an unknown type": (_first(lambda e: e.update(dtype="F31")), HARMFUL),
    "a tensor of another shape": (_first(lambda e: e.update(shape=e["shape"][::-1])), HARMFUL),
    "a tensor of one dimension": (_first(lambda e: e.update(shape=[e["shape"][0] * e["shape"][1]])), HARMFUL),
    "a shape of 2^60": (_first(lambda e: e.update(shape=[2**60, 16])), HARMFUL),
    "a negative shape": (_first(lambda e: e.update(shape=[-16, -64])), HARMFUL),
    "offsets that overlap": (_first(lambda e: e.update(data_offsets=[0, e["data_offsets"][1] - e["data_offsets"][0]])), HARMFUL),
    "offsets past the end": (_first(lambda e: e.update(data_offsets=[2**40, 2**40 + 4096])), HARMFUL),
    "no offsets": (_first(lambda e: e.pop("data_offsets")), HARMFUL),
    "a header that is a list": (lambda h: [], HARMFUL),
    "an empty header": (lambda h: {}, HARMFUL),
    "a header in Latin-1": (lambda h: json.dumps(h).replace("fc.0", "fc\u00e9").encode("latin-1"), HARMFUL),
    "a key twice": (lambda h: json.dumps(h).replace("{", '{"encoder.fc.0.weight": {"dtype":"F32","shape":[1],"data_offsets":[0,4]},', 1).encode(), HARMFUL),
}  # fmt: skip


def _tensor_value(value: float) -> Change:
    def changed(work: Path, rng: random.Random) -> None:
        header, block = read_safetensors(work / OURS)
        at = header["encoder.fc.0.weight"]["data_offsets"][0] + 4 * rng.randrange(16)
        write_safetensors(work / OURS, header, block[:at] + struct.pack("<f", value) + block[at + 4 :])

    return changed


def _length(value: int) -> Change:
    return lambda work, rng: (
        (work / OURS).write_bytes(struct.pack("<Q", value) + (work / OURS).read_bytes()[8:]) and None
    )


def _torch(change: Callable[[dict[str, Any]], Any], **options: Any) -> Change:
    """Changes the state dict of the foreign checkpoint. In a process of its own: torch may start threads."""

    def changed(work: Path, rng: random.Random) -> None:
        import os

        pid = os.fork()
        if pid == 0:
            try:
                import torch

                state = torch.load(work / THEIRS, weights_only=True)
                new = change(state)
                torch.save(state if new is None else new, work / THEIRS, **options)
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(pid, 0)[1]:
            raise RuntimeError("the checkpoint could not be changed")

    return changed


class _Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("touch out/precious/owned",)


class _Config:
    """An object that another program leaves in its checkpoint."""


def _tensor(make: Callable[[Any], Any], name: str = "fc.0.weight") -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        state[name] = make(state[name])

    return change


def _set(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        state[name].view(-1)[0] = value

    return change


def _lightning(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "epoch": 3,
        "global_step": 5,
        "pytorch-lightning_version": "2.0",
        "state_dict": {f"model.{k}": v for k, v in state.items()},
    }


FOREIGN: dict[str, tuple[Change, Expectation]] = {
    "saved in the old format": (_torch(lambda s: None, _use_new_zipfile_serialization=False), HARMLESS),
    "an ordered dict": (_torch(lambda s: collections.OrderedDict(s)), HARMLESS),
    "names of DDP": (_torch(lambda s: {f"module.{k}": v for k, v in s.items()}), EQUAL),
    "names of DDP twice": (_torch(lambda s: {f"module.module.{k}": v for k, v in s.items()}), EQUAL),
    "names of torch.compile": (_torch(lambda s: {f"_orig_mod.{k}": v for k, v in s.items()}), EQUAL),
    "of Lightning": (_torch(_lightning), EQUAL),
    "wrapped in state_dict": (_torch(lambda s: {"state_dict": s}), EQUAL),
    "wrapped in model": (_torch(lambda s: {"model": s, "optimizer": {}}), EQUAL),
    "keys that are numbers": (_torch(lambda s: dict(enumerate(s.values()))), HARMFUL),
    "one key that is a number": (_torch(lambda s: {**s, 7: s["fc.0.bias"]}), HARMFUL),
    "one key that is None": (_torch(lambda s: {**s, None: 1}), HARMFUL),
    "one key that is a tuple": (_torch(lambda s: {("a", 1): s["fc.0.bias"], **s}), HARMFUL),
    "numbered keys under state_dict": (_torch(lambda s: {"state_dict": {**{f"module.{k}": v for k, v in s.items()}, 7: 1}}), HARMFUL),
    "a sparse tensor": (_torch(_tensor(lambda t: t.to_sparse())), EQUAL),
    "a sparse row tensor": (_torch(_tensor(lambda t: t.to_sparse_csr())), EQUAL),
    "a quantised tensor": (_torch(_tensor(lambda t: __import__("torch").quantize_per_tensor(t, 0.1, 0, __import__("torch").qint8))), HARMFUL),
    "a meta tensor": (_torch(_tensor(lambda t: t.to("meta"))), HARMFUL),
    "complex weights": (_torch(_tensor(lambda t: t.to(__import__("torch").complex64))), HARMFUL),
    "integer weights": (_torch(_tensor(lambda t: t.to(__import__("torch").int32))), HARMFUL),
    "boolean weights": (_torch(_tensor(lambda t: t > 0)), HARMFUL),
    "float64 weights": (_torch(lambda s: {k: v.double() if v.is_floating_point() else v for k, v in s.items()}), HARMLESS),
    "half weights": (_torch(lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()}), OPEN),
    "a transposed view": (_torch(_tensor(lambda t: t.t().contiguous().t())), HARMLESS),
    "an expanded tensor": (_torch(_tensor(lambda t: t[:, :1].expand_as(t))), OPEN),
    "a parameter": (_torch(_tensor(lambda t: __import__("torch").nn.Parameter(t))), HARMLESS),
    "a tensor that needs gradients": (_torch(_tensor(lambda t: t.requires_grad_())), HARMLESS),
    "a scalar": (_torch(_tensor(lambda t: t.sum())), HARMFUL),
    "an empty tensor": (_torch(_tensor(lambda t: t[:0])), HARMFUL),
    "a tensor transposed": (_torch(_tensor(lambda t: t.t().contiguous())), HARMFUL),
    "no dimension of the first convolution": (_torch(_tensor(lambda t: t[:0], "features.0.weight")), HARMFUL),
    "a list instead of a tensor": (_torch(_tensor(lambda t: t.tolist())), HARMFUL),
    "None instead of a tensor": (_torch(_tensor(lambda t: None)), HARMFUL),
    "a number instead of a tensor": (_torch(_tensor(lambda t: 0.5)), HARMFUL),
    "NaN": (_torch(_set("fc.0.weight", float("nan"))), HARMFUL),
    "infinity": (_torch(_set("features.0.weight", float("inf"))), HARMFUL),
    "a negative variance": (_torch(_set("features.1.running_var", -1.0)), HARMFUL),
    "no running mean": (_torch(lambda s: s.pop("features.1.running_mean") is None), HARMFUL),
    "a layer more": (_torch(lambda s: {**s, "fc.6.weight": s["fc.3.weight"]}), HARMFUL),
    "an empty dict": (_torch(lambda s: {}), HARMFUL),
    "a list": (_torch(lambda s: list(s.values())), HARMFUL),
    "a tensor alone": (_torch(lambda s: s["fc.0.weight"]), HARMFUL),
    "None": (_torch(lambda s: _NONE), HARMFUL),
    "another architecture": (_torch(lambda s: {"conv1.weight": s["fc.0.weight"], "layer1.0.weight": s["fc.0.bias"]}), HARMFUL),
    "code that runs": (_torch(lambda s: {**s, "x": _Evil()}), HARMFUL),
    "an object of another program": (_torch(lambda s: {"state_dict": s, "args": _Config()}), HARMFUL),
    "a plain pickle": (lambda work, rng: (work / THEIRS).write_bytes(pickle.dumps({"fc.0.weight": [1.0]})) and None, HARMFUL),
    "a pickle with code": (lambda work, rng: (work / THEIRS).write_bytes(pickle.dumps(_Evil())) and None, HARMFUL),
}  # fmt: skip
_NONE: list[None] = []


def _zip(work: Path, rng: random.Random) -> None:
    with zipfile.ZipFile(work / THEIRS, "w") as archive:
        archive.writestr("hello.txt", "no checkpoint")


def _script(work: Path, rng: random.Random) -> None:
    """TorchScript: a zip with code."""
    with zipfile.ZipFile(work / THEIRS, "a") as archive:
        archive.writestr("byola/constants.pkl", b"\x80\x02).")


def _foreign_safetensors(work: Path, rng: random.Random) -> None:
    """The whole of another program's model as safetensors, called as ours is."""
    header, block = read_safetensors(work / OURS)
    header = {f"wav2vec2.{k}": v for k, v in header.items() if k != "__metadata__"}
    write_safetensors(work / OURS, {"__metadata__": {"format": "pt"}, **header}, block)


BESIDE: list[tuple[tuple[Any, ...], Any, Expectation]] = [
    *((("std",), value, HARMFUL) for value in (0, -1, float("nan"), float("inf"), None, "4", True, ..., [], 10**400)),
    *((("mean",), value, HARMFUL) for value in (float("nan"), None, "x", ..., False)),
    *((("frontend",), value, HARMFUL) for value in (None, "byol-a", [], {"zoo": 1}, {"n_mels": 63}, {"sample_rate": 0}, {"n_mels": 128})),
    (("frontend",), {}, OPEN),
    (("zoo",), 1, HARMFUL),
]  # fmt: skip


def cases() -> list[Case]:
    """All of this kind."""
    found: list[Case] = []
    for number, (place, value, expect) in enumerate(INNER):
        shown = "removed" if value is ... else repr(value)[:40]
        route = (EMBED, CONVERT_OURS)[number % 5 == 4] if expect is not OPEN else EMBED
        found.append(Case("checkpoint", f"{route.name}: {'.'.join(map(str, place)) or 'all'} = {shown}", route,
                          HARMFUL if route is CONVERT_OURS else expect, _inner(place, value)))  # fmt: skip
    found += [
        Case("checkpoint", f"embed: ours: {name}", EMBED, expect, _outer(do)) for name, (do, expect) in OUTER.items()
    ]
    found += [Case("checkpoint", f"embed: ours: a weight of {v}", EMBED, e, _tensor_value(v))
              for v, e in ((float("nan"), HARMFUL), (float("inf"), HARMFUL), (1e38, OPEN), (0.0, OPEN))]  # fmt: skip
    found += [
        Case("checkpoint", f"embed: ours: a header of {n} bytes", EMBED, HARMFUL, _length(n))
        for n in (0, 1, 2**31, 2**62, 2**64 - 1)
    ]
    found += [Case("checkpoint", f"embed: ours: a setting {n}", EMBED, OPEN, _any_inner) for n in range(25)]
    for number, (name, (do, expect)) in enumerate(FOREIGN.items()):
        for route in (EMBED_FOREIGN, CONVERT) if number % 3 == 0 else ((EMBED_FOREIGN, CONVERT)[number % 2],):
            found.append(Case("checkpoint", f"{route.name}: {name}", route, expect, do, agree=name))
    found += [
        Case("checkpoint", "convert: a zip of something else", CONVERT, HARMFUL, _zip),
        Case("checkpoint", "convert: TorchScript", CONVERT, OPEN, _script),
        Case("checkpoint", "embed: another program's safetensors", EMBED, HARMFUL, _foreign_safetensors),
        Case("checkpoint", "convert: ours over ours", CONVERT_OURS, OPEN),
    ]
    found += json_cases("checkpoint", CONVERT, f"{THEIRS}.json", BESIDE)
    found += value_cases("checkpoint", EMBED_FOREIGN, f"{THEIRS}.json", 8)
    for route, file in ((EMBED, OURS), (EMBED_FOREIGN, THEIRS), (CONVERT, THEIRS)):
        found += byte_cases("checkpoint", route, file, DAMAGE) + place_cases("checkpoint", route, file)
    found += byte_cases("checkpoint", CONVERT, f"{THEIRS}.json")
    return found + _states() + _packs()


def _states() -> list[Case]:
    """What a run resumes from. A state that is missing is a run that begins anew."""
    found = byte_cases("checkpoint", RESUME, "out/run/state.pt", DAMAGE)
    found += byte_cases("checkpoint", RESUME, "out/run/log.jsonl", ("truncate", "random bytes", "delete a line", "nul"))
    places = ("empty", "folder", "fifo", "dangling link", "endless device")
    return found + place_cases("checkpoint", RESUME, "out/run/state.pt", places)


def _packs() -> list[Case]:
    found: list[Case] = []
    for route in (PRETRAIN_PACK, VERIFY):
        found += _pack_cases(route)
    return found


def _pack_cases(route: Route) -> list[Case]:
    def change(pick: int, how: str) -> Change:
        from tests.zoo.mutations import IN_PLACE, mutate_bytes, put

        def changed(work: Path, rng: random.Random) -> None:
            files = sorted(
                p for p in (work / "in/pack").rglob("*") if p.is_file() and p.name != "keep.txt" and p.name[0] != "."
            )
            path = files[pick % len(files)]
            put(path, how) if how in IN_PLACE else mutate_bytes(path, how, rng)

        return changed

    found = []
    for pick in range(3):  # pack.json, a shard, its index
        for how in (
            "truncate",
            "flip bits",
            "delete bytes",
            "twice",
            "random bytes",
            "zero a range",
            "missing",
            "empty",
            "folder",
            "fifo",
        ):
            quick = replace(route, seconds=20.0) if how == "fifo" else route
            # pack.json has a checksum of its shards' indices and none of itself: a letter of a name may change unseen.
            unseen = how == "folder" or (how == "flip bits" and pick == 0)
            expect = WRONG if route is VERIFY and not unseen else OPEN
            found.append(Case("checkpoint", f"{route.name}: pack file {pick}: {how}", quick, expect, change(pick, how)))
    return found
