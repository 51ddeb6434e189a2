"""How sure a shift in a set of prompts is, against the shift on all others.

A set has few units of prompts, its rest many. Each side's spread is known from its own units alone, so each has a
small-sample factor of its own, and what two prompts say of their spread is worth one degree of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, stdtrit

from pretilt.stats.clustered import RESOLVED
from pretilt.verify.observed import Observed

FEWEST_UNITS = 2  # of a side: a single unit says nothing of its own spread


def cell_errors(observed: Observed, members: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(standard error of in - out [K, M], its degrees of freedom [K]); NaN where a side has fewer than two units.

    A unit's part in a side's mean is its sum of deviations there over the side's prompts; the variance of a side is
    G / (G - 1) times the sum of the squared parts, G units with a prompt on it. A unit on both sides counts once,
    with the difference of its parts. Degrees of freedom are those of the side with fewer units: Satterthwaite's would
    follow the spread that was seen, which two prompts may hide by chance. The units that a set does not touch are
    summed once.
    """
    n, g, m = len(observed.shift), observed.n_units, observed.shift.shape[1]
    sums = np.zeros((g, m))
    np.add.at(sums, observed.unit, observed.shift)
    count = np.bincount(observed.unit, minlength=g).astype(np.float64)
    total, all_ss, all_ns, all_nn = sums.sum(axis=0), (sums**2).sum(axis=0), count @ sums, float(count @ count)

    se, freedom = np.full((len(members), m), np.nan), np.full(len(members), np.nan)
    for k, rows in enumerate(members):
        n_in, n_out = rows.size, n - rows.size
        touched, unit_index = np.unique(observed.unit[rows], return_inverse=True)
        c_in = np.bincount(unit_index, minlength=touched.size).astype(np.float64)
        s, c = sums[touched], count[touched]
        g_in, g_out = touched.size, g - int((c_in == c).sum())
        if g_in < FEWEST_UNITS or g_out < FEWEST_UNITS:
            continue

        inside = np.zeros((g_in, m))
        np.add.at(inside, unit_index, observed.shift[rows])
        m_in, m_out = inside.sum(axis=0) / n_in, (total - inside.sum(axis=0)) / n_out
        part_in = (inside - c_in[:, None] * m_in) / n_in
        part_out = (s - inside - (c - c_in)[:, None] * m_out) / n_out
        away_ss, away_ns, away_nn = all_ss - (s**2).sum(axis=0), all_ns - c @ s, all_nn - float(c @ c)
        away = np.maximum(away_ss - 2 * m_out * away_ns + m_out**2 * away_nn, 0) / n_out**2

        factor_in, factor_out = g_in / (g_in - 1), g_out / (g_out - 1)
        variance_in = factor_in * (part_in**2).sum(axis=0)
        variance_out = factor_out * ((part_out**2).sum(axis=0) + away)
        shared = np.sqrt(factor_in * factor_out) * (part_in * part_out).sum(axis=0)
        se[k] = np.sqrt(np.maximum(variance_in + variance_out - 2 * shared, 0))
        freedom[k] = min(g_in, g_out) - 1
    return se, freedom


def resolving(freedom: np.ndarray) -> np.ndarray:
    """Standard errors beyond which a sign counts as seen: as improbable under Student's t as RESOLVED of a normal."""
    return np.asarray(-stdtrit(freedom, ndtr(-RESOLVED)))
