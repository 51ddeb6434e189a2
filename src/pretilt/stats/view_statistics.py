"""All statistics of one view: the paper's, the moderated ones beside them, and the posterior of each effect.

A view is a family of tests: global effects, groups, or prompt concepts by one statistic. What needs all views at once
(the false discovery rate) or a ranking (rank stability) is filled in by `hypotheses`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from pretilt.stats.adjusted import residual_delta
from pretilt.stats.columns import Columns
from pretilt.stats.contrast import Contrasts, contrasts
from pretilt.stats.moderated import Moderated, cross_fitted, moderate
from pretilt.stats.resampling import sign_flip_p
from pretilt.stats.sets import Sets
from pretilt.stats.shrinkage import Mixture, fit_mixture
from pretilt.stats.sums import cell_sums
from pretilt.stats.sure import SURE_LFSR, SURE_Q, are_sure, enough_pairs

MIN_SELECTED = 50  # cells that each half selects for the cross-fit, at least
POWER = 0.8  # how often an effect of the size that is called visible would be sure
MAX_FLIPPED = 4096  # concepts whose exact p is computed: those of largest |z|


@dataclass
class ViewStatistics:
    """Arrays [K, M] for K sets and M concepts; deltas in units of u; NaN where undefined."""

    view: str
    concept_ids: np.ndarray  # int [M], what the columns are called
    columns: Columns
    sets: Sets
    contrasts: Contrasts
    moderated: Moderated
    mixture: Mixture  # of delta / sd; its `tau` in standard errors of that
    posterior: np.ndarray  # mean of the posterior of delta
    lfsr: np.ndarray  # local false sign rate
    delta_heldout: np.ndarray
    delta_residual: np.ndarray
    p_flip: np.ndarray  # NaN but for global effects
    sure_z: float = np.inf  # smallest |z| whose q is at most 0.05; `hypotheses` sets it

    def key(self, delta: np.ndarray, k: np.ndarray, m: np.ndarray) -> np.ndarray:
        """What the default list is ordered by, for some cells and any delta of theirs: larger is earlier.

        First what is sure (`stats/sure.py`; q by `sure_z`), by the size of the posterior mean in standard deviations
        of the concept: 2 to 3. Then the others, 0 to 1, by posterior mean over posterior standard deviation: a large
        effect that is hardly known stands behind a smaller one that is.
        """
        sd = self.moderated.sd[m]
        x, s = delta / sd, self.moderated.se[k, m] / sd
        mean, lfsr = self.mixture.posterior(x, s)
        size = np.abs(mean)
        stands_out = np.abs(x / s) >= self.sure_z * (1 - 1e-9)  # x / s is z but for its rounding
        sure = (lfsr < SURE_LFSR) & stands_out & enough_pairs(self.moderated.n_eff[k, m], self.sets.family_n[k])
        certain = size / np.maximum(self.mixture.spread(x, s), 1e-12)
        return np.where(sure, 2 + size / (1 + size), certain / (1 + certain))

    def sure(self, q_value: np.ndarray) -> np.ndarray:
        """bool [K, M]: what may be called sure, by the view's q-values."""
        return are_sure(self.lfsr, q_value, self.moderated.n_eff, self.sets.family_n[:, None])

    def interval(self, k: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """95 % interval of delta for some cells, from the posterior that `posterior` and `lfsr` come from."""
        sd = self.moderated.sd[m]
        lo, hi = self.mixture.interval(self.contrasts.delta[k, m] / sd, self.moderated.se[k, m] / sd)
        return lo * sd, hi * sd


def smallest_visible(stats: ViewStatistics, n_views: int) -> float | None:
    """|delta| whose q would be at most SURE_Q in four of five cases, at the median error of the view; None if empty.

    In units of u. |z| has to pass the smallest one whose q is so small here. Where there is none, the first step of
    Benjamini-Hochberg within the view, times the `n_views` views (`hypotheses`): SURE_Q / (tests of the view · views).
    """
    errors = stats.moderated.se[np.isfinite(stats.moderated.se) & (stats.moderated.se > 0)]
    if not errors.size:
        return None
    needed = stats.sure_z if np.isfinite(stats.sure_z) else float(norm.isf(SURE_Q / 2 / (stats.lfsr.size * n_views)))
    return float((needed + norm.ppf(POWER)) * np.median(errors))


def view_statistics(
    view: str,
    concept_ids: np.ndarray,
    columns: Columns,
    sets: Sets,
    *,
    covariates: np.ndarray,
    row_half: np.ndarray | None = None,
    seed: int = 0,
) -> ViewStatistics:
    """Every statistic of every (set, concept). `row_half`: the paper's split by row parity instead of by family."""
    sums = cell_sums(columns, sets, row_half=row_half, covariates=covariates)
    moderated, plain = moderate(sums), contrasts(sums)

    x, s = moderated.delta / moderated.sd, moderated.se / moderated.sd
    mixture = fit_mixture(x, s, seed=seed)
    posterior, lfsr = mixture.posterior(x, s)

    p_flip = np.full(posterior.shape, np.nan)
    if sets.against_zero and posterior.size:
        size = np.nan_to_num(np.abs(moderated.z[0]), nan=-1.0)
        flipped = np.sort(np.argsort(-size, kind="stable")[:MAX_FLIPPED])
        p_flip[0, flipped] = sign_flip_p(columns, sets.family, flipped, seed=seed)

    return ViewStatistics(
        view=view,
        concept_ids=np.asarray(concept_ids),
        columns=columns,
        sets=sets,
        contrasts=plain,
        moderated=moderated,
        mixture=mixture,
        posterior=posterior * moderated.sd,
        lfsr=lfsr,
        delta_heldout=cross_fitted(sums, moderated, max(MIN_SELECTED, int((lfsr < SURE_LFSR).sum()))),
        delta_residual=residual_delta(sums, covariates),
        p_flip=p_flip,
    )
