"""The co-firing graph against hand-worked numbers, scikit-learn and dense brute force; communities on planted data."""

import json
import math

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import mutual_info_score

from pretilt.concepts.cofiring import find_communities
from pretilt.concepts.cofiring_graph import NormalisedMI, count_firings, fired_samples, nearest_pairs, top_pairs
from pretilt.errors import UserError


def random_fired(n_samples: int, n_features: int, seed: int, *, rare: float = 1.2) -> np.ndarray:
    """Heavy-tailed firing rates, planted pairs that go together or avoid each other, dead and constant columns."""
    rng = np.random.default_rng(seed)
    rate = np.minimum(rng.lognormal(-2.5, rare, n_features), 0.97)
    dense = (rng.random((n_samples, n_features)) < rate).astype(np.int32)
    dense[:, 1] = dense[:, 0] | (rng.random(n_samples) < 0.02)
    dense[:, 2] = rng.random(n_samples) < 0.5
    dense[:, 3] = 1 - dense[:, 2]
    dense[:, 4] = 0
    dense[:, 5] = 1
    return dense


def dense_nmi(dense: np.ndarray) -> np.ndarray:
    """Normalised MI of all pairs from dense probabilities, an entirely different route from counts to value."""
    n = dense.shape[0]
    x = dense.astype(np.float64)
    total = np.zeros((x.shape[1],) * 2)
    for a in (x, 1 - x):
        for b in (x, 1 - x):
            joint = a.T @ b / n
            product = np.outer(a.mean(0), b.mean(0))
            positive = joint > 0
            total[positive] += joint[positive] * np.log(joint[positive] / product[positive])
    p = x.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nan_to_num(p * np.log(p)) - np.nan_to_num((1 - p) * np.log(1 - p))
        return np.nan_to_num(total / np.sqrt(np.outer(entropy, entropy)), nan=0.0, posinf=0.0)


def test_normalised_mi_by_hand():
    # 4 samples: g fires on 2, h on 2, both on 1: independent. Both on 2: identical. Both on 0: exact opposites.
    mi = NormalisedMI(4)
    assert mi(np.array([1, 2, 0]), np.array([2, 2, 2]), np.array([2, 2, 2])) == pytest.approx(
        [0.0, 1.0, 1.0], abs=1e-12
    )
    # g fires on samples 1 and 2, h on sample 1 only: p(1,1)=1/4, p(1,0)=1/4, p(0,0)=1/2.
    by_hand = (
        0.25 * math.log(0.25 / (0.5 * 0.25)) + 0.25 * math.log(0.25 / (0.5 * 0.75)) + 0.5 * math.log(0.5 / (0.5 * 0.75))
    )
    entropies = math.log(2) * (0.25 * math.log(4) + 0.75 * math.log(4 / 3))
    assert mi(np.array([1]), np.array([2]), np.array([1])) == pytest.approx([by_hand / math.sqrt(entropies)], abs=1e-12)
    # A feature that always fires tells nothing.
    assert mi(np.array([2]), np.array([4]), np.array([2])) == pytest.approx([0.0], abs=0)


def test_never_together_has_no_value_where_it_cannot_happen():
    mi = NormalisedMI(10)
    assert mi.never_together(np.array([7, 4]), np.array([4, 6])) == pytest.approx([0.0, mi(0, 4, 6)], abs=0)
    assert mi(0, 4, 6) == pytest.approx(1.0)


def test_normalised_mi_equals_scikit_learn_for_all_pairs():
    dense = random_fired(300, 24, seed=1)
    n_firings = dense.sum(axis=0)
    ours = NormalisedMI(300)(dense.T @ dense, n_firings[:, None], n_firings[None, :])
    entropy = [mutual_info_score(column, column) for column in dense.T]
    for g in range(24):
        for h in range(24):
            entropies = entropy[g] * entropy[h]
            expected = mutual_info_score(dense[:, g], dense[:, h]) / math.sqrt(entropies) if entropies > 1e-15 else 0.0
            assert abs(ours[g, h] - expected) < 1e-10, (g, h)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.6])
def test_top_pairs_equal_a_dense_brute_force(seed, share):
    dense = random_fired(200, 150, seed=seed)
    fires = np.flatnonzero(dense.sum(axis=0) > 0)
    n_pairs = fires.size * (fires.size - 1) // 2
    nmi = dense_nmi(dense)
    edges = top_pairs(fired_samples(dense), share=share, pairs_per_block=150 * 7)
    assert edges.n_pairs == n_pairs and edges.n_features == fires.size
    upper = np.array([nmi[g, h] for i, g in enumerate(fires) for h in fires[i + 1 :]])
    count = int(share * n_pairs)
    cut = np.sort(upper)[-count]
    assert edges.weight.size == count
    assert np.sort(edges.weight) == pytest.approx(np.sort(upper)[-count:], abs=1e-10)
    got = set(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    sure = {(g, h) for g, h in zip(*np.nonzero(np.triu(nmi, 1) > cut + 1e-9), strict=True)}
    possible = {(g, h) for g, h in zip(*np.nonzero(np.triu(nmi, 1) > cut - 1e-9), strict=True)}
    assert sure <= got <= possible
    for g, h, weight, together in zip(edges.source, edges.target, edges.weight, edges.together, strict=True):
        assert abs(weight - nmi[g, h]) < 1e-10
        expected = dense[:, g].mean() * dense[:, h].mean()
        assert bool(together) == ((dense[:, g] & dense[:, h]).mean() > expected + 1e-12)
    assert np.array_equal(np.lexsort((edges.target, edges.source)), np.arange(count))


def test_pairs_that_avoid_each_other_belong_to_the_papers_graph_and_not_to_ours():
    dense = random_fired(200, 60, seed=3)
    paper = top_pairs(fired_samples(dense), share=0.01)
    at = np.flatnonzero((paper.source == 2) & (paper.target == 3))
    assert at.size == 1 and paper.weight[at[0]] == pytest.approx(1.0) and not paper.together[at[0]]
    nearest = nearest_pairs(fired_samples(dense), neighbours=10)
    assert nearest.together.all() and not ((nearest.source == 2) & (nearest.target == 3)).any()


def test_ties_go_to_the_smaller_feature_ids():
    dense = np.zeros((12, 6), dtype=int)  # three pairs of identical features, all with normalised MI 1
    for pair in range(3):
        dense[pair * 4 : pair * 4 + 3, [pair, pair + 3]] = 1
    edges = top_pairs(fired_samples(dense), share=2 / 15, pairs_per_block=6)
    assert list(zip(edges.source, edges.target, strict=True)) == [(0, 3), (1, 4)]
    assert edges.weight == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("neighbours", [1, 5, 10])
def test_nearest_pairs_equal_a_dense_brute_force(neighbours):
    dense = random_fired(250, 80, seed=4)
    n_firings = dense.sum(axis=0)
    nmi, joint = dense_nmi(dense), dense.T @ dense
    nearest: list[set[int]] = []
    for g in range(80):
        near = [
            h for h in range(80) if h != g and joint[g, h] * 250 > n_firings[g] * n_firings[h] and nmi[g, h] > 1e-11
        ]
        nearest.append(set(sorted(near, key=lambda h: (-round(nmi[g, h], 11), h))[:neighbours]))
    expected = {(g, h) for g in range(80) for h in nearest[g] if h > g and g in nearest[h]}
    edges = nearest_pairs(fired_samples(dense), neighbours=neighbours, pairs_per_block=80 * 9)
    assert set(zip(edges.source.tolist(), edges.target.tolist(), strict=True)) == expected and expected
    assert edges.weight == pytest.approx(nmi[edges.source, edges.target], abs=1e-10)


def test_blocks_do_not_change_the_result():
    fired = fired_samples(random_fired(300, 500, seed=5))
    for build in (top_pairs, nearest_pairs):
        whole = build(fired)
        for pairs_per_block in (500 * 13, 500 * 64):
            blocked = build(fired, pairs_per_block=pairs_per_block)
            for name in ("source", "target", "weight", "together"):
                assert np.array_equal(getattr(whole, name), getattr(blocked, name)), (build, pairs_per_block, name)


def planted(n_samples: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Five blocks of eight features that fire with their topic, 160 loners, shuffled; the block of every feature."""
    rng = np.random.default_rng(seed)
    block = np.r_[np.repeat(np.arange(5), 8), np.full(160, -1)]
    on = rng.random((n_samples, 5)) < 0.2
    rate = np.full((n_samples, 200), 0.15)
    rate[:, :40] = np.where(np.repeat(on, 8, axis=1), 0.8, 0.02)
    order = rng.permutation(200)
    return (rng.random((n_samples, 200)) < rate)[:, order], block[order]


def test_planted_communities_are_found_exactly_by_the_papers_graph():
    dense, block = planted()
    found = find_communities(dense, graph="paper", top_share=0.007)  # 139 edges, 140 planted
    assert sorted(np.flatnonzero(found.community == c).tolist() for c in range(found.sizes.size)) == sorted(
        np.flatnonzero(block == b).tolist() for b in range(5)
    )


def test_planted_communities_stay_whole_and_apart_among_nearest_neighbours():
    dense, block = planted()
    found = find_communities(dense, graph="mutual-knn", neighbours=7)
    labels = [set(found.community[block == b].tolist()) for b in range(5)]
    assert all(len(label) == 1 for label in labels) and len(set.union(*labels) - {-1}) == 5


def test_a_feature_in_no_community_belongs_to_none():
    dense, block = planted()
    dense = np.c_[dense, np.zeros(len(dense), dtype=bool)]
    found = find_communities(dense, graph="paper", top_share=0.007)  # 139 edges, 140 planted
    assert found.community[-1] == -1  # never fired
    assert (found.community[np.flatnonzero(block < 0)] == -1).all()  # loners: no edge
    assert found.community.dtype == np.int32 and found.community.max() == 4 == found.sizes.size - 1
    assert found.n_fired == 200
    assert found.share_of_features == pytest.approx(40 / 200)
    assert found.share_of_mass == pytest.approx(dense[:, :200][:, block >= 0].sum() / dense.sum())
    mass = [dense[:, found.community == c].sum() for c in range(5)]
    assert mass == sorted(mass, reverse=True)


def test_small_communities_are_dissolved():
    dense, _ = planted()
    found = find_communities(dense, graph="paper", top_share=0.007, min_size=9)
    assert (found.community == -1).all() and found.sizes.size == 0 and found.share_of_mass == 0.0
    json.dumps(found.report(), allow_nan=False)


def test_same_seed_same_communities_and_the_report_says_how():
    dense, _ = planted(seed=1)
    first, second = (find_communities(sp.csr_array(dense), seed=7) for _ in range(2))
    assert np.array_equal(first.community, second.community)
    report = json.loads(json.dumps(first.report(), allow_nan=False))
    assert report["graph"] == "mutual-knn" and report["min_samples"] == 8 and report["n_edges_of_anti_association"] == 0
    assert report["n_communities"] == first.sizes.size and report["n_pairs_considered"] == 200 * 199 // 2


def test_rare_features_of_one_sample_make_no_community():
    dense, _ = planted(seed=2)
    rare = np.zeros((len(dense), 12), dtype=bool)
    rare[17] = True  # twelve features that fire once, on the same sample: identical, and meaningless
    found = find_communities(np.c_[dense, rare])
    assert (found.community[-12:] == -1).all()


def test_resolution_makes_communities_smaller():
    dense, _ = planted(seed=3)
    coarse, fine = (find_communities(dense, resolution=r, min_size=2) for r in (0.2, 20.0))
    assert np.median(coarse.sizes) > np.median(fine.sizes)


def test_fired_samples_stacks_counts_and_leaves_its_input_alone():
    chosen = sp.csr_array(np.array([[0, 3, 0], [1, 0, 0]]))
    rejected = sp.csr_array((np.array([2, 0]), np.array([2, 1]), np.array([0, 2, 2])), shape=(2, 3))  # an explicit zero
    fired = fired_samples(chosen, rejected)
    assert fired.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert fired.nnz == 3 and fired.dtype == np.int32 and chosen.data.tolist() == [3, 1] and rejected.nnz == 2
    assert count_firings(fired).tolist() == [1, 1, 1]


@pytest.mark.parametrize("graph", ["paper", "mutual-knn"])
@pytest.mark.parametrize(
    "dense", [np.zeros((5, 3)), np.ones((5, 3)), np.zeros((5, 0)), np.eye(5)[:, :1], np.zeros((0, 4))]
)
def test_data_without_any_association(graph, dense):
    found = find_communities(dense, graph=graph)
    assert (found.community == -1).all() and found.community.size == dense.shape[1] and not found.edges.weight.size


def test_an_unknown_graph_is_a_named_error():
    with pytest.raises(UserError, match="unknown co-firing graph 'knn'"):
        find_communities(np.eye(3), graph="knn")  # type: ignore[arg-type]
