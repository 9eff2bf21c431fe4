"""Messages can be written anywhere, whatever the names in them are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hear_delores.errors import DeloresError, shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"plain.wav", "plain.wav"),
        ("Käfer 犬 👩\u200d🚀.wav".encode(), "Käfer 犬 👩\u200d🚀.wav"),
        (b"caf\xe9.wav", "caf\\xe9.wav"),
        (b"two\nlines\r\x1b[31m.wav", "two\\nlines\\r\\x1b[31m.wav"),
        ("a\u2028b".encode(), "a\\u2028b"),
    ],
)
def test_a_name_is_shown_in_one_line_that_can_be_encoded(name: bytes, expected: str) -> None:
    text = os.fsdecode(name)
    assert shown(text) == shown(Path(text)) == expected
    assert len(shown(text).splitlines()) == 1
    shown(text).encode()


def test_a_message_can_be_encoded_whatever_name_is_in_it() -> None:
    error = DeloresError(f"{os.fsdecode(b'caf' + bytes([0xE9]))}: is wrong \ud800")
    assert str(error) == "caf\\xe9: is wrong \\ud800"
    str(error).encode()
