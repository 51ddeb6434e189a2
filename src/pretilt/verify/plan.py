"""Did a plan do what its what-if said? Answers of the model trained under the plan minus those of the plain one.

Both trainings share the rollouts before, so that three things stand side by side for every concept: the untrained
model's rate, where plain training took it, and where training under the plan did. The change that the plan made is held
against the what-if that was sealed before; the target and everything else are judged apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pretilt.artifacts import jsonable
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.forecast.inputs import Bank, concept_bank
from pretilt.lock import writes
from pretilt.result import Result
from pretilt.rollouts.step import AFTER, features_stage, open_rollouts, rollouts_run
from pretilt.run import Run
from pretilt.schema import OUTCOME, OUTCOME_FILE, OUTCOME_REPORT, TRAIN_REPORT, TRAINED_FOLDER
from pretilt.settings import VerifySettings
from pretilt.shape.result import ShapeResult, file_of, open_shape, stage_of
from pretilt.shape.targets import is_list_of_pairs, prompts_inside
from pretilt.stats.clustered import FEW_UNITS, RESOLVED
from pretilt.stats.ratio import Z95, ratio_interval
from pretilt.train.folder import read_report
from pretilt.verify.inputs import Seen, check_same_prompts, seen
from pretilt.verify.judge import FEW_CONCEPTS, judge
from pretilt.verify.observed import Observed
from pretilt.verify.trained import same_model, sample_after
from pretilt.version import __version__

FORMAT_VERSION = 1
VERSION = 4  # raise it when a change of code can change the bytes


@dataclass(frozen=True, repr=False)
class PlanOutcome(Result):
    """What became of a plan; `report` is outcome.json."""

    run: Run
    name: str
    report: dict[str, Any]

    @property
    def headline(self) -> str:
        targets = [item for item in self.report["targets"] if item["recovery"] is not None]
        words = [f"{item['target']} {item['recovery']:.0%} of the way back" for item in targets[:3]]
        return f"{self.run.path}: plan '{self.name}': {', '.join(words) or 'no target moved without the plan'}"

    @property
    def table(self) -> pa.Table:
        """Schema OUTCOME."""
        return self.run.table(file_of(self.name, OUTCOME_FILE))


@writes("verify")
def verify_plan(run: Run, name: str, options: VerifySettings, *, events: Events | None = None) -> PlanOutcome:
    """Compare the change that a plan made with the what-if that foretold it; missing answers are sampled first.

    `name` is of the compiled plan; the plain model is that of the run (`trained/`), the other one of `trained-<name>`.
    Raises UserError where either was not trained, or was trained on other pairs or under another plan.
    """
    events = watching(events)
    shape = open_shape(run, name)
    before, after, shaped = options.before, AFTER, f"{AFTER}-{name}"
    folders = {after: run.path / TRAINED_FOLDER, shaped: run.path / f"{TRAINED_FOLDER}-{name}"}
    trainings = {role: _training(folder, shape, role == shaped) for role, folder in folders.items()}
    if features_stage(before) not in run.manifest["stages"]:
        rollouts_run(run, before, events=events)
    for role, folder in folders.items():
        if features_stage(role) not in Run(run.path).manifest["stages"]:
            sample_after(Run(run.path), role, folder, events)
    run = Run(run.path)  # with the new stages
    answers = {role: open_rollouts(run, role) for role in (before, after, shaped)}
    for role, folder in folders.items():
        check_same_prompts(answers[before], answers[role])
        if same_model(folder, answers[role]) is False:
            raise UserError(
                f"the rollouts '{role}' are of another model than {folder}", file=run.path,
                why="the folder was trained anew since, or they were sampled elsewhere",
                fix=f"Run `pretilt rollouts {run.path} --role {role} --model {folder} --replace`",
            )  # fmt: skip
    config = {"before": before, "after": after, "shaped": shaped, "draws": options.draws, "seed": options.seed}
    reads = [stage_of(name), *(features_stage(role) for role in (before, after, shaped))]
    inputs = {"trainings": {role: training["key"] for role, training in trainings.items()}}
    stage_name = f"outcome-{name}"
    with run.stage(stage_name, version=VERSION, config=config, reads=reads, inputs=inputs) as stage:
        if not stage.done:
            events.say(f"judging the plan '{name}'")
            judging = _Judging(run, shape, config, trainings)
            stage.write(file_of(name, OUTCOME_FILE), judging.table)
            stage.write_json(file_of(name, OUTCOME_REPORT), judging.report())
    return PlanOutcome(run, name, run.json(file_of(name, OUTCOME_REPORT)))


def _training(folder: Path, shape: ShapeResult, is_shaped: bool) -> dict[str, Any]:
    """The train.json of one of the two models. Raises UserError for one that is missing, unfinished or another's."""
    plan = f" --plan {shape.name}.yaml" if is_shaped else ""
    fix = f"Run `pretilt train {shape.run.path}{plan}` first"
    if not (folder / TRAIN_REPORT).is_file():
        raise UserError("a model to compare with is missing", file=folder, fix=fix)
    report = read_report(folder, fix)
    trouble = ""
    if not report["finished"]:
        trouble = "its training has not finished"
    elif report["pairs_sha256"] != shape.report["pairs_sha256"]:
        trouble = "it was trained on other pairs"
    elif is_shaped and (report.get("plan") or {}).get("actions_sha256") != shape.report["actions_sha256"]:
        trouble = "it was trained under another plan, or before this one was compiled"
    elif not is_shaped and report.get("plan"):
        trouble = "it was trained under a plan, and the plain model is wanted"
    if trouble:
        raise UserError("a model cannot be compared", file=folder, why=trouble, fix=fix)
    return report


class _Judging:
    """One plan's outcome, computed once."""

    def __init__(self, run: Run, shape: ShapeResult, config: dict[str, Any], trainings: dict[str, Any]) -> None:
        self.run, self.shape, self.config, self.trainings = run, shape, config, trainings
        bank: Bank = concept_bank(run)
        form: Any = shape.report["form"]
        before, after, shaped = config["before"], config["after"], config["shaped"]
        self.change: Seen = seen(run, after, shaped, bank, form)  # what the plan made of it
        self.plain: Seen = seen(run, before, after, bank, form)
        self.foretold = {row["concept_id"]: row for row in shape.table.to_pylist()}
        self.concept_ids = bank.concept_ids.tolist()
        if set(self.concept_ids) != set(self.foretold):
            raise UserError(
                "the what-if is of other concepts than the run holds", file=run.path, why="the run was audited again",
                fix="Run `pretilt shape` again, and train under the plan anew",
            )  # fmt: skip
        self.predicted = np.array([self.foretold[concept]["change"] for concept in self.concept_ids])
        self.table = self._table()

    def _table(self) -> pa.Table:
        y, se = self.change.observed.mean, self.change.observed.se
        base = self.plain.before.means.mean(axis=0)
        moved = self.plain.observed.mean
        resolved = np.abs(y) > RESOLVED * se
        right = np.sign(self.predicted) == np.sign(y)
        rows = []
        for m, concept in enumerate(self.concept_ids):
            foretold = self.foretold[concept]
            rows.append(
                {
                    "concept_id": concept, "family": foretold["family"], "role": foretold["role"],
                    "predicted": foretold["change"], "observed": y[m], "se": se[m], "resolved": bool(resolved[m]),
                    "sign_right": bool(right[m]) if resolved[m] else None,
                    "before": base[m], "plain": base[m] + moved[m], "shaped": base[m] + moved[m] + y[m],
                }
            )  # fmt: skip
        return pa.Table.from_pylist(rows, OUTCOME)

    def report(self) -> dict[str, Any]:
        """Schema OutcomeReport."""
        families = np.array([self.foretold[concept]["family"] for concept in self.concept_ids], object)
        roles = np.array([self.foretold[concept]["role"] for concept in self.concept_ids], object)
        sets = {}
        for family in dict.fromkeys(families):
            inside = families == family
            whole = self._figures(inside)
            off_target = self._figures(inside & (roles != "target"), whole["slope"])
            sets[str(family)] = {"all": whole, "off_target": off_target}
        report: dict[str, Any] = jsonable(
            {
                "format_version": FORMAT_VERSION,
                "pretilt": __version__,
                "name": self.shape.name,
                **self.config,
                "sealed_before_training": self._was_sealed(),
                "prompts": len(self.change.observed.shift),
                "per_prompt": self.change.per_prompt,
                "targets": self._targets(),
                "sets": sets,
                "utility": {name: _utility(self.trainings[self.config[name]]) for name in ("after", "shaped")},
                "length_drift": {"plain": self.plain.length_drift, "change": self.change.length_drift},
            }
        )
        return report

    def _was_sealed(self) -> bool:
        """The training under the plan began with this very what-if."""
        plan = self.trainings[self.config["shaped"]].get("plan") or {}
        return bool(plan.get("what_if_sha256") == self.shape.report["sha256"])

    def _targets(self) -> list[dict[str, Any]]:
        """Intended, forecast and realised of every concept that the plan is about."""
        seen_prompts = self.plain.observed.prompt_ids
        order = np.intersect1d(self.plain.before.prompt_ids, seen_prompts, return_indices=True)[1]
        targets = []
        for item in self.shape.report["items"]:
            if item["concept_id"] not in self.concept_ids:
                continue
            m = self.concept_ids.index(item["concept_id"])
            prompts = self._inside(item) if item["is_local"] else None
            inside = np.ones(len(self.change.pair_ids), bool) if prompts is None else prompts
            before = float(self.plain.before.means[order][inside, m].mean())
            plain, change = (_part(shifts, inside, m) for shifts in (self.plain.observed, self.change.observed))
            outside = (None, None) if prompts is None else _part(self.change.observed, ~inside, m)
            left, lo, hi = self._left(inside, m) if abs(plain[0]) > RESOLVED * plain[1] else (None, None, None)
            targets.append(
                {
                    "number": item["number"], "decision": item["decision"], "target": item["target"],
                    "name": item["name"], "method": item["method"], "strength": item["strength"],
                    "prompts": int(inside.sum()), "is_inside": prompts is not None,
                    "before": before, "plain": before + plain[0], "shaped": before + plain[0] + change[0],
                    "change_se": change[1], "outside_change": outside[0], "outside_se": outside[1],
                    "share_wanted": item["share_wanted"], "forecast_left": item["reached"],
                    "forecast_left_everywhere": item["reached_everywhere"],
                    "left": left, "left_lo": lo, "left_hi": hi, "recovery": None if left is None else 1 - left,
                }
            )  # fmt: skip
        return targets

    def _left(self, prompts: np.ndarray, m: int) -> tuple[float, float, float]:
        """(share of the plain shift that is left, its 95 % limits) on some prompts; errors of both trainings count."""
        plain = self.plain.observed.shift[prompts, m]
        both = plain + self.change.observed.shift[prompts, m]
        limits = ratio_interval(both, plain, self.plain.observed.unit[prompts])
        return (float(both.mean() / plain.mean()), *limits)

    def _inside(self, item: dict[str, Any]) -> np.ndarray | None:
        """bool [J]: the prompts in the place and the gate of a local target; None where these name too few of them."""
        if is_list_of_pairs(item["gate"]):
            return None
        inside = prompts_inside(self.run, item["target"], item["gate"], self.change.pair_ids)
        n_units = [np.unique(self.change.observed.unit[part]).size for part in (inside, ~inside)]
        return inside if min(n_units) >= FEW_UNITS else None

    def _figures(self, keep: np.ndarray, slope: float | None = None) -> dict[str, Any]:
        """How well the change of some concepts was foretold, and how large it was; `slope`: of a larger set's fit."""
        n, observed = int(keep.sum()), self.change.observed
        y, se = observed.mean[keep], observed.se[keep]
        figures: dict[str, Any] = {
            "concepts": n,
            "mean_change": float(np.abs(y).mean()) if n else None,
            "mean_noise": float(np.sqrt(2 / np.pi) * se.mean()) if n else None,
            "resolved": int((np.abs(y) > RESOLVED * se).sum()),
            **dict.fromkeys(("r2", "rel_y", "spearman", "sign_accuracy", "slope", "coverage")),
        }
        if n < FEW_CONCEPTS or not np.ptp(self.predicted[keep]):
            return figures
        part = type(observed)(observed.shift[:, keep], observed.unit, observed.prompt_ids, observed.n_unpaired)
        judged = judge(self.predicted[keep], part, draws=self.config["draws"], permutations=1, seed=self.config["seed"])
        return {
            **figures,
            "r2": judged.overall.r2, "rel_y": judged.overall.rel_y, "spearman": judged.spearman,
            "sign_accuracy": judged.sign_accuracy, "slope": judged.slope,
            "coverage": self._coverage(keep, judged.slope if slope is None else slope),
        }  # fmt: skip

    def _coverage(self, keep: np.ndarray, slope: float) -> float:
        """Share of the concepts that were seen inside of the 95 % interval, in which both errors are.

        Sizes are relative before a training has calibrated them: the interval is scaled by the slope that was seen.
        """
        ends = np.array([[self.foretold[c][f"change_{end}"] for end in ("lo", "hi")] for c in self.concept_ids])
        half = np.sqrt((slope * (ends[keep, 1] - ends[keep, 0]) / 2) ** 2 + (Z95 * self.change.observed.se[keep]) ** 2)
        middle = slope * ends[keep].mean(axis=1)
        return float(np.mean(np.abs(self.change.observed.mean[keep] - middle) <= half))


def _part(observed: Observed, prompts: np.ndarray, m: int) -> tuple[float, float]:
    """(mean shift, its standard error) of one concept over some prompts."""
    unit = np.unique(observed.unit[prompts], return_inverse=True)[1].ravel()
    part = Observed(observed.shift[prompts][:, [m]], unit, observed.prompt_ids[prompts], 0)
    return float(part.mean[0]), float(part.se[0])


def _utility(training: dict[str, Any]) -> dict[str, Any]:
    """What is left of the preference on held-out pairs; of the labels as they stand."""
    heldout = training["regime"].get("heldout") or {}
    names = ("pairs", "accuracy", "mean_margin", "margin_se")
    return {"regime": training["regime"]["name"], **{name: heldout.get(name) for name in names}}
