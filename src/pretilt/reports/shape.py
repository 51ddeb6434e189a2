"""shape.json: what a plan does to the pairs, what it is predicted to change, and its seal."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pretilt.reports.base import Number, Report


class CandidateReport(Report):
    """One method for an item, alone."""

    method: str
    strength: Number
    reached: Number  # share of the target's shift without the plan that is left
    is_exhausted: bool  # it cannot go further
    side_effect: Number  # root mean square change of the family's other concepts, per change of the target
    protected_effect: Number
    pairs: int
    needs: str  # of the trainer
    refusal: str  # why it cannot be used, "" where it can


class ItemReport(Report):
    """One decision of the plan. Numbers of its concept are null for a set of pairs; shifts are of the declared rung."""

    number: int  # in the plan, from 1
    decision: Literal["suppress", "amplify", "keep", "protect"]
    target: str
    name: str
    gate: str | None
    by: str | None  # the concept whose score drives the method, null: the target itself
    instruction: str | None
    concept_id: int | None
    pairs_inside: int  # training pairs in the target's place and the gate
    method: str | None
    strength: Number
    unit: str | None  # of the strength
    share_wanted: Number  # share of the shift without the plan that is to be left
    is_local: bool  # it is about some pairs: `reached` is then of the mean over those, and not of all pairs
    plain_inside: Number  # shift of the target without the plan, inside of its place and gate where it is local
    shaped_inside: Number
    reached: Number  # share that is left of that shift, under the whole plan
    reached_everywhere: Number  # of a local target: what is left if what is learned spreads over all prompts
    is_exhausted: bool
    pairs_touched: int
    plain: Number
    shaped: Number
    change: Number
    change_lo: Number
    change_hi: Number
    compared: list[CandidateReport]


class Coverage(Report):
    """What the actions touch."""

    pairs: int
    touched: int
    dropped: int
    left: int  # pairs with any weight
    weight_left: float  # mean weight
    by_item: dict[str, int]
    overlaps: dict[str, int]  # "1 and 2" → pairs that both touch
    conflicts: dict[str, int]  # in words → pairs
    conflicting_pairs: list[str]  # some of them


class SweepPointReport(Report):
    """One item at another strength, alone."""

    item: int
    strength: float
    reached: Number  # share of the target's shift that is left
    side_effect: Number  # root mean square change of the family's other concepts, in units of their typical u
    protected_effect: Number  # the largest of the protected ones
    pairs: int
    weight_left: float


class FamilyEffects(Report):
    """Changes of one family of concepts, targets aside."""

    concepts: int
    sure: int  # whose interval leaves out 0
    rms_change: Number
    rms_plain: Number
    reliability: Number  # share of the changes' variance that is not noise of the pairs and answers: a ceiling of R²


class ShapeReport(Report):
    """shape.json."""

    format_version: int
    name: str
    pairs_sha256: str  # of pairs.parquet
    measurement_id: str | None
    plan: dict[str, Any]
    form: str
    rung: Literal["mean", "one_step", "converged"]
    rollouts: str | None  # role of the answers that the forecast was made from
    eta: float
    beta: float  # of the loss that the plan is made for
    needs_beta: bool  # its actions hold for this beta alone
    draws: int
    seed: int
    items: list[ItemReport]
    coverage: Coverage
    sweep: list[SweepPointReport] = Field(default_factory=list)
    effects: dict[str, FamilyEffects]
    needs: list[str]  # of the trainer
    actions_sha256: str
    sha256: str  # of what_if.parquet: the seal
    written: str
    sealed_before_training: bool
    pretilt: str


class MethodsReport(Report):
    """methods.json: what `shape --compare` and `--sweep` tell of a compiled plan; shown as part of its report."""

    actions_sha256: str  # of the plan that it is about
    compared: dict[str, list[CandidateReport]]  # number of an item → every method for it
    sweep: list[SweepPointReport]


class TargetOutcome(Report):
    """One decision: what was intended, foretold and seen. Scores are means over the answers, rates for patterns."""

    number: int
    decision: Literal["suppress", "amplify", "keep", "protect"]
    target: str
    name: str
    method: str | None
    strength: Number
    prompts: int  # that the numbers are of: of a local target those inside of its place and gate
    is_inside: bool  # of a local target: the answers are those to prompts inside
    before: Number  # untrained model
    plain: Number  # trained without the plan
    shaped: Number  # trained under it
    change_se: Number
    outside_change: Number  # of a local target: shaped - plain over the other prompts
    outside_se: Number
    share_wanted: Number  # share of the plain shift that was to be left
    forecast_left: Number  # that the what-if foretold
    forecast_left_everywhere: Number  # of a local target: if what is learned spreads over all prompts
    left: Number  # that is left; null where plain training moved it less than twice its standard error
    left_lo: Number  # its 95 % interval, Fieller's: the errors of both trainings are in it
    left_hi: Number
    recovery: Number  # 1 - left: 0 is plain training's rate, 1 the untrained model's


class OutcomeFigures(Report):
    """How well the changes of some concepts were foretold."""

    concepts: int
    mean_change: Number  # mean |shaped - plain|
    mean_noise: Number  # what it would be if nothing had changed
    resolved: int
    r2: Number  # signed
    rel_y: Number  # reliability of what was seen
    spearman: Number
    sign_accuracy: Number  # of the resolved ones
    slope: Number  # observed on predicted
    coverage: Number  # share inside of the interval foretold, scaled by the slope, with the error of what was seen


class OutcomeOfSet(Report):
    """Of one family of concepts."""

    all: OutcomeFigures
    off_target: OutcomeFigures


class Utility(Report):
    """Held-out pairs under one of the two models."""

    regime: str
    pairs: int | None
    accuracy: Number
    mean_margin: Number
    margin_se: Number


class OutcomeReport(Report):
    """outcome.json."""

    format_version: int
    pretilt: str
    name: str
    before: str
    after: str
    shaped: str
    draws: int
    seed: int
    sealed_before_training: bool  # the training under the plan began with this what-if
    prompts: int
    per_prompt: float
    targets: list[TargetOutcome]
    sets: dict[str, OutcomeOfSet]
    utility: dict[Literal["after", "shaped"], Utility]
    length_drift: dict[Literal["plain", "change"], float]  # mean change of the log length
