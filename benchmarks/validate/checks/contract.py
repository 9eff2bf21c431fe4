"""The checks that hear-validator 2021.0.6 makes, with the same verdicts (reference: its ValidateModel)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from benchmarks.embedding.foreign_code import lacks_cuda
from benchmarks.embedding.resolve import FUNCTIONS
from benchmarks.validate.check import Finding, NotJudged, check, fail, warn
from benchmarks.validate.subject import MODEL_URL, Subject
from hear_delores.errors import DeloresError

SAMPLE_RATES = (16000, 22050, 32000, 44100, 48000)
TIMESTAMP_LENGTHS_S = (1.07, 1.98, 4.0)
SCENE_LENGTH_S = 2.74


@check("import", official=True)
def import_module(subject: Subject) -> Iterator[Finding]:
    """The module must be importable by its name from where you stand. Install it, or run from the
    folder that holds it."""
    subject.find()
    yield from ()


@check("functions", official=True, needs=("import",))
def functions(subject: Subject) -> Iterator[Finding]:
    """The module must offer load_model, get_scene_embeddings and get_timestamp_embeddings at its top
    level, as functions."""
    for name in FUNCTIONS:
        if not callable(getattr(subject.module, name, None)):
            # Without load_model there is nothing to check; an embedding function may be a method of the model.
            message = f"the module must include a function {name!r}{_of_methods(subject, name)}; see {MODEL_URL}"
            yield fail(message, goes_on=name != "load_model")


def _of_methods(subject: Subject, name: str) -> str:
    """What to do where a class of the module has the function as a method; "" elsewhere."""
    classes = [value for value in vars(subject.module).values() if isinstance(value, type)]
    if not any(callable(getattr(each, name, None)) for each in classes):
        return ""
    return f", a method of the model does not count: add def {name}(audio, model): return model.{name}(audio)"


@check("load", official=True, needs=("functions",))
def load(subject: Subject) -> Iterator[Finding]:
    """load_model() must work without an argument, and with the path of a weights file when one is
    given, and return a torch.nn.Module or a tf.Module."""
    try:
        subject.load()
    except Exception as error:
        if reason := lacks_cuda(error):
            raise DeloresError(reason) from error
        raise
    if subject.kind == "object":
        yield fail(
            f"load_model returned {type(subject.model).__name__}; expected a torch.nn.Module or tf.Module: let its "
            "class inherit from one and call super().__init__() (delores run takes it as it is)",
            goes_on=True,
        )
    for kind in ("scene", "timestamp"):
        name = f"get_{kind}_embeddings"
        if not callable(getattr(subject.module, name, getattr(subject.model, name, None))):
            subject.lose(kind, "functions failed")


@check("sample-rate", official=True, needs=("load",))
def sample_rate(subject: Subject) -> Iterator[Finding]:
    """model.sample_rate must be one of 16000, 22050, 32000, 44100 and 48000: audio is handed to the
    model at that rate."""
    rate = getattr(subject.model, "sample_rate", None)
    if rate is None:
        yield fail("the model must expose the audio rate it expects as the attribute sample_rate")
    elif rate not in SAMPLE_RATES:
        usable = isinstance(rate, (int, np.integer)) and rate > 0
        yield fail(f"sample_rate is {rate}; expected one of {', '.join(map(str, SAMPLE_RATES))}", goes_on=bool(usable))


@check("embedding-sizes", official=True, needs=("load",))
def embedding_sizes(subject: Subject) -> Iterator[Finding]:
    """model.scene_embedding_size and model.timestamp_embedding_size must be Python ints (not numpy
    integers or tensors), equal to the last dimension of what the functions return."""
    for name in ("scene_embedding_size", "timestamp_embedding_size"):
        size = getattr(subject.model, name, None)
        if size is None:
            yield fail(f"the model must expose the attribute {name}", goes_on=True)
        elif not isinstance(size, int):
            yield fail(f"{name} is {size!r} of type {type(size).__name__}; expected a Python int", goes_on=True)


@check("timestamp-embeddings", official=True, needs=("sample-rate",), after=("embedding-sizes",))
def timestamp_embeddings(subject: Subject) -> Iterator[Finding]:
    """get_timestamp_embeddings(audio, model) must return embeddings (n_sounds, n_timestamps,
    timestamp_embedding_size), float32, and timestamps (n_sounds, n_timestamps)."""
    with _losing(subject, "timestamp"):
        for seconds in TIMESTAMP_LENGTHS_S:
            embeddings, times = subject.timestamps(_noise(subject, 2, seconds))
            shape = embeddings.values.shape
            size = _expected(subject, "timestamp", shape)
            usable = len(shape) == 3 and shape[0] == 2 and times.values.shape == shape[:2]
            found = []
            if embeddings.dtype != "float32":
                found.append(fail(f"embeddings are {embeddings.dtype}; expected float32", goes_on=usable))
            if len(shape) != 3 or shape[0] != 2 or shape[2] != size:
                message = f"embeddings have shape {shape}; expected (2, n_timestamps, {size})"
                found.append(fail(message, goes_on=usable))
            elif times.values.shape != shape[:2]:
                message = f"timestamps have shape {times.values.shape}; expected {shape[:2]}, one per embedding"
                found.append(fail(message))
            if not usable:
                subject.lose("timestamp", "timestamp-embeddings failed")
            else:
                subject.times[seconds] = times.values
                subject.answers["timestamp"] = shape[2], embeddings.dtype
            if found:
                yield from found
                return


@check("timestamps", official=True, needs=("timestamp-embeddings",))
def timestamps(subject: Subject) -> Iterator[Finding]:
    """Timestamps must be regular (no interval off the mean by more than 1 ms) and must not pass the
    end of the audio. An interval above 50 ms, a late first and an early last timestamp are warnings:
    events there cannot be found."""
    seen: set[str] = set()
    for seconds in TIMESTAMP_LENGTHS_S:
        if seconds not in subject.times:  # a fault ended timestamp-embeddings before it
            subject.times[seconds] = subject.timestamps(_noise(subject, 2, seconds))[1].values
        for finding in _timing(subject.times[seconds], 1000 * seconds):
            if (key := finding.message.split(" (")[0]) not in seen:
                seen.add(key)
                yield finding


def _timing(times: np.ndarray, length_ms: float) -> Iterator[Finding]:
    if times.shape[1] < 2:
        return
    intervals = np.diff(times)
    mean = float(np.mean(intervals))
    deviation = float(np.max(np.abs(intervals - mean)))
    first, last = float(np.min(times)), float(np.max(times))
    if deviation > 1:
        order = "" if (intervals > 0).all() else "not sorted, and "
        message = (
            f"timestamps are {order}not regular (one interval is {deviation:.3g} ms off the mean of {mean:.3g} ms)"
        )
        yield fail(message)
    if last > length_ms:
        message = f"timestamps go past the end of the audio (last at {last:.6g} ms of {length_ms:.6g} ms)"
        yield fail(message, goes_on=True)
    if float(np.max(intervals)) > 50.0:
        yield warn(f"the interval between timestamps is above 50 ms (up to {float(np.max(intervals)):.4g} ms)")
    # hear-validator warns of an end or a start here too where the fault is another, which has its own check:
    # timestamp-unit names seconds, timestamp-order a mean interval that is not positive.
    if deviation > 1 or mean <= 0 or last <= length_ms / 1000:
        return
    if first > mean:
        yield warn(f"the first timestamp is late (at {first:.4g} ms, later than one interval of {mean:.4g} ms)")
    if last < length_ms - mean or last < length_ms - 50:
        yield warn(f"the last timestamp is early (at {last:.6g} ms of {length_ms:.6g} ms)")


@check("scene-embeddings", official=True, needs=("sample-rate",), after=("embedding-sizes",))
def scene_embeddings(subject: Subject) -> Iterator[Finding]:
    """get_scene_embeddings(audio, model) must return (n_sounds, scene_embedding_size), float32."""
    with _losing(subject, "scene"):
        embeddings = subject.scene(_noise(subject, 4, SCENE_LENGTH_S))
    shape = embeddings.values.shape
    size = _expected(subject, "scene", shape)
    usable = len(shape) == 2 and shape[0] == 4
    if usable:
        subject.answers["scene"] = shape[1], embeddings.dtype
    else:
        subject.lose("scene", "scene-embeddings failed")
    if embeddings.dtype != "float32":
        yield fail(f"embeddings are {embeddings.dtype}; expected float32", goes_on=usable)
    if shape != (4, size):
        yield fail(f"embeddings have shape {shape}; expected (4, {size})", goes_on=usable)


@contextlib.contextmanager
def _losing(subject: Subject, kind: str) -> Iterator[None]:
    """Within, a function that raises is lost for the checks that come after."""
    try:
        yield
    except NotJudged:
        raise
    except Exception:
        subject.lose(kind, f"{kind}-embeddings failed")
        raise


def _expected(subject: Subject, kind: str, shape: tuple[int, ...]) -> int:
    """The size that the model states; where that is no number, which has its own check, the size that it has."""
    size = getattr(subject.model, f"{kind}_embedding_size", None)
    return size if isinstance(size, int) else int(shape[-1] if shape else 0)


def _noise(subject: Subject, n_sounds: int, seconds: float) -> np.ndarray:
    return subject.noise(n_sounds, int(seconds * subject.rate))
