"""Prompt concepts and response-shift concepts: features present on the same prompts, or shifting on the same pairs.

Twice over, for the statistics q = "max" (X = act_max) and "freq" (X = fire_count / n_tokens): P is X of the prompt, and
D = X of chosen - X of rejected. Features are embedded by an SVD of the standardised P or D, and clustered by k-means
(arXiv 2606.12360, prompt-conditioned view; what is ours is marked). Pairs arrive in blocks, several times over; what
stays in memory is a few numbers per feature and the sampled rows of P and D.
Sign: + = more in chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pretilt.concepts.embedding import embed, right_singular_vectors, rows_together
from pretilt.concepts.parallel import in_order
from pretilt.concepts.prompt_scores import STATISTICS, Statistic, pair_shift, span_values
from pretilt.lens.blocks import PairBlock, Stream

MIN_ACTIVE = 200  # the paper's: pairs on which a feature must fire in either response, or prompts
MIN_SD, MIN_MEAN_ABS = 1e-3, 1e-4  # the paper's, of D
SAMPLE_PAIRS = 30_000
N_COMPONENTS = 128
FEATURES_PER_CONCEPT, FEWEST_CONCEPTS, MOST_CONCEPTS = 40, 8, 1000  # ours: the paper does not name K_p and K_r


class Moments:
    """Per feature, over all pairs added so far, zeros included. Moments of two sets of pairs merge."""

    def __init__(self, n_features: int) -> None:
        self.n_pairs = 0
        self.pairs_active = np.zeros(n_features, np.int64)  # in either response
        self.prompts_active = np.zeros(n_features, np.int64)
        self._shift = {q: np.zeros((3, n_features)) for q in STATISTICS}  # rows: sum D, sum D^2, sum |D|
        self._prompt = {q: np.zeros((2, n_features)) for q in STATISTICS}  # rows: sum P, sum P^2

    def add(self, block: PairBlock) -> None:
        """Raises ValueError for spans that do not meet, values not > 0 and finite, and responses without tokens."""
        self._check(block)
        self.n_pairs += len(block)
        self.pairs_active += _columns(csr_array(block.chosen.fire_count + block.rejected.fire_count)).astype(np.int64)
        self.prompts_active += _columns(block.prompt.fire_count).astype(np.int64)
        for q in STATISTICS:
            d, p = pair_shift(block, q), span_values(block.prompt, q)
            self._shift[q] += [_columns(d, w) for w in (d.data, d.data**2, np.abs(d.data))]
            self._prompt[q] += [_columns(p, w) for w in (p.data, p.data**2)]

    def merge(self, other: Moments) -> None:
        """Add the moments of other pairs."""
        self.n_pairs += other.n_pairs
        self.pairs_active += other.pairs_active
        self.prompts_active += other.prompts_active
        for q in STATISTICS:
            self._shift[q] += other._shift[q]
            self._prompt[q] += other._prompt[q]

    def shift_moments(self, statistic: Statistic) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, standard deviation (over N, not N - 1) and mean size of D, float64 [n_features] each."""
        mean, square, size = self._shift[statistic] / max(self.n_pairs, 1)
        return mean, _sd(mean, square), size

    def prompt_moments(self, statistic: Statistic) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (over N) of P, float64 [n_features] each."""
        mean, square = self._prompt[statistic] / max(self.n_pairs, 1)
        return mean, _sd(mean, square)

    def _check(self, block: PairBlock) -> None:
        shape = (len(block), self.pairs_active.size)
        for span in (block.prompt, block.chosen, block.rejected):
            count, act = span.fire_count, span.act_max
            if not count.shape == act.shape == shape or span.n_tokens.size != shape[0] or count.nnz != act.nnz:
                raise ValueError(f"every span of the block must be {shape}, not {count.shape} and {act.shape}")
            if count.nnz and not (np.isfinite(act.data).all() and act.data.min() > 0 and count.data.min() > 0):
                raise ValueError("stored fire counts and activations must be finite and > 0")
            if (np.diff(count.indptr)[span.n_tokens < 1] > 0).any():
                raise ValueError("a span without content tokens cannot fire")
        if shape[0] and min(block.chosen.n_tokens.min(), block.rejected.n_tokens.min()) < 1:
            raise ValueError("a response span without content tokens has no firing frequency: drop its pair first")


def min_active(n_pairs: int, *, paper: bool = False) -> int:
    """r: the pairs (or prompts) on which a feature must be active. Paper: 200. Ours: min(200, max(15, 2 % of N))."""
    return MIN_ACTIVE if paper else min(MIN_ACTIVE, max(15, -(-n_pairs // 50)))


def n_clusters(n_features: int) -> int:
    """K, ours: one per 40 features, 8 to 1000; never more than features."""
    return min(n_features, int(np.clip(n_features // FEATURES_PER_CONCEPT, FEWEST_CONCEPTS, MOST_CONCEPTS)))


def n_components(n_features: int, n_pairs: int, *, paper: bool = False) -> int:
    """Rank of the SVD. Paper: 128. Ours: min(128, F / 4, N / 4), at least 1. Never more than the matrix has."""
    share = 1 if paper else 4
    return max(1, min(N_COMPONENTS, n_features // share, n_pairs // share))


@dataclass(frozen=True)
class ShiftConcepts:
    """The clusters of one statistic, the largest first, then by smallest feature; feature ids int32, ascending."""

    statistic: Statistic
    prompt_concepts: list[np.ndarray]  # [A_k]; disjoint
    shift_concepts: list[np.ndarray]  # [R_m]; disjoint
    sigma: np.ndarray  # float64 [n_features], sd of D over all pairs: what a response score divides by
    summary: dict[str, Any]

    def report(self) -> dict[str, Any]:
        """Counts, sizes and settings of the clusters, with notes on empty sides; JSON values."""
        return {"statistic": self.statistic, **self.summary}


def measure_moments(stream: Stream, n_features: int) -> Moments:
    """One pass over the pairs."""

    def block_moments(block: PairBlock) -> Moments:
        moments = Moments(n_features)
        moments.add(block)
        return moments

    total = Moments(n_features)
    for moments in in_order(block_moments, stream()):
        total.merge(moments)
    return total


def find_shifts(
    stream: Stream, n_features: int, *, moments: Moments | None = None, seed: int = 0, paper: bool = False
) -> dict[Statistic, ShiftConcepts]:
    """Prompt concepts and response-shift concepts of both statistics, from the training pairs.

    Features kept: response features active in at least `min_active` pairs, with sd(D) >= 1e-3 and mean |D| >= 1e-4;
    prompt features active on at least `min_active` prompts, and (ours) not equal on all of them. Every feature kept is
    in one cluster, every other one in none. `moments`: those of the same pairs, where they are known already.
    `paper` uses the paper's 200 pairs and 128 components at every size. One pass for the moments, one for the sample.

    The same pairs and seed give the same clusters, on any number of threads. Without a feature to keep, the lists are
    empty and the report says why.
    """
    moments = moments or measure_moments(stream, n_features)
    least = min_active(moments.n_pairs, paper=paper)
    standards = {q: _standards(moments, q, least) for q in STATISTICS}

    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(moments.n_pairs, min(SAMPLE_PAIRS, moments.n_pairs), replace=False))
    sample = _sample(stream, rows, moments.n_pairs, standards)

    concepts: dict[Statistic, ShiftConcepts] = {}
    for q, sides in standards.items():
        summary: dict[str, Any] = {
            "n_pairs": moments.n_pairs,
            "n_sample": rows.size,
            "paper": paper,
            "min_active": least,
        }

        clusters: dict[str, list[np.ndarray]] = {}
        for side, standard in sides.items():
            rank = n_components(standard.feature_ids.size, rows.size, paper=paper)
            clusters[side] = _clusters(sample.pop((q, side)), standard, rank, seed)
            summary |= _summary(side, standard, rank, clusters[side])

        summary["notes"] = [
            f"no {side} feature is active in at least {least} of {moments.n_pairs} pairs and varies enough"
            for side, standard in sides.items()
            if not standard.feature_ids.size
        ]
        sigma = moments.shift_moments(q)[1]
        concepts[q] = ShiftConcepts(q, clusters["prompt"], clusters["response"], sigma, summary)

    return concepts


@dataclass(frozen=True)
class _Standard:
    """The selected features of one side, and the moments that standardise them: (x - mean) / sd."""

    feature_ids: np.ndarray  # int32, ascending
    mean: np.ndarray  # [F]
    sd: np.ndarray  # [F], > 0
    n_active: int  # features active at least once


def _standards(moments: Moments, statistic: Statistic, least: int) -> dict[str, _Standard]:
    mean, sd, size = moments.shift_moments(statistic)
    selected = np.flatnonzero((moments.pairs_active >= least) & (sd >= MIN_SD) & (size >= MIN_MEAN_ABS))
    response = _Standard(selected.astype(np.int32), mean[selected], sd[selected], int((moments.pairs_active > 0).sum()))
    mean, sd = moments.prompt_moments(statistic)
    # A feature that is constant over the prompts (a fixed opening) has no scale to divide by.
    selected = np.flatnonzero((moments.prompts_active >= least) & (sd > 0))
    prompt = _Standard(selected.astype(np.int32), mean[selected], sd[selected], int((moments.prompts_active > 0).sum()))
    return {"prompt": prompt, "response": response}


def _sample(
    stream: Stream, rows: np.ndarray, n_pairs: int, standards: dict[Statistic, dict[str, _Standard]]
) -> dict[tuple[Statistic, str], list[csr_array]]:
    """The sampled rows of P and D, features kept only; in blocks, since joining them would take twice the room."""
    parts: dict[tuple[Statistic, str], list[csr_array]] = {(q, side): [] for q in standards for side in standards[q]}

    start = 0
    for block in stream():
        first, last = np.searchsorted(rows, [start, start + len(block)])
        drawn = block.take(rows[first:last] - start)
        start += len(block)

        for q in standards:
            for side, x in (("prompt", span_values(drawn.prompt, q)), ("response", pair_shift(drawn, q))):
                columns = csr_array(x[:, standards[q][side].feature_ids], dtype=np.float32)
                if columns.shape[0] and columns.shape[1]:
                    parts[q, side].append(columns)

    if start != n_pairs:
        raise ValueError(f"the moments are of {n_pairs} pairs, but the stream has {start}")
    return parts


def _clusters(parts: Sequence[csr_array], standard: _Standard, rank: int, seed: int) -> list[np.ndarray]:
    """k-means of the embedded features: int32 feature ids, the largest cluster first, none empty."""
    if not parts:
        return []
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    # How a sum is shared out over threads changes its last digits, and with them the clusters.
    with threadpool_limits(1):
        points = embed(*right_singular_vectors(rows_together(parts), standard.mean, standard.sd, rank, seed))
        k = n_clusters(standard.feature_ids.size)
        labels = MiniBatchKMeans(k, n_init=3, random_state=seed).fit(points).labels_
    order = np.argsort(labels, kind="stable")
    ends = np.flatnonzero(np.diff(labels[order])) + 1
    return sorted(np.split(standard.feature_ids[order], ends), key=lambda ids: (-ids.size, ids[0]))


def _summary(side: str, standard: _Standard, rank: int, clusters: Sequence[np.ndarray]) -> dict[str, Any]:
    sizes = [ids.size for ids in clusters]
    n_kept = standard.feature_ids.size
    return {
        f"n_{side}_features_active": standard.n_active,
        f"n_{side}_features_kept": n_kept,
        f"n_{side}_features_not_kept": standard.n_active - n_kept,
        f"{side}_components": rank if n_kept else 0,
        f"n_{side}_concepts": len(sizes),
        f"{side}_concept_size_median": float(np.median(sizes)) if sizes else None,
        f"{side}_concept_size_max": max(sizes, default=None),
    }


def _columns(x: csr_array, weights: np.ndarray | None = None) -> np.ndarray:
    """Column sums of the weights of the stored entries; without weights, their number."""
    return np.bincount(x.indices, weights, minlength=x.shape[1])


def _sd(mean: np.ndarray, square: np.ndarray) -> np.ndarray:
    """0 where the variance is within rounding of zero."""
    variance = square - mean**2
    return np.sqrt(np.where(variance > 1e-9 * square, variance, 0.0))
