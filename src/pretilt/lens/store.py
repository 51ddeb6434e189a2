"""Between a measurement and its shards: Arrow tables out, SciPy CSR matrices back in, without a loop over rows.

Matrices are built on Arrow's own buffers. `iter_shards` holds one shard at a time, so statistics can stream over data
of any size; `read_span` joins the shards of one span into one matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from pretilt.lens.pooling import N_PEAKS, Measurement
from pretilt.run import Shards
from pretilt.schema import PEAKS, SPAN_FEATURES, SPANS, TOKEN_COUNTS

PARTS = (*SPANS, "peaks", "tokens")
_COMPACT_AT = 1 << 24  # token-count rows that wait before they are summed


@dataclass(frozen=True)
class SpanFeatures:
    """What the lens saw in one span of N pairs. Both matrices are (N, n_features) and share `indptr` and `indices`.

    `fire_count` / `n_tokens` is the firing frequency; a span without content tokens is an empty row with `n_tokens` 0.
    """

    pair_ids: np.ndarray  # (N,) str objects
    n_tokens: np.ndarray  # (N,) int32
    fire_count: csr_array  # int32, >= 1 where stored
    act_max: csr_array  # float32, > 0 where stored

    def __len__(self) -> int:
        return int(self.n_tokens.size)


def tables(measured: Measurement, pair_ids: Sequence[str]) -> dict[str, pa.Table]:
    """The tables of one shard, by part: schemas SPAN_FEATURES (one per span), PEAKS and TOKEN_COUNTS."""
    ids = pa.array(pair_ids, pa.string())
    parts: dict[str, pa.Table] = {}
    for name, span in measured.spans.items():
        offsets = pa.array(span.indptr, pa.int32())
        lists = [
            pa.ListArray.from_arrays(offsets, pa.array(v)) for v in (span.feature_id, span.fire_count, span.act_max)
        ]
        parts[name] = pa.table([ids, pa.array(span.n_tokens), *lists], schema=SPAN_FEATURES)

    peaks, tokens = measured.peaks, measured.tokens
    span_names = pa.array(list(measured.spans), pa.string())
    parts["peaks"] = pa.table(
        [
            pa.array(peaks.feature_id),
            ids.take(pa.array(peaks.row)),
            span_names.take(pa.array(peaks.span)),
            pa.array(peaks.position),
            pa.array(peaks.act),
        ],
        schema=PEAKS,
    )

    columns = [pa.array(tokens.feature_id), pa.array(tokens.token_id), pa.array(tokens.fire_count)]
    parts["tokens"] = pa.table(columns, schema=TOKEN_COUNTS)

    return parts


def span_features(table: pa.Table, n_features: int) -> SpanFeatures:
    """From a table of schema SPAN_FEATURES. With one chunk the matrices lie on the table's own buffers.

    Without the column `act_max` nothing is stored in that matrix.
    """
    names = [name for name in ("feature_id", "fire_count", "act_max") if name in table.column_names]
    per_row, (feature_id, fire_count, *act_max) = _lists(table, names)
    indptr = np.zeros(len(table) + 1, np.int64)
    np.cumsum(per_row, out=indptr[1:])
    if indptr[-1] <= np.iinfo(np.int32).max:  # SciPy wants one index type
        indptr = indptr.astype(np.int32)
    else:
        feature_id = feature_id.astype(np.int64)

    shape = (len(table), n_features)
    counts = csr_array((fire_count, feature_id, indptr), shape=shape)
    if act_max:
        largest = csr_array((act_max[0], counts.indices, counts.indptr), shape=shape)
    else:
        largest = csr_array(shape, dtype=np.float32)

    for matrix in (counts, largest):
        matrix.has_canonical_format = True  # ascending feature ids, each once
    return SpanFeatures(table["pair_id"].to_numpy(), table["n_tokens"].to_numpy(), counts, largest)


def _lists(table: pa.Table, names: Sequence[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    chunks = {name: table[name].chunks for name in names}
    lengths = [chunk.value_lengths().to_numpy() for chunk in chunks[names[0]]]
    values = [[chunk.flatten().to_numpy() for chunk in chunks[name]] for name in names]
    joined = [v[0] if len(v) == 1 else np.concatenate(v) if v else np.empty(0, np.int32) for v in values]
    return np.concatenate(lengths) if lengths else np.empty(0, np.int32), joined


def read_span(shards: Shards, span: str, n_features: int) -> SpanFeatures:
    """All pairs of one span, in the order of pairs.parquet."""
    read = [shards.read(span, number) for number in range(shards.count())]
    return span_features(pa.concat_tables(read) if read else SPAN_FEATURES.empty_table(), n_features)


def iter_shards(
    shards: Shards, n_features: int, spans: Sequence[str] = SPANS, *, activations: bool = True
) -> Iterator[dict[str, SpanFeatures]]:
    """One shard after the other: the same pairs in all spans asked for, in the order of pairs.parquet.

    Without activations nothing is stored in `act_max`: they are most of what there is to read.
    """
    columns = None if activations else [name for name in SPAN_FEATURES.names if name != "act_max"]
    for number in range(shards.count()):
        yield {span: span_features(shards.read(span, number, columns), n_features) for span in spans}


def merge_peaks(shards: Shards) -> pa.Table:
    """The 8 strongest tokens of every feature over all shards (schema PEAKS), by feature, strongest first.

    Ties go to the earlier pair. One shard is in memory at a time.
    """
    return top_peaks(shards.read("peaks", number) for number in range(shards.count()))


def top_peaks(parts: Iterable[pa.Table]) -> pa.Table:
    """The strongest of several tables of schema PEAKS; see `merge_peaks`."""
    best = PEAKS.empty_table()
    floor = np.zeros(0, np.float32)  # per feature, what an activation must pass once 8 are known
    for part in parts:
        feature, act = part["feature_id"].to_numpy(), part["act"].to_numpy()
        floor = np.pad(floor, (0, max(0, int(feature.max(initial=-1)) + 1 - floor.size)))

        joined = pa.concat_tables([best, part.filter(pa.array(act > floor[feature]))])
        feature, act = joined["feature_id"].to_numpy(), joined["act"].to_numpy()
        order = np.lexsort((-act, feature))  # stable: the earlier shard first
        feature = feature[order]
        rank = np.arange(feature.size) - np.searchsorted(feature, feature)

        best = joined.take(pa.array(order[rank < N_PEAKS])).combine_chunks()
        last = rank == N_PEAKS - 1
        floor[feature[last]] = act[order][last]

    return best


def merge_token_counts(shards: Shards) -> pa.Table:
    """Firings per feature and vocabulary entry over all shards (schema TOKEN_COUNTS), ascending."""
    return sum_token_counts(shards.read("tokens", number) for number in range(shards.count()))


def sum_token_counts(parts: Iterable[pa.Table]) -> pa.Table:
    """The sum of several tables of schema TOKEN_COUNTS."""
    total = TOKEN_COUNTS.empty_table()
    waiting: list[pa.Table] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) > max(_COMPACT_AT, len(total)):
            total, waiting = _sum([total, *waiting]), []
    return _sum([total, *waiting])


def _sum(parts: Sequence[pa.Table]) -> pa.Table:
    joined = pa.concat_tables(parts)
    key = joined["feature_id"].to_numpy().astype(np.int64) << 32 | joined["token_id"].to_numpy()
    order = np.argsort(key)
    key = key[order]
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: key.size])
    counts = joined["fire_count"].to_numpy()[order]
    summed = np.add.reduceat(counts, starts) if starts.size else counts
    key = key[starts]
    return pa.table(
        [pa.array((key >> 32).astype(np.int32)), pa.array((key & 0xFFFFFFFF).astype(np.int32)), pa.array(summed)],
        schema=TOKEN_COUNTS,
    )
