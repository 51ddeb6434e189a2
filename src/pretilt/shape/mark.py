"""`mark`: one decision, written into a plan that a person can read, edit and diff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretilt.artifacts import write_text
from pretilt.errors import UserError
from pretilt.run import Run, file_hash
from pretilt.schema import PAIRS_FILE
from pretilt.shape.plan import Item, Plan, dump_plan, load_plan, plan_of
from pretilt.shape.targets import TrainingSets


def mark_item(run: Run, path: Path, decision: str, target: str, values: dict[str, Any]) -> Path:
    """Put one item into the plan at `path`, beginning it where it is missing; see `api.mark`.

    What the file holds beside its items' keys, comments above all, is not kept: the plan is written anew.
    """
    entry = {decision: target, **{name: value for name, value in values.items() if value is not None}}
    item = plan_of({"items": [entry]}).items[0]
    sets = TrainingSets(run)
    sets.target(item.target)
    sets.gate(item.gate)
    pairs = file_hash(run.file(PAIRS_FILE))[:16]
    plan = load_plan(path) if path.exists() else Plan((), pairs)
    if plan.pairs is not None and not pairs.startswith(plan.pairs[:16]):
        raise UserError(
            "the plan was written for other pairs", file=path, why=f"its pairs are {plan.pairs[:12]}, "
            f"those of {run.path} are {pairs[:12]}", fix="Give --plan another file",
        )  # fmt: skip
    write_text(path, dump_plan(Plan((*_other_items(plan, item), item), pairs)))
    return path


def _other_items(plan: Plan, item: Item) -> list[Item]:
    """The items about other targets, or behind another gate."""
    return [other for other in plan.items if (other.target, other.gate) != (item.target, item.gate)]
