"""Three answers per concept, never merged into one number: is it rewarded, will it move, can it be expressed.

They part in practice: a concept may move without being rewarded (it comes along with one that is), be rewarded without
moving (the model never says it), or be expressed by the pairs' authors alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.forecast.expression import Expression, expression
from pretilt.forecast.ladder import Ladder, Rung
from pretilt.forecast.uncertainty import DRAWS, Estimate, Interval, bootstrap, intervals


@dataclass(frozen=True)
class Answers:
    """What a forecast says of M concepts; + = amplified."""

    is_rewarded: Interval  # w: the concept's own reward, the others and the length held fixed
    will_move: Interval  # the predicted shift by `rung`
    rung: Rung
    can_be_expressed: Expression | None  # None without rollouts: the question is open, not answered with yes
    ladder: dict[Estimate, Interval]  # every rung, for comparison
    draws: dict[Estimate, np.ndarray]  # [draws, M], for intervals of anything made of them
    ess_share: np.ndarray | None  # of the tilt


def answer(ladder: Ladder, rung: Rung, *, draws: int = DRAWS, seed: int = 0) -> Answers:
    """The three answers with 95 % intervals.

    A response expresses a concept on which it scores above the pairs' `level`: one word of many is not yet the manner
    that the labels speak of. Without a level, above 0. Raises ValueError for a rung that the inputs do not allow."""
    if rung not in ladder.rungs:
        raise ValueError(f"rung {rung!r} is not among {ladder.rungs}: it needs rollouts, or a training time")
    drawn, level = bootstrap(ladder, draws, seed), ladder.pairs.level
    estimates = intervals(ladder, drawn)
    return Answers(
        is_rewarded=estimates["w"],
        will_move=estimates[rung],
        rung=rung,
        can_be_expressed=None
        if ladder.rollouts is None
        else expression(ladder.rollouts, 0.0 if level is None else level),
        ladder=estimates,
        draws=drawn,
        ess_share=ladder.predict().ess_share,
    )
