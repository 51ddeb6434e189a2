"""The standard error with families as the unit, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.stats.clustered import mean_errors


def test_pairs_of_a_family_count_once() -> None:
    """Mean 3; deviations -2, -1, 3 and 0; family sums -3, 3, 0: sqrt(18 * 3 / 2) / 4."""
    values = np.array([1.0, 2.0, 6.0, 3.0])
    errors = mean_errors(np.column_stack([values, 10 * values]), np.array([7, 7, 9, 4]))
    assert errors == pytest.approx([27**0.5 / 4, 10 * 27**0.5 / 4])


def test_rows_that_are_families_have_the_ordinary_error() -> None:
    values = np.random.default_rng(0).normal(size=(50, 1))
    assert mean_errors(values, np.arange(50))[0] == pytest.approx(values.std(ddof=1) / 50**0.5)


def test_of_one_family_nothing_is_known() -> None:
    assert np.isnan(mean_errors(np.ones((3, 2)), np.zeros(3))).all()
