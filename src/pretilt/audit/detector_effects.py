"""The tests of detectors: which of them the label selects, over all pairs and in groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.audit.pattern_effects import correlations
from pretilt.audit.training_pairs import TrainingPairs
from pretilt.detectors.stored import load_detector, presence
from pretilt.run import Run
from pretilt.schema import CONCEPTS, DETECTOR
from pretilt.settings import AuditSettings
from pretilt.stats.columns import Columns
from pretilt.stats.sets import Sets
from pretilt.stats.sure import LEAST_FIRING
from pretilt.stats.view_statistics import ViewStatistics, view_statistics


def detector_views(
    run: Run, settings: AuditSettings, names: list[str], pairs: TrainingPairs, group_id: np.ndarray, *, first_id: int
) -> tuple[list[ViewStatistics], pa.Table]:
    """Views "detector" and "detector_group", and the detectors' rows of CONCEPTS, whose ids begin at `first_id`.

    u is the presence in chosen less that in rejected: the largest token score reaches the detector's threshold.
    Tested are those that are present in either response of at least LEAST_FIRING pairs; the others have a row alone.
    """
    chosen, rejected = (side[pairs.train] for side in presence(run, names))
    u = chosen.astype(np.int8) - rejected.astype(np.int8)
    n_active = (chosen | rejected).sum(axis=0)
    ids = first_id + np.arange(len(names))
    tested = np.flatnonzero((n_active >= LEAST_FIRING) & u.any(axis=0))

    views = []
    if tested.size:
        columns = Columns(u[:, tested].astype(np.float32))
        sets = {"detector": Sets.everything(pairs.family), "detector_group": Sets.groups(group_id, pairs.family)}
        views = [
            view_statistics(name, ids[tested], columns, of_view, covariates=pairs.covariates, seed=settings.seed)
            for name, of_view in sets.items()
            if len(of_view)
        ]

    shares = [side.mean(axis=0) if len(side) else np.zeros(len(names)) for side in (chosen, rejected)]
    nothing = [None] * len(names)
    rows: dict[str, Any] = {
        "concept_id": ids,
        "kind": [DETECTOR] * len(names),
        "pattern": nothing,
        "detector": names,
        "feature_ids": [[] for _ in names],
        "size": np.zeros(len(names), np.int32),
        "name": [load_detector(run, name)[1]["title"] for name in names],
        "phrases": [[] for _ in names],
        "name_kind": [DETECTOR] * len(names),
        "name_score": nothing,
        "contexts": [[] for _ in names],
        "n_pairs_active": n_active,
        "prevalence": (shares[0] + shares[1]) / 2,
        "share_chosen": shares[0],
        "share_rejected": shares[1],
        "per_100_words": nothing,
        "length_correlation": correlations(u, pairs.length_difference),
        "mean_u_paper": nothing,
        "mean_u_count2": nothing,
        "mean_u_freq": nothing,
    }
    arrays = [pa.array(rows[f.name], f.type, from_pandas=pa.types.is_floating(f.type)) for f in CONCEPTS]
    return views, pa.table(arrays, schema=CONCEPTS)
