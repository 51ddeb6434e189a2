"""What a person calls a concept is what every screen calls it, and nothing that is computed knows of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from command_line import in_process
from rich.console import Console

import pretilt
from pretilt.concepts.curation import CURATION_FILE, write_curation
from pretilt.errors import UserError
from pretilt.run import Run, file_hash
from pretilt.shape.plan import load_plan
from pretilt.trace.ids import resolve
from pretilt.verify.dose import DoseResult
from pretilt.verify.plan import PlanOutcome
from pretilt.view.site.bundle import Bundle
from pretilt.view.step import write_summary
from pretilt.view.terminal.dose import print_dose
from pretilt.view.terminal.outcome import print_outcome

GIVEN = "Shouting at readers"


@pytest.fixture
def bold(viewer_run: Run) -> int:
    """The concept of bold words, renamed."""
    table = viewer_run.table("concepts.parquet", ["concept_id", "pattern"])
    concept: int = next(row["concept_id"] for row in table.to_pylist() if row["pattern"] == "bold")
    write_curation(viewer_run, {"names": {str(concept): GIVEN}})
    return concept


def audited_name(run: Run, concept: int) -> str:
    return str(run.table("concepts.parquet", ["name"])["name"][concept])


def stored(run: Run) -> dict[str, str]:
    """Name and hash of every file but the names given by hand."""
    paths = [path for path in run.path.rglob("*") if path.is_file() and path.name != CURATION_FILE]
    return {str(path.relative_to(run.path)): file_hash(path) for path in paths}


def printed(show: Any, result: Any) -> str:
    file = io.StringIO()
    show(result, Console(file=file, width=120, color_system=None))
    return file.getvalue()


def test_every_command_prints_the_given_name_and_not_that_of_the_audit(
    viewer_run: Run, bold: int, tmp_path: Path
) -> None:
    plan, own = tmp_path / "plan.yaml", audited_name(viewer_run, bold)
    shown = {
        "trace": in_process("trace", viewer_run.path, "pattern:bold"),
        "trace pair": in_process("trace", viewer_run.path, "row:0"),
        "forecast": in_process("forecast", viewer_run.path, "--draws", "10"),
        "mark": in_process("mark", viewer_run.path, "suppress", GIVEN, "--plan", plan),
        "shape": in_process("shape", viewer_run.path, "--plan", plan),
    }
    assert {name: answer.stderr for name, answer in shown.items() if answer.returncode} == {}
    for name in ("trace", "trace pair", "forecast", "shape"):
        assert GIVEN in shown[name].stdout, name
        assert own not in shown[name].stdout, name
    assert load_plan(plan).items[0].target == "pattern:bold"  # the plan outlives the next renaming


def test_the_summary_the_previews_and_the_site_have_it(viewer_run: Run, bold: int) -> None:
    result = pretilt.AuditResult(viewer_run)
    own = audited_name(viewer_run, bold)
    assert GIVEN in result._repr_html_() and f">{own}<" not in result._repr_html_()
    overview = Bundle(viewer_run).shard("overview").decode()
    assert GIVEN in overview
    compiled = pretilt.shape(viewer_run, {"items": [{"suppress": "pattern:bold", "method": "weight"}]})
    assert GIVEN in repr(compiled)
    assert compiled.report["items"][0]["name"] == own  # as stored: its bytes know no names of people
    assert GIVEN in Bundle(Run(viewer_run.path)).shard("plans").decode()


def test_what_is_judged_after_training_has_it(viewer_run: Run, bold: int) -> None:
    own = audited_name(viewer_run, bold)
    points = [{"amount": 0.0, "mean": 0.2, "se": 0.01}]
    row = {"concept_id": bold, "name": own, "points": points, "slope": 0.5, "slope_se": 0.1}
    report: dict[str, Any] = {
        "detector": "x", "per_prompt": 1, "prompts": 2, "amounts": [0.0], "target": row, "same": [], "moved": [],
        "finished": [1.0], "tokens": [10.0], "layer": 1, "residual_length": 1.0,
    }  # fmt: skip
    dose = DoseResult(viewer_run, "x", report)
    assert GIVEN in printed(print_dose, dose) and own not in printed(print_dose, dose) and GIVEN in repr(dose)

    pretilt.shape(viewer_run, {"items": [{"suppress": "pattern:bold", "method": "weight"}]}, name="less")
    target = {
        "number": 1, "decision": "suppress", "target": "pattern:bold", "name": own, "method": "weight", "strength": 1.0,
        "is_inside": False, "before": 0.1, "plain": 0.2, "shaped": 0.1, "forecast_left": 0.0, "left": None,
    }  # fmt: skip
    half = {"accuracy": None, "pairs": None, "regime": "x"}
    judged = {
        "per_prompt": 1, "prompts": 2, "targets": [target], "sets": {}, "utility": {"after": half, "shaped": half},
        "sealed_before_training": True,
    }  # fmt: skip
    outcome = printed(print_outcome, PlanOutcome(Run(viewer_run.path), "less", judged))
    assert GIVEN in outcome and own not in outcome


def test_nothing_that_is_stored_depends_on_it(viewer_run: Run) -> None:
    def steps() -> None:
        write_summary(Run(viewer_run.path))
        pretilt.forecast(viewer_run.path, draws=10)
        pretilt.shape(viewer_run.path, {"items": [{"suppress": "pattern:bold", "method": "drop", "strength": 0.5}]})

    steps()
    before = stored(viewer_run)
    names = viewer_run.table("concepts.parquet", ["name"])["name"].to_pylist()
    write_curation(viewer_run, {"names": {str(i): f"given {i}" for i in range(len(names))}, "merged": {"1": 0}})
    steps()
    assert stored(viewer_run) == before


def test_numbers_of_the_list_mean_the_same_whatever_things_are_called(viewer_run: Run) -> None:
    before = [resolve(viewer_run, str(number)) for number in (1, 2)]
    names = viewer_run.table("concepts.parquet", ["name"])["name"].to_pylist()
    write_curation(viewer_run, {"names": {str(i): "all alike" for i in range(len(names))}})
    summary = Bundle(viewer_run).summary
    shown = [effect.hypothesis_id for effect in (*summary.amplified_patterns, *summary.suppressed_patterns)]
    assert [getattr(cell, "id", "").split(":")[-1] for cell in before] == [id.split(":")[-1] for id in shown[:2]]
    assert {effect.concept for effect in summary.amplified_patterns} == {"all alike"}


def test_a_given_name_may_be_typed_and_is_offered(viewer_run: Run, bold: int) -> None:
    for typed in (GIVEN, GIVEN.upper(), "shouting at", "Shouting at r…"):
        assert getattr(resolve(viewer_run, typed), "concept_id", None) == bold, typed
    assert getattr(resolve(viewer_run, audited_name(viewer_run, bold)), "concept_id", None) == bold
    with pytest.raises(UserError, match=rf"Did you mean concept:{bold} \({GIVEN}\)"):
        resolve(viewer_run, "Shouting at raeders")
    plan = viewer_run.path.parent / "typed.yaml"
    plan.write_text("# by hand\nitems:\n- suppress: Shouting at raeders\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"typed.yaml, line 3.*{GIVEN}"):
        pretilt.shape(viewer_run, plan)


def test_a_name_that_moved_to_another_concept_wins_over_the_name_of_the_audit(viewer_run: Run, bold: int) -> None:
    other = 0 if bold else 1
    write_curation(viewer_run, {"names": {str(bold): GIVEN, str(other): audited_name(viewer_run, bold)}})
    assert getattr(resolve(viewer_run, audited_name(viewer_run, bold)), "concept_id", None) == other


def test_a_merged_concept_has_the_name_of_the_one_it_stands_under(viewer_run: Run, bold: int) -> None:
    other = 0 if bold else 1
    write_curation(viewer_run, {"names": {str(bold): GIVEN}, "merged": {str(other): bold}})
    name = f"{GIVEN} ({audited_name(viewer_run, other)})"
    assert name in in_process("trace", viewer_run.path, f"concept:{other}").stdout
    assert getattr(resolve(viewer_run, GIVEN), "concept_id", None) == bold
    assert getattr(resolve(viewer_run, name), "concept_id", None) == other


@pytest.mark.parametrize("text", ["{", '{"names": {"99999": "x"}}', "[]", '{"names": 3}', '{"merged": {"0": 0}}'])
def test_a_damaged_file_is_a_line_and_no_traceback(viewer_run: Run, text: str) -> None:
    (viewer_run.path / CURATION_FILE).write_text(text)
    for command in (("trace", "1"), ("forecast", "--draws", "10")):
        answer = in_process(command[0], viewer_run.path, *command[1:])
        assert answer.returncode == 2 and answer.stderr.splitlines()[-1].count(CURATION_FILE) == 1
        assert "Traceback" not in answer.stderr
