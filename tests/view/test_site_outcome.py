"""What was foretold, planned and seen, in the page; and the page's own account of what the shards hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from site_shards import read_shard
from viewer_page import Page

import pretilt
from pretilt.events import Events
from pretilt.run import Run
from pretilt.schema_outcomes import OUTCOME, WHAT_IF
from pretilt.view.site import contract, contract_outcomes, outcomes
from pretilt.view.site.bundle import Bundle
from pretilt.view.site.plan_calls import PlanCalls
from pretilt.view.site.shards import script
from pretilt.view.site.verified import SEEN_COLUMNS, verifications

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def verified(told_and_seen: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose forecast came true, with answers before and after."""
    path = tmp_path_factory.mktemp("verified") / "run"
    shutil.copytree(told_and_seen, path)
    pretilt.verify(path, draws=100, permutations=199)
    return Run(path)


@pytest.fixture(scope="module")
def outcome_site(viewer_run_folder: Path, verified: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a forecast and a plan of its own, and the verification of another run: text alone is not verified."""
    folder = tmp_path_factory.mktemp("outcome")
    shutil.copytree(viewer_run_folder, folder / "run")
    pretilt.forecast(folder / "run", draws=20)
    pretilt.shape(
        folder / "run", {"items": [{"suppress": "pattern:bold", "method": "drop", "to": "half"}]}, name="less"
    )
    data = pretilt.export_site(folder / "run", folder / "site").parent / "data"
    answers = outcomes.Answers(verified)
    (data / "verification.js").write_bytes(script("verification", verifications(verified)[0]))
    (data / "answers-000.js").write_bytes(script("answers-000", answers.shard(0)))
    _, index = read_shard((data / "index.js").read_text(encoding="utf-8"))
    index["has"]["verification"] = True
    index["answers"] = {"roles": answers.roles, "shards": answers.n_shards}
    (data / "index.js").write_bytes(script("index", index))
    return folder / "site"


@pytest.fixture
def page(chromium: Any, outcome_site: Path) -> Page:
    return Page(chromium, (outcome_site / "index.html").as_uri())


def test_forecast_and_outcome_of_a_concept_stand_in_one_thread(page: Page, outcome_site: Path) -> None:
    _, forecast = read_shard((outcome_site / "data" / "forecast.js").read_text(encoding="utf-8"))
    rows = forecast["rows"]
    largest = max(range(len(rows["concept_id"])), key=lambda i: abs(rows["shift"][i] or 0))
    page.at(f"#/responses?c={rows['concept_id'][largest]}").wait("document.querySelector('.thread')")
    assert ("▲" if rows["shift"][largest] > 0 else "▼") in page.text(".thread li")
    assert f"{abs(rows['shift'][largest]):.3f}"[:4] in page.text(".thread li")
    assert "Plan less" in page.text(".thread")


def test_the_verdict_its_claims_and_every_concept_are_shown(page: Page, verified: Run) -> None:
    report = verified.json("verification.json")
    page.at("#/outcome").shows(f"The forecast {report['verdict']['name']}")
    assert report["verdict"]["sentence"].partition(": ")[2] in page.text(".verdict")
    assert len(page.texts(".verdict .checks li")) == len(report["statements"])
    assert page.js("document.querySelector('.plotbox canvas').getAttribute('aria-label')").endswith("holds the same.")
    assert page.errors() == []


def test_without_a_verdict_the_command_that_is_missing_is_named(
    chromium: Any, outcome_site: Path, tmp_path: Path
) -> None:
    shutil.copytree(outcome_site, tmp_path / "site")
    path = tmp_path / "site" / "data" / "index.js"
    _, index = read_shard(path.read_text(encoding="utf-8"))
    assert index["towards_verdict"] == ""  # of text alone there is none
    index["has"]["verification"], index["towards_verdict"] = False, "pretilt verify RUN"
    path.write_bytes(script("index", index))
    page = Page(chromium, (tmp_path / "site" / "index.html").as_uri())
    page.at("#/outcome").shows("Not verified yet. Next: pretilt verify RUN")


def test_answers_before_and_after_stand_side_by_side(page: Page, verified: Run) -> None:
    answers = outcomes.Answers(verified)
    first = answers.shard(0)[0]
    assert answers.roles == ["before", "after"] and set(first["answers"]) == {"before", "after"}
    page.at("#/outcome?tab=answers").shows("Before training")
    assert first["answers"]["after"][0].strip()[:20] in page.text(".answer")
    assert len(page.texts(".answer")) == len(answers.shard(0)) > 5


def test_a_plan_shows_what_is_left_and_what_it_moves(page: Page) -> None:
    page.at("#/outcome?tab=plans").shows("Plan “less”")
    assert "suppress: pattern:bold" in page.text(".planbox pre")
    assert "target" in page.text(".bars.moving li")


@pytest.mark.parametrize("tab", ["verdict", "forecast", "answers", "plans"])
def test_no_part_of_it_has_a_serious_accessibility_fault(page: Page, tab: str) -> None:
    page.at(f"#/outcome?tab={tab}", dark=tab == "plans").wait("document.querySelector('.outcome')")
    assert page.violations() == []
    assert page.js("document.documentElement.scrollWidth") <= 1280


def test_pairs_that_do_two_things_at_once_are_found(page: Page, outcome_site: Path) -> None:
    """Counted again from the shards: pairs that favour bold text, and some other concept too."""
    shards = [read_shard(path.read_text(encoding="utf-8"))[1] for path in (outcome_site / "data").glob("u-*.js")]
    having = {
        (int(concept), sign): {place for place, u in zip(entry["places"], entry["u"], strict=True) if u * sign > 0}
        for shard in shards for concept, entry in shard.items() for sign in (1, -1)
    }  # fmt: skip
    _, concepts = read_shard((outcome_site / "data" / "concepts.js").read_text(encoding="utf-8"))
    bold = concepts["pattern"].index("bold")
    alone = having[bold, 1]
    other, sign = next(key for key in sorted(having) if key[0] != bold and 0 < len(having[key] & alone) < len(alone))
    status = "document.querySelector('.filters [role=status]')?.textContent.startsWith(arguments[0])"
    page.at(f"#/pairs?also=c{bold}%2B").wait(status, f"{len(alone)} pair")
    page.js(
        "((e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); })"
        "(document.querySelector('form.also input'), arguments[0])",
        concepts["name"][other],
    )
    page.click_on("form.also button", "more" if sign > 0 else "less")
    page.wait(status, f"{len(having[other, sign] & alone)} pair")
    page.click_on("p.also button", concepts["name"][bold])
    page.wait(status, f"{len(having[other, sign])} pair")


# --- the contract -----------------------------------------------------------------------------------------------------


def test_the_types_of_the_page_are_those_of_python() -> None:
    """`make web` writes them anew."""
    script_file = ROOT / "scripts" / "contract.py"
    answer = subprocess.run([sys.executable, script_file, "--check"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_every_shard_of_a_site_is_what_its_type_says(site: Path, outcome_site: Path) -> None:
    checked_words = set()
    for path in (*site.glob("data/*.js"), *outcome_site.glob("data/*.js")):
        name, value = read_shard(path.read_text(encoding="utf-8"))
        if (model := contract.SHARDS.get(name.partition("-")[0])) is not None:
            TypeAdapter(model).validate_python(value)
            checked_words.add(name.partition("-")[0])
    elsewhere = {"versus", "verifications", "doses"}  # held against their types where such sites are made
    assert checked_words == contract.SHARDS.keys() - elsewhere


def test_columns_are_those_of_the_tables() -> None:
    assert [*contract_outcomes.WhatIfRows.model_fields] == WHAT_IF.names
    assert [*contract_outcomes.OutcomeRows.model_fields] == OUTCOME.names
    assert {*contract_outcomes.ForecastRows.model_fields} == {*outcomes.FORECAST_COLUMNS}
    assert {*contract_outcomes.VerificationRows.model_fields} == {*SEEN_COLUMNS}


def test_answers_of_the_server_are_what_their_types_say(viewer_run: Run, tmp_path: Path) -> None:
    calls = PlanCalls(viewer_run, tmp_path / "plan.yaml", Events())
    body = {"items": [{"suppress": "pattern:bold", "method": "drop", "strength": 0.5}], "number": 1}
    for name, answer in (("what-if", calls.what_if(body)), ("compare", calls.compare(body))):
        TypeAdapter(contract.CALLS[name]).validate_python(answer)


def test_rows_and_outcomes_have_the_columns_that_the_page_reads(viewer_run_folder: Path, outcome_site: Path) -> None:
    source = (ROOT / "web" / "src" / "lib" / "effect.ts").read_text(encoding="utf-8")
    listed = re.search(r"const NUMBERS = \[(.*?)\]", source, re.DOTALL)
    assert listed
    _, rows = read_shard(Bundle(Run(viewer_run_folder)).shard("rows-pattern-000").decode())
    assert set(re.findall(r"'(\w+)'", listed[1])) <= rows.keys()
    for name in ("forecast", "verification"):
        _, value = read_shard((outcome_site / "data" / f"{name}.js").read_text(encoding="utf-8"))
        assert {"report", "rows"} <= value.keys() and json.dumps(value, allow_nan=False)
