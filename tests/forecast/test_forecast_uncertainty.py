"""Intervals: they cover, know families from rows, and add what measuring adds."""

from __future__ import annotations

import numpy as np
import pytest
from forecast_worlds import COPIES, World, make_world

from pretilt.forecast.covariance import from_pairs, from_rollouts
from pretilt.forecast.ladder import Ladder
from pretilt.forecast.preference import BradleyTerry, fit_preference
from pretilt.forecast.samples import PairDeltas, Rollouts
from pretilt.forecast.uncertainty import (
    Interval,
    bootstrap,
    half_forecasts,
    half_mask,
    intervals,
    predictive,
    rollout_noise,
)
from pretilt.stats.agreement import reliability

N_PROMPTS, N_FAMILIES = 60, 120


def drawn_ladder(world: World, rng: np.random.Generator) -> Ladder:
    """Pairs in families of copies on some of the world's prompts, rollouts on others: both a sample of its prompts."""
    j = rng.integers(0, len(world.c), N_FAMILIES)
    responses = [np.array([rng.choice(world.base.shape[1], p=world.base[one]) for one in j]) for _ in range(2)]
    (a, b), size = responses, rng.integers(1, 4, N_FAMILIES)
    u, gap = world.c[j, a] - world.c[j, b], world.reward[j, a] - world.reward[j, b]
    u = np.where(rng.random(N_FAMILIES) < 1 / (1 + np.exp(-gap)), 1, -1)[:, None] * u
    pairs = PairDeltas.of(np.repeat(u, size, axis=0), np.repeat(np.arange(N_FAMILIES), size))
    prompts = rng.integers(0, len(world.c), N_PROMPTS)
    part = World(world.c[prompts], world.base[prompts], world.reward[prompts])
    rollouts = part.sampled(rng, 4)
    model = BradleyTerry(pairs, np.ones(world.n_concepts))
    return Ladder(model, fit_preference(model, [1e-3]), from_rollouts(rollouts), rollouts)


def test_intervals_cover_the_truth() -> None:
    """95 % intervals of w and of every rung but the tilt, whose own bias of 1 / K is documented, over 60 studies."""
    world = make_world(11, n_prompts=40, n_outcomes=8, scale=0.5)
    q = world.base[:, :, None] * world.base[:, None, :]
    everything = world.labelled(world.bradley_terry())
    model = BradleyTerry(everything, np.ones(world.n_concepts))
    base = from_rollouts(world.enumerated(), 0.0)
    truth = Ladder(model, fit_preference(model, [1e-3]), base).predict()
    true = {"w": truth.w, **truth.shift}
    for rung in ("one_step", "converged"):
        true[rung] = true[rung] * (COPIES - 1) / COPIES
    assert q.sum() == pytest.approx(40)
    rng = np.random.default_rng(0)
    inside: dict[str, list[np.ndarray]] = {name: [] for name in true}
    for study in range(60):
        ladder = drawn_ladder(world, rng)
        found = intervals(ladder, bootstrap(ladder, 40, seed=study))
        for name, hits in inside.items():
            hits.append((found[name].lo <= true[name]) & (true[name] <= found[name].hi))
    coverage = {name: float(np.mean(hits)) for name, hits in inside.items()}
    assert all(0.89 <= share <= 0.99 for share in coverage.values()), coverage


def test_copies_do_not_make_it_surer_but_rows_would_think_so() -> None:
    rng = np.random.default_rng(1)
    u = rng.normal(0.1, 1, (100, 3))
    sds = {}
    for name, family in (("families", np.tile(np.arange(100), 6)), ("rows", None)):
        pairs = PairDeltas.of(np.tile(u, (6, 1)), family)
        model = BradleyTerry(pairs)
        ladder = Ladder(model, fit_preference(model, [0.01]), from_pairs(pairs))
        sds[name] = {k: v.std(axis=0) for k, v in bootstrap(ladder, 150, seed=2).items()}
    standard_error = u.std(axis=0) / 10
    np.testing.assert_allclose(sds["families"]["mean"], standard_error, rtol=0.2)
    np.testing.assert_allclose(sds["rows"]["mean"], standard_error / np.sqrt(6), rtol=0.2)
    assert (sds["families"]["w"] > 1.7 * sds["rows"]["w"]).all()


def test_pairs_and_prompts_are_drawn_independently_and_reproducibly() -> None:
    ladder = drawn_ladder(make_world(3, n_prompts=20), np.random.default_rng(2))
    one, again, other = bootstrap(ladder, 30, seed=5), bootstrap(ladder, 30, seed=5), bootstrap(ladder, 30, seed=6)
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert (one["tilt"] != other["tilt"]).any()
    # a draw is the ladder's own prediction under those weights: with all weights 1 it is the estimate
    ones = ladder.predict(np.ones(ladder.pairs.n_families), np.ones(ladder.rollouts.n_units))
    plain = ladder.predict()
    for rung, value in plain.shift.items():
        np.testing.assert_allclose(ones.shift[rung], value, atol=2e-6)
    # and with weights of 0 and 1 it is that of the prompts and families that are left
    rollouts, unit = ladder.rollouts, (np.arange(ladder.rollouts.n_units) % 3 == 0).astype(float)
    kept = unit[rollouts.prompt] > 0
    part = Rollouts.of(rollouts.c[kept], rollouts.prompt[kept])
    few = Ladder(ladder.model, ladder.preference, from_rollouts(part), part).predict()
    for rung, value in ladder.predict(None, unit).shift.items():
        np.testing.assert_allclose(value, few.shift[rung], atol=1e-12)
    # with the pairs held fixed, the prompts alone still move sigma times mean u
    rng = np.random.default_rng(0)
    fixed = [ladder.predict(None, rng.poisson(1, ladder.rollouts.n_units).astype(float)).shift for _ in range(5)]
    assert np.std([s["one_step"][0] for s in fixed]) > 0
    assert np.std([s["mean"][0] for s in fixed]) == 0


def test_where_the_covariance_is_of_the_pairs_it_is_redrawn_with_them() -> None:
    rng = np.random.default_rng(3)
    pairs = PairDeltas.of(rng.normal(0.3, 1, (40, 2)), np.arange(40) // 2)
    model = BradleyTerry(pairs)
    ladder = Ladder(model, fit_preference(model, [0.1]), from_pairs(pairs, 0.0))
    weight = rng.poisson(1.0, 20).astype(float)
    kept = weight[np.arange(40) // 2]
    mean = kept @ pairs.u / kept.sum()
    sigma = (pairs.u.T * kept) @ pairs.u / kept.sum() / 2
    np.testing.assert_allclose(ladder.predict(weight, np.ones(20)).shift["one_step"], sigma @ mean, atol=1e-12)


def test_half_forecasts_give_the_reliability_of_the_forecast() -> None:
    """Simulated truth: the mean of u is a true signal plus noise of known size, so rel_x is known."""
    rng = np.random.default_rng(4)
    signal = rng.normal(0, 0.1, 400)
    pairs = PairDeltas.of(signal + rng.normal(0, 2.0, (400, 400)))
    model = BradleyTerry(pairs)
    ladder = Ladder(model, fit_preference(model, [10.0]), from_pairs(pairs, 1.0))
    a, b = half_forecasts(ladder, splits=4)["mean"]
    np.testing.assert_allclose((a + b) / 2, np.broadcast_to(pairs.mean(), a.shape), atol=1e-12)
    assert reliability(a, b) == pytest.approx(0.01 / (0.01 + 4.0 / 400), abs=0.07)
    mask = half_mask(rng, 7)
    assert mask.sum() == 3
    with pytest.raises(ValueError, match="two units"):
        half_mask(rng, 1)


def test_an_observed_shift_falls_into_its_predictive_interval() -> None:
    """The forecast is the truth; only sampling separates them. 80 and 95 % intervals hold what they say."""
    world = make_world(5, n_prompts=50, n_outcomes=8, n_concepts=6, scale=0.2)
    after = world.tilted(world.reward)
    true = Interval(world.shift(after), np.zeros(6))
    rng = np.random.default_rng(6)
    noise = rollout_noise(world.sampled(rng, 40), n_prompts=50, per_prompt=3)
    hits = {0.8: [], 0.95: []}
    for _ in range(150):
        seen = world.sampled(rng, 3, after).means.mean(axis=0) - world.sampled(rng, 3).means.mean(axis=0)
        for confidence, found in hits.items():
            one = predictive(true, noise, confidence=confidence)
            found.append((one.lo <= seen) & (seen <= one.hi))
    assert np.mean(hits[0.8]) == pytest.approx(0.8, abs=0.05)
    assert np.mean(hits[0.95]) == pytest.approx(0.95, abs=0.03)


def test_predictive_intervals_cover_what_a_whole_study_observes() -> None:
    """Pairs, rollouts before training and both evaluations are drawn anew; the policy is the exact optimum."""
    world = make_world(11, n_prompts=40, n_outcomes=8, scale=0.3)
    after = world.tilted(world.reward)
    rng = np.random.default_rng(8)
    inside = []
    for study in range(60):
        ladder = drawn_ladder(world, rng)
        found = intervals(ladder, bootstrap(ladder, 30, seed=study))["converged"]
        one = predictive(found, rollout_noise(ladder.rollouts, n_prompts=40, per_prompt=4))
        seen = world.sampled(rng, 4, after).means.mean(axis=0) - world.sampled(rng, 4).means.mean(axis=0)
        inside.append((one.lo <= seen) & (seen <= one.hi))
    assert 0.9 <= np.mean(inside) <= 0.985


def test_predictive_intervals_by_hand() -> None:
    # two prompts: variances 2 and 0.5 within; noise = 2 · 1.25 / (10 · 4)
    c = np.array([[0.0], [2], [1], [2], [7]])
    noise = rollout_noise(Rollouts.of(c, np.array([0, 0, 1, 1, 2])), n_prompts=10, per_prompt=4)
    assert noise[0] == pytest.approx(2 * 1.25 / 40)
    forecast = Interval(np.array([2.0]), np.array([0.3]))
    one = predictive(forecast, np.array([0.09]), scale=0.5, model_sd=0.1)
    sd = np.sqrt(0.15**2 + 0.09 + 0.01)
    assert one.value[0] == 1.0
    assert one.hi[0] - one.value[0] == pytest.approx(1.959963984540054 * sd)
    assert one.value[0] - one.lo[0] == pytest.approx(1.959963984540054 * sd)
    assert Interval(np.array([0.0, 2.0, -2.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])).sign_known.tolist() == [
        False, True, True, False,
    ]  # fmt: skip


def test_one_family_or_one_prompt_cannot_be_redrawn() -> None:
    rng = np.random.default_rng(7)
    pairs = PairDeltas.of(rng.normal(0, 1, (6, 2)), np.zeros(6))
    model = BradleyTerry(pairs)
    with pytest.raises(ValueError, match="two families"):
        bootstrap(Ladder(model, fit_preference(model, [0.1]), from_pairs(pairs)), 3)
    pairs = PairDeltas.of(rng.normal(0, 1, (6, 2)))
    model = BradleyTerry(pairs)
    rollouts = Rollouts.of(rng.normal(0, 1, (5, 2)), np.array([0, 0, 1, 2, 3]))
    with pytest.raises(ValueError, match="several rollouts"):
        bootstrap(Ladder(model, fit_preference(model, [0.1]), from_rollouts(rollouts), rollouts), 3)
    two = Rollouts.of(rng.normal(0, 1, (6, 2)), np.array([0, 0, 1, 1, 2, 3]))
    draws = bootstrap(Ladder(model, fit_preference(model, [0.1]), from_rollouts(two), two), 40)
    assert all(np.isfinite(value).all() for value in draws.values())  # no draw leaves both prompts out
