"""Pairs and their tokens as Arrow tables, and back: the columns and types are schema.py's."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from pretilt.pairs.chat import PairTokens
from pretilt.pairs.pair import Drop, Message, Pair
from pretilt.pairs.split import Split
from pretilt.schema import DROPPED, PAIRS, SPANS, TOKENS, PairId

_PLAIN_COLUMNS = (
    "pair_id",
    "row_index",
    "is_chat",
    "tools",
    "template_kwargs",
    "source",
    "chosen_model",
    "rejected_model",
    "chosen_score",
    "rejected_score",
    "meta",
)


def pairs_table(
    pairs: Sequence[Pair],
    split: Split,
    family_id: np.ndarray,
    n_tokens: dict[str, np.ndarray],
    truncated: np.ndarray,
) -> pa.Table:
    """PAIRS. `family_id` (n,) int32; `n_tokens`: content tokens (n,) per span; `truncated` (n,) bool."""
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(p, name) for p in pairs], type=PAIRS.field(name).type) for name in _PLAIN_COLUMNS
    }
    for span in SPANS:
        messages = [[{"role": m.role, "content": m.content, "extra": m.extra} for m in getattr(p, span)] for p in pairs]
        columns[span] = pa.array(messages, type=PAIRS.field(span).type)
        columns[f"n_{span}_tokens"] = pa.array(n_tokens[span], type=pa.int32())
    columns["component_id"] = pa.array(split.component_id, type=pa.int32())
    columns["family_id"] = pa.array(family_id, type=pa.int32())
    columns["split"] = pa.array(np.where(split.heldout, "heldout", "train").tolist(), type=pa.string())
    columns["truncated"] = pa.array(truncated, type=pa.bool_())
    return pa.table([columns[name] for name in PAIRS.names], schema=PAIRS)


def pairs_from_table(table: pa.Table) -> list[Pair]:
    """The Pair objects of a PAIRS table, in order."""
    plain = {name: table[name].to_pylist() for name in _PLAIN_COLUMNS}
    plain["pair_id"] = [PairId(i) for i in plain["pair_id"]]
    for span in SPANS:
        plain[span] = [tuple(Message(**message) for message in messages) for messages in table[span].to_pylist()]
    return [Pair(**dict(zip(plain, values, strict=True))) for values in zip(*plain.values(), strict=True)]


def tokens_batch(pair_ids: Sequence[str], tokens: Sequence[PairTokens]) -> pa.RecordBatch:
    """Some rows of TOKENS; `pa.Table.from_batches` joins them."""
    columns: list[pa.Array] = [pa.array(pair_ids, type=pa.string())]
    for kind, dtype in (("ids", np.int32), ("content", np.bool_)):
        for span in SPANS:
            values = [getattr(t, f"{span}_{kind}") for t in tokens]
            offsets = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int32)
            flat = np.concatenate([np.empty(0, dtype), *values]).astype(dtype)
            columns.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)))
    return pa.RecordBatch.from_arrays(columns, schema=TOKENS)


def tokens_from_table(tokens: pa.Table, pairs: pa.Table) -> list[PairTokens]:
    """The PairTokens of a TOKENS table; `pairs` is the PAIRS table of the same order (for `truncated`).

    `trouble` is not stored: it is counted in the pre-flight, and empty here.
    """
    columns = []
    for kind in ("ids", "content"):
        for span in SPANS:
            column = tokens[f"{span}_{kind}"].combine_chunks()
            flat = column.values.to_numpy(zero_copy_only=False)
            offsets = column.offsets.to_numpy()
            columns.append([flat[a:b] for a, b in itertools.pairwise(offsets)])
    return [PairTokens(*row) for row in zip(*columns, pairs["truncated"].to_pylist(), strict=True)]


def dropped_table(drops: Iterable[Drop]) -> pa.Table:
    """DROPPED, by row number."""
    rows = sorted(drops, key=lambda d: d.row_index)
    return pa.table(
        {
            "row_index": pa.array([d.row_index for d in rows], type=pa.int64()),
            "reason": pa.array([d.reason for d in rows], type=pa.string()),
            "detail": pa.array([d.detail for d in rows], type=pa.string()),
        },
        schema=DROPPED,
    )
