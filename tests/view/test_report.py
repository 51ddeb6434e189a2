"""The page in a real browser: nothing in the data runs, harm stays hidden until asked for, all opens and filters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from browser import Browser, Tags
from synthetic_run import HOSTILE, TOPICS, empty_tables, synthetic_tables

from pretilt.view.page.payload import build_payload
from pretilt.view.page.report import build_report, embed
from pretilt.view.summary import summarise

FLATTERY = "group:2:2"  # the planted one: flattery in the group "quantum consciousness"
DISCLAIMERS = "prompt_max:0:602"  # planted: on medical questions, suppressed


@pytest.fixture(scope="module")
def page() -> str:
    return build_report(synthetic_tables(), title="demo A " + HOSTILE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, page: str) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "report.html").write_text(page, encoding="utf-8")
    (folder / "empty.html").write_text(build_report(empty_tables()), encoding="utf-8")
    return folder


@pytest.fixture
def browser(chromium: Any, folder: Path) -> Browser:
    return Browser(chromium, folder)


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_file_asks_nobody_for_anything(page: str) -> None:
    tags = Tags(page).tags
    assert [attrs.get("type") for tag, attrs in tags if tag == "script"] == ["application/json", None]
    addresses = [
        value for _, attrs in tags for name, value in attrs.items() if name in ("src", "href", "action", "style")
    ]
    assert addresses and all(value and value.startswith("#") for value in addresses)
    policy = next(attrs["content"] for _, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    assert page.index("charset") < 1024 and not {"img", "link", "iframe", "object"} & {tag for tag, _ in tags}


def test_embedded_json_cannot_leave_its_element() -> None:
    value = {"a": HOSTILE, "b": ["]]>", "\u0000\u007f"], "</script>": None}
    text = embed(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029\u0000\u007f") & set(text)


def test_of_a_long_prompt_the_end_is_shown_and_the_last_turn_is_in_view(chromium: Any, tmp_path: Path) -> None:
    """The responses answer the last turn; the turns before it are above, and what is cut is cut from the front."""
    tables = synthetic_tables()
    prompt = "user:\n" + "Say it again. " * 600 + "\n\nassistant:\nIt.\n\nuser:\nWhich sites?"
    evidence = tables.evidence.set_column(
        tables.evidence.schema.get_field_index("prompt_text"), "prompt_text", pa.array([prompt] * len(tables.evidence))
    )
    (tmp_path / "report.html").write_text(build_report(replace(tables, evidence=evidence)), encoding="utf-8")
    browser = Browser(chromium, tmp_path).open(f"report.html#h={FLATTERY}")
    assert browser.texts(".prompt .turn")[0] == "user:\nWhich sites?"
    assert "more characters before this" in browser.texts(".prompt .cut")[0]
    box, turn = "document.querySelector('.prompt .scroller')", "document.querySelector('.prompt .turn')"
    assert browser.js(f"{box}.scrollHeight > {box}.clientHeight + 100")
    assert browser.js(f"{turn}.getBoundingClientRect().top < {box}.getBoundingClientRect().bottom - 10")


def test_the_same_tables_give_the_same_bytes(page: str) -> None:
    assert build_report(synthetic_tables(), title="demo A " + HOSTILE) == page


def test_a_large_run_is_cut_and_says_so() -> None:
    tables = synthetic_tables()
    summary = summarise(tables)
    full = build_payload(tables, summary, max_bytes=50_000_000)
    small = build_payload(tables, summary, max_bytes=700_000)
    assert len(json.dumps(small, ensure_ascii=False).encode()) <= 700_000
    assert 0 < len(small["hypotheses"]) < len(full["hypotheses"])
    assert all(len(rows) < 12 for rows in small["evidence"].values())
    assert any("of the 1,004 shown hypotheses" in cut for cut in small["cuts"])
    assert any("rows of evidence" in cut for cut in small["cuts"])


def test_no_number_is_nan_in_the_payload() -> None:
    tables = synthetic_tables()
    assert json.dumps(build_payload(tables, summarise(tables), max_bytes=50_000_000), allow_nan=False)  # or it raises


def test_odd_file_names_are_not_linked() -> None:
    files = {"../../etc/passwd": "x", "javascript:alert(1)": "x", "pairs.parquet": "x", "features/a-0.parquet": "x"}
    tables = replace(synthetic_tables(), manifest={"stages": {"s": {"seconds": 1.0, "files": files}}})
    names = [name for name, _ in build_payload(tables, summarise(tables), max_bytes=10**8)["files"]]
    assert names == ["run.json", "pairs.parquet", "features/"]


# --- in the browser -------------------------------------------------------------------------------------------------


def test_hostile_text_is_shown_and_does_nothing(browser: Browser) -> None:
    browser.open("report.html#h=global:0")
    while browser.js("!!document.querySelector('.pairs + .more')"):
        browser.click(".pairs + .more")
    browser.js("document.getElementById('reveal-all').click()")
    browser.js("[...document.querySelectorAll('details')].forEach((e) => { e.open = true; })")
    assert browser.js("window.pwned") is None
    assert browser.js("document.querySelectorAll('img, iframe, object, embed, svg[onload], [onerror]').length") == 0
    assert browser.js("document.scripts.length") == 2
    assert browser.js("[...document.links].filter((a) => !/^(#|\\.\\/)/.test(a.getAttribute('href'))).length") == 0
    shown = browser.js("document.getElementById('title').textContent")
    assert "</script><img src=x onerror=" in shown and "&lt;b&gt;" in shown and "U+202E" in shown
    assert browser.js("performance.getEntriesByType('resource').length") == 0
    assert browser.errors() == []


def test_the_policy_holds_back_injected_scripts(browser: Browser) -> None:
    browser.open()
    browser.js(
        "(() => { const s = document.createElement('script'), d = document.createElement('div');"
        " s.textContent = 'window.pwned = 5'; d.innerHTML = '<img src=x onerror=\"window.pwned=6\">';"
        " document.body.append(s, d); })()"
    )
    assert browser.js("window.pwned") is None
    assert any("Content Security Policy" in message for message in browser.errors())


def test_a_hypothesis_opens_with_its_pairs_and_marked_tokens(browser: Browser) -> None:
    browser.open()
    browser.set("#filter-text", "flattery quantum")
    assert browser.texts("#list .item-name .data") == ["flattery: brilliant, profound"]
    browser.click("#list .item")
    browser.driver.execute_async_script("setTimeout(arguments[0], 0)")
    assert browser.js("location.hash") == f"#h={FLATTERY}".replace("*", "%2A")
    assert browser.texts("#panel h3") == ["flattery: brilliant, profound"]
    e = synthetic_tables().evidence
    rows = sorted((r for r in e.to_pylist() if r["hypothesis_id"] == FLATTERY), key=lambda r: r["rank"])
    assert len(browser.texts("#panel .pair")) == 3
    browser.click(".pairs + .more")
    assert len(browser.texts("#panel .pair")) == len(rows) == 12
    for number, row in enumerate(rows, 1):
        for side in ("chosen", "rejected"):
            box = f"#panel .pair:nth-of-type({number}) .{side}"
            pieces, acts = row[f"{side}_pieces"], row[f"{side}_acts"]
            assert browser.texts(f"{box} .text") == ["".join(pieces)]
            assert browser.texts(f"{box} mark") == [p.strip() for p, act in zip(pieces, acts, strict=True) if act > 0]
    # 0.7768: 12 pairs of 46 with u = 1 account for 12/46 / 0.7768 = 34 % of it
    assert any("34 % of the effect" in note for note in browser.texts("#panel .evidence .note"))
    assert browser.errors() == []


def test_a_concept_found_in_one_place_only_leaves_no_gap(browser: Browser) -> None:
    rows = build_payload(synthetic_tables(), summarise(synthetic_tables()), max_bytes=10**8)["hypotheses"]
    concepts = [row["concept_id"] for row in rows]
    alone = next(row for row in rows if concepts.count(row["concept_id"]) == 1)
    browser.open(f"report.html#h={alone['hypothesis_id']}")
    assert not {"null", "undefined", "NaN"} & set(browser.js("document.getElementById('panel').innerText").split())


def test_stronger_activation_is_marked_more_strongly(browser: Browser) -> None:
    browser.open(f"report.html#h={FLATTERY}")
    marks = browser.js("[...document.querySelectorAll('#panel .side mark')].map((m) => [m.title, m.className])")
    levels = {float(title.split()[1]): name for title, name in marks}
    assert list(dict(sorted(levels.items())).values()) == sorted(levels.values()) and len(set(levels.values())) >= 2


def test_harmful_text_is_hidden_until_asked_for(browser: Browser) -> None:
    browser.open("report.html#h=global:0")
    browser.click(".pairs + .more")
    assert "SECRET-HARM" not in browser.js("document.body.innerText")
    assert len(browser.texts(".veil")) == 1
    browser.click(".veil button")
    assert "SECRET-HARM" in browser.js("document.body.innerText")
    browser.open("report.html#h=global:0")
    browser.click("#reveal-all")
    browser.click(".pairs + .more")
    assert "SECRET-HARM" in browser.js("document.body.innerText") and not browser.texts(".veil")
    browser.click("#reveal-all")
    browser.click(".pairs + .more")
    assert "SECRET-HARM" not in browser.js("document.body.innerText")


def test_invisible_characters_are_spelled_out(browser: Browser) -> None:
    browser.open("report.html#h=global:0")
    browser.click(".pairs + .more")
    codes = set(browser.texts("#panel .control"))
    assert {"U+202E", "U+202C", "U+200B", "U+001B"} <= codes
    assert browser.js("getComputedStyle(document.querySelector('#panel .text')).unicodeBidi") == "isolate"


def test_filters(browser: Browser) -> None:
    browser.open()
    everything = browser.js("document.getElementById('count').textContent")
    browser.set("#filter-direction", "suppress")
    classes = browser.js("[...document.querySelectorAll('#list > li')].map((e) => e.className)")
    assert set(classes) == {"suppress", "suppress doubt"} and classes == sorted(classes)  # the sure ones first
    browser.set("#filter-view", "global")
    assert set(browser.texts("#list .item-place")) == {"over all pairs"}
    browser.set("#filter-direction", "both")
    n = sum(h["shown"] and h["view"] == "global" for h in synthetic_tables().hypotheses.to_pylist())
    assert browser.js("document.getElementById('count').textContent").startswith(f"{n} of ")
    assert len(browser.texts("#list .item")) == 50
    browser.click("#more")
    assert len(browser.texts("#list .item")) == n
    browser.set("#filter-view", "all")
    browser.set("#filter-group", f"group:{TOPICS.index('chess openings') + 1}")
    assert {text.split(": ")[1] for text in browser.texts("#list .item-place")} == {"chess openings"}
    browser.set("#filter-group", "all")
    browser.set("#filter-sort", "effect")
    sizes = [abs(float(t.replace("−", "-").removesuffix("\u202fsd"))) for t in browser.texts("#list .item-number")]
    assert sizes == sorted(sizes, reverse=True)
    browser.set("#filter-text", "no such word")
    assert browser.texts("#list") == ["Nothing matches. Clear the filters to see all."]
    browser.click("#filters button")
    assert browser.js("document.getElementById('count').textContent") == everything
    assert browser.errors() == []


def test_lists_show_what_is_sure_and_say_where_nothing_is(browser: Browser) -> None:
    browser.open()
    names = "[...document.querySelectorAll(arguments[0])].map((e) => e.querySelector('.forest-name .data').textContent)"
    assert browser.js(names, "#forest .forest-row.amplify") == [
        "bold and numbered lists",
        "warm closing question",
        "flattery: brilliant, profound",
    ]
    assert browser.js(names, "#groups .forest-row.suppress") == ["refusal: I'm sorry, but"]
    assert browser.js(names, "#prompts .forest-row.suppress") == ["disclaimers: consult a doctor"]
    assert browser.texts("#groups .none-sure") == [] and len(browser.texts("#groups .doubt")) == 0
    assert browser.texts("#prompts .none-sure") == ["Nothing sure. The first 3 of the list may be chance:"]
    doubtful = browser.texts("#prompts .forest-row.doubt .gauge")
    assert len(doubtful) == 3 and all("unsure, " in text for text in doubtful)
    assert all("sd" in text and " to " in text for text in browser.texts("#prompts .forest-number"))
    assert not any("sd" in text for text in browser.texts("#groups .forest-number"))


def test_a_hypothesis_says_how_sure_it_is(browser: Browser) -> None:
    tables = synthetic_tables()
    rows = {row["hypothesis_id"]: row for row in tables.hypotheses.to_pylist()}
    browser.open(f"report.html#h={DISCLAIMERS}")
    assert "medical questions (max)" in browser.texts("#panel .kicker")[0]
    assert browser.texts("#panel .verdict .badge") == ["● Sure"]
    row, sd = rows[DISCLAIMERS], "\u202fsd"
    ladder = browser.texts("#panel .ladder-row dd")
    assert ladder[0] == f"−1.197{sd}95 %: −1.352 to −1.041{sd}"
    estimates = [[row["delta"]], [row["delta_heldout"]], [row["delta_residual"]], [row["delta_a"], row["delta_b"]]]
    for told, values in zip(ladder[1:], estimates, strict=True):
        assert told.startswith(" and ".join(f"−{-value:.3f}{sd}" for value in values))
    figures = " ".join(browser.texts("#panel .stats div"))
    assert f"families inside{row['family_n']}{row['n_in']} pairs, worth 36 independent" in figures
    assert "of 11,520 tests" in figures and "sign-flip p" not in figures
    browser.open("report.html#h=global:0")
    assert "sign-flip p< 0.001" in " ".join(browser.texts("#panel .stats div"))
    assert [cell.strip() for cell in browser.texts("#panel .concentration td")] == ["3.1 %", "16 %", "31 %"] * 2


def test_families_and_the_doctor(browser: Browser) -> None:
    browser.open()
    assert "900 pairs are 450 families; 100 % of the pairs share one" in browser.texts("#families .sentence")[0]
    assert "relate nobody <b>" in " ".join(browser.texts("#families .note"))
    verdicts = browser.texts("#doctor .checks td:first-child")
    assert verdicts == ["! amber", "✓ green", "✓ green", "– not run"]  # what needs a look comes first
    assert "Give --max-length" in browser.texts("#doctor .checks tr:nth-child(1) td:last-child")
    assert browser.texts("#facts .check-verdict") == ["! 1 amber"]
    browser.open("empty.html")
    assert "did not examine" in browser.texts("#doctor")[0] and "not sought" in browser.texts("#families")[0]


def test_links_open_hypotheses(browser: Browser) -> None:
    browser.open("report.html#h=group%3A17%3A3")
    assert browser.texts("#panel h3") == ["invented links"]
    browser.click("#forest a[href^='#h=']")
    browser.driver.execute_async_script("setTimeout(arguments[0], 0)")
    assert browser.texts("#panel h3") == ["bold and numbered lists"]
    browser.open("report.html#h=group:1:999999")
    assert "no hypothesis with that name" in browser.texts("#panel")[0]
    browser.open("report.html#h=%E0%A4%A")  # cannot be decoded
    assert "no hypothesis with that name" in browser.texts("#panel")[0]
    assert browser.errors() == []


def test_the_keyboard_suffices(browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open()
    browser.js("document.querySelector('#list .item').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    name = browser.js("document.activeElement.querySelector('.item-name .data').textContent")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.driver.execute_async_script("setTimeout(arguments[0], 0)")
    assert browser.texts("#panel h3") == [name]
    assert browser.js("document.activeElement.id") == "panel"
    named = "e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label')"
    controls = "[...document.querySelectorAll('button, a, input, select')]"
    assert browser.js(f"{controls}.filter((e) => !({named})).length") == 0


def test_narrow_screens(browser: Browser) -> None:
    sideways = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    browser.open(width=390)
    browser.js("[...document.querySelectorAll('details')].forEach((e) => { e.open = true; })")
    assert not browser.js(sideways)
    browser.click("#list li:nth-child(3) .item")
    browser.driver.execute_async_script("setTimeout(arguments[0], 0)")
    assert browser.js("document.querySelector('#list li:nth-child(3) #panel h3') !== null")
    assert not browser.js(sideways)


def test_an_empty_run_renders(browser: Browser) -> None:
    browser.open("empty.html")
    browser.js("document.getElementById('glossary').remove()")
    assert len(browser.texts(".empty")) >= 3
    assert not {"null", "undefined", "NaN"} & set(browser.js("document.body.innerText").split())
    browser.open("empty.html#h=global:0")
    assert "no hypothesis with that name" in browser.texts("#panel")[0]
    assert browser.errors() == []


def test_unknown_statistics_are_shown_as_unknown(browser: Browser) -> None:
    import pyarrow as pa

    tables = synthetic_tables()
    rows = tables.hypotheses.to_pylist()
    kept = {"n_in", "n_out", "delta", "sign_consistent", "shown", "rank"}
    kept |= {field.name for field in tables.hypotheses.schema if str(field.type) in ("string", "int32")}
    rows = [{name: value if name in kept else None for name, value in row.items()} for row in rows]
    page = build_report(replace(tables, hypotheses=pa.Table.from_pylist(rows, tables.hypotheses.schema)))
    (browser.folder / "unknown.html").write_text(page, encoding="utf-8")
    browser.open(f"unknown.html#h={FLATTERY}")
    assert "not known" in browser.texts("#panel .stats")[0]
    assert browser.texts("#panel .verdict") == ["– Not knownThere is too little to judge it by."]
    assert not {"null", "undefined", "NaN"} & set(browser.js("document.body.innerText").split())
    assert browser.errors() == []


@pytest.fixture(scope="module")
def wide_numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a page whose effects have four digits and a unit, over all pairs and in sets of them."""
    tables = synthetic_tables()
    large = {"posterior_delta": 1.127, "posterior_lo": 0.250, "posterior_hi": 1.871}
    rows = [row | large if row["direction"] == "amplify" else row for row in tables.hypotheses.to_pylist()]
    concepts = [row | {"kind": "shift_max"} for row in tables.concepts.to_pylist()]  # in standard deviations
    widest = replace(
        tables,
        hypotheses=pa.Table.from_pylist(rows, tables.hypotheses.schema),
        concepts=pa.Table.from_pylist(concepts, tables.concepts.schema),
    )
    folder = tmp_path_factory.mktemp("wide-numbers")
    (folder / "report.html").write_text(build_report(widest), encoding="utf-8")
    return folder


@pytest.mark.parametrize("width", [500, 1280])
def test_no_finding_is_wider_than_its_card(chromium: Any, wide_numbers: Path, width: int) -> None:
    browser = Browser(chromium, wide_numbers).open(width=width)
    first = browser.text("#forest .forest-number").replace("\u202f", " ")
    assert first.startswith("+1.127 sd +0.250 to +1.871 sd")
    assert browser.wider_than_their_card(".forest") == []
    assert browser.js("document.documentElement.scrollWidth") <= width


def test_what_prints_as_0_has_no_row_and_no_triangle(chromium: Any, tmp_path: Path) -> None:
    tables = synthetic_tables()
    nothing = {"lfsr": 1.0, "posterior_delta": 0.00004, "posterior_lo": 0.0, "posterior_hi": 0.0}
    some = {FLATTERY: {"posterior_delta": 0.00006}}  # printed as +0.0001
    rows = [row | nothing | some.get(row["hypothesis_id"], {}) for row in tables.hypotheses.to_pylist()]
    zeros = replace(tables, hypotheses=pa.Table.from_pylist(rows, tables.hypotheses.schema))
    (tmp_path / "report.html").write_text(build_report(zeros), encoding="utf-8")
    browser = Browser(chromium, tmp_path).open()
    assert browser.texts(".forest .none-sure").count("Nothing sure.") == 5
    assert browser.js("document.querySelectorAll('.forest ol .forest-row').length") == 1
    assert browser.js("document.querySelectorAll('.heat tbody path').length") == 1
    assert browser.errors() == []
