"""What an event of a sound event task is, and how events are made of frames: checked in one place.

Whoever reads or writes events (task folders, embeddings, the preparation of corpora, event scoring) asks here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hear_delores.errors import DeloresError, did_you_mean

__all__ = [
    "MAX_CLIP_MS",
    "OVERHANG_MS",
    "POSTPROCESSING",
    "check_clip_end",
    "check_event",
    "check_label",
    "check_postprocessing",
    "trim_events",
]

#: A day. No clip of an event task is as long; a time beyond it is a mistake of unit, and would exhaust memory.
MAX_CLIP_MS = 86_400_000.0
MAX_NUMBER = 10**18
#: An event may end so much later than its clip. The official tools cut events at the clip's end, but annotations are
#: rounded and audio is resampled. It is one segment of segment_1s_er: what is beyond changes that score by more.
OVERHANG_MS = 1000.0
#: The ways from frames to events, each with its range: what :func:`check_postprocessing` lets through.
POSTPROCESSING: Mapping[str, tuple[float, float]] = {
    "median_filter_ms": (0.0, MAX_CLIP_MS),
    "min_duration": (0.0, MAX_CLIP_MS),
    "threshold": (0.0, 1.0),
}


def check_label(label: Any) -> None:
    """Raises DeloresError for a label that is no text or number: its name would not be one name."""
    if isinstance(label, bool) or not isinstance(label, (str, int, float)) or label != label:
        raise DeloresError(f"expected a label as a string or number, got {_short(label)}")
    if isinstance(label, int) and abs(label) > MAX_NUMBER:
        raise DeloresError("expected a label as a string or number, got a number of more than 18 digits")
    if isinstance(label, str) and not label.isascii():
        try:
            label.encode("utf-8")
        except UnicodeEncodeError:
            raise DeloresError(f"the label {_short(label)} holds half a character (an unpaired surrogate)") from None


def check_event(event: Any) -> None:
    """Raises DeloresError unless it is ``{"label", "start", "end"}``, 0 <= start <= end, in milliseconds."""
    if not isinstance(event, Mapping) or not {"label", "start", "end"} <= event.keys():
        raise DeloresError(f"expected events with label, start and end (ms), got {_short(event)}")
    check_label(event["label"])
    start, end = event["start"], event["end"]
    for value in (start, end):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise DeloresError(f"an event's start and end are milliseconds, got {_short(value)}")
    name = _short(event["label"])
    if start < 0:
        raise DeloresError(f"the event {name} starts before the clip ({start} ms)")
    if end < start:
        raise DeloresError(f"the event {name} ends ({end} ms) before it starts ({start} ms)")
    if end > MAX_CLIP_MS:
        raise DeloresError(f"the event {name} ends at {end:g} ms, later than a day: start and end are milliseconds")


def check_clip_end(events: Iterable[Mapping[str, Any]], clip_ms: float) -> None:
    """Raises DeloresError for an event that ends more than a second after its clip of ``clip_ms``."""
    for event in events:
        if event["end"] > clip_ms + OVERHANG_MS:
            raise DeloresError(
                f"the event {_short(event['label'])} lasts from {event['start']:g} to {event['end']:g} ms, but its "
                f"clip ends at {clip_ms:g} ms; correct or remove it"
            )


def trim_events(events: Iterable[Mapping[str, Any]], clip_ms: float) -> list[dict[str, Any]]:
    """The events of a clip that is cut to ``clip_ms``, as the official tools do it: none beyond, ends at most there."""
    return [{**event, "end": min(event["end"], clip_ms)} for event in events if event["start"] < clip_ms]


def check_postprocessing(grid: Any) -> None:
    """Raises DeloresError unless an ``event_postprocessing_grid`` holds known parameters with values in their range."""
    what = "event_postprocessing_grid"
    if not isinstance(grid, Mapping):
        raise DeloresError(f"{what}: expected an object of parameters and lists of values, got {_short(grid)}")
    for name, values in grid.items():
        if name not in POSTPROCESSING:
            raise DeloresError(f"{what}: unknown parameter {name!r}. {did_you_mean(str(name), POSTPROCESSING)}")
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise DeloresError(f"{what}: expected a list of values of {name}, got {_short(values)}")
        lowest, highest = POSTPROCESSING[name]
        for value in values:
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not lowest <= value <= highest:
                raise DeloresError(
                    f"{what}: expected {name} to be a number from {lowest:g} to {highest:g}, got {_short(value)}"
                )
    if math.prod(len(values) for values in grid.values()) > 1000:
        raise DeloresError(f"{what}: expected at most 1,000 combinations; list fewer values")


def _short(value: Any) -> str:
    text = repr(value if not isinstance(value, Mapping) else dict(itertools.islice(value.items(), 4)))
    return text if len(text) <= 60 else f"{text[:57]}..."
