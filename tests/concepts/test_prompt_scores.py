"""Scores of prompts and responses, and the pairs that a prompt concept selects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from pretilt.concepts.prompt_scores import (
    concept_columns,
    n_top,
    pair_shift,
    prompt_scores,
    response_scores,
    select_top,
    single_response_scores,
    span_values,
)
from pretilt.lens.blocks import PairBlock, SpanRows


def span(fire_count, act_max, n_tokens) -> SpanRows:
    """From dense arrays of the same zeros."""
    count, act = np.asarray(fire_count), np.asarray(act_max, np.float32)
    assert ((count > 0) == (act > 0)).all()
    return SpanRows(np.asarray(n_tokens, np.int32), csr_array(count.astype(np.int32)), csr_array(act))


def random_span(rng: np.random.Generator, n_pairs: int, n_features: int, shortest: int = 1) -> SpanRows:
    n_tokens = rng.integers(shortest, 30, n_pairs)
    count = rng.binomial(n_tokens[:, None], 0.08, (n_pairs, n_features))
    return span(count, (count > 0) * (rng.random(count.shape) + 0.1), n_tokens)


def random_block(seed: int, n_pairs: int = 40, n_features: int = 12) -> PairBlock:
    """Prompts may be empty, responses are not."""
    rng = np.random.default_rng(seed)
    return PairBlock(*(random_span(rng, n_pairs, n_features, shortest) for shortest in (0, 1, 1)))


HAND = span([[2, 0, 1], [0, 0, 0], [1, 4, 0]], [[3.0, 0, 0.5], [0, 0, 0], [1.0, 2.0, 0]], [4, 0, 8])
CONCEPTS = [np.array([0, 1]), np.array([2])]


def test_values_by_hand_and_an_empty_prompt_is_an_empty_row() -> None:
    assert span_values(HAND, "max").toarray().tolist() == [[3.0, 0, 0.5], [0, 0, 0], [1.0, 2.0, 0]]
    assert span_values(HAND, "freq").toarray().tolist() == [[0.5, 0, 0.25], [0, 0, 0], [0.125, 0.5, 0]]


@pytest.mark.parametrize(
    ("statistic", "raw", "expected"),
    [
        ("max", False, [[0.5, 1.0], [0.0, 0.0], [1.0, 0.0]]),
        ("freq", False, [[0.5, 1.0], [0.0, 0.0], [1.0, 0.0]]),
        ("max", True, [[1.5, 0.5], [0.0, 0.0], [1.5, 0.0]]),
        ("freq", True, [[0.25, 0.25], [0.0, 0.0], [0.3125, 0.0]]),
    ],
)
def test_prompt_scores_by_hand(statistic, raw, expected) -> None:
    before = HAND.act_max.toarray()
    scores = prompt_scores(HAND, concept_columns(CONCEPTS, 3, statistic), raw=raw)
    assert scores.dtype == np.float32 and scores.tolist() == expected
    assert (HAND.act_max.toarray() == before).all()


def test_response_scores_by_hand() -> None:
    chosen = span([[2, 0, 1]], [[3.0, 0, 0.5]], [4])
    rejected = span([[0, 2, 1]], [[0, 1.0, 1.5]], [2])
    block = PairBlock(chosen, chosen, rejected)
    sigma = np.array([2.0, 0.5, 0.25])
    # D_max = (3, -1, -1): (3 / 2 - 1 / 0.5) / 2 = -0.25 and -1 / 0.25 = -4
    by_max = concept_columns(CONCEPTS, 3, "max", sigma)
    assert response_scores(block, by_max).tolist() == [[-0.25, -4.0]]
    assert single_response_scores(chosen, by_max).tolist() == [[0.75, 2.0]]
    # D_freq = (2 / 4, -2 / 2, 1 / 4 - 1 / 2)
    assert response_scores(block, concept_columns(CONCEPTS, 3, "freq", sigma)).tolist() == [[-0.875, -1.0]]


@pytest.mark.parametrize("statistic", ["max", "freq"])
def test_scores_against_loops_over_dense_arrays(statistic) -> None:
    block = random_block(1)
    rng = np.random.default_rng(2)
    sigma = rng.random(12) + 0.2
    lists = [np.array([3]), np.array([0, 3, 7, 11]), np.array([1, 2]), np.array([4, 5, 6, 8, 9])]  # 3 twice, 10 never

    def value(spans: SpanRows, i: int, f: int) -> float:
        if statistic == "max":
            return float(spans.act_max[i, f])
        return int(spans.fire_count[i, f]) / max(int(spans.n_tokens[i]), 1)

    prompts = prompt_scores(block.prompt, concept_columns(lists, 12, statistic))
    raw = prompt_scores(block.prompt, concept_columns(lists, 12, statistic), raw=True)
    shifts = concept_columns(lists, 12, statistic, sigma)
    u, alone = response_scores(block, shifts), single_response_scores(block.chosen, shifts)
    assert u.shape == (40, len(shifts)) and u.dtype == np.float32
    for i in range(40):
        for m, ids in enumerate(lists):
            fired = [value(block.prompt, i, f) for f in ids]
            assert prompts[i, m] == np.float32(sum(x > 0 for x in fired) / len(ids))
            assert raw[i, m] == pytest.approx(np.mean(fired), rel=1e-6)
            chosen, rejected = ([value(s, i, f) / sigma[f] for f in ids] for s in (block.chosen, block.rejected))
            assert alone[i, m] == pytest.approx(np.mean(chosen), rel=1e-6)
            assert u[i, m] == pytest.approx(np.mean(chosen) - np.mean(rejected), rel=1e-5, abs=1e-6)


def test_swapping_the_label_flips_every_sign_and_equal_responses_score_zero() -> None:
    block = random_block(3)
    columns = concept_columns([np.arange(5), np.arange(4, 12)], 12, "freq", np.full(12, 0.3))
    swapped = PairBlock(block.prompt, block.rejected, block.chosen)
    np.testing.assert_array_equal(response_scores(swapped, columns), -response_scores(block, columns))
    assert pair_shift(swapped, "freq").sum() == -pair_shift(block, "freq").sum() != 0
    same = PairBlock(block.prompt, block.chosen, block.chosen)
    assert not response_scores(same, columns).any() and pair_shift(same, "max").nnz == 0


def test_leaving_out_the_centring_changes_no_difference_of_means() -> None:
    block = random_block(4, n_pairs=200)
    d = pair_shift(block, "max").toarray()
    mean, sd = d.mean(axis=0), d.std(axis=0)
    centred = ((d - mean) / sd)[:, [1, 4, 6]].mean(axis=1)
    u = response_scores(block, concept_columns([np.array([1, 4, 6])], 12, "max", sd))[:, 0].astype(float)
    inside = np.arange(200) % 7 == 0
    assert u[inside].mean() - u[~inside].mean() == pytest.approx(
        centred[inside].mean() - centred[~inside].mean(), abs=1e-6
    )
    assert abs(u.mean() - centred.mean()) > 1e-3  # the centred mean is zero, and would forecast nothing


def test_take_by_mask_and_by_position() -> None:
    block = random_block(5)
    columns = concept_columns([np.arange(12)], 12, "max", np.ones(12))
    rows = np.array([7, 8, 30])
    mask = np.isin(np.arange(40), rows)
    whole = response_scores(block, columns)
    for picked in (block.take(rows), block.take(mask)):
        assert len(picked) == 3
        np.testing.assert_array_equal(response_scores(picked, columns), whole[rows])
    assert len(block.take(np.zeros(40, bool))) == 0


def test_how_many_pairs_a_prompt_concept_selects() -> None:
    assert [n_top(n) for n in (0, 20, 40_000, 41_999, 260_000, 5_000_000)] == [40, 40, 40, 41, 260, 1000]


def test_selection_by_hand_with_ties_zeros_and_too_few() -> None:
    ids = ["d", "b", "c", "a", "e"]
    first = np.float32([[0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [1.0, 0.25, 0.0]])
    second = np.float32([[0.5, 0.0, -0.0], [0.25, 0.75, 0.0]])
    top = select_top([first, second], ids, 3, n=3)
    assert [rows.tolist() for rows in top.rows] == [[2, 3, 1], [4, 2], []]  # c (1.0), then a and b of the 0.5s, not d
    assert top.cutoff.tolist() == [0.5, 0.25, np.inf]
    passes = top.passes(np.float32([[0.5, 0.2, 9.0], [0.49, 0.25, 0.0]]))
    assert passes.tolist() == [[True, False, False], [False, True, False]]


@pytest.mark.parametrize("seed", range(4))
def test_selection_against_sorting_everything(seed) -> None:
    rng = np.random.default_rng(seed)
    n_pairs, n_concepts, n = 500, 6, int(rng.integers(5, 60))
    scores = (rng.integers(0, 5, (n_pairs, n_concepts)) / np.array([4, 4, 8, 100, 3, 4])).astype(np.float32)
    scores[:, 5] *= rng.random(n_pairs) < 0.02  # fewer than n are positive
    ids = [f"{rng.integers(1 << 60):015x}" for _ in range(n_pairs)]
    blocks = np.split(scores, np.sort(rng.integers(0, n_pairs, 7)))
    top = select_top(iter(blocks), ids, n_concepts, n)
    for k in range(n_concepts):
        best = sorted((i for i in range(n_pairs) if scores[i, k] > 0), key=lambda i: (-scores[i, k], ids[i]))[:n]
        assert top.rows[k].tolist() == best
        assert top.cutoff[k] == min(scores[i, k] for i in best)
        assert set(best) <= set(np.flatnonzero(top.passes(scores)[:, k]))


def test_the_order_of_the_pairs_does_not_matter() -> None:
    rng = np.random.default_rng(9)
    scores = (rng.integers(0, 4, (300, 5)) / 3).astype(np.float32)
    ids = np.array([f"p{i:04d}" for i in rng.permutation(300)], dtype=object)
    order = rng.permutation(300)
    one, other = select_top([scores], ids, 5, 50), select_top([scores[order]], ids[order], 5, 50)
    for a, b in zip(one.rows, other.rows, strict=True):
        assert ids[a].tolist() == ids[order][b].tolist()


def test_no_concepts_and_no_pairs() -> None:
    block = random_block(6)
    for columns in (concept_columns([], 12, "max"), concept_columns([], 12, "freq", np.zeros(12))):
        assert prompt_scores(block.prompt, columns).shape == response_scores(block, columns).shape == (40, 0)
    assert select_top([np.empty((2, 0), np.float32)], ["a", "b"], 0).rows == []
    nothing = select_top([], [], 2)
    assert [r.size for r in nothing.rows] == [0, 0] and np.isinf(nothing.cutoff).all()


@pytest.mark.parametrize(
    ("lists", "sigma", "says"),
    [
        ([[0, 1], []], None, "at least one feature"),
        ([[2, 2]], None, "each of them once"),
        ([[0, 12]], None, "within 0 … 11"),
        ([[-1]], None, "within 0 … 11"),
        ([[0], [3]], np.r_[np.ones(3), np.zeros(9)], "never shifts"),
        ([[3]], np.full(12, np.nan), "never shifts"),
    ],
)
def test_concepts_that_make_no_sense(lists, sigma, says) -> None:
    with pytest.raises(ValueError, match=says):
        concept_columns([np.array(ids, int) for ids in lists], 12, "max", sigma)


@pytest.mark.parametrize(
    ("blocks", "ids", "says"),
    [
        ([[[1.0]], [[0.5]]], ["a"], "more scores"),
        ([[[1.0]]], ["a", "b"], "scores of 1 pairs, but 2"),
        ([[[1.0], [1.0]]], ["a", "a"], "occur once"),
        ([[[np.nan]]], ["a"], ">= 0"),
        ([[[-0.5]]], ["a"], ">= 0"),
    ],
)
def test_selections_that_make_no_sense(blocks, ids, says) -> None:
    with pytest.raises(ValueError, match=says):
        select_top([np.float32(b) for b in blocks], ids, 1)
