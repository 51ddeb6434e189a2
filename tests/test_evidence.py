"""Contributions that sum to the effect, and the pairs responsible."""

from __future__ import annotations

import dense_reference as dense
import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csc_array, csr_array

from tiltmeter import schema
from tiltmeter.stats.contrast import ContrastSums, global_effects, group_contrasts
from tiltmeter.stats.evidence import PairTokens, Tracer, build_evidence
from tiltmeter.stats.hypotheses import contrasts_to_table


def names(n: int) -> list[str]:
    return [f"{(7919 * i) % n:020x}" for i in range(n)]  # not in the order of the rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("real", [False, True])
def test_contributions_sum_to_the_effect(seed: int, real: bool) -> None:
    rng = np.random.default_rng(seed)
    u = rng.choice([-1.0, 0.0, 1.0], (120, 6)) * (rng.random((120, 6)) if real else 1.0)
    group_id = rng.integers(0, 5, 120)
    tracer = Tracer(names(120), group_id, np.arange(10, 16), csc_array(u), csc_array(u))
    sums = ContrastSums.by_group(group_id, np.arange(120), np.arange(120), 4, 6)
    sums.add(csr_array(u))
    contrasts = group_contrasts(sums, np.arange(6))
    overall = ContrastSums.overall(np.arange(120) // 3, 6)
    overall.add(csr_array(u))
    effects = global_effects(overall, np.arange(6))
    for m in range(6):
        for g, group in enumerate(contrasts.where.tolist()):
            shares = tracer.contributions(group, 10 + m)
            assert shares.sum() == pytest.approx(contrasts.delta[g, m], abs=1e-9)
            np.testing.assert_allclose(shares, dense.contributions(u, group_id, group, m), atol=1e-15)
        assert tracer.contributions(-1, 10 + m).sum() == pytest.approx(effects.delta[0, m], abs=1e-9)


def small() -> Tracer:
    #             row  0     1     2     3     4     5     6     7
    group_id = np.array([1, 1, 1, 1, 2, 2, 2, 0])
    u = np.array([1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 0.0, 1.0])
    v = np.array([0.02, 0.05, -0.3, 0.02, -0.1, 0.4, 0.0, 0.9])
    ids = ["h", "g", "f", "e", "d", "c", "b", "a"]
    return Tracer(ids, group_id, np.array([5]), csc_array(u[:, None]), csc_array(v[:, None]))


def test_ranked_pairs_by_hand() -> None:
    tracer = small()
    # group 1, amplify: inside with u > 0 are rows 0, 1, 3, all 1/4. v decides: row 1 (.05); rows 0 and 3 tie at .02,
    # and "e" (row 3) comes before "h" (row 0)
    assert tracer.ranked(1, 5, "amplify").tolist() == [1, 3, 0]
    assert tracer.ranked(1, 5, "amplify", 2).tolist() == [1, 3]
    # outside, row 4 (u = -1) contributes -(-1)/3 = +1/3: more than any inside pair, and still after them
    assert tracer.contributions(1, 5)[4] == pytest.approx(1 / 3)
    assert tracer.ranked(1, 5, "amplify", inside_only=False).tolist() == [1, 3, 0, 4]
    assert tracer.ranked(1, 5, "suppress").tolist() == [2]
    assert tracer.ranked(1, 5, "suppress", inside_only=False).tolist() == [2, 5]
    # globally the silent pair counts as well: rows 7 (.9), 5 (.4), 1 (.05), then "e" and "h"
    assert tracer.ranked(-1, 5, "amplify").tolist() == [7, 5, 1, 3, 0]
    assert tracer.ranked(-1, 5, "suppress").tolist() == [2, 4]
    assert tracer.contributions(1, 5)[7] == 0.0  # silent


def test_tracing_finds_planted_pairs() -> None:
    rng = np.random.default_rng(0)
    n = 2000
    group_id = rng.integers(1, 9, n)
    planted = np.flatnonzero((group_id == 3) & (rng.random(n) < 0.2))
    u = np.where(rng.random(n) < 0.01, rng.choice([-1.0, 1.0], n), 0.0)
    v = u * 0.01
    u[planted], v[planted] = 1.0, 0.05
    tracer = Tracer(names(n), group_id, np.array([0]), csc_array(u[:, None]), csc_array(v[:, None]))
    assert set(tracer.ranked(3, 0, "amplify", planted.size).tolist()) == set(planted.tolist())


def test_the_evidence_table() -> None:
    tracer = small()
    sums = ContrastSums.by_group(tracer.group_id, np.array([0, 3, 4, 5, 6, 7, 8, 9]), np.arange(8), 2, 6)
    full = np.zeros((8, 6))
    full[:, 5] = tracer.u(5)
    sums.add(csr_array(full))
    overall = ContrastSums.overall(np.arange(8), 6)
    overall.add(csr_array(full))
    one = [global_effects(overall, np.array([5])), group_contrasts(sums, np.array([5]))]
    table = contrasts_to_table(one, np.ones(6, int), np.zeros(6, bool)).table.to_pylist()
    for row in table:  # eight pairs are too few to be shown: show group 1 and the global effect by hand
        row["shown"] = row["where"] in (-1, 1)
        row["rank"], row["direction"] = (1 if row["shown"] else 0), "amplify"
    asked: list[list[tuple[str, int]]] = []

    def token_activations(requests):
        asked.append(list(requests))
        return [PairTokens([pair_id, "!"], [1.5, 0.0], ["no"], [0.0]) for pair_id, _ in requests]

    evidence = build_evidence(
        pa.Table.from_pylist(table, schema=schema.HYPOTHESES),
        tracer,
        {pair_id: f"prompt {pair_id}" for pair_id in tracer.pair_ids},
        token_activations,
        max_rank=1,
        max_pairs=2,
    )
    assert evidence.schema == schema.EVIDENCE
    rows = evidence.to_pylist()
    assert [(r["hypothesis_id"], r["rank"], r["pair_id"]) for r in rows] == [
        ("global:*:5", 1, "a"),
        ("global:*:5", 2, "c"),
        ("group:1:5", 1, "g"),
        ("group:1:5", 2, "e"),
    ]
    assert [r["contribution"] for r in rows] == [1 / 8, 1 / 8, 1 / 4, 1 / 4]
    assert [r["u"] for r in rows] == [1.0] * 4
    assert asked == [[("a", 5), ("c", 5), ("g", 5), ("e", 5)]]
    assert rows[2]["prompt_text"] == "prompt g"
    assert (rows[2]["chosen_pieces"], rows[2]["chosen_acts"]) == (["g", "!"], [1.5, 0.0])


def test_each_pair_and_concept_is_asked_for_once() -> None:
    tracer = small()
    rows = [
        {f.name: None for f in schema.HYPOTHESES}
        | {"hypothesis_id": f"{w}", "view": "x", "where": w, "concept_id": 5}
        | {"shown": True, "direction": "amplify", "rank": 1}
        for w in (1, -1)
    ]
    asked: list[tuple[str, int]] = []

    def token_activations(requests):
        asked.extend(requests)
        return [PairTokens([], [], [], []) for _ in requests]

    texts = dict.fromkeys(tracer.pair_ids, "")
    hypotheses = pa.Table.from_pylist(rows, schema=schema.HYPOTHESES)
    evidence = build_evidence(hypotheses, tracer, texts, token_activations, max_rank=5, max_pairs=9)
    assert evidence.num_rows == 3 + 5
    assert len(asked) == len(set(asked)) == 5
    with pytest.raises(ValueError, match="5 requests"):
        build_evidence(hypotheses, tracer, texts, lambda requests: [], max_rank=5, max_pairs=9)
    none = hypotheses.slice(0, 0)
    assert build_evidence(none, tracer, texts, token_activations, max_rank=5, max_pairs=9).schema == schema.EVIDENCE


def test_what_has_no_contrast_is_refused() -> None:
    tracer = small()
    for where in (0, 9):
        with pytest.raises(ValueError, match="no contrast"):
            tracer.contributions(where, 5)
    with pytest.raises(ValueError, match="must be for"):
        Tracer(["a"], np.array([1, 1]), np.array([0]), csc_array((2, 1)), csc_array((2, 1)))
