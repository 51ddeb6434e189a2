"""Standard errors of means when families are independent, not the rows inside them."""

from __future__ import annotations

import numpy as np

RESOLVED = 2.0  # standard errors beyond which the sign of an observed shift counts as seen
FEW_UNITS = 4  # independent prompts below which nothing is said of them


def mean_errors(values: np.ndarray, family: np.ndarray) -> np.ndarray:
    """Standard error of the mean of each column, float64 [M], of values [N, M] whose rows belong to families [N].

    sqrt(G / (G - 1) · Σ over families (sum of deviations)²) / N for G families; NaN for fewer than two.
    """
    names, number = np.unique(family, return_inverse=True)
    if names.size < 2:
        return np.full(values.shape[1], np.nan)
    sums = np.zeros((names.size, values.shape[1]))
    np.add.at(sums, number, values - values.mean(axis=0))
    errors: np.ndarray = np.sqrt((sums**2).sum(axis=0) * names.size / (names.size - 1)) / len(values)
    return errors
