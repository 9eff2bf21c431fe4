"""Where frames lie, against convolutions themselves; and chunks, whose frames are those of the whole."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.encoders.geometry import Geometry, chunks, convolutions, measured
from hear_delores.errors import DeloresError

STACKS = [((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)), ((7, 4), (3, 1)), ((5,), (8,))]


def run(kernels: tuple[int, ...], strides: tuple[int, ...], audio: torch.Tensor) -> torch.Tensor:
    for kernel, stride in zip(kernels, strides, strict=True):
        audio = torch.nn.functional.conv1d(audio, torch.ones(1, 1, kernel), stride=stride)
    return audio[0, 0]


@pytest.mark.parametrize(("kernels", "strides"), STACKS)
def test_convolutions_see_what_is_said(kernels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    geometry = convolutions(kernels, strides)
    for n in range(int(geometry.field), int(geometry.field + 3 * geometry.stride)):
        audio = torch.zeros(1, 1, n, requires_grad=True)
        frames = run(kernels, strides, audio)
        assert geometry.count(n) == len(frames)
    [gradient] = torch.autograd.grad(frames[2], audio)
    seen = torch.nonzero(gradient[0, 0]).flatten()
    assert len(seen) == geometry.field
    assert (seen[0] + seen[-1]).item() / 2 == geometry.centre(2)


@pytest.mark.parametrize(("kernels", "strides"), STACKS)
def test_geometry_is_found_from_the_number_of_frames(kernels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    expected = convolutions(kernels, strides)

    def count(n: int) -> int:
        return len(run(kernels, strides, torch.zeros(1, 1, n))) if n >= expected.field else 0

    assert measured(count, 40000) == expected
    with pytest.raises(DeloresError, match="does not grow with the audio"):
        measured(lambda n: 1500, 40000)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Fraction(1), Fraction(320), Fraction(4), Fraction(441, 2)]),
    st.integers(1, 500), st.integers(-500, 0), st.booleans(), st.integers(1, 4_000), st.integers(2, 40),
    st.floats(0, 0.5),
)  # fmt: skip
def test_chunks_keep_each_frame_of_the_whole_once(
    stride: Fraction, field: int, first: int, padded: bool, n: int, strides: int, share: float
) -> None:
    geometry = Geometry(stride, Fraction(field), Fraction(first if padded else 0), padded)
    length = max(int(stride.numerator * strides), field + stride.numerator)
    found = chunks(geometry, n, length, int(share * length))
    places = []
    for chunk in found:
        assert 0 <= chunk.start < chunk.stop <= n
        assert chunk.stop - chunk.start <= length
        assert chunk.drop >= 0
        assert chunk.drop + chunk.keep <= geometry.count(chunk.stop - chunk.start)
        places += [chunk.start + geometry.centre(chunk.drop + i) for i in range(chunk.keep)]
    assert places == [geometry.centre(i) for i in range(geometry.count(n))]
    assert found[-1].stop == n
