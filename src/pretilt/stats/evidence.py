"""Which pairs a hypothesis rests on: every pair's signed share of delta, the pairs ranked, and the EVIDENCE table.

All shares of a hypothesis sum to its delta. The token texts come from the lens floor through a callable, so that this
floor needs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from pretilt import schema
from pretilt.lens.tokens import PairTokens
from pretilt.schema import IN_GROUPS, OVER_ALL_PAIRS, SILENT_GROUP

Direction = Literal["amplify", "suppress"]


TokenActivations = Callable[[Sequence[tuple[str, int]]], Sequence[PairTokens]]
"""Answers requests (pair_id, concept_id), all different, in their order."""


@dataclass(frozen=True)
class Places:
    """Which rows every set of pairs holds, for N training pairs."""

    group_id: np.ndarray  # int [N]
    prompt_rows: Mapping[int, np.ndarray]  # prompt_concept_id → rows

    def inside(self, view: str, where: int) -> np.ndarray:
        """bool [N]"""
        if view in OVER_ALL_PAIRS:
            return np.ones(self.group_id.size, bool)
        if view in IN_GROUPS:
            return np.asarray(self.group_id == where)
        inside = np.zeros(self.group_id.size, bool)
        inside[self.prompt_rows.get(where, np.zeros(0, np.int64))] = True
        return inside

    def weights(self, view: str, where: int) -> np.ndarray:
        """float64 [N] by which u is multiplied to give each pair's share of delta: its sum over pairs is delta.

        Global: 1 / N. Group: 1 / n_in inside, -1 / n_out outside, 0 for silent pairs. Prompt concept: the same over all
        pairs. Raises ValueError for a set that has no contrast.
        """
        inside = self.inside(view, where)
        if view in OVER_ALL_PAIRS:
            return np.full(inside.size, 1.0 / max(inside.size, 1))
        absent = self.group_id == SILENT_GROUP if view in IN_GROUPS else np.zeros(inside.size, bool)
        n_in, n_out = int(inside.sum()), int((~inside & ~absent).sum())
        if (view in IN_GROUPS and where == SILENT_GROUP) or not n_in or not n_out:
            raise ValueError(f"{view} {where} has {n_in} pairs inside and {n_out} outside: it has no contrast")
        return np.where(inside, 1.0 / n_in, np.where(absent, 0.0, -1.0 / n_out))


class Tracer:
    """Contributions of the training pairs to the effects on some concepts.

    `pair_ids` [N] and `places` in the row order of the scores; `scores` maps concept_id to (u, v), float64 [N] each:
    the score that was tested, and the signed intensity, which orders pairs of equal u.
    """

    def __init__(
        self, pair_ids: Sequence[str], places: Places, scores: Mapping[int, tuple[np.ndarray, np.ndarray]]
    ) -> None:
        n = len(pair_ids)
        if places.group_id.size != n or any(x.shape != (n,) for pair in scores.values() for x in pair):
            raise ValueError(f"places and scores must be of the {n} pairs")
        self.pair_ids, self.places = list(pair_ids), places
        self._scores = scores
        self._name_order = np.empty(n, np.int64)
        self._name_order[np.argsort(np.asarray(self.pair_ids, dtype=str), kind="stable")] = np.arange(n)

    def u(self, concept_id: int) -> np.ndarray:
        """The score that was tested, float64 [N]."""
        return self._scores[concept_id][0]

    def contributions(self, view: str, where: int, concept_id: int) -> np.ndarray:
        """Every pair's signed share of delta, float64 [N]; they sum to delta."""
        return self.u(concept_id) * self.places.weights(view, where)

    def ranked(
        self,
        view: str,
        where: int,
        concept_id: int,
        direction: Direction,
        n: int | None = None,
        *,
        inside_only: bool = True,
    ) -> np.ndarray:
        """Rows of the responsible pairs, at most n: those whose share has the hypothesis' own sign, largest first.

        For a set, pairs inside come first; with `inside_only` False the outside ones follow (they carry the opposite
        trait, so they are no examples of the hypothesis). Equal shares, which are very frequent where u is made of 0/1:
        larger v in the same direction first, then the smaller pair_id.
        """
        sign = 1.0 if direction == "amplify" else -1.0
        share = sign * self.contributions(view, where, concept_id)
        inside = self.places.inside(view, where)
        rows = np.flatnonzero((share > 0) & (inside | (not inside_only)))
        share, inside = share[rows], inside[rows]
        intensity = sign * self._scores[concept_id][1][rows] * np.where(inside, 1.0, -1.0)
        return rows[np.lexsort((self._name_order[rows], -intensity, -share, ~inside))][:n]


def build_evidence(
    listed: pa.Table,
    tracer: Tracer,
    prompt_texts: Mapping[str, str],
    token_activations: TokenActivations,
    *,
    max_pairs: Sequence[int],
) -> pa.Table:
    """The EVIDENCE table of the hypotheses `listed`: of each the first `max_pairs` (its own number) responsible pairs.

    `token_activations` is asked once, for every (pair, concept) once.
    """
    entries: list[tuple[str, int, int, int, float, float]] = []  # hypothesis, rank, row, concept, u, share
    rows_listed = listed.select(["hypothesis_id", "view", "where", "concept_id", "direction"]).to_pylist()
    for hypothesis, n_pairs in zip(rows_listed, max_pairs, strict=True):
        cell = (hypothesis["view"], hypothesis["where"], hypothesis["concept_id"])
        u, share = tracer.u(hypothesis["concept_id"]), tracer.contributions(*cell)
        rows = tracer.ranked(*cell, hypothesis["direction"], n_pairs)
        for rank, row in enumerate(rows.tolist(), 1):
            entries.append(
                (hypothesis["hypothesis_id"], rank, row, hypothesis["concept_id"], float(u[row]), float(share[row]))
            )

    requests = list(dict.fromkeys((tracer.pair_ids[row], concept) for _, _, row, concept, _, _ in entries))
    answers = token_activations(requests) if requests else []
    if len(answers) != len(requests):
        raise ValueError(f"{len(requests)} requests for token activations, {len(answers)} answers")
    tokens = dict(zip(requests, answers, strict=True))

    records = []
    for hypothesis_id, rank, row, concept, u_value, contribution in entries:
        pair_id = tracer.pair_ids[row]
        pair_tokens = tokens[pair_id, concept]
        records.append(
            {
                "hypothesis_id": hypothesis_id,
                "rank": rank,
                "pair_id": pair_id,
                "u": u_value,
                "contribution": contribution,
                "prompt_text": prompt_texts[pair_id],
                **_side("chosen", pair_tokens.chosen_pieces, pair_tokens.chosen_acts),
                **_side("rejected", pair_tokens.rejected_pieces, pair_tokens.rejected_acts),
            }
        )
    return pa.Table.from_pylist(records, schema=schema.EVIDENCE)


def _side(side: str, pieces: Sequence[str], acts: Sequence[float]) -> dict[str, list[str] | list[float]]:
    if len(pieces) != len(acts):
        raise ValueError(f"{len(pieces)} {side} pieces, {len(acts)} activations")
    return {f"{side}_pieces": list(pieces), f"{side}_acts": [float(a) for a in acts]}
