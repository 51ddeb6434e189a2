"""What a detector is fitted to: the residual stream on the tokens of responses, with labels and families.

Pure NumPy. The families are cut into three parts: weights come from `train`, every choice (strength of the penalty,
threshold, which kind) from `validation`, every figure of the card from `heldout`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.errors import UserError

PARTS = ("train", "validation", "heldout")
SHARES = (0.6, 0.2, 0.2)  # of the families
LEAST_FAMILIES = 5


@dataclass(frozen=True)
class Examples:
    """N responses with T content tokens in all."""

    h: np.ndarray  # float32 [T, d_model], residual stream, the responses one after another
    starts: np.ndarray  # int64 [N + 1], response i holds the tokens starts[i] … starts[i + 1], one at least
    label: np.ndarray  # bool [N], the response has the trait
    family: np.ndarray  # int64 [N], the unit of independence
    pair: np.ndarray  # int64 [N], two responses to one prompt share a number
    token_label: np.ndarray | None = None  # bool [T], the trait stands on this token

    def __post_init__(self) -> None:
        n, n_tokens = len(self), len(self.h)
        sizes_fit = self.starts.size == n + 1 and self.starts[-1] == n_tokens and bool((np.diff(self.starts) > 0).all())
        if not sizes_fit or self.family.size != n or self.pair.size != n:
            raise ValueError(f"{n} labels, {n_tokens} tokens and starts {self.starts[-3:]} do not belong together")
        if self.token_label is not None and self.token_label.size != n_tokens:
            raise ValueError(f"{self.token_label.size} token labels for {n_tokens} tokens")

    def __len__(self) -> int:
        return int(self.label.size)

    @property
    def n_tokens(self) -> np.ndarray:
        """int64 [N]"""
        return np.diff(self.starts)

    def take(self, rows: np.ndarray) -> Examples:
        """The responses at these positions, in this order."""
        sizes = self.n_tokens[rows]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        tokens = np.repeat(self.starts[rows] - starts[:-1], sizes) + np.arange(starts[-1])
        of_tokens = None if self.token_label is None else self.token_label[tokens]
        return Examples(self.h[tokens], starts, self.label[rows], self.family[rows], self.pair[rows], of_tokens)

    def means(self) -> np.ndarray:
        """float64 [N, d_model]: the mean over the tokens of each response."""
        sums = np.add.reduceat(self.h, self.starts[:-1], axis=0, dtype=np.float64)
        return np.asarray(sums / self.n_tokens[:, None])

    def contrasts(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the responses with and without the trait, int64 [K] each, of pairs that hold one of each."""
        order = np.lexsort((~self.label, self.pair))
        first, second = order[:-1], order[1:]
        both = (self.pair[first] == self.pair[second]) & self.label[first] & ~self.label[second]
        return first[both], second[both]


def largest(scores: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """[N] the largest score of each response, of [T] scores of tokens."""
    return np.asarray(np.maximum.reduceat(scores, starts[:-1]))


def spread(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every dimension, float64 [d_model]; a constant dimension has deviation 1."""
    mean = h.mean(axis=0, dtype=np.float64)
    square = np.einsum("td,td->d", h, h, dtype=np.float64) / max(len(h), 1)
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return mean, np.where(deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6), deviation, 1.0)


def parts_of(family: np.ndarray, seed: int) -> np.ndarray:
    """int8 [N]: the position in PARTS of each response; a family lies in one part. Raises UserError for too few."""
    families, member = np.unique(family, return_inverse=True)
    if families.size < LEAST_FAMILIES:
        raise UserError(
            f"{families.size} families of examples are too few to fit a detector",
            why="it is fitted, chosen and judged on families that are not the same",
            fix=f"Give examples of {LEAST_FAMILIES} different prompts at least; some dozens make a usable detector",
        )

    n_heldout, n_validation = (max(1, round(share * families.size)) for share in SHARES[:0:-1])
    part = np.zeros(families.size, np.int8)
    order = np.random.default_rng(seed).permutation(families.size)
    part[order[:n_heldout]] = 2
    part[order[n_heldout : n_heldout + n_validation]] = 1
    return part[member]


def check_parts(label: np.ndarray, part: np.ndarray) -> None:
    """Raise UserError unless every part holds responses with the trait and without it."""
    for i, name in enumerate(PARTS):
        n_with, n_without = int(label[part == i].sum()), int((~label[part == i]).sum())
        if not n_with or not n_without:
            raise UserError(
                "the examples cannot be divided",
                why=f"the part '{name}' has {n_with} responses with the trait and {n_without} without it",
                fix="Give more examples of both sorts, to different prompts",
            )
