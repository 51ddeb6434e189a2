"""verification.json: a sealed forecast against what the trained model was seen to do.

R² are signed squares of correlations. `rel_y` and `rel_x` say how well the observed shifts and the forecast reproduce
themselves on halves of their data, both in [0, 1]; `rel_y` is the ceiling of R², `reachable` their product.
"""

from __future__ import annotations

from typing import Literal

from pretilt.reports.base import Check, Number, Report
from pretilt.reports.training import RolloutCounts, ShuffledLabels


class Verdict(Report):
    name: Literal["came true", "came partly true", "failed", "nothing can be said"]
    sentence: str
    text: str  # the sentence and the seal's words
    set: str  # of concepts


class SealReport(Report):
    state: str
    why: str
    words: str


class ForecastFacts(Report):
    sha256: str | None
    written: str | None
    form: str
    rung: str | None
    cells_rung: str | None
    rollouts: str | None
    rollouts_disjoint: bool | None


class JudgedPrompts(Report):
    judged: int
    split: str
    units: int  # groups of prompts that count as independent
    unpaired: int
    per_prompt: float
    before: RolloutCounts
    after: RolloutCounts


class ModelIdentities(Report):
    before: dict[str, str | None]
    after: dict[str, str | None]


class FigureReport(Report):
    """An R² with its ceiling."""

    r2: Number
    rel_y: Number
    rel_x: Number
    n: int  # concepts, or cells
    reachable: Number
    of_ceiling: Number


class JudgementReport(Report):
    """One forecast over one set of concepts, see `pretilt.verify.judge.Judgement`."""

    overall: FigureReport
    spearman: Number
    sign_accuracy: Number
    n_resolved: int
    slope: Number
    slope_lo: Number
    slope_hi: Number
    mean_error: Number
    mean_error_of_zero: Number
    without_top: FigureReport
    permutation_p: Number
    permutation_95: Number
    nulls: dict[str, FigureReport]
    beyond_nulls: FigureReport | None
    standardised: FigureReport | None
    per_prevalence: FigureReport | None
    coverage: dict[str, Number]


class RungRow(FigureReport):
    """A rung or a baseline, judged like the forecast."""

    name: str
    kind: Literal["rung", "baseline"]
    declared: bool
    spearman: Number
    sign_accuracy: Number
    n_resolved: int
    slope: Number
    slope_lo: Number
    slope_hi: Number
    permutation_p: Number


class Coverage(Report):
    """Share of observed shifts inside their intervals; null where those are void."""

    confidence: float
    noise_alone: Number
    even_prompts: Number
    all_prompts: Number


class Quantiles(Report):
    """2.5 %, 50 % and 97.5 %."""

    lo: Number
    median: Number
    hi: Number


class LabelNull(Report):
    """The R² beside those of forecasts from shuffled labels."""

    p: Number
    draws: int
    r2_95: Number


class ListedConcept(Report):
    concept_id: int
    predicted: Number
    expected: Number  # the forecast times the fitted scale
    lo: Number
    hi: Number
    observed: float
    se: float
    off_by_sd: Number
    inside: bool
    sign_right: bool | None  # null: the shift cannot be told from 0


class SetReport(Report):
    """One set of concepts; `judgement` and what follows from it are null or absent where there are too few."""

    label: str
    concepts: int
    judgement: JudgementReport | None
    table: list[RungRow]
    scale: Number = None
    scale_lo: Number = None
    scale_hi: Number = None
    law_error: Number = None
    intervals_void: str | None = None
    coverage: Coverage | None = None
    against_shuffled: Quantiles | None = None
    labels: LabelNull | None = None
    hits: list[ListedConcept]
    misses: list[ListedConcept]
    can_be_said: bool


class CellFigures(Report):
    """All cells, and the part of their variance between and within concepts."""

    overall: FigureReport
    between: FigureReport
    within: FigureReport
    share_within: Number
    judged_sets: int
    without_forecast: int


class ViewCells(Report):
    """Shifts on sets of prompts: inside the set minus outside of it, and inside alone."""

    sets: int
    concepts: int
    min_prompts: int
    in_out: CellFigures | None
    inside: CellFigures | None
    inside_by_rung: dict[str, CellFigures | None]


class Statement(Report):
    """A claim that could have turned out false."""

    claim: str
    test: str
    figures: str
    held: bool | None  # null: it could not be tested


class Divergence(Report):
    of: str
    value: Number
    standard_error: Number
    per_token: Number


class HindsightFigure(Report):
    r2: Number
    rel_y: Number
    rel_x: Number
    n: int
    reachable: Number
    r2_with_forecast: Number


class Importance(Report):
    """The same answers under both models; `why` says what is missing."""

    kl: Divergence | None = None
    trusted_above: Number = None
    hindsight: dict[str, dict[str, HindsightFigure]] | None = None
    prompts: int | None = None
    trusted_prompts: int | None = None
    median_ess_share: Number = None
    why: str | None = None
    r2_of_forecast: Number = None
    r2_with_sampled: Number = None


class TrainingSummary(Report):
    name: str
    words: str
    mean_weight: Number
    mean_margin: Number
    accuracy: Number
    chosen_drift: Number
    rms_log_ratio: Number
    labels: ShuffledLabels | None
    steps: int | None


class VerificationReport(Report):
    """verification.json, or verification-<name>.json."""

    format_version: int
    pretilt: str
    name: str | None
    before: str
    after: str
    draws: int
    permutations: int
    seed: int
    source: str | None
    measurement_id: str
    verdict: Verdict
    seal: SealReport
    forecast: ForecastFacts
    prompts: JudgedPrompts
    models: ModelIdentities
    length_drift: Number
    nulls_from: str
    sets: dict[str, SetReport]
    cells: dict[str, ViewCells]
    statements: list[Statement]
    importance: Importance
    training: TrainingSummary | None
    doctor: list[Check]
