"""Dataset text as a name: one line, short, without invisible or direction-changing characters.

Names stay plain text: whoever shows one escapes it for the medium (HTML, terminal markup) as all dataset text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

NAME_CAP = 48  # characters of the longest name
PERHAPS = "perhaps"  # how a name begins that detects where its concept fires, but not well
UNNAMED = "no readable name"  # how the name of a concept begins that function words alone would name

_SHOWN = {"\n": "⏎", "\r": "⏎", "\t": "⇥", "\u2028": "⏎", "\u2029": "⏎", "\x0b": "⏎", "\x0c": "⏎", "\x85": "⏎"}
_JOINERS = "\u200c\u200d"  # belong inside emoji and inside words of some scripts, and nowhere else


def readable(text: str) -> str:
    """Line breaks as ⏎, tabs as ⇥, every other control, format, private or unassigned character as \\u{hex}.

    Runs of white space become one space. Byte-order marks, bidi overrides and isolates, zero-width and tag characters
    are all format characters and so are spelled out; a joiner between two characters beyond ASCII is kept.
    """
    if text.isprintable():  # nothing but letters, marks, numbers, punctuation, symbols and the plain space
        return re.sub(r" {2,}", " ", text)

    out = []
    for i, character in enumerate(text.replace("\r\n", "\n")):
        if character in _SHOWN:
            out.append(_SHOWN[character])
        elif character in _JOINERS and 0 < i < len(text) - 1 and text[i - 1] > "\x7f" and text[i + 1] > "\x7f":
            out.append(character)
        elif unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            out.append(f"\\u{{{ord(character):x}}}")
        elif character.isspace():
            out.append(" ")
        else:
            out.append(character)

    return re.sub(r" {2,}", " ", re.sub(r" *(⏎)[ ⏎]*", r"\1", "".join(out)))


def shorten(text: str, cap: int = NAME_CAP) -> str:
    """At most `cap` characters, cut with an ellipsis, never between a letter and its combining marks."""
    if len(text) <= cap:
        return text
    end = cap - 1
    while end > 0 and (unicodedata.combining(text[end]) or text[end] in _JOINERS or text[end - 1] in _JOINERS):
        end -= 1
    return text[:end].rstrip() + "…"


def make_unique(names: Sequence[str], ids: Sequence[int], cap: int = NAME_CAP) -> list[str]:
    """Append " #id" to every name that occurs more than once (without regard to case), within the cap."""
    counts = Counter(name.casefold() for name in names)
    taken = {name.casefold() for name in names if counts[name.casefold()] == 1}

    out = []
    for name, number in zip(names, ids, strict=True):
        if counts[name.casefold()] > 1:
            suffix = f" #{number}"
            name = shorten(name, cap - len(suffix)) + suffix
            while name.casefold() in taken:
                suffix += "'"
                name = shorten(name, cap - len(suffix)) + suffix
            taken.add(name.casefold())
        out.append(name)

    return out
