"""Columns in blocks: the same numbers from sparse and dense, in any order, and nothing that does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array

from pretilt.stats import columns as columns_module
from pretilt.stats.columns import ColumnBuilder, Columns, stack_columns


def numerators(seed: int = 0, n: int = 30, m: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, (n, m)) * (rng.random((n, m)) < 0.4)
    x[:, 3] = 0
    return x


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_columns_by_hand(kind: str) -> None:
    x = np.array([[2, 0, -1], [0, 0, 3]])
    values = csc_array(x.astype(np.int16)) if kind == "sparse" else x.astype(np.float32)
    columns = Columns(values, np.array([2.0, 1.0, 4.0]))
    assert columns.shape == (2, 3)
    assert columns.dense(np.array([2, 0])).tolist() == [[-1.0, 2.0], [3.0, 0.0]]
    assert columns.dense(slice(1, 3), np.float32).tolist() == [[0.0, -1.0], [0.0, 3.0]]
    assert columns.dense(slice(0, 1), np.float32).dtype == np.float32
    assert columns.u(2).tolist() == [-0.25, 0.75]
    taken = columns.take(np.array([2, 0]))
    assert taken.shape == (2, 2)
    assert taken.scale.tolist() == [4.0, 2.0]
    assert taken.u(0).tolist() == [-0.25, 0.75]


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_blocks_cover_every_column_once_whatever_their_size(kind: str, monkeypatch) -> None:
    x = numerators()
    columns = Columns(csc_array(x) if kind == "sparse" else x.astype(float))
    for values in (1, 31, 75, 100_000):  # 31: a block of one column; 75: two, the last block has one
        monkeypatch.setattr(columns_module, "BLOCK_VALUES", values)
        parts = list(columns.blocks())
        assert [i for where, _ in parts for i in range(7)[where]] == list(range(7))
        np.testing.assert_array_equal(np.concatenate([block for _, block in parts], axis=1), x)
        assert max(block.shape[1] for _, block in parts) == min(7, max(1, values // 30))
    assert [block.shape[1] for _, block in columns.blocks(at_most=3)] == [3, 3, 1]


def test_rows_that_arrive_in_blocks_are_the_same_matrix() -> None:
    x = numerators(1, n=41)
    for cuts in ([], [1], [0, 0, 17, 17, 40], list(range(1, 41))):  # empty blocks, single rows
        builder = ColumnBuilder(7, np.int16)
        for part in np.split(x, cuts):
            builder.add(csr_array(part))
        found = builder.finish(np.arange(1.0, 8.0))
        np.testing.assert_array_equal(found.dense(slice(None)), x)
        np.testing.assert_array_equal(found.u(4), x[:, 4] / 5.0)


def test_stacked_columns_are_canonical_and_small() -> None:
    x = numerators(2, n=50)
    blocks = [csc_array(part.astype(np.int16)) for part in (x[:20], x[20:])]
    stacked = stack_columns(blocks, 7, np.int16)
    assert blocks == []  # given up, to halve the peak
    assert (stacked.data.dtype, stacked.indices.dtype, stacked.indptr.dtype) == (np.int16, np.int32, np.int32)
    for j in range(7):
        rows = stacked.indices[stacked.indptr[j] : stacked.indptr[j + 1]]
        assert (np.diff(rows) > 0).all()  # what has_canonical_format promises
    np.testing.assert_array_equal(stacked.toarray(), x)
    np.testing.assert_array_equal(stacked[:, [5, 1]].toarray(), x[:, [5, 1]])


def test_a_numerator_that_does_not_fit_is_refused_not_wrapped() -> None:
    for value, fits in ((32_767, True), (32_768, False), (-32_768, True), (-32_769, False)):
        builder = ColumnBuilder(2, np.int16)
        block = csr_array(np.array([[0, value], [1, 0]]))
        if fits:
            builder.add(block)
            assert builder.finish().dense(slice(1, 2))[0, 0] == value
        else:
            with pytest.raises(OverflowError, match="int16"):
                builder.add(block)


def test_nothing_is_no_accident() -> None:
    for shape in ((0, 3), (4, 0), (0, 0)):
        for values in (csc_array(shape, dtype=np.int16), np.zeros(shape)):
            columns = Columns(values)
            assert columns.shape == shape
            assert sum(block.shape[1] for _, block in columns.blocks()) == shape[1]
    assert ColumnBuilder(3, np.int16).finish().shape == (0, 3)  # no block at all
    with pytest.raises(ValueError, match="3 columns, 2 scales"):
        Columns(np.zeros((1, 3)), np.ones(2))
