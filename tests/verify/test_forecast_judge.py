"""The fair test: figures by hand or against SciPy, ceilings against simulated truth, and forecasts without skill."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pretilt.forecast.samples import Rollouts
from pretilt.forecast.uncertainty import Interval
from pretilt.stats.agreement import Evidence, Figure, reliability, residualised, signed_square, spearman
from pretilt.verify.judge import judge, r2_draws
from pretilt.verify.observed import Observed, realised


def observed(shift: np.ndarray, unit: np.ndarray | None = None) -> Observed:
    of = np.arange(len(shift)) if unit is None else unit
    return Observed(np.asarray(shift, float), of, np.arange(len(shift)), 0)


def seen(rng: np.random.Generator, true: np.ndarray, n_prompts: int = 200, noise: float | np.ndarray = 1.0) -> Observed:
    return observed(true + noise * rng.normal(0, 1, (n_prompts, true.size)))


def test_realised_shifts_by_hand() -> None:
    before = Rollouts.of(
        np.array([[1.0], [3], [0], [5]]), np.array(["b", "b", "a", "c"]), family=np.array([4, 4, 4, 9])
    )
    after = Rollouts.of(np.array([[4.0], [1], [3], [7]]), np.array(["b", "a", "a", "d"]))
    found = realised(before, after)
    assert found.prompt_ids.tolist() == ["a", "b"]
    assert found.shift.tolist() == [[2.0], [2.0]]  # (1 + 3) / 2 - 0 and 4 - (1 + 3) / 2
    assert found.n_unpaired == 2  # c and d
    assert found.unit.tolist() == [0, 0]  # near-duplicates: one unit
    assert np.isnan(found.se[0])
    with pytest.raises(ValueError, match="measurement"):
        realised(before, Rollouts.of(np.ones((1, 2)), np.array(["a"])))
    with pytest.raises(ValueError, match="no prompt"):
        realised(before, Rollouts.of(np.ones((1, 1)), np.array(["z"])))


def test_standard_errors_know_near_duplicates() -> None:
    shift = np.random.default_rng(0).normal(0.3, 1, (50, 4))
    np.testing.assert_allclose(observed(shift).se, shift.std(axis=0, ddof=1) / np.sqrt(50))
    copies = observed(np.repeat(shift, 3, axis=0), np.repeat(np.arange(50), 3))
    np.testing.assert_allclose(copies.se, observed(shift).se)
    np.testing.assert_allclose(copies.mean, shift.mean(axis=0))
    weight = np.array([[2.0, 0, 1]])
    few = observed(np.array([[1.0], [2], [4], [6]]), np.array([0, 0, 1, 2]))
    np.testing.assert_allclose(few.under(weight), [[(2 * 1 + 2 * 2 + 6) / 5]])


def test_figures_equal_scipy() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(0, 1, 60)
    y = seen(rng, true, noise=3.0)
    x = np.round(-0.4 * true + 0.3 * rng.normal(0, 1, 60), 1)  # negative, with ties
    found = judge(x, y, draws=50, permutations=99)
    r = stats.pearsonr(x, y.mean).statistic
    assert r < 0
    assert found.overall.r2 == pytest.approx(-(r**2), rel=1e-12)
    assert found.spearman == pytest.approx(stats.spearmanr(x, y.mean).statistic, rel=1e-12)
    line = stats.linregress(x, y.mean)
    assert found.slope == pytest.approx(line.slope, rel=1e-12)
    assert found.slope_lo < found.slope < found.slope_hi
    assert found.permutation_p == 1.0  # the wrong way round is not a success
    scale = (x @ y.mean) / (x @ x)
    assert found.mean_error == pytest.approx(np.abs(y.mean - scale * x).mean())
    assert found.mean_error_of_zero == pytest.approx(np.abs(y.mean).mean())


def test_signs_count_where_they_can_be_seen() -> None:
    # se = 1 / 10 for every concept: shifts of 0.5, -0.4, 0.3, 0.1; the last is not resolved
    base = np.tile([1.0, -1.0], 50)[:, None] * np.sqrt(0.99)
    y = observed(base + np.array([0.5, -0.4, 0.3, 0.1]))
    np.testing.assert_allclose(y.se, 0.1, rtol=1e-9)
    found = judge(np.array([2.0, 1.0, 0.0, -5.0]), y, draws=10, permutations=9)
    assert found.n_resolved == 3
    assert found.sign_accuracy == pytest.approx(1 / 3)  # right, wrong, no forecast
    nothing = judge(np.array([2.0, 1.0, 0.0, -5.0]), observed(base + np.full(4, 0.01)), draws=10, permutations=9)
    assert nothing.n_resolved == 0
    assert np.isnan(nothing.sign_accuracy)


def test_the_ceiling_is_what_the_truth_itself_would_reach() -> None:
    """Spearman-Brown from halves of the prompts against the R² of the simulated truth, at three noise levels."""
    rng = np.random.default_rng(2)
    for noise in (1.0, 4.0, 20.0):
        ceilings, reached = [], []
        for _ in range(25):
            true = rng.normal(0, 0.3, 150)
            found = judge(true, seen(rng, true, 200, noise), draws=5, permutations=9, splits=8)
            ceilings.append(found.overall.rel_y)
            reached.append(found.overall.r2)
        assert np.mean(reached) == pytest.approx(0.09 / (0.09 + noise**2 / 200), abs=0.04)
        assert np.mean(ceilings) == pytest.approx(np.mean(reached), abs=0.03)
    assert not found.overall.can_fail
    assert Figure(0.3, 0.6, 0.5, 10).can_fail
    assert Figure(0.3, 0.6, 0.5, 10).of_ceiling == pytest.approx(0.5)
    assert Figure(0.3, 0.6, 0.5, 10).reachable == pytest.approx(0.3)


def test_ceilings_of_noisy_forecasts_multiply() -> None:
    """With the right law, R² is about rel_x · rel_y."""
    rng = np.random.default_rng(3)
    products, reached = [], []
    for _ in range(25):
        true = rng.normal(0, 0.3, 200)
        data = true + 2.5 * rng.normal(0, 1, (100, 200))  # the forecast is their mean
        order = [rng.permutation(100) for _ in range(8)]
        halves = tuple(np.stack([data[o[part]].mean(axis=0) for o in order]) for part in (slice(50), slice(50, 100)))
        found = judge(
            data.mean(axis=0),
            seen(rng, true, 100, 2.0),
            predicted_halves=(halves[0], halves[1]),
            draws=5,
            permutations=9,
        )
        assert found.overall.rel_x == pytest.approx(reliability(*halves))
        products.append(found.overall.reachable)
        reached.append(found.overall.r2)
    assert np.mean(products) == pytest.approx(np.mean(reached), abs=0.03)
    assert 0.3 < np.mean(reached) < 0.5


@pytest.mark.parametrize("spread", [0.3, 0.6])
def test_prevalence_alone_makes_a_high_r2_and_no_skill(spread: float) -> None:
    """Predicted and observed both grow with prevalence, and share nothing else."""
    rng = np.random.default_rng(4)
    raw, standard, per, partial = [], [], [], []
    for _ in range(10):
        p = np.exp(rng.uniform(np.log(0.002), np.log(0.6), 400))
        z = rng.normal(0, 1, (2, 400))
        predicted, true = p * (0.10 + 0.10 * spread * z[0]), p * (0.05 + 0.05 * spread * z[1])
        y = seen(rng, true, 200, 0.01 * np.sqrt(p))
        found = judge(
            predicted,
            y,
            nulls={"prevalence": p},
            prevalence=p,
            spread=np.sqrt(p * (1 - p)),
            draws=5,
            permutations=9,
            splits=4,
        )
        raw.append(found.overall.r2)
        standard.append(found.standardised.r2)
        per.append(found.per_prevalence.r2)
        partial.append(found.beyond_nulls.r2)
        assert found.nulls["prevalence"].r2 > found.overall.r2  # the null is the better forecast
        assert found.per_prevalence.rel_y > 0.5  # and it is not for want of a ceiling that nothing is left
    assert np.mean(raw) > (0.7 if spread == 0.3 else 0.4)
    assert np.mean(standard) < np.mean(raw)
    assert abs(np.mean(per)) < 0.02
    assert abs(np.mean(partial)) < 0.02


def test_partial_r2_equals_its_definition_and_keeps_true_skill() -> None:
    rng = np.random.default_rng(5)
    length, prevalence, skill = rng.normal(0, 1, (3, 80))
    y = seen(rng, 2 * length + prevalence + skill, noise=0.5)
    x = length + 0.8 * skill
    found = judge(x, y, nulls={"length": length, "prevalence": prevalence}, draws=5, permutations=9)

    def r2(columns: list[np.ndarray]) -> float:
        design = np.column_stack([np.ones(80), *columns])
        rest = y.mean - design @ np.linalg.lstsq(design, y.mean, rcond=None)[0]
        return 1 - float(rest @ rest) / float(((y.mean - y.mean.mean()) ** 2).sum())

    null, full = r2([length, prevalence]), r2([length, prevalence, x])
    assert found.beyond_nulls.r2 == pytest.approx((full - null) / (1 - null), rel=1e-9)
    assert found.beyond_nulls.r2 > 0.9
    assert found.nulls["length"].r2 == pytest.approx(r2([length]), rel=1e-9)
    # a forecast that is nothing but its nulls has nothing left to be right about
    nothing = judge(
        3 * length - prevalence, y, nulls={"length": length, "prevalence": prevalence}, draws=5, permutations=9
    )
    assert np.isnan(nothing.beyond_nulls.r2)
    np.testing.assert_allclose(residualised(np.ones((4, 1)))(np.array([1.0, 2, 3, 4])), [-1.5, -0.5, 0.5, 1.5])


def test_ten_concepts_cannot_carry_it_unseen() -> None:
    rng = np.random.default_rng(6)
    true = 0.1 * rng.normal(0, 1, 200)
    true[:10] = rng.choice([-3, 3], 10)
    x = 0.1 * rng.normal(0, 1, 200)
    x[:10] = true[:10]
    found = judge(x, seen(rng, true, noise=0.05), draws=5, permutations=9)
    assert found.overall.r2 > 0.9
    assert found.without_top.r2 < 0.05
    assert found.without_top.n == 190
    assert found.without_top.rel_y > 0.9
    # those that speak against the forecast stay: 2 for and 5 against it are left of the large ones
    sign = np.where(np.arange(17) % 2 == 0, 3.0, -3.0)
    true[:17], x[:17] = sign, np.where(np.arange(17) < 12, sign, -sign)
    assert judge(x, seen(rng, true, noise=0.05), draws=5, permutations=9).without_top.r2 < -0.05
    few = judge(x[:12], seen(rng, true[:12]), draws=5, permutations=9)
    assert np.isnan(few.without_top.r2) and few.without_top.n == 2


def test_permutation_p_is_uniform_without_skill_and_small_with_it() -> None:
    rng = np.random.default_rng(7)
    p = [
        judge(
            rng.normal(0, 1, 30), seen(rng, rng.normal(0, 1, 30), 20), draws=5, permutations=99, splits=2, seed=s
        ).permutation_p
        for s in range(150)
    ]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)
    true = rng.normal(0, 1, 30)
    found = judge(true, seen(rng, true), draws=5, permutations=199)
    assert found.permutation_p == 1 / 200
    assert 0 < found.permutation_95 < 0.3 < found.overall.r2


def test_the_slope_interval_covers_and_coverage_is_counted() -> None:
    rng = np.random.default_rng(8)
    true = rng.normal(0, 1, 40)
    inside = []
    for study in range(100):
        found = judge(2 * true, seen(rng, true, 60, 3.0), draws=100, permutations=9, splits=2, seed=study)
        inside.append(found.slope_lo <= 0.5 <= found.slope_hi)
    assert 0.88 <= np.mean(inside) <= 0.995
    y = observed(np.tile([0.0, 1.0, 2.0, 3.0], (5, 1)))
    narrow = Interval(np.array([0.0, 1.5, 2.0, 9.0]), np.array([0.1, 0.1, 0.0, 1.0]))
    wide = Interval(np.array([0.0, 1.5, 2.0, 9.0]), np.full(4, 10.0), confidence=0.8)
    found = judge(np.arange(4.0), y, intervals={"95": narrow, "80": wide}, draws=5, permutations=9)
    assert found.coverage == {"95": 0.5, "80": 1.0}


def test_a_better_forecast_is_better_by_its_interval() -> None:
    rng = np.random.default_rng(9)
    true = rng.normal(0, 1, 60)
    y = seen(rng, true, 100, 3.0)
    good, poor = (true + s * rng.normal(0, 1, (200, 60)) for s in (0.3, 2.0))
    difference = r2_draws(good, y, seed=1) - r2_draws(poor, y, seed=1)
    assert np.quantile(difference, 0.025) > 0.2
    np.testing.assert_array_equal(r2_draws(good, y, seed=1), r2_draws(good, y, seed=1))
    assert r2_draws(-good, y, seed=1).max() < 0


def test_nothing_moved_and_nothing_forecast_are_undefined_not_zero() -> None:
    rng = np.random.default_rng(10)
    still = observed(np.zeros((30, 5)))
    found = judge(
        rng.normal(0, 1, 5), still, prevalence=np.full(5, 0.5), spread=np.full(5, 0.5), draws=5, permutations=9
    )
    for figure in (found.overall, found.standardised, found.per_prevalence):
        assert np.isnan(figure.r2) and np.isnan(figure.rel_y) and np.isnan(figure.of_ceiling)
    assert np.isnan(found.permutation_p)
    zero = judge(np.zeros(5), seen(rng, rng.normal(0, 1, 5)), draws=5, permutations=9)
    assert np.isnan(zero.overall.r2) and np.isnan(zero.slope) and np.isnan(zero.spearman)
    assert zero.overall.rel_y > 0.8
    assert zero.mean_error == zero.mean_error_of_zero > 0


def test_the_set_of_concepts_is_fixed() -> None:
    y = observed(np.random.default_rng(11).normal(0, 1, (10, 4)))
    with pytest.raises(ValueError, match="forecast: one finite number"):
        judge(np.array([1.0, np.nan, 2, 3]), y)
    with pytest.raises(ValueError, match="length: one finite number"):
        judge(np.arange(4.0), y, nulls={"length": np.arange(3.0)})
    with pytest.raises(ValueError, match="two units"):
        judge(np.arange(4.0), observed(np.ones((3, 4)), np.zeros(3, int)))
    level, spread = np.array([0.0, 0.5, 0.2, 1.0]), np.array([0.0, 0.5, 0.4, 0.3])
    found = judge(np.arange(4.0), y, prevalence=level, spread=spread, draws=5, permutations=9)
    assert (found.overall.n, found.standardised.n, found.per_prevalence.n) == (4, 3, 3)
    few = judge(np.arange(4.0), y, spread=np.array([0.0, 0.5, 0.4, 0.0]), draws=5, permutations=9)
    assert few.standardised.n == 2 and np.isnan(few.standardised.r2)


def test_small_parts() -> None:
    assert signed_square(-0.5) == -0.25
    assert spearman(np.array([1.0, 2, 3]), np.array([10.0, 100, 1000])) == pytest.approx(1.0)
    # halves correlate at 0.5 in one split, and not at all in the other: mean 0.25, stepped up 2 · 0.25 / 1.25
    a = np.array([[1.0, 0, -1], [1, 0, -1]])
    b = np.array([[1.0, -1, 0], [1, -2, 1]])
    assert reliability(a, b) == pytest.approx(0.4)
    assert reliability(a, -b) == 0.0
    evidence = Evidence(np.array([1.0, 2, 4]), np.array([1.0, 2, 4]), (a, b))
    assert evidence.figure().r2 == pytest.approx(1.0)
    assert np.isnan(evidence.figure().rel_x) and np.isnan(evidence.figure().reachable)
