"""What the numbers rest on, which concepts say the same, and where the reader's eye falls first, in the viewer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from site_shards import read_shard
from synthetic_run import HOSTILE, synthetic_tables
from viewer_page import Page

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


def test_what_has_no_readable_name_is_counted_and_stands_in_the_list(chromium: Any, altered: Altered) -> None:
    ((_, concept),) = altered.sure(1)
    concepts = altered.shard("concepts")
    concepts["unnamed"][concept], concepts["name"][concept] = True, UNNAMED
    altered.write("concepts", concepts)
    page = opened(chromium, altered)
    assert "1 without a readable name" in page.text(".shifts") and UNNAMED not in page.text(".bars")
    page.at("#/responses").shows(UNNAMED)


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


@pytest.mark.parametrize("width", [500, 1280])
def test_the_overview_with_everything_open_fits_its_window(chromium: Any, altered: Altered, width: int) -> None:
    page = opened(chromium, altered, width=width)
    page.js("[...document.querySelectorAll('main details')].forEach((e) => { e.open = true; })")
    assert page.js("document.querySelector('main').scrollWidth") <= width
    assert page.wider_than_their_card(".overview section") == []
    assert page.violations() == []
