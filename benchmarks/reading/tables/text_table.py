"""A table of texts with a title and notes, in every form in which comparison tables are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["TextTable"]


@dataclass(frozen=True)
class TextTable:
    """``rows`` of texts under ``heads``; the first column names the row, and the others are numbers."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=tuple)
