"""Weights after training for a while: gradient flow on the Bradley-Terry loss, linearised at the untrained model.

    A = E[sigma'(o) u u'],  b = E[sigma(-o) u]        (no offsets: A = S/4 with S = E[u u'], b = mean(u) / 2)
    dw/dt = b - A w   gives   w_t = A^-1 (I - exp(-t A)) b

t -> 0: w_t = t b, one step on all pairs; t -> infinity: the Bradley-Terry solution for small margins. A policy whose
kernel is c'c (or sum_m metric_m c_m c_m') shifts its concepts by Sigma_0 w_t. Ours, derived from the logistic loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import brentq
from scipy.special import expit

from tiltmeter.forecast.samples import PairDeltas

LANCZOS_TOLERANCE = 1e-7
_EVERY = 8  # Lanczos steps between two looks at the error
_NULL = 1e-10  # eigenvalues below this share of the largest are 0


@dataclass(frozen=True)
class Flow:
    """The flow in the eigenbasis of A. Build with `of`."""

    values: np.ndarray  # float64 [r] >= 0, eigenvalues of A, ascending; r <= min(n, M)
    vectors: np.ndarray  # float64 [M, r], orthonormal
    drive: np.ndarray  # float64 [r], b in the eigenbasis
    root_metric: np.ndarray  # float64 [M]

    @classmethod
    def of(cls, pairs: PairDeltas, metric: np.ndarray | None = None) -> Flow:
        """Exact, by one eigendecomposition of min(n, M) dimensions."""
        root, x, curvature, push = _parts(pairs, metric, None)
        b = x.T @ push
        scaled = x * np.sqrt(curvature)[:, None]
        if x.shape[1] <= len(x):
            values, vectors = np.linalg.eigh(scaled.T @ scaled)
            values = np.maximum(values, 0.0)
        else:
            values, left = np.linalg.eigh(scaled @ scaled.T)
            kept = values > _NULL * values[-1]
            values = values[kept]
            vectors = scaled.T @ (left[:, kept] / np.sqrt(values))
        return cls(values, vectors, vectors.T @ b, root)

    def at(self, time: float) -> np.ndarray:
        """w_t, [M]; `time` >= 0, infinity included."""
        return np.asarray(self.root_metric * (self.vectors @ (spread(self.values, time) * self.drive)))

    def margin(self, time: float) -> float:
        """Mean margin w_t'u over the pairs as their weights are, >= 0 and growing with t; without offsets."""
        return float(2 * (spread(self.values, time) * self.drive) @ self.drive)

    def time_for_margin(self, mean_margin: float) -> float:
        """The time at which the mean margin is what a (pilot) run was seen to reach; infinity beyond the limit."""
        if mean_margin <= 0:
            return 0.0
        if mean_margin >= self.margin(np.inf):
            return float("inf")
        low, high = -40.0, 0.0  # log of t · largest eigenvalue
        scale = 1.0 / max(float(self.values.max()), np.finfo(float).tiny)
        while self.margin(scale * np.exp(high)) < mean_margin:
            high += 2.0
        return float(scale * np.exp(brentq(lambda x: self.margin(scale * np.exp(x)) - mean_margin, low, high)))


def spread(values: np.ndarray, time: float) -> np.ndarray:
    """(1 - exp(-t a)) / a, and its limit t where a t is tiny; at t = infinity 1 / a, and 0 in the null space."""
    if time < 0:
        raise ValueError(f"time {time} must be >= 0")
    if np.isinf(time):
        inside = values > _NULL * values.max(initial=0.0)
        return np.divide(1.0, values, out=np.zeros_like(values), where=inside)
    inside = values * time > 1e-12
    return np.divide(-np.expm1(-values * time), values, out=np.full_like(values, time), where=inside)


def flow_weights(
    pairs: PairDeltas,
    time: float,
    metric: np.ndarray | None = None,
    family_weight: np.ndarray | None = None,
) -> np.ndarray:
    """w_t for reweighted families, [M], by Lanczos' method: a few products with u instead of an eigendecomposition.

    Same numbers as `Flow.at` to about 1e-7; for bootstrap draws, whose A differs each time.
    """
    root, x, curvature, push = _parts(pairs, metric, family_weight)
    b = x.T @ push
    size = float(np.linalg.norm(b))
    if size == 0:
        return np.zeros_like(b)
    basis: list[np.ndarray] = [b / size]
    diagonal: list[float] = []
    beside: list[float] = []
    limit = min(x.shape)
    for step in range(1, limit + 1):
        v = x.T @ (curvature * (x @ basis[-1]))
        diagonal.append(float(v @ basis[-1]))
        known = np.stack(basis)
        for _ in range(2):  # twice is enough: the basis stays orthogonal to rounding
            v -= known.T @ (known @ v)
        rest = float(np.linalg.norm(v))
        ended = rest <= 1e-13 * max(diagonal) or step == limit
        if ended or step % _EVERY == 0:
            values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside))
            y = vectors @ (spread(np.maximum(values, 0.0), time) * vectors[0])
            if ended or np.abs(y[-_EVERY // 2 :]).max() <= LANCZOS_TOLERANCE * np.abs(y).max():
                return np.asarray(root * (size * y @ known))
        beside.append(rest)
        basis.append(v / rest)
    raise AssertionError("unreachable: the last step returns")


def _parts(
    pairs: PairDeltas, metric: np.ndarray | None, family_weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(sqrt(metric), u · sqrt(metric), weights of A's rows, weights of b's rows)."""
    root = np.ones(pairs.u.shape[1]) if metric is None else np.sqrt(metric)
    weight = pairs.pair_weight(family_weight)
    share, wrong = weight / weight.sum(), expit(-pairs.offset)
    return root, (pairs.u if metric is None else pairs.u * root), share * wrong * (1 - wrong), share * wrong
