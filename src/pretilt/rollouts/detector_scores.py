"""Rollouts through the detectors of a run: read as the run's own responses are, scored by their largest token score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.detectors.detector import Detector
from pretilt.detectors.reading import response_states
from pretilt.detectors.stored import load_detector, stage_name
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lens.lens import Lens
from pretilt.pairs.pair import Pair
from pretilt.pairs.tables import pairs_from_table
from pretilt.rollouts.reading import rows_of, tokenised
from pretilt.rollouts.sampling import SAMPLES
from pretilt.run import Run, Shards
from pretilt.schema import PAIRS_FILE
from pretilt.settings import AuditSettings

VERSION = 1  # raise it when a change of code can change the bytes
PART = "scores"

ROLLOUT_SCORES = pa.schema(  # one row per rollout, in the order of its samples
    [
        ("rollout_id", pa.string()),
        ("max", pa.float32()),  # over the content tokens; null: it said nothing or could not be read
        ("mean", pa.float32()),
        ("share", pa.float32()),  # share of tokens that reach the threshold of tokens
    ]
)


def rollout_scores_stage(role: str, name: str) -> str:
    return f"rollout-scores-{role}:{name}"


def scores_folder(role: str, name: str) -> str:
    return f"rollouts/{role}/detectors/{name}"


def score_rollouts_stages(
    run: Run,
    role: str,
    names: list[str],
    samples: Shards,
    reads: list[str],
    lens: Callable[[], Lens],
    tokenizer: Callable[[], Any],
    audited: AuditSettings,
    events: Events,
) -> None:
    """Score the rollouts of a role with every detector that has not scored them yet, all in one pass; whole shards are
    kept. `reads`: the stages that `samples` come from."""
    config = {"measurement_id": run.manifest["measurement_id"], "batch_tokens": audited.batch_tokens}
    with ExitStack() as stages:
        missing: dict[str, tuple[Detector, float, Shards]] = {}
        opened = []
        for name in names:
            read = ["pairs", stage_name(name), *reads]
            stage = stages.enter_context(
                run.stage(rollout_scores_stage(role, name), version=VERSION, config=config, reads=read)
            )
            if not stage.done:
                detector, facts = load_detector(run, name)
                shards = stage.shards(scores_folder(role, name), (PART,))
                missing[name] = (detector, facts["token_threshold"], shards)
                opened.append((stage, shards))
        if missing:
            _score(run.table(PAIRS_FILE), samples, missing, lens(), tokenizer(), audited, events)
        for stage, shards in opened:
            stage.add_shards(shards)


def _score(
    pairs: pa.Table,
    samples: Shards,
    detectors: Mapping[str, tuple[Detector, float, Shards]],
    lens: Lens,
    tokenizer: Any,
    audited: AuditSettings,
    events: Events,
) -> None:
    total = samples.count()
    for number in range(total):
        events.progress("scoring rollouts", number, total, "shards")
        lacking = {name: work for name, work in detectors.items() if not work[2].has(number)}
        if not lacking:
            continue
        some = samples.read(SAMPLES, number)
        prompted_pairs = pairs.filter(pc.is_in(pairs["pair_id"], value_set=some["pair_id"].combine_chunks()))
        by_id = {str(pair.pair_id): pair for pair in pairs_from_table(prompted_pairs)}
        plain = {name: (detector, threshold) for name, (detector, threshold, _) in lacking.items()}
        tables = score_rollouts(
            some, by_id, lens, tokenizer, plain, max_length=audited.max_length, batch_tokens=audited.batch_tokens
        )
        for name, (_, _, shards) in lacking.items():
            shards.write(number, {PART: tables[name]})
    events.progress("scoring rollouts", total, total, "shards")


def score_rollouts(
    samples: pa.Table,
    pairs: Mapping[str, Pair],
    lens: Lens,
    tokenizer: Any,
    detectors: Mapping[str, tuple[Detector, float]],
    *,
    max_length: int | None,
    batch_tokens: int = 4096,
) -> dict[str, pa.Table]:
    """ROLLOUT_SCORES of a table of schema ROLLOUTS by every detector (with its threshold of tokens), row by row."""
    texts, prompts = samples["text"].to_pylist(), samples["prompt_id"].to_pylist()
    of_pair = [pairs[p] for p in samples["pair_id"].to_pylist()]
    sides, _ = tokenised(texts, prompts, of_pair, tokenizer, max_length)

    figures: dict[str, list[dict[str, Any]]] = {
        name: [{"rollout_id": rollout_id} for rollout_id in samples["rollout_id"].to_pylist()] for name in detectors
    }
    for n_spans in (3, 2):
        alike = [(places, tokens) for places, tokens in sides if len(places) == n_spans - 1]
        if not alike:
            continue
        rows = rows_of([tokens for _, tokens in alike], n_spans)
        for states in response_states(lens, rows, batch_tokens=batch_tokens):
            for name, (detector, threshold) in detectors.items():
                scores = detector.scores(states.h, states.starts)
                for i in range(states.row.size):
                    of_rollout = scores[states.starts[i] : states.starts[i + 1]]
                    place = alike[int(states.row[i])][0][int(states.span[i]) - 1]
                    figures[name][place] |= {
                        "max": of_rollout.max(),
                        "mean": of_rollout.mean(dtype=np.float64),
                        "share": (of_rollout >= threshold).mean(),
                    }
    return {name: pa.Table.from_pylist(rows, schema=ROLLOUT_SCORES) for name, rows in figures.items()}


def stored_rollout_scores(run: Run, role: str, name: str) -> np.ndarray:
    """float32 [R]: the largest token score of every rollout of a role, in the order of its samples; -inf where there is
    none. Raises UserError where the detector has not scored them."""
    stage = rollout_scores_stage(role, name)
    if stage not in run.manifest["stages"]:
        raise UserError(
            f"the detector '{name}' has not read the rollouts '{role}'",
            file=run.path,
            fix=f"Run `pretilt rollouts RUN --role {role}` again: it reads them and samples nothing anew",
        )
    shards = run.shards(stage, scores_folder(role, name), (PART,))
    parts = [shards.read(PART, number, ["max"])["max"] for number in range(shards.count())]
    scores = pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.float32())
    return np.asarray(pc.fill_null(scores, float("-inf")).to_numpy(), np.float32)
