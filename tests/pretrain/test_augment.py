"""Mixup and crop against brute force, the memory against a deque, and broken versions against the checks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pretrain import augment
from pretrain.augment import (
    Augmenter,
    CropParameters,
    MixupMemory,
    apply_mixup,
    apply_resize_crop,
    bicubic_weights,
    sample_crop_parameters,
    sample_gains,
    sample_mixup_parameters,
)
from pretrain.config import AugmentConfig

CONFIG = AugmentConfig()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# log-mixup-exp


def check_mixup(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    x, past = torch.randn(2, 3, 4, 5, generator=seeded(0)).mul(2).unbind()
    alpha = torch.tensor([0.0, 0.1, 0.39])
    mixed = function(x, past, alpha).tolist()
    for b in range(3):
        a = float(alpha[b])
        for f in range(4):
            for t in range(5):
                expected = math.log((1 - a) * math.exp(float(x[b, f, t])) + a * math.exp(float(past[b, f, t])))
                assert math.isclose(mixed[b][f][t], expected, rel_tol=1e-5, abs_tol=1e-6)


def test_mixup_is_its_equation() -> None:
    check_mixup(apply_mixup)


BROKEN_MIXUP = {
    "shares swapped": lambda x, past, alpha: apply_mixup(past, x, alpha),
    "mixed without exp": lambda x, past, alpha: x * (1 - alpha)[:, None, None] + past * alpha[:, None, None],
    "one share for all": lambda x, past, alpha: apply_mixup(x, past, alpha.mean().expand(3)),
}


@pytest.mark.parametrize("name", list(BROKEN_MIXUP))
def test_the_check_rejects_a_broken_mixup(name: str) -> None:
    with pytest.raises(AssertionError):
        check_mixup(BROKEN_MIXUP[name])


def test_mixup_does_not_overflow_and_keeps_a_clip_whose_share_is_one() -> None:
    x = torch.full((1, 2, 2), 300.0)
    assert torch.isfinite(apply_mixup(x, -x, torch.tensor([0.3]))).all()
    torch.testing.assert_close(apply_mixup(x, x + 9, torch.tensor([0.0])), x)


def check_mixup_draw(sample: Callable[..., tuple[Tensor, Tensor]]) -> None:
    alpha, index = sample(seeded(0), 20000, 50, 0.4)
    assert 0 <= float(alpha.min()) < 0.001
    assert 0.399 < float(alpha.max()) < 0.4
    assert abs(float(alpha.mean()) - 0.2) < 0.003
    counts = torch.bincount(index, minlength=50)
    assert len(counts) == 50
    assert float(((counts - 400) ** 2 / 400).sum()) < 100  # chi square, 49 degrees of freedom: p < 1e-4


def test_mixup_draws_shares_and_past_inputs_uniformly() -> None:
    check_mixup_draw(sample_mixup_parameters)


@pytest.mark.parametrize("broken", ["newest", "ratio"])
def test_the_check_rejects_a_broken_mixup_draw(broken: str) -> None:
    def sample(generator: torch.Generator, batch: int, count: int, ratio: float) -> tuple[Tensor, Tensor]:
        alpha, index = sample_mixup_parameters(generator, batch, count, 1.0 if broken == "ratio" else ratio)
        return alpha, torch.full_like(index, count - 1) if broken == "newest" else index

    with pytest.raises(AssertionError):
        check_mixup_draw(sample)


@pytest.mark.parametrize("batch", [1, 3, 5, 7])
def test_memory_is_a_fifo(batch: int) -> None:
    memory, reference = MixupMemory(5, 1, 1), deque(maxlen=5)
    for step in range(7):
        x = torch.arange(step * batch, (step + 1) * batch, dtype=torch.float32).view(batch, 1, 1)
        memory.push(x)
        reference.extend(x.flatten().tolist())
        assert sorted(memory.ring.flatten()[: len(memory)].tolist()) == sorted(reference)


# random resize crop


def cubic(s: float, a: float = -0.75) -> float:
    s = abs(s)
    if s <= 1:
        return (a + 2) * s**3 - (a + 3) * s**2 + 1
    return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a if s < 2 else 0.0


def brute_resize(crop: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic interpolation pixel by pixel in float64, corners aligned, borders repeated."""
    h, w = crop.shape
    out = np.zeros((height, width))
    for i in range(height):
        y = i * (h - 1) / (height - 1)
        for j in range(width):
            x = j * (w - 1) / (width - 1)
            for m in range(math.floor(y) - 1, math.floor(y) + 3):
                for n in range(math.floor(x) - 1, math.floor(x) + 3):
                    pixel = crop[min(max(m, 0), h - 1), min(max(n, 0), w - 1)]
                    out[i, j] += pixel * cubic(y - m) * cubic(x - n)
    return out


def on_canvas(x: Tensor, config: AugmentConfig) -> Tensor:
    """Each input in the centre of its zero canvas, float64."""
    _, height, width = x.shape
    canvas = torch.zeros(len(x), int(config.canvas_freq * height), int(config.canvas_time * width), dtype=torch.float64)
    top, left = (canvas.shape[1] - height) // 2, (canvas.shape[2] - width) // 2
    canvas[:, top : top + height, left : left + width] = x
    return canvas


def check_crop(function: Callable[[Tensor, CropParameters, AugmentConfig], Tensor]) -> None:
    """Against torch's interpolation clip by clip, at the real size, with crops of every kind."""
    config = AugmentConfig(canvas_freq=1.25)
    x = torch.randn(40, 64, 96, generator=seeded(1))
    p = sample_crop_parameters(seeded(2), 40, 64, 96, config)
    p.height[0], p.width[0], p.top[0], p.left[0] = 64, 96, 8, 24  # the input itself
    p.height[1], p.width[1] = 1, 1
    canvas = on_canvas(x, config)
    views = function(x, p, config)
    torch.testing.assert_close(views[0], x[0], rtol=1e-5, atol=1e-5)
    for b, (top, left, height, width) in enumerate(zip(*(q.tolist() for q in p), strict=True)):
        crop = canvas[b, top : top + height, left : left + width]
        expected = F.interpolate(crop[None, None], size=(64, 96), mode="bicubic", align_corners=True)[0, 0]
        torch.testing.assert_close(views[b].double(), expected, rtol=1e-4, atol=2e-5)


def test_crop_is_interpolation_clip_by_clip() -> None:
    check_crop(apply_resize_crop)


@pytest.mark.parametrize("canvas", [(1.0, 1.0), (1.125, 1.0), (1.0, 1.25), (1.375, 1.25), (1.875, 1.75), (2.0, 1.4)])
def test_the_input_lies_in_the_centre_of_the_canvas_an_odd_rest_below_and_after_it(
    canvas: tuple[float, float],
) -> None:
    """Canvases of 8 to 16 bands and 12 to 21 frames around 8 x 12; int() of canvas * size as in BYOL-A."""
    config = AugmentConfig(canvas_freq=canvas[0], canvas_time=canvas[1])
    height, width = int(canvas[0] * 8), int(canvas[1] * 12)
    x = torch.randn(1, 8, 12, generator=seeded(3))
    zeros = torch.zeros(1, height, width)
    top, left = math.floor((height - 8) / 2), math.floor((width - 12) / 2)
    zeros[:, top : top + 8, left : left + 12] = x
    for first in range(height - 8 + 1):
        for column in range(width - 12 + 1):
            p = CropParameters(*(torch.tensor([v]) for v in (first, column, 8, 12)))
            expected = zeros[:, first : first + 8, column : column + 12]
            torch.testing.assert_close(apply_resize_crop(x, p, config), expected, rtol=0, atol=1e-6)


def from_zero(x: Tensor, p: CropParameters, config: AugmentConfig) -> Tensor:
    return apply_resize_crop(x, p._replace(top=torch.zeros_like(p.top), left=torch.zeros_like(p.left)), config)


def not_centred(x: Tensor, p: CropParameters, config: AugmentConfig) -> Tensor:
    return apply_resize_crop(x, p._replace(left=p.left + 24), config)


def corners_not_aligned(x: Tensor, p: CropParameters, config: AugmentConfig) -> Tensor:
    views = []
    for b, (top, left, height, width) in enumerate(zip(*(q.tolist() for q in p), strict=True)):
        crop = on_canvas(x, config)[b : b + 1, top : top + height, left : left + width]
        views.append(F.interpolate(crop[None], size=(64, 96), mode="bicubic", align_corners=False)[0, 0])
    return torch.stack(views).float()


def same_crop_for_all(x: Tensor, p: CropParameters, config: AugmentConfig) -> Tensor:
    return apply_resize_crop(x, CropParameters(*(q[:1].expand(len(x)) for q in p)), config)


@pytest.mark.parametrize("broken", [from_zero, not_centred, corners_not_aligned, same_crop_for_all])
def test_the_check_rejects_a_broken_crop(broken: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError):
        check_crop(broken)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 18), st.integers(0, 8), st.integers(0, 9), st.integers(0, 99))
def test_crop_is_the_cubic_convolution_written_out(h: int, w: int, top: int, left: int, seed: int) -> None:
    config = AugmentConfig(canvas_freq=1.5, canvas_time=1.5)  # canvas 12 x 18 of an input of 8 x 12
    top, left = min(top, 12 - h), min(left, 18 - w)
    x = torch.randn(1, 8, 12, generator=seeded(seed))
    p = CropParameters(*(torch.tensor([v]) for v in (top, left, h, w)))
    crop = on_canvas(x, config)[0, top : top + h, left : left + w].numpy()
    view = apply_resize_crop(x, p, config)[0].numpy()
    np.testing.assert_allclose(view, brute_resize(crop, 8, 12), rtol=1e-4, atol=1e-5)


def test_weights_that_are_looked_up_are_those_that_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    start, length = torch.tensor([-3, 0, 5, 2]), torch.tensor([1, 12, 4, 18])
    looked_up = bicubic_weights(start, length, 12)
    monkeypatch.setattr(augment, "LARGEST_TABLE", 0)
    assert torch.equal(bicubic_weights(start, length, 12), looked_up)


def test_views_of_a_few_clips_at_a_time_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: every clip's products and sums are its own."""
    views = []
    for at_once in (3, 100):
        monkeypatch.setattr(augment, "CACHED_CLIPS", at_once)
        augmenter, generator = Augmenter(AugmentConfig(equaliser_db=3.0, mixup_memory=8), 16, 24, 0.0, 1.0), seeded(4)
        x = torch.randn(10, 16, 24, generator=seeded(5))
        views.append([*augmenter(x, generator), *augmenter(x + 1, generator)])
    for some, whole in zip(*views, strict=True):
        assert torch.equal(some, whole)


def test_weights_of_a_crop_inside_the_line_sum_to_one() -> None:
    weights = bicubic_weights(torch.tensor([3, 0]), torch.tensor([7, 1]), 16)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 16))


def check_crop_draw(sample: Callable[..., CropParameters]) -> None:
    p = sample(seeded(0), 40000, 64, 96, CONFIG)
    assert (int(p.height.min()), int(p.height.max())) == (
        38,
        64,
    )  # int(0.6 * 64); 1.5 * 64 clipped to the canvas
    assert (int(p.width.min()), int(p.width.max())) == (57, 143)  # int(0.6 * 96); int(< 1.5 * 96)
    assert bool((p.top + p.height <= 64).all())
    assert bool((p.left + p.width <= 144).all())
    full = float((p.height == 64).double().mean())
    assert abs(full - 0.5 / 0.9) < 0.01  # U(0.6, 1.5) * 64 >= 64
    for place, room in ((p.top, 64 - p.height), (p.left, 144 - p.width)):
        assert bool((place >= 0).all())
        share = (place.double() + 0.5) / (room + 1)  # uniform places: mean 1/2, and the ends are reached
        assert abs(float(share[room > 0].mean()) - 0.5) < 0.01
        assert bool((place[room > 0] == 0).any())
        assert bool((place == room)[room > 0].any())


def test_crop_sizes_and_places_are_drawn_as_described() -> None:
    check_crop_draw(sample_crop_parameters)


@pytest.mark.parametrize("broken", ["from zero", "too large", "centred", "never last"])
def test_the_check_rejects_a_broken_crop_draw(broken: str) -> None:
    def sample(*arguments: object) -> CropParameters:
        p = sample_crop_parameters(*arguments)  # type: ignore[arg-type]
        if broken == "from zero":
            return p._replace(top=torch.zeros_like(p.top), left=torch.zeros_like(p.left))
        if broken == "too large":
            return p._replace(height=p.height * 2)
        if broken == "centred":
            return p._replace(left=(144 - p.width) // 2)
        return p._replace(left=torch.minimum(p.left, (143 - p.width).clamp(min=0)))

    with pytest.raises(AssertionError):
        check_crop_draw(sample)


# the two views


def expected_views(x: Tensor, past: Tensor, config: AugmentConfig, mean: float, std: float) -> list[Tensor]:
    """Two views of the second batch, step by step with the documented order of mixing and normalising."""
    generator, views = seeded(7), []
    for _ in range(2):
        alpha, index = sample_mixup_parameters(generator, len(x), len(past), config.mixup_ratio)
        a = alpha.double()[:, None, None]
        z, y = past[index].double(), x.double()
        if config.mixup_domain == "normalized":
            mixed = torch.log((1 - a) * ((y - mean) / std).exp() + a * ((z - mean) / std).exp())
        else:
            mixed = (torch.log((1 - a) * y.exp() + a * z.exp()) - mean) / std
        p = sample_crop_parameters(generator, *x.shape, config=config)
        views.append(apply_resize_crop(mixed.float(), p, config))
    return views


def check_views(config: AugmentConfig, used: AugmentConfig) -> None:
    """That an augmenter of ``used`` does what ``config`` documents."""
    past, x = torch.randn(2, 6, 16, 24, generator=seeded(5)).mul(3).sub(4).unbind()
    augmenter = Augmenter(used, 16, 24, mean=-4.0, std=2.5)
    augmenter(past, seeded(1))
    views = augmenter(x, seeded(7))
    for view, expected in zip(views, expected_views(x, past, config, -4.0, 2.5), strict=True):
        torch.testing.assert_close(view, expected, rtol=1e-4, atol=1e-4)


BEFORE, AFTER = AugmentConfig(mixup_domain="log_mel"), AugmentConfig(mixup_domain="normalized")


@pytest.mark.parametrize("config", [BEFORE, AFTER])
def test_views_mix_and_normalise_in_the_documented_order(config: AugmentConfig) -> None:
    check_views(config, config)


@pytest.mark.parametrize(("config", "used"), [(BEFORE, AFTER), (AFTER, BEFORE)])
def test_the_check_rejects_the_other_order(config: AugmentConfig, used: AugmentConfig) -> None:
    with pytest.raises(AssertionError):
        check_views(config, used)


# level and equaliser


def test_gains_are_a_level_and_a_line_through_the_nodes() -> None:
    config = AugmentConfig(level_db=3, equaliser_db=12, equaliser_nodes=5)
    gains = sample_gains(seeded(3), 7, 64, config).double().numpy()
    drawn = (2 * torch.rand(7, 6, generator=seeded(3)) - 1).double().numpy()
    nodes = np.linspace(0, 63, 5)
    for clip, (level, *curve) in enumerate(drawn):
        decibels = 3 * level + np.interp(np.arange(64), nodes, 12 * np.array(curve))
        np.testing.assert_allclose(10 * np.log10(np.exp(gains[clip])), decibels, atol=1e-4)


def test_gains_are_uniform() -> None:
    config = AugmentConfig(level_db=4)
    decibels = sample_gains(seeded(0), 4000, 8, config) * 10 / math.log(10)
    assert (decibels == decibels[:, :1]).all()
    for edge in (-2.0, 0.0, 2.0):
        share = float((decibels[:, 0] < edge).float().mean())
        assert abs(share - (edge + 4) / 8) < 0.03
    assert float(decibels.abs().max()) <= 4


@pytest.mark.parametrize("domain", ["normalized", "log_mel"])
def test_a_gain_is_that_of_the_waveform_and_comes_before_the_mixing(domain: str) -> None:
    config = AugmentConfig(crop=False, equaliser_db=9, level_db=2, mixup_domain=domain)
    plain = AugmentConfig(crop=False, mixup_domain=domain)
    past, x = torch.randn(2, 6, 16, 24, generator=seeded(5)).mul(3).sub(4).unbind()
    augmenter, other = (Augmenter(c, 16, 24, mean=-4.0, std=2.5) for c in (config, plain))
    augmenter.memory.push(past if domain == "log_mel" else (past + 4) / 2.5)
    other.memory.push(past if domain == "log_mel" else (past + 4) / 2.5)
    generator = seeded(7)
    for view in augmenter(x, generator)[:1]:
        twin = seeded(7)
        louder = x + sample_gains(twin, 6, 16, config)[:, :, None]  # of the power, before anything else
        torch.testing.assert_close(
            view, other._view(louder if domain == "log_mel" else other.normalise(louder), twin), rtol=1e-4, atol=1e-4
        )


def test_mixing_after_normalisation_is_the_default() -> None:
    assert AugmentConfig().mixup_domain == "normalized"


def test_memory_receives_the_unaugmented_batch_once_and_the_first_batch_is_not_mixed() -> None:
    augmenter = Augmenter(AugmentConfig(crop=False), 8, 8, mean=1.0, std=2.0)
    x = torch.randn(3, 8, 8, generator=seeded(0))
    view1, view2 = augmenter(x, seeded(1))
    torch.testing.assert_close(view1, (x - 1) / 2)
    torch.testing.assert_close(view2, view1)
    assert len(augmenter.memory) == 3
    torch.testing.assert_close(augmenter.memory.ring[:3], (x - 1) / 2)
    assert not torch.equal(*augmenter(x, seeded(2)))


def test_views_do_not_depend_on_the_global_generator() -> None:
    x = torch.randn(3, 8, 8, generator=seeded(0))
    first = Augmenter(CONFIG, 8, 8, 0.0, 1.0)(x, seeded(1))
    torch.manual_seed(99)
    second = Augmenter(CONFIG, 8, 8, 0.0, 1.0)(x, seeded(1))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
