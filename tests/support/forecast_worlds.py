"""Worlds small enough to be enumerated: every response to every prompt, its probability, concepts and reward.

All expectations are exact sums, written without any of the estimators that are tested against them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from pretilt.forecast.samples import PairDeltas, Rollouts

COPIES = 24  # probabilities are multiples of 1 / COPIES, so that rollouts can enumerate them


@dataclass(frozen=True)
class World:
    c: np.ndarray  # [J, A, M] concepts of every outcome
    base: np.ndarray  # [J, A] probabilities under the untrained model
    reward: np.ndarray  # [J, A]

    @property
    def n_concepts(self) -> int:
        return self.c.shape[2]

    def tilted(self, reward: np.ndarray) -> np.ndarray:
        """[J, A] proportional to base · exp(reward)."""
        weight = self.base * np.exp(reward - reward.max(axis=1, keepdims=True))
        return weight / weight.sum(axis=1, keepdims=True)

    def shift(self, policy: np.ndarray) -> np.ndarray:
        """[M] E[c] under a policy minus E[c] under the base, prompts counting alike."""
        return np.einsum("ja,jam->m", policy - self.base, self.c) / len(self.c)

    def covariance(self, other: np.ndarray | None = None) -> np.ndarray:
        """Within-prompt covariance under the base: [M, M], or [M] with another quantity [J, A]."""
        mean = np.einsum("ja,jam->jm", self.base, self.c)
        if other is None:
            second = np.einsum("ja,jam,jan->mn", self.base, self.c, self.c)
            return (second - mean.T @ mean) / len(self.c)
        return (np.einsum("ja,jam,ja->m", self.base, self.c, other) - mean.T @ (self.base * other).sum(1)) / len(self.c)

    def all_pairs(self, probability: np.ndarray) -> PairDeltas:
        """Every ordered (chosen, rejected), weighted: probability [J, A, A] of the pair at its prompt."""
        u = self.c[:, :, None, :] - self.c[:, None, :, :]
        prompt = np.broadcast_to(np.arange(len(self.c))[:, None, None], probability.shape)
        return PairDeltas.of(u.reshape(-1, self.n_concepts), prompt.ravel(), weight=probability.ravel())

    def labelled(self, wins: np.ndarray, drawn: np.ndarray | None = None) -> PairDeltas:
        """Two draws of one policy, labelled: wins [J, A, A] = P(first is chosen), 1 - wins where they change places."""
        q = self.base if drawn is None else drawn
        return self.all_pairs(q[:, :, None] * q[:, None, :] * 2 * wins)

    def bradley_terry(self) -> np.ndarray:
        return 1 / (1 + np.exp(-(self.reward[:, :, None] - self.reward[:, None, :])))

    def hard_labels(self) -> np.ndarray:
        gap = self.reward[:, :, None] - self.reward[:, None, :]
        return (gap > 0) + 0.5 * (gap == 0)

    def enumerated(self, copies: int = COPIES) -> Rollouts:
        """Rollouts in which every outcome stands as often as its probability says, `copies` per prompt."""
        counts = np.rint(self.base * copies).astype(int)
        np.testing.assert_allclose(counts, self.base * copies, atol=1e-9)
        return Rollouts.of(
            np.concatenate([np.repeat(self.c[j], counts[j], axis=0) for j in range(len(self.c))]),
            np.repeat(np.arange(len(self.c)), counts.sum(axis=1)),
        )

    def sampled(self, rng: np.random.Generator, per_prompt: int, policy: np.ndarray | None = None) -> Rollouts:
        q = self.base if policy is None else policy
        drawn = np.stack([rng.choice(q.shape[1], per_prompt, p=row) for row in q])
        c = self.c[np.arange(len(q))[:, None], drawn]
        return Rollouts.of(c.reshape(-1, self.n_concepts), np.repeat(np.arange(len(q)), per_prompt))

    def dpo_loss(self, theta: np.ndarray, pairs_probability: np.ndarray) -> float:
        """Population DPO loss (beta = 1) of the policy base · exp(theta'c) / Z."""
        push = self.c @ theta
        log_ratio = push - np.log((self.base * np.exp(push)).sum(axis=1, keepdims=True))
        margin = log_ratio[:, :, None] - log_ratio[:, None, :]
        return float((pairs_probability * np.logaddexp(0, -margin)).sum() / pairs_probability.sum())

    def dpo_gradient(self, theta: np.ndarray, pairs_probability: np.ndarray, h: float = 1e-5) -> np.ndarray:
        """By central differences of the loss."""
        step = h * np.eye(theta.size)
        return np.array(
            [(self.dpo_loss(theta + e, pairs_probability) - self.dpo_loss(theta - e, pairs_probability)) for e in step]
        ) / (2 * h)

    def dpo_optimum(self, pairs_probability: np.ndarray) -> np.ndarray:
        found = minimize(
            lambda t: self.dpo_loss(t, pairs_probability), np.zeros(self.n_concepts), method="BFGS", tol=1e-9
        )
        return np.asarray(found.x)


def make_world(seed: int, n_prompts: int = 6, n_outcomes: int = 6, n_concepts: int = 4, scale: float = 1.0) -> World:
    """Random binary concepts with topics, random base, and a reward that is not linear in the concepts."""
    rng = np.random.default_rng(seed)
    topic = rng.random((n_prompts, 1, n_concepts))
    c = (rng.random((n_prompts, n_outcomes, n_concepts)) < topic * 0.8 + 0.1).astype(float)
    c[..., 0] = np.maximum(c[..., 0], c[..., 1] * (rng.random(c.shape[:2]) < 0.5))  # two concepts that go together
    reward = scale * (c @ rng.normal(0, 1, n_concepts) + 0.7 * rng.normal(0, 1, c.shape[:2]))
    return World(c, random_base(rng, n_prompts, n_outcomes), reward)


def random_base(rng: np.random.Generator, n_prompts: int, n_outcomes: int) -> np.ndarray:
    """[J, A] positive multiples of 1 / COPIES that sum to 1."""
    cuts = [np.sort(rng.choice(np.arange(1, COPIES), n_outcomes - 1, replace=False)) for _ in range(n_prompts)]
    return np.stack([np.diff(np.concatenate([[0], cut, [COPIES]])) for cut in cuts]) / COPIES


def foreign_world(seed: int, n_concepts: int = 5, n_prompts: int = 8) -> tuple[World, np.ndarray]:
    """(world of 1 / 400 probabilities, pair probabilities): both responses of every pair by another model family.

    Outcomes are all combinations of concepts. Base and generators differ in how often they express each, and in which
    go together (random couplings); the base hardly ever expresses the last one. Chosen and rejected are the generators'
    responses tilted either way along hidden weights: pairs that delta learning makes.
    """
    rng = np.random.default_rng(seed)
    c = ((np.arange(2**n_concepts)[:, None] >> np.arange(n_concepts)) & 1).astype(float)
    c = np.broadcast_to(c, (n_prompts, *c.shape))

    def family(taste: np.ndarray) -> np.ndarray:
        coupling = np.triu(rng.normal(0, 1.5, (n_concepts, n_concepts)), 1)
        energy = c @ taste + np.einsum("jam,mn,jan->ja", c, coupling, c)
        energy = energy - c @ coupling.sum(axis=0) / 2 - c @ coupling.sum(axis=1) / 2
        energy = energy + np.einsum("jam,jm->ja", c, rng.normal(0, 0.4, (n_prompts, n_concepts)))
        weight = np.exp(energy - energy.max(axis=1, keepdims=True))
        return weight / weight.sum(axis=1, keepdims=True)

    rare = np.zeros(n_concepts)
    rare[-1] = -6.0
    base, generators = family(rng.normal(0, 0.5, n_concepts) + rare), family(rng.normal(0, 0.5, n_concepts))
    counts = np.floor(base * 400)
    counts[np.arange(n_prompts), base.argmax(axis=1)] += 400 - counts.sum(axis=1)
    push = 0.5 * c @ rng.normal(0, 1, n_concepts)
    foreign = World(c, generators, push)
    plus, minus = foreign.tilted(push), foreign.tilted(-push)
    return World(c, counts / 400, push), plus[:, :, None] * minus[:, None, :]


def r_squared(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1] ** 2)
