"""What every estimator of this floor reads: concept deltas of pairs, and concept scores of rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit


@dataclass(frozen=True)
class PairDeltas:
    """The pairs that a model is to be trained on. Build with `of`; n pairs, M concepts, p nuisance covariates."""

    u: np.ndarray  # float64 [n, M], c(chosen) - c(rejected)
    family: np.ndarray  # int64 [n], 0 … n_families - 1: the unit of independence
    weight: np.ndarray  # float64 [n], >= 0: how often the pair counts
    offset: np.ndarray  # float64 [n], added to the margin; > 0: the preference is already explained
    nuisance: np.ndarray  # float64 [n, p], chosen - rejected of what is no concept (log length, source)
    level: np.ndarray | None = None  # float64 [M], the score between the two responses where they differ

    @classmethod
    def of(
        cls,
        u: np.ndarray,
        family: np.ndarray | None = None,
        *,
        weight: np.ndarray | None = None,
        offset: np.ndarray | None = None,
        nuisance: np.ndarray | None = None,
        level: np.ndarray | None = None,
    ) -> PairDeltas:
        """Checked, with defaults: every pair a family of its own, weight 1, offset 0, no nuisance, no level.

        Raises ValueError for lengths that do not meet, values that are not finite, and weights that are negative or
        all zero.
        """
        u = np.ascontiguousarray(u, np.float64)
        n = len(u)
        made = cls(
            u=u,
            family=_numbered(np.arange(n) if family is None else family),
            weight=np.ones(n) if weight is None else np.asarray(weight, np.float64),
            offset=np.zeros(n) if offset is None else np.asarray(offset, np.float64),
            nuisance=np.zeros((n, 0)) if nuisance is None else np.asarray(nuisance, np.float64).reshape(n, -1),
            level=level,
        )
        if u.ndim != 2 or not n or not made.family.size == made.weight.size == made.offset.size == n:
            raise ValueError(f"deltas of shape {u.shape} need one family, weight and offset per pair, and a pair")
        if not all(np.isfinite(x).all() for x in (u, made.weight, made.offset, made.nuisance)):
            raise ValueError("deltas, weights, offsets and nuisance covariates must be finite")
        if made.weight.min() < 0 or not made.weight.any():
            raise ValueError("weights must be >= 0, and one of them > 0")
        return made

    @property
    def n_families(self) -> int:
        return int(self.family.max()) + 1

    def mean(self, family_weight: np.ndarray | None = None) -> np.ndarray:
        """[M] the mean of 2 sigma(-offset) u: of u itself without offsets; an explained pair counts less."""
        w = self.pair_weight(family_weight)
        return np.asarray((w * 2 * expit(-self.offset)) @ self.u / w.sum())

    def pair_weight(self, family_weight: np.ndarray | None = None) -> np.ndarray:
        """[n] the pairs' weights times those of their families."""
        return self.weight if family_weight is None else self.weight * family_weight[self.family]


@dataclass(frozen=True)
class Rollouts:
    """Concept scores of responses sampled from one model, by prompt. Build with `of`; R rollouts, J prompts."""

    c: np.ndarray  # float64 [R, M], rows sorted by prompt
    prompt: np.ndarray  # int64 [R], 0 … J - 1, ascending; any number of rollouts per prompt
    prompt_ids: np.ndarray  # [J], the caller's names of the prompts
    unit: np.ndarray  # int64 [J], 0 … n_units - 1: near-duplicate prompts are one unit of independence
    nuisance: np.ndarray  # float64 [R, p], the covariates of PairDeltas.nuisance, of one response

    @classmethod
    def of(
        cls,
        c: np.ndarray,
        prompt: np.ndarray,
        *,
        family: np.ndarray | None = None,
        nuisance: np.ndarray | None = None,
    ) -> Rollouts:
        """Checked and sorted. `prompt` and `family` [R] are any ids; by default every prompt is a unit of its own.

        Raises ValueError for lengths that do not meet, scores that are not finite, and a prompt in two families.
        """
        c, prompt = np.asarray(c, np.float64), np.asarray(prompt)
        if c.ndim != 2 or len(c) != prompt.size or not len(c) or not np.isfinite(c).all():
            raise ValueError(f"scores of shape {c.shape} must be finite, with one prompt for each of their rows")
        order = np.argsort(prompt, kind="stable")
        ids, first, number = np.unique(prompt[order], return_index=True, return_inverse=True)
        extra = np.zeros((len(c), 0)) if nuisance is None else np.asarray(nuisance, np.float64).reshape(len(c), -1)
        if not np.isfinite(extra).all():
            raise ValueError("nuisance covariates must be finite")
        unit = np.arange(ids.size)
        if family is not None:
            of_row = _numbered(np.asarray(family)[order])
            unit = of_row[first]
            if (unit[number] != of_row).any():
                raise ValueError("a prompt belongs to one family")
        return cls(np.ascontiguousarray(c[order]), number, ids, unit, extra[order])

    @property
    def n_prompts(self) -> int:
        return int(self.prompt_ids.size)

    @property
    def n_units(self) -> int:
        return int(self.unit.max()) + 1

    @cached_property
    def per_prompt(self) -> np.ndarray:
        """int64 [J], K: rollouts of each prompt, >= 1."""
        return np.bincount(self.prompt)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [J], the first row of each prompt."""
        return np.cumsum(self.per_prompt) - self.per_prompt

    @cached_property
    def means(self) -> np.ndarray:
        """float64 [J, M], mean score on each prompt."""
        return self.average(self.c)

    @cached_property
    def centred(self) -> np.ndarray:
        """float64 [R, M], scores minus the mean of their prompt; exactly 0 where they are equal."""
        mean = self.means[self.prompt]
        residue = self.c - mean
        residue[np.abs(residue) <= 16 * np.finfo(float).eps * np.abs(mean)] = 0.0  # what rounding leaves of a constant
        return np.asarray(residue)

    def average(self, values: np.ndarray) -> np.ndarray:
        """Mean over the rollouts of each prompt, [J, …], of values [R, …]."""
        total = np.add.reduceat(values, self.starts, axis=0)
        return np.asarray((total.T / self.per_prompt).T)


def _numbered(ids: np.ndarray) -> np.ndarray:
    return np.unique(np.asarray(ids), return_inverse=True)[1].astype(np.int64).ravel()
