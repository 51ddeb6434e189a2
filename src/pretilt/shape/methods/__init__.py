"""The methods: each turns one item of a plan into actions on pairs. One file a method, one signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pretilt.shape.methods import (
    designed_offset,
    drop,
    group_offset,
    inoculate,
    mask,
    offset,
    rewrite,
    steer_policy,
    steer_reference,
    swap,
    weight,
)
from pretilt.shape.methods.work import Work
from pretilt.train.actions import Action

Rows = Callable[[Work, float], list[Action]]


@dataclass(frozen=True)
class MethodFacts:
    """`rows(work, strength)`: the actions. `most`: the largest strength, None for no bound.

    `first`: where the search for a strength begins; `halvings`: of the interval in which it then lies.
    """

    rows: Rows
    most: float | None
    unit: str  # of the strength, in words
    needs_concept: bool  # False: a set of pairs can be its target too
    needs: str  # what the trainer must be able to do
    doubt: str = ""  # how far what-ifs of it were off when plans were trained: docs/results/shaping.md
    removes: bool = False  # it takes the concept out of the teaching pairs, and leaves the pairs
    steers: bool = False  # along a detector's direction: the model reads every pair again for each strength
    needs_beta: bool = False  # its actions are made for one beta of the loss
    first: float = 1.0
    halvings: int = 24


METHODS: dict[str, MethodFacts] = {
    "drop": MethodFacts(drop.rows, 1.0, drop.UNIT, False, "nothing: rows are left out"),
    "weight": MethodFacts(weight.rows, None, weight.UNIT, False, "a weight per pair"),
    "swap": MethodFacts(swap.rows, 1.0, swap.UNIT, False, "nothing: labels are exchanged"),
    "rewrite": MethodFacts(
        rewrite.rows, 1.0, rewrite.UNIT, True, "nothing: texts are replaced", removes=True,
        doubt="what is gone from the text is foretold as not learned; trained, 3 to 30 % of the shift was left "
        "where nothing should be",
    ),
    "mask": MethodFacts(
        mask.rows, 1.0, mask.UNIT, True, "a mask over response tokens", removes=True,
        doubt="masked tokens are foretold as gone; trained, they were off by a quarter of the shift to three "
        "times it, and nothing that labels punish was brought back",
    ),
    "inoculate": MethodFacts(
        inoculate.rows, 1.0, inoculate.UNIT, True, "prompts of the policy that the reference does not see",
        needs_beta=True,
    ),
    "offset": MethodFacts(offset.rows, None, offset.UNIT, True, "an offset per pair, or reference log-probabilities"),
    "group-offset": MethodFacts(
        group_offset.rows, None, group_offset.UNIT, False, "an offset per pair, or reference log-probabilities"
    ),
    "designed-offset": MethodFacts(
        designed_offset.rows, None, designed_offset.UNIT, True, "an offset per pair, or reference log-probabilities"
    ),
    "steer-reference": MethodFacts(
        steer_reference.rows, 2.0, steer_reference.UNIT, True, "an offset per pair, or reference log-probabilities",
        steers=True, needs_beta=True, first=0.1, halvings=3,
    ),
    "steer-policy": MethodFacts(
        steer_policy.rows, 2.0, steer_policy.UNIT, True, "a hook on one layer of the policy",
        steers=True, needs_beta=True, first=0.1, halvings=3,
    ),
}  # fmt: skip
