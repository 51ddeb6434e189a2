"""Detectors of a run: fitting one, scoring every response with all of them, and reading their scores.

A detector is an artifact of its own: `detectors/<name>.safetensors`. Its scores are made in a pass of their own through
the model, in shards that a kill leaves; detectors that lack scores share that pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.detectors.card import figures, to_bytes
from pretilt.detectors.detector import KINDS, Detector
from pretilt.detectors.examples import PARTS, Examples, largest
from pretilt.detectors.fit import best_kind, fit_kinds
from pretilt.detectors.material import Material
from pretilt.detectors.reading import States, response_states
from pretilt.detectors.stored import (
    PAIRS_PER_SHARD,
    SCORES,
    load_detector,
    scores_stage,
    stage_name,
    weights_file,
)
from pretilt.detectors.tables import DETECTOR_EXAMPLES, DETECTOR_SCORES
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.lens.lens import Lens
from pretilt.lens.packing import Rows
from pretilt.run import Run, Shards
from pretilt.schema import DETECTORS_FOLDER, SPANS, TOKENS_FILE
from pretilt.settings import DetectorSettings, settings_of
from pretilt.version import __version__

FORMAT_VERSION = 1
# Raise a stage's number when a change of code can change its bytes.
FIT_VERSION, SCORES_VERSION = 1, 1
MOST_BYTES = 8 << 30  # of the examples' activations, which all kinds are fitted to at once
_NAME = re.compile(r"[a-z0-9-]{1,40}")
_RESERVED = ("-scores", "-card")  # ends of the names of stages


def check_name(name: str, patterns: Sequence[str]) -> None:
    """Raise UserError for what cannot name a detector."""
    if not _NAME.fullmatch(name) or name.isdigit() or name.endswith(_RESERVED):
        raise UserError(
            f"'{name}' cannot name a detector",
            fix="Use 1 to 40 small letters, digits and -, no number, not ending in -scores or -card, such as flattery",
        )
    if name in patterns:
        raise UserError(
            f"'{name}' is the name of a pattern", why="every concept has a name of its own", fix=f"Try {name}-probe"
        )


@dataclass(frozen=True)
class Origin:
    """What a detector is made from; `inputs` names it for the stage's key, `material` reads it when it is needed."""

    made_from: str  # "contrast" | "pattern" | "hypothesis" | "trait"
    origin: str
    target: str
    inputs: Any
    material: Callable[[], Material]


def fitted_as(origin: Origin, options: DetectorSettings) -> dict[str, Any]:
    """What tells two detectors of one name apart: the configuration of the stage."""
    of_options = {name: getattr(options, name) for name in ("kind", "per_token", "pairs", "seed")}
    return {"made_from": origin.made_from, "origin": origin.origin, **of_options}


def fit_stage(
    run: Run, name: str, origin: Origin, options: DetectorSettings, lens: Callable[[], Lens], events: Events
) -> bool:
    """Fit all kinds that the options ask for and store the one that becomes the concept; True if it was there already.

    Raises UserError for examples that cannot be divided into families.
    """
    config, measurement = fitted_as(origin, options), run.manifest["measurement_id"]
    inputs = {"source": origin.inputs, "measurement": measurement}
    with run.stage(stage_name(name), version=FIT_VERSION, config=config, reads=["pairs"], inputs=inputs) as stage:
        if stage.done:
            return True

        material, model = origin.material(), lens()
        examples = read_examples(model, material, settings_of(run).batch_tokens, events)
        kinds = KINDS if options.kind == "best" else (options.kind,)
        fitted, part = fit_kinds(examples, kinds=kinds, seed=options.seed, say=events.say)
        kind = best_kind(fitted)
        chosen = fitted[kind]
        families = {part_name: np.unique(examples.family[part == i]).size for i, part_name in enumerate(PARTS)}
        card = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "title": f"{name} (detector)",
            "kind": kind,
            "made_from": origin.made_from,
            "origin": origin.origin,
            "how": material.how,
            "layer": model.layer,
            "d_model": model.model.d_model,
            "model_identity": model.model.identity,
            "measurement_id": measurement,
            "examples_sha256": material.sha256,
            "n_pairs": len(material.pair_ids),
            "n_responses": len(examples),
            "n_tokens": len(examples.h),
            "n_families": int(np.unique(examples.family).size),
            "families_of_parts": families,
            "per_token": examples.token_label is not None,
            "threshold": chosen.response.threshold,
            "token_threshold": (chosen.token or chosen.response).threshold,
            "kinds": figures(fitted),
            "target": origin.target,
            "pretilt": __version__,
        }
        stage.write_bytes(weights_file(name), to_bytes(chosen.detector, card))
        stage.write(f"{DETECTORS_FOLDER}/{name}-examples.parquet", _examples(material, examples, part, chosen.detector))
    return False


def read_examples(lens: Lens, material: Material, batch_tokens: int, events: Events) -> Examples:
    """The residual stream on both responses of every pair. Raises UserError where it would not fit into memory."""
    n_bytes = sum(int(span.sum()) for spans in material.rows.content for span in spans[1:]) * 4 * lens.model.d_model
    if n_bytes > MOST_BYTES:
        fitting = len(material.rows) * MOST_BYTES // n_bytes
        raise UserError(
            f"the examples take {n_bytes / 2**30:.0f} GiB as activations",
            why=f"{MOST_BYTES >> 30} GiB are what a fit may hold",
            fix=f"Give --pairs {max(fitting, 1)}",
        )
    total, done = material.rows.n_tokens, 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        events.progress("reading examples", done, total, "tokens")

    states: dict[tuple[int, int], np.ndarray] = {}
    for batch in response_states(lens, material.rows, batch_tokens=batch_tokens, progress=advance):
        for i, key in enumerate(zip(batch.row.tolist(), batch.span.tolist(), strict=True)):
            states[key] = batch.h[batch.starts[i] : batch.starts[i + 1]]
    keys = sorted(states)
    sizes = [len(states[key]) for key in keys]
    h = np.concatenate([states.pop(key) for key in keys])
    _check_finite(h)
    row = np.array([row for row, _ in keys])
    of_tokens = material.token_label
    return Examples(
        h,
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.array([material.label[row, span - 1] for row, span in keys], bool),
        material.family[row],
        row,
        None if of_tokens is None else np.concatenate([of_tokens[row][span - 1] for row, span in keys]),
    )


def _check_finite(h: np.ndarray) -> None:
    if not np.isfinite(h).all():
        raise UserError(
            "the model's activations hold NaN or infinity",
            why="probably an overflow in half precision",
            fix="Audit with --dtype float32 or bfloat16",
        )


def _examples(material: Material, examples: Examples, part: np.ndarray, detector: Detector) -> pa.Table:
    side = np.arange(len(examples)) % 2
    of_tokens = examples.token_label
    counts = None if of_tokens is None else np.add.reduceat(of_tokens.astype(np.int32), examples.starts[:-1])
    columns: dict[str, Any] = {
        "pair_id": [material.pair_ids[i] for i in examples.pair],
        "side": [SPANS[1 + s] for s in side],
        "family_id": examples.family,
        "part": [PARTS[i] for i in part],
        "label": examples.label,
        "n_tokens": examples.n_tokens,
        "n_labelled": [None] * len(examples) if counts is None else counts,
        "score": largest(detector.scores(examples.h, examples.starts), examples.starts),
        "text": [material.texts[i][s] for i, s in zip(examples.pair, side, strict=True)],
    }
    return pa.table([pa.array(columns[f.name], f.type) for f in DETECTOR_EXAMPLES], schema=DETECTOR_EXAMPLES)


def fits(run: Run, facts: Mapping[str, Any]) -> bool:
    """True if the detector was fitted to what the run's lens reads: the same model and layer."""
    lens = run.manifest["lens"]
    return bool(facts["model_identity"] == lens["model_identity"] and facts["layer"] == lens["layer"])


def scores_stages(run: Run, names: Sequence[str], lens: Callable[[], Lens], events: Events) -> list[str]:
    """Score every response of the run with the detectors that have no scores yet, all in one pass; the names that have
    them now.

    A detector of another model or layer is told and left out.
    """
    settings = settings_of(run)
    config = {"measurement_id": run.manifest["measurement_id"], "batch_tokens": settings.batch_tokens}
    scored: list[str] = []
    with ExitStack() as stages:
        missing: dict[str, tuple[Detector, float, Shards]] = {}
        opened = []
        for name in names:
            detector, facts = load_detector(run, name)
            if not fits(run, facts):
                events.say(f"warning: the detector '{name}' was fitted to another model or layer: it is left out")
                continue
            scored.append(name)
            stage = stages.enter_context(
                run.stage(scores_stage(name), version=SCORES_VERSION, config=config, reads=["pairs", stage_name(name)])
            )
            if not stage.done:
                shards = stage.shards(f"{DETECTORS_FOLDER}/{name}", (SCORES,))
                missing[name] = (detector, facts["token_threshold"], shards)
                opened.append((stage, shards))
        if missing:
            _score(run.table(TOKENS_FILE), lens(), missing, settings.batch_tokens, events)
        for stage, shards in opened:
            stage.add_shards(shards)
    return scored


def _score(
    tokens: pa.Table,
    lens: Lens,
    detectors: Mapping[str, tuple[Detector, float, Shards]],
    batch_tokens: int,
    events: Events,
) -> None:
    """Shard i depends on its pairs, the lens, the detector and `batch_tokens` alone, not on what shares the pass."""
    total = -(-len(tokens) // PAIRS_PER_SHARD)
    for number in range(total):
        events.progress("scoring responses", number, total, "shards")
        lacking = {name: work for name, work in detectors.items() if not work[2].has(number)}
        if not lacking:
            continue
        part = tokens.slice(number * PAIRS_PER_SHARD, PAIRS_PER_SHARD)
        scores: dict[str, list[list[np.ndarray]]] = {
            name: [[np.zeros(0, np.float32)] * 2 for _ in range(len(part))] for name in lacking
        }
        for states in response_states(lens, Rows.from_table(part), batch_tokens=batch_tokens):
            for name, (detector, _, _) in lacking.items():
                for row, span, of_response in responses(detector, states):
                    scores[name][row][span - 1] = of_response
        for name, (_, threshold, shards) in lacking.items():
            shards.write(number, {SCORES: _table(part["pair_id"].to_pylist(), scores[name], threshold)})
    events.progress("scoring responses", total, total, "shards")


def responses(detector: Detector, states: States) -> list[tuple[int, int, np.ndarray]]:
    """Row, span and float32 token scores of every response of a batch."""
    scores = detector.scores(states.h, states.starts)
    return [
        (int(states.row[i]), int(states.span[i]), scores[states.starts[i] : states.starts[i + 1]])
        for i in range(states.row.size)
    ]


def _table(pair_ids: list[str], scores: list[list[np.ndarray]], threshold: float) -> pa.Table:
    columns: dict[str, Any] = {"pair_id": pair_ids}
    for i, side in enumerate(SPANS[1:]):
        of_side = [pair[i] for pair in scores]
        columns[f"{side}_max"] = [s.max() for s in of_side]
        columns[f"{side}_mean"] = [s.mean(dtype=np.float64) for s in of_side]
        columns[f"{side}_share"] = [(s >= threshold).mean() for s in of_side]
        columns[f"{side}_scores"] = of_side
    return pa.table([pa.array(columns[f.name], f.type) for f in DETECTOR_SCORES], schema=DETECTOR_SCORES)
