"""The co-firing graph: how much two features tell about each other, and which pairs become edges.

Normalised mutual information over samples on which a feature fired or did not. Everything is exact and comes from
co-occurrence counts, B^T B of the 0/1 matrix B (samples, features). The product is made a block of rows at a time and
never held whole, so that memory does not grow with the square of the number of features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

from pretilt.concepts.parallel import in_order

PAIRS_PER_BLOCK = 4_000_000  # about 0.3 GB of scratch
_COLUMN_PANELS = 16  # how often the columns before the diagonal are cut off: skips almost half of the product
_SURELY = 4  # how many times the neighbours asked for are valued to learn how close the closest must be
_ROUNDING = 1e-12  # a weight below this is rounding: independent features must not become neighbours

Result = TypeVar("Result")


@dataclass(frozen=True)
class Edges:
    """An undirected weighted graph over features; every edge once, `source < target`, in ascending order."""

    source: np.ndarray  # (n_edges,) int32, feature ids
    target: np.ndarray  # (n_edges,) int32
    weight: np.ndarray  # (n_edges,) float64, normalised mutual information in (0, 1]
    together: np.ndarray  # (n_edges,) bool; False: the two fire together less often than chance
    n_features: int  # features that took part
    n_pairs: int  # off-diagonal pairs of those, the denominator of the "top 1 %"


class NormalisedMI:
    """Normalised mutual information of two binary features from integer counts over `n_samples` samples.

    MI(g,h) = sum over a, b in {0,1} of p(a,b) log(p(a,b) / (p(a) p(b))), divided by sqrt(H_g H_h); in [0, 1]. A feature
    that fires always or never has no entropy and gets 0. Symmetric to the last bit, and a table of n log n replaces the
    logarithms, so that equal counts give equal values.
    """

    def __init__(self, n_samples: int) -> None:
        n = np.arange(n_samples + 1, dtype=np.float64)
        self.n_samples = n_samples
        self._nlogn = n * np.log(np.maximum(n, 1.0))
        self._marginal = self._nlogn + self._nlogn[::-1]
        entropy = (self._nlogn[-1] - self._marginal) / max(n_samples, 1)
        entropy[[0, -1]] = 0.0
        self._scale = np.divide(1.0, np.sqrt(entropy), out=np.zeros_like(entropy), where=entropy > 0)
        self._spread = self._scale / np.maximum(n * n[::-1], 1.0)

    def __call__(self, n_both: np.ndarray, n_g: np.ndarray, n_h: np.ndarray) -> np.ndarray:
        """`n_both` samples on which both fired, `n_g` and `n_h` on which each did; integers that broadcast."""
        t, n = self._nlogn, self.n_samples
        cells = (t[n_g - n_both] + t[n_h - n_both]) + t[n_both] + t[n - (n_g + n_h) + n_both]
        mi = (cells - (self._marginal[n_g] + self._marginal[n_h]) + t[-1]) / n
        return np.clip(mi * (self._scale[n_g] * self._scale[n_h]), 0.0, 1.0)

    def bound(self, n_both: np.ndarray, n_g: np.ndarray | int, n_h: np.ndarray) -> np.ndarray:
        """Never less than the value, at a fifth of the cost: the mean-square contingency phi² for the MI.

        MI is the divergence of the joint distribution from the product of the marginals, and a divergence is at most
        log(1 + chi²), here log(1 + phi²) <= phi² (Gibbs and Su 2002).
        """
        apart = n_both * np.float64(self.n_samples) - np.float64(1) * n_g * n_h
        apart *= apart
        apart *= self._spread[n_g]
        apart *= self._spread[n_h]
        apart *= 1 + 1e-6  # rounding
        return apart

    def never_together(self, n_g: np.ndarray, n_h: np.ndarray) -> np.ndarray:
        """The value of a pair that shares no sample; 0 where the marginals leave no room for such a pair."""
        possible = n_g + n_h <= self.n_samples
        return np.where(possible, self(np.where(possible, 0, np.minimum(n_g, n_h)), n_g, n_h), 0.0)


def fired_samples(*spans: Any) -> sp.csr_array:
    """Stack (spans, features) matrices of fire counts into one 0/1 int32 CSR (samples, features); above 0 is fired."""
    fired = sp.csr_array(sp.vstack([sp.csr_array(span) for span in spans], format="csr"))
    fired.sum_duplicates()
    fired = sp.csr_array(((fired.data > 0).astype(np.int32), fired.indices, fired.indptr), shape=fired.shape, copy=True)
    fired.eliminate_zeros()
    return fired


def count_firings(fired: sp.csr_array) -> np.ndarray:
    """(n_features,) int64: samples on which each feature fired."""
    return np.bincount(fired.indices, minlength=fired.shape[1]).astype(np.int64)


def top_pairs(
    fired: sp.csr_array, *, share: float = 0.01, min_samples: int = 1, pairs_per_block: int = PAIRS_PER_BLOCK
) -> Edges:
    """The `share` of all off-diagonal pairs with the largest normalised MI, exactly, in one pass.

    The denominator is n(n-1)/2 for the n features that fire on at least `min_samples` samples. Pairs that never fire
    together belong to it; their MI follows from the two marginals alone, so they are spelled out only in the rows where
    the marginals allow an edge. Edges: floor(share * pairs), at least 1; of equal values the smaller feature ids win;
    pairs without any information are never edges. `fired` is 0/1 as made by `fired_samples`. Memory: 64 bytes per edge
    kept, the matrix twice, and one block.
    """
    features, fired = _participants(fired, min_samples)
    n = features.size
    n_pairs = n * (n - 1) // 2
    best = _Best(max(1, int(share * n_pairs)) if n_pairs else 0, n)
    mi, n_firings = NormalisedMI(fired.shape[0]), count_firings(fired)
    marginals, marginal_of = np.unique(n_firings, return_inverse=True)

    def good(start: int, block: sp.csr_array) -> tuple[int, list[Any], np.ndarray]:
        """Of every row the later columns that may be among the best, and the values of never firing together."""
        rows = []
        for row, column, n_both in _rows(start, block):
            later = column > row
            column, n_both = column[later], n_both[later]
            able = mi.bound(n_both, n_firings[row], n_firings[column]) > best.floor
            candidates = column[able].astype(np.int64)
            rows.append((column, candidates, mi(n_both[able], n_firings[row], n_firings[candidates]), n_both[able]))
        row_firings = n_firings[start : start + block.shape[0], None]
        return start, rows, mi.never_together(row_firings, marginals[None, :])

    for start, rows, apart in _map_blocks(good, fired, pairs_per_block, upper=True):
        for i, (later, candidates, weight, n_both) in enumerate(rows):
            best.add(np.full(candidates.size, start + i), candidates, weight, n_both)
            if apart[i].max(initial=0.0) > best.floor:
                values = apart[i][marginal_of[start + i + 1 :]]
                values[later - (start + i + 1)] = 0.0
                at = np.flatnonzero(values > best.floor)
                best.add(np.full(at.size, start + i), at + start + i + 1, values[at], np.zeros(at.size, dtype=np.int64))
        best.trim()
    row, column, weight, n_both = best.take()
    together = n_both * fired.shape[0] > n_firings[row] * n_firings[column]
    return Edges(features[row], features[column], weight, together, n_features=n, n_pairs=n_pairs)


def nearest_pairs(
    fired: sp.csr_array, *, neighbours: int = 10, min_samples: int = 1, pairs_per_block: int = PAIRS_PER_BLOCK
) -> Edges:
    """Pairs that are among each other's `neighbours` closest by normalised MI and fire together more than chance.

    Every feature brings its own scale, so that rare features get neighbours as dense ones do. Of equally close ones the
    smaller feature ids win. Only features that fire on at least `min_samples` samples take part.
    """
    features, fired = _participants(fired, min_samples)
    n, n_samples = features.size, fired.shape[0]
    mi, n_firings = NormalisedMI(n_samples), count_firings(fired)

    def nearest_of(start: int, block: sp.csr_array) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        neighbour_lists = []
        for row, column, n_both in _rows(start, block):
            near = (column != row) & (n_both * np.int64(n_samples) > n_firings[row] * n_firings[column])
            column, n_both = column[near], n_both[near]
            upper_bound = mi.bound(n_both, n_firings[row], n_firings[column])
            if upper_bound.size > _SURELY * neighbours:
                # The exact values of a few give a floor under the closest; most pairs cannot reach it.
                sampled = np.argpartition(upper_bound, -_SURELY * neighbours)[-_SURELY * neighbours :]
                exact = mi(n_both[sampled], n_firings[row], n_firings[column[sampled]])
                reach = upper_bound >= np.partition(exact, -neighbours)[-neighbours]
                column, n_both = column[reach], n_both[reach]
            value = mi(n_both, n_firings[row], n_firings[column])
            nearest_columns = _largest(value, column, neighbours)
            neighbour_lists.append(
                (np.full(nearest_columns.size, row), column[nearest_columns], value[nearest_columns])
            )
        return neighbour_lists

    neighbour_lists = [row for rows in _map_blocks(nearest_of, fired, pairs_per_block, upper=False) for row in rows]
    rows, columns, weights = (
        zip(*neighbour_lists, strict=True) if neighbour_lists else ([np.zeros(0, dtype=np.int64)],) * 3
    )
    arcs = (np.concatenate(weights).astype(float), (np.concatenate(rows), np.concatenate(columns)))
    nearest = sp.csr_array(arcs, shape=(n, n))
    mutual = sp.coo_array(sp.triu(nearest.minimum(nearest.T), k=1, format="csr"))
    source, target = mutual.coords
    together = np.ones(mutual.data.size, dtype=bool)
    return Edges(features[source], features[target], mutual.data, together, n_features=n, n_pairs=n * (n - 1) // 2)


def _participants(fired: sp.csr_array, min_samples: int) -> tuple[np.ndarray, sp.csr_array]:
    """Feature ids (int32, ascending) that fire often enough, and the matrix of those columns."""
    features = np.flatnonzero(count_firings(fired) >= max(1, min_samples)).astype(np.int32)
    return features, fired if features.size == fired.shape[1] else sp.csr_array(fired[:, features])


def _map_blocks(
    function: Callable[[int, sp.csr_array], Result], fired: sp.csr_array, pairs_per_block: int, *, upper: bool
) -> Iterator[Result]:
    """`function(first row, co-occurrence counts of a block of rows with the columns)` of all blocks, in order.

    With `upper` columns before the block's panel may be missing (they are empty): only what lies after the diagonal is
    complete. Columns keep their numbers. Blocks are worked on side by side.
    """
    n = fired.shape[1]
    by_feature = sp.csr_array(fired.T)
    n_rows = max(1, pairs_per_block // max(n, 1))
    panel_rows = n_rows * max(1, -(-n // (n_rows * _COLUMN_PANELS))) if upper else max(n, 1)
    for first in range(0, n, panel_rows):
        last, columns = min(first + panel_rows, n), sp.csr_array(fired[:, first:]) if first else fired

        def block_result(start: int, first: int = first, last: int = last, columns: sp.csr_array = columns) -> Result:
            block = sp.csr_array(by_feature[start : min(start + n_rows, last)] @ columns)
            shifted = (block.data, block.indices + first, block.indptr)
            return function(start, sp.csr_array(shifted, shape=(block.shape[0], n)))

        yield from in_order(block_result, range(first, last, n_rows))


def _rows(start: int, block: sp.csr_array) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(row, columns, counts) of a block's rows. One at a time: what is computed of a row stays in the cache."""
    for i in range(block.shape[0]):
        entries = slice(block.indptr[i], block.indptr[i + 1])
        yield start + i, block.indices[entries], block.data[entries]


def _largest(value: np.ndarray, column: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` largest values; of equal ones the smaller columns; none that is mere rounding."""
    if value.size > count:
        floor = np.partition(value, value.size - count)[value.size - count]
        above, tied = np.flatnonzero(value > floor), np.flatnonzero(value == floor)
        tied = tied[np.argsort(column[tied], kind="stable")][: count - above.size]
        selected = np.concatenate([above, tied])
    else:
        selected = np.arange(value.size)
    return selected[value[selected] > _ROUNDING]


class _Best:
    """The `count` pairs of largest weight of a stream of pairs in ascending order of rows."""

    def __init__(self, count: int, n_columns: int) -> None:
        self.count, self.n_columns = count, n_columns
        self.floor = _ROUNDING  # only what is above can still be among the best
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._held = 0

    def add(self, row: np.ndarray, column: np.ndarray, weight: np.ndarray, n_both: np.ndarray) -> None:
        at = np.flatnonzero(weight > self.floor)
        self._parts.append(
            (row[at].astype(np.int32), column[at].astype(np.int32), weight[at], n_both[at].astype(np.int32))
        )
        self._held += at.size

    def trim(self, at_least: int = 0) -> None:
        """Forget what cannot be among the best any more. Call between rows: ties with later rows are lost by those."""
        if self._held <= max(2 * self.count, at_least) and at_least == 0:
            return
        row, column, weight, n_both = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        if weight.size > self.count:
            floor = np.partition(weight, weight.size - self.count)[weight.size - self.count]
            above, tied = weight > floor, np.flatnonzero(weight == floor)
            order = np.argsort(row[tied].astype(np.int64) * self.n_columns + column[tied], kind="stable")
            above[tied[order[: self.count - int(above.sum())]]] = True
            row, column, weight, n_both = row[above], column[above], weight[above], n_both[above]
            self.floor = max(self.floor, float(floor))
        self._parts, self._held = [(row, column, weight, n_both)], weight.size

    def take(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(row, column, weight, n_both) in ascending order of (row, column), int64 but for the weight."""
        if not self._parts:
            none = np.zeros(0, dtype=np.int64)
            return none, none, np.zeros(0), none
        self.trim(at_least=1)
        row, column, weight, n_both = self._parts[0]
        order = np.lexsort((column, row))
        return (
            row[order].astype(np.int64),
            column[order].astype(np.int64),
            weight[order],
            n_both[order].astype(np.int64),
        )
