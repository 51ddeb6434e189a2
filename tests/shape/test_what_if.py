"""What a plan changes, against numbers worked out from the pairs' own texts, and against a forecast made anew."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forecast_runs import write_run as write_forecast_run

import pretilt
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.forecast.preference import BradleyTerry
from pretilt.run import Run
from pretilt.settings import ShapeSettings
from pretilt.shape.data import ShapeData
from pretilt.shape.methods import METHODS
from pretilt.shape.result import ShapeResult
from pretilt.shape.step import resolved_options
from pretilt.shape.what_if import FamilyWhatIf, WhatIf
from pretilt.train.actions import Action, Changes, coverage


@pytest.fixture(scope="module")
def data(planted_run: Run) -> ShapeData:
    return ShapeData(planted_run, "presence", None, Events())


@pytest.fixture(scope="module")
def rows(data: ShapeData) -> dict[str, np.ndarray]:
    """u of three patterns from the texts alone."""
    texts = {side: [data.text(row, side) for row in range(len(data))] for side in ("chosen", "rejected")}

    def differs(mark: str) -> np.ndarray:
        return np.array([(mark in c) - (mark in r) for c, r in zip(texts["chosen"], texts["rejected"], strict=True)])

    return {"bold": differs("**"), "apology": differs("sorry"), "semicolon": differs(";")}


def of_pattern(data: ShapeData, name: str) -> int:
    return data.sets.target(f"pattern:{name}").concept_id or 0


def shape(run: Run, *items: dict[str, Any], **options: Any) -> ShapeResult:
    return pretilt.shape(run, {"items": list(items)}, **options)


def row_of(result: ShapeResult, concept_id: int) -> dict[str, Any]:
    return next(row for row in result.table.to_pylist() if row["concept_id"] == concept_id)


def test_u_is_that_of_the_texts(data: ShapeData, rows: dict[str, np.ndarray]) -> None:
    for name, u in rows.items():
        assert np.array_equal(data.u(of_pattern(data, name)), u), name


NEEDS_LENS = {"mask", "inoculate", "steer-reference", "steer-policy"}  # test_shape_lens.py, test_variants.py


@pytest.mark.parametrize("method", sorted({*METHODS} - NEEDS_LENS))
def test_strength_0_changes_nothing(run: Run, data: ShapeData, method: str) -> None:
    result = shape(run, {"suppress": "pattern:bold", "method": method, "strength": 0}, rung="converged")
    assert len(result.actions) == 0
    assert all(row["change"] == 0 and row["plain"] == row["shaped"] for row in result.table.to_pylist())


def test_dropping_a_half_leaves_a_half(run: Run, data: ShapeData, rows: dict[str, np.ndarray]) -> None:
    result = shape(run, {"suppress": "pattern:bold", "method": "drop", "strength": 0.5})
    n_bold = int((rows["bold"] > 0).sum())
    assert len(result.actions) == round(n_bold / 2)
    bold = row_of(result, of_pattern(data, "bold"))
    assert bold["plain"] == pytest.approx(n_bold / len(data))
    assert bold["shaped"] == pytest.approx((n_bold - round(n_bold / 2)) / len(data))
    chosen = set(result.actions["pair_id"].to_pylist())
    kept = np.array([pair_id not in chosen for pair_id in data.sets.pair_ids])
    semicolon = row_of(result, of_pattern(data, "semicolon"))
    assert semicolon["shaped"] == pytest.approx(rows["semicolon"][kept].sum() / len(data))


def test_an_offset_leaves_twice_the_logistic_of_its_negative(
    run: Run, data: ShapeData, rows: dict[str, np.ndarray]
) -> None:
    result = shape(run, {"suppress": "pattern:bold", "method": "offset", "strength": 2.0})
    bold = row_of(result, of_pattern(data, "bold"))
    left = 2 / (1 + math.exp(2.0))
    assert bold["shaped"] == pytest.approx(left * (rows["bold"] > 0).mean())
    assert result.report["items"][0]["reached"] == pytest.approx(left)
    semicolon = row_of(result, of_pattern(data, "semicolon"))
    pull = np.where(rows["bold"] != 0, left, 1.0)
    assert semicolon["shaped"] == pytest.approx(float((pull * rows["semicolon"]).mean()))
    amplified = shape(run, {"amplify": "pattern:bold", "method": "offset", "strength": 2.0}, name="more")
    assert amplified.report["items"][0]["reached"] == pytest.approx(2 / (1 + math.exp(-2.0)))


def test_swapped_pairs_teach_the_contrary(run: Run, data: ShapeData, rows: dict[str, np.ndarray]) -> None:
    result = shape(run, {"suppress": "pattern:bold", "method": "swap", "strength": 1.0})
    bold = row_of(result, of_pattern(data, "bold"))
    assert bold["shaped"] == pytest.approx(-bold["plain"])
    u = np.where(rows["bold"] > 0, -rows["semicolon"], rows["semicolon"])
    assert row_of(result, of_pattern(data, "semicolon"))["shaped"] == pytest.approx(u.mean())


def test_a_weight_of_half_leaves_a_half(run: Run, data: ShapeData) -> None:
    result = shape(run, {"suppress": "pattern:bold", "method": "weight", "strength": 0.5})
    assert result.report["items"][0]["reached"] == pytest.approx(0.5)
    assert set(result.actions["amount"].to_pylist()) == {0.5}


def test_a_rewritten_response_is_counted_again(run: Run, data: ShapeData, rows: dict[str, np.ndarray]) -> None:
    result = shape(run, {"suppress": "pattern:bold", "method": "rewrite", "strength": 1.0})
    assert row_of(result, of_pattern(data, "bold"))["shaped"] == pytest.approx(0)
    assert "**" not in "".join(result.actions["text"].to_pylist())
    assert row_of(result, of_pattern(data, "semicolon"))["change"] == 0
    assert len(result.actions) == (rows["bold"] > 0).sum()


def test_a_group_offset_is_a_weight_while_training_is_linear(run: Run, data: ShapeData) -> None:
    result = shape(run, {"suppress": "source:first", "method": "group-offset", "strength": 5.0})
    n = data.sets.rows("source:first").sum()
    assert len(result.actions) == n
    u = data.u(of_pattern(data, "bold"))
    pull = np.where(data.sets.rows("source:first"), 2 / (1 + math.exp(5.0)), 1.0)
    assert row_of(result, of_pattern(data, "bold"))["shaped"] == pytest.approx(float((pull * u).mean()))


def test_a_designed_offset_moves_the_target_and_holds_the_protected(run: Run, data: ShapeData) -> None:
    """Bold goes with semicolons in the texts by a coin; a plain offset on an apology drags what stands beside it."""
    target, held = {"suppress": "pattern:bold", "method": "designed-offset", "strength": 0.2}, "pattern:semicolon"
    result = shape(run, target, {"protect": held})
    plain = shape(run, {**target, "method": "offset", "strength": 0.42}, {"protect": held}, name="plain")
    moved, left = (row_of(one, of_pattern(data, "bold"))["change"] for one in (result, plain))
    assert moved == pytest.approx(-0.2 * row_of(result, of_pattern(data, "bold"))["plain"], rel=0.1)
    side, of_plain = (abs(row_of(one, of_pattern(data, "semicolon"))["change"]) for one in (result, plain))
    assert left < 0 and side <= of_plain / 2 + 1e-3


def test_a_gate_leaves_the_outside_as_it_is(run: Run, data: ShapeData) -> None:
    item = {"suppress": "pattern:bold", "method": "offset", "strength": 3, "gate": "source:second"}
    result = shape(run, item)
    inside = {p for p, there in zip(data.sets.pair_ids, data.sets.rows("source:second"), strict=True) if there}
    assert set(result.actions["pair_id"].to_pylist()) <= inside and len(result.actions)


def test_a_gate_and_its_contrary_are_all_pairs(run: Run, data: ShapeData) -> None:
    item = {"suppress": "pattern:bold", "method": "offset", "strength": 3}
    touched = [
        set(shape(run, {**item, **gate}, name=f"plan{i}").actions["pair_id"].to_pylist())
        for i, gate in enumerate([{}, {"gate": "source:second"}, {"gate": "not:source:second"}])
    ]
    assert touched[1] and touched[2] and not touched[1] & touched[2] and touched[0] == touched[1] | touched[2]
    assert (data.sets.gate("not:source:second") == ~data.sets.rows("source:second")).all()


@pytest.mark.parametrize("method", ["drop", "weight", "offset", "designed-offset", "swap", "rewrite"])
@pytest.mark.parametrize(("to", "share"), [("base", 0.0), ("half", 0.5), ("25%", 0.25)])
def test_the_strength_that_reaches_a_target_is_found(run: Run, method: str, to: str, share: float) -> None:
    result = shape(run, {"suppress": "pattern:bold", "method": method, "to": to})
    item = result.report["items"][0]
    assert item["reached"] == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("method", ["drop", "offset"])
def test_what_the_labels_punish_is_brought_back(
    run: Run, data: ShapeData, rows: dict[str, np.ndarray], method: str
) -> None:
    """Apologies stand in rejected responses alone, so that the data suppresses them; a half of that is left."""
    result = shape(run, {"amplify": "pattern:apology", "method": method, "to": "half"}, rung="mean")
    row = row_of(result, of_pattern(data, "apology"))
    assert row["plain"] == pytest.approx(rows["apology"].mean()) and row["plain"] < 0
    assert row["shaped"] / row["plain"] == pytest.approx(0.5, abs=0.01)
    assert {rows["apology"][data.sets.pair_ids.index(i)] for i in result.actions["pair_id"].to_pylist()} == {-1}


def test_an_exhausted_method_says_so(run: Run) -> None:
    result = shape(run, {"amplify": "pattern:bold", "method": "rewrite", "to": "double"})
    assert result.report["items"][0]["is_exhausted"]


def test_what_is_left_is_said_also_where_it_is_nothing(run: Run) -> None:
    result = shape(run, {"suppress": "pattern:bold", "method": "drop", "strength": 1.0})
    assert "0% left" in result.headline


@pytest.mark.parametrize("swap", [False, True])
def test_the_refit_from_the_last_fit_is_the_fit_from_nothing(data: ShapeData, swap: bool) -> None:
    what_if = WhatIf(data, "converged", 1.0, 0)
    family: FamilyWhatIf = what_if.families["patterns"]
    changes = Changes.none(len(data))
    changes.weight[:40] = 0.0
    changes.offset[50:90] = 1.5
    changes.swap[100:140] = swap
    pairs = family._after(changes, None)
    ridge = family.ladder.preference.ridge
    w, nuisance = BradleyTerry(pairs, metric=family.ladder.model.metric).fit(ridge)
    again = family._refitted(changes, None).preference
    assert np.allclose(again.w, w, atol=1e-6) and np.allclose(again.nuisance, nuisance, atol=1e-6)


def test_the_error_of_a_change_is_that_of_a_resampling(data: ShapeData) -> None:
    what_if = WhatIf(data, "mean", 1.0, 0)
    family = what_if.families["patterns"]
    changes = Changes.none(len(data))
    changes.weight[np.flatnonzero(data.u(of_pattern(data, "bold")) > 0)[:80]] = 0.0
    rng, pairs = np.random.default_rng(0), family.family.pairs
    drawn = []
    for _ in range(400):
        count = rng.poisson(1.0, pairs.n_families)[pairs.family].astype(float)
        drawn.append(((changes.weight - 1) * count) @ pairs.u / count.sum())
    sd = family.drawn_change(changes, None, 2, 0)
    assert np.allclose(sd, np.std(drawn, axis=0), rtol=0.15, atol=2e-4)


def test_an_untouched_concept_is_no_side_effect(run: Run, data: ShapeData) -> None:
    result = shape(run, {"suppress": "pattern:apology", "method": "drop", "strength": 0.0})
    assert result.report["effects"]["patterns"]["sure"] == 0
    assert result.report["effects"]["patterns"]["reliability"] is None


def test_conflicts_and_overlaps_are_counted() -> None:
    actions = [
        Action(0, 1, "offset", 1.0), Action(0, 2, "offset", -2.0), Action(1, 1, "drop"), Action(1, 2, "weight", 2.0),
        Action(2, 1, "swap"), Action(2, 2, "swap"), Action(3, 1, "weight", 0.5),
    ]  # fmt: skip
    covered = coverage(actions, {1: 1, 2: -1}, 5)
    assert covered["overlaps"] == {"1 and 2": 3} and covered["by_item"] == {"1": 4, "2": 3}
    assert covered["conflicts"] == {
        "items 1 and 2: drop against weighted up": 1,
        "items 1 and 2: offset up against offset down": 1,
        "items 1 and 2: swap against swap": 1,
    }
    assert covered["conflicting_rows"] == [0, 1, 2] and covered["dropped"] == 1 and covered["left"] == 4
    changes = Changes.of(actions, 5)
    assert changes.offset.tolist() == [-1, 0, 0, 0, 0] and not changes.swap.any()
    assert changes.weight.tolist() == [1, 0, 1, 0.5, 1]


def test_an_offset_turns_with_a_swapped_pair() -> None:
    changes = Changes.of([Action(0, 1, "offset", 1.0), Action(0, 2, "swap")], 1)
    assert changes.offset.tolist() == [-1.0] and changes.swap.tolist() == [True]


REFUSED: list[tuple[list[dict[str, Any]], str]] = [
    ([{"suppress": "pattern:bolt"}], "no pattern 'bolt'.*Did you mean pattern:bold"),
    ([{"suppress": "group:99"}], "there is no group 99"),
    ([{"suppress": "source:frist", "method": "drop", "strength": 1}], "Did you mean first"),
    ([{"suppress": "source:first"}], "no method is chosen for source:first"),
    ([{"suppress": "source:first", "method": "drop"}], "needs a strength"),
    ([{"suppress": "source:first", "method": "offset", "strength": 1}], "'offset' needs a concept"),
    ([{"suppress": "source:first", "method": "drop", "strength": 1},
      {"suppress": "source:second", "method": "drop", "strength": 1}], "leaves no pair to train on"),
    ([{"suppress": "pattern:bold", "method": "drop", "strength": 2}], "at most 1"),
    ([{"suppress": "pattern:apology"}], "is suppressed by the data as it stands"),
    ([{"amplify": "pattern:apology"}], r"is suppressed by the data as it stands.*to: base"),
    ([{"suppress": "pattern:bold", "to": "double"}], "is amplified by the data, and 200% of that"),
    ([{"amplify": "pattern:bold", "method": "weight", "to": "half"}], "no way to amplify"),
    ([{"suppress": "pattern:bold", "method": "mask", "to": "base"}], "without a lens"),
    ([{"suppress": "pattern:bold", "method": "steer-policy", "strength": 1}], "without a lens"),
    ([{"suppress": "pattern:bold", "method": "inoculate", "instruction": "Be bold.", "to": "base"}], "without a lens"),
    ([{"suppress": "pattern:bold", "method": "offset", "by": "source:first", "to": "base"}], "no score on every pair"),
    ([{"suppress": "pattern:bold", "method": "offset", "by": "logit:nobody", "to": "base"}], "detector"),
    ([{"suppress": "pattern:semicolon", "method": "rewrite", "to": "half"}], "nothing rewrites|suppressed by the data"),
    ([{"suppress": "pattern:bold"}, {"protect": "pattern:bold"}], "'protect' and 'suppress'"),
    ([{"protect": "source:first"}], "is a set of pairs"),
    ([{"suppress": "pattern:bold", "method": "drop", "strength": 1, "gate": "bold"}], "names no set of pairs"),
    ([{"suppress": "pattern:bold", "method": "drop", "strength": 1, "gate": "prompt_has:bold"}], "no training pair is"),
    ([{"suppress": "pattern:bold", "method": "drop", "strength": 1, "gate": "not:bold"}], "names no set of pairs"),
    ([{"suppress": "pattern:bold", "method": "drop", "strength": 1, "gate": "not:source:x"}], "no training pair has"),
    ([{"suppress": "pair:0000", "method": "drop", "strength": 1}], "no training pairs of the run"),
    ([{"suppress": "pairs:/nowhere", "method": "drop", "strength": 1}], "the list of pairs cannot be read"),
    ([{"suppress": "row 7 of it"}], "A target is a concept|no id"),
]  # fmt: skip


@pytest.mark.parametrize(("items", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_be_done_is_one_line_and_nothing_is_lost(run: Run, items: list[dict[str, Any]], words: str) -> None:
    before = (run.path / "run.json").read_bytes()
    with pytest.raises(UserError, match=words):
        shape(run, *items)
    assert (run.path / "run.json").read_bytes() == before


def test_a_plan_of_other_pairs_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match="written for other pairs"):
        pretilt.shape(run, {"pairs": "0" * 16, "items": [{"suppress": "pattern:bold"}]})


def test_a_session_gives_what_shape_gives(run: Run) -> None:
    ask = pretilt.what_if(run)
    for items in (
        [{"suppress": "pattern:bold", "method": "offset", "strength": 1.5}, {"protect": "pattern:semicolon"}],
        [{"suppress": "pattern:bold", "to": "half"}],
    ):
        shaped = pretilt.shape(run, {"items": items}).table
        names = ["concept_id", "family", "role", "item", "plain", "shaped", "change"]
        assert ask({"items": items}).select(names).to_pylist() == shaped.select(names).to_pylist()


def test_a_what_if_is_refused_where_a_forecast_is(tmp_path: Path) -> None:
    """Behind a red doctor, and from the answers of a trained model."""
    red = write_forecast_run(tmp_path / "red", verdict="red")
    with pytest.raises(UserError, match="the doctor finds the lens unfit"):
        resolved_options(red, ShapeSettings())
    green = write_forecast_run(tmp_path / "green")
    with pytest.raises(UserError, match="of a trained model, and it comes before"):
        resolved_options(green, ShapeSettings(rollouts="after"))
    with pytest.raises(UserError, match="no rollouts 'reference'"):
        resolved_options(green, ShapeSettings(rollouts="reference"))


def test_a_local_target_is_brought_to_base_inside(run: Run, data: ShapeData, rows: dict[str, np.ndarray]) -> None:
    item = {"suppress": "pattern:bold", "method": "weight", "to": "half", "gate": "source:first"}
    (report,) = shape(run, item).report["items"]
    inside = data.sets.gate("source:first")
    assert report["is_local"] and report["pairs_inside"] == inside.sum()
    assert report["plain_inside"] == pytest.approx(rows["bold"][inside].mean())
    assert report["reached"] == pytest.approx(0.5, abs=1e-3) and report["strength"] == pytest.approx(0.5, abs=1e-3)
    assert report["shaped"] > 0.5 * report["plain"]  # outside it is what it was


def test_a_sweep_says_what_each_strength_leaves(run: Run, data: ShapeData, rows: dict[str, np.ndarray]) -> None:
    """A weight of 1 - s on the pairs that teach leaves 1 - s of a concept that no rejected response shows."""
    items = ({"suppress": "pattern:bold", "method": "weight", "strength": 0.4}, {"protect": "pattern:semicolon"})
    points = shape(run, *items, sweep=True).report["sweep"]
    assert [point["strength"] for point in points] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
    teaching = rows["bold"] > 0
    for point in points:
        assert point["reached"] == pytest.approx(1 - point["strength"])
        assert point["pairs"] == teaching.sum()
        assert point["weight_left"] == pytest.approx(1 - point["strength"] * teaching.mean())
    semicolon = rows["semicolon"]
    moved = 0.8 * semicolon[teaching].sum() / len(data) / np.sqrt(np.mean(semicolon**2.0))
    assert points[-1]["protected_effect"] == pytest.approx(abs(moved))


def test_comparing_and_sweeping_make_no_other_plan(run: Run) -> None:
    """Asked again with --compare, after a training even, it is the plan that was trained under, and what was listed
    stays listed; another plan of the same name has none of it."""
    item = {"suppress": "pattern:bold", "method": "drop", "to": "base"}
    plain = shape(run, item)
    assert plain.report["sweep"] == [] and plain.report["items"][0]["compared"] == []
    seal = {key: plain.report[key] for key in ("sha256", "actions_sha256", "written")}
    stored = (plain.folder / "shape.json").read_bytes()
    compared = shape(run, item, compare=True)
    swept = shape(run, item, sweep=True)
    again = shape(run, item)
    for result in (compared, swept, again):
        assert {key: result.report[key] for key in seal} == seal
        assert len(result.report["items"][0]["compared"]) == len(METHODS)
    assert (plain.folder / "shape.json").read_bytes() == stored
    assert compared.report["sweep"] == [] and len(swept.report["sweep"]) == len(again.report["sweep"]) > 3

    (plain.folder / "methods.json").write_text("{", encoding="utf-8")  # damaged: not believed, and made again
    assert shape(run, item).report["sweep"] == []
    assert shape(run, item, compare=True).report["sweep"] == swept.report["sweep"]
    assert shape(run, {**item, "to": "half"}).report["items"][0]["compared"] == []


def test_a_local_target_goes_past_its_goal_under_neither_assumption(
    run: Run, data: ShapeData, rows: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Bold in chosen of many pairs, and against it as many as make a tenth of them: all but a tenth spreads away."""
    bold = np.flatnonzero(rows["bold"] > 0)
    against = np.flatnonzero(rows["bold"] < 0)
    inside = tmp_path / "inside.txt"
    inside.write_text("\n".join(data.sets.pair_ids[row] for row in bold), encoding="utf-8")
    swapped = tmp_path / "swapped.txt"
    n_against = bold.size // 3
    swapped.write_text("\n".join(data.sets.pair_ids[row] for row in bold[:n_against]), encoding="utf-8")
    item = {"suppress": "pattern:bold", "method": "weight", "to": "base", "gate": f"pairs:{inside}"}
    (alone,) = shape(run, item).report["items"]
    assert (
        against.size == 0 and alone["reached"] == pytest.approx(0) and alone["reached_everywhere"] == pytest.approx(0)
    )

    contrary = {"suppress": f"pairs:{swapped}", "method": "swap", "strength": 1.0}
    report = shape(run, item, contrary, name="both").report["items"][0]
    # Two thirds teach it and one third, exchanged, the contrary: half of the pull of all balances what is exchanged.
    assert report["reached_everywhere"] == pytest.approx(0.0, abs=0.02)
