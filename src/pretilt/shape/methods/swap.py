"""Exchange chosen and rejected in the pairs that teach a concept (suppress), or that teach against it (amplify)."""

from __future__ import annotations

from pretilt.shape.methods.work import Work
from pretilt.train.actions import Action

UNIT = "share of the teaching pairs exchanged, the strongest first, 0 to 1"


def rows(work: Work, strength: float) -> list[Action]:
    """Exchanged pairs."""
    teaching = work.teaching(against=not work.suppresses)
    reason = f"taught {'' if work.suppresses else 'against '}{work.driver.name}"
    return [Action(row, work.number, "swap", reason=reason) for row in work.first(teaching, strength)]
