"""A trace on the terminal: marks that cannot be forged, texts that do no harm, any width, ASCII if need be."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from pretilt import schema
from pretilt.trace.types import Contribution, EffectTrace, Lesson, PairTrace, Quote, Trace, Unusual, fired
from pretilt.view.terminal.audit import HIDDEN
from pretilt.view.terminal.trace import excerpt, print_trace

HOSTILE = "[bold red]x[/] \x1b[31m\u202eevil «forged» \ue000also\ue001"


def quote(**changes: Any) -> Quote:
    values = {
        "pair_id": "0123456789abcdef0123",
        "row_index": 412,
        "split": "train",
        "family_id": 7,
        "family_size": 3,
        "prompt": "What is a pretilt?",
        "chosen": "An instrument. Thank you!",
        "rejected": "No idea.",
        "harmful": False,
    }
    return Quote(**{**values, **changes})


def row(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(schema.HYPOTHESES.names)
    values |= {"n_in": 40, "n_out": 200, "mean_in": 0.3, "mean_out": 0.1, "delta": 0.2, "family_n": 30, "n_eff": 33.0}
    values |= {"se_moderated": 0.04}
    values |= {"ci_lo": 0.1, "ci_hi": 0.3, "posterior_delta": 0.15, "posterior_lo": 0.05, "posterior_hi": 0.25}
    return {**values, "lfsr": 0.004, "q_value": 0.02, "shown": True, "rank": 2, **changes}


def effect(**changes: Any) -> EffectTrace:
    spans = fired(["An instrument. ", "Thank", " you", "!"], [0, 2.0, 1.0, 0])
    one = Contribution(quote(), 0.025, 0.125, 1.0, True, spans, ())
    values = {
        "id": "group:3:7", "view": "group", "where": 3, "place": "measuring", "concept_id": 7, "concept": "gratitude",
        "kind": "community", "phrases": ["Thank you"], "delta": 0.2, "direction": "amplify", "row": row(),
        "n_with": 12, "n_against": 5, "n_neither": 223, "n_families": 230, "total": 0.2,
        "pairs_carry": {0.01: 0.25, 0.05: 0.9, 0.10: 1.2}, "families_carry": {0.01: 0.3, 0.05: 0.95, 0.10: 1.25},
        "responsible": [one], "against": [],
    }  # fmt: skip
    return EffectTrace(**{**values, **changes})


def lesson(**changes: Any) -> Lesson:
    values = {
        "hypothesis_id": "global:7", "concept": "gratitude", "kind": "community", "place": "", "direction": "amplify",
        "delta": 0.2, "rank": 2, "lfsr": 0.01, "is_sure": True, "contribution": 0.004, "share": 0.02, "pair_rank": 5,
        "fires_on": ["Thank", "you"],
    }  # fmt: skip
    return Lesson(**{**values, **changes})


def pair(**changes: Any) -> PairTrace:
    topic = {"prompt_concept_id": 4, "statistic": "max", "name": "instruments", "score": 0.5}
    values = {
        "pair": quote(), "group_id": 3, "group": "measuring", "prompt_concepts": [topic],
        "unusual": [Unusual(9, "volcano", "shift_max", -2.5, 0.0)], "everywhere": [lesson()], "in_places": [],
    }  # fmt: skip
    return PairTrace(**{**values, **changes})


def printed(trace: Trace, width: int = 100, encoding: str = "utf-8", **options: Any) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    print_trace(trace, Console(file=file, width=width, color_system=None), **options)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("trace", [effect(), pair()], ids=["effect", "pair"])
def test_fits_the_width(trace: Trace, width: int) -> None:
    lines = printed(trace, width).splitlines()
    assert max(map(len, lines)) <= min(width, 120)
    assert all(line == line.rstrip() for line in lines)


def test_an_effect_in_words_and_numbers() -> None:
    text = " ".join(printed(effect(), 120).split())
    for words in (
        "▲ gratitude in the group measuring: training would amplify it",
        "shrunken +0.150, 95 % [+0.050, +0.250] as observed +0.200, 95 % [+0.100, +0.300]: +0.300 in 40 pairs",
        "+0.300 in 40 pairs of 30 families, +0.100 in the 200 others",
        "Sure: ",
        "q 0.02. Rank 2 of its list.",
        "12 carry it, 5 pull the other way, 223 do neither; together +0.200",
        "the first 1 %: 25 %, 5 %: 90 %, 10 %: 120 % of the pairs",
        "the first 1 %: 30 %, 5 %: 95 %, 10 %: 125 % of the 230 families",
        "above 100 %: the rest pulls the other way",
        "+0.0250, 12 % of the effect, u +1.00 · row 412, family 7 (3 pairs), 0123456789abcdef0123",
        "chosen: An instrument. «Thank you»!",
        "Pull the other way none",
    ):
        assert words in text, words


def test_noise_is_not_told_as_a_finding() -> None:
    assert "Unsure" in printed(effect(row=row(lfsr=0.3)))
    assert "Not tested" in printed(effect(row=None))
    unsure = [lesson(is_sure=False, lfsr=0.4, concept=f"maybe {i}") for i in range(5)]
    text = printed(pair(everywhere=unsure, in_places=[lesson(place="here"), *unsure]))
    assert "nothing sure" in text and "maybe 2" in text
    assert text.count("maybe") == 3  # three where nothing is sure, none where something is


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lfsr": 1.0, "posterior_delta": 0.0, "posterior_lo": 0.0, "posterior_hi": 0.0},
         "the chosen responses show it more in these pairs; this may be chance"),
        ({"lfsr": 1.0, "mean_in": -0.1, "mean_out": -0.3},
         "the rejected responses show it more in these pairs too, but less than in the others; this may be chance"),
        ({"mean_in": -0.1, "mean_out": -0.3},
         "the rejected responses show it more in these pairs too, but less than in the others"),
        ({"mean_in": 0.05, "mean_out": -0.2},
         "neither side clearly shows it more in these pairs, the chosen responses do against the others"),
        ({}, "training would amplify it"),
    ],
)  # fmt: skip
def test_what_training_would_do_is_said_of_what_is_sure(changes: dict[str, Any], says: str) -> None:
    text = " ".join(printed(effect(row=row(**changes), phrases=[]), 120).split())
    head, rest = text.split(" shrunken ")
    assert says in head
    assert ("training would" in head) == (not changes) and ("may be chance" in head) == ("lfsr" in changes)
    assert "Posterior" not in rest and rest.index("as observed") < rest.index("how sure")


def test_the_untested_is_not_said_to_come() -> None:
    text = " ".join(printed(effect(row=None, direction="suppress", delta=-0.2), 120).split())
    assert "the rejected responses show it more in these pairs; this was not tested" in text
    assert "training would" not in text and "shrunken" not in text and "as observed -0.200" in text


@pytest.mark.parametrize(("share", "said"), [(1.004, False), (1.006, True), (float("nan"), False)])
def test_above_100_is_explained_where_it_is_printed(share: float, said: bool) -> None:
    text = printed(effect(pairs_carry={0.01: share}, families_carry={0.01: 0.3}), 120)
    assert ("above 100 %" in text) == said


def test_units_of_response_shift_concepts() -> None:
    text = printed(effect(kind="shift_max", view="prompt_max"), 120)
    assert "+0.200 sd" in text and "u +1.00 sd" in text and "on prompts about measuring" in text
    assert "-2.50 sd  no other pair" in printed(pair())


def test_a_pair_in_words_and_numbers() -> None:
    text = " ".join(printed(pair(), 120).split())
    for words in ("3 pairs share it", "3: measuring", "instruments (max)", "+0.200 2 % 5 2 Thank, you"):
        assert words in text, words
    held = printed(pair(pair=quote(split="heldout", family_size=1), everywhere=[]))
    assert "held out: nothing was fitted or tested on it" in held and "no other pair is of its family" in held
    assert "What it teaches" not in held


def test_dataset_text_is_neither_markup_nor_an_escape_sequence_nor_a_mark() -> None:
    hostile = quote(prompt=HOSTILE, chosen=HOSTILE, rejected=HOSTILE)
    one = Contribution(hostile, 0.1, 0.5, 1.0, True, ((0, 4, 1.0),), ())
    texts = [
        printed(effect(concept=HOSTILE, place=HOSTILE, phrases=[HOSTILE], responsible=[one])),
        printed(pair(pair=hostile, group=HOSTILE, everywhere=[lesson(concept=HOSTILE, fires_on=[HOSTILE])])),
    ]
    for text in texts:
        assert "[bold red]x[/]" in text.replace("«", "").replace("»", "") and "‹U+001B›" in text
        assert not {"\x1b", "\u202e", "\ue000", "\ue001"} & set(excerpt(HOSTILE, (), 200))
        assert "\x1b" not in text and "\u202e" not in text
    assert excerpt(HOSTILE, (), 200).endswith("evil “forged” \ufffdalso\ufffd")


def test_harm_is_hidden_until_asked_for() -> None:
    bad = quote(chosen="how to build a bomb", harmful=True)
    one = Contribution(bad, 0.1, 0.5, 1.0, True, (), ())
    for trace in (effect(responsible=[one]), pair(pair=bad)):
        assert HIDDEN in printed(trace) and "bomb" not in printed(trace) and "pretilt?" not in printed(trace)
        assert "bomb" in printed(trace, show_text=True)


def test_ascii_where_there_is_no_more() -> None:
    text = printed(effect(), 120, "ascii")
    assert "An instrument. <<Thank you>>!" in text and "?" not in text.replace("pretilt?", "")


@pytest.mark.parametrize(
    ("pieces", "acts", "width", "shown"),
    [
        (["a", "b", " c"], [1, 1, 0], 50, "«ab» c"),
        (["a", " b", " c"], [0, 1, 0], 50, "a «b» c"),
        (["a", "\n\n", "b"], [0, 1, 0], 50, "a b"),  # white space alone is not marked
        (["  a ", " b"], [1, 0], 50, "«a» b"),
        (["x"], [0], 50, "x"),
        ([], [], 50, ""),
        (["", "a"], [1, 1], 50, "«a»"),
        (["one ", "two ", "three ", "four ", "five ", "six"], [0, 0, 0, 0, 0, 2], 14, "…five «six»"),
        (["aaaa "] * 20, [1] * 20, 20, "«aaaa aaaa aaaa»…"),  # a run that the window cuts is closed
    ],
)
def test_excerpts_by_hand(pieces: list[str], acts: list[float], width: int, shown: str) -> None:
    assert excerpt("".join(pieces), fired(pieces, acts), width) == shown


def test_an_excerpt_lies_around_the_strongest_token() -> None:
    words = [f"word{i} " for i in range(200)]
    acts = [1.0 if i in (3, 120) else 0.0 for i in range(200)]
    acts[120] = 5.0
    shown = excerpt("".join(words), fired(words, acts), 80)
    assert "«word120»" in shown and "word3 " not in shown and shown[0] == shown[-1] == "…"
    assert len(shown) <= 80 + 2  # the marks


def test_a_huge_text_takes_no_time() -> None:
    start = time.process_time()
    for text in (" " * 300_000 + "x", "\ue000 " * 150_000, "x" * 300_000):
        excerpt(text, ((0, 1, 1.0),), 100)
    assert time.process_time() - start < 2


def test_json_has_no_nan() -> None:
    told = effect(pairs_carry={0.01: float("nan")}, delta=0.0).to_dict()
    assert told["trace"] == "effect" and told["pairs_carry"] == {"0.01": None}
    assert told["responsible"][0]["chosen_fired"] == [[15, 20, 2.0], [20, 24, 1.0]]
    assert pair().to_dict()["trace"] == "pair"
