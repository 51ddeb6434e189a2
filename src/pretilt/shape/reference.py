"""Log-probabilities of both responses of every pair under the run's model: what DPO calls the reference.

They are computed once, in shards that a kill leaves, on the very tokens that the trainer trains on, and can be handed
to any trainer that takes them (`pretilt export --reference`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.events import Events
from pretilt.lens.choice import LensChoice
from pretilt.models.language import LanguageModel
from pretilt.rollouts.source import ModelSource
from pretilt.run import Run
from pretilt.schema import TOKENS_FILE
from pretilt.settings import settings_of

if TYPE_CHECKING:
    from pretilt.shape.data import ShapeData

STAGE, VERSION = "reference-logps", 1  # raise the number when a change of code can change the bytes
FOLDER, PART, SHARD_PAIRS = "reference", "logps", 64
BATCH_TOKENS = 2048


def reference_logps(run: Run, choice: LensChoice, events: Events) -> tuple[np.ndarray, np.ndarray]:
    """(chosen, rejected), float64 [n_pairs] in the order of pairs.parquet, in nats, summed over the response.

    Raises UserError for a model that is not there or gives no finite probabilities.
    """
    settings = settings_of(run)
    source = ModelSource.of(choice, None, None, dtype=settings.dtype, device=settings.device)
    config = {"batch_tokens": BATCH_TOKENS}
    with run.stage(STAGE, version=VERSION, config=config, reads=["pairs"], inputs=source.identity()) as stage:
        if not stage.done:
            _write(run, stage.shards(FOLDER, (PART,)), source, events)
            stage.add_shards(stage.shards(FOLDER, (PART,)))
    shards = run.shards(STAGE, FOLDER, (PART,))
    table = pa.concat_tables([shards.read(PART, number) for number in range(shards.count())])
    return table["chosen"].to_numpy(), table["rejected"].to_numpy()


def plain_logps(data: ShapeData) -> tuple[np.ndarray, np.ndarray]:
    """(chosen, rejected) of the training pairs alone, in their order."""
    if None not in data.variants:
        chosen, rejected = reference_logps(data.run, data.lens, data.events)
        data.variants[None] = chosen[data.sets.train], rejected[data.sets.train]
    return data.variants[None]


def _write(run: Run, shards: Any, source: ModelSource, events: Events) -> None:
    tokens = run.table(TOKENS_FILE, ["pair_id", "prompt_ids", "chosen_ids", "rejected_ids"])
    model: LanguageModel | None = None
    for number, start in enumerate(range(0, len(tokens), SHARD_PAIRS)):
        part = tokens.slice(start, SHARD_PAIRS)
        if not shards.has(number):
            model = model or source.load()
            columns = {side: response_logps(model, part, side) for side in ("chosen", "rejected")}
            shards.write(number, {PART: pa.table({"pair_id": part["pair_id"], **columns})})
        events.progress("reference log-probabilities", start + len(part), len(tokens), "pairs")


def response_logps(model: LanguageModel, tokens: pa.Table, side: str) -> np.ndarray:
    """float64 [n]: log-probabilities of one side's responses after their prompts, of a table with columns of TOKENS."""
    from pretilt.models.logprob import log_probs

    prompts, responses = (
        [np.asarray(ids, np.int32) for ids in tokens[f"{name}_ids"].to_pylist()] for name in ("prompt", side)
    )
    return log_probs(model, prompts, responses, batch_tokens=BATCH_TOKENS)
