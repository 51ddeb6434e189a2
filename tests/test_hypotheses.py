"""What is tested, shown and ranked, and the table that says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tiltmeter import schema
from tiltmeter.stats import hypotheses
from tiltmeter.stats.contrast import Contrasts
from tiltmeter.stats.hypotheses import PAPER_RULES, DisplayRules, contrasts_to_table

NAN = float("nan")
SIZE = np.array([12, 4, 10, 1])  # three communities and a single feature
IS_COMMUNITY = np.array([True, True, True, False])


def contrasts(where, delta_a, delta_b, n_in=None, z=None, delta=None, concept_ids=(0, 1, 2, 3)) -> Contrasts:
    a, b = np.array(delta_a, float), np.array(delta_b, float)
    middle = (a + b) / 2 if delta is None else np.array(delta, float)
    return Contrasts(
        where=np.array(where, np.int32),
        concept_ids=np.array(concept_ids, np.int32),
        n_in=np.array(n_in if n_in is not None else [100] * len(where)),
        n_out=np.full(len(where), 900),
        mean_in=middle,
        mean_out=np.zeros(a.shape),
        delta=middle,
        z=middle * 10 if z is None else np.array(z, float),
        cohens_d=middle * 2,
        delta_a=a,
        delta_b=b,
        ci_lo=middle - 0.1,
        ci_hi=middle + 0.1,
    )


def ranks(table, view="group") -> dict[str, tuple[str | None, int]]:
    return {
        r["hypothesis_id"]: (r["direction"], r["rank"])
        for r in table.to_pylist()
        if r["view"] == view and r["rank"] > 0
    }


def test_a_table_by_hand() -> None:
    # group 3:  concept 0: .4/.2 → min .2 | 1: .3/.3 → min .3 | 2: -.5/.5 inconsistent | 3: -.1/-.3 → min .1
    # group 12: concept 0: .2/.25 → min .2, smaller delta than 3:0 | 1: 0/.3 not above 1e-6 | 2: -.2/-.2 | 3: NaN half
    one = contrasts(
        [3, 12], [[0.4, 0.3, -0.5, -0.1], [0.2, 0, -0.2, NAN]], [[0.2, 0.3, 0.5, -0.3], [0.25, 0.3, -0.2, 1]]
    )
    found = contrasts_to_table([one], SIZE, IS_COMMUNITY, DisplayRules(rank_group_by="delta_min"))
    assert found.table.schema == schema.HYPOTHESES
    assert ranks(found.table) == {
        "group:3:1": ("amplify", 1),
        "group:3:0": ("amplify", 2),  # the tie with 12:0 at .2 goes to the larger |delta| (.3 against .225)
        "group:12:0": ("amplify", 3),
        "group:12:2": ("suppress", 1),
        "group:3:3": ("suppress", 2),
    }
    assert (found.n_tested, found.n_shown) == ({"group": 8}, {"group": 5})
    rows = {r["hypothesis_id"]: r for r in found.table.to_pylist()}
    assert rows["group:3:2"]["direction"] is None  # delta is exactly 0
    assert rows["group:12:3"]["delta_a"] is None and rows["group:12:3"]["delta_min"] is None  # NaN is null
    assert rows["group:3:0"]["delta_min"] == pytest.approx(0.2)
    assert [r["shown"] for r in rows.values()].count(True) == 5


def test_small_groups_and_small_communities_are_tested_but_not_shown() -> None:
    one = contrasts([1, 2], [[0.2] * 4] * 2, [[0.2] * 4] * 2, n_in=[24, 25])
    ours = contrasts_to_table([one], SIZE, IS_COMMUNITY)
    assert set(ranks(ours.table)) == {"group:2:0", "group:2:1", "group:2:2", "group:2:3"}
    assert ours.n_tested == {"group": 8}
    paper = contrasts_to_table([one], np.array([12, 4, 10, 9]), np.ones(4, bool), PAPER_RULES)
    assert set(ranks(paper.table)) == {"group:2:0", "group:2:2"}  # communities of >= 10 features
    assert paper.n_tested == {"group": 8}


def test_which_concepts_are_tested() -> None:
    active = np.array([0, 3, 900, 24, 25])
    community = np.array([True, True, False, False, False])
    assert hypotheses.tested_concepts(community, active, DisplayRules()).tolist() == [0, 1, 2, 4]
    assert hypotheses.tested_concepts(community, active, PAPER_RULES).tolist() == [0, 1]


def test_views_rank_apart_and_by_their_own_key() -> None:
    group = contrasts([1], [[0.3, 0.1, 0.2, 0.4]], [[0.3, 0.1, 0.2, 0.4]], z=[[1, 9, 5, 2]])
    everywhere = dataclasses.replace(group, where=np.array([-1], np.int32), n_out=np.array([0]), n_in=np.array([10]))
    everywhere = dataclasses.replace(everywhere, mean_out=np.full((1, 4), NAN))
    rules = DisplayRules(rank_global_by="z", rank_group_by="delta_min")
    found = contrasts_to_table([everywhere, group], SIZE, IS_COMMUNITY, rules)
    order = sorted(ranks(found.table, "global").items(), key=lambda item: item[1][1])
    assert [name for name, _ in order] == ["global:*:1", "global:*:2", "global:*:3", "global:*:0"]  # by z
    order = sorted(ranks(found.table).items(), key=lambda item: item[1][1])
    assert [name for name, _ in order] == ["group:1:3", "group:1:0", "group:1:2", "group:1:1"]  # by delta_min
    assert found.n_tested == {"global": 4, "group": 4}
    first = found.table.to_pylist()[0]
    assert (first["where"], first["n_out"], first["mean_out"]) == (-1, 0, None)


@pytest.mark.parametrize(
    ("key", "expected"), [("delta_min", [0, 1, 2]), ("z", [1, 2, 0]), ("delta", [2, 0, 1]), ("d", [2, 0, 1])]
)
def test_ranking_keys(key, expected) -> None:
    # delta_min .3 .2 .1; z 1 3 2; delta .30 .25 .40 (and d = 2 delta)
    one = contrasts([1], [[0.3, 0.2, 0.1]], [[0.3, 0.3, 0.7]], z=[[1, 3, 2]], concept_ids=(0, 1, 2))
    found = contrasts_to_table([one], SIZE, IS_COMMUNITY, DisplayRules(rank_group_by=key))
    rank = found.table["rank"].to_numpy()
    assert np.argsort(rank).tolist() == expected


def test_ties_are_broken_the_same_way_every_time_and_an_undefined_key_comes_last() -> None:
    one = contrasts([2, 5], [[0.2] * 4] * 2, [[0.2] * 4] * 2, n_in=[30, 40], z=[[1, 1, NAN, 1], [1, 1, 1, 1]])
    found = contrasts_to_table([one], SIZE, IS_COMMUNITY, DisplayRules(rank_group_by="z"))
    order = sorted(ranks(found.table).items(), key=lambda item: item[1][1])
    assert [name for name, _ in order] == [
        *("group:5:0", "group:5:1", "group:5:2", "group:5:3"),  # more pairs first, then the lower concept
        *("group:2:0", "group:2:1", "group:2:3", "group:2:2"),  # 2:2 has no z
    ]


def test_a_view_too_large_for_the_table_keeps_its_best_and_counts_them_all() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 4))
    one = contrasts(list(range(1, 51)), a, a)
    whole = contrasts_to_table([one], SIZE, IS_COMMUNITY)
    cut = contrasts_to_table([one], SIZE, IS_COMMUNITY, max_rows=20)
    assert (whole.n_tested, whole.n_shown) == (cut.n_tested, cut.n_shown) == ({"group": 200}, {"group": 200})
    assert cut.table.num_rows == 20
    best = {name: place for name, place in ranks(whole.table).items() if place[1] <= 10}
    assert ranks(cut.table) == best


def test_nothing_tested_is_an_empty_table() -> None:
    found = contrasts_to_table([], SIZE, IS_COMMUNITY)
    assert found.table.schema == schema.HYPOTHESES and found.table.num_rows == 0
    none = contrasts([1], np.empty((1, 0)), np.empty((1, 0)), concept_ids=())
    assert contrasts_to_table([none], SIZE, IS_COMMUNITY).n_tested == {"group": 0}
