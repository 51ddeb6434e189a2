"""Every sum that the statistics of a set of pairs need, per (set, concept), in one pass over the columns.

Values are centred on the pool's mean (on 0 where sets are compared with zero) before they are squared: sums of squares
then lose nothing to cancellation, and the null hypothesis "inside as outside" is where they are centred.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from pretilt.concepts.parallel import in_order
from pretilt.stats.columns import Columns
from pretilt.stats.sets import Sets


@dataclass(frozen=True)
class Halves:
    """A sum over each set and over the pool, half by half: `sets` [K, 2, …], `pool` [2, …]."""

    sets: np.ndarray
    pool: np.ndarray


@dataclass(frozen=True)
class CellSums:
    """In units of the numerators; K sets, M concepts, x = numerator, e = x - centre. All float64."""

    sets: Sets
    scale: np.ndarray  # [M], numerator / scale = u
    n: Halves  # rows, by half of the family
    total: Halves  # sum of x, by half of the family
    split_n: Halves  # rows, by the half that was asked for: the same, or the paper's parity of rows
    split_total: Halves  # sum of x, likewise
    centre: np.ndarray  # [M] mean of the pool; 0 against zero
    squares: np.ndarray  # [K, M] sum of e² in the set
    pool_squares: np.ndarray  # [M]
    pool_raw_squares: np.ndarray  # [M] sum of x²
    family_half: np.ndarray  # int8 [n_families], the half a family belongs to
    piece_squares: np.ndarray  # [K, 2, M] sum over the set's pieces of (sum of e)², by half of the family
    piece_fourth: np.ndarray  # [K, 2, M] the same with the fourth power
    piece_products: np.ndarray  # [K, M] sum over the set's pieces of (rows) · (sum of e)
    piece_nn: np.ndarray  # [K, 2] sum over pieces of (rows)²
    piece_n: np.ndarray  # [K, 2] number of pieces
    family_squares: np.ndarray  # [M] sum over the pool's families of (sum of e)²
    family_squares_about_mean: np.ndarray  # [M] the same with e = x - mean of the pool
    family_nn: float  # sum over the pool's families of (rows)²
    covariate_products: np.ndarray  # [p, M] sum over the pool of covariate × e

    @property
    def n_in(self) -> np.ndarray:
        return self.sets.n_in[:, None]

    @property
    def n_out(self) -> np.ndarray:
        return self.sets.n_out[:, None]


def family_halves(family: np.ndarray) -> np.ndarray:
    """int8 [n_families]: which half each family (0 … n - 1) belongs to. Families by size, dealt out 0 1 1 0.

    Families of one size are dealt in the order of a fixed hash of their number: in the order of the numbers, halves
    could follow a periodic pattern of the source.
    """
    size = np.bincount(family)
    ids = np.arange(size.size, dtype=np.uint64)
    mixed = (ids + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    order = np.lexsort((ids, mixed ^ (mixed >> np.uint64(27)), -size))
    half = np.empty(size.size, np.int8)
    half[order] = np.array([0, 1, 1, 0], np.int8)[np.arange(size.size) % 4]
    return half


def cell_sums(
    columns: Columns, sets: Sets, *, row_half: np.ndarray | None = None, covariates: np.ndarray | None = None
) -> CellSums:
    """Sums of every (set, column).

    `row_half` 0 or 1 [n_rows]: halves for `split_total`; by default those of the families.
    `covariates` (n_rows, p): columns that are to be projected out elsewhere.
    """
    if columns.shape[0] != sets.family.size:
        raise ValueError(f"columns of {columns.shape[0]} rows, sets over {sets.family.size}")
    n_sets, n_columns, pool = len(sets), columns.shape[1], sets.pool
    family_half = family_halves(sets.family)
    adders = _Adders.build(sets, family_half)
    split = None if row_half is None else _by_half(sets, np.asarray(row_half))
    in_pool = np.zeros(sets.family.size)
    in_pool[pool] = 1.0
    x_cov = np.zeros((in_pool.size, 0)) if covariates is None else covariates * in_pool[:, None]

    def sums(block: tuple[slice, np.ndarray]) -> dict[str, np.ndarray]:
        x = block[1]  # of all rows, in the pool or not; what is not has no entry in any of the sparse matrices
        total = adders.rows @ x
        mean = total[-2:].sum(axis=0) / max(pool.size, 1)
        centre = np.zeros_like(mean) if sets.against_zero else mean

        block_sums = {"total": total, "split": total if split is None else split @ x, "centre": centre}
        block_sums["pool_raw_squares"] = in_pool @ (x * x)

        e = x - centre
        block_sums["covariate_products"] = x_cov.T @ e
        families = adders.families @ e
        block_sums["family_squares"] = np.einsum("ij,ij->j", families, families)
        families -= sets.pool_families.sizes[:, None] * (mean - centre)
        block_sums["family_squares_about_mean"] = np.einsum("ij,ij->j", families, families)

        pieces = adders.pieces @ e
        block_sums["piece_products"] = adders.of_sized_pieces @ pieces
        pieces *= pieces
        block_sums["piece_squares"] = adders.of_pieces @ pieces
        pieces *= pieces
        block_sums["piece_fourth"] = adders.of_pieces @ pieces

        e *= e
        squares = adders.rows @ e
        block_sums["squares"] = squares[0:-2:2] + squares[1:-2:2]
        block_sums["pool_squares"] = squares[-2:].sum(axis=0)

        return block_sums

    parts = list(in_order(sums, columns.blocks()))
    empty_block = sums((slice(0, 0), np.zeros((in_pool.size, 0))))
    wide = {name: np.concatenate([part[name] for part in [*parts, empty_block]], axis=-1) for name in empty_block}

    cells = {name: wide.pop(name).reshape(n_sets, 2, n_columns) for name in ("piece_squares", "piece_fourth")}
    total, split_total = (_halves(wide.pop(name)) for name in ("total", "split"))

    ones_column = np.ones((in_pool.size, 1))
    rows, split_rows = (
        _halves((a @ ones_column)[:, 0]) for a in (adders.rows, adders.rows if split is None else split)
    )

    size = sets.pieces.sizes.astype(float)
    return CellSums(
        sets=sets,
        scale=columns.scale,
        n=rows,
        total=total,
        split_n=split_rows,
        split_total=split_total,
        family_half=family_half,
        piece_nn=(adders.of_pieces @ size**2).reshape(n_sets, 2),
        piece_n=(adders.of_pieces @ np.ones_like(size)).reshape(n_sets, 2),
        family_nn=float((sets.pool_families.sizes.astype(float) ** 2).sum()),
        **cells,
        **wide,
    )


@dataclass(frozen=True)
class _Adders:
    """0/1 matrices that add up rows of a block: a sparse product is many times faster than sums over sorted runs."""

    rows: csr_array  # (2 K + 2, n_rows): set 0 half 0, set 0 half 1, set 1 half 0, …; at last the pool's halves
    pieces: csr_array  # (n_pieces, n_rows)
    of_pieces: csr_array  # (2 K, n_pieces): by set and half of the family
    of_sized_pieces: csr_array  # (K, n_pieces): by set, times the piece's rows; not 0/1
    families: csr_array  # (families of the pool, n_rows)

    @classmethod
    def build(cls, sets: Sets, half_of_family: np.ndarray) -> _Adders:
        n_rows, n_pieces = sets.family.size, sets.pieces.starts.size
        by_half = 2 * sets.piece_set + half_of_family[sets.piece_family]
        return cls(
            rows=_by_half(sets, half_of_family[sets.family]),
            pieces=_matrix(np.repeat(np.arange(n_pieces), sets.pieces.sizes), sets.rows, (n_pieces, n_rows)),
            of_pieces=_matrix(by_half, np.arange(n_pieces), (2 * len(sets), n_pieces)),
            of_sized_pieces=_matrix(
                sets.piece_set, np.arange(n_pieces), (len(sets), n_pieces), sets.pieces.sizes.astype(float)
            ),
            families=_matrix(
                np.repeat(np.arange(sets.pool_families.starts.size), sets.pool_families.sizes),
                sets.pool,
                (sets.pool_families.starts.size, n_rows),
            ),
        )


def _by_half(sets: Sets, half: np.ndarray) -> csr_array:
    """(2 K + 2, n_rows), as `_Adders.rows`; `half` 0 or 1 [n_rows]."""
    half = half.astype(np.int64)
    key = np.concatenate([2 * sets.set_of_row + half[sets.rows], 2 * len(sets) + half[sets.pool]])
    return _matrix(key, np.concatenate([sets.rows, sets.pool]), (2 * len(sets) + 2, sets.family.size))


def _matrix(row: np.ndarray, column: np.ndarray, shape: tuple[int, int], values: np.ndarray | None = None) -> csr_array:
    ones = np.ones(row.size) if values is None else values
    matrix = csr_array((ones, (row.astype(np.int32), column.astype(np.int32))), shape=shape)
    matrix.sort_indices()
    return matrix


def _halves(sums: np.ndarray) -> Halves:
    """From sums by the rows of `_Adders.rows`."""
    by_half = sums.reshape(len(sums) // 2, 2, *sums.shape[1:])
    return Halves(by_half[:-1], by_half[-1])
