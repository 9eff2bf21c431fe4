"""The linear layer as scikit-learn's logistic regression: its optimum, where ``linear`` takes steps towards it."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from benchmarks.scoring.choice import best_of
from benchmarks.scoring.fitting import activate, logit_loss
from benchmarks.scoring.fold import Fold
from benchmarks.scoring.rows import Rows
from benchmarks.scoring.work import Fitted

__all__ = ["C_GRID", "fit_logistic", "train_logistic"]

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
MAX_ITERATIONS = 1000
NEVER = 1e4  # the logit of a label that all training rows hold, or (negative) that none does


def fit_logistic(
    x: np.ndarray, targets: np.ndarray, strength: float, prediction_type: str
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Weight (n_labels, d) and bias (n_labels,) float32 of LogisticRegression(C=strength), and whether it converged.

    Multiclass: multinomial over the classes that occur. Multilabel: one binary regression per label.

    Args:
        x: (n, d) float32 standardised rows.
        targets: (n, n_labels) of 0 and 1.
    """
    from sklearn.exceptions import ConvergenceWarning  # half a second to import: not for every command
    from sklearn.linear_model import LogisticRegression

    weight = np.zeros((targets.shape[1], x.shape[1]), dtype=np.float32)
    bias = np.full(targets.shape[1], -NEVER, dtype=np.float32)
    converged = True
    if prediction_type == "multiclass":
        problems = [(np.unique(targets.argmax(axis=1)), targets.argmax(axis=1))]
    else:
        problems = [(np.array([label]), targets[:, label].astype(np.int64)) for label in range(targets.shape[1])]
    for labels, y in problems:
        if len(np.unique(y)) == 1:
            bias[labels] = NEVER if prediction_type == "multiclass" or y[0] else -NEVER
            continue
        model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said in the record
            model.fit(x, y)
        converged &= bool((model.n_iter_ < MAX_ITERATIONS).all())
        if len(model.coef_) == len(labels):
            weight[labels], bias[labels] = model.coef_, model.intercept_
        else:  # two classes, fitted as one sigmoid: the softmax of (0, logit)
            weight[labels] = np.concatenate([np.zeros_like(model.coef_), model.coef_])
            bias[labels] = [0.0, model.intercept_[0]]
    return weight, bias, converged


def train_logistic(fold: Fold[Rows], moments: tuple[torch.Tensor, torch.Tensor]) -> Fitted:
    """The logistic regression whose C, of ``C_GRID``, is best on the validation rows, as a LinearHead's state.

    ``moments`` are mean and scale (d,) of the training rows. Fitted on the CPU, the rows held in memory.
    """
    x, y = fold.train.standardised(*moments), fold.train.targets.cpu().numpy()
    valid = torch.from_numpy(fold.valid.standardised(*moments))
    points, losses = [], []
    for strength in C_GRID:
        weight, bias, converged = fit_logistic(x, y, strength, fold.prediction_type)
        state = {"linear.weight": torch.from_numpy(weight), "linear.bias": torch.from_numpy(bias)}
        logits = torch.nn.functional.linear(valid, state["linear.weight"], state["linear.bias"])
        score, chosen = fold.validator.select(activate(logits, fold.prediction_type))
        losses.append(float(logit_loss(logits, fold.valid.targets.cpu(), fold.prediction_type)))
        points.append(
            Fitted(
                key=fold.key,
                validation_score=score,
                postprocessing=chosen,
                hyperparameters={"C": strength, "converged": converged},
                state={**state, "mean": moments[0], "scale": moments[1]},
            )
        )
    return best_of(points, losses, fold.maximise)
