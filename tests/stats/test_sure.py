"""What may be called sure: one rule, held by every list; and nothing is sure where there is nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pretilt.stats.columns import Columns
from pretilt.stats.hypotheses import DisplayRules, hypotheses
from pretilt.stats.sets import Sets
from pretilt.stats.sure import is_sure, pairs_missing, sure_rows
from pretilt.stats.view_statistics import view_statistics

CLEAR = {"lfsr": 0.01, "q_value": 0.01, "n_eff": 30.0, "family_n": 30}
SRC = Path(__file__).parents[2] / "src" / "pretilt"


def found(u: np.ndarray, family: np.ndarray, group: np.ndarray | None = None):
    """Both views of the scores [N, M], laid out as HYPOTHESES."""
    sets = {"global": Sets.everything(family)}
    if group is not None:
        sets["group"] = Sets.groups(group, family)
    views = [
        view_statistics(name, np.arange(u.shape[1]), Columns(u), one, covariates=np.zeros((len(u), 0)))
        for name, one in sets.items()
    ]
    return hypotheses(views, {v.view: np.ones(u.shape[1], bool) for v in views}, DisplayRules())


@pytest.mark.parametrize(
    "change",
    [
        {"lfsr": 0.05},
        {"q_value": 0.0501},
        {"n_eff": 9.9},
        {"family_n": 9},
        *({name: None} for name in CLEAR),
        *({name: np.nan} for name in CLEAR),
    ],
    ids=str,
)
def test_every_part_of_the_rule_alone_forbids_it(change: dict[str, float | None]) -> None:
    assert is_sure(CLEAR) and is_sure(CLEAR | {"q_value": 0.05, "n_eff": 10.0, "family_n": 10})
    assert not is_sure(CLEAR | change)


@pytest.mark.parametrize("seed", range(5))
def test_four_independent_pairs_make_nothing_sure(seed: int) -> None:
    # 200 pairs, four templates, every concept an accident of the template: each concept's mean looks very certain
    rng = np.random.default_rng(seed)
    family = np.arange(200) % 4
    u = rng.choice([-1.0, 1.0], (4, 300))[family] + 0.1 * rng.normal(size=(200, 300))
    table = found(u, family, 1 + (np.arange(200) // 4) % 2).table
    assert table["shown"].to_numpy().any()
    assert not sure_rows(table).any()


@pytest.mark.parametrize("seed", range(5))
def test_one_large_family_among_few_pairs_makes_nothing_sure(seed: int) -> None:
    # 100 copies of one pair and 20 others: the copies agree with themselves in everything
    rng = np.random.default_rng(100 + seed)
    family = np.r_[np.zeros(100, int), np.arange(1, 21)]
    u = rng.choice([-1.0, 0.0, 1.0], (21, 300))[family]
    assert not sure_rows(found(u, family).table).any()


@pytest.mark.parametrize("seed", range(5))
def test_independent_pairs_without_any_effect_make_nothing_sure(seed: int) -> None:
    rng = np.random.default_rng(200 + seed)
    u = rng.choice([-1.0, 0.0, 1.0], (400, 300), p=[0.2, 0.6, 0.2])
    assert sure_rows(found(u, np.arange(400), 1 + np.arange(400) % 4).table).sum() == 0


def test_a_planted_effect_is_sure_and_its_row_says_so_everywhere() -> None:
    rng = np.random.default_rng(7)
    u = rng.choice([-1.0, 0.0, 1.0], (400, 300), p=[0.2, 0.6, 0.2])
    u[:, 3] = rng.choice([0.0, 1.0], 400)
    one = found(u, np.arange(400), 1 + np.arange(400) % 4)
    sure = sure_rows(one.table)
    names = np.array(one.table["hypothesis_id"].to_pylist())[sure].tolist()
    assert names == ["global:3"]
    assert [is_sure(row) for row in one.table.to_pylist()] == sure.tolist()
    assert one.n_sure == {"global": 1, "group": 0}


@pytest.mark.parametrize("n_pairs", [30, 120, 400])
def test_every_point_lies_in_its_interval(n_pairs: int) -> None:
    # strong, weak and null concepts, copies, small groups: those are where the two came from different posteriors
    rng = np.random.default_rng(n_pairs)
    family = np.r_[np.zeros(n_pairs // 4, int), np.arange(1, n_pairs - n_pairs // 4 + 1)]
    rate = rng.choice([0.0, 0.02, 0.2, 0.9, 1.0], 400)
    u = np.where(rng.random((n_pairs, 400)) < rate, np.sign(rng.normal(rng.normal(size=400), 1, (n_pairs, 400))), 0.0)
    group = 1 + rng.integers(0, 3, n_pairs)
    u[group == 2] = np.where(rng.random(400) < 0.1, 1.0, u[group == 2])
    table = found(u, family, group).table
    for point, lo, hi in (("posterior_delta", "posterior_lo", "posterior_hi"), ("delta", "ci_lo", "ci_hi")):
        columns = [table[name].to_numpy() for name in (point, lo, hi)]
        known = np.isfinite(columns).all(axis=0)
        assert known.sum() > 50
        x, low, high = (column[known] for column in columns)
        assert ((low <= x) & (x <= high)).all()


def test_the_page_repeats_the_rule_and_does_not_make_its_own() -> None:
    sources = [path.read_text() for path in (SRC.parents[1] / "web" / "src").rglob("*") if path.is_file()]
    assert len(sources) > 20
    assert not any(re.search(r"lfsr \S+ 0?\.05 *&&|q_value *<", text) for text in sources)
    assert "sure: columns.sure[at]" in "".join(sources)


@pytest.mark.parametrize(
    ("n_pairs", "n_families", "missing"), [(5, 5, 20), (25, 25, 0), (25, 4, 6), (3, 1, 22), (400, 400, 0)]
)
def test_how_many_pairs_it_would_take(n_pairs: int, n_families: int, missing: int) -> None:
    assert pairs_missing(n_pairs, n_families) == missing
