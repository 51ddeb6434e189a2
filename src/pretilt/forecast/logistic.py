"""Ridge logistic regression of pairs that the first response always wins; exact, also for more concepts than pairs.

    minimise  sum_i w_i log(1 + exp(-(x_i a + o_i))) / sum_i w_i  +  1/2 sum_k penalty_k a_k²

No intercept: swapping the two responses of a pair must flip every sign, and a constant would only say "the chosen one
was chosen". Newton's method; its linear systems are solved by conjugate gradients, preconditioned with the Hessian at
zero, which bounds all Hessians (Boehning 1992): one Cholesky factor serves every step, fold and bootstrap draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import expit

TOLERANCE = 1e-8  # of the gradient's largest entry, in units of the mean loss per standardised column
NUISANCE_RIDGE = 1e-6  # keeps a nuisance that tells all pairs apart finite; nothing else feels it
MAX_NEWTON, MAX_CG, MAX_HALVINGS = 60, 200, 40


@dataclass(frozen=True)
class Design:
    """Concept deltas in coordinates of at most min(n, M) dimensions, then the nuisance columns, in units of their rms.

    u · sqrt(metric) = x[:, :rank] @ basis with orthonormal rows in `basis` (None: the identity), so that the ridge on
    the coordinates is the ridge on w / sqrt(metric).
    """

    x: np.ndarray  # float64 [n, rank + p]
    rank: int
    basis: np.ndarray | None  # float64 [rank, M]
    root_metric: np.ndarray  # float64 [M]
    nuisance_rms: np.ndarray  # float64 [p]

    @classmethod
    def of(cls, u: np.ndarray, nuisance: np.ndarray, metric: np.ndarray) -> Design:
        """`metric` [M] >= 0: how easily each concept takes weight; the ridge is sum w² / metric. 0: never any."""
        root = np.sqrt(metric)
        scaled, basis = u * root, None
        if u.shape[1] > len(u):
            values, vectors = np.linalg.eigh(scaled @ scaled.T)
            kept = values > max(len(u), 1) * np.finfo(float).eps * max(float(values[-1]), 0.0)
            length = np.sqrt(values[kept])
            basis = (vectors[:, kept] / length).T @ scaled
            scaled = vectors[:, kept] * length
        rms = np.sqrt(np.mean(nuisance**2, axis=0)) if nuisance.size else np.ones(nuisance.shape[1])
        x = np.concatenate([scaled, nuisance / np.where(rms > 0, rms, 1.0)], axis=1)
        return cls(np.ascontiguousarray(x), scaled.shape[1], basis, root, np.where(rms > 0, rms, 1.0))

    def penalty(self, ridge: float) -> np.ndarray:
        """[rank + p]"""
        return np.concatenate([np.full(self.rank, ridge), np.full(self.nuisance_rms.size, NUISANCE_RIDGE)])

    def lift(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(w [M], coefficient of every nuisance [p]) in the units of u and of the covariates."""
        w = a[: self.rank] if self.basis is None else a[: self.rank] @ self.basis
        return w * self.root_metric, a[self.rank :] / self.nuisance_rms


def gram(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum of w x x', [k, k]; four times the weighted sum of the Hessians at zero without offsets."""
    return np.asarray((x.T * weight) @ x)


def factorised(weighted_gram: np.ndarray, total_weight: float, penalty: np.ndarray) -> tuple[np.ndarray, bool]:
    """Cholesky factor of the preconditioner."""
    bound = weighted_gram / (4 * total_weight) + np.diag(np.maximum(penalty, 1e-12))
    return cho_factor(bound, lower=True, overwrite_a=True)  # type: ignore[no-any-return]


def minimise(
    x: np.ndarray,
    offset: np.ndarray,
    weight: np.ndarray,
    penalty: np.ndarray,
    factor: tuple[np.ndarray, bool],
    start: np.ndarray | None = None,
) -> np.ndarray:
    """The minimum a, [k]. `x` [n, k]; rows of weight 0 do not count. Raises ValueError if Newton does not end."""
    k, total = x.shape[1], float(weight.sum())
    share = weight / total
    a = np.zeros(k) if start is None else start.copy()
    precondition = LinearOperator((k, k), matvec=lambda v: cho_solve(factor, v), dtype=np.float64)

    def objective(at: np.ndarray, margin: np.ndarray) -> float:
        return float(share @ np.logaddexp(0.0, -margin) + 0.5 * (penalty * at) @ at)

    margin = x @ a + offset
    value = objective(a, margin)
    for _ in range(MAX_NEWTON):
        wrong = expit(-margin)
        gradient = penalty * a - x.T @ (share * wrong)
        size = float(np.abs(gradient).max(initial=0.0))
        if size <= TOLERANCE:
            return a
        curvature = share * wrong * (1 - wrong)

        def hessian(v: np.ndarray, curvature: np.ndarray = curvature) -> np.ndarray:
            return np.asarray(x.T @ (curvature * (x @ v)) + penalty * v)

        operator = LinearOperator((k, k), matvec=hessian, dtype=np.float64)
        step, _ = cg(operator, -gradient, rtol=min(0.1, np.sqrt(size)), maxiter=MAX_CG, M=precondition)
        slope, along = float(gradient @ step), x @ step
        length = 1.0
        for _ in range(MAX_HALVINGS):
            new = objective(a + length * step, margin + length * along)
            if new <= value + 1e-4 * length * slope + 1e-15:
                break
            length /= 2
        a, margin, value = a + length * step, margin + length * along, new
    raise ValueError(f"logistic regression did not converge: gradient {size:.1e} after {MAX_NEWTON} Newton steps")
