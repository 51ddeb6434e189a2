"""Goals in points of answers: "+5 points" from the untrained model's rate, or "none", nothing left of the concept.

The size of a forecast is known relative to the shift without a plan only. A plain training, once its answers are read,
says how large that shift is, and a goal in points becomes a share of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretilt.errors import UserError
from pretilt.forecast.inputs import pairs_of_prompts, rollouts_of
from pretilt.rollouts.step import AFTER, BEFORE, features_stage
from pretilt.run import Run
from pretilt.shape.data import ConceptFamily, ShapeData
from pretilt.shape.plan import NONE_LEFT, POINTS, Item, Plan
from pretilt.shape.targets import Target, is_list_of_pairs, prompts_inside
from pretilt.stats.clustered import FEW_UNITS, RESOLVED, mean_errors


@dataclass(frozen=True)
class PlainTraining:
    """Answers of the untrained and of the plainly trained model to the same held-out prompts, [J, M] of one family."""

    before: np.ndarray  # float64, mean score of the untrained model's answers to each prompt
    shift: np.ndarray  # float64, how much higher it is after plain training
    is_rate: np.ndarray  # bool [M]: every answer scores 0 or 1, so that a mean is a share of answers
    unit: np.ndarray  # int64 [J], near-duplicate prompts are one
    pair_ids: list[str]  # [J], a pair that has the prompt


def stages_measured(plan: Plan) -> list[str]:
    """The stages that a plan's goals are read from; none where every goal is a share or a strength."""
    needs = any(item.goal is not None for item in plan.items)
    return [features_stage(role) for role in (BEFORE, AFTER)] if needs else []


def check_measured(run: Run, plan: Plan) -> None:
    """Raise UserError, with the line, for a goal in points where no plain training says how large a shift is."""
    missing = [stage for stage in stages_measured(plan) if stage not in run.manifest["stages"]]
    if not missing:
        return
    item = next(item for item in plan.items if item.goal is not None)
    raise UserError(
        f"'to: {item.goal}' needs a plain training to measure by", file=plan.path, line=item.line,
        why="before one, the size of a shift is known relative to the shift without a plan only",
        fix=f"Run `pretilt train {run.path}` and `pretilt verify {run.path}` first, or give base, half or a share, 25%",
    )  # fmt: skip


def plain_training(data: ShapeData, family: ConceptFamily) -> PlainTraining:
    """Read once for each family and kept in `data`."""
    if family.name not in data.measured:
        before, after = (rollouts_of(data.run, role, family.bank, data.form) for role in (BEFORE, AFTER))
        ids, i, j = np.intersect1d(before.prompt_ids, after.prompt_ids, return_indices=True)
        data.measured[family.name] = PlainTraining(
            before.means[i], after.means[j] - before.means[i], np.asarray(np.isin(before.c, (0.0, 1.0)).all(axis=0)),
            before.unit[i], pairs_of_prompts(data.run, BEFORE, [str(one) for one in ids]),
        )  # fmt: skip
    measured: PlainTraining = data.measured[family.name]
    return measured


def share_of_goal(data: ShapeData, item: Item, target: Target, path: Path | None) -> float:
    """The share of the plain shift that is left where the goal is reached; of a local target on the prompts inside.

    Raises UserError for a concept without a rate, for one that plain training did not visibly move, and for a goal on
    the wrong side of where it moved it to.
    """

    def wrong(what: str, why: str, fix: str) -> UserError:
        return UserError(what, file=path, line=item.line, why=why, fix=fix)

    shares = "Give base, half or a share of the shift, as 25%, or a method and a strength"
    if target.concept_id is None:
        raise wrong(f"'to: {item.goal}' is said of a concept", f"{item.target} is a set of pairs", shares)
    family = data.family_of(target.concept_id)
    plain, m = plain_training(data, family), family.column(target.concept_id)
    if not plain.is_rate[m]:
        why = f"{target.name} has none: its score is a mean over several features"
        raise wrong(f"'to: {item.goal}' needs a share of answers", why, shares)
    if is_list_of_pairs(item.gate):
        raise wrong(
            f"'to: {item.goal}' cannot be measured", "a list of training pairs names no held-out prompt", shares
        )
    prompts = prompts_inside(data.run, item.target, item.gate, plain.pair_ids)
    if np.unique(plain.unit[prompts]).size < FEW_UNITS:
        why = f"{int(prompts.sum())} held-out prompts were answered inside of {item.gate or item.target}"
        raise wrong(f"'to: {item.goal}' cannot be measured", why, shares)

    shift, before = plain.shift[prompts][:, [m]], float(plain.before[prompts, m].mean())
    moved, se = float(shift.mean()), float(mean_errors(shift, plain.unit[prompts])[0])
    rates = f"plain training took it from {before:.1%} to {before + moved:.1%} of the answers (± {2 * se:.1%})"
    if not abs(moved) > RESOLVED * se:
        raise wrong(f"how far '{item.goal}' is cannot be measured by {item.target}", rates, shares)
    goal = str(item.goal)
    change = -before if goal == NONE_LEFT else float(goal.removesuffix(POINTS)) / 100
    if not -before <= change <= 1 - before:
        raise wrong(f"'to: {item.goal}' is beyond every answer or none", rates, shares)
    if (change - moved) * (-1 if item.decision == "suppress" else 1) <= 0:
        fix = "Give a goal on the other side of that, or the other decision"
        raise wrong(f"'to: {item.goal}' is no way to {item.decision} {item.target}", rates, fix)
    return change / moved
