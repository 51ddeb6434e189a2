"""The scores that are tested, pairs × concepts, served a few columns at a time as dense blocks.

Sums over groups, families and bootstrap draws are fastest on dense columns, and no dense matrix of pairs × concepts is
ever needed whole: integer numerators wait as a compressed sparse matrix of 6 bytes an entry, floats as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csc_array, csr_array

BLOCK_VALUES = 1 << 22  # values of one dense block: 32 MB in float64


class Columns:
    """u = numerator / scale, (n_rows, n_columns).

    Sums are taken over the numerators, which are integers for the disparities of the paper, and divided at the end: so
    they are exact. `values` is sparse or dense; `scale` float [n_columns], > 0 (default 1).
    """

    def __init__(self, values: csc_array | np.ndarray, scale: np.ndarray | None = None) -> None:
        self._values = values
        self.shape: tuple[int, int] = (int(values.shape[0]), int(values.shape[1]))
        self.scale = np.ones(self.shape[1]) if scale is None else np.asarray(scale, np.float64)
        if self.scale.shape != (self.shape[1],):
            raise ValueError(f"{self.shape[1]} columns, {self.scale.size} scales")

    def dense(self, columns: np.ndarray | slice, dtype: type = np.float64) -> np.ndarray:
        """Numerators of some columns, (n_rows, n) in `dtype`."""
        if isinstance(self._values, np.ndarray):
            return np.asarray(self._values[:, columns], dtype=dtype)
        numbers = np.arange(self.shape[1])[columns]
        block: np.ndarray = np.zeros((self.shape[0], numbers.size), dtype=dtype)
        indptr, indices, data = self._values.indptr, self._values.indices, self._values.data
        for j, column in enumerate(numbers):
            entries = slice(indptr[column], indptr[column + 1])
            block[indices[entries], j] = data[entries]
        return block

    def blocks(self, at_most: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """All columns in order, as (slice, numerators float64 (n_rows, n))."""
        step = max(1, min(at_most or self.shape[1], BLOCK_VALUES // max(1, self.shape[0])))
        for start in range(0, self.shape[1], step):
            columns = slice(start, min(start + step, self.shape[1]))
            yield columns, self.dense(columns)

    def u(self, column: int) -> np.ndarray:
        """One column of u, float64 (n_rows,)."""
        values: np.ndarray = self.dense(np.array([column]))[:, 0] / self.scale[column]
        return values

    def take(self, columns: np.ndarray) -> Columns:
        """Some of the columns, in the order asked for."""
        return Columns(self._values[:, columns], self.scale[columns])


class ColumnBuilder:
    """Puts row blocks together into columns: each is transposed when it arrives, and none is copied twice."""

    def __init__(self, n_columns: int, dtype: type) -> None:
        self._n_columns, self._dtype = n_columns, dtype
        self._blocks: list[csc_array] = []

    def add(self, block: csr_array) -> None:
        """The next rows, CSR (n, n_columns). Raises OverflowError where an integer does not fit the dtype."""
        if np.issubdtype(self._dtype, np.integer) and block.data.size:
            limits = np.iinfo(self._dtype)
            if block.data.max() > limits.max or block.data.min() < limits.min:
                raise OverflowError(
                    f"a numerator does not fit {np.dtype(self._dtype)}: a concept has too many features"
                )
        self._blocks.append(csc_array(csr_array(block, dtype=self._dtype)))

    def finish(self, scale: np.ndarray | None = None) -> Columns:
        return Columns(stack_columns(self._blocks, self._n_columns, self._dtype), scale)


def stack_columns(blocks: Sequence[csc_array], n_columns: int, dtype: type) -> csc_array:
    """CSC blocks one below the other; row indices int32. Empties the list as it goes, to halve the peak."""
    waiting = list(blocks)
    if isinstance(blocks, list):
        blocks.clear()

    counts = np.zeros(n_columns, np.int64)
    for block in waiting:
        counts += np.diff(block.indptr)
    indptr = np.zeros(n_columns + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], dtype)

    free, row = indptr[:-1].copy(), 0
    for number, block in enumerate(waiting):
        per_column = np.diff(block.indptr)
        target = np.repeat(free - block.indptr[:-1], per_column) + np.arange(block.indices.size)
        indices[target] = block.indices + row
        data[target] = block.data
        free += per_column
        row += block.shape[0]
        waiting[number] = None  # type: ignore[call-overload]

    if indptr[-1] <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    else:  # SciPy wants one index type; the statistics do not need SciPy here
        indices = indices.astype(np.int64)

    result = csc_array((data, indices, indptr), shape=(row, n_columns))
    result.has_canonical_format = True  # rows ascend: the blocks' did, and the blocks follow one another
    return result
