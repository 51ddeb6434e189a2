"""A fair test of a forecast: predicted against realised shifts over a set of concepts that was fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pretilt.forecast.uncertainty import Interval
from pretilt.stats.agreement import Evidence, Figure, correlation, residualised, signed_square, spearman
from pretilt.stats.clustered import RESOLVED
from pretilt.verify.observed import SPLITS, Observed

DRAWS = 500
PERMUTATIONS = 1999  # smallest possible p: 1 / 2000
TOP_LEFT_OUT = 10
FEW_CONCEPTS = 3  # two points always lie on a line


@dataclass(frozen=True)
class Judgement:
    """Every figure over the same concepts, with its ceiling. R² are signed: sign(r) · r²."""

    overall: Figure
    spearman: float  # in [-1, 1]
    sign_accuracy: float  # share of the resolved concepts whose sign was forecast; no forecast (0) counts as wrong
    n_resolved: int  # concepts with |observed| > 2 standard errors; without any, sign_accuracy is NaN
    slope: float  # observed = intercept + slope · predicted; 1 = calibrated in size
    slope_lo: float  # 95 %, over redrawn prompts
    slope_hi: float
    mean_error: float  # mean |observed - scale · predicted| with one fitted scale
    mean_error_of_zero: float  # the same of the forecast that nothing moves
    without_top: Figure  # without the 10 concepts that speak most for the forecast
    permutation_p: float  # concepts exchanged at random: share of the R² that are as high, in [1 / 2000, 1]
    permutation_95: float  # signed R² that 5 % of them exceed
    nulls: dict[str, Figure]  # each null's own agreement with what was observed
    beyond_nulls: Figure | None  # partial R²: what is left of both once all nulls are regressed out
    standardised: Figure | None  # shifts over the spread of one answer's score; of a binary one it is sqrt(p (1 - p))
    per_prevalence: Figure | None  # shifts over the mean score, p of a binary one: no prevalence can help here
    coverage: dict[str, float]  # share of observed shifts inside each predictive interval


def judge(
    predicted: np.ndarray,
    observed: Observed,
    *,
    nulls: Mapping[str, np.ndarray] | None = None,
    prevalence: np.ndarray | None = None,
    spread: np.ndarray | None = None,
    intervals: Mapping[str, Interval] | None = None,
    predicted_halves: tuple[np.ndarray, np.ndarray] | None = None,
    splits: int = SPLITS,
    draws: int = DRAWS,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Judgement:
    """Compare a forecast [M] with what was observed.

    nulls: forecasts without skill [M] ("length", "prevalence"). prevalence: mean score [M] >= 0 of the untrained
    model's answers, spread: its standard deviation over them [M] >= 0; a concept at 0 is left out of the figure that
    divides by it, and of no other. intervals: `predictive` intervals
    by name. predicted_halves: [splits, M] twice, from `half_forecasts`, for rel_x. Raises ValueError if a forecast is
    not finite (the set of concepts is fixed: none may drop out), or for fewer than two units of prompts.
    """
    nulls = dict(nulls or {})
    for name, vector in {"forecast": predicted, **nulls}.items():
        if vector.shape != (observed.shift.shape[1],) or not np.isfinite(vector).all():
            raise ValueError(f"{name}: one finite number for each of the {observed.shift.shape[1]} concepts")
    y, se = observed.mean, observed.se
    halves = tuple(observed.under(weight) for weight in observed.half_weights(splits, seed))
    evidence = Evidence(predicted, y, (halves[0], halves[1]), predicted_halves)
    slopes = _slope(predicted, observed.under(observed.redrawn(draws, seed)))
    resolved = np.abs(y) > RESOLVED * se
    right = np.sign(predicted[resolved]) == np.sign(y[resolved])
    p, high = _permutation(predicted, y, permutations, seed)
    scale = _ratio(float(predicted @ y), float(predicted @ predicted))
    return Judgement(
        overall=evidence.figure(),
        spearman=spearman(predicted, y),
        sign_accuracy=float(right.mean()) if right.size else float("nan"),
        n_resolved=int(resolved.sum()),
        slope=float(_slope(predicted, y)),
        slope_lo=float(np.quantile(slopes, 0.025)),
        slope_hi=float(np.quantile(slopes, 0.975)),
        mean_error=float(np.abs(y - np.nan_to_num(scale) * predicted).mean()),
        mean_error_of_zero=float(np.abs(y).mean()),
        without_top=_without_top(evidence),
        permutation_p=p,
        permutation_95=high,
        nulls={name: Evidence(null, y, evidence.y_halves).figure() for name, null in nulls.items()},
        beyond_nulls=evidence.figure(residualised(np.column_stack(list(nulls.values())))) if nulls else None,
        standardised=None if spread is None else _in_units_of(spread, evidence),
        per_prevalence=None if prevalence is None else _in_units_of(prevalence, evidence),
        coverage={
            name: float(((y >= interval.lo) & (y <= interval.hi)).mean())
            for name, interval in (intervals or {}).items()
        },
    )


def r2_draws(predicted: np.ndarray, observed: Observed, seed: int = 0) -> np.ndarray:
    """Signed R² [draws] of forecasts drawn again [draws, M], each against redrawn prompts.

    Two forecasts with the same number of draws and seed meet the same prompts: the quantiles of the difference are an
    interval for how much better one of them is. The draws lie below the R² itself, since they are noisier.
    """
    r = correlation(predicted, observed.under(observed.redrawn(len(predicted), seed)))
    return np.asarray(np.sign(r) * np.square(r))


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope of y [..., M] on x [M] with an intercept; NaN for an x without spread."""
    centred = x - x.mean()
    square = float(centred @ centred)
    return np.asarray(y @ centred / square) if square > 0 else np.full(y.shape[:-1], np.nan)


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else float("nan")


def _in_units_of(unit: np.ndarray, evidence: Evidence) -> Figure:
    has_unit = unit > 0
    if np.count_nonzero(has_unit) < FEW_CONCEPTS:
        return Figure(float("nan"), float("nan"), float("nan"), int(np.count_nonzero(has_unit)))
    return evidence.figure(lambda v: v[..., has_unit] / unit[has_unit])


def _without_top(evidence: Evidence) -> Figure:
    """Without the concepts whose product of deviations adds most to the correlation (or takes most, if negative)."""
    x, y = (v - v.mean() for v in (evidence.predicted, evidence.observed))
    part = x * y * np.sign(x @ y)
    rest_of_concepts = np.sort(np.argsort(-part, kind="stable")[TOP_LEFT_OUT:])
    if rest_of_concepts.size < FEW_CONCEPTS:
        return Figure(float("nan"), float("nan"), float("nan"), int(rest_of_concepts.size))
    return evidence.figure(lambda v: v[..., rest_of_concepts])


def _permutation(x: np.ndarray, y: np.ndarray, permutations: int, seed: int) -> tuple[float, float]:
    """(one-sided p, 95 % quantile of the signed R²): a forecast that is right for no concept in particular."""
    actual = signed_square(correlation(x, y))
    if not np.isfinite(actual):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    null = np.array([signed_square(correlation(rng.permutation(x), y)) for _ in range(permutations)])
    as_high = np.count_nonzero(null >= actual - 1e-12)
    return (1 + as_high) / (1 + permutations), float(np.quantile(null, 0.95))
