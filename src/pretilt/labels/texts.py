"""The text that a labeller or a judge reads: cut to a window, with the places where the concept fires marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

EXCERPT = 400  # characters of a text that are read
OPEN, CLOSE = "<<", ">>"
_STRONG = 0.5  # tokens are marked from this share of the text's strongest activation on


@dataclass(frozen=True)
class Text:
    """`content` is what a judge sees; `marked` the same text with the firing places between << and >>."""

    content: str
    marked: str
    shows: bool


@dataclass(frozen=True)
class Subject:
    """Something to be labelled. `kind` is "concept", "group" or "prompt_concept"; `id` is its id as text.

    `fit` and `score` share no family. Texts of groups and of prompt concepts are prompts, without marks.
    """

    kind: str
    id: str
    fit: tuple[Text, ...]
    score: tuple[Text, ...]


def strong(acts: Sequence[float]) -> list[bool]:
    """Which tokens count as the places where it fires: those with at least half of the strongest activation."""
    floor = _STRONG * max(acts, default=0.0)
    return [a > 0 and a >= floor for a in acts]


def window(lengths: Sequence[int], centre: int, cap: int = EXCERPT) -> tuple[int, int]:
    """First and last + 1 of the pieces around `centre` that together have at most `cap` characters (at least one)."""
    if not lengths:
        return 0, 0
    centre = min(max(centre, 0), len(lengths) - 1)
    first, last, used = centre, centre + 1, lengths[centre]
    grew = True
    while grew:
        grew = False
        if first > 0 and used + lengths[first - 1] <= cap:
            first, used, grew = first - 1, used + lengths[first - 1], True
        if last < len(lengths) and used + lengths[last] <= cap:
            last, used, grew = last + 1, used + lengths[last], True
    return first, last


def response_text(pieces: Sequence[str], acts: Sequence[float], *, shows: bool, centre: float | None = None) -> Text:
    """A window of a response around its strongest token, or around the share `centre` in [0, 1] of its tokens.

    A text without the concept is cut around the same share as its counterpart: where a window begins must not tell.
    """
    marks = strong(acts) if shows else [False] * len(pieces)
    at = peak(acts) if centre is None else round(centre * (len(pieces) - 1))
    first, last = window([len(p) for p in pieces], at)
    content = "".join(pieces[first:last])[:EXCERPT]
    return Text(content, _mark(pieces[first:last], marks[first:last]) if shows else _without_marks(content), shows)


def prompt_text(text: str, *, shows: bool) -> Text:
    """The end of a prompt: its last turn says most about what is asked."""
    words = re.findall(r"\s*\S+", text) or [text]
    first, last = window([len(w) for w in words], len(words) - 1)
    content = "".join(words[first:last]).strip()[-EXCERPT:]
    return Text(content, _without_marks(content), shows)


def peak(acts: Sequence[float]) -> int:
    """The place of the strongest activation, the first of equal ones."""
    return max(range(len(acts)), key=lambda i: (acts[i], -i), default=0)


def _mark(pieces: Sequence[str], marks: Sequence[bool]) -> str:
    """Neighbouring marked pieces share one pair of marks; a leading space stays outside."""
    out, i = [], 0
    while i < len(pieces):
        j = i
        while j < len(pieces) and marks[j] == marks[i]:
            j += 1
        run = _without_marks("".join(pieces[i:j]))
        if marks[i]:
            inner = run.lstrip(" ")
            run = f"{run[: len(run) - len(inner)]}{OPEN}{inner}{CLOSE}"
        out.append(run)
        i = j
    return "".join(out)


def _without_marks(text: str) -> str:
    """The dataset's own << and >> taken apart, so that a text cannot mark itself."""
    return re.sub(r"<(?=<)", "< ", re.sub(r">(?=>)", "> ", text))
