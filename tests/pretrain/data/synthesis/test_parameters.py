"""Parameter vectors: a function of seed and number alone; neighbours are moved by normal noise and stay uniform."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from pretrain.data.synthesis.parameters import KINDS, LAYERS, SCENE, WIDTH, Knobs, Sounds, draw, reflect

KEY = (3, 1)


def flat(sounds: Sounds) -> np.ndarray:
    """(B, P) of all numbers that move."""
    moved: np.ndarray = torch.cat([sounds.layers.flatten(1), sounds.scene], 1).double().numpy()
    return moved


def test_a_sound_is_a_function_of_the_key_and_its_number_alone() -> None:
    for delta in (0.0, 0.25):
        whole, part = draw(KEY, 0, 20, delta), draw(KEY, 7, 5, delta)
        for one, other in zip(whole, part, strict=True):
            for a, b in zip(one.rows(slice(7, 12)), other, strict=True):
                assert torch.equal(a, b)
    (first, _), (again, _), (other, _) = draw(KEY, 4, 1), draw(KEY, 4, 1), draw((3, 2), 4, 1)
    assert torch.equal(first.layers, again.layers)
    assert not torch.equal(first.layers, other.layers)
    far, _ = draw(KEY, 10**12, 2)  # numbers of a run that lasts
    assert not torch.equal(far.layers[0], far.layers[1])


def test_shapes_and_ranges() -> None:
    for sounds in draw(KEY, 0, 50, 0.25):
        assert sounds.kinds.shape == (50, KINDS)
        assert sounds.layers.shape == (50, LAYERS, WIDTH)
        assert sounds.scene.shape == (50, SCENE)
        for part in sounds:
            assert part.dtype == torch.float32
            assert float(part.min()) >= 0
            assert float(part.max()) <= 1


def test_without_delta_both_neighbours_are_the_centre() -> None:
    one, other = draw(KEY, 3, 10)
    assert other is one
    near, _ = draw(KEY, 3, 10, 1e-6)
    np.testing.assert_allclose(flat(near), flat(one), atol=1e-5)


def test_neighbours_are_moved_by_delta_of_independent_normal_noise_and_their_kind_stays() -> None:
    delta = 0.02
    centre, _ = draw(KEY, 0, 200)
    pair = draw(KEY, 0, 200, delta)
    inside = (flat(centre) > 0.15) & (flat(centre) < 0.85)  # where nothing is reflected
    moves = [((flat(sounds) - flat(centre)) / delta)[inside] for sounds in pair]
    for sounds, move in zip(pair, moves, strict=True):
        assert torch.equal(sounds.kinds, centre.kinds)
        assert kstest(move, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(*moves)[0, 1]) < 4 / math.sqrt(inside.sum())


@pytest.mark.parametrize("delta", [0.0, 0.25, 1.0])
def test_moved_parameters_are_as_uniform_as_their_centres(delta: float) -> None:
    for sounds in draw(KEY, 0, 100, delta):
        assert kstest(flat(sounds).ravel(), "uniform").pvalue > 1e-3


def test_reflection() -> None:
    given = torch.tensor([-0.25, 0.0, 0.4, 1.0, 1.25, 2.5, -1.5], dtype=torch.float64)
    expected = torch.tensor([0.25, 0.0, 0.4, 1.0, 0.75, 0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(reflect(given), expected)


def test_knobs_hand_out_ranges_in_turn_until_there_are_none() -> None:
    knobs = Knobs(torch.tensor([[0.0, 0.5, 1.0, 0.5, 0.25]]))
    assert float(knobs.linear(3, 5)) == 3
    assert float(knobs.log(10, 1000)) == pytest.approx(100)
    assert float(knobs.linear(0, 8, 3)) == 8
    assert float(knobs.linear(0, 8, 3)) == 1
    with pytest.raises(IndexError, match="5 parameters, and 2 more"):
        knobs.many(2)
