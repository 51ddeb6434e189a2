"""How sure: the words follow from the numbers, and never claim more than they do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from synthetic_run import synthetic_tables

from pretilt import schema
from pretilt.view.certainty import POINTS, chance, sure_text, verdict
from pretilt.view.effects import Labels, shown_rows

CLEAR = {
    "delta": 0.4, "n_in": 40, "family_n": 38, "n_eff": 36.0, "lfsr": 0.0004, "q_value": 0.001, "p_flip": None,
    "delta_heldout": 0.38, "delta_residual": 0.31,
}  # fmt: skip


def test_nothing_against_it() -> None:
    found = verdict(CLEAR)
    assert (found.level, found.cautions) == ("sure", ())
    assert found.sentence == (
        "Sure: the probability that the sign is wrong is under 0.1 %; families that did not select it give +0.380; "
        "+0.310 is left after length and source."
    )
    assert "+0.380 sd" in verdict(CLEAR, "sd").sentence
    assert "+31.0 points is left after length and source" in verdict(CLEAR, POINTS).sentence


@pytest.mark.parametrize(
    ("change", "caution", "said"),
    [
        ({"n_eff": 19.0}, "near-duplicates", "its 40 pairs are 38 families, worth 19 independent pairs"),
        ({"delta_heldout": 0.19}, "less held out", "families that did not select it give only +0.190"),
        ({"delta_heldout": -0.4}, "less held out", "point the other way (-0.400)"),  # as large
        ({"delta_residual": 0.02}, "length or source", "only +0.020 is left after length and source"),
        ({"delta_residual": -0.00002}, "length or source", "only 0 is left after length and source"),
        ({"delta_residual": -0.02}, "length or source", "it has the other sign (-0.020) after length and source"),
        ({"p_flip": 0.12}, "sign flips", "12 % of the draws"),
    ],
)
def test_one_thing_against_it(change: dict[str, Any], caution: str, said: str) -> None:
    found = verdict(CLEAR | change)
    assert found.level == "probably" and found.cautions == (caution,)
    assert found.sentence.startswith("Probably: ") and said in found.sentence and "But" in found.sentence


def test_the_other_direction_is_judged_alike() -> None:
    turned = CLEAR | {"delta": -0.4, "delta_heldout": -0.38, "delta_residual": -0.31}
    assert verdict(turned).level == "sure"
    assert verdict(turned | {"delta_residual": 0.31}).cautions == ("length or source",)


def test_everything_against_it_is_said() -> None:
    found = verdict(CLEAR | {"n_eff": 12.0, "delta_residual": 0.0, "p_flip": 0.5})
    assert found.cautions == ("near-duplicates", "length or source", "sign flips")
    assert found.level == "probably" and found.sentence.count(";") == 2


@pytest.mark.parametrize(
    ("change", "caution", "told"),
    [
        ({"q_value": 0.3, "lfsr": 0.044}, "among many tests", "it does not stand out (q = 0.3). By itself the"),
        ({"q_value": None}, "among many tests", "q is not known"),
        ({"n_eff": 4.2}, "few pairs", "it rests on 4 independent pairs, and 10 are needed"),
        ({"family_n": 1}, "few pairs", "it rests on 1 independent pair, and"),
        ({"n_eff": None}, "few pairs", "how many independent pairs it rests on is not known"),
    ],
)
def test_a_sure_sign_alone_is_not_sure(change: dict[str, Any], caution: str, told: str) -> None:
    found = verdict(CLEAR | change)
    assert found.level == "unsure" and caution in found.cautions
    assert found.sentence.startswith("Unsure: ") and told in found.sentence


def test_unsure_says_the_likeliest_reason() -> None:
    unsure = CLEAR | {"lfsr": 0.3598, "q_value": 0.2}
    assert verdict(unsure).sentence == "Unsure: a wrong sign, or no effect at all, has a probability of 36 %."
    assert "by q alone (0.0007) it would pass" in verdict(unsure | {"q_value": 0.0007}).sentence
    copies = verdict(unsure | {"n_eff": 6.0, "family_n": 7})
    assert copies.level == "unsure" and copies.sentence.startswith(
        "Could be an accident of near-duplicates: its 40 pairs"
    )
    assert "36 %" in copies.sentence
    assert verdict(unsure | {"delta_residual": 0.1}).sentence.startswith("Could be length or source: only +0.100")


def test_not_known_is_not_sure() -> None:
    nothing = dict.fromkeys(CLEAR) | {"delta": 0.1, "n_in": 3}
    assert verdict(nothing).level == "unknown"
    assert verdict(nothing | {"lfsr": 0.01}).level == "unsure"
    # what is no part of the rule may be missing: it speaks neither for nor against
    enough = nothing | {"lfsr": 0.01, "q_value": 0.01, "n_in": 40, "n_eff": 38.0, "family_n": 40}
    assert verdict(enough).sentence == "Sure: the probability that the sign is wrong is 1.0 %."


def test_probabilities_are_not_rounded_over_a_line() -> None:
    assert [sure_text(x) for x in (0.0, 0.000999, 0.0012, 0.0499, 0.05, 0.0501, 0.9443, 1.0, None)] == [
        "> 99.9 %", "> 99.9 %", "99.8 %", "95.0 %", "95 %", "94 %", "5 %", "0 %", "?",
    ]  # fmt: skip
    assert [chance(x) for x in (0.0, 0.0099, 0.36, 0.9996)] == ["under 0.1 %", "1.0 %", "36 %", "over 99.9 %"]


def test_prompt_views_are_merged_by_what_orders_them() -> None:
    tables = synthetic_tables()
    wanted = {  # (view, rank): (lfsr, posterior, delta, d); posterior / sd = posterior * d / delta
        ("prompt_max", 1): (0.01, 0.2, 0.4, 2.0),  # 1.0
        ("prompt_max", 2): (0.01, 0.1, 0.4, 2.0),  # 0.5
        ("prompt_freq", 1): (0.04, 0.3, 0.3, 0.7),  # 0.7
        ("prompt_freq", 2): (0.30, 0.9, 0.9, 9.0),  # 9.0, but unsure
    }
    rows = []
    for row in tables.hypotheses.to_pylist():
        given = wanted.get((row["view"], row["rank"])) if row["direction"] == "amplify" else None
        if given:
            rows.append(
                row
                | {"q_value": 0.01}
                | dict(zip(("lfsr", "posterior_delta", "delta", "cohens_d"), given, strict=True))
            )
    few = replace(tables, hypotheses=pa.Table.from_pylist(rows, schema.HYPOTHESES))
    merged = shown_rows(few, ["prompt_max", "prompt_freq"], "amplify", 10)
    order = [(row["view"], row["rank"]) for row in merged]
    assert order == [("prompt_max", 1), ("prompt_freq", 1), ("prompt_max", 2), ("prompt_freq", 2)]
    assert len(shown_rows(few, ["prompt_max", "prompt_freq"], "amplify", 3)) == 3


def test_units_and_places() -> None:
    tables = synthetic_tables()
    labels = Labels(tables)
    rows = {row["hypothesis_id"]: row for row in tables.hypotheses.to_pylist()}
    shift, local, everywhere = (labels.effect(rows[i]) for i in ("prompt_max:0:602", "group:2:2", "global:0"))
    assert (shift.unit, shift.statistic, shift.place) == ("sd", "max", "medical questions")
    assert (local.unit, local.statistic, local.place) == ("", "", "quantum consciousness")
    assert (everywhere.unit, everywhere.place, everywhere.level) == ("", "", "sure")
    # shown is the posterior, and what was observed stays beside it
    row = rows["group:2:2"]
    assert (local.effect, local.lo, local.hi) == (row["posterior_delta"], row["posterior_lo"], row["posterior_hi"])
    assert (local.delta, local.ci_lo) == (row["delta"], row["ci_lo"]) and local.effect < local.delta
    plain = labels.effect(row | {"posterior_delta": None, "posterior_lo": None, "posterior_hi": None})
    assert (plain.effect, plain.lo, plain.hi) == (row["delta"], row["ci_lo"], row["ci_hi"])
    assert labels.place("prompt_freq", 77) == "prompt concept 77" and labels.place("group", 77) == "group 77"
