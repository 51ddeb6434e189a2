"""The law with the trained model's own reward, by hand and where it must fail."""

from __future__ import annotations

import numpy as np
import pytest

from tiltmeter.forecast.hindsight import hindsight
from tiltmeter.forecast.observed import realised
from tiltmeter.forecast.samples import Rollouts


def test_by_hand() -> None:
    """Prompt 0: scores 0, 1 and log-ratios 0, 2 covary by 1. Prompt 1: both scores 1, by 0. 2 has one answer, 3 no
    answer after training: neither counts, however wild."""
    before = Rollouts.of(np.array([[0.0], [1], [1], [1], [5], [0], [9]]), np.array([0, 0, 1, 1, 2, 3, 3]))
    after = Rollouts.of(np.array([[1.0], [1], [1]]), np.array([0, 1, 2]))
    found = hindsight(before, np.array([0.0, 2, 0, 7, 50, -90, 90]), realised(before, after))
    assert found.predicted.tolist() == [0.5]
    assert found.observed.tolist() == [pytest.approx((0.5 + 0 - 4) / 3)]


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
    assert np.allclose(found.predicted, strength * loading, atol=0.02)
    assert found.figure().r2 > 0.99 and found.figure().rel_x > 0.99


def test_noise_has_no_ceiling() -> None:
    rng = np.random.default_rng(1)
    prompt = np.repeat(np.arange(60), 2)
    before, after = (Rollouts.of(rng.normal(size=(120, 40)), prompt) for _ in range(2))
    assert hindsight(before, rng.normal(size=120), realised(before, after)).figure().rel_x < 0.5


@pytest.mark.parametrize(("prompts", "said"), [([0, 1, 2], "no prompt has two answers"), ([0, 0], "two units")])
def test_too_little_is_refused(prompts: list[int], said: str) -> None:
    one = Rollouts.of(np.ones((len(prompts), 1)), np.array(prompts))
    with pytest.raises(ValueError, match=said):
        hindsight(one, np.zeros(len(prompts)), realised(one, one))
