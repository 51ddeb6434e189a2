"""Resampling of families: the bootstrap against a plain loop, rank stability by hand, flips against all of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.sparse import csc_array

from pretilt.stats import resampling
from pretilt.stats.columns import Columns
from pretilt.stats.resampling import bootstrap_deltas, rank_stability, sign_flip_p
from pretilt.stats.sets import Sets


def all_cells(sets: Sets, m: int) -> tuple[np.ndarray, np.ndarray]:
    k, j = np.divmod(np.arange(len(sets) * m), m)
    return k, j


def weighted_delta(u, w, inside, pool, against_zero) -> float:
    """delta with the rows' weights, in a plain loop; NaN where a side weighs nothing."""
    sides = [[i for i in pool if i in inside], [i for i in pool if i not in inside]]
    means = []
    for rows in sides:
        weight = sum(w[i] for i in rows)
        means.append(sum(w[i] * u[i] for i in rows) / weight if weight else math.nan)
    return means[0] if against_zero else means[0] - means[1]


@pytest.mark.parametrize("kind", ["groups", "selections", "everything"])
@pytest.mark.parametrize("sparse", [True, False])
def test_bootstrap_deltas_equal_a_loop_with_the_same_weights(kind: str, sparse: bool, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    n, m = 60, 5
    family = np.unique(rng.integers(0, 20, n), return_inverse=True)[1]
    x = rng.integers(-3, 4, (n, m)) * (rng.random((n, m)) < 0.5) if sparse else rng.normal(size=(n, m))
    group_id = rng.integers(0, 4, n)
    group_id[0] = 4  # a group of one pair: absent from a third of the draws
    chosen = [rng.choice(n, size, replace=False) for size in (3, 30, 59)]
    sets = {
        "groups": Sets.groups(group_id, family),
        "selections": Sets.selections(np.arange(3), chosen, family),
        "everything": Sets.everything(family),
    }[kind]
    scale = np.arange(1.0, m + 1)
    columns = Columns(csc_array(x.astype(np.int16)) if sparse else x.astype(np.float32), scale)
    k, j = all_cells(sets, m)
    order = rng.permutation(k.size)  # cells in any order
    found = bootstrap_deltas(columns, sets, k[order], j[order], draws=12, seed=4)
    weight = np.random.default_rng(4).poisson(1.0, size=(12, family.max() + 1))
    for cell in range(k.size):
        kk, jj = k[order][cell], j[order][cell]
        inside = set(sets.rows[sets.indptr[kk] : sets.indptr[kk + 1]].tolist())
        for draw in range(12):
            expected = weighted_delta(
                x[:, jj] / scale[jj], weight[draw][family], inside, sets.pool.tolist(), sets.against_zero
            )
            assert found[draw, cell] == pytest.approx(expected, rel=2e-5, abs=2e-6, nan_ok=True)
    monkeypatch.setattr(resampling, "_COLUMNS_AT_ONCE", 2)
    np.testing.assert_allclose(
        bootstrap_deltas(columns, sets, k[order], j[order], draws=12, seed=4), found, rtol=1e-5, atol=1e-6
    )


def test_a_draw_without_a_side_is_undefined() -> None:
    sets = Sets.groups(np.array([1, 2, 2]), np.array([0, 1, 1]))
    found = bootstrap_deltas(Columns(np.ones((3, 1))), sets, np.array([0]), np.array([0]), draws=400)
    absent = np.isnan(found).mean()
    assert absent == pytest.approx(1 - (1 - math.exp(-1)) ** 2, abs=0.1)  # one of two families has weight 0
    assert not np.isinf(found).any()
    nothing = bootstrap_deltas(Columns(np.ones((3, 1))), sets, np.zeros(0, int), np.zeros(0, int), draws=5)
    assert nothing.shape == (5, 0)


def test_the_bootstrap_spreads_as_families_do() -> None:
    rng = np.random.default_rng(1)
    family = np.repeat(np.arange(100), 6)
    u = rng.normal(size=100)[family]  # rows of a family are copies: the mean's error is 1 / sqrt(100)
    cell = (np.zeros(1, int), np.zeros(1, int))
    drawn = bootstrap_deltas(Columns(u[:, None]), Sets.everything(family), *cell, draws=2000)
    assert drawn.std() == pytest.approx(u.std() / 10, rel=0.1)
    naive = bootstrap_deltas(Columns(u[:, None]), Sets.everything(np.arange(600)), *cell, draws=2000)
    assert naive.std() == pytest.approx(u.std() / math.sqrt(600), rel=0.1)


def test_rank_stability_by_hand() -> None:
    nan = float("nan")
    deltas = np.array(
        [
            [3, 2, -1, -5],  # first of +: cell 0; first of -: cell 3
            [1, 2, -4, -4],  # cell 1; a tie goes to cell 2
            [-9, nan, 2, -1],  # cell 2 leads +, which is not its list; cell 0 leads -, which is not its list
            [5, 1, 0, -2],  # cell 0; cell 3, for a zero is in no list
        ]
    )
    direction = np.array([1.0, 1, -1, -1])
    assert rank_stability(deltas, np.abs, direction, top=1).tolist() == [0.5, 0.25, 0.25, 0.5]
    # two places: every cell of the right sign has one; cell 0 and 2 lose the third draw, cell 1 too (undefined)
    assert rank_stability(deltas, np.abs, direction, top=2).tolist() == [0.75, 0.75, 0.5, 1.0]
    # the key decides: smallest first
    assert rank_stability(deltas, lambda d: -np.abs(d), direction, top=1).tolist() == [0.25, 0.5, 0.5, 0.5]
    assert rank_stability(np.zeros((3, 0)), np.abs, np.zeros(0)).size == 0


@pytest.mark.parametrize("n_families", [1, 2, 5, 8])
def test_sign_flips_agree_with_all_of_them(n_families: int) -> None:
    rng = np.random.default_rng(n_families)
    family = np.concatenate([np.arange(n_families), rng.integers(0, n_families, 12)]) * 7 - 3
    x = rng.integers(-3, 4, (family.size, 6))
    x[:, 4] = 0
    x[:, 5] = 1  # all families agree, the smallest p there is
    sums = np.array([x[family == f].sum(axis=0) for f in np.unique(family)])
    signs = np.array(list(itertools.product([-1, 1], repeat=n_families)))
    exact = (np.abs(signs @ sums) >= np.abs(sums.sum(axis=0))).mean(axis=0)  # ties count
    found = sign_flip_p(Columns(csc_array(x), np.full(6, 3.0)), family, np.arange(6))
    for j in range(6):
        spread = math.sqrt(exact[j] * (1 - exact[j]) / 1999)
        assert abs(found[j] - exact[j]) <= 4.5 * spread + 1 / 2000
    assert found[4] == 1.0
    if n_families == 1:
        assert (found == 1.0).all()  # one family cannot tell


def test_the_smallest_p_is_one_in_flips() -> None:
    columns = Columns(np.ones((50, 2)))
    assert sign_flip_p(columns, np.arange(50), np.arange(2)).tolist() == [1 / 2000] * 2
    assert sign_flip_p(columns, np.arange(50), np.arange(1), flips=9).tolist() == [0.1]
    assert sign_flip_p(columns, np.zeros(50, int), np.arange(2)).tolist() == [1.0] * 2
    assert sign_flip_p(Columns(np.zeros((50, 2))), np.arange(50), np.arange(2)).tolist() == [1.0] * 2
    assert sign_flip_p(columns, np.arange(50), np.zeros(0, int)).size == 0


def test_p_is_uniform_under_the_null_and_pairs_are_not_families() -> None:
    rng = np.random.default_rng(3)
    family = np.repeat(np.arange(25), 8)
    loud = rng.gamma(0.5, 1, 25)  # no normal world: a few families shout
    x = (loud[:, None] * rng.choice([-1.0, 1.0], (25, 1500)))[family]
    p = sign_flip_p(Columns(x), family, np.arange(1500), flips=499)
    for level in (0.02, 0.05, 0.2):
        assert (p <= level).mean() < level + 4 * math.sqrt(level * (1 - level) / 1500)
    assert (p <= 0.2).mean() > 0.15
    assert (sign_flip_p(Columns(x), np.arange(200), np.arange(1500), flips=499) <= 0.05).mean() > 0.3


def test_the_labels_and_the_order_of_rows_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    x, family = rng.integers(-2, 3, (40, 70)), rng.integers(0, 9, 40)
    p = sign_flip_p(Columns(x), family, np.arange(70))
    np.testing.assert_array_equal(sign_flip_p(Columns(-x), family, np.arange(70)), p)
    order = rng.permutation(40)
    np.testing.assert_array_equal(sign_flip_p(Columns(x[order]), family[order], np.arange(70)), p)
    assert not np.array_equal(sign_flip_p(Columns(x), family, np.arange(70), seed=1), p)
