"""HearModel: chunked equals whole, exact timestamps, independence of the batch and of the caller's state."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import hear_delores
from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig, LogMel
from hear_delores.model import HearModel
from hear_delores.pooling import SCENE_PARTS, RunningStatistics

SMALL = EncoderConfig(channels=8, embedding_size=24)
MEAN, STD = -6.0, 4.0


def small_model(scene: tuple[str, ...] = ("pooled",), frontend: FrontendConfig | None = None) -> HearModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder = AudioNTT(SMALL)
        for block in encoder.blocks:
            block.norm.running_mean.normal_(0, 0.2)
            block.norm.running_var.uniform_(0.3, 1.5)
        for parameter in encoder.parameters():
            parameter.data.mul_(1.5)
    return HearModel(encoder.eval(), frontend or FrontendConfig(), MEAN, STD, scene)


def noise(n_sounds: int, n_samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


def whole_scene(model: HearModel, audio: Tensor) -> dict[str, Tensor]:
    """Every scene part of one clip at a time, computed in one piece from the definition, in float64."""
    hop = model.frontend.config.hop_length
    n_frames = -(-(1 + audio.shape[1] // hop) // 8)
    mel = LogMel(model.frontend.config)(audio).double()
    x = F.pad((mel - MEAN) / STD, (0, 8 * n_frames - mel.shape[-1]))
    encoder = AudioNTT(model.encoder.config).double().eval()
    encoder.load_state_dict(model.encoder.state_dict())
    maps = encoder.maps(x[:, None])
    frames = encoder.head(maps[-1])
    assert frames.shape[1] == n_frames
    parts = {"pooled": frames.amax(1) + frames.mean(1)}
    values = {
        "frames": frames,
        **{f"layer{i + 1}": m.flatten(1, 2).transpose(1, 2) for i, m in enumerate(maps)},
    }
    for source, value in values.items():
        parts[f"{source}_mean"] = value.mean(1)
        parts[f"{source}_max"] = value.amax(1)
        parts[f"{source}_std"] = value.std(1, correction=0)
        edges = [(third * value.shape[1]) // 3 for third in range(4)]
        thirds = [value[:, a : max(a + 1, b)].mean(1) for a, b in itertools.pairwise(edges)]
        parts[f"{source}_thirds"] = torch.cat(thirds, dim=1)
    return {name: part.detach().float() for name, part in parts.items()}


def whole_timestamps(model: HearModel, audio: Tensor) -> Tensor:
    """All timestamp embeddings, "frames" and then "layer3", from one dense pass over the padded clip."""
    hop = model.frontend.config.hop_length
    count = audio.shape[1] // (4 * hop) + 1
    left = 7 * hop // 2
    right = max(0, hop * 4 * (count + 1) - audio.shape[1])
    mel = LogMel(model.frontend.config)(F.pad(audio, (left, right)))[..., : 4 * (count + 1)]
    encoder = AudioNTT(model.encoder.config).eval()
    encoder.load_state_dict(model.encoder.state_dict())
    last_map = encoder.maps(((mel - MEAN) / STD)[:, None], dense=True)[-1]
    layer3 = torch.stack([last_map[..., t].flatten(1) for t in range(last_map.shape[-1])], dim=1)
    return torch.cat([encoder.head(last_map), layer3], dim=2).detach()


@pytest.mark.parametrize("part", SCENE_PARTS)
@pytest.mark.parametrize("chunk_frames", [None, 8, 24, 100])
def test_scene_parts_equal_the_whole(part: str, chunk_frames: int | None) -> None:
    model = small_model((part,))
    model.chunk_frames = chunk_frames
    audio = noise(2, 16000 * 3 + 77)
    expected = whole_scene(model, audio)[part]
    assert model.scene_embedding_size == expected.shape[1]
    assert type(model.scene_embedding_size) is int
    torch.testing.assert_close(model.scene_embeddings(audio), expected, rtol=1e-5, atol=1e-5)


def test_scene_parts_are_concatenated_in_order() -> None:
    scene = ("layer3_std", "pooled", "layer1_mean")
    audio = noise(2, 9000)
    parts = [small_model((part,)).scene_embeddings(audio) for part in scene]
    model = small_model(scene)
    torch.testing.assert_close(model.scene_embeddings(audio), torch.cat(parts, 1), rtol=1e-6, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40000), st.integers(1, 400), st.integers(1, 3))
def test_chunked_equals_whole(n_samples: int, chunk_frames: int, n_sounds: int) -> None:
    model = small_model()
    model.set_parts(timestamp=("frames", "layer3"))
    audio = noise(n_sounds, n_samples, seed=n_samples)
    model.set_parts(("pooled", "layer2_thirds", "layer3_std"))
    scene = torch.cat([whole_scene(model, audio)[part] for part in model.scene], dim=1)
    frames = whole_timestamps(model, audio)
    model.chunk_frames = chunk_frames
    torch.testing.assert_close(model.scene_embeddings(audio), scene, rtol=1e-5, atol=1e-5)
    embeddings, times = model.timestamp_embeddings(audio)
    assert embeddings.shape[:2] == times.shape == (n_sounds, n_samples // 640 + 1)
    torch.testing.assert_close(embeddings, frames, rtol=1e-5, atol=1e-5)


def test_timestamp_parts_are_concatenated_in_order() -> None:
    model, audio = small_model(), noise(2, 9000)
    papers = model.timestamp_embeddings(audio)[0]
    model.set_parts(timestamp="layer3,frames")
    assert model.scene == ("pooled",)
    assert model.timestamp_embedding_size == model.encoder.config.layer_sizes[-1] + papers.shape[2]
    embeddings = model.timestamp_embeddings(audio)[0]
    assert torch.equal(embeddings[..., -papers.shape[2] :], papers)
    model.set_parts(timestamp=["layer3"])
    assert torch.equal(model.timestamp_embeddings(audio)[0], embeddings[..., : -papers.shape[2]])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20000), st.integers(1, 200), st.sampled_from((3, 5, 15)))
def test_windows_are_those_of_the_whole_clip(n_samples: int, chunk_frames: int, width: int) -> None:
    model, audio = small_model(), noise(2, n_samples, seed=n_samples)
    frames = whole_timestamps(model, audio)
    half, count = width // 2, frames.shape[1]
    windows = [frames[:, max(0, at - half) : at + half + 1] for at in range(count)]
    mean = torch.stack([window.mean(1) for window in windows], dim=1)
    std = torch.stack([window.std(1, correction=0) for window in windows], dim=1)
    size = model.encoder.config.embedding_size
    model.set_parts(timestamp=(f"frames_mean_{width}", "layer3", f"layer3_std_{width}"))
    assert model.timestamp_embedding_size == size + 2 * (frames.shape[2] - size)
    model.chunk_frames = chunk_frames
    expected = torch.cat([mean[..., :size], frames[..., size:], std[..., size:]], dim=2)
    torch.testing.assert_close(model.timestamp_embeddings(audio)[0], expected, rtol=1e-5, atol=1e-5)


def test_what_does_not_change_has_no_deviation_but_that_of_rounding() -> None:
    model = small_model()
    model.set_parts(timestamp=("layer3_std_5",))
    inner = model.timestamp_embeddings(torch.zeros(1, 32000))[0][:, 5:-5]
    assert 0 <= inner.min() <= inner.max() < 1e-5


def test_full_size_chunked_equals_whole() -> None:
    torch.manual_seed(0)
    model = HearModel(AudioNTT().eval(), FrontendConfig(), MEAN, STD)
    audio = noise(1, 16000 * 4)
    model.chunk_frames = 10_000
    whole = model.scene_embeddings(audio), model.timestamp_embeddings(audio)[0]
    model.chunk_frames = 64
    torch.testing.assert_close(model.scene_embeddings(audio), whole[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.timestamp_embeddings(audio)[0], whole[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_samples", [1, 2, 159, 160, 639, 640, 641, 1119, 1120, 15200, 16000 * 200 + 1])
def test_any_length(n_samples: int) -> None:
    model = small_model()
    audio = noise(1, n_samples)
    scene = model.scene_embeddings(audio)
    embeddings, times = model.timestamp_embeddings(audio)
    assert scene.shape == (1, 24)
    assert embeddings.shape == (1, n_samples // 640 + 1, 24)
    for value in (scene, embeddings, times):
        assert value.dtype == torch.float32
        assert bool(torch.isfinite(value).all())
        assert not value.requires_grad


def test_work_per_pass_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long and many the clips: at most chunk_frames mel frames in a pass, and a fixed margin."""
    model = small_model()
    model.chunk_frames = 128
    sizes = []
    maps = model.encoder.maps

    def spy(x: Tensor, **options: bool) -> list[Tensor]:
        sizes.append(x.shape[0] * x.shape[3])
        return maps(x, **options)

    monkeypatch.setattr(model.encoder, "maps", spy)
    for shape in ((1, 400_000), (50, 3200), (300, 1)):
        model.scene_embeddings(noise(*shape))
        model.timestamp_embeddings(noise(*shape))
    assert max(sizes) <= 2 * 128  # short clips: their margins count per clip
    assert len(sizes) > 40


@pytest.mark.parametrize("chunk_frames", [None, 64])
def test_a_clip_does_not_depend_on_its_batch(chunk_frames: int | None) -> None:
    model = small_model()
    model.chunk_frames = chunk_frames
    audio = noise(7, 12345)
    audio[2] *= 8
    audio[4] = 0
    scene, (frames, _) = model.scene_embeddings(audio), model.timestamp_embeddings(audio)
    for i in range(len(audio)):
        torch.testing.assert_close(model.scene_embeddings(audio[i : i + 1])[0], scene[i], rtol=1e-5, atol=1e-5)
        alone, _ = model.timestamp_embeddings(audio[i : i + 1])
        torch.testing.assert_close(alone[0], frames[i], rtol=1e-5, atol=1e-5)
    order = torch.tensor([6, 3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(model.scene_embeddings(audio[order]), scene[order], rtol=1e-5, atol=1e-5)


def test_no_clips() -> None:
    model = small_model()
    assert model.scene_embeddings(torch.zeros(0, 1000)).shape == (0, 24)
    assert model.timestamp_embeddings(torch.zeros(0, 1000))[0].shape == (0, 2, 24)


class TestTimestamps:
    @pytest.mark.parametrize("n_samples", [1, 639, 640, 641, 16000, 47999, 48000])
    def test_exact_and_inside_the_clip(self, n_samples: int) -> None:
        _, times = small_model().timestamp_embeddings(noise(2, n_samples))
        duration = 1000 * n_samples / 16000
        expected = torch.tensor([40.0 * k for k in range(n_samples // 640 + 1)])
        assert times.dtype == torch.float32
        assert torch.equal(times, expected.repeat(2, 1))
        assert duration - 40 < times[0, -1].item() <= duration

    def test_no_drift_in_20_minutes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = small_model()
        monkeypatch.setattr(model.encoder, "maps", lambda x, **_: [torch.zeros(len(x), 8, 8, x.shape[3] // 4 - 1)])
        n_samples = 16000 * 1200
        _, times = model.timestamp_embeddings(torch.zeros(1, n_samples))
        assert times.shape == (1, 30001)
        assert times[0, -1].item() == 1_200_000.0
        assert torch.equal(times[0].diff(), torch.full((30000,), 40.0))

    @pytest.mark.parametrize(("rate", "hop"), [(44100, 441), (22050, 220), (48000, 480), (16000, 161)])
    @pytest.mark.parametrize("n_samples", [1, 3000, 100_001])
    def test_other_rates_and_odd_hops(self, rate: int, hop: int, n_samples: int) -> None:
        model = small_model(frontend=FrontendConfig(sample_rate=rate, hop_length=hop))
        embeddings, times = model.timestamp_embeddings(noise(1, n_samples))
        assert embeddings.shape[1] == times.shape[1]
        exact = [(4 * k * hop + (hop % 2) / 2) * 1000 / rate for k in range(times.shape[1])]
        assert torch.equal(times[0], torch.tensor(exact, dtype=torch.float64).float())
        duration = 1000 * n_samples / rate
        assert duration - 4000 * hop / rate <= times[0, -1].item() + 1e-3
        assert times[0, -1].item() <= duration


def symmetric_model() -> HearModel:
    """A model that cannot tell time's direction: its kernels are symmetric in time."""
    model = small_model()
    with torch.no_grad():
        for block in model.encoder.blocks:
            weight = block.conv.weight.abs()
            block.conv.weight.copy_(weight + weight.flip(-1))
        model.encoder.fc[0].weight.abs_()
        model.encoder.fc[3].weight.abs_()
    return model


class TestCentring:
    @pytest.mark.parametrize("chunk_frames", [None, 40])
    def test_response_to_an_impulse_is_symmetric_about_its_time(self, chunk_frames: int | None) -> None:
        """An impulse at t_k, silence around, a time-symmetric network: embeddings k - j and k + j are equal.

        Any error of centring, by a single hop or less, breaks it.
        """
        model = symmetric_model()
        model.chunk_frames = chunk_frames
        silence = torch.zeros(1, 32000)
        quiet, times = model.timestamp_embeddings(silence)
        for k in (20, 21, 25):
            audio = silence.clone()
            audio[0, 640 * k] = 1.0
            assert times[0, k].item() == 1000 * 640 * k / 16000
            embeddings, _ = model.timestamp_embeddings(audio)
            moved = (embeddings - quiet)[0].norm(dim=1)
            assert moved[k].item() > 1
            scale = embeddings[0, k].abs().max()
            for j in range(1, 8):
                difference = (embeddings[0, k - j] - embeddings[0, k + j]).abs().max()
                assert difference.item() < 1e-4 * scale.item()

    def test_an_event_moves_the_nearest_embeddings_most(self) -> None:
        model = symmetric_model()
        background = noise(1, 32000) * 0.01
        quiet, times = model.timestamp_embeddings(background)
        offsets = []
        for position in range(12000, 20000, 373):
            audio = background.clone()
            audio[0, position - 40 : position + 41] += 0.5 * noise(1, 81, seed=position)[0] * torch.hann_window(81)
            moved = (model.timestamp_embeddings(audio)[0] - quiet)[0].norm(dim=1)
            time = 1000 * position / 16000
            nearest = int((times[0] - time).abs().argmin())
            assert moved[nearest - 1 : nearest + 2].max() == moved.max()
            centre = (moved.square() * times[0]).sum() / moved.square().sum()
            offsets.append(centre.item() - time)
        assert abs(sum(offsets) / len(offsets)) < 3  # milliseconds; one hop is 10
        assert max(map(abs, offsets)) < 15


class TestCallersState:
    def test_training_mode_changes_nothing_and_is_left(self) -> None:
        model = small_model(("pooled", "layer2_std"))
        audio = noise(3, 20000)
        scene, (frames, _) = model.scene_embeddings(audio), model.timestamp_embeddings(audio)
        model.train()
        model.encoder.blocks[1].eval()
        modes = [module.training for module in model.modules()]
        state = {name: value.clone() for name, value in model.state_dict().items()}
        torch.set_grad_enabled(True)
        assert torch.equal(model.scene_embeddings(audio), scene)
        assert torch.equal(model.timestamp_embeddings(audio)[0], frames)
        assert [module.training for module in model.modules()] == modes
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert torch.is_grad_enabled()

    def test_no_gradients_even_for_audio_that_wants_them(self) -> None:
        model = small_model()
        audio = noise(1, 5000).requires_grad_()
        for value in (model.scene_embeddings(audio), *model.timestamp_embeddings(audio)):
            assert not value.requires_grad
            assert not value.is_inference()

    def test_autocast_changes_nothing(self) -> None:
        model = small_model()
        audio = noise(1, 5000)
        expected = model.scene_embeddings(audio)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(model.scene_embeddings(audio), expected)

    def test_random_state_and_threads_untouched(self) -> None:
        model = small_model().train()
        state = torch.get_rng_state()
        model.scene_embeddings(noise(1, 5000))
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_audio_of_other_floating_types(self, dtype: torch.dtype) -> None:
        model = small_model()
        audio = noise(1, 5000).to(dtype)
        expected = model.scene_embeddings(audio.float())
        assert torch.equal(model.scene_embeddings(audio), expected)

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.2)])
    def test_model_of_other_floating_types(self, dtype: torch.dtype, tolerance: float) -> None:
        audio = noise(1, 5000)
        expected = small_model().scene_embeddings(audio)
        got = small_model().to(dtype).scene_embeddings(audio)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)

    def test_audio_is_left_as_it_was(self) -> None:
        audio = noise(2, 3000)
        copy = audio.clone()
        small_model().scene_embeddings(audio)
        small_model().timestamp_embeddings(audio)
        assert torch.equal(audio, copy)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ([[0.0]], "but got list"),
        (torch.zeros(100), r"shape \(100,\)"),
        (torch.zeros(1, 1, 100), r"shape \(1, 1, 100\)"),
        (torch.zeros(1, 100, dtype=torch.int16), "int16"),
        (torch.zeros(1, 100, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, 0), "without a sample"),
        (torch.tensor([[0.0, float("nan")]]), "nan"),
        (torch.tensor([[0.0, float("inf")]]), "inf"),
        (torch.tensor([[-float("inf"), 0.0]]), "inf"),
        (torch.full((1, 100), 1e30), "1e[+]30"),
    ],
)
def test_bad_audio(audio: object, message: str) -> None:
    model = small_model()
    for embed in (model.scene_embeddings, model.timestamp_embeddings):
        with pytest.raises(DeloresError, match=message) as caught:
            embed(audio)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scene": ("poled",)}, "Did you mean 'pooled'"),
        ({"scene": ()}, "scene"),
        ({"scene": ""}, "scene"),
        ({"scene": "pooled,layer4_mean"}, "layer4_mean"),
        ({"timestamp": ("layer2",)}, "layer2"),
        ({"timestamp": ("layer3_std",)}, "Did you mean 'layer3_std_5'"),
        ({"timestamp": ("layer3_std_4",)}, "odd number from 3 to 101, but got 4"),
        ({"timestamp": ("frames_mean_103",)}, "odd number from 3 to 101, but got 103"),
        ({"timestamp": ("layer3_std_1",)}, "odd number from 3 to 101, but got 1"),
        ({"timestamp": ("layer3_std_" + "1" * 5000,)}, "Unknown timestamp part"),
        ({"timestamp": (3,)}, "Unknown timestamp part 3"),
        ({"timestamp": ()}, "timestamp"),
        ({"std": 0.0}, "std"),
        ({"std": float("nan")}, "std"),
        ({"mean": float("inf")}, "mean"),
        ({"mean": None}, "mean"),
        ({"chunk_frames": 0}, "chunk_frames"),
        ({"frontend_config": FrontendConfig(n_mels=128)}, "64 mel bands"),
    ],
)
def test_parts_that_do_not_fit(change: dict[str, object], message: str) -> None:
    values = {"encoder": AudioNTT(SMALL), "frontend_config": FrontendConfig(), "mean": MEAN, "std": STD}
    with pytest.raises(DeloresError, match=message):
        HearModel(**{**values, **change})  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.floats(-1e3, 1e3))
@settings(max_examples=30, deadline=None)
def test_running_statistics_merge_exactly(sizes: list[int], offset: float) -> None:
    values = torch.randn(2, sum(sizes), 5) + offset
    parts = ("frames_max", "frames_mean", "frames_std", "frames_thirds")
    running = RunningStatistics(parts, sum(sizes))
    for piece in values.split(sizes, dim=1):
        running.update(piece)
    tolerance = {"rtol": 1e-5, "atol": 1e-3 if abs(offset) > 1 else 1e-5}
    assert torch.equal(running.part("frames_max"), values.amax(1))
    torch.testing.assert_close(running.part("frames_mean"), values.double().mean(1).float(), rtol=1e-5, atol=1e-5)
    expected = values.double().std(1, correction=0).float()
    torch.testing.assert_close(running.part("frames_std"), expected, **tolerance)
    edges = [third * sum(sizes) // 3 for third in range(4)]
    thirds = [values[:, a : max(a + 1, b)].double().mean(1).float() for a, b in itertools.pairwise(edges)]
    torch.testing.assert_close(running.part("frames_thirds"), torch.cat(thirds, 1), rtol=1e-5, atol=1e-5)


def test_statistics_of_nothing() -> None:
    with pytest.raises(DeloresError, match="at least one frame"):
        RunningStatistics(("pooled",), 1).part("pooled")


def test_bfloat16_rounds_embeddings_as_documented_and_is_another_model() -> None:
    """The figure is that of docs/performance.md; eight bits of mantissa alone are 1 / 256 = 0.4 %."""
    audio = noise(3, 9000)
    exact, rounded = hear_delores.load_model(), hear_delores.load_model(precision="bfloat16")
    for one, other in (
        (exact.scene_embeddings(audio), rounded.scene_embeddings(audio)),
        (exact.timestamp_embeddings(audio)[0], rounded.timestamp_embeddings(audio)[0]),
    ):
        assert other.dtype == torch.float32
        assert 1e-4 < float((one - other).norm() / one.norm()) < 0.03
    assert hear_delores.weights_hash(exact) != hear_delores.weights_hash(rounded)
    assert torch.equal(exact.differentiable_scene(audio), rounded.differentiable_scene(audio))
    with pytest.raises(DeloresError, match=r"`precision` to be one of .* got 'float16'"):
        exact.set_precision("float16")
