"""Scores of each pair for each concept: symmetric activity s, signed disparity u in three forms, signed intensity v.

One block of pairs in, sparse matrices out; `ConceptSums` adds up per-concept facts over the blocks. Every threshold is
decided in integers: a firing frequency kept as a float ratio comes back one count too small about half of the time.
Sign: + = more in chosen. Source: arXiv 2606.12360, feature-conditioned view; what is ours is marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np
from scipy.sparse import csr_array, vstack

from pretilt.errors import UserError
from pretilt.schema import Concepts

Form = Literal["paper", "count2", "freq"]
FORMS: tuple[Form, ...] = ("paper", "count2", "freq")
FREQ_THRESHOLD = Fraction(1, 100)  # [tau]: share of a response's tokens on which a feature must fire


class SpanCounts(Protocol):
    """One span of N pairs: `n_tokens` int [N], all >= 1, and `fire_count` CSR int [N, n_features], no stored zeros."""

    @property
    def n_tokens(self) -> np.ndarray: ...
    @property
    def fire_count(self) -> Any: ...


def exact_threshold(freq_threshold: Fraction | float | str) -> Fraction:
    """The threshold as the rational that its decimal notation says: 0.29 is 29/100, not the nearest binary fraction.

    Raises UserError unless 0 <= threshold < 1.
    """
    try:
        exact = Fraction(str(freq_threshold))
    except ValueError as error:
        raise UserError(
            f"freq_threshold {freq_threshold!r} is not a number", fix="Give a share such as 0.01"
        ) from error

    if not 0 <= exact < 1:
        raise UserError(
            f"freq_threshold {freq_threshold} is out of range",
            why="it is the share of a response's tokens on which a feature must fire",
            fix="Give 0 <= freq_threshold < 1, such as 0.01",
        )
    return exact


def largest_failing_count(n_tokens: np.ndarray, freq_threshold: Fraction, form: Form = "paper") -> np.ndarray:
    """The largest fire_count that does not pass, int64 [N]: floor(threshold * n_tokens); at least 1 for "count2".

    count > threshold * n is the same as count > floor(threshold * n), since counts are integers: exact for every
    rational threshold, with Python integers once per distinct length.
    """
    lengths, position = np.unique(n_tokens, return_inverse=True)
    p, q = freq_threshold.numerator, freq_threshold.denominator
    limit = np.array([p * int(n) // q for n in lengths], dtype=np.int64)[position]
    return np.maximum(limit, 1) if form == "count2" else limit


def symmetric_activity(chosen: SpanCounts, rejected: SpanCounts, concepts: Concepts) -> csr_array:
    """s[i, m] = sum over the features g of community m of freq_chosen + freq_rejected: what a pair is about.

    Returns CSR float64 [N, n_communities], >= 0, columns in the order of the communities among the concepts.
    Blind to the label: swapping chosen and rejected leaves every bit as it is.
    """
    membership = csr_array(concepts.membership, dtype=np.float64)[:, np.flatnonzero(concepts.is_community)]
    return csr_array((_freq(chosen) + _freq(rejected)) @ membership)


def disparity_numerator(
    chosen: SpanCounts, rejected: SpanCounts, concepts: Concepts, form: Form, freq_threshold: Fraction = FREQ_THRESHOLD
) -> csr_array:
    """t_m * u[i, m], CSR [N, n_concepts]; t_m = number of the concept's features.

    int32 for "paper" and "count2", so that sums over pairs stay exact; float64 for "freq", where it equals the signed
    intensity v. Swapping chosen and rejected flips every sign exactly.
    """
    if form == "freq":
        return csr_array((_freq(chosen) - _freq(rejected)) @ csr_array(concepts.membership, dtype=np.float64))
    passes = _passes(chosen, form, freq_threshold) - _passes(rejected, form, freq_threshold)
    return csr_array(passes @ csr_array(concepts.membership, dtype=np.int32))


def signed_disparity(numerator: csr_array, size: np.ndarray) -> csr_array:
    """u[i, m] in [-1, 1], CSR float64: the numerator over the concept's size.

    "paper": (1/t) sum_g (1{freq_chosen > threshold} - 1{freq_rejected > threshold}); "count2" (ours): the same with at
    least two firing tokens asked for as well; "freq" (ours): (1/t) sum_g (freq_chosen - freq_rejected).
    """
    u = csr_array(numerator, dtype=np.float64, copy=True)  # shared index arrays would be sorted under the other matrix
    u.data /= size[u.indices]
    return u


@dataclass(frozen=True)
class DisparityBlock:
    """Everything about one block of N pairs; `stack` joins blocks."""

    activity: csr_array  # s, float64 [N, n_communities]
    numerators: dict[Form, csr_array]  # t * u per form [N, n_concepts]; "freq" is v
    length_difference: np.ndarray  # int64 [N], content tokens of chosen - rejected
    n_pairs_active: np.ndarray  # int64 [n_concepts], pairs in which the concept fires in either response
    n_chosen_active: np.ndarray  # int64 [n_concepts], chosen responses in which it fires
    n_rejected_active: np.ndarray
    n_spans_unbound: int  # response spans in which one firing passes: the threshold cannot bind


def disparity_block(
    chosen: SpanCounts,
    rejected: SpanCounts,
    concepts: Concepts,
    *,
    forms: Sequence[Form] = FORMS,
    freq_threshold: Fraction = FREQ_THRESHOLD,
) -> DisparityBlock:
    """Activity, disparities and counts of one block. Raises ValueError for shapes that do not meet or empty spans."""
    _check(chosen, rejected, concepts)
    fires = csr_array(concepts.membership, dtype=np.int64)
    spans = [csr_array(span.fire_count @ fires) for span in (chosen, rejected)]
    unbound = [largest_failing_count(span.n_tokens, freq_threshold) == 0 for span in (chosen, rejected)]
    return DisparityBlock(
        activity=symmetric_activity(chosen, rejected, concepts),
        numerators={form: disparity_numerator(chosen, rejected, concepts, form, freq_threshold) for form in forms},
        length_difference=chosen.n_tokens.astype(np.int64) - rejected.n_tokens.astype(np.int64),
        n_pairs_active=_column_counts(csr_array(spans[0] + spans[1])),
        n_chosen_active=_column_counts(spans[0]),
        n_rejected_active=_column_counts(spans[1]),
        n_spans_unbound=int(sum(mask.sum() for mask in unbound)),
    )


def stack(blocks: Sequence[DisparityBlock]) -> DisparityBlock:
    """One block from several, rows in the order given."""
    return DisparityBlock(
        activity=csr_array(vstack([b.activity for b in blocks], format="csr")),
        numerators={
            form: csr_array(vstack([b.numerators[form] for b in blocks], format="csr")) for form in blocks[0].numerators
        },
        length_difference=np.concatenate([b.length_difference for b in blocks]),
        n_pairs_active=np.sum([b.n_pairs_active for b in blocks], axis=0),
        n_chosen_active=np.sum([b.n_chosen_active for b in blocks], axis=0),
        n_rejected_active=np.sum([b.n_rejected_active for b in blocks], axis=0),
        n_spans_unbound=sum(b.n_spans_unbound for b in blocks),
    )


@dataclass(frozen=True)
class ConceptSummary:
    """Facts per concept over all pairs added up; arrays of length n_concepts."""

    n_pairs: int
    n_pairs_active: np.ndarray  # int64, pairs in which it fires in either response
    share_chosen: np.ndarray  # float64 in [0, 1], share of the chosen responses in which it fires
    share_rejected: np.ndarray
    mean_u: dict[Form, np.ndarray]  # float64 in [-1, 1]
    length_correlation: dict[Form, np.ndarray]  # float64 in [-1, 1]; NaN where u or the length difference is constant
    share_unbound: float  # response spans shorter than 1 / threshold tokens, where one firing passes; in [0, 1]


class ConceptSums:
    """Adds up blocks into a ConceptSummary, without keeping any of them. Feed it the training pairs."""

    def __init__(self, concepts: Concepts) -> None:
        self._size = concepts.size.astype(np.float64)
        self._n, self._unbound, self._length, self._length_sq = 0, 0, 0, 0
        self._pairs_active = np.zeros(len(concepts), np.int64)
        self._active = np.zeros((2, len(concepts)), np.int64)  # chosen and rejected responses
        self._sums: dict[Form, np.ndarray] = {}  # rows: sum of t*u, of its square, of its product with the length

    def add(self, block: DisparityBlock) -> None:
        length = block.length_difference
        self._n += length.size
        self._length += int(length.sum())
        self._length_sq += int((length**2).sum())
        self._unbound += block.n_spans_unbound
        self._pairs_active += block.n_pairs_active
        self._active += np.stack([block.n_chosen_active, block.n_rejected_active])
        for form, x in block.numerators.items():
            data = x.data.astype(np.float64)
            weights = (data, data**2, data * _per_entry(x, length))
            sums = np.stack([np.bincount(x.indices, w, minlength=self._size.size) for w in weights])
            self._sums[form] = self._sums.get(form, 0.0) + sums

    def summary(self) -> ConceptSummary:
        n = max(self._n, 1)
        length_ss = self._length_sq - self._length**2 / n

        correlation: dict[Form, np.ndarray] = {}
        for form, (total, squares, product) in self._sums.items():
            ss = squares - total**2 / n
            # a sum of squares within rounding of zero is zero: a constant correlates with nothing
            defined = (ss > n * np.finfo(float).eps * squares) & (length_ss > 0)
            scale = np.sqrt(np.where(defined, ss * length_ss, 1.0))
            r = (product - total * self._length / n) / scale
            correlation[form] = np.where(defined, np.clip(r, -1.0, 1.0), np.nan)

        return ConceptSummary(
            n_pairs=self._n,
            n_pairs_active=self._pairs_active,
            share_chosen=self._active[0] / n,
            share_rejected=self._active[1] / n,
            mean_u={form: sums[0] / (n * self._size) for form, sums in self._sums.items()},
            length_correlation=correlation,
            share_unbound=self._unbound / (2 * n),
        )


def _per_entry(x: csr_array, per_row: np.ndarray) -> np.ndarray:
    return np.repeat(per_row, np.diff(x.indptr))


def _freq(span: SpanCounts) -> csr_array:
    x = span.fire_count
    return csr_array((x.data / _per_entry(x, span.n_tokens), x.indices, x.indptr), x.shape)


def _passes(span: SpanCounts, form: Form, freq_threshold: Fraction) -> csr_array:
    """1 where fire_count > threshold * n_tokens (and >= 2 for "count2"), CSR int32 [N, n_features]."""
    x = span.fire_count
    keep = x.data > _per_entry(x, largest_failing_count(span.n_tokens, freq_threshold, form))
    indptr = np.concatenate([[0], np.cumsum(keep)])[x.indptr]
    return csr_array((np.ones(int(indptr[-1]), np.int32), x.indices[keep], indptr), x.shape)


def _column_counts(x: csr_array) -> np.ndarray:
    return np.bincount(x.indices[x.data > 0], minlength=x.shape[1]).astype(np.int64)


def _check(chosen: SpanCounts, rejected: SpanCounts, concepts: Concepts) -> None:
    n_features: int = concepts.membership.shape[0]  # type: ignore[attr-defined]
    shape = (chosen.n_tokens.size, n_features)
    if not chosen.fire_count.shape == rejected.fire_count.shape == shape or rejected.n_tokens.size != shape[0]:
        raise ValueError(f"chosen {chosen.fire_count.shape} and rejected {rejected.fire_count.shape} must be {shape}")
    if shape[0] and min(chosen.n_tokens.min(), rejected.n_tokens.min()) < 1:
        raise ValueError("a response span without content tokens has no firing frequency: drop its pair first")
    if len(concepts) and concepts.size.min() < 1:
        raise ValueError("a concept without features has no disparity")
