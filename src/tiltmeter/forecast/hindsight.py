"""What the law would have said, had the trained model's own reward been known: why did a forecast miss?

    Delta_hat = Cov(c, log pi_1 / pi_0) within prompts, over answers of pi_0

The log-ratio is the reward that training left in the model, over beta (Rafailov et al. 2023, eq. 5), and the covariance
with it is the shift to first order, whatever the concepts are. No error of pairs, labels or fit is in it. Where it
misses as the forecast does, the model moved further than its answers before training can tell; where it is right and
the forecast is not, the pairs' reward is not what the model learned.
"""

from __future__ import annotations

import numpy as np

from tiltmeter.forecast.agreement import Evidence
from tiltmeter.forecast.ladder import covariance_with
from tiltmeter.forecast.observed import SPLITS, Observed
from tiltmeter.forecast.samples import Rollouts
from tiltmeter.forecast.uncertainty import half_mask


def hindsight(before: Rollouts, log_ratio: np.ndarray, observed: Observed, seed: int = 0) -> Evidence:
    """The law's shift [M] against the observed one, with halves over units of prompts for both ceilings.

    log_ratio: float64 [R], log pi_1 / pi_0 of the rows of `before`. Only prompts of `observed` with two rollouts count.
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
    of_law = tuple(np.stack([covariance_with(some, reward, one) for one in half]) for half in (first, 1 - first))
    a, b = observed.half_weights(SPLITS, seed)
    return Evidence(
        covariance_with(some, reward),
        observed.mean,
        (observed.under(a), observed.under(b)),
        (of_law[0], of_law[1]),
    )
