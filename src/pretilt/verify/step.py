"""`verify`: did the forecast come true? Rollouts of the trained model minus those of the untrained one, against it.

Only what was fixed beforehand is judged: the forecast's own concepts, the prompts of the rollouts, the rules of
docs/verification.md. The numbers go into verification.parquet and .json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.lock import writes
from pretilt.result import Result
from pretilt.rollouts.step import AFTER, RolloutResult, features_stage, open_rollouts, rollouts_run
from pretilt.run import Run, file_hash
from pretilt.schema import (
    FORECAST_FILE,
    FORECAST_HALVES_FILE,
    FORECAST_REPORT,
    FORECAST_SHUFFLED_FILE,
    VERIFICATION,
)
from pretilt.settings import VerifySettings
from pretilt.stats.clustered import RESOLVED
from pretilt.verify.trained import answerer, check_model, check_pairs, same_model, sample_after, score, training_of
from pretilt.verify.verdict import NOTHING, Seal, seal, statements, verdict
from pretilt.version import __version__

if TYPE_CHECKING:
    from pretilt.verify.inputs import Cells, Forecast, Seen
    from pretilt.verify.sets import Calibrated

FORMAT_VERSION = 1
_FORECAST_FACTS = ("sha256", "written", "form", "rung", "cells_rung", "rollouts", "rollouts_disjoint")
VERSION = 7  # raise it when a change of code can change the bytes


@dataclass(frozen=True, repr=False)
class VerifyResult(Result):
    """A finished verification; `report` is its JSON file."""

    run: Run
    name: str | None
    report: dict[str, Any]

    @property
    def headline(self) -> str:
        return str(self.report["verdict"]["sentence"])

    @property
    def table(self) -> pa.Table:
        """Schema VERIFICATION."""
        return self.run.table(f"{stem(self.name)}.parquet")


def stem(name: str | None) -> str:
    return f"verification-{name}" if name else "verification"


@writes("verify")
def verify_run(
    run: Run,
    options: VerifySettings,
    *,
    events: Events | None = None,
) -> VerifyResult:
    """Compare a run's forecast with what the trained model says; what is missing is sampled first.

    Without rollouts of `options.after` the model of `options.trained` answers. The name of the verification, where none
    is given, follows from the role ("after" has none). Killed, the same call goes on; finished, it returns what is
    there.

    Raises UserError without a forecast, for rollouts of another measurement or to different prompts, for a model
    that was trained on other pairs, and where nothing says who the trained model is.
    """
    events = watching(events)
    if run.manifest.get("measurement_id") is None:
        raise UserError("the lens has not read all pairs yet", file=run.path, fix="Run `pretilt audit` again")
    from pretilt.verify.inputs import check_same_prompts, stored_forecast

    before, name = options.before, options.name
    forecast = stored_forecast(run)  # refuses before hours are spent
    role, model = answerer(run, options.after, options.trained, name)
    folder, training = training_of(run, options.trained, model)
    if model is not None:
        check_model(model)
    if features_stage(before) not in run.manifest["stages"]:
        rollouts_run(run, before, events=events)
    if model is not None:
        sample_after(run, role, model, events)
    run = Run(run.path)  # with the new stages
    b, a = open_rollouts(run, before), open_rollouts(run, role)
    check_same_prompts(b, a)
    same = same_model(folder, a)
    if training is not None and folder is not None and same:
        check_pairs(run, folder, training)
    if options.importance:
        run = score(run, before, model or (folder if same else None), a, events)
    sealed = seal(file_hash(run.path / FORECAST_FILE), forecast.about, training, same_model=same)
    if same is False:
        training = None  # what it says is about another model than the one that answered
    name = name or (None if role == AFTER else role.removeprefix(f"{AFTER}-"))
    config = {
        "before": before,
        "after": role,
        "draws": options.draws,
        "permutations": options.permutations,
        "seed": options.seed,
    }
    controls = [r for r in ("after-zero-step", "after-shuffled") if features_stage(r) in run.manifest["stages"]]
    scored = [s for s in run.manifest["stages"] if s.startswith((f"rollouts-{before}-own", f"rollouts-{before}-other"))]
    answered = map(features_stage, dict.fromkeys([before, role, *controls]))
    of_audit = [name for name in ("pairs", "features", "patterns", "audit") if name in run.manifest["stages"]]
    reads = [*of_audit, *answered, *scored]
    files = (FORECAST_FILE, FORECAST_REPORT, FORECAST_HALVES_FILE, FORECAST_SHUFFLED_FILE)
    inputs = {
        "forecast": {f: file_hash(run.path / f) for f in files if (run.path / f).exists()},
        "seal": sealed.to_dict(),
        "training": training and training.get("key"),
        "pretilt": __version__,
    }
    with run.stage(stem(name), version=VERSION, config=config, reads=sorted(set(reads)), inputs=inputs) as stage:
        if not stage.done:
            events.say("judging the forecast")
            verification = _Verification(run, forecast, b, a, sealed, training, config)
            stage.write(f"{stem(name)}.parquet", verification.table())
            stage.write_json(f"{stem(name)}.json", verification.report(name))
    return VerifyResult(run, name, run.json(f"{stem(name)}.json"))


class _Verification:
    """One forecast against one pair of roles: everything is computed here, nothing is read or written twice."""

    def __init__(
        self,
        run: Run,
        forecast: Forecast,
        before: RolloutResult,
        after: RolloutResult,
        sealed: Seal,
        training: dict[str, Any] | None,
        config: dict[str, Any],
    ) -> None:
        from pretilt.forecast.inputs import prompts_in
        from pretilt.verify import sets as sets
        from pretilt.verify.inputs import CELL_VIEWS, seen

        self.run, self.forecast, self.before, self.after = run, forecast, before, after
        self.sealed, self.training, self.config = sealed, training, config
        self.effort = sets.Effort(config["draws"], config["permutations"], config["seed"])
        self.seen: Seen = seen(run, before.role, after.role, forecast.bank, forecast.about["form"])
        self.masks = sets.masks(forecast)
        self.headline = sets.headline_of(self.masks)
        self.calibrated: dict[str, Calibrated] = sets.calibrate(forecast, self.seen)
        self.nulls = sets.nulls_of(forecast, self.seen)
        self.cells: dict[str, Cells] = {
            view: cells for view in CELL_VIEWS if (cells := forecast.cells(view)).where.size and cells.concept.size
        }
        self.members = prompts_in(run, self.seen.pair_ids)

    @property
    def kept(self) -> np.ndarray:
        """The concepts of the headline, bool [M]."""
        return self.masks[self.headline]

    def table(self) -> pa.Table:
        from pretilt.verify.sets import cell_rows

        y, se, n = self.seen.observed.mean, self.seen.observed.se, len(self.seen.observed.shift)
        lo, hi = np.empty(y.size), np.empty(y.size)
        for name in self.masks.keys() - {"communities"}:  # which are among the features
            in_set, calibrated = self.masks[name], self.calibrated[name]
            lo[in_set], hi[in_set] = (
                (np.nan, np.nan)
                if calibrated.void
                else (calibrated.interval.lo[in_set], calibrated.interval.hi[in_set])
            )
        predicted = self.forecast.column["shift"]
        everywhere = _rows("global", np.full(y.size, -1), self.forecast.bank.concept_ids, predicted, y, se, n)
        inside = [bool(a <= b <= c) if a == a else None for a, b, c in zip(lo, y, hi, strict=True)]  # NaN: void
        everywhere |= {"predictive_lo": lo, "predictive_hi": hi, "inside": inside}
        tables = [_table(everywhere)]
        for view, cells in self.cells.items():
            rows = cell_rows(cells, self.members[view], self.seen)
            k, m = rows.observed.shape
            where, ids = np.repeat(cells.where, m), np.tile(self.forecast.bank.concept_ids[cells.concept], k)
            contrast = cells.column["contrast"].ravel()
            numbers = (contrast, rows.observed.ravel(), rows.se.ravel(), np.repeat(rows.n_prompts, m))
            tables.append(_table(_rows(view, where, ids, *numbers, resolving=np.repeat(rows.resolving, m))))
        return pa.concat_tables(tables)

    def report(self, name: str | None) -> dict[str, Any]:
        from pretilt.artifacts import jsonable
        from pretilt.forecast.inputs import rollouts_of
        from pretilt.verify import sets as sets
        from pretilt.verify.doctor import after_training
        from pretilt.verify.importance import importance

        outcome, forecast, observed = self.seen, self.forecast, self.seen.observed
        set_reports = {
            set_name: {
                **sets.judge_set(set_name, keep, forecast, outcome, self.nulls, self.calibrated[set_name], self.effort),
                **sets.hits_and_misses(keep, forecast, outcome, self.calibrated[set_name]),
            }
            for set_name, keep in self.masks.items()
        }
        cells = {
            view: sets.judge_view(view_cells, self.members[view], forecast, outcome, self.effort.seed)
            for view, view_cells in self.cells.items()
        }
        n_prompts, judged = len(observed.shift), set_reports[self.headline]["judgement"]
        judged_verdict = verdict(set_reports[self.headline], n_prompts, outcome.per_prompt)
        for set_report in set_reports.values():  # under "nothing can be said" stands no list of hits
            set_report["can_be_said"] = verdict(set_report, n_prompts, outcome.per_prompt)["name"] != NOTHING
            if not set_report["can_be_said"]:
                set_report |= {"hits": [], "misses": []}
        keep = self.kept
        arrays = (forecast.column["shift"][keep], forecast.sd[keep], observed.mean[keep], observed.se[keep])
        doctor = after_training(
            self.run,
            forecast,
            outcome,
            keep,
            None if judged is None else judged["overall"]["rel_y"],
            self.before,
            lambda role: rollouts_of(self.run, role, forecast.bank, forecast.about["form"]),
            self.effort,
        )
        report: dict[str, Any] = jsonable(
            {
                "format_version": FORMAT_VERSION,
                "pretilt": __version__,
                "name": name,
                **self.config,
                "source": self.run.manifest.get("source"),
                "measurement_id": self.run.manifest["measurement_id"],
                "verdict": {
                    **judged_verdict,
                    "text": f"{judged_verdict['sentence']}. {self.sealed.words}",
                    "set": self.headline,
                },
                "seal": self.sealed.to_dict(),
                "forecast": {key: forecast.about.get(key) for key in _FORECAST_FACTS},
                "prompts": {
                    "judged": n_prompts,
                    "split": self.before.report["settings"]["split"],
                    "units": observed.n_units,
                    "unpaired": observed.n_unpaired,
                    "per_prompt": outcome.per_prompt,
                    **{
                        when: result.report["rollouts"]
                        for when, result in (("before", self.before), ("after", self.after))
                    },
                },
                "models": {"before": self.before.report["model"], "after": self.after.report["model"]},
                "length_drift": outcome.length_drift,
                "nulls_from": self.nulls.source,
                "sets": set_reports,
                "cells": cells,
                "statements": statements(set_reports[self.headline], cells, *arrays),
                "importance": importance(
                    self.run, self.before, self.after.report["model"], forecast, outcome, self.masks, self.headline
                ),
                "training": self._regime(),
                "doctor": [check.to_dict() for check in doctor],
            }
        )
        return report

    def _regime(self) -> dict[str, Any] | None:
        """What train.json says of the training; None where there is none."""
        if self.training is None:
            return None
        regime = self.training["regime"]
        measured = regime.get("train") or {}
        names = ("mean_weight", "mean_margin", "accuracy", "chosen_drift", "rms_log_ratio")
        return {
            "name": regime["name"],
            "words": regime["words"],
            **{name: measured.get(name) for name in names},
            "labels": self.training.get("labels"),
            "steps": self.training.get("steps"),
        }


def _rows(
    view: str,
    where: Any,
    concept_id: Any,
    predicted: np.ndarray,
    observed: np.ndarray,
    se: np.ndarray,
    n: Any,
    *,
    resolving: float | np.ndarray = RESOLVED,
) -> dict[str, Any]:
    resolved = np.abs(observed) > resolving * se  # NaN: not resolved
    right = np.sign(predicted) == np.sign(observed)
    nothing = np.full(observed.size, np.nan)
    return {
        "view": [view] * observed.size,
        "where": where,
        "concept_id": concept_id,
        "predicted": predicted,
        "observed": observed,
        "se": se,
        "n_prompts": np.broadcast_to(n, observed.shape),
        "predictive_lo": nothing,
        "predictive_hi": nothing,
        "inside": [None] * observed.size,
        "resolved": resolved,
        "sign_right": np.where(resolved & np.isfinite(predicted), right, None),
    }


def _table(columns: dict[str, Any]) -> pa.Table:
    arrays = [
        pa.array(columns[field.name], field.type, from_pandas=pa.types.is_floating(field.type))
        for field in VERIFICATION
    ]
    return pa.table(arrays, schema=VERIFICATION)
