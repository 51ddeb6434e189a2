"""Every training pair as a point: groups are discs, alike groups lie near each other, a pair lies in its group's disc.

Where in its disc a pair lies says nothing: points of a disc stand on a spiral in the order of the data. A map that
promised more would show distances that nothing measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.lens.blocks import train_rows
from pretilt.run import Run
from pretilt.schema import CENTROIDS_FILE, GROUP_MEMBERS_FILE, SILENT_GROUP
from pretilt.stats.groups import GroupModel

ROUNDS = 400  # of pushing discs apart
SPACE = 2.2  # area of the map, in areas of all discs
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_FEW = 5  # groups; fewer are put on a circle


@dataclass(frozen=True)
class PairMap:
    """Positions in [0, 1]; `rows` are the places of the training pairs in pairs.parquet.

    Group g has `centre[g]` and `radius[g]`; the silent group is the first, apart from the others.
    """

    rows: np.ndarray  # int64 [n]
    points: np.ndarray  # float64 [n, 2]
    centre: np.ndarray  # float64 [K + 1, 2]
    radius: np.ndarray  # float64 [K + 1]
    by_likeness: bool  # False: the run holds no centroids, and where a disc lies says nothing


def pair_map(run: Run) -> PairMap:
    """The same run gives the same map. A run without groups gives one disc."""
    rows = np.flatnonzero(train_rows(run))
    group = run.table(GROUP_MEMBERS_FILE, ["group_id"])["group_id"].to_numpy()[rows]
    n_groups = int(group.max(initial=0))
    centroids = np.zeros((0, 0))
    if run.holds(CENTROIDS_FILE):
        centroids = GroupModel.from_table(run.table(CENTROIDS_FILE)).centroids.astype(np.float64)[:n_groups]
    size = np.bincount(group, minlength=n_groups + 1)

    # A disc's area is its number of pairs.
    radius = np.sqrt(size / max(size.sum(), 1) / np.pi)
    by_likeness = len(centroids) == n_groups >= _FEW
    centre = _apart(_likeness(centroids) if by_likeness else _circle(n_groups), radius[1:])
    centre, radius = _with_silent(centre, radius)
    return PairMap(rows, _spirals(group, centre, radius), centre, radius, by_likeness)


def _likeness(centroids: np.ndarray) -> np.ndarray:
    """t-SNE of the centroids by the angle between them, centred, in units of its spread."""
    from sklearn.manifold import TSNE

    # Exactly: the approximation for many points starts threads, which take a minute where others are busy.
    tsne = TSNE(
        perplexity=min(15.0, (len(centroids) - 1) / 3), metric="cosine", init="random", random_state=0, method="exact",
        max_iter=500,
    )  # fmt: skip
    layout = tsne.fit_transform(centroids)
    layout = np.asarray(layout, np.float64) - layout.mean(axis=0)
    scaled: np.ndarray = layout / max(float(np.abs(layout).max()), 1e-12)
    return scaled


def _circle(n_groups: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n_groups) / max(n_groups, 1)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _apart(centre: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The discs pushed apart until none overlaps, or for `ROUNDS` rounds."""
    if len(centre) < 2:
        return centre * 0
    centre = centre * np.sqrt(SPACE * (radius**2).sum())
    gap = 1.06 * (radius[:, None] + radius[None, :])
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        offset = centre[:, None] - centre[None, :]
        distance = np.linalg.norm(offset, axis=2)
        overlap = np.maximum(gap - distance, 0)
        np.fill_diagonal(overlap, 0)
        if overlap.max() < 1e-4 * gap.max():
            break
        same = (distance < 1e-9) & (overlap > 0)
        offset[same] = rng.standard_normal((int(same.sum()), 2))
        step = overlap / np.maximum(np.linalg.norm(offset, axis=2), 1e-9)
        centre = centre + 0.35 * (offset * step[:, :, None]).sum(axis=1)
    return centre


def _with_silent(centre: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The silent group's disc below the others, and all of it scaled into [0, 1]."""
    low, right = (centre[:, 1] - radius[1:]).min(initial=0.0), (centre[:, 0] + radius[1:]).max(initial=0.0)
    silent = [right - radius[SILENT_GROUP], low - 1.2 * radius[SILENT_GROUP]]
    centre = np.concatenate([[silent], centre])
    start, stop = (centre - radius[:, None]).min(axis=0), (centre + radius[:, None]).max(axis=0)
    scale = max(float((stop - start).max()), 1e-12)
    return (centre - start) / scale, radius / scale


def _spirals(group: np.ndarray, centre: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """A point of each pair: the k-th of a disc at the k-th place of a sunflower."""
    order = np.argsort(group, kind="stable")
    size = np.bincount(group, minlength=len(radius))
    rank = np.empty(group.size)
    rank[order] = np.arange(group.size) - np.repeat(np.cumsum(size) - size, size)
    distance = radius[group] * np.sqrt((rank + 0.5) / np.maximum(size[group], 1))
    angle = rank * GOLDEN_ANGLE
    return centre[group] + distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
