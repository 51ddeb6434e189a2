"""A run folder without any model: features by chance, with planted effects, as the stages of an audit write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from whole_reports import lens_card

from pretilt import schema
from pretilt.run import Run
from pretilt.schema import FEATURES, SHARD_PARTS, SHIFT_SIGMA_FILE
from pretilt.settings import AuditSettings

N_PAIRS, N_FEATURES, N_COMMUNITIES, N_SINGLES, N_SHIFTS = 240, 140, 30, 15, 5
N_GROUPS, N_ABOUT = 3, 3
FLATTERY = 0  # a community that chosen shows more in group 1 alone


def write_run(path: Path, *, seed: int = 0, names: dict[int, str] | None = None) -> Path:
    """240 pairs of 120 families, 30 communities of 4 features, 15 single features, 5 shift concepts of each statistic.

    Every community has an effect of its own: each of its features fires more often in chosen, or in rejected.
    """
    rng = np.random.default_rng(seed)
    run = Run(path)
    group = rng.integers(0, N_GROUPS + 1, N_PAIRS)
    pair_id = [f"{i:020x}" for i in range(N_PAIRS)]
    split = ["heldout" if i % 10 < 2 else "train" for i in range(N_PAIRS)]
    effect = np.zeros(N_FEATURES)
    effect[: 4 * N_COMMUNITIES] = np.repeat(rng.normal(0, 0.1, N_COMMUNITIES), 4)
    effect[:4] = 0.0
    probability = np.full((N_PAIRS, N_FEATURES), 0.4) + np.stack([effect, -effect])[:, None, :]
    probability[0][np.ix_(group == 1, range(4))] += 0.35
    for k in range(1, N_GROUPS + 1):  # and half of the others differ between groups
        probability[0][np.ix_(group == k, range(4, 60))] += np.repeat(rng.normal(0, 0.2, 14), 4)
    lengths = rng.integers(30, 60, (2, N_PAIRS))
    fires = rng.random((2, N_PAIRS, N_FEATURES)) < np.clip(probability, 0.02, 0.98)
    with run.stage("pairs", version=1, config={"seed": 0, "holdout": 0.2}) as stage:
        stage.write("pairs.parquet", _pairs(pair_id, split, lengths))
    with run.stage(FEATURES, version=1, config={}, reads=["pairs"]) as stage:
        shards = stage.shards(FEATURES, SHARD_PARTS)
        spans = {"prompt": _span(pair_id, np.full(N_PAIRS, 8), np.zeros_like(fires[0]), rng)}
        spans |= {side: _span(pair_id, lengths[k], fires[k], rng) for k, side in enumerate(("chosen", "rejected"))}
        shards.write(0, {**spans, "peaks": schema.PEAKS.empty_table(), "tokens": schema.TOKEN_COUNTS.empty_table()})
        stage.add_shards(shards)
    with run.stage("audit", version=1, config={}, reads=["pairs", FEATURES]) as stage:
        stage.write("concepts.parquet", _concepts(names or {}))
        stage.write(SHIFT_SIGMA_FILE, pa.table({"max": np.full(N_FEATURES, 1.0), "freq": np.full(N_FEATURES, 0.02)}))
        rows = [{"group_id": k, "size": int((group == k).sum()), "name": f"group {k}", "phrases": [], "concept_ids": []}
                for k in range(N_GROUPS + 1)]  # fmt: skip
        stage.write("groups.parquet", pa.Table.from_pylist(rows, schema.GROUPS))
        stage.write("group_members.parquet", pa.table({"pair_id": pair_id, "group_id": pa.array(group, pa.int32())}))
        about, members = _prompt_concepts(pair_id, rng)
        stage.write("prompt_concepts.parquet", about)
        stage.write("prompt_members.parquet", members)
    run.record("settings", AuditSettings().model_dump())
    run.record("lens", lens_card(n_features=N_FEATURES))
    run.record("measurement_id", "5ea1" * 16)
    run.record("source", "made up")
    return path


def _pairs(pair_id: list[str], split: list[str], lengths: np.ndarray) -> pa.Table:
    message = [{"role": "user", "content": "x", "extra": None}]
    rows: list[dict[str, Any]] = [
        {"pair_id": p, "row_index": i, "prompt": message, "chosen": message, "rejected": message, "is_chat": True,
         "component_id": i // 2, "family_id": i // 2, "split": split[i], "n_prompt_tokens": 8,
         "n_chosen_tokens": int(lengths[0, i]), "n_rejected_tokens": int(lengths[1, i]), "truncated": False}
        for i, p in enumerate(pair_id)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema.PAIRS)


def _span(pair_id: list[str], n_tokens: np.ndarray, fires: np.ndarray, rng: np.random.Generator) -> pa.Table:
    ids = [np.flatnonzero(row) for row in fires]
    columns = {
        "pair_id": pair_id,
        "n_tokens": pa.array(n_tokens, pa.int32()),
        "feature_id": ids,
        "fire_count": [rng.integers(1, 4, one.size) for one in ids],
        "act_max": [rng.uniform(0.5, 2.0, one.size) for one in ids],
    }
    return pa.table([pa.array(columns[f.name], f.type) for f in schema.SPAN_FEATURES], schema=schema.SPAN_FEATURES)


def _concepts(names: dict[int, str]) -> pa.Table:
    first = 4 * N_COMMUNITIES
    lists = [("community", list(range(4 * k, 4 * k + 4))) for k in range(N_COMMUNITIES)]
    lists += [("feature", [first + k]) for k in range(N_SINGLES)]
    for q in ("max", "freq"):
        lists += [(f"shift_{q}", [4 * k + 60, 4 * k + 61, 4 * k + 62]) for k in range(N_SHIFTS)]
    rows = [
        {"concept_id": i, "kind": kind, "feature_ids": ids, "size": len(ids), "name": names.get(i, f"word{i}"),
         "phrases": [], "n_pairs_active": N_PAIRS, "prevalence": 0.5}
        for i, (kind, ids) in enumerate(lists)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema.CONCEPTS)


def _prompt_concepts(pair_id: list[str], rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    about, members = [], []
    for i, q in enumerate(["max"] * N_ABOUT + ["freq"] * N_ABOUT):
        rows = rng.choice(N_PAIRS, 60, replace=False)
        about.append({"prompt_concept_id": i, "statistic": q, "feature_ids": [i], "size": 1, "name": f"about {i}",
                      "phrases": [], "n_selected": rows.size, "cutoff": 0.5})  # fmt: skip
        members += [{"prompt_concept_id": i, "pair_id": pair_id[row], "score": 0.7} for row in rows]
    return pa.Table.from_pylist(about, schema.PROMPT_CONCEPTS), pa.Table.from_pylist(members, schema.PROMPT_MEMBERS)
