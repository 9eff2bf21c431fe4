"""A :class:`~benchmarks.running.estimate.Plan` as text for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.running.estimate import Estimate, Plan

__all__ = ["plan_lines"]


def plan_lines(plan: Plan) -> Iterator[str]:
    """A heading and a line for each task under each model, the sums, and what is free."""
    for label in dict.fromkeys(item.model for item in plan.estimates):
        own = [item for item in plan.estimates if item.model == label]
        yield f"{label} on {plan.device}"
        yield f"  {'task':23} {'clips':>7} {'audio':>7} {'embed':>7} {'score':>7} {'memory':>7} {'disk':>7}  state"
        for item in own:
            yield f"  {_cut(item.work.name, 23):23} {item.work.n_clips:7,} {_time(item.work.audio_s):>7} {_costs(item)}"
    yield from _sums(plan)


def _costs(item: Estimate) -> str:
    parts = (
        _time(item.embedding_s), _time(item.scoring_s), _size(item.memory_bytes), _size(item.disk_bytes),
    )  # fmt: skip
    return " ".join(f"{part:>7}" for part in parts) + f"  {item.state}"


def _sums(plan: Plan) -> Iterator[str]:
    embed, score = (sum(getattr(item, name) for item in plan.estimates) for name in ("embedding_s", "scoring_s"))
    to_do = [item for item in plan.estimates if item.state != "done"]
    yield (
        f"to do: {len(to_do)} of {len(plan.estimates)} jobs, about {_time(plan.seconds)} in turn: embedding "
        f"{_time(embed)}, scoring {_time(score)}"
    )
    memory, disk = max((item.memory_bytes for item in to_do), default=0), sum(item.disk_bytes for item in to_do)
    free = "" if plan.free_memory is None else f" ({_size(plan.free_memory)} free)"
    yield f"memory: up to {_size(memory)}{free}; disk: {_size(disk)} ({_size(plan.free_disk)} free)"
    missing = list(dict.fromkeys(item.work.name for item in plan.estimates if not item.there))
    if missing:
        yield f"to get first: {len(missing)} tasks, estimated from their task files; `delores tasks NAME` says how"
    if plan.unknown:
        yield f"not in these figures: {', '.join(plan.unknown)}, whose cost is not estimated"
    yield "heads end early: their epochs are a guess, and scoring may take half or twice as long"


def _time(seconds: float) -> str:
    """Three places: ``9.4 s``, ``12 min``, ``3.4 h``."""
    if seconds == 0:
        return "-"
    for limit, unit, length in ((100, "s", 1), (6000, "min", 60), (360_000, "h", 3600)):
        if seconds < limit:
            value = seconds / length
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def _size(count: int) -> str:
    if count == 0:
        return "-"
    for unit, length in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if count < 1000 * length or unit == "GB":
            value = count / length
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    raise AssertionError


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
