"""Standard errors with families of near-duplicates as the unit; small sets are moderated by the whole pool.

For a set k and a concept, with e = u - (mean of the pool) and a *piece* = what one family has in the set:

    V = sum over pieces of (sum of e)²           the set's own estimate of the variance of its sum
    E = sd² · (n + icc · (Q - n))                the pool's: by its variance and intra-family correlation,
                                                 Q = sum over pieces of (rows)²
    M = (d0 · E + nu · V) / (d0 + nu)            the two, weighted by their degrees of freedom
    se² = max(V, M) / n² + W / (N · n_out)       W = the pool's own sum of squared family sums

V is centred on the null value, not on the set's own mean: a few families that agree by accident then cannot look
certain, since |z| stays below the square root of their number (times N / n_out, near 1 for a small set), and under a
symmetric null P(z >= x) <= exp(-x² / 2) whatever the distribution (Efron 1969). Hence se² is never below it, and z is
read against the normal. nu comes from the pieces' fourth moment, d0 from how much V / E scatters over the cells beyond
nu. Ours; M after Smyth 2004 (limma), E the design effect of cluster sampling. Against zero (global effects) the pool is
the set: se² = V / n².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, polygamma, psi

from pretilt.stats.contrast import ratio
from pretilt.stats.sums import CellSums

CONFIDENCE = 0.95
PRIOR_PAIRS = 20.0  # a concept's correlation within families weighs as much as the average one at so many row pairs
MIN_FREEDOM_FOR_PRIOR = 4.0  # cells with fewer degrees of freedom are left out of the fit of d0
SMALLEST_PRIOR, LARGEST_PRIOR = 2.0, 1e6


@dataclass(frozen=True)
class Moderated:
    """float64 [K, M] in units of u unless said; NaN where a set has no rest or a concept never varies."""

    delta: np.ndarray
    se: np.ndarray
    z: np.ndarray  # delta / se
    p: np.ndarray  # two-sided, normal
    se_interval: np.ndarray  # of delta as an estimate: centred on the set's own mean
    ci_lo: np.ndarray  # 95 %, delta ± 1.96 se_interval
    ci_hi: np.ndarray
    n_eff: np.ndarray  # rows / design effect
    sd: np.ndarray  # [M] standard deviation of u in the pool (about 0 for global effects); NaN for a constant
    icc: np.ndarray  # [M] covariance within families over the variance, >= 0; above 1 where families vary the most
    prior_freedom: float  # d0


def moderate(sums: CellSums) -> Moderated:
    """Moderated, family-aware inference for every (set, concept)."""
    sets = sums.sets
    n_pool = float(sets.pool.size)
    varies = sums.pool_squares > ((n_pool + 16) * np.finfo(float).eps) ** 2 * sums.pool_raw_squares  # not by rounding
    sd2 = np.where(varies, ratio(sums.pool_squares, np.full(sums.centre.shape, n_pool)), np.nan)
    icc = _icc(sums, sd2)

    nn, pieces = sums.piece_nn.sum(axis=1)[:, None], sums.piece_n.sum(axis=1)[:, None]
    set_squares, fourth = sums.piece_squares.sum(axis=1), sums.piece_fourth.sum(axis=1)

    expected = sd2 * (sums.n_in + icc * (nn - sums.n_in))
    freedom = _freedom(set_squares, fourth, pieces)
    prior = prior_freedom(ratio(set_squares, expected), freedom)

    delta, se = _delta_and_se(
        sums, sums.total.sets.sum(axis=1), sums.n_in, sums.total.pool.sum(axis=0), n_pool, set_squares, expected,
        freedom, prior, sums.family_squares,
    )  # fmt: skip
    estimated = _about_own_mean(sums, set_squares, nn, pieces)
    _, se_interval = _delta_and_se(
        sums, sums.total.sets.sum(axis=1), sums.n_in, sums.total.pool.sum(axis=0), n_pool, estimated, expected, freedom,
        prior, sums.family_squares,
    )  # fmt: skip

    scale = sums.scale
    z, margin = delta / se, float(ndtri((1 + CONFIDENCE) / 2)) * se_interval

    return Moderated(
        delta=delta / scale,
        se=se / scale,
        se_interval=se_interval / scale,
        z=z,
        p=np.minimum(2 * ndtr(-np.abs(z)), 1.0),
        ci_lo=(delta - margin) / scale,
        ci_hi=(delta + margin) / scale,
        n_eff=ratio(sums.n_in.astype(float), 1 + np.minimum(icc, 1.0) * (ratio(nn, sums.n_in) - 1)),
        sd=np.sqrt(sd2) / scale,
        icc=icc,
        prior_freedom=prior,
    )


def cross_fitted(sums: CellSums, moderated: Moderated, n_selected: int) -> np.ndarray:
    """[K, M] effect estimated on families that did not select it, in units of u.

    A cell is selected on one half of the families if it is among the `n_selected` of largest |z| there, and estimated
    on the other half; the two estimates are averaged where both halves select it, and NaN stands where neither does.
    Over all selected cells the mean is free of the winner's curse.
    """
    sd2 = (moderated.sd * sums.scale) ** 2
    estimates, selected = [], []

    for h in (0, 1):
        n_in, n_pool = sums.n.sets[:, h][:, None], float(sums.n.pool[h])

        expected = sd2 * (n_in + moderated.icc * (sums.piece_nn[:, h][:, None] - n_in))
        set_squares = sums.piece_squares[:, h]
        freedom = _freedom(set_squares, sums.piece_fourth[:, h], sums.piece_n[:, h][:, None])
        of_rest = sums.family_squares * n_pool / max(sums.sets.pool.size, 1)
        delta, se = _delta_and_se(
            sums, sums.total.sets[:, h], n_in, sums.total.pool[h], n_pool, set_squares, expected, freedom,
            moderated.prior_freedom, of_rest,
        )  # fmt: skip

        size = np.nan_to_num(np.abs(delta / se), nan=-1.0).ravel()
        first = np.argsort(-size, kind="stable")[:n_selected]
        estimates.append(delta)
        selected.append(np.isin(np.arange(size.size), first[size[first] > 0]).reshape(delta.shape))

    (a, b), (on_a, on_b) = estimates, selected
    estimate_sum = np.where(on_a, b, 0.0) + np.where(on_b, a, 0.0)
    return ratio(estimate_sum, on_a.astype(float) + on_b) / sums.scale


def prior_freedom(scatter: np.ndarray, freedom: np.ndarray) -> float:
    """d0 from the ratios V / E and their degrees of freedom, by moments of the log (Smyth 2004, eq. 5-6)."""
    usable = (freedom >= MIN_FREEDOM_FOR_PRIOR) & (scatter > 0)
    if usable.sum() < 3:
        return SMALLEST_PRIOR
    half = freedom[usable] / 2
    e = np.log(scatter[usable]) - psi(half) + np.log(half)
    excess = float(np.var(e, ddof=1) - polygamma(1, half).mean())
    if excess <= 0:
        return LARGEST_PRIOR
    return float(np.clip(2 * _inverse_trigamma(excess), SMALLEST_PRIOR, LARGEST_PRIOR))


def _inverse_trigamma(value: float) -> float:
    y = 0.5 + 1 / value
    for _ in range(50):  # Newton on 1 / trigamma, which is convex: monotone convergence (Smyth 2004, appendix)
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, y))
        y += step
        if abs(step) < 1e-10 * y:
            break
    return y


def _icc(sums: CellSums, sd2: np.ndarray) -> np.ndarray:
    """Correlation of two rows of one family, shrunk to the average over concepts where pairs of rows are few."""
    row_pairs = sums.family_nn - sums.sets.pool.size
    if row_pairs <= 0:
        return np.zeros(sd2.size)
    raw = ratio(sums.family_squares - sums.pool_squares, row_pairs * sd2)
    is_defined = ~np.isnan(raw)
    average = float(np.clip(raw[is_defined], 0, 1).mean()) if is_defined.any() else 0.0  # a few may be far above 1
    drawn = (row_pairs * np.where(is_defined, raw, average) + PRIOR_PAIRS * average) / (row_pairs + PRIOR_PAIRS)
    return np.maximum(drawn, 0.0)


def _freedom(squares: np.ndarray, fourth: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Degrees of freedom of a sum of squares, 2 · mean² / variance, from its own fourth moment; 0 without any."""
    kurtosis = ratio(pieces * fourth, squares**2)  # 1 where all pieces are of one size: the cap, not a division by 0
    return np.nan_to_num(ratio(2.0 * pieces, np.maximum(kurtosis - 1, 1.0)), nan=0.0)


def _about_own_mean(sums: CellSums, set_squares: np.ndarray, nn: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """V about the set's own mean, times F / (F - 1); about the null value where one family is all there is."""
    mean = ratio(sums.total.sets.sum(axis=1), sums.n_in) - sums.centre
    about_mean = set_squares - 2 * mean * sums.piece_products + mean**2 * nn
    floor = len(sums.sets.rows) * np.finfo(float).eps * set_squares  # rounding error of a sum that is 0
    return np.where(
        pieces > 1, np.where(about_mean > floor, about_mean, 0.0) * ratio(pieces, pieces - 1.0), set_squares
    )


def _delta_and_se(
    sums: CellSums,
    total: np.ndarray,
    n_in: np.ndarray,
    pool_total: np.ndarray,
    n_pool: float,
    set_squares: np.ndarray,
    expected: np.ndarray,
    freedom: np.ndarray,
    prior: float,
    family_squares: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """In units of the numerator."""
    square = np.asarray(n_in, float) ** 2
    if sums.sets.against_zero:
        delta, variance = ratio(total, n_in), ratio(set_squares, square)
    else:
        var_in = ratio(np.maximum(set_squares, (prior * expected + freedom * set_squares) / (prior + freedom)), square)
        n_out = n_pool - n_in
        delta = ratio(total, n_in) - ratio(pool_total - total, n_out)
        variance = var_in + ratio(np.broadcast_to(family_squares, total.shape), n_pool * n_out)
    return delta, np.where(variance > 0, np.sqrt(np.where(variance > 0, variance, 1.0)), np.nan)
