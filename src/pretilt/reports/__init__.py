"""The JSON reports of a run, typed: what stands in each, and which file holds which.

A report is written and read through its model, so that the engine, the terminal and the pages cannot disagree about a
field: an unknown or a missing one is an error with its location. `schemas()` gives their JSON Schemas, which stand in
docs/schemas. Null means that a number is not defined, for instance a mean of nothing.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from pretilt.reports.audit import Doctor, Preflight, Statistics, SummaryReport
from pretilt.reports.base import Report
from pretilt.reports.comparison import ComparisonReport
from pretilt.reports.detector import DetectorReport
from pretilt.reports.dose import DoseReport
from pretilt.reports.forecast import ForecastReport
from pretilt.reports.manifest import Manifest
from pretilt.reports.shape import MethodsReport, OutcomeReport, ShapeReport
from pretilt.reports.training import RolloutsReport, TrainReport
from pretilt.reports.verification import VerificationReport
from pretilt.schema import (
    DETECTOR_REPORT,
    DOCTOR_FILE,
    DOSE_REPORT,
    FORECAST_REPORT,
    MANIFEST,
    METHODS_REPORT,
    OUTCOME_REPORT,
    PREFLIGHT_FILE,
    ROLLOUTS_REPORT,
    SHAPE_FOLDER,
    SHAPE_REPORT,
    STATISTICS_FILE,
    SUMMARY_FILE,
    TRAIN_REPORT,
    VERIFICATION_REPORT,
)

MODELS: dict[str, type[Report]] = {
    MANIFEST: Manifest,
    PREFLIGHT_FILE: Preflight,
    DOCTOR_FILE: Doctor,
    STATISTICS_FILE: Statistics,
    SUMMARY_FILE: SummaryReport,
    ROLLOUTS_REPORT: RolloutsReport,
    DETECTOR_REPORT: DetectorReport,
    FORECAST_REPORT: ForecastReport,
    SHAPE_REPORT: ShapeReport,
    METHODS_REPORT: MethodsReport,
    OUTCOME_REPORT: OutcomeReport,
    DOSE_REPORT: DoseReport,
    TRAIN_REPORT: TrainReport,
    VERIFICATION_REPORT: VerificationReport,
}
_NAMED = re.compile(r"(detector|dose|rollouts|verification)-[^/]+\.json")  # of a role, or of a name that the user gave
_OF_PLAN = re.compile(rf"{SHAPE_FOLDER}/[^/]+/([^/]+\.json)")


def check_report(name: str, value: Any) -> str:
    """Where and how a report breaks its model, in one line; empty if it does not, or if the file has no model."""
    model = MODELS.get(_OF_PLAN.sub(r"\1", _NAMED.sub(r"\1.json", name)))
    if model is None:
        return ""
    try:
        model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole report"
        return f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return ""


def schemas() -> dict[str, dict[str, Any]]:
    """File name → JSON Schema of what it holds; `detector.json`, `rollouts.json` and `verification.json` stand for all
    of theirs."""
    printed = {"comparison.json": ComparisonReport}  # and never a file of a run
    models: dict[str, type[Report]] = {**MODELS, **printed}
    return {name: model.model_json_schema() for name, model in models.items()}
