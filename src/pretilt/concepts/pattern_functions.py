"""Patterns that no regular expression can say, because they compare one part of a text with another.

Each is a function of (response, prompt) and returns the spans of its matches: (start, end) in characters, in order and
without overlaps.
"""

from __future__ import annotations

import re
from collections.abc import Callable

RUN_OF_PROMPT = 8  # words in a row that a response shares with its prompt only by repeating it
SHORTEST_PROMPT = 4  # words; of a shorter prompt the whole is needed for an answer
SHORTEST_SENTENCE = 5  # words with a letter; shorter ones ("Yes.", "1 cup of sugar") come twice for good reasons
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_END = re.compile(r"[.!?\n。！？]+")
_SENTENCE = re.compile(r"[^.!?\n。！？]+")
_AROUND = " \t\r-*•#>\"“”'_"  # of a sentence: what does not make it another


def empty(text: str, prompt: str) -> list[tuple[int, int]]:
    """The whole text if nothing but white space stands in it."""
    return [] if text.strip() else [(0, len(text))]


def repeats_prompt(text: str, prompt: str) -> list[tuple[int, int]]:
    """Runs of at least RUN_OF_PROMPT words of the prompt, in any case; of a shorter prompt the whole prompt."""
    prompt_words = _WORD.findall(prompt.lower())
    n_run = min(RUN_OF_PROMPT, len(prompt_words))
    if n_run < SHORTEST_PROMPT or not _may_repeat(text.lower(), prompt_words, n_run):
        return []

    runs = set(zip(*(prompt_words[i:] for i in range(n_run)), strict=False))
    places = list(_WORD.finditer(text))
    words = [place[0].lower() for place in places]  # lower() of the whole text may move its characters
    matches: list[tuple[int, int]] = []
    for i, run in enumerate(zip(*(words[i:] for i in range(n_run)), strict=False)):
        if run in runs:
            start, end = places[i].start(), places[i + n_run - 1].end()
            if matches and start <= matches[-1][1]:
                matches[-1] = (matches[-1][0], end)
            else:
                matches.append((start, end))
    return matches


def _may_repeat(lower_text: str, prompt_words: list[str], n_run: int) -> bool:
    """Do all words of some run of the prompt stand somewhere in the text? Few texts come further, and this is fast."""
    is_there = {word: word in lower_text for word in dict.fromkeys(prompt_words)}
    n_in_a_row = 0
    for word in prompt_words:
        n_in_a_row = n_in_a_row + 1 if is_there[word] else 0
        if n_in_a_row == n_run:
            return True
    return False


def repeats_itself(text: str, prompt: str) -> list[tuple[int, int]]:
    """Sentences and lines of at least SHORTEST_SENTENCE words that stood in the text before, but for capitals."""
    sentences = [sentence.strip(_AROUND) for sentence in _END.split(text.lower())]
    if len(set(sentences)) == len(sentences):
        return []

    known_sentences: set[str] = set()
    matches: list[tuple[int, int]] = []
    for place in _SENTENCE.finditer(text):
        inner = place[0].strip(_AROUND)
        sentence = inner.lower()
        if sum(any(map(str.isalpha, word)) for word in sentence.split()) < SHORTEST_SENTENCE:
            continue
        if sentence in known_sentences:
            start = text.index(inner, place.start())
            matches.append((start, start + len(inner)))
        known_sentences.add(sentence)
    return matches


FUNCTIONS: dict[str, Callable[[str, str], list[tuple[int, int]]]] = {
    "empty": empty,
    "repeats_prompt": repeats_prompt,
    "repeats_itself": repeats_itself,
}
