"""Encoders that are written for X-ARES, as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.embedding.model import load_model
from hear_delores.errors import DeloresError

ENCODER = """
import torch

class Small(torch.nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.sampling_rate, self.output_dim, self.hop_size_in_ms = 16000, 8, 25
        self.weight = torch.nn.Parameter(scale * torch.randn(8, 400))

    def forward(self, audio):
        if audio.shape[1] < 400:
            raise ValueError("too short")
        return audio.unfold(1, 400, 400) @ self.weight.T

class Plain(Small):
    hop = 40

class Wrong(Small):
    def forward(self, audio):
        return super().forward(audio)[:, ::2]

class Flat(Small):
    def forward(self, audio):
        return super().forward(audio).mean(dim=1)

class Pair(Small):
    def forward(self, audio):
        return super().forward(audio), None

not_a_class = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "encoders.py").write_text(ENCODER)
    return tmp_path / "encoders.py"


def test_frames_are_those_of_forward_in_the_middle_of_their_hops(file: Path, noise: np.ndarray) -> None:
    model = load_model(f"xares:{file}:Small?pool=mean+std", "cpu")
    assert (model.spec.label, model.spec.name) == ("Small-pool=mean+std", "xares:encoders.py:Small")
    embeddings, times = model.timestamps(noise)
    weight = model.model.encoder.weight.detach().numpy()
    expected = noise[:, : 49 * 400].reshape(3, 49, 400) @ weight.T
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    np.testing.assert_allclose(times[0], 12.5 + 25 * np.arange(49) - 1000 / 32000, atol=1e-3)
    scene = np.concatenate([expected.mean(1), expected.std(1)], axis=1)
    np.testing.assert_allclose(model.scene(noise), scene, atol=1e-5)
    cut = load_model(f"xares:{file}:Small?chunk_s=0.3&overlap_s=0.1", "cpu")
    np.testing.assert_allclose(cut.timestamps(noise)[0], embeddings, atol=1e-5)
    np.testing.assert_array_equal(cut.timestamps(noise)[1], times)


def test_options_and_short_sounds(file: Path, noise: np.ndarray) -> None:
    one, three = load_model(f"xares:{file}:Small", "cpu"), load_model(f"xares:{file}:Small?scale=3", "cpu")
    np.testing.assert_allclose(three.scene(noise), 3 * one.scene(noise), rtol=1e-4, atol=1e-6)
    assert one.weights_hash != three.weights_hash
    embeddings, times = one.timestamps(noise[:, :10])
    assert embeddings.shape == (3, 1, 8)
    assert times.max() <= 10 / 16


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Smal", "has no class 'Smal'. Did you mean 'Small'"),
        ("not_a_class", "has no class 'not_a_class'"),
        ("Wrong", r"Wrong returns (1, 40, 8) for 2 s of audio; expected about (1, 80, 8)"),
        ("Flat", "Flat returns (1, 8) for 2 s of audio; expected about (1, 80, 8)"),
        ("Pair", "Pair returns tuple for 2 s of audio; expected about (1, 80, 8)"),
        ("Small?scal=2", "unexpected keyword argument 'scal'"),
    ],
)
def test_what_is_no_such_encoder_is_one_line(file: Path, target: str, message: str) -> None:
    with pytest.raises(DeloresError) as caught:
        load_model(f"xares:{file}:{target}", "cpu")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    for target in ("encoders", "./encoders:Small", ":Small", "encoders:Small-2"):
        with pytest.raises(DeloresError, match="expected xares:MODULE:CLASS"):
            load_model(f"xares:{target}", "cpu")
