"""The page of a verification: verdict, seal and ceiling on top, then everything that speaks for it and against it.

Made like the report: one static file, its own scripts and style alone, dataset text as text nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.run import jsonable
from pretilt.schema import IN_GROUPS, SILENT_GROUP
from pretilt.text import mask_slurs
from pretilt.verify.cells import MIN_PROMPTS
from pretilt.view.page.report import STYLES, static_page
from pretilt.view.tables import rounded

SCRIPTS = ("dom.js", "trust.js", "verification_plots.js", "verification.js")
RUNGS = ("mean", "one_step", "converged", "tilt")
MAX_POINTS = 4000  # dots of one set; communities are never left out


def build_verification_page(report: Mapping[str, Any], table: pa.Table, tables: Mapping[str, pa.Table]) -> str:
    """The text of verification.html (write it as UTF-8). Deterministic: same tables, same bytes.

    `report` is verification.json, `table` verification.parquet, `tables` the run's "forecast", "concepts", "groups" and
    "prompt_concepts".
    """
    kind = dict(zip(tables["concepts"]["concept_id"].to_pylist(), tables["concepts"]["kind"].to_pylist(), strict=True))
    points, left_out = _points(table, tables["forecast"], kind)
    named = {row[0] for row in points}
    named |= {
        row["concept_id"]
        for judged_set in report["sets"].values()
        for name in ("hits", "misses")
        for row in judged_set[name]
    }
    payload = {
        "hypotheses": [],  # the scripts that are shared with the report expect them
        "report": report,
        "doctor": report["doctor"],
        "concepts": _concepts(tables["concepts"], named),
        "groups": {},
        "prompts": {},
        "rungs": list(RUNGS),
        "points": points,
        "left_out": left_out,
        "places": _places(table, tables),
    }
    title = f"{report.get('source') or 'run'}: {report['verdict']['name']}"
    return static_page(
        "verification.html", jsonable(payload), title=title, scripts=SCRIPTS, styles=(*STYLES, "verification.css")
    )


def _points(table: pa.Table, forecast: pa.Table, kind: Mapping[int, str]) -> tuple[list[list[Any]], dict[str, int]]:
    """([concept_id, kind, observed, se, lo, hi, resolved, sign_right, inside, shift_lo, shift_hi, *rungs] of the global
    rows that are drawn, how many of each kind are not)."""
    observed = table.filter(pc.equal(table["view"], "global")).sort_by("concept_id")
    predicted = forecast.filter(pc.equal(forecast["view"], "global")).sort_by("concept_id")
    kinds = np.array([kind[i] for i in observed["concept_id"].to_pylist()])
    keep = np.ones(len(observed), bool)
    left_out = {}
    for drawn_kind in ("feature", "shift_max", "shift_freq", "pattern", "detector"):
        of_kind = np.flatnonzero(kinds == drawn_kind)
        if of_kind.size > MAX_POINTS:
            gone = np.random.default_rng(0).choice(of_kind, of_kind.size - MAX_POINTS, replace=False)
            keep[gone] = False
            left_out[drawn_kind] = int(gone.size)
    columns = [
        observed["concept_id"].to_pylist(),
        kinds.tolist(),
        *(map(_short, observed[name].to_pylist()) for name in ("observed", "se", "predictive_lo", "predictive_hi")),
        *(observed[name].to_pylist() for name in ("resolved", "sign_right", "inside")),
        *(map(_short, predicted[name].to_pylist()) for name in ("shift_lo", "shift_hi", *RUNGS)),
    ]
    rows = [list(row) for row, drawn in zip(zip(*columns, strict=True), keep, strict=True) if drawn]
    return rows, left_out


def _short(value: float | None) -> float | None:
    return None if value is None else rounded(value, 4)


def _concepts(concepts: pa.Table, concept_ids: set[int]) -> dict[int, dict[str, Any]]:
    some = concepts.filter(pc.is_in(concepts["concept_id"], pa.array(sorted(concept_ids), pa.int32())))
    rows = some.select(["concept_id", "kind", "name"]).to_pylist()
    return {row["concept_id"]: {"kind": row["kind"], "name": _label(row["name"])} for row in rows}


def _label(text: str) -> str | dict[str, str]:
    """A name; with slurs, both the masked and the full form."""
    masked = mask_slurs(text)
    return text if masked == text else {"masked": masked, "full": text}


def _places(table: pa.Table, tables: Mapping[str, pa.Table], n: int = 8) -> dict[str, list[dict[str, Any]]]:
    """Of every view, the `n` cells whose shift was seen most clearly, named, right or wrong.

    Only of sets that were judged: with enough prompts, and not of the silent group, which nothing tests.
    """

    def by_id(table: str, key: str) -> dict[int, str]:
        return dict(zip(*(tables[table][column].to_pylist() for column in (key, "name")), strict=True))

    prompt_names = by_id("prompt_concepts", "prompt_concept_id")
    group_names = by_id("groups", "group_id")
    names = {**dict.fromkeys(IN_GROUPS, group_names), "prompt_max": prompt_names, "prompt_freq": prompt_names}
    concept = by_id("concepts", "concept_id")
    cells_of = {}
    for view, places in names.items():
        rows = table.filter(pc.and_(pc.equal(table["view"], view), pc.equal(table["resolved"], True)))
        rows = rows.filter(pc.and_(pc.is_valid(rows["predicted"]), pc.greater(rows["se"], 0)))
        rows = rows.filter(pc.greater_equal(rows["n_prompts"], MIN_PROMPTS))
        if view in IN_GROUPS:
            rows = rows.filter(pc.not_equal(rows["where"], SILENT_GROUP))
        size = np.abs(rows["observed"].to_numpy() / rows["se"].to_numpy())
        rows = rows.take(pa.array(np.argsort(-size, kind="stable")[:n]))
        cells_of[view] = [
            {
                "place": _label(places.get(row["where"], f"set {row['where']}")),
                "concept": _label(concept[row["concept_id"]]),
                "predicted": _short(row["predicted"]),
                "observed": _short(row["observed"]),
                "se": _short(row["se"]),
                "n_prompts": row["n_prompts"],
                "sign_right": row["sign_right"],
            }
            for row in rows.to_pylist()
        ]
    return cells_of
