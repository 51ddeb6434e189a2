"""plan.yaml: what is written is what is read, and every mistake is one line with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretilt.errors import UserError
from pretilt.shape.plan import MOST_ITEMS, Item, Plan, dump_plan, load_plan, plan_of


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plan_is_read_with_its_lines(tmp_path: Path) -> None:
    text = (
        "pairs: 0123456789abcdef\nitems:\n- suppress: pattern:bold\n\n# why\n- protect: pattern:table\n  note: ours\n"
    )
    plan = load_plan(write(tmp_path, text))
    assert plan.items == (
        Item("suppress", "pattern:bold", "auto", None, 0.0, line=3),
        Item("protect", "pattern:table", note="ours", line=6),
    )
    assert plan.pairs == "0123456789abcdef"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    items = (
        Item("suppress", "pattern:bold", "offset", 2.5, None, "group:3", "Zoë said so: “no”"),
        Item("amplify", "group:1:2", "weight", None, 2.0),
        Item("suppress", "concept:7", "drop", None, 0.25),
        Item("keep", "pattern:link"),
        Item("suppress", "pattern:bold", "offset", None, 0.0, by="detector:stress"),
        Item("suppress", "pattern:bold", "inoculate", 1.0, instruction="Use bold text: “**”."),
    )
    again = load_plan(write(tmp_path, dump_plan(Plan(items, "ab" * 8))))
    assert [item.as_yaml() for item in again.items] == [item.as_yaml() for item in items]
    assert again.items[0].note == "Zoë said so: “no”" and again.items[2].share == 0.25


MISTAKES: list[tuple[str, str]] = [
    ("- a list", "a plan is a mapping"),
    ("items: []", "holds no items"),
    ("item:\n- suppress: x", "Did you mean items"),
    ("items:\n- supress: pattern:bold", "line 2.*Did you mean suppress"),
    ("items:\n- suppress: pattern:bold\n- method: drop", "one of suppress.*line 3.*none"),
    ("items:\n- {suppress: a, amplify: b}", "suppress and amplify"),
    ("items:\n- suppress: pattern:bold\n  method: ofset", "line 2.*Did you mean offset"),
    ("items:\n- suppress: pattern:bold\n  method: drop\n  strength: -1", "a number from 0.*-1"),
    ("items:\n- suppress: pattern:bold\n  method: drop\n  strength: .nan", "a number from 0"),
    ("items:\n- suppress: pattern:bold\n  method: drop\n  strength: much", "a number from 0.*much"),
    ("items:\n- suppress: pattern:bold\n  strength: 1", "Name the method"),
    ("items:\n- suppress: pattern:bold\n  method: drop\n  strength: 1\n  to: base", "either a strength or 'to'"),
    ("items:\n- suppress: pattern:bold\n  to: 100%", "changes nothing"),
    ("items:\n- suppress: pattern:bold\n  to: some points", "'to: some points' is not understood"),
    ("items:\n- suppress: pattern:bold\n  to: 1e999%", "not understood"),
    ("items:\n- protect: pattern:bold\n  strength: 1", "'protect' takes no strength"),
    ("items:\n- protect: pattern:bold\n  by: pattern:link", "'protect' takes no by"),
    ("items:\n- suppress: pattern:bold\n  by: detector:x", "'by' needs a method.*left open"),
    ("items:\n- suppress: pattern:bold\n  method: rewrite\n  by: detector:x", "'rewrite' does not read it"),
    ("items:\n- suppress: pattern:bold\n  method: drop\n  instruction: Be bold.", "offset"),
    ("items:\n- suppress: a\n  method: offset\n  by: b\n  instruction: c", "either 'by' or an instruction"),
    ("items:\n- suppress: a\n  method: inoculate", "needs an instruction"),
    ("items:\n- amplify: a\n  method: inoculate\n  instruction: b", "'inoculate' cannot amplify"),
    ("items:\n- suppress: a\n  method: inoculate\n  instruction: '  '", "0 characters"),
    ("items:\n- suppress: a\n  method: inoculate\n  instruction: 7", "'instruction' is a text"),
    ("items:\n- suppress: 7", "'suppress' is a text"),
    ("items:\n- suppress: pattern:bold\n  gate: 12", "'gate' is a text"),
    ("items:\n- just a text", "an item of a plan is a mapping.*line 2"),
    ("pairs: 12\nitems:\n- suppress: a", "'pairs' of a plan is a hash"),
    ("items:\n  - suppress: [pattern:bold", "not valid YAML"),
    ("items:\n" + "- keep: a\n" * (MOST_ITEMS + 1), "1,000 are the most"),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_every_mistake_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        load_plan(write(tmp_path, text))
    assert "plan.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00"])
def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.yaml").write_bytes(content)
    with pytest.raises(UserError):
        load_plan(tmp_path / "plan.yaml")


def test_a_plan_that_is_not_there_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pretilt mark RUN suppress"):
        load_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize("value", [None, 7, {"items": {"suppress": "a"}}, {"items": [None]}])
def test_a_mapping_from_python_is_checked_alike(value: Any) -> None:
    with pytest.raises(UserError):
        plan_of(value)
