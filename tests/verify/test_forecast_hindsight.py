"""The law with the trained model's own reward, by hand and where it must fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtr

from pretilt.forecast.samples import Rollouts
from pretilt.verify.hindsight import hindsight
from pretilt.verify.observed import realised


def test_by_hand() -> None:
    """Prompt 0: scores 0, 1 and log-ratios 0, 2 covary by 1. Prompt 1: both scores 1, by 0. 2 has one answer, 3 no
    answer after training: neither counts, however wild."""
    before = Rollouts.of(np.array([[0.0], [1], [1], [1], [5], [0], [9]]), np.array([0, 0, 1, 1, 2, 3, 3]))
    after = Rollouts.of(np.array([[1.0], [1], [1]]), np.array([0, 1, 2]))
    found = hindsight(before, np.array([0.0, 2, 0, 7, 50, -90, 90]), realised(before, after))
    assert found["first_order"].predicted.tolist() == [0.5]
    # weights 1 and e² on scores 0 and 1, less their mean; averaged with the 0 of prompt 1
    assert found["tilt"].predicted.tolist() == [pytest.approx((math.exp(2) / (1 + math.exp(2)) - 0.5) / 2)]
    for evidence in found.values():
        assert evidence.observed.tolist() == [pytest.approx((0.5 + 0 - 4) / 3)]


def test_a_reward_that_no_concept_holds_is_seen_all_the_same() -> None:
    """The model is rewarded for something beside the concepts (here hidden); the log-ratio knows it."""
    rng = np.random.default_rng(0)
    n_prompts, per_prompt, strength = 300, 40, 0.3
    hidden = rng.normal(size=(n_prompts, per_prompt))
    loading = np.array([1.0, -1, 0.5, 0, 2, -0.3])
    scores = hidden[..., None] * loading + rng.normal(size=(n_prompts, per_prompt, 6))
    moved = scores + strength * loading  # exp(strength x hidden) shifts a standard normal by strength
    prompt = np.repeat(np.arange(n_prompts), per_prompt)
    before, after = (Rollouts.of(c.reshape(-1, 6), prompt) for c in (scores, moved))
    found = hindsight(before, strength * hidden.ravel(), realised(before, after))
    for evidence in found.values():
        assert np.allclose(evidence.predicted, strength * loading, atol=0.025)
        assert evidence.figure().r2 > 0.99 and evidence.figure().rel_x > 0.99


def test_far_away_only_the_tilt_is_right() -> None:
    """One concept is a step of the rewarded quantity, the other a step further out: a first order cannot tell that
    strong training fills the outer one too."""
    rng = np.random.default_rng(2)
    n_prompts, per_prompt, strength = 400, 200, 2.0
    hidden = rng.normal(size=(n_prompts, per_prompt))
    steps = np.array([-1.5, 0.5, 1.5])

    def scores(values: np.ndarray) -> np.ndarray:
        return (values[..., None] > steps).astype(float)

    prompt = np.repeat(np.arange(n_prompts), per_prompt)
    before, after = (Rollouts.of(scores(x).reshape(-1, 3), prompt) for x in (hidden, hidden + strength))
    found = hindsight(before, strength * hidden.ravel(), realised(before, after))
    truth = ndtr(strength - steps) - ndtr(-steps)
    assert np.allclose(found["tilt"].predicted, truth, atol=0.06)  # 200 answers reach only so far
    first = found["first_order"].predicted  # strength times a normal density: far out little, though much moves there
    assert np.allclose(first, strength * np.exp(-(steps**2) / 2) / math.sqrt(2 * math.pi), atol=0.03)
    assert found["tilt"].figure().r2 > found["first_order"].figure().r2 + 0.1


def test_noise_has_no_ceiling() -> None:
    rng = np.random.default_rng(1)
    prompt = np.repeat(np.arange(60), 2)
    before, after = (Rollouts.of(rng.normal(size=(120, 40)), prompt) for _ in range(2))
    assert hindsight(before, rng.normal(size=120), realised(before, after))["first_order"].figure().rel_x < 0.5


@pytest.mark.parametrize(("prompts", "said"), [([0, 1, 2], "no prompt has two answers"), ([0, 0], "two units")])
def test_too_little_is_refused(prompts: list[int], said: str) -> None:
    one = Rollouts.of(np.ones((len(prompts), 1)), np.array(prompts))
    with pytest.raises(ValueError, match=said):
        hindsight(one, np.zeros(len(prompts)), realised(one, one))
