"""What is left after length and source: planted length and source effects vanish, planted others stay."""

from __future__ import annotations

import dense_reference as dense
import numpy as np
import pytest

from pretilt.stats.adjusted import KNOTS, MAX_SOURCES, MIN_SOURCE_PAIRS, covariates, residual_delta
from pretilt.stats.columns import Columns
from pretilt.stats.sets import Sets
from pretilt.stats.sums import cell_sums


def left(u, sets: Sets, x: np.ndarray, scale=None) -> np.ndarray:
    return residual_delta(cell_sums(Columns(np.asarray(u, float), scale), sets, covariates=x), x)


def world(seed: int, n: int = 240) -> tuple[np.ndarray, list[str | None], np.ndarray, np.ndarray]:
    """Length differences, sources, groups that lean on both, families."""
    rng = np.random.default_rng(seed)
    length = np.round(rng.normal(8, 30, n))
    source = [("a", "b", None, "rare")[i] for i in rng.choice(4, n, p=[0.5, 0.27, 0.2, 0.03])]
    group_id = 1 + (length > rng.normal(0, 30, n)) + 2 * np.array([s == "a" for s in source])
    group_id[rng.random(n) < 0.1] = 0
    return length, source, group_id, rng.integers(0, 70, n)


def test_covariates_by_hand() -> None:
    length = np.array([-4.0, -2, 0, 2, 4])  # standard deviation sqrt(8); knots at -3.2, 0 and 3.2
    x = covariates(length, [None] * 5)
    unit = np.sqrt(8)
    np.testing.assert_allclose(x[:, 0], length / unit, rtol=1e-14)
    bent = [np.maximum(length - knot, 0) - max(-knot, 0) for knot in (-3.2, 0, 3.2)]
    np.testing.assert_allclose(x[:, 1:], np.stack(bent, axis=1) / unit, rtol=1e-12, atol=1e-12)
    assert (x[2] == 0).all()  # nothing is to be accounted for where the lengths are equal
    assert KNOTS == (0.1, 0.5, 0.9)


def test_sources_by_hand() -> None:
    source = ["b"] * 30 + [None] * 25 + ["c"] * 24 + ["d"]  # "c" and "d" are too rare: they are the rest together
    x = covariates(np.zeros(80), source)
    assert x.shape == (80, 2)
    np.testing.assert_allclose(x[:, 0], np.r_[np.full(30, 50 / 80), np.full(50, -30 / 80)])
    np.testing.assert_allclose(x[:, 1], np.r_[np.full(30, -25 / 80), np.full(25, 55 / 80), np.full(25, -25 / 80)])
    assert MIN_SOURCE_PAIRS == 25
    assert covariates(np.zeros(60), ["a"] * 30 + ["b"] * 30).shape == (60, 1)  # one is what the other differs from
    many = [f"{i % (MAX_SOURCES + 5)}" for i in range(25 * (MAX_SOURCES + 5))]
    assert covariates(np.zeros(len(many)), many).shape[1] == MAX_SOURCES


@pytest.mark.parametrize("source", [None, "", "x", "x" * 100_000, "\0", "\udcff", "'; drop table"])
def test_without_anything_to_account_for_nothing_is(source: str | None) -> None:
    assert covariates(np.full(400, 7.0), [source] * 400).shape == (400, 0)


def test_a_long_or_strange_name_is_a_name() -> None:
    names = ["a", "a\0", "x" * 200_000, None]  # 100 of 200,000 characters: 80 MB, were all names made as wide
    x = covariates(np.zeros(400), [names[i % 4] for i in range(400)])
    assert x.shape == (400, 3)
    assert {tuple(row) for row in (x > 0).astype(int).tolist()} == {(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)}


@pytest.mark.parametrize("length", [[0, 0, 0, 0, 0, 0, 0, 0, 0, 5], [-1, 1] * 5, [3, 3, 3, 3, 3, 3, 3, 3, 4, 9]])
def test_columns_are_never_redundant(length: list[float]) -> None:
    x = covariates(np.array(length, float), ["s"] * 10)
    assert np.linalg.matrix_rank(np.column_stack([np.ones(10), x])) == x.shape[1] + 1
    assert x.shape[1] >= 1
    assert np.isfinite(x).all()


@pytest.mark.parametrize("kind", ["groups", "selections", "everything"])
@pytest.mark.parametrize("seed", range(3))
def test_the_residuals_equal_least_squares(kind: str, seed: int) -> None:
    length, source, group_id, family = world(seed)
    rng = np.random.default_rng(seed)
    n = length.size
    x = covariates(length, source)
    u = rng.normal(size=(n, 4)) + np.column_stack([0 * length, 0.02 * length, group_id == 2, np.abs(length) / 50])
    chosen = [np.sort(rng.choice(n, 40, replace=False)), np.flatnonzero(length > 20)]
    sets, pool = {
        "groups": (Sets.groups(group_id, family), np.flatnonzero(group_id)),
        "selections": (Sets.selections(np.arange(2), chosen, family), np.arange(n)),
        "everything": (Sets.everything(family), np.arange(n)),
    }[kind]
    found = left(u * [1, 2, 3, 4], sets, x, np.array([1.0, 2, 3, 4]))
    for k in range(len(sets)):
        inside = np.sort(sets.rows[sets.indptr[k] : sets.indptr[k + 1]]).tolist()
        outside = None if sets.against_zero else np.setdiff1d(pool, inside).tolist()
        for m in range(4):
            assert found[k, m] == pytest.approx(dense.residual_contrast(u, inside, outside, x, m), abs=1e-9)


def test_a_planted_length_or_source_effect_is_removed_exactly() -> None:
    length, source, group_id, family = world(7)
    group_id = np.where(group_id == 0, 1, group_id)  # all in the pool: knots and sources are those of the pool
    x = covariates(length, source)
    knot = np.quantile(length, 0.5)
    u = np.column_stack(
        [
            0.3 * length,
            np.maximum(length - knot, 0),  # only what is longer than usual counts
            [{"a": 1.0, None: -2.0}.get(s, 0.5) for s in source],  # "b" and the rare ones alike
            np.full(length.size, 0.25),
        ]
    )
    sets = Sets.groups(group_id, family)
    plain = left(u, sets, x[:, :0])
    assert np.abs(plain[:, :3]).max(axis=0).min() > 0.3  # the groups lean on both
    np.testing.assert_allclose(left(u, sets, x), 0, atol=1e-12 * np.abs(u).max())
    # and against zero: what a pair of equal lengths of the average source would show
    everything = left(u, Sets.everything(family), x)[0]
    bend = max(-knot, 0.0)
    np.testing.assert_allclose(everything, [0, bend, np.mean(u[:, 2]), 0.25], atol=1e-9)


def test_a_planted_effect_of_another_kind_stays() -> None:
    # within the groups, lengths are balanced: the effect is not theirs
    length = np.tile([-20.0, -5, 0, 5, 20], 40)
    group_id = np.repeat([1, 2, 3, 4], 50)
    x = covariates(length, ["s"] * 200)
    u = ((group_id == 2) * 0.5 + 0.01 * length)[:, None]
    found = left(u, Sets.groups(group_id, np.arange(200)), x)
    np.testing.assert_allclose(found[:, 0], [-1 / 6, 0.5, -1 / 6, -1 / 6], atol=1e-12)


def test_undefined_and_empty() -> None:
    length, source, group_id, family = world(1)
    x = covariates(length, source)
    u = np.random.default_rng(0).normal(size=(length.size, 2))
    assert np.isnan(left(u, Sets.groups(np.ones(length.size, int), family), x)).all()  # no rest
    assert left(u, Sets.groups(np.zeros(length.size, int), family), x).shape == (0, 2)  # all silent
    assert left(u, Sets.selections(np.zeros(0, int), [], family), x).shape == (0, 2)
    assert left(u[:, :0], Sets.groups(group_id, family), x).shape == (4, 0)
    for sets in (Sets.groups(group_id, family), Sets.everything(family)):
        np.testing.assert_allclose(left(-u, sets, x), -left(u, sets, x), rtol=1e-12)
