"""Contrasts and global effects: hand arithmetic, the dense oracle, nulls and plants, symmetries, undefined cells."""

from __future__ import annotations

import math
import time

import dense_reference as dense
import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from tiltmeter.stats.contrast import (
    Contrasts,
    ContrastSums,
    component_half,
    global_effects,
    group_contrasts,
    row_half,
)

FIELDS = ("mean_in", "mean_out", "delta", "z", "cohens_d", "delta_a", "delta_b", "ci_lo", "ci_hi")


def by_group(numerator, group_id, row_index, component_id=None, size=None, n_groups=None, block=None) -> Contrasts:
    x = csr_array(numerator)
    component_id = np.arange(x.shape[0]) if component_id is None else component_id
    n_groups = int(np.max(group_id)) if n_groups is None else n_groups
    sums = ContrastSums.by_group(np.asarray(group_id), np.asarray(row_index), component_id, n_groups, x.shape[1], size)
    for start in range(0, x.shape[0], block or x.shape[0]):
        sums.add(x[start : start + (block or x.shape[0])])
    return group_contrasts(sums, np.arange(x.shape[1]))


def everywhere(numerator, component_id, size=None, block=None) -> Contrasts:
    x = csr_array(numerator)
    sums = ContrastSums.overall(np.asarray(component_id), x.shape[1], size)
    for start in range(0, x.shape[0], block or x.shape[0]):
        sums.add(x[start : start + (block or x.shape[0])])
    return global_effects(sums, np.arange(x.shape[1]))


def random_u(seed: int, n: int = 90, form: str = "paper") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numerators, sizes, groups (0 … 5, one of them of a single pair), row indices with gaps."""
    rng = np.random.default_rng(seed)
    size = np.array([1, 4, 11, 1, 6, 3, 1])
    group_id = rng.integers(0, 5, n)
    group_id[n // 2] = 5
    if form == "freq":
        numerator = rng.normal(0.001, 0.01, (n, 7)) * (rng.random((n, 7)) < 0.3)
        numerator[:, 4] = 0.02 + rng.normal(0, 1e-4, n)  # mean 200 times the spread: cancellation
    else:
        numerator = rng.integers(-size, size + 1, (n, 7)) * (rng.random((n, 7)) < 0.4)
        numerator[:, 4] = size[4] - (rng.random(n) < 0.05)  # nearly constant
    numerator[group_id == 2, 5] = 0  # never in group 2
    numerator[:, 6] = 0  # never at all
    return numerator, size, group_id, np.sort(rng.choice(3 * n, n, replace=False))


def test_a_group_against_the_rest_by_hand() -> None:
    # group 1: u = 1, 1, 0, 0 (rows 0 … 3); group 2: 0, 0, -1, 1 (rows 4 … 7); a silent pair with u = -1 counts nowhere
    u = np.array([[1], [1], [0], [0], [0], [0], [-1], [1], [-1]])
    one = by_group(u, [1, 1, 1, 1, 2, 2, 2, 2, 0], np.arange(9))
    assert one.where.tolist() == [1, 2]
    assert (one.n_in.tolist(), one.n_out.tolist()) == ([4, 4], [4, 4])
    assert (one.mean_in[0, 0], one.mean_out[0, 0], one.delta[0, 0]) == (0.5, 0.0, 0.5)
    # s²_in = 4 * 0.25 / 3 = 1/3, s²_out = 2/3; se² = (1/3 + 2/3) / 4 = 1/4 → z = 0.5 / 0.5 = 1
    assert one.z[0, 0] == pytest.approx(1.0, rel=1e-14)
    # pooled variance (3 * 1/3 + 3 * 2/3) / 6 = 1/2 → d = 0.5 / sqrt(1/2)
    assert one.cohens_d[0, 0] == pytest.approx(0.5 * math.sqrt(2), rel=1e-14)
    # even rows: in 1, 0 → 0.5; out 0, -1 → -0.5: delta_a = 1. Odd rows: in 1, 0; out 0, 1: delta_b = 0
    assert (one.delta_a[0, 0], one.delta_b[0, 0], one.delta_min[0, 0]) == (1.0, 0.0, 0.0)
    assert not one.sign_consistent[0, 0]  # |delta_b| is not above 1e-6
    # interval with singleton components: var_in = 4/3 * 1 / 16 = 1/12, var_out = 4/3 * 2 / 16 = 1/6; se² = 1/4;
    # freedom = (1/4)² / ((1/12)²/3 + (1/6)²/3) = 5.4; t(5.4, 0.975) = 2.514…: between t(5) = 2.571 and t(6) = 2.447
    half_width = (one.ci_hi[0, 0] - one.ci_lo[0, 0]) / 2
    assert 2.447 * 0.5 < half_width < 2.571 * 0.5
    assert one.delta[1, 0] == -0.5  # the other group sees the mirror image
    np.testing.assert_allclose(one.z[1, 0], -one.z[0, 0])


def test_a_global_effect_by_hand() -> None:
    # components {0, 1}, {2}, {3} with u = (1, 1), (0), (0): mean 1/2; residual sums 1, -1/2, -1/2
    one = everywhere(np.array([[1], [1], [0], [0]]), [7, 7, 8, 9])
    assert (one.where.tolist(), one.n_in.tolist(), one.n_out.tolist()) == ([-1], [4], [0])
    assert one.delta[0, 0] == 0.5
    # se² = 3/2 * (1 + 1/4 + 1/4) / 16 = 9/64 → se = 3/8, z = 4/3
    assert one.z[0, 0] == pytest.approx(4 / 3, rel=1e-14)
    # t(2 freedoms, 0.975) = 4.30265…
    assert one.ci_hi[0, 0] == pytest.approx(0.5 + 4.302652729911275 * 3 / 8, rel=1e-10)
    assert one.ci_lo[0, 0] == pytest.approx(0.5 - 4.302652729911275 * 3 / 8, rel=1e-10)
    # sd² = 1/3 → d = 0.5 * sqrt(3)
    assert one.cohens_d[0, 0] == pytest.approx(0.5 * math.sqrt(3), rel=1e-14)
    # the largest component fills half 0, the two single ones half 1
    assert (one.delta_a[0, 0], one.delta_b[0, 0]) == (1.0, 0.0)
    # were the pairs independent, se² would be 4/3 * 1 / 16 = 1/12 and z = sqrt(3): the family costs significance
    assert everywhere(np.array([[1], [1], [0], [0]]), [0, 1, 2, 3]).z[0, 0] == pytest.approx(math.sqrt(3), rel=1e-14)


@pytest.mark.parametrize("form", ["paper", "freq"])
@pytest.mark.parametrize("seed", range(6))
def test_group_contrasts_equal_the_dense_reference(seed: int, form: str) -> None:
    numerator, size, group_id, row_index = random_u(seed, form=form)
    one = by_group(numerator, group_id, row_index, size=size, n_groups=6)  # group 6 has no pair: it has no row
    assert one.where.tolist() == [1, 2, 3, 4, 5]
    u = numerator / size
    for g, group in enumerate(one.where.tolist()):
        for m in range(7):
            expected = dense.group_contrast(u, group_id, row_index, group, m)
            for name in ("mean_in", "mean_out", "delta", "z", "cohens_d", "delta_a", "delta_b", "delta_min"):
                actual = getattr(one, name)[g, m]
                assert actual == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), (name, group, m)
            assert (one.n_in[g], one.n_out[g]) == (expected["n_in"], expected["n_out"])
            assert bool(one.sign_consistent[g, m]) == expected["sign_consistent"]


@pytest.mark.parametrize("form", ["paper", "freq"])
@pytest.mark.parametrize("seed", range(4))
def test_global_effects_equal_the_dense_reference(seed: int, form: str) -> None:
    numerator, size, _, _ = random_u(seed, form=form)
    component_id = np.random.default_rng(seed).integers(0, 25, 90)
    one = everywhere(numerator, component_id, size)
    half = component_half(component_id)
    for m in range(7):
        expected = dense.global_effect(numerator / size, component_id, half, m)
        for name in ("delta", "z", "cohens_d", "delta_a", "delta_b"):
            assert getattr(one, name)[0, m] == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), (name, m)


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_a_group_is_component_robust(seed: int) -> None:
    numerator, size, group_id, row_index = random_u(seed)
    component_id = np.random.default_rng(seed).integers(0, 30, 90)
    one = by_group(numerator, group_id, row_index, component_id, size)
    for g, group in enumerate(one.where.tolist()):
        for m in range(4):
            u = numerator[:, m] / size[m]
            variances = []
            for rows in (np.flatnonzero(group_id == group), np.flatnonzero((group_id != group) & (group_id > 0))):
                pieces = [(int(component_id[i]), int(group_id[i])) for i in rows]
                variances.append((dense.robust_variance_of_mean(u[rows].tolist(), pieces), len(set(pieces)) - 1))
            (a, df_a), (b, df_b) = variances
            if math.isnan(a):
                assert math.isnan(one.ci_lo[g, m])
                continue
            width = one.ci_hi[g, m] - one.ci_lo[g, m]
            freedom = (a + b) ** 2 / (a**2 / df_a + b**2 / df_b)
            assert width == pytest.approx(2 * t_quantile(freedom) * math.sqrt(a + b), rel=1e-6)
            assert one.ci_lo[g, m] + one.ci_hi[g, m] == pytest.approx(2 * one.delta[g, m], abs=1e-12)


def t_quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t, by bisection of its integrated density, without SciPy."""
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def above_zero(x: float) -> float:
        t = np.linspace(0.0, x, 20_001)
        density = constant * (1 + t**2 / freedom) ** (-(freedom + 1) / 2)
        return float(np.sum((density[1:] + density[:-1]) / 2 * np.diff(t)))

    low, high = 1.0, 20.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if above_zero(middle) < 0.475 else (low, middle)
    return low


def test_blocks_of_any_size_give_the_same_bits_even_if_components_are_torn_apart() -> None:
    numerator, size, group_id, row_index = random_u(3)
    component_id = np.random.default_rng(3).integers(0, 12, 90)
    whole = by_group(numerator, group_id, row_index, component_id, size)
    whole_global = everywhere(numerator, component_id, size)
    for block in (1, 7, 64):
        parts = by_group(numerator, group_id, row_index, component_id, size, block=block)
        parts_global = everywhere(numerator, component_id, size, block=block)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), err_msg=name)
            np.testing.assert_array_equal(getattr(parts_global, name), getattr(whole_global, name), err_msg=name)


def test_the_order_of_the_rows_does_not_matter() -> None:
    numerator, size, group_id, row_index = random_u(4)
    component_id = np.random.default_rng(4).integers(0, 12, 90)
    whole = by_group(numerator, group_id, row_index, component_id, size)
    whole_global = everywhere(numerator, component_id, size)
    order = np.random.default_rng(5).permutation(90)
    moved = by_group(numerator[order], group_id[order], row_index[order], component_id[order], size)
    moved_global = everywhere(numerator[order], component_id[order], size)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(moved, name), getattr(whole, name), err_msg=name)
        np.testing.assert_array_equal(getattr(moved_global, name), getattr(whole_global, name), err_msg=name)


@pytest.mark.parametrize("form", ["paper", "freq"])
def test_swapping_the_labels_flips_every_sign_exactly(form: str) -> None:
    numerator, size, group_id, row_index = random_u(6, form=form)
    component_id = np.arange(90) // 2
    for one, other in (
        (
            by_group(numerator, group_id, row_index, component_id, size),
            by_group(-numerator, group_id, row_index, component_id, size),
        ),
        (everywhere(numerator, component_id, size), everywhere(-numerator, component_id, size)),
    ):
        for name in ("mean_in", "mean_out", "delta", "z", "cohens_d", "delta_a", "delta_b"):
            np.testing.assert_array_equal(getattr(one, name), -getattr(other, name), err_msg=name)
        np.testing.assert_array_equal(one.ci_lo, -other.ci_hi)
        np.testing.assert_array_equal(one.delta_min, other.delta_min)
        np.testing.assert_array_equal(one.sign_consistent, other.sign_consistent)


def test_parity_is_that_of_the_source_row() -> None:
    assert row_half(np.array([0, 1, 2, 5, 8])).tolist() == [0, 1, 0, 1, 0]
    # the kept rows 0, 2, 4, 6 of the source are all even: half 1 has no pair and nothing is consistent
    one = by_group(np.array([[1], [1], [0], [0]]), [1, 1, 2, 2], [0, 2, 4, 6])
    assert one.delta_a[0, 0] == 1.0
    assert math.isnan(one.delta_b[0, 0]) and math.isnan(one.delta_min[0, 0])
    assert not one.sign_consistent.any()


def test_halves_of_components_never_tear_one_apart_and_are_of_like_size() -> None:
    rng = np.random.default_rng(0)
    component_id = rng.zipf(1.6, 5000) % 700
    half = component_half(component_id)
    for c in np.unique(component_id):
        assert len(set(half[component_id == c].tolist())) == 1
    largest = np.bincount(component_id).max()
    assert abs(int(half.sum()) * 2 - 5000) <= largest
    order = rng.permutation(5000)
    np.testing.assert_array_equal(component_half(component_id[order]), half[order])
    # a source that alternates between two kinds of pairs must not have its kinds fall into the halves
    alternating = component_half(np.arange(4000))
    for period in (2, 3, 4, 8):
        shares = [alternating[k::period].mean() for k in range(period)]
        assert max(shares) - min(shares) < 0.15


def test_undefined_is_nan_and_never_infinite() -> None:
    # group 1 has one pair; groups 2 and 3 differ by a constant; concept 1 is 1/3 in every pair, in floats
    u = np.array([[1.0, 1 / 3], [1, 1 / 3], [1, 1 / 3], [0, 1 / 3], [0, 1 / 3], [0, 1 / 3]])
    one = by_group(u, [1, 2, 2, 3, 3, 3], np.arange(6))
    assert np.isnan(one.z[0]).all() and np.isnan(one.cohens_d[0]).all()  # n_in = 1: no variance inside
    assert one.delta[0, 0] == pytest.approx(1 - 2 / 5)
    # concept 1: no variance anywhere, delta 0
    assert np.isnan(one.z[:, 1]).all() and np.isnan(one.ci_lo[:, 1]).all()
    assert np.abs(one.delta[:, 1]).max() < 1e-15
    for name in FIELDS:
        assert not np.isinf(getattr(one, name)).any(), name
    perfect = by_group(u[1:, :1], [1, 1, 2, 2, 2], np.arange(5))  # inside always 1, outside always 0
    assert perfect.delta[0, 0] == 1.0
    assert math.isnan(perfect.z[0, 0]) and math.isnan(perfect.cohens_d[0, 0])
    constant = everywhere(np.full((50, 1), 0.1), np.arange(50))
    assert constant.delta[0, 0] == pytest.approx(0.1)
    assert math.isnan(constant.z[0, 0]) and math.isnan(constant.ci_lo[0, 0]) and math.isnan(constant.cohens_d[0, 0])
    one_component = everywhere(np.array([[1.0], [0.0]]), [3, 3])  # one component: no independent repetition
    assert math.isnan(one_component.z[0, 0]) and math.isnan(one_component.ci_hi[0, 0])
    assert not math.isnan(one_component.cohens_d[0, 0])
    lone_group = by_group(np.array([[1.0], [0.0]]), [1, 1], [0, 1])  # nothing outside
    assert math.isnan(lone_group.delta[0, 0])


def test_a_planted_effect_stands_out_and_the_null_is_kept() -> None:
    rng = np.random.default_rng(1)
    n, m = 6000, 200
    group_id = rng.integers(1, 21, n)
    u = rng.choice([-1, 0, 1], (n, m), p=[0.1, 0.8, 0.1])
    hit = (group_id == 7) & (rng.random(n) < 0.5)
    u[hit, 42] = 1
    one = by_group(u, group_id, np.arange(n))
    best = np.unravel_index(np.abs(one.delta_min).argmax(), one.delta_min.shape)
    assert (int(one.where[best[0]]), int(best[1])) == (7, 42)
    null = np.ones(one.z.shape, bool)
    null[:, 42] = False
    # 3,980 nulls: the share beyond 1.96 has mean 0.05 and sd 0.0035; half of the nulls pass the split by chance
    assert abs((np.abs(one.z[null]) > 1.96).mean() - 0.05) < 0.015
    assert abs(one.sign_consistent[null].mean() - 0.5) < 0.04
    effects = everywhere(u, np.arange(n))
    assert int(np.abs(effects.z[0]).argmax()) == 42
    covered = (effects.ci_lo[0] <= 0) & (effects.ci_hi[0] >= 0)
    assert np.delete(covered, 42).mean() > 0.9  # 95 % expected of 199


def test_intervals_hold_when_pairs_come_in_families() -> None:
    # 60 families of 10 identical pairs, no effect: the plain standard error is too small by sqrt(10)
    rng = np.random.default_rng(2)
    family = np.repeat(np.arange(60), 10)
    u = rng.choice([-1, 1], (60, 400))[family]
    effects = everywhere(u, family)
    robust = ((effects.ci_lo <= 0) & (effects.ci_hi >= 0)).mean()
    naive = everywhere(u, np.arange(600))
    assert 0.92 < robust < 0.98
    assert ((naive.ci_lo <= 0) & (naive.ci_hi >= 0)).mean() < 0.6


def test_some_concepts_only() -> None:
    numerator, size, group_id, row_index = random_u(0)
    sums = ContrastSums.by_group(group_id, row_index, np.arange(90), 5, 7, size)
    sums.add(csr_array(numerator))
    some, whole = group_contrasts(sums, np.array([5, 1])), group_contrasts(sums, np.arange(7))
    assert some.concept_ids.tolist() == [5, 1]
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[:, [5, 1]])


def test_rows_must_add_up() -> None:
    sums = ContrastSums.overall(np.arange(4), 2)
    sums.add(csr_array(np.ones((3, 2))))
    with pytest.raises(ValueError, match="3 of 4 rows"):
        global_effects(sums, np.arange(2))
    with pytest.raises(ValueError, match="expected"):
        sums.add(csr_array(np.ones((2, 2))))


def test_speed_is_printed(capsys) -> None:
    rng = np.random.default_rng(0)
    numerator = csr_array(random_array((20_000, 800), density=0.1, rng=rng))
    start = time.process_time()
    one = by_group(numerator, rng.integers(0, 400, 20_000), np.arange(20_000), np.arange(20_000) // 2)
    with capsys.disabled():
        print(f"\n20,000 pairs, {one.delta.size} contrasts: {time.process_time() - start:.1f} CPU seconds")
    np.testing.assert_allclose(one.n_in @ one.mean_in, csr_array(numerator).sum(axis=0), rtol=0.02)
