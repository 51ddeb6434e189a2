"""What-ifs one after another on one run: everything is read and fitted once, and each plan then costs milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pretilt.events import Events
from pretilt.run import Run
from pretilt.schema import WHAT_IF
from pretilt.settings import ShapeSettings
from pretilt.shape.compile import solve, works
from pretilt.shape.data import ShapeData
from pretilt.shape.plan import Plan, load_plan, plan_of
from pretilt.shape.reading import reread
from pretilt.shape.step import resolved_options
from pretilt.shape.what_if import WhatIf
from pretilt.train.actions import Changes


class WhatIfSession:
    """An open run that answers plans with predicted changes; nothing is written, and nothing has an interval."""

    def __init__(self, run: Run, options: ShapeSettings, events: Events) -> None:
        config = resolved_options(run, options)
        data = ShapeData(run, config["form"], config["rollouts"], events, beta=config["beta"], may_write=False)
        self.data = data
        self.what_if = WhatIf(data, config["rung"], config["eta"], config["seed"])
        for family in self.what_if.families.values():
            _ = family.plain

    def __call__(self, plan: str | Path | dict[str, Any] | Plan) -> pa.Table:
        """Schema WHAT_IF by concept, the intervals null. Raises UserError as `api.shape` does.

        An item with a strength costs least; a strength that is sought costs 25 such calls.
        """
        if not isinstance(plan, Plan):
            plan = plan_of(plan) if isinstance(plan, dict) else load_plan(plan)
        items, roles = works(self.what_if, plan)
        actions = [action for solved in solve(self.what_if, plan, items) for action in solved.actions]
        changes = Changes.of(actions, len(self.data)).foretold()
        tables = []
        for name, shift in self.what_if.shifts(changes, reread(self.data, changes)).items():
            ids = self.what_if.families[name].family.bank.concept_ids
            n = ids.size
            of_concept = [roles.get(concept, ("side effect", None)) for concept in ids.tolist()]
            columns = {
                "concept_id": ids, "family": pa.array([name] * n), "role": [role for role, _ in of_concept],
                "item": pa.array([item for _, item in of_concept], pa.int16()),
                "plain": shift.plain, "shaped": shift.shaped, "change": shift.change,
            }  # fmt: skip
            arrays = [
                pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(n, field.type)
                for field in WHAT_IF
            ]
            tables.append(pa.table(arrays, schema=WHAT_IF))
        return pa.concat_tables(tables).sort_by("concept_id")
