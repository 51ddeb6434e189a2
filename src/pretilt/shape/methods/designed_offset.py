"""An offset that moves the target and holds the protected concepts, by the structure of the concepts themselves.

Of all offsets v'u under which the target's shift changes by d and that of every protected concept by 0,

    Sigma v on (target, protected) = (d, 0),

the one that asks least of the model, min v' Sigma v, is v = Sigma_CC^-1 (d, 0) on those concepts C alone. Sigma is that
of the pairs inside, 1/2 E[u u']: while training is linear an offset o changes the mean of u by -1/2 E[o u] = -Sigma v.
The what-if then says what becomes of it on the declared rung, and a strength that is sought is sought there.
"""

from __future__ import annotations

import numpy as np

from pretilt.shape.methods.work import Work
from pretilt.train.actions import LEAST, Action

UNIT = "share of the target's own shift that is taken away (suppress) or added (amplify), to first order"
RIDGE = 1e-3  # of the mean variance: two concepts that always stand together cannot be told apart


def rows(work: Work, strength: float) -> list[Action]:
    """Offsets of all pairs in which the target or a protected concept differs."""
    if strength <= LEAST:
        return []
    concepts = [work.concept_id, *(c for c in work.protected if c != work.concept_id)]
    u = np.stack([work.data.u(concept) for concept in concepts], axis=1) * work.inside[:, None]
    weight = work.data.family_of(work.concept_id).pairs.weight
    sigma = 0.5 * (u.T * weight) @ u / weight.sum()
    sigma += RIDGE * max(float(np.trace(sigma)) / len(concepts), LEAST) * np.eye(len(concepts))

    shift = float(weight @ work.data.u(work.concept_id) / weight.sum())
    movement = np.zeros(len(concepts))
    movement[0] = strength * abs(shift) * (1 if work.suppresses else -1)
    values = u @ np.linalg.solve(sigma, movement)
    reason = f"the score of {work.target.name} or of a protected concept differs"
    touched = np.flatnonzero(np.abs(values) > LEAST)
    return [Action(int(row), work.number, "offset", float(values[row]), reason=reason) for row in touched]
