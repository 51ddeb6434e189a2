"""What a plan changes: the shift of every concept under the plan, minus its shift as the data stands.

A plan changes the weight, the margin, the label or the text of some pairs; the forecast is made again with them:

    mean       sum_i w_i 2 sigma(-o_i) u_i / sum_i w0_i        w0: the weights without the plan
    one_step   Sigma_0 times that mean
    converged  Sigma_0 w, the reward refitted under the weights w_i and offsets o_i, from where the plain fit ended

The mean is divided by the weight of all pairs, not of those that are left: of one epoch with fewer pairs less is
learned of everything. Only what the touched pairs contribute is computed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit
from threadpoolctl import threadpool_limits

from pretilt.forecast.ladder import Ladder, Rung
from pretilt.forecast.preference import BradleyTerry, Preference
from pretilt.forecast.samples import PairDeltas
from pretilt.shape.data import ConceptFamily, ShapeData, ladder_of
from pretilt.shape.reading import Reread, reread
from pretilt.train.actions import Changes

SPARSE = 0.25  # share of entries that are not 0, below which a sparse product is faster
WHAT_IF_RUNGS: tuple[Rung, ...] = ("mean", "one_step", "converged")


@dataclass(frozen=True)
class Shift:
    """Of one family, [M] each: without the plan, and under it."""

    plain: np.ndarray
    shaped: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """[M] what the plan makes of it."""
        return np.asarray(self.shaped - self.plain)


class FamilyWhatIf:
    """One family's forecast, prepared once; each call with other changes costs what the touched pairs cost."""

    def __init__(self, family: ConceptFamily, rung: Rung, eta: float, seed: int) -> None:
        self.family, self.rung, self.eta, self.seed = family, rung, eta, seed
        self._pull = family.pairs.weight * 2 * expit(-family.pairs.offset)
        self._total = float(family.pairs.weight.sum())
        self._sum = self._pull @ family.pairs.u

    @cached_property
    def ladder(self) -> Ladder:
        """The plain forecast's reward model and covariance."""
        return ladder_of(self.family, self.eta, self.seed)

    @cached_property
    def plain(self) -> np.ndarray:
        """[M] the shift without a plan."""
        if self.rung == "mean":
            return np.asarray(self._sum / self._total)
        return self.ladder.predict().shift[self.rung]

    def shaped(self, changes: Changes, reading: Reread | None = None) -> np.ndarray:
        """[M] the shift under the changes."""
        if self.rung in ("mean", "one_step"):
            mean = self._mean(changes, reading)
            return mean if self.rung == "mean" else self.ladder.base.times(mean)
        return self._refitted(changes, reading).predict().shift[self.rung]

    def shift(self, changes: Changes, reading: Reread | None = None) -> Shift:
        """Both."""
        return Shift(self.plain, self.shaped(changes, reading))

    def inside(self, changes: Changes, reading: Reread | None, rows: np.ndarray, column: int) -> tuple[float, float]:
        """(without, under the changes): mean pull times u of one concept over the pairs in `rows`, bool [n]."""
        pairs, after = self.family.pairs, self._after(changes, reading)
        total = float(pairs.weight[rows].sum())
        pull = after.weight * 2 * expit(-after.offset)
        both = (values[rows] @ u[rows, column] for values, u in ((self._pull, pairs.u), (pull, after.u)))
        without, under = (float(value) / total for value in both)
        return without, under

    def drawn_change(self, changes: Changes, reading: Reread | None, draws: int, seed: int) -> np.ndarray:
        """[M] standard deviation of the change over Poisson(1) weights of families of pairs and of prompts."""
        rng = np.random.default_rng(seed)
        pairs, after = self.family.pairs, self._after(changes, reading)
        if self.rung == "mean":
            return self._mean_sd(changes, after)
        plain, shaped = self.ladder, self._refitted(changes, reading)
        n_units = plain.base.n_units
        values = []
        for _ in range(draws):
            family, unit = rng.poisson(1.0, pairs.n_families).astype(float), rng.poisson(1.0, n_units).astype(float)
            if not ((pairs.weight * family[pairs.family]).any() and (after.weight * family[pairs.family]).any()):
                continue
            if not (unit * plain.base.unit_size).any():
                continue
            both = [ladder.predict(family, unit).shift[self.rung] for ladder in (shaped, plain)]
            values.append(both[0] - both[1])
        return np.asarray(np.std(values, axis=0, ddof=1)) if len(values) > 1 else np.full(pairs.u.shape[1], np.nan)

    def _mean_sd(self, changes: Changes, after: PairDeltas) -> np.ndarray:
        """Of a mean no draw is needed: families are the unit, se² = G/(G-1) sum_g (a_g - s_g change)² / total².

        a_g: what the plan adds to the sum in a family, s_g: the family's weight.
        """
        pairs = self.family.pairs
        touched = np.flatnonzero(changes.touched)
        pull = after.weight[touched] * 2 * expit(-after.offset[touched])
        adds = pull[:, None] * after.u[touched] - self._pull[touched, None] * pairs.u[touched]
        families, row = np.unique(pairs.family[touched], return_inverse=True)
        member = csr_array((np.ones(row.size), (row, np.arange(row.size))), shape=(families.size, row.size))
        of_family = member @ adds
        size = np.bincount(pairs.family, pairs.weight, minlength=pairs.n_families)
        change = of_family.sum(axis=0) / self._total
        square = np.einsum("gm,gm->m", of_family, of_family)
        square += change * (change * float(size @ size) - 2 * (size[families] @ of_family))
        n = max(pairs.n_families, 2)
        return np.asarray(np.sqrt(n / (n - 1) * np.maximum(square, 0.0)) / self._total)

    def _mean(self, changes: Changes, reading: Reread | None) -> np.ndarray:
        pairs = self.family.pairs
        pull = pairs.weight * changes.weight * 2 * expit(-changes.offset)
        pull[changes.swap] *= -1
        more = pull - self._pull
        mean = self._sum
        if reading is not None:
            more[reading.rows] = -self._pull[reading.rows]
            mean = mean + pull[reading.rows] @ reading.u[self.family.name]
        return np.asarray((mean + more @ self._columns) / self._total)

    @cached_property
    def _columns(self) -> Any:
        """u for products with a vector over pairs: sparse where most of it is 0."""
        u = self.family.pairs.u
        return csr_array(u) if np.count_nonzero(u) < SPARSE * u.size else u

    def _after(self, changes: Changes, reading: Reread | None) -> PairDeltas:
        """The pairs as they would be trained on."""
        pairs = self.family.pairs
        u, nuisance = pairs.u, pairs.nuisance
        if reading is not None or changes.swap.any():
            u, nuisance = u.copy(), nuisance.copy()
        if reading is not None:
            u[reading.rows], nuisance[reading.rows] = (
                reading.u[self.family.name], reading.nuisance[self.family.name],
            )  # fmt: skip
        u[changes.swap] *= -1
        nuisance[changes.swap] *= -1
        return replace(pairs, u=u, nuisance=nuisance, weight=pairs.weight * changes.weight, offset=changes.offset)

    def _refitted(self, changes: Changes, reading: Reread | None) -> Ladder:
        plain, after = self.ladder, self._after(changes, reading)
        if not after.weight.any():
            nothing = Preference(
                np.zeros(after.u.shape[1]), np.zeros(after.nuisance.shape[1]), plain.model.left_out,
                plain.preference.ridge, None,
            )  # fmt: skip
            return Ladder(plain.model, nothing, plain.base, plain.rollouts, eta=self.eta)
        model = (
            plain.model.changed(after, changes.swap)
            if reading is None
            else BradleyTerry(after, metric=plain.model.metric)
        )
        w, nuisance = model.fit(plain.preference.ridge)
        fitted = Preference(w, nuisance, model.left_out, plain.preference.ridge, None)
        return Ladder(model, fitted, plain.base, plain.rollouts, eta=self.eta)


class WhatIf:
    """All families of a run, prepared once. The first call of a family fits it; the next ones start from there."""

    def __init__(self, data: ShapeData, rung: Rung, eta: float, seed: int) -> None:
        if rung not in WHAT_IF_RUNGS:
            raise ValueError(f"a what-if is not made on the rung '{rung}'")
        self.data, self.rung = data, rung
        self.families = {family.name: FamilyWhatIf(family, rung, eta, seed) for family in data.families}

    def of(self, concept_id: int) -> FamilyWhatIf:
        """The family that holds the concept."""
        return self.families[self.data.family_of(concept_id).name]

    def shifts(self, changes: Changes, reading: Reread | None = None) -> dict[str, Shift]:
        """Family to its shift. `reading`: the changed texts where they are read already."""
        if reading is None:
            reading = reread(self.data, changes)
        with threadpool_limits(None):
            return {name: family.shift(changes, reading) for name, family in self.families.items()}
