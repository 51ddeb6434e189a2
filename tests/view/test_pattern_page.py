"""The page of an audit without a lens, in a real browser: words first, patterns with their matches, no lens."""

from __future__ import annotations

from typing import Any

import pytest
from browser import Browser
from text_pairs import planted_rows, write_planted

import pretilt

HOSTILE = "<img src=x onerror=window.pwned=1>**<b>bold</b>** \u202e"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> pretilt.AuditResult:
    folder = tmp_path_factory.mktemp("text")
    rows = planted_rows(300)
    for row in rows[::10]:  # those that hold bold text in chosen
        row["chosen"] += f" {HOSTILE}"
        row["source"] = "</script><script>window.pwned=2</script>"
    return pretilt.audit(write_planted(folder / "pairs.jsonl", rows), out=folder / "run", no_lens=True)


@pytest.fixture(scope="module")
def browser(chromium: Any, audited: pretilt.AuditResult) -> Browser:
    return Browser(chromium, audited.path)


def test_the_page_opens_with_the_paragraph_and_the_patterns(browser: Browser, audited: pretilt.AuditResult) -> None:
    browser.open()
    assert browser.texts("#opening p") == audited.summary["opening"]
    assert browser.js("!document.getElementById('text').hidden")
    assert browser.js("['findings', 'by-prompt'].every((id) => document.getElementById(id).hidden)")
    first = browser.text("#patterns .forest-row")
    assert "bold text" in first and "of chosen and 0 % of rejected answers" in first and "points" in first
    assert "words" in browser.text("#facts") and "dictionary" not in browser.text("#facts")


def test_a_pattern_opens_with_its_matches_marked(browser: Browser, audited: pretilt.AuditResult) -> None:
    concepts = {row["pattern"]: row["concept_id"] for row in audited.concepts.to_pylist()}
    browser.open(f"report.html#h=pattern:{concepts['bold']}")
    assert "pattern:bold" in browser.text("#panel")
    marks = browser.texts("#panel .side.chosen mark")
    assert marks and all(mark.startswith("**") and mark.endswith("**") for mark in marks)
    assert browser.js("document.querySelectorAll('#panel .side.rejected mark').length") == 0
    assert "What the pattern matches is marked." in browser.text("#panel .evidence")


def test_hostile_text_of_matches_and_sources_does_nothing(browser: Browser) -> None:
    browser.open()
    browser.js("document.getElementById('reveal-all').click()")
    browser.js("[...document.querySelectorAll('details')].forEach((e) => { e.open = true; })")
    assert browser.js("window.pwned") is None and browser.js("document.querySelectorAll('img').length") == 0
    assert "</script>" in browser.text("#preflight")  # the source is shown as the text that it is
    assert browser.errors() == []


@pytest.mark.parametrize("width", [400, 500, 1280])
def test_it_fits_its_window(browser: Browser, width: int) -> None:
    browser.open(width=width)
    assert browser.js("document.documentElement.scrollWidth") <= width
