"""Labels of the models of one run: told apart by default, refused where they are given to two."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.embedding.spec import ModelSpec, tell_apart
from hear_delores.errors import DeloresError


def labels(*texts: str) -> list[str]:
    return [spec.label for spec in tell_apart([ModelSpec.parse(text) for text in texts])]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["m@runs/a/checkpoint.safetensors", "m@runs/b/checkpoint.safetensors"], ["m-a-checkpoint", "m-b-checkpoint"]),
        (["m@a/1/best.pt", "m@b/1/best.pt", "n@a/1/best.pt"], ["m-a-1-best", "m-b-1-best", "n-best"]),
        (["m@x/1/checkpoint.pt", "m@y/1/checkpoint.pt"], ["m-x-1-checkpoint", "m-y-1-checkpoint"]),
        (["m@best.pt", "m@old/best.pt"], ["m-best", "m-old-best"]),
        (["m?pool=mean", "m?pool=max", "m"], ["m-pool=mean", "m-pool=max", "m"]),
        (["m", "m", "x=m"], ["m", "x"]),
        (["x=m@a/best.pt", "m@b/best.pt"], ["x", "m-best"]),
    ],
)
def test_default_labels_tell_models_apart(texts: list[str], expected: list[str]) -> None:
    assert labels(*texts) == expected


def test_one_file_by_two_ways_is_one_model(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    assert labels(f"m@{tmp_path}/w.pt", f"m@{tmp_path}/../{tmp_path.name}/w.pt") == ["m-w"]


@pytest.mark.parametrize("pair", [("x=m", "x=n"), ("x=m?a=1", "x=m?a=2"), ("x=m@a.pt", "x=m@b.pt"), ("m", "m=n")])
def test_a_label_of_two_models_is_refused_in_one_line(pair: tuple[str, str]) -> None:
    with pytest.raises(DeloresError, match=r"two models are called .*; give each a label of its own") as caught:
        labels(*pair)
    assert "\n" not in str(caught.value)


def test_long_labels_are_cut_and_stay_apart() -> None:
    one, other = labels("m?text=" + "a" * 300, "m?text=" + "a" * 299 + "b")
    assert one != other
    assert len(one) == len(other) == 100
