"""The README.md of a checkpoint on the Hub: metadata that the Hub reads, how to use the model, and its scores.

The metadata follows the Hub's model-card specification; ``huggingface_hub`` writes it. Its ``model-index`` has the
scores: one result for each task, with one metric for each of the task's metrics and each protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.reading.tables.plain import to_markdown
from benchmarks.reading.tables.table import comparison_tables
from benchmarks.results.format import ResultRecord
from hear_delores.checkpoint import weights_hash
from hear_delores.errors import DeloresError
from hear_delores.hub import LIBRARY, PREFIX, hub_library
from hear_delores.model import HearModel

__all__ = ["UNKNOWN_LICENCE", "model_card", "records_of"]

UNKNOWN_LICENCE = "unknown"
TAGS = ("audio", "hear-benchmark", "self-supervised", "audio-embedding")
#: The Hub's names of metrics, where they differ from ours.
HUB_METRICS = {"top1_acc": "accuracy"}
PAPERS = {
    "delores-s": "DeLoRes-S (Ghosh et al. 2022, [arXiv 2203.13628](https://arxiv.org/abs/2203.13628))",
    "delores-m": "DeLoRes-M (IEEE JSTSP 16(6), 2022, [doi 10.1109/JSTSP.2022.3202093]"
    "(https://doi.org/10.1109/JSTSP.2022.3202093))",
}


def records_of(model: HearModel, records: Iterable[ResultRecord]) -> list[ResultRecord]:
    """The records of this model: of its weights, with the scene, timestamp and precision of the checkpoint.

    Raises:
        DeloresError: there are records, and none is of these weights.
    """
    records, digest = list(records), weights_hash(model)
    own = [record for record in records if record.model.weights_hash == digest]
    if records and not own:
        others = sorted({f"{record.model.label} ({record.model.weights_hash[:8]})" for record in records})
        raise DeloresError(
            f"no result is of this checkpoint (weights {digest[:8]}); they are of {', '.join(others[:3])}: score it "
            "with `delores run hear_delores@CHECKPOINT`"
        )
    return own


def model_card(
    repository: str, model: HearModel, records: Sequence[ResultRecord] = (), *, licence: str = UNKNOWN_LICENCE
) -> str:
    """The text of the card.

    Args:
        repository: ORG/NAME.
        records: results. The table shows them all, baselines among them; the metadata has those of ``model`` alone.
        licence: of the weights, by the Hub's name for it, such as cc-by-4.0.

    Raises:
        DeloresError: huggingface_hub is not installed, no record is of the model, or no table can hold the records.
    """
    name = repository.rpartition("/")[2]
    library, own = hub_library(), records_of(model, records)
    scores: Mapping[str, Any] = {"model_name": name, "eval_results": _results(own)} if own else {}
    method = str(model.info["method"])
    data = library.ModelCardData(
        library_name=LIBRARY,
        pipeline_tag="feature-extraction",
        license=licence,
        tags=[*TAGS, *([method] if method in PAPERS else [])],
        **scores,
    )
    table = to_markdown(comparison_tables(records)) if records else "No result was given when this card was written.\n"
    return f"""---
{data.to_yaml()}
---

# {name}

An audio encoder pre-trained without labels by {PAPERS.get(method, method or "a method that is not recorded")}, with the
[HEAR common API](https://hearbenchmark.com/hear-api.html).

{_facts(model)}

## Use it

Audio is mono, float32 in [-1, 1], at {model.sample_rate:,} Hz.

```python
import hear_delores, torch

model = hear_delores.load_model("{PREFIX}{repository}")
audio = torch.zeros(1, {model.sample_rate})  # (n_sounds, n_samples): one second
scene = hear_delores.get_scene_embeddings(audio, model)  # (1, {model.scene_embedding_size})
frames, ms = hear_delores.get_timestamp_embeddings(audio, model)  # (1, n, {model.timestamp_embedding_size}), (1, n)
```

```sh
delores run {name}=hear_delores@{PREFIX}{repository} --tasks-dir tasks --protocol hear
```

## Scores

{_about(own)}{table}
## Pre-training

{_training(model)}
"""


def _results(records: Iterable[ResultRecord]) -> list[Any]:
    """The Hub's ``EvalResult`` for each task, protocol and metric: means over seeds, in the metrics' own units."""
    result = hub_library().EvalResult
    grouped: dict[tuple[str, str, str], list[tuple[ResultRecord, float]]] = {}
    for record in records:
        for metric, value in record.scores.items():
            key = record.task.folder_name, record.protocol.title, metric
            grouped.setdefault(key, []).append((record, float(value)))
    found = []
    for (folder, protocol, metric), values in grouped.items():
        first = values[0][0]
        seeds = f", mean of {len(values)} seeds" if len(values) > 1 else f", seed {first.seed}"
        part = f", on a subset: {first.task.subset}" if first.task.subset else ""
        found.append(
            result(
                task_type="audio-classification",
                task_name=f"{first.task.embedding_type} embeddings, {first.task.prediction_type}",
                dataset_type=folder,
                dataset_name=first.task.name,
                dataset_revision=first.task.revision,
                metric_type=HUB_METRICS.get(metric, metric),
                metric_name=f"{metric} (protocol {protocol}{seeds}{part})",
                metric_value=sum(value for _, value in values) / len(values),
            )
        )
    return found


def _facts(model: HearModel) -> str:
    encoder = model.encoder.config
    rows = {
        "encoder": f"AudioNTT, {encoder.n_parameters:,} parameters, width {encoder.embedding_size}",
        "input": f"{model.sample_rate:,} Hz mono, {model.frontend.config.n_mels} mel bands",
        "scene embedding": f"{model.scene_embedding_size:,} dimensions: {', '.join(model.scene)}",
        "timestamp embeddings": f"{model.timestamp_embedding_size:,} dimensions: {', '.join(model.timestamp)}",
        "weights": f"`{weights_hash(model)[:16]}` (SHA-256 of tensors and settings, as result records name them)",
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _about(own: Sequence[ResultRecord]) -> str:
    if not own:
        return ""
    versions = sorted({record.versions.get(LIBRARY, "?") for record in own})
    label = ", ".join(sorted({record.model.label for record in own}))
    return (
        f"Measured with {LIBRARY} {' and '.join(versions)}; the rows of this model are named {label}. "
        "Accuracies and the like are in per cent in the table, and from 0 to 1 in the metadata.\n\n"
    )


def _training(model: HearModel) -> str:
    data, step = model.info["data"], model.info["step"]
    facts = []
    if clips := data.get("clips"):
        hours = f", {data['hours']:,.2f} hours" if isinstance(data.get("hours"), (int, float)) else ""
        facts.append(f"{clips:,} clips of unlabelled audio{hours}.")
    if step:
        size = model.info["config"].get("batch_size")
        facts.append(f"{step:,} steps{f' of {size:,} crops' if isinstance(size, int) else ''}.")
    facts.append("The whole configuration is in `config.json`, and in the header of `model.safetensors`.")
    return " ".join(facts)
