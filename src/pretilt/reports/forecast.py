"""forecast.json: from what a forecast was made, how well its reward model tells pairs apart, and its seal."""

from __future__ import annotations

from typing import Literal

from pretilt.reports.base import Number, Report

Rung = Literal["mean", "one_step", "converged", "tilt"]


class ConceptFamily(Report):
    """Concepts that share a reward model: communities with features, or one kind of response-shift concepts."""

    concepts: int
    auc_heldout: Number  # of the reward model, on families of pairs that it was not fitted to
    accuracy_heldout: Number
    ridge: float
    ridge_at_edge: bool
    length_coefficient: float
    shrinkage: float  # of the covariance, in [0, 1]
    ess_trusted: Number  # share of concepts whose effective sample size suffices for the tilt
    signs_known: int  # concepts whose interval leaves out 0
    needs_sft: int | None
    unclear: int | None
    ladder_agreement: dict[Rung, Number]  # correlation with the mean
    null_agreement: dict[Literal["shuffled", "length", "prevalence"], Number]  # correlation with the forecast


class ForecastReport(Report):
    """forecast.json. The figures of the first family of concepts stand on top."""

    format_version: int
    form: str
    rung: Rung
    rollouts: str | None  # role of the answers that the forecast was made from; null: from the pairs
    eta: float
    draws: int
    seed: int
    rollouts_disjoint: bool  # not the answers that verification compares with
    rollouts_by_own_model: bool | None
    measurement_id: str | None  # null: no lens read the pairs
    pairs: int
    families: int
    prompts: int | None
    rollouts_read: int | None
    concepts: int
    auc_heldout: Number
    length_coefficient: Number
    ridge: Number
    shrinkage: Number
    ess_trusted: Number
    ladder_agreement: dict[Rung, Number]
    signs_known: int
    cells_rung: Rung
    cells_left_out: int
    families_of_concepts: dict[str, ConceptFamily]
    sha256: str  # of forecast.parquet: the seal
    written: str
    sealed_before_training: bool
    pretilt: str
