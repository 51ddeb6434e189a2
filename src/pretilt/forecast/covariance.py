"""Within-prompt covariance of concept scores under the untrained model: what moves along with what.

    Sigma_0 = (1/J) sum_j (1/(K_j - 1)) sum_k (c_jk - mean_j)(c_jk - mean_j)'        from rollouts, prompts of K_j >= 2
    Sigma_0 = 1/2 E[u u'], NOT centred                                             from on-policy pairs

Training shifts E[c] by Cov(c, reward) *within* a prompt; pooled over prompts, the covariance is mostly of topics.
Fewer than 5 rows per concept: the off-diagonal is shrunk. The intensity is that of Ledoit and Wolf 2004 with whole
units (prompts, families) as the independent draws. The target is the diagonal and not, as theirs, a common variance
(ours; after Schaefer and Strimmer 2005, target D): a concept that the model never expresses must stay at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.forecast.samples import PairDeltas, Rollouts

ROWS_PER_CONCEPT = 5  # below, the covariance is shrunk
_VALUES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Within:
    """A within-prompt covariance as the rows it is a mean of; products with it need no [M, M] matrix.

    S = (1/J) sum_r scale_r rows_r rows_r'; Sigma_0 = (1 - shrinkage) S + shrinkage diag(S).
    """

    rows: np.ndarray  # float64 [R, M]
    scale: np.ndarray  # float64 [R]
    unit: np.ndarray  # int64 [R], what is drawn together in a bootstrap
    unit_size: np.ndarray  # int64 [n_units], prompts (pairs) in a unit: they add up to J
    shrinkage: float  # in [0, 1]
    of_pairs: bool  # the units are the families of the pairs: their bootstrap weights are these units' too

    @property
    def n_units(self) -> int:
        return int(self.unit_size.size)

    def variances(self, unit_weight: np.ndarray | None = None) -> np.ndarray:
        """[M] the diagonal, >= 0."""
        scale, total = self._weights(unit_weight)
        return np.einsum("r,rm,rm->m", scale, self.rows, self.rows) / total

    def times(self, direction: np.ndarray, unit_weight: np.ndarray | None = None) -> np.ndarray:
        """Sigma_0 v, [M] for a direction [M]. `unit_weight` [n_units] >= 0 reweights the units (bootstrap, halves)."""
        scale, total = self._weights(unit_weight)
        product = self.rows.T @ (scale * (self.rows @ direction)) / total
        if self.shrinkage:
            product = (1 - self.shrinkage) * product + self.shrinkage * self.variances(unit_weight) * direction
        return np.asarray(product)

    def matrix(self) -> np.ndarray:
        """Sigma_0, float64 [M, M], symmetric and positive semidefinite."""
        scale, total = self._weights(None)
        full = (self.rows.T * scale) @ self.rows / total
        return np.asarray((1 - self.shrinkage) * full + self.shrinkage * np.diag(np.diag(full)))

    def _weights(self, unit_weight: np.ndarray | None) -> tuple[np.ndarray, float]:
        if unit_weight is None:
            return self.scale, float(self.unit_size.sum())
        total = float(unit_weight @ self.unit_size)
        if total <= 0:
            raise ValueError("no unit with two responses has weight: there are too few to redraw")
        return self.scale * unit_weight[self.unit], total


def from_rollouts(rollouts: Rollouts, shrinkage: float | None = None) -> Within:
    """Prompts count alike, however many rollouts they have; those with a single one say nothing and are left out.

    `shrinkage` None: Ledoit and Wolf's below 5 rollouts per concept, else none. Raises ValueError without any prompt
    of two rollouts.
    """
    several = rollouts.per_prompt >= 2
    if not several.any():
        raise ValueError("a covariance within prompts needs a prompt with at least two rollouts")
    has_several = several[rollouts.prompt]
    prompt = rollouts.prompt[has_several]
    rows = rollouts.centred if has_several.all() else rollouts.centred[has_several]
    return _within(
        rows,
        1.0 / (rollouts.per_prompt[prompt] - 1),
        rollouts.unit[prompt],
        np.bincount(rollouts.unit[several], minlength=rollouts.n_units),
        shrinkage,
        of_pairs=False,
    )


def from_pairs(pairs: PairDeltas, shrinkage: float | None = None) -> Within:
    """1/2 E[u u']: right if both responses of a pair were drawn from the model itself, whatever the labels.

    Not centred: the mean of u is what the labels select, and two draws of one prompt differ by 0 on average without
    them. Weights and offsets of the pairs do not count: they are about the labels.
    """
    half = np.full(len(pairs.u), 0.5)
    return _within(pairs.u, half, pairs.family, np.bincount(pairs.family), shrinkage, of_pairs=True)


def _within(
    rows: np.ndarray, scale: np.ndarray, unit: np.ndarray, size: np.ndarray, shrinkage: float | None, *, of_pairs: bool
) -> Within:
    if shrinkage is None:
        shrinkage = (
            shrinkage_intensity(rows, scale, unit, size) if len(rows) < ROWS_PER_CONCEPT * rows.shape[1] else 0.0
        )
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage {shrinkage} must be in [0, 1]")
    return Within(rows, scale, unit, size, shrinkage, of_pairs)


def shrinkage_intensity(rows: np.ndarray, scale: np.ndarray, unit: np.ndarray, size: np.ndarray) -> float:
    """Share of the squared off-diagonal correlations that is noise, in [0, 1]; 1 if there are fewer than two units.

    With A_g a unit's part of the correlation matrix R = sum_g A_g, off the diagonal, and q_g its share of the prompts:
    noise = (sum_g |A_g|² - |R|² sum_g q_g²) / (1 - sum_g q_g²), an estimate of E|R - true|² for independent units.
    """
    share = size / size.sum()
    spread = 1 - float(share @ share)
    variance = np.einsum("r,rm,rm->m", scale, rows, rows) / size.sum()
    root = np.sqrt(variance)
    z = rows * (np.sqrt(scale / size.sum())[:, None] * np.divide(1.0, root, out=np.zeros_like(root), where=root > 0))
    signal = _off_diagonal(z.T @ z if z.shape[1] <= len(z) else z @ z.T, np.einsum("rm,rm->m", z, z))
    if spread <= 0 or signal <= 0:
        return 1.0
    noise = (_units_off_diagonal(z, unit) - signal * float(share @ share)) / spread
    return float(np.clip(noise / signal, 0.0, 1.0))


def _off_diagonal(gram: np.ndarray, diagonal: np.ndarray) -> float:
    """Sum of squares off the diagonal of z'z, from z'z or zz' (their sums of squares are equal) and that diagonal."""
    return float(np.einsum("ij,ij->", gram, gram) - diagonal @ diagonal)


def _units_off_diagonal(z: np.ndarray, unit: np.ndarray) -> float:
    """Sum over units of the off-diagonal sum of squares of z_g'z_g; units of one size together."""
    order = np.argsort(unit, kind="stable")
    size = np.bincount(unit)
    start = np.cumsum(size) - size
    total = 0.0
    for n in np.unique(size[size > 0]):
        units = np.flatnonzero(size == n)
        step = max(1, _VALUES_AT_ONCE // (int(n) * z.shape[1]))
        for first in range(0, units.size, step):
            rows = order[start[units[first : first + step]][:, None] + np.arange(n)]
            block = z[rows]  # (units, n, M)
            gram = block @ block.transpose(0, 2, 1)
            diagonal = np.einsum("gnm,gnm->gm", block, block)
            total += float(np.einsum("gij,gij->", gram, gram) - np.einsum("gm,gm->", diagonal, diagonal))
    return total
