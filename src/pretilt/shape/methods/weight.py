"""Let the pairs that teach a concept pull less (suppress) or more (amplify)."""

from __future__ import annotations

from pretilt.shape.methods.work import Work
from pretilt.train.actions import Action

UNIT = "how much less (at most 1) or more a teaching pair pulls, 1 - strength or 1 + strength"


def rows(work: Work, strength: float) -> list[Action]:
    """Weights. Suppressing with a strength of 1 or more gives the pairs no pull at all."""
    factor = max(1.0 - strength, 0.0) if work.suppresses else 1.0 + strength
    if factor == 1.0:
        return []
    reason = f"teaches {work.driver.name}"
    return [Action(int(row), work.number, "weight", factor, reason=reason) for row in sorted(work.teaching())]
