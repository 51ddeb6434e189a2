"""The turns before the responses, from wherever a format keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretilt.pairs.cells import DOCUMENT, DOCUMENT_KEYS, TURNS, WRAPPED, Cells
from pretilt.pairs.messages import describe, parse_messages
from pretilt.pairs.pair import Message


def read_context(cells: Cells, name: str | None, reads_system: bool) -> tuple[tuple[Message, ...], Any]:
    """(the turns of the context column `name`, the tools that stand inside it); `name` is canonical.

    `reads_system`: the column `system` opens the context, unless it has a system turn of its own.
    """
    tools = None
    shape = cells.columns.shape(name)

    if name is None:
        turns: tuple[Message, ...] = ()
    elif shape == TURNS:
        turns = _input_output(cells, name)
    elif shape == WRAPPED:
        turns, tools = _openai(cells, name)
    elif shape == DOCUMENT:
        turns = _document(cells, name)
    elif name == "instruction":
        texts = [cells.text("instruction"), cells.text("input")]
        text = "\n".join(t for t in texts if t)
        turns = (*_history(cells), Message("user", text)) if text else ()
    else:
        turns = _open_context(cells, name)

    if reads_system:
        system = cells.text("system")
        opened = bool(turns) and turns[0].role == "system"
        if system and not opened and (turns or name is None):
            turns = (Message("system", system), *turns)

    return turns, tools


def _open_context(cells: Cells, name: str) -> tuple[Message, ...]:
    """The turns before the response; a blank Assistant turn that only opens the response is not one of them."""
    turns = cells.turns(name, "user")
    if turns and turns[-1].role == "assistant" and not turns[-1].content.strip() and not turns[-1].extra:
        return turns[:-1]
    return turns


def _openai(cells: Cells, name: str) -> tuple[tuple[Message, ...], Any]:
    """OpenAI's preference format: input = {messages, tools, parallel_tool_calls}."""
    value = cells.value(name)
    place = cells.place(name)
    if not isinstance(value, Mapping):
        raise place.error("wrong type", f"found {describe(value)}, expected an object with messages")
    return parse_messages(value.get("messages"), place, cells.remark_counts), value.get("tools")


def _document(cells: Cells, name: str) -> tuple[Message, ...]:
    """The text that was asked about; the object's other entries stay in `meta`."""
    value = cells.value(name)
    cells.used.discard(name)
    texts = [value.get(key) for key in DOCUMENT_KEYS] if isinstance(value, Mapping) else []
    text = next((t for t in texts if isinstance(t, str) and t.strip()), "")
    return (Message("user", cells.checked(text, name)),) if text else ()


def _input_output(cells: Cells, name: str) -> tuple[Message, ...]:
    """Capybara: [{input, output}, …]; the last output is the response's place and not part of the context."""
    turns: list[Message] = []
    items = cells.items(name)

    for number, turn in enumerate(items):
        if not isinstance(turn, Mapping):
            raise cells.place(name).error(
                "wrong type", f"turn {number} is {describe(turn)}, expected an object with input and output"
            )
        for key, role in (("input", "user"), ("output", "assistant")):
            text = turn.get(key)
            if text is not None and not isinstance(text, str):
                raise cells.place(name).error(
                    "wrong type", f"{key} of turn {number} is {describe(text)}, expected text"
                )
            if text and not (key == "output" and number == len(items) - 1):
                turns.append(Message(role, text))

    return tuple(turns)


def _history(cells: Cells) -> tuple[Message, ...]:
    """LLaMA-Factory: `history` = [[user, assistant], …] before the instruction."""
    turns: list[Message] = []
    for number, past in enumerate(cells.items("history")):
        if not isinstance(past, (list, tuple)) or len(past) != 2 or not all(isinstance(t, str) for t in past):
            raise cells.place("history").error("wrong type", f"item {number} is {describe(past)}, expected two texts")
        turns += [Message("user", past[0]), Message("assistant", past[1])]
    return tuple(turns)
