"""The effect adjusted for response length and source.

A linear model of u on a piecewise-linear function of the length difference and on the source, over the whole pool; the
adjusted effect is the contrast of its residuals. Longer chosen responses lift every concept a little everywhere, and
groups of pairs often are sources in disguise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pretilt.stats.sets import sum_by
from pretilt.stats.sums import CellSums

KNOTS = (0.1, 0.5, 0.9)  # quantiles of the length difference
MIN_SOURCE_PAIRS, MAX_SOURCES = 25, 20


def covariates(length_difference: np.ndarray, source: Sequence[str | None]) -> np.ndarray:
    """(n, p) float64: length terms, each 0 where the lengths are equal, and one centred column per frequent source.

    So the intercept of the model is the mean at equal length and average source. Sources with fewer than 25 pairs, and
    all but the 20 most frequent, are one.
    """
    length = np.asarray(length_difference, np.float64)
    spread = float(length.std()) or 1.0
    length = length / spread
    terms = [length] if np.ptp(length) > 0 else []
    for knot in np.unique(np.quantile(length, KNOTS)) if terms else ():
        bent = np.maximum(length - knot, 0) - max(-knot, 0.0)
        if np.linalg.matrix_rank(np.stack([np.ones_like(length), *terms, bent], axis=1)) == len(terms) + 2:
            terms.append(bent)

    source_name = np.array([s or "" for s in source], dtype=object)  # not "U": one long name would widen all of them
    names, code, counts = np.unique(source_name, return_inverse=True, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:MAX_SOURCES]
    frequent = frequent[counts[frequent] >= MIN_SOURCE_PAIRS]
    if frequent.size == names.size:
        frequent = frequent[1:]  # the most frequent source is the reference level

    dummies = [(code == k) - counts[k] / len(code) for k in frequent]
    columns = [*terms, *dummies]
    return np.stack(columns, axis=1) if columns else np.zeros((len(length), 0))


def residual_delta(sums: CellSums, x: np.ndarray) -> np.ndarray:
    """[K, M] the contrasts of the residuals, in units of u. `x` (n_rows, p): the covariates that `sums` was given."""
    sets = sums.sets
    pool = x[sets.pool]
    mean = pool.mean(axis=0) if len(pool) else np.zeros(x.shape[1])

    gram = (pool - mean).T @ (pool - mean)
    pool_sum = sums.total.pool.sum(axis=0) - sets.pool.size * sums.centre
    slope = np.linalg.pinv(gram, hermitian=True) @ (sums.covariate_products - mean[:, None] * pool_sum)

    inside = sum_by(sets.set_of_row, len(sets), x[sets.rows])
    total = sums.total.sets.sum(axis=1)
    n_in = sets.n_in[:, None].astype(float)
    if sets.against_zero:
        delta, gap = total / n_in, inside / n_in
    else:
        n_out = np.where(sets.n_out > 0, sets.n_out, np.nan)[:, None]
        delta = total / n_in - (sums.total.pool.sum(axis=0) - total) / n_out
        gap = inside / n_in - (pool.sum(axis=0) - inside) / n_out

    result: np.ndarray = (delta - gap @ slope) / sums.scale
    return result
