"""Reports are what their models say: no field more, none less, and an error names the place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import pretilt
from pretilt import reports
from pretilt.artifacts import write_json
from pretilt.errors import UserError
from pretilt.run import Run, file_hash


@pytest.mark.parametrize("name", reports.MODELS)
def test_every_report_of_an_audit_has_a_model_and_fits_it(shared_run: pretilt.AuditResult, name: str) -> None:
    report = json.loads((shared_run.path / name).read_text(encoding="utf-8"))
    assert reports.check_report(name, report) == ""
    model = reports.MODELS[name].model_validate(report)
    assert json.loads(model.model_dump_json())  # what was read can be written again
    for broken in ({**report, "mood": 1}, {key: value for key, value in report.items() if key != next(iter(report))}):
        assert reports.check_report(name, broken)


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
    run = Run(shutil.copytree(shared_run.path, tmp_path / "run"))
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


def test_a_file_without_a_model_is_left_alone() -> None:
    assert reports.check_report("communities.json", {"anything": 1}) == ""
