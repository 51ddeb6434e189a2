"""A conversation as one text that says whose turn is whose: what a person reads in place of a list of messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_HEADING = re.compile(r"\n\n((?:system|developer|user|assistant|tool):\n)")


def transcript(messages: Sequence[Mapping[str, Any]], *, is_chat: bool = True) -> str:
    """The turns (`role`, `content`, `extra` as in PAIRS), each under its role; a blank line stands between two.

    A single turn of the user stands without a heading, and so does plain text (`is_chat` False), which has no roles.
    `extra`, the JSON of tool calls and the like, follows the content of its turn.

        transcript([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
        # "user:\\nHi\\n\\nassistant:\\nHello"
    """
    bodies = ["\n".join(part for part in (m["content"], m.get("extra")) if part) for m in messages]
    if not is_chat or [m["role"] for m in messages] == ["user"]:
        return "\n\n".join(bodies)
    return "\n\n".join(f"{m['role']}:\n{body}" for m, body in zip(messages, bodies, strict=True))


def last_turn(text: str) -> int:
    """Where the last turn of a transcript begins, in characters; 0 if the text is a single turn.

    It is for showing alone: a message whose own text imitates a heading is taken for a turn.
    """
    headings = list(_HEADING.finditer(text))
    return headings[-1].start(1) if headings else 0
