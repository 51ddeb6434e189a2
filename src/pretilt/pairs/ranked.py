"""K-wise rows: several responses to one context with ranks, ratings or a preference; how pairs are chosen from them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pretilt.pairs.cells import Cells, as_number
from pretilt.pairs.context import read_context
from pretilt.pairs.messages import checked_text, describe, parse_messages
from pretilt.pairs.pair import Message

TEXT_KEYS = ("answer", "completion", "response", "text", "content", "output")
SCORE_KEYS = ("fine-grained_score", "overall_score", "score", "rating")
_NO_SCORE = ("", "N/A")


@dataclass(frozen=True, slots=True)
class Response:
    """One response; a lower `rank` is better, equal ranks are a tie."""

    messages: tuple[Message, ...]
    rank: float
    model: str | None = None
    score: float | None = None

    @property
    def is_blank(self) -> bool:
        return is_blank(self.messages)


@dataclass(slots=True)
class Reading:
    """One row as read: the context, the responses, and extras; or `drop` = (reason, detail) when it gives no pair."""

    context: tuple[Message, ...] = ()
    responses: list[Response] = field(default_factory=list)
    drop: tuple[str, str] | None = None
    tools: Any = None
    ranks_to_meta: bool = False


def is_blank(messages: tuple[Message, ...]) -> bool:
    """True if no message holds anything but white space; a tool call is something."""
    return not any(m.content.strip() or (m.extra and '"tool_calls"' in m.extra) for m in messages)


def choose(
    responses: list[Response], policy: str, seed: int, row_index: int, left_out: Counter[str]
) -> list[tuple[Response, Response]] | tuple[str, str]:
    """(chosen, rejected) by policy, or (reason, detail) when there is none.

    "best-worst": the first best and the last worst; "best-random": the first best and one of the strictly worse, drawn
    with `seed` and the row number; "all": every two of different rank. Blank responses of K-wise rows take no part.
    """
    if len(responses) > 2:
        blank = [r for r in responses if r.is_blank]
        left_out["blank answers"] += len(blank)
        responses = [r for r in responses if not r.is_blank]

    if len(responses) < 2:
        return "empty", "fewer than two responses with a text and a rank"
    ordered = sorted(responses, key=lambda r: r.rank)  # stable: the source's order among equals
    best, worst = ordered[0], ordered[-1]
    if best.rank == worst.rank:
        return "tie", "all responses have the same rank"

    if policy == "best-worst":
        return [(best, worst)]
    if policy == "best-random":
        worse = [r for r in ordered if r.rank > best.rank]
        return [(best, random.Random(f"{seed}:{row_index}").choice(worse))]

    combinations = [(a, b) for a, b in itertools.combinations(ordered, 2) if a.rank < b.rank]
    left_out["ties between answers"] += len(ordered) * (len(ordered) - 1) // 2 - len(combinations)
    return combinations


def read_items(cells: Cells, context: str, column: str) -> Reading:
    """Objects with a text (or messages) and a rank, 1 or 0 the best (Nectar, NeMo-RL), or a score, the highest the best
    (UltraFeedback, whose mean over aspects is preferred to its `overall_score`, known to be inverted in some rows).
    """
    responses = []
    place = cells.place(column)
    for number, item in enumerate(cells.items(column)):
        if not isinstance(item, Mapping):
            why = f"{column[:-1]} {number} is {describe(item)}, expected an object with a text and a rank or score"
            raise place.error("wrong type", why)

        by_rank = "rank" in item
        name = "rank" if by_rank else next((k for k in SCORE_KEYS if item.get(k) is not None), "score")
        value = item.get(name)
        number_or_none = as_number(value)
        if number_or_none is None and value is not None and value == value and str(value) not in _NO_SCORE:
            why = f"the {name} of {column[:-1]} {number} is {describe(value)}, expected a number"
            raise place.error("wrong type", why)

        written = next((item[k] for k in TEXT_KEYS if item.get(k) is not None), None)
        if number_or_none is None:
            cells.remark_counts["answers without a rank"] += 1
            continue
        if written is None or isinstance(written, str):
            messages: tuple[Message, ...] = (Message("assistant", checked_text(written or "", place)),)
        else:
            messages = parse_messages(written, place, cells.remark_counts)

        model = item.get("model", item.get("policy"))
        rank, score = (number_or_none, None) if by_rank else (-number_or_none, number_or_none)
        responses.append(Response(messages, rank, model if isinstance(model, str) else None, score))

    turns, tools = read_context(cells, context, True)
    by_ranks = any(r.score is None for r in responses)
    return Reading(turns, responses, tools=tools, ranks_to_meta=by_ranks)


def read_ordered(cells: Cells, context: str, column: str) -> Reading:
    """LLaMA-Factory's older ranking rows: a list of two texts, the better one first."""
    texts = cells.items(column)
    if len(texts) != 2 or not all(isinstance(t, str) for t in texts):
        why = f"{len(texts)} items, expected two texts, the better one first"
        raise cells.place(column).error("wrong list", why)
    turns, tools = read_context(cells, context, True)
    responses = [
        Response((Message("assistant", cells.checked(text, column)),), rank) for rank, text in enumerate(texts)
    ]
    return Reading(turns, responses, tools=tools)


def read_chosen_summary(cells: Cells, context: str) -> Reading:
    """summarize_from_feedback: `choice` is the number, from 0, of the better of two `summaries`."""
    choice = cells.number("choice")
    items = cells.items("summaries")
    if choice is None:
        return Reading(drop=("tie", "no choice"))
    if len(items) != 2 or choice not in (0, 1) or not all(isinstance(i, Mapping) for i in items):
        why = f"choice is {choice:g} and there are {len(items)} summaries, expected 0 or 1 and two"
        raise cells.place("choice").error("wrong number", why)

    responses = []
    for number, item in enumerate(items):
        text, policy = item.get("text"), item.get("policy")
        if not isinstance(text, str):
            raise cells.place("summaries").error("wrong type", f"the text of summary {number} is {describe(text)}")
        message = Message("assistant", cells.checked(text, "summaries"))
        responses.append(Response((message,), number != choice, policy if isinstance(policy, str) else None))

    turns, tools = read_context(cells, context, True)
    return Reading(turns, responses, tools=tools)


def read_rated(cells: Cells, prompt: str, texts: str, ratings: str, models: str | None) -> Reading:
    """Parallel lists of texts and ratings (distilabel, Snorkel): the highest rating is the best."""
    written, rated = cells.items(texts), cells.items(ratings)
    names = cells.items(models) if models else []
    if len(written) != len(rated):
        why = f"{len(written)} texts but {len(rated)} ratings"
        raise cells.place(ratings).error("the lists differ in length", why)

    responses = []
    for number, (text, rating) in enumerate(zip(written, rated, strict=True)):
        if text is not None and not isinstance(text, str):
            raise cells.place(texts).error("wrong type", f"item {number} is {describe(text)}, expected text")

        score = as_number(rating)
        if score is None:
            if rating is not None and rating == rating:  # NaN is a missing rating
                raise cells.place(ratings).error(
                    "wrong type", f"item {number} is {describe(rating)}, expected a number"
                )
            cells.remark_counts["answers without a rank"] += 1
            continue

        model = names[number] if number < len(names) and isinstance(names[number], str) else None
        message = Message("assistant", checked_text(text or "", cells.place(texts)))
        responses.append(Response((message,), -score, model, score))

    turns, tools = read_context(cells, prompt, True)
    return Reading(turns, responses, tools=tools)
