"""`audit`: from a source of pairs to ranked hypotheses, evidence and a page. Every step is an artifact of the run."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from pretilt.audit.result import AuditResult
from pretilt.events import Events, watching
from pretilt.lens.choice import LensChoice, choose_lens, harvest_estimate
from pretilt.lens.step import features_stage
from pretilt.lock import working
from pretilt.pairs.chat import reading_hash
from pretilt.pairs.load import check_source
from pretilt.pairs.step import pairs_stage
from pretilt.run import Run
from pretilt.schema import PREFLIGHT_FILE, TOKENS_FILE
from pretilt.settings import AuditSettings
from pretilt.version import __version__

# Raise a stage's number when a change of code can change its bytes.
VERSIONS = {"doctor": 4, "concepts": 5, "shifts": 4, "audit": 10, "evidence": 5}


def run_audit(
    source: Any,
    *,
    settings: AuditSettings | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
    events: Events | None = None,
    **options: Any,
) -> AuditResult:
    """The steps of `pretilt.audit` in order, all but the summary; see there."""
    settings = (settings or AuditSettings.load(**options)).resolved()
    check_source(source)  # before a lens is loaded, which takes ten seconds
    events = watching(events)
    run = Run(Path(out) if out is not None else Path("runs") / _slug(source))
    if settings.no_lens:
        from pretilt.audit.text_audit import audit_text

        with working(run.path, "audit", events.say):
            return audit_text(Run(run.path), source, settings, _facts(source, settings), dry_run, events)
    lens = choose_lens(settings, events, source)
    lens.check(events)
    with working(run.path, "audit", events.say):
        return _audit(Run(run.path), source, settings, lens, dry_run, events)


def _audit(
    run: Run, source: Any, settings: AuditSettings, lens: LensChoice, dry_run: bool, events: Events
) -> AuditResult:
    pairs_stage(run, source, settings, lens.tokenizer, events)
    from pretilt.audit.doctor import doctor_stage, examine_pairs, refuse

    checks_made = examine_pairs(run, lens)
    preflight = {
        **run.json(PREFLIGHT_FILE),
        "estimate": harvest_estimate(run.json(PREFLIGHT_FILE), lens),
        "refused": [check.to_dict() for check in checks_made if check.verdict == "red"],
    }
    events.preflight(preflight)
    if dry_run:
        return AuditResult(run, {"preflight": preflight})
    if not settings.despite_doctor:
        refuse("no model can judge by these pairs, and none was run", checks_made, run.path / PREFLIGHT_FILE)
    for name, value in _facts(source, settings).items():
        run.record(name, value)
    run.record("reading", reading_hash(lens.tokenizer))
    features_stage(run, settings, lens, events)
    from pretilt.concepts.pattern_step import patterns_stage
    from pretilt.concepts.step import concepts_stage, shifts_stage

    patterns_stage(run, settings)
    doctor_stage(run, settings, lens, VERSIONS["doctor"], events, despite=settings.despite_doctor)
    events.say("concepts: which features fire together, and which shift together")
    concepts_stage(run, settings, lens, VERSIONS["concepts"])
    shifts_stage(run, settings, lens, VERSIONS["shifts"])
    tests_and_evidence(run, settings, lens, events)
    return AuditResult(run)


def tests_and_evidence(run: Run, settings: AuditSettings, lens: LensChoice, events: Events) -> None:
    """The steps that depend on which detectors the run holds; what has not changed is not done again."""
    from pretilt.audit.effects import statistics_stage
    from pretilt.audit.evidence import evidence_stage
    from pretilt.audit.sources import sources_stage
    from pretilt.detectors.step import scores_stages
    from pretilt.detectors.stored import detector_names

    detectors = [] if settings.paper else detector_names(run)
    detectors = scores_stages(run, detectors, lambda: lens.lens(run.table(TOKENS_FILE)), events)
    events.say("statistics: what the label selects, everywhere, in groups of pairs and by what the prompt is about")
    statistics_stage(run, settings, VERSIONS["audit"], detectors)
    sources_stage(run, settings)
    evidence_stage(run, settings, lens, VERSIONS["evidence"], events)


def _facts(source: Any, settings: AuditSettings) -> dict[str, Any]:
    """What the manifest says of every audit."""
    return {
        "pretilt": __version__,
        "source": _slug(source),
        "settings": settings.model_dump(),
        "versions": _versions(),
    }


def _slug(source: Any) -> str:
    if not isinstance(source, str | Path):
        return "dataset"
    name = Path(str(source).split(":", 1)[0] if "/" in str(source) else str(source)).name
    return (
        re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"(\.(jsonl|json|parquet|csv|arrow|gz|zst|bz2|xz))+$", "", name))
        or "run"
    )


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "datasets", "numpy", "scipy", "scikit-learn", "leidenalg", "igraph", "pyarrow")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
