"""What the page asks of Python about a plan: read it, what it would change, write it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pretilt.artifacts import write_text
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.labels.described import renamed
from pretilt.run import Run, file_hash
from pretilt.schema import PAIRS_FILE
from pretilt.settings import ShapeSettings
from pretilt.shape.compile import Solved, candidates, nearest_left, shares_left, solve, works
from pretilt.shape.plan import DIGITS, Plan, check_same_pairs, dump_plan, load_plan, plan_of
from pretilt.shape.reading import Reread, reread
from pretilt.shape.session import WhatIfSession
from pretilt.shape.targets import TrainingSets, settled
from pretilt.shape.variants import NotRead
from pretilt.train.actions import Changes, coverage
from pretilt.view.next_step import next_step
from pretilt.view.site.shards import short

READ_BY_THE_MODEL = ("inoculate", "steer-reference", "steer-policy")


class PlanCalls:
    """One plan file of one run. The run is read and its forecast fitted at the first what-if, and kept."""

    def __init__(self, run: Run, path: Path, events: Events) -> None:
        self.run, self.path, self._events = run, path, events
        self._pairs = file_hash(run.file(PAIRS_FILE))
        self._digest = self._on_disk()

    @cached_property
    def session(self) -> WhatIfSession:
        """Raises UserError where a plan cannot be judged: behind a red doctor, or in a baseline run."""
        return WhatIfSession(self.run, ShapeSettings.load(), self._events)

    @cached_property
    def _sets(self) -> TrainingSets:
        return TrainingSets(self.run)

    def read(self) -> dict[str, Any]:
        """{"path", "items": [{"decision", "target", "name", "method", …}]}: the plan as the file holds it."""
        path = str(self.path)
        if not self.path.exists():
            return {"path": path, "items": []}
        try:
            plan = load_plan(self.path)
            check_same_pairs(plan, self._pairs)
            items = self._shown(settled(self._sets, plan))
        except UserError as error:
            return {"path": path, "items": [], "error": str(error)}
        self._digest = self._on_disk()
        return {"path": path, "items": items}

    def what_if(self, body: Any) -> dict[str, Any]:
        """The predicted shift of every concept under a plan, what it touches, and its text. Raises UserError."""
        start = time.monotonic()
        written = self._plan(body)
        plan, unread = self._read_so_far(written)
        table = self.session(plan)
        items, _ = works(self.session.what_if, plan)
        solved = solve(self.session.what_if, plan, items)
        actions = [action for one_item in solved for action in one_item.actions]
        changes = Changes.of(actions, len(self.session.data)).foretold()
        reading = reread(self.session.data, changes)
        signs = {one_item.work.number: 1 if one_item.work.suppresses else -1 for one_item in solved}
        shifts = {name: [short(v) for v in table[name].to_pylist()] for name in ("plain", "shaped", "change")}
        return {
            "concepts": {
                "concept_id": table["concept_id"].to_pylist(), "role": table["role"].to_pylist(), **shifts,
            },
            "items": [self._outcome(one_item, changes, reading) for one_item in solved],
            "coverage": coverage(actions, signs, len(self.session.data)),
            "unread": unread,
            "text": dump_plan(written),
            "seconds": round(time.monotonic() - start, 4),
        }  # fmt: skip

    def compare(self, body: Any) -> dict[str, Any]:
        """Every method for the item `body["number"]` (from 1), alone, all at what it asks for or reaches. Raises
        UserError for an item that changes nothing, and for a set of pairs, which has no shift of its own."""
        plan = self._plan(body)
        items, _ = works(self.session.what_if, plan)
        work = next((work for work in items if work.number == body.get("number")), None)
        if work is None or work.target.concept_id is None:
            raise UserError(
                "methods are compared by what they do to a concept", why="this item has none that should change",
                fix="Mark a concept or an effect",
            )  # fmt: skip
        rows = [
            {
                "method": candidate.method,
                "strength": short(candidate.strength),
                "reached": short(candidate.reached),
                "is_exhausted": candidate.is_exhausted,
                "side_effect": short(candidate.side_effect),
                "pairs": candidate.pairs,
                "needs": candidate.needs,
                "refusal": candidate.refusal.removesuffix(": "),
            }
            for candidate in candidates(self.session.what_if, work)
        ]
        return {"methods": rows}

    def write(self, body: Any) -> dict[str, Any]:
        """Write the plan and say what comes next. Raises UserError, and writes nothing then, for a plan that the run
        cannot follow, and where somebody else has changed the file."""
        plan = self._plan(body)
        if "session" in self.__dict__:
            works(self.session.what_if, plan)
        for item in plan.items:  # a run behind a red doctor has no session, and may be marked all the same
            self._sets.target(item.target)
            self._sets.gate(item.gate)
            if item.by is not None:
                self._sets.driver(item.by)
        if self._on_disk() != self._digest:
            raise UserError(
                "the plan on disk was changed meanwhile", file=self.path,
                why="another program or viewer wrote it after this page read it",
                fix="Copy what you need of the plan's text, and load the page again",
            )  # fmt: skip
        write_text(self.path, dump_plan(plan))
        self._digest = self._on_disk()
        return {"path": str(self.path), "next": next_step("mark", self.run.path, "--plan", self.path)}

    def _plan(self, body: Any) -> Plan:
        items = body.get("items") if isinstance(body, Mapping) else None
        plan = plan_of({"items": items})
        return Plan(plan.items, self._pairs[:DIGITS])

    def _read_so_far(self, plan: Plan) -> tuple[Plan, list[int]]:
        """The plan, items that the model has not read the pairs for with strength 0, and their numbers from 1."""
        items, unread = list(plan.items), []
        for number, item in enumerate(plan.items, 1):
            if item.instruction is None and not (item.changes and item.method in READ_BY_THE_MODEL):
                continue
            alone = replace(plan, items=(item,))
            try:
                solve(self.session.what_if, alone, works(self.session.what_if, alone)[0])
            except NotRead:
                items[number - 1] = replace(item, strength=0.0, share=None)
                unread.append(number)
        return replace(plan, items=tuple(items)), unread

    def _shown(self, plan: Plan) -> list[dict[str, Any]]:
        targets = [self._sets.target(item.target) for item in plan.items]
        rows = renamed(self.run, [{"concept_id": t.concept_id, "name": t.name} for t in targets])
        shown = []
        for item, row in zip(plan.items, rows, strict=True):
            values = {"decision": item.decision, "target": item.target, "name": row["name"]}
            shown.append(values | {key: value for key, value in item.as_yaml().items() if key != item.decision})
        return shown

    def _outcome(self, solved: Solved, changes: Changes, reading: Reread | None) -> dict[str, Any]:
        work, reached = solved.work, None
        if work.target.concept_id is not None:
            reached = short(nearest_left(shares_left(self.session.what_if, work, changes, reading), work))
        return {
            "number": work.number,
            "name": work.target.name,
            "method": solved.method,
            "strength": short(solved.strength),
            "reached": reached,
            "touched": len({action.row for action in solved.actions}),
            "inside": int(work.inside.sum()),
        }

    def _on_disk(self) -> str:
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError:
            return ""
