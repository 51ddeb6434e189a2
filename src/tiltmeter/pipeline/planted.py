"""Score an audit of a planted set against its truth file: which plants were found, which decoys left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiltmeter.demo import score
from tiltmeter.pipeline.result import AuditResult
from tiltmeter.pipeline.statistics import train_disparities
from tiltmeter.settings import AuditSettings


@dataclass(frozen=True)
class PlantedScore:
    """`rows` as `demo.score.score_plants` gives them, `trap` where the trap's families stand, `text` for a terminal."""

    rows: list[dict[str, Any]]
    trap: dict[str, Any]
    text: str

    def to_dict(self) -> dict[str, Any]:
        return {"plants": self.rows, "trap": self.trap}


def score_audit(result: AuditResult, truth: Mapping[str, Any]) -> PlantedScore:
    """Coverage, rank and tracing of every plant, over the pairs that the audit was fitted on."""
    settings = AuditSettings(**result.run.manifest["settings"])
    train = pc.equal(result.pairs["split"], "train").to_numpy(zero_copy_only=False)
    pairs = result.pairs.filter(pa.array(train))
    found = train_disparities(result.run, settings)
    plants, families = score.align(truth, pairs["row_index"].to_pylist())
    table = result.hypotheses
    columns = {
        name: np.asarray(table[name].to_pylist())
        for name in ("hypothesis_id", "view", "concept_id", "rank", "delta", "ci_lo", "ci_hi")
    }
    columns["direction"] = np.asarray(table["direction"].to_pylist(), dtype=object)
    rows = score.score_plants(
        truth["rules"], plants, families, found.u, columns, presence=found.presence, intensity=found.v
    )
    wanted = [row["hypothesis_id"] for row in rows if row.get("hypothesis_id")]
    tracing = _tracing(result, settings, wanted)
    rows = score.score_plants(truth["rules"], plants, families, found.u, columns, tracing, found.presence, found.v)
    names = dict(zip(result.concepts["concept_id"].to_pylist(), result.concepts["name"].to_pylist(), strict=True))
    trap = _trap(truth, plants, found.u, columns)
    text = score.render(rows, names)
    if trap:
        trait = names.get(trap["concept_id"], "?")
        text += f"\ntrap: {trap['pairs']} near-duplicate pairs carry an accidental {trait}: {trap['stands']}"
    return PlantedScore(rows, trap, text)


def _tracing(result: AuditResult, settings: AuditSettings, hypothesis_ids: list[str]) -> dict[str, np.ndarray]:
    """Rows of the training pairs, most responsible first, for each hypothesis."""
    from tiltmeter.pipeline.statistics import make_tracer

    table = result.hypotheses
    asked = table.filter(pc.is_in(table["hypothesis_id"], pa.array(hypothesis_ids, pa.string())))
    if not len(asked):
        return {}
    tracer = make_tracer(result.run, settings, np.unique(asked["concept_id"].to_numpy()))
    return {
        row["hypothesis_id"]: tracer.ranked(row["where"], row["concept_id"], row["direction"], inside_only=False)
        for row in asked.select(["hypothesis_id", "where", "concept_id", "direction"]).to_pylist()
    }


def _trap(truth: Mapping[str, Any], plants: np.ndarray, u: Any, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Where the accidental trait of the near-duplicate families stands. It is reported; it is not judged here."""
    name = next((n for n, rule in truth["rules"].items() if rule["role"] == "trap"), None)
    if name is None or not (plants == name).any():
        return {}
    choice = score.choose_concept(u, plants == name, truth["rules"][name]["directions"])
    if choice is None:
        return {}
    place = score.best_rank(columns, *choice)
    stands = f"rank {place['rank']} of {place['list_length']} ({place['view']})" if place["rank"] else "in no list"
    return {"plant": name, "pairs": int((plants == name).sum()), "concept_id": choice[0], "stands": stands, **place}
