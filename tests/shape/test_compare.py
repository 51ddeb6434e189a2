"""Methods side by side for one wish: at the same end, and which of them `auto` takes."""

from __future__ import annotations

import math
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

import pretilt
from pretilt.run import Run
from pretilt.shape.methods import METHODS
from pretilt.shape.result import ShapeResult
from pretilt.view.terminal.shape import print_shape


def shape(run: Run, item: dict[str, Any], **options: Any) -> ShapeResult:
    return pretilt.shape(run.path, {"items": [item]}, **options)


def test_methods_are_compared_and_auto_takes_one_that_gets_there(run: Run) -> None:
    result = shape(run, {"suppress": "pattern:bold", "to": "half"})
    item = result.report["items"][0]
    compared = {one["method"]: one for one in item["compared"]}
    assert set(compared) == set(METHODS) and compared["mask"]["refusal"]
    aside = ("swap", "group-offset", "rewrite", "mask")
    usable = [one for one in compared.values() if not one["refusal"] and one["method"] not in aside]
    assert not compared["rewrite"]["refusal"] and item["method"] not in aside
    assert compared[item["method"]]["side_effect"] == min(one["side_effect"] for one in usable)
    assert item["reached"] == pytest.approx(0.5, abs=0.02)


def test_a_rewriting_plan_says_how_far_its_what_if_was_off(run: Run) -> None:
    for method, doubts in (("rewrite", True), ("drop", False)):
        text = StringIO()
        print_shape(
            shape(run, {"suppress": "pattern:bold", "method": method, "strength": 0.5}), Console(file=text, width=120)
        )
        assert ("trained, 3 to 30 % of the shift was left" in " ".join(text.getvalue().split())) == doubts


def test_methods_are_compared_at_what_the_named_strength_reaches(run: Run) -> None:
    """An offset of 2 leaves 2 sigma(-2) = 24 % of a concept that no rejected response shows: so must the others."""
    left = 2 / (1 + math.exp(2.0))
    item = {"suppress": "pattern:bold", "method": "offset", "strength": 2.0}
    compared = {one["method"]: one for one in shape(run, item, compare=True).report["items"][0]["compared"]}
    assert compared["offset"]["strength"] == 2.0
    for method in ("offset", "drop", "weight", "rewrite", "designed-offset"):
        assert compared[method]["reached"] == pytest.approx(left, abs=0.01), method
    assert compared["drop"]["strength"] == pytest.approx(1 - left, abs=0.01)
