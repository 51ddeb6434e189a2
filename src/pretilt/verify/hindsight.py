"""What would have been said, had the trained model's own reward been known: why did a forecast miss?

    r = log pi_1 / pi_0 on answers of pi_0
    first_order   Cov(c, r) within prompts
    tilt          E[c] under pi_0 exp(r) minus E[c] under pi_0, by self-normalised weights on each prompt's answers

r is the reward that training left in the model, over beta (Rafailov et al. 2023, eq. 5); no error of pairs, labels or
fit is in it. Where the first order is right and a forecast is not, the pairs' reward is not what the model learned.
Where only the tilt is right, the model moved further than a first order holds. Where neither is, answers before
training do not show where it went: the tilt is exact but for their number. Neither is a bound for a forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from pretilt.forecast.ladder import covariance_with, tilt
from pretilt.forecast.samples import Rollouts
from pretilt.forecast.uncertainty import half_mask
from pretilt.stats.agreement import Evidence
from pretilt.verify.observed import SPLITS, Observed

Law = Literal["first_order", "tilt"]


def hindsight(before: Rollouts, log_ratio: np.ndarray, observed: Observed, seed: int = 0) -> dict[Law, Evidence]:
    """Each law's shift [M] against the observed one, with halves over units of prompts for both ceilings.

    log_ratio: float64 [R], log pi_1 / pi_0 of the rows of `before`. Only prompts of `observed` with two answers count.
    The answers are those that the observed shift starts from: their sampling noise is in both. Raises ValueError if
    fewer than two units are left.
    """
    rows = (np.isin(before.prompt_ids, observed.prompt_ids) & (before.per_prompt >= 2))[before.prompt]
    if not rows.any():
        raise ValueError("no prompt has two answers before training")
    some = Rollouts.of(before.c[rows], before.prompt[rows], family=before.unit[before.prompt[rows]])
    reward = log_ratio[rows]
    rng = np.random.default_rng(seed)
    first = np.stack([half_mask(rng, some.n_units) for _ in range(SPLITS)]).astype(np.float64)
    a, b = observed.half_weights(SPLITS, seed)
    both_halves = observed.under(a), observed.under(b)
    laws: dict[Law, Callable[[np.ndarray | None], np.ndarray]] = {
        "first_order": lambda weight: covariance_with(some, reward, weight),
        "tilt": lambda weight: tilt(some, reward, unit_weight=weight)[0],
    }
    evidence = {}
    for name, law in laws.items():
        halves = tuple(np.stack([law(in_half) for in_half in half]) for half in (first, 1 - first))
        evidence[name] = Evidence(law(None), observed.mean, both_halves, (halves[0], halves[1]))
    return evidence
