"""The front door: every step of the work as one function of a source or of a run.

The command line, the demo, the benchmarks and the tests call these. They alone let the view write its summary, so that
no step knows the view. Each imports its step when it is called: `import pretilt` stays light. The options of a function
are the fields of its settings class; its signature and the list of options in its docstring are made from them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretilt.api_kit import AnyRun as AnyRun
from pretilt.api_kit import open_run as open_run
from pretilt.api_kit import read_by_a_lens, with_options
from pretilt.api_shaping import compiled_or_none
from pretilt.api_shaping import dose as dose
from pretilt.api_shaping import export as export
from pretilt.api_shaping import mark as mark
from pretilt.api_shaping import shape as shape
from pretilt.api_shaping import verify_plan as verify_plan
from pretilt.api_shaping import what_if as what_if
from pretilt.api_view import compare as compare
from pretilt.api_view import export_atlas as export_atlas
from pretilt.api_view import export_site as export_site
from pretilt.api_view import view as view
from pretilt.events import Events, watching
from pretilt.lock import working
from pretilt.settings import (
    AuditSettings,
    DescribeSettings,
    DetectorSettings,
    FitSettings,
    ForecastSettings,
    RolloutSettings,
    VerifySettings,
)

if TYPE_CHECKING:
    import numpy as np

    from pretilt.audit.detector_card import AmongRollouts
    from pretilt.audit.detector_step import DetectorResult
    from pretilt.audit.result import AuditResult, DoctorResult
    from pretilt.forecast.step import ForecastResult
    from pretilt.labels.step import DescribeResult, Estimate
    from pretilt.lens.fit_step import FitResult
    from pretilt.rollouts.step import RolloutResult
    from pretilt.run import Run
    from pretilt.shape.plan import Plan
    from pretilt.shape.result import ShapeResult
    from pretilt.trace.step import Trace
    from pretilt.train.step import TrainResult
    from pretilt.verify.step import VerifyResult


@with_options(AuditSettings)
def audit(
    source: Any,
    *,
    out: str | Path | None = None,
    dry_run: bool = False,
    settings: AuditSettings | None = None,
    events: Events | None = None,
    **options: Any,
) -> AuditResult:
    """Read a preference dataset through a lens and rank what its labels select.

    `source`: a Hub id, a file, a folder, or a `datasets.Dataset`, pandas or Arrow table, or list of dicts. `out`: the
    run folder, `runs/<name of the source>` by default; run again into the same folder and finished steps are kept.
    `dry_run` stops after the pre-flight. Give the options by name, or `settings` whole. Raises UserError for every
    mistake of the input.

        result = pretilt.audit("pairs.jsonl", model="org/sft", dictionary="sae/", layer=20)
        result.to_pandas()
    """
    from pretilt.audit.step import run_audit
    from pretilt.view.step import write_summary

    events = watching(events)
    result = run_audit(source, settings=settings, out=out, dry_run=dry_run, events=events, **options)
    if not dry_run:
        with working(result.path, "audit", events.say):
            write_summary(result.run)
    return result


@with_options(FitSettings)
def fit(
    source: Any,
    *,
    model: str | Path,
    layer: int,
    out: str | Path,
    events: Events | None = None,
    **options: Any,
) -> FitResult:
    """Train a BatchTopK dictionary on the output of decoder block `layer` of `model`, counted from 0.

    `source` is a `.txt` file (documents separated by blank lines), rows with a `text` or `messages` column, or any
    source of pairs. `out` receives a SAELens folder and `card.json`. Interrupted, the same call goes on from its last
    checkpoint.

        pretilt.fit("corpus.jsonl", model="org/sft", layer=20, out="sae/").card["heldout"]
    """
    from pretilt.lens.fit_step import fit as fit_dictionary

    return fit_dictionary(source, FitSettings.load(**options), model=model, layer=layer, out=out, events=events)


def doctor(run: AnyRun, *, events: Events | None = None) -> DoctorResult:
    """Check the lens and the data of a run again, with the model and dictionary as they are on disk now.

    pretilt.doctor("runs/pairs").verdict  # "green", "amber" or "red"
    """
    from pretilt.audit.doctor import checkup
    from pretilt.audit.result import DoctorResult

    folder = read_by_a_lens(run, "doctor")
    return DoctorResult(folder, checkup(folder, events=events))


def trace(
    run: AnyRun,
    what: str,
    *,
    number: int = 10,
    tokens: bool = True,
    export: str | Path | None = None,
    top: int | None = None,
    force: bool = False,
    events: Events | None = None,
) -> Trace:
    """Say which pairs and tokens an effect rests on, or what a pair teaches.

    `what`: a number of the audit's lists ("3"), a hypothesis ("global:7", "group:12:7"), a concept ("concept:7" or its
    name) or a pair ("pair:<pair_id>", "row:<row of the source>"). `number` pairs, concepts and hypotheses are listed of
    each kind. With `tokens` the lens reads which tokens fired, unless the run's evidence holds them. `export` (.jsonl,
    .csv, .parquet) gets every training pair in order of contribution, or the first `top`; a file that exists is
    replaced with `force` alone. Raises UserError for an id that the run does not hold.

        pretilt.trace("runs/pairs", "global:7").responsible[0].pair.pair_id
    """
    from pretilt.trace.step import trace as trace_effect

    return trace_effect(
        open_run(run).run, what, n=number, tokens=tokens, export=export, top=top, force=force, events=events
    )


def _among_rollouts(name: str, run: Run) -> AmongRollouts | None:
    """How a detector's leakage is estimated among the untrained model's rollouts, None where the run has none."""
    from pretilt.audit.detector_card import AmongRollouts
    from pretilt.forecast.detector_leakage import moves_along, untrained_role
    from pretilt.rollouts.step import features_stage, samples_stage

    role = untrained_role(run)
    if role is None:
        return None

    def covariances() -> tuple[np.ndarray, np.ndarray] | None:
        along = moves_along(run, role, name)
        return None if along is None else (along.concept_ids, along.covariance)

    return AmongRollouts(role, [samples_stage(role), features_stage(role)], covariances)


@with_options(DetectorSettings)
def detector(
    run: AnyRun,
    name: str,
    *,
    contrast: Any = None,
    from_pattern: str | None = None,
    from_hypothesis: str | None = None,
    trait: str | None = None,
    replace: bool = False,
    events: Events | None = None,
    **options: Any,
) -> DetectorResult:
    """Fit a direction or probe to examples of a trait, and make it a concept of the run: tested, traced, forecast.

    Exactly one source: `contrast`, rows {prompt, positive, negative}, in a file or in memory; `from_pattern`, the name
    of a pattern; `from_hypothesis`, what `trace` takes for an effect ("3", "group:12:7"); `trait`, words, by which the
    run's model answers prompts under two opposite instructions. Four kinds are fitted; the card, `report`, judges all
    of them on families that they did not see. `replace` loses a detector of that name, and lets a forecast of the run
    go stale. Interrupted, the same call goes on from its last shard.

        pretilt.detector("runs/pairs", "flattery", contrast="flattery.jsonl").report["kinds"]
    """
    from pretilt.audit.detector_step import Source, detector_run
    from pretilt.errors import UserError
    from pretilt.trace.ids import resolve
    from pretilt.view.step import write_summary

    folder, events = read_by_a_lens(run, "detector"), watching(events)
    source = Source(contrast, from_pattern, from_hypothesis, trait)
    n_sources = sum(value is not None for value in (contrast, from_pattern, from_hypothesis, trait))
    if n_sources != 1:
        raise UserError(
            "a detector is made from one source",
            why=f"{n_sources} are given" if n_sources else "none is given",
            fix="Give one of --from FILE, --from-pattern NAME, --from-hypothesis ID and --trait WORDS",
        )
    cell = None
    if from_hypothesis is not None:
        effect = resolve(folder, from_hypothesis)
        if isinstance(effect, str):
            raise UserError(f"'{from_hypothesis}' is a pair", fix="Name a hypothesis, such as group:12:7")
        cell = (effect.view, effect.where, effect.concept_id)

    options_read = DetectorSettings.load(**options)
    rollouts = partial(_among_rollouts, name)
    result = detector_run(folder, name, source, cell, options_read, replace=replace, rollouts=rollouts, events=events)
    with working(folder.path, "detector", events.say):
        write_summary(folder)
    return result


@with_options(DescribeSettings)
def describe(
    run: AnyRun,
    *,
    refresh: bool = False,
    yes: bool = False,
    confirm: Callable[[Estimate], bool] | None = None,
    events: Events | None = None,
    **options: Any,
) -> DescribeResult:
    """Name the concepts, groups and prompt concepts that the audit lists, each name with a held-out detection score.

    Without `model` nothing leaves the machine: the names that the audit made are scored. With it, excerpts of the
    dataset are sent to the endpoint once `confirm` has said yes to the estimate, or with `yes`. Answers are cached in
    the run; `refresh` asks again. No statistic reads a name. Raises UserError for an endpoint that cannot be used, and
    where nobody agreed to the cost.

        pretilt.describe("runs/pairs", model="gpt-5-mini", yes=True).to_pandas()
    """
    from pretilt.labels.step import describe_run
    from pretilt.view.step import write_summary

    folder, events = read_by_a_lens(run, "describe"), watching(events)
    result = describe_run(
        folder, DescribeSettings.load(**options), refresh=refresh, yes=yes, confirm=confirm, events=events
    )

    # The summary of a finished audit shows the names.
    folder = open_run(run).run
    if "report" in folder.manifest["stages"]:
        with working(folder.path, "describe", events.say):
            write_summary(folder)
    return result


@with_options(RolloutSettings)
def rollouts(
    run: AnyRun,
    role: str = "before",
    model: str | Path | None = None,
    *,
    revision: str | None = None,
    base_url: str | None = None,
    endpoint_model: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    replace: bool = False,
    reuse: str | Path | None = None,
    events: Events | None = None,
    **options: Any,
) -> RolloutResult:
    """Sample answers to a run's held-out prompts and read them with the run's own, sealed measurement.

    `role`: "before", or a name that begins with "after" for a trained model. Without `model` (a folder or Hub id) the
    run's own model answers, and as "after" the one that was trained in the run; `base_url` and `endpoint_model` name a
    server that answers instead. Options that are not given are as they were when this role, else "before", was sampled;
    an "after" must share the prompts, the length limit and the temperature of "before". Rollouts that were made
    otherwise are replaced with `replace` alone. `reuse`: another run whose answers of the same model to the same
    prompts are taken. Interrupted, the same call goes on from its last shard.

        pretilt.rollouts("runs/pairs", n_prompts=500); pretilt.rollouts("runs/pairs", "after", "trained/")
    """
    from pretilt.rollouts.step import rollouts_run

    return rollouts_run(
        read_by_a_lens(run, "rollouts"), role, model, revision=revision, base_url=base_url,
        endpoint_model=endpoint_model, api_key_env=api_key_env, concurrency=concurrency, device=device, dtype=dtype,
        replace=replace, reuse=reuse, events=events, **options,
    )  # fmt: skip


@with_options(ForecastSettings)
def forecast(run: AnyRun, *, replace: bool = False, events: Events | None = None, **options: Any) -> ForecastResult:
    """Say what training on the pairs will do, and seal it: written and hashed before training, never changed after.

    The same call again returns what is sealed; another forecast is refused without `replace`, which keeps the old one
    beside the new.

        pretilt.forecast("runs/pairs").to_pandas()
    """
    from pretilt.forecast.step import forecast_run

    return forecast_run(open_run(run).run, ForecastSettings.load(**options), replace=replace, events=events)


def train(
    run: AnyRun,
    *,
    model: str | Path | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    plan: str | Path | dict[str, Any] | Plan | ShapeResult | None = None,
    events: Events | None = None,
    **options: Any,
) -> TrainResult:
    """Train a model on the run's training pairs with TRL's own DPOTrainer, and say in which regime it ended.

    `options` are the names of `trl.DPOConfig`, and `lora`, `shuffled_labels`, `label_seed`, `regime_pairs`, over those
    of the YAML file `config`. `model`: by default the run's own. `out`: the model folder, `trained` in the run by
    default. `plan`: a plan, or what `shape` returned; it is compiled and its what-if sealed first, and the model goes
    into `trained-<name>`. Interrupted, the same call goes on from its last checkpoint.

        pretilt.train("runs/pairs", beta=0.1, learning_rate=5e-6, lora={"r": 16}).report["regime"]["words"]
    """
    from pretilt.train.step import train_run

    options = options if model is None else {**options, "model": str(model)}
    folder = read_by_a_lens(run, "train")
    compiled = None
    if (shaped := compiled_or_none(folder, plan, watching(events))) is not None:
        from pretilt.shape.step import compiled_plan

        compiled, folder = compiled_plan(shaped), open_run(folder).run
    return train_run(folder, config=config, out=out, plan=compiled, events=events, **options)


@with_options(VerifySettings)
def verify(run: AnyRun, *, events: Events | None = None, **options: Any) -> VerifyResult:
    """Say whether the forecast came true, by the answers of the trained model; what is missing is sampled first.

    Interrupted, the same call goes on; finished, it returns what is there. Raises UserError without a forecast, for
    rollouts of another measurement or to different prompts, and for a model that was trained on other pairs.

        pretilt.verify("runs/pairs").report["verdict"]["text"]
    """
    from pretilt.verify.step import verify_run

    return verify_run(read_by_a_lens(run, "verify"), VerifySettings.load(**options), events=events)
