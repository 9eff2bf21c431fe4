"""A checkpoint of any format that is read -> one of ours, which carries its own front-end and statistics."""

from __future__ import annotations

import os
from pathlib import Path

from hear_delores.checkpoint import load_checkpoint, save_checkpoint
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.foreign import FRONTENDS
from hear_delores.model import HearModel

__all__ = ["convert"]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    frontend: str | None = None,
    mean: float | None = None,
    std: float | None = None,
    force: bool = False,
) -> HearModel:
    """Writes the model in ``source`` to ``target`` in our format; the embeddings stay the same bit for bit.

    Strict and safe as :func:`~hear_delores.checkpoint.load_checkpoint`: every tensor of the encoder must be found,
    none may be left over, and nothing in the file is run. ``target`` is written whole or not at all.

    Args:
        source: a file that ``load_checkpoint`` reads.
        target: of the new file; its folder is made when absent.
        frontend: a name in ``FRONTENDS``; None for the settings beside the file, or the producer's own.
        mean, std: statistics of the producer's log-mel values; None for those in ``<source>.json``.
        force: replace ``target`` if there is such a file.

    Returns:
        The model. Of a foreign file, ``info["method"]`` names the producer and ``info["config"]["unused"]`` what of
        the file was left unused (part -> number of tensors).

    Raises:
        DeloresError: as ``load_checkpoint`` and ``save_checkpoint``; or ``target`` exists, or is ``source``.
    """
    source, target = Path(source), Path(target)
    if frontend is not None and frontend not in FRONTENDS:
        raise DeloresError(f"There is no front-end {frontend!r}. {did_you_mean(frontend, FRONTENDS)}")
    if target.is_dir():
        raise DeloresError(f"Expected a file's name for the new checkpoint, but {target} is a folder.")
    if target.exists() and source.exists() and target.samefile(source):
        raise DeloresError(f"{target} is the file to be converted: choose another name for the new one.")
    if target.exists() and not force:
        raise DeloresError(f"{target} exists: choose another name, or replace it with --force.")
    model = load_checkpoint(source, frontend=None if frontend is None else FRONTENDS[frontend], mean=mean, std=std)
    save_checkpoint(target, model)
    return model
