"""Second views of another clip of the same group (``views.renditions``): which, from where, and the same again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hear_delores.errors import DeloresError
from hear_delores.frontend import LogMel
from pretrain.config import PretrainConfig, load_config
from pretrain.data.batches import STATISTICS, Sampler
from pretrain.data.corpus import Corpus
from pretrain.data.listening import Listener, open_sampler
from pretrain.data.pack import pack
from pretrain.data.packed import open_corpus
from pretrain.distributed.world import World
from pretrain.training.start import pretrain
from tests.pretrain.conftest import TINY

GROUPS = ["a", "b", "a", "", "b", "a", "c", ""]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of 0.5 s; every sample of clip i is i + 1 thousand, so that a crop says whose it is."""
    folder = tmp_path_factory.mktemp("renditions")
    with (folder / "pool.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "group"])
        for i, group in enumerate(GROUPS):
            soundfile.write(folder / f"{i}.wav", np.full(8000, 1000 * (i + 1), np.int16), 16000)
            rows.writerow([f"{i}.wav", group])
    return folder / "pool.csv"


def configured(*overrides: str) -> PretrainConfig:
    return load_config("demo-s", [*TINY, *overrides])


def partners(sampler: Sampler, steps: int) -> list[tuple[int, int]]:
    """(clip of the first view, clip of the second) of every row that has one, read from the audio itself."""
    found = []
    for step in range(steps):
        batch = sampler.batch(step)
        if batch.renditions is not None:
            rows, audio = batch.renditions
            found += [
                (int(batch.audio[row, 0]) // 1000 - 1, int(crop[0]) // 1000 - 1)
                for row, crop in zip(rows, audio, strict=True)
            ]
    return found


def test_every_clip_of_a_group_has_every_other_one(table: Path) -> None:
    corpus = Corpus.from_path(table)
    pairs = partners(Sampler(corpus, 400, 8, seed=0, renditions=1.0), 40)
    expected = {(i, j) for i, g in enumerate(GROUPS) for j, h in enumerate(GROUPS) if g and g == h and i != j}
    assert set(pairs) == expected
    counts = [pairs.count(pair) for pair in sorted(expected)]
    assert len(pairs) == 40 * 5  # of 8 clips five have another one in their group
    assert max(counts) < 3 * min(counts)  # those of three: 20 each are expected


def test_the_probability_is_that_of_the_configuration(table: Path) -> None:
    corpus = Corpus.from_path(table)
    share = len(partners(Sampler(corpus, 400, 8, seed=0, renditions=0.3), 100)) / 500
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 500) ** 0.5


def test_without_renditions_nothing_is_otherwise(table: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.csv"
    bare.write_text("file\n" + "".join(f"{table.parent}/{i}.wav\n" for i in range(8)))
    config = configured()
    assert open_corpus(table, config).renditions == 0.0
    batch = open_sampler(open_corpus(table, config), config, 8).batch(3)
    assert batch.renditions is None
    first, second = Listener(config, LogMel(config.frontend), "cpu")(batch)
    assert first is second
    assert torch.equal(batch.audio, open_sampler(open_corpus(bare, config), config, 8).batch(3).audio)


def test_the_first_view_is_that_of_a_run_without(table: Path) -> None:
    corpus = Corpus.from_path(table)
    plain, paired = Sampler(corpus, 400, 8, seed=0), Sampler(corpus, 400, 8, seed=0, renditions=0.5)
    assert all(torch.equal(plain.batch(step).audio, paired.batch(step).audio) for step in range(5))


def test_rows_of_two_processes_are_those_of_one(table: Path) -> None:
    corpus = Corpus.from_path(table)
    whole = partners(Sampler(corpus, 400, 6, seed=2, renditions=0.7), 1)
    ranks = (Sampler(corpus, 400, 6, seed=2, rows=World(rank, 2).rows(6), renditions=0.7) for rank in range(2))
    assert whole == [pair for sampler in ranks for pair in partners(sampler, 1)]


def test_only_the_rows_with_another_rendition_differ(table: Path) -> None:
    config = configured("views.renditions=0.5")
    batch = open_sampler(open_corpus(table, config), config, 8).batch(0)
    assert batch.renditions is not None
    first, second = Listener(config, LogMel(config.frontend), "cpu")(batch)
    differ = (first != second).flatten(1).any(1).nonzero().flatten()
    assert differ.tolist() == batch.renditions[0].tolist()
    assert open_sampler(open_corpus(table, config), config, 8, STATISTICS).batch(0).renditions is None


@pytest.mark.parametrize("content", ["audio", "log-mel"])
def test_a_pack_keeps_the_groups(table: Path, tmp_path: Path, content: str) -> None:
    config = configured("views.renditions=1.0")
    pack(table, tmp_path / "pack", config, content=content)  # type: ignore[arg-type]
    packed, files = open_corpus(tmp_path / "pack", config), open_corpus(table, config)
    assert packed.groups().tolist() == files.groups().tolist() == [0, 1, 0, -1, 1, 0, 2, -1]
    assert packed.fingerprint().removeprefix("log-mel:") == files.fingerprint()
    one, other = (open_sampler(corpus, config, 8).batch(1).renditions for corpus in (packed, files))
    assert one is not None
    assert other is not None
    assert one[0].tolist() == other[0].tolist()
    assert pack(table, tmp_path / "pack", config, content=content).added == 0  # type: ignore[arg-type]


def test_a_pack_without_groups_is_what_it_was_before_there_were_any(clips: Path, tmp_path: Path) -> None:
    pack(clips, tmp_path / "pack", configured())
    assert '"group"' not in (tmp_path / "pack" / "shard-00000.json").read_text()


def test_no_groups_are_an_error_that_says_what_to_do(clips: Path) -> None:
    with pytest.raises(DeloresError, match="no two clips are of one group: give its CSV a column group"):
        open_corpus(clips, configured("views.renditions=0.5"))


def test_a_bad_partner_leaves_the_clip_to_itself(table: Path, tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.wav").write_bytes((table.parent / f"{i}.wav").read_bytes())
    (tmp_path / "pool.csv").write_bytes(table.read_bytes())
    data = np.full(8000, np.nan, np.float32)
    soundfile.write(tmp_path / "4.wav", data, 16000, subtype="FLOAT")
    corpus = Corpus.from_path(tmp_path / "pool.csv", skip_bad=True)
    sampler = Sampler(corpus, 400, 8, seed=0, renditions=1.0)
    pairs = partners(sampler, 20)
    assert {pair for pair in pairs if 4 in pair or 1 in pair} == set()
    assert 4 in sampler.batch(0).bad
    assert (5, 0) in pairs  # clip 5, for itself and for the bad one before it


def test_interrupted_and_resumed_with_sounds_beside_is_uninterrupted(table: Path, tmp_path: Path) -> None:
    overrides = ("views.renditions=0.8", "synthesis.share=0.5", "steps=4", "save_every=2")
    data = f"synthetic+{table}"
    whole = pretrain(configured(*overrides), data, tmp_path / "whole", quiet=True)
    _interrupted(data, tmp_path / "cut", *overrides)
    resumed = pretrain(configured(*overrides), data, tmp_path / "cut", quiet=True, resume=True)
    assert whole.read_bytes() == resumed.read_bytes()
    plain = pretrain(configured(*overrides[1:]), data, tmp_path / "plain", quiet=True)
    assert plain.read_bytes() != whole.read_bytes()


def _interrupted(data: str, out: Path, *overrides: str) -> None:
    """A run that ends after its second step, as if killed."""
    from pretrain.training.loop import Run

    advance = Run._advance

    def stop(self: Run, batch: object) -> None:
        if self.step == 2:
            raise KeyboardInterrupt
        advance(self, batch)  # type: ignore[arg-type]

    Run._advance = stop  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            pretrain(configured(*overrides), data, out, quiet=True)
    finally:
        Run._advance = advance  # type: ignore[method-assign]
