"""A rerun of a benchmark stores the table that its page shows: the same rows, from figures that are known here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import harvest
import names
import null_flips
import planted
import pyarrow as pa
import pytest
import scale
import simulation
from stored import stored
from synthetic_run import synthetic_tables


def titles(lines: list[list[str]]) -> list[str]:
    return [line[0] for line in lines]


def test_null_flips() -> None:
    report = {
        "share_of_flips_with_any_q_at_most_0.05": 0.025,
        "share_of_flips_with_any_lfsr_below_0.05": 0.005,
        "share_of_cells_beyond_1.96": {
            "global": 0.0486,
            "group": 0.0393,
            "prompt_max": 0.0301,
            "prompt_freq": 0.0244,
            "pattern": 0.05,
            "pattern_group": 0.0281,
            "detector": 0.0425,
            "detector_group": 0.0253,
        },
    }
    assert null_flips.table_of(report) == stored("noise", "null-flips")[1:]


def test_null_flips_leave_out_the_detectors_that_the_labels_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    made_from = {"of-labels": "hypothesis", "link-probe": "pattern", "warmth": "trait"}
    monkeypatch.setattr(null_flips, "detector_names", lambda run: sorted(made_from))
    monkeypatch.setattr(null_flips, "load_detector", lambda run, name: (None, {"made_from": made_from[name]}))
    rows = [{"concept_id": 4, "detector": None}, {"concept_id": 5, "detector": "link-probe"},
            {"concept_id": 6, "detector": "of-labels"}]  # fmt: skip
    run = SimpleNamespace(table=lambda name, columns: pa.Table.from_pylist(rows).select(columns))
    assert null_flips.detectors_fitted_to_labels(run) == {"of-labels": 6}


def test_simulation() -> None:
    figures = {"mean": 0.5, "min": 0.25, "max": 0.75}
    keys = (
        *("null_in_top_default", "null_in_top_paper", "null_in_top_z", "false_discovery_proportion"),
        *("false_sign_proportion", "coverage_all", "coverage_top_posterior"),
        *("top_estimate", "top_posterior", "top_truth"),
    )
    world = {**dict.fromkeys(keys, figures), "claimed": {"mean": 1370.4, "min": 1261, "max": 1473}}
    rows = simulation.table_of({"families": world, "independent": world})
    assert titles(rows) == titles(stored("noise", "simulation")[1:])
    assert rows[0][1:] == ["50.0 % [25.0, 75.0]", "50.0 % [25.0, 75.0]", "≤ 2 %"]
    assert rows[5][1] == "1,370 [1,261, 1,473]"
    assert rows[8][1] == "0.500 / 0.500 / 0.500"


def test_names() -> None:
    tables = synthetic_tables()
    rows = names.table_of(tables, tables)
    assert {row[0] for row in rows} == {"▲", "▼"} and all(len(row) == len(names.HEAD) for row in rows)
    assert rows[0][1:] == ["bold and numbered lists", "bold and numbered lists", "", "0"]


def test_harvest() -> None:
    figures = {
        "bare_tokens_per_second": 1191.2,
        "harvest_tokens_per_second": 1082.1,
        "harvest_over_bare": 0.9412,
        "harvest_over_twice": 1.451,
    }
    report = {"batch_tokens": 4096, "wall": figures, "cpu": figures}
    head, rows = harvest.table_of([report])
    assert head == ["", "4,096, by the clock", "by CPU time"]
    assert titles(rows) == titles(stored("speed", "harvest")[1:])
    assert [row[1] for row in rows] == ["1,191", "1,082", "0.94", "1.45"]


def test_scale() -> None:
    def report(seconds: float) -> dict[str, Any]:
        step = {"seconds": seconds, "cpu_seconds": 2 * seconds, "peak_mib": 2015}
        parts = {"ours": [seconds / 10, 995], "naive": [40.9, 4018]}
        groups = {"measured": 16, "naive_seconds_for_all_groups": 1308.0}
        return {"shifts": step, "statistics": {**step, "peak_mib": 5321}, "naive": {"parts": parts, "found": groups}}

    head, rows = scale.table_of(report(100), report(10))
    assert [head, *titles(rows)] == [stored("speed", "scale")[0], *titles(stored("speed", "scale")[1:])]
    assert rows[2][1:] == ["200", "400", "5,321", "20, 40, 5,321"]  # together: sums, but the larger memory
    assert rows[3][1:] == ["10.0", "", "995", "1.0, , 995"]
    assert rows[4][1] == "1,308 (16 groups measured: 40.9)"


def test_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: dict[str, list[list[str]]] = {}

    def store(page: str, table: str, head: list[str], rows: list[list[object]]) -> None:
        tables[table] = [head, *([str(cell) for cell in row] for row in rows)]

    monkeypatch.setattr(planted, "store", store)
    traced = {"tracing_precision": 1.0, "own_precision": 1.0}
    links = {"plant": "links", "role": "plant", "n_planted": 46, "auroc": 0.999, "average_precision": 0.996}
    links |= {"covered": True, "rank": 2, "list_length": 517, "view": "global", "rank_ok": True, **traced}
    unseen = {"plant": "unseen", "role": "plant", "n_planted": 4, "covered": False, "rank_ok": False}
    effect = {"effect": -0.0082, "ci_lo": -0.021, "ci_hi": 0.0046, "contains_zero": True, "lfsr": 0.29}
    decoy = {"plant": "closing_question", "role": "decoy", "auroc": 1.0, **effect}
    place = {"rank": 1, "list_length": 3196, "view": "prompt_max", "direction": "amplify"}
    local = {"plant": "links", **place, "context_precision": 0.65, **traced}
    missed = {"plant": "unseen", "rank": 0}

    planted.store_tables("a", "none", [links, unseen, decoy], [local, missed])
    assert tables["a-plants"][1] == stored("planted", "a-plants")[2]
    assert tables["a-plants"][2] == ["unseen", "4", "–", "–", "no", "in no list", "no", "– / –"]
    assert tables["a-decoys"][1] == stored("planted", "a-decoys")[1]
    assert tables["a-local"][1] == stored("planted", "a-local")[2]
    assert tables["a-local"][2] == ["unseen", "not among the first 50 of any list", "", ""]
    for table, lines in tables.items():
        assert lines[0] == stored("planted", table)[0]
