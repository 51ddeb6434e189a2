"""Which terms are typical of a set: log-odds with an informative Dirichlet prior, on sparse counts.

Monroe, Colaresi and Quinn 2008, "Fightin' Words", equations 15-22: a term's odds in the set against its odds in the
background, both smoothed by a prior proportional to the background, so that a rare term needs evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class Typical:
    """One entry per (set, term) with a count, sorted by set."""

    row: np.ndarray  # set
    term: np.ndarray
    share: np.ndarray  # of the set's trials, in (0, 1]
    log_odds: np.ndarray  # natural logarithm of the smoothed odds ratio; + = typical of the set
    z: np.ndarray  # log_odds / its standard error


def log_odds(
    counts: sp.csr_array,
    trials: np.ndarray,
    background: np.ndarray,
    background_trials: float,
    *,
    prior_trials: float,
    against_rest: bool = False,
) -> Typical:
    """Log-odds of (n_sets, n_terms) `counts` out of `trials` (n_sets,) against `background` (n_terms,) counts.

    The prior is worth `prior_trials` observations distributed as the background. No count exceeds its trials. With
    `against_rest` the sets are parts of the background, and each is held against the background without it.
    """
    counts = sp.csr_array(counts)
    row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    term, y, n = counts.indices, counts.data.astype(np.float64), np.asarray(trials, dtype=np.float64)[row]
    b, n_b = np.asarray(background, dtype=np.float64)[term], float(background_trials)
    prior = prior_trials * (b + 0.5) / (n_b + 1.0)
    inside = np.log(y + prior) - np.log(n - y + prior_trials - prior)
    b, outside_trials = (b - y, n_b - n) if against_rest else (b, n_b)
    outside = np.log(b + prior) - np.log(np.maximum(outside_trials - b, 0.0) + prior_trials - prior)
    odds = inside - outside
    return Typical(row, term, y / n, odds, odds / np.sqrt(1.0 / (y + prior) + 1.0 / (b + prior)))
