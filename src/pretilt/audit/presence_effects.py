"""The tests of concepts that are present in a response or not: what patterns and detectors share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.audit.training_pairs import TrainingPairs
from pretilt.schema import CONCEPTS
from pretilt.stats.columns import Columns
from pretilt.stats.sets import Sets
from pretilt.stats.sure import LEAST_FIRING
from pretilt.stats.view_statistics import ViewStatistics, view_statistics


class Presence:
    """K concepts of one kind in n training pairs: bool [n, K] of chosen and of rejected; u is their difference."""

    def __init__(self, kind: str, chosen: np.ndarray, rejected: np.ndarray, *, first_id: int) -> None:
        self.kind, self.chosen, self.rejected = kind, chosen, rejected
        self.u = chosen.astype(np.int8) - rejected.astype(np.int8)
        self.n_active = (chosen | rejected).sum(axis=0)
        self.ids = first_id + np.arange(chosen.shape[1])

    def views(self, pairs: TrainingPairs, group_id: np.ndarray, seed: int) -> list[ViewStatistics]:
        """The view of the kind and that of its groups; `group_id` int32 of each training pair.

        Tested are the concepts that are present in either response of at least LEAST_FIRING pairs.
        """
        tested = np.flatnonzero((self.n_active >= LEAST_FIRING) & self.u.any(axis=0))
        if not tested.size:
            return []
        columns = Columns(self.u[:, tested].astype(np.float32))
        sets = {
            self.kind: Sets.everything(pairs.family),
            f"{self.kind}_group": Sets.groups(group_id, pairs.family),
        }
        return [
            view_statistics(name, self.ids[tested], columns, of_view, covariates=pairs.covariates, seed=seed)
            for name, of_view in sets.items()
            if len(of_view)
        ]

    def rows(self, pairs: TrainingPairs, names: Sequence[str], **more: Any) -> pa.Table:
        """Schema CONCEPTS; `more`: columns of which this knows nothing, by name."""
        n = self.ids.size
        shares = [side.mean(axis=0) if len(side) else np.zeros(n) for side in (self.chosen, self.rejected)]
        columns: dict[str, Any] = {field.name: [None] * n for field in CONCEPTS}
        columns |= {
            "concept_id": self.ids,
            "kind": [self.kind] * n,
            "feature_ids": [[] for _ in range(n)],
            "size": np.zeros(n, np.int32),
            "name": names,
            "name_kind": [self.kind] * n,
            "contexts": [[] for _ in range(n)],
            "phrases": [[] for _ in range(n)],
            "n_pairs_active": self.n_active,
            "prevalence": (shares[0] + shares[1]) / 2,
            "share_chosen": shares[0],
            "share_rejected": shares[1],
            "length_correlation": correlations(self.u, pairs.length_difference),
            **more,
        }
        arrays = [pa.array(columns[f.name], f.type, from_pandas=pa.types.is_floating(f.type)) for f in CONCEPTS]
        return pa.table(arrays, schema=CONCEPTS)


def correlations(u: np.ndarray, length_difference: np.ndarray) -> np.ndarray:
    """Pearson of each column of u with the length difference, NaN where either is constant."""
    values = u - u.mean(axis=0) if len(u) else u.astype(float)
    length = length_difference - (length_difference.mean() if length_difference.size else 0.0)
    spread = np.sqrt((values**2).sum(axis=0) * (length @ length))
    return np.divide(length @ values, spread, out=np.full(u.shape[1], np.nan), where=spread > 0)
