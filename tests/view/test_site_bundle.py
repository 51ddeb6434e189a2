"""The shards of the viewer: whole, in order, harmless, and with every pair of every effect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from command_line import in_process
from site_shards import read_shard
from synthetic_run import HOSTILE
from text_pairs import planted_rows, write_planted

import pretilt
from pretilt.concepts.curation import CURATION_FILE, curation, write_curation
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.run import Run
from pretilt.schema import IN_GROUPS, OVER_ALL_PAIRS, SUMMARY_FILE
from pretilt.stats.sure import sure_rows
from pretilt.view.site import export
from pretilt.view.site.bundle import Bundle
from pretilt.view.site.export import ASSETS, export_site
from pretilt.view.site.shards import embed, script, utf16_offsets
from pretilt.view.site.tables import Hypotheses
from pretilt.view.step import write_summary
from pretilt.view.summary import report_tables


def rows_of(shards: dict[str, Any], view: str) -> list[dict[str, Any]]:
    """The hypotheses of a view, a dict each."""
    rows: list[dict[str, Any]] = []
    for name in sorted(name for name in shards if name.startswith(f"rows-{view}-")):
        columns = shards[name]
        rows += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return rows


def test_the_index_lists_the_shards_and_nothing_else(site: Path, shards: dict[str, Any]) -> None:
    index = shards["index"]
    assert set(index["files"]) == shards.keys() - {"index"}
    assert index["schema_version"] == 1 and index["errors"] == []
    assert {path.name for path in site.iterdir()} == {"data", "index.html", *ASSETS}
    assert index["n_train"] == sum(shards["facts"]["train"]) < index["n_pairs"] == 240
    assert sum(len(shards[name]) for name in shards if name.startswith("pairs-")) == 240


def test_no_shard_can_end_its_element_or_its_line(site: Path) -> None:
    for path in (site / "data").glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not set("<>&\u2028\u2029\u007f\x00") & set(text), path.name
        assert text.count("\n") == 1


@pytest.mark.parametrize("source", ["text", "lens"])
def test_all_pairs_of_every_effect_sum_to_it(
    source: str, viewer_run_folder: Path, shared_run: pretilt.AuditResult
) -> None:
    """What the page adds up, u / n_in inside and -u / n_out outside, is the difference that was tested."""
    bundle = Bundle(Run(viewer_run_folder) if source == "text" else shared_run)
    shards = dict(read_shard(data.decode()) for name, data in bundle.shards() if name[:5] not in ("words", "fired"))
    facts, n_train, n_pairs = shards["facts"], shards["index"]["n_train"], shards["index"]["n_pairs"]
    train, group = np.array(facts["train"]), np.array(facts["group_id"])
    members = {int(number): np.cumsum(steps) for number, steps in shards["members"].items()}
    views = set()
    for view in shards["index"]["views"]:
        for row in rows_of(shards, view):
            entry = shards[f"u-{row['concept_id'] // shards['index']['concepts_of_shard']:04d}"][str(row["concept_id"])]
            u = np.zeros(n_pairs)
            u[entry["places"]] = entry["u"]
            assert not u[~train].any()
            if view in OVER_ALL_PAIRS:
                total = u.sum() / n_train
            else:
                selected = np.isin(np.arange(n_pairs), members.get(row["where"], []))
                inside = group == row["where"] if view in IN_GROUPS else selected
                outside = train & ~inside & ((group != 0) | (view not in IN_GROUPS))
                total = u[inside].sum() / row["n_in"] - u[outside].sum() / row["n_out"]
            assert total == pytest.approx(row["delta"], abs=2e-4), row["hypothesis_id"]
            views.add(view)
    assert views >= ({"pattern"} if source == "text" else {"pattern", "global", "group", "prompt_max"})


def test_of_a_very_large_view_the_weakest_are_left_out_and_counted(viewer_run_folder: Path) -> None:
    tables = report_tables(Run(viewer_run_folder))
    whole, cut = Hypotheses(tables), Hypotheses(tables, most_rows=3)
    assert cut.left_out["pattern"] == len(whole.views["pattern"]) - 3 > 0 and whole.left_out["pattern"] == 0
    assert cut.views["pattern"].equals(whole.views["pattern"].slice(0, 3))
    sure = sure_rows(whole.views["pattern"])
    assert sure[: sure.sum()].all() and sure.sum() > 1


def test_the_pairs_stand_in_the_order_of_trace(viewer_run_folder: Path, shards: dict[str, Any]) -> None:
    row = max(rows_of(shards, "pattern"), key=lambda row: row["delta"])
    entry = shards["u-0000"][str(row["concept_id"])]
    texts = {i: pair for k in range(3) for i, pair in enumerate(shards[f"pairs-{k:04d}"], 100 * k)}
    traced = pretilt.trace(viewer_run_folder, row["hypothesis_id"], number=12, tokens=False)
    assert [texts[i]["pair_id"] for i in entry["places"][:12]] == [c.pair.pair_id for c in traced.responsible]


def test_matches_are_counted_as_javascript_counts(shards: dict[str, Any]) -> None:
    """Pair 7 begins with characters beyond the first plane: what is marked there is the bold text itself."""
    bold = shards["concepts"]["pattern"].index("bold")
    fired = shards[f"fired-{bold:04d}"]
    for pair, sides in fired.items():
        texts = shards[f"pairs-{int(pair) // 100:04d}"][int(pair) % 100]
        for side, places in zip(("chosen", "rejected"), sides, strict=True):
            for turn, start, stop, _ in places:
                units = texts[side][turn][1].encode("utf-16-le")
                assert units[2 * start : 2 * stop].decode("utf-16-le").startswith("**"), pair
    assert "7" in fired
    assert utf16_offsets("a\U0001f600b", [0, 1, 2, 3]) == [0, 1, 3, 4]


def test_marked_tokens_of_a_feature_are_those_that_fire_and_as_strongly(shared_run: pretilt.AuditResult) -> None:
    bundle = Bundle(shared_run)
    kinds = dict(zip(*(shared_run.concepts[name].to_pylist() for name in ("concept_id", "kind")), strict=True))
    hypotheses = shared_run.hypotheses.select(["hypothesis_id", "concept_id"]).to_pylist()
    concept_of = {row["hypothesis_id"]: row["concept_id"] for row in hypotheses}
    place_of = {pair: i for i, pair in enumerate(shared_run.pairs["pair_id"].to_pylist())}
    n_marked = 0
    for row in shared_run.evidence.to_pylist():
        concept, place = concept_of[row["hypothesis_id"]], place_of[row["pair_id"]]
        if kinds[concept] == "pattern" or n_marked > 200:
            continue
        _, fired = read_shard(bundle.shard(f"fired-{concept:04d}").decode())
        _, pairs = read_shard(bundle.shard(f"pairs-{place // 100:04d}").decode())
        for k, side in enumerate(("chosen", "rejected")):
            pieces, acts = row[f"{side}_pieces"], row[f"{side}_acts"]
            firing = [(piece, act) for piece, act in zip(pieces, acts, strict=True) if act > 0]
            marks = fired[str(place)][k]
            texts = [pairs[place % 100][side][turn][1] for turn, *_ in marks]
            assert [text[a:b].strip() for text, (_, a, b, _) in zip(texts, marks, strict=True)] == [
                piece.strip() for piece, _ in firing
            ]
            top = max((act for _, act in firing), default=1.0)
            assert [mark[3] for mark in marks] == pytest.approx([act / top for _, act in firing], abs=0.006)
            n_marked += len(marks)
    assert n_marked > 50


def test_embedded_json_cannot_leave_its_element() -> None:
    value = {"a": HOSTILE, "b": ["]]>", "\u0000\u007f"], "</script>": None}
    text = embed(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029\u0000\u007f") & set(text)


def test_harmful_texts_are_folded_and_others_are_not(shards: dict[str, Any]) -> None:
    assert shards["pairs-0000"][17]["harmful"] is True
    assert sum(pair["harmful"] for pair in shards["pairs-0001"]) == 0


def test_three_things_to_look_at_are_sure_and_the_planted_ones(shards: dict[str, Any]) -> None:
    notable = shards["overview"]["notable"]
    assert 2 <= len(notable) <= 3 and all(entry["is_sure"] for entry in notable)
    assert {"amplify", "suppress"} == {entry["direction"] for entry in notable}
    assert notable[0]["title"] == "bold text"
    assert notable[0]["sentence"].startswith("In 3")


def test_the_same_run_gives_the_same_bytes(viewer_run_folder: Path) -> None:
    first, second = (dict(Bundle(Run(viewer_run_folder)).shards()) for _ in range(2))
    assert first == second


def test_an_export_that_is_interrupted_has_no_index(
    viewer_run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "site"
    export_site(Run(viewer_run_folder), out, events=Events())
    (out / "data" / "rows-of-another-run-000.js").write_text("old")

    def breaks(bundle: Bundle) -> Any:
        yield "overview", bundle.shard("overview")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bundle, "shards", breaks)
        with pytest.raises(KeyboardInterrupt):
            export_site(Run(viewer_run_folder), out, events=Events())
    assert not (out / "data" / "index.js").exists()
    export_site(Run(viewer_run_folder), out, events=Events())
    assert (out / "data" / "index.js").exists() and not (out / "data" / "rows-of-another-run-000.js").exists()


def test_a_folder_with_other_things_is_left_alone(viewer_run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds something else .*thesis.tex.*--force"):
        pretilt.export_site(viewer_run_folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert pretilt.export_site(viewer_run_folder, tmp_path, force=True).exists()


def test_a_later_step_that_cannot_be_read_is_named_and_the_rest_is_shown(viewer_run: Run) -> None:
    with viewer_run.stage("forecast", version=1, config={}) as stage:
        stage.write_text("forecast.parquet", "no table")
    (viewer_run.path / "forecast.parquet").write_text("altered")
    index = Bundle(Run(viewer_run.path)).index()
    assert index["has"]["forecast"] is False
    assert len(index["errors"]) == 1 and "damaged" in index["errors"][0]


def test_a_run_of_before_that_holds_a_static_page_stays_readable_and_the_page_is_left_alone(viewer_run: Run) -> None:
    with viewer_run.stage("report", version=6, config={}) as stage:
        stage.write_json(SUMMARY_FILE, viewer_run.json(SUMMARY_FILE))
        stage.write_text("report.html", "an older version wrote this")
    run = Run(viewer_run.path)
    assert Bundle(run).index()["errors"] == []
    summary = write_summary(run)
    again = Run(run.path)
    assert again.json(SUMMARY_FILE) == summary and not again.holds("report.html")
    assert (run.path / "report.html").read_text() == "an older version wrote this"


def test_of_a_row_without_a_difference_that_is_said(viewer_run_folder: Path) -> None:
    """A run of few pairs has rows that nothing could be compared for."""
    tables = report_tables(Run(viewer_run_folder))
    rows = [row | {"delta": None} for row in tables.hypotheses.to_pylist()]
    hypotheses = Hypotheses(replace(tables, hypotheses=pa.Table.from_pylist(rows, tables.hypotheses.schema)))
    assert set(hypotheses.words("pattern", 0)["sentence"]) == {"There are too few pairs to compare."}
    assert set(hypotheses.numbers("pattern", 0)["delta"]) == {None}


def test_a_page_that_was_not_built_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"not built.*make web"):
        export.asset("nothing.js")


def test_names_given_by_hand_are_kept_checked_and_exported(viewer_run: Run) -> None:
    write_curation(
        viewer_run, {"names": {"3": "web\nlinks"}, "pinned": [3, 3], "merged": {"4": 3}, "values": {"3": "bad"}}
    )
    assert curation(viewer_run)["names"] == {"3": "web links"}
    assert b'"merged":{"4":3}' in Bundle(viewer_run).shard("curation")
    for wrong in (
        [], {"name": {}}, {"pinned": [10**6]}, {"merged": {"3": 3}}, {"merged": {"3": 4, "4": 5}},
        {"values": {"3": "fine"}}, {"names": {"x": "y"}}, {"pinned": {}},
    ):  # fmt: skip
        with pytest.raises(UserError, match="not understood"):
            write_curation(viewer_run, wrong)
    held = json.loads((viewer_run.path / CURATION_FILE).read_text())
    assert held.pop("meant").keys() == {"3", "4"}
    (viewer_run.path / CURATION_FILE).write_text(json.dumps(held))
    assert curation(viewer_run)["values"] == {"3": "bad"}  # of an earlier version
    (viewer_run.path / CURATION_FILE).write_text("{")
    with pytest.raises(UserError, match=r"cannot be read .*curation.json.*move it away"):
        curation(viewer_run)


def test_names_are_not_put_on_other_concepts(tmp_path: Path) -> None:
    """As after an audit with other settings, in which other concepts have the numbers."""
    source = write_planted(tmp_path / "pairs.jsonl", planted_rows(60))
    run = pretilt.audit(source, out=tmp_path / "run", no_lens=True).run
    last = run.table("concepts.parquet").num_rows - 1
    write_curation(run, {"names": {"0": "first", str(last): "last"}})
    path = run.path / CURATION_FILE
    value = json.loads(path.read_text())
    value["meant"][str(last)] = value["meant"]["0"]  # as it would be had the concepts changed places
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf"of other concepts .*concept {last} was another one"):
        curation(run)
    shown = in_process("trace", run.path, "pattern:bold")
    assert shown.returncode == 2 and "of other concepts" in shown.stderr and shown.stderr.count("\n") == 1
    path.unlink()
    assert in_process("trace", run.path, "pattern:bold").returncode == 0


def test_a_number_that_is_not_finite_is_null() -> None:
    assert (
        script("x", {"a": float("nan"), "b": [float("inf"), 1.5]}) == b'pretiltShard("x",{"a":null,"b":[null,1.5]});\n'
    )
