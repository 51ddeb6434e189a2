"""The front door: every step as one function of a source or of a run folder.

The command line, the demo, the benchmarks and the tests call these. They alone let the view write its pages, so that no
step knows the view. Each imports its step when it is called: `import pretilt` stays light.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretilt.events import Events, watching
from pretilt.lock import working, writes
from pretilt.settings import AuditSettings

if TYPE_CHECKING:
    from pretilt.audit.checks import Check
    from pretilt.audit.result import AuditResult
    from pretilt.forecast.step import ForecastResult
    from pretilt.labels.step import LabelResult
    from pretilt.rollouts.step import RolloutResult
    from pretilt.trace.step import Trace
    from pretilt.train.step import TrainResult
    from pretilt.verify.step import VerifyResult


def audit(
    source: Any,
    *,
    settings: AuditSettings | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
    events: Events | None = None,
    **options: Any,
) -> AuditResult:
    """Read a preference dataset through a lens and rank what its labels select.

    `source`: a Hub id, a file, a folder, or a `datasets.Dataset`, pandas or Arrow table, or list of dicts.
    `options` are the fields of `AuditSettings` (as on the command line, `_` for `-`); or give `settings` whole.
    `out`: the run folder, `runs/<name of the source>` by default; run again into the same folder and finished steps are
    kept. `dry_run` stops after the pre-flight. Raises UserError for every mistake of the input.

        result = pretilt.audit("pairs.jsonl", model="org/sft", dictionary="sae/", layer=20)
        result.hypotheses.to_pandas(); result.report
    """
    from pretilt.audit.step import run_audit
    from pretilt.view.step import write_report

    events = watching(events)
    result = run_audit(source, settings=settings, out=out, dry_run=dry_run, events=events, **options)
    if not dry_run:
        with working(result.path, "audit", events.say):
            write_report(result.run)
    return result


def open_run(run: str | Path) -> AuditResult:
    """Open a finished run folder. Raises UserError for a folder that is none, or whose manifest is damaged."""
    from pretilt.audit.result import open_run as open_folder

    return open_folder(run)


def fit(text: Any, *, model: str | Path, layer: int, out: str | Path, **options: Any) -> dict[str, Any]:
    """Train a BatchTopK dictionary on the output of decoder block `layer` of `model`, counted from 0.

    `text` is a `.txt` file (documents separated by blank lines), rows with a `text` or `messages` column, or any source
    of pairs. `out` receives a SAELens folder and `card.json`. `options`: those of `pretilt.lens.fit_step.fit`.
    Interrupted, the same call goes on from its last checkpoint. Returns the card.
    """
    from pretilt.lens.fit_step import fit as fit_dictionary

    return fit_dictionary(text, model=model, layer=layer, out=out, **options)


def trace(run: str | Path, what: str, **options: Any) -> Trace:
    """Who is responsible for an effect, or what a pair teaches: see `pretilt.trace.step.trace`."""
    from pretilt.trace.step import trace as trace_effect

    return trace_effect(run, what, **options)


def doctor(run: str | Path, *, events: Events | None = None) -> list[Check]:
    """Examine a run folder again, with its own settings, the model and dictionary as they are on disk now."""
    from pretilt.audit.doctor import checkup

    return checkup(run, events=events)


def label(run: str | Path, *, events: Events | None = None, **options: Any) -> LabelResult:
    """Names for concepts by a model behind an OpenAI-compatible endpoint: see `pretilt.labels.step.label_run`."""
    from pretilt.labels.step import label_run

    result = label_run(run, events=events, **options)
    _show_names(run, events=events)
    return result


@writes("label")
def _show_names(run: str | Path, *, events: Events | None = None) -> None:
    """Write the page of a finished audit anew: it shows the names."""
    from pretilt.view.step import write_report

    result = open_run(run)
    if "report" in result.run.manifest["stages"]:
        write_report(result.run)


def rollouts(run: str | Path, role: str = "before", model: str | Path | None = None, **options: Any) -> RolloutResult:
    """Sample answers to the run's held-out prompts and read them: see `pretilt.rollouts.step.rollouts_run`."""
    from pretilt.rollouts.step import rollouts_run

    return rollouts_run(run, role, model, **options)


def forecast(run: str | Path, **options: Any) -> ForecastResult:
    """Forecast every concept of a finished audit and seal it: see `pretilt.forecast.step.forecast_run`."""
    from pretilt.forecast.step import forecast_run

    return forecast_run(run, **options)


def train(run: str | Path, **options: Any) -> TrainResult:
    """Train the model of a run with DPO on the run's training pairs: see `pretilt.train.step.train_model`."""
    from pretilt.train.step import train_model

    return train_model(run, **options)


def verify(run: str | Path, **options: Any) -> VerifyResult:
    """Hold a run's forecast against what the trained model says: see `pretilt.verify.step.verify_run`."""
    from pretilt.verify.step import verify_run
    from pretilt.view.page.verification_page import build_verification_page

    return verify_run(run, build_verification_page, **options)
