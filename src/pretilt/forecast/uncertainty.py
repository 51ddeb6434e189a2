"""How sure a forecast is: families of pairs and prompts of rollouts are drawn again, independently of each other.

A draw gives every family and every prompt an independent Poisson(1) weight, refits what depends on the pairs, and
keeps the ridge, the shrinkage and the training time. An interval is the forecast ± 1.96 standard deviations of the
draws: quantiles of a few hundred draws are themselves too noisy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from pretilt.forecast.ladder import Ladder, Rung
from pretilt.forecast.samples import Rollouts

DRAWS = 200
CONFIDENCE = 0.95
SPLITS = 20
Estimate = Rung | Literal["w"]


@dataclass(frozen=True)
class Interval:
    """A number per concept and how far it may be off; float64 [M] each."""

    value: np.ndarray
    sd: np.ndarray  # >= 0
    confidence: float = CONFIDENCE

    @property
    def lo(self) -> np.ndarray:
        return np.asarray(self.value - self._width)

    @property
    def hi(self) -> np.ndarray:
        return np.asarray(self.value + self._width)

    @property
    def sign_known(self) -> np.ndarray:
        """bool [M]: 0 is outside. An interval without width around 0 knows no sign."""
        return (self.lo > 0) | (self.hi < 0)

    @property
    def _width(self) -> np.ndarray:
        return np.asarray(float(ndtri((1 + self.confidence) / 2)) * self.sd)


def bootstrap(ladder: Ladder, draws: int = DRAWS, seed: int = 0) -> dict[Estimate, np.ndarray]:
    """ "w" and every rung under redrawn weights, float64 [draws, M] each.

    Raises ValueError with fewer than two families, or prompts where there are rollouts.
    """
    rng = np.random.default_rng(seed)
    families, units = _informative(ladder)
    if min(np.count_nonzero(families), np.count_nonzero(units)) < 2:
        raise ValueError("a bootstrap needs two families, and two units of prompts with several rollouts each")
    values_of: dict[Estimate, list[np.ndarray]] = {}
    for _ in range(draws):
        prediction = ladder.predict(_poisson(rng, families), _poisson(rng, units))
        for name, value in _estimates(prediction.w, prediction.shift).items():
            values_of.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in values_of.items()}


def _informative(ladder: Ladder) -> tuple[np.ndarray, np.ndarray]:
    """Which families of the pairs, and units of the prompts, say anything: bool [n_families], [n_units]."""
    pairs, rollouts = ladder.pairs, ladder.rollouts
    families = np.bincount(pairs.family, pairs.weight) > 0
    if rollouts is None:
        return families, ladder.base.unit_size > 0
    return families, np.bincount(rollouts.unit, rollouts.per_prompt >= 2, minlength=rollouts.n_units) > 0


def _poisson(rng: np.random.Generator, informative: np.ndarray) -> np.ndarray:
    """Poisson(1) weights, float64 [n]; a draw that leaves nothing that says anything is drawn again."""
    while True:
        weight = rng.poisson(1.0, informative.size).astype(np.float64)
        if weight[informative].any():
            return weight


def _estimates(w: np.ndarray, shift: dict[Rung, np.ndarray]) -> dict[Estimate, np.ndarray]:
    estimates: dict[Estimate, np.ndarray] = {"w": w}
    estimates.update(shift.items())
    return estimates


def intervals(ladder: Ladder, draws: dict[Estimate, np.ndarray]) -> dict[Estimate, Interval]:
    """The ladder's numbers with the spread of their draws."""
    prediction = ladder.predict()
    return {
        name: Interval(value, draws[name].std(axis=0, ddof=1))
        for name, value in _estimates(prediction.w, prediction.shift).items()
    }


def half_forecasts(
    ladder: Ladder, splits: int = SPLITS, seed: int = 0
) -> dict[Estimate, tuple[np.ndarray, np.ndarray]]:
    """ "w" and every rung from either half of the families and of the prompts, float64 [splits, M] twice.

    What `reliability` makes of a pair of these is rel_x. Half of the data is fitted with the ridge of all of it.
    """
    rng = np.random.default_rng(seed)
    n_families, n_units = (informative.size for informative in _informative(ladder))
    halves_of: dict[Estimate, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for _ in range(splits):
        family, unit = half_mask(rng, n_families), half_mask(rng, n_units)
        for half in (0, 1):
            prediction = ladder.predict((family == half).astype(np.float64), (unit == half).astype(np.float64))
            for name, value in _estimates(prediction.w, prediction.shift).items():
                halves_of.setdefault(name, ([], []))[half].append(value)
    return {name: (np.stack(a), np.stack(b)) for name, (a, b) in halves_of.items()}


def half_mask(rng: np.random.Generator, n: int) -> np.ndarray:
    """int8 [n]: a random half of the units is 1, the other 0. Raises ValueError for fewer than two."""
    if n < 2:
        raise ValueError("halves need at least two units")
    mask = np.zeros(n, np.int8)
    mask[rng.permutation(n)[: n // 2]] = 1
    return mask


def rollout_noise(rollouts: Rollouts, n_prompts: int, per_prompt: float) -> np.ndarray:
    """Variance that sampling alone gives an observed shift, [M]: 2 · within-prompt variance / (J K).

    `n_prompts`, `per_prompt`: J and K of the evaluation, before as after. The spread after training is taken to be
    that before; the two sets of rollouts are independent.
    """
    free = np.maximum(rollouts.per_prompt - 1, 1)[rollouts.prompt]
    several = int((rollouts.per_prompt >= 2).sum())
    if not several:
        raise ValueError("the variance within prompts needs a prompt with at least two rollouts")
    variance = np.einsum("r,rm,rm->m", 1.0 / free, rollouts.centred, rollouts.centred) / several
    return np.asarray(2 * variance / (n_prompts * per_prompt))


def predictive(
    forecast: Interval,
    noise: np.ndarray,
    *,
    scale: float = 1.0,
    model_sd: float | np.ndarray = 0.0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Where the *observed* shift should fall: the forecast times one calibrated scale, with the noise of measuring it.

    noise [M]: `rollout_noise`, plus the variance of the shift between prompts over their number where new prompts are
    meant. model_sd: what the law itself misses, in units of the observed shift, from residuals of earlier runs.
    """
    sd = np.sqrt((scale * forecast.sd) ** 2 + noise + np.square(model_sd))
    return Interval(scale * forecast.value, sd, confidence)


def law_error(residual: np.ndarray, variance: np.ndarray, unit: np.ndarray) -> tuple[float, np.ndarray]:
    """What is missed beyond the noise: maximum likelihood of tau in residual ~ N(0, variance + (tau unit)²).

    All [M]; `unit` is the size that a miss is measured in. Returns tau of all concepts and, for each, that of the
    others, so that an interval is not widened by the very miss that it is held against. Concepts whose unit is 0 say
    nothing; tau is 0 where no more is missed than noise explains, and at most 10.
    """
    says = unit > 0
    if not says.any():
        return 0.0, np.zeros(residual.size)
    tau = np.concatenate([[0.0], np.geomspace(1e-4, 10, 400)])  # 3 % apart
    whole = np.maximum(variance[says] + np.square(tau[:, None] * unit[says]), np.finfo(float).tiny)
    likelihood = -0.5 * (np.log(whole) + residual[says] ** 2 / whole)  # [tau, M]
    total = likelihood.sum(axis=1)
    best = float(tau[total.argmax()])
    left_out = np.full(residual.size, best)
    if says.sum() > 1:
        left_out[says] = tau[(total[:, None] - likelihood).argmax(axis=0)]
    return best, left_out
