"""`detector`: from examples of a trait to a concept of the run with a card, tests and evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretilt.audit.detector_card import AmongRollouts, card_step
from pretilt.audit.evidence import make_tracer
from pretilt.audit.step import tests_and_evidence
from pretilt.concepts.pattern_step import stored_patterns
from pretilt.concepts.patterns import Pattern
from pretilt.detectors.stored import card_stage, report_file, scores_stage, stage_name
from pretilt.errors import UserError, did_you_mean
from pretilt.events import Events, watching
from pretilt.lens.blocks import train_rows
from pretilt.lens.choice import LensChoice, choose_lens
from pretilt.lock import writes
from pretilt.pairs.chat import reading_hash
from pretilt.result import Result
from pretilt.run import Run, content_hash
from pretilt.schema import FORECAST_FILE, PAIRS_FILE, TOKENS_FILE
from pretilt.settings import AuditSettings, DetectorSettings, settings_of

if TYPE_CHECKING:
    from pretilt.detectors.material import Material
    from pretilt.detectors.step import Origin

LEAST_TRACED = 10  # pairs of a hypothesis


@dataclass(frozen=True)
class Source:
    """Exactly one of these says what a detector is made from."""

    contrast: Any = None  # a file, or rows
    pattern: str | None = None
    hypothesis: str | None = None
    trait: str | None = None


@dataclass(frozen=True, repr=False)
class DetectorResult(Result):
    """`report` is detector-<name>.json, the card."""

    run: Run
    name: str
    report: dict[str, Any]

    @property
    def headline(self) -> str:
        card = self.report
        figures = card["kinds"][card["kind"]]
        judged = figures["token"] or figures["response"]
        unit = "tokens" if figures["token"] else "responses"
        numbers = ", ".join(
            f"{label} {'–' if judged[field] is None else format(judged[field], '.3f')}"
            for label, field in (("AUROC", "auroc"), ("average precision", "average_precision"), ("F1", "f1"))
        )
        return f"{self.run.path}: detector '{self.name}', {card['kind']}, held-out {unit}: {numbers}"

    @property
    def table(self) -> pa.Table:
        """One row per response it was fitted to or judged on; schema DETECTOR_EXAMPLES."""
        from pretilt.schema import DETECTORS_FOLDER

        return self.run.table(f"{DETECTORS_FOLDER}/{self.name}-examples.parquet")

    @property
    def direction(self) -> np.ndarray:
        """float32 [d_model] of unit norm, towards more of the trait."""
        from pretilt.detectors.stored import direction

        return direction(self.run, self.name)


@writes("detector")
def detector_run(
    run: Run,
    name: str,
    source: Source,
    cell: tuple[str, int, int] | None,
    options: DetectorSettings,
    *,
    replace: bool = False,
    rollouts: Callable[[Run], AmongRollouts | None] = lambda _: None,
    events: Events | None = None,
) -> DetectorResult:
    """Fit a detector, score the run's responses with it and test it as a concept; see `pretilt.detector`.

    `cell`: view, where and concept_id of the hypothesis, where the source is one. `rollouts`: how its leakage is
    estimated among the rollouts of the finished run.
    """
    from pretilt.detectors.step import check_name, fit_stage

    events = watching(events)
    settings = settings_of(run)
    patterns = stored_patterns(run) if "patterns" in run.manifest["stages"] else {}
    check_name(name, list(patterns))
    _check_run(run, settings, name, replace)
    choice = choose_lens(settings, events)
    lens = _sealed_lens(run, settings, choice)
    origin = _origin(run, settings, choice, source, cell, patterns, options, events)
    _check_free(run, name, origin, options, replace)

    fit_stage(run, name, origin, options, lens, events)
    from pretilt.detectors.step import scores_stages

    scores_stages(run, [name], lens, events)
    tests_and_evidence(run, settings, choice, events)
    card_step(run, settings, name, origin.target, cell, source.pattern, rollouts(run))
    return DetectorResult(run, name, run.json(report_file(name)))


def _check_run(run: Run, settings: AuditSettings, name: str, replace: bool) -> None:
    if "audit" not in run.manifest["stages"]:
        raise UserError(
            "the audit of this run has not finished", file=run.path, why="nothing was tested yet",
            fix="Run `pretilt audit` again: it continues where it stopped",
        )  # fmt: skip
    if settings.paper:
        raise UserError(
            "a run with --paper has no detectors",
            file=run.path,
            why="the paper tests features alone",
            fix="Audit into another folder without --paper",
        )
    if run.holds(FORECAST_FILE) and not replace and card_stage(name) not in run.manifest["stages"]:
        raise UserError(
            "the forecast of this run is sealed over its concepts",
            file=run.path / FORECAST_FILE,
            why="a detector is one concept more, on which it makes no forecast",
            fix="Fit detectors before `pretilt forecast`; or give --replace, then `pretilt forecast --replace`",
        )


def _check_free(run: Run, name: str, origin: Origin, options: DetectorSettings, replace: bool) -> None:
    """Raise UserError where the run holds a detector of the name that was made from something else."""
    recorded = run.manifest["stages"].get(stage_name(name))
    if recorded is None or replace or scores_stage(name) not in run.manifest["stages"]:
        return
    from pretilt.detectors.step import fitted_as

    fitted = recorded["config"]
    if fitted != fitted_as(origin, options):
        raise UserError(
            f"the run holds another detector '{name}'",
            file=run.path / report_file(name),
            why=f"it was made from the {fitted['made_from']} {fitted['origin']}, kind {fitted['kind']}",
            fix="Give another --name, or --replace to lose it",
        )


def _sealed_lens(run: Run, settings: AuditSettings, choice: LensChoice) -> Callable[[], Any]:
    def lens() -> Any:
        loaded = choice.lens(run.table(TOKENS_FILE))
        now = loaded.measurement_id(reading_hash(choice.tokenizer), settings.max_length)
        if settings.baseline != "random-dictionary" and now != run.manifest["measurement_id"]:
            raise UserError(
                "the lens is not the one that read the pairs",
                file=run.path,
                why="the model, the dictionary or the chat template has changed since",
                fix="Put back the model and dictionary of the audit, or audit again",
            )
        return loaded

    return lens


def _origin(
    run: Run,
    settings: AuditSettings,
    choice: LensChoice,
    source: Source,
    cell: tuple[str, int, int] | None,
    patterns: dict[str, Pattern],
    options: DetectorSettings,
    events: Events,
) -> Origin:
    from pretilt.detectors.material import (
        contrast_material,
        open_contrast,
        pattern_material,
        pattern_rows,
        traced_material,
    )
    from pretilt.detectors.step import Origin

    if options.per_token and source.pattern is None:
        raise UserError(
            "--per-token needs --from-pattern", why="only the matches of a pattern say on which tokens a trait stands"
        )
    itself = "the detector's own presence"
    limits: dict[str, Any] = {"max_length": settings.max_length, "n_pairs": options.pairs, "seed": options.seed}

    if source.contrast is not None:
        read = open_contrast(source.contrast, choice.tokenizer)
        how = "Contrastive pairs of a file: two responses to each prompt, one with the trait and one without it."

        def of_file() -> Material:
            return contrast_material(read, choice.tokenizer, events=events, how=how, **limits)

        place = str(source.contrast) if isinstance(source.contrast, str | Path) else "rows in memory"
        return Origin("contrast", place, itself, read.identity, of_file)

    if source.pattern is not None:
        if source.pattern not in patterns:
            raise UserError(
                f"there is no pattern '{source.pattern}'",
                why="docs/patterns.md lists those of the package",
                fix=did_you_mean(source.pattern, patterns),
            )
        pattern = patterns[source.pattern]
        rows = pattern_rows(run, settings, pattern.name, options.pairs, options.seed)
        unit = "tokens that a match covers" if options.per_token else "responses that hold a match"
        how = f"Training pairs of the run, {unit} of the pattern against the others."
        meaning = {**asdict(pattern), "matches": None, "misses": None}

        def of_pattern() -> Material:
            return pattern_material(run, rows, pattern, choice.tokenizer, per_token=options.per_token, how=how)

        return Origin(
            "pattern", pattern.name, f"the pattern '{pattern.name}'", meaning, of_pattern,
        )  # fmt: skip

    if cell is not None and source.hypothesis is not None:
        rows, in_chosen = _traced(run, settings, cell, options.pairs)
        how = "The pairs on which the hypothesis rests and those that speak against it: the response in which its "
        how += "concept fires more has the trait."

        def of_hypothesis() -> Material:
            return traced_material(run, rows, in_chosen, how)

        inputs = content_hash([rows.tolist(), in_chosen.tolist()])
        return Origin("hypothesis", source.hypothesis, "the hypothesis' concept", inputs, of_hypothesis)

    assert source.trait is not None
    trait = source.trait.strip()
    named = [p for p in patterns.values() if trait.lower() in (p.name, p.title.lower())]
    return _of_trait(run, settings, choice, trait, named[0] if named else None, options, events, itself, limits)


def _of_trait(
    run: Run, settings: AuditSettings, choice: LensChoice, trait: str, pattern: Pattern | None,
    options: DetectorSettings, events: Events, target: str, limits: dict[str, Any],
) -> Origin:  # fmt: skip
    from pretilt.detectors.material import contrast_material, open_contrast
    from pretilt.detectors.step import Origin

    if not 1 <= len(trait) <= 400:
        raise UserError("the trait is not described", fix='Say it in words: --trait "flatters the user"')

    def sampled() -> Material:
        from pretilt.detectors.trait import sampled_contrast, trait_rows

        rows = trait_rows(run, settings, options)
        examples = sampled_contrast(run, choice, settings, options, trait, rows, pattern, events)
        how = f"Answers of the run's model to {len(examples)} prompts of the run under two opposite instructions, read "
        how += "without them"
        how += f"; kept where the pattern '{pattern.name}' tells them apart." if pattern else ", not checked by anyone."
        read = open_contrast(examples, choice.tokenizer)
        return contrast_material(read, choice.tokenizer, events=events, how=how, **limits)

    inputs = {"n_prompts": options.n_prompts, "max_new_tokens": options.max_new_tokens, "dtype": settings.dtype}
    return Origin("trait", trait, target, inputs, sampled)


def _traced(
    run: Run, settings: AuditSettings, cell: tuple[str, int, int], n_pairs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pairs.parquet and whether the concept fires more in chosen: the first pairs with the hypothesis and the
    first against it. Raises UserError for too few."""
    view, where, concept = cell
    tracer = make_tracer(run, settings, [concept])
    half = max(n_pairs // 2, 1)
    ranked = [tracer.ranked(view, where, concept, way, half) for way in ("amplify", "suppress")]
    traced = np.sort(np.concatenate(ranked))
    if traced.size < LEAST_TRACED:
        raise UserError(
            f"the hypothesis rests on {traced.size} pairs",
            file=run.path / PAIRS_FILE,
            why=f"a detector needs {LEAST_TRACED} at least",
            fix="Name another hypothesis, or give examples of your own with --from",
        )
    return np.flatnonzero(train_rows(run))[traced], tracer.u(concept)[traced] > 0
