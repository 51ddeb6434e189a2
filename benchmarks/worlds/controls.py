"""The controls of a world as rows: no step, shuffled labels, a pilot, random directions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pretilt.audit.result import open_run
from pretilt.forecast.inputs import rollouts_of
from pretilt.forecast.ladder import covariance_with, tilt
from pretilt.forecast.samples import Rollouts
from pretilt.rollouts.likelihood import log_ratio_run
from pretilt.rollouts.reading import EMPTY, READ
from pretilt.rollouts.step import open_rollouts
from pretilt.run import Run
from pretilt.stats.agreement import correlation, signed_square
from pretilt.verify.inputs import Forecast, stored_forecast
from pretilt.verify.judge import r2_draws
from pretilt.verify.observed import Observed, realised
from pretilt.verify.sets import headline_of, masks

HEAD = ("world", "control", "figure", "seen")
DRAWS = 1000


def rows(name: str, folders: list[Path]) -> Iterator[list[str]]:
    """world, control, what is looked at, what was seen."""
    for folder in folders:
        if not (folder / "random" / "verification.json").exists():
            continue
        about = f"{name}, seed {folder.name.rpartition('-')[2]}"
        whole = _report(folder / "run" / "verification.json")
        checks = {check["name"]: check for check in _report(folder / "run" / "verification-zero-step.json")["doctor"]}
        checks |= {check["name"]: check for check in _report(folder / "run" / "verification-shuffled.json")["doctor"]}
        for control in ("zero-step control", "shuffled-label training control"):
            told = checks[control]
            yield [about, control, told["threshold"], f"{told['figure']} ({told['verdict']})"]
        shuffled = _report(folder / "run" / "verification-shuffled.json")["sets"]["communities"]
        by = {line["name"]: line for line in shuffled["table"]}
        yield [about, "shuffled labels", "R² of the true forecast, of the shuffled one; permutation p of both",
               f"{by['converged']['r2']:.2f}, {by['shuffled']['r2']:.2f}; "
               f"{by['converged']['permutation_p']:.2f}, {by['shuffled']['permutation_p']:.2f}"]  # fmt: skip
        true = {line["name"]: line for line in whole["sets"]["communities"]["table"]}
        yield [about, "shuffled forecast, true training", "R²; permutation p",
               f"{true['shuffled']['r2']:.2f}; {true['shuffled']['permutation_p']:.2f}"]  # fmt: skip
        yield [about, "pilot: 5 % of the steps", "R² of its own shift as the forecast, that of the forecast",
               f"{pilot(folder / 'run'):.2f}, {true['converged']['r2']:.2f}"]  # fmt: skip
        yield [about, "pilot: its log-ratio on the untrained model's answers", "R² of first order, of tilt",
               "{:.2f}, {:.2f}".format(*pilot_law(folder))]  # fmt: skip
        random = _report(folder / "random" / "verification.json")["sets"]["communities"]["judgement"]["overall"]
        figure = f"{random['r2']:.2f} ({random['rel_y']:.2f}, {random['n']})"
        lo, middle, hi = above_random(folder)
        yield [about, "random directions", "R² (rel_y, concepts); the forecast's R² above it, 95 %",
               f"{figure}; {middle:.2f} [{lo:.2f}, {hi:.2f}]"]  # fmt: skip


def pilot(run: Path) -> float:
    """Signed R² of what a pilot run did with what the whole run did."""
    told, whole = (_observed(run, role) for role in ("after-pilot", "after"))
    return signed_square(correlation(told[1].mean, whole[1].mean))


def pilot_law(folder: Path) -> tuple[float, float]:
    """Signed R² with the whole run of what the pilot's reward predicts, by first order and by tilt, from the answers
    that the forecast was made of. Scores them under both models where that was not done."""
    run = folder / "run"
    about = stored_forecast(open_run(run).run).about
    scored = log_ratio_run(Run(run), about["rollouts"], other=folder / "pilot")
    ratio = dict(zip(scored.rollout_id, scored.log_weight.tolist(), strict=True))
    found = open_rollouts(Run(run), about["rollouts"])
    kept = [status in (READ, EMPTY) for status in found.reading["status"].to_pylist()]
    rows = [
        row
        for row, keep in zip(found.samples.select(["prompt_id", "rollout_id"]).to_pylist(), kept, strict=True)
        if keep
    ]
    rows.sort(key=lambda row: row["prompt_id"])  # as Rollouts.of sorts them, and as stably
    reward = np.array([ratio[row["rollout_id"]] for row in rows])
    answers, seen = _answers(run, about["rollouts"]), _observed(run, "after")[1].mean
    laws = covariance_with(answers, reward), tilt(answers, reward)[0]
    first, tilted = (signed_square(correlation(one, seen)) for one in laws)
    return first, tilted


def above_random(folder: Path) -> tuple[float, float, float]:
    """R² of the forecast minus that through random directions, 95 % over redrawn prompts (the same for both)."""
    drawn = []
    for name in ("run", "random"):
        said, observed = _observed(folder / name, "after")
        drawn.append(r2_draws(np.broadcast_to(said, (DRAWS, said.size)), observed))
    lo, middle, hi = np.quantile(drawn[0] - drawn[1], (0.025, 0.5, 0.975))
    return float(lo), float(middle), float(hi)


def _observed(path: Path, role: str) -> tuple[np.ndarray, Observed]:
    """(declared forecast, what was seen) of the headline's concepts."""
    forecast = stored_forecast(open_run(path).run)
    said = forecast.column["shift"][_headline(forecast)]
    return said, realised(_answers(path, "before"), _answers(path, role))


def _answers(path: Path, role: str) -> Rollouts:
    """A role's scores of the headline's concepts."""
    run = open_run(path).run
    forecast = stored_forecast(run)
    return rollouts_of(run, role, forecast.bank.take(_headline(forecast)), forecast.about["form"])


def _headline(forecast: Forecast) -> np.ndarray:
    of = masks(forecast)
    return of[headline_of(of)]


def _report(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found
