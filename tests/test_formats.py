"""Every known format, as published, becomes the pairs that a person reading the rows would write down."""

import copy
import json

import pytest
import trl
from published_rows import (
    ASKED,
    BAD,
    BROAD,
    GOOD,
    HAND_WRITTEN,
    TRL_READS,
    WEATHER,
    says,
    system,
    user,
)

from tiltmeter.errors import UserError
from tiltmeter.pairs.load import load_rows
from tiltmeter.pairs.normalise import normalise


def read(rows, **options):
    return normalise(load_rows(rows if isinstance(rows, list) else [rows]), **options)


def plain(messages):
    return [m.as_dict() for m in messages]


def spans(pair):
    return plain(pair.prompt), plain(pair.chosen), plain(pair.rejected)


def only(rows, **options):
    found = read(rows, **options)
    assert not found.drops
    assert len(found.pairs) == 1
    return found.pairs[0]


# ---- what TRL reads correctly: its own functions say what is right ------------------------------------------------


@pytest.mark.parametrize("name", TRL_READS)
def test_same_spans_as_trl(name):
    row = TRL_READS[name]
    expected = trl.maybe_extract_prompt(trl.maybe_convert_to_chatml(copy.deepcopy(row)))
    pair = only(copy.deepcopy(row))
    assert spans(pair) == (expected["prompt"], expected["chosen"], expected["rejected"])
    assert pair.is_chat is trl.is_conversational({"chosen": expected["chosen"]}) is True


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("The sky is blue.", "The sky is green."),
        ("The sky is bluish", "The sky is black"),  # cut within a word, as TRL does
        ("The sky  is blue", "The sky  was blue"),
        ("The sky", "The sky is blue"),  # one continues the other
        ("Sí, señor: 1", "Sí, señor: 2"),
    ],
)
def test_implicit_texts_are_cut_where_trl_cuts_them(chosen, rejected):
    expected = trl.extract_prompt({"chosen": chosen, "rejected": rejected})
    pair = only({"chosen": chosen, "rejected": rejected})
    assert not pair.is_chat
    assert [m[0]["content"] for m in spans(pair)] == [expected[k] for k in ("prompt", "chosen", "rejected")]


def test_standard_texts_stay_raw():
    row = {"prompt": " The sky is\n", "chosen": " blue. ", "rejected": "\ngreen"}
    assert trl.maybe_extract_prompt(dict(row)) == row  # what TRL trains on
    pair = only(row)
    assert not pair.is_chat
    assert spans(pair) == ([user(" The sky is\n")], [says(" blue. ")], [says("\ngreen")])


def test_extras_tools_and_template_arguments():
    row = {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD], "chat_template_kwargs": {"enable_thinking": False}}
    as_list = only({**row, "tools": [WEATHER]})
    as_text = only({**row, "tools": json.dumps([WEATHER])})
    assert json.loads(as_list.tools) == [WEATHER]
    assert list(json.loads(as_list.tools)[0]["function"]) == ["name", "parameters"]  # templates print keys in order
    assert as_list.tools == as_text.tools
    assert as_list.pair_id == as_text.pair_id
    assert json.loads(as_list.template_kwargs) == {"enable_thinking": False}


@pytest.mark.parametrize("nothing", [None, [], "", "[]", "null"])
def test_empty_tools_are_no_tools(nothing):
    row = {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}
    assert only({**row, "tools": nothing}) == only(row)


# ---- what TRL 1.16 reads wrongly or not at all: written by hand -----------------------------------------------------


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_reads_as_a_person_would(name):
    row, expected = HAND_WRITTEN[name]
    pair = only(copy.deepcopy(row))
    assert spans(pair) == tuple(expected)
    assert pair.is_chat


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("H4 UltraFeedback", "UltraFeedback (text prompt, full conversations)"),
        ("HH", "HH transcripts"),
        ("HelpSteer3", "HelpSteer3 preference"),
        ("Nectar", "Nectar (ranked answers)"),
        ("Snorkel", "Snorkel PairRM"),
        ("Intel orca", "Intel orca (system, question)"),
        ("distilabel orca", "distilabel orca (system, input)"),
        ("Capybara, conversations", "Capybara conversations"),
        ("OpenAI", "OpenAI preference"),
        ("LLaMA-Factory sharegpt", "LLaMA-Factory sharegpt ranking"),
        ("LLaMA-Factory alpaca", "LLaMA-Factory alpaca ranking"),
        ("Argilla UltraFeedback", "Argilla UltraFeedback (instruction, chosen_response)"),
    ],
)
def test_the_format_is_said_by_name(name, said):
    assert read(copy.deepcopy(HAND_WRITTEN[name][0])).format == said


def facts(name):
    p = only(copy.deepcopy(HAND_WRITTEN[name][0]))
    return p.source, p.chosen_model, p.rejected_model, p.chosen_score, p.rejected_score, json.loads(p.meta or "{}")


def test_source_models_and_scores_are_carried_along():
    assert facts("H4 UltraFeedback") == (None, None, None, 8.5, 4.0, {"prompt_id": "ab12"})
    assert facts("Argilla UltraFeedback") == ("sharegpt", "gpt-4", None, 4.75, 2.0, {})
    assert facts("Nectar")[:5] == ("lmsys-chat-1m", "m1", "m3", None, None)
    assert facts("Nectar")[5] == {
        "turns": 1,
        "num_responses": 3,
        "good_natured": True,
        "chosen_rank": 1.0,
        "rejected_rank": 3.0,
    }
    assert facts("distilabel before formatting") == (None, "b", "a", 5.0, 1.0, {})
    assert facts("HelpSteer3")[5] == {
        "domain": "general",
        "language": "english",
        "overall_preference": 2,
        "individual_preference": [{"score": 2}],
    }
    assert facts("cells of JSON text, as in CSV")[3] == 8.5
    assert facts("distilabel orca")[5] == {"status": "unchanged", "in_gsm8k_train": False}


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("dataset_source", "allenai/wildchat", "source"),
        ("dataset", "allenai/wildchat", "source"),
        ("chonsen_model", "m", "chosen_model"),
        ("chosen_rating", 4, "chosen_score"),
        ("rejected_avg_rating", "2.5", "rejected_score"),
    ],
)
def test_siblings_and_typos_of_column_names(column, value, field):
    pair = only({"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD], column: value})
    assert getattr(pair, field) == (float(value) if "score" in field else value)
    assert pair.meta is None


def test_odd_extra_columns_go_to_meta_and_never_fail():
    import datetime
    import decimal

    import numpy as np

    loop: dict = {}
    loop["self"] = loop
    odd = {
        "when": datetime.date(2026, 1, 2),
        "blob": b"\xff\x00",
        "nan": float("nan"),
        "price": decimal.Decimal("1.10"),
        "array": np.arange(2),
        "half": "\ud800",
        "huge": 10**5000,
        "object": {1: {2, 3}},
        "loop": loop,
        "source": {"not": "text"},
        "chosen_score": "high",
    }
    pair = only({"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD], **odd})
    meta = json.loads(pair.meta)
    assert meta["when"] == "2026-01-02"
    assert meta["blob"] == "/wA="
    assert "nan" not in meta  # a missing value
    assert meta["price"] == "1.10"
    assert meta["array"] == [0, 1]
    assert meta["object"] == {"1": [2, 3]}
    assert meta["source"] == {"not": "text"}
    assert meta["chosen_score"] == "high"
    assert pair.source is None and pair.chosen_score is None
    pair.meta.encode("utf-8")


def test_sharegpt_roles_and_function_calls():
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    row = {
        "conversations": [
            {"from": "human", "value": "Weather in Rome?"},
            {"from": "function_call", "value": json.dumps(call)},
            {"from": "observation", "value": "sunny"},
        ],
        "tools": json.dumps([WEATHER]),
        "chosen": {"from": "gpt", "value": "Sunny."},
        "rejected": {"from": "gpt", "value": "Rain."},
    }
    pair = only(row)
    assert spans(pair) == (
        [
            user("Weather in Rome?"),
            {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": call}]},
            {"role": "tool", "content": "sunny"},
        ],
        [says("Sunny.")],
        [says("Rain.")],
    )
    assert json.loads(pair.tools) == [WEATHER]


def test_nulls_inside_tool_calls_are_removed_as_trl_removes_them():
    from trl.trainer.utils import remove_none_values

    calls = [
        {"type": "function", "function": {"name": "f", "arguments": {"a": None, "b": [None, {"c": None, "d": 1}]}}}
    ]
    pair = only(
        {"prompt": [ASKED], "chosen": [{"role": "assistant", "content": None, "tool_calls": calls}], "rejected": [BAD]}
    )
    assert plain(pair.chosen)[0]["tool_calls"] == remove_none_values(calls)
    assert plain(pair.chosen)[0]["content"] is None


def test_reasoning_is_kept_beside_the_content():
    thought = {**GOOD, "reasoning_content": "Rayleigh."}
    pair = only({"prompt": [ASKED], "chosen": [thought], "rejected": [BAD]})
    assert plain(pair.chosen) == [thought]


def test_text_parts_are_joined_and_counted():
    parts = {
        "role": "user",
        "content": [{"type": "text", "text": "What color "}, {"type": "text", "text": "is the sky?"}],
    }
    found = read({"prompt": [parts], "chosen": [GOOD], "rejected": [BAD]})
    assert spans(found.pairs[0])[0] == [ASKED]
    assert any("1 messages in parts" in note for note in found.notes)


# ---- transcripts --------------------------------------------------------------------------------------------------


def test_transcripts_are_cut_at_turns_not_at_characters():
    row = {
        "chosen": "\n\nHuman: Sky?\n\nAssistant: I think blue.",
        "rejected": "\n\nHuman: Sky?\n\nAssistant: I guess green.",
    }
    assert trl.extract_prompt(dict(row))["prompt"].endswith("Assistant: I")  # the trap
    assert spans(only(row)) == ([user("Sky?")], [says("I think blue.")], [says("I guess green.")])


def test_transcript_contents_keep_their_white_space():
    row = {
        "chosen": "\n\nHuman:  two blanks \n\n\nAssistant: a\nHuman: no turn\n\nHumans: nor this\n",
        "rejected": "\n\nHuman:  two blanks \n\n\nAssistant:\tb",
    }
    assert spans(only(row)) == (
        [user(" two blanks \n")],
        [says("a\nHuman: no turn\n\nHumans: nor this\n")],
        [says("\tb")],
    )


def test_a_transcript_is_rebuilt_to_the_letter():
    text = "\n\nHuman: a\n\n\nAssistant: b  \n\nHuman: \n c\n\nAssistant: d\n\nx"
    pair = only({"chosen": text, "rejected": text + "!"})
    rebuilt = "".join(
        f"\n\n{'Human' if m.role == 'user' else 'Assistant'}: {m.content}" for m in pair.prompt + pair.chosen
    )
    assert rebuilt == text


def test_texts_that_merely_mention_the_markers_are_no_transcripts():
    row = {"prompt": "Explain HH.", "chosen": "It uses\n\nHuman: and\n\nAssistant: marks.", "rejected": "No."}
    assert not only(row).is_chat


# ---- named errors -------------------------------------------------------------------------------------------------


def refused(rows, **options):
    with pytest.raises(UserError) as caught:
        read(rows, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_unpaired_rows_are_named():
    kto = refused({"prompt": "p", "completion": "c", "label": True})
    assert "unpaired (KTO)" in kto
    assert "columns: prompt, completion, label" in kto
    assert "unpaired (KTO)" in refused({"instruction": "p", "input": "", "output": "c", "kto_tag": False})


def test_image_rows_are_named():
    assert "images" in refused({"images": [b"x"], "prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]})
    part = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}
    text = refused({"prompt": [part], "chosen": [GOOD], "rejected": [BAD]})
    assert "images or other media (row 0, column 'prompt')" in text
    late = [{"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD], "image": None}] * 600
    assert "(row 600, column 'image')" in refused([*late, {**late[0], "image": {"bytes": b"x"}}])


def test_empty_image_columns_do_no_harm():
    assert only({"images": [], "prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}).is_chat


def test_unrecognised_columns_are_listed_with_the_way_out():
    text = refused({"question_text": "q", "good": "a", "bad": "b"})
    assert "columns: question_text, good, bad" in text
    assert "--column chosen=good" in text


def test_a_missing_column_is_named():
    assert refused({"prompt": "p", "chosen": "c"}).startswith("no column 'rejected' (column 'rejected')")
    assert "the column 'rejected' is empty" in refused({"prompt": "p", "chosen": "c", "rejected": None})


def test_no_prompt_anywhere():
    assert "no column holds the prompt" in refused({"chosen": [GOOD], "rejected": [BAD], "topic": "sky"})
    rows = [{"chosen": f"{c} one", "rejected": f"{c.lower()} two", "asked": "q"} for c in "ABCDEF"]
    assert "share no beginning; columns: chosen, rejected, asked" in refused(rows)


def test_two_candidates_for_the_prompt_are_ambiguous():
    text = refused({"question": "q", "instruction": "i", "chosen": "a", "rejected": "b"})
    assert "more than one column could hold the prompt: question, instruction" in text


def test_chosen_and_rejected_of_different_kinds():
    text = refused({"prompt": "q", "chosen": "a", "rejected": [BAD]})
    assert "'chosen' holds text, 'rejected' holds messages" in text


# ---- columns by hand ----------------------------------------------------------------------------------------------


def test_columns_by_hand():
    row = {"q": ASKED["content"], "good": "It is blue.", "bad": "It is green.", "sys": "Be brief."}
    pair = only(row, columns={"prompt": "q", "chosen": "good", "rejected": "bad", "system": "sys"})
    assert spans(pair) == ([system("Be brief."), ASKED], [GOOD], [BAD])
    assert pair.is_chat


def test_swapped_columns_by_hand():
    row = {"prompt": [ASKED], "chosen": [BAD], "rejected": [GOOD]}
    assert spans(only(row, columns={"chosen": "rejected", "rejected": "chosen"})) == BROAD


def test_a_column_whose_name_is_given_away_is_kept_in_meta():
    row = {"prompt": "not this", "q": ASKED["content"], "chosen": [GOOD], "rejected": [BAD]}
    pair = only(row, columns={"prompt": "q"})
    assert spans(pair) == BROAD
    assert json.loads(pair.meta) == {"prompt": "not this"}


def test_errors_name_the_source_column():
    rows = [{"q": "a", "good": "b", "bad": "c"}] * 3 + [{"q": "a", "good": 7, "bad": "c"}]
    text = refused(rows, columns={"prompt": "q", "chosen": "good", "rejected": "bad"})
    assert "wrong type (row 3, column 'good'): found a number, expected text" in text


def test_columns_by_hand_that_do_not_exist():
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    text = refused(row, columns={"chosen": "choosen"})
    assert "no such column (column 'choosen'): did you mean 'chosen'? columns: prompt, chosen, rejected" in text
    assert "did you mean 'chosen'?" in refused(row, columns={"choosen": "chosen"})
    assert "one column is given two names (column 'chosen')" in refused(
        row, columns={"chosen": "chosen", "rejected": "chosen"}
    )


def test_a_system_text_that_comes_late_is_not_lost():
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b", "system": ""}] * 600
    text = refused([*rows, {**rows[0], "system": "Be brief."}])
    assert "an unexpected system text (row 600, column 'system')" in text
    assert "--column system=system" in text
    found = read([*rows, {**rows[0], "system": "Be brief."}], columns={"system": "system"})
    assert spans(found.pairs[600])[0] == [system("Be brief."), user("q")]


def test_an_input_that_comes_late_is_not_lost():
    rows = [{"instruction": "Do.", "input": "", "chosen": "a", "rejected": "b"}] * 600
    found = read([*rows, {**rows[0], "input": "This."}])
    assert spans(found.pairs[600])[0] == [user("Do.\nThis.")]
