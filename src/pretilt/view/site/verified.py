"""Verifications and dose curves of a run as shards: every concept's numbers, and the cells that are clearest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pretilt.run import Run, file_hash
from pretilt.schema import (
    DOSE_REPORT,
    FORECAST_FILE,
    IN_GROUPS,
    SILENT_GROUP,
    VERIFICATION_REPORT,
)
from pretilt.text import mask_slurs
from pretilt.verify.cells import MIN_PROMPTS
from pretilt.view.site.shards import columns

IN_PROMPTS = ("prompt_max", "prompt_freq")
RUNGS = ("mean", "one_step", "converged", "tilt")
CLEAREST = 8  # cells of a view that are listed
SEEN_COLUMNS = (
    "concept_id", "predicted", "observed", "se", "predictive_lo", "predictive_hi", "inside", "resolved", "sign_right",
)  # fmt: skip
CELL_COLUMNS = ("where", "concept_id", "predicted", "observed", "se", "n_prompts", "sign_right")


def verifications(run: Run) -> list[dict[str, Any]]:
    """Every verification of the run, the one without a name first: {"report", "rows", "rungs", "intervals", "cells"}.

    `report` is its JSON file, `rows` are its rows over all pairs. `rungs` maps every other rung to values beside the
    rows, and `intervals` holds the ends of the declared one; both are empty where the forecast was replaced since.
    `cells` maps a view to the cells whose shift was seen most clearly, right or wrong.
    """
    stem = VERIFICATION_REPORT.removesuffix(".json")
    stages = sorted(stage for stage in run.manifest["stages"] if stage == stem or stage.startswith(f"{stem}-"))
    return [_verification(run, stage) for stage in stages]


def _verification(run: Run, stem: str) -> dict[str, Any]:
    table, report = run.table(f"{stem}.parquet"), run.json(f"{stem}.json")
    overall = table.filter(pc.equal(table["view"], "global")).sort_by("concept_id")
    return {
        "report": report,
        "rows": columns(overall.select(list(SEEN_COLUMNS))),
        **_foretold(run, report, overall["concept_id"]),
        "cells": {view: clearest(table, view) for view in (*IN_GROUPS, *IN_PROMPTS)},
    }


def _foretold(run: Run, report: dict[str, Any], concept_ids: pa.ChunkedArray) -> dict[str, Any]:
    """The rungs of the forecast that was judged, and the declared one's interval."""
    path = run.path / FORECAST_FILE
    if not path.exists() or file_hash(path) != report["forecast"]["sha256"]:
        return {"rungs": {}, "intervals": {}}
    table = pq.read_table(path)
    overall = table.filter(pc.equal(table["view"], "global")).sort_by("concept_id")
    if not overall["concept_id"].equals(concept_ids):
        return {"rungs": {}, "intervals": {}}
    rungs = [name for name in RUNGS if np.isfinite(overall[name].to_numpy()).any()]
    return {"rungs": columns(overall.select(rungs)), "intervals": columns(overall.select(["shift_lo", "shift_hi"]))}


def clearest(table: pa.Table, view: str) -> list[dict[str, Any]]:
    """The `CLEAREST` cells of a view by the size of their shift in its standard errors, largest first.

    Only of sets that were judged: with enough prompts, and not of the silent group, which nothing tests.
    """
    rows = table.filter(pc.and_(pc.equal(table["view"], view), pc.equal(table["resolved"], True)))
    rows = rows.filter(pc.and_(pc.is_valid(rows["predicted"]), pc.greater(rows["se"], 0)))
    rows = rows.filter(pc.greater_equal(rows["n_prompts"], MIN_PROMPTS))
    if view in IN_GROUPS:
        rows = rows.filter(pc.not_equal(rows["where"], SILENT_GROUP))
    size = np.abs(rows["observed"].to_numpy() / rows["se"].to_numpy())
    rows = rows.take(pa.array(np.argsort(-size, kind="stable")[:CLEAREST]))
    values = columns(rows.select(list(CELL_COLUMNS)))
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def doses(run: Run) -> list[dict[str, Any]]:
    """Every dose and response of the run: its JSON file with "label", the detector's name and that of the curve."""
    stem = DOSE_REPORT.removesuffix(".json")
    labels = sorted(stage.removeprefix(f"{stem}-") for stage in run.manifest["stages"] if stage.startswith(f"{stem}-"))
    listed = []
    for label in labels:
        report = run.json(f"{stem}-{label}.json")
        for row in (report["target"], *report["same"], *report["moved"]):
            row["name"] = mask_slurs(row["name"])
        listed.append({"label": label, **report})
    return listed
