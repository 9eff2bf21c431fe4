"""What a record holds of perturbed test clips, read as records in their own right: for every statistic of a record."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.results.format import PerturbedResult, ResultRecord
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["as_perturbed", "perturbations_of"]


def as_perturbed(record: ResultRecord, name: str) -> ResultRecord:
    """The record as if its test clips had been perturbed by ``name``: scores, folds and saved predictions are of those.

    Raises DeloresError where the record does not know that perturbation.
    """
    found = _result(record, name)
    folds = [
        fold.model_copy(update={"scores": own.scores, "loss": own.loss})
        for fold, own in zip(record.folds, found.folds, strict=True)
    ]
    view = record.model_copy(
        update={
            "scores": found.scores, "scores_std": found.scores_std, "folds": folds, "perturbed": [],
            "embeddings_hash": found.embeddings_hash,
        }
    )  # fmt: skip
    view._folder, view._perturbation = record.folder, name
    return view


def _result(record: ResultRecord, name: str) -> PerturbedResult:
    known = {each.name: each for each in record.perturbed}
    if name not in known:
        raise DeloresError(
            f"{record.folder or 'the result in memory'}: it was not tested under {name!r}. {did_you_mean(name, known)}"
        )
    return known[name]


def perturbations_of(records: Iterable[ResultRecord]) -> list[str]:
    """The names of all perturbations that some record was tested under, in the order of the records."""
    return list(dict.fromkeys(each.name for record in records for each in record.perturbed))
