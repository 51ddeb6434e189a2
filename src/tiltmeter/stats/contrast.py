"""Pure statistics of the signed disparity: a group against the rest of the active pool, and the whole dataset.

Pairs arrive in blocks; what is kept are grouped sums, taken as products of a sparse one-hot matrix with the block.
For the forms "paper" and "count2" every sum is a sum of integers and therefore exact. Formulas: docs/statistics.md.
Undefined is NaN, never an infinity: a z without variance, a half without pairs, an interval over one component.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, vstack
from scipy.special import stdtrit

from tiltmeter.schema import EVERYWHERE, SILENT_GROUP

CONSISTENT_ABOVE = 1e-6  # both halves' deltas must exceed this in size (arXiv 2606.12360)
CONFIDENCE = 0.95


def row_half(row_index: np.ndarray) -> np.ndarray:
    """The paper's split: the parity of the pair's row in the *source*, so that dropped rows do not move the others."""
    return (np.asarray(row_index) & 1).astype(np.int8)


def component_half(component_id: np.ndarray) -> np.ndarray:
    """Halves that keep near-duplicates together (ours): components by size, largest first, dealt out 0 1 1 0.

    Components of one size are dealt in the order of a fixed hash of their id: in the order of the ids, halves could
    follow a periodic pattern of the source.
    """
    ids, position, size = np.unique(component_id, return_inverse=True, return_counts=True)
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    order = np.lexsort((ids, mixed ^ (mixed >> np.uint64(27)), -size))
    half = np.empty(ids.size, np.int8)
    half[order] = np.array([0, 1, 1, 0], np.int8)[np.arange(ids.size) % 4]
    return half[position]


@dataclass(frozen=True)
class Contrasts:
    """Statistics of every (where, concept): [G] per set, float64 [G, M] per cell; NaN where undefined."""

    where: np.ndarray  # int32 [G], group_id, or one -1 for the global effects
    concept_ids: np.ndarray  # int32 [M]
    n_in: np.ndarray  # int64 [G]
    n_out: np.ndarray  # int64 [G]; 0 for global effects
    mean_in: np.ndarray  # in [-1, 1]
    mean_out: np.ndarray  # NaN for global effects
    delta: np.ndarray  # mean_in - mean_out in [-2, 2]; the mean itself for global effects
    z: np.ndarray  # Welch; for global effects mean / component-robust standard error
    cohens_d: np.ndarray  # delta / pooled standard deviation; mean / standard deviation for global effects
    delta_a: np.ndarray  # delta within half 0
    delta_b: np.ndarray  # delta within half 1
    ci_lo: np.ndarray  # 95 %, component-robust
    ci_hi: np.ndarray

    @property
    def sign_consistent(self) -> np.ndarray:
        big = (np.abs(self.delta_a) > CONSISTENT_ABOVE) & (np.abs(self.delta_b) > CONSISTENT_ABOVE)
        return big & (np.sign(self.delta_a) == np.sign(self.delta_b))

    @property
    def delta_min(self) -> np.ndarray:
        """min(|delta_a|, |delta_b|) >= 0; NaN where a half is undefined."""
        return np.minimum(np.abs(self.delta_a), np.abs(self.delta_b))


class ContrastSums:
    """Grouped sums over pairs that arrive in blocks.

    `key` int [N] is the set a pair belongs to, 0 … n_keys - 1, or -1 to leave the pair out; `half` 0 or 1 [N];
    `component_id` int [N]; all for the whole dataset, in the order in which `add` will see the rows.
    `size` float or int [M]: what the numerators are divided by (the concepts' sizes); None if `add` is given u itself.
    Memory: five float64 [n_keys, M] arrays, and the non-zeros of components of which a part is still to come.
    """

    def __init__(
        self,
        key: np.ndarray,
        half: np.ndarray,
        component_id: np.ndarray,
        n_keys: int,
        n_concepts: int,
        size: np.ndarray | None = None,
    ) -> None:
        self.n_keys, self.n_concepts = n_keys, n_concepts
        self.size = np.ones(n_concepts) if size is None else np.asarray(size, dtype=np.float64)
        self._key, self._half = np.asarray(key, np.int64), np.asarray(half, np.int64)
        self._cursor, self._pending = 0, list[tuple[np.ndarray, csr_array]]()
        counted = self._key >= 0
        self.n = np.bincount(self._key[counted] * 2 + self._half[counted], minlength=2 * n_keys).reshape(n_keys, 2)
        # a piece = the pairs that one component has in one set: the unit of independence
        self._piece = np.full(self._key.size, -1)
        label = np.asarray(component_id, np.int64)[counted] * n_keys + self._key[counted]
        ids, self._piece[counted], self._piece_n = np.unique(label, return_inverse=True, return_counts=True)
        self._piece_key = ids % n_keys
        self.n_pieces = np.bincount(self._piece_key, minlength=n_keys)
        self.piece_nn = np.bincount(self._piece_key, self._piece_n.astype(float) ** 2, minlength=n_keys)
        self.total = np.zeros((2 * n_keys, n_concepts))  # sum of t*u by (key, half)
        self.squares = np.zeros((n_keys, n_concepts))  # sum of (t*u)^2
        self.piece_squares = np.zeros((n_keys, n_concepts))  # sum over pieces of (sum of t*u)^2
        self.piece_products = np.zeros((n_keys, n_concepts))  # sum over pieces of (pairs) * (sum of t*u)

    @classmethod
    def by_group(
        cls,
        group_id: np.ndarray,
        row_index: np.ndarray,
        component_id: np.ndarray,
        n_groups: int,
        n_concepts: int,
        size: np.ndarray | None = None,
    ) -> ContrastSums:
        """For `group_contrasts`: groups 1 … n_groups, split by row parity; silent pairs are left out of everything."""
        key = np.where(np.asarray(group_id) == SILENT_GROUP, -1, np.asarray(group_id, np.int64) - 1)
        return cls(key, row_half(row_index), component_id, n_groups, n_concepts, size)

    @classmethod
    def overall(cls, component_id: np.ndarray, n_concepts: int, size: np.ndarray | None = None) -> ContrastSums:
        """For `global_effects`: all pairs, silent ones included, split into halves of whole components."""
        return cls(np.zeros(len(component_id), int), component_half(component_id), component_id, 1, n_concepts, size)

    def add(self, numerator: csr_array) -> None:
        """Add the next rows: CSR [n, M] of t*u (or of u, if no size was given)."""
        rows = slice(self._cursor, self._cursor + numerator.shape[0])
        if rows.stop > self._key.size or numerator.shape[1] != self.n_concepts:
            whole = (self._key.size, self.n_concepts)
            raise ValueError(f"block {numerator.shape} from row {rows.start} on: expected no more than {whole}")
        self._cursor = rows.stop
        key, piece, x = self._key[rows], self._piece[rows], csr_array(numerator, dtype=np.float64)
        half_key = np.where(key >= 0, key * 2 + self._half[rows], -1)
        _scatter(self.total, _sum_rows(half_key, 2 * self.n_keys, x))
        _scatter(self.squares, _sum_rows(key, self.n_keys, _squared(x)))
        here, position, seen = np.unique(piece, return_inverse=True, return_counts=True)
        sums = _sum_rows(position, here.size, x)
        counted = here >= 0
        n_here = np.zeros(here.size, dtype=np.int64)
        n_here[counted] = self._piece_n[here[counted]]
        whole = counted & (seen == n_here)
        self._add_pieces(here[whole], sums[whole])
        parts = (here >= 0) & ~whole
        if parts.any():
            self._pending.append((here[parts], sums[parts]))

    def finish(self) -> ContrastSums:
        """Close the components that were spread over several blocks. Raises ValueError if rows are missing."""
        if self._cursor != self._key.size:
            raise ValueError(f"{self._cursor} of {self._key.size} rows were added")
        if self._pending:
            pieces, position = np.unique(np.concatenate([p for p, _ in self._pending]), return_inverse=True)
            parts = csr_array(vstack([x for _, x in self._pending], format="csr"))
            self._pending.clear()
            self._add_pieces(pieces, _sum_rows(position, pieces.size, parts))
        return self

    def _add_pieces(self, pieces: np.ndarray, sums: csr_array) -> None:
        key = self._piece_key[pieces]
        _scatter(self.piece_squares, _sum_rows(key, self.n_keys, _squared(sums)))
        _scatter(self.piece_products, _sum_rows(key, self.n_keys, sums, self._piece_n[pieces].astype(float)))


def group_contrasts(sums: ContrastSums, concept_ids: np.ndarray) -> Contrasts:
    """Every group against the rest of the active pool, for the concepts named; groups without a pair are left out.

    delta = mean_in - mean_out; z = Welch with Bessel-corrected variances; d = pooled over n_pool - 2; delta_a and
    delta_b by row parity (arXiv 2606.12360). The interval (ours) takes the component within a group as the unit and a t
    quantile with Welch-Satterthwaite degrees of freedom.
    """
    total, squares, q_squares, q_products = _select(sums.finish(), concept_ids)
    halves = total.reshape(sums.n_keys, 2, -1)  # (G, 2, M)
    total = halves.sum(axis=1)
    n_in = sums.n.sum(axis=1)[:, None]
    n_out = n_in.sum() - n_in
    out, pool_squares = total.sum(axis=0) - total, squares.sum(axis=0)
    mean_in, mean_out = _ratio(total, n_in), _ratio(out, n_out)
    delta = mean_in - mean_out
    ss_in = _squares_about_mean(squares, total, n_in, squares)
    ss_out = _squares_about_mean(pool_squares - squares, out, n_out, pool_squares)
    welch = np.sqrt(_ratio(ss_in, (n_in - 1) * n_in) + _ratio(ss_out, (n_out - 1) * n_out))
    pooled = np.where((n_in > 1) & (n_out > 1), np.sqrt(_ratio(ss_in + ss_out, n_in + n_out - 2)), np.nan)
    n_half = sums.n[:, :, None]  # (G, 2, 1)
    half_delta = _ratio(halves, n_half) - _ratio(halves.sum(axis=0) - halves, n_half.sum(axis=0) - n_half)
    # component-robust variance of each side's mean: sum over pieces of (sum - n * mean)^2, over n^2
    pieces = sums.n_pieces[:, None]
    var_in = _robust(q_squares, q_products, sums.piece_nn[:, None], mean_in, n_in, pieces)
    rest = [q.sum(axis=0) - q for q in (q_squares, q_products, sums.piece_nn[:, None], pieces)]
    var_out = _robust(rest[0], rest[1], rest[2], mean_out, n_out, rest[3])
    freedom = _ratio((var_in + var_out) ** 2, _ratio(var_in**2, pieces - 1) + _ratio(var_out**2, rest[3] - 1))
    margin = _margin(np.sqrt(var_in + var_out), freedom)
    size, full = sums.size[concept_ids], n_in.ravel() > 0
    scaled = {
        "mean_in": mean_in,
        "mean_out": mean_out,
        "delta": delta,
        "delta_a": half_delta[:, 0],
        "delta_b": half_delta[:, 1],
        "ci_lo": delta - margin,
        "ci_hi": delta + margin,
    }
    return Contrasts(
        where=np.flatnonzero(full).astype(np.int32) + 1,
        concept_ids=np.asarray(concept_ids, np.int32),
        n_in=n_in.ravel()[full],
        n_out=n_out.ravel()[full],
        z=_ratio(delta, welch)[full],
        cohens_d=_ratio(delta, pooled)[full],
        **{name: (value / size)[full] for name, value in scaled.items()},
    )


def global_effects(sums: ContrastSums, concept_ids: np.ndarray) -> Contrasts:
    """The mean of u over all pairs given, for the concepts named (ours: the paper contrasts groups only).

    z = mean / se with se^2 = C / (C - 1) * sum over components of (sum - n * mean)^2 / N^2 (cluster-robust, CR1-like);
    interval: mean ± t quantile on C - 1 degrees of freedom * se; halves are whole components; d = mean / sd.
    """
    total, squares, q_squares, q_products = _select(sums.finish(), concept_ids)
    halves, n_half, n = total, sums.n.T, sums.n.sum(axis=1)[:, None]  # (2, M), (2, 1), (1, 1)
    total = halves.sum(axis=0)[None]
    mean = _ratio(total, n)
    sd = np.sqrt(_ratio(_squares_about_mean(squares, total, n, squares), n - 1))
    pieces = sums.n_pieces[:, None]
    se = np.sqrt(_robust(q_squares, q_products, sums.piece_nn[:, None], mean, n, pieces))
    margin, size = _margin(se, np.broadcast_to(pieces - 1.0, se.shape)), sums.size[concept_ids]
    half_mean = _ratio(halves, n_half)[:, None] / size  # (2, 1, M)
    return Contrasts(
        where=np.array([EVERYWHERE], np.int32),
        concept_ids=np.asarray(concept_ids, np.int32),
        n_in=n.ravel(),
        n_out=np.zeros(1, np.int64),
        mean_in=mean / size,
        mean_out=np.full(mean.shape, np.nan),
        delta=mean / size,
        z=_ratio(mean, se),
        cohens_d=_ratio(mean, sd),
        delta_a=half_mean[0],
        delta_b=half_mean[1],
        ci_lo=(mean - margin) / size,
        ci_hi=(mean + margin) / size,
    )


def _select(sums: ContrastSums, concept_ids: np.ndarray) -> tuple[np.ndarray, ...]:
    arrays = (sums.total, sums.squares, sums.piece_squares, sums.piece_products)
    if np.array_equal(concept_ids, np.arange(sums.n_concepts)):
        return arrays
    return tuple(a[:, concept_ids] for a in arrays)


def _squares_about_mean(squares: np.ndarray, total: np.ndarray, n: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Sum of (x - mean)^2, and exactly 0 where it cannot be told from 0 given the rounding of `raw` >= squares.

    Integers leave n * squares - total^2 exact; for fractions the sums may be off by n * eps * raw, and a constant
    column must not come out with a variance of 1e-20 and a z of 1e8.
    """
    ss = _ratio(n * squares - total**2, n)
    return np.where(ss <= n * np.finfo(float).eps * raw, np.where(np.isnan(ss), np.nan, 0.0), ss)


def _robust(
    squares: np.ndarray, products: np.ndarray, nn: np.ndarray, mean: np.ndarray, n: np.ndarray, n_pieces: np.ndarray
) -> np.ndarray:
    """Cluster-robust variance of a mean over n pairs in n_pieces components; NaN below two components."""
    ss = squares - 2 * mean * products + mean**2 * nn
    raw = squares + np.abs(2 * mean * products) + mean**2 * nn
    ss = np.where(ss <= n * np.finfo(float).eps * raw, np.where(np.isnan(ss), np.nan, 0.0), ss)
    return _ratio(n_pieces * ss, (n_pieces - 1.0) * n.astype(float) ** 2)


def _margin(se: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Half the width of the interval; NaN where the standard error is 0 or undefined, or no freedom is left."""
    defined = (se > 0) & (freedom > 0)
    quantile = stdtrit(np.where(defined, freedom, 1.0), (1 + CONFIDENCE) / 2)
    return np.where(defined, quantile * se, np.nan)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, NaN where b is not > 0."""
    b = np.broadcast_to(b, np.broadcast_shapes(np.shape(a), np.shape(b)))
    return np.divide(a, b, out=np.full(b.shape, np.nan), where=b > 0)


def _squared(x: csr_array) -> csr_array:
    return csr_array((x.data**2, x.indices, x.indptr), x.shape)


def _sum_rows(key: np.ndarray, n_keys: int, x: csr_array, weight: np.ndarray | None = None) -> csr_array:
    """CSR [n_keys, M]: the (weighted) sum of the rows of x with each key; rows of key -1 are left out."""
    order = np.argsort(key, kind="stable")
    indptr = np.searchsorted(key[order], np.arange(n_keys + 1))
    order, indptr = order[indptr[0] : indptr[-1]], indptr - indptr[0]
    data = np.ones(order.size) if weight is None else weight[order]
    return csr_array(csr_array((data, order, indptr), (n_keys, x.shape[0])) @ x)


def _scatter(total: np.ndarray, x: csr_array) -> None:
    """total += x, touching only x's entries; a product has no entry twice."""
    rows = np.repeat(np.arange(x.shape[0]) * x.shape[1], np.diff(x.indptr))
    total.reshape(-1)[rows + x.indices] += x.data
