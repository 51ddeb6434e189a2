"""The paper's statistics of a set of pairs: a group or prompt concept against the rest, and the whole dataset.

For the forms "paper" and "count2" every sum is a sum of integers and therefore exact. Formulas: docs/statistics.md.
Undefined is NaN, never an infinity: a z without variance, a half without pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.stats.sums import CellSums

CONSISTENT_ABOVE = 1e-6  # both halves' deltas must exceed this in size (arXiv 2606.12360)


def row_half(row_index: np.ndarray) -> np.ndarray:
    """The paper's split: the parity of the pair's row in the *source*, so that dropped rows do not move the others."""
    return (np.asarray(row_index) & 1).astype(np.int8)


@dataclass(frozen=True)
class Contrasts:
    """Statistics of every (where, concept): [G] per set, float64 [G, M] per cell; NaN where undefined."""

    where: np.ndarray  # int32 [G], group_id or prompt_concept_id, or one -1 for the global effects
    n_in: np.ndarray  # int64 [G]
    n_out: np.ndarray  # int64 [G]; 0 for global effects
    mean_in: np.ndarray
    mean_out: np.ndarray  # NaN for global effects
    delta: np.ndarray  # mean_in - mean_out; the mean itself for global effects
    z: np.ndarray  # Welch; for global effects mean / family-robust standard error
    cohens_d: np.ndarray  # delta / pooled standard deviation; mean / standard deviation for global effects
    delta_a: np.ndarray  # delta within half 0
    delta_b: np.ndarray  # delta within half 1

    @property
    def sign_consistent(self) -> np.ndarray:
        big = (np.abs(self.delta_a) > CONSISTENT_ABOVE) & (np.abs(self.delta_b) > CONSISTENT_ABOVE)
        return big & (np.sign(self.delta_a) == np.sign(self.delta_b))

    @property
    def delta_min(self) -> np.ndarray:
        """min(|delta_a|, |delta_b|) >= 0; NaN where a half is undefined."""
        return np.minimum(np.abs(self.delta_a), np.abs(self.delta_b))


def contrasts(sums: CellSums) -> Contrasts:
    """Every set against the rest of the pool, or everything against zero.

    Against the rest: delta = mean_in - mean_out; z = Welch with Bessel-corrected variances; d = pooled over n_pool - 2
    (arXiv 2606.12360). Against zero (ours: the paper contrasts groups only): delta = the mean; z = mean / se with
    se² = F / (F - 1) · sum over families of (sum - n · mean)² / N² (cluster-robust, CR1-like); d = mean / sd.
    """
    return _against_zero(sums) if sums.sets.against_zero else _against_rest(sums)


def _against_rest(sums: CellSums) -> Contrasts:
    total = sums.total.sets.sum(axis=1)
    n_in, n_out = sums.n_in, sums.n_out
    out = sums.total.pool.sum(axis=0) - total
    mean_in, mean_out = ratio(total, n_in), ratio(out, n_out)

    root_in = np.sqrt(sums.squares) + np.sqrt(n_in) * np.abs(sums.centre)  # of the sum of x², at most
    root = np.sqrt(sums.pool_raw_squares)
    noise_in, noise_out = _noise(sums.squares, n_in, root_in), _noise(sums.pool_squares, n_in + n_out, root)
    ss_in = _without_noise(noise_in, sums.squares - n_in * (mean_in - sums.centre) ** 2)
    ss_out = _without_noise(noise_out, sums.pool_squares - sums.squares - n_out * (mean_out - sums.centre) ** 2)

    delta = mean_in - mean_out
    welch = np.sqrt(ratio(ss_in, (n_in - 1) * n_in) + ratio(ss_out, (n_out - 1) * n_out))
    pooled = np.where((n_in > 1) & (n_out > 1), np.sqrt(ratio(ss_in + ss_out, n_in + n_out - 2)), np.nan)

    x, n = sums.split_total, sums.split_n
    n_half, n_half_out = n.sets[..., None], n.pool[None, :, None] - n.sets[..., None]
    half_delta = ratio(x.sets, n_half) - ratio(x.pool[None] - x.sets, n_half_out)

    return Contrasts(
        where=sums.sets.ids,
        n_in=sums.sets.n_in,
        n_out=sums.sets.n_out,
        mean_in=mean_in / sums.scale,
        mean_out=mean_out / sums.scale,
        delta=delta / sums.scale,
        z=ratio(delta, welch),
        cohens_d=ratio(delta, pooled),
        delta_a=half_delta[:, 0] / sums.scale,
        delta_b=half_delta[:, 1] / sums.scale,
    )


def _against_zero(sums: CellSums) -> Contrasts:
    n, families = sums.n_in, sums.sets.family_n[:, None]
    mean = ratio(sums.total.sets.sum(axis=1), n)
    squares = _without_noise(_noise(sums.squares, n, np.sqrt(sums.squares)), sums.squares - n * mean**2)

    sd = np.sqrt(ratio(squares, n - 1))
    of_families = np.where(squares == 0, 0.0, sums.family_squares_about_mean)
    se = np.sqrt(ratio(families * of_families, (families - 1.0) * n.astype(float) ** 2))

    half_mean = ratio(sums.split_total.sets, sums.split_n.sets[..., None]) / sums.scale

    return Contrasts(
        where=sums.sets.ids,
        n_in=sums.sets.n_in,
        n_out=sums.sets.n_out,
        mean_in=mean / sums.scale,
        mean_out=np.full(mean.shape, np.nan),
        delta=mean / sums.scale,
        z=ratio(mean, se),
        cohens_d=ratio(mean, sd),
        delta_a=half_mean[:, 0],
        delta_b=half_mean[:, 1],
    )


def _noise(squares: np.ndarray, n: np.ndarray, root: np.ndarray) -> np.ndarray:
    """The largest value that rounding can give a sum of squares about the own mean that is 0.

    `squares`: the sum about the centre, over n rows; `root`: square root of the sum of x². A plain running sum of n
    values is off by up to n eps times their size, and so is the mean.
    """
    off = n * np.finfo(float).eps * root
    return 4 * off * np.sqrt(squares) + off**2


def _without_noise(noise: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """`squares`, 0 where not above `noise`: else a constant has a variance of 1e-20 and a z of 1e8."""
    return np.where(squares <= noise, 0.0, squares)


def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, NaN where b is not > 0."""
    b = np.broadcast_to(b, np.broadcast_shapes(np.shape(a), np.shape(b)))
    return np.divide(a, b, out=np.full(b.shape, np.nan), where=b > 0)
