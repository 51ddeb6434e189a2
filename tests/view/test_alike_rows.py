"""Concepts that say the same are shown as one, those without a readable name last; the tables keep all."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pyarrow as pa
from rich.console import Console
from synthetic_run import synthetic_tables

from pretilt import schema
from pretilt.view.clear_names import is_vague
from pretilt.view.effects import merged
from pretilt.view.summary import summarise
from pretilt.view.tables import ReportTables
from pretilt.view.terminal.audit import HIDDEN, print_summary

UNNAMED = "no readable name; fires in 61 % of answers"
Change = dict[int, dict[str, Any]]


def _tables(alike: list[tuple[int, int]], changes: Change) -> ReportTables:
    tables = synthetic_tables()
    concepts = [row | changes.get(row["concept_id"], {}) for row in tables.concepts.to_pylist()]
    rows = [{"concept_id": i, "other_id": j, "correlation": 0.95} for i, j in alike]
    return replace(
        tables,
        concepts=pa.Table.from_pylist(concepts, schema.CONCEPTS),
        alike=pa.Table.from_pylist(rows, schema.ALIKE),
    )


def _row(concept_id: int, delta: float, *, where: int = -1, lfsr: float = 0.001) -> dict[str, Any]:
    view = "global" if where < 0 else "group"
    numbers = {
        "lfsr": lfsr,
        "q_value": 0.001,
        "family_n": 500,
        "n_eff": 500.0,
        "posterior_delta": delta,
        "sign_consistent": True,
    }
    return {"hypothesis_id": f"{view}:{concept_id}", "view": view, "where": where, "concept_id": concept_id,
            "delta": delta, **numbers}  # fmt: skip


def _alike(*pairs: tuple[int, int]) -> pa.Table:
    return pa.Table.from_pylist([{"concept_id": i, "other_id": j, "correlation": 0.9} for i, j in pairs], schema.ALIKE)


def test_the_best_named_stands_for_the_others_in_the_place_of_the_first() -> None:
    concepts = {0: {"name": UNNAMED}, 1: {"name": "a", "name_score": 0.8}, 2: {"name": "b", "name_score": 0.95},
                3: {"name": "c", "name_score": 0.95}}  # fmt: skip
    rows = [_row(0, 0.9), _row(3, 0.1), _row(1, 0.5), _row(2, 0.3)]
    (first, second) = merged(rows, concepts, _alike((0, 1), (0, 2), (1, 2)))
    assert (first["concept_id"], first["alike"]) == (2, ["global:0", "global:1"])
    assert (second["concept_id"], second["alike"]) == (3, [])
    tied = {i: {"name": "x", "name_score": 0.951 - 0.001 * (i == 3)} for i in (2, 3)}
    assert merged([_row(2, 0.1), _row(3, -0.3)], tied, _alike((2, 3)))[0]["concept_id"] == 3  # the larger effect


def test_names_that_tell_a_reader_the_same_are_one_row_and_unnamed_concepts_are_not() -> None:
    concepts = {0: {"name": "with links #0"}, 1: {"name": "mostly with links"}, 2: {"name": f"{UNNAMED} #2"},
                3: {"name": f"{UNNAMED} #3"}, 4: {"name": "with links #4"}}  # fmt: skip
    rows = [_row(0, 0.2), _row(1, 0.1), _row(2, 0.1), _row(3, 0.1), _row(4, 0.3, where=2)]
    assert [(row["concept_id"], row["alike"]) for row in merged(rows, concepts, None)] == [
        (0, ["global:1"]), (2, []), (3, []), (4, []),
    ]  # fmt: skip


def test_a_sure_row_is_never_hidden_behind_one_that_is_not_and_places_are_not_mixed() -> None:
    concepts = {0: {"name": UNNAMED}, 1: {"name": "a", "name_score": 1.0}}
    (row,) = merged([_row(0, 0.2), _row(1, 0.2, lfsr=0.3)], concepts, _alike((0, 1)))
    assert row["concept_id"] == 0
    rows = [_row(0, 0.2), _row(1, 0.2, where=3)]
    assert [row["alike"] for row in merged(rows, concepts, _alike((0, 1)))] == [[], []]
    assert len(merged(rows, concepts, None)) == 2


def test_two_equal_concepts_are_one_row_on_the_terminal_and_two_in_the_tables() -> None:
    plain = summarise(synthetic_tables())
    first, second = plain.amplified[:2]
    better = {second.concept_id: {"name_score": 0.99}, first.concept_id: {"name_score": 0.8}}
    tables = _tables([(first.concept_id, second.concept_id)], better)
    summary = summarise(tables)
    assert summary.amplified[0].hypothesis_id == second.hypothesis_id
    assert summary.amplified[0].alike == [first.hypothesis_id]
    assert first.hypothesis_id not in [effect.hypothesis_id for effect in summary.amplified]
    assert summary.to_dict()["amplified"][0]["alike"] == [first.hypothesis_id]
    assert "and 1 more like it" in _printed(summary)


def _printed(summary: Any, **options: Any) -> str:
    file = io.StringIO()
    print_summary(summary, Console(file=file, width=100, color_system=None), **options)
    return file.getvalue()


def test_a_place_where_it_fires_stands_below_the_name_and_harm_is_hidden() -> None:
    plain = summarise(synthetic_tables())
    first, second = plain.amplified[:2]
    contexts = {
        first.concept_id: {"contexts": ["I'm «sorry», but"]},
        second.concept_id: {"contexts": ["how to «kill» him"]},
    }
    summary = summarise(_tables([], contexts))
    text = _printed(summary)
    assert "I'm «sorry», but" in text and "«kill»" not in text and HIDDEN in text
    assert "how to «kill» him" in _printed(summary, show_text=True)


def test_what_a_person_cannot_decide_about_is_folded_and_counted_with_what_is_sure_of_it() -> None:
    plain = summarise(synthetic_tables())
    first, second, *others = plain.amplified
    assert first.is_sure and second.is_sure and plain.trust["folded"]["everywhere"]["amplify"] == 0
    vague = {first.concept_id: {"name": UNNAMED}, second.concept_id: {"name": 'perhaps says "list"'}}
    summary = summarise(_tables([], vague))
    assert not {first.hypothesis_id, second.hypothesis_id} & {effect.hypothesis_id for effect in summary.amplified}
    assert [effect.hypothesis_id for effect in summary.amplified][: len(others)] == [e.hypothesis_id for e in others]
    assert summary.trust["folded"]["everywhere"]["amplify"] == 2
    assert summary.trust["folded_sure"]["everywhere"]["amplify"] == 2
    assert "2 more without a clear name, 2 of them sure: in the viewer" in " ".join(_printed(summary).split())
    assert summary.trust["n_sure"] == plain.trust["n_sure"]


def test_where_all_that_is_sure_is_vague_it_stands_in_the_list() -> None:
    everything = {row["concept_id"]: {"name": f"{UNNAMED} #{row['concept_id']}"} for row in
                  synthetic_tables().concepts.to_pylist() if row["kind"] != "pattern"}  # fmt: skip
    summary = summarise(_tables([], everything))
    assert summary.amplified and all(effect.is_sure for effect in summary.amplified)
    n_shown = summary.trust["in_lists"]["everywhere"]["amplify"]
    assert summary.trust["folded"]["everywhere"]["amplify"] == n_shown - len(summary.amplified)


def test_a_pattern_of_that_name_is_what_it_is_called() -> None:
    assert is_vague({"name": "perhaps about law and courts", "kind": "community"}) and is_vague({"name": UNNAMED})
    assert not is_vague({"name": "perhaps, maybe", "kind": "pattern"})
    assert not is_vague({"name": 'says "perhaps"', "kind": "feature"}) and not is_vague({"name": None})
