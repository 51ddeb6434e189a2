"""The step `pairs`: any dataset to one schema and the exact tokens."""

from __future__ import annotations

from typing import Any

from pretilt.events import Events
from pretilt.pairs.chat import reading_hash
from pretilt.pairs.pair import COMMON_READS
from pretilt.run import Run
from pretilt.schema import DROPPED_FILE, PAIRS_FILE, PREFLIGHT_FILE, TOKENS_FILE
from pretilt.settings import AuditSettings

VERSION = 3  # raise it when a change of code can change the bytes


def pairs_stage(run: Run, source: Any, settings: AuditSettings, tokenizer: Any, events: Events) -> None:
    """Read the source to one schema and its exact tokens: pairs, tokens, dropped rows and the pre-flight's numbers.

    Without a tokenizer there are no tokens: lengths are then counted in words, and nothing is truncated.
    """
    from pretilt.pairs.read import read_source, tokenise_source
    from pretilt.pairs.template_reads import template_reads

    read = read_source(
        source,
        config=settings.source_config,
        split=settings.split,
        revision=settings.revision,
        limit=settings.limit,
        max_row_mb=settings.max_row_mb,
        columns=settings.columns,
        turns=settings.turns,
        k_wise=settings.k_wise,
        seed=settings.seed,
        reads=COMMON_READS if tokenizer is None else template_reads(tokenizer),
    )
    max_length = None if tokenizer is None else settings.max_length
    config = {"max_length": max_length, "holdout": settings.holdout, "seed": settings.seed}
    inputs = {"source": read.identity, "reading": "words" if tokenizer is None else reading_hash(tokenizer)}
    with run.stage("pairs", version=VERSION, config=config, inputs=inputs) as stage:
        if stage.done:
            return
        result = tokenise_source(
            read,
            tokenizer,
            max_length=max_length,
            holdout=settings.holdout,
            seed=settings.seed,
            progress=lambda done, total: events.progress("tokens", done, total, "pairs"),
        )
        stage.write(PAIRS_FILE, result.pairs)
        if result.tokens is not None:
            stage.write(TOKENS_FILE, result.tokens)
        stage.write(DROPPED_FILE, result.dropped)
        stage.write_json(PREFLIGHT_FILE, result.preflight)
