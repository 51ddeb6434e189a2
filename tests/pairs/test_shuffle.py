"""Shuffled labels: whole families change places, and nothing of a pair is lost or mixed with another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from pretilt.pairs.shuffle import swap_rows, swapped


def test_a_family_changes_places_together_half_of_them_do() -> None:
    family = np.random.default_rng(0).integers(0, 2000, size=6000)
    swap = swapped(family, seed=3)
    for number in np.unique(family):
        assert len(set(swap[family == number])) == 1
    per_family = np.array([swap[family == number][0] for number in np.unique(family)])
    assert abs(per_family.mean() - 0.5) < 4 * 0.5 / len(per_family) ** 0.5  # four standard errors
    assert np.array_equal(swap, swapped(family, seed=3))
    assert 0.4 < (swap != swapped(family, seed=4)).mean() < 0.6


def test_the_coin_is_the_familys_own() -> None:
    family = np.array([4, 0, 2, 4, 9, 2])
    swap = swapped(family, seed=1)
    order = np.array([5, 3, 1, 0, 4, 2])
    assert np.array_equal(swapped(family[order], seed=1), swap[order])
    assert np.array_equal(swapped(family[:3], seed=1), swap[:3])  # the other pairs do not matter
    assert swapped(np.zeros(0, np.int32), seed=1).shape == (0,)


def span(seed: int, n: int = 7) -> tuple[np.ndarray, csr_array, csr_array]:
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 3, size=(n, 5)) * (rng.random((n, 5)) < 0.6)
    act = (count * rng.random((n, 5))).astype(np.float32)
    return rng.integers(5, 50, n).astype(np.int32), csr_array(count.astype(np.int32)), csr_array(act)


def test_rows_are_exchanged_by_hand() -> None:
    chosen, rejected = span(1), span(2)
    swap = np.array([True, False, False, True, False, True, True])
    first, second = swap_rows(chosen, rejected, swap)
    for new, other, a, b in zip(first, second, chosen, rejected, strict=True):
        a_dense, b_dense = (m if isinstance(m, np.ndarray) else m.toarray() for m in (a, b))
        new, other = (m if isinstance(m, np.ndarray) else m.toarray() for m in (new, other))
        for row in range(7):
            assert np.array_equal(new[row], (b_dense if swap[row] else a_dense)[row])
            assert np.array_equal(other[row], (a_dense if swap[row] else b_dense)[row])
        assert new.dtype == other.dtype == a.dtype
    assert all(m.has_sorted_indices for m in (*first[1:], *second[1:]))


def test_twice_is_as_before_and_nothing_else_changes() -> None:
    chosen, rejected = span(1), span(2)
    swap = swapped(np.arange(7), seed=0)
    again = swap_rows(*swap_rows(chosen, rejected, swap), swap)
    for found, wanted in zip(again, (chosen, rejected), strict=True):
        assert np.array_equal(found[0], wanted[0])
        for a, b in zip(found[1:], wanted[1:], strict=True):
            assert all(np.array_equal(getattr(a, part), getattr(b, part)) for part in ("data", "indices", "indptr"))
    with pytest.raises(ValueError, match="cannot change 6 rows"):
        swap_rows(chosen, rejected, swap[:6])


def test_an_effect_of_the_labels_is_gone_and_one_of_a_family_stays_as_strong() -> None:
    """Among 3,000 single pairs an effect of 1 falls to noise; one family of 300 keeps its own, up to its sign."""
    family = np.r_[np.arange(3000), np.full(300, 3000)]
    u = np.ones(3300)
    signed = np.where(swapped(family, seed=7), -u, u)
    assert abs(signed[:3000].mean()) < 4 / 3000**0.5
    assert abs(signed[3000:].mean()) == 1
