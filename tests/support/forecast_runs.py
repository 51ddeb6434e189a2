"""A finished run folder in which it is known what training does, written without any model: 12 features, a second.

What the labels do, of 320 training pairs in families of two (a pair and its copy):

    feature  concept                 in chosen / rejected          in answers of the untrained model
    0 1 2    community 0 "praise"    0.6 / 0.2                     0.4, each on its own
    3        feature 1 "apology"     0.15 / 0.55                   0.4
    4        feature 2 "companion"   0.3 / 0.3                     whenever feature 0 fires, and never else
    5        feature 3 "local"       group 1: 0.6 / 0.2            0.4
                                     group 2: 0.2 / 0.6
    6        feature 4 "unheard of"  0.6 / 0.2                     never
    7 8 9    features 5 6 7          0.3 / 0.3                     0.4

and the shifts "by strength" 8 (features 0 1 2) and 9 (feature 3), "by frequency" 10 (feature 0) and 11 (features 8 9).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from whole_reports import lens_card, rollouts_report

from pretilt.rollouts.reading import ROLLOUT, ROLLOUT_FEATURES
from pretilt.rollouts.sampling import ROLLOUTS, SAMPLES
from pretilt.rollouts.step import features_folder, features_stage, folder, report_file, samples_stage
from pretilt.run import Run
from pretilt.schema import FEATURES, SHARD_PARTS, SPAN_FEATURES, SPANS
from pretilt.settings import AuditSettings

N_FEATURES, N_PAIRS, N_TRAIN = 12, 400, 320
MODEL, MEASUREMENT = {"sha256": "ba5e" * 16, "dtype": "float32"}, "5ea1" * 16
CONCEPTS: list[tuple[str, list[int], str]] = [
    ("community", [0, 1, 2], "praise"),
    ("feature", [3], "apology"),
    ("feature", [4], "companion"),
    ("feature", [5], "local"),
    ("feature", [6], "unheard of"),
    *[("feature", [f], f"plain {f}") for f in (7, 8, 9)],
    ("shift_max", [0, 1, 2], "praise"),
    ("shift_max", [3], "apology"),
    ("shift_freq", [0], "praise"),
    ("shift_freq", [8, 9], "plain"),
]  # fmt: skip
NAMES = [name for _, _, name in CONCEPTS]
CHOSEN = np.array([0.6, 0.6, 0.6, 0.15, 0.3, 0.6, 0.6, 0.3, 0.3, 0.3, 0, 0])
REJECTED = np.array([0.2, 0.2, 0.2, 0.55, 0.3, 0.2, 0.2, 0.3, 0.3, 0.3, 0, 0])
BASE = np.array([0.4, 0.4, 0.4, 0.4, 0, 0.4, 0, 0.4, 0.4, 0.4, 0, 0])
MANIFEST: dict[str, Any] = {
    "source": "planted",
    "measurement_id": MEASUREMENT,
    "lens": lens_card(n_features=N_FEATURES, model_identity=MODEL),
}


def _said(rng: np.random.Generator, fires: np.ndarray) -> list[dict[str, Any]]:
    """Features of responses of 8 to 20 tokens; `fires` bool [n, F], each on one to three of them."""
    rows = []
    for row in fires:
        ids, n = np.flatnonzero(row), int(rng.integers(8, 21))
        acts = rng.uniform(1, 3, ids.size).astype(np.float32)
        rows.append({"n_tokens": n, "feature_id": ids, "fire_count": rng.integers(1, 4, ids.size), "act_max": acts})
    return rows


def pair_id(i: int) -> str:
    return f"{i:020x}"


def write_run(path: Path, seed: int = 0, *, verdict: str = "green", **settings: Any) -> Run:
    """The run after its audit, as far as a forecast reads it. `verdict`: of the doctor's one check."""
    rng = np.random.default_rng(seed)
    group = np.repeat(rng.integers(1, 3, N_PAIRS // 2), 2)  # the two of a family ask alike

    def fires(rate: np.ndarray, local: tuple[float, float]) -> np.ndarray:
        rates = np.broadcast_to(rate, (N_PAIRS, N_FEATURES)).copy()
        rates[:, 5] = np.where(group == 1, *local)
        drawn = rng.random((N_PAIRS, N_FEATURES)) < rates
        return np.repeat(drawn[::2], 2, axis=0)  # a copy says the same

    sides = {"chosen": fires(CHOSEN, (0.6, 0.2)), "rejected": fires(REJECTED, (0.2, 0.6))}
    ids, split = [pair_id(i) for i in range(N_PAIRS)], ["train"] * N_TRAIN + ["heldout"] * (N_PAIRS - N_TRAIN)
    family = np.arange(N_PAIRS, dtype=np.int32) // 2
    run = Run(path)
    for name, value in MANIFEST.items():
        run.record(name, value)
    run.record("settings", AuditSettings(**settings).model_dump())
    with run.stage("pairs", version=1, config={"seed": seed}) as stage:
        stage.write("pairs.parquet", pa.table({"pair_id": ids, "family_id": family, "split": split}))
    with run.stage(FEATURES, version=1, config={"seed": seed}, reads=["pairs"]) as stage:
        shards = stage.shards(FEATURES, SHARD_PARTS)
        said = {side: _said(rng, where) for side, where in sides.items()}
        said["prompt"] = _said(rng, np.zeros((N_PAIRS, N_FEATURES), bool))
        for number, first in enumerate(range(0, N_PAIRS, 150)):
            here = slice(first, first + 150)
            parts = {s: [{"pair_id": i, **r} for i, r in zip(ids[here], said[s][here], strict=True)] for s in SPANS}
            tables = {s: pa.Table.from_pylist(rows, SPAN_FEATURES) for s, rows in parts.items()}
            shards.write(number, {**tables, "peaks": pa.table({}), "tokens": pa.table({})})
        stage.add_shards(shards)
    with run.stage("doctor", version=1, config={"verdict": verdict}) as stage:
        check = {"name": "explained variance", "verdict": verdict, "figure": 0.2, "threshold": ">= 0.6 green"}
        stage.write_json("doctor.json", {"checks": [{**check, "meaning": "", "what_to_do": "Fit another dictionary"}]})
    for name in ("concepts", "shifts"):
        with run.stage(name, version=1, config={}) as stage:
            if name == "shifts":
                stage.write("shift_sigma.parquet", pa.table({q: np.ones(N_FEATURES) for q in ("max", "freq")}))
    with run.stage("audit", version=1, config={"seed": seed}) as stage:
        kind, features, names = zip(*CONCEPTS, strict=True)
        numbers = np.arange(len(CONCEPTS), dtype=np.int32)
        active = np.full(numbers.size, 100)
        stage.write(
            "concepts.parquet",
            pa.table({"concept_id": numbers, "kind": kind, "feature_ids": pa.array(features, pa.list_(pa.int32())),
                      "name": names, "n_pairs_active": active, "detector": pa.nulls(numbers.size, pa.string())}),
        )  # fmt: skip
        stage.write("groups.parquet", pa.table({"group_id": pa.array([0, 1, 2], pa.int32())}))
        stage.write("group_members.parquet", pa.table({"pair_id": ids, "group_id": group.astype(np.int32)}))
        about = {"prompt_concept_id": pa.array([0, 1, 2], pa.int32()), "statistic": ["max", "max", "freq"]}
        stage.write("prompt_concepts.parquet", pa.table(about))
        members = [(k, i) for k, of in ((0, range(80)), (1, range(300, 400)), (2, range(40, 60))) for i in of]
        k, i = zip(*members, strict=True)
        stage.write(
            "prompt_members.parquet",
            pa.table({"prompt_concept_id": pa.array(k, pa.int32()), "pair_id": [ids[one] for one in i]}),
        )
    return run


def answers(
    path: Path, role: str = "reference", *, seed: int = 1, n_prompts: int = 80, per_prompt: int = 4, **about: Any
) -> None:
    """Rollouts of the untrained model to the prompts of the last pairs, held out and in families of two."""
    rng, run = np.random.default_rng(seed), Run(path)
    n = n_prompts * per_prompt
    fires = rng.random((n, N_FEATURES)) < BASE
    fires[:, 4] = fires[:, 0]
    pair = np.repeat(np.arange(N_PAIRS - n_prompts, N_PAIRS), per_prompt)
    samples: list[dict[str, Any]] = []
    reading: list[dict[str, Any]] = []
    for r, (i, said) in enumerate(zip(pair.tolist(), _said(rng, fires), strict=True)):
        name = f"q{i}:{r % per_prompt}"
        samples.append({"rollout_id": name, "prompt_id": f"q{i}", "pair_id": pair_id(i), "family_id": i // 2,
                        "sample": r % per_prompt, "text": "said", "finished": True})  # fmt: skip
        reading.append({"rollout_id": name, "status": "read", "truncated": False, "retokenised": False, **said})
    reading[0] |= {"status": "empty", "n_tokens": 0, "feature_id": [], "fire_count": [], "act_max": []}
    reading[1] |= {"status": "prompt_too_long"}  # could not be read: whatever stands there does not count
    with run.stage(samples_stage(role), version=1, config={"seed": seed, "n": n}, reads=["pairs"]) as stage:
        shards = stage.shards(folder(role), (SAMPLES,))
        shards.write(0, {SAMPLES: pa.Table.from_pylist(samples, ROLLOUTS)})
        stage.add_shards(shards)
    with run.stage(features_stage(role), version=1, config={}, reads=["pairs", samples_stage(role)]) as stage:
        shards = stage.shards(features_folder(role), (ROLLOUT,))
        shards.write(0, {ROLLOUT: pa.Table.from_pylist(reading, ROLLOUT_FEATURES)})
        stage.add_shards(shards)
        stage.write_json(
            report_file(role), rollouts_report(role, n, **{"model": MODEL, "measurement_id": MEASUREMENT, **about})
        )
