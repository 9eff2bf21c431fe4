"""``--data synthetic`` and ``synthetic+POOL``: what is in a batch, exact resume, packs, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hear_delores.checkpoint import load_checkpoint
from hear_delores.errors import DeloresError
from hear_delores.frontend import LogMel
from pretrain.config import PretrainConfig, load_config
from pretrain.data.batches import Batch
from pretrain.data.listening import Listener, SoundSampler, measure_statistics, open_sampler
from pretrain.data.pack import pack
from pretrain.data.packed import open_corpus
from pretrain.data.synthesis.stream import SoundStream, is_synthetic, open_sounds, synthesiser
from pretrain.distributed.world import World
from pretrain.training.start import pretrain


def with_values(config: PretrainConfig, **sections: Any) -> PretrainConfig:
    """The configuration with values changed: ``views={"delta": 0}``."""
    changed = {
        name: getattr(config, name).model_copy(update=value) if isinstance(value, dict) else value
        for name, value in sections.items()
    }
    return config.model_copy(update=changed)


def data_of(kind: str, clips: Path) -> str:
    return kind.replace("POOL", str(clips))


def listen(config: PretrainConfig, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return Listener(config, LogMel(config.frontend, torch.float32), "cpu")(batch)


def test_the_word_is_told_from_a_path() -> None:
    assert is_synthetic("synthetic")
    assert is_synthetic("synthetic+my_audio/")
    for path in ("./synthetic", "synthetic/", "my_audio", Path("synthetic"), "synthetics"):
        assert not is_synthetic(path)
    with pytest.raises(DeloresError, match="expected the data beside the sounds"):
        is_synthetic("synthetic+")


def test_a_folder_of_that_name_is_spoken_of(
    tiny_s: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(open_sounds(tiny_s).notes) == 1
    Path("synthetic").mkdir()
    assert any("./synthetic/" in note for note in open_sounds(tiny_s).notes)


def test_batches_are_consecutive_sounds_of_the_stream(tiny_s: PretrainConfig) -> None:
    tiny_s = with_values(tiny_s, views={"delta": 0.25})
    sampler = open_sampler(open_corpus("synthetic", tiny_s), tiny_s, 8)
    assert isinstance(sampler, SoundSampler)
    for step in (5, 0):  # whatever was made before
        batch = sampler.batch(step)
        assert len(batch.audio) == 0
        assert batch.sounds is not None
        for one, other in zip(batch.sounds, SoundStream(tiny_s).pairs(8 * step, 8), strict=True):
            assert torch.equal(one.layers, other.layers)
    first, second = listen(tiny_s, batch)
    assert first.shape == second.shape == (8, 64, tiny_s.segment_frames)
    assert not torch.equal(first, second)
    unmoved = with_values(tiny_s, views={"delta": 0.0})
    first, second = listen(unmoved, open_sampler(open_corpus("synthetic", unmoved), unmoved, 8).batch(0))
    assert first is second


def test_statistics_and_maps_hear_other_sounds_and_seeds_others_again(tiny_s: PretrainConfig) -> None:
    kinds = [SoundStream(config, stream).sounds(0, 4).kinds for config, stream in (
        (tiny_s, 0), (tiny_s, 1), (tiny_s, 2), (tiny_s.model_copy(update={"seed": 1}), 0),
    )]  # fmt: skip
    assert len({tuple(rows.flatten().tolist()) for rows in kinds}) == 4
    few = with_values(tiny_s, data={"statistics_clips": 50})
    mean, std = measure_statistics(open_corpus("synthetic", few), LogMel(), few)
    assert -14 < mean < -5
    assert 2 < std < 7


@pytest.mark.parametrize(("share", "expected"), [(0.5, 4), (0.3, 2), (0.01, 1), (0.99, 7)])
def test_sounds_and_clips_share_a_batch(share: float, expected: int, tiny_s: PretrainConfig, clips: Path) -> None:
    config = with_values(tiny_s, synthesis={"share": share})
    corpus = open_corpus(f"synthetic+{clips}", config)
    batch = open_sampler(corpus, config, 8).batch(3)
    assert batch.synthetic is not None
    assert batch.sounds is not None
    assert int(batch.synthetic.sum()) == len(batch.sounds[0].kinds) == expected
    assert len(batch.audio) == 8 - expected
    first, second = listen(config, batch)
    heard = listen(config, Batch(batch.audio, []))[0]
    assert torch.equal(first[~batch.synthetic], heard)
    assert torch.equal(second[~batch.synthetic], heard)
    alone = listen(config, Batch(batch.audio[:0], [], batch.sounds, torch.ones(expected, dtype=torch.bool)))
    assert torch.equal(first[batch.synthetic], alone[0])
    assert torch.equal(second[batch.synthetic], alone[1])


@pytest.mark.parametrize("kind", ["synthetic", "synthetic+POOL"])
def test_processes_make_the_parts_of_one_batch(kind: str, tiny_s: PretrainConfig, clips: Path) -> None:
    corpus = open_corpus(data_of(kind, clips), tiny_s)
    whole = listen(tiny_s, open_sampler(corpus, tiny_s, 8).batch(2))  # float32 log-mel; rounding moves quiet bands
    parts = [listen(tiny_s, open_sampler(corpus, tiny_s, 8, rows=World(rank, 4).rows(8)).batch(2)) for rank in range(4)]
    for view in range(2):
        torch.testing.assert_close(torch.cat([part[view] for part in parts]), whole[view], rtol=0, atol=5e-2)


@pytest.mark.parametrize("kind", ["synthetic", "synthetic+POOL"])
def test_the_first_rows_of_a_batch_are_those_rows(kind: str, tiny_s: PretrainConfig, clips: Path) -> None:
    batch = open_sampler(open_corpus(data_of(kind, clips), tiny_s), tiny_s, 8).batch(1)
    for count in (1, 4, 8):
        for part, whole in zip(listen(tiny_s, batch.first(count)), listen(tiny_s, batch), strict=True):
            torch.testing.assert_close(part, whole[:count], rtol=0, atol=5e-2)


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", ["synthetic", "synthetic+POOL"])
def test_interrupted_and_resumed_equals_uninterrupted(
    kind: str, tiny_m: PretrainConfig, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after step 4 and resumed from step 3: every tensor of the state and the checkpoint, bit for bit."""
    config = with_values(
        tiny_m, steps=6, data={"statistics_clips": 16}, decorrelation={"clips": 16}, scene=("layer3_std_decorrelated",)
    )
    data, whole, parts = data_of(kind, clips), tmp_path / "whole", tmp_path / "parts"
    pretrain(config, data, whole, quiet=True)

    def stop(_: Any, step: int, *rest: Any) -> None:
        if step == 4:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("pretrain.watching.progress.Display.step", stop)
        with pytest.raises(Stop):
            pretrain(config, data, parts, quiet=True)
    pretrain(config, data, parts, quiet=True, resume=True)
    assert (whole / "checkpoint.safetensors").read_bytes() == (parts / "checkpoint.safetensors").read_bytes()
    info = load_checkpoint(whole / "checkpoint.safetensors").info
    assert info["data"]["name"] == data_of(kind, Path(clips.name))
    assert info["data"]["synthetic_share"] == (1.0 if kind == "synthetic" else 0.5)
    other = "synthetic" if "POOL" in kind else f"synthetic+{clips}"
    with pytest.raises(DeloresError, match=r"cannot resume .* the data changed"):
        pretrain(config, other, parts, quiet=True, resume=True)


def test_a_pack_holds_the_sounds_of_the_stream_and_grows(tiny_s: PretrainConfig, tmp_path: Path) -> None:
    assert pack("synthetic", tmp_path / "a", tiny_s, clips=70).clips == 70
    grown = pack("synthetic", tmp_path / "a", tiny_s, clips=80)
    assert (grown.added, grown.clips) == (10, 80)
    corpus = open_corpus(tmp_path / "a", tiny_s)
    expected = synthesiser(tiny_s)(SoundStream(tiny_s).sounds(0, 80))
    found = np.stack([corpus.read(i)[0] for i in range(80)]) / 32767
    np.testing.assert_allclose(found, expected, atol=0.51 / 32767)  # rounded to 16 bits
    other = tiny_s.model_copy(update={"seed": 1})
    assert pack("synthetic", tmp_path / "a", other, clips=5).added == 5  # other sounds, after those
    pretrain(with_values(tiny_s, steps=1), tmp_path / "a", tmp_path / "run", quiet=True)


def test_what_cannot_be_packed_is_said(tiny_s: PretrainConfig, clips: Path, tmp_path: Path) -> None:
    for data, count, message in (
        ("synthetic", None, "expected --clips N"),
        (f"synthetic+{clips}", 5, "expected one --data for a pack"),
        (clips, 5, "--clips is for --data synthetic only"),
    ):
        with pytest.raises(DeloresError, match=message):
            pack(data, tmp_path / "a", tiny_s, clips=count)


def test_unknown_families_are_one_line() -> None:
    with pytest.raises(DeloresError, match=r"there is no family 'voices'\. Did you mean 'voice'"):
        load_config("demo-s", ["synthesis.families=[voices]"])
