"""The ladder against exact worlds: every response enumerated, the policies trained, tilted and compared outright."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_worlds import COPIES, World, foreign_world, make_world, r_squared, random_base

from pretilt.forecast.covariance import from_pairs, from_rollouts
from pretilt.forecast.ladder import Ladder, covariance_with, tilt
from pretilt.forecast.preference import BradleyTerry, fit_preference
from pretilt.forecast.samples import PairDeltas, Rollouts

SEEDS = range(4)
TINY_RIDGE = [1e-10]
UNBIASED = COPIES / (COPIES - 1)  # enumerated rollouts are a population; the estimators divide by K - 1


def ladder(world: World, probability: np.ndarray, copies: int = COPIES, **options) -> Ladder:
    rollouts = world.enumerated(copies)
    model = BradleyTerry(world.all_pairs(probability), np.ones(world.n_concepts))
    return Ladder(model, fit_preference(model, TINY_RIDGE), from_rollouts(rollouts, 0.0), rollouts, **options)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_with_hard_labels_half_the_mean_is_exactly_the_best_of_two_shift(seed: int, scale: float) -> None:
    world = make_world(seed, scale=scale)
    wins = world.hard_labels()
    best_of_two = 2 * world.base * np.einsum("jab,jb->ja", wins, world.base)
    np.testing.assert_allclose(best_of_two.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(world.labelled(wins).mean() / 2, world.shift(best_of_two), atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_on_policy_the_mean_is_the_covariance_with_the_reward_to_first_order(seed: int) -> None:
    """Whatever the reward: it is not linear in the concepts here. The error falls with the square of its scale."""
    errors = []
    for scale in (0.1, 0.01):
        world = make_world(seed, scale=scale)
        covariance = world.covariance(world.reward)
        errors.append(
            np.abs(world.labelled(world.bradley_terry()).mean() - covariance).max() / np.abs(covariance).max()
        )
    assert errors[1] < 5e-4
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_two_estimates_of_the_covariance_are_the_exact_one(seed: int) -> None:
    """Rollouts, and unlabelled on-policy pairs without centring: labels select a mean, but not a covariance."""
    world = make_world(seed)
    exact = world.covariance()
    np.testing.assert_allclose(from_rollouts(world.enumerated(), 0.0).matrix(), exact * UNBIASED, atol=1e-13)
    rng = np.random.default_rng(seed)
    draws = [world.sampled(rng, 4000) for _ in range(2)]
    u = draws[0].c - draws[1].c
    margin = u @ np.ones(world.n_concepts) * 3
    u = u * np.where(margin < 0, -1, 1)[:, None]  # hard labels: the mean of u is far from 0
    found = from_pairs(PairDeltas.of(u), 0.0).matrix()
    np.testing.assert_allclose(found, exact, atol=0.012)
    assert np.abs(np.cov(u.T) / 2 - exact).max() > 0.02  # centring takes away what the labels put there


@pytest.mark.parametrize("seed", SEEDS)
def test_one_step_is_the_true_shift_of_a_small_dpo_step(seed: int) -> None:
    """The policy is trained outright: gradient of the DPO loss by finite differences, one small step, exact shift."""
    world = make_world(seed)
    rng = np.random.default_rng(seed)
    others = random_base(rng, *world.base.shape), random_base(rng, *world.base.shape)  # off-policy as can be
    probability = others[0][:, :, None] * others[1][:, None, :]
    step = 1e-4
    theta = -step * world.dpo_gradient(np.zeros(world.n_concepts), probability)
    true = world.shift(world.tilted(world.c @ theta)) / step
    one = ladder(world, probability).predict()
    np.testing.assert_allclose(one.shift["one_step"] / UNBIASED / 2, true, rtol=2e-4, atol=1e-7)
    assert np.abs(one.shift["mean"] / 2 - true).max() > 10 * np.abs(one.shift["one_step"] / UNBIASED / 2 - true).max()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_tilt_of_enumerated_responses_is_the_exact_tilt(seed: int) -> None:
    world = make_world(seed, scale=2.0)
    rollouts = world.enumerated()
    reward_of = np.concatenate(
        [np.repeat(world.reward[j], np.rint(world.base[j] * COPIES).astype(int)) for j in range(len(world.c))]
    )
    for eta in (0.1, 1.0):
        policy = world.tilted(eta * world.reward)
        shift, ess = tilt(rollouts, reward_of, eta)
        np.testing.assert_allclose(shift, world.shift(policy), atol=1e-13)
        np.testing.assert_allclose(ess, 1 / (policy**2 / world.base).sum(axis=1), rtol=1e-12)
    # the outcomes once each, with their probabilities
    once = Rollouts.of(world.c.reshape(-1, world.n_concepts), np.repeat(np.arange(len(world.c)), world.c.shape[1]))
    again, ess_again = tilt(once, world.reward.ravel(), base_weight=world.base.ravel())
    np.testing.assert_allclose(again, shift, atol=1e-13)
    np.testing.assert_allclose(ess_again, ess, rtol=1e-12)
    # and to first order every reward moves concepts by its covariance with them
    np.testing.assert_allclose(
        covariance_with(rollouts, reward_of) / UNBIASED, world.covariance(world.reward), atol=1e-13
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_converged_and_tilt_are_the_dpo_optimum(seed: int) -> None:
    """Off-policy pairs, trained to the optimum of a log-linear policy: the tilt by the fitted reward is that policy."""
    world, probability = foreign_world(seed)
    w = world.dpo_optimum(probability)
    true = world.shift(world.tilted(world.c @ w))
    one = ladder(world, probability, 400).predict()
    np.testing.assert_allclose(one.w, w, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(one.shift["tilt"], true, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(one.shift["converged"] * 399 / 400, world.covariance() @ w, rtol=2e-3, atol=2e-4)


def test_off_policy_the_mean_is_beaten_by_the_covariance_times_the_weights() -> None:
    scores = {"mean": [], "converged": [], "tilt": []}
    for seed in range(12):
        world, probability = foreign_world(seed)
        true = world.shift(world.tilted(world.c @ world.dpo_optimum(probability)))
        shift = ladder(world, probability, 400).predict().shift
        for name, found in scores.items():
            found.append(r_squared(shift[name], true))
    mean = {name: float(np.mean(found)) for name, found in scores.items()}
    assert mean["tilt"] > 0.999
    assert mean["converged"] > 0.9
    assert mean["mean"] < mean["converged"] - 0.1
    assert np.mean(np.array(scores["mean"]) < np.array(scores["converged"])) >= 0.75


def test_the_weights_alone_miss_passive_movers() -> None:
    """Concept 0 is rewarded, concept 1 only goes along with it: w is 0 for it, and it moves all the same."""
    c = np.tile(((np.arange(8)[:, None] >> np.arange(3)) & 1).astype(float), (4, 1, 1))
    base = np.tile(np.array([4.0, 1, 2, 5, 4, 1, 2, 5]) / COPIES, (4, 1))  # 2 is independent of the others
    world = World(c, base, c[..., 0] * 1.0)
    probability = world.base[:, :, None] * world.base[:, None, :] * 2 * world.bradley_terry()
    one = ladder(world, probability).predict()
    np.testing.assert_allclose(one.w, [1, 0, 0], atol=1e-4)
    true = world.shift(world.tilted(world.reward))
    assert true[1] > 0.45 * true[0] > 0.05 > 1e9 * abs(true[2])
    for rung in ("mean", "converged", "tilt"):
        assert r_squared(one.shift[rung], true) > 0.99


def test_a_rewarded_length_brings_concepts_along() -> None:
    """The reward is length alone. Rollouts that carry the lengths let its covariance with the concepts count."""
    rng = np.random.default_rng(4)
    length = rng.normal(0, 1, (30, 10))
    c = np.stack([length + 0.3 * rng.normal(0, 1, (30, 10)), rng.normal(0, 1, (30, 10))], axis=2)
    world = World(c, np.full((30, 10), 0.1), 0.5 * length)
    wins = world.bradley_terry()
    probability = world.base[:, :, None] * world.base[:, None, :] * 2 * wins
    gap = (length[:, :, None] - length[:, None, :]).reshape(-1, 1)
    pairs = replace(world.all_pairs(probability), nuisance=gap)
    model = BradleyTerry(pairs)
    rollouts = Rollouts.of(c.reshape(-1, 2), np.repeat(np.arange(30), 10), nuisance=length.reshape(-1, 1))
    preference = fit_preference(model, [1e-6])
    np.testing.assert_allclose(preference.w, 0, atol=1e-3)
    np.testing.assert_allclose(preference.nuisance, [0.5], rtol=1e-3)
    one = Ladder(model, preference, from_rollouts(rollouts), rollouts).predict()
    blind = Ladder(model, preference, from_rollouts(rollouts)).predict()
    assert one.shift["converged"][0] == pytest.approx(world.covariance(world.reward)[0] * 10 / 9, rel=1e-2)
    np.testing.assert_allclose(one.shift["tilt"], world.shift(world.tilted(world.reward)), atol=2e-3)
    assert abs(blind.shift["converged"][0]) < 1e-3
