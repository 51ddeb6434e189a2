"""Goals in points of answers: a plain training says how large a shift is, and so which share of it is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import in_process
from test_verify_plan import moving
from verify_worlds import say

import pretilt
from pretilt.errors import UserError
from pretilt.forecast.inputs import concept_bank, rollouts_of
from pretilt.run import Run
from pretilt.shape.plan import dump_plan, load_plan, plan_of


def scores(run: Path) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Concept ids, and of every concept the scores of all answers before and after plain training."""
    opened = Run(run)
    bank = concept_bank(opened)
    before, after = (rollouts_of(opened, role, bank, "presence").c for role in ("before", "after"))
    return bank.concept_ids.tolist(), before, after


def rates(run: Path, target: str) -> tuple[float, float]:
    """Share of the answers that hold a concept, before and after plain training; as many answers to each prompt."""
    ids, before, after = scores(run)
    m = ids.index(int(target.partition(":")[2]))
    return float(before[:, m].mean()), float(after[:, m].mean())


@pytest.fixture
def target(run: Path) -> str:
    """A single feature that the labels reward: in 20 % of the answers before training and in 50 % after it."""
    shifts = pretilt.shape(run, {"items": [{"keep": "concept:1"}]}, name="none", rung="mean").table.to_pylist()
    features = {
        row["concept_id"]: row["feature_ids"][0]
        for row in Run(run).table("concepts.parquet").to_pylist()
        if row["kind"] == "feature"
    }
    best = max((row for row in shifts if row["concept_id"] in features), key=lambda row: row["plain"])["concept_id"]
    for role, share in (("before", 0.2), ("after", 0.5)):
        say(run, role, 0.5, seed=5, also=(features[best], share))
    return f"concept:{best}"


def feature_of(run: Path, target: str) -> int:
    concepts = Run(run).table("concepts.parquet").to_pylist()
    return next(int(row["feature_ids"][0]) for row in concepts if f"concept:{row['concept_id']}" == target)


def item_of(run: Path, target: str, to: str, decision: str = "suppress", **more: Any) -> dict[str, Any]:
    item = {decision: target, "method": "weight", "to": to, **more}
    result: dict[str, Any] = pretilt.shape(run, {"items": [item]}, name="goal").report["items"][0]
    return result


def test_points_become_a_share_of_the_shift_that_was_seen(run: Path, target: str) -> None:
    before, after = rates(run, target)
    assert after - before > 0.1
    goal = round(100 * (after - before) / 4, 1)
    item = item_of(run, target, f"+{goal:g} points")
    assert item["share_wanted"] == pytest.approx(goal / 100 / (after - before))
    assert item["reached"] == pytest.approx(item["share_wanted"], abs=0.02)
    assert item_of(run, target, "-0 points")["share_wanted"] == pytest.approx(0.0)


def test_none_leaves_no_answer_and_asks_for_more_than_the_untrained_rate(run: Path, target: str) -> None:
    before, after = rates(run, target)
    item = item_of(run, target, "none", method="offset")
    assert item["share_wanted"] == pytest.approx(-before / (after - before)) and item["share_wanted"] < 0


def test_more_than_plain_training_is_amplified(run: Path, target: str) -> None:
    before, after = rates(run, target)
    goal = round(150 * (after - before), 1)
    item = item_of(run, target, f"{goal:g} points", "amplify")
    assert item["share_wanted"] == pytest.approx(goal / 100 / (after - before)) and item["share_wanted"] > 1.4


def test_a_local_goal_is_measured_on_the_prompts_inside(run: Path, target: str) -> None:
    members = Run(run).table("group_members.parquet")["group_id"].to_pylist()
    group = max(set(members), key=members.count)
    everywhere, inside = (item_of(run, target, "+1 points", **gate) for gate in ({}, {"gate": f"group:{group}"}))
    assert inside["is_local"] and inside["share_wanted"] != everywhere["share_wanted"]


def test_an_open_what_if_reads_the_training_once(run: Path, target: str) -> None:
    ask = pretilt.what_if(run)
    number = int(target.partition(":")[2])
    item = {"suppress": target, "method": "weight", "to": "+15 points"}  # half of the 30 that training moved it by
    row = next(row for row in ask({"items": [item]}).to_pylist() if row["concept_id"] == number)
    assert row["shaped"] / row["plain"] == pytest.approx(0.5, abs=0.15)
    assert list(ask.data.measured) == ["features"]


def test_before_a_plain_training_the_commands_that_give_one_are_named(run: Path, target: str) -> None:
    manifest = Run(run).manifest
    del manifest["stages"]["rollouts-after-features"]
    (run / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    plan = run.parent / "plan.yaml"
    plan.write_text(f"items:\n- keep: concept:1\n- suppress: {target}\n  method: weight\n  to: +5 points\n", "utf-8")
    shown = in_process("shape", run, "--plan", plan)
    assert shown.returncode == 2 and "Traceback" not in shown.stderr
    for words in (
        "plan.yaml, line 3",
        "'to: +5 points' needs a plain training",
        f"pretilt train {run}",
        "pretilt verify",
    ):
        assert words in " ".join(shown.stderr.split())


def test_goals_that_cannot_be_are_refused_with_the_rates(run: Path, target: str) -> None:
    before, after = rates(run, target)
    with pytest.raises(UserError, match=rf"no way to suppress {target}.*to {after:.1%} of the answers"):
        item_of(run, target, f"+{90 * (1 - before):.0f} points")
    with pytest.raises(UserError, match="beyond every answer or none"):
        item_of(run, target, "-99 points")
    with pytest.raises(UserError, match="needs a share of answers"):
        item_of(run, moving(run), "none")  # a community of several features
    with pytest.raises(UserError, match="is said of a concept"):
        item_of(run, "group:1", "none")


def test_a_concept_that_did_not_visibly_move_has_no_points(run: Path, target: str) -> None:
    """A model that was trained and says what it said before: any number of points would be a share of noise."""
    say(run, "after", 0.5, seed=11, also=(feature_of(run, target), 0.2))
    with pytest.raises(UserError, match=r"cannot be measured by concept:.*plain training took it from"):
        item_of(run, target, "+1 points")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("none", "none"),
        ("+5 points", "+5 points"),
        ("5pp", "+5 points"),
        ("\N{MINUS SIGN}2.5 percentage points", "-2.5 points"),
    ],
)
def test_a_goal_is_kept_as_it_is_meant(tmp_path: Path, written: str, kept: str) -> None:
    plan = plan_of({"items": [{"suppress": "pattern:bold", "to": written}]})
    assert plan.items[0].goal == kept and plan.items[0].share is None and plan.items[0].strength is None
    path = tmp_path / "plan.yaml"
    path.write_text(dump_plan(plan), encoding="utf-8")
    assert load_plan(path).items[0].goal == kept
