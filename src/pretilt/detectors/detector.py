"""A detector: one score for every token of a response. Two forms: a direction with an offset, and causal attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

KINDS = ("difference", "linear", "attention", "subspace")


def running_attention(key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """float64 [L]: the softmax-weighted mean of the values up to each token, of key scores and values [L].

    Values are moved above 0 first, so that their logarithms exist, and back afterwards: a weighted mean moves along.
    """
    lowest = value.min(initial=np.inf) - 1.0
    weighted = np.logaddexp.accumulate(key + np.log(value - lowest))
    return np.asarray(np.exp(weighted - np.logaddexp.accumulate(key)) + lowest)


@dataclass(frozen=True)
class Detector:
    """`kind` is one of KINDS.

    All but attention: the score of a token is h · weight + bias. Attention: h · weight is the value of a token and
    h · query + slope · its position in the response its score as a key; the token's score is the softmax-weighted mean
    of the values up to it, plus bias.
    `extra` holds what a kind keeps beside that: of subspace W1 [rank, d_model], b [rank] and W2 [d_model, rank].
    """

    kind: str
    weight: np.ndarray  # float32 [d_model]
    bias: float
    query: np.ndarray | None = None  # float32 [d_model], of attention
    slope: float = 0.0  # of attention, >= 0: how much more a token weighs than the one before it, as a logarithm
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    def scores(self, h: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """float32 [T] of the residual stream float32 [T, d_model] of responses that begin at `starts` [N + 1]."""
        value = (h @ self.weight).astype(np.float64)
        if self.query is None:
            return np.asarray(value + self.bias, np.float32)

        sizes = np.diff(starts)
        position = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
        key = (h @ self.query).astype(np.float64) + self.slope * position
        parts = [running_attention(key[a:b], value[a:b]) for a, b in pairwise(starts)]
        return np.asarray(np.concatenate([*parts, np.zeros(0)]) + self.bias, np.float32)

    @property
    def direction(self) -> np.ndarray:
        """float32 [d_model] of unit norm, towards more of the trait: what a steered model is pushed along."""
        towards = self.extra.get("edit", self.weight).astype(np.float64)
        return np.asarray(towards / max(float(np.linalg.norm(towards)), 1e-30), np.float32)
