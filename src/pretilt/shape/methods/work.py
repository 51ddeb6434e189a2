"""What every method is given: the run, the item of the plan, its pairs and their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.shape.data import ShapeData
from pretilt.shape.plan import Item
from pretilt.shape.targets import Target


@dataclass(frozen=True)
class Work:
    """One item of a plan that changes something. n training pairs."""

    data: ShapeData
    number: int  # of the item, from 1
    item: Item
    target: Target
    inside: np.ndarray  # bool [n]: inside the target's place and the gate
    protected: tuple[int, ...] = ()  # concepts that the plan protects

    @property
    def suppresses(self) -> bool:
        """False: it amplifies."""
        return self.item.decision == "suppress"

    @property
    def concept_id(self) -> int:
        """The concept that is the target; methods that need one are never given a set of pairs."""
        if self.target.concept_id is None:
            raise ValueError(f"{self.target.text} is a set of pairs")
        return self.target.concept_id

    def scores(self) -> np.ndarray:
        """float64 [n]: u of the target inside, 0 elsewhere; of a set of pairs 1 inside."""
        if self.target.concept_id is None:
            return self.inside.astype(np.float64)
        return np.where(self.inside, self.data.u(self.target.concept_id), 0.0)

    def teaching(self, *, against: bool = False) -> np.ndarray:
        """The pairs that teach the target, or `against` it: rows, the strongest first, equals by their pair_id.

        A pair_id is a hash of the pair's content, so that among equals nothing but chance decides.
        """
        scores = -self.scores() if against else self.scores()
        rows = np.flatnonzero(scores > 0)
        ids = np.array([self.data.sets.pair_ids[row] for row in rows], object)
        order = np.lexsort((ids.astype(str), -scores[rows]))
        return rows[order]

    def first(self, rows: np.ndarray, share: float) -> list[int]:
        """The first rows, as many as the share of them is, rounded to the nearest."""
        return [int(row) for row in rows[: round(share * rows.size)]]
