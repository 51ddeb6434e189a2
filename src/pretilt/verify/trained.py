"""Whose answers a verification judges: the trained model, where it lies, and what its training says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.rollouts.step import AFTER, RolloutResult, features_stage, rollouts_run
from pretilt.run import Run, file_hash
from pretilt.schema import PAIRS_FILE, TRAIN_REPORT, TRAINED_FOLDER
from pretilt.train.folder import read_report


def answerer(run: Run, after: str, trained: str | Path | None, name: str | None) -> tuple[str, str | Path | None]:
    """(role of the rollouts after training, the model that is to be sampled for them; None: they are there)."""
    if features_stage(after) in run.manifest["stages"]:
        return after, None
    if Path(after).is_dir() or "/" in after:
        return (f"{AFTER}-{name}" if name else AFTER), after
    folder = Path(trained).expanduser() if trained is not None else run.path / TRAINED_FOLDER
    if after.startswith(AFTER) and (folder / TRAIN_REPORT).is_file():
        return (f"{AFTER}-{name}" if name and after == AFTER else after), folder
    raise UserError(
        f"the run holds no rollouts '{after}', and no trained model to sample them from",
        file=run.path,
        why=f"{folder / TRAIN_REPORT} is missing",
        fix="Give --after the folder or Hub id of the trained model, or run `pretilt train` first",
    )


def check_model(model: str | Path) -> None:
    """Raise UserError if there is no such model: before the untrained one is sampled, which may take hours."""
    from pretilt.models import load as checkpoint

    checkpoint.check_model(model)


def sample_after(run: Run, role: str, model: str | Path, events: Events) -> None:
    """Rollouts of the trained model under this role. Raises UserError if it holds those of another model."""
    try:
        rollouts_run(run, role, model, events=events)
    except UserError as error:
        if not error.what.startswith("the run holds other rollouts"):
            raise
        fix = "Give --name to set this verification apart"
        raise UserError(error.what, file=error.file, why=error.why, fix=fix) from error


def training_of(
    run: Run, trained: str | Path | None, model: str | Path | None
) -> tuple[Path | None, dict[str, Any] | None]:
    """(folder, train.json) of the training that is verified; None where it was done elsewhere.

    `trained` was named by the user; `model` is about to be sampled. A folder that is merely there, trained/ in the run,
    need not be the model that answered: an unfinished one is passed over.
    """
    meant = trained if trained is not None else model
    folder = Path(meant).expanduser() if meant is not None else None
    if folder is not None and (folder / TRAIN_REPORT).is_file():
        report = _report(folder)
        if not report["finished"]:
            fix = "Run the same `pretilt train` again: it goes on"
            raise UserError("training has not ended", file=folder / TRAIN_REPORT, fix=fix)
        check_pairs(run, folder, report)
        return folder, report
    if trained is not None:
        raise UserError("this is no folder of a trained model", file=trained, why=f"{TRAIN_REPORT} is missing")
    folder = run.path / TRAINED_FOLDER
    if model is None and (folder / TRAIN_REPORT).is_file() and (report := _report(folder))["finished"]:
        return folder, report
    return None, None


def _report(folder: Path) -> dict[str, Any]:
    return read_report(folder, fix="Remove it and train anew, or name another folder with --trained")


def check_pairs(run: Run, folder: Path, report: dict[str, Any]) -> None:
    """Raise UserError unless the model was trained on the run's own pairs."""
    if report.get("pairs_sha256") != file_hash(run.file(PAIRS_FILE)):
        raise UserError(
            "the model was trained on other pairs than the run holds",
            file=folder / TRAIN_REPORT,
            why="the forecast is of this run's pairs",
            fix="Verify it in the run that it was trained from, or name the right folder with --trained",
        )


def same_model(folder: Path | None, after: RolloutResult) -> bool | None:
    """Whether the model in the folder drew these rollouts, whatever its precision; None if nobody can tell."""
    drew = after.report["model"]
    if folder is None or "endpoint" in drew or not (folder / "config.json").is_file():
        return None
    from pretilt.models.load import model_identity

    identity = model_identity(folder)
    return {k: v for k, v in drew.items() if k != "dtype"} == {k: v for k, v in identity.items() if k != "dtype"}


def score(run: Run, before: str, model: str | Path | None, after: RolloutResult, events: Events) -> Run:
    """Log-probabilities of the rollouts before training under both models, kept in the run."""
    named = model or after.report["model"].get("name")
    if named is None or "endpoint" in after.report["model"]:
        raise UserError(
            "the trained model is not known: its rollouts were sampled elsewhere",
            why="importance weights need its probabilities",
            fix="Give --after the folder of the model, or leave --importance out",
        )
    from pretilt.rollouts.likelihood import log_ratio_run

    log_ratio_run(run, before, other=named, other_revision=after.report["model"].get("revision"), events=events)
    return Run(run.path)
