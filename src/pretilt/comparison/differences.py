"""The difference of two means over rows that may belong together, with its error.

Of a concept with scores u, unit g contributes to the difference

    D_g = sum over its rows of the second run (u - mean) / n  -  the same of the first,

and the difference of the means has the variance G / (G - 1) · sum of D_g² over the G units. Rows that both runs hold
cancel; of two runs without a common prompt it is the sum of both variances. The test refers difference / error to
Student's t with 2 G / (kurtosis of D - 1) degrees of freedom, the number by moments: where few units carry a concept
its error is itself uncertain, and the normal law would call chance a difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.sparse import csr_array

from pretilt.comparison.linked import Linked
from pretilt.stats.clustered import mean_errors


@dataclass(frozen=True)
class Differences:
    """Per concept, float64 [M]; `error` and `p_value` are NaN where fewer than two units hold a row."""

    first: np.ndarray
    second: np.ndarray
    first_error: np.ndarray  # standard error of `first` alone
    second_error: np.ndarray
    error: np.ndarray  # of second - first
    p_value: np.ndarray  # two-sided, of no difference; 1 where nothing differs

    @property
    def difference(self) -> np.ndarray:
        """Second less first."""
        return self.second - self.first


def differences(first: np.ndarray, second: np.ndarray, linked: Linked) -> Differences:
    """Means of the columns of `first` [n1, M] and `second` [n2, M] and their difference; rows belong to units."""
    n_units = linked.n_units
    together = _by_unit(second, linked.second, n_units) - _by_unit(first, linked.first, n_units)
    error = _error(together, n_units)
    difference = second.mean(axis=0) - first.mean(axis=0)

    squares = together**2
    total = squares.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        kurtosis = n_units * (squares**2).sum(axis=0) / total**2
        freedom = np.clip(2 * n_units / np.maximum(kurtosis - 1, 1e-12), 1.0, max(n_units - 1, 1))
        p_value = 2 * stats.t.sf(np.abs(difference) / error, freedom)
    p_value = np.where(np.isnan(error), np.nan, np.where(total > 0, p_value, np.where(difference == 0, 1.0, np.nan)))

    return Differences(
        first.mean(axis=0),
        second.mean(axis=0),
        mean_errors(first, linked.first),
        mean_errors(second, linked.second),
        error,
        p_value,
    )


def _by_unit(scores: np.ndarray, units: np.ndarray, n_units: int) -> np.ndarray:
    """Sum over each unit of (u - mean) / n, float64 [n_units, M]."""
    rows = np.arange(len(scores))
    adder = csr_array((np.ones(rows.size), (units, rows)), shape=(n_units, rows.size))
    sums: np.ndarray = adder @ ((scores - scores.mean(axis=0)) / max(rows.size, 1))
    return sums


def _error(by_unit: np.ndarray, n_units: int) -> np.ndarray:
    if n_units < 2:
        return np.full(by_unit.shape[1], np.nan)
    error: np.ndarray = np.sqrt((by_unit**2).sum(axis=0) * n_units / (n_units - 1))
    return error
