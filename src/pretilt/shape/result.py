"""A compiled plan as its run holds it: opened, named, and with what was compared for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pretilt.errors import UserError
from pretilt.labels.described import renamed
from pretilt.result import Result
from pretilt.run import Run
from pretilt.schema import ACTIONS_FILE, METHODS_REPORT, SHAPE_FOLDER, SHAPE_REPORT, WHAT_IF_FILE
from pretilt.text import counted


@dataclass(frozen=True, repr=False)
class ShapeResult(Result):
    """A compiled plan; `report` is shape.json."""

    run: Run
    name: str
    report: dict[str, Any]

    @property
    def headline(self) -> str:
        coverage = self.report["coverage"]
        touched = f"{coverage['touched']:,} of {counted(coverage['pairs'], 'pair')} touched"
        sought = [item for item in self.report["items"] if item["reached"] is not None]
        reached = [f"{item['name']} {item['reached']:.0%} left" for item in renamed(self.run, sought[:3])]
        return f"{self.run.path}: plan '{self.name}', {touched}" + (f"; {', '.join(reached)}" if reached else "")

    @property
    def folder(self) -> Path:
        """Where the plan, its actions and the what-if lie."""
        return self.run.path / SHAPE_FOLDER / self.name

    @property
    def table(self) -> pa.Table:
        """Schema WHAT_IF."""
        return self.run.table(file_of(self.name, WHAT_IF_FILE))

    @property
    def actions(self) -> pa.Table:
        """Schema ACTIONS."""
        return self.run.table(file_of(self.name, ACTIONS_FILE))


def file_of(name: str, file: str) -> str:
    """The path in the run of a file of the plan `name`."""
    return f"{SHAPE_FOLDER}/{name}/{file}"


def stage_of(name: str) -> str:
    """The stage of the plan `name`."""
    return f"shape-{name}"


def open_shape(run: Run, name: str) -> ShapeResult:
    """A plan that `shape_run` has compiled. Raises UserError for one that the run does not hold, or that is damaged."""
    if stage_of(name) not in run.manifest["stages"]:
        held = [stage.removeprefix("shape-") for stage in run.manifest["stages"] if stage.startswith("shape-")]
        raise UserError(
            f"the run holds no compiled plan '{name}'", file=run.path,
            why=f"it has {', '.join(held) or 'none'}", fix="Run `pretilt shape RUN --plan plan.yaml` first",
        )  # fmt: skip
    report = run.json(file_of(name, SHAPE_REPORT))
    if run.is_whole(methods_file := file_of(name, METHODS_REPORT)):
        methods = run.json(methods_file)
        if methods["actions_sha256"] == report["actions_sha256"]:  # else it is of the plan as it was compiled before
            report["sweep"] = methods["sweep"]
            for item in report["items"]:
                item["compared"] = methods["compared"].get(str(item["number"]), item["compared"])
    return ShapeResult(run, name, report)
