"""Every known format, as published, becomes the pairs that a person reading the rows would write down."""

import copy
import json

import pytest
import trl
from format_rows import load_rows, normalise, only, plain, read, spans
from published_rows import ASKED, BAD, GOOD, HAND_WRITTEN, TRL_READS, WEATHER, says, user

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


def test_nulls_that_an_author_wrote_stay_and_arrows_go():
    """TRL 1.16 prints both; of Arrow's the reader is told."""
    import pyarrow as pa

    calls = [
        {"type": "function", "function": {"name": "f", "arguments": {"a": None, "b": [None, {"c": None, "d": 1}]}}}
    ]
    pair = only(
        {"prompt": [ASKED], "chosen": [{"role": "assistant", "content": None, "tool_calls": calls}], "rejected": [BAD]}
    )
    assert plain(pair.chosen)[0]["tool_calls"] == calls
    row = {
        "prompt": [ASKED],
        "chosen": [{"role": "assistant", "content": None, "tool_calls": calls}],
        "rejected": [BAD],
    }
    got = normalise(load_rows(pa.Table.from_pylist([row])))
    arguments = plain(got.pairs[0].chosen)[0]["tool_calls"][0]["function"]["arguments"]
    assert arguments == {"b": [None, {"d": 1}]}
    assert any("hold nulls, which Arrow fills in" in note for note in got.notes)
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
