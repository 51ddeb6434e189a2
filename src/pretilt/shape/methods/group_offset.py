"""A constant offset on the margin of a set of pairs: positive where it is suppressed, negative where amplified.

While training is linear it is the weight 2 sigma(-offset): 2 leaves 24 % of the pull, 5 leaves 1 %.
"""

from __future__ import annotations

import numpy as np

from pretilt.shape.methods.work import Work
from pretilt.train.actions import LEAST, Action

UNIT = "log-odds of the preference that is taken as explained"


def rows(work: Work, strength: float) -> list[Action]:
    """Offsets of every pair of the set; of a concept, of the pairs that teach it."""
    if strength <= LEAST:
        return []
    chosen = np.flatnonzero(work.inside) if work.target.concept_id is None else np.sort(work.teaching())
    value = strength if work.suppresses else -strength
    return [Action(int(row), work.number, "offset", value, reason=f"in {work.target.name}") for row in chosen]
