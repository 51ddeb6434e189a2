"""The map of the concepts: alike ones near each other, what is like nothing on the edge, the same run the same map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import pretilt
from pretilt.run import Run
from pretilt.view import concept_map as maps
from pretilt.view.concept_map import concept_map, map_of, prompt_map, standardised


def bundled_scores(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """u of 40 concepts on 600 pairs, and which of four bundles each is of: a bundle stands in pairs of its own."""
    rng = np.random.default_rng(seed)
    bundle = np.repeat(np.arange(4), 10)
    sign_of_pair = rng.choice([-1, 1], 600)
    u = np.zeros((40, 600))
    for i, number in enumerate(bundle):
        span = slice(150 * number, 150 * number + 150)
        u[i, span] = sign_of_pair[span] * (rng.random(150) < 0.8)
    return u, bundle


def distances(points: np.ndarray) -> np.ndarray:
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return apart


def test_concepts_of_the_same_pairs_lie_near_each_other() -> None:
    u, bundle = bundled_scores()
    drawn = map_of(standardised(u), 600)
    assert drawn.by_likeness and drawn.n_alone == 0 and drawn.points.shape == (40, 2)
    assert drawn.points.min() >= 0 and drawn.points.max() <= 1
    nearest = np.argsort(distances(drawn.points), axis=1)[:, :5]
    assert (bundle[nearest] == bundle[:, None]).all()


def test_the_contrary_concept_stands_in_the_same_pairs() -> None:
    """Half of a bundle turned around: those more in rejected lie among those more in chosen."""
    u, bundle = bundled_scores()
    u[::2] *= -1
    nearest = np.argsort(distances(map_of(standardised(u), 600).points), axis=1)[:, :5]
    assert (bundle[nearest] == bundle[:, None]).all()


def test_shuffled_scores_bring_no_bundle_together() -> None:
    """A null: with the pairs of every concept drawn anew, neighbours are of the same bundle as often as by chance."""
    u, bundle = bundled_scores()
    rng = np.random.default_rng(1)
    shuffled = np.stack([rng.permutation(row) for row in u])
    nearest = np.argsort(distances(map_of(standardised(shuffled), 600).points), axis=1)[:, :5]
    assert abs((bundle[nearest] == bundle[:, None]).mean() - 9 / 39) < 0.15


def test_the_map_does_not_change_with_units_or_where_zero_is() -> None:
    u, _ = bundled_scores()
    moved = (u * np.linspace(0.1, 50, 40)[:, None]) + np.linspace(-3, 3, 40)[:, None]
    assert np.array_equal(map_of(standardised(u), 600).points, map_of(standardised(moved), 600).points)


def test_what_stands_in_no_pair_or_in_all_of_them_lies_on_the_lower_edge() -> None:
    u, _ = bundled_scores()
    u[3], u[17], u[25] = 0, 1, -0.3
    drawn = map_of(standardised(u), 600)
    assert drawn.n_alone == 3
    assert drawn.points[[3, 17, 25], 1].tolist() == [0, 0, 0]
    assert drawn.points[[3, 17, 25], 0].tolist() == pytest.approx([1 / 6, 3 / 6, 5 / 6])
    others = np.setdiff1d(np.arange(40), [3, 17, 25])
    assert drawn.points[others, 1].min() >= 0.05


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_few_concepts_stand_on_a_circle_each_at_its_own_place(n: int) -> None:
    u = np.random.default_rng(0).random((n, 50))
    drawn = map_of(standardised(u), 50)
    assert not drawn.by_likeness and drawn.points.shape == (n, 2)
    assert len(np.unique(np.round(drawn.points, 6), axis=0)) == n
    if n == 1:
        assert drawn.points.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("u", [np.zeros((30, 40)), np.ones((30, 40)), np.eye(30), np.zeros((30, 0))])
def test_where_nothing_is_alike_there_is_no_map_by_likeness(u: np.ndarray) -> None:
    rows = csr_array(u) if u.shape == (30, 30) else standardised(u)
    drawn = map_of(rows, u.shape[1])
    assert not drawn.by_likeness and np.isfinite(drawn.points).all()
    assert len(np.unique(np.round(drawn.points, 6), axis=0)) == 30


@pytest.mark.parametrize("n", [5, 6, 12])
def test_equal_concepts_and_few_of_them_are_placed(n: int) -> None:
    u = np.tile(np.random.default_rng(0).integers(-1, 2, 80), (n, 1))
    drawn = map_of(standardised(u), 80)
    assert drawn.by_likeness and np.isfinite(drawn.points).all()


def test_places_by_the_pairs_that_they_share() -> None:
    """Two bundles of prompt concepts: within one, two share 45 of 50 pairs; between them none."""
    rng = np.random.default_rng(0)
    rows = np.zeros((24, 100), np.float32)
    for i in range(24):
        rows[i, 50 * (i % 2) + rng.choice(50, 45, replace=False)] = 45**-0.5
    nearest = distances(map_of(csr_array(rows), 100).points).argmin(axis=1)
    assert (nearest % 2 == np.arange(24) % 2).all()


def test_a_run_gives_the_same_map_again(viewer_run_folder: Path) -> None:
    """Text alone: there are groups and no prompt concepts, and groups share no pair."""
    run = Run(viewer_run_folder)
    drawn = concept_map(run)
    assert drawn.by_likeness and len(drawn.points) == run.table("concepts.parquet").num_rows
    assert np.array_equal(concept_map(Run(viewer_run_folder)).points, drawn.points)
    places = prompt_map(run)
    assert len(places.points) == run.table("groups.parquet").num_rows and not places.by_likeness


def test_a_run_with_a_lens_places_features_and_prompts(shared_run: pretilt.AuditResult) -> None:
    run = shared_run.run
    drawn, places = concept_map(run), prompt_map(run)
    assert drawn.by_likeness and len(drawn.points) == shared_run.concepts.num_rows
    n_places = shared_run.groups.num_rows + run.table("prompt_concepts.parquet").num_rows
    assert len(places.points) == n_places and np.isfinite(places.points).all()


def test_of_many_pairs_some_are_read_and_the_map_says_how_many(
    viewer_run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 pairs in place of all, read ten concepts at a time."""
    run = Run(viewer_run_folder)
    monkeypatch.setattr(maps, "MOST_PAIRS", 150)
    whole = concept_map(run)
    monkeypatch.setattr(maps, "BYTES_AT_ONCE", 16 * 150 * 10)
    in_parts = concept_map(run)
    assert whole.n_pairs == in_parts.n_pairs == 150
    assert np.array_equal(whole.points, in_parts.points)


def test_the_shards_hold_a_point_for_each_in_the_order_of_the_page(shards: dict[str, Any]) -> None:
    """y is counted downwards, so that what is like nothing, on the lower edge, has the largest."""
    likeness, overlap = shards["likeness"], shards["overlap"]
    assert len(likeness["x"]) == len(likeness["y"]) == len(shards["concepts"]["concept_id"])
    n_places = len(shards["places"]["groups"]) + len(shards["places"]["prompt_concepts"])
    assert len(overlap["x"]) == len(overlap["y"]) == n_places
    assert likeness["n_pairs"] == shards["index"]["n_train"] and likeness["by_likeness"] and not overlap["by_likeness"]
    empty = [i for i, n in enumerate(shards["concepts"]["n_pairs_active"]) if n == 0]
    assert likeness["n_alone"] >= len(empty) > 0 and {likeness["y"][i] for i in empty} == {9999}
