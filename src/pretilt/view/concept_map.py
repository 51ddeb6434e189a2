"""Concepts and prompts as points: those that stand in the same training pairs lie near each other.

The likeness of two response concepts is the size of the correlation of their u over training pairs: one that is more
in chosen wherever the other is more in rejected stands in the same pairs, and lies near. The likeness of two groups or
prompt concepts is the cosine of their pairs, the number that both hold over the geometric mean of their sizes. Places
come from t-SNE of the nearest neighbours. What is far apart is unlike; how far says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from pretilt.audit.evidence import scores_of
from pretilt.lens.blocks import train_rows
from pretilt.run import Run
from pretilt.schema import (
    CONCEPTS_FILE,
    GROUP_MEMBERS_FILE,
    GROUPS_FILE,
    PAIRS_FILE,
    PROMPT_CONCEPTS_FILE,
    PROMPT_MEMBERS_FILE,
    SILENT_GROUP,
)
from pretilt.settings import settings_of

MOST_PAIRS = 10_000  # of which u is read: a correlation then has an error of .01
MOST_CELLS = 40_000_000  # (concept, pair) that are held at a time, of 4 bytes each
BYTES_AT_ONCE = 200_000_000  # of the scores of some concepts while they are read
PERPLEXITY = 15.0
ROUNDS = 400  # of t-SNE
FEWEST = 5  # points; fewer are put on a circle
ROWS_AT_ONCE = 512
EDGE = 0.06  # height of the strip below the map for what is like nothing


@dataclass(frozen=True)
class ConceptMap:
    """Positions in [0, 1], [n, 2].

    `n_pairs`: training pairs that the likeness was measured on. `n_alone`: points along the lower edge, which are like
    no other. `by_likeness` False: there are too few points, and where one lies says nothing.
    """

    points: np.ndarray
    n_pairs: int
    n_alone: int
    by_likeness: bool


def concept_map(run: Run) -> ConceptMap:
    """A point of every response concept, in the order of concept_id. The same run gives the same map.

    Of more than `MOST_PAIRS` training pairs, u is read of that many, drawn with the seed 0; of fewer where there are
    more than 4,000 concepts. A concept that stands in none of those is like no other.
    """
    ids = sorted(run.table(CONCEPTS_FILE, ["concept_id"])["concept_id"].to_pylist())
    train = np.flatnonzero(train_rows(run))
    n_read = min(train.size, MOST_PAIRS, max(1, MOST_CELLS // max(1, len(ids))))
    drawn = np.sort(np.random.default_rng(0).choice(train, n_read, replace=False))
    keep = np.zeros(run.table(PAIRS_FILE, ["pair_id"]).num_rows, bool)
    keep[drawn] = True

    u = np.zeros((len(ids), n_read), np.float32)
    settings, at_once = settings_of(run), max(1, BYTES_AT_ONCE // (16 * max(1, n_read)))
    for start in range(0, len(ids), at_once):
        batch = ids[start : start + at_once]
        scores = scores_of(run, settings, batch, keep)
        for i, concept in enumerate(batch, start):
            u[i] = scores[concept][0]
    return map_of(standardised(u), n_read)


def prompt_map(run: Run) -> ConceptMap:
    """A point of every group, then of every prompt concept, both in the order of their ids.

    The silent group, which is about nothing, is like no other. All training pairs are read.
    """
    train = train_rows(run)
    groups = sorted(run.table(GROUPS_FILE, ["group_id"])["group_id"].to_pylist())
    prompts = sorted(run.table(PROMPT_CONCEPTS_FILE, ["prompt_concept_id"])["prompt_concept_id"].to_pylist())
    pair_ids = run.table(PAIRS_FILE, ["pair_id"])["pair_id"].to_pylist()
    column_of = {pair_ids[pair]: k for k, pair in enumerate(np.flatnonzero(train).tolist())}

    row_of_group = {group: i for i, group in enumerate(groups) if group != SILENT_GROUP}
    of_pair = run.table(GROUP_MEMBERS_FILE, ["group_id"])["group_id"].to_numpy()[train].tolist()
    cells = [(row_of_group[group], k) for k, group in enumerate(of_pair) if group in row_of_group]
    row_of_prompt = {prompt: i for i, prompt in enumerate(prompts, len(groups))}
    selected = run.table(PROMPT_MEMBERS_FILE, ["prompt_concept_id", "pair_id"])
    members = zip(selected["prompt_concept_id"].to_pylist(), selected["pair_id"].to_pylist(), strict=True)
    cells += [(row_of_prompt[prompt], column_of[pair]) for prompt, pair in members if pair in column_of]

    at = np.asarray(sorted(set(cells)), np.int64).reshape(-1, 2)
    size = np.bincount(at[:, 0], minlength=len(groups) + len(prompts))
    weight = 1 / np.sqrt(size[at[:, 0]]).astype(np.float32)
    shape = (len(groups) + len(prompts), int(train.sum()))
    return map_of(csr_array((weight, (at[:, 0], at[:, 1])), shape=shape), int(train.sum()))


def standardised(u: np.ndarray) -> np.ndarray:
    """Rows centred and of length 1, so that a product of two is their correlation; a constant row becomes zeros."""
    if not u.size:
        return u
    centred = u - u.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # What is left of a constant row is rounding.
    is_constant = length <= 1e-5 * np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-30)
    scaled: np.ndarray = np.where(is_constant, 0, centred / np.where(is_constant, 1, length))
    return scaled


def map_of(rows: np.ndarray | csr_array, n_pairs: int) -> ConceptMap:
    """The map of things whose likeness is the size of the product of their rows, [n, pairs], of length 1 or 0."""
    n = rows.shape[0]
    with threadpool_limits(1):  # more threads give other sums, and wait for each other where others are busy
        nearest, likeness = _neighbours(rows)
        is_alone = likeness.max(axis=1, initial=0) == 0
        joined = np.flatnonzero(~is_alone)
        if joined.size < FEWEST:
            return ConceptMap(_circle(n), n_pairs, 0, False)
        if is_alone.any():
            nearest, likeness = _neighbours(rows[joined])
        points = np.zeros((n, 2))
        points[joined] = _layout(nearest, likeness)
    alone = np.flatnonzero(is_alone)
    if alone.size:
        points[joined, 1] = EDGE + (1 - EDGE) * points[joined, 1]
        points[alone, 0] = (np.arange(alone.size) + 0.5) / alone.size
    return ConceptMap(points, n_pairs, int(alone.size), True)


def _circle(n: int) -> np.ndarray:
    if n == 1:
        return np.full((1, 2), 0.5)
    angle = 2 * np.pi * np.arange(n) / max(n, 1)
    return 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _neighbours(rows: np.ndarray | csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Of every row the most alike other rows, and how alike, to three decimals; the first of those equally alike."""
    n = rows.shape[0]
    k = min(n - 1, int(3 * PERPLEXITY) + 1)
    nearest, likeness = np.zeros((n, max(k, 0)), np.int64), np.zeros((n, max(k, 0)))
    transposed = rows.T
    for start in range(0, n, ROWS_AT_ONCE):
        product = rows[start : start + ROWS_AT_ONCE] @ transposed
        block = np.abs(product if isinstance(product, np.ndarray) else product.toarray())
        # Rounded, so that the last bit of a product does not turn the whole map.
        block = np.minimum(np.round(block, 3), 1)
        row = np.arange(block.shape[0])
        block[row, start + row] = -1
        order = np.argsort(-block, axis=1, kind="stable")[:, :k]
        nearest[start : start + len(row)] = order
        likeness[start : start + len(row)] = np.take_along_axis(block, order, axis=1)
    return nearest, likeness


def _layout(nearest: np.ndarray, likeness: np.ndarray) -> np.ndarray:
    """t-SNE by the distances 1 - likeness, in [0, 1], both axes by one scale."""
    from sklearn.manifold import TSNE

    n, k = nearest.shape
    # A graph of neighbours begins with the point itself.
    distance = np.column_stack([np.zeros(n), 1 - likeness])
    column = np.column_stack([np.arange(n), nearest])
    graph = csr_array((distance.ravel(), column.ravel(), np.arange(0, n * (k + 1) + 1, k + 1)), shape=(n, n))

    # It takes the nearest 3 · perplexity + 1.
    perplexity = min(PERPLEXITY, (k - 1) / 3)
    tsne = TSNE(perplexity=perplexity, metric="precomputed", init="random", random_state=0, max_iter=ROUNDS)
    layout = np.asarray(tsne.fit_transform(graph), np.float64)
    low, high = layout.min(axis=0), layout.max(axis=0)
    scale = max(float((high - low).max()), 1e-12)
    centred: np.ndarray = 0.5 + (layout - (low + high) / 2) / scale
    return centred
