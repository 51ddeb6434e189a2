"""The shuffled-label baseline: chosen and rejected change places at random, after the harvest and before any statistic.

Effects in this baseline are not due to the labels. Whole families change places together: near-duplicates keep
the agreement they have among themselves, so that the baseline shows what such agreement alone can look like.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, vstack

from pretilt.run import Run
from pretilt.schema import PAIRS_FILE
from pretilt.settings import AuditSettings


def swapped(family_id: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """(n,) bool: which pairs change places. A fair coin per family; `family_id` is int (n,), in any order.

    A family's coin depends on the seed and on its number alone, not on which other pairs are there.
    """
    families, inverse = np.unique(family_id, return_inverse=True)
    coins = np.random.default_rng(seed).random(int(families.max(initial=-1)) + 1) < 0.5
    return np.asarray(coins[families][inverse], dtype=bool)


def label_swap(run: Run, settings: AuditSettings) -> np.ndarray | None:
    """(n_pairs,) bool: which pairs of a run have changed places, as pairs.parquet has them; else None."""
    if settings.baseline != "shuffled-labels":
        return None
    return swapped(run.table(PAIRS_FILE, ["family_id"])["family_id"].to_numpy(), settings.seed)


def swap_rows(chosen: Sequence[Any], rejected: Sequence[Any], swap: np.ndarray) -> tuple[list[Any], list[Any]]:
    """The parts of two spans with the rows where `swap` (n,) is true exchanged.

    Each sequence holds the parts of one span in one order: arrays (n,) (`n_tokens`) and sparse matrices (n, n_features)
    (`fire_count`, `act_max`); types and dtypes stay, CSR rows keep their order of columns.
    """
    n = swap.size
    first_rows = np.where(swap, np.arange(n) + n, np.arange(n))
    second_rows = np.where(swap, np.arange(n), np.arange(n) + n)
    first, second = [], []
    for a, b in zip(chosen, rejected, strict=True):
        if a.shape != b.shape or a.shape[0] != n:
            raise ValueError(f"spans of shapes {a.shape} and {b.shape} cannot change {n} rows")
        both = np.concatenate([a, b]) if isinstance(a, np.ndarray) else csr_array(vstack([a, b], format="csr"))
        first.append(both[first_rows])
        second.append(both[second_rows])
    return first, second
