"""A verification in the viewer: verdict, seal and ceiling on top, every control works, nothing in the data runs."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from altered import record_anew
from pydantic import TypeAdapter
from site_shards import read_shard
from synthetic_run import HOSTILE
from verify_run_folder import write_run
from verify_worlds import foresee, say
from viewer_page import Page

import pretilt
from pretilt.artifacts import jsonable
from pretilt.run import Run
from pretilt.view.site import contract, tables
from pretilt.view.site.shards import script
from pretilt.view.site.verified import clearest, doses, verifications

NAMES = {0: HOSTILE, 1: "a nigger word", **{i: f"{HOSTILE} {i}" for i in range(2, 12)}}
DOTS = "document.querySelector('.plotside .plot')"


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A forecast that came true, over concepts and groups with hostile names; and one of a model that stayed."""
    path = write_run(tmp_path_factory.mktemp("verified") / "run", names=NAMES)
    say(path, "before", 0.5, seed=1)
    say(path, "after", 0.9, seed=2)
    say(path, "after-stayed", 0.5, seed=7)
    foresee(path)
    groups = pq.read_table(path / "groups.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "name": HOSTILE} for row in groups]), path / "groups.parquet")
    record_anew(path)
    pretilt.verify(path, draws=100, permutations=199)
    pretilt.verify(path, after="after-stayed", draws=100, permutations=199)
    return Run(path)


@dataclass
class _Named:
    """What the shards of names are made from."""

    concepts: pa.Table
    groups: pa.Table
    prompt_concepts: pa.Table


@pytest.fixture(scope="module")
def verified_site(site: Path, verified: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the text run with the names, the verifications and the dose curves of the other one."""
    folder = tmp_path_factory.mktemp("verified-site") / "site"
    shutil.copytree(site, folder)
    named = _Named(*(verified.table(f"{name}.parquet") for name in ("concepts", "groups", "prompt_concepts")))
    first, *others = verifications(verified)
    _, index = read_shard((folder / "data" / "index.js").read_text(encoding="utf-8"))
    index["views"] = {}
    index["has"] |= {"verification": True, "verifications": True, "doses": True}
    nothing = copy.deepcopy(first)
    nothing["report"] |= {"name": "little", "cells": {}, "statements": []}
    nothing["report"]["verdict"] |= {"name": "nothing can be said", "sentence": "Nothing can be said: too few concepts"}
    bare = {"label": "feature-conditioned", "concepts": 1, "judgement": None, "table": [], "hits": [], "misses": []}
    nothing["report"]["sets"] = {name: {**bare, "can_be_said": False} for name in nothing["report"]["sets"]}
    written = {
        "concepts": tables.concepts(named), "places": tables.places(named), "verification": first,  # type: ignore[arg-type]
        "verifications": [*others, nothing], "doses": [_dose()], "index": index,
    }  # fmt: skip
    for name, value in written.items():
        TypeAdapter(contract.SHARDS[name]).validate_python(jsonable(value))
        (folder / "data" / f"{name}.js").write_bytes(script(name, value))
    return folder


def _dose() -> dict[str, Any]:
    def row(concept: int, name: str, slope: float) -> dict[str, Any]:
        points = [{"amount": a, "mean": 0.3 + slope * a, "se": 0.03} for a in (-0.1, 0.0, 0.1)]
        return {"concept_id": concept, "name": name, "points": points, "slope": slope, "slope_se": 0.2}

    return {
        "format_version": 1, "model": {"name": "m"}, "label": "cheer", "detector": "cheer",
        "layer": 2, "residual_length": 3.2, "amounts": [-0.1, 0.0, 0.1],
        "prompts": 40, "per_prompt": 4.0, "target": row(0, HOSTILE, 1.0), "same": [], "moved": [row(1, "links", 0.1)],
        "finished": [1.0, 1.0, 0.5], "tokens": [20.0, 21.0, 30.0],
    }  # fmt: skip


@pytest.fixture
def page(chromium: Any, verified_site: Path) -> Page:
    return Page(chromium, (verified_site / "index.html").as_uri())


# --- the shards -------------------------------------------------------------------------------------------------------


def test_every_concept_has_its_own_numbers_and_the_rungs_beside_them(verified: Run) -> None:
    first, second = verifications(verified)
    assert (first["report"]["name"], second["report"]["name"]) == (None, "stayed")
    table = verified.table("verification.parquet").filter(pc.field("view") == "global")
    forecast = pq.read_table(verified.path / "forecast.parquet").filter(pc.field("view") == "global")
    observed = dict(zip(table["concept_id"].to_pylist(), table["observed"].to_pylist(), strict=True))
    mean = dict(zip(forecast["concept_id"].to_pylist(), forecast["mean"].to_pylist(), strict=True))
    assert sorted(first["rows"]["concept_id"]) == sorted(observed)
    for i, concept in enumerate(first["rows"]["concept_id"]):
        assert first["rows"]["observed"][i] == pytest.approx(observed[concept], rel=1e-3)
        assert first["rungs"]["mean"][i] == pytest.approx(mean[concept], rel=1e-3)
    assert set(first["rungs"]) == {"mean", "one_step"}  # the two that this forecast holds


def test_a_forecast_that_was_replaced_lends_no_rungs(verified: Run, tmp_path: Path) -> None:
    path = Path(shutil.copytree(verified.path, tmp_path / "run"))
    table = pq.read_table(path / "forecast.parquet")
    pq.write_table(table, path / "forecast.parquet", compression="gzip")  # other bytes
    record_anew(path)
    assert [(one["rungs"], one["intervals"]) for one in verifications(Run(path))] == [({}, {})] * 2


def test_only_cells_of_sets_that_were_judged_are_listed(verified: Run) -> None:
    """Not those of fewer prompts than are judged, nor the silent group, however clear they look."""
    rows = verified.table("verification.parquet").to_pylist()
    for row in (row for row in rows if row["view"] == "group" and row["where"] in (0, 1, 2)):
        # the error is least, and so the shift clearest, in the silent group; then in the one with three prompts
        row |= {"resolved": True, "observed": 0.5, "se": 0.01 + 0.01 * row["where"], "sign_right": True}
        row["n_prompts"] = 3 if row["where"] == 1 else 4
    altered = pa.Table.from_pylist(rows, verified.table("verification.parquet").schema)
    listed = clearest(altered, "group")
    assert len(listed) == 8 and {(row["n_prompts"], row["where"], row["se"]) for row in listed} == {(4, 2, 0.03)}


def test_a_run_without_them_has_none(viewer_run: Run) -> None:
    assert (verifications(viewer_run), doses(viewer_run)) == ([], [])


# --- in a browser -----------------------------------------------------------------------------------------------------


def test_verdict_seal_and_ceiling_are_on_top(page: Page, verified: Run) -> None:
    report = verified.json("verification.json")
    page.at("#/outcome").shows("The forecast came true")
    first = page.text(".verdict section")
    assert "R² " in first and "of a possible" in first
    assert "Whether the forecast was sealed before training is not known" in first
    assert "trained on" in page.text(".warning")  # the prompts are those of all pairs
    assert "possible" in page.text("svg.ceiling") and "length" in page.text("svg.ceiling") + first
    whole = page.text(".verdict")
    for name in ("shuffled labels", "length alone", "nothing moves", "mean (declared)", "In which context"):
        assert name in whole, name
    assert len(page.texts(".claims li")) == len(report["statements"])
    assert len(page.texts(".doctortable tbody tr")) == 4
    assert page.errors() == []


def test_nothing_in_the_data_runs_and_slurs_are_masked(page: Page) -> None:
    page.at("#/outcome").shows("Hits and misses")
    page.press(".plotside .plot", "ArrowRight")
    page.js("[...document.querySelectorAll('details')].forEach((e) => { e.open = true; })")
    text = page.text("main")
    assert page.js("window.pwned") is None
    assert "<img src=x" in text and "‹U+202E›" in text and "\u202e" not in text and "nigger" not in text
    assert page.js("document.querySelectorAll('main img, main iframe, main a[href^=javascript]').length") == 0
    page.at("#/outcome?tab=dose").shows("Steered along")
    assert page.js("window.pwned") is None and "<img src=x" in page.text("main")
    assert page.errors() == []


def test_set_and_rung_can_be_chosen(page: Page) -> None:
    page.at("#/outcome").wait("document.querySelector('.plotside canvas')")
    label = "document.querySelector('.plotside canvas').getAttribute('aria-label')"
    selects = "document.querySelectorAll('.plotside select')"
    choose = (
        f"((e, v) => {{ e.value = v; e.dispatchEvent(new Event('change', {{bubbles: true}})); }})({selects}[%d], '%s')"
    )
    assert page.js(label).startswith("30 points")
    page.js(choose % (0, "features"))
    page.wait(f"{label}.startsWith('45 points')")
    page.js(choose % (0, "shift_max"))
    page.wait(f"{label}.startsWith('5 points') && {label}.includes('sd')")
    page.js(choose % (1, "one_step"))
    page.wait(f"{label}.includes('foretold: one_step')")
    assert "response shifts, max" in page.text(".moved")
    assert page.errors() == []


def test_arrow_keys_name_the_concepts_from_left_to_right(page: Page, verified: Run) -> None:
    page.at("#/outcome").wait("document.querySelector('.plotside canvas')")
    table = verified.table("verification.parquet")
    rows = table.filter((pc.field("view") == "global") & (pc.field("concept_id") < 30)).to_pylist()
    order = sorted(rows, key=lambda row: float(row["predicted"]))
    for row in order[:2]:
        page.press(".plotside .plot", "ArrowRight")
        page.wait("document.querySelector('.plotside .tip')?.textContent.includes(arguments[0])",
                  f"foretold −{abs(row['predicted']):.3f}")  # fmt: skip
        tip = page.text(".plotside .tip")
        assert f"seen −{abs(row['observed']):.3f}" in tip
    page.press(".plotside .plot", "Escape")
    page.wait("!document.querySelector('.plotside .tip')")


@pytest.mark.parametrize("width", [500, 1280])
@pytest.mark.parametrize("place", ["#/outcome", "#/outcome?name=stayed", "#/outcome?tab=dose"])
def test_it_fits_its_window(page: Page, width: int, place: str) -> None:
    page.at(place, width=width).wait("document.querySelector('.outcome section, .planbox')")
    page.js("[...document.querySelectorAll('details')].forEach((e) => { e.open = true; })")
    assert page.js("document.documentElement.scrollWidth") <= width
    assert page.js("document.querySelector('main').scrollWidth") <= width
    for part in ("svg.ceiling", "svg.doseplot", ".plotside canvas"):
        assert page.js("document.querySelector(arguments[0])?.getBoundingClientRect().right ?? 0", part) <= width
    assert page.violations() == []


def test_too_little_to_judge_is_said(page: Page) -> None:
    page.at("#/outcome?name=little").shows("Nothing can be said")
    assert "Too few concepts to judge." in page.text(".verdict") and "Nothing could be tested." in page.text(".claims")
    assert page.errors() == []


def test_where_nothing_can_be_said_nothing_is_listed_and_no_claim_holds(page: Page, verified: Run) -> None:
    n_beyond = verified.json("verification-stayed.json")["sets"]["communities"]["judgement"]["n_resolved"]
    page.at("#/outcome").click_on(".tabs button", "stayed")
    page.shows("Not listed: nothing can be said.")
    assert page.text(".verdict h2") == "Nothing can be said" and "seen to move" not in page.text(".tiles").lower()
    # 4.55 % of 30 concepts lie beyond two standard errors of a normal by chance
    assert f"Beyond 2 standard errors{n_beyond}of 30 concepts; 1 would be by chance alone" in page.text(".tiles")
    assert set(page.texts(".claims .chip")) == {"– not tested"}
    assert page.errors() == []


def test_a_dose_curve_shows_the_concept_that_is_asked_for(page: Page) -> None:
    page.at("#/outcome?tab=dose").shows("Steered along")
    assert "40 %" in page.js("document.querySelector('.doseplot').getAttribute('aria-label')")  # 0.3 + 0.1
    page.click_on(".planbox button", "links")
    page.wait("document.querySelector('.doseplot').getAttribute('aria-label').startsWith('links')")
    assert "no more than chance could make" in page.text(".planbox")
