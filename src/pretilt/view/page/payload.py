"""Tables → one JSON-able object that holds all the report shows, cut to a size a browser opens at once.

A pair's text is stored once however many hypotheses it is responsible for; activations are stored sparsely. If the
object is too large, the number of hypotheses, of pairs per hypothesis and of tokens per response shrink, and
`payload["cuts"]` says what was left out. Nothing is cut from the tables themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pretilt.run import jsonable
from pretilt.schema import (
    LISTED,
)
from pretilt.stats.sure import is_sure
from pretilt.text import counted, is_harmful, mask_slurs
from pretilt.view.certainty import verdict
from pretilt.view.effects import in_words, is_unnamed, shortlist, shown_rows, unit_of
from pretilt.view.page.plot_data import heat, points
from pretilt.view.page.quoted import Quoted
from pretilt.view.site.facts import build_facts
from pretilt.view.summary import Summary
from pretilt.view.tables import ReportTables, rounded

DIRECTIONS = ("amplify", "suppress")
FINDINGS = {"patterns": 8, "everywhere": 8, "groups": 6, "prompts": 6}  # rows of the lists at the top, per direction
NUMBERS = (
    "mean_in", "mean_out", "delta", "ci_lo", "ci_hi", "se_moderated", "z", "cohens_d", "delta_a", "delta_b",
    "delta_min", "n_eff", "posterior_delta", "posterior_lo", "posterior_hi", "lfsr", "q_value", "p_flip",
    "rank_stability", "delta_heldout", "delta_residual",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How much goes into the page: hypotheses per view and direction, pairs per hypothesis, tokens and characters."""

    hypotheses: int
    pairs: int
    tokens: int
    prompt_chars: int


STEPS = (
    Limits(LISTED, 20, 1500, 6000),
    Limits(LISTED, 10, 700, 3000),
    Limits(150, 8, 400, 1500),
    Limits(100, 5, 250, 800),
    Limits(40, 3, 120, 400),
)


def build_payload(tables: ReportTables, summary: Summary, *, max_bytes: int) -> dict[str, Any]:
    """The largest of the steps whose JSON stays under `max_bytes` (UTF-8); the smallest step if none does."""
    fixed = build_facts(tables, summary)
    payload: dict[str, Any] = {}
    for limits in STEPS:
        rows = _listed(tables, limits.hypotheses)
        quoted = Quoted(
            tables,
            {row["hypothesis_id"] for row in rows},
            max_pairs=limits.pairs,
            max_tokens=limits.tokens,
            max_chars=limits.prompt_chars,
        )
        if quoted.n_bytes > max_bytes and limits is not STEPS[-1]:
            continue
        evidence, pairs = quoted.read()
        payload = jsonable({**fixed, **_hypotheses(tables, rows), "evidence": evidence, "pairs": pairs})
        payload["cuts"] = _cuts(tables, summary, payload, limits)
        if len(json.dumps(payload, ensure_ascii=False).encode()) <= max_bytes:
            break
    return payload


def label(text: str) -> str | dict[str, str]:
    """A name or phrase; with slurs, both the masked and the full form."""
    masked = mask_slurs(text)
    return text if masked == text else {"masked": masked, "full": text}


def _listed(tables: ReportTables, limit: int) -> list[dict[str, Any]]:
    """The rows of HYPOTHESES that the page lists, with their sentences."""
    views = pc.unique(tables.hypotheses["view"]).to_pylist()
    rows = [row for view in views for d in DIRECTIONS for row in shown_rows(tables, [view], d, limit)]
    listed_ids = {row["hypothesis_id"] for row in rows}
    at_the_top = [row for place, n in FINDINGS.items() for d in DIRECTIONS for row in shortlist(tables, place, d, n)]
    rows += [row for row in at_the_top if row["hypothesis_id"] not in listed_ids]
    rows = [{name: value for name, value in row.items() if name != "alike"} for row in rows]
    units = {c["concept_id"]: unit_of(c["kind"]) for c in tables.concepts.select(["concept_id", "kind"]).to_pylist()}
    for row in rows:
        row["in_words"] = in_words(row)
        judged = verdict(row, units.get(row["concept_id"], ""))
        row["how_sure"] = {"level": judged.level, "sentence": judged.sentence, "cautions": judged.cautions}
        row["sure"] = is_sure(row)
        del row["shown"]  # all of them are
        for column in NUMBERS:
            row[column] = rounded(row[column], 7)  # more than is shown: rounding twice must not change a digit
    return rows


def _hypotheses(tables: ReportTables, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    cells = heat(tables.hypotheses, rows)
    concept_ids = {row["concept_id"] for row in rows} | set(cells["concepts"])
    places = {row["where"] for row in rows if row["view"].startswith("prompt_")}
    shown = tables.hypotheses.filter(tables.hypotheses["shown"])
    lists: dict[str, dict[str, int]] = {}
    for count in shown.group_by(["view", "direction"]).aggregate([([], "count_all")]).to_pylist():
        lists.setdefault(count["view"], {})[count["direction"]] = count["count_all"]
    findings = {place: {d: shortlist(tables, place, d, n) for d in DIRECTIONS} for place, n in FINDINGS.items()}
    at_the_top = [
        row for lists_of_place in findings.values() for listed_rows in lists_of_place.values() for row in listed_rows
    ]
    return {
        "hypotheses": rows,
        "findings": {
            place: {d: [row["hypothesis_id"] for row in lists_of_place[d]] for d in DIRECTIONS}
            for place, lists_of_place in findings.items()
        },
        "alike": {row["hypothesis_id"]: row["alike"] for row in at_the_top if row.get("alike")},
        "concepts": {
            c["concept_id"]: _concept(c) for c in tables.concepts.to_pylist() if c["concept_id"] in concept_ids
        },
        "groups": {g["group_id"]: _group(g) for g in tables.groups.to_pylist()},
        "prompts": {
            p["prompt_concept_id"]: _prompt_concept(p)
            for p in tables.prompt_concepts.to_pylist()
            if p["prompt_concept_id"] in places
        },
        "concentration": _concentration(tables.concentration, {row["hypothesis_id"] for row in rows}),
        "lists": lists,
        "heat": cells,
        "points": points(tables.hypotheses, {row["hypothesis_id"] for row in rows}),
    }


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": label(group["name"] or f"group {group['group_id']}"), "size": group["size"]}


def _prompt_concept(prompt: Mapping[str, Any]) -> dict[str, Any]:
    name = prompt["name"] or f"prompt concept {prompt['prompt_concept_id']}"
    figures = {"statistic": prompt["statistic"], "size": prompt["size"], "n_selected": prompt["n_selected"]}
    return {**figures, "name": label(name), "phrases": [label(p) for p in prompt["phrases"] or []]}


def _concentration(table: pa.Table | None, listed: set[str]) -> dict[str, dict[str, list[float]]]:
    """hypothesis_id → the shares that the first 1, 5 and 10 % carry, of "pairs" and of "families"."""
    if table is None:
        return {}
    return {
        row["hypothesis_id"]: {
            unit: [rounded(row[f"{unit}_{share}"], 3) for share in (1, 5, 10)] for unit in ("pairs", "families")
        }
        for row in table.to_pylist()
        if row["hypothesis_id"] in listed
    }


def _concept(concept: Mapping[str, Any]) -> dict[str, Any]:
    texts = ("concept_id", "name", "phrases", "contexts")
    figures = {k: v for k, v in concept.items() if k not in texts and v is not None}
    name = concept["name"] or f"concept {concept['concept_id']}"
    return {
        **figures,
        "name": label(name),
        "phrases": [label(p) for p in concept["phrases"] or []],
        **({"contexts": [_context(text) for text in concept["contexts"]]} if concept.get("contexts") else {}),
        **({"unnamed": True} if is_unnamed(concept) else {}),
    }


def _context(text: str) -> str | dict[str, str]:
    """A place where a concept fires, hidden until it is asked for where the word screen fires."""
    return {"masked": "hidden: may be harmful", "full": text} if is_harmful(text) else label(text)


def _cuts(tables: ReportTables, summary: Summary, payload: Mapping[str, Any], limits: Limits) -> list[str]:
    """What the page leaves out, in sentences."""
    cuts = []
    n_shown, n_listed = summary.trust["n_shown"], len(payload["hypotheses"])
    if n_listed < n_shown:
        first = f"the first {limits.hypotheses:,} of every view and direction"
        cuts.append(f"The page lists {n_listed:,} of the {n_shown:,} shown hypotheses: {first}.")
    n_evidence = len(tables.evidence)
    n_here = sum(len(rows) for rows in payload["evidence"].values())
    if n_here < n_evidence:
        cuts.append(
            f"It holds {n_here:,} of {n_evidence:,} rows of evidence: at most {limits.pairs} pairs for each hypothesis."
        )
    long = sum(1 for p in payload["pairs"].values() if p["chosen_cut"] or p["rejected_cut"] or p["prompt_cut"])
    if long:
        room = f"{limits.tokens:,} tokens of a response, {limits.prompt_chars:,} characters of a prompt"
        cuts.append(f"{counted(long, 'pair is', 'pairs are')} longer than the page shows ({room}): cut, not left out.")
    n_points, n_rest = sum(len(points) for points in payload["points"].values()), summary.trust["n_tested"] - n_listed
    if n_points < n_rest:
        cuts.append(f"The scatter plot draws {n_points:,} of the {n_rest:,} hypotheses that are not listed, at random.")
    return cuts
