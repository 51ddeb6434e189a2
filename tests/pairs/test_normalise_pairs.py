"""Rows to pairs: K-wise choices, and the identity of a pair."""

import pytest
from messages_rows import GOOD_ROW, nectar, read, reasons, says, texts, user

from pretilt.pairs.pair import Message, Pair, assign_pair_ids

# ---- K-wise ---------------------------------------------------------------------------------------------------------


SEVEN = nectar(*((f"answer {r}", r) for r in (4, 7, 1, 3, 6, 2, 5)))


def test_rank_one_is_the_best():
    pair = read([SEVEN]).pairs[0]
    assert texts(pair) == (["q"], ["answer 1"], ["answer 7"])
    assert (pair.chosen_model, pair.rejected_model) == ("m-answer 1", "m-answer 7")


def test_all_pairs_of_different_rank():
    found = read([nectar(("a", 1), ("b", 2), ("c", 2), ("d", 3))], k_wise="all")
    assert [(p.chosen[0].content, p.rejected[0].content) for p in found.pairs] == [
        ("a", "b"),
        ("a", "c"),
        ("a", "d"),
        ("b", "d"),
        ("c", "d"),
    ]
    assert {p.row_index for p in found.pairs} == {0}
    assert any("1 answers or combinations left out (ties between answers)" in n for n in found.notes)


def test_best_against_random_depends_on_seed_and_row_only():
    rows = [SEVEN] * 60
    drawn = [p.rejected[0].content for p in read(rows, k_wise="best-random", seed=3).pairs]
    assert {p.chosen[0].content for p in read(rows, k_wise="best-random").pairs} == {"answer 1"}
    assert set(drawn) == {f"answer {r}" for r in range(2, 8)}  # 60 draws of 6: a miss has probability 1e-4
    assert drawn[:20] == [p.rejected[0].content for p in read(rows[:20], k_wise="best-random", seed=3).pairs]
    assert drawn != [p.rejected[0].content for p in read(rows, k_wise="best-random", seed=4).pairs]


def test_k_wise_rows_without_a_pair():
    found = read([SEVEN, nectar(("a", 1), ("b", 1)), nectar(("a", 1)), nectar(("a", 1), ("a", 2)), nectar()])
    assert reasons(found) == [(1, "tie"), (2, "empty"), (3, "identical"), (4, "empty")]


def test_blank_answers_take_no_part_and_are_counted():
    found = read([nectar(("a", 1), ("b", 2), (" ", 3))])
    assert texts(found.pairs[0]) == (["q"], ["a"], ["b"])
    assert any("blank answers" in n for n in found.notes)


def test_helpsteer_signs():
    row = {"context": [user("q")], "response1": "one", "response2": "two", "individual_preference": []}
    found = read([{**row, "overall_preference": p} for p in (-3, -1, 0, 1, 3)])
    assert [p.chosen[0].content for p in found.pairs] == ["one", "one", "two", "two"]
    assert [(d.row_index, d.reason) for d in found.drops] == [(2, "tie")]


def test_the_sources_own_pair_wins_unless_k_wise_is_asked_for():
    row = {
        "prompt": "q",
        "chosen": [user("q"), says("picked")],
        "rejected": [user("q"), says("other")],
        "all_generated_responses": ["low", "picked", "high"],
        "all_rm_scores": [-1.0, 2.0, 3.0],
    }
    own = read([row])
    assert texts(own.pairs[0]) == (["q"], ["picked"], ["other"])
    assert any("--k-wise all" in n for n in own.notes)
    every = read([row], k_wise="all")
    assert [(p.chosen[0].content, p.rejected_score) for p in every.pairs] == [
        ("high", 2.0),
        ("high", -1.0),
        ("picked", -1.0),
    ]


# ---- identity -------------------------------------------------------------------------------------------------------


def test_ids_are_content_and_copies_are_numbered():
    other = {**GOOD_ROW, "chosen": [says("z")]}
    found = read([GOOD_ROW, {**GOOD_ROW, "source": "elsewhere", "chosen_score": 3}, other, GOOD_ROW])
    first = found.pairs[0].pair_id
    assert len(first) == 20 and int(first, 16) >= 0
    assert [p.pair_id for p in found.pairs] == [first, f"{first}-2", found.pairs[2].pair_id, f"{first}-3"]
    assert found.pairs[2].pair_id != first


def test_the_id_is_pinned():
    """Ids are in files that outlive a version: this one changes only together with the format version of runs."""
    pair = Pair(0, (Message("user", "q"),), (Message("assistant", "ä"),), (Message("assistant", "b"),))
    text = (
        '{"chosen":[["assistant","ä",null]],"is_chat":true,"prompt":[["user","q",null]],'
        '"rejected":[["assistant","b",null]],"template_kwargs":null,"tools":null}'
    )
    import hashlib

    assert assign_pair_ids([pair])[0].pair_id == hashlib.sha256(text.encode()).hexdigest()[:20]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": [user("q ")]},
        {"chosen": [says("A")]},
        {"chosen": [{**says("a"), "name": "x"}]},
        {"prompt": [{"role": "system", "content": "q"}]},
        {"tools": [{"name": "f"}]},
        {"chat_template_kwargs": {"enable_thinking": True}},
    ],
)
def test_whatever_the_trainer_sees_changes_the_id(change):
    assert read([{**GOOD_ROW, **change}]).pairs[0].pair_id != read([GOOD_ROW]).pairs[0].pair_id


def test_chat_or_not_changes_the_id():
    plain = read([{"prompt": "q", "chosen": "a", "rejected": "b"}]).pairs[0]
    assert not plain.is_chat
    assert plain.pair_id != read([GOOD_ROW]).pairs[0].pair_id


def test_the_order_of_keys_does_not_change_the_id():
    def with_call(arguments):
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        return read([{**GOOD_ROW, "chosen": [{**says("a"), "tool_calls": [call]}]}]).pairs[0]

    one, other = with_call({"x": 1, "y": 2}), with_call({"y": 2, "x": 1})
    assert one.pair_id == other.pair_id
    assert one.chosen[0].extra != other.chosen[0].extra  # each keeps the source's order for the template
