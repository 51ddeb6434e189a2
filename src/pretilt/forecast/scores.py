"""What a concept's score c(y) of ONE response is, so that pairs and rollouts can meet; u = c(chosen) - c(rejected).

A community or a single feature of t features is scored by which of them fire, or how often:

    "presence"  (1/t) sum_g 1{g fires in y}                     "paper"   (1/t) sum_g 1{freq_g(y) > threshold}
    "freq"      (1/t) sum_g freq_g(y)                           "count2"  as "paper", and at least two firing tokens

all in [0, 1]. With the last three, c(chosen) - c(rejected) is exactly the signed disparity u of
`pretilt.stats.disparity`. A response-shift concept is scored by the mean of X_f(y) / sigma_f, uncentred and >= 0
(`pretilt.concepts.prompt_scores`): centred, every one of them would average to zero and forecast nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from pretilt.concepts.prompt_scores import ConceptColumns, single_response_scores
from pretilt.lens.blocks import Span
from pretilt.schema import Concepts
from pretilt.stats.disparity import FREQ_THRESHOLD, SpanCounts, largest_failing_count

ScoreForm = Literal["presence", "paper", "count2", "freq"]
SCORE_FORMS: tuple[ScoreForm, ...] = ("presence", "paper", "count2", "freq")


def concept_scores(
    response: SpanCounts, concepts: Concepts, form: ScoreForm = "presence", freq_threshold: Fraction = FREQ_THRESHOLD
) -> np.ndarray:
    """c(y), float64 [N, n_concepts] in [0, 1]; a response without tokens expresses nothing and scores 0.

    `freq_threshold` counts for "paper" and "count2" only, and is decided in integers.
    Raises ValueError if the responses' features are not those of the concepts, or a concept has no feature.
    """
    fires = csr_array(response.fire_count)
    n_features, n_concepts = concepts.membership.shape  # type: ignore[attr-defined]
    if fires.shape != (response.n_tokens.size, n_features):
        raise ValueError(f"fire counts {fires.shape} must be {(response.n_tokens.size, n_features)}")
    if n_concepts and concepts.size.min() < 1:
        raise ValueError("a concept without features has no score")
    entries = np.diff(fires.indptr)
    if form == "freq":
        data = fires.data / np.repeat(response.n_tokens, entries)
    elif form == "presence":
        data = (fires.data > 0).astype(np.float64)
    else:
        limit = largest_failing_count(response.n_tokens, freq_threshold, form)
        data = (fires.data > np.repeat(limit, entries)).astype(np.float64)
    per_feature = csr_array((data, fires.indices, fires.indptr), fires.shape)
    scores: np.ndarray = (per_feature @ csr_array(concepts.membership, dtype=np.float64)).toarray()
    return scores / concepts.size


def score_responses(
    response: Span,
    concepts: Concepts,
    shifts: Sequence[ConceptColumns] = (),
    form: ScoreForm = "presence",
    freq_threshold: Fraction = FREQ_THRESHOLD,
) -> np.ndarray:
    """c(y) of every concept in the order of concepts.parquet, float64 [N, M] >= 0.

    Communities and single features by `form`, then the response-shift concepts in the order given (`concept_columns`
    with the sigma of the training pairs).
    """
    columns = [concept_scores(response, concepts, form, freq_threshold)]
    columns += [single_response_scores(response, shift).astype(np.float64) for shift in shifts]
    return np.concatenate(columns, axis=1)


def log_length(n_tokens: np.ndarray) -> np.ndarray:
    """log of the number of content tokens, float64 >= 0; an empty response counts as one token."""
    return np.log(np.maximum(n_tokens, 1).astype(np.float64))
