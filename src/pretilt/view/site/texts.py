"""Pairs as they are read, and where in them a concept fires, as shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.concepts.pattern_step import answer_text, question, stored_patterns
from pretilt.concepts.patterns import spans
from pretilt.pairs.transcript import transcript
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE, PATTERNS_FILE
from pretilt.text import is_harmful
from pretilt.view.site.shards import short, utf16_offsets
from pretilt.view.tables import ReportTables

PAIRS = 100  # pairs of a shard
MATCHED = 250  # pairs of each sign in which the matches of a pattern are marked: it takes 1.5 ms a text
SIDES = ("chosen", "rejected")
COLUMNS = ("pair_id", "row_index", "is_chat", "prompt", "chosen", "rejected", "chosen_score", "rejected_score")


class Texts:
    """The pairs of a run in their order."""

    def __init__(self, run: Run) -> None:
        self._pairs = run.table(PAIRS_FILE, list(COLUMNS))
        self.n_shards = -(-len(self._pairs) // PAIRS)

    def shard(self, number: int) -> list[dict[str, Any]]:
        """Texts of the pairs `number * PAIRS` and following."""
        return [_texts(row) for row in self._pairs.slice(number * PAIRS, PAIRS).to_pylist()]

    def rows(self, places: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """(place, row) of some pairs."""
        yield from zip(places, self._pairs.take(pa.array(places, pa.int64())).to_pylist(), strict=True)


def _texts(row: Mapping[str, Any]) -> dict[str, Any]:
    turns = {side: _turns(row[side], row["is_chat"]) for side in ("prompt", *SIDES)}
    scores = {name: short(row[name]) for name in ("chosen_score", "rejected_score") if row[name] is not None}
    whole = [text for side in turns.values() for _, text in side]
    return {"pair_id": row["pair_id"], "row": row["row_index"], **turns, **scores, "harmful": is_harmful(*whole)}


def _turns(messages: Sequence[Mapping[str, Any]], is_chat: bool) -> list[tuple[str, str]]:
    """(role, text) of every turn; plain text has the role ""."""
    return [(m["role"] if is_chat else "", transcript([m], is_chat=False)) for m in messages]


class Fired:
    """Where concepts fire in the pairs: matches of patterns in all pairs, tokens of features in those of the evidence.

    A place is [turn, start, stop, strength] of one response, counted as JavaScript counts.
    """

    def __init__(self, run: Run, tables: ReportTables, texts: Texts) -> None:
        self._texts = texts
        self._patterns = stored_patterns(run) if run.holds(PATTERNS_FILE) else {}
        pairs = run.table(PAIRS_FILE, ["pair_id"])["pair_id"].to_pylist()
        self._at = {pair: i for i, pair in enumerate(pairs)}
        names = tables.concepts.select(["concept_id", "pattern"]).to_pylist()
        self._pattern_of = {row["concept_id"]: row["pattern"] for row in names}
        hypotheses = tables.hypotheses.select(["hypothesis_id", "concept_id"])
        has_evidence = pc.is_in(hypotheses["hypothesis_id"], pc.unique(tables.evidence["hypothesis_id"]))
        listed = hypotheses.filter(has_evidence)
        concept_of = dict(zip(listed["hypothesis_id"].to_pylist(), listed["concept_id"].to_pylist(), strict=True))
        self._evidence = tables.evidence
        self._rows_of: dict[int, list[int]] = {}
        for i, name in enumerate(tables.evidence["hypothesis_id"].to_pylist()):
            if name in concept_of:
                self._rows_of.setdefault(concept_of[name], []).append(i)

    @property
    def concepts(self) -> list[int]:
        """Those of which anything can be marked."""
        of_text = {concept for concept, pattern in self._pattern_of.items() if pattern in self._patterns}
        return sorted(of_text | self._rows_of.keys())

    def of(self, concept_id: int, places: Sequence[int], u: Sequence[float]) -> dict[str, Any]:
        """Place of a pair to its [chosen, rejected]. `places`: the pairs in which the concept differs, with their u.

        Of a pattern the first `MATCHED` of each sign, in the side that holds it.
        """
        pattern = self._patterns.get(self._pattern_of.get(concept_id) or "")
        if pattern is None:
            return self._tokens(concept_id)
        fired: dict[str, Any] = {}
        for k, side in enumerate(SIDES):
            first = [place for place, value in zip(places, u, strict=True) if (value < 0) == (k == 1)][:MATCHED]
            for place, row in self._texts.rows(first):
                matches = spans(pattern, answer_text(row[side]), question(row["prompt"]))
                fired[str(place)] = [[], []]
                fired[str(place)][k] = _of_spans(row[side], matches)
        return fired

    def _tokens(self, concept_id: int) -> dict[str, Any]:
        rows = self._rows_of.get(concept_id, [])
        fired: dict[str, Any] = {}
        for entry in self._evidence.take(pa.array(rows, pa.int64())).to_pylist() if rows else []:
            place = self._at[entry["pair_id"]]
            if str(place) not in fired:
                ((_, row),) = self._texts.rows([place])
                fired[str(place)] = [
                    _of_pieces(row[side], row["is_chat"], entry[f"{side}_pieces"], entry[f"{side}_acts"])
                    for side in SIDES
                ]
        return fired


def _of_spans(messages: Sequence[Mapping[str, Any]], matches: Sequence[tuple[int, int]]) -> list[list[float]]:
    """Spans of `answer_text` as places in the turns it was joined from."""
    bodies = [(i, m["content"] or "") for i, m in enumerate(messages) if m["role"] == "assistant"]
    bodies = bodies or [(i, m["content"] or "") for i, m in enumerate(messages)]
    placed: list[list[float]] = []
    start = 0
    for turn, text in bodies:
        inside = [(a - start, b - start) for a, b in matches if a >= start and b <= start + len(text)]
        ends = utf16_offsets(text, [end for span in inside for end in span])
        placed += [[turn, ends[2 * k], ends[2 * k + 1], 1] for k in range(len(inside))]
        start += len(text) + 2
    return placed


def _of_pieces(
    messages: Sequence[Mapping[str, Any]], is_chat: bool, pieces: Sequence[str], acts: Sequence[float]
) -> list[list[float]]:
    """Tokens that fire as places in the turn that holds them; nothing where the tokens are not the text."""
    joined = "".join(pieces)
    for turn, message in enumerate(messages):
        text = transcript([message], is_chat=False)
        begin = text.find(joined.strip()) if joined.strip() else -1
        if begin < 0:
            continue
        begin -= len(joined) - len(joined.lstrip())
        ends = begin + np.cumsum([len(piece) for piece in pieces])
        fire = [k for k, act in enumerate(acts) if act > 0]
        bounds = [bound for k in fire for bound in (int(ends[k]) - len(pieces[k]), int(ends[k]))]
        counted_ends = utf16_offsets(text, bounds)
        top = max((acts[k] for k in fire), default=1.0)
        return [
            [turn, max(0, counted_ends[2 * j]), counted_ends[2 * j + 1], round(acts[k] / top, 2)]
            for j, k in enumerate(fire)
        ]
    return []
