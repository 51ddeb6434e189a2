"""Prompt-conditioned forecasts: what training does to a concept on one set of prompts, inside and outside of it.

    mean       mean of u over the pairs inside
    one_step   Sigma_0 times that mean
    converged  (a Sigma_in + (1 - a) Sigma_0) w with the reward w of all pairs, a = n / (n + 10) for n prompts inside

The last one asks what the untrained model would do with the same reward on these prompts; a set of few rollout prompts
borrows from all of them (10 is ours: about what it takes for a covariance to say something of its own). Without
rollouts Sigma_in is Sigma_0, and every set is forecast alike. The tilt is not conditioned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit

from pretilt.forecast.covariance import Within
from pretilt.forecast.ladder import Ladder, Rung
from pretilt.forecast.samples import PairDeltas
from pretilt.forecast.uncertainty import DRAWS

BORROWED = 10.0  # prompts that Sigma_0 counts for beside those of a set
RUNGS: tuple[Rung, ...] = ("mean", "one_step", "converged")


@dataclass(frozen=True)
class CellForecast:
    """K sets, M concepts. Where a set holds no pair (or no pair is left outside) its means are NaN."""

    n_in: np.ndarray  # int64 [K], pairs inside
    shift: dict[Rung, np.ndarray]  # float64 [K, M] per rung of RUNGS, inside
    contrast: dict[Rung, np.ndarray]  # float64 [K, M], inside - outside


class Cells:
    """The sets of one view, prepared once. `pair_sets` are rows of the ladder's pairs, `prompt_sets` prompts of its
    rollouts (rows of `prompt_ids`; none without rollouts). Sets may overlap and be empty."""

    def __init__(
        self, ladder: Ladder, pair_sets: Sequence[np.ndarray], prompt_sets: Sequence[np.ndarray] | None = None
    ) -> None:
        if (ladder.rollouts is None) != (prompt_sets is None):
            raise ValueError("sets of prompts belong to rollouts")
        self.ladder, self.pair_sets = ladder, pair_sets
        self._pairs = _indicator(pair_sets, len(ladder.pairs.u))
        self._prompts = None
        if ladder.rollouts is not None and prompt_sets is not None:
            if len(prompt_sets) != len(pair_sets):
                raise ValueError("every set has its pairs and its prompts")
            several = ladder.rollouts.per_prompt >= 2
            self._prompts = csr_array(_indicator(prompt_sets, several.size)[:, np.flatnonzero(several)])

    def forecast(self) -> CellForecast:
        """All rungs of all sets."""
        ladder = self.ladder
        mean, elsewhere = self._means(None)
        shift: dict[Rung, np.ndarray] = {"mean": mean, "one_step": self._pushed(mean, None)}
        contrast: dict[Rung, np.ndarray] = {"mean": mean - elsewhere, "one_step": self._pushed(mean - elsewhere, None)}
        inside, outside = self._converged(ladder.preference.w, ladder.preference.nuisance, None)
        shift["converged"], contrast["converged"] = inside, inside - outside
        n_in = np.diff(self._pairs.indptr).astype(np.int64)
        empty = (n_in == 0) | (n_in == len(ladder.pairs.u))
        contrast["converged"] = np.where(empty[:, None], np.nan, contrast["converged"])
        shift["converged"] = np.where((n_in == 0)[:, None], np.nan, shift["converged"])
        return CellForecast(n_in, shift, contrast)

    def mean_sd(self) -> np.ndarray:
        """Family-robust standard error of the mean inside, [K, M]; NaN for a set of fewer than two families.

        se² = G / (G - 1) sum_g (sum of the family's w (u - mean))² / (sum w)²
        """
        pairs = self.ladder.pairs
        sd = np.full((len(self.pair_sets), pairs.u.shape[1]), np.nan)
        pull = _pull(pairs)
        for k, rows in enumerate(self.pair_sets):
            rows = rows[pairs.weight[rows] > 0]
            rows = rows[np.argsort(pairs.family[rows], kind="stable")]
            first = np.flatnonzero(np.diff(pairs.family[rows], prepend=-1))
            if first.size < 2:
                continue
            weight = pairs.weight[rows]
            total = float(weight.sum())
            pulled = pull[rows, None] * pairs.u[rows]
            off = pulled - weight[:, None] * (pulled.sum(axis=0) / total)
            of_family = np.add.reduceat(off, first, axis=0)
            square = np.einsum("gm,gm->m", of_family, of_family)
            sd[k] = np.sqrt(first.size / (first.size - 1) * square) / total
        return sd

    def drawn_sd(self, rung: Rung, w_draws: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
        """Standard deviation of "one_step" or "converged" over Poisson(1) weights of families and prompts, [K, M].

        w_draws [draws, M]: the rewards of the global bootstrap; families and prompts are drawn independently, so that
        any draw of the prompts may meet any of them. The coefficient of length stays as it is.
        """
        rng = np.random.default_rng(seed)
        ladder = self.ladder
        n_families, n_units = ladder.pairs.n_families, ladder.base.n_units
        values = []
        for b in range(min(draws, len(w_draws))):
            family, unit = _drawn(rng, n_families), _drawn(rng, n_units)
            of_base = family if ladder.base.of_pairs else unit
            if rung == "one_step":
                values.append(self._pushed(self._means(family)[0], of_base))
            else:
                values.append(self._converged(w_draws[b], ladder.preference.nuisance, of_base)[0])
        with np.errstate(invalid="ignore"):
            stacked = np.stack(values)
            is_finite = np.isfinite(stacked)
            n = is_finite.sum(axis=0)
            mean = np.where(is_finite, stacked, 0).sum(axis=0) / n
            square = np.where(is_finite, stacked - mean, 0) ** 2
            return np.asarray(np.where(n > len(values) // 2, np.sqrt(square.sum(axis=0) / (n - 1)), np.nan))

    def _means(self, family_weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Mean of u inside and outside, [K, M] twice."""
        pairs = self.ladder.pairs
        weight = pairs.pair_weight(family_weight)
        pulled = (_pull(pairs) if family_weight is None else _pull(pairs) * family_weight[pairs.family])[:, None]
        pulled = pulled * pairs.u
        inside, total = self._pairs @ pulled, self._pairs @ weight
        outside, left = pulled.sum(axis=0) - inside, float(weight.sum()) - total
        n_in = np.diff(self._pairs.indptr)
        total = np.where((total > 0) & (n_in > 0), total, np.nan)
        left = np.where((left > 1e-9) & (n_in < len(pairs.u)), left, np.nan)
        return inside / total[:, None], outside / left[:, None]

    def _pushed(self, mean: np.ndarray, of_base: np.ndarray | None) -> np.ndarray:
        return times_each(self.ladder.base, mean, of_base)

    def _converged(
        self, w: np.ndarray, nuisance: np.ndarray, of_base: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(inside, outside), [K, M] each."""
        ladder, n_sets = self.ladder, len(self.pair_sets)
        if ladder.rollouts is None or self._prompts is None:
            alike = np.broadcast_to(ladder.eta * ladder.base.times(w, of_base), (n_sets, w.size))
            return alike, alike
        rollouts = ladder.rollouts
        unit = rollouts.unit[rollouts.per_prompt >= 2]
        weight = np.ones(unit.size) if of_base is None else of_base[unit]
        product = prompt_products(ladder, w, nuisance) * weight[:, None]
        everything = product.sum(axis=0)
        overall = everything / weight.sum()
        inside, within = self._prompts @ product, self._prompts @ weight
        n_inside = np.diff(self._prompts.indptr)
        n_outside = unit.size - n_inside
        return (
            _borrowing(inside, within, n_inside, overall),
            _borrowing(everything - inside, weight.sum() - within, n_outside, overall),
        )


def prompt_products(ladder: Ladder, w: np.ndarray, nuisance: np.ndarray) -> np.ndarray:
    """Each prompt's part of the converged forecast, [J, M] over the prompts of K >= 2: their mean is that forecast.

    (1 / (K - 1)) sum_k c~ (c~'w + x~'g), the shrinkage of Sigma_0 included; c~, x~ centred within the prompt.
    """
    rollouts, s = ladder.rollouts, ladder.base.shrinkage
    if rollouts is None:
        raise ValueError("products of prompts need rollouts")
    centred = rollouts.centred
    reward = (1 - s) * (centred @ w)
    if rollouts.nuisance.shape[1]:
        passive = rollouts.nuisance @ nuisance
        reward = reward + passive - rollouts.average(passive)[rollouts.prompt]
    several = rollouts.per_prompt >= 2
    free = np.maximum(rollouts.per_prompt - 1, 1)[:, None]
    product = np.add.reduceat(reward[:, None] * centred, rollouts.starts, axis=0) / free
    if s:
        product += s * w * np.add.reduceat(centred**2, rollouts.starts, axis=0) / free
    return np.asarray(ladder.eta * product[several])


def times_each(base: Within, directions: np.ndarray, unit_weight: np.ndarray | None = None) -> np.ndarray:
    """Sigma_0 v for each of K directions, [K, M] to [K, M]; a direction with a NaN gives NaN."""
    scale, size = base.scale, float(base.unit_size.sum())
    if unit_weight is not None:
        scale, size = scale * unit_weight[base.unit], float(unit_weight @ base.unit_size)
    is_finite = np.isfinite(directions).all(axis=1)
    products = np.full(directions.shape, np.nan)
    product = ((directions[is_finite] @ base.rows.T) * scale) @ base.rows / size
    if base.shrinkage:
        product = (1 - base.shrinkage) * product + base.shrinkage * base.variances(unit_weight) * directions[is_finite]
    products[is_finite] = product
    return products


def _borrowing(total: np.ndarray, weight: np.ndarray, n: np.ndarray, overall: np.ndarray) -> np.ndarray:
    share = np.where(weight > 0, n / (n + BORROWED), 0.0)[:, None]
    own_mean = total / np.where(weight > 0, weight, 1.0)[:, None]
    return np.asarray(share * own_mean + (1 - share) * overall)


def _indicator(sets: Sequence[np.ndarray], n: int) -> csr_array:
    """0/1 [K, n]"""
    size = [rows.size for rows in sets]
    columns = np.concatenate([*sets, np.zeros(0, np.int64)]).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    return csr_array((np.ones(columns.size), columns, indptr), shape=(len(sets), n))


def _pull(pairs: PairDeltas) -> np.ndarray:
    """[n] how much each pair counts in a mean of u; see `PairDeltas.mean`."""
    return np.asarray(pairs.weight * 2 * expit(-pairs.offset))


def _drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    while True:
        weight = rng.poisson(1.0, n).astype(np.float64)
        if weight.any():
            return weight
