"""Score an audit of a planted set against its truth file: which plants were found, which decoys left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.audit.evidence import make_tracer, train_disparities
from pretilt.audit.result import AuditResult
from pretilt.demo import local_score, score
from pretilt.settings import AuditSettings, settings_of


@dataclass(frozen=True)
class PlantedScore:
    """`rows` as `demo.score.score_plants` gives them, `local` as `demo.local_score.score_local`; `trap`: where the
    trap's families stand; `text` for a terminal."""

    rows: list[dict[str, Any]]
    local: list[dict[str, Any]]
    trap: dict[str, Any]
    text: str

    def to_dict(self) -> dict[str, Any]:
        return {"plants": self.rows, "local_plants": self.local, "trap": self.trap}


def score_audit(result: AuditResult, truth: Mapping[str, Any]) -> PlantedScore:
    """Coverage, rank and tracing of every plant, over the pairs that the audit was fitted on."""
    settings = settings_of(result.run)
    train = pc.equal(result.pairs["split"], "train").to_numpy(zero_copy_only=False)
    pairs = result.pairs.filter(pa.array(train))
    disparities = train_disparities(result.run, settings)
    plants, families = score.align(truth, pairs["row_index"].to_pylist())

    table = result.hypotheses
    columns = {
        name: np.asarray(table[name].to_pylist())
        for name in (
            "hypothesis_id",
            "view",
            "concept_id",
            "rank",
            "delta",
            "delta_min",
            "ci_lo",
            "ci_hi",
            "lfsr",
            "shown",
        )
    }

    columns["direction"] = np.asarray(table["direction"].to_pylist(), dtype=object)
    rows = score.score_plants(
        truth["rules"], plants, families, disparities.u, columns, presence=disparities.presence, intensity=disparities.v
    )
    hypothesis_ids = [row["hypothesis_id"] for row in rows if row.get("hypothesis_id")]
    tracing = _tracing(result, settings, hypothesis_ids)
    rows = score.score_plants(
        truth["rules"], plants, families, disparities.u, columns, tracing, disparities.presence, disparities.v
    )

    names = dict(zip(result.concepts["concept_id"].to_pylist(), result.concepts["name"].to_pylist(), strict=True))
    trap = _trap(truth, plants, disparities.u, columns)
    local, of_local = _local(result, settings, truth, plants, pairs)

    text = score.render(rows, names) + "\n" + of_local
    if trap:
        trait = names.get(trap["concept_id"], "?")
        text += f'\ntrap: {trap["pairs"]} near-duplicate pairs share a concept by accident, "{trait}": {trap["stands"]}'
    return PlantedScore(rows, local, trap, text)


def _local(
    result: AuditResult, settings: AuditSettings, truth: Mapping[str, Any], plants: np.ndarray, pairs: pa.Table
) -> tuple[list[dict[str, Any]], str]:
    """The local plants by the prompt-conditioned views."""
    kinds = np.asarray([truth["rows"]["kind"][i] or "" for i in pairs["row_index"].to_pylist()], dtype=object)
    table = result.hypotheses
    of_prompts = table.filter(pc.and_(pc.starts_with(table["view"], "prompt"), table["shown"]))
    lengths = Counter(zip(of_prompts["view"].to_pylist(), of_prompts["direction"].to_pylist(), strict=True))
    first = of_prompts.filter(pc.less_equal(of_prompts["rank"], local_score.LOOKED_AT)).to_pylist()
    rows = [row | {"list_length": lengths[row["view"], row["direction"]]} for row in first]
    tracer = make_tracer(result.run, settings, sorted({row["concept_id"] for row in rows}))

    def responsible(row: Mapping[str, Any]) -> np.ndarray:
        return tracer.ranked(row["view"], row["where"], row["concept_id"], row["direction"])

    def own_u(row: Mapping[str, Any]) -> np.ndarray:
        return tracer.u(row["concept_id"]) * (1 if row["direction"] == "amplify" else -1)

    local_rows = local_score.score_local(
        truth["rules"], plants, kinds, rows, tracer.places.prompt_rows, responsible, own_u
    )
    concepts = dict(zip(result.concepts["concept_id"].to_pylist(), result.concepts["name"].to_pylist(), strict=True))
    prompts = result.prompt_concepts
    names = dict(zip(prompts["prompt_concept_id"].to_pylist(), prompts["name"].to_pylist(), strict=True))
    return local_rows, local_score.render_local(local_rows, concepts, names)


def _tracing(result: AuditResult, settings: AuditSettings, hypothesis_ids: list[str]) -> dict[str, np.ndarray]:
    """Rows of the training pairs, most responsible first, for each hypothesis."""
    table = result.hypotheses
    traced = table.filter(pc.is_in(table["hypothesis_id"], pa.array(hypothesis_ids, pa.string())))
    if not len(traced):
        return {}
    tracer = make_tracer(result.run, settings, np.unique(traced["concept_id"].to_numpy()).tolist())
    return {
        row["hypothesis_id"]: tracer.ranked(
            row["view"], row["where"], row["concept_id"], row["direction"], inside_only=False
        )
        for row in traced.select(["hypothesis_id", "view", "where", "concept_id", "direction"]).to_pylist()
    }


def _trap(truth: Mapping[str, Any], plants: np.ndarray, u: Any, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Where the accidental trait of the near-duplicate families stands, in our order and in the paper's.

    The paper's place is by min(|delta_a|, |delta_b|) among the same shown rows, with halves of whole families: by row
    parity, as in the paper, it would stand higher still.
    """
    name = next((n for n, rule in truth["rules"].items() if rule["role"] == "trap"), None)
    if name is None or not (plants == name).any():
        return {}

    choice = score.choose_concept(u, plants == name, truth["rules"][name]["directions"])
    if choice is None:
        return {}
    concept, sign = choice
    place = score.best_rank(columns, concept, sign)
    direction = "amplify" if sign > 0 else "suppress"

    paper = {}
    for view in ("global", "group"):
        listed = np.flatnonzero(
            columns["shown"].astype(bool) & (columns["view"] == view) & (columns["direction"] == direction)
        )
        order = listed[np.argsort(-columns["delta_min"][listed].astype(float), kind="stable")]
        places = np.flatnonzero(columns["concept_id"][order] == concept)
        paper[f"paper_rank_{view}"] = int(places[0]) + 1 if places.size else 0

    stands = ", ".join(
        f"{place.get(f'rank_{view}', 0) or '-'} of {place.get(f'list_{view}', 0)} ({view}; by the paper's key "
        f"{paper[f'paper_rank_{view}'] or '-'})"
        for view in ("global", "group")
    )
    return {
        "plant": name, "pairs": int((plants == name).sum()), "concept_id": concept, "stands": stands, **place, **paper
    }  # fmt: skip
