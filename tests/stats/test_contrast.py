"""The paper's contrasts and global effects: hand arithmetic, the dense oracle, nulls and plants, symmetries."""

from __future__ import annotations

import math
import time
from dataclasses import fields

import dense_reference as dense
import numpy as np
import pytest
from scipy.sparse import csc_array, random_array

from pretilt.stats import columns as columns_module
from pretilt.stats.columns import Columns
from pretilt.stats.contrast import Contrasts, contrasts, row_half
from pretilt.stats.sets import Sets
from pretilt.stats.sums import cell_sums, family_halves

FIELDS = ("mean_in", "mean_out", "delta", "z", "cohens_d", "delta_a", "delta_b")
STATISTICS = (*FIELDS, "delta_min")


def columns(numerator, size=None) -> Columns:
    return Columns(csc_array(np.asarray(numerator)), size)


def by_group(numerator, group_id, row_index=None, family=None, size=None) -> Contrasts:
    """Halves by the parity of `row_index`, or by family."""
    family = np.arange(len(group_id)) if family is None else np.asarray(family)
    half = None if row_index is None else row_half(np.asarray(row_index))
    return contrasts(cell_sums(columns(numerator, size), Sets.groups(np.asarray(group_id), family), row_half=half))


def everywhere(numerator, family, size=None) -> Contrasts:
    return contrasts(cell_sums(columns(numerator, size), Sets.everything(np.asarray(family))))


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
    assert one.delta[1, 0] == -0.5  # the other group sees the mirror image
    np.testing.assert_allclose(one.z[1, 0], -one.z[0, 0])


def test_a_global_effect_by_hand() -> None:
    # families {0, 1}, {2}, {3} with u = (1, 1), (0), (0): mean 1/2; residual sums 1, -1/2, -1/2
    one = everywhere(np.array([[1], [1], [0], [0]]), [7, 7, 8, 9])
    assert (one.where.tolist(), one.n_in.tolist(), one.n_out.tolist()) == ([-1], [4], [0])
    assert one.delta[0, 0] == 0.5
    # se² = 3/2 * (1 + 1/4 + 1/4) / 16 = 9/64 → se = 3/8, z = 4/3
    assert one.z[0, 0] == pytest.approx(4 / 3, rel=1e-14)
    # sd² = 1/3 → d = 0.5 * sqrt(3)
    assert one.cohens_d[0, 0] == pytest.approx(0.5 * math.sqrt(3), rel=1e-14)
    # the largest family fills half 0, the two single ones half 1
    assert (one.delta_a[0, 0], one.delta_b[0, 0]) == (1.0, 0.0)
    # were the pairs independent, se² would be 4/3 * 1 / 16 = 1/12 and z = sqrt(3): the family costs significance
    assert everywhere(np.array([[1], [1], [0], [0]]), [0, 1, 2, 3]).z[0, 0] == pytest.approx(math.sqrt(3), rel=1e-14)


@pytest.mark.parametrize("form", ["paper", "freq"])
@pytest.mark.parametrize("seed", range(6))
def test_group_contrasts_equal_the_dense_reference(seed: int, form: str) -> None:
    numerator, size, group_id, row_index = random_u(seed, form=form)
    family = np.random.default_rng(seed).integers(0, 30, 90)
    for split, half in ((row_index, row_index % 2), (None, family_halves(np.unique(family, return_inverse=True)[1]))):
        one = by_group(numerator, group_id, split, family, size)
        half = half if split is not None else half[np.unique(family, return_inverse=True)[1]]
        assert one.where.tolist() == [1, 2, 3, 4, 5]
        for g, group in enumerate(one.where.tolist()):
            inside, outside = dense.inside_and_outside(group_id, group)
            for m in range(7):
                expected = dense.set_contrast(numerator / size, inside, outside, half, m)
                for name in STATISTICS:
                    actual = getattr(one, name)[g, m]
                    assert actual == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), (name, group, m)
                assert (one.n_in[g], one.n_out[g]) == (expected["n_in"], expected["n_out"])
                assert bool(one.sign_consistent[g, m]) == expected["sign_consistent"]


@pytest.mark.parametrize("form", ["paper", "freq"])
def test_overlapping_sets_equal_the_dense_reference(form: str) -> None:
    numerator, size, _, row_index = random_u(11, form=form)
    rng = np.random.default_rng(11)
    chosen = [np.sort(rng.choice(90, n, replace=False)) for n in (2, 40, 40, 88, 89)]
    sets = Sets.selections(np.arange(5), chosen, rng.integers(0, 30, 90))
    one = contrasts(cell_sums(columns(numerator, size), sets, row_half=row_half(row_index)))
    for k, rows in enumerate(chosen):
        outside = [i for i in range(90) if i not in set(rows.tolist())]
        for m in range(7):
            expected = dense.set_contrast(numerator / size, rows.tolist(), outside, row_index % 2, m)
            for name in STATISTICS:
                actual = getattr(one, name)[k, m]
                assert actual == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), (name, k, m)


@pytest.mark.parametrize("form", ["paper", "freq"])
@pytest.mark.parametrize("seed", range(4))
def test_global_effects_equal_the_dense_reference(seed: int, form: str) -> None:
    numerator, size, _, _ = random_u(seed, form=form)
    family = np.random.default_rng(seed).permutation(np.arange(90) % 25)  # every number is used
    one = everywhere(numerator, family, size)
    for m in range(7):
        expected = dense.global_effect(numerator / size, family, family_halves(family)[family], m)
        for name in ("delta", "z", "cohens_d", "delta_a", "delta_b"):
            assert getattr(one, name)[0, m] == pytest.approx(expected[name], rel=1e-9, abs=1e-9, nan_ok=True), (name, m)


def test_blocks_of_any_size_give_the_same_numbers(monkeypatch) -> None:
    numerator, size, group_id, row_index = random_u(3)
    family = np.random.default_rng(3).integers(0, 12, 90)
    sets = (Sets.groups(group_id, family), Sets.everything(family))
    whole = [contrasts(cell_sums(columns(numerator, size), s, row_half=row_half(row_index))) for s in sets]
    for values in (1, 180, 360):
        monkeypatch.setattr(columns_module, "BLOCK_VALUES", values)
        for s, expected in zip(sets, whole, strict=True):
            one = contrasts(cell_sums(columns(numerator, size), s, row_half=row_half(row_index)))
            for name in FIELDS:
                np.testing.assert_allclose(getattr(one, name), getattr(expected, name), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("form", ["paper", "freq"])
def test_the_order_of_the_rows_does_not_matter(form: str) -> None:
    numerator, size, group_id, row_index = random_u(4, form=form)
    family = np.random.default_rng(4).integers(0, 12, 90)
    order = np.random.default_rng(5).permutation(90)
    pairs = (
        (
            by_group(numerator, group_id, row_index, family, size),
            by_group(numerator[order], group_id[order], row_index[order], family[order], size),
        ),
        (everywhere(numerator, family, size), everywhere(numerator[order], family[order], size)),
    )
    for whole, moved in pairs:
        for name in FIELDS:
            exact = form == "paper" and name not in ("z", "cohens_d")  # sums of integers are exact, so are these
            np.testing.assert_allclose(
                getattr(moved, name), getattr(whole, name), rtol=0 if exact else 1e-9, atol=0 if exact else 1e-12
            )


@pytest.mark.parametrize("form", ["paper", "freq"])
def test_swapping_the_labels_flips_every_sign_exactly(form: str) -> None:
    numerator, size, group_id, row_index = random_u(6, form=form)
    family = np.arange(90) // 2
    for one, other in (
        (by_group(x, group_id, row_index, family, size) for x in (numerator, -numerator)),
        (everywhere(x, family, size) for x in (numerator, -numerator)),
    ):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(one, name), -getattr(other, name), err_msg=name)
        np.testing.assert_array_equal(one.delta_min, other.delta_min)
        np.testing.assert_array_equal(one.sign_consistent, other.sign_consistent)


def test_parity_is_that_of_the_source_row() -> None:
    assert row_half(np.array([0, 1, 2, 5, 8])).tolist() == [0, 1, 0, 1, 0]
    # the kept rows 0, 2, 4, 6 of the source are all even: half 1 has no pair and nothing is consistent
    one = by_group(np.array([[1], [1], [0], [0]]), [1, 1, 2, 2], [0, 2, 4, 6])
    assert one.delta_a[0, 0] == 1.0
    assert math.isnan(one.delta_b[0, 0]) and math.isnan(one.delta_min[0, 0])
    assert not one.sign_consistent.any()


def test_sums_of_integers_are_exact() -> None:
    # 1/3 is no float: a sum of u over 1,000 pairs would be off, the sum of numerators is not
    numerator = np.ones((1000, 1), np.int16)
    numerator[:300] = -2
    sums = cell_sums(Columns(csc_array(numerator), np.array([3.0])), Sets.everything(np.arange(1000)))
    assert sums.total.sets.sum() == 100.0
    assert contrasts(sums).delta[0, 0] == 0.1 / 3


def test_undefined_is_nan_and_never_infinite() -> None:
    # group 1 has one pair; groups 2 and 3 differ by a constant; concept 1 is 1/3 in every pair, in floats
    u = np.array([[1.0, 1 / 3], [1, 1 / 3], [1, 1 / 3], [0, 1 / 3], [0, 1 / 3], [0, 1 / 3]])
    one = by_group(u, [1, 2, 2, 3, 3, 3], np.arange(6))
    assert np.isnan(one.z[0]).all() and np.isnan(one.cohens_d[0]).all()  # n_in = 1: no variance inside
    assert one.delta[0, 0] == pytest.approx(1 - 2 / 5)
    assert np.isnan(one.z[:, 1]).all()  # concept 1: no variance anywhere, delta 0
    assert np.abs(one.delta[:, 1]).max() < 1e-15
    for name in (f.name for f in fields(one)):
        assert not np.isinf(getattr(one, name)).any(), name
    perfect = by_group(u[1:, :1], [1, 1, 2, 2, 2], np.arange(5))  # inside always 1, outside always 0
    assert perfect.delta[0, 0] == 1.0
    assert math.isnan(perfect.z[0, 0]) and math.isnan(perfect.cohens_d[0, 0])
    one_family = everywhere(np.array([[1.0], [0.0]]), [3, 3])  # one family: no independent repetition
    assert math.isnan(one_family.z[0, 0]) and not math.isnan(one_family.cohens_d[0, 0])
    lone_group = by_group(np.array([[1.0], [0.0]]), [1, 1], [0, 1])  # nothing outside
    assert math.isnan(lone_group.delta[0, 0])
    silent = by_group(u, np.zeros(6, int), np.arange(6))
    assert silent.delta.shape == silent.sign_consistent.shape == (0, 2)


@pytest.mark.parametrize("n", [50, 100_000])
def test_rounding_is_no_variance(n: int) -> None:
    # a running sum of 0.1 drifts: at 100,000 rows the mean is off by a thousand roundings
    u = np.full((n, 4), 0.1)
    u[:, 1:] = [0.0, 0.2, 1.0]
    u[:25, 1:] = [1 / 3, 0.3, 0.9]  # two values, one inside and one outside
    group_id = np.full(n, 2)
    group_id[:25] = 1
    sums = cell_sums(Columns(u), Sets.groups(group_id, np.arange(n)))
    one = contrasts(sums)
    assert np.isnan(one.z).all() and np.isnan(one.cohens_d).all()
    np.testing.assert_allclose(one.delta[0], [0, 1 / 3, 0.1, -0.1], atol=1e-9)
    constant = contrasts(cell_sums(Columns(u[:, :1]), Sets.everything(np.arange(n))))
    assert math.isnan(constant.z[0, 0]) and math.isnan(constant.cohens_d[0, 0])
    u[0] += 0.01  # differences that are there are seen
    u[-1] += 0.01
    assert np.isfinite(contrasts(cell_sums(Columns(u), sums.sets)).z).all()
    assert np.isfinite(contrasts(cell_sums(Columns(u[:, :1]), Sets.everything(np.arange(n)))).z).all()


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
    assert int(np.abs(everywhere(u, np.arange(n)).z[0]).argmax()) == 42


def test_a_global_z_holds_when_pairs_come_in_families_and_the_naive_one_does_not() -> None:
    # 60 families of 10 identical pairs, no effect: the plain standard error is too small by sqrt(10)
    rng = np.random.default_rng(2)
    family = np.repeat(np.arange(60), 10)
    u = rng.choice([-1, 1], (60, 400))[family]
    assert 0.02 < (np.abs(everywhere(u, family).z) > 1.96).mean() < 0.09
    assert (np.abs(everywhere(u, np.arange(600)).z) > 1.96).mean() > 0.4


def test_rows_must_agree() -> None:
    with pytest.raises(ValueError, match="columns of 3 rows, sets over 4"):
        cell_sums(Columns(np.ones((3, 2))), Sets.everything(np.arange(4)))


def test_speed_is_printed(capsys) -> None:
    rng = np.random.default_rng(0)
    numerator = csc_array(random_array((20_000, 200), density=0.1, rng=rng))
    start = time.process_time()
    one = by_group(numerator.toarray(), rng.integers(0, 400, 20_000), np.arange(20_000), np.arange(20_000) // 2)
    with capsys.disabled():
        print(f"\n20,000 pairs, {one.delta.size} contrasts: {time.process_time() - start:.1f} CPU seconds")
    np.testing.assert_allclose(one.n_in @ one.mean_in, numerator.sum(axis=0), rtol=0.05)
