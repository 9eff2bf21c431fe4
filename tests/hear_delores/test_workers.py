"""Threads side by side: order, errors, and everyone's number of threads left as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hear_delores.encoder import AudioNTT, EncoderConfig
from hear_delores.frontend import FrontendConfig
from hear_delores.model import HearModel
from hear_delores.workers import side_by_side


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_and_are_computed_at_once() -> None:
    meeting = threading.Barrier(2)

    def work(number: int) -> tuple[int, int]:
        if number < 2:
            meeting.wait(timeout=30)  # neither returns before both have begun
        return number, torch.get_num_threads()

    assert list(side_by_side(work, range(5), 2)) == [(number, 1) for number in range(5)]


def test_one_worker_is_the_callers_thread() -> None:
    threads = side_by_side(lambda _: (threading.current_thread(), torch.get_num_threads()), range(2), 1)
    assert list(threads) == [(threading.current_thread(), 2)] * 2


def test_errors_reach_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda number: 1 // number, [1, 0, 2], 2))


def test_threads_that_begin_later_have_the_callers_number() -> None:
    list(side_by_side(str, range(2), 2))
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [2]
    assert torch.get_num_threads() == 2


@pytest.fixture(scope="module")
def model() -> HearModel:
    torch.manual_seed(0)
    encoder = AudioNTT(EncoderConfig(channels=8, embedding_size=24)).eval()
    scene = ("pooled", "layer2_std", "layer3_thirds")
    return HearModel(encoder, FrontendConfig(), -6.0, 4.0, scene, chunk_frames=1024)


class TestModel:
    """What two threads embed side by side is what one embeds, in every mode that a caller may be in."""

    @staticmethod
    def embedded(model: HearModel, audio: Tensor, threads: int) -> tuple[Tensor, Tensor]:
        torch.set_num_threads(threads)
        return model.scene_embeddings(audio), model.timestamp_embeddings(audio)[0]

    # Clips in one pass, in several, and clips longer than a pass of a worker.
    @pytest.mark.parametrize("samples", [3000, 30_000, 100_000])
    def test_equal_to_one_thread(self, model: HearModel, samples: int) -> None:
        audio = 0.1 * torch.randn(7, samples)
        assert model._workers(7) == 2
        for two, one in zip(self.embedded(model, audio, 2), self.embedded(model, audio, 1), strict=True):
            torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5 * one.abs().max().item())

    def test_passes_side_by_side_hold_no_more_frames_than_one(
        self, model: HearModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []
        maps = model.encoder.maps

        def spy(x: Tensor, **options: bool) -> list[Tensor]:
            sizes.append(len(x) * (x.shape[3] - 32))  # without margins
            return maps(x, **options)

        monkeypatch.setattr(model.encoder, "maps", spy)
        self.embedded(model, torch.zeros(4, 400_000), 2)
        assert max(sizes) <= 1024 // 2

    def test_the_callers_modes(self, model: HearModel) -> None:
        audio = 0.1 * torch.randn(4, 20_000)
        expected = self.embedded(model, audio, 2)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
            found = self.embedded(model, audio.clone().requires_grad_(), 2)
        with torch.inference_mode():
            inferred = self.embedded(model, audio.clone(), 2)
        for values in (found, inferred):
            assert all(torch.equal(*pair) for pair in zip(values, expected, strict=True))
            assert not any(value.requires_grad for value in values)

    def test_a_changed_weight_changes_the_next_call(self, model: HearModel) -> None:
        audio = 0.1 * torch.randn(2, 9000)
        before = self.embedded(model, audio, 2)
        norm = model.encoder.blocks[1].norm
        with torch.no_grad():
            norm.running_var.mul_(4)
        changed = self.embedded(model, audio, 2)
        with torch.no_grad():
            norm.running_var.div_(4)
        assert not any(torch.allclose(*pair) for pair in zip(before, changed, strict=True))
        assert all(torch.equal(*pair) for pair in zip(before, self.embedded(model, audio, 2), strict=True))
