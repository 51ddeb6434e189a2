"""Take the reference log-probabilities from the model steered along a detector's direction; the policy is plain.

    beta (D - [A(chosen) - A(rejected)]),   A(y) = log pi_steered(y | x) - log pi(y | x)

To suppress, the reference is steered away from the concept: it finds the responses that show it less likely, so that
the policy is ahead there already. It is an offset of -beta (A(chosen) - A(rejected)), of the loss's beta.
"""

from __future__ import annotations

import numpy as np

from pretilt.shape.methods.work import Work
from pretilt.shape.reference import plain_logps
from pretilt.shape.variants import Variant, residual_length, variant_logps
from pretilt.train.actions import LEAST, Action

UNIT = "length added along the direction, in units of the residual stream's mean length at the layer, at most 2"


def rows(work: Work, strength: float) -> list[Action]:
    """Offsets of all pairs inside."""
    if strength <= LEAST:
        return []
    amount = strength * residual_length(work.data) * (-1 if work.suppresses else 1)
    steered = variant_logps(work.data, Variant(detector=work.driver.detector, amount=amount))
    plain = plain_logps(work.data)
    likelier = (steered[0] - plain[0]) - (steered[1] - plain[1])
    values = np.where(work.inside, -work.beta * likelier, 0.0)
    reason = f"the reference is steered along {work.driver.name}"
    touched = np.flatnonzero(np.abs(values) > LEAST)
    return [Action(int(row), work.number, "offset", float(values[row]), reason=reason) for row in touched]
