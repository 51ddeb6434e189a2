"""The step `features`: every span of every pair through the lens, in shards."""

from __future__ import annotations

from pretilt.events import Events
from pretilt.lens.choice import LensChoice
from pretilt.pairs.chat import reading_hash
from pretilt.run import Run
from pretilt.schema import FEATURES, SHARD_PARTS, TOKENS_FILE
from pretilt.settings import AuditSettings

VERSION = 1  # raise it when a change of code can change the bytes


def features_stage(run: Run, settings: AuditSettings, choice: LensChoice, events: Events) -> None:
    """Read every span of every pair through the lens, in shards that a kill leaves."""
    tokens = run.table(TOKENS_FILE)
    lens = choice.lens(tokens)
    measurement = lens.measurement_id(reading_hash(choice.tokenizer), settings.max_length)
    config = {"measurement_id": measurement, "batch_tokens": settings.batch_tokens}
    with run.stage(FEATURES, version=VERSION, config=config, reads=["pairs"]) as stage:
        shards = stage.shards(FEATURES, SHARD_PARTS)
        if stage.done:
            return
        from pretilt.lens.harvest import harvest

        harvest(
            tokens,
            lens,
            shards,
            batch_tokens=settings.batch_tokens,
            progress=lambda done, total: events.progress("reading", done, total, "tokens"),
        )
        stage.add_shards(shards)
        run.record("measurement_id", measurement)
        run.record("lens", choice.card(tokens))
