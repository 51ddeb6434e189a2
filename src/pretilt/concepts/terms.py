"""Which texts hold which words and phrases: thousands of phrases in one pass over the texts, whatever the case.

A word is a run of letters and digits, with apostrophes and hyphens inside it; every other character that is no space is
a word of its own, a run of line breaks is the word ⏎, and a character of a script without spaces is one as well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csc_array, csr_array

LONGEST_PHRASE = 8  # words; a longer phrase stands in no text
_APART = (
    (r"\s*\n\s*", " ⏎ "),
    (r"([^\pL\pN\pM\s'’\-])", r" \1 "),
    (r"([\p{Thai}\p{Han}\p{Hiragana}\p{Katakana}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}])", r" \1 "),
)
_EDGES = "'’-"
_KEY = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no information is lost in the product


@dataclass(frozen=True)
class Words:
    """The words of n texts, in order: `ids` int32 (n_words,) into `vocabulary`, of text i from offsets[i] on."""

    vocabulary: list[str]
    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return self.offsets.size - 1

    @cached_property
    def number(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.vocabulary)}

    @cached_property
    def presence(self) -> csr_array:
        """Which text holds which word, CSR float32 (n_texts, n_vocabulary), 0 or 1."""
        shape = (len(self), len(self.vocabulary))
        held = csr_array((np.ones(self.ids.size, np.float32), self.ids.copy(), self.offsets.copy()), shape=shape)
        held.sum_duplicates()
        held.data[:] = 1
        return held

    @cached_property
    def _sorted(self) -> tuple[list[str], np.ndarray]:
        order = np.array(sorted(range(len(self.vocabulary)), key=self.vocabulary.__getitem__), np.int64)
        return [self.vocabulary[i] for i in order], order

    @cached_property
    def _sorted_backwards(self) -> tuple[list[str], np.ndarray]:
        backwards = [word[::-1] for word in self.vocabulary]
        order = np.array(sorted(range(len(backwards)), key=backwards.__getitem__), np.int64)
        return [backwards[i] for i in order], order

    def beginning(self, text: str) -> np.ndarray:
        """Ids of the words that begin with the text."""
        return _from(*self._sorted, text)

    def ending(self, text: str) -> np.ndarray:
        """Ids of the words that end with the text."""
        return _from(*self._sorted_backwards, text[::-1])


def _from(words: list[str], order: np.ndarray, text: str) -> np.ndarray:
    return order[bisect_left(words, text) : bisect_left(words, text + "\U0010ffff")]


def split_words(texts: Iterable[str]) -> Words:
    """The words of texts, in small letters."""
    apart = pc.utf8_lower(pa.array(list(texts), pa.large_string()))
    for expression, replacement in _APART:
        apart = pc.replace_substring_regex(apart, expression, replacement)
    lists = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(apart))

    offsets, flat = lists.offsets.to_numpy(), pc.dictionary_encode(lists.values)
    number: dict[str, int] = {"": 0}  # the word of an empty text, which is left out below
    renamed = [number.setdefault(word.strip(_EDGES) or word, len(number)) for word in flat.dictionary.to_pylist()]
    ids = np.array([*renamed, 0], np.int32)[flat.indices.to_numpy(zero_copy_only=False)]
    n_before = np.concatenate([[0], np.cumsum(ids > 0, dtype=np.int64)])
    return Words(list(number), ids[ids > 0], n_before[offsets])


def texts_with(words: Words, phrases: Sequence[str]) -> csc_array:
    """Which text holds which phrase, CSC bool (n_texts, n_phrases).

    A phrase that ends or begins with "…" is the beginning or the end of one word. One of no word, of more than
    LONGEST_PHRASE or of a word that no text holds stands nowhere.
    """
    rows: list[np.ndarray] = [np.zeros(0, np.int64)]
    columns: list[np.ndarray] = [np.zeros(0, np.int64)]
    keys: dict[int, list[tuple[int, int]]] = {}  # words of the phrase → (key, phrase)
    parsed = split_words(phrase.strip("…").strip() for phrase in phrases)
    renamed = np.array([words.number.get(word, -1) for word in parsed.vocabulary], np.int64)
    presence = csc_array(words.presence)

    def add(column: int, word_ids: np.ndarray) -> None:
        for i in word_ids:
            rows.append(presence.indices[presence.indptr[i] : presence.indptr[i + 1]].astype(np.int64))
            columns.append(np.full(rows[-1].size, column))

    for j, phrase in enumerate(phrases):
        ids = renamed[parsed.ids[parsed.offsets[j] : parsed.offsets[j + 1]]]
        text = phrase.strip("…").strip().lower()
        if len(text) < len(phrase.strip()) and ids.size == 1:
            goes_on, goes_back = phrase.endswith("…"), phrase.startswith("…")
            if not (goes_on and goes_back):  # inside of words it could be anything
                add(j, words.beginning(text) if goes_on else words.ending(text))
        elif ids.size == 1 and ids[0] >= 0:
            add(j, ids)
        elif 1 < ids.size <= LONGEST_PHRASE and (ids >= 0).all():
            keys.setdefault(ids.size, []).append((int(_keys(ids, ids.size)[0]), j))

    text_of_word = np.repeat(np.arange(len(words)), np.diff(words.offsets))
    for n, some in keys.items():
        keys_of_words = _keys(words.ids, n)
        inside = text_of_word[: keys_of_words.size] == text_of_word[n - 1 :]
        phrase_keys = np.array(sorted({key for key, _ in some}), np.uint64)
        at = np.searchsorted(phrase_keys, keys_of_words).clip(max=phrase_keys.size - 1)
        places = (
            np.flatnonzero(inside & (phrase_keys[at] == keys_of_words)) if keys_of_words.size else np.zeros(0, np.int64)
        )
        of_key = csr_array(
            (np.ones(places.size), (at[places], text_of_word[places])), shape=(phrase_keys.size, len(words))
        )  # texts of every key; repeated places add up
        row_of_key = {int(key): i for i, key in enumerate(phrase_keys)}
        for key, j in some:
            i = row_of_key[key]
            rows.append(of_key.indices[of_key.indptr[i] : of_key.indptr[i + 1]].astype(np.int64))
            columns.append(np.full(rows[-1].size, j))

    row, column = np.concatenate(rows), np.concatenate(columns)
    held = csc_array((np.ones(row.size, np.int32), (row, column)), shape=(len(words), len(phrases)))
    return csc_array(held > 0)


def _keys(ids: np.ndarray, n: int) -> np.ndarray:
    """One number for every n neighbouring ids, uint64; equal ids have equal numbers, and others all but surely not."""
    size = max(0, ids.size - n + 1)
    keys = np.zeros(size, np.uint64)
    for k in range(n):
        keys = (keys ^ (ids[k : k + size].astype(np.uint64) + np.uint64(1))) * _KEY
        keys ^= keys >> np.uint64(29)
    return keys
