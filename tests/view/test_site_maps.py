"""The two linked maps of the page: a concept colours the pairs, a pair marks its concepts, by mouse and by keyboard."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from viewer_page import Page

MAPS = "#/responses?map=1"
PIXEL = """
const [x, y] = arguments, c = document.querySelector('.pairmap canvas'), side = Math.min(c.width, c.height) - 8;
const at = [(c.width - side) / 2 + x / 9999 * side, (c.height - side) / 2 + y / 9999 * side];
return [...c.getContext('2d').getImageData(...at.map(Math.floor), 1, 1).data];
"""


@pytest.fixture
def page(chromium: Any, site: Path) -> Page:
    return Page(chromium, (site / "index.html").as_uri())


def concept_of(shards: dict[str, Any], pattern: str) -> int:
    return int(shards["concepts"]["pattern"].index(pattern))


def scores_of(shards: dict[str, Any], concept: int) -> dict[int, float]:
    """Place of a pair to u."""
    entry = shards[f"u-{concept // shards['index']['concepts_of_shard']:04d}"][str(concept)]
    return dict(zip(entry["places"], entry["u"], strict=True))


def standing_in(shards: dict[str, Any], pair: int) -> set[int]:
    """Concepts that one side of the pair holds and the other does not."""
    u_of = {concept: scores_of(shards, concept) for concept in shards["concepts"]["concept_id"]}
    return {concept for concept, u in u_of.items() if abs(u.get(pair, 0)) >= 0.5}


def colour(page: Page, name: str) -> list[int]:
    text = page.js("getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim()", name)
    return [*bytes.fromhex(text[1:]), 255]


def pixel(page: Page, shards: dict[str, Any], pair: int) -> list[int]:
    """Red, green, blue and opacity in the middle of a pair's point."""
    point = sum(shards["facts"]["train"][:pair])
    return list(page.driver.execute_script(PIXEL, shards["map"]["x"][point], shards["map"]["y"][point]))


def is_coloured_by(page: Page, n_pairs: int) -> None:
    page.wait("document.querySelector('.pairmap canvas')?.dataset.coloured === arguments[0]", str(n_pairs))


def test_the_pairs_take_the_colours_of_the_concept(page: Page, shards: dict[str, Any]) -> None:
    bold = concept_of(shards, "bold")
    u = scores_of(shards, bold)
    page.at(f"{MAPS}&c={bold}").shows("Pairs, coloured by bold text")
    is_coloured_by(page, len(u))
    more = next(pair for pair, value in u.items() if value == 1)
    assert pixel(page, shards, more) == colour(page, "--up")
    neither = next(i for i, train in enumerate(shards["facts"]["train"]) if train and i not in u)
    assert pixel(page, shards, neither) not in (colour(page, "--up"), colour(page, "--down"))
    page.shows(f"Carry it {sum(value > 0 for value in u.values())}")

    apology = concept_of(shards, "apology")
    sorry = scores_of(shards, apology)
    page.js("(location.hash = arguments[0]) && true", f"{MAPS}&c={apology}")
    is_coloured_by(page, len(sorry))
    less = next(pair for pair, value in sorry.items() if value == -1)
    assert pixel(page, shards, less) == colour(page, "--down")
    page.js("(location.hash = arguments[0]) && true", f"{MAPS}&c={bold}")
    is_coloured_by(page, len(u))

    light, drawn = colour(page, "--up"), page.js("document.querySelector('.pairmap canvas').dataset.drawn")
    page.click_on(".tools button", "Dark")
    page.wait("document.documentElement.dataset.theme === 'dark'")
    assert colour(page, "--up") != light
    page.wait("document.querySelector('.pairmap canvas').dataset.drawn !== arguments[0]", drawn)
    assert pixel(page, shards, more) == colour(page, "--up")
    page.click_on(".tools button", "Light")
    assert [error for error in page.errors() if "willReadFrequently" not in error] == []  # advice to this test


def test_a_click_on_the_map_of_concepts_opens_the_one_that_lies_there(page: Page, shards: dict[str, Any]) -> None:
    """Filtered to a single concept, so that its point is in the middle."""
    apology = concept_of(shards, "apology")
    page.at(f"{MAPS}&q={shards['concepts']['name'][apology]}&kind=pattern").wait(
        "document.querySelectorAll('.maps canvas').length === 2"
    )
    page.wait("document.querySelector('.maps h2').textContent.startsWith('1 concept')")
    page.js(
        "(() => { const c = document.querySelector('.maps canvas'), b = c.getBoundingClientRect(), at = {bubbles: true,"
        "clientX: b.left + 8 + (b.width - 16) / 2, clientY: b.top + 8 + (b.height - 16) / 2};"
        "c.dispatchEvent(new MouseEvent('mousemove', at)); c.dispatchEvent(new MouseEvent('click', at)); return 1; })()"
    )
    page.wait("new URLSearchParams(location.hash.split('?')[1]).get('c') === arguments[0]", str(apology))
    is_coloured_by(page, len(scores_of(shards, apology)))


def test_a_pair_is_chosen_by_keys_and_its_concepts_are_named(page: Page, shards: dict[str, Any]) -> None:
    bold = concept_of(shards, "bold")
    u = scores_of(shards, bold)
    page.at(f"{MAPS}&c={bold}")
    is_coloured_by(page, len(u))
    page.press(".pairmap .plot", "ArrowRight")
    page.wait("document.querySelector('.pairmap .tip')?.textContent.includes('u ')")
    page.press(".pairmap .plot", "Enter")
    page.wait("new URLSearchParams(location.hash.split('?')[1]).get('i')")
    pair = int(re.search(r"[?&]i=(\d+)", page.js("location.hash"))[1])  # type: ignore[index]
    assert abs(u[pair]) == max(abs(value) for value in u.values())

    names = {shards["concepts"]["name"][concept] for concept in standing_in(shards, pair)}
    page.wait("document.querySelectorAll('.chips a').length === arguments[0]", min(len(names), 6))
    assert {text.lstrip("▲▼ ") for text in page.texts(".chips a")} <= names
    assert page.texts(".chips a")[0].startswith("▲" if u[pair] > 0 else "▼")
    assert page.js("!!document.querySelector('.ring.chosen')")
    page.click_on(".inpair button", "Let go")
    page.wait("!document.querySelector('.ring.chosen')")
    page.shows("Choose a pair on the right")


def test_how_concepts_are_placed_is_a_toggle_that_keeps_what_is_open(page: Page, shards: dict[str, Any]) -> None:
    bold = concept_of(shards, "bold")
    page.at(f"{MAPS}&c={bold}&i=3").shows("stand in the same pairs lie near each other")
    page.click_on(".maps button", "By effect")
    page.wait("location.hash.includes('by=effect')")
    page.shows("probability that the sign is wrong")
    assert f"c={bold}" in page.js("location.hash") and "i=3" in page.js("location.hash")
    page.click_on(".maps button", "By likeness")
    page.wait("!location.hash.includes('by=')")
    page.click_on(".filters .tabs button", "List")
    page.wait("document.querySelectorAll('.vrow .cname').length > 3")
    assert page.js("document.querySelectorAll('.maps').length") == 0


def test_what_prompts_are_about_has_maps_too(page: Page, shards: dict[str, Any]) -> None:
    """Groups of text alone share no pair: the map is that of sizes, and says why."""
    group = shards["facts"]["group_id"][3]
    page.at("#/prompts?map=1&i=3").wait("document.querySelector('.maps button[aria-pressed=true]')")
    page.wait("document.querySelector('.maps button[aria-pressed=true]').textContent === 'By size'")
    if group:
        name = next(entry["name"] for entry in shards["places"]["groups"] if entry["group_id"] == group)
        page.wait("document.querySelector('.chips a')?.textContent.trim() === arguments[0]", name)
    page.click_on(".maps button", "By likeness")
    page.shows("where a point lies says nothing")
    assert page.errors() == []


def test_in_a_run_too_large_to_look_through_that_is_said(chromium: Any, site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    index = copy / "data" / "index.js"
    index.write_text(re.sub(r'"n_concepts":\d+', '"n_concepts":1000000', index.read_text(encoding="utf-8")))
    Page(chromium, (copy / "index.html").as_uri()).at(f"{MAPS}&i=3").shows("too large to look through all concepts")


@pytest.mark.parametrize("place", [f"{MAPS}&i=3", f"{MAPS}&by=effect", "#/prompts?map=1&by=likeness"])
def test_the_maps_have_no_serious_accessibility_fault_and_fit(page: Page, place: str) -> None:
    page.at(place).wait("document.querySelectorAll('.maps canvas').length === 2")
    assert page.js("document.documentElement.scrollWidth") <= 1280
    assert page.wider_than_their_card(".pane, .mapbox, .inpair") == []
    assert page.js("Math.min(...[...document.querySelectorAll('.maps canvas')].map((c) => c.clientHeight))") >= 300
    assert page.violations() == []
    page.click_on(".tools button", "Dark")
    page.wait("document.documentElement.dataset.theme === 'dark'")
    assert page.violations() == []
    page.click_on(".tools button", "Light")
