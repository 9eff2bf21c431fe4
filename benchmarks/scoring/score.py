"""Embeddings folder in, result record out: ``score_embeddings``, the one entry to the protocols on embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.embedding.folder import EmbeddingsTask
from benchmarks.metrics.events import EventTable
from benchmarks.results.format import FoldPredictions, ModelInfo, ResultRecord
from benchmarks.results.identity import read_behaviour
from benchmarks.results.record import WORK_FOLDER, existing_record, record_folder
from benchmarks.scoring.fitting import as_device
from benchmarks.scoring.fold import Progress, ProtocolRun, TestedFold, run_folds
from benchmarks.scoring.perturbed_test import has_results, kept_results, open_perturbed, perturbed_results
from benchmarks.scoring.protocol import Protocol
from benchmarks.scoring.protocols import find_protocol, make_protocol
from benchmarks.scoring.record_maker import draft_record, finish_record, task_info
from benchmarks.scoring.work import WorkFolder
from hear_delores.errors import DeloresError
from hear_delores.files import remove_leftovers
from pretrain.locks import folder_lock

__all__ = ["score_embeddings"]


def score_embeddings(
    embeddings_task_dir: str | Path,
    *,
    protocol: str = "hear",
    results_dir: str | Path,
    seed: int = 42,
    device: str = "cpu",
    progress: Progress | None = None,
    overwrite: bool = False,
    on_wait: Callable[[], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
    perturbed: Mapping[str, str | Path] | None = None,
    **options: Any,
) -> ResultRecord:
    """The result record of one embedded task, saved under ``results_dir``; a record that exists is returned.

    Every finished head is kept until the record is written, so that the same call after an interruption
    goes on where it was, and ends with the same record but for times, memory and date.

    Args:
        embeddings_task_dir: a folder written by ``delores embed`` or by heareval.
        protocol: one of :data:`~benchmarks.scoring.protocols.PROTOCOLS`, such as ``hear`` or ``linear``.
        seed: of initialisation, dropout and shuffling.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        progress: called as progress(done, total, text) after each head.
        overwrite: score again although an identical record exists.
        on_wait: called when another process is making this record, before waiting for it.
        say: told what was measured to decide an option, and of a precision that costs time here.
        perturbed: folders with embeddings of perturbed test clips, by the name of the perturbation, such as
            ``noise:20``: the heads are tested on these, too. A record that lacks one is made again with the same heads.
        options: of the protocol: the fields of its class, such as :class:`~benchmarks.scoring.hear.protocol.Hear`;
            None leaves the default.

    Raises:
        DeloresError: for a folder that cannot be scored, or an unknown protocol or option.
    """
    began = time.perf_counter()
    chosen = make_protocol(find_protocol(protocol), seed, options)
    where = as_device(device)
    task = EmbeddingsTask.open(embeddings_task_dir)
    chosen.check(task)
    check_needs(chosen, task)
    tests = open_perturbed(task, perturbed or {})
    searched = None
    if chosen.search_seed is not None:  # its record is made first, if it is not there
        first = score_embeddings(
            embeddings_task_dir, protocol=protocol, results_dir=results_dir, seed=chosen.search_seed, device=device,
            progress=progress, on_wait=on_wait, **options,
        )  # fmt: skip
        searched = first.folds[0].hyperparameters
    model = _model_info(task)
    # A heareval folder says nothing of the audio: a hash of its metadata and labels stands in.
    revision = str((task.info.get("task") or {}).get("revision") or task.truth_hash)
    n_clips = sum(len(split.files) for split in task.splits.values())
    described = task_info(task, revision, n_clips, task.info.get("skipped"))
    inputs = [task.content_hash, model.weights_hash, revision]

    def draft_of(protocol: Protocol[Any]) -> ResultRecord:
        return draft_record(protocol, inputs, model, described, str(where), task.content_hash)

    begun = [each for each in chosen.settlements() if record_folder(results_dir, draft_of(each)).exists()]
    chosen = begun[0] if begun else chosen  # as an earlier run of the same has decided
    is_open = bool(chosen.settlements())
    existing = None if is_open or overwrite else existing_record(results_dir, draft_of(chosen))
    if existing is not None and has_results(existing, tests):
        return existing
    chosen, measured = chosen.settled(task, where)
    if measured:
        say(measured)
    draft = draft_of(chosen)
    folder = record_folder(results_dir, draft)
    with folder_lock(folder, "making this record", wait=True, on_wait=on_wait):
        existing = None if overwrite else existing_record(results_dir, draft)
        if existing is not None and has_results(existing, tests):
            return existing  # another process has made it meanwhile
        remove_leftovers(folder)
        with WorkFolder(folder / WORK_FOLDER, draft.fingerprint).begun() as work:
            run = run_folds(
                task, chosen, work, device=str(where), progress=progress, searched=searched, perturbed=tests
            )
        return _finished(draft, task, run, tests, existing, results_dir, work, began)


def _finished(
    draft: ResultRecord,
    task: EmbeddingsTask,
    run: ProtocolRun,
    tests: Mapping[str, EmbeddingsTask],
    before: ResultRecord | None,
    results_dir: str | Path,
    work: WorkFolder,
    began: float,
) -> ResultRecord:
    """The record of a run, saved with its predictions; ``before`` is the one that it replaces, if any."""
    found = _predictions(task, run.folds)
    return finish_record(
        draft, run, found, results_dir, work,
        source=task.path, began=began, embedding=task.info.get("seconds"),
        perturbed=[*kept_results(before, found, tests), *perturbed_results(run, tests)],
        perturbed_predictions={
            name: _predictions(other, [fold.perturbed[name] for fold in run.folds]) for name, other in tests.items()
        },
    )  # fmt: skip


def check_needs(protocol: Protocol[Any], task: EmbeddingsTask) -> None:
    """Raises DeloresError where the embeddings are not of the kind that the protocol needs."""
    found = "timestamps" if task.has_frames else "scene"
    if found != protocol.needs and not task.is_event:
        raise DeloresError(
            f"protocol {protocol.name} needs {protocol.needs} embeddings of clips, but {task.path} holds "
            f"{found} embeddings; make the others with 'delores embed --needs {protocol.needs}', or use 'delores run'"
        )


def _model_info(task: EmbeddingsTask) -> ModelInfo:
    """The model as ``delores embed`` described it; of a heareval folder only its name is known."""
    info = task.info.get("model") or {}
    name = task.path.resolve().parent.name
    known = {key: info[key] for key in ModelInfo.model_fields if info.get(key) is not None}
    known["behaviour"] = read_behaviour(known.get("behaviour"))
    return ModelInfo(**{"label": known.get("module", name), "module": name, **known})


def _predictions(task: EmbeddingsTask, folds: Sequence[TestedFold]) -> dict[str, FoldPredictions]:
    """What intervals, paired tests and error analysis need, by test split."""
    found = {}
    for fold in folds:
        [name] = fold.split_names["test"]
        split = task.splits[name]
        files = np.array(split.files, dtype=np.str_)[split.file_index]
        values: dict[str, Any] = {"prediction": fold.probabilities, "target": fold.targets, "files": files}
        if fold.events is not None and fold.truth is not None:
            order = list(dict.fromkeys([*fold.events.files, *fold.truth.files]))
            values["timestamps_ms"] = split.timestamps_ms
            values["event_files"] = np.array(order, dtype=np.str_)
            values["predicted_events"] = _event_rows(fold.events, order)
            values["target_events"] = _event_rows(fold.truth, order)
        found[name] = FoldPredictions(**values)
    return found


def _event_rows(table: EventTable, files: list[str]) -> np.ndarray:
    number = {file: i for i, file in enumerate(files)}
    own = np.array([number[file] for file in table.files], dtype=np.float64)
    return np.stack([own[table.file], table.label.astype(np.float64), table.start_ms, table.end_ms], axis=1)
