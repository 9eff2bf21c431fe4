"""A resumed run goes on with the files that it began with, and no others of the same length."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hear_delores.errors import DeloresError
from pretrain.config import PretrainConfig
from pretrain.data.corpus import Corpus
from pretrain.data.data_hashes import Contents
from pretrain.data.pack import pack
from pretrain.training.start import pretrain


def replaced(path: Path) -> None:
    """Another sound of the same length, rate, size and modification time."""
    samples, rate = soundfile.read(path, dtype="int16")
    status = path.stat()
    soundfile.write(path, samples[::-1], rate)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


@pytest.fixture
def data(clips: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clips, tmp_path / "data"))


def test_a_replaced_file_is_named_when_a_run_is_resumed(data: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    out = tmp_path / "run"
    pretrain(tiny_s, data, out, quiet=True)
    saved = np.load(out / "data-hashes.npy")
    assert (saved.shape, saved.dtype) == ((13, 8), np.uint8)
    assert saved.any(axis=1).all()
    pretrain(tiny_s, data, out, quiet=True, resume=True)
    replaced(data / "clip04.wav")
    with pytest.raises(DeloresError, match=r"cannot resume .*/data/clip04\.wav changed since the run began\. Put back"):
        pretrain(tiny_s, data, out, quiet=True, resume=True)
    replaced(data / "clip09.wav")
    with pytest.raises(DeloresError, match=r"clip04\.wav and 1 more changed"):
        pretrain(tiny_s, data, out, quiet=True, resume=True)
    replaced(data / "clip04.wav")
    replaced(data / "clip09.wav")
    pretrain(tiny_s, data, out, quiet=True, resume=True)


def test_runs_of_earlier_versions_and_damaged_hashes_are_resumed(
    data: Path, tmp_path: Path, tiny_s: PretrainConfig
) -> None:
    out = tmp_path / "run"
    pretrain(tiny_s, data, out, quiet=True)
    for content in (None, b"", b"no array", (out / "state.pt").read_bytes()):
        (out / "data-hashes.npy").unlink()
        if content is not None:
            (out / "data-hashes.npy").write_bytes(content)
        pretrain(tiny_s, data, out, quiet=True, resume=True)
        pretrain(tiny_s.model_copy(update={"save_every": 5}), data, out, quiet=True, resume=True)
        np.save(out / "data-hashes.npy", np.zeros((13, 8), np.uint8))


def test_a_tar_counts_as_a_whole_and_a_pack_by_its_shards(data: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(data, "x")
    corpus = Corpus.from_path(tmp_path / "a.tar")
    assert corpus.files() == [tmp_path / "a.tar"]
    pretrain(tiny_s, tmp_path / "a.tar", tmp_path / "run", quiet=True)
    replaced(data / "clip01.wav")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(data, "x")
    with pytest.raises(DeloresError, match=r"a\.tar changed since the run began"):
        pretrain(tiny_s, tmp_path / "a.tar", tmp_path / "run", quiet=True, resume=True)


def test_a_run_goes_on_with_the_pack_of_its_files(data: Path, tmp_path: Path, tiny_s: PretrainConfig) -> None:
    pack(data, tmp_path / "pack", tiny_s)
    pretrain(tiny_s, data, tmp_path / "run", quiet=True)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    pretrain(tiny_s, tmp_path / "pack", tmp_path / "run", quiet=True, resume=True)
    pretrain(tiny_s, tmp_path / "pack", tmp_path / "packed", quiet=True)
    assert np.load(tmp_path / "packed" / "pack-hashes.npy").any(axis=1).tolist() == [True]
    assert torch.load(tmp_path / "packed" / "state.pt", weights_only=True)["fingerprint"] == state["fingerprint"]


def test_what_is_not_known_yet_is_not_compared_and_hashing_ends_with_the_run(data: Path, tmp_path: Path) -> None:
    corpus = Corpus.from_path(data)
    (tmp_path / "run").mkdir()
    first = Contents(corpus, tmp_path / "run")
    first.save()
    first.close()
    replaced(data / "clip04.wav")
    second = Contents(corpus, tmp_path / "run")
    second.check(lambda *call: None)
    second.start()
    second.save()
    second.close()
    assert np.load(tmp_path / "run" / "data-hashes.npy").any(axis=1).all()
    replaced(data / "clip04.wav")
    with pytest.raises(DeloresError, match="clip04"):
        Contents(corpus, tmp_path / "run").check(lambda *call: None)
