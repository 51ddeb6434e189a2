"""What the methods and the what-if read of a run: concept deltas by family, texts, tokens. Read once, kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.concepts.pattern_step import answer_text, question, stored_patterns
from pretilt.concepts.patterns import Pattern
from pretilt.concepts.prompt_scores import STATISTICS
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.forecast.inputs import Bank, concept_bank, pair_deltas, rollouts_of
from pretilt.forecast.ladder import Ladder
from pretilt.forecast.samples import PairDeltas, Rollouts
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE, PAIRS_FILE, TOKENS_FILE
from pretilt.settings import AuditSettings, settings_of
from pretilt.shape.targets import TrainingSets

if TYPE_CHECKING:
    from pretilt.forecast.scores import ScoreForm
    from pretilt.lens.choice import LensChoice


@dataclass(frozen=True)
class ConceptFamily:
    """Concepts that share a reward model. M concepts, n training pairs."""

    name: str
    bank: Bank
    pairs: PairDeltas
    rollouts: Rollouts | None

    def column(self, concept_id: int) -> int:
        """Where the concept stands in the bank."""
        column = int(np.searchsorted(self.bank.concept_ids, concept_id))
        if column == len(self.bank) or self.bank.concept_ids[column] != concept_id:
            raise KeyError(concept_id)
        return column


class ShapeData:
    """One run, opened for shaping. `role`: the untrained model's rollouts that the forecast uses, or None."""

    def __init__(
        self, run: Run, form: ScoreForm, role: str | None, events: Events, *, beta: float = 0.1, may_write: bool = True
    ) -> None:
        self.run, self.form, self.role, self.events = run, form, role, events
        self.beta, self.may_write = beta, may_write
        self.settings: AuditSettings = settings_of(run)
        if self.settings.baseline != "none":
            raise UserError(
                f"a plan shapes data as it stands, and this run is the baseline '{self.settings.baseline}'",
                file=run.path,
                fix="Audit the pairs without --baseline",
            )
        self.sets = TrainingSets(run)
        self._responses: dict[str, list[Any]] = {}
        self.measured: dict[str, Any] = {}  # what plain training did, see `goals.py`
        self.variants: dict[Any, tuple[np.ndarray, np.ndarray]] = {}  # see `variants.py`

    def __len__(self) -> int:
        return len(self.sets)

    @cached_property
    def families(self) -> list[ConceptFamily]:
        """Every family of concepts that is not empty; the families of a forecast."""
        bank = concept_bank(self.run)
        masks = {"features": bank.feature_view, **{f"shift_by_{q}": bank.of(q) for q in STATISTICS}}
        masks |= {"patterns": bank.patterns, "detectors": bank.detectors}
        families = []
        for name, mask in masks.items():
            if not mask.any():
                continue
            family_bank = bank.take(mask)
            self.events.say(f"what-if: {len(family_bank):,} concepts, {name.replace('_', ' ')}")
            deltas, _ = pair_deltas(self.run, self.settings, family_bank, self.form)
            rollouts = None if self.role is None else rollouts_of(self.run, self.role, family_bank, self.form)
            families.append(ConceptFamily(name, family_bank, deltas, rollouts))
        return families

    def family_of(self, concept_id: int) -> ConceptFamily:
        """The family that holds a concept. Raises UserError for one that stands in too few pairs to be forecast."""
        for family in self.families:
            if concept_id in family.bank.concept_ids:
                return family
        raise UserError(
            f"concept {concept_id} stands in too few pairs to be forecast",
            file=self.run.path,
            why="it is not among the tested concepts",
            fix="Name its pairs instead: pairs:FILE",
        )

    def u(self, concept_id: int) -> np.ndarray:
        """c(chosen) - c(rejected) of every training pair, float64 [n]."""
        family = self.family_of(concept_id)
        return family.pairs.u[:, family.column(concept_id)]

    @cached_property
    def patterns(self) -> dict[str, Pattern]:
        """The patterns of the run by name."""
        return stored_patterns(self.run)

    @cached_property
    def concept_names(self) -> dict[int, str]:
        """Readable name by concept id."""
        table = self.run.table(CONCEPTS_FILE, ["concept_id", "name"])
        return dict(zip(table["concept_id"].to_pylist(), table["name"].to_pylist(), strict=True))

    def messages(self, side: str) -> list[Any]:
        """The messages of one span of every training pair: "prompt", "chosen" or "rejected"."""
        if side not in self._responses:
            table = self.run.table(PAIRS_FILE, [side]).filter(pa.array(self.sets.train))
            self._responses[side] = table[side].to_pylist()
        return self._responses[side]

    def text(self, row: int, side: str) -> str:
        """What the assistant says in a response."""
        return answer_text(self.messages(side)[row])

    def question(self, row: int) -> str:
        """The last message of the user."""
        return question(self.messages("prompt")[row])

    @cached_property
    def lens(self) -> LensChoice:
        """Model and dictionary of the run. Raises UserError for a run without them."""
        from pretilt.lens.choice import choose_lens

        if self.settings.no_lens:
            raise UserError(
                "the run was audited without a lens, and this needs tokens",
                file=self.run.path,
                fix="Audit the pairs with --model and --dictionary, or choose another method",
            )
        return choose_lens(self.settings, self.events)

    def tokens(self, rows: Sequence[int]) -> pa.Table:
        """Schema TOKENS, of some training pairs, in their order."""
        table = self.run.table(TOKENS_FILE).filter(pa.array(self.sets.train))
        return table.take(pa.array(np.asarray(rows, np.int64)))


def ladder_of(family: ConceptFamily, eta: float, seed: int) -> Ladder:
    """The family's reward model and covariance, fitted to the data as it stands."""
    from pretilt.forecast.covariance import from_pairs, from_rollouts
    from pretilt.forecast.preference import BradleyTerry, fit_preference

    base = from_pairs(family.pairs) if family.rollouts is None else from_rollouts(family.rollouts)
    model = BradleyTerry(family.pairs)
    return Ladder(model, fit_preference(model, seed=seed), base, family.rollouts, eta=eta)
