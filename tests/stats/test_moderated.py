"""Moderated standard errors: hand arithmetic, the dense oracle, calibration under families, copies, symmetries."""

from __future__ import annotations

import math

import dense_reference as dense
import numpy as np
import pytest
from scipy.special import digamma, polygamma

from pretilt.stats import columns as columns_module
from pretilt.stats.columns import Columns
from pretilt.stats.moderated import Moderated, cross_fitted, moderate, prior_freedom
from pretilt.stats.sets import Sets
from pretilt.stats.sums import cell_sums, family_halves

CELLS = ("delta", "se", "se_interval", "z", "p", "n_eff")


def run(u, sets: Sets, scale=None) -> Moderated:
    return moderate(cell_sums(Columns(np.asarray(u, float), scale), sets))


def world(kind: str, seed: int, n: int = 80, m: int = 6):
    """(u, sets, members, pool): random scores with families, of which some are large and agree with themselves."""
    rng = np.random.default_rng(seed)
    family = rng.permutation(np.arange(n) % 35)
    family[rng.random(n) < 0.15] = 3
    family = np.unique(family, return_inverse=True)[1]
    u = rng.normal(0.1, 1, (n, m)) + rng.normal(0, 1, (n, m))[family] * (np.arange(m) % 3)
    u[:, 1] = rng.choice([-1, 0, 1], n, p=[0.1, 0.8, 0.1])
    u[:, m - 1] = 0  # never
    if kind == "everything":
        return u, Sets.everything(family), [list(range(n))], list(range(n)), family
    if kind == "groups":
        group_id = rng.integers(0, 6, n)
        group_id[:2] = 6
        sets = Sets.groups(group_id, family)
        members = [np.flatnonzero(group_id == g).tolist() for g in sets.ids]
        return u, sets, members, np.flatnonzero(group_id).tolist(), family
    members = [np.sort(rng.choice(n, size, replace=False)).tolist() for size in (1, 5, 30, 30, n - 1)]
    return u, Sets.selections(np.arange(5), [np.array(r) for r in members], family), members, list(range(n)), family


def test_two_sides_by_hand() -> None:
    # inside: families {0, 1}, {2}, {3} with u = 1, 1, 1, -1; outside: {4, 5}, {6}, {7} with 0, 0, -1, -1
    u = np.array([[1], [1], [1], [-1], [0], [0], [-1], [-1]])
    family, group_id = np.array([0, 0, 1, 2, 3, 3, 4, 5]), np.array([1, 1, 1, 1, 2, 2, 2, 2])
    one = run(u, Sets.groups(group_id, family))
    # the pool's mean is 0: e = u; sd² = 6/8. Families: sums 2, 1, -1, 0, -1, -1 → W = 8, and 4 ordered pairs of rows
    # share a family: icc = (8 - 6) / (4 * 3/4) = 2/3, which is also the average over concepts
    assert one.sd[0] == pytest.approx(math.sqrt(0.75), rel=1e-14)
    assert one.icc[0] == pytest.approx(2 / 3, rel=1e-14)
    assert one.prior_freedom == 2.0  # two cells say nothing about the scatter
    # inside: V = 4 + 1 + 1 = 6, E = 3/4 * (4 + 2/3 * 2) = 4: V is larger. se² = 6/16 + 8/(8 * 4) = 5/8
    assert one.delta[0, 0] == 1.0
    assert one.se[0, 0] == pytest.approx(math.sqrt(5 / 8), rel=1e-14)
    assert one.z[0, 0] == pytest.approx(math.sqrt(8 / 5), rel=1e-14)
    assert one.p[0, 0] == pytest.approx(math.erfc(math.sqrt(8 / 5) / math.sqrt(2)), rel=1e-12)
    # as an estimate, about the own mean 1/2: 1 + 1/4 + 9/4 = 7/2, times 3/2, above E: se² = (21/4)/16 + 1/4 = 37/64
    assert one.se_interval[0, 0] == pytest.approx(math.sqrt(37 / 64), rel=1e-14)
    assert one.ci_lo[0, 0] == pytest.approx(1 - 1.959963984540054 * math.sqrt(37 / 64), rel=1e-12)
    assert one.ci_hi[0, 0] == pytest.approx(1 + 1.959963984540054 * math.sqrt(37 / 64), rel=1e-12)
    # design effect 1 + 2/3 * (6/4 - 1) = 4/3
    assert one.n_eff.ravel() == pytest.approx([3.0, 3.0], rel=1e-14)
    # outside as a set: V = 0 + 1 + 1 = 2, E = 4; the squares 0, 1, 1 have mean 2/3 and variance 2/9: 2 * 3 * (4/9) /
    # (2/9) = 12 degrees of freedom, capped at 2 * 3 = 6. M = (2 * 4 + 6 * 2) / 8 = 5/2; se² = (5/2)/16 + 1/4 = 13/32
    assert one.se[1, 0] == pytest.approx(math.sqrt(13 / 32), rel=1e-14)
    assert one.delta[1, 0] == -1.0
    # about the own mean -1/2: (1 + 1/4 + 1/4) * 3/2 = 9/4, and M = (2 * 4 + 6 * 9/4) / 8 = 43/16
    assert one.se_interval[1, 0] == pytest.approx(math.sqrt(43 / 256 + 1 / 4), rel=1e-14)


def test_everything_by_hand() -> None:
    # families {0, 1}, {2}, {3} with u = (1, 1), (0), (0): V = 4, se² = 4/16, z = 1: one family has spoken
    one = run(np.array([[1], [1], [0], [0]]), Sets.everything(np.array([7, 7, 8, 9])))
    assert (one.delta[0, 0], one.se[0, 0], one.z[0, 0]) == (0.5, 0.5, 1.0)
    # about the mean 1/2: (1 + 1/4 + 1/4) * 3/2 = 9/4, se² = 9/64
    assert one.se_interval[0, 0] == pytest.approx(3 / 8, rel=1e-14)
    assert one.ci_hi[0, 0] == pytest.approx(0.5 + 1.959963984540054 * 3 / 8, rel=1e-12)
    # about 0: sd² = 2/4; icc = (4 - 2) / (2 * 1/2) = 2, counted as 1 in the average: (2 * 2 + 20 * 1) / 22 = 12/11
    assert one.sd[0] == math.sqrt(0.5)
    assert one.icc[0] == pytest.approx(12 / 11, rel=1e-14)
    assert one.n_eff[0, 0] == pytest.approx(4 / 1.5, rel=1e-14)  # icc above 1 counts as 1: 1 + (6/4 - 1)


@pytest.mark.parametrize("kind", ["groups", "selections", "everything"])
@pytest.mark.parametrize("seed", range(3))
def test_every_cell_equals_the_dense_reference(kind: str, seed: int) -> None:
    u, sets, members, pool, family = world(kind, seed)
    scale = np.array([1.0, 3, 7, 1, 2, 5])
    one = run(u * scale, sets, scale)
    expected = dense.moderated(u, members, pool, family, against_zero=kind == "everything")
    for name in CELLS:
        wanted = np.array(expected[name])
        np.testing.assert_allclose(getattr(one, name), wanted, rtol=1e-9, atol=1e-9 * (name != "p"), err_msg=name)
    np.testing.assert_allclose(one.icc, expected["icc"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.sd, expected["sd"], rtol=1e-9)
    assert one.prior_freedom == pytest.approx(expected["d0"], rel=1e-7)
    assert np.isnan(one.z[:, -1]).all()  # the concept that never fires
    width = one.ci_hi - one.ci_lo
    np.testing.assert_allclose(width, 2 * 1.959963984540054 * one.se_interval, rtol=1e-9)


@pytest.mark.parametrize("kind", ["groups", "selections", "everything"])
@pytest.mark.parametrize("n_selected", [1, 4, 100])
def test_the_cross_fit_equals_the_dense_reference(kind: str, n_selected: int) -> None:
    u, sets, members, pool, family = world(kind, 5)
    sums = cell_sums(Columns(u), sets)
    found = cross_fitted(sums, moderate(sums), n_selected)
    half = family_halves(family)[family]
    expected = dense.cross_fit(u, members, pool, family, half, n_selected, against_zero=kind == "everything")
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    if n_selected < 100:
        assert 1 <= np.isfinite(found).sum() <= 2 * n_selected


def test_the_cross_fit_by_hand() -> None:
    # families of 4, 3, 2, 1 pairs are in halves 0, 1, 1, 0
    family = np.repeat([0, 1, 2, 3], [4, 3, 2, 1])
    u = np.zeros((10, 2))
    u[:, 0] = [1, 1, 1, 1, 1, 1, 1, -1, -1, 1]  # half 0: mean 1; half 1: mean 1/5
    u[:, 1] = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]  # half 0: mean 1/5; half 1: mean 1
    sums = cell_sums(Columns(u), Sets.everything(family))
    one = moderate(sums)
    # half 0: |z| = 5/sqrt(16 + 1) and 1; half 1: 1/sqrt(9 + 4) and 5/sqrt(13): each half selects another concept,
    # and the other half disappoints
    np.testing.assert_allclose(cross_fitted(sums, one, 1), [[0.2, 0.2]], rtol=1e-14)
    np.testing.assert_allclose(cross_fitted(sums, one, 2), [[0.6, 0.6]], rtol=1e-14)  # both halves select both
    assert np.isnan(cross_fitted(sums, one, 0)).all()


def test_the_winners_curse_is_gone_from_the_other_half() -> None:
    rng = np.random.default_rng(0)
    u = rng.normal(0, 1, (600, 800))
    u[:, :8] += 0.15
    sums = cell_sums(Columns(u), Sets.everything(np.arange(600)))
    one = moderate(sums)
    honest = cross_fitted(sums, one, 40)
    nulls = np.isfinite(honest[0]) & (np.arange(800) >= 8)
    first = nulls & (np.abs(one.z[0]) > np.quantile(np.abs(one.z[0]), 0.95))
    assert np.abs(one.delta[0, first]).mean() > 0.08  # what selection makes of nothing: two standard errors of 0.04
    # about 70 nulls, each with a standard error of 0.06 or less: 4 standard errors of the mean
    assert abs((np.sign(one.delta[0, nulls]) * honest[0, nulls]).mean()) < 4 * 0.06 / math.sqrt(nulls.sum())
    assert honest[0, :8][np.isfinite(honest[0, :8])].mean() == pytest.approx(0.15, abs=0.07)


def null_world(n_families: int, n_groups: int, loudness: float, seed: int):
    """u that flips its sign by whole families, the families, and a group for each: no effect anywhere.

    Rows of a family agree, the more the later the concept; families differ in how loud they are.
    """
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(n_families), rng.integers(1, 13, n_families))
    shape = (n_families, 250)
    agreement = np.sqrt(np.linspace(0, 0.9, 250))
    size = rng.normal(0, np.sqrt(1 - agreement**2), (family.size, 250)) + (rng.normal(0, 1, shape) * agreement)[family]
    loud = rng.gamma(1 / loudness, loudness, n_families) if loudness else np.ones(n_families)
    u = size * (loud[:, None] * rng.choice([-1.0, 1.0], shape))[family]
    return u, family, rng.integers(1, n_groups + 1, n_families)[family]


@pytest.mark.parametrize("loudness", [0, 0.125])
def test_under_sign_flips_of_families_z_is_calibrated_and_pairs_are_not(loudness: float) -> None:
    u, family, group_id = null_world(1000, 10, loudness, seed=3)  # 100 families in a group: 2,500 cells
    one, naive = run(u, Sets.groups(group_id, family)), run(u, Sets.groups(group_id, np.arange(len(u))))
    assert 0.035 < (np.abs(one.z) > 1.96).mean() < 0.065
    assert 0.003 < (np.abs(one.z) > 2.576).mean() < 0.015
    assert (np.abs(naive.z) > 1.96).mean() > 0.25
    effects = run(u, Sets.everything(family))
    assert abs((np.abs(effects.z) > 1.96).mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 250)


@pytest.mark.parametrize("loudness", [0, 0.5])
def test_with_few_and_unlike_families_z_errs_on_the_side_of_no_effect(loudness: float) -> None:
    u, family, group_id = null_world(600, 50, loudness, seed=4)  # 12 families in a group: 12,500 cells
    one = run(u, Sets.groups(group_id, family))
    assert 0.005 < (np.abs(one.z) > 1.96).mean() < 0.045
    assert (np.abs(one.z) > 2.576).mean() < 0.008


@pytest.mark.parametrize("effect", [0.0, 1.5])
def test_intervals_hold_when_pairs_come_in_families(effect: float) -> None:
    # 60 families of 10 identical pairs: the plain standard error is too small by sqrt(10)
    rng = np.random.default_rng(2)
    family = np.repeat(np.arange(60), 10)
    u = (effect + rng.normal(0, 1, (60, 400)))[family]
    one, naive = run(u, Sets.everything(family)), run(u, Sets.everything(np.arange(600)))
    assert 0.92 < ((one.ci_lo <= effect) & (effect <= one.ci_hi)).mean() < 0.98
    assert ((naive.ci_lo <= effect) & (effect <= naive.ci_hi)).mean() < 0.6
    group_id = np.where(family < 30, 1, 2)
    u[family < 30] += effect
    one = run(u, Sets.groups(group_id, family))
    covered = (one.ci_lo[0] <= effect) & (effect <= one.ci_hi[0])
    assert 0.92 < covered.mean() <= 1.0
    if effect:  # about the null value the same scatter looks larger: right for a test, too wide for an estimate
        assert (one.se_interval < one.se).all()


def test_a_family_that_agrees_with_itself_is_one_witness() -> None:
    rng = np.random.default_rng(4)
    u = rng.choice([-1.0, 0, 0, 0, 1], (2000, 50))
    u[:20] = 1.0  # twenty copies that agree in every concept
    family = np.arange(2000)
    family[:20] = 0
    group_id = np.where(np.arange(2000) < 20, 1, 2)
    one, naive = run(u, Sets.groups(group_id, family)), run(u, Sets.groups(group_id, np.arange(2000)))
    assert np.abs(one.delta[0]).min() > 0.9
    assert np.abs(one.z[0]).max() < 1.01  # 1 but for the rest's share of the pool, 1 %
    assert np.abs(naive.z[0]).min() > 4.0
    alone = run(np.ones((20, 1)), Sets.everything(np.zeros(20, int)))
    assert alone.z[0, 0] == 1.0


@pytest.mark.parametrize("kind", ["groups", "selections", "everything"])
@pytest.mark.parametrize("seed", range(4))
def test_no_z_exceeds_the_root_of_its_families(kind: str, seed: int) -> None:
    u, sets, _, _, _ = world(kind, seed)
    u = np.sign(u) + 0.3  # leaning and two-valued: as sure of itself as can be
    one = run(u, sets)
    bound = np.sqrt(sets.family_n) * (1.0 if sets.against_zero else sets.pool.size / sets.n_out)
    assert np.isfinite(one.z).any()
    assert (np.nan_to_num(np.abs(one.z)) <= bound[:, None] * (1 + 1e-12)).all()


def test_copies_within_a_family_change_nothing_and_as_families_of_their_own_they_do() -> None:
    u, _, _, _, _ = world("everything", 8, n=120)
    group_id, once = np.arange(120) % 5, np.arange(120)
    ten = np.repeat(np.arange(120), 10)
    for kind in ("group", "everything"):
        plain, copied, believed = (
            run(u[rows], Sets.groups(group_id[rows], family) if kind == "group" else Sets.everything(family))
            for rows, family in ((once, once), (ten, ten), (ten, np.arange(1200)))
        )
        np.testing.assert_allclose(copied.z, plain.z, rtol=1e-9)
        np.testing.assert_allclose(copied.se, plain.se, rtol=1e-9)
        np.testing.assert_allclose(copied.n_eff, plain.n_eff, rtol=1e-9)
        ratio = (believed.z / plain.z)[:, :-1]  # sqrt(10), but for what V's degrees of freedom are believed to be
        assert ((ratio > 2.7) & (ratio < 3.8)).all()


@pytest.mark.parametrize("kind", ["groups", "selections", "everything"])
def test_swapping_the_labels_flips_every_sign_and_leaves_p(kind: str) -> None:
    u, sets, _, _, _ = world(kind, 6)
    one, other = run(u, sets), run(-u, sets)
    for name in ("delta", "z"):
        np.testing.assert_array_equal(getattr(one, name), -getattr(other, name))
    np.testing.assert_array_equal(one.ci_lo, -other.ci_hi)
    for name in ("se", "se_interval", "p", "n_eff", "icc", "sd"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_order_of_rows_and_the_names_of_families_do_not_matter() -> None:
    u, _, _, _, family = world("everything", 7)
    order = np.random.default_rng(0).permutation(len(u))
    group_id = np.arange(len(u)) % 4
    for build in (Sets.groups, lambda _, names: Sets.everything(names)):
        one, other = run(u, build(group_id, family)), run(u[order], build(group_id[order], 900 + 3 * family[order]))
        for name in (*CELLS, "icc", "sd"):
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-12, atol=1e-12, err_msg=name)


def test_blocks_of_any_size_give_the_same_numbers(monkeypatch) -> None:
    u, sets, _, _, _ = world("selections", 9)
    sums = cell_sums(Columns(u), sets)
    whole, fit = moderate(sums), cross_fitted(sums, moderate(sums), 5)
    for values in (1, 160):
        monkeypatch.setattr(columns_module, "BLOCK_VALUES", values)
        parts = cell_sums(Columns(u), sets)
        one = moderate(parts)
        for name in CELLS:
            np.testing.assert_allclose(getattr(one, name), getattr(whole, name), rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(cross_fitted(parts, one, 5), fit, rtol=1e-12)


def test_degrees_of_freedom_of_the_prior() -> None:
    rng = np.random.default_rng(0)
    # V / E ~ F(10, d0): the scatter of chi² with 10 degrees of freedom, and that of a prior with d0 = 6
    found = prior_freedom(rng.f(10, 6, 20_000), np.full(20_000, 10.0))
    assert found == pytest.approx(6, rel=0.05)
    assert prior_freedom(rng.chisquare(10, 20_000) / 10, np.full(20_000, 10.0)) > 100  # no scatter of its own
    assert prior_freedom(np.array([1.0, 1, 1, 1]), np.full(4, 10.0)) == 1e6  # even less
    assert prior_freedom(np.array([1.0, 9]), np.full(2, 10.0)) == 2.0  # too few cells
    few = prior_freedom(rng.f(10, 6, 999), np.full(999, 3.9))  # cells without freedom are not asked
    assert few == 2.0
    for x in (0.3, 1.0, 7.5, 100.0):  # the oracle's own functions are right
        assert dense.trigamma(x) == pytest.approx(float(polygamma(1, x)), rel=1e-10)
        assert dense.digamma(x) == pytest.approx(float(digamma(x)), rel=1e-10)


@pytest.mark.parametrize("n_families", [2, 3, 7])
def test_squares_of_one_size_are_as_free_as_can_be(n_families: int) -> None:
    # every family says +1 or -1: their squares do not scatter, and rounding must not decide what that means
    found = []
    for value in (1.0, 0.1, 1 / 3):
        u = np.zeros((200, 1))
        u[:n_families, 0] = value * (-1.0) ** np.arange(n_families)
        u[100:, 0] = value * 6 * (-1.0) ** np.arange(100)  # the pool varies more: V < E
        one = run(u, Sets.selections(np.array([0]), [np.arange(n_families)], np.arange(200)))
        found.append(one.se[0, 0] / value)
    # E = n * sd², V = n (about 0); M = (2 * E + 2n * V) / (2 + 2n)
    n, mean = n_families, (n_families % 2) / 200
    sd2 = (n + 3600) / 200 - mean**2
    v = sum(((-1) ** i - mean) ** 2 for i in range(n))
    expected = (2 * n * sd2 + 2 * n * v) / (2 + 2 * n) / n**2 + 200 * sd2 / (200 * (200 - n))
    assert found == pytest.approx([math.sqrt(expected)] * 3, rel=1e-3)


@pytest.mark.parametrize("n", [60, 100_000])
def test_a_constant_has_no_z(n: int) -> None:
    u = np.full((n, 3), 0.1)
    u[:, 1], u[:, 2] = 1 / 3, np.arange(n) % 2
    one = run(u, Sets.groups(np.arange(n) % 7, np.arange(n) // 2))
    assert np.isnan(one.z[:, :2]).all() and np.isnan(one.p[:, :2]).all() and np.isnan(one.sd[:2]).all()
    assert np.isfinite(one.z[:, 2]).all() and np.isfinite(one.n_eff).all()


def test_nothing_to_test() -> None:
    family = np.arange(12) // 3
    u = np.random.default_rng(0).normal(size=(12, 3))
    for sets, shape in (
        (Sets.selections(np.zeros(0, int), [], family), (0, 3)),
        (Sets.groups(np.zeros(12, int), family), (0, 3)),  # all silent
    ):
        sums = cell_sums(Columns(u), sets)
        assert moderate(sums).z.shape == cross_fitted(sums, moderate(sums), 5).shape == shape
    sums = cell_sums(Columns(u[:, :0]), Sets.groups(np.arange(12) % 3, family))
    assert moderate(sums).z.shape == cross_fitted(sums, moderate(sums), 5).shape == (2, 0)
    lone = cell_sums(Columns(u), Sets.groups(np.ones(12, int), family))  # a group without a rest
    assert np.isnan(moderate(lone).z).all() and np.isnan(cross_fitted(lone, moderate(lone), 5)).all()
    one_family = cell_sums(Columns(u), Sets.groups(np.arange(12) % 3, np.zeros(12, int)))
    assert np.nan_to_num(np.abs(moderate(one_family).z)).max() < 2.0001  # one family, and N / n_out = 8 / 4
    assert np.isnan(cross_fitted(one_family, moderate(one_family), 5)).all()  # no other half
