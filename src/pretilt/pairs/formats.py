"""Which format a table has, decided once by its column names and the shapes of its values.

A format is a name and a function that reads one row into a `Reading`: the context and two or more ranked responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pretilt.errors import UserError, did_you_mean
from pretilt.pairs import ranked
from pretilt.pairs.cells import (
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
    decoded,
    survey,
)
from pretilt.pairs.judged import (
    FIRST_WINS,
    SCORES,
    SECOND_WINS,
    SIGNED,
    STEMS,
    VERDICTS,
    JudgedReader,
    arena_turns,
    find_verdict,
    twin_columns,
)
from pretilt.pairs.messages import ASKING_ROLES, Place, image_error
from pretilt.pairs.paired import PairedReader, common_text
from pretilt.pairs.ranked import Reading
from pretilt.pairs.unrecognised import BY_HAND_HINT, listed, unrecognised

CHOSEN = ("chosen", "chosen_response", "preferred_output", "preferred_completion", "response_j", "better", "winner")
REJECTED = (
    "rejected", "rejected_response", "non_preferred_output", "non_preferred_completion", "response_k", "worse", "loser",
)  # fmt: skip
CONTEXTS = ("messages", "context", "conversations", "conversation", "input", "question", "instruction", "query", "info")
EXTRAS = ("system", "history", "tools", "chat_template_kwargs", "status")
FACTS = ("source", "chosen_model", "rejected_model", "chosen_score", "rejected_score")
K_WISE = (
    "answers", "completions", "generations", "ratings", "generation_models", "all_generated_responses",
    "all_rm_scores", "output", "summaries", "choice",
)  # fmt: skip
BY_HAND = ("response_a", "response_b", "response_1", "response_2", "winner", FIRST_WINS, SECOND_WINS)
NAMEABLE = ("prompt", *CHOSEN, *REJECTED, *CONTEXTS, *EXTRAS, *FACTS, *K_WISE, *BY_HAND)
IMPLICIT_TEXT = "TRL implicit standard"


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
    many = _k_wise(columns, sample)
    if chosen and rejected and not (many and k_wise != "best-worst"):
        table_format = _paired(columns, chosen, rejected, renames, file)
        if table_format.name == IMPLICIT_TEXT and not _share_prompts(sample):
            why = f"most texts in chosen and rejected share no beginning; columns: {listed(columns.source)}"
            raise UserError("no column holds the prompt", file=file, why=why, fix=BY_HAND_HINT)
        if many:
            table_format.notes.append(
                f"the source's own chosen and rejected are used; --k-wise all would use '{_lists(columns)}'"
            )
        return table_format
    if many:
        return many

    judged = _judged(columns, sample, renames, file)
    if judged:
        return judged
    raise unrecognised(columns, chosen, rejected, file)


def _share_prompts(sample: Sequence[Mapping[str, Any]]) -> bool:
    """True if in half of the sample or more the two texts begin alike: the prompt may then be a part of them."""
    texts = [(r.get("chosen"), r.get("rejected")) for r in sample]
    different = [(a, b) for a, b in texts if isinstance(a, str) and isinstance(b, str) and a and b and a != b]
    alike = sum(bool(a[: common_text(a, b)].strip()) for a, b in different)
    return 2 * alike >= len(different)


def _check_renames(sample: Sequence[Mapping[str, Any]], renames: Mapping[str, str], file: object) -> None:
    existing = list(dict.fromkeys(n for row in sample for n in row))

    for canonical, source_name in renames.items():
        if canonical not in NAMEABLE:
            raise UserError(
                f"'{canonical}' is no column that can be named by hand",
                why=f"choices: {', '.join(NAMEABLE)}",
                fix=did_you_mean(canonical, NAMEABLE),
            )
        if source_name not in existing:
            fix = did_you_mean(str(source_name), map(str, existing))
            raise UserError(
                "no such column", file=file, column=source_name, why=f"columns: {listed(existing)}", fix=fix
            )

    twice = [source_name for source_name in renames.values() if list(renames.values()).count(source_name) > 1]
    if twice:
        raise UserError("one column is given two names", file=file, column=twice[0])


def _k_wise(columns: Columns, sample: Sequence[Mapping[str, Any]]) -> Format | None:
    """The K-wise format, if the columns hold one."""

    def shaped(**shapes: str) -> bool:
        return all(columns.shape(n) == s for n, s in shapes.items())

    prompt = columns.first(("prompt", "instruction", "question", "context", "messages", "conversations", "query"))
    if prompt is None and shaped(summaries=OBJECTS) and columns.has("info") and "choice" in columns.shapes:
        return Format("summarize_from_feedback", lambda c: ranked.read_chosen_summary(c, "info"), columns)
    if prompt is None:
        return None
    if shaped(answers=OBJECTS):
        return Format("Nectar (ranked answers)", lambda c: ranked.read_items(c, prompt, "answers"), columns)
    if shaped(completions=OBJECTS):
        context = str(columns.first(("context", "messages", "prompt")) or prompt)
        items = [i for r in sample for i in _items(r.get(columns.source["completions"])) if isinstance(i, Mapping)]
        if not any("rank" in i for i in items) and any(k in i for i in items for k in ranked.SCORE_KEYS):
            note = "answers are ranked by fine-grained_score, the mean over aspects, else by overall_score"
            return Format(
                "UltraFeedback (completions with scores)",
                lambda c: ranked.read_items(c, prompt, "completions"),
                columns,
                notes=[note],
            )
        return Format("NeMo-RL ranked completions", lambda c: ranked.read_items(c, context, "completions"), columns)
    if shaped(generations=TEXTS, ratings=NUMBERS):
        return Format(
            "distilabel rated generations",
            lambda c: ranked.read_rated(c, prompt, "generations", "ratings", "generation_models"),
            columns,
        )
    if shaped(all_generated_responses=TEXTS, all_rm_scores=NUMBERS):
        return Format(
            "Snorkel PairRM (all responses)",
            lambda c: ranked.read_rated(c, prompt, "all_generated_responses", "all_rm_scores", None),
            columns,
        )
    if shaped(output=TEXTS):
        return Format(
            "LLaMA-Factory ranking, older form (output = [better, worse])",
            lambda c: ranked.read_ordered(c, prompt, "output"),
            columns,
        )
    return None


def _items(value: Any) -> list[Any]:
    value = decoded(value)
    return list(value) if isinstance(value, (list, tuple)) else []


def _judged(
    columns: Columns, sample: Sequence[Mapping[str, Any]], renames: Mapping[str, str], file: object
) -> Format | None:
    """The format of two answers with a verdict, if the columns hold one."""
    for answers in twin_columns(columns, STEMS):
        shapes = {columns.shape(answers.first), columns.shape(answers.second)}
        in_lists = shapes == {TEXTS} and columns.shape("prompt") == TEXTS
        if not in_lists and not shapes <= {TEXT, TRANSCRIPT, MESSAGES}:
            continue

        verdict = find_verdict(answers, columns, sample, file)
        if verdict is None:
            continue

        column, read = verdict
        if in_lists:
            paired, name, notes = arena_turns(answers), "arena, one list of turns per side", list[str]()
        else:
            inner = _paired(columns, answers.first, answers.second, renames, file)
            paired, name, notes = (
                inner.read,
                f"two answers ({answers.first}, {answers.second}) with a verdict",
                inner.notes,
            )

        models, scores = twin_columns(columns, ("model",)), twin_columns(columns, SCORES)
        notes = [*notes, f"which answer is better is read from the column '{columns.source[column]}'"]
        other_verdicts = [v for v in VERDICTS if v != column and columns.has(v) and v not in SIGNED]
        if other_verdicts and column not in (FIRST_WINS, SECOND_WINS):
            notes[-1] += f"; --column winner={columns.source[other_verdicts[0]]} would read that one"

        if column in SIGNED:
            name = {"overall_preference": "HelpSteer3 preference", "preference_strength": "HelpSteer2 preference"}[
                column
            ]
        else:
            name = f"{name} ({columns.source[column]})"

        reader = JudgedReader(
            answers, paired, column, read, models[0] if models else None, scores[0] if scores else None
        )
        return Format(name, reader.read, columns, True, notes)

    return None


def _lists(columns: Columns) -> str:
    return str(columns.first(("answers", "completions", "generations", "all_generated_responses", "output")))


def _paired(columns: Columns, chosen: str, rejected: str, renames: Mapping[str, str], file: object) -> Format:
    shape = columns.shape(chosen)
    for name in (chosen, rejected):
        if columns.shape(name) not in (TEXT, TRANSCRIPT, MESSAGES):
            raise UserError(
                "wrong type",
                file=file,
                column=columns.source[name],
                why=f"most rows hold {columns.shape(name)}, expected text or messages",
                fix=BY_HAND_HINT,
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
            why=f"chosen begins with the model's turn; columns: {listed(columns.source)}",
            fix=BY_HAND_HINT,
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
            "no column holds the prompt", file=file, why=f"columns: {listed(columns.source)}", fix=BY_HAND_HINT
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

    if is_chat and TRANSCRIPT in (shape, columns.shape(context)):
        notes.append(
            "transcripts are read as a chat, through the model's template; stock TRL trains them as plain strings"
        )
    elif is_chat and shape == TEXT:
        system = " with the column 'system' as its first turn" if reads_system and columns.has("system") else ""
        notes.append(
            f"texts are read as a chat{system}, through the model's template; stock TRL trains texts as plain strings, "
            "without it, and reads no column but prompt, chosen and rejected"
        )

    if renames:
        renamed = ", ".join(f"{k}={v}" for k, v in renames.items())
        name = f"{name}, columns by hand ({renamed})"

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
            why=listed([columns.source[c] for c in present]),
            fix=BY_HAND_HINT,
        )
    return present[0] if present else "history" if columns.shape("history") == TEXT else None


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

    return names_by_context.get(context, f"context in '{context}'")
