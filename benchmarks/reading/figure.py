"""One figure that others have published, or that their tools have written."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PublishedFigure"]


@dataclass(frozen=True)
class PublishedFigure:
    """One published score in per cent, None if there is none; ``task`` is a task or a leaderboard column."""

    model: str
    task: str
    metric: str
    score: float | None
    protocol: str
    split: str
    source: str
