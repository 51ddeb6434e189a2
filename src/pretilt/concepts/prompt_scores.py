"""How much pairs are about a prompt concept and shift a response concept, and which pairs a prompt concept selects.

A concept is a list of features with a statistic q: "max" (X = act_max) or "freq" (X = fire_count / n_tokens). P is X of
the prompt, D is X of chosen - X of rejected. Pairs arrive in blocks, and scores leave by the block; nothing here grows
with pairs x features (arXiv 2606.12360, prompt-conditioned view; what is ours is marked). Sign: + = more in chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from pretilt.lens.blocks import PairBlock, Span

Statistic = Literal["max", "freq"]
STATISTICS: tuple[Statistic, ...] = ("max", "freq")

PAIRS_PER_TOP, SMALLEST_TOP, LARGEST_TOP = 1000, 40, 1000  # ours: the paper does not name its number of top pairs
_WAIT_FOR = 8  # times as many pairs wait as are kept before they are sifted


def span_values(span: Span, statistic: Statistic) -> csr_array:
    """X, CSR float64 [N, n_features] >= 0: the largest activation, or the share of the tokens that fire."""
    x = span.act_max if statistic == "max" else span.fire_count
    data = x.data.astype(np.float64)
    if statistic == "freq":
        data /= np.repeat(span.n_tokens, np.diff(x.indptr))
    return csr_array((data, x.indices, x.indptr), x.shape)


def pair_shift(block: PairBlock, statistic: Statistic) -> csr_array:
    """D, CSR float64 [N, n_features]. Swapping chosen and rejected flips every sign exactly; equal values leave 0."""
    return csr_array(span_values(block.chosen, statistic) - span_values(block.rejected, statistic))


def n_top(n_pairs: int) -> int:
    """Pairs that a prompt concept selects at most, ours: one in 1000, 40 to 1000."""
    return int(np.clip(n_pairs // PAIRS_PER_TOP, SMALLEST_TOP, LARGEST_TOP))


@dataclass(frozen=True)
class ConceptColumns:
    """Lists of features as a matrix to multiply by; made by `concept_columns`."""

    weight: csr_array  # float64 [n_features, n_concepts]: 1, or 1 / sigma, where the feature belongs to the concept
    size: np.ndarray  # int64 [n_concepts], t >= 1
    statistic: Statistic

    def __len__(self) -> int:
        return int(self.size.size)

    @cached_property
    def only(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Of every feature its only concept (n_concepts: none) and its weight there; None if one is in several."""
        of_feature = np.diff(self.weight.indptr)
        if of_feature.max(initial=0) > 1:
            return None
        concept, weight = np.full(of_feature.size, len(self), np.int32), np.zeros(of_feature.size)
        concept[of_feature > 0], weight[of_feature > 0] = self.weight.indices, self.weight.data
        return concept, weight

    def means(self, x: csr_array) -> np.ndarray:
        """Mean of the weighted values over each concept's features, float64 [N, n_concepts]; x CSR [N, n_features]."""
        if self.only is None:
            return (x @ self.weight).toarray() / self.size
        # Features renamed to their concepts: adding up what then lies in one place is the product, many times faster.
        concept, weight = self.only
        renamed = (x.data * weight[x.indices], concept[x.indices], x.indptr)
        return csr_array(renamed, shape=(x.shape[0], len(self) + 1)).toarray()[:, :-1] / self.size


def concept_columns(
    feature_ids: Sequence[np.ndarray], n_features: int, statistic: Statistic, sigma: np.ndarray | None = None
) -> ConceptColumns:
    """Columns for `prompt_scores`; with `sigma` (sd of D per feature, [n_features]) for the scores of responses.

    A feature may be in several concepts, or in none. Raises ValueError for a concept without features or with one
    twice, and for a feature out of range or of zero sigma.
    """
    size = np.array([len(ids) for ids in feature_ids], dtype=np.int64)
    rows = np.concatenate([np.asarray(ids, np.int64) for ids in feature_ids] or [np.empty(0, np.int64)])
    columns = np.repeat(np.arange(size.size), size)
    if (size < 1).any() or np.unique(rows * size.size + columns).size < rows.size:
        raise ValueError("a concept needs at least one feature, and each of them once")
    if rows.size and not 0 <= rows.min() <= rows.max() < n_features:
        raise ValueError(f"feature ids must be within 0 … {n_features - 1}")
    if sigma is not None and not (sigma[rows] > 0).all():
        raise ValueError("a feature that never shifts has no standardised shift: it belongs to no shift concept")
    weight = np.ones(rows.size) if sigma is None else 1.0 / sigma[rows]
    return ConceptColumns(csr_array((weight, (rows, columns)), shape=(n_features, size.size)), size, statistic)


def prompt_scores(prompt: Span, concepts: ConceptColumns, *, raw: bool = False) -> np.ndarray:
    """c[i, k], float32 [N, K] >= 0: the share of the concept's features that fire on the prompt, in [0, 1].

    `raw`: the mean of P over the concept's features instead.
    """
    x = span_values(prompt, concepts.statistic)
    if not raw:  # counts add up exactly, so that equal scores are equal to the last bit, and ties are ties
        x.data[:] = x.data > 0
    return concepts.means(x).astype(np.float32)


def single_response_scores(response: Span, concepts: ConceptColumns) -> np.ndarray:
    """c(y)[i, m] = mean over the concept's features of X_f(y) / sigma_f, float32 [N, M] >= 0, not centred.

    Reads one response alone, so that pairs and rollouts can meet. `concepts` from `concept_columns` with a sigma.
    """
    return _single(response, concepts).astype(np.float32)


def response_scores(block: PairBlock, concepts: ConceptColumns) -> np.ndarray:
    """u[i, m] = mean over the concept's features of D_f / sigma_f, float32 [N, M]: c(chosen) - c(rejected).

    Not centred, unlike the paper's (D - mean) / sigma: that differs by one constant per concept, which cancels in every
    difference of an inside and an outside mean, and would make the overall mean, which is a forecast, zero.
    """
    return (_single(block.chosen, concepts) - _single(block.rejected, concepts)).astype(np.float32)


def _single(response: Span, concepts: ConceptColumns) -> np.ndarray:
    return concepts.means(span_values(response, concepts.statistic))


@dataclass(frozen=True)
class TopPairs:
    """S(k) of every prompt concept: the pairs that are most about it."""

    rows: list[np.ndarray]  # int64, positions in the stream, the highest score first
    scores: list[np.ndarray]  # float32, their scores
    cutoff: np.ndarray  # float32 [K] > 0, the lowest score in S(k); infinity where S(k) is empty

    def passes(self, scores: np.ndarray) -> np.ndarray:
        """Which of any pairs, held-out ones too, score as high as S(k): bool [N, K] from their `prompt_scores`.

        Where scores tie at the cutoff, pairs pass that the limit on the number kept out of S(k).
        """
        return scores >= self.cutoff


def select_top(
    scores: Iterable[np.ndarray], pair_ids: Sequence[str], n_concepts: int, n: int | None = None
) -> TopPairs:
    """The `n` pairs (None: `n_top`) of highest score > 0 for every concept; among equals, the smaller pair_id.

    `scores` are the blocks of `prompt_scores`, float32 [n_block, K] >= 0, in the order of `pair_ids`, all different.
    A few blocks and [K, n] numbers are in memory at a time. Raises ValueError if the pairs do not meet, for a pair_id
    twice, and for a score that is negative or NaN.
    """
    selection = Selection(pair_ids, n_concepts, n)
    for block in scores:
        selection.add(block)
    return selection.finish()


class Selection:
    """`select_top` for whoever has several to make at a time: `add` the blocks, then `finish`."""

    def __init__(self, pair_ids: Sequence[str], n_concepts: int, n: int | None = None) -> None:
        by_id, self._alphabetical = np.unique(np.asarray(pair_ids, dtype=object), return_index=True)
        if by_id.size < len(pair_ids):
            raise ValueError("every pair_id may occur once: ties are broken by it")
        self._place = np.empty(by_id.size, np.uint64)
        # the smallest pair_id wins a tie
        self._place[self._alphabetical] = np.arange(by_id.size, 0, -1, dtype=np.uint64)
        self._width = n_top(by_id.size) if n is None else n
        self._best = np.zeros((n_concepts, self._width), np.uint64)
        self._waiting: list[np.ndarray] = []
        self._n_waiting, self._start = 0, 0

    def add(self, block: np.ndarray) -> None:
        """The next pairs' scores."""
        if not (block >= 0).all():
            raise ValueError("prompt scores must be numbers >= 0")
        places = self._place[self._start : self._start + len(block)]
        if len(places) < len(block):
            raise ValueError(f"there are more scores than the {self._place.size} pair ids")
        self._start += len(block)
        # One integer orders by score, then by place: a float32 >= 0 and its 32 bits sort alike (once -0 is made 0).
        bits = np.ascontiguousarray(block.T + np.float32(0), dtype=np.float32).view(np.uint32).astype(np.uint64)
        self._waiting.append(np.where(bits > 0, bits << np.uint64(32) | places, 0))
        self._n_waiting += len(block)
        if self._n_waiting >= _WAIT_FOR * self._width:
            self._sift()

    def finish(self) -> TopPairs:
        if self._start < self._place.size:
            raise ValueError(f"there are scores of {self._start} pairs, but {self._place.size} pair ids")
        self._sift()
        return _top_pairs(np.sort(self._best, axis=1)[:, ::-1], self._alphabetical)

    def _sift(self) -> None:
        keys = np.concatenate([self._best, *self._waiting], axis=1)
        self._best = np.partition(keys, -self._width, axis=1)[:, -self._width :]
        self._waiting, self._n_waiting = [], 0


def _top_pairs(best: np.ndarray, alphabetical: np.ndarray) -> TopPairs:
    """From keys [K, n], highest first, 0 where there are no more pairs."""
    rows = [alphabetical[alphabetical.size - (key[key > 0] & np.uint64(0xFFFFFFFF)).astype(np.int64)] for key in best]
    score = (best >> np.uint64(32)).astype(np.uint32).view(np.float32)
    score[best == 0] = np.inf
    scores = [row_scores[: pair_rows.size] for row_scores, pair_rows in zip(score, rows, strict=True)]
    return TopPairs(rows, scores, score.min(axis=1, initial=np.inf))
