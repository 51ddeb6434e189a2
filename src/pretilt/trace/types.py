"""What a trace says: which pairs and tokens an effect rests on, and what a pair teaches.

The trace fills these; `to_dict()` is what `--json` prints, `view/terminal/trace.py` what the terminal shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pretilt.artifacts import jsonable
from pretilt.result import Result

Fired = tuple[int, int, float]  # first character, character after the last, activation > 0


@dataclass(frozen=True)
class Quote:
    """A pair: its texts, where it stands in the source, and how many pairs are of its family, itself included."""

    pair_id: str
    row_index: int
    split: str
    family_id: int
    family_size: int
    prompt: str
    chosen: str
    rejected: str
    harmful: bool  # the word screen fires: collapse it


@dataclass(frozen=True)
class Contribution:
    """One pair's part in an effect. What fired is counted in characters of the quote's texts; None: it was not read."""

    pair: Quote
    contribution: float  # its signed share of delta
    share: float  # contribution / delta
    u: float
    inside: bool  # of the set that the effect is about
    chosen_fired: tuple[Fired, ...] | None
    rejected_fired: tuple[Fired, ...] | None


@dataclass(frozen=True, repr=False)
class EffectTrace(Result):
    """The pairs behind one effect. `delta`: + = amplified; of a response-shift concept in standard deviations."""

    id: str
    view: str
    where: int
    place: str  # name of the group or prompt concept; "" for all pairs
    concept_id: int
    concept: str
    kind: str
    phrases: list[str]
    delta: float
    direction: Literal["amplify", "suppress"]
    row: Mapping[str, Any] | None  # its row of hypotheses.parquet; None: not tested, or not among the best of its view
    n_with: int  # training pairs whose contribution has the sign of delta
    n_against: int
    n_neither: int
    n_families: int
    total: float  # of all contributions: delta
    pairs_carry: dict[float, float]  # share of the pairs, largest contributions first → share of delta
    families_carry: dict[float, float]
    responsible: list[Contribution]
    against: list[Contribution]

    @property
    def headline(self) -> str:
        place = self.place or "all pairs"
        return f"{self.id}: {self.concept}, {self.direction}, {self.delta:+.3f} over {place}"

    @property
    def table(self) -> pa.Table:
        """One row per listed pair: pair_id, u, contribution, inside; the responsible ones before those against."""
        rows = [*self.responsible, *self.against]
        return pa.table(
            {
                "pair_id": [row.pair.pair_id for row in rows],
                "u": [row.u for row in rows],
                "contribution": [row.contribution for row in rows],
                "inside": [row.inside for row in rows],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON without NaN."""
        document: dict[str, Any] = jsonable({"trace": "effect", **dataclasses.asdict(self)})
        return document


@dataclass(frozen=True)
class Unusual:
    """A concept on which the pair is stronger than most: `tail` of the other training pairs reach its |u|."""

    concept_id: int
    concept: str
    kind: str
    u: float
    tail: float


@dataclass(frozen=True)
class Lesson:
    """A hypothesis whose effect the pair carries."""

    hypothesis_id: str
    concept: str
    kind: str
    place: str
    direction: str
    delta: float
    rank: int  # of the hypothesis in the list of its view and direction
    lfsr: float | None
    is_sure: bool  # by the rule of `stats/sure.py`
    contribution: float
    share: float  # contribution / delta, > 0
    pair_rank: int  # 1: no other training pair contributes more to it
    fires_on: list[str]  # its strongest tokens in this pair, on the side that shows it more


@dataclass(frozen=True, repr=False)
class PairTrace(Result):
    """What one pair teaches: of the hypotheses that it carries, the sure ones by share of delta, then the others by
    rank."""

    pair: Quote
    group_id: int
    group: str
    prompt_concepts: list[dict[str, Any]]  # prompt_concept_id, statistic, name, score
    unusual: list[Unusual]  # rarest first
    everywhere: list[Lesson]  # effects over all pairs
    in_places: list[Lesson]  # of the sets of pairs that it is in

    @property
    def headline(self) -> str:
        lessons = [*self.everywhere, *self.in_places]
        n_sure = sum(lesson.is_sure for lesson in lessons)
        return f"pair {self.pair.pair_id}: carries {len(lessons)} listed effects, {n_sure} of them sure"

    @property
    def table(self) -> pa.Table:
        """One row per effect that the pair carries, with the fields of `Lesson`."""
        return pa.Table.from_pylist([dataclasses.asdict(lesson) for lesson in (*self.everywhere, *self.in_places)])

    def to_dict(self) -> dict[str, Any]:
        """JSON without NaN."""
        document: dict[str, Any] = jsonable({"trace": "pair", **dataclasses.asdict(self)})
        return document


Trace = EffectTrace | PairTrace


def fired(pieces: Sequence[str], acts: Sequence[float]) -> tuple[Fired, ...]:
    """The pieces that fire, by their characters in the joined text."""
    spans, start = [], 0
    for piece, act in zip(pieces, acts, strict=True):
        if act > 0:
            spans.append((start, start + len(piece), float(act)))
        start += len(piece)
    return tuple(spans)
