"""Patterns that no regular expression can say, because they compare one part of a text with another.

Each is a function of (response, prompt) and returns the spans of its matches: (start, end) in characters, in order and
without overlaps.
"""

from __future__ import annotations

import re
from collections.abc import Callable

RUN_OF_PROMPT = 8  # words in a row that a response shares with its prompt only by repeating it
SHORTEST_PROMPT = 4  # words; of a shorter prompt the whole is needed for an answer
SHORTEST_SENTENCE = 5  # words; shorter ones ("Yes.", "1 cup of sugar") come twice for good reasons
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SENTENCE = re.compile(r"[^.!?\n。！？]+")


def empty(text: str, prompt: str) -> list[tuple[int, int]]:
    """The whole text if nothing but white space stands in it."""
    return [] if text.strip() else [(0, len(text))]


def repeats_prompt(text: str, prompt: str) -> list[tuple[int, int]]:
    """Runs of at least RUN_OF_PROMPT words of the prompt, in any case; of a shorter prompt the whole prompt."""
    prompt_words = _WORD.findall(prompt.lower())
    n_run = min(RUN_OF_PROMPT, len(prompt_words))
    if n_run < SHORTEST_PROMPT:
        return []
    runs = set(zip(*(prompt_words[i:] for i in range(n_run)), strict=False))
    words = _WORD.findall(text.lower())
    if runs.isdisjoint(zip(*(words[i:] for i in range(n_run)), strict=False)):
        return []

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


def repeats_itself(text: str, prompt: str) -> list[tuple[int, int]]:
    """Sentences and lines of at least SHORTEST_SENTENCE words that stood in the text before, word for word."""
    known_sentences: set[tuple[str, ...]] = set()
    matches: list[tuple[int, int]] = []
    for sentence in _SENTENCE.finditer(text):
        words = tuple(_WORD.findall(sentence[0].lower()))
        if len(words) < SHORTEST_SENTENCE:
            continue
        if words in known_sentences:
            n_blank = len(sentence[0]) - len(sentence[0].lstrip())
            matches.append((sentence.start() + n_blank, sentence.end()))
        known_sentences.add(words)
    return matches


FUNCTIONS: dict[str, Callable[[str, str], list[tuple[int, int]]]] = {
    "empty": empty,
    "repeats_prompt": repeats_prompt,
    "repeats_itself": repeats_itself,
}
