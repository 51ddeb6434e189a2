"""Subtract a concept's score from the reward (suppress), or add it (amplify): an offset on the margin of each pair.

    loss = -log sigma(beta D + offset),   offset = strength u  (suppress)   or   -strength u  (amplify)

A positive offset says that the preference is explained already, so that the pair pulls less. The implicit reward at the
optimum is r - strength s with the concept's score s of a response, instead of r. The score may be that of another
concept (`by`), or how much likelier an instruction makes the response: log pi(y | x, instruction) - log pi(y | x).
"""

from __future__ import annotations

import numpy as np

from pretilt.shape.methods.work import Work
from pretilt.train.actions import LEAST, Action

UNIT = "log-odds of the preference that a whole unit of the score explains, of an instruction a standard deviation"


def rows(work: Work, strength: float) -> list[Action]:
    """Offsets where the score differs between the responses."""
    values = strength * work.scores() * (1 if work.suppresses else -1)
    reason = f"the score of {work.driver.name} differs"
    if work.item.instruction is not None:
        reason = "the instruction makes one response likelier than the other"
    touched = np.flatnonzero(np.abs(values) > LEAST)
    return [Action(int(row), work.number, "offset", float(values[row]), reason=reason) for row in touched]
