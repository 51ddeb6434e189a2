"""Resampling of whole families: how stable a rank is, and an exact p for global effects.

Draws are matrix products: weights of families × rows with the dense columns. Families, not pairs, are drawn, because
near-duplicates come and go together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pretilt.stats.columns import Columns
from pretilt.stats.sets import Sets

DRAWS = 200
TOP = 50
FLIPS = 1999  # smallest possible p: 1 / 2000
_FLIPS_AT_ONCE = 250
_COLUMNS_AT_ONCE = 64


def bootstrap_deltas(
    columns: Columns, sets: Sets, set_number: np.ndarray, column: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """delta of some cells in every draw, float64 (draws, n_cells), NaN where a draw leaves a side empty.

    A draw gives every family an independent Poisson(1) weight. `set_number` (0 … K - 1) and `column` name the cells.
    """
    rng = np.random.default_rng(seed)
    n_families = int(sets.family.max(initial=-1)) + 1
    weight = rng.poisson(1.0, size=(draws, n_families)).astype(np.float32)
    pool_weight = weight[:, sets.family[sets.pool]]
    n_pool = pool_weight.sum(axis=1, dtype=np.float64)

    deltas = np.full((draws, column.size), np.nan)
    cells = np.lexsort((set_number, column))
    distinct = np.unique(column)

    for start in range(0, distinct.size, _COLUMNS_AT_ONCE):
        block_columns = distinct[start : start + _COLUMNS_AT_ONCE]
        block = columns.dense(block_columns, np.float32)
        pool_total = (pool_weight @ block[sets.pool]).astype(np.float64)
        block_cells = cells[np.isin(column[cells], block_columns)]

        for k in np.unique(set_number[block_cells]):
            set_cells = block_cells[set_number[block_cells] == k]
            j = np.searchsorted(block_columns, column[set_cells])
            rows = sets.rows[sets.indptr[k] : sets.indptr[k + 1]]
            w = weight[:, sets.family[rows]]
            total, n_in = (w @ block[np.ix_(rows, j)]).astype(np.float64), w.sum(axis=1, dtype=np.float64)[:, None]
            with np.errstate(invalid="ignore", divide="ignore"):
                delta = total / n_in
                if not sets.against_zero:
                    delta = delta - (pool_total[:, j] - total) / (n_pool[:, None] - n_in)
            deltas[:, set_cells] = delta / columns.scale[column[set_cells]]

    return np.where(np.isfinite(deltas), deltas, np.nan)


def rank_stability(
    deltas: np.ndarray, key: Callable[[np.ndarray], np.ndarray], direction: np.ndarray, *, top: int = TOP
) -> np.ndarray:
    """Share of the draws in which each cell is among the `top` of its own direction's list, [n_cells] in [0, 1].

    `deltas` (draws, n_cells); `key` turns deltas of one draw into what the list is ordered by (larger is earlier);
    `direction` +1 or -1 per cell. A cell whose sign turns in a draw is in the other list there.
    """
    counted = np.zeros(deltas.shape[1])
    for draw in deltas:
        value = np.where(np.isnan(draw), -np.inf, key(draw))
        for sign in (1.0, -1.0):
            same_sign = np.flatnonzero(np.sign(draw) == sign)
            first = same_sign[np.argsort(-value[same_sign], kind="stable")[:top]]
            counted[first[direction[first] == sign]] += 1
    return counted / len(deltas)


def sign_flip_p(
    columns: Columns, family: np.ndarray, selected: np.ndarray, *, flips: int = FLIPS, seed: int = 0
) -> np.ndarray:
    """Exact permutation p of "the mean is 0" for some columns: chosen and rejected swapped by whole families.

    `selected` int [n]: column numbers. Returns float64 [n] in [1 / (flips + 1), 1]: the share of random sign flips,
    the data's own included, whose total is at least as far from 0. Exact whatever the distribution, for any number
    of families.
    """
    family = np.unique(family, return_inverse=True)[1]
    order = np.argsort(family, kind="stable")
    starts = np.flatnonzero(np.diff(family[order], prepend=-1))

    p = np.empty(selected.size)
    for start in range(0, selected.size, _COLUMNS_AT_ONCE):
        block_columns = selected[start : start + _COLUMNS_AT_ONCE]
        sums = np.add.reduceat(columns.dense(block_columns)[order], starts, axis=0).astype(np.float32)

        nonzero_families = np.flatnonzero(np.any(sums != 0, axis=1))  # flipping a sum of 0 changes nothing
        sums = np.ascontiguousarray(sums[nonzero_families])
        rng = np.random.default_rng(seed)
        actual = np.abs(sums.sum(axis=0, dtype=np.float64))
        slack = 1e-5 * np.abs(sums).sum(axis=0, dtype=np.float64)  # float32: a tie counts against us

        extreme = np.ones(block_columns.size)
        for done in range(0, flips, _FLIPS_AT_ONCE):
            n = min(_FLIPS_AT_ONCE, flips - done)
            coins = rng.integers(0, 2, size=(n, starts.size), dtype=np.int8)  # the same whichever columns are together
            sign = coins[:, nonzero_families].astype(np.float32) * 2 - 1
            extreme += (np.abs(sign @ sums) >= actual - slack).sum(axis=0)
        p[start : start + block_columns.size] = extreme / (flips + 1)

    return p
