"""The bank of concepts: communities of features first, then every single feature outside all of them that is active.

The statistics see a concept only as a column of a membership matrix; names and other columns of the CONCEPTS table are
for people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from pretilt.schema import CONCEPTS, Concepts


def build_concepts(
    community_of_feature: np.ndarray,
    active_pairs_per_feature: np.ndarray,
    *,
    min_community: int = 4,
    min_pairs: int = 25,
    paper: bool = False,
) -> Concepts:
    """Concepts from communities (n_features,) of integers, negative for a feature in none.

    First the communities of at least `min_community` features, by falling sum of their features' active pairs, then by
    smallest feature id. After them, by falling active pairs, then feature id, every single feature outside these
    communities that is active in at least `min_pairs` pairs (`active_pairs_per_feature`, (n_features,) integers), so
    that nothing is invisible; a feature of a community that was too small is outside. With `paper`, communities alone.
    """
    community, active = np.asarray(community_of_feature), np.asarray(active_pairs_per_feature)
    if community.shape != active.shape or community.ndim != 1:
        raise ValueError(f"communities {community.shape} and active pairs {active.shape} are not of the same features")

    inside = np.flatnonzero(community >= 0)
    labels, first, label_number, sizes = np.unique(
        community[inside], return_index=True, return_inverse=True, return_counts=True
    )
    mass = np.bincount(label_number, weights=active[inside], minlength=labels.size)
    large = np.flatnonzero(sizes >= min_community)
    large = large[np.lexsort((first[large], -mass[large]))]

    column = np.full(labels.size, -1, dtype=np.int64)
    column[large] = np.arange(large.size)
    column_of_feature = np.full(community.size, -1, dtype=np.int64)
    column_of_feature[inside] = column[label_number]

    if not paper:
        single = np.flatnonzero((column_of_feature < 0) & (active >= min_pairs))
        single = single[np.argsort(-active[single].astype(np.int64), kind="stable")]
        column_of_feature[single] = large.size + np.arange(single.size)

    features = np.flatnonzero(column_of_feature >= 0)
    n_concepts = int(column_of_feature.max(initial=-1)) + 1
    return _assemble(features, column_of_feature[features], community.size, n_concepts, large.size)


def active_pairs_per_feature(chosen: Any, rejected: Any) -> np.ndarray:
    """(n_features,) int64: pairs in which a feature fires in either response. Adds up over shards.

    `chosen` and `rejected` are (n_pairs, n_features) sparse fire counts, >= 0.
    """
    either = sp.csr_array(chosen) + sp.csr_array(rejected)
    return np.asarray(_fired(either).sum(axis=0), dtype=np.int64).ravel()


NAMES = ("name", "name_kind", "name_score", "contexts", "phrases")  # columns that are for people


def concepts_table(
    concepts: Concepts,
    *,
    named: pa.Table,
    n_pairs_active: np.ndarray,
    share_chosen: np.ndarray,
    share_rejected: np.ndarray,
    length_correlation: np.ndarray,
    mean_u_paper: np.ndarray,
    mean_u_count2: np.ndarray,
    mean_u_freq: np.ndarray,
) -> pa.Table:
    """The CONCEPTS table; every argument has one entry per concept, in the order of the columns of the membership.

    `named` has the columns NAMES.
    """
    columns: dict[str, Any] = {
        "concept_id": np.arange(len(concepts)),
        "kind": ["community" if is_community else "feature" for is_community in concepts.is_community],
        "feature_ids": feature_lists(concepts),
        "size": concepts.size,
        **{name: named[name].to_pylist() for name in NAMES},
        "n_pairs_active": n_pairs_active,
        "pattern": [None] * len(concepts),
        "detector": [None] * len(concepts),
        "share_chosen": share_chosen,
        "share_rejected": share_rejected,
        "per_100_words": [None] * len(concepts),
        "length_correlation": length_correlation,
        "mean_u_paper": mean_u_paper,
        "mean_u_count2": mean_u_count2,
        "mean_u_freq": mean_u_freq,
    }

    for name, values in columns.items():
        if len(values) != len(concepts):
            raise ValueError(f"column '{name}' has {len(values)} entries for {len(concepts)} concepts")

    columns["prevalence"] = (share_chosen + share_rejected) / 2
    return pa.table([pa.array(columns[f.name], type=f.type) for f in CONCEPTS], schema=CONCEPTS)


def concepts_from_table(table: pa.Table, n_features: int) -> Concepts:
    """The Concepts that a CONCEPTS table was written from; `n_features` is the width of the dictionary."""
    lists = table["feature_ids"].combine_chunks()
    features = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    column = np.repeat(np.arange(len(table)), lists.value_lengths().to_numpy(zero_copy_only=False))
    n_communities = table["kind"].to_pylist().count("community")
    return _assemble(features, column, n_features, len(table), n_communities)


def feature_lists(concepts: Concepts) -> list[list[int]]:
    """The feature ids of every concept, ascending."""
    membership: Any = concepts.membership
    return [ids.tolist() for ids in np.split(membership.indices, membership.indptr[1:-1])] if len(concepts) else []


def _assemble(
    features: np.ndarray, column: np.ndarray, n_features: int, n_concepts: int, n_communities: int
) -> Concepts:
    ones = np.ones(features.size, dtype=np.int32)
    membership = sp.csc_array((ones, (features, column)), shape=(n_features, n_concepts))
    membership.sort_indices()
    return Concepts(membership=membership, is_community=np.arange(n_concepts) < n_communities)


def _fired(counts: Any) -> sp.csr_array:
    """1 where a sparse matrix of counts is above 0."""
    counts = sp.csr_array(counts)
    return sp.csr_array(((counts.data > 0).astype(np.int32), counts.indices, counts.indptr), shape=counts.shape)
