"""How few pairs carry an effect: shares by hand, families as units, effects of either sign and of none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pretilt.stats.concentration import SHARES, concentration


def test_shares_by_hand() -> None:
    # 20 pairs: the first 1 % and the first 5 % are one pair, the first 10 % are two. delta = 4 + 3 + 2 + 1 = 10
    values = np.zeros(20)
    values[[7, 3, 11, 0]] = [4, 3, 2, 1]
    found = concentration(values, np.arange(20))
    assert found.pairs == pytest.approx({0.01: 0.4, 0.05: 0.4, 0.10: 0.7})
    assert found.families == pytest.approx(found.pairs)  # every pair is its own family


def test_families_are_units() -> None:
    # 4 families of 5 pairs: 0 carries 1 + 1 + 1, 1 carries 2, 2 carries 5 - 5, 3 carries 5. delta = 10; any share of
    # four families up to 25 % is one of them, and that is family 3, though family 2 has a pair as large
    values = np.array([1, 1, 1, 0, 0, 2, 0, 0, 0, 0, 5, -5, 0, 0, 0, 5, 0, 0, 0, 0.0])
    family = np.repeat([30, 10, 40, 20], 5)
    found = concentration(values, family)
    assert found.families == pytest.approx({0.01: 0.5, 0.05: 0.5, 0.10: 0.5})
    assert found.pairs == pytest.approx({0.01: 0.5, 0.05: 0.5, 0.10: 1.0})


def test_a_suppressed_effect_counts_its_own_direction() -> None:
    values = np.zeros(10)
    values[[1, 2, 3]] = [-6.0, -4.0, 2.0]  # delta = -8: the first pair alone carries 6 / 8
    assert concentration(values, np.arange(10)).pairs == pytest.approx({0.01: 0.75, 0.05: 0.75, 0.10: 0.75})
    assert concentration(-values, np.arange(10)).pairs == concentration(values, np.arange(10)).pairs


def test_above_one_where_the_rest_pulls_back() -> None:
    values = np.array([5.0, -1.0, -1.0, -1.0, -1.0])  # delta = 1, and one pair gives 5
    assert concentration(values, np.arange(5)).pairs == pytest.approx({0.01: 5.0, 0.05: 5.0, 0.10: 5.0})


def test_no_effect_and_no_pairs() -> None:
    for values in (np.array([1.0, -1.0]), np.zeros(4), np.zeros(0)):
        found = concentration(values, np.arange(values.size))
        assert set(found.pairs) == set(found.families) == set(SHARES)
        assert all(math.isnan(share) for share in (*found.pairs.values(), *found.families.values()))


@pytest.mark.parametrize("seed", range(5))
def test_against_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(150, 450))
    values = rng.normal(0.1, 1, n) * (rng.random(n) < 0.4)
    family = rng.integers(0, n // 3, n)
    sums: dict[int, float] = {}
    for f, value in zip(family.tolist(), values.tolist(), strict=True):
        sums[f] = sums.get(f, 0.0) + value
    delta = values.sum()
    found = concentration(values, family)
    for units, shares in ((values.tolist(), found.pairs), (list(sums.values()), found.families)):
        ordered = sorted(units, reverse=bool(delta > 0))
        for percent, share in ((1, 0.01), (5, 0.05), (10, 0.10)):
            first = (percent * len(units) + 99) // 100  # rounded up, in integers
            assert shares[share] == pytest.approx(sum(ordered[:first]) / delta)


def test_neither_the_order_nor_the_numbers_of_families_matter() -> None:
    rng = np.random.default_rng(9)
    values, family = rng.normal(0.2, 1, 300), rng.integers(0, 80, 300)
    order, names = rng.permutation(300), rng.permutation(10_000)[:80]
    first, second = concentration(values, family), concentration(values[order], names[family][order])
    assert first.pairs == pytest.approx(second.pairs)
    assert first.families == pytest.approx(second.families)
