"""The protocols by name: a new one is a file that defines it, and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hear_delores.errors import DeloresError, did_you_mean

if TYPE_CHECKING:
    from benchmarks.scoring.protocol import Protocol

__all__ = ["PROTOCOLS", "find_protocol", "make_protocol", "needed_by"]

#: Name -> "module:class" of a :class:`~benchmarks.scoring.protocol.Protocol` on embeddings. Imported when it is used.
PROTOCOLS = {
    "hear": "benchmarks.scoring.hear.protocol:Hear",
    "linear": "benchmarks.scoring.linear.protocol:Linear",
    "knn": "benchmarks.scoring.knn:Knn",
    "attentive": "benchmarks.scoring.pooling.attentive:Attentive",
    "prototype": "benchmarks.scoring.pooling.prototype:Prototype",
}
#: Points of the grid of protocol hear that may be searched; here, where the command line reads it without numpy.
MAX_POINTS = 10_000


def find_protocol(name: str) -> type[Protocol[Any]]:
    """The class of a protocol on embeddings. Raises DeloresError for a name that is not known."""
    if name not in PROTOCOLS:
        raise DeloresError(f"unknown protocol {name!r}. {did_you_mean(name, PROTOCOLS)}")
    module, _, kind = PROTOCOLS[name].partition(":")
    return getattr(importlib.import_module(module), kind)  # type: ignore[no-any-return]


def needed_by(name: str) -> str:
    """What a protocol needs of clips: ``scene`` or ``timestamps`` embeddings; of an unknown one ``scene``."""
    return find_protocol(name).needs if name in PROTOCOLS else "scene"


def make_protocol(kind: Any, seed: int, options: Mapping[str, Any]) -> Any:
    """The protocol with these options; an option None is left at its default.

    Raises DeloresError for an option that the protocol does not have, or a value that it refuses.
    """
    known = [item.name for item in fields(kind) if item.name != "seed"]
    for name in options:
        if name not in known:
            raise DeloresError(f"unknown option {name!r} of protocol {kind.name}. {did_you_mean(name, known)}")
    return kind(seed=seed, **{name: value for name, value in options.items() if value is not None})
