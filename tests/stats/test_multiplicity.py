"""Benjamini-Hochberg q: by hand, against its definition, and as a promise about false discoveries."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.stats.multiplicity import q_values


def test_q_by_hand() -> None:
    # sorted .005 .01 .03 .04, times 4 / rank: .02 .02 .04 .04
    p = np.array([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(q_values(p), [0.02, 0.04, 0.04, 0.02], rtol=1e-14)
    np.testing.assert_allclose(q_values(p, 8), [0.04, 0.08, 0.08, 0.04], rtol=1e-14)  # four tests that are not in hand
    np.testing.assert_allclose(q_values(p, 1000), [1, 1, 1, 1])
    # the smallest p has the larger p * n / rank: it takes the next one's, .0165 = .022 * 3 / 4
    np.testing.assert_allclose(q_values(np.array([0.02, 0.021, 0.022, 0.9]))[:3], [0.022 * 4 / 3] * 3, rtol=1e-14)


def test_undefined_tests_count_and_stay_undefined() -> None:
    p = np.array([[0.01, np.nan], [0.02, np.nan]])
    q = q_values(p)
    assert q.shape == (2, 2)
    np.testing.assert_allclose(q, [[0.04, np.nan], [0.04, np.nan]])  # .01 * 4, .02 * 4 / 2
    assert np.isnan(q_values(np.full(3, np.nan))).all()
    assert q_values(np.zeros(0)).size == 0
    assert q_values(np.zeros((3, 0)), 7).shape == (3, 0)


@pytest.mark.parametrize("seed", range(5))
def test_q_is_the_smallest_level_at_which_the_test_is_rejected(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(40) ** 3, 2)  # ties, and zeros
    n, q = 55, q_values(p, 55)
    for one, value in zip(p, q, strict=True):
        levels = sorted({min(1.0, x * n / (p <= x).sum()) for x in p[p >= one]})
        assert value == pytest.approx(levels[0], rel=1e-12)
    for level in (0.05, 0.2):  # the step-up rule itself: the largest p with p <= level * rank / n, and all below
        passing = [x for x in p if x <= level * (p <= x).sum() / n]
        expected = p <= max(passing) if passing else np.zeros(40, bool)
        np.testing.assert_array_equal(q <= level * (1 + 1e-12), expected)


def test_false_discoveries_are_kept_to_the_level() -> None:
    rng = np.random.default_rng(9)
    shares = []
    for _ in range(400):
        p = rng.random(200)
        p[:40] = rng.random(40) ** 6 / 50  # effects
        found = q_values(p) <= 0.1
        shares.append(found[40:].sum() / max(found.sum(), 1))
    assert 0.06 < np.mean(shares) < 0.095  # 0.1 * 160 / 200 = 0.08, standard error 0.003


def test_more_values_than_tests_are_refused() -> None:
    with pytest.raises(ValueError, match="3 p-values out of 2 tests"):
        q_values(np.array([0.1, 0.2, 0.3]), 2)
