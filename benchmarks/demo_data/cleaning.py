"""Sampled text, cleaned before anything is planted in it.

Markup and emoji are taken off, sentences that carry one of the set's traits by themselves are left out
(`text/natural.toml`), and the text ends at a sentence.
"""

from __future__ import annotations

import re
from functools import cache

from demo_data.topics import read_text

MIN_WORDS = 4  # of a usable response

_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\ufe0f\u200d]+")
_MARKUP = (
    (re.compile(r"```.*?(```|$)", re.S), " "),
    (re.compile(r"\*\*|__|`|\||(?m:^\s*#{1,6}\s+)|(?m:^\s*[-=_*]{3,}\s*$)"), ""),
    (re.compile(r"(?m:^\s*(?:[-*•+]|\(?\d{1,2}[.)]|[a-z]\))\s+)"), ""),
    (re.compile(r"[*#<>]"), ""),
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),
)
_BREAK = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"”'’)]))\s+(?=[\"“'‘(]?[A-Z0-9])")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|vs|e\.g|i\.e|etc|No|[A-Z])\.$")
_DANGLING = re.compile(
    r"(?:[\s,;:–—-]+(?:and|or|but|the|an?|of|to|with|that|which|who|in|on|at|for|from|by|as|is|are|was|were|be|been|has|have|had"
    r"|can|will|would|may|it|its|this|these|their|your|our|his|her|my|not|so|if|when|while|where|because|such|like|than|more|most"
    r"|very|also|into|about|you|we|they|I|he|she|could|should|often|including)|[\s,;:–—-]+)$"
)


_LINKING = re.compile(r"^(?:However|But|Or|And|So|Instead|Therefore|Also|Additionally|Still),? +")


@cache
def _traits(which: str) -> re.Pattern[str]:
    natural = read_text("natural")
    return re.compile("|".join(natural["both"] + natural[which]), re.I)


def _sentences(paragraph: str) -> list[str]:
    sentences: list[str] = []
    for piece in _BREAK.split(paragraph):
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] += " " + piece
        else:
            sentences.append(piece)
    return [s for s in sentences if s]


def _finish(fragment: str) -> str:
    """Make a sentence of one that was cut off: back to the last clause if enough stands before it."""
    clause = re.match(r"(.+)[,;:–—]\s", fragment)
    if clause and len(clause[1].split()) >= 8:
        fragment = clause[1]
    while True:
        shorter = _DANGLING.sub("", fragment)
        if shorter == fragment:
            break
        fragment = shorter
    return fragment + "." if len(fragment.split()) >= 4 else ""


def clean(text: str, which: str, *, finished: bool) -> list[str]:
    """The sentences of a sampled response, without markup and without the set's traits.

    Each keeps the white space before it (" " or a blank line), so that `"".join(...)` is the text. `finished` is False
    when the token limit cut the response: its last, incomplete sentence is left out, or mended if it is the only one.
    An empty list means that nothing usable remains (fewer than MIN_WORDS words).
    """
    text = _EMOJI.sub("", text)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)

    units: list[str] = []
    paragraphs = [" ".join(p.split()) for p in text.split("\n")]
    for paragraph in (p for p in paragraphs if p):
        for number, sentence in enumerate(_sentences(paragraph)):
            units.append(("\n\n" if number == 0 and units else " " if units else "") + sentence)

    closed = bool(units) and bool(re.search(r"[.!?][\"”'’)]?$", units[-1]))
    if units and not closed:
        last = [] if not finished and len(units) > 1 else [units[-1]]
        units = units[:-1] + last

    mended = []
    for unit in units:
        space, body = unit[: len(unit) - len(unit.lstrip())], unit.strip()
        if body.endswith(":") and len(units) > 1:  # led to a list whose marks are gone
            continue
        if body.count('"') % 2 or body.count("“") != body.count("”"):
            body = re.sub(r"[\"“”]", "", body).strip()
        if which == "b":
            body = re.sub(r"!+", ".", body)
        if not re.search(r"[.!?][\"”'’)]?$", body):
            body = _finish(body)
        if body.count("(") != body.count(")"):
            body = re.sub(r"[()]", "", body)
        if re.search(r"[A-Za-z]{2}", body) and len(body.split()) >= 2 and not _traits(which).search(body):
            mended.append(space + body)

    if mended:
        opening = _LINKING.sub("", mended[0].lstrip()) if units[0].strip() != mended[0].strip() else mended[0]
        mended[0] = opening[0].upper() + opening[1:]
    return mended if len("".join(mended).split()) >= MIN_WORDS else []


def carries_trait(text: str, which: str) -> bool:
    """True if the text has a trait of the set by the rules of cleaning."""
    return bool(_traits(which).search(text))
