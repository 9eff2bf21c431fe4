"""Decorrelated parts of the scene: the map against scipy's roots, in a model, in a file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import sklearn.decomposition
import torch
from safetensors.torch import load_file, save_file

from hear_delores import load_model
from hear_delores.checkpoint import load_checkpoint, read_header, save_checkpoint, weights_hash
from hear_delores.decorrelation import Decorrelation, _principal, fit_decorrelation
from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.errors import DeloresError
from hear_delores.frontend import FrontendConfig
from hear_delores.model import HearModel
from hear_delores.pooling import SCENE_PARTS

SMALL = EncoderConfig(channels=4, embedding_size=12)  # layers of 128, 64 and 32 dimensions


def pairs(n: int = 400, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of many scales, seen twice with noise that some directions have far more of than others; none negative."""
    rng = np.random.default_rng(0)
    clips = rng.standard_normal((n, size)) * rng.uniform(0.1, 2, size) + rng.uniform(-1, 1, size)
    noise = 0.3 * rng.standard_normal((size, size))
    first, second = (np.exp(clips + rng.standard_normal((n, size)) @ noise) for _ in range(2))
    return torch.from_numpy(first), torch.from_numpy(second)


def random_map(size: int, seed: int = 0, kept: int | None = None) -> Decorrelation:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, kept or size, generator=generator)
    return Decorrelation(torch.tensor(0.3), torch.randn(size, generator=generator), matrix)


def before_its_length(found: Decorrelation, values: torch.Tensor) -> np.ndarray:
    """What the map makes of values, float64, before the vectors are brought to one length."""
    scale, centre, matrix = (tensor.double().numpy() for tensor in (found.scale, found.centre, found.matrix))
    return (np.log1p(values.double().numpy() / scale) - centre) @ matrix


def of_one_length(rows: np.ndarray) -> np.ndarray:
    return rows * np.sqrt(rows.shape[1] / np.square(rows).sum(1, keepdims=True))


def model_with_maps() -> HearModel:
    torch.manual_seed(0)
    maps = {"layer3_std": random_map(32), "layer2_thirds": random_map(64, 1, kept=20)}
    scene = ("layer3_std_decorrelated", "pooled", "layer2_thirds_decorrelated")
    return HearModel(AudioNTT(SMALL).eval(), FrontendConfig(), -6.0, 4.0, scene, decorrelation=maps)


def published(first: torch.Tensor, second: torch.Tensor, shrinkage: float) -> np.ndarray:
    """The outputs for both views by the equations, with scipy's roots, before they are brought to one length."""
    a, b = first.numpy(), second.numpy()
    scale = np.concatenate([a, b]).mean()
    a, b = np.log(1 + a / scale), np.log(1 + b / scale)
    both = np.concatenate([a, b])
    a, b = ((x - both.mean(0)) / both.std(0) for x in (a, b))
    within = np.mean([np.outer(d, d) for d in a - b], axis=0) / 2
    size = len(within)
    matrix = scipy.linalg.inv(scipy.linalg.sqrtm(within + shrinkage * np.trace(within) / size * np.eye(size)))
    return np.concatenate([a, b]) @ matrix


def test_the_map_is_the_inverse_root_of_the_covariance_within_clips() -> None:
    first, second = pairs()
    found = fit_decorrelation(first, second, shrinkage=0.5)
    expected = published(first, second, 0.5)
    expected /= np.sqrt(expected.var(0).mean())
    both = torch.cat([first, second])
    np.testing.assert_allclose(before_its_length(found, both), expected, atol=1e-5)
    np.testing.assert_allclose(found(both.float()).numpy(), of_one_length(expected), atol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 5, 12, 99])
def test_fewer_dimensions_are_the_first_principal_components(dimensions: int) -> None:
    first, second = pairs()
    found = fit_decorrelation(first, second, 0.5, dimensions)
    kept = min(dimensions, 12)
    assert found.matrix.shape == (12, kept)
    outputs = before_its_length(found, torch.cat([first, second]))
    assert outputs.var(0).mean() == pytest.approx(1.0, abs=1e-5)
    whole = published(first, second, 0.5)
    own = scipy.linalg.svd(whole - whole.mean(0), full_matrices=False)[1][:kept]
    found_own = scipy.linalg.svd(outputs, compute_uv=False)
    np.testing.assert_allclose(found_own / found_own[0], own / own[0], rtol=1e-4)
    if kept < 12:  # the components themselves, the largest first, with a sign that hangs on nothing
        components = sklearn.decomposition.PCA(kept).fit_transform(whole)
        for ours, theirs in zip(outputs.T, components.T, strict=True):
            assert abs(np.corrcoef(ours, theirs)[0, 1]) == pytest.approx(1, abs=1e-6)


def test_what_differs_within_clips_becomes_white_as_the_shrinkage_vanishes() -> None:
    first, second = pairs(4000)
    found = fit_decorrelation(first, second, shrinkage=1e-9)
    difference = before_its_length(found, first) - before_its_length(found, second)
    covariance = difference.T @ difference / len(difference)
    np.testing.assert_allclose(covariance / covariance.trace() * 12, np.eye(12), atol=1e-4)


def test_every_vector_is_of_one_length_whatever_the_scale_of_the_values() -> None:
    first, second = pairs()
    outputs = fit_decorrelation(first, second, 1.0, 6)(first.float())
    torch.testing.assert_close(outputs.square().sum(1), torch.full((len(first),), 6.0))
    louder = fit_decorrelation(100 * first, 100 * second, 1.0, 6)(100 * first.float())
    torch.testing.assert_close(louder, outputs, rtol=1e-3, atol=1e-3)


def test_a_dimension_that_never_changes_becomes_nothing() -> None:
    first, second = pairs()
    first[:, 3] = second[:, 3] = 7.0
    outputs = fit_decorrelation(first, second, 1.0)(torch.cat([first, second]).float())
    assert bool(torch.isfinite(outputs).all())
    assert float(outputs[:, 3].abs().max()) < 1e-3


def test_a_unit_that_hardly_ever_fires_is_not_blown_up() -> None:
    """As those of a perceptron do: its gain would not fit into half precision."""
    first, second = pairs()
    first[:, 3], second[:, 3] = 0.0, 0.0
    first[0, 3] = 1e-7
    found = fit_decorrelation(first, second, 1.0)
    assert float(found.matrix.abs().max()) < 1000
    assert bool(torch.isfinite(found.matrix.half()).all())


@pytest.mark.parametrize("share", [0.002, 0.03, 0.3])
def test_the_floor_of_a_deviation_is_a_hundredth_of_the_parts(share: float) -> None:
    """One dimension varies by ``share`` of what the others do: below 0.01 it is taken for 0.01."""
    first, second = pairs()
    scale = torch.cat([first, second]).mean()
    logs = [torch.log1p(values / scale) for values in (first, second)]
    usual = float(torch.cat(logs).std(0).square().mean().sqrt())
    middle = torch.cat(logs)[:, 3].mean()
    factor = share * usual / float(torch.cat(logs)[:, 3].std())
    for values, log in zip((first, second), logs, strict=True):
        values[:, 3] = scale * torch.expm1(middle + factor * (log[:, 3] - middle))
    found = fit_decorrelation(first, second, 0.5)

    a, b = (np.log1p(values.numpy() / float(torch.cat([first, second]).mean())) for values in (first, second))
    both = np.concatenate([a, b])
    deviation = both.std(0)
    floored = np.maximum(deviation, 0.01 * np.sqrt((deviation**2).mean()))
    assert (floored[3] > deviation[3]) == (share < 0.01)
    a, b = ((x - both.mean(0)) / floored for x in (a, b))
    within = (a - b).T @ (a - b) / (2 * len(a))
    values, vectors = np.linalg.eigh(within + 0.5 * np.trace(within) / 12 * np.eye(12))
    matrix = vectors @ np.diag(values**-0.5) @ vectors.T
    outputs = np.concatenate([a, b]) @ matrix
    expected = matrix / floored[:, None] / np.sqrt(outputs.var(0).mean())
    np.testing.assert_allclose(found.matrix.numpy(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_principal_directions_sign_is_that_of_its_largest_component(seed: int) -> None:
    """LAPACK's own differs between machines, and with it every embedding would."""
    values = torch.from_numpy(np.random.default_rng(seed).standard_normal((200, 9)) * np.arange(1, 10)).double()
    values -= values.mean(0)
    found = _principal(values, 7)
    expected = scipy.linalg.svd(values.numpy(), full_matrices=False)[2][:7].T
    np.testing.assert_allclose(np.abs(found.numpy()), np.abs(expected), atol=1e-9)
    largest = found.gather(0, found.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())
    raw = torch.linalg.eigh(values.T @ values)[1][:, -7:].flip(1)
    negative = raw.gather(0, raw.abs().argmax(0, keepdim=True))[0] < 0
    assert torch.equal(found[:, negative], -raw[:, negative])
    whitened = fit_decorrelation(*pairs(), 0.5, 5).matrix
    assert whitened.shape == (12, 5)


@pytest.mark.parametrize(
    ("value", "said"), [(float("nan"), "NaN or infinity"), (1.0, "all clips are alike"), (0.0, "no unit fires")]
)
def test_views_that_no_map_can_be_learnt_from(value: float, said: str) -> None:
    with pytest.raises(DeloresError, match=said):
        fit_decorrelation(torch.full((4, 3), value), torch.full((4, 3), value), 1.0)


def test_a_model_maps_its_parts_and_each_third_alike() -> None:
    model, audio = model_with_maps(), 0.1 * torch.randn(2, 20000)
    scene = model.scene_embeddings(audio)
    assert scene.shape == (2, model.scene_embedding_size) == (2, 32 + 12 + 3 * 20)
    model.set_parts(("layer3_std", "pooled", "layer2_thirds"))
    plain = model.scene_embeddings(audio)
    std, thirds = random_map(32), random_map(64, 1, kept=20)
    pieces = [(std, plain[:, :32]), *((thirds, plain[:, 44 + k : 108 + k]) for k in (0, 64, 128))]
    mapped = [torch.from_numpy(of_one_length(before_its_length(*piece))).float() for piece in pieces]
    expected = [mapped[0], plain[:, 32:44], *mapped[1:]]
    torch.testing.assert_close(scene, torch.cat(expected, 1), rtol=1e-4, atol=1e-4)


def test_fine_tuning_sees_the_same_embeddings_with_gradients() -> None:
    model, audio = model_with_maps(), 0.1 * torch.randn(2, 20000)
    scene = model.differentiable_scene(audio)
    torch.testing.assert_close(scene.detach(), model.scene_embeddings(audio), rtol=1e-4, atol=1e-4)
    scene.square().sum().backward()
    weight = model.encoder.blocks[0].conv.weight
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("part", SCENE_PARTS)
def test_a_part_of_a_spectrogram_is_that_of_the_scene(part: str) -> None:
    """What the maps are learnt from is what they are applied to."""
    model = HearModel(AudioNTT(SMALL).eval(), FrontendConfig(), -6.0, 4.0, (part,))
    audio = 0.1 * torch.randn(2, 160 * 63 + 80)  # 64 mel frames
    mel = (model.frontend(audio) - model.mean) / model.std
    [value] = model.scene_parts([part], mel[:, None])
    torch.testing.assert_close(value.flatten(1), model.scene_embeddings(audio))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_file_keeps_the_maps(tmp_path: Path, dtype: torch.dtype) -> None:
    model, path, audio = model_with_maps(), tmp_path / "model.safetensors", 0.1 * torch.randn(2, 20000)
    save_checkpoint(path, model, dtype=dtype)
    loaded = load_model(path)
    assert loaded.scene == model.scene
    exact = dtype == torch.float32
    tolerance = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-2, "atol": 1e-2}
    torch.testing.assert_close(loaded.scene_embeddings(audio), model.scene_embeddings(audio), **tolerance)
    assert (weights_hash(loaded) == weights_hash(model)) is exact
    assert read_header(path)["scene"] == list(model.scene)


def test_the_hash_knows_the_maps() -> None:
    model, other = model_with_maps(), model_with_maps()
    assert weights_hash(model) == weights_hash(other)
    other.decorrelation["layer3_std"].matrix[0, 0] += 1
    assert weights_hash(model) != weights_hash(other)


def test_a_part_without_its_map_is_refused() -> None:
    model = model_with_maps()
    with pytest.raises(DeloresError) as caught:
        model.set_parts("pooled,layer3_mean_decorrelated")
    assert str(caught.value) == (
        "These weights hold no map for layer3_mean_decorrelated (they have: layer3_std_decorrelated, "
        "layer2_thirds_decorrelated): use layer3_mean."
    )
    assert model.scene[1] == "pooled"
    with pytest.raises(DeloresError, match="they have: none"):
        HearModel(AudioNTT(SMALL), FrontendConfig(), -6.0, 4.0, ("pooled_decorrelated",))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("decorrelation.layer3_std.centre"), "layer3_std.centre of shape (32,), but it is missing"),
        (lambda t: t.pop("decorrelation.layer3_std.scale"), "layer3_std.scale of shape (), but it is missing"),
        (lambda t: t["decorrelation.layer3_std.scale"].fill_(0), "layer3_std.scale above 0, but it is 0"),
        (lambda t: t.update({"decorrelation.layer3_std.matrix": torch.eye(31)}), "but it is of shape (31, 31)"),
        (lambda t: t.update({"decorrelation.layer3_std.matrix": torch.ones(32)}), "(32, 32), but it is of shape (32,)"),
        (lambda t: t.update({"decorrelation.layer3_std.matrix": torch.ones(32, 33)}), "but it is of shape (32, 33)"),
        (lambda t: t.update({"decorrelation.layer9_std.matrix": torch.eye(2)}), "did not expect decorrelation.layer9"),
        (lambda t: t["decorrelation.layer3_std.matrix"].fill_(float("nan")), "holds NaN or infinity"),
        (
            lambda t: [t.pop(f"decorrelation.layer3_std.{name}") for name in ("scale", "centre", "matrix")],
            "hold no map for layer3_std_decorrelated",
        ),
    ],
)
def test_a_damaged_map_in_a_file(tmp_path: Path, change: object, said: str) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model_with_maps())
    tensors, header = load_file(path), read_header(path)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, path, metadata={"hear_delores": json.dumps(header)})
    with pytest.raises(DeloresError) as caught:
        load_checkpoint(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
