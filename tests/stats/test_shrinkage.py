"""Adaptive shrinkage: posteriors known in closed form or by quadrature, and mixtures fitted to known worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pretilt.stats import shrinkage
from pretilt.stats.shrinkage import Mixture, fit_mixture


def cumulative(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def by_quadrature(mixture: Mixture, x: float, s: float) -> tuple[float, float, float]:
    """(posterior mean, P(theta < 0), P(theta = 0)) by summing over a fine grid of theta."""
    grid = (np.arange(200_001) - 100_000) * (40 * max(s, mixture.tau.max()) / 200_000)  # 0 is on it
    likelihood = np.exp(-0.5 * ((x - grid) / s) ** 2)
    weight = np.zeros(grid.size)
    for w, tau in zip(mixture.weight, mixture.tau, strict=True):
        if tau > 0:
            weight += w * np.exp(-0.5 * (grid / tau) ** 2) / tau / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    at_zero = float(mixture.weight[mixture.tau == 0].sum() * math.exp(-0.5 * (x / s) ** 2))
    mass = weight * likelihood
    total = mass.sum() + at_zero
    middle = mass[100_000] / 2  # of the continuous part, half the point at 0 is below it
    return float((mass * grid).sum() / total), float((mass[:100_000].sum() + middle) / total), at_zero / total


def test_one_component_has_the_normal_posterior() -> None:
    mixture = Mixture(np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    x, s = np.array([3.0, -1.0, 0.0]), np.array([1.0, 4.0, 2.0])
    mean, lfsr = mixture.posterior(x, s)
    # shrunk by tau² / (tau² + s²) = 4/5, 1/5, 1/2; posterior sd = tau s / sqrt(tau² + s²)
    np.testing.assert_allclose(mean, [2.4, -0.2, 0.0], rtol=1e-12)
    sd = [2 / math.sqrt(5), 8 / math.sqrt(20), 4 / math.sqrt(8)]
    np.testing.assert_allclose(lfsr, [cumulative(-2.4 / sd[0]), cumulative(-0.2 / sd[1]), 0.5], rtol=1e-12)
    lo, hi = mixture.interval(x, s)
    for k in range(3):
        assert lo[k] == pytest.approx(mean[k] - 1.959963984540054 * sd[k], abs=1e-9)
        assert hi[k] == pytest.approx(mean[k] + 1.959963984540054 * sd[k], abs=1e-9)


def test_only_zero_is_known_to_be_zero() -> None:
    mixture = Mixture(np.ones(1), np.zeros(1))
    mean, lfsr = mixture.posterior(np.array([5.0, -0.1]), np.array([1.0, 1.0]))
    assert (mean.tolist(), lfsr.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert [v.tolist() for v in mixture.interval(np.array([5.0]), np.array([1.0]))] == [[0.0], [0.0]]


def test_half_zero_half_normal_by_hand() -> None:
    # x = 2, s = 1, tau = 1: densities N(2; 0, 1) ∝ exp(-2) and N(2; 0, 2) ∝ exp(-1) / sqrt(2)
    mixture = Mixture(np.array([0.5, 0.5]), np.array([0.0, 1.0]))
    slab = math.exp(-1) / math.sqrt(2) / (math.exp(-2) + math.exp(-1) / math.sqrt(2))
    mean, lfsr = mixture.posterior(np.array([2.0]), np.array([1.0]))
    assert mean[0] == pytest.approx(slab * 1.0, rel=1e-12)
    # slab: N(1, 1/2), below 0 with probability Phi(-sqrt(2)); zero itself counts as a wrong sign
    assert lfsr[0] == pytest.approx((1 - slab) + slab * cumulative(-math.sqrt(2)), rel=1e-12)


def test_the_posterior_spread_by_hand() -> None:
    slab = Mixture(np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    np.testing.assert_allclose(slab.spread(np.array([3.0, -3.0, 0.0]), np.ones(3)), [math.sqrt(0.8)] * 3, rtol=1e-12)
    # half zero, as above: slab N(1, 1/2) of weight w: mean w, variance w * (1 + 1/2) - w²
    weight = math.exp(-1) / math.sqrt(2) / (math.exp(-2) + math.exp(-1) / math.sqrt(2))
    half = Mixture(np.array([0.5, 0.5]), np.array([0.0, 1.0])).spread(np.array([2.0]), np.ones(1))
    assert half[0] == pytest.approx(math.sqrt(1.5 * weight - weight**2), rel=1e-12)
    assert Mixture(np.ones(1), np.zeros(1)).spread(np.array([7.0]), np.ones(1)).tolist() == [0.0]
    assert np.isnan(slab.spread(np.array([np.nan, 1.0]), np.array([1.0, 0.0]))).all()


def test_effects_in_standard_errors_are_the_same_mixture_in_other_units() -> None:
    weight, tau = np.array([0.6, 0.3, 0.1]), np.array([0.0, 0.4, 2.0])
    for x, s in ((0.7, 0.5), (-9.0, 3.0), (0.0, 0.01)):
        one, other = Mixture(weight, tau, per_se=1), Mixture(weight, tau * s)
        x, s = np.array([x]), np.array([s])
        for function in ("posterior", "interval"):
            for a, b in zip(getattr(one, function)(x, s), getattr(other, function)(x, s), strict=True):
                assert a[0] == pytest.approx(b[0], rel=1e-9, abs=1e-12)
        assert one.spread(x, s)[0] == pytest.approx(other.spread(x, s)[0], rel=1e-9)


def test_the_fit_takes_effects_in_standard_errors() -> None:
    rng = np.random.default_rng(6)
    s = np.exp(rng.normal(0, 1, 6000))
    theta = rng.normal(0, 2, 6000) * (rng.random(6000) < 0.5) * s
    x = rng.normal(theta, s)
    fitted = fit_mixture(x, s)
    mean, lfsr = fitted.posterior(x, s)
    best, _ = Mixture(np.array([0.5, 0.5]), np.array([0.0, 2.0]), per_se=1).posterior(x, s)
    assert math.sqrt((((mean - best) / s) ** 2).mean()) < 0.1
    order = np.argsort(np.abs(x / s))  # the surer the larger |x / s|, whatever the standard error
    assert (np.diff(lfsr[order]) < 1e-9).all()


@pytest.mark.parametrize(("x", "s"), [(0.7, 0.5), (-2.5, 1.0), (0.0, 1.0), (3.0, 0.3)])
def test_the_posterior_equals_quadrature(x: float, s: float) -> None:
    mixture = Mixture(np.array([0.6, 0.3, 0.1]), np.array([0.0, 0.4, 2.0]))
    mean, lfsr = mixture.posterior(np.array([x]), np.array([s]))
    expected, below, zero = by_quadrature(mixture, x, s)
    assert mean[0] == pytest.approx(expected, abs=1e-4)
    assert lfsr[0] == pytest.approx(zero + min(below, 1 - zero - below), abs=1e-3)
    flipped = mixture.posterior(np.array([-x]), np.array([s]))
    assert (flipped[0][0], flipped[1][0]) == pytest.approx((-mean[0], lfsr[0]), rel=1e-12)


def test_a_quantile_inside_the_jump_at_zero_is_zero() -> None:
    mixture = Mixture(np.array([0.9, 0.1]), np.array([0.0, 1.0]))
    # x = 2: the slab has less than a third of the weight, and 2.5 % of it is not below 0: the lower end is 0
    lo, hi = mixture.interval(np.array([2.0, -2.0, 0.0, 30.0]), np.ones(4))
    assert lo[0] == 0.0 and hi[0] > 1
    assert hi[1] == 0.0 and lo[1] == pytest.approx(-hi[0], abs=1e-9)
    # x = 0: the slab weighs .1 / sqrt(2) / (.9 + .1 / sqrt(2)) = .0728, N(0, 1/2): .025 / .0728 of it is below the end
    assert hi[2] == pytest.approx(-lo[2], rel=1e-9)
    assert cumulative(lo[2] * math.sqrt(2)) * 0.1 / (0.9 * math.sqrt(2) + 0.1) == pytest.approx(0.025, rel=1e-6)
    assert lo[3] == pytest.approx(15 - 1.96 * math.sqrt(0.5), abs=1e-3)  # far out zero has no weight
    # the end points cut off 2.5 %: slab weight w, N(1, 1/2) above hi
    slab = 0.1 * math.exp(-1) / math.sqrt(2) / (0.9 * math.exp(-2) + 0.1 * math.exp(-1) / math.sqrt(2))
    assert slab * cumulative(-(hi[0] - 1) * math.sqrt(2)) == pytest.approx(0.025, rel=1e-6)


def test_undefined_stays_undefined_and_the_shape_is_kept(monkeypatch) -> None:
    mixture = Mixture(np.array([0.5, 0.5]), np.array([0.0, 1.0]))
    rng = np.random.default_rng(0)
    x, s = rng.normal(size=(4, 5)), rng.random((4, 5)) + 0.5
    x[0, 0], s[1, 1], s[2, 2], x[3, 3] = np.nan, np.nan, 0.0, np.inf
    mean, lfsr = mixture.posterior(x, s)
    assert mean.shape == lfsr.shape == (4, 5)
    assert np.argwhere(np.isnan(mean)).tolist() == np.argwhere(np.isnan(lfsr)).tolist() == [[k, k] for k in range(4)]
    monkeypatch.setattr(shrinkage, "CHUNK", 3)
    for one, other in zip(mixture.posterior(x, s), (mean, lfsr), strict=True):
        np.testing.assert_array_equal(one, other)
    assert mixture.posterior(np.zeros((0, 3)), np.zeros((0, 3)))[0].shape == (0, 3)
    for x_far, s_far in ((1e9, 1e-6), (1e-300, 1e100), (-40.0, 1.0)):  # nothing overflows
        for found in (*mixture.posterior(np.array([x_far]), np.array([s_far])), *mixture.interval(x_far, s_far)):
            assert np.isfinite(found).all()


def test_a_world_of_nulls_is_seen_as_one() -> None:
    rng = np.random.default_rng(1)
    s = rng.uniform(0.5, 2, 4000)
    x = rng.normal(0, s)
    mixture = fit_mixture(x, s)
    assert mixture.tau[0] == 0
    assert mixture.weight.sum() == pytest.approx(1)
    mean, lfsr = mixture.posterior(x, s)
    assert (lfsr < 0.05).sum() == 0
    assert math.sqrt((mean**2).mean()) < 0.15  # against 1.3 for x itself


def test_a_known_mixture_is_found_and_its_signs_are_as_sure_as_they_say() -> None:
    rng = np.random.default_rng(2)
    n = 20_000
    s = rng.uniform(0.5, 1.5, n)
    theta = rng.normal(0, 3, n) * (rng.random(n) < 0.2) * s
    x = rng.normal(theta, s)
    fitted, truth = fit_mixture(x, s), Mixture(np.array([0.8, 0.2]), np.array([0.0, 3.0]), per_se=1)
    mean, lfsr = fitted.posterior(x, s)
    best, _ = truth.posterior(x, s)
    assert math.sqrt(((mean - best) ** 2).mean()) < 0.05
    error = [((e - theta) ** 2).mean() for e in (mean, best, x)]
    assert error[0] < 1.01 * error[1] < 0.5 * error[2]
    assert fitted.weight[fitted.tau < 0.5].sum() == pytest.approx(0.8, abs=0.03)
    sure = lfsr < 0.05
    wrong = np.sign(mean[sure]) != np.sign(theta[sure])
    assert sure.sum() > 1000
    assert wrong.mean() == pytest.approx(lfsr[sure].mean(), abs=4 * math.sqrt(0.05 / sure.sum()))
    lo, hi = fitted.interval(x[:4000], s[:4000])
    covered = (lo <= theta[:4000]) & (theta[:4000] <= hi)
    assert 0.935 < covered.mean() < 0.985  # intervals that end in the jump at 0 cover a little more


def test_the_unit_does_not_matter_and_neither_do_undefined_effects() -> None:
    rng = np.random.default_rng(3)
    x, s = rng.normal(0, 2, 500), rng.uniform(0.5, 1.5, 500)
    one, other = fit_mixture(x, s), fit_mixture(x * 1024, s * 1024)
    np.testing.assert_allclose(other.tau, one.tau, rtol=1e-12)  # in standard errors
    np.testing.assert_allclose(other.weight, one.weight, rtol=1e-6, atol=1e-9)
    holes = fit_mixture(np.append(x, [np.nan, 1.0, 1.0]), np.append(s, [1.0, np.nan, 0.0]))
    np.testing.assert_array_equal(holes.weight, one.weight)


def test_zero_counts_nine_effects_that_nobody_saw() -> None:
    # the fixed point of the penalised EM: weight of zero = (expected number of zeros + 9) / (n + 9), others without
    rng = np.random.default_rng(5)
    x, s = rng.normal(0, 1.5, 60), np.ones(60)
    mixture = fit_mixture(x, s)
    expected = np.zeros(mixture.tau.size)
    for value in x:
        spread = [1 + tau**2 for tau in mixture.tau]
        likely = [math.exp(-(value**2) / 2 / v) / math.sqrt(v) for v in spread]
        share = [w * one for w, one in zip(mixture.weight, likely, strict=True)]
        expected += np.array(share) / sum(share)
    expected[0] += 9
    np.testing.assert_allclose(mixture.weight, expected / 69, atol=0.003)


def test_nothing_to_fit_is_no_effect() -> None:
    for x in (np.zeros((0, 4)), np.full((2, 2), np.nan)):
        mixture = fit_mixture(x, np.ones(x.shape))
        assert (mixture.weight.tolist(), mixture.tau.tolist()) == ([1.0], [0.0])
    single = fit_mixture(np.array([3.0]), np.array([1.0]))
    assert np.isfinite(single.posterior(np.array([3.0]), np.array([1.0]))[1]).all()


def test_many_cells_are_sampled_with_the_seed(monkeypatch) -> None:
    rng = np.random.default_rng(4)
    x, s = rng.normal(0, 2, 3000), np.ones(3000)
    whole = fit_mixture(x, s, seed=1)
    monkeypatch.setattr(shrinkage, "FIT_CELLS", 1000)
    a, b, c = (fit_mixture(x, s, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.weight, b.weight)
    assert a.weight.size != c.weight.size or not np.array_equal(a.weight, c.weight)
    assert np.abs(a.posterior(x, s)[0] - whole.posterior(x, s)[0]).mean() < 0.1  # a sample says much the same
