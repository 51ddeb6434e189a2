"""Forecasts without any skill in concepts, which a real one has to beat. Zero needs no function.

If chosen is longer, and training lengthens what the model says, every concept's predicted and observed change contains
its prevalence times a common factor: an R² of 0.8 is then within reach of both nulls below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pretilt.forecast.samples import PairDeltas, Rollouts
from pretilt.pairs.shuffle import swapped


def length_slopes(rollouts: Rollouts, log_length: np.ndarray) -> np.ndarray:
    """[M] change of c per unit of log length, by regression within prompts on rollouts of the untrained model.

    log_length: float [R] in the order of the rows of `rollouts.c`; see `scores.log_length`. Raises ValueError if no
    prompt has responses of two lengths.
    """
    x = log_length - rollouts.average(log_length)[rollouts.prompt]
    square = float(x @ x)
    if square <= 1e-12 * max(len(x), 1):
        raise ValueError("all responses to a prompt are equally long: length explains nothing")
    return np.asarray(x @ rollouts.centred / square)


def length_only(rollouts: Rollouts, log_length: np.ndarray, drift: float) -> np.ndarray:
    """[M] the shift if nothing but length changed, by `drift` in log length: forecast, or as it was observed."""
    return length_slopes(rollouts, log_length) * drift


def prevalence_only(rollouts: Rollouts) -> np.ndarray:
    """[M] the mean base score, prompts counting alike: what is said often has more room to move."""
    return np.asarray(rollouts.means.mean(axis=0))


def shuffled_labels(pairs: PairDeltas, seed: int | Sequence[int] = 0) -> PairDeltas:
    """The same pairs with chosen and rejected exchanged by a fair coin per family: same noise, nothing to forecast."""
    sign = np.where(swapped(pairs.family, seed), -1.0, 1.0)
    return replace(
        pairs, u=pairs.u * sign[:, None], nuisance=pairs.nuisance * sign[:, None], offset=pairs.offset * sign
    )
