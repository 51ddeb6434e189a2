"""What is tested, shown and ranked, and the table that says so."""

from __future__ import annotations

import numpy as np
import pytest

from pretilt import schema
from pretilt.stats import hypotheses as module
from pretilt.stats.columns import Columns
from pretilt.stats.contrast import Contrasts
from pretilt.stats.hypotheses import PAPER_RULES, DisplayRules, hypotheses
from pretilt.stats.moderated import Moderated
from pretilt.stats.sets import Sets
from pretilt.stats.shrinkage import Mixture
from pretilt.stats.view_statistics import ViewStatistics, view_statistics

NAN = float("nan")


def view(
    where, delta_a, delta_b, *, name="group", n_in=None, n_families=10, z=None, delta=None, se=0.01, p=None, ids=None
) -> ViewStatistics:
    """A view whose every number is chosen: sd 1, a mixture of half zero and half N(0, 1), families of one row each."""
    a, b = np.array(delta_a, float), np.array(delta_b, float)
    middle = (a + b) / 2 if delta is None else np.array(delta, float)
    everywhere = name == "global"
    n_sets, shape = len(where), a.shape
    counts = np.broadcast_to(n_families, n_sets)
    first = np.concatenate([[0], np.cumsum(counts)])
    n = int(first[-1])
    rows = [np.arange(first[k], first[k + 1]) for k in range(n_sets)]
    sets = Sets.everything(np.arange(n)) if everywhere else Sets.selections(np.array(where), rows, np.arange(n))
    contrasts = Contrasts(
        where=np.array(where, np.int32),
        n_in=np.array(n_in if n_in is not None else [100] * n_sets),
        n_out=np.full(n_sets, 0 if everywhere else 900),
        mean_in=middle,
        mean_out=np.full(shape, NAN) if everywhere else np.zeros(shape),
        delta=middle,
        z=middle * 10 if z is None else np.array(z, float),
        cohens_d=middle * 2,
        delta_a=a,
        delta_b=b,
    )
    error = np.broadcast_to(np.array(se, float), shape)
    moderated = Moderated(
        delta=middle,
        se=error,
        z=middle / error,
        se_interval=error / 2,
        p=np.full(shape, 0.5) if p is None else np.array(p, float),
        ci_lo=middle - 1.96 * error,
        ci_hi=middle + 1.96 * error,
        n_eff=np.full(shape, 50.0),
        sd=np.ones(shape[1]),
        icc=np.zeros(shape[1]),
        prior_freedom=4.0,
    )
    mixture = Mixture(np.array([0.5, 0.5]), np.array([0.0, 1.0]))
    posterior, lfsr = mixture.posterior(middle, error)
    u = np.random.default_rng(0).normal(size=(n, shape[1]))
    return ViewStatistics(
        view=name,
        concept_ids=np.arange(shape[1]) if ids is None else np.array(ids),
        columns=Columns(u),
        sets=sets,
        contrasts=contrasts,
        moderated=moderated,
        mixture=mixture,
        posterior=posterior,
        lfsr=lfsr,
        delta_heldout=middle / 2,
        delta_residual=middle / 4,
        p_flip=np.full(shape, 0.25 if everywhere else NAN),
    )


def laid_out(*views: ViewStatistics, large=None, rules=None, **options):
    large_enough = {v.view: np.ones(v.concept_ids.size, bool) if large is None else np.array(large) for v in views}
    return hypotheses(views, large_enough, rules or DisplayRules(), **options)


def ranks(table, view="group") -> dict[str, tuple[str | None, int]]:
    return {
        r["hypothesis_id"]: (r["direction"], r["rank"])
        for r in table.to_pylist()
        if r["view"] == view and r["rank"] > 0
    }


def in_order(table, view="group", direction="amplify") -> list[str]:
    found = [(rank, name) for name, (which, rank) in ranks(table, view).items() if which == direction]
    assert sorted(rank for rank, _ in found) == list(range(1, len(found) + 1))
    return [name for _, name in sorted(found)]


def test_a_table_by_hand() -> None:
    # group 3:  concept 0: .4/.2 → min .2 | 1: .3/.3 → min .3 | 2: -.5/.5 inconsistent | 3: -.1/-.3 → min .1
    # group 12: concept 0: .2/.25 → min .2, smaller delta than 3:0 | 1: 0/.3 not above 1e-6 | 2: -.2/-.2 | 3: NaN half
    one = view([3, 12], [[0.4, 0.3, -0.5, -0.1], [0.2, 0, -0.2, NAN]], [[0.2, 0.3, 0.5, -0.3], [0.25, 0.3, -0.2, 1]])
    found = laid_out(one, rules=DisplayRules(rank_by="delta_min"))
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


def test_every_column_holds_its_own_number() -> None:
    effects = view([-1], [[0.3, -0.2]], [[0.3, -0.2]], name="global", p=[[0.01, 0.3]], ids=(4, 9))
    one = view([7], [[0.5, 0.1]], [[0.5, 0.1]], p=[[0.02, NAN]], n_families=[11], ids=(4, 9))
    rows = {r["hypothesis_id"]: r for r in laid_out(effects, one).table.to_pylist()}
    assert list(rows) == ["global:4", "global:9", "group:7:4", "group:7:9"]
    first = rows["global:4"]
    assert (first["view"], first["where"], first["concept_id"]) == ("global", -1, 4)
    assert (first["n_in"], first["n_out"], first["mean_out"], first["p_flip"]) == (100, 0, None, 0.25)
    other = rows["group:7:4"]
    assert (other["where"], other["n_out"], other["family_n"], other["n_eff"]) == (7, 900, 11, 50.0)
    assert (other["delta"], other["cohens_d"], other["z"], other["mean_in"], other["mean_out"]) == (0.5, 1, 5, 0.5, 0)
    assert (other["se_moderated"], other["ci_lo"], other["ci_hi"]) == (0.01, 0.5 - 0.0196, 0.5 + 0.0196)
    assert (other["delta_heldout"], other["delta_residual"], other["p_flip"]) == (0.25, 0.125, None)
    # the slab alone at x = 50 se: shrunk by 1 / 1.0001; the interval is the posterior's own, se = .01
    assert other["posterior_delta"] == pytest.approx(0.5 / 1.0001, rel=1e-9)
    assert other["posterior_lo"] == pytest.approx(0.5 - 0.0196, abs=7e-5)
    assert other["posterior_hi"] == pytest.approx(0.5 + 0.0196, abs=7e-5)
    assert other["lfsr"] < 1e-9
    # within each view, times two views: .01 * 2 * 2 and .3 * 2 * 2 / 2; .02 * 2 * 2, and undefined
    assert [rows[name]["q_value"] for name in rows] == [*(pytest.approx(q) for q in (0.04, 0.6, 0.08)), None]


def test_q_counts_every_attempted_test_of_every_view_shown_or_not() -> None:
    group = view([1, 2], [[0.2, 0]] * 2, [[0.2, 0.2]] * 2, p=[[0.001, 0.2], [0.004, NAN]], n_in=[10, 100])
    prompt = view([0], [[0.1, 0.1, 0.1]], [[0.1, 0.1, 0.1]], name="prompt_max", p=[[0.01, 0.02, 1]], ids=(7, 8, 9))
    q = {r["hypothesis_id"]: r["q_value"] for r in laid_out(group, prompt).table.to_pylist()}
    # group: 4 attempted, sorted .001 .004 .2 → .004, .008, .267, times 2 views; prompt: 3, .01 .02 1 → .03, .03, 1
    expected = {"group:1:0": 0.008, "group:2:0": 0.016, "prompt_max:0:7": 0.06, "prompt_max:0:8": 0.06}
    assert {name: q[name] for name in expected} == pytest.approx(expected)
    assert (q["group:1:1"], q["group:2:1"], q["prompt_max:0:9"]) == (pytest.approx(0.8 / 1.5), None, 1.0)
    cut = laid_out(group, prompt, max_rows=2)  # what is not in the table counts as well
    kept = {r["hypothesis_id"]: r["q_value"] for r in cut.table.to_pylist()}
    assert kept == {name: q[name] for name in ("group:2:0", "prompt_max:0:7")}


def test_small_sets_and_small_communities_are_tested_but_not_shown() -> None:
    one = view([1, 2], [[0.2] * 4] * 2, [[0.2] * 4] * 2, n_in=[24, 25])
    ours = laid_out(one)
    assert set(ranks(ours.table)) == {"group:2:0", "group:2:1", "group:2:2", "group:2:3"}
    assert (ours.n_tested, ours.n_shown) == ({"group": 8}, {"group": 4})
    some = laid_out(one, large=[True, False, True, False])
    assert set(ranks(some.table)) == {"group:2:0", "group:2:2"}
    assert some.n_tested == {"group": 8}


def test_sets_of_few_families_are_not_shown_but_with_the_papers_rules() -> None:
    one = view([1, 2, 3], [[0.2] * 2] * 3, [[0.2] * 2] * 3, n_families=[1, 9, 10])
    assert {name.split(":")[1] for name in ranks(laid_out(one).table)} == {"3"}
    assert {name.split(":")[1] for name in ranks(laid_out(one, rules=PAPER_RULES).table)} == {"1", "2", "3"}
    effects = view([-1], [[0.2]], [[0.2]], name="global", n_families=[1], n_in=[3])
    assert in_order(laid_out(effects).table, "global") == ["global:0"]  # everything is never too small


def test_which_concepts_are_tested() -> None:
    active = np.array([0, 3, 900, 24, 25])
    community = np.array([True, True, False, False, False])
    assert module.tested_concepts(community, active, DisplayRules()).tolist() == [0, 1, 2, 4]
    assert module.tested_concepts(community, active, PAPER_RULES).tolist() == [0, 1]
    assert (PAPER_RULES.min_community_size, PAPER_RULES.min_group_pairs) == (10, 25)


def test_the_default_order_puts_what_is_sure_first() -> None:
    # half zero, half N(0, 1). x = 1.5, s = 1: a posterior mean of .415, but the sign is anyone's guess;
    # x = .4, s = .1: .395; x = .3, s = .03: .300: both signs are sure
    x, s = [[1.5, 0.4, 0.3, -0.3]], [[1, 0.1, 0.03, 0.03]]
    one = view([1], x, x, se=s, p=[[0.5, 0.01, 0.001, 0.001]])
    assert one.posterior[0, :3] == pytest.approx([0.415, 0.395, 0.300], abs=0.001)
    assert one.lfsr[0, 0] > 0.05 > one.lfsr[0, 1:].max()
    # q = .5, .013, .002, .002: three are sure, and among them the size decides
    assert in_order(laid_out(one).table) == ["group:1:1", "group:1:2", "group:1:0"]
    assert in_order(laid_out(one).table, direction="suppress") == ["group:1:3"]
    # were there five times as many views, .01 would be no discovery: the size counts only behind the sure one
    many = [view([1], [[0.0]], [[0.0]], name=f"prompt_{i}") for i in range(4)]
    assert in_order(laid_out(one, *many).table) == ["group:1:2", "group:1:1", "group:1:0"]
    assert in_order(laid_out(one, rules=PAPER_RULES).table) == ["group:1:0", "group:1:1", "group:1:2"]  # delta_min


@pytest.mark.parametrize("seed", range(4))
def test_what_is_sure_is_sure_to_the_last_of_them(seed: int) -> None:
    # the effect at the edge of the discoveries must not fall out by the rounding of its own z
    rng = np.random.default_rng(seed)
    u = rng.normal(0, 1, (600, 40)) + rng.normal(0, 0.15, (4, 40))[np.arange(600) % 4]
    sets = Sets.groups(np.arange(600) % 4 + 1, np.arange(600))
    one = view_statistics("group", np.arange(40), Columns(u), sets, covariates=np.zeros((600, 0)))
    rows = [r for r in laid_out(one).table.to_pylist() if r["shown"]]
    for direction in ("amplify", "suppress"):
        listed = sorted((r for r in rows if r["direction"] == direction), key=lambda r: r["rank"])
        sure = [r["lfsr"] < 0.05 and r["q_value"] <= 0.05 for r in listed]
        assert 0 < sum(sure) < len(sure)
        assert all(sure[: sum(sure)])  # all of them, then none


@pytest.mark.parametrize(
    ("key", "expected"), [("delta_min", [0, 1, 2]), ("z", [1, 2, 0]), ("delta", [2, 0, 1]), ("d", [2, 0, 1])]
)
def test_ranking_keys(key, expected) -> None:
    # delta_min .3 .2 .1; z 1 3 2; delta .30 .25 .40 (and d = 2 delta); the same with the other sign
    one = view([1], [[0.3, 0.2, 0.1]], [[0.3, 0.3, 0.7]], z=[[1, 3, 2]])
    found = laid_out(one, rules=DisplayRules(rank_by=key))
    assert in_order(found.table) == [f"group:1:{m}" for m in expected]
    other = view([1], [[-0.3, -0.2, -0.1]], [[-0.3, -0.3, -0.7]], z=[[-1, -3, -2]])
    found = laid_out(other, rules=DisplayRules(rank_by=key))
    assert in_order(found.table, direction="suppress") == [f"group:1:{m}" for m in expected]


def test_views_rank_apart() -> None:
    group = view([1], [[0.3, 0.1, 0.2, 0.4]], [[0.3, 0.1, 0.2, 0.4]])
    effects = view([-1], [[0.1, 0.4, 0.3, 0.2]], [[0.1, 0.4, 0.3, 0.2]], name="global")
    found = laid_out(effects, group)
    assert in_order(found.table, "global") == [f"global:{m}" for m in (1, 2, 3, 0)]
    assert in_order(found.table) == [f"group:1:{m}" for m in (3, 0, 2, 1)]
    assert found.n_tested == {"global": 4, "group": 4}


def test_ties_are_broken_the_same_way_every_time_and_an_undefined_key_comes_last() -> None:
    one = view([2, 5], [[0.2] * 4] * 2, [[0.2] * 4] * 2, n_in=[30, 40], z=[[1, 1, NAN, 1], [1, 1, 1, 1]])
    assert in_order(laid_out(one, rules=DisplayRules(rank_by="z")).table) == [
        *("group:5:0", "group:5:1", "group:5:2", "group:5:3"),  # more pairs first, then the lower concept
        *("group:2:0", "group:2:1", "group:2:3", "group:2:2"),  # 2:2 has no z
    ]
    equal = view([9, 4], [[0.2] * 2] * 2, [[0.2] * 2] * 2, ids=(8, 3))
    assert in_order(laid_out(equal).table) == ["group:4:3", "group:4:8", "group:9:3", "group:9:8"]


def test_a_view_too_large_for_the_table_keeps_its_best_and_counts_them_all() -> None:
    a = np.random.default_rng(0).normal(size=(50, 4))
    one, small = view(list(range(1, 51)), a, a), view([1], a[:1], a[:1], name="prompt_max")
    whole, cut = laid_out(one, small), laid_out(one, small, max_rows=20)
    assert whole.n_tested == cut.n_tested == {"group": 200, "prompt_max": 4}
    assert whole.n_shown == cut.n_shown == {"group": 200, "prompt_max": 4}
    assert cut.table.num_rows == 20 + 4  # the limit is each view's own
    best = {name: place for name, place in ranks(whole.table).items() if place[1] <= 10}
    assert ranks(cut.table) == best
    assert ranks(cut.table, "prompt_max") == ranks(whole.table, "prompt_max")


def test_only_the_best_rows_have_a_rank_stability_and_only_shown_ones_an_interval(monkeypatch) -> None:
    monkeypatch.setattr(module, "STABILITY_RANKS", 3)
    a = np.random.default_rng(1).normal(size=(5, 6))
    a[:, 0] = 0  # not shown
    rows = laid_out(view(list(range(5)), a, a)).table.to_pylist()
    for row in rows:
        assert (row["rank_stability"] is not None) == (1 <= row["rank"] <= 3)
        assert (row["posterior_lo"] is None) == (row["posterior_hi"] is None) == (not row["shown"])
    assert sum(row["rank_stability"] is not None for row in rows) == 6
    assert sum(row["shown"] for row in rows) == 25


def test_a_large_effect_keeps_its_rank_in_every_draw_and_noise_does_not() -> None:
    rng = np.random.default_rng(2)
    n, m = 1200, 90
    u = rng.choice([-1.0, 0, 1], (n, m))
    group_id = np.arange(n) % 4 + 1
    u[group_id == 2, 7] = 1
    one = view_statistics(
        "group", np.arange(m), Columns(u), Sets.groups(group_id, np.arange(n)), covariates=np.zeros((n, 0))
    )
    found = laid_out(one)
    rows = {r["hypothesis_id"]: r for r in found.table.to_pylist()}
    planted = rows.pop("group:2:7")
    assert (planted["rank"], planted["rank_stability"], planted["direction"]) == (1, 1.0, "amplify")
    rest = [r["rank_stability"] for r in rows.values() if r["rank_stability"] is not None]
    assert len(rest) > 100
    assert min(rest) >= 0 and np.mean(rest) < 0.7
    again = laid_out(one, seed=1)
    assert again.table.drop_columns(["rank_stability"]).equals(found.table.drop_columns(["rank_stability"]))
    assert laid_out(one).table.equals(found.table)  # the same seed, the same table


def test_swapping_the_labels_swaps_the_lists() -> None:
    rng = np.random.default_rng(3)
    u, group_id, family = rng.choice([-1.0, 0, 1], (600, 8)), rng.integers(0, 5, 600), rng.integers(0, 200, 600)
    tables = []
    for sign in (1, -1):
        one = view_statistics(
            "group", np.arange(8), Columns(sign * u), Sets.groups(group_id, family), covariates=np.zeros((600, 0))
        )
        tables.append(laid_out(one).table)
    for direction, other in (("amplify", "suppress"), ("suppress", "amplify")):
        assert in_order(tables[0], direction=direction) == in_order(tables[1], direction=other)
    for name in ("shown", "q_value", "delta_min", "rank_stability"):
        assert tables[0][name].equals(tables[1][name]), name


def test_nothing_tested_is_an_empty_table() -> None:
    found = laid_out()
    assert found.table.schema == schema.HYPOTHESES and found.table.num_rows == 0
    none = view([1], np.empty((1, 0)), np.empty((1, 0)))
    assert laid_out(none).n_tested == {"group": 0}
    no_sets = view([], np.empty((0, 3)), np.empty((0, 3)))
    assert laid_out(no_sets).table.num_rows == 0
    undefined = view([1], [[NAN]], [[NAN]], se=NAN, p=[[NAN]])
    row = laid_out(undefined).table.to_pylist()[0]
    assert (row["delta"], row["lfsr"], row["q_value"], row["direction"], row["shown"]) == (
        None,
        None,
        None,
        None,
        False,
    )
