"""Checks of sounds that occur and that a model's author may not have tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.validate.check import Finding, NotJudged, check, fail, first_line, warn
from benchmarks.validate.child import in_fresh_process
from benchmarks.validate.subject import Embeddings, Subject
from hear_delores.errors import DeloresError
from hear_delores.memory import peak_bytes

LENGTHS_S = (0.05, 1.0, 30.0)
#: Longer sounds are left out by --fast.
FAST_S = 5.0
LONG_S = 20 * 60
#: What the benchmark's authors suggest that 20 minutes of audio may take.
MEMORY_BYTES = 16e9


@check("lengths", needs=("finite",))
def lengths(subject: Subject) -> Iterator[Finding]:
    """Clips of 50 ms, 1 s and 30 s must be embedded, as float32 of the stated size and with timestamps up to
    their end: the benchmark has clips of 0.3 s and of 10 minutes. Pad short clips; do not cut long ones. With
    --fast, the clip of 30 s is left out."""
    for seconds in LENGTHS_S:
        if subject.fast and seconds > FAST_S:
            continue
        what = f"{seconds:g} s of noise"
        try:
            yield from judge_sound(subject, subject.noise(1, int(seconds * subject.rate)), what)
        except NotJudged:
            raise
        except Exception as error:  # any failure of the model is the finding
            yield fail(f"{what} raises {first_line(error)}")


@check("single-sample", needs=("lengths", "state"))
def single_sample(subject: Subject) -> Iterator[Finding]:
    """A clip of one sample should be embedded and not raise: truncated files exist."""
    try:
        findings = list(judge_sound(subject, subject.noise(1, 1), "one sample"))
    except NotJudged:
        raise
    except Exception as error:  # any failure of the model is the finding
        findings = [warn(f"one sample of audio raises {first_line(error)}")]
    yield from (warn(finding.message) for finding in findings)


@check("silence", needs=("finite",))
def silence(subject: Subject) -> Iterator[Finding]:
    """Digital silence must give finite embeddings: log(0) and division by a clip's own deviation are the
    usual faults. Add a small constant before either."""
    yield from judge_sound(subject, np.zeros((2, subject.rate), np.float32), "silence")


@check("clipping", needs=("finite",))
def clipping(subject: Subject) -> Iterator[Finding]:
    """Audio clipped at full scale, where every sample is -1 or 1, must give finite embeddings."""
    audio = np.sign(subject.noise(2, subject.rate))
    yield from judge_sound(subject, audio, "noise clipped at full scale")


@check("long-audio", needs=("lengths",), slow=True)
def long_audio(subject: Subject) -> Iterator[Finding]:
    """20 minutes of audio must be embedded within 16 GB of memory, the bound that the benchmark's
    authors suggest. Work on chunks, and keep no gradients. Measured in a process of its own."""
    try:
        known = subject.answers, subject.lost
        found = in_fresh_process(long_call, subject.module_name, subject.model_path, subject.device, *known, LONG_S)
    except DeloresError as error:
        yield fail(f"{LONG_S / 60:g} minutes of audio: {error}")
        return
    yield from (Finding(level, message) for level, message in found["findings"])
    for name, taken in found["memory"].items():
        if taken > MEMORY_BYTES:
            yield fail(
                f"{LONG_S / 60:g} minutes of audio took {taken / 1e9:.1f} GB of {name};"
                f" at most {MEMORY_BYTES / 1e9:g} GB are expected"
            )


def long_call(
    module: str, model_path: str, device: str | None, answers: Any, lost: dict[str, str], seconds: float
) -> dict[str, Any]:
    """Embeds ``seconds`` of noise; returns its findings as [level, message] and the peak memory in bytes.

    ``answers`` and ``lost`` are those of the subject.
    """
    subject = Subject(module, model_path, device, answers=answers, lost=lost)
    subject.load()
    audio = subject.noise(1, int(seconds * subject.rate))
    findings = [[f.level, f.message] for f in judge_sound(subject, audio, f"{seconds:g} s of noise")]
    cuda = max((torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())), default=0)
    return {"findings": findings, "memory": {"memory": peak_bytes() or 0, "GPU memory": cuda}}


def judge_sound(subject: Subject, audio: np.ndarray, what: str) -> Iterator[Finding]:
    """Failures of both kinds of embedding of ``audio`` (n_sounds, n_samples), which messages call ``what``."""
    subject.values(audio)  # not judged where nothing can be called
    found: dict[str, tuple[Embeddings, tuple[int, ...]]] = {}
    times = None
    if "scene" in subject.answers:
        found["scene"] = subject.scene(audio), (len(audio),)
    if "timestamp" in subject.answers:
        embeddings, times = subject.timestamps(audio)
        found["timestamp"] = embeddings, (len(audio), times.values.shape[-1])
    for name, (value, counts) in found.items():
        size, dtype = subject.answers[name]  # whether these are as they should be is another check
        shape = (*counts, size)
        if value.values.shape != shape:
            yield fail(f"{name} embeddings of {what} have shape {value.values.shape}; expected {shape}")
        elif value.dtype != dtype:
            yield fail(f"{name} embeddings of {what} are {value.dtype}; expected {dtype}")
        elif not np.isfinite(value.values).all():
            yield fail(f"{name} embeddings of {what} hold NaN or infinity")
    if times is not None:
        yield from _judge_end(subject, times.values, audio.shape[1] / subject.rate, what)


def _judge_end(subject: Subject, times: np.ndarray, seconds: float, what: str) -> Iterator[Finding]:
    last = float(times.max(initial=0.0))
    if last > 1000 * seconds + 1e-3 and "timestamps" not in subject.failed:  # which has named it
        yield fail(f"timestamps of {what} go past its end (last at {last:.6g} ms)")
    # Timestamps in seconds are named by timestamp-unit, an end that is early on short clips by timestamps.
    elif seconds < last < 1000 * (seconds - 1):
        yield fail(f"timestamps of {what} end at {last:.6g} ms: the rest is not embedded")
