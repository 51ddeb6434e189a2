"""Lists are led by names that a reader can tell, one of each; the others are counted, not dropped in silence."""

from __future__ import annotations

import io

from rich.console import Console

from pretilt.view.clear_names import by_name, is_vague, without_number
from pretilt.view.terminal.forecast import Foreseen, _table
from pretilt.view.terminal.kit import Page
from pretilt.view.terminal.shape import _effects

ROWS = [
    {"kind": "community", "name": "no readable name; fires in 61 % of answers"},
    {"kind": "community", "name": "with lists #4"},
    {"kind": "shift_max", "name": "perhaps about tea"},
    {"kind": "feature", "name": "mostly with lists #19"},
    {"kind": "pattern", "name": "perhaps is a word"},
    {"kind": "feature", "name": "with lists"},
    {"kind": "shift_freq", "name": "with lists"},
]


def test_one_of_each_clear_name_stands_for_those_that_say_the_same() -> None:
    clear, n_vague = by_name(ROWS, lambda row: row)
    assert [(row["name"], n) for row, n in clear] == [("with lists #4", 2), ("perhaps is a word", 0), ("with lists", 0)]
    assert n_vague == 2
    assert [is_vague(row) for row in ROWS] == [True, False, True, False, False, False, False]
    assert without_number(ROWS[3]) == "with lists" and by_name([], lambda row: row) == ([], 0)


def shown(width: int = 100) -> tuple[Page, io.StringIO]:
    out = io.StringIO()
    return Page(Console(file=out, width=width, no_color=True)), out


def test_a_forecast_is_led_by_clear_names_and_counts_the_rest() -> None:
    page, out = shown()
    _table(page, [Foreseen(i, row["name"], row["kind"], 2.0 - i / 10, 1, 3, "?", "5 %") for i, row in enumerate(ROWS)])
    text = " ".join(out.getvalue().split())
    assert "no readable name" not in text and "about tea" not in text
    assert "and 2 more like it" in text and "2 more without a clear name: in the viewer" in text


def test_side_effects_keep_what_is_protected_whatever_it_is_called() -> None:
    numbers = {"change_lo": -3.0, "change_hi": -1.0, "plain": 1.0}
    rows = [
        {**row, **numbers, "concept_id": i, "role": "protected" if i == 0 else "side effect", "change": -2.0 + i / 10}
        for i, row in enumerate(ROWS)
    ]
    rows.append({**rows[1], "concept_id": 9, "change": 0.5, "change_lo": 0.1, "change_hi": 0.9})
    page, out = shown()
    _effects(page, rows)
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert lines[1].startswith("▼ no readable name; fires in 61 % of answers")
    assert "▼ 1 more without a clear name: in the viewer" in lines
    assert sum(line.startswith("▲ with lists #4") for line in lines) == 1  # of what rises it is not counted as alike
