"""What makes two models the same: label, module, options, weights and behaviour. Between measuring and reading."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.encoders.catalogue import current_name

__all__ = [
    "Behaviour",
    "Models",
    "Sketch",
    "behaviour_change",
    "behaviours_agree",
    "read_behaviour",
    "same_sketches",
]

#: The norm of an answer and sums of its values.
Sketch = list[float]
#: How far two sketches of one function may be apart, as a share of the answer's norm. Another number of threads or
#: another batch moved those of convolutional and transformer encoders by 2e-6 at most; a dimension of 1,792 that is set
#: to zero in the shipped model moves them by 8e-3 or more.
TOLERANCE = 5e-5


class Behaviour(BaseModel):
    """What a model answers to fixed probe sounds, as sketches; None where it fails.

    Attributes:
        version: of the sounds and of the sketch.
        deterministic: whether the same sounds had the same answer again.
        scene, timestamps: one sketch for each sound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    deterministic: bool
    scene: list[Sketch | None]
    timestamps: list[Sketch | None]


class Described(Protocol):
    """A model as records and embeddings describe it, such as :class:`benchmarks.results.record.ModelInfo`."""

    label: str
    module: str
    weights_hash: str
    options: dict[str, Any]
    behaviour: Behaviour | None


def read_behaviour(value: Any) -> Behaviour | None:
    """The behaviour that a file states; None when it states none, or none that can be read."""
    try:
        return None if value is None else Behaviour.model_validate(value)
    except ValidationError:
        return None


def same_sketches(one: Sequence[Sketch | None], other: Sequence[Sketch | None]) -> bool:
    """Whether two answers are the same to rounding."""
    return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))


def _same(one: Sketch | None, other: Sketch | None) -> bool:
    if one is None or other is None:
        return one is other
    bound = TOLERANCE * max(one[0], other[0])
    return len(one) == len(other) and all(abs(a - b) <= bound for a, b in zip(one, other, strict=True))


def behaviour_change(before: Behaviour, now: Behaviour) -> str:
    """What is different between two behaviours, in words that follow "the model"; "" when nothing is."""
    if before.version != now.version:
        return "was last asked with the probe sounds of another version of this project"
    functions = (("get_scene_embeddings", "scene"), ("get_timestamp_embeddings", "timestamps"))
    changed = [name for name, part in functions if not same_sketches(getattr(before, part), getattr(now, part))]
    return f"answers the probe sounds differently than before ({' and '.join(changed)})" if changed else ""


def behaviours_agree(before: Behaviour, now: Behaviour) -> bool:
    """Whether what was computed by the one is what the other would compute: never, without determinism."""
    return before.deterministic and now.deterministic and not behaviour_change(before, now)


class Models:
    """The different models among those that records describe, each with a name of its own for tables.

    Two are the same when label, module, options, weights and behaviour are. A behaviour that is unknown (of an old
    record) is that of the one model that is alike in the rest, where there is just one; behaviours that are not
    deterministic cannot tell models apart.
    """

    def __init__(self, models: Iterable[Described]) -> None:
        self._exact: dict[Hashable, int] = {}
        self._firsts: list[Described] = []
        self._alike: dict[str, list[int]] = defaultdict(list)  # all but the behaviour: numbers of models
        described = {_exactly(model): model for model in models}
        # Unknown behaviours last: only then is it known whom they may be of.
        for known in (True, False):
            for key, model in described.items():
                if (model.behaviour is not None) is known:
                    self._exact[key] = self._add(model)
        order = list(dict.fromkeys(self._exact[key] for key in described))
        self.names = self._names(order)

    def number(self, model: Described) -> int | None:
        """Which of the models it is; None when it is none of them."""
        found = self._exact.get(_exactly(model))
        return found if found is not None else self._find(model)

    def name(self, model: Described) -> str | None:
        """What tables call it; None when it is none of the models."""
        number = self.number(model)
        return None if number is None else self.names[number]

    def _add(self, model: Described) -> int:
        found = self._find(model)
        if found is None:
            found = len(self._firsts)
            self._firsts.append(model)
            self._alike[_but_behaviour(model)].append(found)
        return found

    def _find(self, model: Described) -> int | None:
        numbers = self._alike.get(_but_behaviour(model), [])
        if len(numbers) == 1 and None in (model.behaviour, self._firsts[numbers[0]].behaviour):
            return numbers[0]
        return next((n for n in numbers if _indistinct(model.behaviour, self._firsts[n].behaviour)), None)

    def _names(self, order: Sequence[int]) -> dict[int, str]:
        """The label; of several models that share it, with what differs among them."""
        by_label = defaultdict(list)
        for number in order:
            by_label[self._firsts[number].label].append(number)
        names: dict[int, str] = {}
        for label, numbers in by_label.items():
            notes = {number: _notes(self._firsts[number]) for number in numbers}
            differing = [kind for kind in next(iter(notes.values())) if len({n[kind] for n in notes.values()}) > 1]
            for place, number in enumerate(numbers, 1):
                words = [notes[number][kind] for kind in differing]
                name = f"{label} ({', '.join(words)})" if words else label
                # What differs in none of the words, such as the last digits of a hash, differs all the same.
                names[number] = f"{name} #{place}" if name in names.values() else name
        return names


def _indistinct(one: Behaviour | None, other: Behaviour | None) -> bool:
    if one is None or other is None:
        return one is other
    if not one.deterministic and not other.deterministic:
        return True
    return one.deterministic == other.deterministic and not behaviour_change(one, other)


def _notes(model: Described) -> dict[str, str]:
    """What may tell models of one label apart."""
    options = "&".join(f"{key}={value}" for key, value in sorted(model.options.items()))
    return {
        "weights": model.weights_hash[:8] or "weights unknown",
        "module": current_name(model.module),
        "options": options or "no options",
        "behaviour": f"behaviour {behaviour_digest(model.behaviour)}",
    }


def behaviour_digest(behaviour: Behaviour | None) -> str:
    """Six digits by which people tell behaviours apart; programs compare with :func:`behaviour_change`."""
    if behaviour is None:
        return "unknown"
    return hashlib.sha256(behaviour.model_dump_json().encode()).hexdigest()[:6]


def _but_behaviour(model: Described) -> str:
    return json.dumps(
        [model.label, current_name(model.module), model.weights_hash, model.options], sort_keys=True, default=str
    )


def _exactly(model: Described) -> Hashable:
    return _but_behaviour(model), model.behaviour and model.behaviour.model_dump_json()
