"""Columns that nobody can guess: errors that name them, and columns named by hand."""

import json

from format_rows import only, read, refused, spans
from published_rows import ASKED, BAD, BROAD, GOOD, system, user

# ---- named errors -------------------------------------------------------------------------------------------------


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
    assert "no such column (column 'choosen'): columns: prompt, chosen, rejected. Did you mean chosen?" in text
    assert "Did you mean chosen" in refused(row, columns={"choosen": "chosen"})
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
