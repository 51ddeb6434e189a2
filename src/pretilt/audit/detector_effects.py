"""The tests of detectors: which of them the label selects, over all pairs and in groups."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pretilt.audit.presence_effects import Presence
from pretilt.audit.training_pairs import TrainingPairs
from pretilt.detectors.stored import load_detector, presence
from pretilt.run import Run
from pretilt.schema import DETECTOR
from pretilt.settings import AuditSettings
from pretilt.stats.view_statistics import ViewStatistics


def detector_views(
    run: Run, settings: AuditSettings, names: list[str], pairs: TrainingPairs, group_id: np.ndarray, *, first_id: int
) -> tuple[list[ViewStatistics], pa.Table]:
    """Views "detector" and "detector_group", and the detectors' rows of CONCEPTS, whose ids begin at `first_id`.

    A detector is present where its largest token score reaches its threshold.
    """
    chosen, rejected = (side[pairs.train] for side in presence(run, names))
    present = Presence(DETECTOR, chosen, rejected, first_id=first_id)
    titles = [load_detector(run, name)[1]["title"] for name in names]
    return present.views(pairs, group_id, settings.seed), present.rows(pairs, titles, detector=names)
