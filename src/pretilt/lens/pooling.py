"""Pooling: from single activations to what is kept of a span. Pure NumPy, no loop over features or rows.

For every span and feature: `fire_count` = number of content tokens with activation > 0 (an integer) and `act_max` =
the largest activation (arXiv 2606.12360, X^freq before division, and X^max). Beside them the strongest tokens of every
feature over all spans, and how often it fired on which vocabulary entry in responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # torch comes with it, and whoever only reads shards needs none
    from pretilt.lens.packing import Batch, Rows

POOLING_VERSION = 1  # part of the measurement's identity: raise it when what is kept of a span changes its meaning
N_PEAKS = 8
_REDUCE_AT = 1 << 20  # pending peak candidates


@dataclass(frozen=True)
class SpanPool:
    """Sparse features of one span, CSR-like: row i holds entries indptr[i] to indptr[i + 1], `feature_id` ascending."""

    n_tokens: np.ndarray  # (N,) int32, content tokens
    indptr: np.ndarray  # (N + 1,) int64
    feature_id: np.ndarray  # (nnz,) int32
    fire_count: np.ndarray  # (nnz,) int32, >= 1
    act_max: np.ndarray  # (nnz,) float32, > 0


@dataclass(frozen=True)
class Peaks:
    """At most 8 tokens per feature, by feature, strongest first; ties by row, span, position. Arrays of one length."""

    feature_id: np.ndarray  # int32
    row: np.ndarray  # int32
    span: np.ndarray  # int8, index into the span names
    position: np.ndarray  # int32
    act: np.ndarray  # float32


@dataclass(frozen=True)
class TokenCounts:
    """Firings per (feature, vocabulary entry) on response content tokens, ascending. Arrays of one length."""

    feature_id: np.ndarray  # int32
    token_id: np.ndarray  # int32
    fire_count: np.ndarray  # int64


@dataclass(frozen=True)
class Measurement:
    spans: dict[str, SpanPool]
    peaks: Peaks
    tokens: TokenCounts


class Pooler:
    """Takes the activations of one batch after the other; every span must lie wholly in one batch."""

    def __init__(self, rows: Rows, n_features: int) -> None:
        self._rows, self._n_features = rows, n_features
        self._n_spans = len(rows.span_names)
        self._pooled: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # (span, feature) key, count, max
        self._tokens: list[tuple[np.ndarray, np.ndarray]] = []  # (feature, token) key, count
        self._peaks = [np.empty(0, np.uint64), np.empty(0, np.uint64)]
        self._pending: list[list[np.ndarray]] = []
        self._floor = np.zeros(n_features, np.float32)  # what an activation must reach to be among its feature's peaks

    def add(self, batch: Batch, token: np.ndarray, feature: np.ndarray, act: np.ndarray) -> None:
        """One entry per activation > 0: index of the content token in the batch, feature and value (float32)."""
        span = batch.row[token].astype(np.int64) * self._n_spans + batch.span[token]
        self._pool(span * self._n_features + feature, act)
        in_response = batch.span[token] > 0
        self._tokens.append(_count(_pack(feature[in_response], batch.token_id[token[in_response]])))
        peak = act >= self._floor[feature]
        strength = np.uint32(0xFFFFFFFF) - act[peak].view(np.uint32)  # bits of positive floats sort like the floats
        self._pending.append([_pack(feature[peak], strength), _pack(span[peak], batch.position[token[peak]])])
        if sum(keys.size for keys, _ in self._pending) > max(_REDUCE_AT, self._peaks[0].size):
            self._reduce_peaks()

    def _pool(self, key: np.ndarray, act: np.ndarray) -> None:
        order = np.argsort(key)
        key = key[order]
        starts = _run_starts(key)
        largest = np.maximum.reduceat(act[order], starts) if starts.size else act
        self._pooled.append((key[starts], np.diff(starts, append=key.size), largest))

    def _reduce_peaks(self) -> None:
        strongest, places = (np.concatenate(parts) for parts in zip(self._peaks, *self._pending, strict=True))
        order = np.lexsort((places, strongest))
        strongest, places = strongest[order], places[order]
        feature = (strongest >> np.uint64(32)).astype(np.int64)
        starts = _run_starts(feature)
        rank = np.arange(feature.size) - np.repeat(starts, np.diff(starts, append=feature.size))
        self._peaks = [strongest[rank < N_PEAKS], places[rank < N_PEAKS]]
        last = rank == N_PEAKS - 1
        self._floor[feature[last]] = _activation(strongest[last])
        self._pending = []

    def finish(self) -> Measurement:
        self._reduce_peaks()
        strongest, places = self._peaks
        span, position = _unpack(places)
        peaks = Peaks(
            _unpack(strongest)[0],
            span // self._n_spans,
            (span % self._n_spans).astype(np.int8),
            position,
            _activation(strongest),
        )

        keys, counts = _gather(self._tokens, (np.uint64, np.int64))
        order = np.argsort(keys)
        starts = _run_starts(keys[order])
        summed = np.add.reduceat(counts[order], starts) if starts.size else counts
        tokens = TokenCounts(*_unpack(keys[order][starts]), summed)

        return Measurement(self._spans(), peaks, tokens)

    def _spans(self) -> dict[str, SpanPool]:
        key, count, largest = _gather(self._pooled, (np.int64, np.int64, np.float32))
        order = np.argsort(key)
        key, count, largest = key[order], count[order].astype(np.int32), largest[order]
        row_span, feature = key // self._n_features, (key % self._n_features).astype(np.int32)

        spans = {}
        for i, name in enumerate(self._rows.span_names):
            in_span = row_span % self._n_spans == i
            per_row = np.bincount(row_span[in_span] // self._n_spans, minlength=len(self._rows))
            n_tokens = np.array([np.count_nonzero(content[i]) for content in self._rows.content], np.int32)
            spans[name] = SpanPool(
                n_tokens, np.append(0, np.cumsum(per_row)), feature[in_span], count[in_span], largest[in_span]
            )

        return spans


def _pack(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Two non-negative 32-bit numbers in one sortable key."""
    return high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64)


def _unpack(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (key >> np.uint64(32)).astype(np.int32), key.astype(np.uint32).astype(np.int32)


def _activation(strongest: np.ndarray) -> np.ndarray:
    return (np.uint32(0xFFFFFFFF) - strongest.astype(np.uint32)).view(np.float32)


def _run_starts(ordered: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: ordered.size])


def _count(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keys = np.sort(keys)
    starts = _run_starts(keys)
    return keys[starts], np.diff(starts, append=keys.size)


def _gather(parts: list, dtypes: tuple[type, ...]) -> list[np.ndarray]:
    """The batches' arrays joined, column by column; empty arrays where there was no batch."""
    if not parts:
        return [np.empty(0, dtype) for dtype in dtypes]
    return [
        np.concatenate(column).astype(dtype, copy=False)
        for column, dtype in zip(zip(*parts, strict=True), dtypes, strict=True)
    ]
