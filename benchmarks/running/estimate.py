"""What a run would do, and what it would cost on this machine: hours, memory and disk for each model and task.

The model and the steps of heads are timed here for a few seconds (:mod:`.calibration`); the rest is counted. How many
epochs a head trains is not known before: it ends early, and :data:`BEST_EPOCH` stands for when it is best.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.embedding.embed import BATCH_SECONDS
from benchmarks.embedding.model import LoadedModel, load_model
from benchmarks.embedding.spec import ModelSpec, tell_apart
from benchmarks.embedding.stored import DONE_FILE
from benchmarks.perturbing.perturbation import Perturbation, parse_perturbations
from benchmarks.results.format import ResultRecord
from benchmarks.results.record import load_records
from benchmarks.running.calibration import (
    ModelSpeed,
    head_seconds,
    judging_seconds,
    linear_seconds,
    model_speed,
    product_rate,
    reading_seconds,
)
from benchmarks.running.workload import Workload
from benchmarks.scoring.hear.grid import grid_configs
from benchmarks.scoring.protocols import find_protocol, make_protocol
from benchmarks.scoring.rows import IN_MEMORY_BYTES
from hear_delores.memory import available_bytes

__all__ = ["Estimate", "Plan", "estimate_run"]

#: The protocols whose cost is estimated.
ESTIMATED = ("hear", "linear", "knn")
#: The epoch (from 0) at which a head of protocol hear is taken as best where the grid allows so many; then it trains
#: for its patience more. A guess: heads of the demo tasks under two encoders were best at epochs from 2 to 113.
BEST_EPOCH = 60
#: Rows of a step that are timed; between them, and beyond, the cost is a straight line.
STEP_ROWS = (128, 1024)
#: A forward pass of a row beside a step of training on it: two of its three products are of the gradients.
FORWARD = 1 / 3
#: Bytes of a label with a clip's name or time, as the layout's JSON and pickle hold it; of a predicted score.
LABEL_BYTES, PREDICTION_BYTES = 60, 4


@dataclass(frozen=True)
class Estimate:
    """One model on one task: seconds, bytes, and what of it is there already.

    Attributes:
        embedding_s, scoring_s: that are to be done; 0 for what is done.
        memory_bytes: that the process holds at most.
        disk_bytes: that are to be written.
        there: whether the task folder is there.
        embedded: whether it has been embedded.
        scored, records: how many records there are, of how many.
    """

    model: str
    work: Workload
    embedding_s: float
    scoring_s: float
    memory_bytes: int
    disk_bytes: int
    embedded: bool
    scored: int
    records: int

    @property
    def there(self) -> bool:
        """Whether the task folder is there."""
        return self.work.path is not None

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.scored == self.records:
            return "done"
        begun = "embedded" if self.embedded else "to do"
        return f"{begun}, {self.scored} of {self.records} scored" if self.scored else begun if self.there else "to get"


@dataclass(frozen=True)
class Plan:
    """All of a run: the estimates in the order of models and tasks, and what is free on this machine.

    Attributes:
        unknown: protocols whose cost is not estimated; they count as nothing.
    """

    estimates: list[Estimate]
    device: str
    free_memory: int | None
    free_disk: int
    unknown: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of everything that is to be done, one job after the other."""
        return sum(item.embedding_s + item.scoring_s for item in self.estimates)


def estimate_run(
    models: Sequence[ModelSpec | str],
    work_of: Any,
    out: str | Path = "runs",
    *,
    protocols: Sequence[str] = ("hear",),
    seeds: Sequence[int] = (42,),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    batch_seconds: float | None = None,
    force: bool = False,
    perturb: Sequence[str] = (),
    perturb_seed: int = 0,
) -> Plan:
    """The plan of ``run`` with the same arguments; nothing is embedded or scored.

    What is done is told by names, weights and options of what is in ``out``; that a task has changed since is seen
    when the run begins.

    Args:
        work_of: called with a model's sample rate in Hz; the :class:`~benchmarks.running.workload.Workload` of each
            task.

    Raises:
        DeloresError: a model cannot be loaded, or a protocol or an option is not known.
    """
    chosen = [
        make_protocol(find_protocol(name), seed, (options or {}).get(name, {})) for name in protocols for seed in seeds
    ]
    perturbations = parse_perturbations(perturb, perturb_seed)
    results = Path(out) / "results"
    records = load_records([results]) if results.is_dir() else []
    found = []
    where = device
    for spec in tell_apart([ModelSpec.parse(model) if isinstance(model, str) else model for model in models]):
        model = load_model(spec, device=device)
        where = model.device
        one = _OfModel(model, chosen, Path(out), records, batch_seconds or BATCH_SECONDS, force, perturbations)
        found += [one.estimate(work) for work in work_of(model.sample_rate)]
    at = next(path for path in (Path(out).absolute(), *Path(out).absolute().parents) if path.exists())
    return Plan(
        found, where, available_bytes(), shutil.disk_usage(at).free, tuple(sorted(set(protocols) - set(ESTIMATED)))
    )


class _OfModel:
    """The estimates of one loaded model; each kind of embedding is timed once."""

    def __init__(
        self, model: LoadedModel, protocols: Sequence[Any], out: Path, records: Iterable[ResultRecord],
        batch_seconds: float, force: bool, perturbations: Sequence[Perturbation],
    ) -> None:  # fmt: skip
        self.model, self.protocols, self.out, self.perturbations = model, protocols, out, perturbations
        self.batch_seconds, self.force = batch_seconds, force
        self.device = "cpu" if model.kind == "tensorflow" else model.device
        self.speeds: dict[bool, ModelSpeed] = {}
        self.done = {
            (f"{record.task.name}-{record.task.version}-{record.task.mode}", record.protocol.name, record.seed): record
            for record in records
            if record.model.weights_hash == model.weights_hash and record.model.label == model.spec.label
        }

    def estimate(self, work: Workload) -> Estimate:
        if work.is_event not in self.speeds:
            self.speeds[work.is_event] = model_speed(self.model, work.is_event, self.batch_seconds)
        speed = self.speeds[work.is_event]
        embedded = self._is_embedded(self.out / "embeddings", work)
        fits = [protocol for protocol in self.protocols if protocol.takes_events or not work.is_event]
        missing = [protocol for protocol in fits if self.force or not self._is_done(work, protocol)]
        embedding, disk = 0.0, 0.0
        per_clip = work.clip_s * speed.frames_per_s if work.is_event else 1.0
        tested = sum(test for _, _, test in work.folds())
        folders = [self.out / "perturbed" / each.folder_name for each in self.perturbations]
        clips = tested * sum(not self._is_embedded(folder, work) for folder in folders)
        clips += 0 if embedded else work.n_clips
        if missing and clips:
            reading = clips * reading_seconds(work, self.model.sample_rate)
            computing = speed.seconds(clips, clips * work.clip_s)
            embedding = max(computing, reading / 2) if self.device.startswith("cuda") else computing + reading
            disk += clips * per_clip * (4 * speed.size + LABEL_BYTES)
        predicted = len(missing) * (1 + len(folders)) * tested * per_clip
        disk += predicted * (work.labels * PREDICTION_BYTES + LABEL_BYTES)
        scoring = sum(self._scoring_s(work, protocol, speed.size, per_clip) for protocol in missing)
        rows_bytes = min(work.n_clips * per_clip * 4 * speed.size, 3 * IN_MEMORY_BYTES)
        batch = max(self.batch_seconds, work.clip_s) * speed.bytes_per_s
        memory = speed.base_bytes + int(max(batch, 2 * rows_bytes)) if missing else 0
        return Estimate(
            self.model.spec.label, work, embedding, scoring, memory, int(disk), embedded,
            len(fits) - len(missing), len(fits),
        )  # fmt: skip

    def _is_embedded(self, folder: Path, work: Workload) -> bool:
        return not self.force and (folder / self.model.folder_name / work.folder_name / DONE_FILE).exists()

    def _is_done(self, work: Workload, protocol: Any) -> bool:
        record = self.done.get((work.folder_name, protocol.name, protocol.seed))
        wanted = {each.name for each in self.perturbations}
        if record is None or not wanted.issubset(each.name for each in record.perturbed):
            return False
        return all(record.protocol.options.get(name, value) == value for name, value in vars(protocol).items())

    def _scoring_s(self, work: Workload, protocol: Any, size: int, per_clip: float) -> float:
        """Of all folds under one protocol and seed."""
        folds = [tuple(max(1, round(clips * per_clip)) for clips in fold) for fold in work.folds()]
        hop_ms = 1000 * work.clip_s / per_clip
        if protocol.name == "hear":
            return sum(self._hear_s(work, protocol, size, folds, hop_ms))
        seconds = 0.0
        for train, valid, test in folds if protocol.name in ESTIMATED else ():
            judging = judging_seconds(work, valid, hop_ms)
            if protocol.name == "linear":
                rows = min(protocol.batch_size, train)
                step = linear_seconds(size, work.labels, rows, self.device)
                steps = train / rows + FORWARD * valid / rows
                seconds += protocol.max_epochs * (steps * step + judging)
            else:  # every test and validation row against every training row, for two distances
                seconds += 2 * (valid + test) * train * 2 * size / product_rate("cpu") + 12 * judging
        return seconds

    def _hear_s(
        self, work: Workload, protocol: Any, size: int, folds: Sequence[tuple[int, ...]], hop_ms: float
    ) -> Iterator[float]:
        """Of the grid on the first fold, and of the best point on the others: their mean."""
        configs = grid_configs(work.metadata, protocol.grid, protocol.grid_points)
        cores = torch.get_num_threads() if self.device == "cpu" else 1
        kind = str(work.metadata["prediction_type"])
        for number, (train, valid, _) in enumerate(folds):
            heads = []
            for config in configs:
                epochs = min(config.max_epochs, BEST_EPOCH + config.patience * config.check_val_every_n_epoch)
                of_rows = [
                    head_seconds(size, work.labels, config, rows, kind, protocol.precision, self.device)
                    for rows in STEP_ROWS
                ]
                per_row = max(0.0, (of_rows[1] - of_rows[0]) / (STEP_ROWS[1] - STEP_ROWS[0]))
                fixed = max(0.0, of_rows[0] - per_row * STEP_ROWS[0])
                batches = -(-train // config.batch_size)
                validations = epochs / config.check_val_every_n_epoch
                once = FORWARD * per_row * valid + judging_seconds(work, valid, hop_ms)
                heads.append(epochs * (batches * fixed + train * per_row) + validations * once)
            n = len(configs) if number == 0 else len(folds) - 1
            mean = sum(heads) / len(heads)
            # Heads side by side: no faster than the longest.
            yield max(sum(heads) / min(cores, n), max(heads)) if number == 0 else mean / min(cores, n)
