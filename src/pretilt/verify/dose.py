"""Dose and response of a direction: a model answers while it is steered by several amounts, and what it then shows.

Amounts are in units of the residual stream's mean length at the detector's layer. The answers of every amount are
rollouts of the run like any others, to the same prompts and drawn apart, read with its one measurement. Asked of the
untrained model and of a trained one, it says whether the direction still does what it did.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.artifacts import jsonable
from pretilt.detectors.stored import load_detector
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.forecast.inputs import Bank, concept_bank, rollouts_of
from pretilt.forecast.samples import Rollouts
from pretilt.labels.described import renamed
from pretilt.lock import writes
from pretilt.models.steering import Direction
from pretilt.result import Result
from pretilt.rollouts.source import Push
from pretilt.rollouts.step import features_stage, open_rollouts, rollouts_run
from pretilt.run import Run
from pretilt.schema import CONCEPTS_FILE, DETECTOR, DOSE, PATTERN
from pretilt.settings import DoseSettings
from pretilt.shape.data import ShapeData
from pretilt.shape.variants import direction_of, residual_length
from pretilt.verify.observed import Observed

FORMAT_VERSION = 1
VERSION = 1  # raise it when a change of code can change the bytes
FORM: Any = "presence"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


@dataclass(frozen=True, repr=False)
class DoseResult(Result):
    """What a direction does; `report` is dose-<name>.json."""

    run: Run
    name: str
    report: dict[str, Any]

    @property
    def headline(self) -> str:
        points = self.report["target"]["points"]
        ends = " to ".join(f"{point['mean']:.0%}" for point in (points[0], points[-1]))
        (target,) = renamed(self.run, [self.report["target"]])
        return f"{self.run.path}: {target['name']} in {ends} of the answers"

    @property
    def table(self) -> pa.Table:
        """Schema DOSE."""
        return self.run.table(dose_file(self.name, ".parquet"))


def dose_file(name: str, ending: str) -> str:
    """File of the dose and response `name`, which is the detector's, with `-NAME` where one was given."""
    return f"dose-{name}{ending}"


@writes("dose")
def dose_run(
    run: Run, detector: str, options: DoseSettings, *, model: str | Path | None = None, name: str | None = None,
    events: Events | None = None,
) -> DoseResult:  # fmt: skip
    """Sample, read and judge the answers at every amount. `model`: who answers, None for the run's own.

    Raises UserError for a detector that the run does not hold, and for a model of another shape.
    """
    events = watching(events)
    if name is None and model is not None:
        name = "trained"
    if name is not None and not _NAME.fullmatch(name):
        raise UserError(f"'{name}' cannot name a dose and response", fix="Use small letters, digits, - and _")
    _, facts = load_detector(run, detector)
    amounts = sorted({0.0, *options.parsed_amounts})
    direction, unit = direction_of(run, detector), residual_length(ShapeData(run, FORM, None, events))
    label = detector if name is None else f"{detector}-{name}"
    roles = {}
    for amount in amounts:
        role = f"dose-{label}-{'minus' if amount < 0 else 'plus'}-{f'{abs(amount):g}'.replace('.', '_')}"
        push = Push(detector, direction, amount * unit)
        sampled = {field: getattr(options, field) for field in ("n_prompts", "per_prompt", "max_new_tokens", "seed")}
        rollouts_run(run, role, model, push=push if amount else None, events=events, split="heldout", **sampled)
        run = Run(run.path)
        roles[amount] = role
    config = {"roles": {f"{amount:g}": role for amount, role in roles.items()}, "residual_length": unit}
    reads = [features_stage(role) for role in roles.values()]
    with run.stage(f"dose-{label}", version=VERSION, config=config, reads=reads) as stage:
        if not stage.done:
            judging = _Judging(run, roles)
            stage.write(dose_file(label, ".parquet"), judging.table)
            report = judging.report(detector, direction, facts, unit)
            stage.write_json(dose_file(label, ".json"), report)
    return DoseResult(run, label, run.json(dose_file(label, ".json")))


class _Judging:
    """Scores of all answers by amount."""

    def __init__(self, run: Run, roles: dict[float, str]) -> None:
        self.run, self.roles = run, roles
        self.bank: Bank = concept_bank(run)
        self.amounts = np.array(list(roles), np.float64)
        self.answers: list[Rollouts] = [rollouts_of(run, role, self.bank, FORM) for role in roles.values()]
        ids = self.answers[0].prompt_ids
        if any(not np.array_equal(answers.prompt_ids, ids) for answers in self.answers):
            raise UserError(
                "the amounts answer different prompts", file=run.path, why="at some of them nothing could be read",
                fix="Give smaller amounts",
            )  # fmt: skip
        self.means = np.stack([answers.means for answers in self.answers])  # [amounts, J, M]
        unit = self.answers[0].unit
        centred = self.amounts - self.amounts.mean()
        slope = np.einsum("a,ajm->jm", centred / (centred @ centred), self.means)
        self.at = [Observed(values, unit, ids, 0) for values in self.means]
        self.slope = Observed(slope, unit, ids, 0)
        self.table = self._table()

    def _table(self) -> pa.Table:
        rows = []
        mean, se = self.slope.mean, self.slope.se
        for amount, role, observed in zip(self.amounts, self.roles.values(), self.at, strict=True):
            for m, concept in enumerate(self.bank.concept_ids.tolist()):
                rows.append(
                    {
                        "concept_id": concept, "amount": amount, "role": role, "mean": observed.mean[m],
                        "se": observed.se[m], "slope": mean[m], "slope_se": se[m],
                    }
                )  # fmt: skip
        return pa.Table.from_pylist(rows, DOSE)

    def report(self, detector: str, direction: Direction, facts: dict[str, Any], unit: float) -> dict[str, Any]:
        """Schema DoseReport."""
        concepts = {row["concept_id"]: row for row in self.run.table(CONCEPTS_FILE).to_pylist()}
        target = next(row["concept_id"] for row in concepts.values() if row["detector"] == detector)
        pattern = facts["origin"] if facts.get("made_from") == "pattern" else None
        same = [c for c, row in concepts.items() if pattern is not None and row["pattern"] == pattern]
        ids = self.bank.concept_ids.tolist()
        if target not in ids:
            raise UserError(
                f"the detector '{detector}' stands in too few pairs to be judged", fix="Fit it to more examples"
            )
        standard = np.abs(self.slope.mean) / np.where(self.slope.se > 0, self.slope.se, np.inf)
        is_present = np.array([concepts[concept]["kind"] in (PATTERN, DETECTOR) for concept in ids])
        order = [m for m in np.argsort(-np.where(is_present, standard, -1), kind="stable") if is_present[m]]
        moved = [m for m in order if ids[m] not in (target, *same)][:8]
        rows = [self._row(ids.index(c), concepts) for c in (target, *(c for c in same if c in ids))]
        reports = [open_rollouts(self.run, role).report for role in self.roles.values()]
        report: dict[str, Any] = jsonable(
            {
                "format_version": FORMAT_VERSION,
                "detector": detector,
                "layer": direction.layer,
                "residual_length": unit,
                "model": reports[0]["model"],
                "amounts": self.amounts.tolist(),
                "prompts": len(self.answers[0].prompt_ids),
                "per_prompt": float(np.mean(self.answers[0].per_prompt)),
                "target": rows[0],
                "same": rows[1:],
                "moved": [self._row(int(m), concepts) for m in moved],
                "finished": [r["rollouts"]["finished"] / max(r["rollouts"]["sampled"], 1) for r in reports],
                "tokens": [r["tokens"]["sampled"] / max(r["rollouts"]["sampled"], 1) for r in reports],
            }
        )
        return report

    def _row(self, m: int, concepts: dict[int, dict[str, Any]]) -> dict[str, Any]:
        concept = int(self.bank.concept_ids[m])
        return {
            "concept_id": concept,
            "name": concepts[concept]["name"] or f"concept {concept}",
            "points": [
                {"amount": float(amount), "mean": float(observed.mean[m]), "se": float(observed.se[m])}
                for amount, observed in zip(self.amounts, self.at, strict=True)
            ],
            "slope": float(self.slope.mean[m]),
            "slope_se": float(self.slope.se[m]),
        }
