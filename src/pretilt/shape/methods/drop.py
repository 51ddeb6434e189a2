"""Leave out the pairs that teach a concept (suppress), or that teach against it (amplify); or a set of pairs."""

from __future__ import annotations

from pretilt.shape.methods.work import Work
from pretilt.train.actions import Action

UNIT = "share of the teaching pairs left out, the strongest first, 0 to 1"


def rows(work: Work, strength: float) -> list[Action]:
    """Dropped pairs. A set of pairs can be suppressed only: what amplifies it is not in the set."""
    teaching = work.teaching(against=not work.suppresses)
    reason = f"teaches {'' if work.suppresses else 'against '}{work.driver.name}"
    return [Action(row, work.number, "drop", reason=reason) for row in work.first(teaching, strength)]
