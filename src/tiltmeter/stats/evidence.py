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
import pyarrow.compute as pc
from scipy.sparse import csc_array

from tiltmeter import schema
from tiltmeter.schema import EVERYWHERE, SILENT_GROUP

Direction = Literal["amplify", "suppress"]


@dataclass(frozen=True)
class PairTokens:
    """Content tokens of both responses as text, and on each the summed activation of the concept's features (>= 0)."""

    chosen_pieces: Sequence[str]
    chosen_acts: Sequence[float]
    rejected_pieces: Sequence[str]
    rejected_acts: Sequence[float]


TokenActivations = Callable[[Sequence[tuple[str, int]]], Sequence[PairTokens]]
"""Answers requests (pair_id, concept_id), all different, in their order."""


class Tracer:
    """Contributions of the training pairs to the effects on some concepts.

    `pair_ids` [N] and `group_id` int [N] in the row order of the matrices; `concept_ids` int [m] names their columns.
    `u` [N, m]: the signed disparity that was tested; `v` [N, m]: the signed intensity, which orders pairs of equal u.
    """

    def __init__(
        self, pair_ids: Sequence[str], group_id: np.ndarray, concept_ids: np.ndarray, u: csc_array, v: csc_array
    ) -> None:
        shape = (len(pair_ids), len(concept_ids))
        if not u.shape == v.shape == shape or len(group_id) != shape[0]:
            raise ValueError(f"u {u.shape}, v {v.shape} and {len(group_id)} group_ids must be for {shape}")
        self.pair_ids, self.group_id = list(pair_ids), np.asarray(group_id)
        self._column = {int(c): j for j, c in enumerate(concept_ids)}
        self._u, self._v = csc_array(u, dtype=np.float64), csc_array(v, dtype=np.float64)
        self._name_order = np.empty(shape[0], np.int64)
        self._name_order[np.argsort(np.asarray(self.pair_ids, dtype=str), kind="stable")] = np.arange(shape[0])

    def u(self, concept_id: int) -> np.ndarray:
        """The concept's signed disparity, float64 [N]."""
        return _dense_column(self._u, self._column[concept_id])

    def contributions(self, where: int, concept_id: int) -> np.ndarray:
        """Every pair's signed share of delta, float64 [N]; they sum to delta.

        Global (where -1): u / n. Group: u / n_in inside, -u / n_out outside, 0 for silent pairs.
        """
        return self.u(concept_id) * self._weights(where)

    def ranked(
        self, where: int, concept_id: int, direction: Direction, n: int | None = None, *, inside_only: bool = True
    ) -> np.ndarray:
        """Rows of the responsible pairs, at most n: those whose share has the hypothesis' own sign, largest first.

        For a group, pairs inside come first; with `inside_only` False the outside ones follow (they carry the opposite
        trait, so they are no examples of the hypothesis). Equal shares, which are very frequent where u is made of 0/1:
        larger v in the same direction first, then the smaller pair_id.
        """
        sign = 1.0 if direction == "amplify" else -1.0
        j = self._column[concept_id]
        rows = self._u.indices[self._u.indptr[j] : self._u.indptr[j + 1]]
        share = sign * self.contributions(where, concept_id)[rows]
        inside = (self.group_id[rows] == where) | (where == EVERYWHERE)
        kept = (share > 0) & (inside | (not inside_only))
        rows, share, inside = rows[kept], share[kept], inside[kept]
        intensity = sign * _dense_column(self._v, j)[rows] * np.where(inside, 1.0, -1.0)
        return rows[np.lexsort((self._name_order[rows], -intensity, -share, ~inside))][:n]

    def _weights(self, where: int) -> np.ndarray:
        if where == EVERYWHERE:
            return np.full(len(self.pair_ids), 1.0 / max(len(self.pair_ids), 1))
        inside, silent = self.group_id == where, self.group_id == SILENT_GROUP
        n_in = int(inside.sum())
        n_out = int(inside.size - n_in - silent.sum())
        if where == SILENT_GROUP or not n_in or not n_out:
            raise ValueError(f"group {where} has {n_in} pairs inside and {n_out} outside: it has no contrast")
        return np.where(inside, 1.0 / n_in, np.where(silent, 0.0, -1.0 / n_out))


def build_evidence(
    hypotheses: pa.Table,
    tracer: Tracer,
    prompt_texts: Mapping[str, str],
    token_activations: TokenActivations,
    *,
    max_rank: int,
    max_pairs: int,
) -> pa.Table:
    """The EVIDENCE table: the first `max_pairs` responsible pairs of every hypothesis shown up to rank `max_rank`.

    `token_activations` is asked once, for every (pair, concept) once.
    """
    listed = hypotheses.filter(pc.field("shown") & (pc.field("rank") <= max_rank))
    found: list[tuple[str, int, int, int, float, float]] = []  # hypothesis, rank, row, concept, u, share
    for one in listed.select(["hypothesis_id", "where", "concept_id", "direction"]).to_pylist():
        u = tracer.u(one["concept_id"])
        share = tracer.contributions(one["where"], one["concept_id"])
        rows = tracer.ranked(one["where"], one["concept_id"], one["direction"], max_pairs)
        for rank, row in enumerate(rows.tolist(), 1):
            found.append((one["hypothesis_id"], rank, row, one["concept_id"], float(u[row]), float(share[row])))
    requests = list(dict.fromkeys((tracer.pair_ids[row], concept) for _, _, row, concept, _, _ in found))
    answers = token_activations(requests) if requests else []
    if len(answers) != len(requests):
        raise ValueError(f"{len(requests)} requests for token activations, {len(answers)} answers")
    tokens = dict(zip(requests, answers, strict=True))
    records = []
    for hypothesis_id, rank, row, concept, u_value, contribution in found:
        pair_id = tracer.pair_ids[row]
        shown = tokens[pair_id, concept]
        records.append(
            {
                "hypothesis_id": hypothesis_id,
                "rank": rank,
                "pair_id": pair_id,
                "u": u_value,
                "contribution": contribution,
                "prompt_text": prompt_texts[pair_id],
                **_side("chosen", shown.chosen_pieces, shown.chosen_acts),
                **_side("rejected", shown.rejected_pieces, shown.rejected_acts),
            }
        )
    return pa.Table.from_pylist(records, schema=schema.EVIDENCE)


def _side(side: str, pieces: Sequence[str], acts: Sequence[float]) -> dict[str, list[str] | list[float]]:
    if len(pieces) != len(acts):
        raise ValueError(f"{len(pieces)} {side} pieces, {len(acts)} activations")
    return {f"{side}_pieces": list(pieces), f"{side}_acts": [float(a) for a in acts]}


def _dense_column(x: csc_array, j: int) -> np.ndarray:
    column = np.zeros(x.shape[0])
    entries = slice(x.indptr[j], x.indptr[j + 1])
    column[x.indices[entries]] = x.data[entries]
    return column
