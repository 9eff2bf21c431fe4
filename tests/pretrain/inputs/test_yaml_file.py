"""The one reader of YAML: a right value or one line, in little time and memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hear_delores.errors import DeloresError
from pretrain.config import PRESETS, load_config
from pretrain.inputs.yaml_file import parse_yaml, read_yaml

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 5e-5\nb: 1E3\nc: -.5e+2", {"a": 5e-5, "b": 1000.0, "c": -50.0}),
        ("0.50: x\non: y\n1: z", {"0.50": "x", "on": "y", "1": "z"}),
        ("base: &b {x: 1}\nc:\n  <<: *b\n  y: 2", {"base": {"x": 1}, "c": {"x": 1, "y": 2}}),
        ("", None),
        ("a: [1, 'ä', null, true]", {"a": [1, "ä", None, True]}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_yaml(text, "it") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3", "line 4: the key 'c' occurs twice; remove one"),
        ("a: 1\n'a': 2", "line 2: the key 'a' occurs twice"),
        ("[a]: 1", "expected a key that is text"),
        ("{a: 1}: 1", "expected a key that is text"),
        ("a: 1:30", "1:30 is neither a number nor a text; write the number, or quote it"),
        ("a: 1:30.5", "1:30.5 is neither a number nor a text"),
        ("a: .nan", "expected a finite number, got .nan"),
        ("a: -.inf", "expected a finite number"),
        ("a: 1e999", "expected a finite number, got 1e999"),
        ("a: " + "9" * 5000, "a number of 5,000 digits is too large"),
        ("a: 1\n---\nb: 2", "line 2: not YAML .*another document"),
        ("a:\n\t- 1", "line 2: not YAML .*cannot start any token"),
        ("a: [1", "not YAML"),
        ("a: *b", "not YAML .*undefined alias"),
        (LAUGHS, "its aliases expand to more than 100,000 values"),
        ("a: &b {c: *b}", "an alias refers to itself"),
        ("[" * 3000, "nested deeper than 50 levels"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        ("\n".join("  " * i + "a:" for i in range(60)), "line 50: nested deeper than 50 levels"),
        ("!!python/object/apply:os.system [ls]", "not YAML .*could not determine a constructor"),
        ("a: !!bool foo", "not YAML"),
        ("a: !!int ''", "not YAML"),
        ("a: !!timestamp foo", "not YAML"),
        ("a: 2026-13-45", "not YAML .*month must be in 1..12"),
        ("a: !!map [b]", "not YAML"),
        ('a: "\\ud800"', "a lone surrogate"),
        ("a: \x07", "not YAML"),
        ("a: " + "x" * 2_000_000, "2,000,003 characters of YAML, expected at most 1,048,576"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(DeloresError, match=f"it: {message}") as error:
        parse_yaml(text, "it")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ä: 1".encode("latin-1"), "not UTF-8 .* save it as UTF-8"),
        ("a: 1".encode("utf-16"), "UTF-16"),
        (b"a: \0", "not text: it holds a zero byte"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(DeloresError, match=f"a.yaml: {message}"):
        read_yaml(tmp_path / "a.yaml")
    with pytest.raises(DeloresError, match=f"a.yaml: {message}"):
        load_config(tmp_path / "a.yaml")


def test_a_configuration_with_a_byte_order_mark_and_one_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("base: delores-s-small\nsteps: 7\n".encode("utf-8-sig"))
    assert load_config(path).steps == 7
    for text in ("[]", "0", "''", "false"):
        path.write_text(text)
        with pytest.raises(DeloresError, match="expected keys and values"):
            load_config(path)


def test_damaged_bytes_give_a_value_or_one_line(tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = (PRESETS / "delores-s-small.yaml").read_bytes() + b"a: &a [1, 2e-3, 'x']\nb: {c: *a, d: !!float '1'}\n"
    path = tmp_path / "a.yaml"
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice(b"\t\n:{}[]&*!-?|>'\"%@`#,9e.\x80\xff")
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            read_yaml(path)
        except DeloresError as error:  # (any other exception fails)
            assert "\n" not in str(error)  # noqa: PT017
