"""Which pairs are about the same thing: a silent group and spherical k-means on the symmetric activity s.

Grouping reads s, which is blind to the label, and the tests read u: so the tests are not circular (arXiv 2606.12360).
Fitted on training pairs; held-out pairs get their group from the stored centroids and the stored silent cut-off.

scikit-learn's KMeans on the same unit rows takes 1.2 to 2.2 times as long (950 rows × 517, 20,000 × 814, one and two
threads) for an equal mean cosine (.463 to .467, .447 to .448), and wants 32-bit indices: hence k-means of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from pretilt import schema
from pretilt.schema import SILENT_GROUP

MAX_GROUPS = 512  # the paper's number
PAIRS_PER_GROUP = 50  # ours, for small data: twice the 25 pairs that a group needs to be shown
SILENT_PERCENTILE = 5.0
BLOCK_ROWS = 8192  # rows multiplied at a time
MOSTLY_ZERO = 0.05  # share of values that are not 0, below which a sparse product is faster than a dense one
FIT_ROWS = 50_000  # pairs that the centroids are fitted on, drawn at random from more: 98 for each of 512 groups
SEEDING_ROWS = 8192  # k-means++ looks at no more rows than this, drawn at random
MAX_ITERATIONS = 100
SMALLEST_GAIN = 1e-5  # in mean cosine; below it an iteration is the last
_CUTOFF = b"pretilt.silent_cutoff"


def n_groups_for(n_active: int) -> int:
    """Number of groups: n_active // 50, at least 2, at most 512 (the paper's K, reached at 25,600 active pairs)."""
    return int(np.clip(n_active // PAIRS_PER_GROUP, 2, MAX_GROUPS))


@dataclass(frozen=True)
class GroupModel:
    """Fitted groups. Group g = 1 … K has centroid row g - 1; 1 is the largest; 0 is the silent group."""

    centroids: np.ndarray  # float32 [K, n_communities], unit rows, >= 0
    sizes: np.ndarray  # int64 [K + 1], training pairs per group, the silent group first
    silent_cutoff: float  # norm of s below which a pair is silent, >= 0; a norm of 0 always is

    def __len__(self) -> int:
        return self.centroids.shape[0]

    def assign(self, activity: csr_array) -> np.ndarray:
        """group_id int32 [N] of any pairs: 0 if silent, else the centroid of largest cosine, the lowest id on ties."""
        if activity.shape[1] != self.centroids.shape[1]:
            raise ValueError(f"activity has {activity.shape[1]} communities, the groups {self.centroids.shape[1]}")
        norms = _norms(activity)
        active = (norms > 0) & (norms >= self.silent_cutoff)
        group_id = np.full(norms.size, SILENT_GROUP, dtype=np.int32)
        if len(self):
            group_id[active] = _nearest(_unit(activity[active], norms[active]), self.centroids)[0] + 1
        return group_id

    def distinctive_communities(self, community_ids: np.ndarray, n: int = 5) -> list[list[int]]:
        """What each group is about, silent group first (empty): concept_ids, strongest first, at most n.

        Strength = centroid weight minus the mean centroid's (weighted by group size); only positive ones.
        `community_ids` maps a column of s to its concept_id.
        """
        if not len(self):
            return [[]]
        weight = self.centroids.astype(np.float64)
        lift = weight - np.average(weight, axis=0, weights=np.maximum(self.sizes[1:], 1))
        order = np.argsort(-lift, axis=1, kind="stable")[:, :n]
        return [[]] + [[int(community_ids[m]) for m in row if lift[g, m] > 0] for g, row in enumerate(order)]

    def to_table(self) -> pa.Table:
        """Centroids as a table (group_id, size, centroid), the silent group's centroid empty; exact both ways."""
        rows: list[np.ndarray] = [np.empty(0, np.float32), *self.centroids]
        table = pa.table(
            {
                "group_id": pa.array(np.arange(len(self) + 1), pa.int32()),
                "size": pa.array(self.sizes, pa.int64()),
                "centroid": pa.array(rows, pa.list_(pa.float32())),
            }
        )
        metadata = {_CUTOFF: repr(self.silent_cutoff).encode(), b"n_communities": str(self.centroids.shape[1]).encode()}
        return table.replace_schema_metadata(metadata)

    @classmethod
    def from_table(cls, table: pa.Table) -> GroupModel:
        metadata = table.schema.metadata or {}
        n_communities = int(metadata[b"n_communities"])
        flat = table["centroid"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return cls(
            centroids=flat.astype(np.float32).reshape(table.num_rows - 1, n_communities),
            sizes=table["size"].to_numpy().astype(np.int64),
            silent_cutoff=float(metadata[_CUTOFF]),
        )


def fit_groups(activity: csr_array, *, n_groups: int | None = None, seed: int = 0) -> tuple[GroupModel, np.ndarray]:
    """Silent group and spherical k-means on the training pairs' s, CSR [N, n_communities], values >= 0.

    Silent: norm of s below its 5th percentile over the pairs, or 0. The rest are scaled to unit length and clustered
    by cosine: seeded k-means++, centroids scaled back to unit length in every iteration, an emptied cluster restarted
    at the pair that fits its own worst. Below 10,000 active pairs the best of four starts (by mean cosine); above
    `FIT_ROWS` the centroids are fitted on that many, drawn without replacement by the seed, and all are then assigned.
    `n_groups` None: `n_groups_for`. There are fewer groups where fewer distinct directions exist.

    Returns the model and group_id int32 [N], which equals model.assign(activity). Same input and seed, same groups.
    """
    if activity.nnz and activity.data.min() < 0:
        raise ValueError("symmetric activity is never negative")
    norms = _norms(activity)
    cutoff = float(np.percentile(norms, SILENT_PERCENTILE)) if norms.size else 0.0
    active = (norms > 0) & (norms >= cutoff)
    unit = _unit(activity[active], norms[active])

    n_active = unit.shape[0]

    best, best_fit = np.empty((0, activity.shape[1]), np.float32), -1.0
    fitted = unit if n_active <= FIT_ROWS else _drawn(unit, seed)
    for start in range(0 if n_active == 0 else 4 if n_active < 10_000 else 1):
        rng = np.random.default_rng([seed, start])
        n_seeds = min(n_groups or n_groups_for(n_active), fitted.shape[0])
        centroids, labels, fit = _lloyd(fitted, _seeds(fitted, n_seeds, rng))
        if fit > best_fit + 1e-9:
            if fitted is not unit:
                labels = _nearest(unit, centroids)[0]  # the largest group is the one of most pairs, not of most drawn
            size = np.bincount(labels, minlength=len(centroids))
            by_size = np.argsort(-size, kind="stable")
            best, best_fit = centroids[by_size[size[by_size] > 0]], fit

    model = GroupModel(best, np.zeros(len(best) + 1, np.int64), cutoff)
    group_id = model.assign(activity)
    return GroupModel(best, np.bincount(group_id, minlength=len(best) + 1), cutoff), group_id


def groups_to_table(
    model: GroupModel, community_ids: np.ndarray, names: Sequence[str], phrases: Sequence[Sequence[str]]
) -> pa.Table:
    """The GROUPS table; `names` and `phrases` one per group, the silent group first."""
    return pa.table(
        {
            "group_id": np.arange(len(model) + 1, dtype=np.int32),
            "size": model.sizes,
            "name": list(names),
            "phrases": [list(p) for p in phrases],
            "concept_ids": model.distinctive_communities(community_ids),
        },
        schema=schema.GROUPS,
    )


def _norms(activity: csr_array) -> np.ndarray:
    return np.sqrt(activity.multiply(activity).sum(axis=1)).ravel()


def _unit(activity: csr_array, norms: np.ndarray) -> csr_array:
    """Rows of length 1 in float32: half the memory and twice the speed of the dense products; cosines to 1e-6."""
    x = activity.sorted_indices()
    data = (x.data / np.repeat(norms, np.diff(x.indptr))).astype(np.float32)
    return csr_array((data, x.indices, x.indptr), x.shape)


def _nearest(unit: csr_array, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the centroid with the largest cosine, and that cosine."""
    is_sparse = _is_mostly_zero(unit)
    columns = np.ascontiguousarray(centroids.T)
    labels, cosine = np.empty(unit.shape[0], np.int64), np.empty(unit.shape[0], np.float32)
    for start in range(0, unit.shape[0], BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        scores = (unit[rows] if is_sparse else unit[rows].toarray()) @ columns  # (rows, K)
        labels[rows] = scores.argmax(axis=1)
        cosine[rows] = scores.max(axis=1)
    return labels, cosine


def _is_mostly_zero(unit: csr_array) -> bool:
    return bool(unit.nnz < MOSTLY_ZERO * unit.shape[0] * unit.shape[1])


def _drawn(unit: csr_array, seed: int) -> csr_array:
    """`FIT_ROWS` of the rows, without replacement, in their order."""
    rng = np.random.default_rng([seed, FIT_ROWS])  # another stream than the starts'
    return unit[np.sort(rng.choice(unit.shape[0], FIT_ROWS, replace=False))]


def _seeds(unit: csr_array, n_groups: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-means++ in cosine distance: of a few rows drawn by 1 - cosine, the one that lowers the sum the most."""
    n_rows = min(unit.shape[0], max(SEEDING_ROWS, n_groups))
    drawn = unit[np.sort(rng.choice(unit.shape[0], n_rows, replace=False))]
    rows = drawn if _is_mostly_zero(unit) else drawn.toarray()

    def cosines(numbers: list[int] | np.ndarray) -> np.ndarray:
        """Of every row with some of them, float32 [n_rows, n]."""
        return np.asarray(rows @ drawn[numbers].toarray().T)

    picked = [int(rng.integers(n_rows))]
    distance = np.clip(1.0 - cosines(picked)[:, 0], 0.0, None).astype(np.float64)

    for _ in range(1, n_groups):
        distance[distance < 1e-6] = 0.0  # the same direction up to rounding: never a second centroid
        total = distance.cumsum()
        if total[-1] <= 0.0:
            break
        tried = np.searchsorted(total, rng.random(2 + int(np.log(n_groups))) * total[-1], side="right")
        tried = np.minimum(tried, np.flatnonzero(distance)[-1])
        shorter = np.minimum(distance[:, None], np.clip(1.0 - cosines(tried), 0.0, None))
        best = int(shorter.sum(axis=0).argmin())
        picked.append(int(tried[best]))
        distance = shorter[:, best]

    return drawn[picked].toarray()


def _lloyd(unit: csr_array, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Iterate; the labels returned are the nearest of the centroids returned, with their mean cosine."""
    labels, fit = np.full(unit.shape[0], -1), -1.0
    for _ in range(MAX_ITERATIONS):
        new_labels, cosine = _nearest(unit, centroids)
        settled = np.array_equal(new_labels, labels) or 0 <= cosine.mean(dtype=np.float64) - fit < SMALLEST_GAIN
        labels, fit = new_labels, float(cosine.mean(dtype=np.float64))
        if settled:
            break
        centroids = _centroids(unit, _refilled(labels, cosine, len(centroids)), len(centroids))
    else:
        labels, cosine = _nearest(unit, centroids)
        fit = float(cosine.mean(dtype=np.float64))
    return centroids, labels, fit


def _refilled(labels: np.ndarray, cosine: np.ndarray, n_groups: int) -> np.ndarray:
    """Give every empty cluster the pair that fits its own cluster worst, never a cluster's last one."""
    size = np.bincount(labels, minlength=n_groups)
    empty = np.flatnonzero(size == 0)
    if not empty.size:
        return labels
    labels, worst = labels.copy(), iter(np.argsort(cosine, kind="stable"))
    for group in empty:
        row = next((r for r in worst if size[labels[r]] > 1), None)
        if row is None:
            break
        size[labels[row]] -= 1
        labels[row] = group
    return labels


def _centroids(unit: csr_array, labels: np.ndarray, n_groups: int) -> np.ndarray:
    """Mean directions, summed in float64 and scaled to unit length, float32 [n_groups, n_communities]."""
    one_hot = csr_array((np.ones(labels.size), (labels, np.arange(labels.size))), (n_groups, labels.size))
    sums = (one_hot @ unit).toarray()
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-300)).astype(np.float32)
