"""Linear probes: weighted logistic regression on tokens, or on the difference between two responses to one prompt."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from pretilt.detectors.detector import Detector
from pretilt.detectors.examples import Examples, spread
from pretilt.detectors.search import minimised

LEAST_CONTRASTS = 8  # pairs with one response of each sort; with fewer the responses are classified one at a time


def fit_linear(train: Examples, penalty: float) -> Detector:
    """Token labels: cross-entropy per token, both labels weighing alike (`pos_weight`). Without them: −log σ(w · (mean
    of the response with the trait − mean of the one without)) over the pairs that hold one of each.

    `penalty` is half the weight of ‖w‖² against the mean loss, in standard deviations of every dimension.
    """
    if train.token_label is not None:
        return _from_tokens(train.h, train.token_label, penalty)

    means = train.means()
    with_it, without = train.contrasts()
    if with_it.size < LEAST_CONTRASTS:
        return _from_tokens(means.astype(np.float32), train.label, penalty)
    _, deviation = spread(train.h)
    x = (means[with_it] - means[without]) / deviation
    weight = minimised(lambda w: _pairwise(w, x, penalty), np.zeros(x.shape[1])) / deviation
    return Detector("linear", weight.astype(np.float32), -float(means.mean(axis=0) @ weight))


def _from_tokens(h: np.ndarray, label: np.ndarray, penalty: float) -> Detector:
    """The weights stand for standardised h, which is never made: it would be a copy of all tokens."""
    mean, deviation = spread(h)
    weights = np.where(label, 0.5 / max(label.sum(), 1), 0.5 / max((~label).sum(), 1))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        w = parameters[:-1] / deviation
        logit = (h @ w.astype(np.float32)).astype(np.float64) + (parameters[-1] - mean @ w)
        value = weights @ np.logaddexp(0.0, np.where(label, -logit, logit))
        slope = weights * (expit(logit) - label)
        gradient = (slope.astype(np.float32) @ h - slope.sum() * mean) / deviation
        penalised = penalty * parameters[:-1]
        return float(value + 0.5 * penalised @ parameters[:-1]), np.append(gradient + penalised, slope.sum())

    parameters = minimised(loss, np.zeros(h.shape[1] + 1))
    weight = parameters[:-1] / deviation
    return Detector("linear", weight.astype(np.float32), float(parameters[-1] - mean @ weight))


def _pairwise(w: np.ndarray, x: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    margin = x @ w
    value = np.logaddexp(0.0, -margin).mean() + 0.5 * penalty * (w @ w)
    return float(value), -(expit(-margin) @ x) / len(x) + penalty * w
