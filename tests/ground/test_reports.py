"""Reports are what their models say: no field more, none less, and an error names the place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from whole_reports import detector_report, forecast_report, rollouts_report, training_report

import pretilt
from pretilt import reports
from pretilt.artifacts import write_json
from pretilt.errors import UserError
from pretilt.run import Run, file_hash

OF_AN_AUDIT = ("run.json", "preflight.json", "doctor.json", "statistics.json", "summary.json")


@pytest.mark.parametrize("name", OF_AN_AUDIT)
def test_every_report_of_an_audit_has_a_model_and_fits_it(shared_run: pretilt.AuditResult, name: str) -> None:
    report = json.loads((shared_run.path / name).read_text(encoding="utf-8"))
    report.pop("sha256", None)  # the seal of run.json, which reading takes off
    assert reports.check_report(name, report) == ""
    model = reports.MODELS[name].model_validate(report)
    assert json.loads(model.model_dump_json())  # what was read can be written again
    _refuses_what_is_broken(name, report)


@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("detector-warmth.json", detector_report()),
        ("forecast.json", forecast_report()),
        ("rollouts-after-2.json", rollouts_report("after-2", 3)),
        ("train.json", training_report()),
    ],
)
def test_the_other_reports_refuse_what_is_broken(name: str, report: dict[str, Any]) -> None:
    assert reports.check_report(name, report) == ""
    _refuses_what_is_broken(name, report)


def _refuses_what_is_broken(name: str, report: dict[str, Any]) -> None:
    assert reports.check_report(name, {**report, "mood": 1}).startswith("mood: extra inputs")
    first = next(iter(report))
    without_first = {key: value for key, value in report.items() if key != first}
    assert reports.check_report(name, without_first) == f"{first}: field required"


def test_every_table_of_reports_is_complete() -> None:
    others = {
        "detector.json",
        "dose.json",
        "forecast.json",
        "methods.json",
        "outcome.json",
        "rollouts.json",
        "shape.json",
        "train.json",
    }
    others.add("verification.json")
    assert set(reports.MODELS) == {*OF_AN_AUDIT, *others}


def test_a_training_that_began_needs_no_results_and_a_finished_one_does() -> None:
    begun = {"format_version": 1, "key": "k", "processes": 1, "finished": False, "forecast": None}
    assert reports.check_report("train.json", begun) == ""
    assert "a finished training without 'pairs_sha256'" in reports.check_report(
        "train.json", {**begun, "finished": True}
    )


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda r: r["families"].update(mood=1), "families.mood: extra inputs are not permitted"),
        (lambda r: r["rows"].pop("read"), "rows.read: field required"),
        (lambda r: r["rows"].update(read="many"), "rows.read: input should be a valid integer"),
        (lambda r: r["families"]["by_relation"]["prompt"].pop("links"), "families.by_relation.prompt.links"),
    ],
)
def test_the_place_is_named(shared_run: pretilt.AuditResult, change: Any, place: str) -> None:
    report = json.loads((shared_run.path / "preflight.json").read_text(encoding="utf-8"))
    change(report)
    assert reports.check_report("preflight.json", report).startswith(place)


def test_a_report_of_other_fields_is_one_line_and_none_is_written(
    shared_run: pretilt.AuditResult, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(shared_run.path, tmp_path / "audit run"))
    report = run.json("statistics.json")
    with run.stage("audit", version=99, config={}, reads=[]) as stage:
        with pytest.raises(ValueError, match=r"statistics\.json: mood: extra inputs"):
            stage.write_json("statistics.json", {**report, "mood": 1})
        write_json(run.path / "statistics.json", {**report, "mood": 1})  # as another version would
        stage.files.add("statistics.json")
        stage._add("statistics.json")
    assert file_hash(run.path / "statistics.json")
    with pytest.raises(UserError, match=r"other fields than this version reads.*statistics\.json.*mood.*new folder"):
        Run(run.path).json("statistics.json")
    with run.stage("shape-mild", version=99, config={}, reads=[]) as stage:
        (run.path / "shape" / "mild").mkdir(parents=True)
        write_json(run.path / "shape/mild/shape.json", {"mood": 1})
        stage.files.add("shape/mild/shape.json")
        stage._add("shape/mild/shape.json")
    with pytest.raises(UserError, match=r"shape\.json.*Run the same `pretilt shape .*` again, or read it"):
        Run(run.path).json("shape/mild/shape.json")


def test_a_file_without_a_model_is_left_alone() -> None:
    assert reports.check_report("communities.json", {"anything": 1}) == ""
