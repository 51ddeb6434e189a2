"""Adaptive shrinkage: a normal mixture fitted to all effects of a view at once; each effect's posterior under it.

theta / s^a ~ pi_0 · (0) + sum_j pi_j · N(0, tau_j²), x | theta ~ N(theta, s²). After Stephens 2016 (ash): the weights
by EM with a penalty that favours zero. Fitted with a = 1, effects alike in standard errors: ours grow with the effect,
and a mixture of effects alike in size (a = 0) called clear effects noise where their standard error is large. The local
false sign rate is the posterior probability that the sign is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

NULL_PENALTY = 10.0  # Dirichlet weight of zero, of all others 1 (ash's default): errs on the side of no effect
FIT_CELLS = 200_000  # cells that the mixture is fitted on, drawn at random from more
ITERATIONS = 400
SMALLEST_GAIN = 1e-7  # in mean log-likelihood
CHUNK = 1 << 16


@dataclass(frozen=True)
class Mixture:
    """`weight` [J + 1], sums to 1; `tau` [J + 1] standard deviations of theta / s^`per_se`, the first is 0."""

    weight: np.ndarray
    tau: np.ndarray
    per_se: int = 0  # 0 or 1: the exponent a

    def posterior(self, x: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(mean, lfsr) of theta for observed x with standard error s; NaN where either is."""
        return self._by_chunk(x, s, self._mean_and_sign)

    def spread(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Posterior standard deviation of theta."""
        return self._by_chunk(x, s, self._moments)[1]

    def interval(self, x: np.ndarray, s: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Credible interval of theta that holds the posterior mean: equal-tailed, and wider where that leaves the mean
        out, which it does where nearly all of the posterior is at zero and a small rest far from it."""
        tail = (1 - confidence) / 2

        def ends(x: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            mean = self._mean_and_sign(x, s)[0]
            lo, hi = (self._quantile(x, s, level) for level in (tail, 1 - tail))
            return np.minimum(lo, mean), np.maximum(hi, mean)

        return self._by_chunk(x, s, ends)

    def _by_chunk(self, x: np.ndarray, s: np.ndarray, function: Any) -> tuple[np.ndarray, np.ndarray]:
        flat_x, flat_s = np.ravel(x), np.ravel(np.broadcast_to(s, np.shape(x)))
        results = np.full((2, flat_x.size), np.nan)
        usable = np.flatnonzero(np.isfinite(flat_x) & (flat_s > 0))
        for start in range(0, usable.size, CHUNK):
            cells = usable[start : start + CHUNK]
            results[:, cells] = self._scaled(flat_x[cells], flat_s[cells], function)
        return results[0].reshape(np.shape(x)), results[1].reshape(np.shape(x))

    def _scaled(self, x: np.ndarray, s: np.ndarray, function: Any) -> tuple[np.ndarray, np.ndarray]:
        """In the units of the mixture and back; a local false sign rate has none."""
        if not self.per_se:
            return function(x, s)  # type: ignore[no-any-return]
        first, second = function(x / s, np.ones_like(s))
        return first * s, second if function == self._mean_and_sign else second * s

    def _components(self, x: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posterior weight, mean and sd of every component, [n, J + 1] each."""
        density = np.log(np.maximum(self.weight, 1e-300)) + _log_normal(x, s, self.tau)
        weight = np.exp(density - density.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        shrink = self.tau**2 / (self.tau**2 + s[:, None] ** 2)
        return weight, shrink * x[:, None], np.sqrt(shrink) * s[:, None]

    def _mean_and_sign(self, x: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight, mean, sd = self._components(x, s)
        below = np.where(sd > 0, ndtr(-mean / np.where(sd > 0, sd, 1.0)), 0.0)
        zero = np.where(sd > 0, 0.0, weight).sum(axis=1)
        negative = (weight * below).sum(axis=1)
        positive = np.maximum(1 - zero - negative, 0.0)
        return (weight * mean).sum(axis=1), zero + np.minimum(negative, positive)

    def _moments(self, x: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight, mean, sd = self._components(x, s)
        centre = (weight * mean).sum(axis=1)
        return centre, np.sqrt(np.maximum((weight * (mean**2 + sd**2)).sum(axis=1) - centre**2, 0.0))

    def _quantile(self, x: np.ndarray, s: np.ndarray, level: float) -> np.ndarray:
        weight, mean, sd = self._components(x, s)
        spread = 8 * sd.max(axis=1)
        lo, hi = np.minimum(mean.min(axis=1), 0) - spread, np.maximum(mean.max(axis=1), 0) + spread
        for _ in range(48):
            middle = (lo + hi) / 2
            step = (middle[:, None] >= mean).astype(float)  # the part at zero: a jump
            below = np.where(sd > 0, ndtr((middle[:, None] - mean) / np.where(sd > 0, sd, 1.0)), step)
            high = (weight * below).sum(axis=1) >= level
            lo, hi = np.where(high, lo, middle), np.where(high, middle, hi)
        # A quantile inside the jump at zero is zero itself, not the last point of a bisection.
        return np.where((lo <= 0) & (hi >= 0), 0.0, hi)


def fit_mixture(x: np.ndarray, s: np.ndarray, *, seed: int = 0) -> Mixture:
    """Fit the mixture to effects x with standard errors s (any shape; NaN left out)."""
    x, s = np.ravel(x), np.ravel(s)
    usable = np.flatnonzero(np.isfinite(x) & (s > 0))
    if not usable.size:
        return Mixture(np.ones(1), np.zeros(1))
    if usable.size > FIT_CELLS:
        usable = np.sort(np.random.default_rng(seed).choice(usable, FIT_CELLS, replace=False))
    x, s = x[usable], s[usable]
    weight, tau = _fit(x / s, np.ones_like(s))
    return Mixture(weight, tau, per_se=1)


def _fit(x: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and grid."""
    smallest = float(np.quantile(s, 0.01)) / 4
    largest = max(2 * float(np.sqrt(np.maximum(x**2 - s**2, 0).max())), 4 * smallest)
    tau = np.concatenate([[0.0], np.geomspace(smallest, largest, 2 + int(np.ceil(np.log2(largest / smallest))))])

    density = _log_normal(x, s, tau)
    peak = density.max(axis=1, keepdims=True)
    density = np.exp(density - peak)

    prior = np.ones(tau.size)
    prior[0] = NULL_PENALTY
    weight, last = prior / prior.sum(), -np.inf

    for _ in range(ITERATIONS):
        mixed = density @ weight
        weight = weight * (density.T @ (1 / mixed)) + prior - 1
        weight /= weight.sum()
        now = float(np.log(mixed).mean())
        if now - last < SMALLEST_GAIN:
            break
        last = now

    return weight, tau


def _log_normal(x: np.ndarray, s: np.ndarray, tau: np.ndarray) -> np.ndarray:
    variance = s[:, None] ** 2 + tau**2
    density: np.ndarray = -0.5 * (np.log(variance) + x[:, None] ** 2 / variance)
    return density
