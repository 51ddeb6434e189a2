"""Reading rollouts with the sealed measurement: the run's own lens, template and truncation, whichever model spoke.

A rollout is read as its text would be read as a response of the dataset: two rollouts to one prompt take the places of
chosen and rejected, through the same tokeniser and the same measurement. So whatever the template does to a response,
and wherever it is cut, happens to rollouts too, and their features mean what the pairs' features mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.errors import UserError
from pretilt.lens.lens import Lens
from pretilt.lens.measure import measure
from pretilt.lens.packing import Rows
from pretilt.lens.pooling import SpanPool
from pretilt.lens.store import SpanFeatures, span_features
from pretilt.pairs.chat import NO_CONTENT, PairTokens, tokenise
from pretilt.pairs.pair import Drop, Message, Pair
from pretilt.pairs.tables import pairs_from_table
from pretilt.rollouts.sampling import SAMPLES
from pretilt.run import Progress, Shards

ROLLOUT = "rollout"  # the one span
READ, EMPTY = "read", "empty"

ROLLOUT_FEATURES = pa.schema(  # one row per rollout, in the order of its samples; lists as in SPAN_FEATURES
    [
        ("rollout_id", pa.string()),
        ("status", pa.string()),  # "read", "empty" (it said nothing: no feature fires), or why it could not be read
        ("truncated", pa.bool_()),  # cut at the run's max_length
        ("retokenised", pa.bool_()),  # the text's own tokens are not the sampled ones
        ("n_tokens", pa.int32()),  # content tokens
        ("feature_id", pa.list_(pa.int32())),
        ("fire_count", pa.list_(pa.int32())),
        ("act_max", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class _Reading:
    """What became of a rollout; see ROLLOUT_FEATURES."""

    status: str
    truncated: bool = False
    retokenised: bool = False


def check_measurement(sealed: str, measurement_id: str) -> None:
    """Raise UserError unless two measurement ids are one."""
    if sealed != measurement_id:
        raise UserError(
            "the lens is not the one that read the pairs",
            why=f"its measurement is {measurement_id[:12]}…, the run's is {sealed[:12]}… "
            "(model, layer, dictionary, template, truncation or pooling differ)",
            fix="Put back the model and dictionary of the audit, or audit again",
        )


def read_rollouts(
    samples: pa.Table,
    pairs: Mapping[str, Pair],
    lens: Lens,
    tokenizer: Any,
    *,
    max_length: int | None,
    batch_tokens: int = 4096,
) -> pa.Table:
    """ROLLOUT_FEATURES of a table of schema ROLLOUTS, row by row.

    `pairs` gives for each `pair_id` of the samples the pair whose prompt was answered. Raises UserError for a rollout
    that the lens' model cannot read, naming it.
    """
    texts, prompts = samples["text"].to_pylist(), samples["prompt_id"].to_pylist()
    of_pair = [pairs[p] for p in samples["pair_id"].to_pylist()]
    sides, drops = tokenised(texts, prompts, of_pair, tokenizer, max_length)
    pools: dict[int, tuple[SpanPool, int]] = {}
    for n_spans in (3, 2):
        alike = [(i, tokens) for i, tokens in sides if len(i) == n_spans - 1]
        if not alike:
            continue
        rows = rows_of([tokens for _, tokens in alike], n_spans)
        try:
            measured = measure(lens, rows, batch_tokens=batch_tokens)
        except UserError as error:
            if error.row is None:
                raise
            name = samples["rollout_id"][alike[error.row][0][0]].as_py()
            raise UserError(error.what, why=error.why, fix=error.fix, file=f"rollout {name}") from error
        for row, (indices, _) in enumerate(alike):
            for i, span in zip(indices, rows.span_names[1:], strict=True):
                pools[i] = (measured.spans[span], row)
    sampled = [
        np.asarray(ids[:n], np.int32)
        for ids, n in zip(samples["ids"].to_pylist(), samples["n_tokens"].to_pylist(), strict=True)
    ]
    return _table(samples["rollout_id"], _readings(sides, drops, sampled, max_length), pools)


Tokenised = list[tuple[tuple[int, ...], PairTokens]]
"""Which rollouts (one or two) a PairTokens holds, in the places of chosen and rejected."""


def tokenised(
    texts: Sequence[str], prompts: Sequence[str], of_pair: Sequence[Pair], tokenizer: Any, max_length: int | None
) -> tuple[Tokenised, dict[int, Drop]]:
    """Rollouts of a prompt two by two, alone where one is left over or either gives no tokens; and the drops."""
    waiting: dict[str, int] = {}
    twos: list[tuple[int, ...]] = []
    for i, prompt in enumerate(prompts):
        if prompt in waiting:
            twos.append((waiting.pop(prompt), i))
        else:
            waiting[prompt] = i
    alone = list(waiting.values())
    done: Tokenised = []
    for places, tokens in _each(twos, texts, of_pair, tokenizer, max_length):
        if isinstance(tokens, Drop):
            alone += places
        else:
            done.append((places, tokens))
    drops: dict[int, Drop] = {}
    for places, tokens in _each([(i,) for i in sorted(alone)], texts, of_pair, tokenizer, max_length):
        if isinstance(tokens, Drop):
            drops[places[0]] = tokens
        else:
            done.append((places, tokens))
    return done, drops


def _each(
    places: Sequence[tuple[int, ...]], texts: Sequence[str], of_pair: Sequence[Pair], tokenizer: Any, cut: int | None
) -> Any:
    padded_pairs = []
    for i in places:
        pair = of_pair[i[0]]
        role = pair.chosen[0].role if pair.chosen else "assistant"
        chosen, rejected = ((Message(role, texts[j]),) for j in (i[0], i[-1]))
        padded_pairs.append(replace(pair, chosen=chosen, rejected=rejected))
    return zip(places, tokenise(padded_pairs, tokenizer, max_length=cut), strict=True)


def rows_of(tokens: Sequence[PairTokens], n_spans: int) -> Rows:
    """The prompt is read but not measured: all rollouts share it."""
    names = ("prompt", "chosen", "rejected")[:n_spans]
    ids = [tuple(getattr(pair_tokens, f"{name}_ids") for name in names) for pair_tokens in tokens]
    content = [
        (np.zeros(pair_tokens.prompt_ids.size, bool), *(getattr(pair_tokens, f"{name}_content") for name in names[1:]))
        for pair_tokens in tokens
    ]
    return Rows(names, ids, content)


def _readings(
    sides: Tokenised, drops: Mapping[int, Drop], sampled: Sequence[np.ndarray], max_length: int | None
) -> list[_Reading]:
    """What became of every rollout; `sampled[i]` are its ids as drawn, without the stop token."""
    readings = {i: _Reading(EMPTY if drop.reason == NO_CONTENT else drop.reason) for i, drop in drops.items()}
    for places, tokens in sides:
        for i, side in zip(places, ("chosen", "rejected"), strict=False):
            ids, content = getattr(tokens, f"{side}_ids"), getattr(tokens, f"{side}_content")
            cut = tokens.truncated and tokens.prompt_ids.size + ids.size == max_length
            content_ids = ids[content]
            drawn = sampled[i][: content_ids.size] if cut else sampled[i]
            readings[i] = _Reading(READ, cut, not np.array_equal(content_ids, drawn))
    return [readings[i] for i in range(len(sampled))]


def _table(rollout_ids: Any, readings: Sequence[_Reading], pools: Mapping[int, tuple[SpanPool, int]]) -> pa.Table:
    features: dict[str, list[np.ndarray]] = {"feature_id": [], "fire_count": [], "act_max": []}
    n_tokens, lengths = [], [0]
    for i in range(len(readings)):
        pool, row = pools.get(i, (None, 0))
        span = slice(pool.indptr[row], pool.indptr[row + 1]) if pool is not None else slice(0)
        for name, parts in features.items():
            parts.append(getattr(pool, name)[span] if pool is not None else np.empty(0, np.int32))
        n_tokens.append(int(pool.n_tokens[row]) if pool is not None else 0)
        lengths.append(features["feature_id"][-1].size)
    offsets = pa.array(np.cumsum(lengths), pa.int32())
    lists = [
        pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(parts), ROLLOUT_FEATURES.field(name).type.value_type))
        for name, parts in features.items()
    ]
    plain = [
        pa.array([getattr(reading, name) for reading in readings], ROLLOUT_FEATURES.field(name).type)
        for name in ("status", "truncated", "retokenised")
    ]
    return pa.table(
        [rollout_ids.combine_chunks(), *plain, pa.array(n_tokens, pa.int32()), *lists], schema=ROLLOUT_FEATURES
    )


def harvest_rollouts(
    samples: Shards,
    pairs: pa.Table,
    lens: Lens,
    tokenizer: Any,
    shards: Shards,
    *,
    max_length: int | None,
    batch_tokens: int = 4096,
    progress: Progress | None = None,
) -> None:
    """Read every shard of `samples` (part SAMPLES) into the shard of `shards` (part ROLLOUT) with the same number.

    `pairs` is the run's table of schema PAIRS. Shards that are whole are kept; `progress` gets (shards done, in all).
    """
    total = samples.count()
    for number in range(total):
        if progress is not None:
            progress(number, total)
        if shards.has(number):
            continue
        some = samples.read(SAMPLES, number)
        prompted_pairs = pairs.filter(pc.is_in(pairs["pair_id"], value_set=some["pair_id"].combine_chunks()))
        by_id = {str(pair.pair_id): pair for pair in pairs_from_table(prompted_pairs)}
        shards.write(
            number,
            {ROLLOUT: read_rollouts(some, by_id, lens, tokenizer, max_length=max_length, batch_tokens=batch_tokens)},
        )
    if progress is not None:
        progress(total, total)


def rollout_features(table: pa.Table, n_features: int) -> SpanFeatures:
    """Sparse features of a table of schema ROLLOUT_FEATURES; `pair_ids` are the rollout ids."""
    return span_features(table.rename_columns({"rollout_id": "pair_id"}), n_features)
