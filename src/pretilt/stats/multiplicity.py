"""False discovery rate over every test that was attempted, shown or not."""

from __future__ import annotations

import numpy as np


def q_values(p: np.ndarray, n_tests: int | None = None) -> np.ndarray:
    """Benjamini-Hochberg q, in [0, 1], in the shape of `p`; NaN where p is NaN.

    `n_tests` >= the number of p-values: attempted tests whose p is undefined or not in hand count as p = 1.
    """
    flat = p.ravel()
    defined = np.flatnonzero(~np.isnan(flat))
    n = flat.size if n_tests is None else n_tests
    if n < defined.size:
        raise ValueError(f"{defined.size} p-values out of {n} tests")
    order = defined[np.argsort(flat[defined], kind="stable")]
    scaled = flat[order] * (n / np.arange(1, order.size + 1))
    q = np.full(flat.size, np.nan)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q.reshape(p.shape)
