"""Which features fire together: communities of the co-firing graph (arXiv 2606.12360, clusters of features).

A sample is one response span; a feature fired on it or did not. Edges join features of large mutual information; the
communities of that graph are the concepts. A feature in no community has number -1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pretilt.concepts.cofiring_graph import Edges, count_firings, fired_samples, nearest_pairs, top_pairs
from pretilt.errors import UserError

Graph = Literal["paper", "mutual-knn"]

NONE = -1  # the community of a feature that belongs to none


@dataclass(frozen=True)
class Communities:
    """Communities of features, the largest firing mass first.

    `community` is (n_features,) int32 with -1 for a feature in none; `sizes` (n_communities,) int64. Firing mass counts
    (sample, feature) firings.
    """

    community: np.ndarray
    sizes: np.ndarray
    edges: Edges
    n_samples: int
    n_fired: int  # features that fire at least once
    share_of_features: float  # of those, the share in a community
    share_of_mass: float  # of all firings, the share on features in a community
    settings: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """Counts, shares and settings of the graph and its communities, as JSON values."""
        sizes, edges = self.sizes, self.edges
        return {
            **self.settings,
            "n_samples": self.n_samples,
            "n_features_fired": self.n_fired,
            "n_features_in_graph": edges.n_features,
            "n_pairs_considered": edges.n_pairs,
            "n_edges": int(edges.weight.size),
            "n_edges_of_anti_association": int((~edges.together).sum()),
            "n_features_with_an_edge": int(np.union1d(edges.source, edges.target).size),
            "smallest_edge_weight": float(edges.weight.min()) if edges.weight.size else None,
            "n_communities": int(sizes.size),
            "community_size_median": float(np.median(sizes)) if sizes.size else None,
            "community_size_max": int(sizes.max()) if sizes.size else None,
            "share_of_fired_features_covered": self.share_of_features,
            "share_of_firing_mass_covered": self.share_of_mass,
        }


def find_communities(
    fired: Any,
    *,
    graph: Graph = "mutual-knn",
    resolution: float = 1.0,
    min_size: int = 4,
    min_samples: int | None = None,
    top_share: float = 0.01,
    neighbours: int = 10,
    seed: int = 0,
) -> Communities:
    """Communities of features that fire together on `fired` (n_samples, n_features), sparse; entries above 0 fired.

    `graph="paper"` keeps the `top_share` of all off-diagonal pairs of features that fired, by normalised MI. MI has no
    sign, so two features that reliably avoid each other share an edge too; the report counts such edges.
    `graph="mutual-knn"` keeps the pairs that are among each other's `neighbours` closest and fire together more often
    than chance; it never has an edge of anti-association.

    `min_samples`: a feature that fired on fewer samples stays out of the graph. None means 1 for "paper" (every feature
    that fired) and 8 for "mutual-knn": rare features that share one sample look identical (normalised MI 1), and every
    sample would make a community of its own rarities. `resolution` is that of Leiden on modularity (higher: more and
    smaller communities). Communities below `min_size` are dissolved. Same input and seed, same result.
    """
    if graph not in ("paper", "mutual-knn"):
        raise UserError(f"unknown co-firing graph '{graph}'", fix='Choose "paper" or "mutual-knn"')

    fired = fired_samples(fired)
    if min_samples is None:
        min_samples = 1 if graph == "paper" else 8
    if graph == "paper":
        edges = top_pairs(fired, share=top_share, min_samples=min_samples)
    else:
        edges = nearest_pairs(fired, neighbours=neighbours, min_samples=min_samples)

    n_firings = count_firings(fired)
    community, sizes = _number(_leiden(edges, fired.shape[1], resolution, seed), n_firings, min_size)
    inside, n_fired, mass = community != NONE, int((n_firings > 0).sum()), int(n_firings.sum())

    return Communities(
        community=community,
        sizes=sizes,
        edges=edges,
        n_samples=fired.shape[0],
        n_fired=n_fired,
        share_of_features=float(inside.sum() / n_fired) if n_fired else 0.0,
        share_of_mass=float(n_firings[inside].sum() / mass) if mass else 0.0,
        settings={
            "graph": graph,
            **({"top_share": top_share} if graph == "paper" else {"neighbours": neighbours}),
            "min_samples": min_samples,
            "resolution": resolution,
            "min_size": min_size,
            "seed": seed,
        },
    )


def _leiden(edges: Edges, n_features: int, resolution: float, seed: int) -> np.ndarray:
    """(n_features,) int64: the part of every feature that has an edge, else -1; weighted modularity, until stable."""
    part = np.full(n_features, NONE, dtype=np.int64)
    if not edges.weight.size:
        return part
    import igraph
    import leidenalg

    nodes, ends = np.unique(np.column_stack([edges.source, edges.target]), return_inverse=True)
    partition = leidenalg.find_partition(
        igraph.Graph(n=nodes.size, edges=ends.reshape(-1, 2)),
        leidenalg.RBConfigurationVertexPartition,
        weights=edges.weight.tolist(),
        resolution_parameter=resolution,
        n_iterations=-1,
        seed=seed,
    )
    part[nodes] = partition.membership
    return part


def _number(part: np.ndarray, n_firings: np.ndarray, min_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Dissolve small parts; number the others by firing mass, largest first, then by their smallest feature id."""
    community = np.full(part.size, NONE, dtype=np.int32)
    inside = np.flatnonzero(part != NONE)
    labels, first, label_number, sizes = np.unique(
        part[inside], return_index=True, return_inverse=True, return_counts=True
    )
    mass = np.bincount(label_number, weights=n_firings[inside], minlength=labels.size)
    large = np.flatnonzero(sizes >= min_size)
    large = large[np.lexsort((first[large], -mass[large]))]

    number = np.full(labels.size, NONE, dtype=np.int32)
    number[large] = np.arange(large.size)
    community[inside] = number[label_number]
    return community, sizes[large].astype(np.int64)
