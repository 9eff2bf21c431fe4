"""Checks of what embeddings depend on: on the clip, and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.validate.check import Finding, check, fail, warn
from benchmarks.validate.checks.side_effects import CALLS, compare
from benchmarks.validate.subject import Subject

#: Float32 sums in another order differ by a few units in the last place of the largest value.
RELATIVE_TOLERANCE = 1e-4


@check("finite", needs=("sample-rate",), after=CALLS)
def finite(subject: Subject) -> Iterator[Finding]:
    """Embeddings and timestamps must hold no NaN and no infinity: a classifier trained on one is lost."""
    audio = subject.noise(2, subject.rate)
    found = {f"{kind} embeddings": values for kind, values in subject.values(audio).items()}
    if "timestamp" in subject.answers:
        found["timestamps"] = subject.timestamps(audio)[1].values
    faulty = [name for name, values in found.items() if not np.isfinite(values).all()]
    for name in faulty:
        subject.lose("scene" if name.startswith("scene") else "timestamp", "finite failed")
    for name in faulty:
        yield fail(f"{name} of white noise hold NaN or infinity", goes_on=bool(subject.answers))


@check("uses-audio", needs=("finite",))
def uses_audio(subject: Subject) -> Iterator[Finding]:
    """Two sounds must have two embeddings: a constant, or a result cached by the shape of the audio, is
    well-formed and says nothing."""
    rate = subject.rate
    noise = subject.noise(2, rate)
    hertz = np.array([[440.0], [880.0]])
    tones = np.sin(2 * np.pi * hertz / rate * np.arange(rate)).astype(np.float32)
    one, two = subject.values(noise), subject.values(tones)
    for name in one:
        if np.array_equal(one[name], two[name]):
            yield fail(f"{name} embeddings of white noise and of tones are the same")


@check("batch-independence", needs=("state", "uses-audio"))
def batch_independence(subject: Subject) -> Iterator[Finding]:
    """A clip's embedding must be the same alone and beside other clips: BatchNorm in training mode or a
    normalisation over the batch makes the score depend on the order of the files."""
    audio = subject.noise(3, 2 * subject.rate)
    audio[1] *= 0.01
    together = subject.values(audio)
    single = [subject.values(audio[i : i + 1]) for i in range(3)]
    alone = {kind: np.concatenate([values[kind] for values in single]) for kind in together}
    yield from compare("a clip in a batch and alone", together, alone, RELATIVE_TOLERANCE)


@check("padding", needs=("batch-independence",))
def padding(subject: Subject) -> Iterator[Finding]:
    """The first two seconds' timestamp embeddings should stay as they are when silence is appended to a clip
    of four seconds. Files are padded to one length to be embedded in batches, and a normalisation over the
    whole clip then lets the length of the padding into every embedding. A model that attends to the whole
    clip on purpose has this warning too: embed its clips unpadded."""
    rate = subject.rate
    audio = subject.noise(1, 4 * rate)
    padded = np.concatenate([audio, np.zeros((1, 2 * rate), np.float32)], axis=1)
    embeddings, times = subject.timestamps(audio)
    one, two = embeddings.values, subject.timestamps(padded)[0].values
    kept = int((times.values[0] <= 2000).sum())
    one, two = one[:, :kept], two[:, :kept]
    if one.shape == two.shape and one.size:
        off = float(np.max(np.abs(one - two)))
        if not off <= RELATIVE_TOLERANCE * float(np.max(np.abs(one))):
            yield warn(f"2 s of silence after a clip of 4 s change the embeddings of its first 2 s by up to {off:.3g}")
