"""Which concepts say the same of the pairs: their signed scores rise and fall together."""

from __future__ import annotations

import numpy as np

LEAST_CORRELATION = 0.9  # from which two concepts are shown as one
MOST_PAIRS = 20_000  # pairs by which that is told: the error of a correlation of .9 is then 0.001
_BLOCK = 512


def alike(scores: list[np.ndarray], least: float = LEAST_CORRELATION) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(i, j, correlation) with i < j of all columns whose Pearson correlation is at least `least`, by i, then j.

    `scores`: float arrays of one length, of which every k-th value is read where there are more than MOST_PAIRS. A
    constant column is like none.
    """
    step = max(1, -(-scores[0].size // MOST_PAIRS)) if scores else 1
    columns = np.zeros((len(scores), scores[0][::step].size if scores else 0), np.float32)
    for column, values in zip(columns, scores, strict=True):
        centred = values[::step] - values[::step].mean() if values.size else values
        norm = float(np.sqrt(centred @ centred))
        if norm > 0:
            column[:] = centred / norm
    first, second, value = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for start in range(0, len(columns), _BLOCK):
        correlation = columns[start : start + _BLOCK] @ columns.T
        i, j = np.nonzero(correlation >= least)
        later = j > i + start
        first.append(i[later] + start)
        second.append(j[later])
        value.append(correlation[i[later], j[later]])
    return np.concatenate(first), np.concatenate(second), np.minimum(np.concatenate(value), 1.0).astype(np.float64)
