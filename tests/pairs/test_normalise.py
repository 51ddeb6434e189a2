"""Rows to pairs: where the prompt ends, which rows are dropped and why, hostile rows, remarks, rows of a wrong type."""

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages_rows import GOOD_ROW, nectar, read, reasons, says, texts, user, whole

from pretilt.errors import UserError
from pretilt.pairs.pair import DROP_REASONS

# ---- dropped rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({**GOOD_ROW, "chosen": []}, "empty", "chosen is empty"),
        ({**GOOD_ROW, "rejected": None}, "empty", "rejected is empty"),
        ({**GOOD_ROW, "chosen": [says(" \n")]}, "empty", "chosen is empty"),
        ({**GOOD_ROW, "prompt": []}, "empty", "the prompt is empty"),
        ({**GOOD_ROW, "prompt": [user("  ")]}, "empty", "the prompt is empty"),
        ({**GOOD_ROW, "rejected": [says("a")]}, "identical", ""),
        ({**GOOD_ROW, **whole(["q", "a"], ["q", "a"])}, "identical", ""),
        ({**GOOD_ROW, **whole(["q"], ["q"])}, "empty", "the conversations end with the user's turn"),
        ({**GOOD_ROW, **whole(["q", "a"], ["r", "b"])}, "no common prompt", "the conversations begin differently"),
        (
            {**GOOD_ROW, **whole(["q", "a", "more", "c"], ["q", "b", "more", "d"])},
            "diverging turns",
            "the conversations differ from turn 2 of 4",
        ),
        (
            {**GOOD_ROW, **whole(["q", "a"], ["q", "a", "more", "b"])},
            "diverging turns",
            "the conversations differ from turn 3 of 4",
        ),
        (
            {**GOOD_ROW, "chosen": [says("a"), user("more"), says("c")]},
            "diverging turns",
            "the responses hold turns of the user",
        ),
        ({**GOOD_ROW, "status": "tie"}, "tie", "status is 'tie'"),
    ],
)
def test_dropped_with_reason_and_detail(row, reason, detail):
    found = read([GOOD_ROW, GOOD_ROW, row])
    assert [(d.row_index, d.reason, d.detail) for d in found.drops] == [(2, reason, detail)]
    assert len(found.pairs) == 2
    assert found.n_rows == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "empty"),
        ({"prompt": "q", "chosen": "", "rejected": "b"}, "empty"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "empty"),
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "identical"),
    ],
)
def test_dropped_plain_texts(row, reason):
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert reasons(read([good, row, good])) == [(1, reason)]


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("blue", "red", "no common prompt"),  # TRL's index wraps around here and cuts off the last characters
        (" x", " y", "no common prompt"),
        ("same", "same", "identical"),
        ("", "", "empty"),
        ("", "x", "empty"),
    ],
)
def test_dropped_implicit_texts(chosen, rejected, reason):
    good = {"chosen": "The sky is blue", "rejected": "The sky is red"}
    assert reasons(read([good, good, {"chosen": chosen, "rejected": rejected}])) == [(2, reason)]


def test_a_transcript_without_turns_is_dropped():
    good = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}
    found = read([good, {**good, "chosen": "no markers"}, {**good, "rejected": "\n\nHuman: q\n\nAssistant:"}])
    assert [(d.row_index, d.reason, d.detail) for d in found.drops] == [
        (1, "no common prompt", "chosen does not begin with a 'Human:' turn"),
        (2, "empty", "rejected is empty"),
    ]


def test_a_tool_call_is_not_empty():
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]}
    found = read([{**GOOD_ROW, "chosen": [call]}])
    assert not found.drops
    assert found.pairs[0].chosen[0].as_dict() == call


# ---- turns="last" ---------------------------------------------------------------------------------------------------


def test_turns_last_moves_shared_turns_into_the_prompt():
    row = {
        "prompt": [user("q")],
        "chosen": [says("a"), user("more"), says("good")],
        "rejected": [says("a"), user("more"), says("bad")],
    }
    assert reasons(read([row])) == [(0, "diverging turns")]
    found = read([row], turns="last")
    assert texts(found.pairs[0]) == (["q", "a", "more"], ["good"], ["bad"])


def test_turns_last_accepts_contexts_that_differ_in_white_space_only_and_keeps_the_chosen_one():
    row = whole(["q", "a\n", "more", "good"], ["q", "a", "more", "bad"])
    assert reasons(read([row])) == [(0, "diverging turns")]
    found = read([row], turns="last")
    assert texts(found.pairs[0]) == (["q", "a\n", "more"], ["good"], ["bad"])


@pytest.mark.parametrize(
    ("chosen", "rejected", "detail"),
    [
        (["q", "a", "more", "good"], ["q", "b", "more", "bad"], "the turns before the last response differ too"),
        (["q", "a"], ["q", "a", "more", "bad"], "the turns before the last response differ too"),
        (["q", "a", "more"], ["q", "b", "more"], "no response follows the last turn of the user"),
    ],
)
def test_turns_last_still_drops_what_does_not_match(chosen, rejected, detail):
    found = read([whole(chosen, rejected)], turns="last")
    assert reasons(found) == [(0, "diverging turns")]
    assert detail in found.drops[0].detail


def test_turns_last_and_the_same_last_turn():
    row = whole(["q", "a ", "more", "same"], ["q", "a", "more", "same"])
    assert reasons(read([row], turns="last")) == [(0, "identical")]


# ---- every row is in a pair or in a drop ----------------------------------------------------------------------------

words = st.sampled_from(["", " ", "a", "b", "a b", "\n", "ü", "你好"])
roles = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool"])
message = st.fixed_dictionaries({"role": roles, "content": st.one_of(words, st.none())})
turns_list = st.one_of(st.none(), st.lists(message, max_size=5))
answers = st.lists(
    st.fixed_dictionaries({"answer": words, "rank": st.one_of(st.none(), st.integers(1, 3))}), max_size=5
)
transcript = st.lists(
    st.sampled_from(["\n\nHuman: ", "\n\nAssistant: ", "\n\nAssistant:", "a", "b ", "\n"]), max_size=8
).map("".join)
TABLES = {
    "messages": (
        {"prompt": [user("q")], "chosen": [says("a")], "rejected": [says("b")]},
        st.fixed_dictionaries({"prompt": turns_list, "chosen": turns_list, "rejected": turns_list}),
    ),
    "implicit": (
        {"chosen": [user("q"), says("a")], "rejected": [user("q"), says("b")]},
        st.fixed_dictionaries({"chosen": turns_list, "rejected": turns_list}),
    ),
    "plain": (
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        st.fixed_dictionaries({"prompt": words, "chosen": words, "rejected": st.one_of(st.none(), words)}),
    ),
    "transcripts": (
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        st.fixed_dictionaries({"chosen": transcript, "rejected": transcript}),
    ),
    "ranked": (
        nectar(("a", 1), ("b", 2)),
        st.fixed_dictionaries({"prompt": st.one_of(words, transcript), "answers": answers}),
    ),
}


@pytest.mark.parametrize("table", TABLES)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_row_gives_pairs_or_one_drop(table, data):
    typical, strange = TABLES[table]
    rows = [typical] * 6 + data.draw(st.lists(strange, max_size=5))
    turns, k_wise = (
        data.draw(st.sampled_from(["drop", "last"])),
        data.draw(st.sampled_from(["best-worst", "best-random", "all"])),
    )
    found = read(rows, turns=turns, k_wise=k_wise)
    dropped = Counter(d.row_index for d in found.drops)
    paired = {p.row_index for p in found.pairs}
    assert paired.isdisjoint(dropped)
    assert paired | set(dropped) == set(range(len(rows)))
    assert set(dropped.values()) <= {1}
    assert {d.reason for d in found.drops} <= set(DROP_REASONS)
    assert len({p.pair_id for p in found.pairs}) == len(found.pairs)
    for pair in found.pairs:
        assert pair.prompt and pair.chosen and pair.rejected
        assert pair.chosen != pair.rejected
        if turns == "drop":
            assert not any(m.role in ("user", "system") for m in (*pair.chosen, *pair.rejected))


# ---- remarks --------------------------------------------------------------------------------------------------------


def test_remarks_for_the_reader():
    keyed = {"chosen": [{**user("q"), "hash": 1}, says("a")], "rejected": [{**user("q"), "hash": 2}, says("b")]}
    assert any("'hash' was ignored in 2 messages" in n for n in read([keyed]).notes)
    unlike = {"prompt": "something else", **whole(["q", "a"], ["q", "b"])}
    assert any("1 rows whose prompt column is not in the conversation" in n for n in read([unlike]).notes)
    twice = {"prompt": "The sky", "chosen": "The sky is blue", "rejected": "The sky is red"}
    found = read([twice])
    assert texts(found.pairs[0]) == (["The sky"], ["The sky is blue"], ["The sky is red"])
    assert any("1 rows whose responses begin with the prompt" in n for n in found.notes)
    assert read([GOOD_ROW]).notes == []


def test_the_column_system_beside_conversations_is_left_alone_and_said():
    row = {**whole(["q", "a"], ["q", "b"]), "system": "Be brief."}
    found = read([row])
    assert texts(found.pairs[0])[0] == ["q"]
    assert json.loads(found.pairs[0].meta) == {"system": "Be brief."}
    assert any("'system' is not read" in n for n in found.notes)
    assert texts(read([row], columns={"system": "system"}).pairs[0])[0] == ["Be brief.", "q"]


# ---- rows of the wrong type: an error with row and column ------------------------------------------------------------

NECTAR = nectar(("a", 1), ("b", 2))


@pytest.mark.parametrize(
    ("typical", "change", "expected"),
    [
        (GOOD_ROW, {"chosen": 7}, "wrong type (row 3, column 'chosen'): found a number, expected a list of messages"),
        (
            GOOD_ROW,
            {"rejected": "text"},
            "wrong type (row 3, column 'rejected'): found text, expected a list of messages",
        ),
        (GOOD_ROW, {"prompt": [["q"]]}, "(row 3, column 'prompt'): message 0 is a list of texts, expected an object"),
        (
            GOOD_ROW,
            {"chosen": [{"content": "a"}]},
            "a message has no role (row 3, column 'chosen'): message 0 has the keys content",
        ),
        (
            GOOD_ROW,
            {"chosen": [says(5)]},
            "(row 3, column 'chosen'): the content of message 0 is a number, expected text",
        ),
        (GOOD_ROW, {"chosen": [says([1])]}, "(row 3, column 'chosen'): a part of message 0 is a number, expected text"),
        (
            GOOD_ROW,
            {"chosen": [says("\ud83d")]},
            "the text is not valid Unicode (row 3, column 'chosen'): half of a surrogate",
        ),
        (GOOD_ROW, {"tools": "[{"}, "invalid JSON in the cell (row 3, column 'tools')"),
        (
            GOOD_ROW,
            {"tools": {"name": "f"}},
            "wrong type (row 3, column 'tools'): found an object, expected a list of tool",
        ),
        (GOOD_ROW, {"chat_template_kwargs": [1]}, "wrong type (row 3, column 'chat_template_kwargs')"),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            {"chosen": ["a"]},
            "(row 3, column 'chosen'): found a list of texts, expected text",
        ),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            {"prompt": 1.5},
            "(row 3, column 'prompt'): found a number, expected text",
        ),
        (NECTAR, {"answers": "a"}, "wrong type (row 3, column 'answers'): found text, expected a list"),
        (
            NECTAR,
            {"answers": ["a", "b"]},
            "(row 3, column 'answers'): answer 0 is text, expected an object with a text and a rank or score",
        ),
        (NECTAR, {"answers": [{"answer": "a", "rank": "first"}]}, "the rank of answer 0 is text, expected a number"),
        (
            {"context": [user("q")], "response1": "one", "response2": "two", "overall_preference": 1},
            {"overall_preference": "left"},
            "wrong type (row 3, column 'overall_preference'): found text, expected a number",
        ),
        (
            {"instruction": "q", "generations": ["a", "b"], "ratings": [1, 2]},
            {"ratings": [1]},
            "the lists differ in length (row 3, column 'ratings'): 2 texts but 1 ratings",
        ),
    ],
)
def test_wrong_types_name_row_and_column(typical, change, expected):
    with pytest.raises(UserError) as caught:
        read([typical, typical, typical, {**typical, **change}])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_most_rows_of_a_wrong_type():
    with pytest.raises(UserError, match=r"wrong type \(column 'chosen'\): most rows hold a number"):
        read([{"prompt": "q", "chosen": 1, "rejected": 2}])


def test_unknown_choices():
    with pytest.raises(UserError, match="turns is 'all': choices: drop, last"):
        read([GOOD_ROW], turns="all")
    with pytest.raises(UserError, match="k_wise is 'best': choices: best-worst, best-random, all"):
        read([GOOD_ROW], k_wise="best")
