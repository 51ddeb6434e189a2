"""Contributions that sum to the effect, and the pairs responsible."""

from __future__ import annotations

import dense_reference as dense
import numpy as np
import pyarrow as pa
import pytest

from pretilt import schema
from pretilt.lens.tokens import PairTokens
from pretilt.stats.columns import Columns
from pretilt.stats.contrast import contrasts
from pretilt.stats.evidence import Places, Tracer, build_evidence
from pretilt.stats.sets import Sets
from pretilt.stats.sums import cell_sums


def names(n: int) -> list[str]:
    return [f"{(7919 * i) % n:020x}" for i in range(n)]  # not in the order of the rows


def tracer_of(u, v, places: Places, concept_id: int = 0) -> Tracer:
    return Tracer(names(len(u)), places, {concept_id: (np.asarray(u, float), np.asarray(v, float))})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("real", [False, True])
def test_contributions_sum_to_the_effect(seed: int, real: bool) -> None:
    rng = np.random.default_rng(seed)
    u = rng.choice([-1.0, 0.0, 1.0], (120, 6)) * (rng.random((120, 6)) if real else 1.0)
    group_id, family = rng.integers(0, 5, 120), np.arange(120) // 3
    chosen = [np.sort(rng.choice(120, size, replace=False)) for size in (1, 40, 119)]
    places = Places(group_id, dict(zip((7, 8, 3), chosen, strict=True)))
    tracer = Tracer(names(120), places, {10 + m: (u[:, m], u[:, m]) for m in range(6)})
    sets = {
        "group": Sets.groups(group_id, family),
        "prompt_max": Sets.selections(np.array([7, 8, 3]), chosen, family),
        "global": Sets.everything(family),
    }
    for view, one in sets.items():
        effects = contrasts(cell_sums(Columns(u), one))
        for k, where in enumerate(effects.where.tolist()):
            for m in range(6):
                shares = tracer.contributions(view, where, 10 + m)
                assert shares.sum() == pytest.approx(effects.delta[k, m], abs=1e-9)
                inside = one.rows[one.indptr[k] : one.indptr[k + 1]].tolist()
                outside = None if one.against_zero else np.setdiff1d(one.pool, inside).tolist()
                np.testing.assert_allclose(shares, dense.contributions(u, inside, outside, m), atol=1e-15)


def small() -> Tracer:
    #             row  0     1     2     3     4     5     6     7
    group_id = np.array([1, 1, 1, 1, 2, 2, 2, 0])
    u = np.array([1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 0.0, 1.0])
    v = np.array([0.02, 0.05, -0.3, 0.02, -0.1, 0.4, 0.0, 0.9])
    ids = ["h", "g", "f", "e", "d", "c", "b", "a"]
    return Tracer(ids, Places(group_id, {4: np.array([7, 0, 2]), 6: np.arange(8)}), {5: (u, v)})


def test_ranked_pairs_by_hand() -> None:
    tracer = small()
    group, everywhere = ("group", 1, 5), ("global", -1, 5)
    # group 1, amplify: inside with u > 0 are rows 0, 1, 3, all 1/4. v decides: row 1 (.05); rows 0 and 3 tie at .02,
    # and "e" (row 3) comes before "h" (row 0)
    assert tracer.ranked(*group, "amplify").tolist() == [1, 3, 0]
    assert tracer.ranked(*group, "amplify", 2).tolist() == [1, 3]
    # outside, row 4 (u = -1) contributes -(-1)/3 = +1/3: more than any inside pair, and still after them
    assert tracer.contributions(*group)[4] == pytest.approx(1 / 3)
    assert tracer.ranked(*group, "amplify", inside_only=False).tolist() == [1, 3, 0, 4]
    assert tracer.ranked(*group, "suppress").tolist() == [2]
    assert tracer.ranked(*group, "suppress", inside_only=False).tolist() == [2, 5]
    # globally the silent pair counts as well: rows 7 (.9), 5 (.4), 1 (.05), then "e" and "h"
    assert tracer.ranked(*everywhere, "amplify").tolist() == [7, 5, 1, 3, 0]
    assert tracer.ranked(*everywhere, "suppress").tolist() == [2, 4]
    assert tracer.contributions(*group)[7] == 0.0  # silent


def test_a_prompt_concept_by_hand() -> None:
    tracer = small()
    # rows 0, 2, 7 inside, the silent row like any other; five rows outside
    cell = ("prompt_freq", 4, 5)
    assert tracer.places.inside("prompt_freq", 4).tolist() == [True, False, True, False, False, False, False, True]
    np.testing.assert_allclose(
        tracer.contributions(*cell), [1 / 3, -1 / 5, -1 / 3, -1 / 5, 1 / 5, -1 / 5, 0, 1 / 3], rtol=1e-14
    )
    assert tracer.ranked(*cell, "amplify").tolist() == [7, 0]
    assert tracer.ranked(*cell, "suppress").tolist() == [2]
    assert tracer.ranked(*cell, "suppress", inside_only=False).tolist() == [2, 5, 1, 3]  # by v: .4, .05, .02


def test_tracing_finds_planted_pairs() -> None:
    rng = np.random.default_rng(0)
    n = 2000
    group_id = rng.integers(1, 9, n)
    planted = np.flatnonzero((group_id == 3) & (rng.random(n) < 0.2))
    u = np.where(rng.random(n) < 0.01, rng.choice([-1.0, 1.0], n), 0.0)
    v = u * 0.01
    u[planted], v[planted] = 1.0, 0.05
    tracer = tracer_of(u, v, Places(group_id, {}))
    assert set(tracer.ranked("group", 3, 0, "amplify", planted.size).tolist()) == set(planted.tolist())


def shown(*cells: tuple[str, int]) -> pa.Table:
    """Hypotheses on concept 5, each the first of its list."""
    rows = [
        {f.name: None for f in schema.HYPOTHESES}
        | {"hypothesis_id": f"{view}:{where}", "view": view, "where": where, "concept_id": 5}
        | {"shown": True, "direction": "amplify", "rank": 1}
        for view, where in cells
    ]
    return pa.Table.from_pylist(rows, schema=schema.HYPOTHESES)


def test_the_evidence_table() -> None:
    tracer = small()
    table = shown(("global", -1), ("group", 1), ("prompt_max", 4)).to_pylist()
    asked: list[list[tuple[str, int]]] = []

    def token_activations(requests):
        asked.append(list(requests))
        return [PairTokens([pair_id, "!"], [1.5, 0.0], ["no"], [0.0]) for pair_id, _ in requests]

    evidence = build_evidence(
        pa.Table.from_pylist(table, schema=schema.HYPOTHESES),
        tracer,
        {pair_id: f"prompt {pair_id}" for pair_id in tracer.pair_ids},
        token_activations,
        max_pairs=[2, 1, 2],  # each has its own number
    )
    assert evidence.schema == schema.EVIDENCE
    rows = evidence.to_pylist()
    assert [(r["hypothesis_id"], r["rank"], r["pair_id"]) for r in rows] == [
        ("global:-1", 1, "a"),
        ("global:-1", 2, "c"),
        ("group:1", 1, "g"),
        ("prompt_max:4", 1, "a"),
        ("prompt_max:4", 2, "h"),
    ]
    assert [r["contribution"] for r in rows] == [1 / 8, 1 / 8, 1 / 4, 1 / 3, 1 / 3]
    assert [r["u"] for r in rows] == [1.0] * 5
    assert asked == [[("a", 5), ("c", 5), ("g", 5), ("h", 5)]]  # "a" serves two hypotheses
    assert rows[2]["prompt_text"] == "prompt g"
    assert (rows[2]["chosen_pieces"], rows[2]["chosen_acts"]) == (["g", "!"], [1.5, 0.0])


def test_each_pair_and_concept_is_asked_for_once() -> None:
    tracer = small()
    asked: list[tuple[str, int]] = []

    def token_activations(requests):
        asked.extend(requests)
        return [PairTokens([], [], [], []) for _ in requests]

    texts = dict.fromkeys(tracer.pair_ids, "")
    hypotheses = shown(("group", 1), ("global", -1))
    evidence = build_evidence(hypotheses, tracer, texts, token_activations, max_pairs=[9, 9])
    assert evidence.num_rows == 3 + 5
    assert len(asked) == len(set(asked)) == 5
    with pytest.raises(ValueError, match="5 requests"):
        build_evidence(hypotheses, tracer, texts, lambda requests: [], max_pairs=[9, 9])
    none = hypotheses.slice(0, 0)
    assert build_evidence(none, tracer, texts, token_activations, max_pairs=[]).schema == schema.EVIDENCE


def test_tokens_and_activations_must_match() -> None:
    tracer = small()
    texts = dict.fromkeys(tracer.pair_ids, "")
    for wrong in (PairTokens(["a"], [], [], []), PairTokens([], [], ["a"], [1.0, 2.0])):
        with pytest.raises(ValueError, match="pieces"):
            build_evidence(
                shown(("group", 1)),
                tracer,
                texts,
                lambda requests, w=wrong: [w] * len(requests),
                max_pairs=[1],
            )


def test_what_has_no_contrast_is_refused() -> None:
    tracer = small()
    for view, where in (("group", 0), ("group", 9), ("prompt_max", 5), ("prompt_max", 6)):  # 6 holds every pair
        with pytest.raises(ValueError, match="no contrast"):
            tracer.contributions(view, where, 5)
    with pytest.raises(KeyError):
        tracer.u(6)


def test_places_and_scores_must_be_of_the_pairs() -> None:
    two, three = np.zeros(2), np.zeros(3)
    for group_id, u, v in ((three, two, two), (two, three, two), (two, two, three)):
        with pytest.raises(ValueError, match="must be of the 2 pairs"):
            Tracer(["a", "b"], Places(group_id, {}), {0: (u, v)})
