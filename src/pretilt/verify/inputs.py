"""What `verify` compares: the forecast as it was sealed, and rollouts of both models in the forecast's own concepts."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pretilt.errors import UserError
from pretilt.forecast.inputs import Bank, concept_bank, pairs_of_prompts, rollouts_of
from pretilt.forecast.ladder import RUNGS
from pretilt.forecast.samples import Rollouts
from pretilt.forecast.uncertainty import rollout_noise
from pretilt.rollouts.reading import check_measurement
from pretilt.rollouts.step import RolloutResult
from pretilt.run import Run
from pretilt.schema import FORECAST_FILE, FORECAST_HALVES_FILE, FORECAST_REPORT, FORECAST_SHUFFLED_FILE
from pretilt.stats.clustered import FEW_UNITS
from pretilt.verify.observed import Observed, realised

# Views of sets of prompts, and the kind of concepts that each is judged on.
CELL_VIEWS = {"group": "community", "prompt_max": "shift_max", "prompt_freq": "shift_freq"}
CELL_VIEWS |= {"pattern_group": "pattern", "detector_group": "detector"}
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Forecast:
    """forecast.parquet as arrays; M concepts in the order of the bank, NaN where the table has null."""

    about: dict[str, Any]  # forecast.json
    table: pa.Table
    bank: Bank
    column: dict[str, np.ndarray]  # float64 [M], every number of the global rows by name
    halves: tuple[np.ndarray, np.ndarray] | None  # [splits, M] twice, of the declared rung
    shuffled: np.ndarray | None = None  # [draws, M], the declared rung on shuffled labels

    @property
    def rung(self) -> str:
        return str(self.about["rung"])

    @property
    def sd(self) -> np.ndarray:
        """[M] standard deviation of the declared rung, from its 95 % interval; 0 where it has none."""
        return np.asarray(np.nan_to_num(self.column["shift_hi"] - self.column["shift_lo"]) / (2 * _Z95))

    def rungs(self, keep: np.ndarray) -> list[str]:
        """The rungs that are known for all of these concepts, in the ladder's order."""
        return [rung for rung in RUNGS if np.isfinite(self.column[rung][keep]).all()]

    def cells(self, view: str) -> Cells:
        """The forecasts in sets of prompts of one view."""
        rows = self.table.filter(pc.equal(self.table["view"], view))
        where, k = np.unique(rows["where"].to_numpy(), return_inverse=True)
        ids, m = np.unique(rows["concept_id"].to_numpy(), return_inverse=True)
        if not np.isin(ids, self.bank.concept_ids).all():
            raise UserError("the forecast is of other concepts than the run holds", fix="Run `pretilt forecast` anew")
        column = {}
        for name in (*RUNGS, "shift", "contrast"):
            column[name] = np.full((where.size, ids.size), np.nan)
            column[name][k, m] = floats(rows[name])
        return Cells(view, where, np.searchsorted(self.bank.concept_ids, ids), column)


@dataclass(frozen=True)
class Cells:
    """K sets of prompts × M' concepts of one view."""

    view: str
    where: np.ndarray  # int32 [K]
    concept: np.ndarray  # int64 [M'], positions in the bank
    column: dict[str, np.ndarray]  # float64 [K, M']


@dataclass(frozen=True)
class Seen:
    """What the two models said, scored; J prompts that both answered."""

    before: Rollouts
    after: Rollouts
    observed: Observed  # of the bank's M concepts
    length_drift: float  # mean change of the log length (content tokens), prompts counting alike
    pair_ids: list[str]  # [J] a pair that has the prompt

    @property
    def per_prompt(self) -> float:
        """Rollouts of one model that count like the actual ones of both: harmonic means over prompts and models."""
        both = [np.mean(1 / answers.per_prompt) for answers in (self.before, self.after)]
        return float(2 / sum(both))

    def noise(self, variance: np.ndarray) -> np.ndarray:
        """[M] variance that sampling alone gives the observed shift, from the variance of one rollout within prompts.

        Where that is not known (NaN), from the rollouts before training; 0 where these are one per prompt too.
        """
        n = len(self.observed.shift)
        try:
            pooled = rollout_noise(self.before, n, self.per_prompt)
        except ValueError:
            pooled = np.zeros(variance.size)
        return np.asarray(np.where(np.isfinite(variance), 2 * variance / (n * self.per_prompt), pooled))


def floats(column: pa.ChunkedArray) -> np.ndarray:
    """float64, null as NaN."""
    values: np.ndarray = column.cast(pa.float64()).to_numpy()
    return values


def stored_forecast(run: Run) -> Forecast:
    """The run's forecast. Raises UserError if there is none, or it is of another measurement or other concepts."""
    about_path, path = (_place(run, name) for name in (FORECAST_REPORT, FORECAST_FILE))
    if not (about_path.exists() and path.exists()):
        raise UserError(
            "the run holds no forecast",
            file=run.path,
            why=f"{FORECAST_REPORT if not about_path.exists() else FORECAST_FILE} is missing",
            fix="Run `pretilt forecast` before training",
        )
    bank = concept_bank(run)
    try:
        report, table = json.loads(about_path.read_text(encoding="utf-8")), pq.read_table(path)
        measurement, rung = report["measurement_id"], report["rung"]
        if rung not in RUNGS:
            raise KeyError(f"there is no rung '{rung}'")
        everywhere = table.filter(pc.equal(table["view"], "global")).sort_by("concept_id")
        column = {name: floats(everywhere[name]) for name in _numbers(table)}
        halves = _numbered(_place(run, FORECAST_HALVES_FILE), bank, ("half", "split"))
        shuffled = _numbered(_place(run, FORECAST_SHUFFLED_FILE), bank, ("draw",))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError("the forecast cannot be read", file=path, why=str(error), fix="Restore the files") from error
    check_measurement(run.manifest["measurement_id"], measurement)
    if not np.array_equal(everywhere["concept_id"].to_numpy(), bank.concept_ids):
        raise UserError(
            "the forecast is of other concepts than the run holds",
            file=path,
            why="the run was audited again since",
            fix="Put the audit's settings back, or forecast and train anew",
        )
    if not np.isfinite(column["shift"]).all():
        raise UserError("the forecast is not whole", file=path, why="a concept has no number", fix="Restore the file")
    return Forecast(report, table, bank, column, None if halves is None else (halves[0], halves[1]), shuffled)


def _place(run: Run, name: str) -> Path:
    """The file that a stage of the run wrote, checked; else where somebody may have put one."""
    return run.file(name) if run.holds(name) else run.path / name


def _numbers(table: pa.Table) -> list[str]:
    return [f.name for f in table.schema if pa.types.is_floating(f.type)]


def _numbered(path: Path, bank: Bank, key_names: tuple[str, ...]) -> np.ndarray | None:
    """The column "value" as [n, …, M] over the columns `by`, counted from 0.

    None where the file is missing or does not hold every concept: then what it tells is not known.
    """
    if not path.exists():
        return None
    table = pq.read_table(path)
    in_bank = np.isin(table["concept_id"].to_numpy(), bank.concept_ids)
    place = np.searchsorted(bank.concept_ids, table["concept_id"].to_numpy()[in_bank])
    numbers = [np.unique(table[name].to_numpy()[in_bank], return_inverse=True)[1].ravel() for name in key_names]
    values = np.full([*(int(number.max(initial=-1)) + 1 for number in numbers), len(bank)], np.nan)
    values[(*numbers, place)] = floats(table["value"])[in_bank]
    return values if values.size and np.isfinite(values).all() else None


def seen(run: Run, before: str, after: str, bank: Bank, form: Any) -> Seen:
    """Both models' rollouts in one bank and one form of score. Raises UserError if too few prompts have both."""
    b, a = (rollouts_of(run, role, bank, form) for role in (before, after))
    observed = realised(b, a)
    if observed.n_units < FEW_UNITS:
        raise UserError(
            f"only {observed.n_units} independent prompts were answered by both models",
            file=run.path,
            why=f"near-duplicates count once, and at least {FEW_UNITS} are needed",
            fix="Sample more: --split all, or audit with a larger --holdout",
        )
    lengths = realised(*(replace(answers, c=answers.nuisance[:, :1]) for answers in (b, a)))
    pair_ids = pairs_of_prompts(run, before, [str(i) for i in observed.prompt_ids])
    return Seen(b, a, observed, float(lengths.mean[0]), pair_ids)


def check_same_prompts(before: RolloutResult, after: RolloutResult) -> None:
    """Raise UserError unless both roles answered the very same prompts."""
    prompt_sets = [set(result.samples["prompt_id"].to_pylist()) for result in (before, after)]
    if prompt_sets[0] != prompt_sets[1]:
        only = [len(prompt_sets[0] - prompt_sets[1]), len(prompt_sets[1] - prompt_sets[0])]
        n_both = len(prompt_sets[0] & prompt_sets[1])
        raise UserError(
            f"'{before.role}' and '{after.role}' answer different prompts",
            file=after.run.path,
            why=f"{only[0]:,} prompts only the first, {only[1]:,} only the second, {n_both:,} both",
            fix=f"Sample '{after.role}' again with the settings of '{before.role}' (`pretilt rollouts --replace`)",
        )
