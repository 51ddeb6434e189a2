"""The pairs that the report quotes: every pair's text once, and per hypothesis which of its tokens fire.

Works on Arrow's flat arrays row by row: the evidence of a large run as Python lists would fill the memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.pairs.transcript import last_turn
from pretilt.text import is_harmful
from pretilt.view.tables import ReportTables, rounded

CARRIED = ("row_index", "split", "source", "chosen_model", "rejected_model", "component_id")
SIDES = ("chosen", "rejected")
BYTES_PER_TOKEN = 7  # of English as JSON: four letters, two quotation marks, a comma


class _Lists:
    """A list column, flat: row i is `values[offsets[i] : offsets[i + 1]]`."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = column.combine_chunks()
        self.offsets = array.offsets.to_numpy()
        self.values = array.values

    def row(self, i: int) -> pa.Array:
        return self.values.slice(self.offsets[i], self.offsets[i + 1] - self.offsets[i])


class Quoted:
    """Evidence of the hypotheses `listed`, at most `max_pairs` pairs of each, cut to `max_tokens` and `max_chars`."""

    def __init__(
        self, tables: ReportTables, listed: Iterable[str], *, max_pairs: int, max_tokens: int, max_chars: int
    ) -> None:
        e = tables.evidence
        is_listed = pc.is_in(e["hypothesis_id"], pa.array(sorted(listed), pa.string()))
        evidence_rows = e.filter(pc.and_(is_listed, pc.less_equal(e["rank"], max_pairs)))
        self._rows = evidence_rows.sort_by([("hypothesis_id", "ascending"), ("rank", "ascending")])
        self._facts = tables.pairs.select(["pair_id", *CARRIED])
        self._max_tokens, self._max_chars = max_tokens, max_chars

    @property
    def n_bytes(self) -> int:
        """About how large the texts will be as JSON."""
        rows = self._rows
        lengths = sum(np.minimum(pc.list_value_length(rows[f"{s}_pieces"]).to_numpy(), self._max_tokens) for s in SIDES)
        prompts = np.minimum(pc.utf8_length(rows["prompt_text"]).fill_null(0).to_numpy(), self._max_chars)
        once = np.unique(rows["pair_id"].to_numpy(), return_index=True)[1]
        return int((BYTES_PER_TOKEN * lengths + prompts)[once].sum())

    def read(self) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
        """(hypothesis_id → its pairs, ranked; pair key → texts). The key is the pair_id, primed where pieces differ."""
        rows = self._rows
        pieces = {side: _Lists(rows[f"{side}_pieces"]) for side in SIDES}
        acts = {side: _Lists(rows[f"{side}_acts"]) for side in SIDES}
        evidence: dict[str, list[dict[str, Any]]] = {}
        pairs: dict[str, Any] = {}
        first: dict[str, int] = {}  # the row whose pieces stand under the key
        light = rows.select(["hypothesis_id", "pair_id", "u", "contribution", "prompt_text"]).to_pylist()
        for i, row in enumerate(light):
            key = row["pair_id"]
            while key in first and not all(pieces[s].row(i).equals(pieces[s].row(first[key])) for s in SIDES):
                key += "'"
            if key not in first:
                first[key] = i
                pairs[key] = self._texts(row, {side: pieces[side].row(i) for side in SIDES})
            entry = {"pair": key, "u": rounded(row["u"]), "contribution": rounded(row["contribution"])}
            evidence.setdefault(row["hypothesis_id"], []).append(
                entry | {side: _sparse(acts[side].row(i)) for side in SIDES}
            )
        return evidence, pairs

    def _texts(self, row: dict[str, Any], pieces: dict[str, pa.Array]) -> dict[str, Any]:
        prompt = row["prompt_text"] or ""
        cut = max(0, len(prompt) - self._max_chars)  # from the front: what is answered stands at the end
        at = pc.index(self._facts["pair_id"], row["pair_id"]).as_py()  # -1 if it is not there
        facts = self._facts.slice(at, 1).to_pylist()[0] if at >= 0 else {}
        texts: dict[str, Any] = {
            "pair_id": row["pair_id"],
            **{name: facts[name] for name in CARRIED if facts.get(name) is not None},
            "prompt": prompt[cut:],
            "prompt_cut": cut,
        }
        if (turn := last_turn(prompt) - cut) > 0:
            texts["prompt_turn"] = turn
        full = [prompt]
        for side, tokens in pieces.items():
            all_tokens = tokens.to_pylist()
            texts[side] = all_tokens[: self._max_tokens]
            texts[f"{side}_cut"] = max(0, len(all_tokens) - self._max_tokens)
            full.append("".join(all_tokens))
        return {**texts, "harmful": is_harmful(*full)}


def _sparse(acts: pa.Array) -> list[list[float]]:
    """[token, activation] where it is > 0."""
    values = acts.to_numpy(zero_copy_only=False)
    return [[int(i), rounded(float(values[i]), 3)] for i in np.flatnonzero(values > 0)]
