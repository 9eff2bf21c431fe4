"""AudioNTT: size, shapes, equality with stock modules, dense output, what each output sees."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.errors import DeloresError

SMALL = EncoderConfig(channels=8, embedding_size=24)


def randomised(config: EncoderConfig = SMALL, seed: int = 0) -> AudioNTT:
    """An encoder whose BatchNorm statistics and affine parameters matter too."""
    generator = torch.Generator().manual_seed(seed)
    encoder = AudioNTT(config)
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            if not value.is_floating_point():
                continue
            if name.endswith(("running_var", "norm.weight")):
                value.uniform_(0.5, 2.0, generator=generator)
            elif name.endswith(("running_mean", "norm.bias")):
                value.normal_(0, 0.3, generator=generator)
            else:
                bound = (value[0].numel() if value.ndim > 1 else 50) ** -0.5
                value.uniform_(-1.7 * bound, 1.7 * bound, generator=generator)
    return encoder.eval()


def stock(encoder: AudioNTT) -> tuple[nn.ModuleList, nn.Sequential]:
    """The same network in the order of the paper: conv, BatchNorm, ReLU, MaxPool; float64."""
    blocks = nn.ModuleList()
    for block in encoder.blocks:
        conv = nn.Conv2d(block.conv.in_channels, block.conv.out_channels, 3, stride=1, padding=1)
        norm = nn.BatchNorm2d(block.conv.out_channels)
        conv.load_state_dict(block.conv.state_dict())
        norm.load_state_dict(block.norm.state_dict())
        blocks.append(nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(2, stride=2)))
    size = encoder.config.embedding_size
    fc = nn.Sequential(
        nn.Linear(encoder.config.layer_sizes[-1], size),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(size, size),
        nn.ReLU(),
    )
    fc.load_state_dict(encoder.fc.state_dict())
    return blocks.double().eval(), fc.double().eval()


def test_number_of_parameters() -> None:
    with torch.device("meta"):
        encoder = AudioNTT()
    assert sum(p.numel() for p in encoder.parameters()) == 5_321_856


def test_shapes_of_the_paper() -> None:
    output = AudioNTT().eval()(torch.randn(2, 1, 64, 96))
    assert output.frames.shape == (2, 12, 2048)
    assert [tuple(layer.shape) for layer in output.layers] == [(2, 2048), (2, 1024), (2, 512)]
    assert output.pooled.shape == (2, 2048)


@pytest.mark.parametrize("config", [EncoderConfig(n_mels=40, channels=6, embedding_size=10), SMALL])
def test_other_widths(config: EncoderConfig) -> None:
    output = AudioNTT(config)(torch.randn(3, 1, config.n_mels, 43))
    assert output.frames.shape == (3, 5, config.embedding_size)
    assert tuple(layer.shape[1] for layer in output.layers) == config.layer_sizes


@pytest.mark.parametrize("frozen", [False, True])
def test_equals_stock_modules(frozen: bool) -> None:
    encoder = randomised()
    blocks, fc = stock(encoder)
    x = torch.randn(3, 1, 64, 50)
    maps, y = [], x.double()
    for block in blocks:
        y = block(y)
        maps.append(y)
    batch, channels, rows, time = y.shape
    frames = torch.zeros(batch, time, rows * channels, dtype=torch.float64)
    for row in range(rows):  # mel rows outermost, channels innermost
        for channel in range(channels):
            frames[:, :, row * channels + channel] = y[:, channel, row]
    frames = fc(frames)
    output = encoder(x, frozen=frozen)
    torch.testing.assert_close(output.frames.double(), frames, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.pooled.double(), frames.amax(1) + frames.mean(1), rtol=1e-5, atol=1e-5)
    for got, expected in zip(output.layers, maps, strict=True):
        torch.testing.assert_close(got.double(), expected.mean(3).flatten(1), rtol=1e-5, atol=1e-5)


def test_dense_interleaves_the_two_phases() -> None:
    encoder = randomised()
    x = torch.randn(2, 1, 64, 160)
    dense = encoder(x, dense=True).frames
    assert dense.shape[1] == 160 // 4 - 1
    plain, shifted = encoder(x).frames, encoder(x[..., 4:]).frames
    inside = slice(1, 18)
    torch.testing.assert_close(dense[:, 0::2][:, inside], plain[:, inside], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dense[:, 1::2][:, inside], shifted[:, inside], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dense", "stride"), [(False, 8), (True, 4)])
def test_what_a_frame_sees(dense: bool, stride: int) -> None:
    """Frame j depends on the mel frames stride * j - 7 .. stride * j + 14 and on no others."""
    encoder = randomised(EncoderConfig(channels=16, embedding_size=64))
    seen: dict[int, set[int]] = {}
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        x = torch.randn(1, 1, 64, 96, generator=generator)
        before = encoder(x, dense=dense).frames[0]
        for frame in range(30, 66):
            y = x.clone()
            y[..., frame] += 8 * torch.randn(64, generator=generator)
            moved = (encoder(y, dense=dense).frames[0] - before).abs().amax(1) > 1e-4
            seen.setdefault(frame, set()).update(moved.nonzero().flatten().tolist())
    for frame, outputs in seen.items():
        assert outputs == {j for j in range(len(before)) if stride * j - 7 <= frame <= stride * j + 14}


def test_frozen_ignores_the_mode_and_keeps_it() -> None:
    encoder = randomised()
    x = torch.randn(2, 1, 64, 32)
    expected = encoder(x).frames
    encoder.train()
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.testing.assert_close(encoder(x, frozen=True).frames, expected, rtol=1e-5, atol=1e-5)
    assert all(module.training for module in encoder.modules())
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_training_mode_trains() -> None:
    encoder = AudioNTT(SMALL).train()
    mean = encoder.blocks[0].norm.running_mean.clone()
    output = encoder(torch.randn(4, 1, 64, 32) + 3)
    total: Tensor = output.pooled.square().sum() + sum(layer.square().sum() for layer in output.layers)
    total.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in encoder.fc.parameters())
    assert encoder.blocks[0].conv.weight.grad is not None
    assert not torch.equal(encoder.blocks[0].norm.running_mean, mean)
    x = torch.randn(1, 1, 64, 32)
    assert not torch.equal(encoder(x).frames, encoder(x).frames)  # dropout


@pytest.mark.parametrize("shape", [(1, 64, 96), (1, 1, 65, 96), (1, 2, 64, 96), (1, 1, 64, 7)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(DeloresError, match="Expected a spectrogram"):
        AudioNTT(SMALL)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embeding_size": 512}, "Did you mean 'embedding_size'"),
        ({"channels": 0}, "channels"),
        ({"n_mels": 20}, "multiple of 8"),
        ({"dropout": 1.0}, "below 1"),
        ({"dropout": "0.3"}, "dropout"),
    ],
)
def test_bad_settings_say_which(values: dict[str, object], message: str) -> None:
    with pytest.raises(DeloresError, match=message):
        EncoderConfig.from_dict(values)


def test_settings_round_trip() -> None:
    assert EncoderConfig.from_dict(SMALL.to_dict()) == SMALL
