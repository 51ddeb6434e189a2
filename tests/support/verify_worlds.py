"""Runs in which the outcome is known: rollouts that are the run's own responses, drawn chosen or rejected.

Before training a prompt answers with its pair's chosen or rejected response, each as often; after, with the chosen one
more often. The shift is then a known share of u on these prompts: a forecast of mean u is right by construction.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from whole_reports import forecast_report, rollouts_report, training_report

from pretilt import open_run
from pretilt.forecast.inputs import concept_bank, pair_deltas
from pretilt.forecast.uncertainty import half_mask
from pretilt.rollouts.reading import ROLLOUT, ROLLOUT_FEATURES
from pretilt.rollouts.sampling import ROLLOUTS, SAMPLES
from pretilt.rollouts.step import features_folder, features_stage, folder, report_file, samples_stage
from pretilt.run import Run, file_hash, write_json
from pretilt.settings import AuditSettings

FAST: dict[str, Any] = {"draws": 100, "permutations": 399}  # options of a verification in a second
BASE, TUNED = {"sha256": "ba5e" * 16, "dtype": "float32"}, {"sha256": "70de" * 16, "dtype": "float32"}


def say(
    path: Path, role: str, chosen: float, *, seed: int, per_prompt: int = 4, split: str = "all", measurement: str = "",
    model: dict[str, Any] | None = None, also: tuple[int, float] | None = None,
) -> None:  # fmt: skip
    """Rollouts of a role: every pair's prompt is answered by its chosen response with probability `chosen`.

    `also`: a feature, and the share of the answers in which it fires, once; in the others it does not.
    """
    result = open_run(path)
    run, pairs = result.run, result.pairs
    rng = np.random.default_rng(seed)
    rows = np.arange(len(pairs))
    if split != "all":
        rows = rows[pc.equal(pairs["split"], split).to_numpy()]
    spans = {side: result.span(side) for side in ("chosen", "rejected")}
    samples: list[dict[str, Any]] = []
    reading: list[dict[str, Any]] = []
    pair_id, family = pairs["pair_id"].to_pylist(), pairs["family_id"].to_pylist()
    for i in rows:
        for k in range(per_prompt):
            side = "chosen" if rng.random() < chosen else "rejected"
            span = spans[side]
            here = slice(span.fire_count.indptr[i], span.fire_count.indptr[i + 1])
            name, n = f"p{pair_id[i]}:{k}", int(span.n_tokens[i])
            fired = dict(zip(span.fire_count.indices[here].tolist(), span.fire_count.data[here].tolist(), strict=True))
            peaks = dict(zip(span.act_max.indices[here].tolist(), span.act_max.data[here].tolist(), strict=True))
            if also is not None:
                for of_feature in (fired, peaks):
                    of_feature.pop(also[0], None)
                if rng.random() < also[1]:
                    fired[also[0]], peaks[also[0]] = 1, 1.0
            samples.append({"rollout_id": name, "prompt_id": f"p{pair_id[i]}", "pair_id": pair_id[i],
                            "family_id": family[i], "sample": k, "prompt_ids": [1], "ids": list(range(n)),
                            "text": side, "finished": True, "n_tokens": n, "logprob": -1.0})  # fmt: skip
            reading.append({"rollout_id": name, "status": "read" if n else "empty", "truncated": False,
                            "retokenised": False, "n_tokens": n, "feature_id": sorted(fired),
                            "fire_count": [fired[f] for f in sorted(fired)],
                            "act_max": [peaks[f] for f in sorted(fired)]})  # fmt: skip
    config = {"seed": 0, "split": split, "n_prompts": None, "max_new_tokens": 64, "temperature": 1.0}
    about = {"role": role, "model": model or (TUNED if role.startswith("after") else BASE), "settings": config}
    drawn = [role, chosen, seed, per_prompt]
    with run.stage(samples_stage(role), version=1, config=config, reads=["pairs"], inputs=drawn) as one:
        shards = one.shards(folder(role), (SAMPLES,))
        shards.write(0, {SAMPLES: pa.Table.from_pylist(samples, ROLLOUTS)})
        one.add_shards(shards)
    measured = {"measurement_id": measurement or run.manifest["measurement_id"]}
    with run.stage(
        features_stage(role), version=1, config={}, reads=["pairs", samples_stage(role)], inputs=[about, measured]
    ) as one:
        shards = one.shards(features_folder(role), (ROLLOUT,))
        shards.write(0, {ROLLOUT: pa.Table.from_pylist(reading, ROLLOUT_FEATURES)})
        one.add_shards(shards)
        one.write_json(report_file(role), rollouts_report(n=len(samples), **about, **measured))


def foresee(path: Path, *, form: str = "presence", seed: int = 0, scramble: bool = False) -> dict[str, Any]:
    """A forecast of mean u, everywhere and in every set, as `pretilt forecast` writes it; returns forecast.json.

    `scramble`: the numbers of each kind of concept are dealt out at random: a forecast without skill.
    """
    run = Run(path)
    bank = concept_bank(run)
    deltas, table = pair_deltas(run, AuditSettings(**run.manifest["settings"]), bank, form)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    order = np.arange(len(bank))
    if scramble:
        for kind in dict.fromkeys(bank.kind):
            of = np.flatnonzero([k == kind for k in bank.kind])
            order[of] = rng.permutation(of)
    mean, sd = deltas.mean()[order], deltas.u.std(axis=0)[order] / np.sqrt(deltas.n_families)
    swap = np.where(rng.random(deltas.n_families) < 0.5, -1.0, 1.0)[deltas.family]
    everywhere = {
        "mean": mean, "one_step": np.sign(mean) * mean**2, "shift": mean, "shift_lo": mean - 1.96 * sd,
        "shift_hi": mean + 1.96 * sd, "rewarded": mean, "shuffled": (swap[:, None] * deltas.u).mean(axis=0),
    }  # fmt: skip
    names = [
        *("mean", "one_step", "converged", "tilt", "shift", "shift_lo", "shift_hi", "contrast"),
        *("rewarded", "rewarded_lo", "rewarded_hi", "prevalence", "prevalence_upper", "variance", "length_only"),
        *("prevalence_only", "shuffled"),
    ]
    none = np.full(len(bank), np.nan)
    rows = [_rows("global", -1, bank.concept_ids, len(table), {n: everywhere.get(n, none) for n in names})]
    for view, where, inside, concepts in _sets(run, table["pair_id"].to_pylist(), bank):
        if not inside.any() or inside.all():
            continue
        u = deltas.u[:, order][:, concepts]
        here, there = u[inside].mean(axis=0), u[~inside].mean(axis=0)
        cell = {"mean": here, "shift": here, "contrast": here - there}
        ids = bank.concept_ids[concepts]
        rows.append(_rows(view, where, ids, int(inside.sum()), {n: cell.get(n, none[: ids.size]) for n in names}))
    pq.write_table(pa.concat_tables(rows), path / "forecast.parquet")
    parts = []
    for split in range(20):
        half_of = half_mask(rng, deltas.n_families)[deltas.family]
        for half in (0, 1):
            value = deltas.u[half_of == half].mean(axis=0)[order]
            parts.append(pa.table({"split": pa.array([split] * len(bank), pa.int16()),
                                   "half": pa.array([half] * len(bank), pa.int8()),
                                   "concept_id": bank.concept_ids, "value": value}))  # fmt: skip
    pq.write_table(pa.concat_tables(parts), path / "forecast_halves.parquet")
    about = forecast_report(
        form=form,
        measurement_id=run.manifest["measurement_id"],
        concepts=len(bank),
        pairs=len(table),
        sha256=file_hash(path / "forecast.parquet"),
        written="2026-01-02T03:04:05Z",
    )
    write_json(path / "forecast.json", about)
    return about


def _sets(run: Run, pair_ids: list[str], bank: Any) -> Any:
    members = run.table("group_members.parquet")
    of = dict(zip(members["pair_id"].to_pylist(), members["group_id"].to_pylist(), strict=True))
    group = np.array([of[p] for p in pair_ids])
    for k in run.table("groups.parquet")["group_id"].to_pylist():
        yield "group", k, group == k, np.flatnonzero(bank.feature_view)
    about, selected = run.table("prompt_concepts.parquet"), run.table("prompt_members.parquet")
    for row in about.to_pylist():
        mine = set(
            selected.filter(pc.equal(selected["prompt_concept_id"], row["prompt_concept_id"]))["pair_id"].to_pylist()
        )
        inside = np.array([p in mine for p in pair_ids])
        yield f"prompt_{row['statistic']}", row["prompt_concept_id"], inside, np.flatnonzero(bank.of(row["statistic"]))


def _rows(view: str, where: int, ids: np.ndarray, n_in: int, columns: dict[str, np.ndarray]) -> pa.Table:
    head = {
        "view": [view] * ids.size, "where": pa.array([where] * ids.size, pa.int32()), "concept_id": ids,
        "n_in": pa.array([n_in] * ids.size, pa.int64()),
    }  # fmt: skip
    numbers = {name: pa.array(values, pa.float64(), from_pandas=True) for name, values in columns.items()}
    flags = {name: pa.nulls(ids.size, pa.bool_()) for name in ("needs_sft", "unclear")}
    return pa.table({**head, **numbers, **flags})


def train_report(path: Path, run: Path, **given: Any) -> Path:
    """A folder with a train.json of this run's pairs (and no model)."""
    path.mkdir(parents=True, exist_ok=True)
    measured = {"mean_weight": 0.43, "mean_margin": 0.3, "accuracy": 0.8, "chosen_drift": 0.5, "rms_log_ratio": 3.1}
    regime = {"words": "linear: mean σ(−margin) is 0.430", "train": measured}
    report = training_report(**{"pairs_sha256": file_hash(run / "pairs.parquet"), "regime": regime, **given})
    (path / "train.json").write_text(json.dumps(report), encoding="utf-8")
    return path
