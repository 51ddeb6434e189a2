"""The card of a detector, once it is a tested concept: its leakage into every other concept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.artifacts import finite
from pretilt.audit.evidence import scores_of
from pretilt.detectors.leakage import covariances, leakage, strongest
from pretilt.detectors.stored import (
    card_stage,
    load_detector,
    report_file,
    response_scores,
    scores_stage,
    stage_name,
)
from pretilt.detectors.tables import DETECTOR_LEAKAGE
from pretilt.lens.blocks import train_rows
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE, DETECTORS_FOLDER
from pretilt.settings import AuditSettings

VERSION = 1  # raise it when a change of code can change the bytes
LISTED = 20  # concepts that the card names
AT_A_TIME = 512  # concepts whose scores are in memory


@dataclass(frozen=True)
class AmongRollouts:
    """How the leakage is estimated where the run holds rollouts of the untrained model."""

    role: str
    stages: list[str]  # that the estimate reads
    covariances: Callable[[], tuple[np.ndarray, np.ndarray] | None]  # concept_ids [M], covariance with the score [M]


def card_step(
    run: Run,
    settings: AuditSettings,
    name: str,
    target: str,
    cell: tuple[str, int, int] | None,
    pattern: str | None,
    rollouts: AmongRollouts | None = None,
) -> None:
    """Write detector-<name>.json and the table of its leakage: within prompts over the rollouts, or without any over
    the two responses of each training pair.

    The target is the pattern or the hypothesis' concept (`cell`: view, where, concept_id) that the detector was made
    from, else the detector's own presence.
    """
    reads = ["pairs", stage_name(name), scores_stage(name), "audit"]
    reads += [] if rollouts is None else rollouts.stages
    config = {"target": target, "rollouts": None if rollouts is None else rollouts.role}
    with run.stage(card_stage(name), version=VERSION, config=config, reads=reads) as stage:
        if stage.done:
            return

        concepts = run.table(CONCEPTS_FILE)
        ids = concepts["concept_id"].to_numpy()
        of_detector = int(concepts.filter(pc.equal(concepts["detector"], name))["concept_id"][0].as_py())
        target_id = of_detector
        if cell is not None:
            target_id = cell[2]
        elif pattern is not None:
            target_id = int(concepts.filter(pc.equal(concepts["pattern"], pattern))["concept_id"][0].as_py())

        covariance, estimated = np.full(ids.size, np.nan), ""
        if rollouts is not None and (among := rollouts.covariances()) is not None:
            covariance[np.searchsorted(ids, among[0])] = among[1]
            estimated = f"the rollouts '{rollouts.role}', within prompts"
        if not covariance[target_id] or not np.isfinite(covariance[target_id]):  # the model never shows the target
            covariance, estimated = _over_pairs(run, settings, name, ids), "the two responses of each training pair"
        of_target = float(covariance[target_id])
        ratio = leakage(covariance, of_target)

        other_rows = np.flatnonzero(~np.isin(ids, (of_detector, target_id)))
        order = other_rows[strongest(ratio[other_rows], other_rows.size)]
        rows = concepts.take(pa.array(order))
        table = pa.table(
            [rows["concept_id"], rows["kind"], rows["name"], pa.array(covariance[order]), pa.array(ratio[order])],
            schema=DETECTOR_LEAKAGE,
        )
        own_row = concepts.filter(pc.equal(concepts["detector"], name)).to_pylist()[0]
        card: dict[str, Any] = {
            **load_detector(run, name)[1],
            "target_covariance": finite(of_target),
            "leakage": [
                {"concept_id": row["concept_id"], "kind": row["kind"], "name": row["name"] or "",
                 "leakage": finite(row["leakage"])}
                for row in table.slice(0, LISTED).to_pylist()
            ],
            "leakage_among": estimated,
            "n_concepts_compared": len(order),
            "share_chosen": own_row["share_chosen"],
            "share_rejected": own_row["share_rejected"],
        }  # fmt: skip
        stage.write(f"{DETECTORS_FOLDER}/{name}-leakage.parquet", table)
        stage.write_json(report_file(name), card)


def _over_pairs(run: Run, settings: AuditSettings, name: str, ids: np.ndarray) -> np.ndarray:
    """float64 [M]: covariance of every concept's u with the difference of the scores, over the training pairs."""
    train = train_rows(run)
    chosen, rejected = (side[train].astype(np.float64) for side in response_scores(run, name))
    covariance = np.empty(ids.size)
    for start in range(0, ids.size, AT_A_TIME):
        some = ids[start : start + AT_A_TIME].tolist()
        scores = scores_of(run, settings, some, train)
        u = np.column_stack([scores[concept][0] for concept in some])
        covariance[start : start + len(some)] = covariances(u, chosen - rejected)
    return covariance
