"""Where the events of a clip may end: checked and cut here for all who read or write task folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hear_delores.errors import DeloresError
from hear_delores.settings import shown

__all__ = ["OVERHANG_MS", "check_clip_end", "trim_events"]

#: An event may end so much later than its clip. The official tools cut events at the clip's end, but annotations are
#: rounded and audio is resampled. It is one segment of segment_1s_er: what is beyond changes that score by more.
OVERHANG_MS = 1000.0


def check_clip_end(events: Iterable[Mapping[str, Any]], clip_ms: float, where: str) -> None:
    """Raises DeloresError, naming ``where``, for an event that ends over a second after its clip of ``clip_ms``."""
    for event in events:
        if event["end"] > clip_ms + OVERHANG_MS:
            raise DeloresError(
                f"{where}: the event {shown(event['label'])} lasts from {event['start']:g} to {event['end']:g} ms, but "
                f"its clip ends at {clip_ms:g} ms; correct or remove it"
            )


def trim_events(events: Iterable[Mapping[str, Any]], clip_ms: float) -> list[dict[str, Any]]:
    """The events of a clip that is cut to ``clip_ms``, as the official tools do it: none beyond, ends at most there."""
    return [{**event, "end": min(event["end"], clip_ms)} for event in events if event["start"] < clip_ms]
