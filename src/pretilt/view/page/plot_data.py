"""What the report's plots draw, in as few numbers as they need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.stats.sure import is_sure
from pretilt.view.effects import spread
from pretilt.view.tables import rounded

MAX_POINTS = 3000  # dots of the scatter plot that stand for hypotheses not listed
HEAT_CONCEPTS, HEAT_GROUPS = 14, 20


def heat(hypotheses: pa.Table, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Concepts × groups around the first group hypotheses of `rows`: [concept, group, posterior mean, lfsr, sure] of
    what was tested; delta where there is no posterior."""
    ranked = sorted((dict(r) for r in rows if r["view"] == "group"), key=lambda r: (r["rank"], r["direction"]))
    local = spread(ranked, len(ranked)) + ranked  # the strongest of every group before the third of any
    concepts = list(dict.fromkeys(row["concept_id"] for row in local))[:HEAT_CONCEPTS]
    groups = list(dict.fromkeys(row["where"] for row in local))[:HEAT_GROUPS]
    h = hypotheses
    inside = pc.and_(
        pc.is_in(h["concept_id"], pa.array(concepts, pa.int32())), pc.is_in(h["where"], pa.array(groups, pa.int32()))
    )
    cells = h.filter(pc.and_(pc.equal(h["view"], "group"), inside)).to_pylist()
    return {
        "concepts": concepts,
        "groups": groups,
        "cells": [
            [
                c["concept_id"],
                c["where"],
                rounded(c["delta"] if c["posterior_delta"] is None else c["posterior_delta"], 3),
                rounded(c["lfsr"], 3),
                is_sure(c),
            ]
            for c in cells
        ],
    }


def points(hypotheses: pa.Table, listed: Iterable[str]) -> dict[str, list[list[float]]]:
    """Per view, [delta, delta / se_moderated] of hypotheses that are not listed: all, or a fixed random sample."""
    unlisted = hypotheses.filter(
        pc.invert(pc.is_in(hypotheses["hypothesis_id"], pa.array(sorted(listed), pa.string())))
    )
    unlisted = unlisted.filter(pc.and_(pc.is_finite(unlisted["delta"]), pc.greater(unlisted["se_moderated"], 0)))
    points_of = {}
    for view in pc.unique(unlisted["view"]).to_pylist():
        xy = unlisted.filter(pc.equal(unlisted["view"], view)).select(["delta", "se_moderated"])
        if xy.num_rows > MAX_POINTS:
            xy = xy.take(np.sort(np.random.default_rng(0).choice(xy.num_rows, MAX_POINTS, replace=False)))
        delta, se = (xy[name].to_pylist() for name in ("delta", "se_moderated"))
        points_of[view] = [[rounded(d, 3), rounded(d / s, 3)] for d, s in zip(delta, se, strict=True)]
    return points_of
