"""Changes that know nothing of what a file means: of bytes, of lines, of JSON values, and of what stands in its place."""

from __future__ import annotations

import copy
import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["BYTES", "IN_PLACE", "VALUES", "json_paths", "mutate_bytes", "put", "set_value"]


# --- bytes


def _position(data: bytes, rng: random.Random) -> int:
    return rng.randrange(len(data)) if data else 0


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _position(data, rng)]


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 32))):
        changed[_position(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_head(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 6))):
        changed[rng.randrange(min(len(data), 64))] = rng.randrange(256)
    return bytes(changed)


def _insert(data: bytes, rng: random.Random) -> bytes:
    place = _position(data, rng)
    return data[:place] + rng.randbytes(rng.choice((1, 7, 300))) + data[place:]


def _delete(data: bytes, rng: random.Random) -> bytes:
    place = _position(data, rng)
    return data[:place] + data[place + rng.choice((1, 5, 64)) :]


def _zeros(data: bytes, rng: random.Random) -> bytes:
    place, length = _position(data, rng), rng.choice((4, 64, 4096))
    return data[:place] + bytes(len(data[place : place + length])) + data[place + length :]


def _swap_blocks(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted((_position(data, rng), _position(data, rng)))
    return data[b:] + data[a:b] + data[:a]


def _lines(change: Callable[[list[bytes], random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    def changed(data: bytes, rng: random.Random) -> bytes:
        lines = data.splitlines(keepends=True)
        change(lines, rng)
        return b"".join(lines)

    return changed


def _swap_lines(lines: list[bytes], rng: random.Random) -> None:
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]


def _utf16(data: bytes, rng: random.Random) -> bytes:
    return data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-16-le", "utf-16-be")))


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncate": _truncate,
    "flip bits": _flip,
    "flip head": _flip_head,
    "insert bytes": _insert,
    "delete bytes": _delete,
    "zero a range": _zeros,
    "swap blocks": _swap_blocks,
    "twice": lambda data, rng: data + data,
    "trailing bytes": lambda data, rng: data + rng.randbytes(rng.choice((1, 100))),
    "trailing zeros": lambda data, rng: data + bytes(rng.choice((1, 512))),
    "one byte less": lambda data, rng: data[:-1],
    "random bytes": lambda data, rng: rng.randbytes(max(1, len(data))),
    "web page": lambda data, rng: (
        b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n"
    ),
    "git lfs pointer": lambda data, rng: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n"
    ),
    "gzip": lambda data, rng: __import__("gzip").compress(data, mtime=0),
    # Of text.
    "repeat a line": _lines(lambda lines, rng: lines.insert(rng.randrange(len(lines)), rng.choice(lines))),
    "delete a line": _lines(lambda lines, rng: lines.pop(rng.randrange(len(lines)))),
    "swap lines": _lines(_swap_lines),
    "utf-16": _utf16,
    "byte order mark": lambda data, rng: b"\xef\xbb\xbf" + data,
    "two byte order marks": lambda data, rng: b"\xef\xbb\xbf" * 2 + data,
    "crlf": lambda data, rng: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    "cr": lambda data, rng: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
    "latin-1": lambda data, rng: (lambda at: data[:at] + "\xe9\xfc".encode("latin-1") + data[at:])(
        _position(data, rng)
    ),
    "nul": lambda data, rng: (lambda at: data[:at] + b"\0" + data[at:])(_position(data, rng)),
    "blank lines": lambda data, rng: data + b"\n\n\n",
    "leading blank line": lambda data, rng: b"\n" + data,
    "line separator": lambda data, rng: (lambda at: data[:at] + "\u2028".encode() + data[at:])(len(data) // 2),
    "surrogates": lambda data, rng: (lambda at: data[:at] + b"\xed\xa0\x80" + data[at:])(_position(data, rng)),
}


def mutate_bytes(path: Path, how: str, rng: random.Random) -> None:
    """Changes a file by the mutation of that name."""
    path.write_bytes(BYTES[how](path.read_bytes(), rng))


# --- what stands in a file's place


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        __import__("shutil").rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


IN_PLACE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "one newline": lambda path: path.write_bytes(b"\n"),
    "folder": lambda path: path.mkdir(),
    "fifo": lambda path: os.mkfifo(path),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "empty device": lambda path: path.symlink_to("/dev/null"),
    "socket": _socket,
}


def put(path: Path, what: str) -> None:
    """Puts something else in a file's place."""
    _remove(path)
    IN_PLACE[what](path)


# --- JSON


def _deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "huge": 10**30,
    "float": 0.5,
    "nan": float("nan"),
    "infinity": float("inf"),
    "empty text": "",
    "text": "zoo",
    "number as text": "1",
    "long text": "x" * 5000,
    "text that leads out": "../../precious",
    "absolute path": "/tmp/zoo-precious",
    "text with a nul": "a\0b",
    "lone surrogate": "\ud800",
    "newline": "a\nb",
    "empty list": [],
    "nested list": [[["x"]]],
    "empty object": {},
    "object": {"zoo": 1},
    "deep": _deep(90),
}
"""Values of every type, to stand where another is expected."""


def json_paths(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value inside a JSON value, as keys and indices."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*prefix, key)
        yield from json_paths(inner, (*prefix, key))


def set_value(value: Any, place: tuple[Any, ...], new: Any = ..., rename: str | None = None) -> Any:
    """A copy with the value at ``place`` replaced, removed (``...``) or renamed."""
    value = copy.deepcopy(value)
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    if rename is not None:
        holder[rename] = holder.pop(place[-1])
    elif new is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = new
    return value


def write_json(path: Path, value: Any) -> None:
    """As the inputs are written: lone surrogates become escapes, NaN is written as it is."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
