"""Steer the policy along a detector's direction while it trains on responses that show the concept.

To suppress, the direction is added under chosen: what it makes likelier is explained, and is learned in its presence
alone. To amplify it is added under rejected, which keeps the direction usable. The reference is not steered. How much
of what is learned under steering carries over is not known before training.
"""

from __future__ import annotations

from pretilt.shape.methods.work import Work
from pretilt.shape.reference import plain_logps
from pretilt.shape.variants import Variant, residual_length, variant_logps
from pretilt.train.actions import LEAST, SIDES, Action

UNIT = "length added along the direction, in units of the residual stream's mean length at the layer, at most 2"


def rows(work: Work, strength: float) -> list[Action]:
    """Steered responses of the teaching pairs, with the log-odds that steering explains before training."""
    teaching = sorted(int(row) for row in work.teaching(against=not work.suppresses))
    if strength <= LEAST or not teaching:
        return []
    side = "chosen" if work.suppresses else "rejected"
    amount = strength * residual_length(work.data)
    steered = variant_logps(work.data, Variant(detector=work.driver.detector, amount=amount))
    column = SIDES.index(side)
    likelier = (steered[column] - plain_logps(work.data)[column]) * (1 if work.suppresses else -1)
    reason = f"shows {work.driver.name}"
    return [
        Action(
            row, work.number, "steer", amount, side=side, text=work.driver.detector,
            explained=work.beta * float(likelier[row]), reason=reason,
        )
        for row in teaching
    ]  # fmt: skip
