"""The error of a difference between two runs: by hand, and under chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pretilt.comparison.differences import differences
from pretilt.comparison.linked import linked_families


def apart(n_first: int, n_second: int):  # type: ignore[no-untyped-def]
    """Two runs without a common prompt, every row a family of its own."""
    return linked_families(
        np.arange(n_first),
        np.arange(n_second),
        [f"a{i}" for i in range(n_first)],
        [f"b{i}" for i in range(n_second)],
    )


def test_families_are_linked_by_prompts_through_both_runs() -> None:
    """Row 1 of the first shares a prompt with row 0 of the second, whose family holds row 2 of the second."""
    linked = linked_families(np.array([4, 7, 7]), np.array([1, 0, 1]), ["p", "q", "r"], ["q", "s", "t"])
    assert linked.n_units == 3
    assert linked.first[1] == linked.first[2] == linked.second[0] == linked.second[2]
    assert len({linked.first[0], linked.first[1], linked.second[1]}) == 3


def test_two_rows_each_by_hand() -> None:
    """First 0, 2, second 1, 5: deviations ∓1/2 and ∓2/2; four units, so 4/3 · (1/4 + 1/4 + 1 + 1)."""
    result = differences(np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]]), apart(2, 2))
    assert result.difference[0] == 2.0
    assert result.error[0] == pytest.approx(np.sqrt(10 / 3))
    assert result.first_error[0] == pytest.approx(1.0)  # the deviation sqrt(2) of two rows over the root of 2
    kurtosis = 4 * (1 / 16 + 1 / 16 + 1 + 1) / 2.5**2
    freedom = min(2 * 4 / (kurtosis - 1), 3)
    assert result.p_value[0] == pytest.approx(2 * stats.t.sf(2 / np.sqrt(10 / 3), freedom))


def test_what_both_runs_hold_cancels() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(-1, 2, (200, 3)).astype(float)
    prompts = [str(i) for i in range(200)]
    same = linked_families(np.arange(200), np.arange(200), prompts, prompts)
    result = differences(scores, scores, same)
    assert (result.difference == 0).all() and (result.error == 0).all() and (result.p_value == 1).all()

    turned = scores.copy()
    turned[:20] *= -1
    result = differences(scores, turned, same)
    moved = -2 * scores[:20] / 200
    spread = np.concatenate([moved - moved.sum(axis=0) / 200, np.zeros((180, 3)) - moved.sum(axis=0) / 200])
    assert result.difference == pytest.approx(moved.sum(axis=0))
    assert result.error == pytest.approx(np.sqrt((spread**2).sum(axis=0) * 200 / 199))
    assert (result.error < differences(scores, turned, apart(200, 200)).error / 2).all()


@pytest.mark.parametrize(("share", "least"), [(0.5, 0.03), (0.1, 0.03), (0.03, 0.0)])
def test_chance_is_called_a_difference_as_often_as_it_should_be(share: float, least: float) -> None:
    """Rows in families of 1 to 6, concepts in many and in few of them: p below .05 in about 5 % of 4,000 draws.

    Where ten families carry a concept it is rarer: their number is part of what the law does not know.
    """
    rng = np.random.default_rng(1)
    family = np.repeat(np.arange(150), rng.integers(1, 7, 150))
    linked = linked_families(
        family, family, [f"a{i}" for i in range(family.size)], [f"b{i}" for i in range(family.size)]
    )
    shape = (150, 4000)
    first, second = ((rng.random(shape) < share) * rng.choice([-1.0, 1.0], shape) for _ in range(2))
    p_value = differences(first[family], second[family], linked).p_value
    rate = (p_value < 0.05).mean()
    assert least < rate < 0.065
    assert (p_value < 0.001).mean() < 0.003


def test_one_unit_says_nothing() -> None:
    one = linked_families(np.zeros(3, int), np.zeros(3, int), list("abc"), list("abc"))
    result = differences(np.ones((3, 1)), np.zeros((3, 1)), one)
    assert result.difference[0] == -1.0 and np.isnan(result.error[0]) and np.isnan(result.p_value[0])
