"""The seal of a forecast: its hash in run.json, and what happens to a sealed forecast that is to be replaced."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import Any

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.run import Run, Stage, file_hash, write_json, writing
from pretilt.schema import FORECAST_FILE, FORECAST_REPORT

BEFORE = "before"  # the rollouts with which verification compares
STAGE = "forecast"
FORECASTS = "forecasts"  # of run.json: every forecast ever sealed, in order


def _recorded(run: Run) -> list[dict[str, Any]]:
    return list(run.manifest.get(FORECASTS, []))


def sealed_at(run: Run, sha256: str) -> dict[str, Any]:
    """When the seal was set, and whether a training had begun in the run by then. Made again, a forecast keeps both."""
    for entry in _recorded(run):
        if entry["sha256"] == sha256:
            return {name: entry[name] for name in ("written", "sealed_before_training")}
    written = datetime.now(UTC).isoformat(timespec="seconds")
    return {"written": written, "sealed_before_training": not any(run.path.glob("*/train.json"))}


def record(run: Run) -> None:
    """Put the finished forecast into run.json, unless it is there; called again, it mends what a kill prevented."""
    entries, stage = _recorded(run), run.manifest["stages"].get(STAGE)
    report = run.json(FORECAST_REPORT) if run.is_whole(FORECAST_REPORT) else {"sha256": None}
    if stage is None or report["sha256"] != stage["files"][FORECAST_FILE]:
        return  # none, or one that was being replaced when the process ended
    if report["sha256"] not in [entry["sha256"] for entry in entries]:
        names = ("sha256", "written", "form", "rung", "rollouts", "sealed_before_training")
        run.record(FORECASTS, [*entries, {name: report[name] for name in names}])


def _informed(rollouts: str | None) -> int:
    """How much a forecast knows: 0 without rollouts, 1 with those that verification compares with, 2 with others."""
    return 0 if rollouts is None else 1 if rollouts == BEFORE else 2


def check_free(run: Run, stage: Stage, config: dict[str, Any], replace: bool, events: Events) -> None:
    """Raise UserError if the run holds a forecast of another key, saying how it differs, unless it may be replaced.

    Before any training in the run a forecast takes the place of one that knew less; after that only if `replace`.
    """
    recorded = run.manifest["stages"].get(STAGE)
    if recorded is None or recorded["key"] == stage.key or replace:
        return
    begun = next(iter(sorted(run.path.glob("*/train.json"))), None)
    was, now = recorded["config"].get("rollouts"), config.get("rollouts")
    if begun is None and _informed(now) > _informed(was):
        events.say(
            f"no training has begun: the forecast with {_with(was)} gives way to one with {_with(now)}; the old one is "
            "kept beside it, and both are listed in run.json"
        )
        return
    differ = [f"{name} {was} there, {config.get(name)} here" for name, was in recorded["config"].items()
              if config.get(name) != was]  # fmt: skip
    written = next((f["written"] for f in _recorded(run) if f["sha256"] == recorded["files"][FORECAST_FILE]), "before")
    raise UserError(
        "the run holds a sealed forecast",
        file=run.path / FORECAST_FILE,
        why=f"it was made on {written}: {'; '.join(differ) or 'since then pairs, concepts or rollouts have changed'}",
        fix=_KEPT if begun is None else f"A training has begun ({begun}): {_TOO_LATE}",
    )


_KEPT = "Give --replace: the old one is kept beside the new, and both are listed in run.json"
_TOO_LATE = "what is said now may know its outcome. Keep the sealed one; with --replace the new one says it came after"


def _with(rollouts: str | None) -> str:
    return "no rollouts" if rollouts is None else f"the rollouts '{rollouts}'"


def keep_old(run: Run, stage: Stage, events: Events) -> None:
    """Copy a sealed forecast that is about to be replaced to forecast-<first 8 of its hash>.*."""
    recorded = run.manifest["stages"].get(STAGE)
    if recorded is None or recorded["key"] == stage.key:
        return
    sha256 = recorded["files"][FORECAST_FILE]
    copy = run.path / f"forecast-{sha256[:8]}.parquet"
    if copy.is_file() and file_hash(copy) == sha256:
        return
    if not (run.is_whole(FORECAST_FILE) and run.is_whole(FORECAST_REPORT)):
        events.say(f"{run.path / FORECAST_FILE} is not the file that was sealed as {sha256[:12]}: it cannot be kept")
        return
    write_json(copy.with_suffix(".json"), run.json(FORECAST_REPORT))
    with writing(copy) as partial:
        shutil.copyfile(run.path / FORECAST_FILE, partial)
