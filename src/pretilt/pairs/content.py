"""Where the messages' own text stands in a conversation that a chat template has rendered.

The text of a message is content; what the template puts around it (role headers, a default system prompt, end-of-turn
marks) is not. The template is rendered once more with every text replaced by a placeholder, which shows the literal
pieces that it writes between the texts; these pieces are then found again in the real rendering. This happens once
per *shape* of conversation, so it costs next to nothing, and no short answer ("user", "a") is mistaken for a piece of
the template, as a plain search would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

REWRITTEN = "content rewritten by the chat template"
DROPPED = "message left out by the chat template"
SEARCHED = "content found by plain search only"
NOT_LOCATED = "content not found in the rendered text"

_THINK_MARK = re.compile(r"(</?think>)")
# Private-use characters, which no template and hardly any text has; printed as escapes by Python and by some `tojson`.
# What stands for a number, true, false or null ends in another one: the quotes that it gets as a text are not printed.
_OPEN = r"(?:\\ue000|\ue000)"
_PLACEHOLDER = re.compile(
    rf"""{_OPEN}([0-9]+)(?:\\ue001|\ue001)|(?:\\?["'])?{_OPEN}([0-9]+)(?:\\ue002|\ue002)(?:\\?["'])?"""
)
_TURN_KEYS = ("role", "tool_call_id", "name")  # say who speaks, not what is said
_MAX_SHAPES = 4096
_MAX_MISSING = 20  # texts that are searched for in vain before the search is given up: each may scan all that is left

Conversation = Sequence[dict[str, Any]]
Render = Callable[[Conversation], str]


@dataclass(frozen=True)
class Region:
    """Characters `start:end` of the rendered text are content of message number `message`."""

    message: int
    start: int
    end: int


@dataclass(frozen=True)
class _Text:
    message: int
    text: Any  # a text, or the number, true, false, null, [] or {} of a tool call
    required: bool  # the message's content itself; a template may well leave out earlier reasoning


@dataclass(frozen=True)
class _Shape:
    """The rendering with placeholders: `literals[0]`, text `order[0]`, `literals[1]`, …, `literals[-1]`."""

    literals: tuple[str, ...]
    order: tuple[int, ...]


class Locator:
    """Finds content in what `render` makes of conversations. One per template, tools and template arguments."""

    def __init__(self, render: Render, refusals: tuple[type[Exception], ...] = ()) -> None:
        """`refusals`: what `render` raises for a conversation it does not accept; placeholders may be such a one."""
        self._render, self._refusals = render, refusals
        self._shapes: dict[str, _Shape] = {}

    def locate(self, conversation: Conversation, rendered: str) -> tuple[list[Region], frozenset[str]]:
        """Regions of `rendered` that are message content, in order, and what went wrong (empty if nothing).

        Four attempts, the first that fits wins:
        1. the template's literal pieces with every text between them verbatim, or stripped at its ends;
        2. the same with texts cut at `<think>` marks, for templates that take reasoning apart;
        3. the literal pieces alone, in order: what stands between them is content (REWRITTEN);
        4. a search for each text from left to right (SEARCHED); what is not found is not content (NOT_LOCATED);
           of an answer that is not found at all, `chat.py` counts every token that is not special.
        DROPPED: the template does not print some message's content at all.
        """
        texts, shape = self._shape(conversation, cut_reasoning=False)
        regions = _verbatim(rendered, texts, shape)
        if regions is None and any("think>" in str(text.text) for text in texts):
            cut_texts, cut_shape = self._shape(conversation, cut_reasoning=True)
            regions = _verbatim(rendered, cut_texts, cut_shape)
            if regions is not None:
                texts, shape = cut_texts, cut_shape

        trouble = set()
        if regions is None:
            regions = _between(rendered, texts, shape)
            trouble.add(REWRITTEN)
        if regions is None:
            regions, missing = _search(rendered, texts)
            return regions, frozenset({NOT_LOCATED} if missing else {SEARCHED})

        if any(text.required and i not in shape.order for i, text in enumerate(texts)):
            trouble.add(DROPPED)
        return regions, frozenset(trouble)

    def _shape(self, conversation: Conversation, *, cut_reasoning: bool) -> tuple[list[_Text], _Shape]:
        texts: list[_Text] = []
        marked: list[dict[str, Any]] = []
        for number, message in enumerate(conversation):

            def placeholder(text: Any, required: bool = False, number: int = number) -> str:
                texts.append(_Text(number, text, required))
                return f"\ue000{len(texts) - 1}" + ("\ue001" if isinstance(text, str) else "\ue002")

            marked.append(_replace_texts(message, placeholder, cut_reasoning))
        key = json.dumps(marked, ensure_ascii=False)
        if key not in self._shapes:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            try:
                pieces = _PLACEHOLDER.split(self._render(marked))
            except self._refusals:
                pieces = [""]  # fits nothing: the texts are searched for
            order = tuple(int(a or b) for a, b in zip(pieces[1::3], pieces[2::3], strict=True))
            self._shapes[key] = _Shape(tuple(pieces[::3]), order)
        return texts, self._shapes[key]


def _replace_texts(message: dict[str, Any], placeholder: Callable[..., str], cut_reasoning: bool) -> dict[str, Any]:
    """A copy of the message in which each text of its own is a placeholder; blank texts stay, for templates test them.

    A message's own texts: content, reasoning, and of tool calls the names and all arguments, whatever their type.
    """

    def swap(text: str, required: bool = False) -> str:
        if not text.strip():
            return text
        if not cut_reasoning or "think>" not in text:
            return placeholder(text, required)

        swapped = []
        parts = _THINK_MARK.split(text)
        for i, part in enumerate(parts):  # the space beside a mark stays with it
            core = part if i == 0 else part.lstrip()
            before = part[: len(part) - len(core)]
            core = core if i == len(parts) - 1 else core.rstrip()
            after = part[len(before) + len(core) :]
            swapped.append(part if i % 2 or not core else before + placeholder(core, required) + after)

        return "".join(swapped)

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return swap(value)
        if isinstance(value, dict) and value:
            return {swap(k): walk(v) for k, v in value.items()}
        return [walk(v) for v in value] if isinstance(value, list) and value else placeholder(value)

    def call(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            k: walk(v) if k in ("name", "arguments") else call(v) if k == "function" else v for k, v in value.items()
        }

    copy = dict(message)
    for key, value in message.items():
        if key == "content" and isinstance(value, str):
            copy[key] = swap(value, required=True)
        elif key == "content" and isinstance(value, list):
            copy[key] = [{**p, "text": swap(p["text"], required=True)} if "text" in p else p for p in value]
        elif key not in _TURN_KEYS and isinstance(value, str):
            copy[key] = swap(value)
        elif key == "tool_calls" and isinstance(value, list):
            copy[key] = [call(v) for v in value]
    return copy


def _variants(text: Any) -> list[str]:
    """The text as templates print it: verbatim, stripped on either side, or inside a JSON string; a value as JSON."""
    if not isinstance(text, str):
        return list(dict.fromkeys([json.dumps(text), str(text), str(text).lower()]))
    forms = [text, text.strip(), text.rstrip(), text.lstrip(), text.strip("\n"), text.rstrip("\n"), text.lstrip("\n")]
    forms += [json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1], repr(text)[1:-1]]
    return list(dict.fromkeys(forms))


def _verbatim(rendered: str, texts: Sequence[_Text], shape: _Shape) -> list[Region] | None:
    if not rendered.startswith(shape.literals[0]):
        return None
    position = len(shape.literals[0])
    regions = []
    for number, literal in zip(shape.order, shape.literals[1:], strict=True):
        text = texts[number]
        for form in _variants(text.text):
            end = position + len(form)
            if rendered.startswith(form, position) and rendered.startswith(literal, end):
                break
        else:
            return None
        regions.append(Region(text.message, position, end))
        position = end + len(literal)

    return regions if position == len(rendered) else None


def _between(rendered: str, texts: Sequence[_Text], shape: _Shape) -> list[Region] | None:
    first, last = shape.literals[0], shape.literals[-1]
    if not shape.order or not all(shape.literals[1:-1]) or not rendered.startswith(first):
        return None
    if not rendered.endswith(last) or len(first) + len(last) > len(rendered):
        return None
    stop = len(rendered) - len(last)
    position = len(first)
    regions: list[Region] = []
    for number, literal in zip(shape.order, shape.literals[1:], strict=True):
        final = len(regions) == len(shape.order) - 1
        end = stop if final else rendered.find(literal, position, stop)
        if end < position:
            return None
        regions.append(Region(texts[number].message, position, end))
        position = end + len(literal)

    return regions


def _search(rendered: str, texts: Sequence[_Text]) -> tuple[list[Region], bool]:
    regions: list[Region] = []
    missing, position, n_missing = False, 0, 0
    for text in texts:
        if n_missing > _MAX_MISSING:
            return regions, True

        positions = [(rendered.find(form, position), form) for form in _variants(text.text) if form]
        matches = [(start, len(form)) for start, form in positions if start >= 0]
        if not matches:
            missing = missing or text.required
            n_missing += 1
            continue

        start, length = max(matches, key=lambda hit: hit[1])
        regions.append(Region(text.message, start, start + length))
        position = start + length
    return regions, missing
