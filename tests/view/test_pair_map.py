"""The map of the pairs: discs apart, areas by size, alike groups near each other, every pair in its disc."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from viewer_page import Page

from pretilt.run import Run
from pretilt.schema import GROUP_MEMBERS_FILE
from pretilt.view.pair_map import _apart, _likeness, pair_map


def test_every_pair_lies_in_the_disc_of_its_group(viewer_run_folder: Path) -> None:
    run = Run(viewer_run_folder)
    drawn = pair_map(run)
    group = run.table(GROUP_MEMBERS_FILE)["group_id"].to_numpy()[drawn.rows]
    distance = np.linalg.norm(drawn.points - drawn.centre[group], axis=1)
    assert (distance <= drawn.radius[group] + 1e-12).all()
    size = np.bincount(group, minlength=len(drawn.radius))
    assert np.allclose(drawn.radius**2 / drawn.radius[1:].max() ** 2, size / size[1:].max())
    assert drawn.points.min() >= 0 and drawn.points.max() <= 1
    apart = np.linalg.norm(drawn.centre[:, None] - drawn.centre[None], axis=2)
    touching = drawn.radius[:, None] + drawn.radius[None]
    np.fill_diagonal(touching, 0)
    assert (apart >= touching - 1e-9).all()
    assert np.array_equal(pair_map(run).points, drawn.points)


def test_no_two_points_of_a_map_fall_together(viewer_run_folder: Path) -> None:
    points = pair_map(Run(viewer_run_folder)).points
    assert len(np.unique(np.round(points, 6), axis=0)) == len(points)


def test_alike_groups_lie_near_each_other() -> None:
    """Three bundles of six directions: of every group the nearest is of its own bundle."""
    rng = np.random.default_rng(0)
    bundle = np.repeat(np.arange(3), 6)
    centroids = np.eye(3)[bundle] + 0.15 * rng.random((18, 3))
    centre = _apart(_likeness(centroids), np.full(18, 0.1))
    distance = np.linalg.norm(centre[:, None] - centre[None], axis=2) + 9 * np.eye(18)
    assert (bundle[distance.argmin(axis=1)] == bundle).all()


def test_discs_on_one_place_are_pushed_apart() -> None:
    centre = _apart(np.zeros((7, 2)), np.full(7, 1.0))
    distance = np.linalg.norm(centre[:, None] - centre[None], axis=2) + 9 * np.eye(7)
    assert distance.min() > 2.0
    assert _apart(np.ones((1, 2)), np.ones(1)).tolist() == [[0.0, 0.0]]


def test_the_page_draws_it_and_a_click_opens_the_pair(chromium: Any, site: Path, shards: dict[str, Any]) -> None:
    page = Page(chromium, (site / "index.html").as_uri())
    bold = shards["concepts"]["pattern"].index("bold")
    page.at(f"#/responses?h=pattern:{bold}").click_on(".pairlist button", "Map")
    page.shows("training pairs, a disc for each group")
    colours = "(() => { const c = document.querySelector('.pairmap canvas'); const d = c.getContext('2d')"
    colours += ".getImageData(0, 0, c.width, c.height).data; const s = new Set(); for (let i = 0; i < d.length; i += 4)"
    colours += " if (d[i + 3] > 200) s.add(d[i] + ',' + d[i + 1] + ',' + d[i + 2]); return s.size; })()"
    page.wait(f"{colours} >= 1")
    at = shards["map"]["x"][0], shards["map"]["y"][0]
    page.js(
        "((x, y) => { const c = document.querySelector('.pairmap canvas'), b = c.getBoundingClientRect();"
        "const side = Math.min(b.width, b.height) - 8;"
        "c.dispatchEvent(new MouseEvent('click', {bubbles: true, clientX: b.left + (b.width - side) / 2 + x / 9999 *"
        "side, clientY: b.top + (b.height - side) / 2 + y / 9999 * side})); })(arguments[0], arguments[1])",
        *at,
    )
    first = shards["facts"]["train"].index(True)
    page.wait("location.hash === arguments[0]", f"#/pairs?i={first}")
    assert page.errors() == []
