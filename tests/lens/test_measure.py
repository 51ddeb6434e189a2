"""The measurement: packed reading against each response alone, pooling against hand-worked and dense numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from tiny_models import POSITIONS, VOCAB, causal_lm, dense_reading, dictionary, lens, rows, some_sizes, subject

from pretilt.errors import UserError
from pretilt.lens.lens import Lens
from pretilt.lens.measure import content_activations, measure, token_activations
from pretilt.lens.packing import Batch, Rows, packs_exactly, plan, read, tree_inputs
from pretilt.lens.pooling import Measurement, Pooler
from pretilt.models.subject import SubjectModel
from pretilt.schema import SPANS

SIZES = [(7, 5, 9), (3, 11, 2), (12, 1, 4), (1, 6, 6)]


def same(a: Measurement, b: Measurement) -> bool:
    """Equal to the byte."""
    flat = [[*m.spans.values(), m.peaks, m.tokens] for m in (a, b)]
    arrays = [[v for part in parts for v in vars(part).values()] for parts in flat]
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(*arrays, strict=True))


def dense(measured: Measurement, span: str, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    pool = measured.spans[span]
    shape = (pool.n_tokens.size, n_features)
    row = np.repeat(np.arange(shape[0]), np.diff(pool.indptr))
    count, largest = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    count[row, pool.feature_id], largest[row, pool.feature_id] = pool.fire_count, pool.act_max
    return count, largest


# --- packing ------------------------------------------------------------------------------------------------------


def test_tree_mask_by_hand() -> None:
    # prompt 0-1, chosen 2, rejected 3-4, padding 5
    mask, positions = tree_inputs(torch.tensor([[2, 3, 5]]), 6, torch.float32)
    assert positions.tolist() == [[0, 1, 2, 2, 3, 4]]
    seen = (mask[0, 0] == 0).int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
        [1, 1, 0, 1, 1, 1],
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma2", "gemma3", "olmo2", "gpt_neo"])
def test_packed_equals_each_response_alone(family: str) -> None:
    model, pairs = causal_lm(family), rows(SIZES, content_share=1.0)
    layer = 2
    found = {}
    (batch,) = plan(pairs, SubjectModel(model, None, {}), batch_tokens=1000, pack=True)
    assert batch.ends is not None  # packed
    packed = read(SubjectModel(model, None, {}), layer, batch).flatten(0, 1)[torch.from_numpy(batch.flat)]
    for row in range(len(pairs)):
        for span in range(3):
            found[row, span] = packed[torch.from_numpy((batch.row == row) & (batch.span == span))]
    for row, (prompt, *responses) in enumerate(pairs.ids):
        for span, response in enumerate(responses, start=1):
            alone = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
            with torch.no_grad():
                expected = model(alone, output_hidden_states=True).hidden_states[layer + 1][0]
            scale = float(expected.abs().max())
            torch.testing.assert_close(found[row, 0], expected[: prompt.size], rtol=0, atol=1e-5 * scale)
            torch.testing.assert_close(found[row, span], expected[prompt.size :], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("family", ["mistral", "gemma3", "gpt_neo"])
def test_pairs_beyond_the_window_are_read_plainly(family: str) -> None:
    pairs = rows([(4, 5, 6), (20, 12, 9), (11, 12, 12)])  # the window is 24; 23 + 12 tokens are packed in the third
    a_lens = lens(family)
    assert a_lens.packs
    packed = {
        int(r) for b in plan(pairs, a_lens.model, batch_tokens=500, pack=True) if b.ends is not None for r in b.row
    }
    assert packed == ({0} if family == "gpt_neo" else {0, 2})  # GPT-Neo's window counts packed tokens
    measured = measure(a_lens, pairs)
    for span in SPANS:
        count, largest = dense(measured, span, a_lens.n_features)
        for row, acts in enumerate(dense_reading(a_lens, pairs)):
            assert np.array_equal(count[row], (acts[span] > 0).sum(0))
            np.testing.assert_allclose(largest[row], acts[span].max(0), rtol=1e-4, atol=1e-5)


def test_model_that_cannot_pack_is_found_out_and_read_twice() -> None:
    a_lens = lens("bloom")  # ALiBi counts distances from a 2-D mask
    assert not a_lens.packs
    pairs = rows(SIZES)
    assert same(measure(a_lens, pairs), measure(a_lens, pairs, pack=False))


def test_self_check_sees_a_wrong_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = subject("llama")
    assert packs_exactly(model, 2)
    causal = torch.full((1, 1, 64, 64), torch.finfo(torch.float32).min).triu(1)

    def sees_chosen(ends: torch.Tensor, length: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        positions = tree_inputs(ends, length, dtype)[1]
        return causal[:, :, :length, :length].expand(len(ends), -1, -1, -1), positions

    monkeypatch.setattr("pretilt.lens.packing.tree_inputs", sees_chosen)
    assert not packs_exactly(model, 2)


def test_plan_reads_every_token_once_within_the_budget() -> None:
    pairs = rows(some_sizes(40))
    for pack in (True, False):
        batches = list(plan(pairs, subject("llama"), batch_tokens=150, pack=pack))
        assert sum(b.n_tokens for b in batches) == pairs.n_tokens
        assert all(b.input_ids.size <= 150 or len(b.input_ids) == 1 for b in batches)
        found = Counter(
            zip(
                *(np.concatenate([getattr(b, k) for b in batches]).tolist() for k in ("row", "span", "position")),
                strict=True,
            )
        )
        wanted = {(r, s, int(p)) for r, c in enumerate(pairs.content) for s in range(3) for p in np.flatnonzero(c[s])}
        assert set(found) == wanted
        assert set(found.values()) == {1}
        for b in batches:
            assert b.input_ids.reshape(-1)[b.flat].tolist() == b.token_id.tolist()


def test_rows_the_model_cannot_read() -> None:
    with pytest.raises(UserError, match=rf"a sequence of 100 tokens is too long.*row 1.*at most {POSITIONS}"):
        measure(lens(), rows([(5, 5, 5), (60, 10, 40)]))
    pairs = rows([(5, 5, 5)])
    pairs.ids[0][2][3] = VOCAB
    with pytest.raises(UserError, match=rf"token id {VOCAB} is unknown to the model \(row 0\)"):
        measure(lens(), pairs)


# --- pooling ------------------------------------------------------------------------------------------------------


def test_pooling_by_hand() -> None:
    """One pair of prompt (1 token), chosen (3 tokens), rejected (1 token); five features."""
    ids = (np.array([7]), np.array([8, 9, 8]), np.array([9]))
    pairs = Rows(SPANS, [ids], [tuple(np.ones(i.size, bool) for i in ids)])
    span, position = np.array([0, 1, 1, 1, 2], np.int8), np.array([0, 0, 1, 2, 0], np.int32)
    token_id = np.array([7, 8, 9, 8, 9], np.int32)
    batch = Batch(np.zeros((1, 5), np.int64), None, 5, np.arange(5), np.zeros(5, np.int32), span, position, token_id)
    pooler = Pooler(pairs, 5)
    pooler.add(  # prompt: f2; chosen: f1 and f3 on the first token, f1 on the third; rejected: f1
        batch,
        np.array([0, 1, 1, 3, 4]),
        np.array([2, 1, 3, 1, 1]),
        np.array([0.5, 2.0, 0.25, 3.0, 1.0], np.float32),
    )
    found = pooler.finish()
    chosen = found.spans["chosen"]
    assert chosen.n_tokens.tolist() == [3]
    assert chosen.indptr.tolist() == [0, 2]
    assert chosen.feature_id.tolist() == [1, 3]
    assert chosen.fire_count.tolist() == [2, 1]
    assert chosen.act_max.tolist() == [3.0, 0.25]
    assert [a.dtype for a in (chosen.feature_id, chosen.fire_count, chosen.act_max)] == [np.int32, np.int32, np.float32]
    assert found.spans["prompt"].feature_id.tolist() == [2]
    assert found.spans["rejected"].act_max.tolist() == [1.0]
    peaks = found.peaks
    assert list(zip(peaks.feature_id, peaks.span, peaks.position, peaks.act, strict=True)) == [
        (1, 1, 2, 3.0),
        (1, 1, 0, 2.0),
        (1, 2, 0, 1.0),
        (2, 0, 0, 0.5),
        (3, 1, 0, 0.25),
    ]
    counts = found.tokens  # responses only: f2 of the prompt is not among them
    assert list(zip(counts.feature_id, counts.token_id, counts.fire_count, strict=True)) == [
        (1, 8, 2),
        (1, 9, 1),
        (3, 8, 1),
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_pooled_equals_dense_reading(family: str) -> None:
    a_lens, pairs = lens(family), rows(some_sizes(20))
    measured, oracle = measure(a_lens, pairs, batch_tokens=200), dense_reading(a_lens, pairs)
    for span in SPANS:
        count, largest = dense(measured, span, a_lens.n_features)
        assert measured.spans[span].n_tokens.tolist() == [len(acts[span]) for acts in oracle]
        for row, acts in enumerate(oracle):
            assert np.array_equal(count[row], (acts[span] > 0).sum(0))
            np.testing.assert_allclose(largest[row], acts[span].max(0, initial=0), rtol=1e-4, atol=1e-5)
    tokens: Counter[tuple[int, int]] = Counter()
    for ids, content, acts in zip(pairs.ids, pairs.content, oracle, strict=True):
        for s in (1, 2):
            for token, firing in zip(ids[s][content[s]], acts[SPANS[s]] > 0, strict=True):
                tokens.update((int(f), int(token)) for f in np.flatnonzero(firing))
    found = measured.tokens
    assert dict(tokens) == {
        (f, t): n
        for f, t, n in zip(*(a.tolist() for a in (found.feature_id, found.token_id, found.fire_count)), strict=True)
    }


def test_peaks_are_the_eight_strongest_tokens() -> None:
    a_lens, pairs = lens(), rows(some_sizes(30), content_share=1.0)
    oracle = dense_reading(a_lens, pairs)
    peaks = measure(a_lens, pairs, batch_tokens=100).peaks
    acts = np.concatenate([by_span[s] for by_span in oracle for s in SPANS])
    for feature in range(a_lens.n_features):
        mine = peaks.feature_id == feature
        strongest = np.sort(acts[:, feature])[::-1][:8]
        np.testing.assert_allclose(peaks.act[mine], strongest[strongest > 0], rtol=1e-4)
        for row, span, position, act in zip(
            *(a[mine] for a in (peaks.row, peaks.span, peaks.position, peaks.act)), strict=True
        ):
            assert act == pytest.approx(oracle[row][SPANS[span]][position, feature], rel=1e-4)


def test_equal_peaks_go_to_the_earlier_pair() -> None:
    pairs = rows([(3, 4, 5)], content_share=1.0)
    many = Rows(SPANS, pairs.ids * 12, pairs.content * 12)
    peaks = measure(lens(), many, batch_tokens=12 * 12).peaks  # one batch: equal inputs, equal activations
    best = [peaks.row[peaks.feature_id == f].tolist() for f in np.unique(peaks.feature_id)]
    assert [0, 1, 2, 3, 4, 5, 6, 7] in best
    assert all(len(r) == 8 for r in best)


def test_what_is_not_content_is_not_counted() -> None:
    a_lens, pairs = lens(), rows([(6, 8, 7)], content_share=1.0)
    whole = measure(a_lens, pairs)
    for s, span in enumerate(SPANS):
        for masked in range(pairs.ids[0][s].size):
            pairs.content[0][s][masked] = False
            part = measure(a_lens, pairs)
            pairs.content[0][s][masked] = True
            count, all_counts = (dense(m, span, a_lens.n_features)[0] for m in (part, whole))
            fired = dense_reading(a_lens, pairs)[0][span][masked] > 0
            assert fired.any()
            assert np.array_equal(all_counts - count, fired[None].astype(np.int32))
            assert part.spans[span].n_tokens.tolist() == [pairs.ids[0][s].size - 1]
            others = [name for name in SPANS if name != span]
            assert all(np.array_equal(dense(part, o, 64)[0], dense(whole, o, 64)[0]) for o in others)


def test_spans_without_content_are_empty_rows() -> None:
    pairs = rows([(6, 8, 7), (4, 5, 3)])
    pairs.content[0][1][:] = False
    chosen = measure(lens(), pairs).spans["chosen"]
    assert chosen.indptr[:2].tolist() == [0, 0]
    assert chosen.n_tokens[0] == 0
    for mask in pairs.content[0] + pairs.content[1]:
        mask[:] = False
    nothing = measure(lens(), pairs)
    assert [pool.feature_id.size for pool in nothing.spans.values()] == [0, 0, 0]
    assert nothing.peaks.act.size == nothing.tokens.fire_count.size == 0
    silent = Lens(subject(), 2, dictionary(threshold=1e9))
    assert measure(silent, rows([(3, 3, 3)])).spans["prompt"].indptr.tolist() == [0, 0]


def test_counts_do_not_depend_on_the_batch_and_bytes_repeat() -> None:
    a_lens, pairs = lens(), rows(some_sizes(25))
    once = measure(a_lens, pairs, batch_tokens=200)
    assert same(once, measure(a_lens, pairs, batch_tokens=200))
    for other in (measure(a_lens, pairs, batch_tokens=64), measure(a_lens, pairs, pack=False)):
        for span in SPANS:
            assert np.array_equal(once.spans[span].feature_id, other.spans[span].feature_id)
            assert np.array_equal(once.spans[span].fire_count, other.spans[span].fire_count)
            np.testing.assert_allclose(once.spans[span].act_max, other.spans[span].act_max, rtol=1e-4)
        assert np.array_equal(once.tokens.fire_count, other.tokens.fire_count)


def test_half_precision_is_measured_in_float32() -> None:
    model = subject()
    model._decoder.bfloat16()
    measured = measure(Lens(model, 2, dictionary()), rows(SIZES))
    assert measured.spans["chosen"].act_max.dtype == np.float32
    assert measured.spans["chosen"].feature_id.size > 0


def test_overflow_is_an_error_not_silence() -> None:
    a_lens = lens()
    with torch.no_grad():
        a_lens.model._blocks[1].mlp.down_proj.weight.fill_(float("inf"))
    with pytest.raises(UserError, match="NaN or infinity"):
        measure(a_lens, rows(SIZES), pack=False)


# --- evidence --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "bloom"])  # packed and plain
def test_token_activations_are_sums_over_the_set(family: str) -> None:
    a_lens, pairs = lens(family), rows(some_sizes(9))
    sets = [[np.array([3, 17, 40]), np.array([5])] if row % 2 else [np.arange(64)] for row in range(9)]
    found = token_activations(a_lens, pairs, sets, batch_tokens=120)
    for row, acts in enumerate(dense_reading(a_lens, pairs)):
        assert len(found[row]) == len(sets[row])
        for features, by_span in zip(sets[row], found[row], strict=True):
            for span in SPANS:
                assert by_span[span].dtype == np.float32
                np.testing.assert_allclose(by_span[span], acts[span][:, features].sum(1), rtol=1e-4, atol=1e-5)


def test_content_activations_are_the_vectors_behind_the_pools() -> None:
    a_lens, pairs = lens(), rows(SIZES)
    n, fired = 0, np.zeros(64, np.int64)
    for batch, x in content_activations(a_lens, pairs, 64):
        assert x.shape == (batch.row.size, 32)
        fired += (a_lens.dictionary.encode(x) > 0).sum(0).numpy()
        n += len(x)
    measured = measure(a_lens, pairs)
    assert n == sum(int(pool.n_tokens.sum()) for pool in measured.spans.values())
    total = sum(np.bincount(p.feature_id, weights=p.fire_count, minlength=64) for p in measured.spans.values())
    assert np.array_equal(fired, total)


# --- the lens -----------------------------------------------------------------------------------------------------


def test_lens_refuses_what_does_not_fit() -> None:
    with pytest.raises(UserError, match=r"does not fit the model: .*width 24, the model has 32"):
        Lens(subject(), 2, dictionary(d_model=24))
    with pytest.raises(UserError, match="layer 4 does not exist: the model has 4 layers, 0 to 3"):
        Lens(subject(), 4, dictionary())


def test_measurement_id_names_everything_that_changes_a_number() -> None:
    a_lens = lens()
    known = a_lens.measurement_id("template", 1024)
    assert lens().measurement_id("template", 1024) == known
    other_model = SubjectModel(causal_lm(), None, {"name": "llama", "revision": "abc", "dtype": "float32"})
    others = {
        a_lens.measurement_id("other template", 1024),
        a_lens.measurement_id("template", 512),
        dataclasses.replace(a_lens, layer=1).measurement_id("template", 1024),
        dataclasses.replace(a_lens, dictionary=dictionary(seed=9)).measurement_id("template", 1024),
        dataclasses.replace(a_lens, model=other_model).measurement_id("template", 1024),
    }
    assert len(others | {known}) == 6
