"""Checks of timestamps beyond hear-validator's: their unit, dtype, order, and their truth on long audio."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.validate.check import Finding, NotJudged, check, fail, warn
from benchmarks.validate.subject import Subject

#: Long enough for a hop that is half a sample of 44.1 kHz off to drift by more than 50 ms.
DRIFT_S = 120
#: Bursts a little more than a second apart: their places within a hop differ, and a model's own grid averages out.
BURSTS, BURST_GAP_S, BURST_S, REACH_MS = 8, 1.013, 0.06, 450.0


@check("timestamp-unit", needs=("finite",))
def timestamp_unit(subject: Subject) -> Iterator[Finding]:
    """Timestamps are milliseconds. Timestamps in seconds end a thousand times too early, and every
    event of the clip is then matched with its first moments."""
    last = float(subject.timestamps(subject.noise(1, 4 * subject.rate))[1].values.max())
    if 1.0 < last <= 4.0:
        yield fail(f"the last timestamp of 4 s of audio is {last:.4g}: in seconds; expected milliseconds")


@check("timestamp-dtype", needs=("finite",))
def timestamp_dtype(subject: Subject) -> Iterator[Finding]:
    """Timestamps should be float32 as the embeddings are, and must be on the same device."""
    embeddings, times = subject.timestamps(subject.noise(1, subject.rate))
    if times.dtype != "float32":
        yield warn(f"timestamps are {times.dtype}; expected float32")
    if times.device != embeddings.device:
        yield fail(f"timestamps are on {times.device}, embeddings on {embeddings.device}; expected one device")


@check("timestamp-order", needs=("timestamps", "finite"))
def timestamp_order(subject: Subject) -> Iterator[Finding]:
    """Timestamps must increase, must not be negative, and must be the same for every sound of a batch."""
    times = subject.timestamps(subject.noise(2, 2 * subject.rate))[1].values
    if times.shape[1] > 1 and not (np.diff(times) > 0).all():
        yield fail("timestamps do not increase")
    if times.min() < 0:
        yield fail(f"the first timestamp is negative ({times.min():.4g} ms)")
    if not np.array_equal(times[0], times[1]):
        yield fail("timestamps differ between two sounds of equal length in one batch")


@check("timestamp-drift", needs=("timestamp-unit", "timestamp-order", "lengths"), heavy=True)
def timestamp_drift(subject: Subject) -> Iterator[Finding]:
    """Over two minutes timestamps must stay true: the last as near to the end as in four seconds, and a burst
    near the end found at its own time as well as one near the start. A hop rounded to whole samples drifts:
    25 ms at 44.1 kHz are 1102.5 samples, and half a sample per hop is 54 ms in two minutes. Compute the place
    of frame k as round(k * hop), not as k * round(hop)."""
    if "timestamps" in subject.failed:  # where they end or how regular they are is named there
        raise NotJudged("timestamps failed")
    rate = subject.rate
    short = subject.timestamps(subject.noise(1, 4 * rate))[1].values[0].astype(np.float64)
    early = 2.0 + BURST_GAP_S * np.arange(BURSTS)
    late = DRIFT_S - 12.0 + BURST_GAP_S * np.arange(BURSTS)
    audio = 0.1 * subject.noise(1, DRIFT_S * rate)
    for second in (*early, *late):
        start = round((second - BURST_S / 2) * rate)
        audio[:, start : start + round(BURST_S * rate)] *= 10
    embeddings, times = subject.timestamps(audio)
    long = times.values[0].astype(np.float64)
    if len(short) < 3 or len(long) < 3:
        raise NotJudged("4 s of audio have fewer than 3 timestamps")
    hop = float(np.mean(np.diff(short)))
    missing_short, missing_long = 4000 - float(short[-1]), 1000 * DRIFT_S - float(long[-1])
    # Where a clip ends between two timestamps is chance: less than one hop more or less is no drift.
    if abs(missing_long - missing_short) > hop + 0.1 or missing_long < -0.1:
        yield fail(
            f"the last timestamp is {missing_short:.4g} ms before the end of 4 s but {missing_long:.4g} ms before the"
            f" end of {DRIFT_S} s (hop {hop:.6g} ms): timestamps drift"
        )
        return
    frames = embeddings.values[0]
    response = np.linalg.norm(frames - np.median(frames, axis=0), axis=1)
    shifts = [_shift(long, response, 1000 * seconds) for seconds in (early, late)]
    if shifts[0] is None or shifts[1] is None:  # the model spreads a burst over the clip: it has no one place
        return
    if abs(drift := shifts[1] - shifts[0]) > hop + 0.1:
        yield fail(
            f"a burst near the end of {DRIFT_S} s is found {drift:+.4g} ms away from where one near the start is found"
            f" (hop {hop:.6g} ms): embeddings drift against their timestamps"
        )


def _shift(times: np.ndarray, response: np.ndarray, bursts: np.ndarray) -> float | None:
    """By how many ms the response to ``bursts`` is late on average; None when it is not about them."""
    floor = 3 * float(np.median(response))
    shifts = []
    for burst in bursts:
        near = np.abs(times - burst) <= REACH_MS
        weights = np.clip(response[near] - floor, 0, None) ** 2
        if weights.sum() <= 0:
            return None
        shifts.append(float((weights * (times[near] - burst)).sum() / weights.sum()))
    return float(np.mean(shifts))
