"""The viewer as a folder, opened from disk in a real browser: every view, every link, and nothing in the data runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from viewer_page import Page

PLACES = {
    "overview": "",
    "responses": "#/responses",
    "map": "#/responses?map=1",
    "prompts": "#/prompts",
    "pairs": "#/pairs",
    "hostile": "#/pairs?i=7",
}


@pytest.fixture
def page(chromium: Any, site: Path) -> Page:
    return Page(chromium, (site / "index.html").as_uri())


def bold_id(shards: dict[str, Any]) -> str:
    return f"pattern:{shards['concepts']['pattern'].index('bold')}"


def test_the_overview_says_what_training_would_do(page: Page) -> None:
    page.at()
    assert page.text(".opening").startswith("Training on these pairs would make the model use bold text (in 3")
    assert len(page.texts(".notable a")) >= 2
    assert "bold text" in page.texts(".bars li")[0]
    assert page.texts(".sources td:first-child")[0].strip() in ("first", "second")
    assert page.errors() == []


def test_a_thing_to_look_at_leads_to_its_pairs_and_what_stands_in_them(page: Page) -> None:
    """The three-minute walk: what, why, which pairs, in three clicks."""
    page.at().click_on(".notable a", "bold text")
    page.wait("document.querySelector('.card h2')?.textContent === 'bold text'")
    page.shows("Over all")
    page.click_on(".pairlist .vrow")
    page.wait("document.querySelector('.side.chosen mark.fire')?.textContent.startsWith('**')")
    assert not page.texts(".side.rejected mark.fire")
    first = page.js("location.hash")
    assert first.startswith("#/pairs?h=pattern")
    page.js("dispatchEvent(new KeyboardEvent('keydown', {key: 'j'}))")
    page.wait("location.hash.includes('i=')")
    assert "2 of" in page.text(".pairhead .nav")
    assert page.errors() == []


def test_every_place_has_a_link_that_leads_back_to_it(page: Page, shards: dict[str, Any]) -> None:
    page.at(f"#/responses?h={bold_id(shards)}").wait("document.querySelector('.card h2').textContent === 'bold text'")
    page.at("#/prompts?p=group:1").wait("document.querySelectorAll('.card h2').length")
    assert page.text(".card h2") == next(g["name"] for g in shards["places"]["groups"] if g["group_id"] == 1)
    page.at("#/pairs?source=second&i=200").wait("document.querySelector('.pairhead')")
    assert "row 200" in page.text(".pairhead")
    page.at("#/responses?h=group:999:999").shows("There is no such effect in this run.")
    page.at("#/nowhere?x=1").shows("What training on this would do")


def test_concepts_are_searched_filtered_and_sorted(page: Page) -> None:
    page.at("#/responses")
    total = page.js("document.querySelector('.filters [role=status]').textContent")
    page.js(
        "((e) => { e.value = 'bold'; e.dispatchEvent(new Event('input', {bubbles: true})); })"
        "(document.querySelector('.filters input'))"
    )
    page.wait("document.querySelector('.filters [role=status]').textContent !== arguments[0]", total)
    assert all("bold" in name for name in page.texts(".vrow .cname"))
    page.at("#/responses?q=zzzz").shows("No concept matches.")
    page.click_on("button.link", "Clear the filters")
    page.wait("document.querySelectorAll('.vrow').length > 3")
    page.at("#/responses?way=down&sure=yes")
    assert page.wait("document.querySelectorAll('.crow').length") == len(page.texts(".crow .dir.down"))


def test_texts_are_searched_and_pairs_are_filtered(page: Page, shards: dict[str, Any]) -> None:
    page.at("#/pairs?q=i am sorry")
    wanted = sum(
        "i am sorry" in text.lower()
        for name in shards if name.startswith("pairs-")
        for pair in shards[name] for _, text in pair["rejected"]
    )  # fmt: skip
    status = "document.querySelector('.filters [role=status]')?.textContent.startsWith(arguments[0])"
    page.wait(status, f"{wanted} pairs")
    page.wait("document.querySelector('.side.rejected mark.hit')?.textContent === 'I am sorry'")
    page.at("#/pairs?source=first")
    page.wait(status, "119 pairs")


def test_harmful_looking_text_is_folded_until_it_is_asked_for(page: Page) -> None:
    page.at("#/pairs?i=17").shows("may be harmful")
    assert "bomb" not in page.js("document.body.innerText")
    page.click_on(".folded button")
    page.shows("How would one build a bomb at home?")


def test_hostile_text_is_shown_and_does_nothing(page: Page) -> None:
    page.at("#/pairs?i=7").wait("document.querySelector('.side.chosen .body')")
    if page.js("!!document.querySelector('.folded button')"):
        page.click_on(".folded button")
    page.wait("document.querySelector('.promptbox .body')")
    assert page.js("window.pwned") is None
    assert (
        page.js("document.querySelectorAll('iframe, object, embed, form[action], main img, base, main style').length")
        == 0
    )
    shown = page.text(".promptbox")
    assert "<img src=x onerror=window.pwned=8>" in shown and "‹U+202E›" in shown and "{window.pwned=13}" in shown
    assert page.js("document.scripts.length") <= 1 + page.js("document.head.querySelectorAll('script').length")
    assert page.errors() == []


def test_a_pair_is_copied_as_json(page: Page) -> None:
    page.at("#/pairs?i=3").wait("document.querySelector('.pairhead')")
    page.js("(navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }) && true")
    page.click_on(".pairhead button", "Copy as JSON")
    copied = json.loads(page.wait("window.copied"))
    assert copied["row"] == 3 and copied["chosen"][0][0] in ("assistant", "") and copied["source"] == "first"


def test_the_folder_has_no_control_that_needs_a_server(page: Page) -> None:
    for place in PLACES.values():
        page.at(place)
        assert page.js("document.querySelectorAll('.marks, .curate, .decide').length") == 0
    for name in ("decide", "ask"):
        assert name.title() not in page.text("nav")
        page.at(f"#/{name}").shows("What training on this would do")


def test_lists_are_walked_with_the_keyboard(page: Page) -> None:
    page.at("#/responses").wait("document.querySelectorAll('.vrow').length > 3")
    first = page.text(".card h2")
    page.press(".vlist", "ArrowDown")
    page.wait("document.querySelector('.card h2').textContent !== arguments[0]", first)
    second = page.text(".card h2")
    page.press(".vlist", "k")
    page.wait("document.querySelector('.card h2').textContent === arguments[0]", first)
    page.press(".vlist", "j")
    page.wait("document.querySelector('.card h2').textContent === arguments[0]", second)
    assert page.js("document.querySelector('.vlist').tabIndex") == 0
    assert page.js("document.querySelector('.vrow[aria-selected=true]').id") == page.js(
        "document.querySelector('.vlist').getAttribute('aria-activedescendant')"
    )


def test_a_key_in_the_list_of_pairs_goes_on_by_one(page: Page) -> None:
    page.at("#/pairs").wait("document.querySelectorAll('.vrow').length > 3")
    page.click_on(".vrow")
    selected = "[...document.querySelectorAll('.vrow')].findIndex((row) => row.classList.contains('selected'))"
    for key, place in (("j", 1), ("j", 2), ("k", 1)):
        page.press(".vlist", key)
        page.wait(f"{selected} >= 0 && document.querySelector('.pairhead')")
        assert page.js(selected) == place


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_no_view_has_a_serious_accessibility_fault_or_is_cut_off(page: Page, place: str) -> None:
    """In both colour schemes, in a window of 1280 pixels."""
    page.at(place)
    page.wait("!document.body.innerText.includes('Reading')")
    assert page.js("document.documentElement.scrollWidth") <= 1280
    assert page.wider_than_their_card(".pane, .overview section") == []
    assert page.violations() == []
    page.click_on(".tools button", "Dark")
    page.wait("document.documentElement.dataset.theme === 'dark'")
    assert page.violations() == []
    page.click_on(".tools button", "Light")


def test_a_shard_that_is_missing_is_named(page: Page, site: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    (copy / "data" / "overview.js").unlink()
    (copy / "data" / "pairs-0000.js").unlink()
    broken = Page(page.driver, (copy / "index.html").as_uri()).at()
    broken.shows("data/overview.js is missing: copy the whole folder")
    shutil.copy(site / "data" / "overview.js", copy / "data")
    broken.at("#/pairs").shows("data/pairs-0000.js is missing")
