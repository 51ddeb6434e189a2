"""Activity, disparity and intensity: numbers worked out by hand, the dense oracle, exact thresholds, label swaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import dense_reference as dense
import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array

from pretilt.errors import UserError
from pretilt.schema import Concepts
from pretilt.stats import disparity as audit


@dataclass
class Span:
    n_tokens: np.ndarray
    fire_count: csr_array


def span(counts: list[list[int]] | np.ndarray, n_tokens: list[int] | np.ndarray) -> Span:
    return Span(np.asarray(n_tokens, np.int32), csr_array(np.asarray(counts, np.int32)))


def concepts(columns: list[list[int]], n_features: int, n_communities: int) -> Concepts:
    membership = np.zeros((n_features, len(columns)), np.int8)
    for m, features in enumerate(columns):
        membership[features, m] = 1
    return Concepts(csc_array(membership), np.arange(len(columns)) < n_communities)


def random_world(seed: int, n: int = 40, n_features: int = 23):
    rng = np.random.default_rng(seed)
    lengths = [rng.choice([1, 2, 7, 99, 100, 101, 250], n) for _ in range(2)]
    sides = []
    for n_tokens in lengths:
        counts = rng.binomial(np.minimum(n_tokens, 12)[:, None], rng.choice([0.0, 0.05, 0.3], (n, n_features)))
        sides.append(np.where(rng.random((n, n_features)) < 0.5, counts, 0))
    columns = [[0, 1, 2, 3], [4, 5, 6, 7, 8], [9], [10], [22]]  # 11 … 21 belong to no concept
    return lengths, sides, columns


def test_one_pair_by_hand() -> None:
    # community {0, 1}, single feature {2}; chosen has 200 tokens, rejected 50
    chosen = span([[4, 2, 0]], [200])
    rejected = span([[1, 0, 5]], [50])
    world = concepts([[0, 1], [2]], 3, 1)
    # s = 4/200 + 2/200 + 1/50 = 0.05, for the community only
    np.testing.assert_allclose(audit.symmetric_activity(chosen, rejected, world).toarray(), [[0.05]], rtol=1e-15)
    # "paper": chosen needs > 2 firings: feature 0 passes (4), feature 1 does not (2). Rejected needs > 0.5: feature 0
    # passes with 1. Feature 0: 1 - 1, feature 1: 0 - 0 → u = 0/2. Feature 2: 0 - 1 → -1.
    paper = audit.disparity_numerator(chosen, rejected, world, "paper")
    np.testing.assert_array_equal(paper.toarray(), [[0, -1]])
    # "count2": rejected's single firing of feature 0 no longer passes: (1 - 0) + 0 over 2 features = 1/2
    count2 = audit.disparity_numerator(chosen, rejected, world, "count2")
    np.testing.assert_array_equal(audit.signed_disparity(count2, world.size).toarray(), [[0.5, -1.0]])
    # v = (4/200 - 1/50) + 2/200 = 0.01 and -5/50 = -0.1; "freq" = v / size = 0.005 and -0.1
    v = audit.disparity_numerator(chosen, rejected, world, "freq")
    np.testing.assert_allclose(v.toarray(), [[0.01, -0.1]], rtol=1e-14)
    np.testing.assert_allclose(audit.signed_disparity(v, world.size).toarray(), [[0.005, -0.1]], rtol=1e-14)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", audit.FORMS)
@pytest.mark.parametrize("threshold", [Fraction(1, 100), Fraction(0), Fraction(29, 100)])
def test_equals_the_dense_reference(seed: int, form: audit.Form, threshold: Fraction) -> None:
    (n_c, n_r), (c, r), columns = random_world(seed)
    world = concepts(columns, c.shape[1], 2)
    numerator = audit.disparity_numerator(span(c, n_c), span(r, n_r), world, form, threshold)
    expected = dense.disparity(c, n_c, r, n_r, columns, form, threshold)
    np.testing.assert_allclose(
        audit.signed_disparity(numerator, world.size).toarray(), expected, atol=1e-12, rtol=1e-12
    )
    s = audit.symmetric_activity(span(c, n_c), span(r, n_r), world)
    np.testing.assert_allclose(s.toarray(), dense.activity(c, n_c, r, n_r, columns[:2]), rtol=1e-12)


def test_the_threshold_is_exact_where_float_ratios_are_not() -> None:
    # 29 of 100 tokens is not more than 0.29. In floats 0.29 * 100 = 28.999…996, so that 29 would pass; and a count kept
    # as the ratio 0.29 comes back from int(0.29 * 100) as 28.
    assert 0.29 * 100 < 29
    world = concepts([[0]], 1, 0)
    for count, passes in ((28, 0), (29, 0), (30, 1)):
        numerator = audit.disparity_numerator(
            span([[count]], [100]), span([[0]], [100]), world, "paper", audit.exact_threshold(0.29)
        )
        assert numerator.toarray().tolist() == [[passes]]


@pytest.mark.parametrize("text", ["0.01", "0.29", "0.07", "0.57", "0.1234567890123456789"])
def test_every_count_of_every_length_is_decided_as_the_rationals_decide(text: str) -> None:
    threshold = audit.exact_threshold(text)
    n_tokens = np.arange(1, 600)
    limit = audit.largest_failing_count(n_tokens, threshold)
    for n, failing in zip(n_tokens.tolist(), limit.tolist(), strict=True):
        assert Fraction(failing, n) <= threshold < Fraction(failing + 1, n)


def test_float_thresholds_mean_what_they_say() -> None:
    assert audit.exact_threshold(0.01) == Fraction(1, 100) == audit.exact_threshold("1/100") == audit.FREQ_THRESHOLD
    assert audit.exact_threshold(Fraction(1, 3)) == Fraction(1, 3)
    for wrong in (1.0, -0.01, math.nan, "often", math.inf):
        with pytest.raises(UserError, match="freq_threshold"):
            audit.exact_threshold(wrong)


def test_swapping_the_labels_flips_every_sign_exactly_and_leaves_the_activity_alone() -> None:
    (n_c, n_r), (c, r), columns = random_world(9, n=300)
    world = concepts(columns, c.shape[1], 2)
    one, other = (
        audit.disparity_block(span(c, n_c), span(r, n_r), world),
        audit.disparity_block(span(r, n_r), span(c, n_c), world),
    )
    np.testing.assert_array_equal(one.activity.toarray(), other.activity.toarray())
    for form in audit.FORMS:
        assert one.numerators[form].nnz > 100
        np.testing.assert_array_equal(one.numerators[form].toarray(), -other.numerators[form].toarray())


def test_blocks_stack_to_the_whole() -> None:
    (n_c, n_r), (c, r), columns = random_world(2, n=50)
    world = concepts(columns, c.shape[1], 2)
    whole = audit.disparity_block(span(c, n_c), span(r, n_r), world)
    cuts = [slice(0, 1), slice(1, 17), slice(17, 50)]
    parts = [audit.disparity_block(span(c[b], n_c[b]), span(r[b], n_r[b]), world) for b in cuts]
    joined = audit.stack(parts)
    np.testing.assert_array_equal(joined.activity.toarray(), whole.activity.toarray())
    for form in audit.FORMS:
        np.testing.assert_array_equal(joined.numerators[form].toarray(), whole.numerators[form].toarray())
    np.testing.assert_array_equal(joined.length_difference, whole.length_difference)
    np.testing.assert_array_equal(joined.n_pairs_active, whole.n_pairs_active)
    sums = audit.ConceptSums(world)
    for part in parts:
        sums.add(part)
    at_once = audit.ConceptSums(world)
    at_once.add(whole)
    np.testing.assert_array_equal(sums.summary().mean_u["paper"], at_once.summary().mean_u["paper"])


@pytest.mark.parametrize("seed", range(3))
def test_concept_facts_equal_the_dense_reference(seed: int) -> None:
    (n_c, n_r), (c, r), columns = random_world(seed, n=80)
    c[:, 10], r[:, 10] = 0, 0  # concept 3 never fires
    world = concepts(columns, c.shape[1], 2)
    sums = audit.ConceptSums(world)
    sums.add(audit.disparity_block(span(c, n_c), span(r, n_r), world))
    facts = sums.summary()
    for m, features in enumerate(columns):
        fires_c, fires_r = c[:, features].any(axis=1), r[:, features].any(axis=1)
        assert facts.n_pairs_active[m] == sum(fires_c | fires_r)
        assert facts.share_chosen[m] == sum(fires_c) / 80
        assert facts.share_rejected[m] == sum(fires_r) / 80
    for form in audit.FORMS:
        u = dense.disparity(c, n_c, r, n_r, columns, form)
        np.testing.assert_allclose(facts.mean_u[form], u.mean(axis=0), atol=1e-12)
        expected = [dense.pearson(u[:, m].tolist(), (n_c - n_r).tolist()) for m in range(len(columns))]
        np.testing.assert_allclose(facts.length_correlation[form], expected, atol=1e-9)
        assert math.isnan(facts.length_correlation[form][3])


def test_a_constant_correlates_with_nothing() -> None:
    # u = 1/3 in every pair: rounding must not leave a variance of 1e-17 and a correlation of 0.4
    n = 90
    chosen, rejected = span(np.ones((n, 1)), np.full(n, 3)), span(np.zeros((n, 1)), 1 + np.arange(n))
    world = concepts([[0]], 1, 0)
    sums = audit.ConceptSums(world)
    sums.add(audit.disparity_block(chosen, rejected, world))
    assert math.isnan(sums.summary().length_correlation["freq"][0])
    assert sums.summary().mean_u["freq"][0] == pytest.approx(1 / 3)


def test_share_of_spans_where_the_threshold_cannot_bind() -> None:
    # at 99 tokens one firing is 1.01 % > 1 %: it always passes. At 100 it is exactly 1 %: it does not pass.
    chosen, rejected = span(np.zeros((2, 1)), [99, 100]), span(np.zeros((2, 1)), [5, 1000])
    world = concepts([[0]], 1, 0)
    sums = audit.ConceptSums(world)
    sums.add(audit.disparity_block(chosen, rejected, world))
    assert sums.summary().share_unbound == 0.5


def test_a_block_without_pairs_adds_nothing() -> None:
    world = concepts([[0], [1]], 2, 1)
    nothing = span(np.empty((0, 2)), [])
    one = audit.disparity_block(span([[1, 0]], [3]), span([[0, 0]], [4]), world)
    joined = audit.stack([audit.disparity_block(nothing, nothing, world), one])
    np.testing.assert_array_equal(joined.numerators["paper"].toarray(), [[1, 0]])
    assert joined.length_difference.tolist() == [-1]
    assert audit.ConceptSums(world).summary().n_pairs == 0


def test_what_cannot_be_measured_is_refused() -> None:
    world = concepts([[0], [1]], 2, 1)
    good = span([[1, 0]], [3])
    with pytest.raises(ValueError, match="without content tokens"):
        audit.disparity_block(good, span([[0, 0]], [0]), world)
    with pytest.raises(ValueError, match="must be"):
        audit.disparity_block(good, span([[0, 0, 1]], [3]), world)
    with pytest.raises(ValueError, match="must be"):
        audit.disparity_block(good, span([[0, 0], [1, 0]], [3, 3]), world)
    with pytest.raises(ValueError, match="without features"):
        audit.disparity_block(good, good, concepts([[0], []], 2, 1))
