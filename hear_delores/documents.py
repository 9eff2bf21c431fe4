"""Text and JSON files, read in one place and strictly: a right value, or one line that says what is wrong.

Standard library only. Every JSON file that this project reads comes through :func:`read_json` (a line of a log
or a header through :func:`parse_json`), and every one that it writes through :func:`to_json`.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

from hear_delores.errors import DeloresError

__all__ = ["JSON_DEPTH", "parse_json", "read_json", "read_text", "to_json"]

#: Lists and objects within each other. Our deepest file has 6; beyond 100, whatever walks the value fails.
JSON_DEPTH = 100
#: Digits of a whole number: more than any float holds, few enough to become one.
MAX_DIGITS = 40

_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}


def read_text(path: str | os.PathLike[str], advice: str = "") -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Args:
        advice: what to do about a file that cannot be read, such as "embed the task again".

    Raises:
        DeloresError: there is no such file, it is no regular one, or it is not text in UTF-8.
    """
    data = _read_bytes(path, advice)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or _is_wide(data[:1024]):
        raise _error(path, "UTF-16 or UTF-32 text, expected UTF-8; save it as UTF-8", advice)
    if (nul := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise _error(path, f"not text: it holds a zero byte in line {line}", advice)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8 (byte 0x{data[error.start]:02x} in line {line}); save it as UTF-8"
        raise _error(path, what, advice) from None


def read_json(path: str | os.PathLike[str], kind: type | None = dict, *, nan: bool = False, advice: str = "") -> Any:
    """The value of a JSON file.

    Args:
        kind: ``dict`` or ``list``, which the value must be; None for either or anything else.
        nan: accept ``NaN`` and ``Infinity``, which no JSON has but older versions of this project wrote.
        advice: what to do about a file that is missing or damaged, such as "embed the task again".

    Raises:
        DeloresError: naming the file, for anything that :func:`read_text` or :func:`parse_json` refuses.
    """
    return parse_json(read_text(path, advice), path, kind, nan=nan, advice=advice)


def parse_json(
    text: str | bytes, where: str | os.PathLike[str], kind: type | None = dict, *, nan: bool = False, advice: str = ""
) -> Any:
    """The value of a JSON text; ``where`` is what errors call it.

    Raises:
        DeloresError: no JSON, a key that occurs twice in one object, NaN or infinity (unless ``nan``), a number of
            more than 40 digits, more than 100 levels of nesting, a lone surrogate, or another kind of value.

    >>> parse_json('{"a": [1, 2.5, null]}', "it")
    {'a': [1, 2.5, None]}
    >>> parse_json('{"a": 1, "a": 2}', "it")
    Traceback (most recent call last):
    hear_delores.errors.DeloresError: it: the key 'a' occurs twice; remove one
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=float if nan else _no_constant,
            parse_float=float if nan else _finite,
            parse_int=_whole_number,
        )
        _check_depth(value)
        if "\\u" in text:
            _check_characters(value)
    except _Fault as fault:
        raise _error(where, str(fault), advice) from None
    except RecursionError:
        raise _error(where, f"nested deeper than {JSON_DEPTH} levels", advice) from None
    except UnicodeDecodeError:
        raise _error(where, "not JSON in UTF-8", advice) from None
    except json.JSONDecodeError as error:
        what = f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        raise _error(where, what if text.strip() else "empty; expected JSON", advice) from None
    if kind is not None and not isinstance(value, kind):
        expected = _KINDS.get(kind, kind.__name__)
        raise _error(where, f"expected {expected}, got {_kind_of(value)}", advice)
    return value


def to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """``value`` as valid JSON: NaN is written as null, an infinity as the string ``"Infinity"`` or ``"-Infinity"``.

    ``options`` are those of :func:`json.dumps`.

    >>> to_json({"loss": float("nan"), "d_prime": float("inf"), "steps": [1, 2]})
    '{"loss": null, "d_prime": "Infinity", "steps": [1, 2]}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False, **options)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, str):  # a file name may hold bytes that are no UTF-8; they are written escaped
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_plain(key) if isinstance(key, str) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


class _Fault(Exception):
    """What is wrong with a value; the file's name is added outside."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (double, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise _Fault(f"the key {_short(double)} occurs twice; remove one")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Fault(f"{name} is not JSON; expected a number or null")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Fault(f"the number {_short(text, quote=False)} is too large")
    return value


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Fault(f"a number of {len(text):,} digits is too large")
    return int(text)


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(JSON_DEPTH):
        if not level:
            return
        level = [
            item
            for parent in level
            for item in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(item, (dict, list))
        ]
    if level:
        raise _Fault(f"nested deeper than {JSON_DEPTH} levels")


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Fault(f"a lone surrogate (\\u{ord(error.object[error.start]):04x}) in a string") from None


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    return next((name for kind, name in _KINDS.items() if type(value) is kind), "a number")


def _short(text: str, quote: bool = True) -> str:
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(short) if quote else short


def _read_bytes(path: str | os.PathLike[str], advice: str) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as stream:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return stream.read()
            what = "expected a file, got a device or FIFO"
    except IsADirectoryError:
        what = "expected a file, got a folder"
    except FileNotFoundError:
        what = "a link to a file that is not there" if os.path.islink(path) else "no such file"
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
    except MemoryError:
        what = "cannot be read (not enough memory)"
    except ValueError:
        path, what = repr(os.fspath(path)), "no such file (its name holds a zero byte)"
    raise _error(path, what, advice)


def _open_at_once(path: str, flags: int) -> int:
    """Without O_NONBLOCK, a FIFO would wait for its writer for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _is_wide(start: bytes) -> bool:
    """Whether ASCII text stands in two or four bytes a character, without a byte order mark."""
    half = len(start) // 2
    return half > 0 and (start[0::2].count(0) >= 0.7 * half or start[1::2].count(0) >= 0.7 * half)


def _error(where: str | os.PathLike[str], what: str, advice: str) -> DeloresError:
    if not advice or "; " in what:  # what says already what to do
        return DeloresError(f"{os.fspath(where)}: {what}")
    return DeloresError(f"{os.fspath(where)}: {what}; {advice}")
