"""The rule by which every list, page, file and command calls an effect sure.

An effect is sure where all three hold: its sign is (lfsr), it stands out among everything that was tested (q), and it
rests on enough independent pairs. Any one alone lets chance effects through: a
mixture fitted to four independent pairs can give a small lfsr, and some of seven thousand tests a small p.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

SURE_LFSR = 0.05  # below it: local false sign rate, the posterior probability of a wrong sign or of no effect
SURE_Q = 0.05  # at most: false discovery rate over every test of every view
SURE_PAIRS = 10.0  # at least: independent pairs inside, the smaller of n_eff and the number of families
LEAST_FIRING = 25  # pairs in which a single feature fires, and pairs of a group; below, nothing is tested or shown
COLUMNS = ("lfsr", "q_value", "n_eff", "family_n")


def are_sure(lfsr: np.ndarray, q_value: np.ndarray, n_eff: np.ndarray, families: np.ndarray) -> np.ndarray:
    """bool in the shape of the arguments (they broadcast); NaN is not sure."""
    return np.asarray((lfsr < SURE_LFSR) & (q_value <= SURE_Q) & enough_pairs(n_eff, families))


def enough_pairs(n_eff: np.ndarray, families: np.ndarray) -> np.ndarray:
    """bool: whether an effect rests on enough independent pairs to be sure of, whatever its size."""
    return np.asarray(np.minimum(n_eff, families) >= SURE_PAIRS)


def is_sure(row: Mapping[str, Any]) -> bool:
    """The same of one row of HYPOTHESES; reads COLUMNS."""
    return bool(are_sure(*(np.asarray(np.nan if row[name] is None else row[name], float) for name in COLUMNS)))


def sure_rows(table: pa.Table) -> np.ndarray:
    """bool, one for every row of a table with the columns COLUMNS."""
    return are_sure(*(table[name].to_numpy().astype(np.float64) for name in COLUMNS))


def pairs_missing(n_pairs: int, n_families: int) -> int:
    """How many more pairs, each of a family of its own, it takes at least before an effect can be sure.

    `n_pairs` of `n_families` are there.
    """
    return max(LEAST_FIRING - n_pairs, int(SURE_PAIRS) - n_families, 0)
