"""The error for a table that no format fits: its columns, the nearest format, and the options that would help."""

from __future__ import annotations

from typing import Any

from pretilt.errors import UserError
from pretilt.pairs.cells import Columns
from pretilt.pairs.judged import FIRST_WINS, STEMS, twin_columns

BY_HAND_HINT = "Name columns by hand, e.g. --column prompt=question --column chosen=good --column rejected=bad"
_KNOWN = {
    "TRL's": ("prompt", "chosen", "rejected"),
    "LLaMA-Factory's": ("instruction", "chosen", "rejected"),
    "two answers with a verdict": ("prompt", "response_a", "response_b", "winner"),
    "Nectar's": ("prompt", "answers"),
    "UltraFeedback's": ("instruction", "completions"),
    "distilabel's": ("instruction", "generations", "ratings"),
    "HelpSteer3's": ("context", "response1", "response2", "overall_preference"),
}
_GUESSES = {
    "prompt": ("prompt", "question", "query", "ask", "instruction", "input", "user", "context", "post"),
    "chosen": ("chosen", "good", "better", "best", "win", "prefer", "accept", "pos"),
    "rejected": ("reject", "bad", "worse", "worst", "los", "dispref", "neg"),
}


def unrecognised(columns: Columns, chosen: str | None, rejected: str | None, file: object) -> UserError:
    listing = f"columns: {listed(columns.source)}"

    if "kto_tag" in columns.shapes or {"completion", "label"} <= set(columns.shapes):
        return UserError(
            "the rows are unpaired (KTO): one response each with a label",
            file=file,
            why=listing,
            fix="Pretilt needs a chosen and a rejected response to the same prompt in every row",
        )

    answers = [a for a in twin_columns(columns, STEMS) if columns.has(a.first, a.second)]
    if answers:
        first, second = (columns.source[n] for n in (answers[0].first, answers[0].second))
        return UserError(
            f"no column says which of '{first}' and '{second}' is better",
            file=file,
            why=f"{listing}; a verdict is called winner, preference, choice or the like",
            fix=f"Give --column winner=COLUMN (it names the answer) or --column {FIRST_WINS}=COLUMN (1 for '{first}')",
        )

    if bool(chosen) != bool(rejected):
        missing, present = ("rejected", chosen) if chosen else ("chosen", rejected)
        what = f"no column '{missing}'" if missing not in columns.shapes else f"the column '{missing}' is empty"
        fix = _by_hand(columns)
        return UserError(what, file=file, column=missing, why=f"there is '{present}' alone; {listing}", fix=fix)

    nearest = max(_KNOWN, key=lambda name: len(set(_KNOWN[name]) & set(columns.source)))
    shared = set(_KNOWN[nearest]) & set(columns.source)
    if shared:
        missing_ones = ", ".join(c for c in _KNOWN[nearest] if c not in shared)
        listing += f"; the nearest format, {nearest}, also has {missing_ones}"

    return UserError("no known preference format fits", file=file, why=listing, fix=_by_hand(columns))


def _by_hand(columns: Columns) -> str:
    """The advice to name columns by hand, with the source's own columns where their names hint at what they hold."""
    options: dict[str, str] = {}
    for name in ("rejected", "chosen", "prompt"):  # "dispreferred" is no "preferred"
        likely = [o for o in columns.source.values() if any(w in str(o).lower() for w in _GUESSES[name])]
        options[name] = next((o for o in likely if o not in options.values()), "COLUMN")
    if set(options.values()) == {"COLUMN"}:
        return BY_HAND_HINT
    named = " ".join(f"--column {n}={options[n]}" for n in ("prompt", "chosen", "rejected") if options[n] != n)
    return f"Name columns by hand: {named}" if named else BY_HAND_HINT


def listed(names: Any) -> str:
    shown = [str(n) for n in names]
    return ", ".join(shown[:40]) + (f" and {len(shown) - 40} more" if len(shown) > 40 else "")
