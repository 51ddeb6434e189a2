"""Scores of pairs and their part in an effect, in plain loops over the artifacts of a run: shares no code with ours."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pyarrow.compute as pc

import pretilt


class Dense:
    """u of every pair and concept, and the weight of every pair in an effect, in plain loops from the artifacts."""

    def __init__(self, result: pretilt.AuditResult) -> None:
        self.train = [split == "train" for split in result.pairs["split"].to_pylist()]
        self.pair_ids = [p for p, t in zip(result.pairs["pair_id"].to_pylist(), self.train, strict=True) if t]
        self.group = dict(zip(*(result.group_members[c].to_pylist() for c in ("pair_id", "group_id")), strict=True))
        self.members = result.run.table("prompt_members.parquet").to_pylist()
        self.concepts = result.concepts.to_pylist()
        spans = {side: result.span(side) for side in ("chosen", "rejected")}
        self.count = {side: span.fire_count.toarray() for side, span in spans.items()}
        self.act = {side: span.act_max.toarray().astype(float) for side, span in spans.items()}
        self.n_tokens = {side: span.n_tokens for side, span in spans.items()}
        self.sigma = result.run.table("shift_sigma.parquet").to_pydict()
        self.patterns = result.run.table("patterns.parquet")["pattern"].to_pylist()
        self.stands = result.run.table("pattern_counts.parquet").to_pydict()

    def u(self, concept_id: int, row: int) -> float:
        concept, total = self.concepts[concept_id], 0.0
        if concept["kind"] == "pattern":
            column = self.patterns.index(concept["pattern"])
            return float((self.stands["chosen"][row][column] > 0) - (self.stands["rejected"][row][column] > 0))
        for side, sign in (("chosen", 1), ("rejected", -1)):
            n = int(self.n_tokens[side][row])
            for f in concept["feature_ids"]:
                count, act = int(self.count[side][row, f]), self.act[side][row, f]
                if concept["kind"] == "shift_max":
                    total += sign * act / self.sigma["max"][f]
                elif concept["kind"] == "shift_freq":
                    total += sign * count / n / self.sigma["freq"][f]
                else:
                    total += sign * (Fraction(count) > Fraction(1, 100) * n)
        return total / len(concept["feature_ids"])

    def of_train(self, concept_id: int) -> list[float]:
        return [self.u(concept_id, row) for row, train in enumerate(self.train) if train]

    def shares(self, view: str, where: int, concept_id: int) -> dict[str, float]:
        """pair_id → its part in mean inside - mean outside."""
        if view in ("global", "pattern"):
            inside, outside = set(self.pair_ids), set()
        elif view in ("group", "pattern_group"):
            inside = {p for p in self.pair_ids if self.group[p] == where}
            outside = {p for p in self.pair_ids if self.group[p] not in (0, where)}
        else:
            inside = {m["pair_id"] for m in self.members if m["prompt_concept_id"] == where} & set(self.pair_ids)
            outside = set(self.pair_ids) - inside
        return {
            p: u / len(inside) if p in inside else -u / len(outside) if p in outside else 0.0
            for p, u in zip(self.pair_ids, self.of_train(concept_id), strict=True)
        }


def first(result: pretilt.AuditResult, view: str, direction: str = "amplify") -> dict[str, Any]:
    """The hypothesis of rank 1."""
    here = (pc.field("view") == view) & (pc.field("direction") == direction) & (pc.field("rank") == 1)
    row: dict[str, Any] = result.hypotheses.filter(here).to_pylist()[0]
    return row
