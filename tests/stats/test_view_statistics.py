"""All statistics of a view together: symmetries, copies, plants and nulls, and what happens where nothing is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csc_array

from pretilt.stats import columns as columns_module
from pretilt.stats import view_statistics as module
from pretilt.stats.adjusted import covariates
from pretilt.stats.columns import Columns
from pretilt.stats.contrast import row_half
from pretilt.stats.sets import Sets
from pretilt.stats.view_statistics import ViewStatistics, view_statistics

KINDS = ("everything", "group", "selections")
SIGNED = ("posterior", "delta_heldout", "delta_residual")
UNSIGNED = ("lfsr", "p_flip")


def world(kind: str, seed: int = 0, n: int = 400, m: int = 12):
    """u (integers), length difference, a builder of the view's sets from families, families of one to many rows."""
    rng = np.random.default_rng(seed)
    family = np.minimum(np.arange(n) // 2, n // 2 - 8)
    u = rng.integers(-2, 3, (n, m)) * (rng.random((n, m)) < 0.4)
    group_id = rng.integers(0, 7, n)
    u[group_id == 3, 2] = 2  # planted in group 3
    u[:, 5] -= rng.random(n) < 0.4  # planted everywhere
    u[:, m - 1] = 0
    chosen = [np.sort(rng.choice(n, size, replace=False)) for size in (60, 60, 5)]

    def sets(names: np.ndarray, order: np.ndarray | None = None) -> Sets:
        if kind == "everything":
            return Sets.everything(names)
        if kind == "group":
            return Sets.groups(group_id if order is None else group_id[order], names)
        place = np.arange(n) if order is None else np.argsort(order)
        return Sets.selections(np.arange(3), [place[rows] for rows in chosen], names)

    return u, np.round(rng.normal(5, 30, n)), sets, family


def run(u, sets: Sets, length=None, scale=None, **options) -> ViewStatistics:
    x = np.zeros((len(u), 0)) if length is None else covariates(length, [None] * len(u))
    values = u if isinstance(u, csc_array) else np.asarray(u, float)
    return view_statistics("v", np.arange(values.shape[1]), Columns(values, scale), sets, covariates=x, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_swapping_the_labels_flips_every_sign_and_leaves_the_certainty(kind: str) -> None:
    u, length, sets, family = world(kind)
    one, other = run(u, sets(family), length), run(-u, sets(family), -length)
    for name in SIGNED[:2]:
        np.testing.assert_allclose(getattr(other, name), -getattr(one, name), rtol=1e-9, atol=1e-12, err_msg=name)
    for name in UNSIGNED:
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_array_equal(other.moderated.z, -one.moderated.z)
    np.testing.assert_array_equal(other.moderated.p, one.moderated.p)
    np.testing.assert_allclose(other.delta_residual, -one.delta_residual, atol=1e-9)
    k, m = np.nonzero(np.isfinite(one.lfsr))
    lo, hi = one.interval(k, m)
    np.testing.assert_allclose(other.interval(k, m), (-hi, -lo), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_rows_does_not_matter(kind: str) -> None:
    u, length, sets, family = world(kind, seed=1)
    order = np.random.default_rng(2).permutation(len(u))
    one, other = run(u, sets(family), length), run(u[order], sets(family[order], order), length[order])
    for name in (*SIGNED, *UNSIGNED):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(other.moderated.z, one.moderated.z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_storage_do_not_matter(kind: str, monkeypatch) -> None:
    u, length, sets, family = world(kind, seed=3)
    whole = run(u, sets(family), length)
    monkeypatch.setattr(columns_module, "BLOCK_VALUES", 1000)
    for values in (u, csc_array(u.astype(np.int16)), u.astype(np.float32)):
        one = view_statistics(
            "v", np.arange(12), Columns(values), sets(family), covariates=covariates(length, [None] * len(u))
        )
        for name in (*SIGNED, *UNSIGNED):
            np.testing.assert_allclose(getattr(one, name), getattr(whole, name), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_a_concept_is_only_its_unit(kind: str) -> None:
    u, length, sets, family = world(kind, seed=4)
    size = 2.0 ** np.arange(12)
    one, other = run(u, sets(family), length), run(u, sets(family), length, scale=size)
    for name in SIGNED:
        np.testing.assert_allclose(getattr(other, name) * size, getattr(one, name), rtol=1e-9, atol=1e-12, err_msg=name)
    for name in UNSIGNED:
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-9, err_msg=name)
    k, m = np.nonzero(np.isfinite(one.lfsr))
    np.testing.assert_allclose(np.array(other.interval(k, m)) * size[m], one.interval(k, m), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
        other.key(other.contrasts.delta[k, m], k, m), one.key(one.contrasts.delta[k, m], k, m), rtol=1e-9
    )


@pytest.mark.parametrize("kind", ["everything", "group"])
def test_copies_in_one_family_are_no_evidence_and_in_families_of_their_own_they_are(kind: str) -> None:
    rng = np.random.default_rng(6)
    u, group_id = rng.integers(-1, 2, (300, 40)), np.arange(300) % 6 + 1
    rows, once = np.repeat(np.arange(300), 10), np.arange(300)

    def sets(numbers: np.ndarray, names: np.ndarray) -> Sets:
        return Sets.groups(group_id[numbers], names) if kind == "group" else Sets.everything(names)

    plain, copied = run(u, sets(once, once)), run(u[rows], sets(rows, rows))
    believed = run(u[rows], sets(rows, np.arange(3000)))
    np.testing.assert_allclose(copied.moderated.z, plain.moderated.z, rtol=1e-9)
    np.testing.assert_allclose(copied.lfsr, plain.lfsr, rtol=1e-6)
    np.testing.assert_allclose(copied.posterior, plain.posterior, rtol=1e-6)
    assert (plain.lfsr < 0.05).sum() == 0  # there is nothing to find
    assert (believed.lfsr < 0.05).mean() > 0.3
    assert np.abs(believed.moderated.z).max() > 2.5 * np.abs(plain.moderated.z).max()


def test_a_handful_of_copies_in_one_group() -> None:
    rng = np.random.default_rng(7)
    u, group_id = rng.integers(-1, 2, (600, 30)), np.arange(600) % 12 + 1
    lucky = np.flatnonzero((group_id == 1) & (u[:, 0] == 1))[:5]
    rows = np.concatenate([np.arange(600), np.repeat(lucky, 10)])
    plain = run(u, Sets.groups(group_id, np.arange(600)))
    shared = run(u[rows], Sets.groups(group_id[rows], rows))
    own = run(u[rows], Sets.groups(group_id[rows], np.arange(rows.size)))
    assert shared.contrasts.delta[0, 0] > plain.contrasts.delta[0, 0] + 0.3  # the copies lead the mean astray
    assert abs(plain.moderated.z[0, 0]) < 2 and abs(shared.moderated.z[0, 0]) < 2.3 < 5 < own.moderated.z[0, 0]
    assert shared.lfsr[0, 0] > 0.05 > 0.001 > own.lfsr[0, 0]


def test_plants_are_found_and_nulls_are_not() -> None:
    rng = np.random.default_rng(8)
    n, m = 3000, 60
    family = np.arange(n) // 3
    u = rng.choice([-1, 0, 1], (n, m), p=[0.15, 0.7, 0.15])
    group_id = (family % 15) + 1
    for g in range(1, 16):
        u[np.ix_(group_id == g, [g])] += rng.random(((group_id == g).sum(), 1)) < 0.5  # concept g in group g
    one = run(u, Sets.groups(group_id, family))
    planted = np.zeros(one.lfsr.shape, bool)
    planted[np.arange(15), np.arange(1, 16)] = True
    sure = one.lfsr < 0.05
    assert sure[planted].all()
    assert sure[~planted].sum() <= 0.05 * sure.sum() + 2  # the plants shift their rest by 1/30: no null is quite one
    assert (np.sign(one.posterior[sure]) == np.sign(one.contrasts.delta[sure])).all()
    assert (np.abs(one.posterior) <= np.abs(one.contrasts.delta) + 1e-12).all()  # drawn towards zero, never away
    truth = 0.5  # of the rest 1/14 of nothing is planted
    assert one.posterior[planted].mean() == pytest.approx(truth, abs=0.05)
    assert np.nanmean(one.delta_heldout[planted]) == pytest.approx(truth, abs=0.05)
    key = one.key(one.contrasts.delta.ravel(), *np.divmod(np.arange(one.lfsr.size), m))
    assert set(np.argsort(-key)[:15].tolist()) == set(np.flatnonzero(planted.ravel()).tolist())


def test_the_default_order_puts_the_sure_first_and_then_looks_at_the_size() -> None:
    u, length, sets, family = world("group", seed=9)
    one = run(u, sets(family), length)
    k, m = np.nonzero(np.isfinite(one.lfsr))
    delta, z = one.contrasts.delta[k, m], np.abs(one.moderated.z[k, m])
    assert one.key(delta, k, m).max() < 1  # before all views are known nothing is sure
    x, s = one.contrasts.delta[k, m] / one.moderated.sd[m], one.moderated.se[k, m] / one.moderated.sd[m]
    size, spread = np.abs(one.posterior / one.moderated.sd)[k, m], one.mixture.spread(x, s)
    one.sure_z = float(np.sort(z)[-6])
    key, sure = one.key(delta, k, m), (one.lfsr[k, m] < 0.05) & (z >= one.sure_z)
    assert 0 < sure.sum() <= 6 < sure.size
    assert key[sure].min() >= 2 and key[~sure].max() < 1
    np.testing.assert_array_equal(np.argsort(key[sure]), np.argsort(size[sure]))
    np.testing.assert_array_equal(np.argsort(key[~sure]), np.argsort((size / spread)[~sure]))
    np.testing.assert_allclose(one.key(-delta, k, m), key, rtol=1e-9)  # both directions alike
    for i in np.flatnonzero(one.lfsr[k, m] < 0.05):  # the last discovery does not fall out by the rounding of its z
        one.sure_z = float(z[i])
        assert one.key(delta, k, m)[i] >= 2
    assert np.isnan(one.key(np.array([np.nan]), k[:1], m[:1])).all()


def test_the_papers_split_moves_the_halves_and_nothing_else() -> None:
    u, length, sets, family = world("group", seed=10)
    half = row_half(np.random.default_rng(0).permutation(len(u)))
    ours, paper = run(u, sets(family), length), run(u, sets(family), length, row_half=half)
    for name in (*SIGNED, *UNSIGNED):
        np.testing.assert_array_equal(getattr(ours, name), getattr(paper, name), err_msg=name)
    np.testing.assert_array_equal(ours.contrasts.delta, paper.contrasts.delta)
    members = [np.flatnonzero(np.isin(np.arange(len(u)), sets(family).rows[sets(family).set_of_row == 0]))]
    rows, pool = members[0], sets(family).pool
    rest = np.setdiff1d(pool, rows)
    for name, h in (("delta_a", 0), ("delta_b", 1)):
        expected = u[rows[half[rows] == h], 0].mean() - u[rest[half[rest] == h], 0].mean()
        assert getattr(paper.contrasts, name)[0, 0] == pytest.approx(expected, rel=1e-12)
        assert getattr(ours.contrasts, name)[0, 0] != getattr(paper.contrasts, name)[0, 0]


def test_exact_p_values_are_for_global_effects_and_the_largest_of_them(monkeypatch) -> None:
    u, _, sets, family = world("everything", seed=11)
    one = run(u, sets(family))
    assert np.isfinite(one.p_flip).all()
    assert one.p_flip[0, 5] == 1 / 2000 and one.p_flip[0, 11] == 1.0  # the plant; the concept that never fires
    near = np.abs(one.moderated.z[0, :11]) < 2.5
    np.testing.assert_allclose(one.p_flip[0, :11][near], one.moderated.p[0, :11][near], atol=0.06)  # they agree
    monkeypatch.setattr(module, "MAX_FLIPPED", 3)
    few = run(u, sets(family))
    kept = np.flatnonzero(np.isfinite(few.p_flip[0]))
    assert kept.tolist() == sorted(np.argsort(-np.abs(np.nan_to_num(one.moderated.z[0])))[:3].tolist())
    for kind in ("group", "selections"):
        _, _, other, names = world(kind)
        assert np.isnan(run(u, other(names)).p_flip).all()


def test_nothing_to_test_and_nothing_to_see() -> None:
    u, length, _, family = world("group", n=60)
    n, silent = 60, np.zeros(60, int)
    for sets, values, shape in (
        (Sets.groups(silent, family), u, (0, 12)),
        (Sets.selections(np.zeros(0, int), [], family), u, (0, 12)),
        (Sets.groups(np.arange(n) % 3, family), u[:, :0], (2, 0)),
        (Sets.everything(family), u[:, :0], (1, 0)),
    ):
        one = run(values, sets, length)
        for name in (*SIGNED, *UNSIGNED):
            assert getattr(one, name).shape == shape
        assert one.mixture.weight.tolist() == [1.0]
    for sets in (Sets.everything(family), Sets.groups(np.arange(n) % 3, family)):
        constant = run(np.full((n, 2), 1 / 3) * [0, 1], sets, length)
        assert np.isnan(constant.lfsr[:, 0]).all() and np.isnan(constant.moderated.z[:, 0]).all()
        if not sets.against_zero:
            assert np.isnan(constant.lfsr[:, 1]).all()  # against zero, a third in every pair is an effect
    lone = run(u, Sets.everything(np.zeros(n, int)), length)  # one family
    z = lone.moderated.z[0]
    np.testing.assert_allclose(np.abs(z[np.isfinite(z)]), 1.0, rtol=1e-12)
    assert (lone.p_flip == 1.0).all() and np.isnan(lone.delta_heldout).all()
    assert not (lone.lfsr < 0.05).any()
    assert math.isnan(lone.contrasts.delta_b[0, 0]) and not lone.contrasts.sign_consistent.any()
