"""The part of the contract that is about training: forecast, verification, dose, plans, and another run.

See `contract.py`, whose shards these are.
"""

from __future__ import annotations

from pydantic import ConfigDict

from pretilt.reports.base import Number, Report
from pretilt.reports.comparison import ComparedRun, SharedPairs
from pretilt.reports.dose import DoseReport
from pretilt.reports.shape import OutcomeReport, ShapeReport
from pretilt.reports.verification import VerificationReport


class ForecastFigures(Report):
    form: str
    rung: str
    rollouts: str | None
    signs_known: int
    auc_heldout: Number
    written: str
    sealed_before_training: bool
    sha256: str


class ForecastRows(Report):
    concept_id: list[int]
    mean: list[Number]
    one_step: list[Number]
    converged: list[Number]
    shift: list[Number]
    shift_lo: list[Number]
    shift_hi: list[Number]
    rewarded: list[Number]
    rewarded_lo: list[Number]
    rewarded_hi: list[Number]
    prevalence: list[Number]
    prevalence_upper: list[Number]
    needs_sft: list[bool | None]
    unclear: list[bool | None]
    shuffled: list[Number]


class Forecast(Report):
    report: ForecastFigures
    rows: ForecastRows


class VerificationRows(Report):
    concept_id: list[int]
    predicted: list[Number]
    observed: list[Number]
    se: list[Number]
    predictive_lo: list[Number]
    predictive_hi: list[Number]
    inside: list[bool | None]
    resolved: list[bool]
    sign_right: list[bool | None]


class Cell(Report):
    """The shift of one concept on one set of prompts."""

    where: int
    concept_id: int
    predicted: Number
    observed: Number
    se: Number
    n_prompts: int
    sign_right: bool | None


class Verified(Report):
    """A verification: its report, and by concept what was foretold by every rung and what was seen."""

    report: VerificationReport
    rows: VerificationRows
    rungs: dict[str, list[Number]]
    intervals: dict[str, list[Number]]
    cells: dict[str, list[Cell]]


class Dose(DoseReport):
    """`label`: the detector's name and that of the curve."""

    label: str


class WhatIfRows(Report):
    concept_id: list[int]
    family: list[str]
    role: list[str]
    item: list[int | None]
    plain: list[Number]
    shaped: list[Number]
    change: list[Number]
    change_lo: list[Number]
    change_hi: list[Number]
    sure: list[bool | None]
    base_rate: list[Number]


class OutcomeRows(Report):
    concept_id: list[int]
    family: list[str]
    role: list[str]
    predicted: list[Number]
    observed: list[Number]
    se: list[Number]
    resolved: list[bool]
    sign_right: list[bool | None]
    before: list[Number]
    plain: list[Number]
    shaped: list[Number]


class Plan(Report):
    """A compiled plan; `outcome` where it was verified."""

    name: str
    text: str
    report: ShapeReport
    what_if: WhatIfRows
    outcome: OutcomeReport | None = None
    outcome_rows: OutcomeRows | None = None


class VersusReport(Report):
    """`ComparisonReport` without its list; first is the run of the page."""

    first: ComparedRun
    second: ComparedRun
    pairs: SharedPairs
    compared: int
    kinds: dict[str, int]
    first_alone: int
    second_alone: int
    features: str
    sure: int
    smallest: Number


class VersusRows(Report):
    """Columns of COMPARISON, sure rows first."""

    concept_id: list[int]
    other_id: list[int]
    kind: list[str]
    name: list[str]
    first: list[float]
    first_error: list[Number]
    second: list[float]
    second_error: list[Number]
    difference: list[float]
    error: list[Number]
    p_value: list[Number]
    q_value: list[Number]
    sure: list[bool]
    first_shift: list[Number]
    first_shift_lo: list[Number]
    first_shift_hi: list[Number]
    second_shift: list[Number]
    second_shift_lo: list[Number]
    second_shift_hi: list[Number]
    first_seen: list[Number]
    first_seen_se: list[Number]
    second_seen: list[Number]
    second_seen_se: list[Number]


class Versus(Report):
    """Two runs side by side."""

    report: VersusReport
    rows: VersusRows


class WhatIfShifts(Report):
    concept_id: list[int]
    role: list[str]
    plain: list[Number]
    shaped: list[Number]
    change: list[Number]


class ItemOutcome(Report):
    number: int  # from 1
    name: str
    method: str | None
    strength: Number
    reached: Number
    touched: int
    inside: int


class Touched(Report):
    model_config = ConfigDict(extra="ignore")
    pairs: int
    touched: int
    dropped: int
    weight_left: float
    conflicts: dict[str, int]


class WhatIf(Report):
    """The answer to a plan; `unread`: numbers of the items that the model has to read the pairs for."""

    concepts: WhatIfShifts
    items: list[ItemOutcome]
    coverage: Touched
    unread: list[int]
    text: str
    seconds: float


class Candidate(Report):
    """One method for an item, alone."""

    method: str
    strength: Number
    reached: Number
    is_exhausted: bool
    side_effect: Number
    pairs: int
    needs: str
    refusal: str
