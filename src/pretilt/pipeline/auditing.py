"""`audit`: from a source of pairs to ranked hypotheses, evidence and a page. Every step is an artifact of the run."""

from __future__ import annotations

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from pretilt import __version__
from pretilt.events import Events, watching
from pretilt.lock import working
from pretilt.pipeline.lenses import LensChoice, choose_lens, harvest_estimate, reading_hash
from pretilt.pipeline.result import FEATURES, SHARD_PARTS, AuditResult, report_tables
from pretilt.run import Run
from pretilt.settings import AuditSettings

# Raise a stage's number when a change of code can change its bytes.
VERSIONS = {"pairs": 3, FEATURES: 1, "doctor": 4, "concepts": 2, "shifts": 1, "audit": 4, "evidence": 3, "report": 4}


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
    `options` are the fields of `AuditSettings` (as on the command line, `-` for `_`); or give `settings` whole.
    `out`: the run folder, `runs/<name of the source>` by default; run again into the same folder and finished steps are
    kept. `dry_run` stops after the pre-flight. Raises UserError for every mistake of the input.

        result = pretilt.audit("pairs.jsonl", model="org/sft", dictionary="sae/", layer=20)
        result.hypotheses.to_pandas(); result.report
    """
    settings = (settings or AuditSettings.load(**options)).resolved()
    events = watching(events)
    run = Run(Path(out) if out is not None else Path("runs") / _slug(source))
    lens = choose_lens(settings, events, source)
    lens.check(events)
    with working(run.path, "audit", events.say):
        return _audit(Run(run.path), source, settings, lens, dry_run, events)


def _audit(
    run: Run, source: Any, settings: AuditSettings, lens: LensChoice, dry_run: bool, events: Events
) -> AuditResult:
    _pairs(run, source, settings, lens, events)
    from pretilt.pipeline.doctor import doctor_stage, examine_pairs, refuse

    found = examine_pairs(run, lens)
    preflight = {
        **run.json("preflight.json"),
        "estimate": harvest_estimate(run.json("preflight.json"), lens),
        "refused": [check.to_dict() for check in found if check.verdict == "red"],
    }
    events.preflight(preflight)
    if dry_run:
        return AuditResult(run, {"preflight": preflight})
    if not settings.despite_doctor:
        refuse("no model can judge by these pairs, and none was run", found, run.path / "preflight.json")
    run.record("pretilt", __version__)
    run.record("source", _slug(source))
    run.record("settings", settings.model_dump())
    run.record("versions", _versions())
    run.record("reading", reading_hash(lens.tokenizer))
    _features(run, settings, lens, events)
    from pretilt.pipeline.concept_steps import concepts_stage, shifts_stage
    from pretilt.pipeline.statistics import statistics_stage
    from pretilt.pipeline.tracing import evidence_stage

    doctor_stage(run, settings, lens, VERSIONS["doctor"], events, despite=settings.despite_doctor)
    events.say("concepts: which features fire together, and which shift together")
    concepts_stage(run, settings, lens, VERSIONS["concepts"])
    shifts_stage(run, settings, lens, VERSIONS["shifts"])
    events.say("statistics: what the label selects, everywhere, in groups of pairs and by what the prompt is about")
    statistics_stage(run, settings, VERSIONS["audit"])
    evidence_stage(run, settings, lens, VERSIONS["evidence"], events)
    return AuditResult(run, write_report(run))


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


def _pairs(run: Run, source: Any, settings: AuditSettings, lens: LensChoice, events: Events) -> None:
    from pretilt.pairs.read import read_source, tokenise_source
    from pretilt.pairs.template_reads import template_reads

    read = read_source(
        source,
        config=settings.source_config,
        split=settings.split,
        revision=settings.revision,
        limit=settings.limit,
        max_row_mb=settings.max_row_mb,
        columns=settings.columns,
        turns=settings.turns,
        k_wise=settings.k_wise,
        seed=settings.seed,
        reads=template_reads(lens.tokenizer),
    )
    tokenizer = lens.tokenizer
    config = {"max_length": settings.max_length, "holdout": settings.holdout, "seed": settings.seed}
    inputs = {"source": read.identity, "reading": reading_hash(tokenizer)}
    with run.stage("pairs", version=VERSIONS["pairs"], config=config, inputs=inputs) as stage:
        if stage.done:
            return
        result = tokenise_source(
            read,
            tokenizer,
            max_length=settings.max_length,
            holdout=settings.holdout,
            seed=settings.seed,
            progress=lambda done, total: events.progress("tokens", done, total, "pairs"),
        )
        stage.write("pairs.parquet", result.pairs)
        stage.write("tokens.parquet", result.tokens)
        stage.write("dropped.parquet", result.dropped)
        stage.write_json("preflight.json", result.preflight)


def _features(run: Run, settings: AuditSettings, choice: LensChoice, events: Events) -> None:
    tokens = run.table("tokens.parquet")
    lens = choice.lens(tokens)
    measurement = lens.measurement_id(reading_hash(choice.tokenizer), settings.max_length)
    config = {"measurement_id": measurement, "batch_tokens": settings.batch_tokens}
    with run.stage(FEATURES, version=VERSIONS[FEATURES], config=config, reads=["pairs"]) as stage:
        shards = stage.shards(FEATURES, SHARD_PARTS)
        if stage.done:
            return
        from pretilt.lens.harvest import harvest

        harvest(
            tokens,
            lens,
            shards,
            batch_tokens=settings.batch_tokens,
            progress=lambda done, total: events.progress("reading", done, total, "tokens"),
        )
        stage.add_shards(shards)
        run.record("measurement_id", measurement)
        run.record("lens", choice.card(tokens))


def write_report(run: Run) -> dict[str, Any]:
    """The page and summary.json, made anew where what they show has changed. Returns the summary."""
    from pretilt.view.report import build_report
    from pretilt.view.summary import summarise

    reads = ["pairs", FEATURES, "doctor", "concepts", "shifts", "audit", "evidence"]
    from pretilt.pipeline.described import described

    about = {name: run.manifest[name] for name in ("lens", "settings", "versions", "measurement_id", "source")}
    about |= {"described": names} if (names := described(run)) else {}
    with run.stage(
        "report", version=VERSIONS["report"], config={"pretilt": __version__}, reads=reads, inputs=about
    ) as stage:
        if not stage.done:
            tables = report_tables(run)
            stage.write_json("summary.json", summarise(tables, title=run.manifest["source"]).to_dict())
            stage.write_text("report.html", build_report(tables, title=run.manifest["source"]))
    return run.json("summary.json")
