"""One row under its canonical column names, read with type checks that name file, row and the source's own column."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pretilt.errors import UserError
from pretilt.literals import TOO_DEEP, from_text, nested_deeper
from pretilt.pairs.messages import (
    ASKING_ROLES,
    Place,
    describe,
    is_message,
    is_transcript,
    parse_messages,
    parse_transcript,
)
from pretilt.pairs.messages import checked_text as _checked_text
from pretilt.pairs.pair import Message

TEXT = "text"
TRANSCRIPT = "a Human/Assistant transcript"
MESSAGES = "messages"
WRAPPED = "an object with messages"
TURNS = "a list of input/output turns"
DOCUMENT = "an object with the text that was asked about"
TEXTS = "a list of texts"
NUMBERS = "a list of numbers"
OBJECTS = "a list of objects"
DOCUMENT_KEYS = ("full_text", "post", "article")  # of WebGPT's question and of summarize_from_feedback's info
# Columns of lists: where a cell is a JSON text (as in CSV files), it is always meant as the list.
_RATED = ("generations", "ratings", "generation_models", "all_generated_responses", "all_rm_scores")
_LISTS = ("answers", "completions", "conversation", "history", "output", "summaries", "info", *_RATED)
_TURN_LISTS = ("prompt", "response_a", "response_b")  # of the arena's 55k rows: one JSON list of turns each


_BRACKET = re.compile(r"\A\s*+(?:np\.|numpy\.)?(?:array\(\s*+)?[\[{]")
_LIKE_MESSAGES = re.compile(_BRACKET.pattern + r"""[\s\[{]*+['"](?:role|content|from|value)['"]\s*+:""")


def shape_of(value: Any) -> str:
    """What a cell looks like, in one word: mostly a constant of this module; "" for nothing in it."""
    if value is None or (isinstance(value, (list, tuple, dict)) and not value):
        return ""
    if isinstance(value, str):
        return TRANSCRIPT if is_transcript(value) else TEXT if value.strip() else ""

    if is_message(value):
        return MESSAGES
    if isinstance(value, Mapping):
        if isinstance(value.get("role", value.get("from")), (list, tuple)):
            return MESSAGES
        if isinstance(value.get("messages"), (list, tuple)):
            return WRAPPED
        return DOCUMENT if any(isinstance(value.get(k), str) for k in DOCUMENT_KEYS) else describe(value)

    if isinstance(value, (list, tuple)):
        if is_message(value[0]):
            return MESSAGES
        if isinstance(value[0], Mapping):
            return TURNS if {"input", "output"} <= set(value[0]) else OBJECTS
        if isinstance(value[0], str):
            return TEXTS
        present = [v for v in value if v is not None]
        return NUMBERS if present and all(isinstance(v, (int, float)) for v in present) else describe(value)

    return describe(value)


def decoded(value: Any) -> Any:
    """The list or object that a text holds as JSON, Python or NumPy text; the value itself if it holds none."""
    if isinstance(value, str) and _BRACKET.match(value):
        try:
            return from_text(value)
        except ValueError:
            return value
    return value


@dataclass(frozen=True)
class Columns:
    """Names and commonest shapes of the columns in a sample of rows.

    `shapes`: canonical name → the commonest shape among its non-empty cells ("" if all are empty); `source`: canonical
    name → the source's own name; `as_text`: columns whose cells are the text of lists or objects, as in CSV files.
    """

    shapes: dict[str, str]
    source: dict[str, str]
    as_text: frozenset[str]
    opening_roles: dict[str, str] = field(default_factory=dict)  # commonest role of the first message

    def has(self, *names: str) -> bool:
        """True if every one of these columns has something in it."""
        return all(self.shapes.get(n) for n in names)

    def first(self, names: Iterable[str]) -> str | None:
        return next((n for n in names if self.has(n)), None)

    def shape(self, name: str | None) -> str:
        return self.shapes.get(name, "") if name else ""


def survey(sample: Sequence[Mapping[str, Any]], renames: Mapping[str, str], file: object = None) -> Columns:
    """Look at the columns of a sample; `renames` maps canonical names given by hand to the source's names.

    Raises UserError for a column whose cells look like the text of messages and are no JSON and no Python text of it.
    """
    source = canonical_names(dict.fromkeys(n for row in sample for n in row), renames)
    shapes, as_text, roles = {}, set(), {}

    for name, source_name in source.items():
        cells = [row.get(source_name) for row in sample]
        kinds = Counter(k for k in map(shape_of, cells) if k)

        if kinds and kinds.most_common(1)[0][0] == TEXT:
            values = [decoded(c) for c in cells]
            inner_kinds = Counter(k for k in map(shape_of, values) if k)
            inner = inner_kinds.most_common(1)[0][0] if inner_kinds else ""
            in_lists = name in _LISTS or (name in _TURN_LISTS and "winner_model_a" in source)
            if inner in (MESSAGES, WRAPPED, DOCUMENT) or (in_lists and inner != TEXT):
                kinds = inner_kinds
                as_text.add(name)
                cells = values
            elif 2 * sum(isinstance(c, str) and _LIKE_MESSAGES.match(c) is not None for c in cells) > len(cells):
                raise _unreadable_text(cells, Place(file, 0, source_name))

        shapes[name] = kinds.most_common(1)[0][0] if kinds else ""
        if shapes[name] == MESSAGES:
            first = Counter(r for r in map(_opening_role, cells) if r)
            roles[name] = first.most_common(1)[0][0] if first else ""

    return Columns(shapes, source, frozenset(as_text), roles)


def _unreadable_text(cells: Sequence[Any], place: Place) -> UserError:
    row = next(i for i, c in enumerate(cells) if isinstance(c, str) and _LIKE_MESSAGES.match(c))
    try:
        from_text(cells[row])
        why = ""
    except ValueError as error:
        why = str(error)
    what = "the cells look like lists of messages and cannot be read as such"
    return replace(place, row=row).error(what, why, "Write the file again as JSON Lines or Parquet, or as JSON texts")


def _opening_role(value: Any) -> str:
    if nested_deeper(value):  # the row itself is reported when it is read, as below
        return ""
    try:
        messages = parse_messages(value, Place(None, 0, ""), Counter())
    except UserError:
        return ""
    return messages[0].role if messages else ""


def canonical_names(columns: Iterable[str], renames: Mapping[str, str]) -> dict[str, str]:
    """Canonical name → source name. A column whose own name was given to another one keeps it with a star."""
    taken = set(renames.values())
    names = {}
    for column in columns:
        if column not in taken:
            names[f"{column}*" if column in renames else column] = column
    return {**dict(renames), **names}


@dataclass
class Cells:
    """A row being read. `used` collects the canonical columns that a reader has taken; the others go to `meta`.

    `remark_counts`: how often a row or message was read specially, by remark; see `normalise._remarks`.
    """

    row: Mapping[str, Any]
    index: int
    file: object
    columns: Columns
    remark_counts: Counter[str]
    used: set[str] = field(default_factory=set)
    padded: bool = False  # the rows come from Arrow, see `Place`

    def place(self, name: str) -> Place:
        source_name = self.columns.source.get(name, name)
        is_json_text = isinstance(self.row.get(source_name), str)  # the nulls in it are its author's
        padded = self.padded and not is_json_text
        return Place(self.file, self.index, source_name, padded)

    def value(self, name: str) -> Any:
        self.used.add(name)
        value = self.row.get(self.columns.source.get(name, name))
        if name in self.columns.as_text and isinstance(value, str):
            if not value.strip():
                return None
            try:
                return from_text(value)
            except ValueError as error:
                what = "the cell holds no list, neither as JSON nor as Python text"
                raise self.place(name).error(what, str(error)) from error

        if nested_deeper(value):
            raise self.place(name).error("the value is too deep", TOO_DEEP)
        return value

    def text(self, name: str) -> str:
        """The text of a cell, "" for null."""
        value = self.value(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.place(name).error("wrong type", f"found {describe(value)}, expected text")
        return self.checked(value, name)

    def checked(self, text: str, name: str) -> str:
        return _checked_text(text, self.place(name))

    def messages(self, name: str) -> tuple[Message, ...]:
        return parse_messages(self.value(name), self.place(name), self.remark_counts)

    def turns(self, name: str, role: str) -> tuple[Message, ...]:
        """A cell as messages, in the shape the sample showed: text becomes one message of `role`; () if empty."""
        shape = self.columns.shape(name)
        if shape == MESSAGES:
            return self.messages(name)
        text = self.text(name)
        if shape == TRANSCRIPT:
            turns = parse_transcript(text, self.place(name))
            if turns or role != "user":  # a prompt without any marker is the user's text; such a response is not known
                return turns
        return (Message(role, text),) if text else ()

    def is_tie(self) -> bool:
        """True if a `status` column calls the row a tie; other values of it are left for `meta`."""
        status = self.row.get(self.columns.source.get("status", "status"))
        return isinstance(status, str) and status.strip().lower() == "tie"

    def number(self, name: str) -> float | None:
        """The number in a cell, None for null or an empty text."""
        value = self.value(name)
        if value is None or value == "":
            return None
        number = as_number(value)
        if number is None:
            raise self.place(name).error("wrong type", f"found {describe(value)}, expected a number")
        return number

    def items(self, name: str) -> list[Any]:
        value = self.value(name)
        if value is None:
            return []
        if not isinstance(value, (list, tuple)):
            raise self.place(name).error("wrong type", f"found {describe(value)}, expected a list")
        return list(value)


def as_number(value: Any) -> float | None:
    """A finite number, also from a numeric text; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def is_whole_conversation(messages: Sequence[Message]) -> bool:
    """True if the messages begin with a turn the model does not write, so that they include their prompt."""
    return bool(messages) and messages[0].role in ASKING_ROLES
