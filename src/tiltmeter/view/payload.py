"""Tables → one JSON-able object that holds all the report shows, cut to a size a browser opens at once.

A pair's text is stored once however many hypotheses it is responsible for; activations are stored sparsely. If the
object is too large, the number of hypotheses, of pairs per hypothesis and of tokens per response shrink, and
`payload["cuts"]` says what was left out. Nothing is cut from the tables themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiltmeter.view.effects import in_words, shown_rows, spread
from tiltmeter.view.quoted import Quoted
from tiltmeter.view.screen import mask_slurs
from tiltmeter.view.summary import Summary
from tiltmeter.view.tables import ReportTables, jsonable, rounded

DIRECTIONS = ("amplify", "suppress")
MAX_POINTS = 3000  # dots of the scatter plot that stand for hypotheses not listed
HEAT_CONCEPTS, HEAT_GROUPS = 14, 20
DROPPED_ROWS = 200
NUMBERS = ("ci_lo", "ci_hi", "mean_in", "mean_out", "delta", "z", "cohens_d", "delta_a", "delta_b", "delta_min")

FILES = {
    "run.json": "settings, versions, measurement id, hashes and timings of every stage",
    "pairs.parquet": "the pairs that were read, in one schema",
    "dropped.parquet": "rows that were not read, with row number and reason",
    "tokens.parquet": "the exact token ids, and which of them are content",
    "features/": "per shard and span, the features that fire: counts and maxima",
    "concepts.parquet": "concepts: names, features, prevalence, global effects",
    "groups.parquet": "groups of pairs: names, sizes",
    "group_members.parquet": "which pair is in which group",
    "hypotheses.parquet": "every hypothesis that was tested, shown or not, with its statistics",
    "evidence.parquet": "the responsible pairs of the shown hypotheses, with tokens and activations",
}


@dataclass(frozen=True)
class Limits:
    """How much goes into the page: hypotheses per view and direction, pairs per hypothesis, tokens and characters."""

    hypotheses: int
    pairs: int
    tokens: int
    prompt_chars: int


STEPS = (
    Limits(250, 20, 1500, 6000),
    Limits(250, 10, 700, 3000),
    Limits(150, 8, 400, 1500),
    Limits(100, 5, 250, 800),
    Limits(40, 3, 120, 400),
)


def build_payload(tables: ReportTables, summary: Summary, *, max_bytes: int) -> dict[str, Any]:
    """The largest of the steps whose JSON stays under `max_bytes` (UTF-8); the smallest step if none does."""
    fixed = _fixed(tables, summary)
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


def _fixed(tables: ReportTables, summary: Summary) -> dict[str, Any]:
    facts = summary.to_dict()
    stages = tables.manifest.get("stages") or {}
    return {
        "title": summary.title,
        "read": facts["read"],
        "lens": facts["lens"],
        "trust": facts["trust"],
        "preflight": dict(tables.preflight),
        "dropped": {"n": tables.dropped.num_rows, "rows": tables.dropped.slice(0, DROPPED_ROWS).to_pylist()},
        "lengths": _length_histogram(tables.pairs),
        "files": _files(stages),
        "versions": tables.manifest.get("versions") or {},
        "settings": tables.manifest.get("settings") or {},
        "seconds": {name: stage.get("seconds") for name, stage in stages.items() if stage.get("seconds") is not None},
    }


def label(text: str) -> str | dict[str, str]:
    """A name or phrase; with slurs, both the masked and the full form."""
    masked = mask_slurs(text)
    return text if masked == text else {"masked": masked, "full": text}


def _listed(tables: ReportTables, limit: int) -> list[dict[str, Any]]:
    """The rows of HYPOTHESES that the page lists, with their sentence."""
    views = pc.unique(tables.hypotheses["view"]).to_pylist()
    rows = [row for view in views for d in DIRECTIONS for row in shown_rows(tables, [view], d, limit)]
    for row in rows:
        row["in_words"] = in_words(row)
        for column in NUMBERS:
            row[column] = rounded(row[column])
    return rows


def _hypotheses(tables: ReportTables, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    heat = _heat(tables, rows)
    concept_ids = {row["concept_id"] for row in rows} | set(heat["concepts"])
    shown = tables.hypotheses.filter(tables.hypotheses["shown"])
    lists: dict[str, dict[str, int]] = {}
    for count in shown.group_by(["view", "direction"]).aggregate([([], "count_all")]).to_pylist():
        lists.setdefault(count["view"], {})[count["direction"]] = count["count_all"]
    return {
        "hypotheses": rows,
        "concepts": {
            c["concept_id"]: _concept(c) for c in tables.concepts.to_pylist() if c["concept_id"] in concept_ids
        },
        "groups": {g["group_id"]: _group(g) for g in tables.groups.to_pylist()},
        "lists": lists,
        "heat": heat,
        "points": _points(tables.hypotheses, {row["hypothesis_id"] for row in rows}),
    }


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": label(group["name"] or f"group {group['group_id']}"), "size": group["size"]}


def _concept(concept: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in concept.items() if k not in ("concept_id", "name", "phrases")}
    name = concept["name"] or f"concept {concept['concept_id']}"
    return {**kept, "name": label(name), "phrases": [label(p) for p in concept["phrases"] or []]}


def _heat(tables: ReportTables, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Concepts × groups around the strongest group hypotheses: [concept, group, delta, z, shown] of what was tested."""
    ranked = sorted((dict(r) for r in rows if r["view"] == "group"), key=lambda r: (r["rank"], r["direction"]))
    local = spread(ranked, len(ranked)) + ranked  # the strongest of every group before the third of any
    concepts = list(dict.fromkeys(row["concept_id"] for row in local))[:HEAT_CONCEPTS]
    groups = list(dict.fromkeys(row["where"] for row in local))[:HEAT_GROUPS]
    h = tables.hypotheses
    inside = pc.and_(
        pc.is_in(h["concept_id"], pa.array(concepts, pa.int32())), pc.is_in(h["where"], pa.array(groups, pa.int32()))
    )
    cells = h.filter(pc.and_(pc.equal(h["view"], "group"), inside)).to_pylist()
    return {
        "concepts": concepts,
        "groups": groups,
        "cells": [[c["concept_id"], c["where"], rounded(c["delta"], 3), rounded(c["z"], 3), c["shown"]] for c in cells],
    }


def _points(hypotheses: pa.Table, listed: Iterable[str]) -> dict[str, list[list[float]]]:
    """Per view, [delta, z] of hypotheses that are not listed: all, or a fixed random sample."""
    rest = hypotheses.filter(pc.invert(pc.is_in(hypotheses["hypothesis_id"], pa.array(sorted(listed), pa.string()))))
    rest = rest.filter(pc.and_(pc.is_finite(rest["delta"]), pc.is_finite(rest["z"])))
    points = {}
    for view in pc.unique(rest["view"]).to_pylist():
        xy = rest.filter(pc.equal(rest["view"], view)).select(["delta", "z"])
        if xy.num_rows > MAX_POINTS:
            xy = xy.take(np.sort(np.random.default_rng(0).choice(xy.num_rows, MAX_POINTS, replace=False)))
        points[view] = [
            [rounded(d, 3), rounded(z, 3)] for d, z in zip(*(xy[c].to_pylist() for c in ("delta", "z")), strict=True)
        ]
    return points


def _length_histogram(pairs: pa.Table) -> dict[str, list[float]]:
    """Content tokens of chosen minus rejected, in equal bins around 0 that hold 98 %; the rest in the end bins."""
    difference = pairs["n_chosen_tokens"].to_numpy().astype(float) - pairs["n_rejected_tokens"].to_numpy()
    if not difference.size:
        return {"edges": [], "counts": []}
    reach = max(8.0, float(np.quantile(np.abs(difference), 0.98)))
    step = max(1, int(np.ceil(2 * reach / 31)))
    edges = (np.arange(33) - 16.5) * step + (0.5 if step % 2 == 0 else 0)
    counts, _ = np.histogram(np.clip(difference, edges[0], edges[-1]), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _files(stages: Mapping[str, Any]) -> list[list[str]]:
    """[relative name, what it holds] of the run's artifacts; a folder of shards is one. Odd names are left out."""
    names = {name for stage in stages.values() for name in stage.get("files") or {}}
    top = {
        name if "/" not in name else name.split("/")[0] + "/"
        for name in names
        if re.fullmatch(r"\w[\w./-]*", name) and ".." not in name
    }
    order = list(FILES)
    return [
        [n, FILES.get(n, "")]
        for n in sorted(top | {"run.json"}, key=lambda n: (order.index(n) if n in order else 99, n))
    ]


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
        cuts.append(f"{plural(long, 'pair')} longer than the page shows ({room}): cut, not left out.")
    n_points, n_rest = sum(len(points) for points in payload["points"].values()), summary.trust["n_tested"] - n_listed
    if n_points < n_rest:
        cuts.append(f"The scatter plot draws {n_points:,} of the {n_rest:,} hypotheses that are not listed, at random.")
    return cuts


def plural(n: int, noun: str) -> str:
    return f"{n:,} {noun} is" if n == 1 else f"{n:,} {noun}s are"
