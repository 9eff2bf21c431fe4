"""The one reader of text and JSON: a right value or one line, and the one way to write JSON."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path

import pytest

from hear_delores.documents import parse_json, read_json, read_text, to_json
from hear_delores.errors import DeloresError
from hear_delores.files import write_json

VALUE = {"name": "Glöckchen 🔔", "numbers": [1, -2.5, 1e-300, 10**30], "nested": {"a": [[], {}, None, True]}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf_8_is_read_with_and_without_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(VALUE, ensure_ascii=False).encode(encoding))
    assert read_json(path) == VALUE
    path.write_bytes("Zeile 1\r\nZ\xe4hler\r\n".encode(encoding))
    assert read_text(path) == "Zeile 1\r\nZ\xe4hler\r\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; expected JSON"),
        (b"{", r"not JSON \(line 1, column 2"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a": 1} x', r"not JSON .*Extra data"),
        (b"[1]", "expected an object, got a list"),
        (b"null", "expected an object, got null"),
        (b'"a"', "expected an object, got a string"),
        (b"1", "expected an object, got a number"),
        ('{"ä": 1}'.encode("latin-1"), r"not UTF-8 \(byte 0xe4 in line 1\); save it as UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16 or UTF-32 text, expected UTF-8; save it as UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "UTF-16"),
        ('{"a": 1}'.encode("utf-32-be"), "UTF-16 or UTF-32"),
        (b'{"a":\n "\0"}', "not text: it holds a zero byte in line 2"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice; remove one"),
        (b'{"x": [{"b": 1, "b": 1}]}', "the key 'b' occurs twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5,000 digits is too large"),
        (b'{"a": ' + b"[" * 100_000, "nested deeper than 100 levels"),
        (b'{"a": ' * 100_000, "nested deeper than 100 levels"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested deeper than 100 levels"),
        (b'{"a": "\\ud800"}', r"a lone surrogate \(\\ud800\)"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DeloresError, match=f"a.json: {message}") as error:
        read_json(path, advice="copy it again")
    assert "\n" not in str(error.value)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse_json('{"a": "\\ud83d\\udd14"}', "it") == {"a": "🔔"}


def test_ninety_levels_are_read() -> None:
    assert parse_json('{"a": ' + "[" * 90 + "]" * 90 + "}", "it")


@pytest.mark.parametrize(("kind", "text"), [(list, "[1]"), (dict, "{}"), (None, "3")])
def test_the_kind_of_the_value(kind: type | None, text: str) -> None:
    parse_json(text, "it", kind)
    with pytest.raises(DeloresError, match="it: expected a list, got a"):
        parse_json('"x"', "it", list)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("nowhere.json")
    for path, message in {
        tmp_path / "a.json": "a.json: no such file; copy it again",
        tmp_path: "expected a file, got a folder; copy it again",
        tmp_path / "link.json": "a link to a file that is not there",
        tmp_path / ("x" * 300): "cannot be read",
        tmp_path / "a.json" / "b.json": "no such file",
        Path("a\0b"): "zero byte",
        Path("/dev/null"): "a device or FIFO",
    }.items():
        with pytest.raises(DeloresError, match=message):
            read_json(path, advice="copy it again")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(DeloresError, match="a device or FIFO"):
        read_json(tmp_path / "a.json")


def test_old_files_with_nan_are_read_where_that_is_asked_for() -> None:
    value = parse_json('{"a": NaN, "b": Infinity, "c": -Infinity}', "it", nan=True)
    assert math.isnan(value["a"])
    assert value["b"] == math.inf
    assert value["c"] == -math.inf


def test_written_json_is_valid(tmp_path: Path) -> None:
    value = {"nan": math.nan, "list": [math.inf, (-math.inf, 1.5)], "name": os.fsdecode(b"caf\xe9"), "more": VALUE}
    write_json(tmp_path / "a.json", value)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads((tmp_path / "a.json").read_bytes().decode("utf-8"), parse_constant=refuse)
    assert found == {"nan": None, "list": ["Infinity", ["-Infinity", 1.5]], "name": r"caf\udce9", "more": VALUE}
    assert read_json(tmp_path / "a.json") == found
    assert parse_json(to_json(VALUE), "it") == VALUE


def test_damaged_bytes_give_a_value_or_one_line(tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = json.dumps(VALUE, ensure_ascii=False, indent=1).encode()
    path = tmp_path / "a.json"
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            assert isinstance(read_json(path), dict)
        except DeloresError as error:  # (any other exception fails)
            assert "\n" not in str(error)  # noqa: PT017
