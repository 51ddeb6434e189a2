"""Two answers and a verdict, and lists of answers: what a person would take from the published rows."""

import json

import pytest
from format_rows import only, read, refused, spans
from published_rows import ASKED, BAD, BROAD, GOOD, system, user

BLUE, GREEN, SKY = "It is blue.", "It is green.", "What color is the sky?"
FIRST, SECOND, TIE = "first", "second", "tie"


def outcome(rows, number=-1, **options):
    """Which answer the row prefers: the first answer is blue, the second green."""
    result = read(rows, **options)
    drop = next((d for d in result.drops if d.row_index == len(rows) - 1), None)
    if drop:
        assert drop.reason == "tie"
        return TIE
    pair = result.pairs[number]
    chosen, rejected = pair.chosen[-1].content, pair.rejected[-1].content
    assert {chosen, rejected} == {BLUE, GREEN}
    assert pair.prompt[-1].content == SKY
    return FIRST if chosen == BLUE else SECOND


@pytest.mark.parametrize(
    ("first", "second", "verdict", "value", "expected"),
    [
        ("response_a", "response_b", "winner", "model_a", FIRST),
        ("response_a", "response_b", "winner", "model_b", SECOND),
        ("response_a", "response_b", "winner", "A", FIRST),
        ("response_A", "response_B", "winner", "b", SECOND),
        ("response_a", "response_b", "winner", "response_b", SECOND),
        ("response_a", "response_b", "winner", "[[B]]", SECOND),
        ("response_a", "response_b", "winner", "tie (bothbad)", TIE),
        ("response_a", "response_b", "winner", "both_bad", TIE),
        ("response_a", "response_b", "preference", None, TIE),
        ("model_a_response", "model_b_response", "preferred", "Model B", SECOND),
        ("answer_1", "answer_2", "preference", 1, FIRST),
        ("answer_1", "answer_2", "preference", 2.0, SECOND),
        ("answer_1", "answer_2", "preference", "2", SECOND),
        ("answer1", "answer2", "choice", "answer2", SECOND),
        ("output_1", "output_2", "preference", 1.5, TIE),
        ("response_0", "response_1", "better_response_id", 0, FIRST),
        ("response_0", "response_1", "better_response_id", 1, SECOND),
        ("response_0", "response_1", "label", 1, SECOND),
        ("completion_a", "completion_b", "chosen", "B", SECOND),
        ("human_ref_A", "human_ref_B", "labels", 1, FIRST),
        ("human_ref_A", "human_ref_B", "labels", 0, SECOND),
        ("response_1", "response_2", "preference_strength", -2, FIRST),
        ("response1", "response2", "overall_preference", 3, SECOND),
        ("response1", "response2", "overall_preference", 0, TIE),
    ],
)
def test_which_answer_is_preferred(first, second, verdict, value, expected):
    other = {1: 2, 2.0: 1, "2": "1", 1.5: 2}.get(value, value)
    if first in ("response_0", "human_ref_A"):
        other = 1 - value
    row = {"prompt": SKY, first: BLUE, second: GREEN}
    rows = [{**row, verdict: v if v is not None else "a"} for v in (other, value, value)]
    rows[-1][verdict] = value
    assert outcome(rows) == expected


def test_by_the_name_of_the_model_and_models_and_scores_are_carried_along():
    row = {
        "question": SKY, "answer_a": BLUE, "answer_b": GREEN, "model_a": "m-1", "model_b": "m-2", "winner": "m-2",
        "score_a": 3, "score_b": "4.5",
    }  # fmt: skip
    pair = only([row])
    assert (pair.chosen[0].content, pair.chosen_model, pair.rejected_model) == (GREEN, "m-2", "m-1")
    assert (pair.chosen_score, pair.rejected_score) == (4.5, 3.0)


def test_webgpt_is_read_by_its_scores():
    row = {
        "question": {"full_text": SKY, "id": "x"},
        "answer_0": BLUE,
        "answer_1": GREEN,
        "score_0": -0.5,
        "score_1": 0.5,
    }
    assert outcome([row]) == SECOND
    assert outcome([{**row, "score_0": 0.5, "score_1": -0.5}]) == FIRST
    assert outcome([row, {**row, "score_0": 0.0, "score_1": 0.0}]) == TIE


def test_shp_has_its_prompt_in_history():
    assert (
        outcome([{"history": SKY, "human_ref_A": BLUE, "human_ref_B": GREEN, "labels": 1, "score_A": 9, "score_B": 2}])
        == FIRST
    )


def test_summaries_with_a_choice():
    row = {
        "info": {"id": "t3", "post": SKY, "title": "T"},
        "summaries": [{"text": BLUE, "policy": "p"}, {"text": GREEN, "policy": "q"}],
    }
    assert outcome([{**row, "choice": 0}]) == FIRST
    assert outcome([{**row, "choice": 1}]) == SECOND
    pair = only([{**row, "choice": 1}])
    assert (pair.chosen_model, json.loads(pair.meta)["info"]["title"]) == ("q", "T")


def test_arena_conversations():
    row = {
        "model_a": "m-1",
        "model_b": "m-2",
        "conversation_a": [ASKED, GOOD],
        "conversation_b": [ASKED, BAD],
        "turn": 1,
    }
    winners = ["model_a", "model_b", "tie", "tie (bothbad)", "both_bad"]
    result = read([{**row, "winner": w} for w in winners])
    assert [spans(p) for p in result.pairs] == [BROAD, (BROAD[0], BROAD[2], BROAD[1])]
    assert [(p.chosen_model, p.rejected_model) for p in result.pairs] == [("m-1", "m-2"), ("m-2", "m-1")]
    assert [(d.row_index, d.reason) for d in result.drops] == [(2, "tie"), (3, "tie"), (4, "tie")]
    assert "'tie (bothbad)'" in result.drops[1].detail
    assert spans(only([{"messages_a": [ASKED, GOOD], "messages_b": [ASKED, BAD], "winner": "model_a"}])) == BROAD


def test_arena_rows_with_lists_of_turns():
    row = {
        "prompt": json.dumps([SKY]), "response_a": json.dumps([BLUE]), "response_b": json.dumps([GREEN]),
        "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0,
    }  # fmt: skip
    assert outcome([row]) == SECOND
    assert outcome([row, {**row, "winner_model_b": 0, "winner_tie": 1}]) == TIE
    two = {
        **row,
        "prompt": json.dumps([SKY, "Why?"]),
        "response_a": json.dumps([BLUE, "a"]),
        "response_b": json.dumps([GREEN, "b"]),
    }
    assert read([row, two]).drops[0].reason == "diverging turns"


@pytest.mark.parametrize(
    ("first", "second", "values"),
    [
        ("response_a", "response_b", [0, 1]),
        ("response_1", "response_2", [0, 1]),
        ("response_0", "response_1", [1, 2]),
        ("response_a", "response_b", [True, False]),
        ("response_a", "response_b", [-1, 1]),
    ],
)
def test_numbers_that_could_mean_either_answer_are_refused_with_the_option_that_settles_it(first, second, values):
    rows = [{"prompt": SKY, first: BLUE, second: GREEN, "label": v} for v in values]
    text = refused(rows)
    assert "which answer the numbers mean is not certain (column 'label')" in text
    assert f"--column first_wins=label if 1 means '{first}'" in text
    if values[1] in (1, True):
        assert outcome(rows, columns={"first_wins": "label"}) == FIRST
        assert outcome(rows, columns={"second_wins": "label"}) == SECOND


def test_a_verdict_that_is_not_understood_names_its_row():
    rows = [{"prompt": SKY, "response_a": BLUE, "response_b": GREEN, "winner": w} for w in ("a", "b", "a", "purple")]
    assert "the verdict is not understood (row 3, column 'winner'): found 'purple'" in refused(rows)


def test_answers_and_verdict_named_by_hand():
    rows = [{"prompt": SKY, "left_text": BLUE, "right_text": GREEN, "vote_of_person": "right"}]
    by_hand = {"response_a": "left_text", "response_b": "right_text", "winner": "vote_of_person"}
    assert outcome(rows, columns=by_hand) == SECOND


def test_two_answers_without_a_verdict_are_told_what_to_give():
    text = refused({"prompt": SKY, "response_a": BLUE, "response_b": GREEN, "person": "x"})
    assert "no column says which of 'response_a' and 'response_b' is better" in text
    assert "columns: prompt, response_a, response_b, person" in text and "--column winner=COLUMN" in text


def test_the_advice_names_the_columns_that_are_there():
    text = refused({"query": "q", "dispreferred_text": "b", "preferred_text": "a"})
    assert "--column prompt=query --column chosen=preferred_text --column rejected=dispreferred_text" in text
    assert "the nearest format, TRL's, also has" in refused({"prompt": "q", "good": "a", "bad": "b"})


def test_ultrafeedback_as_published():
    completions = [
        {"model": m, "response": t, "overall_score": o, "fine-grained_score": f}
        for m, t, o, f in (
            ("a", GREEN, 10.0, 1.5),
            ("b", BLUE, 8.5, 4.25),
            ("c", "Grey.", 6.0, 3.0),
            ("d", "?", None, None),
        )
    ]
    result = read({"source": "s", "instruction": SKY, "models": ["a", "b", "c", "d"], "completions": completions})
    pair = result.pairs[0]
    assert spans(pair) == BROAD
    assert (pair.chosen_model, pair.chosen_score, pair.rejected_model, pair.rejected_score) == ("b", 4.25, "a", 1.5)
    assert result.format == "UltraFeedback (completions with scores)"
    assert any("fine-grained_score" in note for note in result.notes)
    assert len(read({"instruction": SKY, "completions": completions}, k_wise="all").pairs) == 3
    for c in completions:
        del c["fine-grained_score"]
    assert only([{"instruction": SKY, "completions": completions[1:3]}]).chosen_score == 8.5


def test_llama_factory_older_ranking_rows():
    row = {
        "instruction": "Answer.",
        "input": SKY,
        "output": [BLUE, GREEN],
        "history": [["Hi", "Hello!"]],
        "system": "Be brief.",
    }
    pair = only([row])
    assert spans(pair)[0] == [
        system("Be brief."),
        user("Hi"),
        {"role": "assistant", "content": "Hello!"},
        user(f"Answer.\n{SKY}"),
    ]
    assert spans(pair)[1:] == BROAD[1:]
    assert "wrong list (row 1, column 'output'): 3 items" in refused([row, {**row, "output": [BLUE, GREEN, "?"]}])


def test_stack_exchange_pairs():
    assert spans(only([{"question": SKY, "response_j": BLUE, "response_k": GREEN}])) == BROAD


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"system": "Be brief.", "prompt": SKY, "chosen": BLUE, "rejected": GREEN},
            "with the column 'system' as its first turn",
        ),
        (
            {"system": "Be brief.", "question": SKY, "chosen": BLUE, "rejected": GREEN},
            "with the column 'system' as its first turn",
        ),
        ({"instruction": SKY, "input": "", "chosen": BLUE, "rejected": GREEN}, "texts are read as a chat, through"),
        ({"prompt": SKY, "response_a": BLUE, "response_b": GREEN, "winner": "a"}, "texts are read as a chat, through"),
        (
            {"chosen": f"\n\nHuman: {SKY}\n\nAssistant: {BLUE}", "rejected": f"\n\nHuman: {SKY}\n\nAssistant: {GREEN}"},
            "transcripts are read as a chat",
        ),
    ],
)
def test_texts_that_are_read_as_a_chat_are_said_to_be(row, words):
    assert any(words in note and "stock TRL trains" in note for note in read(row).notes)


def test_plain_and_message_rows_have_no_such_note():
    for row in (
        {"prompt": SKY, "chosen": BLUE, "rejected": GREEN},
        {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    ):
        assert not any("read as a chat" in note for note in read(row).notes)
