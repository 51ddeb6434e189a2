"""What became of a plan: models that go all the way back, half of it, or not, against what a what-if foretold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import in_process
from verify_worlds import say, train_report

import pretilt
from pretilt.errors import UserError
from pretilt.run import Run, file_hash
from pretilt.verify import plan as judging
from pretilt.verify.plan import PlanOutcome


def shaped_by(run: Path, share_of_chosen: float, *items: dict[str, Any], **facts: Any) -> PlanOutcome:
    """A plan that was compiled, and a model trained under it that says the chosen response in this share of cases."""
    shape = pretilt.shape(run, {"items": list(items)}, name="less", rung="mean")
    plan = {"name": "less", "actions_sha256": shape.report["actions_sha256"], "what_if_sha256": shape.report["sha256"],
            "written": shape.report["written"]}  # fmt: skip
    train_report(run / "trained", run)
    train_report(run / "trained-less", run, plan={**plan, **facts}, key="other")
    say(run, "after-less", share_of_chosen, seed=3)
    return pretilt.verify_plan(run, "less")


def moving(run: Path) -> str:
    """The community that plain training would amplify most."""
    table = pretilt.shape(run, {"items": [{"keep": "concept:1"}]}, name="none", rung="mean").table.to_pylist()
    best = max((row for row in table if row["concept_id"] < 30), key=lambda row: row["plain"])
    return f"concept:{best['concept_id']}"


@pytest.mark.parametrize(("said", "recovery"), [(0.5, 1.0), (0.7, 0.5), (0.9, 0.0)])
def test_the_way_back_is_measured(run: Path, said: float, recovery: float) -> None:
    outcome = shaped_by(run, said, {"suppress": moving(run), "method": "drop", "to": "base"})
    target = outcome.report["targets"][0]
    width = target["left_hi"] - target["left_lo"]  # four standard errors
    assert target["recovery"] == pytest.approx(recovery, abs=width) and target["recovery"] == 1 - target["left"]
    assert target["left_lo"] < target["left"] < target["left_hi"] and 0 < width < 1 and target["share_wanted"] == 0.0
    assert target["shaped"] - target["plain"] == pytest.approx(
        next(r["observed"] for r in outcome.table.to_pylist() if f"concept:{r['concept_id']}" == target["target"])
    )


def test_a_weaker_training_is_foretold_by_a_weight_on_all_pairs(run: Path) -> None:
    """All pairs with half their pull take every concept half of the way back: the changes must agree."""
    items = [{"suppress": "pairs:" + str(_all_ids(run)), "method": "weight", "strength": 0.5}]
    outcome = shaped_by(run, 0.7, *items)
    figures = outcome.report["sets"]["features"]["all"]
    assert figures["r2"] > 0.6 and figures["sign_accuracy"] > 0.95 and figures["resolved"] >= 10
    assert 0.8 < figures["coverage"] <= 1
    assert outcome.report["sealed_before_training"]


def _all_ids(run: Path) -> Path:
    path = run.parent / "ids.txt"
    pairs = Run(run).table("pairs.parquet").to_pylist()
    path.write_text("\n".join(row["pair_id"] for row in pairs if row["split"] == "train"), encoding="utf-8")
    return path


def test_a_model_that_goes_elsewhere_is_no_success(run: Path) -> None:
    outcome = shaped_by(run, 0.9, {"suppress": moving(run), "method": "drop", "to": "base"})
    off = outcome.report["sets"]["features"]["off_target"]
    assert off["mean_change"] == pytest.approx(off["mean_noise"], rel=0.5) and abs(off["r2"]) < 0.4


def test_a_local_target_is_judged_on_the_prompts_inside(run: Path) -> None:
    """A model that goes all the way back on every prompt: inside as outside, each with its own error."""
    target = moving(run)
    members = Run(run).table("group_members.parquet")["group_id"].to_pylist()
    group = max(set(members), key=members.count)
    outcome = shaped_by(run, 0.5, {"suppress": target, "method": "weight", "strength": 0.5, "gate": f"group:{group}"})
    (row,) = outcome.report["targets"]
    assert row["is_inside"] and 0 < row["prompts"] < outcome.report["prompts"]
    if row["recovery"] is not None:
        assert row["recovery"] == pytest.approx(1.0, abs=row["left_hi"] - row["left_lo"])
    change = row["shaped"] - row["plain"]
    shares = row["prompts"] / outcome.report["prompts"]
    everywhere = next(r["observed"] for r in outcome.table.to_pylist() if f"concept:{r['concept_id']}" == target)
    assert shares * change + (1 - shares) * row["outside_change"] == pytest.approx(everywhere)


def test_interrupted_it_ends_with_the_same_bytes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_self: Any) -> None:
        raise KeyboardInterrupt

    item = {"suppress": moving(run), "method": "drop", "to": "base"}
    with monkeypatch.context() as patched:
        patched.setattr(judging._Judging, "report", stop)
        with pytest.raises(KeyboardInterrupt):
            shaped_by(run, 0.5, item)
    assert "outcome-less" not in Run(run).manifest["stages"]
    names = ("outcome.parquet", "outcome.json")
    pretilt.verify_plan(run, "less")
    first = {name: (run / "shape" / "less" / name).read_bytes() for name in names}
    (run / "shape" / "less" / "outcome.parquet").write_bytes(first["outcome.parquet"][:-9])
    pretilt.verify_plan(run, "less")
    assert {name: (run / "shape" / "less" / name).read_bytes() for name in names} == first


def test_another_plans_training_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match="under another plan"):
        shaped_by(run, 0.7, {"suppress": moving(run), "method": "drop", "to": "base"}, actions_sha256="0" * 64)


def test_a_missing_training_says_which_command(run: Path) -> None:
    pretilt.shape(run, {"items": [{"suppress": moving(run), "method": "drop", "to": "base"}]}, name="less")
    with pytest.raises(UserError, match=r"pretilt train .* first"):
        pretilt.verify_plan(run, "less")
    train_report(run / "trained", run)
    with pytest.raises(UserError, match=r"pretilt train .*--plan less.yaml. first"):
        pretilt.verify_plan(run, "less")


def test_a_plan_that_was_never_compiled_is_one_line(run: Path) -> None:
    with pytest.raises(UserError, match=r"no compiled plan 'more'.*it has none"):
        pretilt.verify_plan(run, "more")


def test_the_screen_says_what_was_intended_foretold_and_seen(run: Path) -> None:
    shaped_by(run, 0.5, {"suppress": moving(run), "method": "drop", "to": "base"}, {"protect": "concept:2"})
    shown = in_process("verify", run, "--plan", "less.yaml")
    assert shown.returncode == 0, shown.stderr
    for words in ("suppress", "drop", "foretold left", "Off target", "protect", "sealed before the training"):
        assert words in shown.stdout
    assert file_hash(run / "shape" / "less" / "outcome.json")


def test_answers_of_another_model_are_refused(run: Path) -> None:
    """A folder that was trained anew since its answers were sampled holds another model."""
    shaped_by(run, 0.7, {"suppress": moving(run), "method": "drop", "to": "base"})
    (run / "trained-less" / "config.json").write_text("{}", encoding="utf-8")
    (run / "trained-less" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(UserError, match=r"'after-less' are of another model .*--replace"):
        pretilt.verify_plan(run, "less")


@pytest.mark.parametrize("option", ["--after", "--trained", "--name"])
def test_an_option_that_does_nothing_with_a_plan_is_refused(run: Path, option: str) -> None:
    shown = in_process("verify", run, "--plan", "less", option, "x")
    assert shown.returncode == 2 and f"{option} does nothing where a plan is judged" in shown.stderr
