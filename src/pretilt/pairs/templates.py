"""Keys that two prompts share exactly if they are fillings of one template.

Two ways to see a template, both linear in the text:

- the *skeleton*: the prompt with everything that fills a slot masked (numbers; quoted text, code, URLs, e-mail
  addresses, bracketed placeholders; runs of capitalised words inside a sentence). Prompts that differ in numbers only
  are one template however short; where texts or names are masked as well, `SKELETON_WORDS` other words must agree, so
  that 'What does "…" mean?' joins nobody.
- the *frame*: the words a user's turn begins and ends with. `FRAME_WORDS` at one end, or `TWO_SIDED_WORDS` at both
  together, must agree; openings and closings that people use by themselves ("Can you help me with", "I want you to act
  as", "Thank you in advance for your help") are well below either.

What more than half of all turns begin or end with is a preamble ("Below is an instruction that describes a task …"):
like a system message it says nothing about the question, and is cut off before frames are compared.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from pretilt.pairs.pair import Pair
from pretilt.pairs.split import WORD, prompt_text

SKELETON_WORDS = 8
NUMBERED_WORDS = 2  # beside the numbers: "What is 3 + 4?" is a template, a bare sum is not
FRAME_WORDS = 16
TWO_SIDED_WORDS = 24
_FIRST_WORDS = (4, 8, 12, 16, 20)  # of TWO_SIDED_WORDS: one that agrees in 27 words, at least 4 a side, is always found
_PREAMBLE_SAMPLE = 2000  # turns, those with the smallest digests: the same whatever the order of the rows
_PREAMBLE_FEWEST, _PREAMBLE_MOST = 20, 400  # turns that must share it; words that are cut off

# Private-use characters, which `WORD` never matches, stand for what is masked.
_NUMBER, _FILLER, _NAME = "\ue000", "\ue001", "\ue002"
_MASKS = frozenset((_NUMBER, _FILLER, _NAME))
_NUMBERS = re.compile(r"(?<!\w)\d+(?:[.,:/–-]\d+)*")
# Every alternative stops at the next opening mark of its kind, or matches to the end: no text makes it quadratic.
_FILLERS = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`"
    r"|(?:https?://|www\.)\S+"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"
    r"""|"[^"]*"|“[^“”]*”|„[^„“”]*[“”]|«[^«»]*»|「[^「」]*」|(?<!\w)'[^'\n]+'(?!\w)|(?<!\w)‘[^‘’\n]*’(?!\w)"""
    r"|\{[^{}]*\}|\[[^\[\]]*\]|<[^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
_TOKEN = re.compile(f"[{_NUMBER}{_FILLER}]|{WORD.pattern}")
_SENTENCE_END = re.compile(r"[.!?:;\n\"“”()*•]")


def digest(*texts: str) -> int:
    """64 bits that stand for the texts, the same in every process."""
    data = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _asking_turns(pair: Pair) -> set[str]:
    """The user's first and last turn; the whole prompt where nobody is called "user"."""
    turns = [m.content for m in pair.prompt if m.role == "user"] or [prompt_text(pair)]
    return {turns[0], turns[-1]}


def template_keys(pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(m,) int64 positions in `pairs`, (m,) uint64 keys, and notes: pairs with a common key share a template."""
    turns_of = [_asking_turns(pair) for pair in pairs]
    preamble = _preamble({turn for turns in turns_of for turn in turns})
    owners, keys = array("q"), array("Q")
    for i, (pair, turns) in enumerate(zip(pairs, turns_of, strict=True)):
        whole = prompt_text(pair)
        tokens = masked_tokens(whole)
        pair_keys = set(_skeleton_keys(whole, tokens))
        for turn in turns:
            pair_keys.update(_frame_keys(preamble.cut(_words(tokens if turn == whole else masked_tokens(turn)))))
        keys.extend(pair_keys)
        owners.extend([i] * len(pair_keys))
    return np.array(owners, dtype=np.int64), np.array(keys, dtype=np.uint64), preamble.notes()


def masked_tokens(text: str) -> list[str]:
    """The words of a text, case folded, with a mask character for every number, filler and name."""
    text = _NUMBERS.sub(_NUMBER, _FILLERS.sub(_FILLER, unicodedata.normalize("NFKC", text)))
    tokens = []
    end = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token[0].isupper() and token != "I" and end and not _SENTENCE_END.search(text, end, match.start()):
            token = _NAME
        tokens.append(token.casefold())
        end = match.end()
    return _runs_as_one(tokens)


def _runs_as_one(tokens: Sequence[str]) -> list[str]:
    """ "Marie Curie" and "1, 2, 3" are one filling each."""
    before = ("", *tokens)
    return [token for token, last in zip(tokens, before, strict=False) if token != last or token not in _MASKS]


def _words(tokens: Sequence[str]) -> list[str]:
    return [token for token in tokens if token not in _MASKS]


def _skeleton_keys(text: str, tokens: Sequence[str]) -> Iterator[int]:
    """`tokens` are the text's `masked_tokens`."""
    if _NUMBERS.search(text):
        numbered = _TOKEN.findall(_NUMBERS.sub(_NUMBER, unicodedata.normalize("NFKC", text)).casefold())
        if len(_words(numbered)) >= NUMBERED_WORDS:
            yield digest("numbers", *_runs_as_one(numbered))
    if SKELETON_WORDS <= len(_words(tokens)) < len(tokens):
        yield digest("fillers", *tokens)


def _frame_keys(words: Sequence[str]) -> Iterator[int]:
    if len(words) >= FRAME_WORDS:
        yield digest("begin", *words[:FRAME_WORDS])
        yield digest("end", *words[-FRAME_WORDS:])
    if len(words) >= TWO_SIDED_WORDS:
        for n in _FIRST_WORDS:
            yield digest(f"begin {n} and end", *words[:n], *words[n - TWO_SIDED_WORDS :])


@dataclass(frozen=True)
class _Preamble:
    start: list[str]
    end: list[str]

    def cut(self, words: list[str]) -> list[str]:
        if self.start and words[: len(self.start)] == self.start:
            words = words[len(self.start) :]
        if self.end and words[-len(self.end) :] == self.end:
            words = words[: -len(self.end)]
        return words

    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"more than half of the prompts {verb} with the same {len(words)} words: not counted as a shared template"
            for verb, words in (("begin", self.start), ("end", self.end))
            if len(words) >= FRAME_WORDS
        )


def _preamble(turns: Collection[str]) -> _Preamble:
    """The words that more than half of the distinct turns begin and end with, judged by a sample of them."""
    sample = [_words(masked_tokens(turn)) for turn in heapq.nsmallest(_PREAMBLE_SAMPLE, turns, key=digest)]
    start = _majority(sample)
    end = _majority([words[len(start) :][::-1] if words[: len(start)] == start else words[::-1] for words in sample])
    return _Preamble(start, end[::-1])


def _majority(turns: Sequence[Sequence[str]]) -> list[str]:
    """The longest beginning that more than half of the turns share."""
    shared: list[str] = []
    left = turns
    while left and len(shared) < _PREAMBLE_MOST:
        n = len(shared)
        counts = Counter(words[n] for words in left if len(words) > n)
        word, count = max(counts.items(), key=lambda item: (item[1], item[0]), default=("", 0))
        if count < _PREAMBLE_FEWEST or 2 * count <= len(turns):
            break
        left = [words for words in left if len(words) > n and words[n] == word]
        shared.append(word)
    return shared
