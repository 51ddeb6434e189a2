"""Difference of means: the direction from responses without the trait to those with it, of unit norm."""

from __future__ import annotations

import numpy as np

from pretilt.detectors.detector import Detector
from pretilt.detectors.examples import Examples


def fit_difference(train: Examples) -> Detector:
    """Means over the tokens of each response, then over responses; with token labels over the tokens themselves.

    The bias puts 0 half-way between the two means. Raises ValueError where one of the sides is empty.
    """
    h, label = (train.means(), train.label) if train.token_label is None else (train.h, train.token_label)
    if label.all() or not label.any():
        raise ValueError("a difference needs examples of both sorts")
    with_it, without = (h[side].mean(axis=0, dtype=np.float64) for side in (label, ~label))

    towards = with_it - without
    towards /= max(float(np.linalg.norm(towards)), 1e-30)
    return Detector("difference", towards.astype(np.float32), -float(towards @ (with_it + without) / 2))
