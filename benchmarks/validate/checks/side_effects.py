"""Checks of what a model does to the process that it shares, and of what it keeps from call to call."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.embedding.resolve import find_module
from benchmarks.embedding.spec import ModelSpec
from benchmarks.validate.check import Finding, NotJudged, check, fail, warn
from benchmarks.validate.child import in_fresh_process
from benchmarks.validate.process_state import random_states, seed_all, settings
from benchmarks.validate.subject import Subject
from hear_delores.errors import DeloresError

#: The checks that find out what can be called; those after them are made on what can.
CALLS = ("timestamps", "scene-embeddings")
IMPORT_TIMEOUT_S = 300


@check("import-side-effects", needs=("import",), heavy=True)
def import_side_effects(subject: Subject) -> Iterator[Finding]:
    """Importing a model must leave torch's default dtype and device, thread count, gradient mode and precision
    as they were, and must not seed a global random generator: other models and the classifier run in the same
    process. Drawing from a generator is allowed. Move such lines out of the module's top level."""
    try:
        changes = in_fresh_process(import_changes, subject.module_name, 1, timeout=IMPORT_TIMEOUT_S)
        random = changes["random"]
        if random:  # drawn from or seeded? Only a seed ends in the same state from another start.
            again = in_fresh_process(import_changes, subject.module_name, 2, timeout=IMPORT_TIMEOUT_S)["random"]
            random = [owner for owner in random if random[owner] == again.get(owner)]
    except DeloresError as error:
        yield fail(f"could not be imported in a fresh process: {error}")
        return
    for name in changes["settings"]:
        yield fail(f"importing the module changes the {name}")
    for owner in random:
        yield fail(f"importing the module seeds {owner}'s global random generator")


def import_changes(module: str, seed: int) -> dict[str, Any]:
    """What importing the module of a model does to this process, whose random states are seeded first.

    Returns:
        ``settings``, the names of those that change; ``random``, a digest of the random state after the
        import for each owner's that changes.
    """
    seed_all(seed)
    before, states = settings(), random_states()
    find_module(ModelSpec.parse(module))
    after = random_states()
    digests = {owner: hashlib.sha256(repr(after[owner]).encode()).hexdigest() for owner in _changed(states, after)}
    return {"settings": _changed(before, settings()), "random": digests}


@check("signatures", needs=("functions",))
def signatures(subject: Subject) -> Iterator[Finding]:
    """load_model(path), get_scene_embeddings(audio, model) and get_timestamp_embeddings(audio, model) are
    called like that, by position; load_model also without an argument."""
    calls = {
        "load_model": ((), ("path",)),
        "get_scene_embeddings": (("audio", "model"),),
        "get_timestamp_embeddings": (("audio", "model"),),
    }
    for name, forms in calls.items():
        function = getattr(subject.module, name, None)
        if not callable(function):  # a missing one is named by "functions"
            continue
        for arguments in forms:
            try:
                inspect.signature(function).bind(*arguments)
            except TypeError as error:
                yield fail(f"{name}({', '.join(arguments)}) cannot be called: {error}")
            except ValueError:  # a builtin without a signature: the calls themselves will tell
                pass


@check("call-side-effects", needs=("sample-rate",), after=CALLS)
def call_side_effects(subject: Subject) -> Iterator[Finding]:
    """load_model and the two embedding functions must leave torch's default dtype and device, thread count,
    gradient mode and precision as they were, and must not seed a global random generator: whatever is random
    after them would be the same each time. Drawing from a generator is allowed. Use torch.random.fork_rng()
    or a generator of your own; seeding in load_model is a warning, as weights are often drawn there."""
    for name in _changed(*subject.loading.settings):
        yield fail(f"load_model changes the {name}")
    audio = subject.noise(2, subject.rate)
    after_calls = []
    for seed in (1, 2):
        seed_all(seed)
        subject.values(audio)
        after_calls.append(random_states())
    for name in _changed(subject.loading.settings[1], settings()):
        yield fail(f"a call changes the {name}")
    for owner, state in after_calls[0].items():
        if state == after_calls[1][owner]:
            yield fail(f"a call seeds {owner}'s global random generator")


@check("reload", needs=("call-side-effects", "deterministic"))
def reload(subject: Subject) -> Iterator[Finding]:
    """load_model called twice must give the same model, whatever the random state. Weights drawn anew on each
    load, or a checkpoint whose names do not match the model's, make embeddings that nobody can repeat."""
    audio = subject.noise(2, subject.rate)
    first = subject.values(audio)
    seed_all(3)
    other = subject.again()
    yield from compare("two loads of the model", first, other.values(audio), _repeat_tolerance(subject))
    for owner in ("torch", "numpy", "python"):
        (start, end), (start_again, end_again) = (
            (states[owner] for states in loading.random) for loading in (subject.loading, other.loading)
        )
        if start != start_again and end == end_again:
            yield warn(f"load_model seeds {owner}'s global random generator")


@check("deterministic", needs=("finite",))
def deterministic(subject: Subject) -> Iterator[Finding]:
    """The same audio must give the same embeddings again, also when other audio was embedded in between.
    Dropout left on, random crops and statistics carried from call to call make scores that nobody can repeat."""
    audio = subject.noise(2, subject.rate)
    first = subject.values(audio)
    subject.values(subject.noise(3, subject.rate // 2, seed=1))
    findings = list(compare("two calls with the same audio", first, subject.values(audio), _repeat_tolerance(subject)))
    hint = "; the model is in training mode: call model.eval() in load_model" if subject.training else ""
    yield from (fail(finding.message + hint) for finding in findings)


@check("state", needs=("deterministic",))
def state(subject: Subject) -> Iterator[Finding]:
    """A call must not change the model's parameters, buffers or variables: statistics of BatchNorm that move
    with the test audio make a score depend on the order of the files."""
    before = subject.state()
    subject.values(subject.noise(4, subject.rate))
    after = subject.state()
    for name, value in before.items():
        if name in after and not np.array_equal(value, after[name], equal_nan=value.dtype.kind in "fc"):
            hint = ": the model is in training mode; call model.eval() in load_model" if subject.training else ""
            yield fail(f"a call changes the model's {name!r}{hint}")
            return


@check("training-mode", needs=("state",))
def training_mode(subject: Subject) -> Iterator[Finding]:
    """A model should be in evaluation mode after load_model, and a call must not switch it to training mode."""
    if subject.kind != "torch":
        raise NotJudged("the model is not a torch.nn.Module, so it has no training mode")
    subject.values(subject.noise(2, subject.rate))
    if subject.training and subject.loading.training:
        yield warn("the model is in training mode after a call; call model.eval() in load_model")
    elif subject.training:
        yield fail("a call switches the model from evaluation to training mode")


@check("gradients", needs=("sample-rate",), after=CALLS)
def gradients(subject: Subject) -> Iterator[Finding]:
    """Embeddings should carry no gradient graph when the caller did not ask for one: it keeps every
    activation of a long clip in memory. Compute them under torch.no_grad()."""
    audio = subject.noise(1, subject.rate)
    calls = {"scene": subject.scene, "timestamp": lambda audio: subject.timestamps(audio)[0]}
    subject.values(audio)  # not judged where nothing can be called
    if any(calls[kind](audio).requires_grad for kind in subject.answers):
        yield warn("embeddings carry gradients; compute them under torch.no_grad()")


@check("input-kept", needs=("sample-rate",), after=CALLS)
def input_kept(subject: Subject) -> Iterator[Finding]:
    """A call must not write into the audio that it was given: the caller embeds the same tensor once more, and
    gets other embeddings. Normalise a copy."""
    if subject.kind == "tensorflow":
        raise NotJudged("a tensor of TensorFlow cannot be written into")
    original = subject.noise(2, subject.rate)
    subject.values(original)  # not judged where nothing can be called
    for kind in subject.answers:
        audio = subject.tensor(original)
        subject.function(kind)(audio, subject.model)
        if not np.array_equal(audio.cpu().numpy(), original):
            yield fail(f"get_{kind}_embeddings changes the audio that it was given")


def _changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return [name for name in before if before[name] != after[name]]


def _repeat_tolerance(subject: Subject) -> float:
    # Kernels of a GPU may add in another order each time; nothing on a CPU does.
    return 0.0 if subject.kind == "torch" and subject.device == "cpu" else 1e-5


def compare(what: str, one: dict[str, np.ndarray], two: dict[str, np.ndarray], tolerance: float) -> Iterator[Finding]:
    """A failure for scene and for timestamp embeddings that differ by more than ``tolerance`` of the largest."""
    for name, a in one.items():
        b = two[name]
        if a.shape != b.shape:
            yield fail(f"{name} embeddings of {what} have shapes {a.shape} and {b.shape}")
            continue
        off = float(np.max(np.abs(a - b), initial=0.0))
        if not off <= tolerance * float(np.max(np.abs(a), initial=1e-12)):
            yield fail(f"{name} embeddings of {what} differ by up to {off:.3g}")
