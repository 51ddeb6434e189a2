"""One preference pair, in the one shape every source is turned into; and the rows that had to be left out.

A pair's identity is its content: `pair_id` is a hash of everything the trainer would see, never a row number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pretilt.run import content_hash
from pretilt.schema import PairId

PAIR_ID_DIGITS = 20
_NO_ID = PairId("")


@dataclass(frozen=True, slots=True)
class TemplateReads:
    """`keys`: those of a message that the template can read, None for any; `parts`: contents may be lists of parts."""

    keys: frozenset[str] | None
    parts: bool


# Where no template is at hand: what many read.
COMMON_READS = TemplateReads(
    frozenset(("tool_calls", "tool_call_id", "name", "reasoning_content", "reasoning", "thinking")), parts=False
)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    `extra` is a JSON object of the other keys that the chat template can read (`template_reads.py`), or None. Key order
    inside it is the source's, since templates print tool calls in that order. `as_dict` gives the template what the
    source held: a turn whose content is null (a bare tool call) has content "" and `"content": null` in `extra`, one
    whose content is in parts has their texts joined, and the parts in `extra`.
    """

    role: str
    content: str
    extra: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The message as a chat template takes it."""
        return {"role": self.role, "content": self.content, **(json.loads(self.extra) if self.extra else {})}


@dataclass(frozen=True, slots=True)
class Pair:
    """Prompt + chosen + rejected: the context's messages, then one or more messages of each response.

    `is_chat=False` means plain strings that TRL trains on without a chat template: then each of the three is exactly
    one message whose content is the raw string. `tools`, `template_kwargs` and `meta` are JSON texts or None.
    """

    row_index: int
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    is_chat: bool = True
    tools: str | None = None
    template_kwargs: str | None = None
    source: str | None = None
    chosen_model: str | None = None
    rejected_model: str | None = None
    chosen_score: float | None = None
    rejected_score: float | None = None
    meta: str | None = None
    pair_id: PairId = _NO_ID


@dataclass(frozen=True, slots=True)
class Drop:
    """A source row that gives no pair. `reason` is one of DROP_REASONS; `detail` says what was seen, in a few words."""

    row_index: int
    reason: str
    detail: str = ""


DROP_REASONS = (
    "empty",
    "identical",
    "tie",
    "no common prompt",
    "diverging turns",
    "truncated away",
    "no content token",
    "chat template refused",
)


@dataclass(frozen=True)
class NormalisedPairs:
    """What `normalise` returns: every source row is in `pairs` (once, or several times for K-wise rows) or in `drops`.

    `format` is the name of the recognised format; `notes` are one-line remarks for the reader, most important first;
    `n_rows` counts the source rows.
    """

    pairs: list[Pair]
    drops: list[Drop]
    format: str
    notes: list[str] = field(default_factory=list)
    n_rows: int = 0


def to_json(value: Any) -> str:
    """Compact JSON that keeps the order of keys."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def content_id(pair: Pair) -> PairId:
    """20 hex digits of the SHA-256 over what the trainer sees: messages, tools, template arguments, chat or not.

    Row number, source, models, scores and `meta` do not enter, nor does the order of keys inside JSON objects.
    """

    def span(messages: Sequence[Message]) -> list[list[Any]]:
        return [[m.role, m.content, json.loads(m.extra) if m.extra else None] for m in messages]

    content: Mapping[str, Any] = {
        "prompt": span(pair.prompt),
        "chosen": span(pair.chosen),
        "rejected": span(pair.rejected),
        "tools": json.loads(pair.tools) if pair.tools else None,
        "template_kwargs": json.loads(pair.template_kwargs) if pair.template_kwargs else None,
        "is_chat": pair.is_chat,
    }
    return PairId(content_hash(content)[:PAIR_ID_DIGITS])


def assign_pair_ids(pairs: Sequence[Pair]) -> list[Pair]:
    """The same pairs, in the same order, with their ids; the 2nd, 3rd, … copy of a content ends in "-2", "-3", …"""
    n_copies: dict[PairId, int] = {}
    identified = []
    for pair in pairs:
        base = content_id(pair)
        n_copies[base] = n_copies.get(base, 0) + 1
        copy = n_copies[base]
        identified.append(replace(pair, pair_id=base if copy == 1 else PairId(f"{base}-{copy}")))
    return identified


def with_response(pair: Pair, side: str, text: str) -> Pair:
    """The pair with another text in the one answer of `side` ("chosen" or "rejected"); its `pair_id` stays.

    Raises ValueError for a response of several answers: which of them a text would replace is not known.
    """
    messages: tuple[Message, ...] = getattr(pair, side)
    place = [i for i, message in enumerate(messages) if message.role == "assistant"] or list(range(len(messages)))
    if len(place) != 1:
        raise ValueError(f"pair {pair.pair_id} has {len(place)} answers in its {side} response")
    changed = replace(messages[place[0]], content=text)
    response = (*messages[: place[0]], changed, *messages[place[0] + 1 :])
    return replace(pair, chosen=response) if side == "chosen" else replace(pair, rejected=response)
