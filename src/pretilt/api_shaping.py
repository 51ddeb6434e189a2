"""The front door's functions about plans: decide, compile, hand out, and see what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretilt.api_kit import AnyRun, open_run, read_by_a_lens, with_options
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.lock import working
from pretilt.settings import DoseSettings, ShapeSettings, VerifySettings

if TYPE_CHECKING:
    from pretilt.run import Run
    from pretilt.shape.export import ExportResult
    from pretilt.shape.plan import Plan
    from pretilt.shape.result import ShapeResult
    from pretilt.shape.session import WhatIfSession
    from pretilt.verify.dose import DoseResult
    from pretilt.verify.plan import PlanOutcome

JUDGES_A_PLAN = {"before", "draws", "seed"}  # the options of a verification that mean something for a plan


@with_options(ShapeSettings)
def shape(
    run: AnyRun,
    plan: str | Path | dict[str, Any] | Plan,
    *,
    name: str | None = None,
    compare: bool = False,
    sweep: bool = False,
    events: Events | None = None,
    **options: Any,
) -> ShapeResult:
    """Compile a plan to actions on pairs, and say what it changes: for every concept, before training, and sealed.

    `plan`: a plan.yaml, or what it holds as a mapping. `name`: of the compiled plan, by default the file's stem.
    `compare`: every method that applies, side by side, for each item of the plan; `sweep`: each item at other
    strengths, how far it goes and what else moves.

        plan = {"items": [{"suppress": "pattern:bold", "to": "base"}]}
        pretilt.shape("runs/pairs", plan).to_pandas()
    """
    from pretilt.shape.step import shape_run

    options_given = ShapeSettings.load(**options)
    return shape_run(open_run(run).run, plan, options_given, name=name, compare=compare, sweep=sweep, events=events)


@with_options(ShapeSettings)
def what_if(run: AnyRun, *, events: Events | None = None, **options: Any) -> WhatIfSession:
    """Open a run for what-ifs one after another: a function from a plan to the predicted change of every concept.

    The run is read and its forecast fitted once; each call then costs what the touched pairs cost. Nothing is written,
    and nothing has an interval: `shape` gives those and the seal.

        ask = pretilt.what_if("runs/pairs")
        ask({"items": [{"suppress": "pattern:bold", "method": "offset", "strength": 1.5}]}).to_pandas()
    """
    from pretilt.shape.session import WhatIfSession

    return WhatIfSession(open_run(run).run, ShapeSettings.load(**options), watching(events))


def mark(
    run: AnyRun,
    decision: str,
    target: str,
    *,
    plan: str | Path = "plan.yaml",
    method: str | None = None,
    to: str | None = None,
    strength: float | None = None,
    gate: str | None = None,
    by: str | None = None,
    instruction: str | None = None,
    note: str = "",
) -> Path:
    """Write one decision about a concept, an effect or a set of pairs into a plan, and return the plan's path.

    `decision`: "suppress", "amplify", "keep" or "protect". A decision about the same target takes the place of the
    one before. `by` names the concept whose score drives the method, `instruction` is a sentence that asks for the
    concept (docs/shaping.md). Raises UserError for a target that the run does not hold, and writes nothing then.

        pretilt.mark("runs/pairs", "suppress", "pattern:bold", to="base")
    """
    from pretilt.shape.mark import mark_item

    values = {
        "method": method, "to": to, "strength": strength, "gate": gate, "by": by, "instruction": instruction,
        "note": note or None,
    }  # fmt: skip
    return mark_item(open_run(run).run, Path(plan), decision, target, values)


def export(
    run: AnyRun,
    out: str | Path,
    *,
    plan: str | Path | dict[str, Any] | Plan | ShapeResult | None = None,
    reference: bool = False,
    beta: float | None = None,
    events: Events | None = None,
) -> ExportResult:
    """Write the pairs as a plain preference dataset into the folder `out`: as they are, or as a plan has them.

    `reference` adds the log-probabilities of both responses under the run's model; with `beta` they hold the plan's
    offsets already. The folder's README says what TRL, axolotl, LLaMA-Factory, open-instruct and NeMo-RL can honour.

        pretilt.export("runs/pairs", "data/with-reference", reference=True)
    """
    from pretilt.shape.export import export_run

    events, folder = watching(events), open_run(run).run
    shaped = compiled_or_none(folder, plan, events)
    with working(folder.path, "export", events.say):
        return export_run(open_run(folder).run, Path(out), shaped, reference=reference, beta=beta, events=events)


def compiled_or_none(run: Run, plan: Any, events: Events) -> ShapeResult | None:
    """A plan that may be compiled already; None of None."""
    from pretilt.shape.result import ShapeResult

    return plan if plan is None or isinstance(plan, ShapeResult) else shape(run, plan, events=events)


def verify_plan(run: AnyRun, plan: str = "plan", *, events: Events | None = None, **options: Any) -> PlanOutcome:
    """Say whether a plan did what its what-if foretold, by the answers of the models trained with and without it.

    `plan`: the name of the compiled plan, or its file. Needs `train(run)` and `train(run, plan=…)`; answers that are
    missing are sampled. Intended, foretold and realised stand side by side for every target, and off the target.

        pretilt.verify_plan("runs/pairs", "less-bold").report["targets"]
    """
    from pretilt.verify.plan import verify_plan as judge_plan

    name = Path(plan).stem.lower() if plan.endswith((".yaml", ".yml")) else plan
    if unused := sorted(options.keys() - JUDGES_A_PLAN):
        raise UserError(
            f"--{unused[0]} does nothing where a plan is judged",
            why="the models and their answers follow from the plan's name",
            fix=f"A plan takes {', '.join(f'--{option}' for option in sorted(JUDGES_A_PLAN))}",
        )
    return judge_plan(read_by_a_lens(run, "verify"), name, VerifySettings.load(**options), events=events)


@with_options(DoseSettings)
def dose(
    run: AnyRun,
    detector: str,
    *,
    model: str | Path | None = None,
    name: str | None = None,
    events: Events | None = None,
    **options: Any,
) -> DoseResult:
    """Steer a model along a detector's direction by several amounts, and count what its answers then show.

    `model`: who answers, a folder or Hub id; None for the run's own. `name` sets the result apart from others of the
    detector. The answers are rollouts of the run, so that every concept is read, and the same call goes on after an
    interrupt. Raises UserError for a detector that the run does not hold.

        pretilt.dose("runs/pairs", "flattery").report["target"]["points"]
    """
    from pretilt.verify.dose import dose_run

    folder = read_by_a_lens(run, "dose")
    return dose_run(folder, detector, DoseSettings.load(**options), model=model, name=name, events=events)
