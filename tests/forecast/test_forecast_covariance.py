"""Covariance within prompts: by hand, against loops, where topics mislead, and shrunk without inventing movement."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt.forecast.covariance import from_pairs, from_rollouts, shrinkage_intensity
from pretilt.forecast.samples import PairDeltas, Rollouts


def random_rollouts(seed: int, n_prompts: int = 30, n_concepts: int = 5, ragged: bool = True, family=None) -> Rollouts:
    rng = np.random.default_rng(seed)
    per_prompt = rng.integers(1, 6, n_prompts) if ragged else np.full(n_prompts, 4)
    prompt = np.repeat(np.arange(n_prompts) * 7, per_prompt)
    order = rng.permutation(prompt.size)
    c = rng.normal(0, 1, (prompt.size, n_concepts)) + 0.5 * rng.normal(0, 1, (prompt.size, 1))
    c += rng.normal(0, 2, (n_prompts, n_concepts))[prompt // 7]
    of = None if family is None else family[prompt // 7][order]
    return Rollouts.of(c[order], prompt[order], family=of)


def by_loops(c: np.ndarray, prompt: np.ndarray) -> list[np.ndarray]:
    """The covariance of each prompt with at least two rollouts."""
    return [np.cov(c[prompt == j].T, ddof=1) for j in np.unique(prompt) if (prompt == j).sum() > 1]


def test_by_hand_with_prompts_of_different_size() -> None:
    # prompt 5: (0, 1), (2, 3) → cov [[2, 2], [2, 2]]; prompt 9: (1, 0), (1, 0), (4, 3) → [[3, 3], [3, 3]]; 7 is alone
    c = np.array([[1.0, 0], [0, 1], [9, 9], [1, 0], [2, 3], [4, 3]])
    base = from_rollouts(Rollouts.of(c, np.array([9, 5, 7, 9, 5, 9])), 0.0)
    np.testing.assert_allclose(base.matrix(), np.full((2, 2), 2.5), rtol=1e-15)
    np.testing.assert_allclose(base.times(np.array([1.0, -2])), [-2.5, -2.5], rtol=1e-15)
    np.testing.assert_allclose(base.variances(), [2.5, 2.5], rtol=1e-15)
    # the prompt of 2 rollouts twice, the other not at all
    np.testing.assert_allclose(base.times(np.array([1.0, 0]), np.array([2.0, 5, 0])), [2, 2], rtol=1e-15)
    pairs = PairDeltas.of(np.array([[1.0, 1], [1, 0], [2, 0]]))
    np.testing.assert_allclose(from_pairs(pairs, 0.0).matrix(), [[1, 1 / 6], [1 / 6, 1 / 6]], rtol=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_and_its_products_the_matrix(seed: int) -> None:
    rollouts = random_rollouts(seed)
    matrices = by_loops(rollouts.c, rollouts.prompt)
    base = from_rollouts(rollouts, 0.0)
    np.testing.assert_allclose(base.matrix(), np.mean(matrices, axis=0), atol=1e-13)
    rng = np.random.default_rng(seed)
    v, weight = rng.normal(0, 1, 5), rng.poisson(1.0, rollouts.n_prompts).astype(float)
    kept = weight[rollouts.per_prompt > 1]
    expected = np.tensordot(kept, matrices, 1) / kept.sum()
    np.testing.assert_allclose(base.times(v, weight), expected @ v, atol=1e-12)
    shrunk = from_rollouts(rollouts, 0.3)
    target = 0.7 * expected + 0.3 * np.diag(np.diag(expected))
    np.testing.assert_allclose(shrunk.times(v, weight), target @ v, atol=1e-12)
    np.testing.assert_allclose(shrunk.matrix() @ v, shrunk.times(v), atol=1e-12)


def test_pooling_over_prompts_would_be_wrong() -> None:
    """Topics carry both concepts together; within a prompt the model says either the one or the other."""
    rng = np.random.default_rng(0)
    topic = rng.normal(0, 3, (400, 1, 1))
    one = rng.choice([-1.0, 1.0], (400, 4, 1))
    c = (topic + np.concatenate([one, -one], axis=2)).reshape(-1, 2)
    base = from_rollouts(Rollouts.of(c, np.repeat(np.arange(400), 4))).matrix()
    np.testing.assert_allclose(base, [[1, -1], [-1, 1]], atol=0.08)
    assert np.cov(c.T)[0, 1] > 5  # pooled: of the other sign, and large


def test_on_policy_pairs_are_not_centred() -> None:
    """Labels shift the mean of u; the second moment of two draws does not know about labels."""
    rng = np.random.default_rng(1)
    u = rng.normal(0, 1, (4000, 2)) @ np.array([[1.0, 0.5], [0, 1]])
    labelled = u * np.sign(u @ [1.0, 1.0])[:, None]
    plain, with_labels = (from_pairs(PairDeltas.of(x), 0.0).matrix() for x in (u, labelled))
    np.testing.assert_allclose(plain, with_labels, atol=1e-13)
    assert abs(np.cov(labelled.T)[0, 0] / 2 - plain[0, 0]) > 0.2


@pytest.mark.parametrize("families", [False, True])
def test_the_intensity_is_that_of_its_definition(families: bool) -> None:
    """lambda = estimate of E|R - true|² over |R|², off the diagonal, over independent units."""
    family = np.array([0, 0, 0, 1, 2, 2, *range(3, 27)]) if families else None
    rollouts = random_rollouts(2, family=family)
    base = from_rollouts(rollouts, 0.0)
    unit = rollouts.unit[rollouts.per_prompt > 1]
    matrices = by_loops(rollouts.c, rollouts.prompt)
    root = np.sqrt(np.diag(np.mean(matrices, axis=0)))
    parts, share = [], []
    for g in np.unique(unit):
        mine = [m for m, of in zip(matrices, unit, strict=True) if of == g]
        part = np.sum(mine, axis=0) / np.outer(root, root) / len(matrices)
        parts.append(part - np.diag(np.diag(part)))
        share.append(len(mine) / len(matrices))
    q, signal = float(np.square(share).sum()), float(np.square(np.sum(parts, axis=0)).sum())
    expected = (sum(float((p**2).sum()) for p in parts) - signal * q) / (1 - q) / signal
    found = shrinkage_intensity(base.rows, base.scale, base.unit, base.unit_size)
    assert found == pytest.approx(min(max(expected, 0), 1), rel=1e-10)
    assert 0 < found < 1
    assert from_rollouts(rollouts, None).shrinkage == (found if len(base.rows) < 25 else 0.0)


def test_shrinkage_helps_where_concepts_are_many_and_ends_where_rollouts_are() -> None:
    rng = np.random.default_rng(3)
    mix = np.eye(60) + 0.6 * (rng.random((60, 60)) < 0.03)
    true = mix @ mix.T

    def draw(n_prompts: int) -> Rollouts:
        c = rng.normal(0, 1, (n_prompts * 2, 60)) @ mix.T
        return Rollouts.of(c, np.repeat(np.arange(n_prompts), 2))

    few = draw(60)
    plain, shrunk = from_rollouts(few, 0.0), from_rollouts(few)
    assert 0.2 < shrunk.shrinkage < 0.95
    errors = [np.square(base.matrix() - true).sum() for base in (plain, shrunk)]
    assert errors[1] < 0.7 * errors[0]
    many = draw(3000)
    assert from_rollouts(many).shrinkage == 0  # 5 rollouts per concept and more
    base = from_rollouts(many, 0.0)
    assert shrinkage_intensity(base.rows, base.scale, base.unit, base.unit_size) < 0.25


def test_a_concept_that_is_never_expressed_cannot_be_made_to_move() -> None:
    """A target of common variance would give it one. 0.1 thrice has a mean that is not quite 0.1: still no movement."""
    rng = np.random.default_rng(4)
    c = rng.normal(0, 1, (30, 20))
    c[:, 3], c[:, 4] = 0, 0.1
    base = from_rollouts(Rollouts.of(c, np.repeat(np.arange(10), 3)))
    assert base.shrinkage > 0
    moved = base.times(np.ones(20))
    assert moved[3] == moved[4] == 0
    assert (np.delete(moved, [3, 4]) != 0).all()


def test_copies_of_a_prompt_do_not_make_it_surer() -> None:
    """Ten copies of every rollout, kept together by their family: the same covariance and the same intensity."""
    rng = np.random.default_rng(5)
    c = rng.normal(0, 1, (40, 15))
    prompt = np.repeat(np.arange(20), 2)
    once = from_rollouts(Rollouts.of(c, prompt))
    copies = Rollouts.of(
        np.tile(c, (10, 1)), np.concatenate([prompt + 20 * k for k in range(10)]), family=np.tile(prompt, 10)
    )
    again = from_rollouts(copies)
    np.testing.assert_allclose(again.matrix()[0, 0], once.matrix()[0, 0], rtol=1e-12)
    intensity = [shrinkage_intensity(b.rows, b.scale, b.unit, b.unit_size) for b in (once, again)]
    assert intensity[1] == pytest.approx(intensity[0], rel=1e-9)


def test_what_is_refused() -> None:
    c = np.ones((3, 2))
    with pytest.raises(ValueError, match="at least two"):
        from_rollouts(Rollouts.of(c, np.arange(3)))
    with pytest.raises(ValueError, match="shrinkage"):
        from_rollouts(Rollouts.of(c, np.zeros(3)), 1.5)
    with pytest.raises(ValueError, match="finite"):
        Rollouts.of(np.array([[np.nan]]), np.array([0]))
    with pytest.raises(ValueError, match="one family"):
        Rollouts.of(c, np.zeros(3), family=np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="one prompt for each"):
        Rollouts.of(c, np.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        PairDeltas.of(np.array([[np.inf]]))
    with pytest.raises(ValueError, match="weights must be"):
        PairDeltas.of(c, weight=np.array([1.0, -1, 1]))
    with pytest.raises(ValueError, match="one family, weight and offset"):
        PairDeltas.of(c, np.zeros(2))
    base = from_rollouts(Rollouts.of(np.arange(6.0).reshape(3, 2), np.array([0, 0, 1])))
    with pytest.raises(ValueError, match="too few"):
        base.times(np.ones(2), np.array([0.0, 1.0]))  # only the prompt with a single rollout has weight
