"""Context + two responses → one pair: where the prompt ends, and which rows give no pair and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pretilt.pairs.cells import is_whole_conversation
from pretilt.pairs.messages import ASKING_ROLES
from pretilt.pairs.pair import Message
from pretilt.pairs.ranked import is_blank

Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    prompt: Messages
    chosen: Messages
    rejected: Messages


@dataclass(frozen=True, slots=True)
class Unjoined:
    reason: str
    detail: str


def join(
    context: Messages, chosen: Messages, rejected: Messages, turns: str, remark_counts: Counter[str]
) -> Joined | Unjoined:
    """Split a row into prompt, chosen and rejected.

    Responses that begin with a user's or system turn are whole conversations: the prompt is then what the two share
    from the start, and the context column, which repeats a part of it, is not read. Else the context is the prompt.
    Responses in which the user speaks again are diverging turns: with `turns="last"` the last turn alone is the
    response, if what stands before it is the same on both sides up to white space.
    """
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if not side or is_blank(side):
            return Unjoined("empty", f"{name} is empty")
    if is_whole_conversation(chosen) or is_whole_conversation(rejected):
        return _join_whole(context, chosen, rejected, turns, remark_counts)
    if not context or is_blank(context):
        return Unjoined("empty", "the prompt is empty")
    if chosen == rejected:
        return Unjoined("identical", "")
    if any(m.role in ASKING_ROLES for m in (*chosen, *rejected)):
        return _last_turn(context + chosen, context + rejected, turns, "the responses hold turns of the user")
    return Joined(context, chosen, rejected)


def _join_whole(
    context: Messages, chosen: Messages, rejected: Messages, turns: str, remark_counts: Counter[str]
) -> Joined | Unjoined:
    sides = []
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if not is_whole_conversation(side):
            if not context:
                return Unjoined("no common prompt", f"{name} begins with the model's turn, the other side does not")
            side = context + side
        elif _lacks_system(side, context):
            side = context[:1] + side
        sides.append(side)

    first, second = sides
    if context and not _repeats(context, first):
        remark_counts["prompt column unlike the conversation"] += 1
    if first == second:
        answered = first[-1].role not in ASKING_ROLES
        return (
            Unjoined("identical", "") if answered else Unjoined("empty", "the conversations end with the user's turn")
        )

    at = common_turns(first, second)
    chosen_turns, rejected_turns = first[at:], second[at:]
    has_asking_turn = any(m.role in ASKING_ROLES for m in (*chosen_turns, *rejected_turns))
    if at == 0 or (has_asking_turn and not any(m.role == "user" for m in first[:at])):
        return Unjoined("no common prompt", "the conversations begin differently")
    if has_asking_turn or not chosen_turns or not rejected_turns:
        return _last_turn(
            first, second, turns, f"the conversations differ from turn {at + 1} of {max(len(first), len(second))}"
        )

    for name, side in (("chosen", chosen_turns), ("rejected", rejected_turns)):
        if is_blank(side):
            return Unjoined("empty", f"{name} is empty")
    return Joined(first[:at], chosen_turns, rejected_turns)


def _lacks_system(conversation: Messages, context: Messages) -> bool:
    """True if the context is a system turn, then the conversation's own beginning."""
    is_system = bool(context) and context[0].role == "system" and conversation[0].role != "system"
    return is_system and conversation[: len(context) - 1] == context[1:]


def common_turns(first: Sequence[Message], second: Sequence[Message]) -> int:
    """How many messages two conversations share from the start."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _repeats(context: Messages, conversation: Messages) -> bool:
    """True if every text of the prompt column stands in the conversation."""
    texts = {m.content.strip() for m in conversation}
    return all(m.content.strip() in texts for m in context)


def _last_turn(first: Messages, second: Messages, turns: str, detail: str) -> Joined | Unjoined:
    if turns != "last":
        return Unjoined("diverging turns", detail)
    before_first, chosen = _split_last(first)
    before_second, rejected = _split_last(second)
    if is_blank(chosen) or is_blank(rejected):
        return Unjoined("diverging turns", f"{detail}; no response follows the last turn of the user")
    if _squeezed(before_first) != _squeezed(before_second):
        return Unjoined("diverging turns", f"{detail}; the turns before the last response differ too")
    if chosen == rejected:
        return Unjoined("identical", "the last turns are the same")
    return Joined(before_first, chosen, rejected)


def _split_last(conversation: Messages) -> tuple[Messages, Messages]:
    end = next(i for i in range(len(conversation), -1, -1) if i == 0 or conversation[i - 1].role in ASKING_ROLES)
    return conversation[:end], conversation[end:]


def _squeezed(messages: Messages) -> list[tuple[str, str, str | None]]:
    return [(m.role, " ".join(m.content.split()), m.extra) for m in messages]
