"""Deciding, asking and renaming in a real browser, with the server behind the page."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest
from viewer_page import Page
from viewer_server import ask

import pretilt
from pretilt.concepts.curation import curation
from pretilt.shape.variants import NotRead
from pretilt.view.site.server import Viewer


@pytest.fixture
def page(chromium: Any, server: Viewer) -> Page:
    return Page(chromium, server.address)


def set_range(page: Page, value: float) -> None:
    page.js(
        "((e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); })"
        "(document.querySelector('.item input[type=range]'), arguments[0])",
        value,
    )


def test_a_concept_is_marked_moved_by_the_slider_and_saved(page: Page, server: Viewer) -> None:
    page.at("#/responses?q=bold").click_on(".marks .suppress")
    page.wait("document.querySelector('.mark.suppress').getAttribute('aria-pressed') === 'true'")
    page.click_on("nav a", "Decide")
    page.wait("document.querySelectorAll('.bars.moving li').length > 3")
    assert "target" in page.text(".bars.moving li")
    before = page.text(".bars.moving .target .bval")
    start = time.monotonic()
    set_range(page, 4)
    page.wait("document.querySelector('.bars.moving .target .bval').textContent !== arguments[0]", before)
    assert time.monotonic() - start < 2
    page.shows("strength: 4")
    page.click_on(".item summary", "Compare methods")
    page.wait("document.querySelectorAll('.item tbody tr').length > 2")
    page.click_on("button", "Save")
    page.shows("Saved to")
    assert "suppress: pattern:bold" in server.plans.path.read_text()
    assert pretilt.shape(server.run.path, server.plans.path).report["items"][0]["strength"] == 4
    page.click_on("button", "Undo")
    page.shows("Nothing is decided yet")
    assert page.errors() == []


def choose(page: Page, selector: str, value: str) -> None:
    page.wait("!!document.querySelector(arguments[0])", selector)
    page.js(
        "((e, v) => { e.value = v; e.dispatchEvent(new Event('change', {bubbles: true})); })"
        "(document.querySelector(arguments[0]), arguments[1])",
        selector,
        value,
    )


def test_a_plan_with_a_gate_a_driver_and_a_goal_is_one_that_shape_takes(page: Page, server: Viewer) -> None:
    page.at("#/responses?q=bold").click_on(".marks .suppress")
    page.click_on("nav a", "Decide")
    choose(page, ".driver", "pattern:apology")
    choose(page, ".gatekind", "group")
    page.shows("gate: group:")
    group = page.js("document.querySelector('.gatevalue').value")
    page.shows("by: pattern:apology")
    choose(page, ".gateside", "not")
    page.shows(f"gate: not:group:{group}")
    choose(page, ".driver", "")
    choose(page, ".goal", "half")
    page.shows("to: half")
    assert page.js("document.querySelector('.item input[type=range]')") is None
    choose(page, ".goal", "strength")
    choose(page, ".driver", "pattern:semicolon")
    page.shows("by: pattern:semicolon")
    page.click_on("button", "Save")
    page.shows("Saved to")
    (item,) = pretilt.shape(server.run.path, server.plans.path).report["items"]
    assert (item["by"], item["gate"], item["method"]) == ("pattern:semicolon", f"not:group:{group}", "offset")
    assert page.errors() == [] and page.violations() == []


def test_a_plan_that_cannot_be_carried_out_shows_no_prediction_of_the_one_before(page: Page) -> None:
    page.at("#/responses?q=semicolon").click_on(".marks .suppress")
    page.click_on("nav a", "Decide")
    page.wait("!!document.querySelector('.bars.moving')")
    choose(page, ".how select", "rewrite")
    page.shows("nothing rewrites")
    page.wait("!document.querySelector('.bars.moving')")
    page.shows("cannot be carried out as it stands")
    assert "nothing rewrites" in page.text(".alert") and page.js("document.querySelector('.yaml')") is None


def test_what_is_protected_and_moves_all_the_same_says_what_would_hold_it(page: Page) -> None:
    page.at("#/responses?q=bold").click_on(".marks .suppress")
    page.js("location.hash = '#/responses?q=semicolon'")
    page.wait("document.querySelector('.card h2').textContent.includes('semicolon')")
    page.click_on(".marks .protect")
    page.click_on("nav a", "Decide")
    page.wait("!!document.querySelector('.item.protect')")
    page.shows("Listed first among the side effects")
    choose(page, ".how select", "weight")
    set_range(page, 1)
    page.shows("This plan moves it all the same, see beside. The method designed-offset is made to hold it.")
    choose(page, ".how select", "designed-offset")  # held: nothing more to say of it
    page.shows("Listed first among the side effects")
    assert page.js("document.querySelector('.item.protect .need')") is None


def test_a_method_that_the_run_cannot_use_says_what_it_needs(page: Page) -> None:
    page.at("#/responses?q=bold").click_on(".marks .suppress")
    page.click_on("nav a", "Decide")
    page.click_on(".item summary", "cannot be used here")
    page.shows("steer-policy needs the model’s tokens, and this run was audited without a model")
    offered = page.js("[...document.querySelector('.how select').options].map((o) => o.value)")
    assert "drop" in offered and not {"mask", "inoculate", "steer-policy"} & {*offered}


def test_methods_are_compared_again_after_the_slider_has_moved(page: Page) -> None:
    page.at("#/responses?q=bold").click_on(".marks .suppress")
    page.click_on("nav a", "Decide")
    page.click_on(".compare summary", "Compare methods")
    page.wait("document.querySelectorAll('.compare tbody tr').length > 2")
    strength = (
        "[...document.querySelectorAll('.compare tbody tr')].find((r) => r.cells[0].textContent === 'offset')"
        ".cells[1].textContent"
    )
    assert page.js(strength) == "1"
    set_range(page, 3)
    page.wait(f"{strength} === '3'")


def test_what_the_model_has_not_read_is_left_out_of_the_answer_and_named(
    server: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(*_: Any) -> None:
        raise NotRead("the model has not read the pairs so")

    items = [
        {"suppress": "pattern:bold", "method": "offset", "strength": 1.0, "instruction": "Answer with bold words."},
        {"suppress": "pattern:semicolon", "method": "drop", "strength": 0.5},
    ]
    status, _, answer = ask(server, "api/what-if", {"items": items})
    assert status == 409 and "without a lens" in json.loads(answer)["error"]
    monkeypatch.setattr(sys.modules["pretilt.shape.compile"], "_check", lambda *_: None)
    monkeypatch.setattr(sys.modules["pretilt.shape.methods.work"], "asked_for", unread)
    answer = json.loads(ask(server, "api/what-if", {"items": items})[2])
    assert answer["unread"] == [1] and [item["touched"] > 0 for item in answer["items"]] == [False, True]
    assert "instruction: Answer with bold words." in answer["text"] and "strength: 1.0" in answer["text"]


def test_asking_says_what_an_answer_holds_and_what_becomes_of_it(page: Page) -> None:
    page.at("#/ask").shows("Nothing was asked yet")
    page.js(
        "((e) => { e.value = 'A **loud** <img src=x onerror=window.pwned=1> answer';"
        " e.dispatchEvent(new Event('input', {bubbles: true})); })(document.querySelectorAll('.ask textarea')[1])"
    )
    page.click_on(".ask button", "What would training do")
    page.wait("document.querySelector('tbody td')")
    row = next(text for text in page.texts("tbody tr") if "bold text" in text)
    assert "▲" in row and "sure" in row
    page.shows("Training pairs that teach most of the same")
    assert page.wait("document.querySelectorAll('.alike a').length") >= 12
    assert page.violations() == [] and page.js("window.pwned") is None


def test_a_saved_plan_is_there_when_the_page_is_opened_again(page: Page, server: Viewer) -> None:
    pretilt.mark(server.run, "protect", "pattern:bold", plan=server.plans.path)
    page.at("#/decide").shows("protect")
    page.click_on("button", "Remove")
    page.shows("Nothing is decided yet")


def test_a_goal_in_points_is_read_changed_and_says_what_it_needs(page: Page, server: Viewer) -> None:
    pretilt.mark(server.run, "suppress", "pattern:bold", to="+5 points", plan=server.plans.path)
    page.at("#/decide").shows("'to: +5 points' needs a plain training to measure by")
    assert page.js("[document.querySelector('.goal').value, document.querySelector('.points').value]") == [
        "points",
        "5",
    ]
    choose(page, ".points", "2.5")
    page.shows("'to: +2.5 points' needs a plain training")
    choose(page, ".goal", "half")
    page.wait("document.querySelector('.points') === null")
    page.wait("document.querySelectorAll('.bars.moving li').length > 3")
    assert all("/api/what-if" in error and "409" in error for error in page.errors())  # refused, and nothing else


def test_a_concept_is_renamed_by_hand(page: Page, server: Viewer) -> None:
    page.at("#/responses?q=bold").click_on(".curate summary")
    page.js(
        "((e) => { e.value = 'shouting <b>'; e.dispatchEvent(new Event('change', {bubbles: true})); })"
        "(document.querySelector('.curate input'))"
    )
    page.wait("document.querySelector('.card h2').textContent === 'shouting <b>'")
    assert "shouting <b>" in curation(server.run)["names"].values()


def test_deciding_has_no_serious_accessibility_fault(page: Page) -> None:
    page.at("#/responses?q=bold").click_on(".marks .suppress")
    for dark in (False, True):
        page.at("#/responses?q=bold", dark=dark).click_on(".marks .suppress")
        page.click_on("nav a", "Decide")
        page.wait("document.querySelectorAll('.bars.moving li').length > 3")
        assert page.violations() == []
        assert page.js("document.documentElement.scrollWidth") <= 1280
