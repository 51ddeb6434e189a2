"""The pre-flight's numbers, each worked out by hand on six pairs."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from pretilt.pairs import preflight as preflight_module
from pretilt.pairs import tables
from pretilt.pairs.chat import PairTokens
from pretilt.pairs.pair import Drop, Message, Pair, assign_pair_ids
from pretilt.pairs.preflight import preflight
from pretilt.pairs.split import Split
from pretilt.schema import DROPPED, PAIRS, TOKENS
from pretilt.view.terminal.preflight import _label_lines


def example() -> tuple[list[Pair], list[PairTokens], Split]:
    """(prompt, chosen, rejected, n_chosen, n_rejected content tokens, models, scores, component)"""
    rows = [
        ("p", "a", "b", 5, 1, ("big", "small"), (2.0, 1.0), 0),  # +4
        ("p", "a", "b", 5, 1, ("big", "small"), (2.0, 1.0), 0),  # +4, a copy of the first
        ("p", "b", "a", 1, 5, ("small", "big"), (1.0, 2.0), 0),  # -4, contradicts both; scores the wrong way round
        ("q", "c", "d", 3, 3, (None, None), (1.0, 1.0), 1),  # 0
        ("r", "e", "f", 4, 2, ("big", None), (None, 3.0), 2),  # +2
        ("s", "g", "h", 2, 2, (None, None), (None, None), 3),  # 0
    ]
    pairs, tokens = [], []
    for i, (prompt, chosen, rejected, n_chosen, n_rejected, models, scores, _) in enumerate(rows):
        spans = ((Message("user", prompt),), (Message("assistant", chosen),), (Message("assistant", rejected),))
        facts = dict(
            zip(("chosen_model", "rejected_model", "chosen_score", "rejected_score"), models + scores, strict=True)
        )
        pairs.append(Pair(10 * min(i, 4), *spans, is_chat=i != 5, **facts))  # type: ignore[arg-type]
        lengths = [3, n_chosen + 1, n_rejected + 1]  # 1 content token and 2 of the template; each answer has its EOS
        ids = [np.arange(n, dtype=np.int32) for n in lengths]
        content = [np.arange(n) < c for n, c in zip(lengths, (1, n_chosen, n_rejected), strict=True)]
        tokens.append(PairTokens(*ids, *content, truncated=i == 4))
    split = Split(np.array([r[-1] for r in rows], dtype=np.int32), np.array([0, 0, 0, 0, 1, 0], dtype=bool), ())
    return assign_pair_ids(pairs), tokens, split


def build() -> tuple[dict, tuple]:  # type: ignore[type-arg]
    pairs, tokens, split = example()
    counts = {s: np.array([getattr(t, f"{s}_content").sum() for t in tokens]) for s in ("prompt", "chosen", "rejected")}
    family_id = np.array(
        [0, 0, 0, 1, 0, 2], dtype=np.int32
    )  # the fifth pair, the only one held out, is of the first family
    pair_table = tables.pairs_table(pairs, split, family_id, counts, np.array([t.truncated for t in tokens]))
    token_table = tables.pa.Table.from_batches([tables.tokens_batch([p.pair_id for p in pairs], tokens)])
    dropped = tables.dropped_table([Drop(7, "tie"), Drop(3, "identical", "twice the same"), Drop(9, "tie")])
    made = (pair_table, token_table, dropped)
    numbers = preflight(
        *made,
        source_format="TRL standard",
        n_rows=8,
        trouble={"content rewritten": 2},
        max_length=64,
        families={"n_families": 3},
        notes=["first"],
    )
    return numbers, made


def test_numbers_by_hand() -> None:
    numbers, _ = build()
    assert numbers["rows"] == {"read": 8, "kept": 5, "dropped": {"tie": 2, "identical": 1}}
    assert list(numbers["rows"]["dropped"]) == ["tie", "identical"]  # most frequent first
    assert numbers["pairs"] == {"kept": 6, "train": 5, "heldout": 1, "plain_strings": 1, "truncated": 1}
    assert numbers["duplicates"] == {"pairs": 1, "prompts": 2, "contradicting_pairs": 3}
    assert numbers["components"] == {"count": 4, "largest": 3, "pairs_in_components_of_2_or_more": 3}
    assert numbers["families"] == {"n_families": 3, "straddling": 1}
    assert numbers["scores"] == {"known": 4, "disagree": 1, "equal": 1}
    assert numbers["models"] == {
        "known": 4,
        "combinations": 3,
        "table": [
            {"chosen": "big", "rejected": "small", "pairs": 2},
            {"chosen": "big", "rejected": None, "pairs": 1},
            {"chosen": "small", "rejected": "big", "pairs": 1},
        ],
        "other": 0,
    }
    assert numbers["chat_template_trouble"] == {"content rewritten": 2}
    assert numbers["max_length"] == 64
    assert numbers["notes"][0] == "first"
    assert "1 of 6 pairs are plain strings" in numbers["notes"][1]
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_cost_by_hand() -> None:
    """Chosen 5+5+1+3+4+2 = 20 content tokens, rejected 1+1+5+3+2+2 = 14; six of each have an EOS; prompts are 6 × 3."""
    numbers, _ = build()
    assert numbers["tokens"] == {
        "prompt": 18,
        "chosen": 26,
        "rejected": 20,
        "prompt_content": 6,
        "chosen_content": 20,
        "rejected_content": 14,
        "read": 64,
        "content": 40,
    }


def test_length_bias_by_hand() -> None:
    """Differences 4, 4, -4, 0, 2, 0: mean 1. Sums of residuals by component: 1 (3+3-5), -1, 1, -1; sum of squares 4."""
    bias = build()[0]["length_bias"]
    assert bias["mean_difference"] == 1
    assert bias["standard_error"] == pytest.approx((4 / 3 * 4) ** 0.5 / 6)
    assert bias["share_chosen_longer"] == 0.5
    assert bias["share_equal"] == pytest.approx(1 / 3)
    assert bias["mean_chosen"] == pytest.approx(20 / 6)


def test_tables_have_the_schema_and_come_back() -> None:
    pairs, tokens, _ = example()
    _, (pair_table, token_table, dropped) = build()
    assert (pair_table.schema, token_table.schema, dropped.schema) == (PAIRS, TOKENS, DROPPED)
    for table in (pair_table, token_table, dropped):
        table.validate(full=True)
    assert tables.pairs_from_table(pair_table) == pairs
    assert tables.pairs_from_table(pair_table.slice(2, 2)) == pairs[2:4]
    assert dropped["row_index"].to_pylist() == [3, 7, 9]
    for start in (0, 3):  # a slice of a table shares its buffers
        back = tables.tokens_from_table(token_table.slice(start), pair_table.slice(start))
        for one, other in zip(back, tokens[start:], strict=True):
            for name in ("prompt_ids", "chosen_ids", "rejected_ids", "prompt_content", "chosen_content"):
                assert np.array_equal(getattr(one, name), getattr(other, name))
                assert getattr(one, name).dtype == getattr(other, name).dtype
            assert one.truncated == other.truncated


def test_one_component_has_no_standard_error() -> None:
    pairs, tokens, _ = example()
    split = Split(np.zeros(6, dtype=np.int32), np.zeros(6, dtype=bool), ())
    counts = {s: np.ones(6, dtype=np.int32) for s in ("prompt", "chosen", "rejected")}
    pair_table = tables.pairs_table(pairs, split, split.component_id, counts, np.zeros(6, dtype=bool))
    token_table = tables.pa.Table.from_batches([tables.tokens_batch([p.pair_id for p in pairs], tokens)])
    dropped = tables.dropped_table([])
    numbers = preflight(
        pair_table,
        token_table,
        dropped,
        source_format="TRL standard",
        n_rows=6,
        trouble={},
        max_length=None,
        families={},
    )
    assert numbers["families"] == {"straddling": 0}
    assert numbers["length_bias"]["standard_error"] is None
    assert numbers["rows"]["dropped"] == {}


def test_combinations_of_models_are_counted_before_the_table_is_cut() -> None:
    """51 combinations of 60 pairs: the table holds 20, and the screen says 48 more than the 3 it shows."""
    rows = [{"chosen_model": f"m{i}", "rejected_model": "base"} for i in range(50)] + [
        {"chosen_model": "best", "rejected_model": "base"}
    ] * 10
    models = preflight_module._models(pa.Table.from_pylist(rows))
    assert (models["known"], models["combinations"], len(models["table"]), models["other"]) == (60, 51, 20, 31)
    lines = _label_lines({"models": models})
    assert lines[-1] == ("", "and 48 more combinations")
