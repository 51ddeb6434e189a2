"""One hypothesis in a form to be read out: names for its ids, and a sentence no bolder than its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tiltmeter.view.screen import mask_slurs
from tiltmeter.view.tables import ReportTables, finite, n_train

FOLLOWS_LENGTH = 0.3  # |correlation| with the length difference from which a person is warned


@dataclass(frozen=True)
class Effect:
    """One hypothesis in a form to be read out. `effect` is delta (global rows: the mean u), in [-2, 2], + = amplify."""

    hypothesis_id: str
    view: str
    direction: str
    rank: int
    concept_id: int
    concept: str
    phrases: list[str]
    n_features: int
    where: int
    group: str  # "" for global rows
    effect: float
    ci_lo: float | None
    ci_hi: float | None
    z: float | None
    mean_in: float | None
    mean_out: float | None
    n_in: int
    n_out: int
    consistent: bool
    share_of_pairs: float | None  # of the training pairs, those in which the concept fires in either response
    follows_length: bool
    may_be_chance: bool  # the 95 % interval includes 0
    sentence: str


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign in ASCII, `+0.120`, a digit more below 0.01; unsigned if it rounds to 0; `?` if None."""
    if value is None:
        return "?"
    digits += digits > 2 and abs(value) < 0.01
    return f"{value:+.{digits}f}" if round(value, digits) else "0"


def interval(lo: float | None, hi: float | None) -> str:
    return "" if lo is None or hi is None else f"[{signed(lo)}, {signed(hi)}]"


class Labels:
    """Names of concepts and groups by id, with slurs masked."""

    def __init__(self, tables: ReportTables) -> None:
        self.concepts: dict[int, dict[str, Any]] = {c["concept_id"]: c for c in tables.concepts.to_pylist()}
        self.groups: dict[int, dict[str, Any]] = {g["group_id"]: g for g in tables.groups.to_pylist()}
        self.n_train = n_train(tables.pairs)

    def concept(self, concept_id: int) -> str:
        return mask_slurs(self.concepts.get(concept_id, {}).get("name") or f"concept {concept_id}")

    def group(self, view: str, where: int) -> str:
        if view == "global" or where < 0:
            return ""
        name = self.groups.get(where, {}).get("name") if view == "group" else None
        return mask_slurs(name or f"{'group' if view == 'group' else 'prompt concept'} {where}")

    def effect(self, row: Mapping[str, Any]) -> Effect:
        """The row of HYPOTHESES with names and a sentence."""
        concept = self.concepts.get(row["concept_id"], {})
        active = concept.get("n_pairs_active")
        correlation = finite(concept.get("length_correlation"))
        return Effect(
            hypothesis_id=row["hypothesis_id"],
            view=row["view"],
            direction=row["direction"],
            rank=row["rank"],
            concept_id=row["concept_id"],
            concept=self.concept(row["concept_id"]),
            phrases=[mask_slurs(p) for p in concept.get("phrases") or []],
            n_features=concept.get("size") or 0,
            where=row["where"],
            group=self.group(row["view"], row["where"]),
            effect=row["delta"],
            ci_lo=finite(row["ci_lo"]),
            ci_hi=finite(row["ci_hi"]),
            z=finite(row["z"]),
            mean_in=finite(row["mean_in"]),
            mean_out=finite(row["mean_out"]),
            n_in=row["n_in"],
            n_out=row["n_out"],
            consistent=bool(row["sign_consistent"]),
            share_of_pairs=min(1.0, active / self.n_train) if active is not None and self.n_train else None,
            follows_length=correlation is not None and abs(correlation) >= FOLLOWS_LENGTH,
            may_be_chance=_includes_zero(row),
            sentence=in_words(row),
        )


def in_words(row: Mapping[str, Any]) -> str:
    """What a hypothesis says, in words that do not claim more than the number does."""
    amplify = row["delta"] > 0
    verb, side = ("amplify", "chosen") if amplify else ("suppress", "rejected")
    doubt = " The interval includes 0: this may be chance." if _includes_zero(row) else ""
    if row["view"] == "global":
        return f"Over all {row['n_in']:,} pairs the {side} responses show it more. Training would {verb} it.{doubt}"
    inside, outside = finite(row["mean_in"]), finite(row["mean_out"])
    place = (
        f"in these {row['n_in']:,} pairs"
        if row["view"] == "group"
        else f"on the {row['n_in']:,} prompts most about this"
    )
    if inside is None or outside is None:
        return f"The {side} responses show it more {place} than elsewhere. Training would {verb} it there.{doubt}"
    if inside == 0 or (inside > 0) == amplify:
        others = f"than in the {row['n_out']:,} others"
        return f"The {side} responses show it more {place} {others}. Training would {verb} it there.{doubt}"
    other_verb = "suppress" if amplify else "amplify"
    return f"Training would {other_verb} it {place} too, but less than in the {row['n_out']:,} others.{doubt}"


def _includes_zero(row: Mapping[str, Any]) -> bool:
    lo, hi = finite(row["ci_lo"]), finite(row["ci_hi"])
    return lo is not None and hi is not None and lo <= 0 <= hi


def shown_rows(tables: ReportTables, views: Sequence[str], direction: str, limit: int) -> list[dict[str, Any]]:
    """The first `limit` shown hypotheses of these views and this direction, by rank."""
    h = tables.hypotheses
    keep = pc.and_(
        pc.and_(h["shown"], pc.equal(h["direction"], direction)),
        pc.is_in(h["view"], pa.array(list(views), pa.string())),
    )
    rows: list[dict[str, Any]] = h.filter(keep).sort_by([("rank", "ascending")]).slice(0, limit).to_pylist()
    return rows


def spread(rows: Sequence[dict[str, Any]], limit: int, per_group: int = 2) -> list[dict[str, Any]]:
    """The first `limit` of the rows with at most `per_group` of the same place, in their order."""
    taken: Counter[tuple[str, int]] = Counter()
    kept = []
    for row in rows:
        place = (row["view"], row["where"])
        if taken[place] < per_group:
            taken[place] += 1
            kept.append(row)
    return kept[:limit]
