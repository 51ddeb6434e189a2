"""Log-probabilities of the training responses under the run's model with an instruction, or steered.

A variant is read once over all training pairs, in shards that a kill leaves, and kept in the run under its hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.detectors.stored import load_detector
from pretilt.errors import UserError
from pretilt.pairs.instruction import instructed
from pretilt.pairs.tables import pairs_from_table, tokens_batch
from pretilt.rollouts.source import ModelSource
from pretilt.run import Run, content_hash
from pretilt.schema import PAIRS_FILE, TOKENS_FILE
from pretilt.shape.reference import plain_logps, response_logps

if TYPE_CHECKING:
    from pretilt.models.language import LanguageModel
    from pretilt.models.steering import Direction
    from pretilt.shape.data import ShapeData

VERSION = 1  # raise it when a change of code can change the bytes
PART, SHARD_PAIRS = "logps", 64
STATES_READ = 32  # pairs whose responses give the length of the residual stream


@dataclass(frozen=True)
class Variant:
    """What is changed of the model: an instruction before every prompt, or `amount` along a detector's direction.

    `amount` is in units of the residual stream, after the detector's layer, at every position.
    """

    instruction: str | None = None
    detector: str | None = None
    amount: float = 0.0


class NotRead(UserError):
    """The model would have to read the pairs, and an open what-if session writes nothing."""


def variant_logps(data: ShapeData, variant: Variant) -> tuple[np.ndarray, np.ndarray]:
    """(chosen, rejected) float64 [n], in nats, summed over each response, of the training pairs in their order.

    Raises NotRead in an open what-if session, which writes nothing, where the variant was not read before.
    """
    if variant in data.variants:
        return data.variants[variant]
    run, settings = data.run, data.settings
    source = ModelSource.of(data.lens, None, None, dtype=settings.dtype, device=settings.device)
    config = asdict(variant)
    inputs: dict[str, Any] = {"model": source.identity()}
    if variant.detector is not None:
        inputs["direction"] = content_hash(direction_of(run, variant.detector).vector.tolist())
    digest = content_hash({**config, **inputs})[:12]
    name, folder = f"variant-{digest}", f"variants/{digest}"
    if not data.may_write and name not in run.manifest["stages"]:
        raise NotRead(
            "the model has not read the pairs so", why="an open session writes nothing",
            fix="Run `pretilt shape` with this item once",
        )  # fmt: skip
    with run.stage(name, version=VERSION, config=config, reads=["pairs"], inputs=inputs) as stage:
        if not stage.done:
            shards = stage.shards(folder, (PART,))
            _write(data, shards, source, variant)
            stage.add_shards(shards)
    shards = run.shards(name, folder, (PART,))
    table = pa.concat_tables([shards.read(PART, number) for number in range(shards.count())])
    data.variants[variant] = table["chosen"].to_numpy(), table["rejected"].to_numpy()
    return data.variants[variant]


def asked_for(data: ShapeData, instruction: str) -> np.ndarray:
    """How much likelier an instruction makes chosen than rejected, float64 [n], in standard deviations."""
    both = zip(variant_logps(data, Variant(instruction=instruction)), plain_logps(data), strict=True)
    return standardised([with_it - without for with_it, without in both])


def standardised(both: Sequence[np.ndarray]) -> np.ndarray:
    """The first minus the second, in standard deviations of both together; 0 where all values are equal."""
    sd = float(np.concatenate(list(both)).std())
    return np.asarray((both[0] - both[1]) / sd if sd > 0 else np.zeros(both[0].size))


def direction_of(run: Run, detector: str) -> Direction:
    """Where a detector pushes: its layer and its direction of unit norm."""
    from pretilt.models.steering import Direction

    weights, facts = load_detector(run, detector)
    return Direction(int(facts["layer"]), weights.direction)


def residual_length(data: ShapeData) -> float:
    """Mean norm of the residual stream on response tokens at the run's layer, of the first training pairs.

    Four digits of it: how many threads summed must not decide what a strength means.
    """
    from pretilt.detectors.reading import response_states
    from pretilt.lens.packing import Rows

    tokens = data.tokens(range(min(STATES_READ, len(data))))
    lens = data.lens.lens(tokens)
    states = response_states(lens, Rows.from_table(tokens), batch_tokens=data.settings.batch_tokens)
    norms = np.concatenate([np.linalg.norm(part.h.astype(np.float64), axis=1) for part in states])
    return float(f"{norms.mean():.4g}")


def _write(data: ShapeData, shards: Any, source: ModelSource, variant: Variant) -> None:
    from pretilt.models.steering import steered

    table = data.run.table(PAIRS_FILE).filter(pa.array(data.sets.train))
    tokens = data.run.table(TOKENS_FILE).filter(pa.array(data.sets.train))
    model: LanguageModel | None = None
    for number, start in enumerate(range(0, len(tokens), SHARD_PAIRS)):
        part = tokens.slice(start, SHARD_PAIRS)
        if not shards.has(number):
            model = model or source.load()
            push: AbstractContextManager[Any] = nullcontext()
            if variant.instruction is not None:
                part = _instructed(data, table.slice(start, SHARD_PAIRS), variant.instruction)
            else:
                push = steered(model.model, direction_of(data.run, str(variant.detector)), variant.amount)
            with push:
                columns = {side: response_logps(model, part, side) for side in ("chosen", "rejected")}
            shards.write(number, {PART: pa.table({"pair_id": part["pair_id"], **columns})})
        data.events.progress("reading responses under the changed model", start + len(part), len(tokens), "pairs")


def _instructed(data: ShapeData, pairs: pa.Table, instruction: str) -> pa.Table:
    """Schema TOKENS, of the pairs with the instruction before their prompts."""
    read = instructed(pairs_from_table(pairs), instruction, data.lens.tokenizer)
    return tokens_batch([str(pair.pair_id) for pair, _ in read], [tokens for _, tokens in read])
