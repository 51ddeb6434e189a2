"""dose-<detector>.json: what a model shows while it is steered along a direction."""

from __future__ import annotations

from pretilt.reports.base import Number, Report


class DosePoint(Report):
    """One amount. Scores are means over the answers, rates for patterns and detectors."""

    amount: float
    mean: Number
    se: Number


class DoseOfConcept(Report):
    """One concept at all amounts."""

    concept_id: int
    name: str
    points: list[DosePoint]
    slope: Number  # of the score per length of the residual stream
    slope_se: Number


class DoseReport(Report):
    """dose-<detector>.json, or dose-<detector>-<name>.json."""

    format_version: int
    detector: str
    layer: int
    residual_length: float  # mean norm of the residual stream on response tokens at that layer
    model: dict[str, str | None]
    amounts: list[float]
    prompts: int
    per_prompt: float
    target: DoseOfConcept  # the detector
    same: list[DoseOfConcept]  # the pattern that it was fitted to
    moved: list[DoseOfConcept]  # patterns and detectors that move most surely beside it
    finished: list[float]  # share of the answers that end by themselves, by amount
    tokens: list[float]  # mean length, by amount
