"""`mark`: one decision, written into a plan that a person can read, edit and diff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretilt.artifacts import write_text
from pretilt.run import Run, file_hash
from pretilt.schema import PAIRS_FILE
from pretilt.shape.plan import DIGITS, Item, Plan, check_same_pairs, dump_plan, load_plan, plan_of
from pretilt.shape.targets import TrainingSets, settled


def mark_item(run: Run, path: Path, decision: str, target: str, values: dict[str, Any]) -> Path:
    """Put one item into the plan at `path`, beginning it where it is missing; see `api.mark`.

    What the file holds beside its items' keys, comments above all, is not kept: the plan is written anew.
    """
    entry = {decision: target, **{name: value for name, value in values.items() if value is not None}}
    item = plan_of({"items": [entry]}).items[0]
    sets = TrainingSets(run)
    item = settled(sets, Plan((item,))).items[0]
    sets.target(item.target)
    sets.gate(item.gate)
    if item.by is not None:
        sets.driver(item.by)
    pairs = file_hash(run.file(PAIRS_FILE))
    plan = load_plan(path) if path.exists() else Plan(())
    check_same_pairs(plan, pairs)
    write_text(path, dump_plan(Plan((*_other_items(plan, item), item), pairs[:DIGITS])))
    return path


def _other_items(plan: Plan, item: Item) -> list[Item]:
    """The items about other targets, or behind another gate."""
    return [other for other in plan.items if (other.target, other.gate) != (item.target, item.gate)]
