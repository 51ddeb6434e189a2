"""The low-rank edit NoDiReFT, h → h + W2 (W1 h + b), fitted in closed form to what separates two responses.

The edit that a response without the trait needs is the difference of means between the response with it and this one;
a response with it needs none. How far the edit still goes along the mean difference tells the two apart.
"""

from __future__ import annotations

import numpy as np

from pretilt.detectors.detector import Detector
from pretilt.detectors.examples import Examples, spread

RANK = 8


def fit_subspace(train: Examples, penalty: float, rank: int = RANK) -> Detector:
    """Reduced-rank ridge regression of the edits on the means of the responses; with token labels of each response the
    labelled tokens and the others stand in the place of two responses.

    `penalty` is the ridge per response, in standard deviations of every dimension. Raises ValueError where there is no
    difference to fit.
    """
    with_it, without = _two_sides(train)
    difference = with_it - without
    mean, deviation = spread(train.h)

    x = np.concatenate([with_it, without])
    x = np.column_stack([(x - mean) / deviation, np.ones(len(x))])
    edits = np.concatenate([np.zeros_like(difference), difference])
    ridge = np.full(x.shape[1], penalty * len(x))
    ridge[-1] = 1e-9 * len(x)  # the constant is not held back
    coefficients = np.linalg.solve(x.T @ x + np.diag(ridge), x.T @ edits)  # [d_model + 1, d_model]

    _, _, right = np.linalg.svd(x @ coefficients, full_matrices=False)
    w2 = right[:rank].T
    w1 = (coefficients[:-1] @ w2).T / deviation
    b = coefficients[-1] @ w2 - w1 @ mean

    towards = difference.mean(axis=0)
    towards /= max(float(np.linalg.norm(towards)), 1e-30)
    read = towards @ w2
    extra = {"W1": w1, "b": b, "W2": w2, "edit": towards}
    return Detector(
        "subspace",
        (-(read @ w1)).astype(np.float32),
        -float(read @ b),
        extra={name: values.astype(np.float32) for name, values in extra.items()},
    )


def _two_sides(train: Examples) -> tuple[np.ndarray, np.ndarray]:
    """float64 [K, d_model] twice: states with the trait and without it, of the same response or the same prompt."""
    if train.token_label is not None:
        sides = []
        for side in (train.token_label, ~train.token_label):
            counts = np.add.reduceat(side.astype(np.int64), train.starts[:-1])
            sums = np.add.reduceat(train.h * side[:, None], train.starts[:-1], axis=0, dtype=np.float64)
            sides.append((counts, sums))
        both = (sides[0][0] > 0) & (sides[1][0] > 0)
        with_it, without = (sums[both] / counts[both, None] for counts, sums in sides)
    else:
        means = train.means()
        first, second = train.contrasts()
        with_it, without = means[first], means[second]
        if not first.size:  # no prompt has both sorts: every response is held against the mean of the other sort
            with_it = means[train.label]
            without = np.broadcast_to(means[~train.label].mean(axis=0), with_it.shape)
    if not len(with_it):
        raise ValueError("no response holds tokens of both sorts")
    return with_it, without
