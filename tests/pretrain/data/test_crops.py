"""A crop that is read alone is that of the whole clip, from every store; what cannot be read is refused as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hear_delores.errors import DeloresError
from pretrain.data import audio as module
from pretrain.data.audio import Piece, file_length, read_crop, read_piece

RATE = 16000
SOUND = (0.3 * np.random.default_rng(0).standard_normal((9000, 2))).clip(-1, 1)
KINDS: dict[str, tuple[str, str, int, int]] = {  # suffix, subtype, channels, rate
    "plain": (".wav", "PCM_16", 1, RATE),
    "extensible": (".wav", "PCM_16", 1, RATE),
    "of floats": (".wav", "FLOAT", 1, RATE),
    "24 bits": (".wav", "PCM_24", 1, RATE),
    "stereo": (".wav", "PCM_16", 2, RATE),
    "another rate": (".wav", "PCM_16", 1, 22050),
    "flac": (".flac", "PCM_16", 1, RATE),
    "aiff": (".aiff", "PCM_16", 1, RATE),
}


def written(folder: Path, kind: str) -> Path:
    suffix, subtype, channels, rate = KINDS[kind]
    path = folder / f"x{suffix}"
    container = "WAVEX" if kind == "extensible" else None
    with soundfile.SoundFile(path, "w", rate, channels, subtype, format=container) as file:
        if suffix == ".wav":
            file.title = "with a chunk of its own before or after the sound"
        file.write(SOUND[:, :channels])
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_crop_is_that_of_the_piece(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind)
    frames, rate = file_length(path)
    for begin, count in ((0, frames), (1234, 5000), (frames - 100, 100)):
        piece = Piece(path, "x", begin, count, rate)
        whole = read_piece(piece, RATE)
        for first, length in ((0, 400), (max(0, len(whole) - 50), 400), (len(whole) // 3, 20), (0, 10**6)):
            crop = read_crop(piece, RATE, length, choose(first, len(whole)))
            np.testing.assert_array_equal(crop, whole[first : first + length])
            assert crop.dtype == np.int16


def choose(first: int, expected: int) -> Callable[[int], int]:
    def start(n: int) -> int:
        assert n == expected
        return first

    return start


def test_of_a_plain_file_the_decoder_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "plain")
    piece = Piece(path, "x", 0, file_length(path)[0], RATE)
    monkeypatch.setattr(module, "read_piece", lambda *_: pytest.fail("decoded whole"))
    assert len(read_crop(piece, RATE, 400, lambda n: n - 400)) == 400


@pytest.mark.parametrize("left", [0, 30, 60, 9000])
def test_a_file_cut_short_since_is_refused_as_by_the_decoder(left: int, tmp_path: Path) -> None:
    path = written(tmp_path, "plain")
    piece = Piece(path, "x", 0, file_length(path)[0], RATE)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DeloresError) as by_decoder:
        read_piece(piece, RATE)
    with pytest.raises(DeloresError) as by_crop:
        read_crop(piece, RATE, 100, lambda n: 0)
    assert str(by_crop.value) == str(by_decoder.value)
