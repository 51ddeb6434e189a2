"""Leakage: what else moves when a detector's score is added to the reward or taken from it, before any training.

To first order a reward of −λ·s changes the mean of a concept c by −(λ/β)·Cov₀(c, s), the covariance within prompts
under the untrained model. Two responses to one prompt estimate it without a rollout: half the mean product of their
differences.
"""

from __future__ import annotations

import numpy as np


def covariances(u: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """float64 [M]: ½ mean over pairs of u · d, of u [n, M] (concepts, chosen − rejected) and d [n] (score, likewise).

    Swapping the two responses of a pair changes nothing. NaN without a pair.
    """
    if not len(difference):
        return np.full(u.shape[1], np.nan)
    return np.asarray(0.5 * (u.T @ difference.astype(np.float64)) / len(difference))


def leakage(covariance: np.ndarray, target: float) -> np.ndarray:
    """float64 [M]: ρ = Cov(c, s) / Cov(c_target, s); NaN where the target does not move with the score."""
    return covariance / target if target else np.full(covariance.shape, np.nan)


def strongest(ratio: np.ndarray, n: int) -> np.ndarray:
    """Positions of the n largest |ρ|, largest first, NaN never; of equal ones the first."""
    order = np.argsort(-np.nan_to_num(np.abs(ratio), nan=-1.0), kind="stable")
    return order[np.isfinite(ratio[order])][:n]
