"""The store: tables and CSR matrices against hand-made and dense numbers, on Arrow's own buffers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tiny_models import dense_reading, lens, rows, some_sizes, tokens_table

from pretilt.lens.harvest import harvest
from pretilt.lens.measure import measure
from pretilt.lens.store import (
    PARTS,
    iter_shards,
    merge_peaks,
    merge_token_counts,
    read_span,
    span_features,
    sum_token_counts,
    tables,
    top_peaks,
)
from pretilt.run import Shards
from pretilt.schema import PEAKS, SPAN_FEATURES, SPANS, TOKEN_COUNTS

SPAN = pa.table(
    {
        "pair_id": ["a", "b", "c"],
        "n_tokens": pa.array([4, 0, 2], pa.int32()),
        "feature_id": pa.array([[1, 3], [], [0]], pa.list_(pa.int32())),
        "fire_count": pa.array([[4, 1], [], [2]], pa.list_(pa.int32())),
        "act_max": pa.array([[1.5, 0.5], [], [2.5]], pa.list_(pa.float32())),
    },
    schema=SPAN_FEATURES,
)


def test_csr_by_hand() -> None:
    found = span_features(SPAN, 5)
    assert len(found) == 3
    assert found.pair_ids.tolist() == ["a", "b", "c"]
    assert found.n_tokens.tolist() == [4, 0, 2]
    assert found.fire_count.toarray().tolist() == [[0, 4, 0, 1, 0], [0] * 5, [2, 0, 0, 0, 0]]
    assert found.act_max.toarray().tolist() == [[0, 1.5, 0, 0.5, 0], [0] * 5, [2.5, 0, 0, 0, 0]]
    assert (found.fire_count.dtype, found.act_max.dtype) == (np.int32, np.float32)


def test_matrices_lie_on_the_tables_buffers() -> None:
    found = span_features(SPAN, 5)
    for name, data in (
        ("feature_id", found.fire_count.indices),
        ("fire_count", found.fire_count.data),
        ("act_max", found.act_max.data),
    ):
        assert np.shares_memory(data, SPAN[name].chunk(0).values.to_numpy())
    assert np.shares_memory(found.fire_count.indices, found.act_max.indices)
    assert np.shares_memory(found.fire_count.indptr, found.act_max.indptr)


@pytest.mark.parametrize("part", [slice(1, 3), slice(2, 3), slice(0, 0), slice(0, 1)])
def test_slices_and_chunks_of_a_table(part: slice) -> None:
    whole = span_features(SPAN, 5).fire_count.toarray()
    assert np.array_equal(span_features(SPAN[part], 5).fire_count.toarray(), whole[part])
    chunked = pa.concat_tables([SPAN[part], SPAN[0:0], SPAN])
    assert np.array_equal(span_features(chunked, 5).fire_count.toarray(), np.concatenate([whole[part], whole]))


def test_shards_hold_what_a_dense_reading_gives(tmp_path: Path) -> None:
    a_lens, pairs = lens(), rows(some_sizes(23))
    pairs.content[4][1][:] = False
    tokens, shards = tokens_table(pairs), Shards(tmp_path / "features", "key", PARTS)
    harvest(tokens, a_lens, shards, pairs_per_shard=5, batch_tokens=150)
    oracle = dense_reading(a_lens, pairs)
    blocks = list(iter_shards(shards, a_lens.n_features))
    assert [len(block["prompt"]) for block in blocks] == [5, 5, 5, 5, 3]
    for span in SPANS:
        found = read_span(shards, span, a_lens.n_features)
        assert found.pair_ids.tolist() == tokens["pair_id"].to_pylist()
        assert found.n_tokens.tolist() == [len(acts[span]) for acts in oracle]
        counts = np.stack([(acts[span] > 0).sum(0) for acts in oracle])
        assert np.array_equal(found.fire_count.toarray(), counts)
        largest = np.stack([acts[span].max(0, initial=0) for acts in oracle])
        np.testing.assert_allclose(found.act_max.toarray(), largest, rtol=1e-4, atol=1e-5)
        assert np.array_equal(np.concatenate([b[span].fire_count.toarray() for b in blocks]), counts)
        assert found.fire_count.indices.tolist() == [f for row in counts for f in np.flatnonzero(row)]  # ascending

    # merged over five shards = measured as one
    at_once = tables(measure(a_lens, pairs), tokens["pair_id"].to_pylist())
    assert merge_token_counts(shards).equals(at_once["tokens"])
    merged = merge_peaks(shards)
    assert merged["feature_id"].equals(at_once["peaks"]["feature_id"])
    np.testing.assert_allclose(merged["act"], at_once["peaks"]["act"], rtol=1e-4)
    for peak in merged.slice(0, 50).to_pylist():
        row = int(peak["pair_id"].removeprefix("pair"))
        s = SPANS.index(peak["span"])
        assert pairs.content[row][s][peak["position"]]
        within = np.flatnonzero(pairs.content[row][s]).tolist().index(peak["position"])
        assert oracle[row][peak["span"]][within, peak["feature_id"]] == pytest.approx(peak["act"], rel=1e-4)


def test_no_shards_and_no_pairs(tmp_path: Path) -> None:
    shards = Shards(tmp_path / "features", "key", PARTS)
    harvest(tokens_table(rows([])), lens(), shards)
    assert shards.count() == 0
    found = read_span(shards, "chosen", 64)
    assert found.fire_count.shape == found.act_max.shape == (0, 64)
    assert list(iter_shards(shards, 64)) == []
    assert len(merge_peaks(shards)) == len(merge_token_counts(shards)) == 0


def peaks_table(*entries: tuple[int, str, float]) -> pa.Table:
    feature, pair, act = zip(*entries, strict=True)
    n = len(entries)
    columns = [pa.array(feature, pa.int32()), pa.array(pair), pa.array(["chosen"] * n)]
    return pa.table([*columns, pa.array(range(n), pa.int32()), pa.array(act, pa.float32())], schema=PEAKS)


def test_merged_peaks_by_hand() -> None:
    first = peaks_table(*[(0, f"a{i}", 9.0 - i) for i in range(8)], (7, "a", 1.0))  # feature 0: 9 … 2
    second = peaks_table((0, "b0", 9.5), (0, "b1", 3.0), (0, "b2", 2.0), (3, "b", 0.5))
    third = peaks_table((0, "c", 3.0), (9, "c", 4.0))
    merged = top_peaks([first, second, third])
    assert list(zip(*(merged[c].to_pylist() for c in ("feature_id", "pair_id", "act")), strict=True)) == [
        (0, "b0", 9.5),
        (0, "a0", 9.0),
        (0, "a1", 8.0),
        (0, "a2", 7.0),
        (0, "a3", 6.0),
        (0, "a4", 5.0),
        (0, "a5", 4.0),
        (0, "a6", 3.0),  # ties with b1 and c: the earliest stays
        (3, "b", 0.5),
        (7, "a", 1.0),
        (9, "c", 4.0),
    ]
    assert merged.schema == PEAKS


def test_summed_token_counts_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def counts(*entries: tuple[int, int, int]) -> pa.Table:
        columns = zip(*entries, strict=True)
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, TOKEN_COUNTS, strict=True)], schema=TOKEN_COUNTS)

    parts = [counts((0, 5, 1), (2, 70_000, 4)), counts((0, 4, 9), (0, 5, 2)), counts((2, 70_000, 1), (65_535, 0, 3))]
    expected = [[0, 0, 2, 65_535], [4, 5, 70_000, 0], [9, 3, 5, 3]]
    assert [c.to_pylist() for c in sum_token_counts(parts).columns] == expected
    monkeypatch.setattr("pretilt.lens.store._COMPACT_AT", 0)  # sum after every shard
    assert [c.to_pylist() for c in sum_token_counts(parts).columns] == expected
