"""Whose turn is whose, in the text of a prompt that a person reads."""

from __future__ import annotations

from typing import Any

from pretilt.pairs.transcript import transcript


def turn(role: str, content: str, extra: str | None = None) -> dict[str, Any]:
    return {"role": role, "content": content, "extra": extra}


def test_every_turn_of_a_conversation_stands_under_its_role() -> None:
    turns = [turn("system", "Be brief."), turn("user", "Hi"), turn("assistant", "Hello\nthere"), turn("user", "Bye")]
    assert transcript(turns) == "system:\nBe brief.\n\nuser:\nHi\n\nassistant:\nHello\nthere\n\nuser:\nBye"


def test_one_question_and_plain_text_need_no_heading() -> None:
    assert transcript([turn("user", "What is 2 + 2?")]) == "What is 2 + 2?"
    assert transcript([turn("user", "Q: 2 + 2?\n\nA:")], is_chat=False) == "Q: 2 + 2?\n\nA:"
    assert transcript([turn("system", "Speak.")]) == "system:\nSpeak."  # a lone turn of another role is not the user's


def test_a_tool_call_without_content_is_not_an_empty_turn() -> None:
    call = turn("assistant", "", '{"tool_calls": [{"name": "alarm", "arguments": {"hour": 6}}]}')
    assert transcript([turn("user", "Wake me"), call]) == f"user:\nWake me\n\nassistant:\n{call['extra']}"
