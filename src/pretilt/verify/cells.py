"""The same test for prompt-conditioned forecasts: one number per (set of prompts, concept).

Most of what such cells have in common is that a concept moves everywhere. Only the part *within* concepts, the cells
minus their concept's mean, shows that a forecast knows in which context. Like is compared with like: the mean inside
with the shift inside, or in - out with in - out; mixing them gives an R² of 0 by construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pretilt.stats.agreement import Figure, View, centred, correlation, signed_square, stepped_up
from pretilt.verify.observed import SPLITS, Observed

Contrast = Literal["inside", "in-out"]
MIN_PROMPTS = 4  # sets of fewer evaluation prompts are left out: their halves would be empty too often


@dataclass(frozen=True)
class CellJudgement:
    """Figures over all cells, and their two parts. R² are signed."""

    overall: Figure
    between: Figure  # means of the concepts over the sets: what is known without any context
    within: Figure  # cells minus the mean of their concept: what is known of the context
    share_within: float  # of the observed cells' variance, noise included, in [0, 1]
    is_judged: np.ndarray  # bool [K], sets with enough evaluation prompts


def cell_shifts(
    observed: Observed, members: Sequence[np.ndarray], contrast: Contrast, unit_weight: np.ndarray | None = None
) -> np.ndarray:
    """[K, M] realised shift of every concept on each set of prompts (rows of `observed.shift`), or in - out.

    `unit_weight` [n_units] reweights units of prompts. NaN where no weight is left inside, or outside for "in-out".
    """
    weight = np.ones(len(observed.shift)) if unit_weight is None else unit_weight[observed.unit]
    all_sum, all_weight = weight @ observed.shift, float(weight.sum())
    shifts = np.full((len(members), observed.shift.shape[1]), np.nan)
    for k, rows in enumerate(members):
        inside, total = weight[rows], float(weight[rows].sum())
        rest_weight = all_weight - total
        if total <= 0 or (contrast == "in-out" and rest_weight <= 0):
            continue
        of_set = inside @ observed.shift[rows]
        shifts[k] = of_set / total - ((all_sum - of_set) / rest_weight if contrast == "in-out" else 0.0)
    return shifts


def judge_cells(
    predicted: np.ndarray,
    observed: Observed,
    members: Sequence[np.ndarray],
    contrast: Contrast,
    *,
    predicted_halves: tuple[np.ndarray, np.ndarray] | None = None,
    splits: int = SPLITS,
    seed: int = 0,
) -> CellJudgement:
    """Compare forecasts [K, M], which must be of the same `contrast`, with what was observed on each set of prompts.

    members: K arrays of rows of `observed.shift`, distinct within a set; sets may overlap. predicted_halves:
    [splits, K, M] twice, for rel_x. Where a split leaves a set without prompts on one side, the ceiling is over the
    other sets. Raises ValueError if no set has enough prompts, or a forecast is not finite.
    """
    enough = [
        rows.size >= MIN_PROMPTS and (contrast == "inside" or rows.size < len(observed.shift)) for rows in members
    ]
    is_judged = np.array(enough, bool)
    if not is_judged.any():
        raise ValueError(f"no set has {MIN_PROMPTS} evaluation prompts, and a rest where one is asked for")
    rows = [set_rows for set_rows, keep in zip(members, is_judged, strict=True) if keep]
    x, y = predicted[is_judged], cell_shifts(observed, rows, contrast)
    if not np.isfinite(x).all():
        raise ValueError("every cell needs a finite forecast")
    y_halves = tuple(
        np.stack([cell_shifts(observed, rows, contrast, weight) for weight in weights])
        for weights in observed.half_weights(splits, seed)
    )
    x_halves = (
        None if predicted_halves is None else (predicted_halves[0][:, is_judged], predicted_halves[1][:, is_judged])
    )

    def figure(part: View) -> Figure:
        rel_x = float("nan") if x_halves is None else _reliability(*x_halves, part)
        r2 = signed_square(correlation(part(x), part(y)))
        return Figure(r2, _reliability(y_halves[0], y_halves[1], part), rel_x, int(part(x).size))

    deviations = y - y.mean()
    inside = y - y.mean(axis=0)
    total = float(np.einsum("km,km->", deviations, deviations))
    return CellJudgement(
        overall=figure(np.ravel),
        between=figure(lambda v: v.mean(axis=0)),
        within=figure(lambda v: centred(v, 0).ravel()),
        share_within=float(np.einsum("km,km->", inside, inside)) / total if total > 0 else float("nan"),
        is_judged=is_judged,
    )


def _reliability(a: np.ndarray, b: np.ndarray, part: View) -> float:
    """Of halves [splits, K, M]; in each split over the sets that have prompts on both sides."""
    both = np.isfinite(a).all(axis=2) & np.isfinite(b).all(axis=2)
    correlations = [
        correlation(part(x[in_both]), part(y[in_both]))
        for x, y, in_both in zip(a, b, both, strict=True)
        if in_both.any()
    ]
    return stepped_up(np.array(correlations))
