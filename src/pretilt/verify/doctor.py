"""The doctor's four examinations that need rollouts or training; the rules are those of `stats/checks.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pretilt.audit import checks
from pretilt.audit.checks import Check
from pretilt.audit.doctor import rollout_index_check
from pretilt.rollouts.step import RolloutResult, features_stage
from pretilt.run import Run
from pretilt.stats.clustered import FEW_UNITS, RESOLVED
from pretilt.verify.inputs import Forecast, Seen
from pretilt.verify.judge import FEW_CONCEPTS, judge
from pretilt.verify.observed import Observed, realised
from pretilt.verify.sets import Effort, label_null

ZERO_STEP, SHUFFLED = "after-zero-step", "after-shuffled"  # roles of the two control models


def after_training(
    run: Run,
    forecast: Forecast,
    outcome: Seen,
    keep: np.ndarray,
    rel_y: float | None,
    before: RolloutResult,
    scored: Callable[[str], Any],
    effort: Effort,
) -> list[Check]:
    """All four. `keep`: the concepts of the headline; `scored(role)`: that role's rollouts in the forecast's concepts.

    A control whose role the run does not hold is "not run".
    """
    resolved = np.abs(outcome.observed.mean[keep]) > RESOLVED * outcome.observed.se[keep]
    share = float(resolved.mean()) if resolved.size else float("nan")
    return [
        rollout_index_check(run, before.reading),
        _zero_step(_control(run, ZERO_STEP, outcome, scored), keep),
        _shuffled(_control(run, SHUFFLED, outcome, scored), keep, forecast, effort),
        checks.moved(rel_y, share),
    ]


def _control(run: Run, role: str, outcome: Seen, scored: Callable[[str], Any]) -> Observed | None:
    if features_stage(role) not in run.manifest["stages"]:
        return None
    try:
        control = realised(outcome.before, scored(role))
    except ValueError:
        return None  # it answered none of these prompts
    return control if control.n_units >= FEW_UNITS else None


def _zero_step(control: Observed | None, keep: np.ndarray) -> Check:
    if control is None:
        return checks.zero_step(None)
    moved = np.abs(control.mean[keep]) > RESOLVED * control.se[keep]
    return checks.zero_step(float(moved.mean()) if moved.size else float("nan"), int(moved.size))


def _shuffled(control: Observed | None, keep: np.ndarray, forecast: Forecast, effort: Effort) -> Check:
    if control is None or keep.sum() < FEW_CONCEPTS:
        return checks.shuffled_training(None)
    if forecast.shuffled is not None:
        shuffled = forecast.shuffled[:, keep]
        return checks.shuffled_training(label_null(forecast.column["shift"][keep], shuffled, control.mean[keep])["p"])
    headline = Observed(control.shift[:, keep], control.unit, control.prompt_ids, control.n_unpaired)
    judgement = judge(
        forecast.column["shift"][keep], headline, draws=effort.draws, permutations=effort.permutations, seed=effort.seed
    )
    return checks.shuffled_training(judgement.permutation_p)
