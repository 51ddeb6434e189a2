"""Patterns: traits of a response that stand in its text, counted by an expression that a reader can check with grep.

The engine is RE2, which pyarrow carries: time grows with the text, never with what a backtracking engine would try.
It knows no model, no file of a run and no dataset; `pattern_files` reads the patterns from TOML.

An expression *reads* one of three texts:
    text                  the response as it stands
    outside-code-blocks   every ```block``` is replaced by the character U+FFFC, which stands for an object
    prose                 that, and every `inline code` as well
Characters of a code block or of inline code are therefore never counted as bold text, a list or a word of the language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.concepts.parallel import in_order
from pretilt.concepts.pattern_functions import FUNCTIONS

COUNTS = ("occurrences", "presence")
READS = ("text", "outside-code-blocks", "prose")
CODE_BLOCK = r"(?s:```.*?(?:```|\z))|(?sm:^~~~.*?(?:^~~~|\z))"  # one that nobody closed goes to the end
INLINE_CODE = r"``[^`\n]+``|`[^`\n]+`"
CODE_MARK = "\ufffc"  # what stands in the place of code; neither a letter nor white space
CHUNK_ROWS, CHUNK_BYTES = 4096, 4 << 20  # texts worked on at a time, by one thread
MAX_ROUNDS = 32  # of a rewriter; tables lose one column a round
DIGITS = (0xF0000, 0x100000)  # where the numbers of pieces of code begin, N_DIGITS private characters each
N_DIGITS = 4096
_NUMBERED = CODE_MARK + "".join(f"([{chr(first)}-{chr(first + N_DIGITS - 1)}])" for first in DIGITS)
_PIECE = re.compile(_NUMBERED)
_WORD = r"\S+"
_SEPARATOR = b"\xff"  # no UTF-8 text contains this byte, so no text can be mistaken for it
_SURROGATE = re.compile("[\ud800-\udfff]")

Texts: TypeAlias = "pa.Array | pa.ChunkedArray | Sequence[str | None]"
Counts: TypeAlias = np.ndarray  # int32, shape in the docstring


@dataclass(frozen=True, slots=True)
class Example:
    """A response, and the prompt it answers where the pattern asks for it."""

    text: str
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One step of a rewriter: every match of an expression is replaced; `\\1` in the replacement is its first group."""

    expression: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A trait of a response's text.

    Either `expression` (RE2, flags included) or `function` (a name in `pattern_functions.FUNCTIONS`) is not "".
    `counts`: "occurrences" (how many matches) or "presence" (1 if there is any). `language`: "any", or the language
    that the expression is written for. `rewriter`: steps that take the trait out, () where there is none.
    """

    name: str
    title: str
    phrase: str
    counts: str
    language: str
    reads: str
    matches: tuple[Example, ...]
    misses: tuple[Example, ...]
    expression: str = ""
    function: str = ""
    rewriter: tuple[Rewrite, ...] = ()
    rewritten: tuple[tuple[str, str], ...] = ()  # (before, after): what the rewriter makes of its examples


def count(
    patterns: Sequence[Pattern], texts: Texts, prompts: Texts | None = None, *, n_threads: int | None = None
) -> Counts:
    """How often each pattern stands in each text: int32 (n_texts, n_patterns), 0 or 1 for patterns of presence.

    A null counts 0 for every pattern; an empty text does, too, except for the pattern `empty`. `prompts`: as many as
    texts, the message that each answers; without them the patterns that compare with the prompt count 0. Matches of one
    pattern do not overlap and are taken from the left. The same on any number of threads (None: one per core).
    """
    array = _array(texts)
    questions = _array(prompts) if prompts is not None else None
    if questions is not None and len(questions) != len(array):
        raise ValueError(f"{len(questions)} prompts for {len(array)} texts")

    counts = np.zeros((len(array), len(patterns)), np.int32)
    chunks = list(_chunks(array))
    work = partial(_count_chunk, tuple(patterns), array, questions)
    for rows, block in zip(chunks, in_order(work, chunks, n_threads), strict=True):
        counts[rows] = block
    return counts


def n_words(texts: Texts, *, n_threads: int | None = None) -> Counts:
    """Words of each text, int32 (n_texts,): runs of characters that are not white space. A null has none.

    In a script that puts no space between words this counts phrases, not words.
    """
    array = _array(texts)
    counts = np.zeros(len(array), np.int32)
    chunks = list(_chunks(array))
    for rows, block in zip(
        chunks, in_order(lambda rows: _n_matches(_WORD, _filled(array[rows])), chunks, n_threads), strict=True
    ):
        counts[rows] = block
    return counts


def spans(pattern: Pattern, text: str, prompt: str = "") -> list[tuple[int, int]]:
    """Where the pattern stands in a text: (start, end) in characters, in order; as many as `count` finds.

    For a pattern of presence all of its matches. White space around a match is left out. A match that begins or ends
    in code that is not read covers that code.
    """
    if pattern.function:
        return FUNCTIONS[pattern.function](text, prompt)

    reading, starts, ends = text, range(len(text)), range(1, len(text) + 1)
    for expression in _cuts(pattern.reads):
        reading, new_starts, new_ends = _cut(reading, expression)
        starts = [starts[i] for i in new_starts]  # type: ignore[assignment]
        ends = [ends[i - 1] for i in new_ends]  # type: ignore[assignment]
    matches = []
    for start, end in _matches(pattern.expression, reading):
        inner = reading[start:end].strip() or reading[start:end]
        start = reading.index(inner, start)
        matches.append((starts[start], ends[start + len(inner) - 1]))
    return matches


def matched_texts(pattern: Pattern, texts: Sequence[str], prompts: Sequence[str]) -> list[list[str]]:
    """Of each text the matches that `spans` gives; one pass over all texts, not one for each."""
    if pattern.function:
        return [
            [text[start:end] for start, end in spans(pattern, text, prompt)]
            for text, prompt in zip(texts, prompts, strict=True)
        ]

    readings = _array(texts)
    for expression in _cuts(pattern.reads):
        readings = pc.replace_substring_regex(readings, pattern=expression, replacement=CODE_MARK)
    matches = []
    for text, prompt, pieces in zip(texts, prompts, _cut_at_matches(pattern.expression, readings), strict=True):
        listed = [piece.strip() or piece for piece in pieces[1::2]]
        if any(CODE_MARK in match for match in listed):  # it covers code that is not read
            listed = [text[start:end] for start, end in spans(pattern, text, prompt)]
        matches.append(listed)
    return matches


def covered_pieces(pattern: Pattern, pieces: Sequence[str], prompt: str = "") -> np.ndarray:
    """bool [n]: a match of the pattern in the joined pieces covers a character of the piece. Pieces are tokens."""
    ends = np.cumsum([len(piece) for piece in pieces])
    starts = ends - [len(piece) for piece in pieces]
    covered = np.zeros(len(pieces), bool)
    for start, end in spans(pattern, "".join(pieces), prompt):
        covered |= (starts < end) & (ends > start)
    return covered


def without(pattern: Pattern, text: str) -> str:
    """The text without the trait; see `without_all`."""
    return without_all(pattern, [text])[0].as_py()


def without_all(pattern: Pattern, texts: Texts) -> pa.LargeStringArray:
    """The texts as the pattern's rewriter leaves them; nulls stay null. Raises ValueError where it has no rewriter.

    Code that the pattern does not read is not changed, though it goes with a sentence that goes. The steps are repeated
    until nothing changes, at most MAX_ROUNDS times, so that a second call changes nothing. Where the first character
    went and a capital stood there, the new first letter is a capital. A text that does not match, or of which nothing
    would be left, stays as it is.
    """
    if not pattern.rewriter:
        raise ValueError(f"the pattern '{pattern.name}' has no rewriter")
    before = _array(texts)
    after, pieces = _hide_code(before, pattern.reads)

    for _ in range(MAX_ROUNDS):
        start = after
        for step in pattern.rewriter:
            after = pc.replace_substring_regex(after, pattern=step.expression, replacement=step.replacement)
        if after.equals(start):
            break

    after = _show_code(after, pieces)
    lost_its_capital = pc.and_(
        pc.match_substring_regex(before, r"\A\p{Lu}"),
        pc.not_equal(pc.utf8_slice_codeunits(before, 0, 1), pc.utf8_slice_codeunits(after, 0, 1)),
    )
    capital = pc.binary_join_element_wise(
        pc.utf8_upper(pc.utf8_slice_codeunits(after, 0, 1)),
        pc.utf8_slice_codeunits(after, 1),
        pa.scalar("", pa.large_string()),
    )
    after = pc.if_else(lost_its_capital, capital, after)
    is_rewritten = pc.and_(pa.array(count([pattern], before)[:, 0] > 0), pc.match_substring_regex(after, r"\S"))
    return pc.if_else(is_rewritten, after, before)


def _array(texts: Texts) -> pa.LargeStringArray:
    """The texts as one array. Half of a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if isinstance(texts, pa.Array):
        return texts.cast(pa.large_string())
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        return pa.array([t if t is None else _SURROGATE.sub("\ufffd", t) for t in texts], pa.large_string())


def _filled(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    return pc.fill_null(texts, "")


def _chunks(texts: pa.LargeStringArray) -> Iterator[slice]:
    """Rows in slices of at most CHUNK_ROWS texts and CHUNK_BYTES bytes; a longer text is a slice of its own."""
    sizes = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    first, n_bytes = 0, 0
    for row, size in enumerate(sizes):
        if row > first and (row - first == CHUNK_ROWS or n_bytes + size > CHUNK_BYTES):
            yield slice(first, row)
            first, n_bytes = row, 0
        n_bytes += size
    if first < len(sizes):
        yield slice(first, len(sizes))


def _count_chunk(
    patterns: tuple[Pattern, ...], texts: pa.LargeStringArray, prompts: pa.LargeStringArray | None, rows: slice
) -> Counts:
    chunk = _filled(texts[rows])
    readings = {"text": chunk}
    for reads in READS[1:]:
        expression = _cuts(reads)[-1]
        previous = readings[READS[READS.index(reads) - 1]]
        readings[reads] = pc.replace_substring_regex(previous, pattern=expression, replacement=CODE_MARK)

    counts = np.zeros((len(chunk), len(patterns)), np.int32)
    for column, pattern in enumerate(patterns):
        if pattern.function:
            matches = FUNCTIONS[pattern.function]
            answers = texts[rows].to_pylist()
            questions = prompts[rows].to_pylist() if prompts is not None else [""] * len(answers)
            counts[:, column] = [
                0 if answer is None else len(matches(answer, question or ""))
                for answer, question in zip(answers, questions, strict=True)
            ]
        else:
            counts[:, column] = _n_matches(pattern.expression, readings[pattern.reads])
    presence = [pattern.counts == "presence" for pattern in patterns]
    counts[:, presence] = np.minimum(counts[:, presence], 1)
    return counts


def _n_matches(expression: str, texts: pa.LargeStringArray) -> Counts:
    """Matches in each text, int32 (n_texts,): bytes that a text grows by if each match is followed by one more.

    Not `count_substring_regex`: it goes on behind a match as if the text began there, so that `^a` stands three times
    in "aaa".
    """
    longer = pc.replace_substring_regex(texts, pattern=expression, replacement=rb"\0 ")
    grown = pc.subtract(pc.binary_length(longer), pc.binary_length(texts))
    return grown.to_numpy(zero_copy_only=False).astype(np.int32)


def _matches(expression: str, text: str) -> list[tuple[int, int]]:
    """(start, end) of every match, in characters."""
    (pieces,) = _cut_at_matches(expression, _array([text]))
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    return [(ends[i - 1], ends[i]) for i in range(1, len(pieces), 2)]


def _cut_at_matches(expression: str, texts: pa.LargeStringArray) -> list[list[str]]:
    """Each text in pieces: what is before the first match, the match, what is before the next, the next …"""
    marked = pc.replace_substring_regex(texts, pattern=expression, replacement=_SEPARATOR + rb"\0" + _SEPARATOR)
    whole = marked.cast(pa.large_binary(), safe=False).to_pylist()
    return [[piece.decode() for piece in text.split(_SEPARATOR)] for text in whole]


def _cuts(reads: str) -> list[str]:
    """Expressions of the code that is taken out before a pattern reads, in this order."""
    return [CODE_BLOCK, INLINE_CODE][: READS.index(reads)]


def _cut(text: str, expression: str) -> tuple[str, list[int], list[int]]:
    """The text with a mark for every match, and for each of its characters where it began and ended in the text."""
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for start, end in _matches(expression, text):
        parts += [text[at:start], CODE_MARK]
        starts += [*range(at, start), start]
        ends += [*range(at + 1, start + 1), end]
        at = end
    parts.append(text[at:])
    starts += range(at, len(text))
    ends += range(at + 1, len(text) + 1)
    return "".join(parts), starts, ends


def _hide_code(texts: pa.LargeStringArray, reads: str) -> tuple[pa.LargeStringArray, list[list[str]]]:
    """The texts with a mark and a number for every piece of code that is not read, and the pieces of each text."""
    pieces: list[list[str]] = [[] for _ in texts]
    if reads == "text":
        return texts, pieces
    hidden = texts.to_pylist()
    has_code = pc.fill_null(pc.match_substring_regex(texts, "`|~~~"), False)
    for row in np.flatnonzero(has_code.to_numpy(zero_copy_only=False)):
        for expression in (_NUMBERED, *_cuts(reads)):  # first what stands in the text and looks like a number of ours
            hidden[row] = _numbered(hidden[row], expression, pieces[row])
    return pa.array(hidden, pa.large_string()), pieces


def _numbered(text: str, expression: str, pieces: list[str]) -> str:
    """The text with a mark and a number for every match, which is put to the pieces."""
    parts, at = [], 0
    for start, end in _matches(expression, text):
        high, low = divmod(len(pieces), N_DIGITS)
        if high == N_DIGITS:
            break  # sixteen million pieces: the others are not hidden
        parts += [text[at:start], CODE_MARK, chr(DIGITS[0] + high), chr(DIGITS[1] + low)]
        piece = text[start:end]
        pieces.append(piece if expression == _NUMBERED else _PIECE.sub(partial(_piece, pieces), piece))
        at = end
    return "".join([*parts, text[at:]])


def _show_code(texts: pa.LargeStringArray, pieces: list[list[str]]) -> pa.LargeStringArray:
    """The texts with their pieces of code in the place of the marks."""
    if not any(pieces):
        return texts
    shown = [
        text if not of_text else _PIECE.sub(partial(_piece, of_text), text)
        for text, of_text in zip(texts.to_pylist(), pieces, strict=True)
    ]
    return pa.array(shown, pa.large_string())


def _piece(pieces: list[str], match: re.Match[str]) -> str:
    return pieces[(ord(match[1]) - DIGITS[0]) * N_DIGITS + ord(match[2]) - DIGITS[1]]
