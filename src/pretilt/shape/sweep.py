"""How far a decision goes, and what else it moves, as its strength grows: the trade that a person decides about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.shape.compile import Solved, standard_changes, target_shift
from pretilt.shape.methods import METHODS
from pretilt.shape.methods.work import Work
from pretilt.shape.reading import reread
from pretilt.shape.what_if import WhatIf
from pretilt.train.actions import Action, Changes

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # of the strength that the plan has
FEW_FACTORS = (0.5, 1.0, 2.0)  # where the model reads pairs again for every strength


@dataclass(frozen=True)
class SweepPoint:
    """One item at one strength, alone. `reached`: share of the target's shift that is left."""

    item: int
    strength: float
    reached: float | None
    side_effect: float | None  # root mean square change of the other concepts, in units of their typical u
    protected_effect: float | None  # the largest change of a protected concept, in the same units
    pairs: int
    weight_left: float  # mean weight of the pairs that is left


def sweep(what_if: WhatIf, solution: Solved) -> list[SweepPoint]:
    """The item at multiples of its strength, as far as the method goes; nothing of an item without strength."""
    facts, points = METHODS[solution.method], []
    for factor in FEW_FACTORS if facts.steers or facts.removes else FACTORS:
        strength = factor * solution.strength
        if not 0 < strength <= (facts.most or float("inf")):
            continue
        points.append(_point(what_if, solution, strength, facts.rows(solution.work, strength)))
    return points


def _point(what_if: WhatIf, solution: Solved, strength: float, actions: list[Action]) -> SweepPoint:
    work = solution.work
    changes = Changes.of(actions, len(work.data)).foretold()
    reached = side = protected = None
    if work.target.concept_id is not None:
        family = what_if.of(work.concept_id)
        reading = reread(work.data, changes, [family.family])
        plain, shaped = target_shift(what_if, work, changes, reading)
        reached = shaped / plain if plain else None
        side, protected = _side_effects(what_if, work, family.shift(changes, reading).change)
    touched, left = int(changes.touched.sum()), float(changes.weight.mean())
    return SweepPoint(work.number, strength, reached, side, protected, touched, left)


def _side_effects(what_if: WhatIf, work: Work, change: np.ndarray) -> tuple[float | None, float | None]:
    """(root mean square of the others, largest of the protected ones), in units of each concept's typical u."""
    family = what_if.of(work.concept_id).family
    standard = standard_changes(family, change)
    side_changes = np.delete(standard, family.column(work.concept_id))
    held = [family.column(c) for c in work.protected if c in family.bank.concept_ids and c != work.concept_id]
    side = float(np.sqrt(np.mean(side_changes**2))) if side_changes.size else None
    return side, float(np.abs(standard[held]).max()) if held else None
