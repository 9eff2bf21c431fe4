"""Whole sounds: finite, of sound levels, each by itself; neighbours sound nearer than strangers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hear_delores.frontend import LogMel
from pretrain.data.synthesis.parameters import Knobs, Sounds, draw
from pretrain.data.synthesis.signals import norm
from pretrain.data.synthesis.synthesiser import GENERATORS, LOUDEST, MIXED, ROOMS, Kinds, Synthesiser

N_SAMPLES, RATE = 4800, 16000
SYNTHESISER = Synthesiser(N_SAMPLES, RATE)


def sounds(count: int, delta: float = 0.0, seed: int = 0) -> tuple[Sounds, Sounds]:
    return draw((seed,), 0, count, delta)


def log_mel(clips: Tensor) -> Tensor:
    return LogMel(precision=torch.float32)(clips)


@pytest.mark.parametrize("seed", range(2))
def test_clips_are_finite_do_not_clip_and_are_neither_all_loud_nor_all_quiet(seed: int) -> None:
    clips = SYNTHESISER(sounds(150, seed=seed)[0])
    assert clips.shape == (150, N_SAMPLES)
    assert clips.dtype == torch.float32
    assert bool(clips.isfinite().all())
    peaks = 20 * torch.log10(clips.abs().amax(1))
    assert float(peaks.max()) <= 20 * torch.log10(torch.tensor(LOUDEST)) + 1e-4
    assert float(peaks.min()) > -40
    # log-uniform from 0.02 to 1, times 0.9: -17.9 in the mean, with a standard deviation of 9.8
    assert float(peaks.mean()) == pytest.approx(-17.9, abs=4 * 9.8 / 150**0.5)
    assert float(clips.mean(1).abs().max()) < 0.3


@pytest.mark.parametrize("name", GENERATORS)
def test_each_generator_sounds_with_every_parameter_at_its_ends(name: str) -> None:
    """At the corners of the space, all low, all high and mixed, as well as inside; hardly a sound is silent."""
    inside = sounds(60)[0].layers[:, 0]
    corners = torch.cat([torch.zeros(1, inside.shape[1]), torch.ones(1, inside.shape[1]), inside[:20].round()])
    for values, least in ((inside, 0.9), (corners, 0.2)):
        made = GENERATORS[name](Knobs(values), SYNTHESISER.stage)
        assert made.shape == (len(values), N_SAMPLES)
        assert bool(made.isfinite().all())
        assert float((norm(made) > 0.03).float().mean()) >= least


def test_a_clip_is_a_function_of_its_own_parameters_alone() -> None:
    """The same bits in the same batch; the same but for the last bit, whatever is made beside it, in any order."""
    given = sounds(40)[0]
    whole = SYNTHESISER(given)
    assert torch.equal(SYNTHESISER(given), whole)
    for rows in (slice(11, 12), slice(3, 30)):
        torch.testing.assert_close(SYNTHESISER(given.rows(rows)), whole[rows], rtol=0, atol=1e-6)
    backwards = Sounds(*(part.flip(0) for part in given))
    torch.testing.assert_close(SYNTHESISER(backwards).flip(0), whole, rtol=0, atol=1e-6)


def test_families_layers_and_rooms_have_their_shares() -> None:
    kinds = Kinds(sounds(4000)[0].kinds, len(GENERATORS))
    for families in kinds.families.T:
        counts = torch.bincount(families, minlength=len(GENERATORS)) / 4000
        assert counts.tolist() == pytest.approx([1 / len(GENERATORS)] * len(GENERATORS), abs=0.03)
    assert len(kinds.mixed) / 4000 == pytest.approx(MIXED, abs=0.03)
    assert len(kinds.in_rooms) / 4000 == pytest.approx(ROOMS, abs=0.03)


def test_one_family_alone() -> None:
    given = sounds(20)[0]
    alone = Synthesiser(N_SAMPLES, RATE, ["call"])
    twice = Synthesiser(N_SAMPLES, RATE, ["call", "call"])
    assert torch.equal(alone(given), twice(given))
    assert not torch.equal(alone(given), SYNTHESISER(given))


def test_neighbours_sound_nearer_than_strangers_and_the_nearer_the_smaller_delta() -> None:
    """Mean absolute difference of log-mel. At a delta of 0.25, a pair is about three quarters as far as strangers."""
    distances, shares, nearer = [], [], []
    for delta in (0.0, 0.02, 0.1, 0.25):
        one, other = (log_mel(SYNTHESISER(side)) for side in sounds(80, delta))
        to_neighbour = (one - other).abs().mean((1, 2))
        to_stranger = (one - other.roll(1, 0)).abs().mean((1, 2))
        distances.append(float(to_neighbour.mean()))
        shares.append(float(to_neighbour.mean() / to_stranger.mean()))
        nearer.append(float((to_neighbour < to_stranger).float().mean()))
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert nearer == sorted(nearer, reverse=True)
    assert shares[1] < 0.4
    assert shares[2] < 0.65
    assert shares[3] < 0.85


@pytest.mark.parametrize("n_samples", [1, 100, 270_000])
def test_any_length(n_samples: int) -> None:
    """Longer than the table of noise, too."""
    clips = Synthesiser(n_samples, RATE)(sounds(3)[0])
    assert clips.shape == (3, n_samples)
    assert bool(clips.isfinite().all())


def test_another_rate_has_the_same_pitch() -> None:
    given = sounds(1)[0]
    pure = Sounds(torch.ones_like(given.kinds), given.layers, given.scene)  # one layer, no room, the last family
    found = []
    for rate in (16000, 32000):
        clip = Synthesiser(rate // 2, rate, ["call"])(pure)
        spectrum = torch.fft.rfft(clip[0]).abs()
        found.append(2.0 * int(spectrum[20:4000].argmax()))
    assert found[0] == pytest.approx(found[1], rel=0.05)
