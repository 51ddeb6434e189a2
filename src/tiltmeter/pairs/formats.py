"""Which format a table has, decided once by its column names and the shapes of its values, and said by name.

A format is a name and a function that reads one row into a `Reading`: the context and two or more ranked responses.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiltmeter.errors import UserError
from tiltmeter.pairs import ranked
from tiltmeter.pairs.cells import (
    MESSAGES,
    NUMBERS,
    OBJECTS,
    TEXT,
    TEXTS,
    TRANSCRIPT,
    TURNS,
    WRAPPED,
    Cells,
    Columns,
    survey,
)
from tiltmeter.pairs.messages import ASKING_ROLES, Place, image_error
from tiltmeter.pairs.paired import PairedReader, common_text
from tiltmeter.pairs.ranked import Reading

CHOSEN = ("chosen", "chosen_response", "preferred_output", "preferred_completion")
REJECTED = ("rejected", "rejected_response", "non_preferred_output", "non_preferred_completion")
CONTEXTS = ("messages", "context", "conversations", "conversation", "input", "question", "instruction")
EXTRAS = ("system", "history", "tools", "chat_template_kwargs", "status")
FACTS = ("source", "chosen_model", "rejected_model", "chosen_score", "rejected_score")
K_WISE = (
    "answers",
    "completions",
    "generations",
    "ratings",
    "generation_models",
    "all_generated_responses",
    "all_rm_scores",
    "response1",
    "response2",
    "overall_preference",
)
NAMEABLE = ("prompt", *CHOSEN, *REJECTED, *CONTEXTS, *EXTRAS, *FACTS, *K_WISE)
IMPLICIT_TEXT = "TRL implicit standard"
_BY_HAND = "Name columns by hand, e.g. --column prompt=question --column chosen=good --column rejected=bad"


@dataclass(frozen=True)
class Format:
    """A recognised format: its name for the reader, how to read a row, and remarks on what was recognised."""

    name: str
    read: Callable[[Cells], Reading]
    columns: Columns
    is_chat: bool = True
    notes: list[str] = field(default_factory=list)


def recognise(sample: Sequence[Mapping[str, Any]], renames: Mapping[str, str], k_wise: str, file: object) -> Format:
    """The format of a table, from a sample of its rows.

    `renames`: canonical → source column, given by hand. Raises UserError for unpaired and image rows, for a column that
    does not exist, and when no format or more than one fits.
    """
    _check_renames(sample, renames, file)
    columns = survey(sample, renames, file)
    for name in ("images", "image"):
        if columns.has(name):
            row = next(i for i, r in enumerate(sample) if r.get(name))
            raise image_error(Place(file, row, name))
    chosen, rejected = columns.first(CHOSEN), columns.first(REJECTED)
    many = _k_wise(columns)
    if chosen and rejected and not (many and k_wise != "best-worst"):
        found = _paired(columns, chosen, rejected, renames, file)
        if found.name == IMPLICIT_TEXT and not _share_prompts(sample):
            why = f"most texts in chosen and rejected share no beginning; columns: {_listed(columns.source)}"
            raise UserError("no column holds the prompt", file=file, why=why, fix=_BY_HAND)
        if many:
            found.notes.append(
                f"the source's own chosen and rejected are used; --k-wise all would use '{_lists(columns)}'"
            )
        return found
    if many:
        return many
    raise _unrecognised(columns, chosen, rejected, file)


def _share_prompts(sample: Sequence[Mapping[str, Any]]) -> bool:
    """True if in half of the sample or more the two texts begin alike: the prompt may then be a part of them."""
    texts = [(r.get("chosen"), r.get("rejected")) for r in sample]
    different = [(a, b) for a, b in texts if isinstance(a, str) and isinstance(b, str) and a and b and a != b]
    alike = sum(bool(a[: common_text(a, b)].strip()) for a, b in different)
    return 2 * alike >= len(different)


def _check_renames(sample: Sequence[Mapping[str, Any]], renames: Mapping[str, str], file: object) -> None:
    existing = list(dict.fromkeys(n for row in sample for n in row))
    for canonical, own in renames.items():
        if canonical not in NAMEABLE:
            close = difflib.get_close_matches(canonical, NAMEABLE, 1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise UserError(
                f"'{canonical}' is no column that can be named by hand", why=f"{hint}choices: {', '.join(NAMEABLE)}"
            )
        if own not in existing:
            close = difflib.get_close_matches(str(own), [str(e) for e in existing], 1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise UserError("no such column", file=file, column=own, why=f"{hint}columns: {_listed(existing)}")
    twice = [own for own in renames.values() if list(renames.values()).count(own) > 1]
    if twice:
        raise UserError("one column is given two names", file=file, column=twice[0])


def _k_wise(columns: Columns) -> Format | None:
    """The K-wise format, if the columns hold one."""

    def shaped(**shapes: str) -> bool:
        return all(columns.shape(n) == s for n, s in shapes.items())

    prompt = columns.first(("prompt", "instruction", "question", "messages"))
    if shaped(answers=OBJECTS) and prompt:
        return Format("Nectar (ranked answers)", lambda c: ranked.read_answers(c, prompt), columns)
    if shaped(completions=OBJECTS) and columns.first(("context", "messages", "prompt")):
        context = columns.first(("context", "messages", "prompt"))
        return Format("NeMo-RL ranked completions", lambda c: ranked.read_completions(c, str(context)), columns)
    if shaped(generations=TEXTS, ratings=NUMBERS) and prompt:
        return Format(
            "distilabel rated generations",
            lambda c: ranked.read_rated(c, prompt, "generations", "ratings", "generation_models"),
            columns,
        )
    if shaped(all_generated_responses=TEXTS, all_rm_scores=NUMBERS) and prompt:
        return Format(
            "Snorkel PairRM (all responses)",
            lambda c: ranked.read_rated(c, prompt, "all_generated_responses", "all_rm_scores", None),
            columns,
        )
    if columns.has("response1", "response2") and "overall_preference" in columns.shapes:
        context = columns.first(("context", "prompt", "messages"))
        if context:
            return Format("HelpSteer3 preference", lambda c: ranked.read_preference(c, context), columns)
    return None


def _lists(columns: Columns) -> str:
    return str(columns.first(("answers", "completions", "generations", "all_generated_responses", "response1")))


def _paired(columns: Columns, chosen: str, rejected: str, renames: Mapping[str, str], file: object) -> Format:
    shape = columns.shape(chosen)
    for name in (chosen, rejected):
        if columns.shape(name) not in (TEXT, TRANSCRIPT, MESSAGES):
            raise UserError(
                "wrong type",
                file=file,
                column=columns.source[name],
                why=f"most rows hold {columns.shape(name)}, expected text or messages",
                fix=_BY_HAND,
            )
    if {columns.shape(rejected), shape} == {TEXT, MESSAGES}:
        why = f"'{columns.source[chosen]}' holds {shape}, '{columns.source[rejected]}' holds {columns.shape(rejected)}"
        raise UserError("chosen and rejected differ in kind", file=file, why=why)
    whole = TRANSCRIPT in (shape, columns.shape(rejected)) or columns.opening_roles.get(chosen) in ASKING_ROLES
    context = _context(columns, whole, file)
    if context is None and shape == MESSAGES and not whole:
        raise UserError(
            "no column holds the prompt",
            file=file,
            why=f"chosen begins with the model's turn; columns: {_listed(columns.source)}",
            fix=_BY_HAND,
        )
    name = _paired_name(columns, chosen, context, whole)
    plain = (
        shape == TEXT
        and context in (None, "prompt")
        and columns.shape(context) in ("", TEXT)
        and not columns.has("system")
        and "system" not in renames
    )
    exact = all(columns.source.get(n, n) == n for n in ("prompt", chosen, rejected)) and (chosen, rejected) == (
        "chosen",
        "rejected",
    )
    is_chat = not (plain and exact)
    if context is None and shape == TEXT and is_chat:
        raise UserError(
            "no column holds the prompt", file=file, why=f"columns: {_listed(columns.source)}", fix=_BY_HAND
        )
    # axolotl and LLaMA-Factory read a `system` column beside texts and from/value lists, nobody beside role/content.
    beside_turns = whole or (columns.shape(context) == MESSAGES and context != "conversations")
    reads_system = "system" in renames or not beside_turns
    reader = PairedReader(chosen, rejected, context, is_chat, whole, reads_system)
    notes = []
    if columns.has("system") and not reads_system:
        notes.append(
            "the column 'system' is not read: the conversations hold their own turns (--column system=system reads it)"
        )
    if renames:
        given = ", ".join(f"{k}={v}" for k, v in renames.items())
        name = f"{name}, columns by hand ({given})"
    return Format(name, reader.read, columns, is_chat, notes)


def _context(columns: Columns, whole: bool, file: object) -> str | None:
    """The column that holds the prompt or the turns before the response; None if the responses carry it themselves."""
    if columns.shape("conversation") == TURNS:
        return "prompt" if whole and columns.has("prompt") else "conversation"
    if columns.has("prompt"):
        return "prompt"
    if whole:
        return None
    present = [c for c in CONTEXTS if columns.has(c)]
    if present == ["input", "instruction"]:
        return "instruction"
    if len(present) > 1:
        raise UserError(
            "more than one column could hold the prompt",
            file=file,
            why=_listed([columns.source[c] for c in present]),
            fix=_BY_HAND,
        )
    return present[0] if present else None


def _paired_name(columns: Columns, chosen: str, context: str | None, whole: bool) -> str:
    shape, before = columns.shape(chosen), columns.shape(context)
    if shape == TRANSCRIPT:
        return "HH transcripts"
    if before == TRANSCRIPT:
        return "HH transcript prompt with responses"
    if context == "conversation" or columns.shape("conversation") == TURNS:
        return "Capybara conversations"
    if whole and columns.has("all_rm_scores"):
        return "Snorkel PairRM"
    if whole:
        return {
            "": "TRL implicit conversational",
            TEXT: "UltraFeedback (text prompt, full conversations)",
        }.get(before, "list prompt with full conversations")
    if context is None:
        return IMPLICIT_TEXT
    if context == "prompt" and chosen == "chosen":
        plain = "prompt, chosen and rejected texts with a system column" if columns.has("system") else "TRL standard"
        names = {
            (TEXT, TEXT): plain,
            (MESSAGES, MESSAGES): "TRL conversational",
            (TEXT, MESSAGES): "text prompt with message responses",
        }
        return names.get((before, shape), "message prompt with text responses")
    if context == "input" and before == WRAPPED:
        return "OpenAI preference"
    if context == "input":
        return "distilabel orca (system, input)" if columns.has("status") else "system and input texts"
    if context == "instruction" and chosen == "chosen_response":
        return "Argilla UltraFeedback (instruction, chosen_response)"
    names_by_context = {
        "prompt": "prompt, chosen_response, rejected_response",
        "question": "Intel orca (system, question)",
        "instruction": "LLaMA-Factory alpaca ranking",
        "conversations": "LLaMA-Factory sharegpt ranking",
        "messages": "context in 'messages' (Oumi, RL2, axolotl)",
        "context": "context in 'context' (NeMo-RL, RL2)",
    }
    return names_by_context[context]


def _unrecognised(columns: Columns, chosen: str | None, rejected: str | None, file: object) -> UserError:
    found = f"columns: {_listed(columns.source)}"
    if "kto_tag" in columns.shapes or {"completion", "label"} <= set(columns.shapes):
        return UserError(
            "the rows are unpaired (KTO): one response each with a label",
            file=file,
            why=found,
            fix="Tiltmeter needs a chosen and a rejected response to the same prompt in every row",
        )
    if bool(chosen) != bool(rejected):
        missing, there = ("rejected", chosen) if chosen else ("chosen", rejected)
        what = f"no column '{missing}'" if missing not in columns.shapes else f"the column '{missing}' is empty"
        return UserError(what, file=file, column=missing, why=f"there is '{there}' alone; {found}", fix=_BY_HAND)
    return UserError("no known preference format fits", file=file, why=found, fix=_BY_HAND)


def _listed(names: Any) -> str:
    shown = [str(n) for n in names]
    return ", ".join(shown[:40]) + (f" and {len(shown) - 40} more" if len(shown) > 40 else "")
