"""Silent pairs, spherical k-means, stored centroids."""

from __future__ import annotations

import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_array, random_array

from pretilt import schema
from pretilt.stats import groups
from pretilt.stats.groups import GroupModel, fit_groups, groups_to_table, n_groups_for


def topics(seed: int, n_topics: int = 8, per_topic: int = 60, n_communities: int = 50) -> tuple[csr_array, np.ndarray]:
    """Pairs of known topics: four communities of their own each, noise, and lengths that vary by a factor of ten."""
    rng = np.random.default_rng(seed)
    topic = np.repeat(np.arange(n_topics), per_topic)
    s = rng.random((topic.size, n_communities)) * (rng.random((topic.size, n_communities)) < 0.1) * 0.3
    for k in range(n_topics):
        s[topic == k, 4 * k : 4 * k + 4] += 0.5 + rng.random((per_topic, 4))
    s *= 10 ** rng.random((topic.size, 1))
    order = rng.permutation(topic.size)
    return csr_array(s[order]), topic[order]


def cosines(activity: csr_array, centroids: np.ndarray) -> np.ndarray:
    dense = activity.toarray()
    return (dense / np.linalg.norm(dense, axis=1, keepdims=True)) @ centroids.T.astype(float)


def test_where_nearly_all_is_zero_the_groups_are_the_same() -> None:
    """Columns that are never used change no cosine; beside many of them products are sparse."""
    activity, _ = topics(5)
    wide = csr_array((activity.data, activity.indices, activity.indptr), (activity.shape[0], 40 * activity.shape[1]))
    assert wide.nnz < 0.05 * np.prod(wide.shape) < activity.nnz * 40
    (model, group_id), (of_wide, group_of_wide) = fit_groups(activity, n_groups=8), fit_groups(wide, n_groups=8)
    np.testing.assert_array_equal(group_id, group_of_wide)
    used = of_wide.centroids[:, : activity.shape[1]]
    np.testing.assert_allclose(used, model.centroids, atol=1e-6)
    assert not of_wide.centroids[:, activity.shape[1] :].any()


def test_how_many_groups() -> None:
    assert [n_groups_for(n) for n in (0, 99, 150, 1350, 25_599, 25_600, 260_000)] == [2, 2, 3, 27, 511, 512, 512]


def test_planted_topics_are_recovered() -> None:
    activity, topic = topics(0)
    model, group_id = fit_groups(activity, n_groups=8)
    active = group_id > 0
    table = np.zeros((8, 8), int)
    np.add.at(table, (topic[active], group_id[active] - 1), 1)
    assert ((table > 0).sum(axis=0) == 1).all() and ((table > 0).sum(axis=1) == 1).all()
    assert model.sizes.tolist() == np.bincount(group_id, minlength=9).tolist()
    assert sorted(model.sizes[1:].tolist(), reverse=True) == model.sizes[1:].tolist()


def test_every_pair_is_with_its_nearest_centroid_and_centroids_are_mean_directions() -> None:
    activity, _ = topics(1)
    model, group_id = fit_groups(activity, n_groups=8)
    np.testing.assert_allclose(np.linalg.norm(model.centroids, axis=1), 1.0, atol=1e-6)
    active = group_id > 0
    cosine = cosines(activity[active], model.centroids)
    np.testing.assert_array_equal(cosine.argmax(axis=1) + 1, group_id[active])
    dense = activity.toarray()
    unit = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    for group in range(1, 9):  # converged: each centroid is the direction of the sum of its unit rows
        direction = unit[group_id == group].sum(axis=0)
        np.testing.assert_allclose(model.centroids[group - 1], direction / np.linalg.norm(direction), atol=1e-4)


def test_length_does_not_matter_only_direction_does() -> None:
    activity, _ = topics(2)
    _, group_id = fit_groups(activity, n_groups=8)
    model, _ = fit_groups(activity, n_groups=8)
    louder = csr_array(activity * 7.0)
    active = group_id > 0
    np.testing.assert_array_equal(model.assign(louder)[active], group_id[active])


def test_the_silent_group_by_hand() -> None:
    # norms 1 … 100: the 5th percentile (linear) is 1 + 0.05 * 99 = 5.95, so 1 … 5 are silent, and a row of zeros always
    s = np.zeros((100, 3))
    s[:, 0] = np.arange(1, 101)
    model, group_id = fit_groups(csr_array(s))
    assert model.silent_cutoff == pytest.approx(5.95)
    assert np.flatnonzero(group_id == 0).tolist() == [0, 1, 2, 3, 4]
    assert model.assign(csr_array([[0.0, 5.9, 0.0], [0.0, 0.0, 6.0], [0.0, 0.0, 0.0]])).tolist()[0::2] == [0, 0]
    assert len(model) == 1  # all pairs point the same way: no second group is invented


def test_pairs_without_any_activity_are_silent_even_if_they_are_many() -> None:
    activity, _ = topics(3)
    many = csr_array(np.vstack([activity.toarray(), np.zeros((200, 50))]))
    model, group_id = fit_groups(many, n_groups=8)
    assert model.silent_cutoff == 0.0
    assert np.flatnonzero(group_id == 0).tolist() == list(range(480, 680))


def test_fitting_is_deterministic_and_assign_repeats_it() -> None:
    activity, _ = topics(4)
    one, group_one = fit_groups(activity, seed=3)
    other, group_other = fit_groups(activity, seed=3)
    assert one.centroids.tobytes() == other.centroids.tobytes()
    np.testing.assert_array_equal(group_one, group_other)
    np.testing.assert_array_equal(one.assign(activity), group_one)


def test_up_to_fit_rows_active_pairs_all_of_them_are_fitted_on(monkeypatch) -> None:
    activity, _ = topics(10)
    whole, group_id = fit_groups(activity, n_groups=8)
    n_active = int((group_id > 0).sum())
    monkeypatch.setattr(groups, "FIT_ROWS", n_active)
    same, group_same = fit_groups(activity, n_groups=8)
    assert same.centroids.tobytes() == whole.centroids.tobytes()
    np.testing.assert_array_equal(group_same, group_id)
    monkeypatch.setattr(groups, "FIT_ROWS", n_active - 1)  # one pair fewer, and the mean directions are others
    assert fit_groups(activity, n_groups=8)[0].centroids.tobytes() != whole.centroids.tobytes()


def test_of_more_active_pairs_some_are_fitted_on_and_all_assigned(monkeypatch) -> None:
    activity, topic = topics(11)
    whole, group_whole = fit_groups(activity, n_groups=8)
    monkeypatch.setattr(groups, "FIT_ROWS", 120)  # of 456 active pairs
    model, group_id = fit_groups(activity, n_groups=8, seed=1)
    np.testing.assert_array_equal(group_id == 0, group_whole == 0)  # which pairs are silent is asked of all
    assert model.silent_cutoff == whole.silent_cutoff
    assert model.sizes.tolist() == np.bincount(group_id, minlength=9).tolist() and model.sizes.sum() == 480
    assert model.sizes[1:].tolist() == sorted(
        model.sizes[1:].tolist(), reverse=True
    )  # by all pairs, not by those drawn
    np.testing.assert_array_equal(model.assign(activity), group_id)
    for k in range(8):  # a topic is one group, as it is when all pairs are fitted on
        assert np.unique(group_id[(topic == k) & (group_id > 0)]).size == 1
    again, group_again = fit_groups(activity, n_groups=8, seed=1)
    assert again.centroids.tobytes() == model.centroids.tobytes()
    np.testing.assert_array_equal(group_again, group_id)
    other, _ = fit_groups(activity, n_groups=8, seed=2)  # another seed draws other pairs: other mean directions
    assert not np.allclose(np.sort(other.centroids, axis=0), np.sort(model.centroids, axis=0), atol=1e-4)
    assert len(fit_groups(activity, n_groups=300)[0]) <= 120  # no more groups than pairs to fit them on


def test_no_group_is_left_empty() -> None:
    # three far-apart directions, two of them single pairs among many copies: seeds fall together, clusters run empty
    rng = np.random.default_rng(0)
    s = np.abs(rng.normal(0, 0.01, (300, 6)))
    s[:, 0] += 1
    s[7, 1], s[8, 2] = 50, 50
    for seed in range(5):
        model, group_id = fit_groups(csr_array(s), n_groups=12, seed=seed)
        assert np.bincount(group_id, minlength=len(model) + 1)[1:].min() >= 1
        assert group_id[7] != group_id[8]


def test_few_or_no_pairs() -> None:
    model, group_id = fit_groups(csr_array((3, 4), dtype=float))
    assert (len(model), group_id.tolist(), model.sizes.tolist()) == (0, [0, 0, 0], [3])
    assert model.assign(csr_array([[1.0, 0, 0, 0]])).tolist() == [0]
    model, group_id = fit_groups(csr_array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    assert sorted(group_id.tolist()) == [0, 1, 2]
    model, group_id = fit_groups(csr_array((0, 4), dtype=float))
    assert (len(model), group_id.size) == (0, 0)


def test_stored_groups_come_back_bit_for_bit(tmp_path) -> None:
    activity, _ = topics(5)
    model, _ = fit_groups(activity, n_groups=8)
    pq.write_table(model.to_table(), tmp_path / "groups.parquet")
    back = GroupModel.from_table(pq.read_table(tmp_path / "groups.parquet"))
    assert back.centroids.tobytes() == model.centroids.tobytes()
    assert back.silent_cutoff == model.silent_cutoff
    held_out, _ = topics(6)
    np.testing.assert_array_equal(back.assign(held_out), model.assign(held_out))
    empty = GroupModel(np.empty((0, 4), np.float32), np.array([3]), 0.0)
    assert GroupModel.from_table(empty.to_table()).centroids.shape == (0, 4)


def test_what_a_group_is_about() -> None:
    activity, topic = topics(7)
    model, group_id = fit_groups(activity, n_groups=8)
    community_ids = np.arange(100, 150)
    about = model.distinctive_communities(community_ids, n=4)
    assert about[0] == []
    for group in range(1, 9):
        k = int(topic[group_id == group][0])
        assert sorted(about[group]) == list(range(100 + 4 * k, 104 + 4 * k))
    table = groups_to_table(model, community_ids, [f"g{i}" for i in range(9)], [["x"]] * 9)
    assert table.schema == schema.GROUPS
    assert table["size"].to_pylist() == model.sizes.tolist()


def test_misfits_are_refused() -> None:
    model, _ = fit_groups(topics(0)[0])
    with pytest.raises(ValueError, match="communities"):
        model.assign(csr_array((2, 3), dtype=float))
    with pytest.raises(ValueError, match="negative"):
        fit_groups(csr_array([[-1.0, 0.0]]))


def test_speed_is_printed(capsys) -> None:
    activity = csr_array(random_array((20_000, 800), density=0.15, rng=np.random.default_rng(0)))
    start = time.process_time()
    model, group_id = fit_groups(activity, n_groups=64)
    with capsys.disabled():
        print(f"\n20,000 x 800 into {len(model)} groups: {time.process_time() - start:.1f} CPU seconds")
    assert np.bincount(group_id).tolist() == model.sizes.tolist()
