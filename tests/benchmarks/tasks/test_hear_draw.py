"""HEAR's draws of splits, against the kit's own code, an official task folder, and pandas."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.tasks.corpora.hear_draw import _seed, at_most, file_stem, new_folds, train_valid_test
from benchmarks.tasks.corpora.recordings import Recording


def clips(n: int = 60, split: str = "train") -> list[Recording]:
    return [Recording(Path(f"{i}"), f"clip{i:03d}.wav", "abc"[i % 3], split, group=f"g{i % 7}") for i in range(n)]


def drawn(recordings: list[Recording], split: str) -> list[int]:
    return sorted(int(file_stem(item)[4:]) for item in recordings if item.split == split)


# What hear-preprocess 2021.1.1 gave for these 60 names: ExtractMetadata.split_k_folds with 5 folds,
# split_train_test_val, and SubsampleSplit's sample.
KIT_FOLD03 = [7, 10, 11, 35, 37, 38, 39, 46, 47, 49, 51, 52]
KIT_TEST = [15, 21, 35, 45, 46, 58]
KIT_VALID = [11, 12, 17, 23, 47, 48]
KIT_SAMPLE = [30, 56, 1, 57, 4, 28]
#: 30 names n0 .. n29 in 3 folds, of which n0, n10 and n20 have a label of their own: the first seeds will not do.
KIT_RARE = ["n0", "n1", "n12", "n15", "n16", "n19", "n2", "n6", "n8", "n9"]


def test_folds_are_the_kits() -> None:
    folds = new_folds(clips(), 5)
    assert drawn(folds, "fold03") == KIT_FOLD03
    assert Counter(item.split for item in folds) == {f"fold{i:02d}": 12 for i in range(5)}
    assert Counter(Counter(item.split for item in new_folds(clips(236), 5)).values()) == {48: 1, 47: 4}


def test_another_seed_is_taken_until_every_fold_has_every_label() -> None:
    rare = [Recording(Path(f"{i}"), f"n{i}.wav", "often" if i % 10 else "rare") for i in range(30)]
    folds = new_folds(rare, 3)
    assert sorted(file_stem(item) for item in folds if item.split == "fold00") == KIT_RARE
    # What cannot be had (two folds of three) falls back to the first seed, as for part of a corpus.
    few = [Recording(item.path, item.file, "often" if item.file != "n0.wav" else "rare") for item in rare]
    assert {item.split for item in new_folds(few, 3)} == {"fold00", "fold01", "fold02"}


def test_folds_of_groups_never_divide_one() -> None:
    folds = new_folds(clips(), 7, key=lambda item: item.group)
    assert len({(item.group, item.split) for item in folds}) == 7


def test_the_folds_of_an_official_task_folder_are_made_again(shared_data: Path) -> None:
    folder = shared_data / "hear" / "spoken_digit-1.0.9-small"
    official = {
        file: (split.stem, str(labels[0]))
        for split in sorted(folder.glob("fold*.json"))
        for file, labels in json.loads(split.read_text()).items()
    }
    recordings = [Recording(Path(file), file, label) for file, (_, label) in official.items()]
    random.Random(3).shuffle(recordings)
    made = {item.file: item.split for item in new_folds(recordings, 5)}
    assert len(made) == 100
    assert made == {file: split for file, (split, _) in official.items()}


def test_splits_are_the_kits() -> None:
    made = train_valid_test(clips(), {"valid": 10, "test": 10})
    assert (drawn(made, "valid"), drawn(made, "test")) == (KIT_VALID, KIT_TEST)
    tested = [*clips(), *(Recording(Path("t"), "other.wav", "a", "test"),)]
    made = train_valid_test(tested, {"valid": 10 / 0.9})
    assert Counter(item.split for item in made) == {"train": 53, "valid": 7, "test": 1}


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_sample_is_the_kits(split: str) -> None:
    names = pd.DataFrame({"name": [file_stem(item) for item in clips(split=split)]}).sort_values("name")
    expected = names.sample(frac=1, random_state=_seed(f"SubsampleSplit({split})"))["name"].tolist()
    shuffled = clips(split=split)
    random.Random(1).shuffle(shuffled)
    assert [file_stem(item) for item in at_most(shuffled, {split: 10})] == expected[:10]
    assert len(at_most(shuffled, {})) == 60
    if split == "train":
        assert [int(name[4:]) for name in expected[:6]] == KIT_SAMPLE
