"""`shape`: a plan compiled to actions, and what it changes, computed before training and sealed like a forecast."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.forecast.step import checked_settings, rollout_role, stages_read
from pretilt.forecast.uncertainty import Interval
from pretilt.lock import writes
from pretilt.run import Run, content_hash, file_hash
from pretilt.schema import (
    ACTIONS_FILE,
    FORECAST_REPORT,
    METHODS_REPORT,
    PAIRS_FILE,
    PLAN_FILE,
    SHAPE_REPORT,
    WHAT_IF,
    WHAT_IF_FILE,
)
from pretilt.settings import ShapeSettings
from pretilt.shape.goals import check_measured, stages_measured
from pretilt.shape.plan import NOT, Plan, check_same_pairs, dump_plan, load_plan, plan_of
from pretilt.shape.result import ShapeResult, file_of, open_shape, stage_of
from pretilt.shape.targets import TrainingSets, settled
from pretilt.version import __version__

if TYPE_CHECKING:
    from pretilt.forecast.ladder import Rung
    from pretilt.shape.compile import Solved
    from pretilt.shape.data import ShapeData
    from pretilt.shape.what_if import Shift, WhatIf
    from pretilt.train.actions import Changes
    from pretilt.train.step import CompiledPlan

FORMAT_VERSION = 1
VERSION = 4  # raise it when a change of code can change the bytes
DEFAULT_RUNG = "mean"  # chosen on two plans of one world: docs/results/shaping.md
WHAT_IFS = "what_ifs"  # of run.json: every what-if that was ever sealed
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@writes("shape")
def shape_run(
    run: Run,
    plan: str | Path | dict[str, Any] | Plan,
    options: ShapeSettings,
    *,
    name: str | None = None,
    compare: bool = False,
    sweep: bool = False,
    events: Events | None = None,
) -> ShapeResult:
    """Compile a plan to actions and predict what it changes; both are written into the run and sealed.

    `plan`: a file, a mapping as the file holds it, or a `Plan`. `name`: of the compiled plan, by default the file's
    stem. `compare`: also every other method for each item; `sweep`: also each item alone at other strengths; neither
    makes another plan of it. Raises UserError for every mistake of the plan, with its line, and where nothing would be
    left to train on.
    """
    events = watching(events)
    if not isinstance(plan, Plan):
        plan = plan_of(plan) if isinstance(plan, dict) else load_plan(plan)
    name = _name(name, plan)
    pairs = file_hash(run.file(PAIRS_FILE))
    check_same_pairs(plan, pairs)
    plan = settled(TrainingSets(run), plan)
    plan_config = {"plan": plan.identity, **resolved_options(run, options)}
    check_measured(run, plan)
    reads = list(dict.fromkeys([*stages_read(run, plan_config["rollouts"]), *stages_measured(plan)]))
    inputs = {"files": _files_named(plan), "measurement": run.manifest.get("measurement_id")}
    shaping = None
    with run.stage(stage_of(name), version=VERSION, config=plan_config, reads=reads, inputs=inputs) as stage:
        if not stage.done:
            shaping = _Shaping(run, plan, name, plan_config, events)
            stage.write(file_of(name, ACTIONS_FILE), shaping.actions)
            stage.write(file_of(name, WHAT_IF_FILE), shaping.table)
            stage.write_text(file_of(name, PLAN_FILE), dump_plan(plan))
            seal = file_hash(run.path / file_of(name, WHAT_IF_FILE))
            report = {**shaping.report(pairs), **_sealed_at(run, name, seal), "pretilt": __version__}
            report["actions_sha256"] = file_hash(run.path / file_of(name, ACTIONS_FILE))
            stage.write_json(file_of(name, SHAPE_REPORT), report)
    _record(run, name)
    if compare or sweep:
        stage_name = f"methods-{name}"
        listed = run.manifest["stages"].get(stage_name, {}).get("config", {})  # what was asked for once is kept
        config = {"compare": compare or listed.get("compare", False), "sweep": sweep or listed.get("sweep", False)}
        with run.stage(stage_name, version=VERSION, config=config, reads=[stage_of(name)]) as stage:
            if not stage.done:
                shaping = shaping or _Shaping(run, plan, name, plan_config, events)
                actions = {"actions_sha256": file_hash(run.path / file_of(name, ACTIONS_FILE))}
                stage.write_json(file_of(name, METHODS_REPORT), {**actions, **shaping.methods(**config)})
    return open_shape(run, name)


def compiled_plan(result: ShapeResult) -> CompiledPlan:
    """What training needs of a compiled plan. Raises UserError for one whose files are damaged."""
    from pretilt.lens.blocks import train_rows
    from pretilt.shape.variants import direction_of
    from pretilt.train.actions import Changes, read_actions
    from pretilt.train.step import CompiledPlan

    pair_ids = result.run.table(PAIRS_FILE, ["pair_id"]).filter(pa.array(train_rows(result.run)))["pair_id"].to_pylist()
    report = result.report
    identity = {
        "what_if_sha256": report["sha256"],
        **{key: report[key] for key in ("name", "actions_sha256", "written")},
    }
    changes = Changes.of(read_actions(result.actions, pair_ids), len(pair_ids))
    directions = [direction_of(result.run, name) for name in changes.detectors]
    if directions:
        identity["directions_sha256"] = content_hash([direction.vector.tolist() for direction in directions])
    return CompiledPlan(result.name, changes, identity, directions, report["beta"] if report["needs_beta"] else None)


def _name(name: str | None, plan: Plan) -> str:
    stem = plan.path.stem.lower() if plan.path is not None else "plan"
    name = name or (stem if _NAME.fullmatch(stem) else "plan")
    if not _NAME.fullmatch(name):
        raise UserError(f"'{name}' cannot name a plan", fix="Use small letters, digits, - and _, for example less-bold")
    return name


def resolved_options(run: Run, options: ShapeSettings) -> dict[str, Any]:
    """form, rung, rollouts, eta, draws and seed; what is not given is as in the sealed forecast, but for the rung.

    Raises UserError as a forecast does: behind a red doctor, and for rollouts that it could not use.
    """
    settings = checked_settings(run)
    forecast = run.json(FORECAST_REPORT) if run.holds(FORECAST_REPORT) else {}
    requested = options.rollouts or forecast.get("rollouts")
    role = None if forecast and requested is None else rollout_role(run, requested)
    return {
        "form": options.form or forecast.get("form", "presence"),
        "rung": options.rung or DEFAULT_RUNG,
        "rollouts": role,
        "eta": float(forecast.get("eta", 1.0)),
        "beta": options.beta,
        "draws": options.draws,
        "seed": options.seed if options.seed is not None else settings.seed,
    }


def _files_named(plan: Plan) -> dict[str, str]:
    """Hash of every list of pairs that the plan names."""
    texts = [text.removeprefix(NOT) for item in plan.items for text in (item.target, item.gate) if text]
    paths = {text: Path(text.removeprefix("pairs:").strip()) for text in texts if text.startswith("pairs:")}
    return {name: file_hash(path) for name, path in paths.items() if path.is_file()}


def _sealed_at(run: Run, name: str, sha256: str) -> dict[str, Any]:
    for entry in run.manifest.get(WHAT_IFS, []):
        if (entry["name"], entry["sha256"]) == (name, sha256):
            return {"sha256": sha256, **{key: entry[key] for key in ("written", "sealed_before_training")}}
    written = datetime.now(UTC).isoformat(timespec="seconds")
    begun = any(run.path.glob("*/train.json"))
    return {"sha256": sha256, "written": written, "sealed_before_training": not begun}


def _record(run: Run, name: str) -> None:
    """Put the seal into run.json, unless it stands there; called again, it mends what a kill prevented."""
    report = run.json(file_of(name, SHAPE_REPORT))
    entry = {key: report[key] for key in ("name", "sha256", "written", "sealed_before_training")}
    entries = list(run.manifest.get(WHAT_IFS, []))
    if entry not in entries:
        run.record(WHAT_IFS, [*entries, entry])


class _Shaping:
    """One plan on one run: solved, compiled, and forecast with intervals."""

    def __init__(self, run: Run, plan: Plan, name: str, config: dict[str, Any], events: Events) -> None:
        from pretilt.shape.compile import solve, works
        from pretilt.shape.data import ShapeData
        from pretilt.shape.reading import reread
        from pretilt.shape.what_if import WhatIf
        from pretilt.train.actions import Changes, actions_table

        self.run, self.plan, self.name, self.config = run, plan, name, config
        self.data: ShapeData = ShapeData(run, config["form"], config["rollouts"], events, beta=config["beta"])
        rung: Rung = config["rung"]
        self.what_if: WhatIf = WhatIf(self.data, rung, config["eta"], config["seed"])
        items, self.roles = works(self.what_if, plan)
        self.solved: list[Solved] = solve(self.what_if, plan, items)
        self.all_actions = [action for solution in self.solved for action in solution.actions]
        self.changes: Changes = Changes.of(self.all_actions, len(self.data))
        if self.solved and not (self.changes.weight > 0).any():
            raise UserError(
                "the plan leaves no pair to train on", file=plan.path,
                why=f"its actions drop all {len(self.data):,} training pairs", fix="Give a smaller strength",
            )  # fmt: skip
        self.actions = actions_table(self.all_actions, self.data.sets.pair_ids)
        foretold, reading = self.changes.foretold(), reread(self.data, self.changes)
        self.reading = reading
        self.shifts: dict[str, Shift] = self.what_if.shifts(foretold, reading)
        # What carries over of an instruction or of steering is not known: the interval reaches from nothing to all.
        self.bounds = [
            self.what_if.shifts(self.changes.foretold(carried), reading) if self.changes.explained else self.shifts
            for carried in (0.0, 1.0)
        ]
        self.sd = {
            name: family.drawn_change(foretold, reading, config["draws"], config["seed"])
            for name, family in self.what_if.families.items()
        }
        self.table = self._table()

    def _table(self) -> pa.Table:
        """Schema WHAT_IF, by concept."""
        rows = []
        for name, shift in self.shifts.items():
            family = self.what_if.families[name].family
            bounds = [Interval(shifts[name].change, self.sd[name]) for shifts in self.bounds]
            lo = np.minimum(bounds[0].lo, bounds[1].lo)
            hi = np.maximum(bounds[0].hi, bounds[1].hi)
            base = None if family.rollouts is None else _base_rates(family)
            for m, concept in enumerate(family.bank.concept_ids.tolist()):
                role, item = self.roles.get(concept, ("side effect", None))
                rows.append(
                    {
                        "concept_id": concept, "family": name, "role": role, "item": item,
                        "plain": shift.plain[m], "shaped": shift.shaped[m], "change": shift.change[m],
                        "change_lo": lo[m], "change_hi": hi[m], "sure": bool(lo[m] > 0 or hi[m] < 0),
                        "base_rate": None if base is None else base[m],
                    }
                )  # fmt: skip
        return pa.Table.from_pylist(sorted(rows, key=lambda row: row["concept_id"]), WHAT_IF)

    def methods(self, *, compare: bool, sweep: bool) -> dict[str, Any]:
        """Schema MethodsReport, but for the plan that it is about."""
        from pretilt.artifacts import jsonable
        from pretilt.shape.compile import candidates
        from pretilt.shape.sweep import sweep as swept

        compared = {
            str(solution.work.number): solution.compared or candidates(self.what_if, solution.work)
            for solution in (self.solved if compare else ())
        }
        points = [point for solution in self.solved if sweep for point in swept(self.what_if, solution)]
        listed: dict[str, Any] = jsonable(
            {
                "compared": {number: [asdict(method) for method in methods] for number, methods in compared.items()},
                "sweep": [asdict(point) for point in points],
            }
        )
        return listed

    def report(self, pairs: str) -> dict[str, Any]:
        """Schema ShapeReport, but for the seal."""
        from pretilt.artifacts import jsonable
        from pretilt.shape.methods import METHODS
        from pretilt.train.actions import coverage

        signs = {solution.work.number: 1 if solution.work.suppresses else -1 for solution in self.solved}
        covered = coverage(self.all_actions, signs, len(self.data))
        covered["conflicting_pairs"] = [self.data.sets.pair_ids[row] for row in covered.pop("conflicting_rows")]
        report: dict[str, Any] = jsonable(
            {
                "format_version": FORMAT_VERSION,
                "name": self.name,
                "pairs_sha256": pairs,
                "measurement_id": self.run.manifest.get("measurement_id"),
                "plan": self.plan.as_yaml(),
                **{key: self.config[key] for key in ("form", "rung", "rollouts", "eta", "beta", "draws", "seed")},
                "needs_beta": any(METHODS[solution.method].needs_beta for solution in self.solved if solution.actions),
                "items": self._items(covered["by_item"]),
                "coverage": covered,
                "sweep": [],
                "effects": self._effects(),
                "needs": sorted({METHODS[solution.method].needs for solution in self.solved if solution.actions}),
            }
        )
        return report

    def _items(self, touched: dict[str, int]) -> list[dict[str, Any]]:
        from pretilt.shape.compile import shares_left, target_shift
        from pretilt.shape.methods import METHODS

        by_concept = {row["concept_id"]: row for row in self.table.to_pylist()}
        solved = {solution.work.number: solution for solution in self.solved}
        items = []
        foretold = self.changes.foretold()
        for number, item in enumerate(self.plan.items, 1):
            target = self.data.sets.target(item.target, line=item.line, file=self.plan.path)
            row = by_concept.get(target.concept_id) if target.concept_id is not None else None
            solution = solved.get(number)
            inside: tuple[float | None, float | None] = (None, None)
            left: tuple[float | None, float | None] = (None, None)
            if solution is not None and solution.work.target.concept_id is not None:
                inside = target_shift(self.what_if, solution.work, foretold, self.reading)
                left = shares_left(self.what_if, solution.work, foretold, self.reading)
            numbers = {
                key: row[key] if row else None for key in ("plain", "shaped", "change", "change_lo", "change_hi")
            }
            items.append(
                {
                    "number": number, "decision": item.decision, "target": item.target, "name": target.name,
                    "gate": item.gate, "by": item.by, "instruction": item.instruction, "concept_id": target.concept_id,
                    "pairs_inside": int((solution.work.inside if solution else target.rows).sum()),
                    "method": solution.method if solution else None,
                    "strength": solution.strength if solution else None,
                    "unit": METHODS[solution.method].unit if solution else None,
                    "share_wanted": solution.work.item.share if solution else None,
                    "is_local": bool(solution and solution.work.is_local),
                    "plain_inside": inside[0], "shaped_inside": inside[1],
                    "reached": left[0], "reached_everywhere": left[1],
                    "is_exhausted": bool(solution and solution.is_exhausted),
                    "pairs_touched": touched.get(str(number), 0),
                    **numbers,
                    "compared": [asdict(candidate) for candidate in (solution.compared if solution else ())],
                }
            )  # fmt: skip
        return items

    def _effects(self) -> dict[str, dict[str, Any]]:
        """Of every family without the targets."""
        effects = {}
        for name, shift in self.shifts.items():
            ids = self.what_if.families[name].family.bank.concept_ids.tolist()
            keep = np.array([self.roles.get(concept, ("", 0))[0] != "target" for concept in ids], bool)
            change, sd, plain = shift.change[keep], self.sd[name][keep], shift.plain[keep]
            size, noise = float(np.mean(change**2)) if keep.any() else 0.0, float(np.mean(sd**2)) if keep.any() else 0.0
            effects[name] = {
                "concepts": int(keep.sum()),
                "sure": int(Interval(change, sd).sign_known.sum()),
                "rms_change": float(np.sqrt(size)),
                "rms_plain": float(np.sqrt(np.mean(plain**2))) if keep.any() else None,
                "reliability": max(0.0, 1 - noise / size) if size > 0 and np.isfinite(noise) else None,
            }
        return effects


def _base_rates(family: Any) -> np.ndarray:
    """Share of the untrained model's answers that express each concept, [M]."""
    from pretilt.forecast.expression import expression

    level = family.pairs.level
    return expression(family.rollouts, 0.0 if level is None else level).prevalence
