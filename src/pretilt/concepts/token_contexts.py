"""Contexts of tokens: the whole word that a token is a piece of, and the phrases that hold it.

A feature fires on tokens, and tokens are often fragments ("flav" + "our"). Read in its context a fragment becomes the
word it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow as pa

from pretilt.concepts.readable import readable
from pretilt.schema import SPANS

_BEFORE, _AFTER = 8, 8  # tokens of context that are decoded on either side
_REACH = 3  # a phrase starts and ends at most so many tokens away
_PHRASE_TOKENS = (2, 3, 4)
_WORD_CAP = 32  # characters; longer "words" are not words
_INNER = re.compile(r"[\w'’-]")
_SENTENCE_END = re.compile(r"^[.,;:!?…)\]\u23ce]+ *(?=\w)")  # of what stands before the phrase
_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
LOST = "\ufffd"  # what a tokeniser decodes a part of a character to


@dataclass(frozen=True)
class Context:
    word: str  # the whole word around the token, or the token itself where it is no part of one; readable, stripped
    phrases: tuple[str, ...]  # of 2 to 4 tokens that hold the token, widened to whole words; distinct, readable
    text: str  # all that was read: two places with the same text are one piece of evidence
    start: int  # where the word stands in the text, in characters
    end: int


class TokenContexts:
    """Contexts in a TOKENS table. `decode` turns token ids into text, special tokens included."""

    def __init__(self, tokens: pa.Table, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._pieces: dict[int, str] = {}
        self._spans = {span: _Ragged(tokens[f"{span}_ids"], tokens[f"{span}_content"]) for span in SPANS}

    def piece(self, token_id: int) -> str:
        """One token on its own, as text."""
        if token_id not in self._pieces:
            self._pieces[token_id] = self._decode([token_id])
        return self._pieces[token_id]

    def token_id(self, span: str, row: int, position: int) -> int:
        return int(self._spans[span].ids(row)[position])

    def at(self, span: str, row: int, position: int) -> Context:
        """The context of one token; what is not content (template, special tokens) is not part of it."""
        ids, at = self._spans[span].window(row, position)
        text, ends = self._read(ids)
        start, end = _core(text, ends[at], ends[at + 1])
        first_character, last_character = _widen(text, start, end)
        word = readable(text[first_character:last_character]).strip()

        phrases: dict[str, None] = {}
        for size in _PHRASE_TOKENS:
            for first in range(max(0, at - _REACH, at - size + 1), at + 1):
                last = first + size
                if last < len(ends) and last <= at + _REACH + 1:
                    phrase = readable(text[slice(*_widen(text, *_core(text, ends[first], ends[last])))]).strip()
                    phrases[phrase if first == at else _SENTENCE_END.sub("", phrase)] = None

        excluded = (word.casefold(), "")
        kept_phrases = tuple(p for p in phrases if p.casefold() not in excluded and LOST not in p)
        return Context(word, kept_phrases, text, first_character, last_character)

    def occurrences(
        self, token_ids: np.ndarray, *, each: int = 8, read: int = 5_000_000
    ) -> list[tuple[int, str, int, int]]:
        """(token id, span, row, position) of up to `each` places in the responses for each of `token_ids`.

        Reads the first `read` tokens of either response.
        """
        is_requested = np.zeros(int(token_ids.max(initial=-1)) + 1, dtype=bool)
        is_requested[token_ids] = True
        out: list[tuple[int, str, int, int]] = []

        for span in ("chosen", "rejected"):
            spans = self._spans[span]
            flat = spans.values[:read]
            at = np.flatnonzero((flat < is_requested.size) & spans.content[:read])
            at = at[is_requested[flat[at]]]
            at = at[np.argsort(flat[at], kind="stable")]

            new = np.r_[True, flat[at][1:] != flat[at][:-1]] if at.size else np.zeros(0, dtype=bool)
            first = np.maximum.accumulate(np.where(new, np.arange(at.size), 0))
            at = at[np.arange(at.size) - first < each]

            rows = np.searchsorted(spans.offsets, at, side="right") - 1
            places = zip(spans.values[at].tolist(), rows.tolist(), (at - spans.offsets[rows]).tolist(), strict=True)
            out += [(token, span, row, position) for token, row, position in places]

        return out

    def _read(self, ids: list[int]) -> tuple[str, list[int]]:
        """The text of a window and, for every token, where it ends in it (with a leading 0)."""
        text = self._decode(ids)
        pieces = [self.piece(i) for i in ids]
        if "".join(pieces) == text:
            return text, [0, *accumulate(len(piece) for piece in pieces)]
        # Some tokenisers drop a space at the start, and a character may span tokens: read growing beginnings instead.
        ends = [min(len(self._decode(ids[: i + 1])), len(text)) for i in range(len(ids))]
        return text, [0, *accumulate(ends, max)]


class _Ragged:
    """A column of id lists with its content mask, as flat arrays."""

    def __init__(self, ids: pa.ChunkedArray, content: pa.ChunkedArray) -> None:
        lists, masks = ids.combine_chunks(), content.combine_chunks()
        lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        self.offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.values = lists.flatten().to_numpy(zero_copy_only=False)
        self.content = masks.flatten().to_numpy(zero_copy_only=False).astype(bool)

    def ids(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def window(self, row: int, position: int) -> tuple[list[int], int]:
        """Ids around a position, only the unbroken run of content it lies in, and where in them it is."""
        begin, end = int(self.offsets[row]), int(self.offsets[row + 1])
        if not 0 <= position < end - begin:
            raise IndexError(f"position {position} in a span of {end - begin} tokens (row {row})")
        at = first = last = begin + position
        while first > max(begin, at - _BEFORE) and self.content[first - 1]:
            first -= 1
        while last + 1 < min(end, at + _AFTER + 1) and self.content[last + 1]:
            last += 1
        return self.values[first : last + 1].tolist(), at - first


def _core(text: str, start: int, end: int) -> tuple[int, int]:
    """Without blanks at either end, unless there is nothing else; at least one character where there is one."""
    if start == end and start > 0 and not text[start - 1].isspace():
        return start - 1, end  # the last part of a character that spans tokens
    stripped = text[start:end].strip(" \t\u00a0")
    if not stripped:
        return start, end
    start += text[start:end].index(stripped)
    return start, start + len(stripped)


def _widen(text: str, start: int, end: int) -> tuple[int, int]:
    """Grow a stretch of text to whole words ("'m" to "I'm"); scripts without spaces stay as they are."""
    first, last = start, end
    if start < end and (text[start].isalnum() or _joins(text, start)):
        while first > 0 and _inside_word(text[first - 1]) and start - first < _WORD_CAP:
            first -= 1
    if start < end and (text[end - 1].isalnum() or _joins(text, end - 1)):
        while last < len(text) and _inside_word(text[last]) and last - end < _WORD_CAP:
            last += 1
    while first < start and not text[first].isalnum():
        first += 1
    while last > end and not text[last - 1].isalnum():
        last -= 1
    return first, last


def _joins(text: str, at: int) -> bool:
    """True for an apostrophe or hyphen between two letters or digits."""
    return text[at] in "'’-" and text[at - 1 : at].isalnum() and text[at + 1 : at + 2].isalnum()


def _inside_word(character: str) -> bool:
    return bool(_INNER.match(character)) and not _UNSPACED.match(character)
