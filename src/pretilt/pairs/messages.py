"""Values of a cell become messages: role/content and from/value lists, single messages, transcripts, JSON texts.

Content is never altered. The one exception are the separators of "\\n\\nHuman: … \\n\\nAssistant: …" transcripts: the
marker with the blank line before it and one space after it are taken away, nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretilt.errors import UserError
from pretilt.literals import from_json, from_text
from pretilt.pairs.pair import COMMON_READS, Message, TemplateReads, to_json

ROLE_ALIASES = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "ipython": "ipython",
}
ASKING_ROLES = ("user", "system", "developer")  # turns the model does not write
_TURN_KEYS = frozenset(("role", "from", "content", "value"))
_MEDIA = ("image", "image_url", "input_image", "audio", "input_audio", "video")
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):[ ]?")
_STARTS_AS_TRANSCRIPT = re.compile(r"\A\s*(?:Human|Assistant):")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, for errors."""

    file: object
    row: int
    column: str
    padded: bool = False  # Arrow has filled in null for each key that an object lacks and another row's has

    def error(self, what: str, why: str = "", fix: str = "") -> UserError:
        return UserError(what, why=why, fix=fix, file=self.file, row=self.row, column=self.column)


class Seen(Counter[str]):
    """Counts what the reader should be told about how rows were read. `reads`: what the chat template can read."""

    def __init__(self, reads: TemplateReads = COMMON_READS) -> None:
        super().__init__()
        self.reads = reads


def describe(value: Any) -> str:
    """The kind of a value in a reader's words: "a number", "a list of messages", …"""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (list, tuple)):
        return "an empty list" if not value else f"a list of {_plural(value[0])}"
    return "an object" if isinstance(value, Mapping) else type(value).__name__


def _plural(item: Any) -> str:
    if isinstance(item, Mapping):
        return "messages" if is_message(item) else "objects"
    return "texts" if isinstance(item, str) else f"{type(item).__name__} values"


def is_message(value: Any) -> bool:
    """True for one {role, content} or {from, value} object."""
    return isinstance(value, Mapping) and isinstance(value.get("role", value.get("from")), str)


def is_transcript(value: Any) -> bool:
    """True for a text that starts with a "Human:" or "Assistant:" turn and has an Assistant turn on its own line."""
    return isinstance(value, str) and _STARTS_AS_TRANSCRIPT.match(value) is not None and "\n\nAssistant:" in value


def without_padding(value: Any, place: Place, remark_counts: Counter[str]) -> Any:
    """Without the null entries of objects, at every depth, where Arrow filled them in; nulls inside lists stay.

    Arrow's and an author's own cannot be told apart there. Elsewhere every null is the author's, and kept.
    """
    if not place.padded:
        return value
    slim = _no_nulls(value)
    if slim != value:
        remark_counts["padded values"] += 1
    return slim


def _no_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _no_nulls(v) for k, v in value.items() if v is not None}
    return [_no_nulls(v) for v in value] if isinstance(value, (list, tuple)) else value


def checked_text(text: str, place: Place) -> str:
    """The text itself, once it is known that it can be written as UTF-8."""
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            why = f"half of a surrogate pair at character {error.start}"
            raise place.error("the text is not valid Unicode", why, "Repair or remove the row") from error
    return text


def parse_transcript(text: str, place: Place) -> tuple[Message, ...]:
    """Turns of a Human/Assistant transcript; () if the text does not begin with one.

    The response is what follows the right-most "Assistant:" marker. Text is kept as it is between the separators.
    """
    marks = list(_TURN.finditer(checked_text(text, place)))
    if not marks or marks[0].start() != 0:
        return ()
    ends = [m.start() for m in marks[1:]] + [len(text)]
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Message(roles[m[1]], text[m.end() : end]) for m, end in zip(marks, ends, strict=True))


def parse_messages(value: Any, place: Place, remark_counts: Counter[str]) -> tuple[Message, ...]:
    """A list of messages, one message, or Arrow's object of lists, as messages; () for null or an empty list.

    `remark_counts` counts what is reported of the reading: keys and parts that were ignored, joined or read specially.
    """
    if value is None:
        return ()
    if isinstance(value, Mapping) and isinstance(value.get("role", value.get("from")), (list, tuple)):
        # A `Sequence` of objects in old datasets files comes as an object of lists.
        lists = {name: items for name, items in value.items() if items is not None}
        if len({len(items) if isinstance(items, (list, tuple)) else -1 for items in lists.values()}) > 1:
            raise place.error("wrong type", "found an object of lists that differ in length, expected messages")
        value = [dict(zip(lists, items, strict=True)) for items in zip(*lists.values(), strict=True)]

    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise place.error("wrong type", f"found {describe(value)}, expected a list of messages")

    return tuple(_message(m, number, place, remark_counts) for number, m in enumerate(value))


def _message(value: Any, number: int, place: Place, remark_counts: Counter[str]) -> Message:
    if not isinstance(value, Mapping):
        raise place.error(
            "wrong type", f"message {number} is {describe(value)}, expected an object with role and content"
        )

    role = value.get("role", value.get("from"))
    if not isinstance(role, str) or not role.strip():
        raise place.error(
            "a message has no role", f"message {number} has the keys {', '.join(map(str, value)) or '(none)'}"
        )

    canonical_role = ROLE_ALIASES.get(role.strip().lower(), role)
    readable = getattr(remark_counts, "reads", COMMON_READS)

    extra = {}
    for key in [k for k in value if k not in _TURN_KEYS and value[k] is not None]:  # null: the tokenizer drops the key
        if readable.keys is None or key in readable.keys:
            extra[str(key)] = _extra(value[key], key, place, remark_counts)
        else:
            remark_counts[f"message key '{key}'"] += 1

    content = value.get("content", value.get("value"))
    if role.strip().lower() == "function_call":
        canonical_role, content, extra = _function_call(content, extra)
    if content is None:
        extra = {"content": None, **extra}
        content = ""
    elif isinstance(content, (list, tuple)):
        parts, content = content, _joined_parts(content, number, place)
        if readable.parts and all(isinstance(part, Mapping) for part in parts):
            extra = {"content": without_padding(parts, place, Counter()), **extra}
        else:
            remark_counts["content parts"] += 1
    elif not isinstance(content, str):
        raise place.error("wrong type", f"the content of message {number} is {describe(content)}, expected text")

    text = to_json(extra) if extra else None
    return Message(
        checked_text(canonical_role, place), checked_text(content, place), checked_text(text, place) if text else None
    )


def _extra(value: Any, key: Any, place: Place, remark_counts: Counter[str]) -> Any:
    if key == "tool_calls" and isinstance(value, str):  # Parquet files hold a JSON feature as its text
        try:
            value = from_text(value)
        except ValueError:
            return value
    value = without_padding(value, place, remark_counts)
    try:
        to_json(value)
    except (TypeError, ValueError) as error:
        raise place.error(f"message key '{key}' cannot be written as JSON", str(error)) from error
    return value


def _function_call(content: Any, extra: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """ShareGPT's `function_call` turn: its JSON becomes a tool call; other text stays the assistant's text."""
    try:
        call = from_json(content)
    except (TypeError, ValueError):
        return "assistant", content, extra
    calls = call if isinstance(call, list) else [call]
    if not calls or not all(isinstance(c, dict) and "name" in c for c in calls):
        return "assistant", content, extra
    return "assistant", None, {**extra, "tool_calls": [{"type": "function", "function": c} for c in calls]}


def _joined_parts(parts: Sequence[Any], number: int, place: Place) -> str:
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _MEDIA:
            raise image_error(place)
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        if not isinstance(text, str):
            raise place.error("wrong type", f"a part of message {number} is {describe(part)}, expected text")
        texts.append(text)
    return "".join(texts)


def image_error(place: Place) -> UserError:
    return place.error(
        "the rows hold images or other media",
        "pretilt reads text preferences only",
        "Remove the rows with media, or the column",
    )
