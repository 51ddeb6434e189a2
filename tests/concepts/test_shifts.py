"""Moments, what is kept, the embedding, and the clusters of a planted world."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.sparse import csr_array
from test_prompt_scores import random_block, span
from threadpoolctl import threadpool_limits

from pretilt.concepts import shifts
from pretilt.concepts.prompt_scores import STATISTICS, concept_columns, response_scores
from pretilt.concepts.shifts import (
    Moments,
    embed,
    find_shifts,
    measure_moments,
    min_active,
    n_clusters,
    n_components,
    right_singular_vectors,
)
from pretilt.lens.blocks import PairBlock, Stream


def stream(block: PairBlock, size: int = 64) -> Stream:
    return lambda: (block.take(np.arange(i, min(i + size, len(block)))) for i in range(0, len(block), size))


def dense(block: PairBlock, statistic: str) -> tuple[np.ndarray, np.ndarray]:
    """P and D, from the definition."""

    def x(s) -> np.ndarray:
        if statistic == "max":
            return s.act_max.toarray().astype(float)
        return s.fire_count.toarray() / np.maximum(s.n_tokens, 1)[:, None]

    return x(block.prompt), x(block.chosen) - x(block.rejected)


def planted(seed: int, n_pairs: int = 600, n_topics: int = 8, per_topic: int = 6) -> tuple[PairBlock, np.ndarray]:
    """Features in runs of `per_topic`: run k fires together, on prompts of topic k and, drawn afresh, in responses.

    Run k of the responses shifts towards the side that a coin of the pair and the run says. After the runs: noise, a
    feature that fires the same in both responses, and one that is the same everywhere. Returns the run of every feature
    (-1 for the last ones).
    """
    rng = np.random.default_rng(seed)
    run = np.concatenate([np.repeat(np.arange(n_topics), per_topic), [-1] * 4])
    n_features, n_tokens = run.size, 100
    topic = rng.integers(n_topics, size=n_pairs)
    coin = rng.integers(-2, 3, size=(n_pairs, n_topics))  # -2, -1: rejected; 1, 2: chosen
    spans = []
    for side in (0, 1, -1):
        on = topic[:, None] == np.arange(n_topics) if side == 0 else coin * side == 2
        fires = on[:, run] & (rng.random((n_pairs, n_features)) < 0.95)
        fires |= rng.random((n_pairs, n_features)) < 0.02
        fires[:, -4:-2] = rng.random((n_pairs, 2)) < 0.3
        fires[:, -2:] = True
        count = fires * rng.integers(3, 6, fires.shape)
        act = fires * rng.uniform(1.0, 1.5, fires.shape)
        count[:, -2:], act[:, -2:] = 5, 2.0
        spans.append(span(count, act, np.full(n_pairs, n_tokens)))
    return PairBlock(*spans), run


def test_moments_by_hand() -> None:
    prompt = span([[1, 0], [2, 0]], [[0.5, 0], [1.5, 0]], [2, 4])
    chosen = span([[1, 2], [0, 0]], [[1.0, 3.0], [0, 0]], [10, 5])
    rejected = span([[0, 2], [1, 0]], [[0, 1.0], [2.0, 0]], [10, 5])
    m = measure_moments(stream(PairBlock(prompt, chosen, rejected), 1), 2)
    assert (m.n_pairs, m.pairs_active.tolist(), m.prompts_active.tolist()) == (2, [2, 1], [2, 0])
    # D_max: (1, 2), (-2, 0); D_freq: (0.1, 0), (-0.2, 0): equal frequencies are active pairs, but no shift
    mean, sd, size = m.shift_moments("max")
    assert mean.tolist() == [-0.5, 1.0] and sd.tolist() == [1.5, 1.0] and size.tolist() == [1.5, 1.0]
    mean, sd, size = m.shift_moments("freq")
    np.testing.assert_allclose([mean, sd, size], [[-0.05, 0], [0.15, 0], [0.15, 0]], atol=1e-15)
    assert [v.tolist() for v in m.prompt_moments("max")] == [[1.0, 0.0], [0.5, 0.0]]
    assert [v.tolist() for v in m.prompt_moments("freq")] == [[0.5, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_moments_of_blocks_and_of_merged_parts_are_those_of_the_dense_matrix(statistic) -> None:
    block = random_block(0, n_pairs=130, n_features=20)
    p, d = dense(block, statistic)
    whole = measure_moments(stream(block, 17), 20)
    left, right = (measure_moments(stream(block.take(rows), 50), 20) for rows in (np.arange(40), np.arange(40, 130)))
    left.merge(right)
    for m in (whole, left):
        assert m.n_pairs == 130
        np.testing.assert_allclose(m.shift_moments(statistic), [d.mean(0), d.std(0), np.abs(d).mean(0)], atol=1e-12)
        np.testing.assert_allclose(m.prompt_moments(statistic), [p.mean(0), p.std(0)], atol=1e-12)
        active = (block.chosen.act_max.toarray() > 0) | (block.rejected.act_max.toarray() > 0)
        assert m.pairs_active.tolist() == active.sum(0).tolist()
        assert m.prompts_active.tolist() == (p > 0).sum(0).tolist()


def test_scaling_rules_by_hand() -> None:
    assert [min_active(n) for n in (0, 20, 750, 751, 853, 9_999, 260_000)] == [15, 15, 15, 16, 18, 200, 200]
    assert min_active(20, paper=True) == 200
    assert [n_clusters(f) for f in (0, 3, 8, 359, 360, 4000, 65_536)] == [0, 3, 8, 8, 9, 100, 1000]
    assert [n_components(*s) for s in ((40, 100), (40, 30), (3, 9), (600, 100_000))] == [10, 7, 1, 128]
    assert [n_components(*s, paper=True) for s in ((40, 100), (40, 30), (600, 100_000))] == [40, 30, 128]


def standardised(seed: int, n: int = 70, f: int = 25) -> tuple[csr_array, np.ndarray, np.ndarray, np.ndarray]:
    """A sparse X, the moments to standardise by (not its own: those of more data) and the dense standardised matrix."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, f)) * (rng.random((n, f)) < 0.3)
    mean, sd = rng.normal(0.2, 0.1, f), rng.uniform(0.5, 2.0, f)
    return csr_array(x), mean, sd, (x - mean) / sd


@pytest.mark.parametrize("shape", [(70, 25), (25, 70)])
def test_at_full_rank_it_is_the_dense_svd(shape) -> None:
    x, mean, sd, a = standardised(0, *shape)
    v, sigma = right_singular_vectors([x[:9], x[9:10], x[10:]], mean, sd, min(shape), seed=0)
    _, expected, vt = np.linalg.svd(a, full_matrices=False)
    np.testing.assert_allclose(sigma, expected, rtol=1e-8)
    np.testing.assert_allclose(v @ v.T, vt.T @ vt, atol=1e-8)
    np.testing.assert_allclose(np.abs(vt @ v), np.eye(min(shape)), atol=1e-6)
    assert (v.max(axis=0) == np.abs(v).max(axis=0)).all()
    # at full rank nothing is lost: features are embedded at the angles of the dense columns
    columns, points = a / np.linalg.norm(a, axis=0), embed(v, sigma)
    np.testing.assert_allclose(points @ points.T, columns.T @ columns, atol=1e-5)


def test_at_lower_rank_it_is_the_leading_subspace_of_the_dense_svd() -> None:
    rng = np.random.default_rng(1)
    signal = rng.standard_normal((90, 5)) @ rng.standard_normal((5, 80))
    scale = 10 ** rng.uniform(-3, 3, 80)  # what is large before standardising must not lead
    x = csr_array((signal + 0.01 * rng.standard_normal((90, 80))) * scale)
    mean, sd = rng.normal(0.2, 0.1, 80) * scale, rng.uniform(0.5, 2.0, 80) * scale
    v, sigma = right_singular_vectors([x[:30], x[30:]], mean, sd, 6, seed=0)  # 5, and the one that the mean adds
    _, expected, vt = np.linalg.svd((x.toarray() - mean) / sd)
    np.testing.assert_allclose(v @ v.T, vt[:6].T @ vt[:6], atol=1e-6)
    np.testing.assert_allclose(sigma, expected[:6], rtol=1e-6)
    assert v.shape == (80, 6)


def test_which_response_features_are_kept_by_hand() -> None:
    n = 1000  # r = 20
    columns = np.zeros((n, 6))
    columns[:20, 0] = 1.0  # active in 20: kept
    columns[:19, 1] = 1.0  # in 19
    columns[:, 2] = 5e-4  # mean 5e-4, but sd 0
    columns[0, 3] = 0.05  # below, it is also active in 20: sd 0.0016, but mean size 5e-5
    columns[0, 4] = 0.12  # the same, mean size 1.2e-4: kept
    columns[::2, 5] = 1.9e-3  # sd 9.5e-4, mean size 9.5e-4
    rejected = np.zeros((n, 6))
    rejected[:20, 3:5] = 0.25
    columns[:20, 3:5] += 0.25
    block = PairBlock(*(span(x > 0, x, np.full(n, 5)) for x in (columns, columns, rejected)))
    found = find_shifts(stream(block, 400), 6)["max"]
    assert sorted(np.concatenate(found.shift_concepts).tolist()) == [0, 4]
    assert sorted(np.concatenate(found.prompt_concepts).tolist()) == [0, 3, 4, 5]  # feature 2 is the same on all


def test_planted_features_are_recovered_from_both_sides() -> None:
    block, run = planted(0)
    for q, found in find_shifts(stream(block), run.size).items():
        assert found.statistic == q
        for concepts in (found.prompt_concepts, found.shift_concepts):
            assert [ids.tolist() for ids in concepts] == sorted(
                (ids.tolist() for ids in concepts), key=lambda ids: (-len(ids), ids[0])
            )
            whole = [c.tolist() for c in concepts]
            assert sum(np.flatnonzero(run == k).tolist() in whole for k in range(8)) >= 6, whole
            for ids in concepts:  # k-means may put two runs together, but cuts none
                runs, n = np.unique(run[ids], return_counts=True)
                assert (n[runs >= 0] == 6).all()


def test_every_kept_feature_is_in_one_concept_and_the_others_are_counted() -> None:
    block, run = planted(1)
    for found in find_shifts(stream(block), run.size).values():
        report = found.report()
        json.dumps(report)
        in_prompts, in_shifts = (np.concatenate(c) for c in (found.prompt_concepts, found.shift_concepts))
        # the last two fire everywhere alike: on prompts they tell nothing, in responses they never shift
        assert sorted(in_prompts.tolist()) == sorted(in_shifts.tolist()) == list(range(run.size - 2))
        assert report["n_prompt_features_kept"] == report["n_response_features_kept"] == run.size - 2
        assert report["n_prompt_features_not_kept"] == report["n_response_features_not_kept"] == 2
        assert report["notes"] == [] and report["min_active"] == 15 and report["n_pairs"] == 600
        sd = dense(block, found.statistic)[1].std(axis=0)
        np.testing.assert_allclose(found.sigma, sd, atol=1e-9)


def test_a_recovered_shift_concept_scores_the_pairs_that_were_planted() -> None:
    block, run = planted(2)
    found = find_shifts(stream(block), run.size)["max"]
    u = response_scores(block, concept_columns(found.shift_concepts, run.size, "max", found.sigma))
    fires = [s.fire_count.toarray() > 0 for s in (block.chosen, block.rejected)]
    for m, ids in enumerate(found.shift_concepts):
        n_chosen, n_rejected = (side[:, ids].sum(axis=1) for side in fires)
        assert u[n_chosen - n_rejected >= 4, m].min() > u[n_rejected - n_chosen >= 4, m].max()


def test_independent_features_give_no_such_concepts() -> None:
    block, run = planted(3)
    rng = np.random.default_rng(0)

    def shuffled(s):  # every feature's values go to other pairs: all its own moments stay
        dense_count, dense_act = s.fire_count.toarray(), s.act_max.toarray()
        order = rng.permuted(np.tile(np.arange(len(block))[:, None], run.size), axis=0)
        return span(np.take_along_axis(dense_count, order, 0), np.take_along_axis(dense_act, order, 0), s.n_tokens)

    null = PairBlock(*(shuffled(s) for s in (block.prompt, block.chosen, block.rejected)))
    found = find_shifts(stream(null), run.size)["max"]
    whole = [ids.tolist() for ids in found.prompt_concepts + found.shift_concepts]
    assert sum(np.flatnonzero(run == k).tolist() in whole for k in range(8)) == 0


def test_same_seed_same_concepts_whatever_the_blocks_and_threads() -> None:
    block, run = planted(4)
    with threadpool_limits(1):
        one = find_shifts(stream(block, 600), run.size, seed=3)
    with threadpool_limits(2):
        other = find_shifts(stream(block, 37), run.size, seed=3)
    for q in STATISTICS:
        for a, b in (
            (one[q].prompt_concepts, other[q].prompt_concepts),
            (one[q].shift_concepts, other[q].shift_concepts),
        ):
            assert [ids.tolist() for ids in a] == [ids.tolist() for ids in b]


def test_the_sample_is_made_of_the_drawn_rows(monkeypatch) -> None:
    block, run = planted(5)
    standards = {"freq": shifts._standards(measure_moments(stream(block), run.size), "freq", 15)}
    rows = np.array([0, 63, 64, 65, 300, 599])  # on both sides of a block's end; blocks without a row
    parts = shifts._sample(stream(block), rows, 600, standards)
    p, d = dense(block, "freq")
    for side, x in (("prompt", p), ("response", d)):
        got = np.concatenate([part.toarray() for part in parts["freq", side]])
        np.testing.assert_allclose(got, x[rows][:, standards["freq"][side].feature_ids], atol=1e-7)
    monkeypatch.setattr(shifts, "SAMPLE_PAIRS", 200)
    found = find_shifts(stream(block), run.size)["freq"]
    assert found.report()["n_sample"] == 200
    assert sum(np.flatnonzero(run == k).tolist() in [c.tolist() for c in found.shift_concepts] for k in range(8)) >= 5


def test_the_paper_keeps_less_of_small_data() -> None:
    block, run = planted(6)  # a run fires on about 600 / 8 prompts, and on 2 / 5 of the pairs: 240
    for found in find_shifts(stream(block), run.size, paper=True).values():
        report = found.report()
        assert report["paper"] and report["min_active"] == 200
        assert report["n_prompt_features_kept"] == 0 and found.prompt_concepts == []
        assert report["n_response_features_kept"] >= 48 and report["response_components"] == 50
        assert report["notes"] == ["no prompt feature is active in at least 200 of 600 pairs and varies enough"]


def test_twenty_pairs() -> None:
    block, run = planted(7, n_pairs=20)
    for found in find_shifts(stream(block), run.size).values():
        report = found.report()  # 15 of 20 pairs: the two that fire everywhere, and they never change
        assert found.prompt_concepts == found.shift_concepts == [] and len(report["notes"]) == 2
        assert report["n_prompt_concepts"] == 0 and report["prompt_concept_size_max"] is None


def test_few_features_and_identical_ones() -> None:
    rng = np.random.default_rng(0)
    on = np.repeat(rng.random((60, 1)) < 0.5, 3, axis=1)  # three copies of one feature: one cluster, none empty
    off = np.zeros_like(on)
    block = PairBlock(span(on, on, np.full(60, 9)), span(on, on, np.full(60, 9)), span(off, off, np.full(60, 9)))
    for found in find_shifts(stream(block), 3).values():
        assert [c.tolist() for c in found.prompt_concepts] == [c.tolist() for c in found.shift_concepts] == [[0, 1, 2]]


def test_no_pairs() -> None:
    for found in find_shifts(lambda: iter([]), 5).values():
        assert found.prompt_concepts == found.shift_concepts == [] and found.report()["n_pairs"] == 0
        assert found.sigma.tolist() == [0.0] * 5


def test_measurements_that_make_no_sense() -> None:
    good = span([[1, 0]], [[1.0, 0]], [4])

    def broken(**changed) -> PairBlock:
        return PairBlock(**({"prompt": good, "chosen": good, "rejected": good} | changed))

    infinite = span([[1, 0]], [[np.inf, 0]], [4])
    negative = span([[1, 0]], [[1.0, 0]], [4])
    negative.fire_count.data[:] = -1
    cases = [
        (broken(chosen=infinite), "finite"),
        (broken(prompt=negative), "> 0"),
        (broken(rejected=span([[0, 0]], [[0, 0]], [0])), "drop its pair"),
        (broken(prompt=span([[1, 0]], [[1.0, 0]], [0])), "cannot fire"),
        (broken(rejected=span([[1, 0]] * 2, [[1.0, 0]] * 2, [4, 4])), r"must be \(1, 2\)"),
        (broken(prompt=span([[1]], [[1.0]], [4])), r"must be \(1, 2\)"),
    ]
    for block, says in cases:
        with pytest.raises(ValueError, match=says):
            Moments(2).add(block)
    Moments(2).add(broken(prompt=span([[0, 0]], [[0, 0]], [0])))  # a prompt may be empty


def test_a_stream_that_changes_between_passes_is_refused() -> None:
    block, run = planted(8, n_pairs=100)
    moments = measure_moments(stream(block), run.size)
    with pytest.raises(ValueError, match="of 100 pairs, but the stream has 60"):
        find_shifts(stream(block.take(np.arange(60))), run.size, moments=moments)
