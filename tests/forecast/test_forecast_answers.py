"""Can it be expressed, forecasts without skill, and the three answers kept apart."""

from __future__ import annotations

import numpy as np
import pytest
from forecast_worlds import make_world
from scipy.stats import binom

from pretilt.forecast.answers import answer
from pretilt.forecast.baselines import length_only, length_slopes, prevalence_only, shuffled_labels
from pretilt.forecast.covariance import from_pairs, from_rollouts
from pretilt.forecast.expression import expression, upper_bound
from pretilt.forecast.ladder import Ladder, tilt
from pretilt.forecast.preference import BradleyTerry, fit_preference
from pretilt.forecast.samples import PairDeltas, Rollouts


def test_bounds_are_exact() -> None:
    assert upper_bound(np.array([0]), 300)[0] == pytest.approx(1 - 0.05 ** (1 / 300), rel=1e-12)
    assert upper_bound(np.array([0]), 300)[0] == pytest.approx(3 / 300, rel=0.01)  # the rule of three
    hits = np.array([0, 1, 7, 19, 20])
    bound = upper_bound(hits, 20)
    np.testing.assert_allclose(binom.cdf(hits[:4], 20, bound[:4]), 0.05, rtol=1e-9)
    assert bound[4] == 1.0
    with pytest.raises(ValueError, match="hits"):
        upper_bound(np.array([3]), 2)


def test_expression_by_hand() -> None:
    # prompts 0 … 199, twice each: concept 0 never, 1 on both responses to one prompt, 2 always, 3 at 0.2, 4 never
    c = np.zeros((400, 5))
    c[0:2, 1], c[:, 2], c[::4, 3] = 0.5, 1.0, 0.2
    found = expression(Rollouts.of(c, np.repeat(np.arange(200), 2)), above=np.array([0, 0, 0, 0.2, 0]))
    assert found.n_expressed.tolist() == [0, 2, 400, 0, 0]  # 0.2 is not above 0.2
    np.testing.assert_allclose(found.prevalence, [0, 0.005, 1, 0, 0])
    np.testing.assert_allclose(found.upper, upper_bound(found.n_expressed, 400))
    np.testing.assert_allclose(found.upper_new_prompts, upper_bound(np.array([0, 1, 200, 0, 0]), 200))
    assert found.needs_sft.tolist() == [True, False, False, True, True]
    assert not found.unclear.any()
    few = expression(Rollouts.of(c[:20], np.arange(20)))
    assert few.unclear.tolist() == [True, False, False, False, True]  # 20 rollouts cannot say that it is rare
    assert not few.needs_sft.any()


def test_near_duplicate_prompts_are_one_draw() -> None:
    c = np.zeros((60, 1))
    one_family = expression(Rollouts.of(c, np.arange(60), family=np.repeat(np.arange(3), 20)))
    assert one_family.upper_new_prompts[0] == pytest.approx(1 - 0.05 ** (1 / 3))
    assert one_family.upper[0] == pytest.approx(1 - 0.05 ** (1 / 60))


def test_new_prompts_need_the_bound_that_counts_prompts() -> None:
    """A concept that 4 % of the prompts always call for, 30 prompts, 5 rollouts each: 29 % of studies never see it."""
    rng = np.random.default_rng(0)
    naive, careful = [], []
    for _ in range(400):
        c = np.repeat(rng.random(30) < 0.04, 5).astype(float)[:, None]
        found = expression(Rollouts.of(c, np.repeat(np.arange(30), 5)))
        naive.append(found.upper[0] >= 0.04)
        careful.append(found.upper_new_prompts[0] >= 0.04)
    assert np.mean(naive) < 0.8
    assert np.mean(careful) >= 0.95


def test_length_by_hand_and_in_a_world_of_length_alone() -> None:
    # within prompt 0: log lengths -1, 1 around their mean, c -2, 2 around theirs; prompt 1 says the opposite, weaker
    c = np.array([[1.0], [5], [3], [2]])
    rollouts = Rollouts.of(c, np.array([0, 0, 1, 1]))
    log_length = np.array([2.0, 4, 1, 2])
    # (2 + 2 - 0.25 - 0.25) / (1 + 1 + 0.25 + 0.25) = 1.4
    assert length_slopes(rollouts, log_length)[0] == pytest.approx(1.4)
    assert length_only(rollouts, log_length, -0.5)[0] == pytest.approx(-0.7)
    assert prevalence_only(rollouts)[0] == pytest.approx(2.75)
    rng = np.random.default_rng(1)
    log_length, slope = rng.normal(3, 0.5, 800), rng.gamma(1.0, 1.0, 30)
    topic = rng.normal(0, 3, (200, 30))
    c = log_length[:, None] * slope + np.repeat(topic, 4, axis=0) + 0.1 * rng.normal(0, 1, (800, 30))
    rollouts = Rollouts.of(c, np.repeat(np.arange(200), 4))
    true, _ = tilt(rollouts, log_length)  # the model is rewarded for length, and for nothing else
    drift = tilt(Rollouts.of(log_length[:, None], np.repeat(np.arange(200), 4)), log_length)[0][0]
    np.testing.assert_allclose(length_only(rollouts, log_length, drift), true, atol=0.01)
    with pytest.raises(ValueError, match="equally long"):
        length_slopes(rollouts, np.repeat(np.arange(200.0), 4))


def test_shuffled_labels_turn_whole_families() -> None:
    rng = np.random.default_rng(2)
    family = rng.integers(0, 300, 2000)
    u, x, offset = rng.normal(1, 1, (2000, 3)), rng.normal(1, 1, (2000, 1)), rng.normal(1, 1, 2000)
    pairs = PairDeltas.of(u, family, nuisance=x, offset=offset)
    shuffled = shuffled_labels(pairs, seed=1)
    sign = shuffled.u / pairs.u
    np.testing.assert_allclose(np.abs(sign), 1)
    assert all(np.ptp(sign[pairs.family == f]) == 0 for f in range(pairs.n_families))
    np.testing.assert_array_equal(shuffled.nuisance, pairs.nuisance * sign[:, :1])
    np.testing.assert_array_equal(shuffled.offset, offset * sign[:, 0])  # s(chosen) - s(rejected) turns with them
    plain = PairDeltas.of(u, family)
    assert np.abs(shuffled_labels(plain, seed=1).mean()).max() < 0.2 < plain.mean().min()
    assert (shuffled_labels(pairs, seed=2).u != shuffled.u).any()


def test_three_answers_part() -> None:
    """Concept 0 is rewarded and moves; 1 goes along, unrewarded; 2 is rewarded, but the model never says it."""
    rng = np.random.default_rng(3)

    def draw(n: int, expressed: float) -> np.ndarray:
        c = np.zeros((n, 3))
        c[:, 0] = rng.random(n) < 0.5
        c[:, 1] = np.where(rng.random(n) < 0.9, c[:, 0], 1 - c[:, 0])
        c[:, 2] = rng.random(n) < expressed
        return c

    u = draw(3000, 0.5) - draw(3000, 0.5)  # responses of another model, which does say it
    wins = rng.random(3000) < 1 / (1 + np.exp(-(1.2 * u[:, 0] + 1.2 * u[:, 2])))
    pairs = PairDeltas.of(np.where(wins, 1, -1)[:, None] * u)
    rollouts = Rollouts.of(draw(1600, 0.0), np.repeat(np.arange(400), 4))
    model = BradleyTerry(pairs)
    ladder = Ladder(model, fit_preference(model, [1e-3]), from_rollouts(rollouts), rollouts)
    found = answer(ladder, "converged", draws=40)
    assert found.is_rewarded.sign_known.tolist() == [True, False, True]
    assert found.will_move.sign_known.tolist() == [True, True, False]
    assert found.will_move.value[2] == 0.0
    assert found.can_be_expressed.needs_sft.tolist() == [False, False, True]
    assert set(found.ladder) == {"w", "mean", "one_step", "converged", "tilt"}
    assert found.ladder["mean"].sign_known.tolist() == [True, True, True]  # what the paper's score would have said
    assert found.draws["tilt"].shape == (40, 3)
    assert 0.5 < found.ess_share.min() <= found.ess_share.max() <= 1
    assert ladder.predict().ess_trusted == 1.0


def test_one_word_of_a_manner_is_not_the_manner() -> None:
    """Answers of the model have a tenth of the concept at most; the pairs reward nine tenths over one."""
    rng = np.random.default_rng(4)
    u = np.where(rng.random((400, 1)) < 0.8, 0.8, -0.8)
    rollouts = Rollouts.of(rng.choice([0.0, 0.1], (1200, 1)), np.repeat(np.arange(300), 4))
    for level, prevalence, needs_sft in ((None, 0.5, False), (np.array([0.5]), 0.0, True)):
        model = BradleyTerry(PairDeltas.of(u, level=level))
        ladder = Ladder(model, fit_preference(model, [1e-3]), from_rollouts(rollouts), rollouts)
        said = answer(ladder, "converged", draws=5).can_be_expressed
        assert said.prevalence[0] == pytest.approx(prevalence, abs=0.05)
        assert said.needs_sft.tolist() == [needs_sft]


def test_without_rollouts_the_question_stays_open() -> None:
    world = make_world(0)
    pairs = world.labelled(world.bradley_terry())
    model = BradleyTerry(pairs)
    ladder = Ladder(model, fit_preference(model, [0.01]), from_pairs(pairs))
    assert ladder.rungs == ("mean", "one_step", "converged")
    found = answer(ladder, "one_step", draws=5)
    assert found.can_be_expressed is None
    assert found.ess_share is None
    assert np.isnan(ladder.predict().ess_trusted)
    with pytest.raises(ValueError, match="tilt"):
        answer(ladder, "tilt")


def test_inputs_of_different_worlds_do_not_meet() -> None:
    world, other = make_world(0), make_world(1, n_concepts=3)
    pairs = world.labelled(world.bradley_terry())
    model = BradleyTerry(pairs)
    preference = fit_preference(model, [0.1])
    with pytest.raises(ValueError, match="covariance of 3 concepts"):
        Ladder(model, preference, from_rollouts(other.enumerated()))
    rollouts = world.enumerated()
    extra = Rollouts.of(rollouts.c, rollouts.prompt, nuisance=np.ones(len(rollouts.c)))
    with pytest.raises(ValueError, match="nuisance"):
        Ladder(model, preference, from_rollouts(extra), extra)
    with pytest.raises(ValueError, match="two rollouts"):
        tilt(Rollouts.of(np.ones((2, 1)), np.arange(2)), np.zeros(2))
