"""K-wise rows: several responses to one context with ranks, ratings or a preference; how pairs are chosen from them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiltmeter.pairs.cells import Cells, as_number
from tiltmeter.pairs.messages import checked_text, describe, parse_messages
from tiltmeter.pairs.pair import Message


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
    """What one row says: the context, the responses, and extras; or `drop` = (reason, detail) when it gives no pair."""

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


def read_answers(cells: Cells, prompt: str) -> Reading:
    """Nectar: `answers` = [{answer, model, rank}], rank 1 is the best."""
    responses = []
    place = cells.place("answers")
    for number, answer in enumerate(cells.items("answers")):
        if not isinstance(answer, Mapping):
            raise place.error(
                "wrong type", f"answer {number} is {describe(answer)}, expected an object with answer and rank"
            )
        rank = as_number(answer.get("rank"))
        if rank is None and answer.get("rank") is not None:
            raise place.error(
                "wrong type", f"the rank of answer {number} is {describe(answer['rank'])}, expected a number"
            )
        text = answer.get("answer", answer.get("text"))
        if text is not None and not isinstance(text, str):
            raise place.error("wrong type", f"answer {number} is {describe(text)}, expected text")
        if rank is None:
            cells.seen["answers without a rank"] += 1
            continue
        model = answer.get("model")
        message = Message("assistant", checked_text(text or "", place))
        responses.append(Response((message,), rank, model if isinstance(model, str) else None))
    return Reading(open_context(cells, prompt), responses, ranks_to_meta=True)


def read_completions(cells: Cells, context: str) -> Reading:
    """NeMo-RL: `completions` = [{rank, completion: messages}], the lowest rank is the best."""
    responses = []
    place = cells.place("completions")
    for number, item in enumerate(cells.items("completions")):
        rank = as_number(item.get("rank")) if isinstance(item, Mapping) else None
        if rank is None:
            raise place.error(
                "wrong type", f"completion {number} is {describe(item)}, expected an object with rank and completion"
            )
        completion = item.get("completion")
        messages = (
            (Message("assistant", checked_text(completion, place)),)
            if isinstance(completion, str)
            else parse_messages(completion, place, cells.seen)
        )
        responses.append(Response(messages, rank))
    return Reading(cells.turns(context, "user"), responses, ranks_to_meta=True)


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
            cells.seen["answers without a rank"] += 1
            continue
        model = names[number] if number < len(names) and isinstance(names[number], str) else None
        message = Message("assistant", checked_text(text or "", cells.place(texts)))
        responses.append(Response((message,), -score, model, score))
    return Reading(open_context(cells, prompt), responses)


def read_preference(cells: Cells, context: str) -> Reading:
    """HelpSteer3: `overall_preference` from -3 (response1 much better) to 3 (response2 much better); 0 is a tie."""
    before = open_context(cells, context)
    first, second = cells.turns("response1", "assistant"), cells.turns("response2", "assistant")
    preference = cells.number("overall_preference")
    cells.used.discard("overall_preference")  # its strength is worth keeping in `meta`
    if preference is None:
        return Reading(drop=("tie", "no overall_preference"))
    if preference == 0:
        return Reading(drop=("tie", "overall_preference is 0"))
    return Reading(before, [Response(first, preference), Response(second, -preference)])


def open_context(cells: Cells, name: str) -> tuple[Message, ...]:
    """The turns before the response; a blank Assistant turn that only opens the response is not one of them."""
    turns = cells.turns(name, "user")
    if turns and turns[-1].role == "assistant" and not turns[-1].content.strip() and not turns[-1].extra:
        return turns[:-1]
    return turns
