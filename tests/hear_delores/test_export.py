"""The exported graph, run by onnxruntime, against the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hear_delores import export
from hear_delores.decorrelation import Decorrelation
from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.errors import DeloresError
from hear_delores.export import OPSET, export_onnx, fourier_matrix
from hear_delores.frontend import FrontendConfig
from hear_delores.model import HearModel

# Around a hop, a timestamp and eight mel frames, and up to some seconds.
LENGTHS = (1, 159, 160, 639, 640, 1120, 1281, 16000, 30001, 48000)
SCENE = ("pooled", "layer1_max", "layer2_std", "layer3_thirds", "layer3_mean_decorrelated")

TIMESTAMP = ("layer3", "frames_mean_3", "layer3_std_5")


@pytest.fixture(scope="module")
def model() -> HearModel:
    torch.manual_seed(0)
    encoder = AudioNTT(EncoderConfig(channels=4, embedding_size=12))
    for block in encoder.blocks:
        block.norm.running_mean.normal_(0, 0.2)
        block.norm.running_var.uniform_(0.3, 1.5)
    maps = {"layer3_mean": Decorrelation(torch.tensor(0.5), torch.rand(32), torch.randn(32, 20))}
    config = FrontendConfig(win_length=800)
    model = HearModel(
        encoder, config, -6.0, 4.0, SCENE, timestamp=("layer3", "frames_mean_3", "layer3_std_5"), decorrelation=maps
    )
    return model.train()  # a mode that the export leaves as it is


def test_the_graph_gives_the_models_embeddings_at_any_length(model: HearModel, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    sessions = []
    for timestamps in (False, True):
        file = export_onnx(model, tmp_path / "new" / f"{timestamps}.onnx", timestamps=timestamps)
        sessions.append(onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]))
    assert model.training
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["False.onnx", "True.onnx"]
    for number, samples in enumerate(LENGTHS):
        audio = 0.3 * torch.randn(1 + number % 3, samples)
        expected = [model.scene_embeddings(audio), *model.timestamp_embeddings(audio)]
        found = [value for session in sessions for value in session.run(None, {"audio": audio.numpy()})]
        for got, wanted in zip(found, expected, strict=True):
            assert got.shape == wanted.shape
            assert got.dtype == np.float32
            # What the documentation promises, of the embeddings' scale; float32 rounding is some 1e-6 of it.
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * max(1e-3, wanted.abs().max().item()))


def test_the_transform_is_torchs(model: HearModel) -> None:
    config = model.frontend.config
    frame = torch.randn(config.n_fft, dtype=torch.float64)
    window = torch.hann_window(config.win_length, dtype=torch.float64)
    options = {"n_fft": config.n_fft, "win_length": config.win_length, "window": window}
    expected = torch.stft(frame, **options, center=False, return_complex=True)[:, 0]
    got = frame @ fourier_matrix(config)
    torch.testing.assert_close(got, torch.cat([expected.real, expected.imag]), rtol=0, atol=1e-10)


def test_a_missing_exporter_is_one_line(model: HearModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "NEEDS", ("no_such_exporter",))
    with pytest.raises(DeloresError, match=r"Exporting needs no_such_exporter: pip install 'hear-delores\[onnx\]'"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    assert OPSET >= 20
