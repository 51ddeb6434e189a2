"""The viewer at the paper's size, from made-up shards: first paint, interactions, memory.

    python benchmarks/viewer.py --pairs 260000 --out /tmp/site      # writes the folder and opens it in Chromium

`--store` keeps the figures for docs/results/speed.md.

814 communities and 2,000 response-shift concepts, 512 groups, 2,000 prompt concepts, 300,000 listed hypotheses. The
texts are short: how long they are decides the size of the folder, not what the page does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from stored import store

from pretilt.view.site.export import ASSETS, POLICY, asset, page
from pretilt.view.site.shards import script
from pretilt.view.site.tables import HYPOTHESIS_COLUMNS, ROWS
from pretilt.view.site.texts import PAIRS

COMMUNITIES, SHIFTS, GROUPS, PROMPTS = 814, 2000, 512, 2000
CONCEPTS = COMMUNITIES + SHIFTS
ROWS_OF_VIEW = {"global": COMMUNITIES, "group": 100_000, "prompt_max": 100_000, "prompt_freq": 100_000}
SHARE = 0.05  # of the pairs that have a concept
ANOTHER = "another concept on both maps"
OTHERS = (9, 700, 30, 1200, 2000)  # concepts that are chosen one after the other: the median is shown
INTEGERS = ("n_in", "n_out", "family_n", "rank")


def rows(view: str, number: int, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """A shard of made-up hypotheses."""
    columns: dict[str, Any] = {}
    for name in HYPOTHESIS_COLUMNS:
        values = rng.normal(0, 0.05, n)
        columns[name] = rng.integers(30, 5000, n).tolist() if name in INTEGERS else [float(f"{v:.4g}") for v in values]
    first = number * ROWS
    places = GROUPS if view == "group" else PROMPTS
    columns["concept_id"] = ((first + np.arange(n)) % COMMUNITIES).tolist()
    columns["where"] = [-1] * n if view == "global" else (1 + (first + np.arange(n)) // COMMUNITIES % places).tolist()
    columns["lfsr"] = [float(f"{v:.3g}") for v in rng.uniform(0, 0.5, n)]
    columns["shown"] = [True] * n
    ids = enumerate(zip(columns["where"], columns["concept_id"], strict=True))
    columns["hypothesis_id"] = [
        f"global:{c}" if view == "global" else f"{view}:{w}:{c}:{first + i}" for i, (w, c) in ids
    ]
    columns["sure"] = [lfsr < 0.05 for lfsr in columns["lfsr"]]
    columns["level"] = [0 if sure else 2 for sure in columns["sure"]]
    return columns


def write_site(out: Path, n_pairs: int) -> None:
    """The folder, as `export-site` lays it out."""
    rng = np.random.default_rng(0)
    data = out / "data"
    data.mkdir(parents=True)
    for name in ASSETS:
        (out / name).write_bytes(asset(name))
    (out / "index.html").write_bytes(page(POLICY, title="made up"))

    def write(name: str, value: Any) -> None:
        (data / f"{name}.js").write_bytes(script(name, value))

    of_shard = max(1, 1_000_000 // n_pairs)
    for view, total in ROWS_OF_VIEW.items():
        for i in range(-(-total // ROWS)):
            n = min(ROWS, total - i * ROWS)
            write(f"rows-{view}-{i:03d}", rows(view, i, n, rng))
            write(
                f"words-{view}-{i:03d}",
                {"sentence": ["It is more."] * n, "how_sure": ["Sure."] * n, "cautions": [[]] * n},
            )
    for i in range(-(-CONCEPTS // of_shard)):
        shard = {}
        for concept in range(i * of_shard, min(CONCEPTS, (i + 1) * of_shard)):
            places = np.sort(rng.choice(n_pairs, int(SHARE * n_pairs), replace=False))
            shard[concept] = {"places": places.tolist(), "u": rng.choice([-1, -0.5, 0.5, 1], places.size).tolist()}
        write(f"u-{i:04d}", shard)
    for i in range(-(-n_pairs // PAIRS)):
        numbers = range(i * PAIRS, min(n_pairs, (i + 1) * PAIRS))
        sides = {"chosen": [["assistant", "Yes, and gladly so. " * 8]], "rejected": [["assistant", "No. " * 12]]}
        texts = [{"pair_id": f"{k:020x}", "row": k, "prompt": [["user", f"Question {k}?"]], **sides, "harmful": False}
                 for k in numbers]  # fmt: skip
        write(f"pairs-{i:04d}", texts)
    names = [f"concept of made-up things {i}" for i in range(CONCEPTS)]
    share = [float(f"{v:.3g}") for v in rng.uniform(0, 1, CONCEPTS)]
    write("concepts", {
        "concept_id": list(range(CONCEPTS)), "kind": ["community"] * COMMUNITIES + ["shift_max"] * SHIFTS,
        **{name: [None] * CONCEPTS for name in ("pattern", "detector", "per_100_words", "n_pairs_active")},
        "size": [5] * CONCEPTS, "name_kind": ["tokens"] * CONCEPTS, "name": names, "vague": [False] * CONCEPTS,
        **dict.fromkeys(("name_score", "prevalence", "share_chosen", "share_rejected", "length_correlation"), share),
        "unit": [""] * COMMUNITIES + ["sd"] * SHIFTS, "phrases": [["word", "other"]] * CONCEPTS,
        "contexts": [["here it «fires» once"]] * CONCEPTS,
    })  # fmt: skip
    write("places", {
        "groups": [{"group_id": i, "name": f"group {i}", "size": 500, "concept_ids": []} for i in range(GROUPS + 1)],
        "prompt_concepts": [{"prompt_concept_id": i, "statistic": "max" if i < PROMPTS // 2 else "freq",
                             "name": f"about {i}", "size": 1000, "phrases": []} for i in range(PROMPTS)],
    })  # fmt: skip
    coded = {"names": [f"source {i}" for i in range(20)], "codes": rng.integers(0, 20, n_pairs).tolist()}
    write("facts", {
        "row_index": list(range(n_pairs)), "family_id": list(range(n_pairs)), "train": [True] * n_pairs,
        "group_id": rng.integers(0, GROUPS + 1, n_pairs).tolist(), "length": rng.integers(-50, 50, n_pairs).tolist(),
        **dict.fromkeys(("source", "chosen_model", "rejected_model"), coded),
    })  # fmt: skip
    write(
        "members", {i: np.diff(np.sort(rng.choice(n_pairs, 1000, False)), prepend=0).tolist() for i in range(PROMPTS)}
    )
    write("map", {
        **{axis: rng.integers(0, 10_000, n_pairs).tolist() for axis in ("x", "y")}, "by_likeness": True,
        "discs": [[*rng.integers(0, 10_000, 2).tolist(), 200] for _ in range(GROUPS + 1)],
    })  # fmt: skip
    for name, n in (("likeness", CONCEPTS), ("overlap", GROUPS + 1 + PROMPTS)):
        axes = {axis: rng.integers(0, 10_000, n).tolist() for axis in ("x", "y")}
        write(name, {**axes, "n_pairs": n_pairs, "n_alone": 0, "by_likeness": True})
    for name in ("concentration", "patterns"):
        write(name, {})
    write("curation", {"names": {}, "pinned": [], "merged": {}, "values": {}})
    write("overview", {
        "title": "made up", "opening": ["Training on these pairs would change much."], "notable": [], "lists": {},
        "read": {"format": "made up", "rows_in": n_pairs, "pairs": n_pairs, "dropped": {}, "train": n_pairs,
                 "heldout": 0, "components": n_pairs, "tokens": {}, "unit": "tokens", "mean_length_difference": 1.0,
                 "share_chosen_longer": 0.5},
        "lens": {}, "trust": {"n_tested": 10**6, "n_sure": 20_000}, "families": {}, "sources": [], "doctor": [],
        "lengths": {"edges": [], "counts": []}, "files": [], "versions": {}, "settings": {}, "preflight": {},
        "dropped": {"n": 0, "rows": []}, "seconds": {}, "alike": {},
    })  # fmt: skip
    write("index", {
        "schema_version": 1, "pretilt": "", "title": "made up",
        "views": {view: {"rows": n, "left_out": 0, "shards": -(-n // ROWS), "of_shard": ROWS}
                  for view, n in ROWS_OF_VIEW.items()},
        "n_pairs": n_pairs, "n_train": n_pairs, "pairs_of_shard": PAIRS, "concepts_of_shard": of_shard,
        "n_concepts": CONCEPTS, "fired": [], "answers": None, "is_text_alone": False,
        "towards_verdict": "", "files": [], "errors": [],
        "has": dict.fromkeys(("forecast", "verification", "verifications", "plans", "doses", "versus"), False),
    })  # fmt: skip


def measure(site: Path) -> dict[str, float]:
    """Milliseconds from the command to the painted frame, and megabytes of the page's heap."""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
    from browser import start_chromium
    from viewer_page import Page

    driver = next(chromium := start_chromium(site.parent / "profile"))
    view = Page(driver, (site / "index.html").as_uri())
    driver.set_script_timeout(120)
    figures = {}

    def after(name: str, act: str, done: str) -> None:
        """Runs `act`, and waits, frame by frame, until `done` is true."""
        figures[name] = driver.execute_async_script(
            f"const end = arguments[0], start = performance.now(); {act};"
            f"const look = () => ({done}) ? requestAnimationFrame(() => end(performance.now() - start))"
            ": requestAnimationFrame(look); requestAnimationFrame(look);"
        )

    view.at()
    figures["first screen"] = view.js("performance.getEntriesByName('ready')[0].startTime")
    title, status = (
        "document.querySelector('.card h2').textContent",
        "document.querySelector('.filters span').textContent",
    )
    first_row, keep = "document.querySelector('.vrow').textContent", "window.last = "
    rest_is_read = "!document.body.innerText.includes('reading places')"
    after("all hypotheses read", "location.hash = '#/responses'", f"document.querySelector('.vrow') && {rest_is_read}")
    after("next concept", f"{keep}{title}; document.querySelectorAll('.vrow')[3].click()", f"{title} !== window.last")
    after("its pairs", "", "document.querySelectorAll('.pairlist .vrow').length > 3")
    buttons = "document.querySelectorAll('.pairlist .tabs button')"
    drawings = "document.querySelector('.pairmap canvas')?.dataset.drawn"
    after("map of all pairs", f"{buttons}[2].click()", drawings)
    after("back to the list", f"{buttons}[0].click()", "document.querySelectorAll('.pairlist .vrow').length > 3")
    typed = "((e) => { e.value = 'things 12'; e.dispatchEvent(new Event('input', {bubbles: true})); })"
    after("search", f"{keep}{status}; {typed}(document.querySelector('.filters input'))", f"{status} !== window.last")
    after("sort", f"{keep}{first_row}; location.hash = '#/responses?sort=down'", f"{first_row} !== window.last")
    maps = "document.querySelectorAll('.maps canvas').length == 2"
    after("both maps", "document.querySelectorAll('.filters .tabs button')[1].click()", f"{maps} && {drawings}")
    trials = []
    for concept in OTHERS:
        place = f"location.hash = '#/responses?map=1&c={concept}'"
        after(ANOTHER, f"{keep}{drawings}; {place}", f"{drawings} !== window.last")
        trials.append(figures[ANOTHER])
    figures[ANOTHER] = statistics.median(trials)
    after("a pair on the maps", f"location.hash = '#/responses?map=1&c={OTHERS[-1]}&i=77'",
          "document.querySelector('.ring.chosen')")  # fmt: skip
    after("by prompt", "location.hash = '#/prompts'", "document.querySelectorAll('.inlist .vrow').length > 2")
    after("another place", f"{keep}{title}; document.querySelectorAll('.vrow')[4].click()", f"{title} !== window.last")
    after("all pairs", "location.hash = '#/pairs'", "document.querySelector('.side.chosen .body')")
    after("filter pairs", f"{keep}{status}; location.hash = '#/pairs?source=source 3'", f"{status} !== window.last")
    head = "document.querySelector('.pairhead').textContent"
    key = "dispatchEvent(new KeyboardEvent('keydown', {key: 'j'}))"
    after("next pair", f"{keep}{head}; {key}", f"{head} !== window.last")
    figures["heap of the page, MB"] = view.js("performance.memory.usedJSHeapSize / 1e6")
    chromium.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=260_000)
    parser.add_argument("--out", type=Path, required=True, help="folder for the site; made anew unless --keep")
    parser.add_argument("--keep", action="store_true", help="measure the folder as it is")
    parser.add_argument("--store", action="store_true")
    arguments = parser.parse_args()
    if not arguments.keep:
        shutil.rmtree(arguments.out, ignore_errors=True)
        write_site(arguments.out, arguments.pairs)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.pairs:,} pairs, {size / 1e6:,.0f} MB", file=sys.stderr)
    figures = {name: round(value) for name, value in measure(arguments.out.resolve()).items()}
    print(json.dumps(figures, indent=1))
    if arguments.store:
        rows = [[name.removesuffix(", MB"), f"{value:,} MB" if name.endswith("MB") else f"{value:,}"]
                for name, value in figures.items()]  # fmt: skip
        store("speed", "viewer", ["", "milliseconds"], rows)


if __name__ == "__main__":
    main()
