"""Scores of a label: how well a judge who knows the label alone detects the held-out texts that show the concept."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from pretilt.concepts.readable import readable

_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class PhraseMatcher:
    """The judge that needs no model: a text shows the concept if it contains one of the label's phrases.

    Phrases are those of `concepts.names` and `concepts.group_names`: read without regard to case, whole words unless an
    ellipsis says that the word goes on ("flav…"); `across` lets blanks and punctuation stand between the words of one.
    """

    def __init__(self, phrases: Sequence[str], *, across: bool = False) -> None:
        patterns = [_pattern(phrase, across) for phrase in phrases]
        self._patterns = [re.compile(p) for p in dict.fromkeys(patterns) if p]

    def count(self, text: str) -> int:
        """How many of the phrases the text contains, 0 … number of phrases."""
        shown = readable(text).casefold()
        return sum(pattern.search(shown) is not None for pattern in self._patterns)


def _pattern(phrase: str, across: bool) -> str:
    text = phrase.casefold().strip()
    goes_back, goes_on = len(text) > 1 and text.startswith("…"), len(text) > 1 and text.endswith("…")
    text = text.strip("…").strip() if goes_back or goes_on else text
    if not text or text == "␣":  # a blank is no phrase
        return ""
    gap = r"[\W_]+" if across else " "
    core = gap.join(re.escape(word) for word in text.split(" "))
    before = "" if goes_back or not _is_word(text[0]) else r"(?<!\w)"
    after = "" if goes_on or not _is_word(text[-1]) else r"(?!\w)"
    return before + core + after


def _is_word(character: str) -> bool:
    return character.isalnum() and not _UNSPACED.match(character)


def balanced_accuracy(shows: Sequence[bool], predicted: Sequence[bool]) -> float:
    """Mean of the shares of showing and of other texts that were classified right, in [0, 1]; 0.5 is chance.

    NaN if either kind is missing.
    """
    truth, guess = np.asarray(shows, dtype=bool), np.asarray(predicted, dtype=bool)
    if truth.all() or not truth.any():
        return float("nan")
    return float((guess[truth].mean() + (~guess[~truth]).mean()) / 2)


def auroc(shows: Sequence[bool], scores: Sequence[float]) -> float:
    """How often a showing text scores above another one, ties half; in [0, 1], 0.5 is chance. NaN if one is missing."""
    truth = np.asarray(shows, dtype=bool)
    n_high, n_low = int(truth.sum()), int((~truth).sum())
    if not n_high or not n_low:
        return float("nan")
    ranks = rankdata(np.asarray(scores, dtype=float))
    return float((ranks[truth].sum() - n_high * (n_high + 1) / 2) / (n_high * n_low))
