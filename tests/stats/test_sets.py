"""Sets of rows: who is in, who is in the pool, what lies together; and halves that tear no family apart."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.stats.sets import Runs, Sets, sum_by
from pretilt.stats.sums import family_halves


def members(sets: Sets) -> list[list[int]]:
    return [sets.rows[sets.indptr[k] : sets.indptr[k + 1]].tolist() for k in range(len(sets))]


def test_groups_by_hand() -> None:
    #                  row  0  1  2  3  4  5  6  7
    group_id = np.array([3, 1, 0, 3, 1, 3, 0, 1])
    family = np.array([50, 7, 7, 9, 7, -2, 9, 50])
    sets = Sets.groups(group_id, family)
    assert sets.ids.tolist() == [1, 3]  # group 2 has no pair
    assert sets.ids.dtype == np.int32
    assert members(sets) == [[1, 4, 7], [5, 3, 0]]  # by family: 7, 7, 50 and -2, 9, 50
    assert sets.pool.tolist() == [5, 1, 4, 3, 0, 7]  # silent pairs are in no pool
    assert (sets.n_in.tolist(), sets.n_out.tolist()) == ([3, 3], [3, 3])
    assert sets.family_n.tolist() == [2, 3]
    assert sets.set_of_row.tolist() == [0, 0, 0, 1, 1, 1]
    assert (sets.pieces.starts.tolist(), sets.pieces.sizes.tolist()) == ([0, 2, 3, 4, 5], [2, 1, 1, 1, 1])
    assert sets.piece_set.tolist() == [0, 0, 1, 1, 1]
    assert sets.piece_family.tolist() == [1, 3, 0, 2, 3]  # families -2, 7, 9, 50 are 0, 1, 2, 3
    assert sets.pool_families.sizes.tolist() == [1, 2, 1, 2]
    assert not sets.against_zero
    assert Sets.groups(group_id, family, n_groups=9).ids.tolist() == [1, 3]


def test_selections_overlap_and_empty_ones_are_left_out() -> None:
    family = np.array([1, 0, 1, 2])
    chosen = [np.array([3, 0]), np.array([], np.int64), np.array([2, 1, 0])]
    sets = Sets.selections(np.array([10, 11, 12]), chosen, family)
    assert sets.ids.tolist() == [10, 12]
    assert members(sets) == [[0, 3], [1, 0, 2]]
    assert sets.pool.tolist() == [1, 0, 2, 3]
    assert (sets.n_in.tolist(), sets.n_out.tolist()) == ([2, 3], [2, 1])
    assert sets.family_n.tolist() == [2, 2]
    assert sets.pieces.sizes.tolist() == [1, 1, 1, 2]
    assert chosen[0].tolist() == [3, 0]  # the caller's rows are not sorted in place


def test_everything_is_one_set_without_a_rest() -> None:
    sets = Sets.everything(np.array([5, 3, 5]))
    assert (sets.ids.tolist(), members(sets), sets.pool.tolist()) == ([-1], [[1, 0, 2]], [1, 0, 2])
    assert (sets.n_in.tolist(), sets.n_out.tolist(), sets.family_n.tolist()) == ([3], [0], [2])
    assert sets.against_zero


def test_a_row_permutation_moves_the_rows_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    group_id, family = rng.integers(0, 4, 60), rng.integers(0, 15, 60)
    order = rng.permutation(60)
    one, other = Sets.groups(group_id, family), Sets.groups(group_id[order], family[order])
    for name in ("ids", "indptr", "n_in", "n_out", "family_n", "piece_set", "piece_family"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name), err_msg=name)
    assert [sorted(order[rows].tolist()) for rows in members(other)] == [sorted(rows) for rows in members(one)]


@pytest.mark.parametrize("n", [0, 5])
def test_nobody_takes_part(n: int) -> None:
    for sets in (
        Sets.groups(np.zeros(n, np.int64), np.arange(n)),  # all silent
        Sets.selections(np.zeros(0, np.int32), [], np.arange(n)),
        Sets.selections(np.array([4]), [np.zeros(0, np.int64)], np.arange(n)),
    ):
        assert len(sets) == 0
        assert sets.indptr.tolist() == [0]
        assert sets.rows.size == sets.pieces.starts.size == sets.family_n.size == sets.n_out.size == 0
    assert Sets.groups(np.zeros(n, np.int64), np.arange(n)).pool.size == 0
    assert Sets.everything(np.arange(n)).n_in.tolist() == [n]


def test_runs_and_sums_by_hand() -> None:
    runs = Runs.from_keys(np.array([4, 4, 1, 4]))  # runs, not values: 4 comes twice
    assert (runs.starts.tolist(), runs.sizes.tolist()) == ([0, 2, 3], [2, 1, 1])
    block = np.array([[1.0, 10], [2, 20], [3, 30], [4, 40]])
    assert runs.sums(block).tolist() == [[3, 30], [3, 30], [4, 40]]
    assert Runs.from_keys(np.arange(4)).sums(block).tolist() == block.tolist()
    assert sum_by(np.array([1, 1, 1, 3]), 5, block).tolist() == [[0, 0], [6, 60], [0, 0], [4, 40], [0, 0]]
    assert sum_by(np.zeros(0, np.int64), 2, block[:0]).tolist() == [[0, 0], [0, 0]]
    assert sum_by(np.zeros(0, np.int64), 0, block[:0]).shape == (0, 2)


def test_halves_never_tear_a_family_apart_and_are_of_like_size() -> None:
    rng = np.random.default_rng(0)
    family = np.unique(rng.zipf(1.6, 5000) % 700, return_inverse=True)[1]
    half = family_halves(family)
    assert half.shape == (family.max() + 1,)  # one per family: there is nothing to tear
    assert set(half.tolist()) == {0, 1}
    assert abs(int(half[family].sum()) * 2 - 5000) <= np.bincount(family).max()
    np.testing.assert_array_equal(family_halves(family[rng.permutation(5000)]), half)


def test_halves_of_families_of_different_sizes_by_hand() -> None:
    # sizes 4, 3, 2, 1 are dealt 0 1 1 0
    assert family_halves(np.repeat([2, 0, 3, 1], [4, 3, 2, 1])).tolist() == [1, 0, 0, 1]
    assert family_halves(np.zeros(9, np.int64)).tolist() == [0]
    assert family_halves(np.zeros(0, np.int64)).size == 0


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_halves_do_not_follow_a_pattern_of_the_source(period: int) -> None:
    # a source that alternates between kinds of pairs must not have its kinds fall into the halves
    alternating = family_halves(np.arange(4000))
    shares = [alternating[k::period].mean() for k in range(period)]
    assert max(shares) - min(shares) < 0.15
