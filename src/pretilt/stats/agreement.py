"""Agreement of forecast and observed shifts: a signed R² and the ceilings that their noise puts on it.

The observed shift is noisy. If the forecast were the truth itself, R² would still be only rel_y, the reliability of the
observed shifts: the correlation of two halves of the prompts, stepped up to all of them (Spearman 1910, Brown 1910).
The forecast is noisy as well, since the data are finite: with the right law, R² is about rel_x · rel_y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

ENOUGH_CEILING = 0.5  # a forecast is not called failed below it: nothing could have succeeded
View = Callable[[np.ndarray], np.ndarray]  # linear; [..., M] -> [..., n]


@dataclass(frozen=True)
class Figure:
    """A signed R² and what bounds it; NaN where undefined (a forecast or an observation without any spread)."""

    r2: float  # sign(r) · r², in [-1, 1]
    rel_y: float  # in [0, 1], reliability of the observed shifts: the ceiling of r2 for a perfect forecast
    rel_x: float  # in [0, 1], reliability of the forecast between halves of the data; NaN if not known
    n: int  # concepts (cells) that it is over

    @property
    def reachable(self) -> float:
        """rel_x · rel_y, what the right law would reach from so much data; NaN if rel_x is not known."""
        return self.rel_x * self.rel_y

    @property
    def of_ceiling(self) -> float:
        """r2 / rel_y; NaN where nothing is reliable. Above 1 by chance only."""
        return self.r2 / self.rel_y if self.rel_y > 0 else float("nan")

    @property
    def can_fail(self) -> bool:
        """A low r2 is a failure of the forecast, not of the evaluation."""
        return self.rel_y >= ENOUGH_CEILING


@dataclass(frozen=True)
class Evidence:
    """A forecast and an observation with their halves; what every figure is computed from.

    Halves are [splits, M] twice; `x_halves` None: the forecast's reliability is not known.
    """

    predicted: np.ndarray  # float64 [M]
    observed: np.ndarray  # float64 [M]
    y_halves: tuple[np.ndarray, np.ndarray]
    x_halves: tuple[np.ndarray, np.ndarray] | None = None

    def figure(self, view: View = lambda v: v) -> Figure:
        """Signed R² and ceilings after the same linear view of everything (scaled, residualised, a subset)."""
        x, y = view(self.predicted), view(self.observed)
        rel_x = float("nan") if self.x_halves is None else reliability(*map(view, self.x_halves))
        return Figure(signed_square(correlation(x, y)), reliability(*map(view, self.y_halves)), rel_x, int(x.size))


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson along the last axis, broadcasting the others; NaN where either has no spread."""
    x, y = centred(x, -1), centred(y, -1)
    xx, yy = (np.einsum("...m,...m->...", v, v) for v in (x, y))
    has_spread = (xx > 0) & (yy > 0)
    r = np.einsum("...m,...m->...", x, y) / np.where(has_spread, np.sqrt(xx) * np.sqrt(yy), 1.0)
    return np.asarray(np.where(has_spread, np.clip(r, -1.0, 1.0), np.nan))


def centred(values: np.ndarray, axis: int) -> np.ndarray:
    """Values minus their mean along an axis; exactly 0 where that is rounding, so that a constant has no spread."""
    mean = values.mean(axis=axis, keepdims=True)
    deviations = values - mean
    return np.asarray(np.where(np.abs(deviations) > 1e-13 * np.abs(mean), deviations, 0.0))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank."""
    return float(correlation(rankdata(x), rankdata(y)))


def signed_square(r: np.ndarray | float) -> float:
    """sign(r) · r²."""
    return float(np.sign(r) * np.square(r))


def reliability(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman-Brown, 2 r / (1 + r), of the mean correlation r of halves [splits, M]; 0 where r is not positive.

    The share of the variance (over concepts) of the full measurement that is not noise, in [0, 1]. NaN where no split
    has any spread.
    """
    return stepped_up(correlation(a, b))


def stepped_up(r: np.ndarray) -> float:
    """Spearman-Brown of the mean of the correlations of halves that are known; see `reliability`."""
    if not np.isfinite(r).any():
        return float("nan")
    mean = float(np.nanmean(r))
    return 2 * mean / (1 + mean) if mean > 0 else 0.0


def residualised(x: np.ndarray) -> View:
    """The view that gives a vector's residual, [..., M], of a linear fit on a constant and the columns of x [M, k]."""
    basis = np.linalg.svd(np.column_stack([np.ones(len(x)), _scaled(x)]), full_matrices=False)
    q = basis[0][:, basis[1] > 1e-10 * basis[1][0]]

    def view(v: np.ndarray) -> np.ndarray:
        residual = v - (v @ q) @ q.T
        size, residual_size = (np.linalg.norm(vector, axis=-1, keepdims=True) for vector in (v, residual))
        # a vector that the columns span has residual 0, not its rounding error
        return np.asarray(np.where(residual_size > 1e-10 * size, residual, 0.0))

    return view


def _scaled(x: np.ndarray) -> np.ndarray:
    size = np.abs(x).max(axis=0)
    return np.asarray(x / np.where(size > 0, size, 1.0))
