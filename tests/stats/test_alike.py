"""Concepts whose scores rise and fall together."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.stats.alike import MOST_PAIRS, alike


def test_pairs_of_columns_by_hand() -> None:
    u = np.array([1.0, 0.0, -1.0, 0.0])
    columns = [u, 2 * u + 3, -u, np.ones(4), np.array([1.0, 1.0, -1.0, -1.0])]
    i, j, r = alike(columns)
    assert (i.tolist(), j.tolist()) == ([0], [1]) and r == pytest.approx([1.0])
    i, j, r = alike(columns, 0.7)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 1), (0, 4), (1, 4)]
    assert r[1] == pytest.approx(2 / np.sqrt(8))


def test_nothing_and_many_pairs() -> None:
    assert [part.size for part in alike([])] == [0, 0, 0]
    rng = np.random.default_rng(0)
    u = rng.normal(size=3 * MOST_PAIRS)
    i, j, _ = alike([u, rng.normal(size=u.size), u + 0.1 * rng.normal(size=u.size)])
    assert (i.tolist(), j.tolist()) == ([0], [2])
