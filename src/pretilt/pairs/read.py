"""From any source to the tables PAIRS, TOKENS and DROPPED and the pre-flight: the pairs floor in one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pretilt.errors import UserError
from pretilt.pairs import tables
from pretilt.pairs.chat import PairTokens, tokenise
from pretilt.pairs.families import find_families
from pretilt.pairs.files import MAX_ROW_MB
from pretilt.pairs.load import load_rows
from pretilt.pairs.normalise import normalise
from pretilt.pairs.pair import COMMON_READS, Drop, NormalisedPairs, Pair, TemplateReads
from pretilt.pairs.preflight import preflight
from pretilt.pairs.split import split_pairs
from pretilt.pairs.template_reads import template_reads
from pretilt.schema import SPANS, TOKENS

_ROWS_PER_BATCH = 4096


@dataclass(frozen=True)
class SourcePairs:
    """A source read and normalised, before any tokenizer: enough to look up a cache.

    `fingerprint` is the SHA-256 of the rows; `settings` what else decides which pairs come of them; `description` one
    line for the reader; `info` where the rows come from (JSON-able).
    """

    normalised: NormalisedPairs
    fingerprint: str
    settings: dict[str, Any]
    description: str
    info: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able: equal for two sources exactly if they give the same pairs."""
        return {"rows": self.fingerprint, **self.settings}


@dataclass(frozen=True)
class PairsRead:
    """Every row of the source is in `pairs` or in `dropped`; `tokens` has the rows of `pairs`, in order."""

    pairs: pa.Table  # schema PAIRS
    tokens: pa.Table | None  # schema TOKENS; None without a tokenizer
    dropped: pa.Table  # schema DROPPED
    preflight: dict[str, Any]
    fingerprint: str
    source_description: str


def read_source(
    source: Any,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    max_row_mb: int = MAX_ROW_MB,
    columns: Mapping[str, str] | None = None,
    turns: Literal["drop", "last"] = "drop",
    k_wise: Literal["best-worst", "best-random", "all"] = "best-worst",
    seed: int = 0,
    reads: TemplateReads = COMMON_READS,
) -> SourcePairs:
    """Load and normalise a source; see `load_rows` and `normalise` for the arguments."""
    loaded = load_rows(source, config=config, split=split, revision=revision, limit=limit, max_row_mb=max_row_mb)
    normalised = normalise(loaded, columns=columns, turns=turns, k_wise=k_wise, seed=seed, reads=reads)
    settings: dict[str, Any] = {"columns": dict(columns or {}), "turns": turns, "k_wise": k_wise, "seed": seed}
    settings |= {"message_keys": None if reads.keys is None else sorted(reads.keys), "content_parts": reads.parts}
    return SourcePairs(normalised, loaded.fingerprint, settings, loaded.description, loaded.info)


def tokenise_source(
    source: SourcePairs,
    tokenizer: Any,
    *,
    max_length: int | None = 1024,
    holdout: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PairsRead:
    """Tokenise, split, find families and count what `read_source` gave.

    Without a tokenizer (None) lengths are words and nothing is truncated or dropped for its tokens.
    `progress(pairs done, pairs in all)` is called sometimes.
    """
    drops = list(source.normalised.drops)
    kept_pairs: list[Pair] = []
    batches: list[pa.RecordBatch] = []
    waiting: list[PairTokens] = []
    n_tokens: dict[str, list[int]] = {span: [] for span in SPANS}
    truncated: list[bool] = []
    trouble: Counter[str] = Counter()

    def flush() -> None:
        batches.append(tables.tokens_batch([p.pair_id for p in kept_pairs[len(kept_pairs) - len(waiting) :]], waiting))
        waiting.clear()

    pairs = source.normalised.pairs
    for done, (pair, tokens) in enumerate(zip(pairs, _lengths(pairs, tokenizer, max_length), strict=True), 1):
        if isinstance(tokens, Drop):
            drops.append(tokens)
        else:
            kept_pairs.append(pair)
            if isinstance(tokens, PairTokens):
                waiting.append(tokens)
            truncated.append(tokens.truncated)
            trouble.update(tokens.trouble)
            for span in SPANS:
                n_tokens[span].append(tokens.n_content(span))
        if len(waiting) == _ROWS_PER_BATCH:
            flush()
        if progress is not None and (done % 1000 == 0 or done == len(pairs)):
            progress(done, len(pairs))
    flush()
    if not kept_pairs:
        raise _nothing_left(source, drops)

    split = split_pairs(kept_pairs, holdout=holdout, seed=seed)
    families = find_families(kept_pairs, split.component_id)
    counts = {span: np.array(n, dtype=np.int32) for span, n in n_tokens.items()}
    pair_table = tables.pairs_table(kept_pairs, split, families.family_id, counts, np.array(truncated, dtype=bool))
    token_table = None if tokenizer is None else pa.Table.from_batches(batches, schema=TOKENS)
    dropped = tables.dropped_table(drops)

    notes = [*source.normalised.notes, *split.notes, *families.notes]
    if tokenizer is not None and "strftime_now" in str(tokenizer.chat_template) and any(p.is_chat for p in kept_pairs):
        notes.append("the chat template prints today's date: token ids change from day to day")

    numbers = preflight(
        pair_table,
        token_table,
        dropped,
        source_format=source.normalised.format,
        n_rows=source.normalised.n_rows,
        trouble=trouble,
        max_length=max_length,
        notes=notes,
        families=families.report(),
    )
    return PairsRead(pair_table, token_table, dropped, numbers, source.fingerprint, source.description)


@dataclass(frozen=True, slots=True)
class PairWords:
    """In place of tokens where there is no tokenizer: words of each span, runs of characters between white space."""

    words: Mapping[str, int]
    truncated: bool = False
    trouble: tuple[str, ...] = ()

    def n_content(self, span: str) -> int:
        return self.words[span]


def _lengths(pairs: Sequence[Pair], tokenizer: Any, max_length: int | None) -> Iterator[PairTokens | PairWords | Drop]:
    if tokenizer is not None:
        yield from tokenise(pairs, tokenizer, max_length=max_length)
        return
    for pair in pairs:
        yield PairWords({span: sum(len(m.content.split()) for m in getattr(pair, span)) for span in SPANS})


def read_pairs(
    source: Any,
    tokenizer: Any,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    turns: Literal["drop", "last"] = "drop",
    k_wise: Literal["best-worst", "best-random", "all"] = "best-worst",
    max_length: int | None = 1024,
    holdout: float = 0.1,
    seed: int = 0,
) -> PairsRead:
    """Read a preference dataset from a Hub id, a file, a folder or a `datasets.Dataset`, for one tokenizer.

    Pairs that cannot be used are in `dropped` with row number and reason; UserError if none is left.
    """
    read = read_source(
        source,
        config=config,
        split=split,
        revision=revision,
        limit=limit,
        columns=columns,
        turns=turns,
        k_wise=k_wise,
        seed=seed,
        reads=template_reads(tokenizer),
    )
    return tokenise_source(read, tokenizer, max_length=max_length, holdout=holdout, seed=seed)


def _nothing_left(source: SourcePairs, drops: list[Drop]) -> UserError:
    counts = Counter(d.reason for d in drops)
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts.most_common()) or "the source has no rows"
    example = next((f" (row {d.row_index}: {d.detail})" for d in drops if d.detail), "")
    example += f"; read as {source.normalised.format}"
    return UserError(
        f"no pair is left of {source.normalised.n_rows} rows",
        file=source.description,
        why=reasons + example,
        fix="Check the columns (--column), --max-length and the chat template",
    )
