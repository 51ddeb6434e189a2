"""detector-<name>.json: the card of a detector: from what it was made, how well it works, and what else it moves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pretilt.reports.base import Counts, Number, Report

DetectorKind = Literal["difference", "linear", "attention", "subspace"]


class Judged(Report):
    """On held-out families, at the threshold that was best on validation families."""

    auroc: Number
    average_precision: Number
    f1: Number
    threshold: float
    validation_average_precision: Number
    n_positive: int
    n_negative: int


class KindFigures(Report):
    penalty: Number  # of the weights, chosen on validation families; null: it has none
    response: Judged  # responses by the largest score of their tokens
    token: Judged | None  # tokens, where they have labels
    auroc_of_means: Number  # responses by the mean score of their tokens


class Leak(Report):
    """A concept that moves with the detector's score among untrained answers."""

    concept_id: int
    kind: str
    name: str
    leakage: Number  # its covariance with the score, over that of the detector's target


class DetectorReport(Report):
    """The card."""

    format_version: int
    name: str
    title: str  # what a reader is shown
    kind: DetectorKind
    made_from: Literal["contrast", "pattern", "hypothesis", "trait"]
    origin: str  # the file, the pattern's name, the hypothesis' id or the trait's words
    how: str  # how the examples came about, as a sentence
    layer: int
    d_model: int
    model_identity: dict[str, str | None]
    measurement_id: str
    examples_sha256: str
    n_pairs: int
    n_responses: int
    n_tokens: int
    n_families: int
    families_of_parts: Counts  # train, validation, heldout
    per_token: bool
    threshold: float  # the trait is present in a response whose largest score reaches it
    token_threshold: float  # it stands on a token whose score reaches it
    kinds: dict[DetectorKind, KindFigures]
    target: str  # what the leakage is measured against
    leakage_among: str = ""  # whose covariance it is
    target_covariance: Number = None
    leakage: list[Leak] = Field(default_factory=list)  # the 20 strongest
    n_concepts_compared: int = 0
    share_chosen: Number = None  # of the training pairs' responses, where it is present
    share_rejected: Number = None
    pretilt: str
