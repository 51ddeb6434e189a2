"""A ratio of two means that are measured on the same units, with an interval that holds for small denominators too."""

from __future__ import annotations

import math

import numpy as np

from pretilt.stats.clustered import mean_errors

Z95 = 1.959964  # standard deviations


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray, family: np.ndarray) -> tuple[float, float]:
    """95 % limits of mean(numerator) / mean(denominator), values [N] of rows that belong to families [N].

    Fieller's: the ratios t for which mean(numerator - t denominator) is within 1.96 of its own standard errors of 0,
    which counts the errors of both and what they share. (-inf, inf) where the denominator's own interval holds 0, or
    with fewer than two families: then every ratio could be true.
    """
    a, b = float(numerator.mean()), float(denominator.mean())
    both = np.stack([numerator, denominator, numerator - denominator], axis=1)
    var_a, var_b, var_difference = mean_errors(both, family) ** 2
    cov = (var_a + var_b - var_difference) / 2

    # a point t is inside where (b² - z² var_b) t² - 2 (a b - z² cov) t + a² - z² var_a <= 0
    squared, linear, constant = b * b - Z95**2 * var_b, a * b - Z95**2 * cov, a * a - Z95**2 * var_a
    if not squared > 0:
        return -math.inf, math.inf
    root = math.sqrt(max(linear * linear - squared * constant, 0.0))
    return float((linear - root) / squared), float((linear + root) / squared)
