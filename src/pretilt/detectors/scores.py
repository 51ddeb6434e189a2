"""How well scores tell two sorts apart: area under the ROC curve, average precision, and F1 at a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Judged:
    """On families that neither the weights nor the threshold have seen; NaN where one of the two sorts is missing."""

    auroc: float
    average_precision: float
    f1: float
    threshold: float  # a score that reaches it is called positive
    validation_average_precision: float
    n_positive: int
    n_negative: int


def auroc(scores: np.ndarray, label: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half, in [0, 1]; NaN without one of them."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, scores)) if label.any() and not label.all() else float("nan")


def average_precision(scores: np.ndarray, label: np.ndarray) -> float:
    """Mean precision over the positives, each at its own score, in [0, 1]; NaN without a positive."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(label, scores)) if label.any() else float("nan")


def f1_at(scores: np.ndarray, label: np.ndarray, threshold: float) -> float:
    """2 · true positives / (called positive + positives) of calling what reaches the threshold; 0 where all are 0."""
    called = scores >= threshold
    total = int(called.sum()) + int(label.sum())
    return 2.0 * int((called & label).sum()) / total if total else 0.0


def best_threshold(scores: np.ndarray, label: np.ndarray) -> float:
    """The threshold of highest F1: half-way to the next lower score. Of equal ones the highest. Needs a positive."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    hits = np.cumsum(label[order])
    ends = np.append(ordered[1:] != ordered[:-1], True)  # equal scores are called together
    f1 = np.where(ends, 2.0 * hits / (np.arange(1, ordered.size + 1) + label.sum()), -1.0)

    best = int(np.argmax(f1))
    lower = ordered[best + 1] if best + 1 < ordered.size else ordered[best]
    middle = np.float32((float(ordered[best]) + float(lower)) / 2)
    return float(middle) if lower < middle <= ordered[best] else float(ordered[best])


def judge(
    validation: np.ndarray, validation_label: np.ndarray, heldout: np.ndarray, heldout_label: np.ndarray
) -> Judged:
    """Figures of held-out scores at the threshold that is best on the validation scores; float and bool [n] each."""
    threshold = best_threshold(validation, validation_label)
    return Judged(
        auroc=auroc(heldout, heldout_label),
        average_precision=average_precision(heldout, heldout_label),
        f1=f1_at(heldout, heldout_label, threshold),
        threshold=threshold,
        validation_average_precision=average_precision(validation, validation_label),
        n_positive=int(heldout_label.sum()),
        n_negative=int((~heldout_label).sum()),
    )
