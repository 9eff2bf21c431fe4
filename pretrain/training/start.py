"""The pre-training loop: crops -> log-mel -> two views -> loss -> step, logged, saved and resumable.

A run's folder holds ``config.yaml`` (resolved), ``log.jsonl``, ``state.pt`` (to resume from) and, at the end,
``checkpoint.safetensors``. Everything random is drawn from the seed, so that a run which was killed and
resumed ends in the same bits as one that was not.

Under ``torchrun`` the batch is spread over its processes (:mod:`pretrain.distributed.world`); the first of them alone
writes, shows and probes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from hear_delores.errors import DeloresError
from hear_delores.files import remove_leftovers
from hear_delores.memory import keep_freed_memory
from pretrain.config import PretrainConfig, config_to_yaml
from pretrain.data.corpus import Corpus
from pretrain.data.data_hashes import Contents
from pretrain.data.packed import open_corpus
from pretrain.distributed.world import World, join
from pretrain.locks import folder_lock
from pretrain.training.device import choose_device, device_type, exact_cudnn, resolved
from pretrain.training.footprint import check_footprint
from pretrain.training.loop import Run, Watching
from pretrain.training.peak_memory import check_peak_memory
from pretrain.training.state import check_resumable, load_state
from pretrain.watching.online_probe import Probe
from pretrain.watching.progress import Display
from pretrain.watching.tensorboard import require_tensorboard

__all__ = ["Run", "Watching", "pretrain"]


def pretrain(
    config: PretrainConfig,
    data: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    skip_bad: bool = False,
    progress: bool = True,
    quiet: bool = False,
    watching: Watching | None = None,
    force: bool = False,
) -> Path:
    """Trains on the audio in ``data`` and returns the path of the final checkpoint, in ``out``.

    Args:
        config: from :func:`pretrain.config.load_config`.
        data: a folder, a CSV manifest (column ``file``; optional ``start`` and ``duration`` in seconds), a
            HEAR task folder, WebDataset tars, or a pack (:mod:`pretrain.data.pack`).
        out: the run's folder; it must not hold a run already, unless ``resume``.
        resume: go on from the last saved state, if there is one.
        skip_bad: count, list and pass over bad files rather than stop at the first one.
        progress, quiet: show progress bars; print nothing at all.
        watching: a picture, TensorBoard, an online probe. Default: none of these.
        force: begin even though the estimated peak of memory is more than what is free.

    Raises:
        DeloresError: bad data, a folder in use, another configuration on resuming, a loss not finite; of several
            processes one says why, and the others raise :class:`pretrain.distributed.world.ReportedElsewhere`.
    """
    out, watching = Path(out), watching or Watching()
    with (
        join(device_type(config)) as world,
        Display(shown=progress and not quiet and world.leads) as display,
        contextlib.ExitStack() as held,
    ):
        world.lead(lambda: held.enter_context(_alone(out)))
        state = world.from_leader(lambda: _found_state(out, resume))
        keep_freed_memory()
        world.share(lambda: world.rows(config.batch_size))
        before = None if state is None else state["config"]["precision"]
        config, measured = world.from_leader(lambda: resolved(config, before))
        device = world.share(lambda: choose_device(config))
        world.share(lambda: check_footprint(config, len(world.rows(config.batch_size)), device))
        if not force:
            world.share(lambda: check_peak_memory(config, len(world.rows(config.batch_size)), device))
        probe = world.lead(lambda: _open_watching(watching, config))
        corpus = world.share(lambda: _open_corpus(config, data, out, state, skip_bad, display))
        _check_same(corpus, world)
        contents = Contents(corpus, out) if world.leads else None
        world.share(lambda: contents.check(display.phase) if contents is not None and state is not None else None)
        if contents is not None:
            contents.start()
            held.callback(contents.close)
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), exact_cudnn():
            torch.manual_seed(config.seed)
            run = Run(config, corpus, out, device, display, state, world, watching, probe, contents)
            if not quiet and world.leads:
                display.tell(config_to_yaml(config) + "\n".join(filter(None, [run.describe(), measured])))
            checkpoint = run.train()
            del run  # or its network would keep the processes' connection, which is closed here
            return checkpoint


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Holds the run's folder, freed of what killed processes left half-written."""
    if out.exists() and not out.is_dir():
        raise DeloresError(f"{out}: expected a folder for the run, but it is a file")
    with folder_lock(out, "pre-training into this folder"):
        remove_leftovers(out)
        yield


def _found_state(out: Path, resume: bool) -> dict[str, Any] | None:
    """The state to resume from, if the run's folder has one and may be used."""
    for path in (out / "state.pt", out / "checkpoint.safetensors"):
        if not os.path.lexists(path):
            continue
        if not path.is_file():
            what = "no file" if path.exists() else "a link to a file that is not there"
            raise DeloresError(f"{path}: expected a file of the run, but it is {what}; remove it")
        if not resume:
            raise DeloresError(
                f"{out} already holds a run ({path.name}): resume it with --resume, or choose another --out"
            )
    return load_state(out / "state.pt") if (out / "state.pt").exists() else None


def _open_watching(watching: Watching, config: PretrainConfig) -> Probe | None:
    """Fails before the training does: a task that is no probe, TensorBoard that is not there."""
    if watching.probe_every < 1:
        raise DeloresError(f"--probe-every: expected 1 step or more, got {watching.probe_every}")
    if watching.tensorboard:
        require_tensorboard()
    return None if watching.probe is None else Probe(watching.probe, config)


def _open_corpus(
    config: PretrainConfig, data: str | Path, out: Path, state: dict[str, Any] | None, skip_bad: bool, display: Display
) -> Corpus:
    """The corpus, fit for the state to resume from, decoded as far as there is still something to train."""
    corpus = open_corpus(data, config, skip_bad=skip_bad, progress=display.phase)
    if state is not None:
        check_resumable(state, config, corpus, out)
    if state is None or state["step"] < config.total_steps(len(corpus)):
        corpus.load()
    return corpus


def _check_same(corpus: Corpus, world: World) -> None:
    """Raises a DeloresError when the processes, on their machines, do not see the same corpus."""
    if len(set(world.collect(corpus.fingerprint() if world.size > 1 else ""))) > 1:
        counts = ", ".join(map(str, world.collect(len(corpus))))
        world.agree(DeloresError(f"the processes see different data ({counts} clips): give all of them the same files"))
