"""Where the timestamp embeddings of the shipped weights listen: the middle of what they see is the time they report."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from hear_delores import load_model
from hear_delores.model import HearModel

FRAME = 10  # an embedding far from both ends of a second of audio
LOUD = 1e5  # so that the outermost sample of a window, which weighs 1e-5, is heard


def reach(model: HearModel, width: int) -> int:
    """Samples that an embedding over ``width`` timestamps sees to either side of its time, from the definitions.

    Embedding k sees the mel frames 4k - 7 .. 4k + 14, that is 22 of them, whose middle lies at its time; each window
    is a periodic Hann window, whose first weight is zero, about its frame's centre.
    """
    config, seen = model.frontend.config, 22
    return (seen - 1) * config.hop_length // 2 + config.win_length // 2 - 1 + width // 2 * 4 * config.hop_length


def mirrored(model: HearModel) -> HearModel:
    """The model that hears time run backwards: each kernel turned round in time."""
    other = copy.deepcopy(model)
    for block in other.encoder.blocks:
        block.conv.weight.data.copy_(block.conv.weight.data.flip(-1))
    return other


def noise(n_samples: int, seed: int) -> Tensor:
    return 0.1 * torch.randn(1, n_samples, generator=torch.Generator().manual_seed(seed))


def lateness(model: HearModel, *, backwards: bool = False) -> float:
    """By how many milliseconds the centre of mass of what a 10 ms click moves lies after the click's own centre."""
    position, n_samples = 10240, 32001  # the first and last samples lie on the times of two embeddings
    background = 0.1 * noise(n_samples, 1)
    clicked = background.clone()
    clicked[:, position - 80 : position + 81] += 5 * noise(161, 2)
    audio = torch.cat([background, clicked])
    embeddings, times = model.timestamp_embeddings(audio.flip(1) if backwards else audio)
    moved = (embeddings[1] - embeddings[0]).norm(dim=1)
    centre = n_samples - 1 - position if backwards else position
    return float((moved * times[0]).sum() / moved.sum()) - 1000 * centre / model.sample_rate


@pytest.mark.parametrize(("timestamp", "width"), [("frames", 1), ("layer3", 1), ("layer3_std_5", 5)])
def test_an_embedding_sees_equally_far_to_both_sides_of_its_time(timestamp: str, width: int) -> None:
    """By brute force: one loud sample at the end of what an embedding sees changes it, the next one does not."""
    model = load_model()
    model.set_parts(timestamp=timestamp)
    audio = noise(16000, 0)
    before, times = model.timestamp_embeddings(audio)
    here = round(float(times[0, FRAME]) * model.sample_rate / 1000)
    for side in (-1, 1):
        for distance, heard in ((reach(model, width), True), (reach(model, width) + 1, False)):
            louder = audio.clone()
            louder[0, here + side * distance] += LOUD
            after = model.timestamp_embeddings(louder)[0]
            assert torch.equal(after[0, FRAME], before[0, FRAME]) is not heard, (side, distance)


def test_what_is_late_is_learnt_and_not_the_grid() -> None:
    """With kernels turned round in time, audio turned round gives the embeddings turned round: no side is preferred.

    So a click moves the shipped embeddings late because of their kernels, and the mirrored ones by as much early.
    """
    model = load_model()
    other = mirrored(model)
    audio = noise(16001, 3)  # its first and last samples lie on the times of two embeddings
    forward, times = model.timestamp_embeddings(audio)
    backward, _ = other.timestamp_embeddings(audio.flip(1))
    assert float(times[0, -1]) == 1000.0
    torch.testing.assert_close(backward.flip(1), forward, rtol=1e-4, atol=1e-5)
    late, early = lateness(model), lateness(other, backwards=True)
    assert abs(late + early) < 0.01
