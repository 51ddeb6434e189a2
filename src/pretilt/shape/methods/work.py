"""What every method is given: the run, the item of the plan, its pairs and their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pretilt.detectors.stored import response_scores
from pretilt.shape.data import ShapeData
from pretilt.shape.plan import Item
from pretilt.shape.targets import Target
from pretilt.shape.variants import asked_for, standardised


@dataclass(frozen=True)
class Work:
    """One item of a plan that changes something. n training pairs."""

    data: ShapeData
    number: int  # of the item, from 1
    item: Item
    target: Target
    inside: np.ndarray  # bool [n]: inside the target's place and the gate
    protected: tuple[int, ...] = ()  # concepts that the plan protects
    by: Target | None = None  # whose score drives the method; None: the target's own
    beta: float = 0.1  # of the loss; only methods whose strength is no log-odds depend on it

    @property
    def driver(self) -> Target:
        """The concept whose score decides which pairs are touched and how much."""
        return self.by or self.target

    @property
    def is_local(self) -> bool:
        """The target is about some of the pairs: its shift is the one inside."""
        return self.target.concept_id is not None and not bool(self.inside.all())

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
        """float64 [n]: difference of the driver's score inside, 0 elsewhere; of a set of pairs 1 inside.

        Of an offset by an instruction: how much likelier it makes chosen than rejected, in standard deviations.
        """
        if self.item.instruction is not None and self.item.method == "offset":
            return np.where(self.inside, asked_for(self.data, self.item.instruction), 0.0)
        if self.driver.is_logit:
            both = response_scores(self.data.run, str(self.driver.detector))
            logits = standardised([side[self.data.sets.train].astype(np.float64) for side in both])
            return np.where(self.inside, logits, 0.0)
        if self.driver.concept_id is None:
            return self.inside.astype(np.float64)
        return np.where(self.inside, self.data.u(self.driver.concept_id), 0.0)

    def teaching(self, *, against: bool = False) -> np.ndarray:
        """The pairs in which chosen scores higher, or `against` it lower: rows, the strongest first, equals by pair_id.

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
