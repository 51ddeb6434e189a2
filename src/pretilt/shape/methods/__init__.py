"""The methods: each turns one item of a plan into actions on pairs. One file a method, one signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pretilt.shape.methods import designed_offset, drop, group_offset, mask, offset, rewrite, swap, weight
from pretilt.shape.methods.work import Work
from pretilt.train.actions import Action

Rows = Callable[[Work, float], list[Action]]


@dataclass(frozen=True)
class MethodFacts:
    """`rows(work, strength)`: the actions. `most`: the largest strength, None for no bound."""

    rows: Rows
    most: float | None
    unit: str  # of the strength, in words
    needs_concept: bool  # False: a set of pairs can be its target too
    needs: str  # what the trainer must be able to do
    removes: bool = False  # it takes the concept out of the teaching pairs, and leaves the pairs


METHODS: dict[str, MethodFacts] = {
    "drop": MethodFacts(drop.rows, 1.0, drop.UNIT, False, "nothing: rows are left out"),
    "weight": MethodFacts(weight.rows, None, weight.UNIT, False, "a weight per pair"),
    "swap": MethodFacts(swap.rows, 1.0, swap.UNIT, False, "nothing: labels are exchanged"),
    "rewrite": MethodFacts(rewrite.rows, 1.0, rewrite.UNIT, True, "nothing: texts are replaced", removes=True),
    "mask": MethodFacts(mask.rows, 1.0, mask.UNIT, True, "a mask over response tokens", removes=True),
    "offset": MethodFacts(offset.rows, None, offset.UNIT, True, "an offset per pair, or reference log-probabilities"),
    "group-offset": MethodFacts(
        group_offset.rows, None, group_offset.UNIT, False, "an offset per pair, or reference log-probabilities"
    ),
    "designed-offset": MethodFacts(
        designed_offset.rows, None, designed_offset.UNIT, True, "an offset per pair, or reference log-probabilities"
    ),
}
