"""Two answers and a verdict: which of the two a row prefers, where the columns say that beyond doubt.

Rows are read as those with chosen and rejected are, with the two answers in their places, and then set in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretilt.errors import UserError
from pretilt.pairs.cells import Cells, Columns, as_number
from pretilt.pairs.messages import describe
from pretilt.pairs.pair import Message
from pretilt.pairs.ranked import Reading, Response

VERDICTS = (
    "winner", "preference", "preferred", "choice", "better_response_id", "overall_preference", "preference_strength",
    "label", "labels", "verdict", "vote", "judgment", "judgement", "human_preference", "chosen", "better", "best",
    "preferred_response", "better_response", "preferred_answer", "better_answer", "safer_response_id",
)  # fmt: skip
FIRST_WINS, SECOND_WINS = "first_wins", "second_wins"  # names by hand: 1 or true says that this answer is the better
ONE_HOT = ("winner_model_a", "winner_model_b")
SIGNED = ("overall_preference", "preference_strength")  # HelpSteer: < 0 the first answer, > 0 the second
STEMS = (
    "response", "answer", "completion", "output", "conversation", "messages", "reply", "generation", "summary",
    "candidate", "human_ref", "text", "assistant", "option", "model_response", "model_answer", "model_output",
    "response_model",
)  # fmt: skip
SCORES = ("score", "rating", "reward", "rm_score", "response_score", "answer_score")
_TWINS = {"a": "b", "A": "B", "0": "1", "1": "2"}
_MARK = re.compile(r"(?<![^\W_])[aA01](?![^\W_])|(?<=[a-z])[A01](?![^\W_])")
_TIES = re.compile(r"tie\b.*|both\b.*|neither|draw|equal|same|no preference|none|")
_SIDE = re.compile(
    r"\A\W*+(?:(?:model|response|answer|assistant|completion|output|option|summary|candidate)\W*+)?(\w)\W*+"
)

Verdict = Callable[[Cells], float | None]
"""Below 0: the first answer is the better one; above 0: the second; 0: a tie; None: no verdict."""


@dataclass(frozen=True)
class Answers:
    """The canonical columns of two answers, and `marks`, what tells their names apart: ("a", "b"), ("1", "2"), …"""

    first: str
    second: str
    marks: tuple[str, str]


def twin_columns(columns: Columns, stems: Sequence[str]) -> list[Answers]:
    """Columns whose names differ only in a and b, 0 and 1 or 1 and 2 behind or before one of `stems`, best first."""
    pairs = []
    for name in columns.shapes:
        for match in _MARK.finditer(name):
            second = name[: match.start()] + _TWINS[match[0]] + name[match.end() :]
            stem = re.sub(r"_+", "_", name[: match.start()] + "_" + name[match.end() :]).strip("_").lower()
            if stem in stems and second in columns.shapes:
                pairs.append((stems.index(stem), Answers(name, second, (match[0], _TWINS[match[0]]))))
    return [answers for _, answers in sorted(pairs, key=lambda x: x[0])]


def find_verdict(
    answers: Answers, columns: Columns, sample: Sequence[Mapping[str, Any]], file: object
) -> tuple[str, Verdict] | None:
    """(the column that says which answer is better, how to read it); None if there is no such column.

    Raises UserError where numbers stand in it that could mean either answer.
    """
    for name, sign in ((FIRST_WINS, -1), (SECOND_WINS, 1)):
        if columns.has(name) or name in columns.source:
            return name, lambda cells, name=name, sign=sign: _signed(_yes_no(cells, name), sign)  # type: ignore[misc]

    if all(n in columns.shapes for n in ONE_HOT):
        return ONE_HOT[0], _one_hot
    if answers.first.lower().startswith("human_ref") and columns.has("labels"):  # Stanford SHP: 1 is the first
        return "labels", lambda cells: _signed(_yes_no(cells, "labels"), -1)

    for name in VERDICTS:
        if not columns.has(name) or name in (answers.first, answers.second):
            continue

        values = [v for r in sample if (v := r.get(columns.source[name])) is not None]
        if name in SIGNED and 2 * sum(as_number(v) is not None for v in values) > len(values):
            return name, lambda cells, name=name: _kept_number(cells, name)  # type: ignore[misc]

        numbers = {n for v in values if (n := as_number(v)) is not None}
        flags = any(isinstance(v, bool) for v in values)
        sides = _numbering(answers, numbers) if not flags else None
        if (numbers and sides is None) or flags:
            raise _unclear(name, answers, columns, values, file)

        reader = _Named(name, answers, sides or {})
        n_understood = sum(
            reader.side(v, r, columns) is not None for r in sample if (v := r.get(columns.source[name])) is not None
        )
        if 2 * n_understood > len(values):
            return name, reader

    twins = twin_columns(columns, SCORES)
    if twins:
        return twins[0].first, lambda cells: _by_score(cells, twins[0])
    return None


@dataclass(frozen=True)
class JudgedReader:
    """`paired` reads both answers, the first as if it were chosen; `verdict` says which one is."""

    answers: Answers
    paired: Callable[[Cells], Reading]
    column: str
    verdict: Verdict
    models: Answers | None
    scores: Answers | None

    def read(self, cells: Cells) -> Reading:
        preferred = self.verdict(cells)
        if not preferred:
            value = cells.row.get(cells.columns.source[self.column])
            return Reading(
                drop=("tie", f"{self.column} is {str(value)[:40]!r}" if value is not None else f"no {self.column}")
            )

        reading = self.paired(cells)
        if reading.drop or len(reading.responses) != 2:
            return reading
        for side, (response, rank) in enumerate(zip(reading.responses, (preferred, -preferred), strict=True)):
            model = self._fact(cells, self.models, side)
            score = as_number(self._fact(cells, self.scores, side))
            model = model if isinstance(model, str) else None
            reading.responses[side] = Response(response.messages, rank, model, score)
        return reading

    @staticmethod
    def _fact(cells: Cells, twins: Answers | None, side: int) -> Any:
        if twins is None:
            return None
        name = (twins.first, twins.second)[side]
        cells.used.add(name)
        return cells.row.get(cells.columns.source[name])


@dataclass(frozen=True)
class _Named:
    """A verdict that names an answer: by its letter or number, its column, the model that wrote it; or a tie."""

    name: str
    answers: Answers
    sides: Mapping[float, float]

    def __call__(self, cells: Cells) -> float | None:
        value = cells.value(self.name)
        if value is None:
            return None
        side = self.side(value, cells.row, cells.columns)
        if side is None:
            a, b = self.answers.marks
            raise cells.place(self.name).error(
                "the verdict is not understood",
                f"found {str(value)[:40]!r}" if isinstance(value, (str, int, float)) else f"found {describe(value)}",
                f"It may be {a} or {b}, {self.answers.first} or {self.answers.second}, a model's name, or a tie",
            )
        return side

    def side(self, value: Any, row: Mapping[str, Any], columns: Columns) -> float | None:
        number = as_number(value)
        if number is not None:
            return self.sides.get(number)
        if not isinstance(value, str):
            return None

        text = " ".join(re.split(r"[\s_\-]+", value.strip().lower()))
        names = [" ".join(re.split(r"[\s_\-]+", n.lower())) for n in (self.answers.first, self.answers.second)]
        models = [row.get(columns.source.get(f"model_{mark}", "")) for mark in self.answers.marks]

        for preferred, words in ((-1.0, ("first", "left")), (1.0, ("second", "right"))):
            at = 0 if preferred < 0 else 1
            if text == names[at] or text in words or (models[0] != models[1] and value == models[at]):
                return preferred

        match = _SIDE.fullmatch(text)
        if match and match[1] in [mark.lower() for mark in self.answers.marks]:
            return -1.0 if match[1] == self.answers.marks[0].lower() else 1.0
        return 0.0 if _TIES.fullmatch(text) else None


def _numbering(answers: Answers, numbers: set[float]) -> dict[float, float] | None:
    """Number → side where the columns' own numbers say so: 0 and 1, or 1 and 2 (then 0 and 1.5 are ties); else None."""
    if answers.marks == ("0", "1") and numbers <= {0, 1}:
        return {0: -1.0, 1: 1.0}
    if answers.marks == ("0", "1") or not numbers <= {0, 1, 1.5, 2}:
        return None
    certain = 2 in numbers or (answers.marks == ("1", "2") and 0 not in numbers)
    return {1: -1.0, 2: 1.0, 0: 0.0, 1.5: 0.0} if certain else None


def _unclear(name: str, answers: Answers, columns: Columns, values: Sequence[Any], file: object) -> UserError:
    shown = ", ".join(sorted({str(v)[:20] for v in values})[:6])
    column, first, second = columns.source[name], columns.source[answers.first], columns.source[answers.second]
    return UserError(
        "which answer the numbers mean is not certain",
        file=file,
        column=column,
        why=f"it holds {shown} beside '{first}' and '{second}'",
        fix=f"Give --column {FIRST_WINS}={column} if 1 means '{first}', {SECOND_WINS}={column} if it means '{second}'",
    )


def _signed(value: float | None, sign: int) -> float | None:
    return None if value is None else sign * (2 * value - 1)


def _yes_no(cells: Cells, name: str) -> float | None:
    """1 for 1, true and yes; 0 for 0, -1, false and no; 0.5 for a tie; None for null."""
    value = cells.value(name)
    if value is None:
        return None

    words = {
        "true": 1.0,
        "yes": 1.0,
        "1": 1.0,
        "1.0": 1.0,
        "false": 0.0,
        "no": 0.0,
        "0": 0.0,
        "0.0": 0.0,
        "-1": 0.0,
        "0.5": 0.5,
    }

    text = str(value).strip().lower() if isinstance(value, (str, bool, int, float)) else ""
    if text not in words and not _TIES.fullmatch(text):
        why = f"found {text[:40]!r}" if text else f"found {describe(value)}"
        raise cells.place(name).error("the verdict is not understood", why, "It may be 0, 1, 0.5, true or false")
    return words.get(text, 0.5)


def _kept_number(cells: Cells, name: str) -> float | None:
    number = cells.number(name)
    cells.used.discard(name)  # its strength is worth keeping in `meta`
    return number


def _one_hot(cells: Cells) -> float | None:
    """The arena's 55k rows: winner_model_a and winner_model_b are 0 or 1, both 0 for a tie."""
    first, second = (_yes_no(cells, n) for n in ONE_HOT)
    return None if first is None or second is None else second - first


def _by_score(cells: Cells, scores: Answers) -> float | None:
    first, second = cells.number(scores.first), cells.number(scores.second)
    return None if first is None or second is None else second - first


def arena_turns(answers: Answers) -> Callable[[Cells], Reading]:
    """The arena's 55k rows: `prompt` and both answers are lists with one text per turn; read as conversations."""

    def read(cells: Cells) -> Reading:
        questions = cells.items("prompt")
        responses = []
        for name in (answers.first, answers.second):
            turns: list[Message] = []
            for question, answer in zip(questions, cells.items(name), strict=False):
                for role, text in (("user", question), ("assistant", answer)):
                    if text is not None and not isinstance(text, str):
                        raise cells.place(name).error("wrong type", f"a turn is {describe(text)}, expected text")
                    turns.append(Message(role, cells.checked(text or "", name)))
            responses.append(Response(tuple(turns), 0))

        return Reading((), responses)

    return read
