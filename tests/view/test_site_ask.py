"""Asking in a real browser: what a pasted text holds by its text and through the lens, and where it belongs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from viewer_page import Page
from viewer_server import ask, serving

import pretilt
from pretilt.run import Run
from pretilt.schema import GROUP_MEMBERS_FILE, PAIRS_FILE, PROMPT_MEMBERS_FILE
from pretilt.view.site import contract
from pretilt.view.site.server import Viewer


@pytest.fixture(scope="module")
def lens_server(tmp_path_factory: pytest.TempPathFactory, shared_run: pretilt.AuditResult) -> Iterator[Viewer]:
    folder = tmp_path_factory.mktemp("ask")
    run = Run(Path(shutil.copytree(shared_run.path, folder / "run")))
    with serving(run, folder / "plan.yaml") as server:
        yield server


@pytest.fixture
def lens_page(chromium: Any, lens_server: Viewer) -> Page:
    return Page(chromium, lens_server.address)


@pytest.fixture(scope="module")
def pair(shared_run: pretilt.AuditResult) -> dict[str, Any]:
    """A training pair that has a group and a prompt concept, as texts, with their numbers."""
    run = shared_run.run
    groups = {row["pair_id"]: row["group_id"] for row in run.table(GROUP_MEMBERS_FILE).to_pylist()}
    topics = {row["pair_id"]: row["prompt_concept_id"] for row in run.table(PROMPT_MEMBERS_FILE).to_pylist()}
    row = next(row for row in run.table(PAIRS_FILE).to_pylist() if groups[row["pair_id"]] and row["pair_id"] in topics)
    texts = {name: row[name][-1]["content"] for name in ("prompt", "chosen", "rejected")}
    return {**texts, "group": groups[row["pair_id"]], "prompt_concept": topics[row["pair_id"]]}


def paste(page: Page, *texts: str) -> None:
    """Prompt, chosen and rejected into the three fields, as typed."""
    page.wait("document.querySelectorAll('.ask textarea').length === 3")
    page.js(
        "[...document.querySelectorAll('.ask textarea')].forEach((e, i) => {"
        " e.value = arguments[0][i]; e.dispatchEvent(new Event('input', {bubbles: true})); })",
        [*texts, "", "", ""][:3],
    )


def test_a_pair_is_read_through_the_model_and_has_its_place(lens_page: Page, pair: dict[str, Any]) -> None:
    page = lens_page.at("#/ask")
    paste(page, pair["prompt"], pair["chosen"], pair["rejected"])
    page.click_on(".ask button", "What would this pair teach?")
    page.shows("Through the model")
    page.wait("document.querySelector('.ofmodel tbody td')")
    assert page.texts(".ofmodel thead th") == ["Concept", "It teaches", "Training on this dataset"]
    rows = page.texts(".ofmodel tbody tr")
    assert all("▲ more" in row or "▼ less" in row for row in rows)
    places = page.js("[...document.querySelectorAll('.belongs > a')].map((e) => e.getAttribute('href'))")
    assert f"#/prompts?p=group%3A{pair['group']}" in places
    assert f"#/prompts?p=prompt%3A{pair['prompt_concept']}" in places
    assert page.violations() == [] and page.errors() == []


def test_a_prompt_alone_says_what_it_is_about(lens_page: Page, pair: dict[str, Any]) -> None:
    page = lens_page.at("#/ask")
    paste(page, pair["prompt"])
    page.click_on(".ask button", "What would training change on such a prompt?")
    page.shows("Where it belongs in this dataset")
    places = page.js("[...document.querySelectorAll('.belongs > a')].map((e) => e.getAttribute('href'))")
    assert f"#/prompts?p=prompt%3A{pair['prompt_concept']}" in places and not any("group" in p for p in places)
    assert not page.texts(".ofmodel") and page.errors() == []


def test_the_answer_of_the_server_is_the_one_that_the_page_expects(lens_server: Viewer, pair: dict[str, Any]) -> None:
    body = {name: pair[name] for name in ("prompt", "chosen", "rejected")}
    status, _, answer = ask(lens_server, "api/read", body)
    reading = TypeAdapter(contract.CALLS["read"]).validate_json(answer)
    assert status == 200 and reading.group == pair["group"] and reading.concepts
    for wrong in ({}, {"prompt": ""}, {"chosen": "x" * 200_001}, [1]):
        assert ask(lens_server, "api/read", wrong)[0] == 409


def test_what_the_lens_cannot_read_is_said_beside_what_the_text_says(
    lens_page: Page, lens_server: Viewer, pair: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(body: Any) -> None:
        raise pretilt.UserError("the lens is not the one that read the pairs", fix="Audit again")

    monkeypatch.setattr(lens_server, "_read", refused)
    page = lens_page.at("#/ask")
    paste(page, pair["prompt"], "A **loud** answer.")
    page.click_on(".ask button", "What would training do to such an answer?")
    page.shows("the lens is not the one that read the pairs")
    assert page.texts("tbody tr")
