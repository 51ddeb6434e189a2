"""Scores of single responses: numbers by hand, and the exact bridge to the disparities of the audit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array

from pretilt.concepts.prompt_scores import concept_columns
from pretilt.forecast.scores import SCORE_FORMS, concept_scores, log_length, score_responses
from pretilt.schema import Concepts
from pretilt.stats.disparity import FORMS, disparity_numerator, signed_disparity


@dataclass
class Span:
    n_tokens: np.ndarray
    fire_count: csr_array
    act_max: csr_array


def span(counts, n_tokens, acts=None) -> Span:
    counts = np.asarray(counts)
    acts = counts * 0.5 if acts is None else np.asarray(acts)
    return Span(np.asarray(n_tokens, np.int32), csr_array(counts.astype(np.int32)), csr_array(acts.astype(np.float32)))


def concepts(columns, n_features: int) -> Concepts:
    membership = np.zeros((n_features, len(columns)), np.int8)
    for m, features in enumerate(columns):
        membership[features, m] = 1
    return Concepts(csc_array(membership), np.array([len(c) > 1 for c in columns]))


WORLD = concepts([[0, 1], [2]], 3)
HAND = span([[4, 2, 0], [1, 0, 5], [0, 0, 0]], [200, 50, 0])


@pytest.mark.parametrize(
    ("form", "expected"),
    [  # 200 tokens: more than 2 firings are asked for; 50 tokens: one is enough, or two with "count2"
        ("presence", [[1.0, 0], [0.5, 1], [0, 0]]),
        ("paper", [[0.5, 0], [0.5, 1], [0, 0]]),
        ("count2", [[0.5, 0], [0.0, 1], [0, 0]]),
        ("freq", [[0.015, 0], [0.01, 0.1], [0, 0]]),
    ],
)
def test_by_hand_with_an_empty_response(form, expected) -> None:
    found = concept_scores(HAND, WORLD, form)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-15)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_the_difference_is_the_signed_disparity_of_the_audit(form, seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = concepts([[0, 3, 4], [1, 2], [7], [8]], 9)
    spans = []
    for _ in range(2):
        n_tokens = rng.choice([1, 7, 99, 100, 101, 300], 40)
        spans.append(span(rng.binomial(np.minimum(n_tokens, 10)[:, None], 0.2, (40, 9)), n_tokens))
    of_chosen, of_rejected = (score_responses(part, world, form=form) for part in spans)
    u = of_chosen - of_rejected
    expected = signed_disparity(disparity_numerator(*spans, world, form), world.size).toarray()
    np.testing.assert_allclose(u, expected, atol=1e-15)
    assert np.ptp(u) > 0


def test_all_concepts_in_the_order_of_the_table() -> None:
    acts = np.array([[2.0, 1, 0], [3, 0, 4], [0, 0, 0]])
    response = span([[4, 2, 0], [1, 0, 5], [0, 0, 0]], [200, 50, 0], acts)
    sigma = np.array([2.0, 0.5, 1.0])
    by_max = concept_columns([np.array([0, 1])], 3, "max", sigma)
    by_freq = concept_columns([np.array([2]), np.array([0, 2])], 3, "freq", sigma)
    found = score_responses(response, WORLD, [by_max, by_freq])
    # max: (2/2 + 1/0.5) / 2 = 1.5 and (3/2 + 0) / 2 = 0.75; freq: 5/50 = 0.1; (4/200/2 + 0) / 2, (1/50/2 + 0.1) / 2
    expected = [[1, 0, 1.5, 0, 0.005], [0.5, 1, 0.75, 0.1, 0.055], [0, 0, 0, 0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_log_length() -> None:
    np.testing.assert_allclose(log_length(np.array([0, 1, 100])), [0, 0, np.log(100)])


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="fire counts"):
        concept_scores(span([[1, 0]], [3]), WORLD)
    with pytest.raises(ValueError, match="without features"):
        concept_scores(HAND, concepts([[0], []], 3))
    assert set(FORMS) < set(SCORE_FORMS)
