"""What the numbers rest on, which concepts say the same, and where the reader's eye falls first, in the viewer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from browser import Tags
from site_shards import read_shard
from synthetic_run import HOSTILE, synthetic_tables
from text_pairs import planted_rows, write_planted
from viewer_page import Page

import pretilt
from pretilt import schema
from pretilt.view.site.facts import build_facts
from pretilt.view.site.shards import script
from pretilt.view.site.tables import alike
from pretilt.view.summary import summarise

UNNAMED = "no readable name; fires in 61 % of answers"
LONG = [["user", "Say it again. " * 600], ["assistant", "It."], ["user", "Which sites?"]]


class Altered:
    """A copy of the site whose shards are changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def shard(self, name: str) -> Any:
        return read_shard((self.folder / "data" / f"{name}.js").read_text(encoding="utf-8"))[1]

    def write(self, name: str, value: Any) -> None:
        (self.folder / "data" / f"{name}.js").write_bytes(script(name, value))

    def sure(self, n: int) -> list[tuple[str, int]]:
        """(hypothesis, concept) of the first rows that favour a pattern, as the overview draws them."""
        rows = self.shard("rows-pattern-000")
        order = sorted(range(len(rows["delta"])), key=lambda i: -(rows["posterior_delta"][i] or 0))
        return [(rows["hypothesis_id"][i], rows["concept_id"][i]) for i in order if rows["sure"][i]][:n]


@pytest.fixture
def altered(site: Path, tmp_path: Path) -> Altered:
    return Altered(Path(shutil.copytree(site, tmp_path / "site")))


def opened(chromium: Any, altered: Altered, place: str = "", **options: Any) -> Page:
    return Page(chromium, (altered.folder / "index.html").as_uri()).at(place, **options)


# --- the shards -------------------------------------------------------------------------------------------------------


def test_concepts_that_say_the_same_stand_under_the_best_named() -> None:
    plain = synthetic_tables()
    first, second = summarise(plain).amplified[:2]
    scores = {second.concept_id: 0.99, first.concept_id: 0.8}
    concepts = [
        row | {"name_score": scores.get(row["concept_id"], row["name_score"])} for row in plain.concepts.to_pylist()
    ]
    pairs = [{"concept_id": first.concept_id, "other_id": second.concept_id, "correlation": 0.95}]
    tables = replace(
        plain,
        concepts=pa.Table.from_pylist(concepts, schema.CONCEPTS),
        alike=pa.Table.from_pylist(pairs, schema.ALIKE),
    )
    assert alike(tables)[second.hypothesis_id] == [first.hypothesis_id]
    assert first.hypothesis_id not in alike(tables)
    assert alike(replace(tables, manifest={**tables.manifest, "settings": {"paper": True}})) == {}


def test_odd_file_names_are_not_listed() -> None:
    files = {"../../etc/passwd": "x", "javascript:alert(1)": "x", "pairs.parquet": "x", "features/a-0.parquet": "x"}
    tables = replace(synthetic_tables(), manifest={"stages": {"s": {"seconds": 1.0, "files": files}}})
    names = [name for name, _ in build_facts(tables, summarise(tables))["files"]]
    assert names == ["run.json", "pairs.parquet", "features/"]


# --- in a browser -----------------------------------------------------------------------------------------------------


def test_of_concepts_that_say_the_same_one_is_drawn_and_the_others_are_counted(chromium: Any, altered: Altered) -> None:
    (leader, first), (led, second) = altered.sure(2)
    overview = altered.shard("overview")
    overview["alike"] = {leader: [led]}
    altered.write("overview", overview)
    names = altered.shard("concepts")["name"]
    page = opened(chromium, altered)
    drawn = page.texts(".bars .bname")
    assert any(names[first] in text and "and 1 like it" in text for text in drawn)
    assert not any(text.strip() == names[second] for text in drawn)
    page.at(f"#/responses?c={first}").shows(f"Stands for {names[second]}: they go with it in these pairs.")
    page.at(f"#/responses?c={second}").shows(f"Says the same as {names[first]}.")
    assert page.errors() == []


def test_what_has_no_clear_name_is_counted_and_stands_behind_a_fold(chromium: Any, altered: Altered) -> None:
    ((_, concept),) = altered.sure(1)
    concepts = altered.shard("concepts")
    concepts["vague"][concept], concepts["name"][concept] = True, UNNAMED
    altered.write("concepts", concepts)
    page = opened(chromium, altered)
    assert "1 without a clear name (1 of them sure)" in page.text(".shifts") and UNNAMED not in page.text(".bars")
    page.at("#/responses").shows("1 without a clear name are folded, 1 of them sure.")
    assert UNNAMED not in page.text(".columns > .pane")
    page.click_on("button", "Show them last")
    page.shows(UNNAMED)
    page.at(f"#/responses?c={concept}").shows(UNNAMED)


def test_a_baseline_and_a_broken_lens_are_said_first(chromium: Any, altered: Altered) -> None:
    overview = altered.shard("overview")
    overview["trust"] |= {"baseline": "shuffled-labels", "bundled_lens": True}
    checks = [("good", "green"), ("cut", "amber"), ("broken <i>", "red"), ("later", "not run")]
    overview["doctor"] = [
        {"name": name, "verdict": verdict, "figure": 0.5, "threshold": "", "meaning": "m", "what_to_do": "Give --x"}
        for name, verdict in checks
    ]
    altered.write("overview", overview)
    page = opened(chromium, altered)
    warnings = page.texts(".warning.page")
    assert len(warnings) == 3 and "swapped at random" in warnings[0] and "bundled" in warnings[2]
    assert "unfit" in warnings[1] and "Do not trust this yet" in page.text(".doctor h2")
    assert page.texts(".doctor > .checks .chip") == ["red", "amber"]  # what needs a look comes first
    assert "broken <i>" in page.text(".doctor > .checks")


def test_families_lengths_files_and_limits_are_a_click_away(chromium: Any, altered: Altered) -> None:
    overview = altered.shard("overview")
    families = {
        "n_pairs": 900, "n_families": 450, "share_in_families": 1.0, "largest": 2, "kish_n_eff": 450.0, "straddling": 1,
        "notes": [HOSTILE],
        "by_relation": {"x": {"meaning": "fill one template", "links": 3, "pairs": 7, "only_by_it": 2, "largest": 4}},
    }  # fmt: skip
    overview["preflight"] = {"families": families}
    overview["dropped"] = {"n": 3, "rows": [{"row_index": 5, "reason": "empty", "detail": HOSTILE}]}
    altered.write("overview", overview)
    page = opened(chromium, altered)
    page.click_on(".datadetails summary")
    text = page.text(".datadetails")
    assert "900 pairs are 450 families; 100 % of the pairs share one; worth at least 450 independent pairs." in text
    assert "1 family has pairs among the held-out" in text and "the first 1 of 3" in text
    assert page.texts(".datadetails .three td") == ["fill one template", "7", "2", "4"]
    assert "hypotheses.parquet" in text and "only what a pattern matches can be seen here" in text
    assert page.js("document.querySelectorAll('.lengths rect').length") == len(overview["lengths"]["counts"]) > 10
    assert page.js("window.pwned") is None and "<img src=x" in text and "\u202e" not in text
    overview["preflight"] = {}
    altered.write("overview", overview)
    page = opened(chromium, altered)
    page.click_on(".datadetails summary")
    assert "not sought" in page.text(".datadetails")
    assert not {"null", "undefined", "NaN"} & set(page.js("document.body.innerText").split())
    assert page.errors() == []


def test_a_pattern_shows_how_it_is_counted_and_how_few_pairs_carry_it(chromium: Any, altered: Altered) -> None:
    bold = altered.shard("concepts")["pattern"].index("bold")
    altered.write("concentration", {f"pattern:{bold}": {"pairs": [0.031, 0.155, 0.31], "families": [0.04, 0.2, 1.1]}})
    page = opened(chromium, altered, f"#/responses?h=pattern:{bold}")
    page.click_on(".about summary")
    page.wait("document.querySelector('.about pre')")
    assert "\\*\\*" in page.text(".about pre") and "pattern:bold" in page.text(".about")
    page.click_on(".stats summary")
    page.wait("document.querySelector('.carried')")
    assert page.texts(".carried td.n") == ["3.1 %", "16 %", "31 %", "4.0 %", "20 %", "110 %"]
    page.shows("the rest pulls the other way")


def test_of_a_long_prompt_the_last_turn_is_in_view_and_of_an_answer_what_fires(chromium: Any, altered: Altered) -> None:
    """The responses answer the last turn; the turns before it are above."""
    bold = altered.shard("concepts")["pattern"].index("bold")
    fired = altered.shard(f"fired-{bold:04d}")
    place = next(int(pair) for pair in fired if int(pair) < 100 and int(pair) != 7 and fired[pair][0])
    pairs = altered.shard("pairs-0000")
    pairs[place] |= {"prompt": LONG, "harmful": False}
    role, text = pairs[place]["chosen"][0]
    far = "plain words " * 600
    pairs[place]["chosen"][0] = [role, far + text]
    altered.write("pairs-0000", pairs)
    fired[str(place)][0] = [[turn, a + len(far), b + len(far), v] for turn, a, b, v in fired[str(place)][0]]
    altered.write(f"fired-{bold:04d}", fired)
    page = opened(chromium, altered, f"#/pairs?h=pattern:{bold}&i={place}")
    page.wait("document.querySelector('.side.chosen mark.fire')")
    inside = (
        "((e, box) => { const [a, b] = [e, box].map((x) => x.getBoundingClientRect());"
        " return box.scrollHeight > box.clientHeight + 100 && a.top >= b.top - 1 && a.top < b.bottom - 10; })"
        "(document.querySelector(arguments[0]), document.querySelector(arguments[1]))"
    )
    page.wait(inside, ".promptbox .turn:last-child", ".promptbox .scroll")
    page.wait(inside, ".side.chosen mark.fire", ".side.chosen .scroll")
    # What wraps anew brings it back into view ...
    page.js("document.querySelector('.side.chosen .scroll').style.width = '160px'")
    page.wait(inside, ".side.chosen mark.fire", ".side.chosen .scroll")
    # ... but not once it was moved by hand.
    page.js(
        "((box) => { box.dispatchEvent(new WheelEvent('wheel')); box.scrollTop = 0; box.style.width = '200px'; })"
        "(document.querySelector('.side.chosen .scroll'))"
    )
    page.js("new Promise((done) => setTimeout(done, 300))")
    assert page.js("document.querySelector('.side.chosen .scroll').scrollTop") == 0


@pytest.mark.parametrize("width", [500, 1280])
def test_the_overview_with_everything_open_fits_its_window(chromium: Any, altered: Altered, width: int) -> None:
    page = opened(chromium, altered, width=width)
    page.js("[...document.querySelectorAll('main details')].forEach((e) => { e.open = true; })")
    assert page.js("document.querySelector('main').scrollWidth") <= width
    assert page.wider_than_their_card(".overview section") == []
    assert page.violations() == []


# --- what once went wrong on a page -----------------------------------------------------------------------------------


def rows_with(altered: Altered, **values: Any) -> None:
    """The rows over all pairs with these columns altered: a value for all of them."""
    rows = altered.shard("rows-pattern-000")
    altered.write("rows-pattern-000", rows | {name: [value] * len(rows["delta"]) for name, value in values.items()})


@pytest.mark.parametrize("width", [500, 1280])
def test_numbers_of_four_digits_with_a_unit_stay_in_their_card(chromium: Any, altered: Altered, width: int) -> None:
    rows_with(altered, posterior_delta=1.127, posterior_lo=0.25, posterior_hi=1.871)
    concepts = altered.shard("concepts")
    altered.write("concepts", concepts | {"unit": ["sd"] * len(concepts["unit"])})
    page = opened(chromium, altered, width=width)
    assert "+1.13 sd" in page.text(".bars .bval")
    assert page.wider_than_their_card(".overview section") == []
    assert page.js("document.documentElement.scrollWidth") <= width


def test_what_prints_as_0_is_drawn_nowhere_and_has_no_direction(chromium: Any, altered: Altered) -> None:
    rows_with(altered, posterior_delta=0.00004, posterior_lo=0.0, posterior_hi=0.0, lfsr=1.0, sure=False)
    page = opened(chromium, altered)
    assert page.texts(".bars a") == [] and page.texts(".bars .empty") == ["nothing", "nothing"]
    page.at("#/responses").wait("document.querySelectorAll('.crow').length > 3")
    assert page.js("document.querySelectorAll('.crow .dir.up, .crow .dir.down').length") == 0


def test_unknown_statistics_are_shown_as_unknown(chromium: Any, altered: Altered) -> None:
    rows = altered.shard("rows-pattern-000")
    known = {"hypothesis_id", "where", "concept_id", "n_in", "n_out", "delta", "shown", "rank", "sure", "level"}
    rows_with(altered, **dict.fromkeys(rows.keys() - known), sure=False, level=3)
    page = opened(chromium, altered)
    words = set(page.js("document.body.innerText").split())
    page.at("#/responses").wait("document.querySelector('.stats')")
    page.click_on(".stats summary")
    words |= set(page.js("document.body.innerText").split())
    assert not {"null", "undefined", "NaN", "null%"} & words
    assert "unknown" in page.text(".headline") and page.errors() == []


def test_where_nothing_stands_out_that_is_said(chromium: Any, altered: Altered) -> None:
    overview = altered.shard("overview")
    power = "With these 192 pairs a difference of 9.0 percentage points would have been seen in four of five cases."
    altered.write("overview", overview | {"notable": [], "opening": ["Nothing is surely favoured.", power]})
    page = opened(chromium, altered)
    assert page.text(".opening") == f"Nothing is surely favoured. {power}"
    assert "Nothing stands out of the noise" in page.text(".notable .empty")


def test_the_statistics_of_an_effect_are_those_of_its_row(chromium: Any, altered: Altered) -> None:
    ((name, _),) = altered.sure(1)
    rows = altered.shard("rows-pattern-000")
    i = rows["hypothesis_id"].index(name)
    page = opened(chromium, altered, f"#/responses?h={name}")
    page.click_on(".stats summary")
    shown = dict(zip(page.texts(".stats dt"), page.texts(".stats dd:not(.formula)"), strict=True))
    assert shown["Observed difference"] == f"+{100 * rows['delta'][i]:.1f}"
    assert shown["95 % confidence"] == f"+{100 * rows['ci_lo'][i]:.1f} to +{100 * rows['ci_hi'][i]:.1f}"
    assert shown["Held out"] == f"+{100 * rows['delta_heldout'][i]:.1f}"
    assert shown["Pairs inside"] == f"{rows['n_in'][i]}, worth {rows['n_eff'][i]:.0f}"
    ends = [f"+{100 * rows[end][i]:.1f}" for end in ("posterior_lo", "posterior_hi")]
    assert page.texts(".headline .dim") == [f"[{', '.join(ends)}]"]


def test_the_folder_asks_nobody_for_anything_and_runs_nothing_else(chromium: Any, altered: Altered) -> None:
    text = (altered.folder / "index.html").read_text(encoding="utf-8")
    tags = Tags(text).tags
    addresses = {value for _, attrs in tags for name, value in attrs.items() if name in ("src", "href", "action")}
    assert addresses == {"viewer.js", "viewer.css"} and text.index("charset") < 1024
    policy = next(attrs["content"] for _, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    page = opened(chromium, altered)
    root = altered.folder.as_uri()
    assert page.js("performance.getEntriesByType('resource').every((e) => e.name.startsWith(arguments[0]))", root)
    page.js(
        "(() => { const s = document.createElement('script'), d = document.createElement('div');"
        " s.textContent = 'window.pwned = 5'; d.innerHTML = '<img src=x onerror=\"window.pwned=6\">';"
        " document.body.append(s, d); })()"
    )
    assert page.js("window.pwned") is None
    assert any("Content Security Policy" in message for message in page.errors())


def test_a_run_in_which_nothing_was_tested_opens(chromium: Any, tmp_path: Path) -> None:
    result = pretilt.audit(write_planted(tmp_path / "pairs.jsonl", planted_rows(6)), out=tmp_path / "run", no_lens=True)
    page = Page(chromium, pretilt.export_site(result, tmp_path / "site").as_uri()).at()
    assert "Nothing stands out" in page.text(".notable") and "nothing" in page.text(".bars")
    for place in ("#/responses", "#/pairs", "#/responses?h=pattern:0"):
        page.at(place)
        assert not {"null", "undefined", "NaN"} & set(page.js("document.body.innerText").split()), place
    assert page.errors() == []


@pytest.mark.parametrize("place", ["", "#/responses", "#/prompts", "#/pairs?i=7"])
def test_a_narrow_window_never_scrolls_sideways(chromium: Any, site: Path, place: str) -> None:
    page = Page(chromium, (site / "index.html").as_uri()).at(place, width=500)
    page.wait("!document.body.innerText.includes('Reading')")
    assert page.js("document.documentElement.scrollWidth") <= 500
    assert page.js("document.querySelector('main').scrollWidth") <= 500
