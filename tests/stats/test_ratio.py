"""The interval of a ratio of means: numbers worked out by hand, and how often it holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pretilt.stats.ratio import ratio_interval


def test_a_denominator_without_error_leaves_the_numerators() -> None:
    """Means 3 and 4; the four numerators deviate by -2, 0, 0, 2: se = sqrt(4/3 · 8) / 4 = .8165."""
    numerator, denominator = np.array([1.0, 3.0, 3.0, 5.0]), np.full(4, 4.0)
    lo, hi = ratio_interval(numerator, denominator, np.arange(4))
    assert lo == pytest.approx((3 - 1.959964 * math.sqrt(4 / 3 * 8) / 4) / 4)
    assert hi == pytest.approx((3 + 1.959964 * math.sqrt(4 / 3 * 8) / 4) / 4)


def test_what_both_share_cancels() -> None:
    denominator = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert ratio_interval(0.25 * denominator, denominator, np.arange(6)) == pytest.approx((0.25, 0.25))


def test_a_denominator_that_may_be_zero_says_nothing() -> None:
    numerator = np.array([1.0, 1.1, 0.9, 1.0])
    assert ratio_interval(numerator, np.array([1.0, -1.0, 1.0, -0.5]), np.arange(4)) == (-math.inf, math.inf)
    assert ratio_interval(numerator, numerator, np.zeros(4)) == (-math.inf, math.inf)  # one family


def test_it_holds_the_truth_as_often_as_it_says_where_the_denominator_is_coarse() -> None:
    """The denominator is 6 of its standard errors from 0. Without its own error few intervals hold the truth, 2."""
    rng = np.random.default_rng(1)
    n, draws, inside, numerator_alone = 80, 2000, 0, 0
    for _ in range(draws):
        denominator = rng.normal(1.0, math.sqrt(n) / 6, n)
        numerator = rng.normal(2.0, 0.5, n)
        lo, hi = ratio_interval(numerator, denominator, np.arange(n))
        inside += lo <= 2.0 <= hi
        half = 1.96 * numerator.std(ddof=1) / math.sqrt(n) / abs(denominator.mean())
        numerator_alone += abs(numerator.mean() / denominator.mean() - 2.0) <= half
    assert 0.93 < inside / draws < 0.97
    assert numerator_alone / draws < 0.4


def test_families_are_the_unit() -> None:
    """Every row twice, as one family each: nothing is known better than before."""
    numerator, denominator = np.array([1.0, 2.0, 0.5, 1.5]), np.array([2.0, 2.5, 1.5, 2.2])
    single = ratio_interval(numerator, denominator, np.arange(4))
    assert ratio_interval(np.repeat(numerator, 2), np.repeat(denominator, 2), np.arange(4).repeat(2)) == pytest.approx(
        single
    )
