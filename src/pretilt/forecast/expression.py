"""Can the model express a concept at all? Its base prevalence over rollouts, with an exact upper bound.

Training re-weights what the model says already: a concept that it never samples has no covariance with any reward, and
DPO cannot teach it. Zero hits in n rollouts leave a prevalence of up to 3 / n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from pretilt.forecast.samples import Rollouts

CONFIDENCE = 0.95
ENOUGH = 0.01  # ours: a prevalence surely below this calls for supervised fine-tuning first


@dataclass(frozen=True)
class Expression:
    """Per concept, [M]."""

    n_rollouts: int
    n_prompts: int
    n_expressed: np.ndarray  # int64, rollouts that express it
    prevalence: np.ndarray  # float64 in [0, 1], their share
    upper: np.ndarray  # float64 in (0, 1], 95 % upper bound of the prevalence on these very prompts
    upper_new_prompts: np.ndarray  # float64 in (0, 1], the same on the population that the prompts were drawn from

    @property
    def needs_sft(self) -> np.ndarray:
        """bool [M]: surely expressed in fewer than 1 % of the responses."""
        return np.asarray(self.upper < ENOUGH)

    @property
    def unclear(self) -> np.ndarray:
        """bool [M]: never seen, in too few rollouts to say that it is rare."""
        return np.asarray((self.n_expressed == 0) & ~self.needs_sft)


def expression(rollouts: Rollouts, above: float | np.ndarray = 0.0) -> Expression:
    """A response expresses a concept if it scores above `above` (a number, or one per concept [M]).

    Both bounds are Clopper-Pearson's. `upper` counts rollouts: prompts may differ in prevalence, which makes it only
    more careful (Hoeffding 1956). `upper_new_prompts` counts prompts with a hit, the independent draws there: a
    prevalence cannot exceed the share of prompts on which a hit is possible.
    """
    hit = rollouts.c > above
    n, expressed = len(hit), hit.sum(axis=0)
    prompts_hit = np.maximum.reduceat(hit, rollouts.starts, axis=0)
    of_units = np.zeros((rollouts.n_units, hit.shape[1]), bool)
    np.logical_or.at(of_units, rollouts.unit, prompts_hit)
    return Expression(
        n_rollouts=n,
        n_prompts=rollouts.n_prompts,
        n_expressed=expressed.astype(np.int64),
        prevalence=expressed / n,
        upper=upper_bound(expressed, n),
        upper_new_prompts=upper_bound(of_units.sum(axis=0), rollouts.n_units),
    )


def upper_bound(hits: np.ndarray, n: int, confidence: float = CONFIDENCE) -> np.ndarray:
    """Exact one-sided upper confidence bound of a share, [M] in (0, 1] (Clopper and Pearson 1934).

    Without a hit 1 - (1 - confidence)^(1/n), about 3 / n at 95 %.
    """
    if n < 1 or (np.asarray(hits) > n).any():
        raise ValueError(f"hits must be at most n = {n}, and n at least 1")
    hits = np.asarray(hits, np.float64)
    bound = betaincinv(np.minimum(hits + 1, n), np.maximum(n - hits, 1.0), confidence)
    return np.asarray(np.where(hits >= n, 1.0, bound))
