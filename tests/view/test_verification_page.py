"""The page of a verification: verdict, seal and ceiling on it, nothing in the data runs, every control works."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from altered import record_anew
from browser import Browser, Tags
from synthetic_run import HOSTILE
from verify_run_folder import write_run
from verify_worlds import foresee, say

from pretilt.api import verify as verify_run
from pretilt.verify.step import VerifyResult
from pretilt.view.page import verification_page
from pretilt.view.page.verification_page import build_verification_page

NAMES = {0: HOSTILE, 1: "a nigger word", **{i: f"{HOSTILE} {i}" for i in range(2, 12)}}


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> VerifyResult:
    """A forecast that came true, over concepts with hostile names."""
    path = write_run(tmp_path_factory.mktemp("page") / "run", names=NAMES)
    say(path, "before", 0.5, seed=1)
    say(path, "after", 0.9, seed=2)
    foresee(path)
    groups = pq.read_table(path / "groups.parquet").to_pylist()
    named = pa.Table.from_pylist([{**row, "name": HOSTILE} for row in groups])
    pq.write_table(named, path / "groups.parquet")
    record_anew(path)
    return verify_run(path, draws=100, permutations=199)


def tables(result: VerifyResult) -> dict[str, pa.Table]:
    names = ("forecast", "concepts", "groups", "prompt_concepts")
    return {name: pq.read_table(result.run.path / f"{name}.parquet") for name in names}


def payload(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S)
    assert found is not None

    def strict(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(found[1], parse_constant=strict)


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_file_asks_nobody_for_anything(verified: VerifyResult) -> None:
    page = verified.page.read_text(encoding="utf-8")
    tags = Tags(page).tags
    assert [attrs.get("type") for tag, attrs in tags if tag == "script"] == ["application/json", None]
    addresses = [v for _, attrs in tags for name, v in attrs.items() if name in ("src", "href", "action", "style")]
    assert addresses and all(value and value.startswith("#") for value in addresses)
    policy = next(attrs["content"] for _, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    assert not {"img", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert "https://" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)


def test_the_same_tables_give_the_same_bytes(verified: VerifyResult) -> None:
    again = build_verification_page(verified.report, verified.table, tables(verified))
    assert again == verified.page.read_text(encoding="utf-8")


def test_every_concept_is_drawn_with_its_own_numbers(verified: VerifyResult) -> None:
    held = payload(verified.page.read_text(encoding="utf-8"))
    rows = {r["concept_id"]: r for r in verified.table.filter(pc.field("view") == "global").to_pylist()}
    said = tables(verified)["forecast"].filter(pc.field("view") == "global").to_pylist()
    mean = {r["concept_id"]: r["mean"] for r in said}
    assert sorted(point[0] for point in held["points"]) == sorted(rows) and held["left_out"] == {}
    for point in held["points"]:
        row = rows[point[0]]
        assert point[2] == pytest.approx(row["observed"], rel=1e-3) and point[6] == row["resolved"]
        assert point[11] == pytest.approx(mean[point[0]], rel=1e-3)
        assert point[12] is not None and point[13:] == [None] * 2  # one_step is there, the other rungs are not
    assert held["concepts"]["1"]["name"] == {"masked": "a n••••• word", "full": "a nigger word"}


def test_a_large_bank_is_thinned_and_says_so(verified: VerifyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification_page, "MAX_POINTS", 4)
    held = payload(build_verification_page(verified.report, verified.table, tables(verified)))
    assert held["left_out"] == {"feature": 11, "shift_max": 1, "shift_freq": 1}
    assert sum(point[1] == "community" for point in held["points"]) == 30


def test_only_sets_that_were_judged_are_listed_as_seen(verified: VerifyResult) -> None:
    """Not those of fewer prompts than are judged, nor the silent group, however clear they look."""
    rows = verified.table.to_pylist()
    cells = [row for row in rows if row["view"] == "group" and row["where"] in (0, 1, 2)]
    for row in cells:
        # the error is least, and so the shift clearest, in the silent group; then in the one with three prompts
        row |= {"resolved": True, "observed": 0.5, "se": 0.01 + 0.01 * row["where"], "sign_right": True}
        row["n_prompts"] = 3 if row["where"] == 1 else 4
    altered = pa.Table.from_pylist(rows, verified.table.schema)
    listed = payload(build_verification_page(verified.report, altered, tables(verified)))["places"]["group"]
    assert len(listed) == 8 and {row["n_prompts"] for row in listed} == {4}
    assert {row["se"] for row in listed} == {0.03}


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(chromium: Any, verified: VerifyResult) -> Browser:
    return Browser(chromium, verified.page.parent)


def test_verdict_seal_and_ceiling_are_on_top(browser: Browser, verified: VerifyResult) -> None:
    browser.open("verification.html")
    assert browser.text("#title") == "The forecast came true"
    assert browser.text("#sentence").startswith("R² ") and "of a possible" in browser.text("#sentence")
    assert "Whether the forecast was sealed before training is not known" in browser.text("#seal")
    assert "possible" in browser.text("#ceiling")
    assert "trained on" in browser.text("#warnings")  # the prompts are those of all pairs
    for name in ("shuffled labels", "length alone", "nothing moves"):
        assert name in browser.text("#figures")
    assert browser.js("document.querySelectorAll('#claim-list li').length") == len(verified.report["statements"])
    assert browser.js("document.querySelectorAll('#doctor tbody tr').length") == 4
    assert browser.errors() == []


def test_nothing_in_the_data_runs(browser: Browser) -> None:
    browser.open("verification.html")
    browser.press("#scatter svg", "ArrowRight")
    assert browser.js("window.pwned") is None
    names = browser.js("[...document.querySelectorAll('.data')].map((e) => e.textContent).join('\\n')")
    assert "<img src=x" in names and "U+202E" in names and "\u202e" not in names
    assert browser.js("document.querySelectorAll('main img, main iframe, main a[href^=javascript]').length") == 0
    assert "nigger" not in browser.text("main")
    assert browser.errors() == []


def test_set_and_rung_can_be_chosen(browser: Browser) -> None:
    browser.open("verification.html")
    marks = (
        "document.querySelectorAll('#scatter svg .dot-right, #scatter svg .dot-wrong, #scatter svg .dot-unseen').length"
    )
    legend = 5  # triangles of the key
    assert browser.js(marks) == 30 + legend
    browser.set("#pick-set", "features")
    assert browser.js(marks) == 45 + legend
    browser.set("#pick-set", "shift_max")
    assert browser.js(marks) == 5 + legend and "sd" in browser.text("#scatter")
    browser.set("#pick-rung", "one_step")
    assert "said: one_step" in browser.text("#scatter") and "response shifts, max" in browser.text("#moves-lead")
    assert browser.errors() == []


def test_arrow_keys_name_the_concepts(browser: Browser, verified: VerifyResult) -> None:
    browser.open("verification.html")
    assert browser.js("document.querySelector('#scatter .tip').hidden") is True
    rows = verified.table.filter((pc.field("view") == "global") & (pc.field("concept_id") < 30)).to_pylist()
    order = sorted(rows, key=lambda row: float(row["predicted"]))
    browser.press("#scatter svg", "ArrowRight")
    first = browser.text("#scatter .tip")
    browser.press("#scatter svg", "ArrowRight")
    second = browser.text("#scatter .tip")
    for told, row in ((first, order[0]), (second, order[1])):
        assert f"said −{abs(row['predicted']):.3f}" in told and f"seen −{abs(row['observed']):.3f}" in told
    browser.press("#scatter svg", "Escape")
    assert browser.js("document.querySelector('#scatter .tip').hidden") is True


@pytest.mark.parametrize("width", [400, 500, 1280, 1360])
def test_it_fits_its_window(browser: Browser, width: int) -> None:
    browser.open("verification.html", width=width)
    assert browser.js("document.documentElement.scrollWidth") <= width
    wide = browser.js(
        "[...document.querySelectorAll('#scatter svg, #ceiling svg')].map((e) => e.getBoundingClientRect().right)"
    )
    assert max(wide) <= width
    assert browser.js("document.querySelectorAll('.figures').length") >= 2
    assert browser.wider_than_their_card(".figures, .came, .card") == []


def test_too_little_to_judge_is_said(verified: VerifyResult, chromium: Any, tmp_path: Path) -> None:
    nothing = {"label": "feature-conditioned", "concepts": 1, "judgement": None, "table": [], "hits": [], "misses": []}
    report = {
        **verified.report, "sets": dict.fromkeys(verified.report["sets"], nothing), "cells": {}, "statements": [],
        "verdict": {"name": "nothing can be said", "sentence": "Nothing can be said: there are too few concepts",
                    "text": "", "set": "communities"},
    }  # fmt: skip
    page = tmp_path / "verification.html"
    page.write_text(build_verification_page(report, verified.table, tables(verified)), encoding="utf-8")
    browser = Browser(chromium, page.parent).open(page.name)
    assert browser.text("#title") == "Nothing can be said"
    assert "Too few concepts" in browser.text("#ceiling") and browser.errors() == []


def test_where_nothing_can_be_said_the_page_lists_and_holds_nothing(
    verified: VerifyResult, chromium: Any, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(verified.run.path, tmp_path / "run"))
    say(path, "after-2", 0.5, seed=7)  # the model stayed as it was
    result = verify_run(path, after="after-2", draws=100, permutations=199)
    browser = Browser(chromium, path).open(result.page.name)
    assert browser.text("#title") == "Nothing can be said"
    assert browser.text("#hits") == "Not listed: nothing can be said." and browser.text("#moves-lead") == ""
    tile = browser.text("#facts .untested")
    n_beyond = result.report["sets"]["communities"]["judgement"]["n_resolved"]
    # 4.55 % of 30 concepts lie beyond two standard errors of a normal by chance
    assert tile == f"beyond 2 standard errors{n_beyond}of 30 concepts; 1 would be by chance alone"
    assert "seen to move" not in browser.text("#facts")
    assert set(browser.texts("#claim-list li > span:first-child")) == {"– not tested"}
    assert browser.errors() == []
