"""`forecast`: what training on a run's pairs will do, computed from the data alone and sealed before training.

Sealed: forecast.parquet is hashed when it is written, the hash stands in run.json with every other forecast that this
run ever made, and a training notes which one it found when it began (train.json). None of it can be mended afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.detectors.stored import scores_stage, stage_name
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.forecast.seal import STAGE, check_free, keep_old, record, sealed_at
from pretilt.lock import writes
from pretilt.result import Result
from pretilt.rollouts.step import AFTER, BEFORE, features_stage, report_file, samples_stage, tested_detectors
from pretilt.run import Run, file_hash
from pretilt.schema import (
    DOCTOR_FILE,
    FEATURES,
    FORECAST_FILE,
    FORECAST_HALVES_FILE,
    FORECAST_REPORT,
    FORECAST_SHUFFLED_FILE,
)
from pretilt.settings import AuditSettings, ForecastSettings, settings_of
from pretilt.version import __version__

if TYPE_CHECKING:
    from pretilt.forecast.inputs import Bank
    from pretilt.forecast.ladder import Rung
    from pretilt.forecast.scores import ScoreForm
    from pretilt.forecast.tables import Family, Scope

REFERENCE = "reference"
FORMAT_VERSION = 1
VERSION = 5  # raise it when a change of code can change the bytes
# Chosen on development worlds, never on a run that is being judged.
FAMILY_NAMES = {
    "group": "features",
    "pattern_group": "patterns",
    "detector_group": "detectors",
}  # by the view of their sets of prompts
DEFAULT_RUNG: dict[bool, Rung] = {True: "converged", False: "mean"}  # with rollouts, without
ONE_THREAD = 1 << 24  # values of u up to which threads cost the many small products more than they give
ETA = 1.0  # sizes are those of the Bradley-Terry optimum at beta = 1, until one trained model has calibrated them


@dataclass(frozen=True, repr=False)
class ForecastResult(Result):
    """`report` is forecast.json."""

    run: Run
    report: dict[str, Any]

    @property
    def headline(self) -> str:
        report = self.report
        return (
            f"{self.run.path}: forecast of {report['concepts']:,} concepts, rung {report['rung']}, "
            f"{report['signs_known']:,} signs known, sealed {report['written']}"
        )

    @property
    def table(self) -> pa.Table:
        """Schema FORECAST."""
        return self.run.table(FORECAST_FILE)

    @property
    def halves(self) -> pa.Table:
        """Schema FORECAST_HALVES."""
        return self.run.table(FORECAST_HALVES_FILE)

    @property
    def shuffled(self) -> pa.Table:
        """Schema FORECAST_SHUFFLED."""
        return self.run.table(FORECAST_SHUFFLED_FILE)


@writes("forecast")
def forecast_run(
    run: Run, options: ForecastSettings, *, replace: bool = False, events: Events | None = None
) -> ForecastResult:
    """Forecast every concept of a finished audit, over all pairs and on every set of prompts, and seal the forecast.

    The same call again returns what is sealed; another one is refused without `replace`, which keeps the old forecast
    beside the new. Raises UserError for every mistake of the input, and behind a red doctor.
    """
    events = watching(events)
    settings = checked_settings(run)
    role = rollout_role(run, options.rollouts)
    scope = _scope(settings, options, role)
    form = options.form
    config = {
        "form": form, "rung": scope.rung, "rollouts": role, "eta": scope.eta,
        "draws": scope.draws, "seed": scope.seed,
    }  # fmt: skip
    names = ("freq_threshold", "paper", "baseline", "seed")
    reads = stages_read(run, role)
    inputs = {
        "settings": {name: getattr(settings, name) for name in names},
        "measurement": run.manifest.get("measurement_id"),
    }
    record(run)
    with run.stage(STAGE, version=VERSION, config=config, reads=reads, inputs=inputs) as stage:
        if not stage.done:
            check_free(run, stage, config, replace, events)
            tables = _Forecast(run, settings, scope, form, role, events)
            keep_old(run, stage, events)
            stage.write(FORECAST_HALVES_FILE, tables.halves)
            stage.write(FORECAST_SHUFFLED_FILE, tables.shuffled)
            stage.write(FORECAST_FILE, tables.table)
            report = {**_about(run, config), **tables.report(), "sha256": file_hash(run.path / FORECAST_FILE)}
            stage.write_json(FORECAST_REPORT, {**report, **sealed_at(run, report["sha256"]), "pretilt": __version__})
    record(run)
    return ForecastResult(run, run.json(FORECAST_REPORT))


def checked_settings(run: Run) -> AuditSettings:
    """Those of the audit. Raises UserError for one that has not finished, and for a lens that the doctor refuses."""
    if "audit" not in run.manifest["stages"] or "settings" not in run.manifest:
        raise UserError(
            "the audit of this run has not finished", file=run.path, why="nothing was tested yet",
            fix="Run `pretilt audit` again: it continues where it stopped",
        )  # fmt: skip
    settings = settings_of(run)
    if settings.despite_doctor or settings.baseline == "random-dictionary" or not run.holds(DOCTOR_FILE):
        return settings
    red = [check for check in run.json(DOCTOR_FILE)["checks"] if check["verdict"] == "red"]
    if red:
        raise UserError(
            f"the doctor finds the lens unfit: {', '.join(check['name'] for check in red)}",
            file=run.path / DOCTOR_FILE,
            why=f"{red[0]['name']} is {red[0]['figure']}, {red[0]['threshold']}: a forecast through it says nothing",
            fix=f"{red[0]['what_to_do']}, or audit with --despite-doctor to go on",
        )
    return settings


def stages_read(run: Run, role: str | None) -> list[str]:
    """The stages that a forecast over the run's concepts is made from; `role`: of the rollouts, None for none."""
    stages = run.manifest["stages"]
    reads = [name for name in ("pairs", FEATURES, "concepts", "shifts", "patterns", "audit") if name in stages]
    reads += [stage for name in tested_detectors(run) for stage in (stage_name(name), scores_stage(name))]
    return reads + ([] if role is None else [samples_stage(role), features_stage(role)])


def rollout_role(run: Run, requested: str | None) -> str | None:
    """The untrained model's rollouts to use, None for none. Raises UserError for a trained model's, or missing ones."""
    held = [name.removeprefix("rollouts-").removesuffix("-features") for name in run.manifest["stages"]
            if name.startswith("rollouts-") and name.endswith("-features")]  # fmt: skip
    if requested is None:
        return next((role for role in (REFERENCE, BEFORE) if role in held), None)
    if requested.startswith(AFTER):
        raise UserError(
            f"a forecast cannot use the rollouts '{requested}'", why="they are of a trained model, and it comes before",
            fix="Name rollouts of the untrained model, or leave --rollouts out",
        )  # fmt: skip
    if requested not in held:
        raise UserError(
            f"the run holds no rollouts '{requested}'", file=run.path,
            why=f"it has {', '.join(sorted(held)) or 'none'}",
            fix=f"Run `pretilt rollouts RUN --role {requested}` first",
        )  # fmt: skip
    return requested


def _scope(settings: AuditSettings, options: ForecastSettings, role: str | None) -> Scope:
    from pretilt.forecast.tables import Scope

    rung = options.rung or DEFAULT_RUNG[role is not None]
    if rung == "tilt" and role is None:
        raise UserError(
            "rung 'tilt' needs rollouts of the untrained model", why="it re-weights sampled answers",
            fix="Run `pretilt rollouts RUN --role reference` first, or choose another rung",
        )  # fmt: skip
    return Scope(rung, ETA, options.draws, settings.seed if options.seed is None else options.seed)


class _Forecast:
    """The tables of one forecast, made family by family of concepts so that one of them is in memory at a time."""

    def __init__(
        self, run: Run, settings: AuditSettings, scope: Scope, form: ScoreForm, role: str | None, events: Events
    ) -> None:
        from pretilt.concepts.prompt_scores import STATISTICS
        from pretilt.forecast.inputs import concept_bank

        self.run, self.settings, self.scope, self.form, self.role, self.events = (
            run,
            settings,
            scope,
            form,
            role,
            events,
        )
        self.bank = concept_bank(run)
        self.about: dict[str, Any] = {}
        self.families: dict[str, dict[str, Any]] = {}
        self.cells_left_out = 0
        everywhere: list[pa.Table] = []
        conditioned: list[pa.Table] = []
        halves: list[pa.Table] = []
        shuffled: list[pa.Table] = []
        kinds = {"group": self.bank.feature_view, **{f"prompt_{q}": self.bank.of(q) for q in STATISTICS}}
        kinds |= {"pattern_group": self.bank.patterns, "detector_group": self.bank.detectors}
        for view, mask in kinds.items():
            if mask.any():
                for table, parts in zip(
                    self._view(view, mask), (everywhere, conditioned, halves, shuffled), strict=True
                ):
                    parts.append(table)
        self.table = pa.concat_tables([*everywhere, *conditioned])
        self.halves, self.shuffled = pa.concat_tables(halves), pa.concat_tables(shuffled)

    def report(self) -> dict[str, Any]:
        """The figures of the first family stand on top: communities and features, unless there are none."""
        first = next(iter(self.families.values()))
        names = ("auc_heldout", "length_coefficient", "ridge", "shrinkage", "ess_trusted", "ladder_agreement")
        return {
            **self.about,
            "concepts": len(self.bank),
            **{name: first[name] for name in names},
            "signs_known": sum(family["signs_known"] for family in self.families.values()),
            "cells_rung": self.scope.cells_rung,
            "cells_left_out": self.cells_left_out,
            "families_of_concepts": self.families,
        }

    def _view(self, view: str, mask: np.ndarray) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
        from threadpoolctl import threadpool_limits

        from pretilt.forecast.inputs import pair_deltas, rollouts_of
        from pretilt.forecast.tables import Family

        bank, name = self.bank.take(mask), FAMILY_NAMES.get(view) or view.replace("prompt", "shift")
        self.events.say(f"forecast: {len(bank):,} concepts, {name.replace('_', ' by ')}")
        pairs, pair_ids = pair_deltas(self.run, self.settings, bank, self.form)
        rollouts = None if self.role is None else rollouts_of(self.run, self.role, bank, self.form)
        self._check(pairs, rollouts)
        self.about = {"pairs": len(pairs.u), "families": pairs.n_families} | {
            "prompts": None if rollouts is None else rollouts.n_prompts,
            "rollouts_read": None if rollouts is None else len(rollouts.c),
        }
        done = iter(range(1, 5))

        def progress() -> None:
            self.events.progress(f"forecast of {name}", next(done), 4, "steps")

        with threadpool_limits(1 if pairs.u.size <= ONE_THREAD else None):
            family = Family(self.scope, bank.concept_ids, pairs, rollouts, progress)
            return self._tables(family, view, name, bank, pair_ids["pair_id"].to_pylist())

    def _tables(
        self, family: Family, view: str, name: str, bank: Bank, pair_ids: list[str]
    ) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
        """Global rows, rows of the view's sets, halves, shuffled labels."""
        from pretilt.forecast.inputs import pairs_of_prompts, prompts_in
        from pretilt.forecast.tables import MAX_CELLS, forecast_table

        self.families[name] = family.report()
        rollouts = family.rollouts
        sets = prompts_in(self.run, pair_ids)[view]
        of_prompts = None
        if rollouts is not None and self.role is not None:
            named = pairs_of_prompts(self.run, self.role, rollouts.prompt_ids.tolist())
            prompts_of = prompts_in(self.run, named)[view]
            of_prompts = [prompts_of[where] for where in sets]
        keep = np.ones(len(bank), bool)
        if view == "group" and len(sets) * len(bank) > MAX_CELLS:
            keep = bank.communities
            self.cells_left_out = len(sets) * int((~keep).sum())
        cells = family.cells(list(sets), list(sets.values()), of_prompts, keep)
        everywhere, conditioned = forecast_table("global", family.columns()), forecast_table(view, cells)
        return everywhere, conditioned, family.halves_table(), family.shuffled_table()

    def _check(self, pairs: Any, rollouts: Any) -> None:
        if pairs.n_families < 4:
            raise UserError(
                f"{pairs.n_families} families of pairs are too few to forecast from", file=self.run.path,
                why="the reward is tested on families that it was not fitted to, and on halves of them",
                fix="Audit more pairs",
            )  # fmt: skip
        if rollouts is not None and np.unique(rollouts.unit[rollouts.per_prompt >= 2]).size < 4:
            raise UserError(
                f"the rollouts '{self.role}' are too few to forecast from", file=self.run.path,
                why="what goes with what is seen in several answers to one prompt, and under four prompts have them",
                fix="Sample them with --per-prompt 2 or more and more prompts, or name others with --rollouts",
            )  # fmt: skip


def _about(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """What the forecast was made from."""
    role, own_model = config["rollouts"], (run.manifest.get("lens") or {}).get("model_identity")
    return {
        "format_version": FORMAT_VERSION,
        **config,
        "rollouts_disjoint": role != BEFORE,  # those that verification compares with
        "rollouts_by_own_model": None if role is None else run.json(report_file(role))["model"] == own_model,
        "measurement_id": run.manifest.get("measurement_id"),
    }
