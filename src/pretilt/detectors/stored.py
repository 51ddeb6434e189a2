"""Detectors as a run holds them: names, weights, thresholds, and the scores of every response and token.

What every other floor reads; nothing here loads torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.detectors.card import from_file
from pretilt.detectors.detector import Detector
from pretilt.detectors.tables import DETECTOR_SCORES
from pretilt.errors import UserError
from pretilt.pairs.shuffle import label_swap
from pretilt.run import Run
from pretilt.schema import DETECTORS_FOLDER, PAIRS_FILE, SPANS
from pretilt.settings import settings_of

PAIRS_PER_SHARD = 256
SCORES = "scores"  # the one part of the shards
_STAGE = re.compile(r"detector-(?P<name>.+)-scores")


def stage_name(name: str) -> str:
    return f"detector-{name}"


def scores_stage(name: str) -> str:
    return f"detector-{name}-scores"


def card_stage(name: str) -> str:
    return f"detector-{name}-card"


def weights_file(name: str) -> str:
    return f"{DETECTORS_FOLDER}/{name}.safetensors"


def report_file(name: str) -> str:
    return f"detector-{name}.json"


def detector_names(run: Run) -> list[str]:
    """Of the detectors whose scores the run holds, ascending."""
    matches = [_STAGE.fullmatch(stage) for stage in run.manifest["stages"]]
    return sorted(match["name"] for match in matches if match)


def load_detector(run: Run, name: str) -> tuple[Detector, dict[str, Any]]:
    """The weights and the facts stored with them. Raises UserError where the run holds no such detector."""
    if stage_name(name) not in run.manifest["stages"]:
        held_names = ", ".join(detector_names(run)) or "none"
        raise UserError(
            f"the run holds no detector '{name}'",
            file=run.path,
            why=f"it holds {held_names}",
            fix="Run `pretilt detector` first",
        )
    return from_file(run.file(weights_file(name)))


def direction(run: Run, name: str) -> np.ndarray:
    """float32 [d_model] of unit norm, towards more of the trait, in the residual stream of the run's layer."""
    return load_detector(run, name)[0].direction


def thresholds(run: Run, name: str) -> tuple[float, float]:
    """The score from which a response shows the trait (its largest token score), and from which a token does."""
    facts = load_detector(run, name)[1]
    return float(facts["threshold"]), float(facts["token_threshold"])


def response_scores(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Largest token score of every chosen and every rejected response, float32 [n] each, in the order of pairs.parquet.

    Labels are those of the run's settings: with the baseline "shuffled-labels" families have changed places.
    """
    table = _scores(run, name, ["chosen_max", "rejected_max"])
    chosen, rejected = (table[f"{side}_max"].to_numpy() for side in SPANS[1:])
    swap = label_swap(run, settings_of(run))
    if swap is not None:
        chosen, rejected = np.where(swap, rejected, chosen), np.where(swap, chosen, rejected)
    return chosen, rejected


def token_scores(run: Run, name: str, pair_ids: Sequence[str] | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """float32 scores of the content tokens of both responses, as the source labels them, of the pairs asked for in
    their order, or of all in the order of pairs.parquet."""
    if pair_ids is None:
        table = _scores(run, name, ["chosen_scores", "rejected_scores"])
    else:
        all_ids = run.table(PAIRS_FILE, ["pair_id"])["pair_id"].to_pylist()
        position = {pair_id: i for i, pair_id in enumerate(all_ids)}
        table = _scores(run, name, ["chosen_scores", "rejected_scores"], [position[p] for p in pair_ids])
    chosen, rejected = (table[f"{side}_scores"].to_pylist() for side in SPANS[1:])
    return [(np.asarray(c, np.float32), np.asarray(r, np.float32)) for c, r in zip(chosen, rejected, strict=True)]


def _scores(run: Run, name: str, columns: list[str], rows: Sequence[int] | None = None) -> pa.Table:
    if scores_stage(name) not in run.manifest["stages"]:
        raise UserError(
            f"the run holds no scores of a detector '{name}'", file=run.path, fix="Run `pretilt detector` first"
        )
    shards = run.shards(scores_stage(name), f"{DETECTORS_FOLDER}/{name}", (SCORES,))
    if rows is None:
        return pa.concat_tables([shards.read(SCORES, number, columns) for number in range(shards.count())])
    order = np.asarray(rows, np.int64)
    tables = []
    for number in np.unique(order // PAIRS_PER_SHARD):
        of_shard = np.unique(order[order // PAIRS_PER_SHARD == number])
        tables.append((of_shard, shards.read(SCORES, int(number), columns).take(pa.array(of_shard % PAIRS_PER_SHARD))))
    if not tables:
        return DETECTOR_SCORES.empty_table().select(columns)
    kept_rows = np.concatenate([of_shard for of_shard, _ in tables])
    return pa.concat_tables([table for _, table in tables]).take(pa.array(np.searchsorted(kept_rows, order)))


def presence(run: Run, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """bool [n_pairs, D] twice: the trait is present in chosen, in rejected; labels as `response_scores` has them."""
    n = run.table(PAIRS_FILE, ["pair_id"]).num_rows
    chosen, rejected = np.zeros((2, n, len(names)), bool)
    for i, name in enumerate(names):
        threshold = thresholds(run, name)[0]
        for side, scores in zip((chosen, rejected), response_scores(run, name), strict=True):
            side[:, i] = scores >= threshold
    return chosen, rejected
