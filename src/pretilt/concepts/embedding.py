"""Features as points: the right singular vectors of a large sparse matrix, standardised without ever being dense."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csc_array, csr_array, vstack

from pretilt.concepts.parallel import in_order

N_POWER_ITERATIONS, N_EXTRA = 2, 16  # ours; of the randomised SVD
ROWS_PER_PRODUCT = 1024


def rows_together(parts: Sequence[csr_array]) -> list[csc_array]:
    """The same rows in blocks of `ROWS_PER_PRODUCT`, whatever the blocks they came in: the same sums in the same order.

    By column, and so few rows that their side of a product fits the processor's cache, while the other side is read
    from front to back: five times as fast as by row, where it is read in no order.
    """
    x = csr_array(vstack(parts, format="csr"))
    return [csc_array(x[start : start + ROWS_PER_PRODUCT]) for start in range(0, x.shape[0], ROWS_PER_PRODUCT)]


def right_singular_vectors(
    parts: Sequence[csr_array | csc_array], mean: np.ndarray, sd: np.ndarray, rank: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """V [F, rank] and Sigma [rank], largest first, of the standardised matrix (X - mean) / sd.

    `parts`: blocks of rows of X [N, F], sparse, best as `rows_together` makes them. Randomised SVD (Halko, Martinsson
    and Tropp 2011, algorithm 4.4; LU in between, as Li et al. 2017) that never holds the standardised matrix: its
    products are those of X, less a matrix of rank one. Exact where rank + 16 reaches N or F, else nearly so. Of every
    column of V the entry of largest size is positive.
    """
    from scipy.linalg import lu, qr

    width = min(rank + N_EXTRA, sum(x.shape[0] for x in parts), mean.size)
    ends = np.cumsum([x.shape[0] for x in parts])
    rows = [slice(end - x.shape[0], end) for x, end in zip(parts, ends, strict=True)]

    def times(v: np.ndarray) -> np.ndarray:  # (F, width) -> (N, width)
        v = v / sd[:, None]
        return np.concatenate(list(in_order(lambda x: x @ v, parts))) - mean @ v

    def transposed(u: np.ndarray) -> np.ndarray:  # (N, width) -> (F, width)
        out = -np.outer(mean, u.sum(axis=0))
        for product in in_order(lambda part: part[0].T @ u[part[1]], list(zip(parts, rows, strict=True))):
            out += product
        return out / sd[:, None]

    def lower(x: np.ndarray) -> np.ndarray:
        triangle: np.ndarray = lu(x, permute_l=True, overwrite_a=True, check_finite=False)[0]
        return triangle

    basis = times(np.random.default_rng(seed).standard_normal((mean.size, width)))
    for _ in range(N_POWER_ITERATIONS):
        basis = times(lower(transposed(lower(basis))))
    basis = qr(basis, mode="economic", overwrite_a=True, check_finite=False)[0]
    v, sigma, _ = np.linalg.svd(transposed(basis), full_matrices=False)
    v, sigma = v[:, :rank], sigma[:rank]
    return v * np.sign(v[np.abs(v).argmax(axis=0), np.arange(v.shape[1])]), sigma


def embed(v: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Embedding of every feature, one row each: its column of Sigma V^T at unit length, to 6 decimals [F, rank]."""
    points = v * sigma
    return np.round(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-300), 6)
