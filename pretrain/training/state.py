"""The training state beside a checkpoint: all that makes a resumed run equal to an uninterrupted one."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path
from pretrain.config import PretrainConfig, differences
from pretrain.data.corpus import Corpus
from pretrain.watching.progress import GO_ON

__all__ = ["FREE_KEYS", "STATE_FORMAT", "check_resumable", "concerns_parts", "load_state", "save_state"]

STATE_FORMAT = 1
FREE_KEYS = frozenset({"data.threads", "data.prefetch", "data.cache_mb", "save_every", "device"})
"""What may change between the parts of a run: none of it has a part in the result."""
PARTS = frozenset({"scene", "timestamp", "decorrelation"})
"""The sections that may change as well: they are applied when training has ended. A finished run resumed with another
value in them writes its checkpoint anew."""


def save_state(path: Path, state: dict[str, Any], then: str = GO_ON) -> None:
    """Writes the training state, whole or not at all.

    Args:
        then: what the user is to do after a failure.

    Raises:
        DeloresError: the disk is full or the folder cannot be written; the state before stays.
    """
    with atomic_path(path, "the training state ", then) as temporary:
        torch.save({"format_version": STATE_FORMAT, **state}, temporary)


def load_state(path: Path) -> dict[str, Any]:
    """The training state, unpickled without running code.

    Raises:
        DeloresError: damaged, foreign, or of another format version.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, OSError) as error:
        first = str(error).split("\n", 1)[0]
        raise DeloresError(f"{path}: not a readable training state ({first}). Remove it to begin anew") from None
    version = state.get("format_version") if isinstance(state, dict) else None
    if version != STATE_FORMAT:
        raise DeloresError(f"{path}: expected a training state of format {STATE_FORMAT}, got {version}")
    return state


def concerns_parts(key: str) -> bool:
    """Whether a key of the configuration, "section.key", says what embeddings are made of, and nothing else."""
    return key.partition(".")[0] in PARTS


def check_resumable(state: Mapping[str, Any], config: PretrainConfig, corpus: Corpus, out: Path) -> None:
    """Raises a DeloresError naming the first key of the configuration, or the data, that has changed."""
    now, then = differences(config, state["config"]), differences(state["config"], config)
    for key in sorted(key for key in now.keys() - FREE_KEYS if not concerns_parts(key)):  # both have the same keys
        raise DeloresError(
            f"cannot resume {out}: {key} is {now[key]!r} now and was {then[key]!r} when the run began. "
            "Set it back, or choose another --out"
        )
    if state["fingerprint"] != corpus.fingerprint():
        raise DeloresError(
            f"cannot resume {out}: the data changed ({state['n_clips']} clips then, {len(corpus)} now, or "
            "other files). Give the same --data, or choose another --out"
        )
