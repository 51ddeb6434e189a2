"""The page with another run beside it: from disk in a real browser, and what cannot be compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from site_shards import read_shard
from text_pairs import planted_rows, write_planted
from viewer_page import Page

import pretilt
from pretilt.run import Run
from pretilt.view.site import contract
from pretilt.view.site.bundle import Bundle


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pairs of which the chosen answers are never bold and half of them ask at the end."""
    folder = tmp_path_factory.mktemp("other")
    rows = planted_rows(240, seed=3)
    for i, row in enumerate(rows):
        row["chosen"] = row["chosen"].replace("**", "") + (" Shall I go on?" if i % 2 else "")
    return pretilt.audit(write_planted(folder / "pairs.jsonl", rows), out=folder / "run", no_lens=True).path


@pytest.fixture(scope="module")
def page(chromium: Any, viewer_run_folder: Path, other_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    site = pretilt.export_site(viewer_run_folder, tmp_path_factory.mktemp("versus") / "site", against=other_run)
    return Page(chromium, site.as_uri())


def test_what_surely_differs_stands_first(page: Page) -> None:
    page.at("#/versus").shows("concepts surely differ")
    names = page.texts(".vrow .cname")
    assert any(name.startswith("questions at the end") for name in names[:4])
    page.click_on(".vrow", "bold text")
    page.wait("document.querySelector('.card h3').textContent === 'bold text'")
    assert -32 < float(page.text(".card table b").replace("−", "-")) < -28  # in three of ten, and in none
    page.click_on(".card a", "Its pairs in this run")
    page.wait("document.querySelector('.card h2')?.textContent === 'bold text'")
    assert page.errors() == []


def test_the_shard_is_what_its_type_says(viewer_run_folder: Path, other_run: Path) -> None:
    _, value = read_shard(Bundle(Run(viewer_run_folder), Run(other_run)).shard("versus").decode())
    TypeAdapter(contract.SHARDS["versus"]).validate_python(value)


def test_filters_links_and_readers(page: Page) -> None:
    page.at("#/versus?sure=yes")
    assert 0 < len(page.texts(".vrow")) < 15 and not page.texts(".crow.faint")
    page.at("#/versus?q=zzzz").shows("No concept matches.")
    page.click_on("button.link", "Clear the filters")
    page.wait("document.querySelectorAll('.vrow').length > 5")
    for dark in (False, True):
        assert page.at("#/versus", dark=dark).violations() == []
    assert page.js("document.documentElement.scrollWidth") <= 1280


def test_without_another_run_there_is_no_such_view(chromium: Any, site: Path) -> None:
    page = Page(chromium, (site / "index.html").as_uri())
    page.at("#/versus").shows("What training on this would do")
    assert not any("Compare" in name for name in page.texts("nav a"))


def test_a_run_that_cannot_be_compared_leaves_the_page_whole(
    viewer_run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns = tmp_path / "mine.toml"
    patterns.write_text(
        '[[pattern]]\nname = "alpha"\ntitle = "alpha"\nphrase = "alpha"\ncounts = "presence"\n'
        'expression = "alpha"\nmatches = ["alpha", "an alpha", "alpha beta"]\nmisses = ["beta", "gamma", "alp"]\n'
    )
    source = write_planted(tmp_path / "pairs.jsonl", planted_rows(60))
    alone = pretilt.audit(source, out=tmp_path / "run", no_lens=True, patterns=str(patterns)).run
    other = Run(viewer_run_folder)
    bundle = Bundle(other, alone)
    index = read_shard(bundle.shard("index").decode())[1]
    assert index["has"]["versus"] is True  # the package's patterns are counted in both

    def refuse(*runs: Run, events: object) -> None:
        raise pretilt.UserError("the runs have no concept in common")

    monkeypatch.setattr(sys.modules[Bundle.__module__], "compare_runs", refuse)
    index = read_shard(Bundle(other, alone).shard("index").decode())[1]
    assert index["has"]["versus"] is False and index["errors"] == ["the runs have no concept in common"]
