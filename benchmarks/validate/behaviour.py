"""The checks that hear-validator does not make: faults that pass there and make scores wrong or unstable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.validate import contract  # noqa: F401  (its checks come first: these need them)
from benchmarks.validate.subject import Embeddings, Subject
from benchmarks.validate.suite import Finding, check, fail, warn

BOTH = ("timestamps", "scene-embeddings")
#: Float32 sums in another order differ by a few units in the last place of the largest value.
RELATIVE_TOLERANCE = 1e-4
#: Long enough for a hop that is half a sample short to drift by more than itself.
DRIFT_S = 120

_IMPORT_PROBE = """
import json, sys, random
import numpy, torch
def state():
    return {
        "default dtype": str(torch.get_default_dtype()),
        "number of threads": torch.get_num_threads(),
        "gradient mode": torch.is_grad_enabled(),
        "torch random state": hash(bytes(torch.get_rng_state().numpy().tobytes())),
        "numpy random state": hash(numpy.random.get_state()[1].tobytes()),
        "python random state": hash(random.getstate()),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }
before = state()
sys.path.insert(0, "")
__import__(sys.argv[1])
after = state()
sys.stderr.write("\\nPROBE" + json.dumps([name for name in before if before[name] != after[name]]))
"""


@check("import-side-effects", needs=("import",))
def import_side_effects(subject: Subject) -> Iterator[Finding]:
    """Importing a model must leave torch's default dtype, thread count, gradient mode and every random
    state as they were: other models and the classifier run in the same process."""
    ran = subprocess.run(
        [sys.executable, "-c", _IMPORT_PROBE, subject.module_name],
        capture_output=True,
        text=True,
        timeout=300,
    )
    _, _, found = ran.stderr.rpartition("PROBE")
    if ran.returncode or not found:
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        yield fail(f"could not be imported in a fresh process: {last}")
        return
    for name in json.loads(found):
        yield fail(f"importing the module changes the {name}")


@check("finite", needs=BOTH)
def finite(subject: Subject) -> Iterator[Finding]:
    """Embeddings and timestamps must hold no NaN and no infinity: a classifier trained on one is lost."""
    rate = subject.model.sample_rate
    audio = subject.noise(2, rate)
    embeddings, times = subject.timestamps(audio)
    for name, value in (
        ("scene embeddings", subject.scene(audio)),
        ("timestamp embeddings", embeddings),
        ("timestamps", times),
    ):
        if not np.isfinite(value.values).all():
            yield fail(f"{name} of white noise hold NaN or infinity")


@check("timestamp-unit", needs=("timestamps",))
def timestamp_unit(subject: Subject) -> Iterator[Finding]:
    """Timestamps are milliseconds. Timestamps in seconds end a thousand times too early, and every
    event of the clip is then matched with its first moments."""
    last = float(subject.timestamps(subject.noise(1, 4 * subject.model.sample_rate))[1].values.max())
    if 1.0 < last <= 4.0:
        yield fail(f"the last timestamp of 4 s of audio is {last:.4g}: in seconds; expected milliseconds")


@check("timestamp-dtype", needs=("timestamps",))
def timestamp_dtype(subject: Subject) -> Iterator[Finding]:
    """Timestamps should be float32 as the embeddings are, and on the same device."""
    embeddings, times = subject.timestamps(subject.noise(1, subject.model.sample_rate))
    if times.dtype != "float32":
        yield warn(f"timestamps are {times.dtype}; expected float32")
    if times.device != embeddings.device:
        yield fail(f"timestamps are on {times.device}, embeddings on {embeddings.device}; expected one device")


@check("timestamp-order", needs=("timestamps",))
def timestamp_order(subject: Subject) -> Iterator[Finding]:
    """Timestamps must increase, must not be negative, and must be the same for every sound of a batch."""
    times = subject.timestamps(subject.noise(2, 2 * subject.model.sample_rate))[1].values
    if times.shape[1] > 1 and not (np.diff(times) > 0).all():
        yield fail("timestamps do not increase")
    if times.min() < 0:
        yield fail(f"the first timestamp is negative ({times.min():.4g} ms)")
    if not np.array_equal(times[0], times[1]):
        yield fail("timestamps differ between two sounds of equal length in one batch")


@check("timestamp-drift", needs=("timestamps", "timestamp-unit"))
def timestamp_drift(subject: Subject) -> Iterator[Finding]:
    """Over two minutes of audio the last timestamp must stay as near to the end as it is over four seconds.
    A hop rounded to whole samples drifts: 25 ms at 44.1 kHz are 1102.5 samples, and half a sample lost per
    hop is 54 ms in two minutes."""
    rate = subject.model.sample_rate
    short = subject.timestamps(subject.noise(1, 4 * rate))[1].values[0]
    long = subject.timestamps(subject.noise(1, DRIFT_S * rate))[1].values[0]
    if len(short) < 3:
        return
    hop = float(np.mean(np.diff(short.astype(np.float64))))
    missing_short, missing_long = 4000 - float(short[-1]), 1000 * DRIFT_S - float(long[-1])
    # Where a clip ends between two timestamps is chance: less than one hop more or less is no drift.
    if abs(missing_long - missing_short) > hop + 0.1 or missing_long < -0.1:
        yield fail(
            f"the last timestamp is {missing_short:.4g} ms before the end of 4 s but {missing_long:.4g} ms before the"
            f" end of {DRIFT_S} s (hop {hop:.6g} ms): timestamps drift"
        )


@check("deterministic", needs=BOTH)
def deterministic(subject: Subject) -> Iterator[Finding]:
    """Two calls with the same audio must give the same embeddings. Dropout left on and random crops
    make scores that nobody can repeat."""
    audio = subject.noise(2, subject.model.sample_rate)
    yield from _same("two calls with the same audio", _both(subject, audio), _both(subject, audio), exact=True)


@check("training-mode", needs=("deterministic",))
def training_mode(subject: Subject) -> Iterator[Finding]:
    """A call must not leave the model in training mode that was in evaluation mode, and must not change its
    parameters or buffers (BatchNorm statistics that move with the test audio)."""
    if subject.kind != "torch":
        return
    audio = subject.noise(4, subject.model.sample_rate)
    before = {name: value.detach().clone() for name, value in subject.model.state_dict().items()}
    _both(subject, audio)
    if subject.model.training and any(True for _ in subject.model.parameters()):
        yield warn("the model is in training mode after a call; call model.eval() in load_model")
    for name, value in subject.model.state_dict().items():
        if name in before and not bool((value == before[name]).all()) and not bool((value != value).any()):
            yield fail(f"a call changes the model's state {name!r}")
            return


@check("gradients", needs=BOTH)
def gradients(subject: Subject) -> Iterator[Finding]:
    """Embeddings should carry no gradient graph when the caller did not ask for one: it keeps every
    activation of a long clip in memory."""
    audio = subject.noise(1, subject.model.sample_rate)
    if subject.scene(audio).requires_grad or subject.timestamps(audio)[0].requires_grad:
        yield warn("embeddings carry gradients; compute them under torch.no_grad()")


@check("batch-independence", needs=("deterministic",))
def batch_independence(subject: Subject) -> Iterator[Finding]:
    """A clip's embedding must be the same alone and beside other clips: BatchNorm in training mode or a
    normalisation over the batch makes the score depend on the order of the files."""
    audio = subject.noise(3, 2 * subject.model.sample_rate)
    audio[1] *= 0.01
    together = _both(subject, audio)
    alone = [np.concatenate(parts) for parts in zip(*(_both(subject, audio[i : i + 1]) for i in range(3)), strict=True)]
    yield from _same("a clip alone and in a batch", together, alone, exact=False)


@check("lengths", needs=("finite",))
def lengths(subject: Subject) -> Iterator[Finding]:
    """Clips of 50 ms, 1 s and 30 s must be embedded, as float32 of the stated size: the benchmark has
    clips of 0.3 s and of 10 minutes."""
    for seconds in (0.05, 1.0, 30.0):
        yield from _sound(
            subject, subject.noise(1, int(seconds * subject.model.sample_rate)), f"{seconds:g} s of noise"
        )


@check("single-sample", needs=("lengths",))
def single_sample(subject: Subject) -> Iterator[Finding]:
    """A clip of one sample should be embedded and not raise: truncated files exist."""
    try:
        findings = list(_sound(subject, subject.noise(1, 1), "one sample"))
    except Exception as error:  # any failure of the model is the finding
        findings = [warn(f"one sample of audio raises {type(error).__name__}: {str(error).splitlines()[0]}")]
    yield from (warn(finding.message) for finding in findings)


@check("silence", needs=("finite",))
def silence(subject: Subject) -> Iterator[Finding]:
    """Digital silence and full-scale clipping must give finite embeddings: log(0) and division by a
    clip's own deviation are the usual faults."""
    rate = subject.model.sample_rate
    yield from _sound(subject, np.zeros((2, rate), np.float32), "silence")
    yield from _sound(subject, np.sign(subject.noise(2, rate)), "clipped noise")


@check("long-audio", needs=("lengths",), slow=True)
def long_audio(subject: Subject) -> Iterator[Finding]:
    """20 minutes of audio must be embedded within 16 GB of memory, the bound that the benchmark's
    authors suggest."""
    import resource

    yield from _sound(subject, subject.noise(1, 20 * 60 * subject.model.sample_rate), "20 minutes of noise")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if peak > 16e9:
        yield fail(f"20 minutes of audio took {peak / 1e9:.1f} GB of memory; at most 16 GB are expected")


def _both(subject: Subject, audio: np.ndarray) -> list[np.ndarray]:
    return [subject.scene(audio).values, subject.timestamps(audio)[0].values]


def _same(what: str, one: list[np.ndarray], two: list[np.ndarray], *, exact: bool) -> Iterator[Finding]:
    for name, a, b in zip(("scene", "timestamp"), one, two, strict=True):
        if a.shape != b.shape:
            yield fail(f"{name} embeddings of {what} have shapes {a.shape} and {b.shape}")
            continue
        off = float(np.nanmax(np.abs(a - b), initial=0.0))
        if off > (0.0 if exact else RELATIVE_TOLERANCE * float(np.nanmax(np.abs(a), initial=1e-12))):
            yield fail(f"{name} embeddings of {what} differ by up to {off:.3g}")


def _sound(subject: Subject, audio: np.ndarray, what: str) -> Iterator[Finding]:
    embeddings, times = subject.timestamps(audio)
    expected = {
        "scene": (subject.scene(audio), (len(audio), subject.model.scene_embedding_size)),
        "timestamp": (
            embeddings,
            (len(audio), times.values.shape[-1], subject.model.timestamp_embedding_size),
        ),
    }
    for name, (value, shape) in expected.items():
        yield from _fit(f"{name} embeddings of {what}", value, shape)
    if times.values.size and float(times.values.max()) > 1000 * audio.shape[1] / subject.model.sample_rate + 1e-3:
        yield fail(f"timestamps of {what} go past its end")


def _fit(what: str, value: Embeddings, shape: tuple[int, ...]) -> Iterator[Finding]:
    if value.values.shape != shape:
        yield fail(f"{what} have shape {value.values.shape}; expected {shape}")
    elif not np.isfinite(value.values).all():
        yield fail(f"{what} hold NaN or infinity")
