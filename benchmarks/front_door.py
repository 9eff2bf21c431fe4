"""Embed and score from Python: the functions behind the commands of the same names, in one example with the others.

>>> import tempfile, pathlib, numpy, soundfile, benchmarks
>>> from benchmarks.tasks.corpora import labels_csv
>>> folder = tempfile.TemporaryDirectory()
>>> home, lines = pathlib.Path(folder.name), ["file,label,split"]
>>> for number in range(18):
...     tone = numpy.sin(numpy.arange(8000) * (0.1, 0.3)[number % 2] * (1 + number / 100))
...     soundfile.write(home / f"{number}.wav", 0.1 * tone, 16000)
...     lines.append(f"{number}.wav,{('low', 'high')[number % 2]},{('train', 'valid', 'test')[number // 2 % 3]}")
>>> _ = (home / "labels.csv").write_text("\\n".join(lines))
>>> task = benchmarks.load_task(labels_csv.prepare(home / "labels.csv", home / "tasks", "tones").path)
>>> def measure(model):
...     embedded = benchmarks.embed(model, task, home / "embeddings", device="cpu")
...     return benchmarks.score(embedded, "knn", results_dir=home / "results")
>>> one, other = measure("log-mel"), measure("random")
>>> one.task.primary_metric, one.primary_score
('top1_acc', 1.0)
>>> frame = benchmarks.load_results(home / "results")
>>> sorted(set(frame.label)), len(frame[frame.primary])
(['log-mel', 'random'], 2)
>>> found = benchmarks.compare(one, other)
>>> found.label_a.split()[0], [row.n_clips for row in found.tasks]
('log-mel', [6])
>>> print(str(benchmarks.tables(home / "results")).splitlines()[0])
### Protocol: knn
>>> folder.cleanup()
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.embedding.embed import BATCH_SECONDS, EmbedSummary, Progress, embed_task
from benchmarks.embedding.model import LoadedModel, ModelSpec, load_model
from benchmarks.results.format import ResultRecord
from benchmarks.scoring.fold import Progress as HeadProgress
from benchmarks.scoring.score import score_embeddings
from benchmarks.tasks.find import load_task
from benchmarks.tasks.folder import TaskFolder

__all__ = ["embed", "score"]


def embed(
    model: LoadedModel | ModelSpec | str,
    task: TaskFolder | str | Path,
    embeddings_dir: str | Path = "embeddings",
    *,
    needs: str = "scene",
    batch_seconds: float | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> EmbedSummary:
    """The embeddings of every clip of a task, on disk in heareval's layout; those that are there are kept.

    Args:
        model: as on the command line, such as ``hear_delores`` or ``hf:ORG/NAME?layer=6``, or one that is loaded.
        task: a task folder, its path, or the name of one in the folder ``tasks``.
        needs: ``scene`` embeddings of clips, or all their ``timestamps`` (for the protocols attentive and prototype).
        batch_seconds: bounds the audio of one call of the model. Default: 120 s.
        device: of a model that is not yet loaded.
        skip_bad: leave out clips whose audio cannot be used, and list them.
        force: embed again whatever is there.
        progress: called with the number of clips done and their total.

    Raises:
        DeloresError: see :func:`~benchmarks.embedding.embed.embed_task`.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model, device=device)
    folder = task if isinstance(task, TaskFolder) else load_task(task)
    bound = BATCH_SECONDS if batch_seconds is None else batch_seconds
    return embed_task(
        loaded, folder, embeddings_dir,
        needs=needs, batch_seconds=bound, skip_bad=skip_bad, force=force, progress=progress,
    )  # fmt: skip


def score(
    embeddings: EmbedSummary | str | Path,
    protocol: str = "hear",
    *,
    results_dir: str | Path = "results",
    seed: int = 42,
    device: str = "cpu",
    progress: HeadProgress | None = None,
    on_wait: Callable[[], None] | None = None,
    **options: Any,
) -> ResultRecord:
    """The result record of one embedded task under a protocol, saved under ``results_dir``; one that exists is read.

    Args:
        embeddings: a folder of ``embed`` or of heareval, or what :func:`embed` returned.
        progress: called as progress(done, total, text) after each head.
        on_wait: called when another process is making this record, before waiting for it.
        options: of the protocol, such as ``grid_points=2`` or ``shots=5``; see
            :func:`~benchmarks.scoring.score.score_embeddings`.

    Raises:
        DeloresError: for a folder that cannot be scored, or an unknown protocol or option.
    """
    path = embeddings.path if isinstance(embeddings, EmbedSummary) else embeddings
    return score_embeddings(
        path, protocol=protocol, results_dir=results_dir, seed=seed, device=device, progress=progress,
        on_wait=on_wait, **options,
    )  # fmt: skip
