"""Sets of pairs whose mean is compared with the rest of a pool: groups, prompt concepts, or everything against zero.

The rows of every set lie together, sorted by family, so that sums over sets and over the families inside them are sums
over runs of rows. A *piece* is what one family has in one set: the unit of independence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pretilt.schema import EVERYWHERE, SILENT_GROUP


@dataclass(frozen=True)
class Sets:
    """K sets of rows over a pool. Build one with `groups`, `selections` or `everything`."""

    ids: np.ndarray  # int32 [K], group_id or prompt_concept_id; -1 for everything
    rows: np.ndarray  # int64, rows of set 0, then of set 1, …; within a set by family
    indptr: np.ndarray  # int64 [K + 1]
    pool: np.ndarray  # int64, all rows that take part, by family
    family: np.ndarray  # int64 [n_rows], 0 … n_families - 1
    against_zero: bool  # the null value of a mean is 0 (everything), not the mean of the rest

    def __len__(self) -> int:
        return int(self.ids.size)

    @classmethod
    def groups(cls, group_id: np.ndarray, family: np.ndarray, *, n_groups: int | None = None) -> Sets:
        """Groups 1 … K that have a pair; silent pairs (0) are in no set and not in the pool."""
        group_id, family = np.asarray(group_id, np.int64), _numbered(family)
        pool = np.flatnonzero(group_id != SILENT_GROUP)
        rows = pool[np.lexsort((pool, family[pool], group_id[pool]))]
        n = int(group_id.max(initial=0)) if n_groups is None else n_groups
        counts = np.bincount(group_id[pool], minlength=n + 1)[1:]
        full = np.flatnonzero(counts)
        indptr = np.concatenate([[0], np.cumsum(counts[full])])
        return cls((full + 1).astype(np.int32), rows, indptr, _by_family(pool, family), family, False)

    @classmethod
    def selections(cls, ids: np.ndarray, members: Sequence[np.ndarray], family: np.ndarray) -> Sets:
        """Sets that may overlap, each given by its rows, over the pool of all rows. Empty sets are left out."""
        family = _numbered(family)
        nonempty = [k for k, rows in enumerate(members) if len(rows)]
        sorted_rows = [_by_family(np.asarray(members[k], np.int64), family) for k in nonempty]
        indptr = np.concatenate([[0], np.cumsum([r.size for r in sorted_rows])]).astype(np.int64)
        rows = np.concatenate(sorted_rows) if sorted_rows else np.zeros(0, np.int64)
        ids = np.asarray(ids, np.int32)[nonempty]
        return cls(ids, rows, indptr, _by_family(np.arange(family.size), family), family, False)

    @classmethod
    def everything(cls, family: np.ndarray) -> Sets:
        """One set of all rows, whose mean is compared with zero."""
        family = _numbered(family)
        rows = _by_family(np.arange(family.size), family)
        return cls(np.array([EVERYWHERE], np.int32), rows, np.array([0, rows.size]), rows, family, True)

    @cached_property
    def n_in(self) -> np.ndarray:
        """int64 [K]"""
        return np.diff(self.indptr)

    @cached_property
    def n_out(self) -> np.ndarray:
        """int64 [K]; 0 against zero."""
        return np.zeros(len(self), np.int64) if self.against_zero else self.pool.size - self.n_in

    @cached_property
    def set_of_row(self) -> np.ndarray:
        """int64, parallel to `rows`: number of the set, 0 … K - 1."""
        return np.repeat(np.arange(len(self)), self.n_in)

    @cached_property
    def pieces(self) -> Runs:
        """Runs of `rows` with one set and one family."""
        return Runs.from_keys(self.set_of_row * (int(self.family.max(initial=0)) + 1) + self.family[self.rows])

    @cached_property
    def piece_set(self) -> np.ndarray:
        return self.set_of_row[self.pieces.starts]

    @cached_property
    def piece_family(self) -> np.ndarray:
        return self.family[self.rows[self.pieces.starts]]

    @cached_property
    def family_n(self) -> np.ndarray:
        """int64 [K]: families that have a pair in the set."""
        return np.bincount(self.piece_set, minlength=len(self))

    @cached_property
    def pool_families(self) -> Runs:
        """Runs of `pool` with one family."""
        return Runs.from_keys(self.family[self.pool])


@dataclass(frozen=True)
class Runs:
    """Runs of equal keys in a sorted sequence: where each starts and how long it is."""

    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def from_keys(cls, keys: np.ndarray) -> Runs:
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: keys.size])
        return cls(starts, np.diff(np.append(starts, keys.size)))

    def sums(self, block: np.ndarray) -> np.ndarray:
        """Sums of the block's rows run by run, (n_runs, …)."""
        if self.starts.size == len(block):  # every run is a single row
            return block
        return np.add.reduceat(block, self.starts, axis=0) if self.starts.size else block[:0]


def sum_by(key: np.ndarray, n_keys: int, block: np.ndarray) -> np.ndarray:
    """Sums of the block's rows by key, (n_keys, …); `key` int, ascending, a key may have no row."""
    runs = Runs.from_keys(key)
    total = np.zeros((n_keys, *block.shape[1:]))
    if runs.starts.size:
        total[key[runs.starts]] = np.add.reduceat(block, runs.starts, axis=0)
    return total


def _numbered(family: np.ndarray) -> np.ndarray:
    return np.unique(np.asarray(family), return_inverse=True)[1].astype(np.int64)


def _by_family(rows: np.ndarray, family: np.ndarray) -> np.ndarray:
    """The rows by family, within a family ascending: the same whatever order they came in."""
    ordered: np.ndarray = rows[np.lexsort((rows, family[rows]))]
    return ordered
