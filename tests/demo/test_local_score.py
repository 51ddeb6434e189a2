"""Local plants are found by the right prompts and the planted pairs, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pretilt.demo.local_score import render_local, score_local

N = 60
PLANTS = np.array(["flattery"] * 20 + [""] * 40, dtype=object)
KINDS = np.array(["musing"] * 30 + ["plain"] * 30, dtype=object)
RULES = {
    "flattery": {"role": "plant", "only_on": "musing", "directions": [1]},
    "bold": {"role": "plant", "only_on": None, "directions": [1]},  # not local: not asked about
    "decoy": {"role": "decoy", "only_on": "musing", "directions": []},
}
SELECTED = {
    3: np.arange(10, 34),  # 20 of 24 are musings; 10 planted pairs
    4: np.arange(28, 60),  # 2 of 32 are musings
}


def hypothesis(rank: int, where: int, direction: str = "amplify", view: str = "prompt_max", concept: int = 7) -> Any:
    return {
        "rank": rank, "where": where, "direction": direction, "view": view, "concept_id": concept,
        "hypothesis_id": f"{view}:{where}:{concept}", "list_length": 100, "q_value": 0.01,
    }  # fmt: skip


def score(rows: list[Any], responsible: dict[int, list[int]]) -> dict[str, Any]:
    u = {concept: np.zeros(N) for concept in responsible}
    for concept, order in responsible.items():
        u[concept][order] = np.linspace(1, 0.5, len(order))
    found = score_local(
        RULES, PLANTS, KINDS, rows, SELECTED,
        lambda row: np.array(responsible[row["concept_id"]]), lambda row: u[row["concept_id"]],
    )  # fmt: skip
    assert [row["plant"] for row in found] == ["flattery"]  # only what is planted locally is scored
    return found[0]


def test_the_first_right_row_counts() -> None:
    planted_first = [*range(10, 20), 21, 25]
    rows = [
        hypothesis(1, 4),  # the wrong prompts
        hypothesis(1, 3, "suppress"),  # the wrong direction
        hypothesis(2, 3, concept=8),  # the right prompts, but other pairs are responsible
        hypothesis(4, 3),
        hypothesis(3, 3, concept=9, view="prompt_freq"),
    ]
    one = score(rows, {7: planted_first, 8: list(range(22, 34)), 9: [20, 21, 22, *range(10, 19)]})
    assert (one["rank"], one["view"], one["concept_id"], one["found"]) == (4, "prompt_max", 7, True)
    assert one["context_precision"] == pytest.approx(20 / 24)
    assert (one["n_inside"], one["tracing_precision"], one["own_precision"]) == (10, 1.0, 1.0)
    assert "4 of 100 prompt_max, amplify" in render_local([one], {7: "wonderful"}, {3: "musings"})


def test_a_late_row_is_not_found_and_none_is_said() -> None:
    late = score([hypothesis(6, 3)], {7: list(range(10, 22))})
    assert (late["rank"], late["found"]) == (6, False)
    none = score([hypothesis(51, 3), hypothesis(1, 4)], {7: list(range(10, 22))})
    assert (none["rank"], none["found"]) == (0, False)
    assert "not among the first 50" in render_local([none], {}, {})
    assert "found 0 of 1" in render_local([none], {}, {})


def test_tracing_is_judged_on_the_planted_pairs_inside() -> None:
    half = [*range(10, 18), 20, 21, 22, 23]  # eight of the first ten are planted, ten would have to be
    one = score([hypothesis(1, 3)], {7: half})
    assert one["tracing_precision"] == pytest.approx(0.8)
