"""Is an expression fast on every text? It is measured on the texts that it finds hardest, before any dataset is read.

RE2 reads a text once, but two kinds of expression are slow: long counted repetitions, `[ab]*a[ab]{900}`, whose
automaton has too many states to be kept (10 s per MB), and expressions that look to the end of the text before they
settle for a short match, `.*b|a`, and do so for every match (quadratic: 5 s for 64 KB of "a").
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

# A quadratic expression that passes at PROBE_CHARS takes 16 times as long for 1 MB, which is four times the text.
PROBE_CHARS = 1 << 18
LIMIT_S = 1 / 16  # for PROBE_CHARS characters: at most a second for 1 MB, even where time grows with the square
SCREEN_CHARS = 1 << 14
SCREEN_S = 1 / 2048  # for SCREEN_CHARS characters: faster ones take 2 s for 1 MB at worst, the square
N_TOGETHER = 16  # texts that are screened in one call, since compiling takes longer than reading
N_TRIES = 3  # the fastest counts: what else the machine does is not the expression's doing
N_MIXED = 24  # texts of a few characters of the expression in random order
_CLASS = re.compile(r"(.?)\[\^?((?:\\.|[^\[\]\\]){1,40})\]")
PROSE = (
    'The quick brown fox, not amused, jumps over 13 lazy dogs; "why?" he asked. However, it\'s late (very late)!\n'
    "- I think that you can't have both: the cake and a piece of it.\n\n1. Please see https://example.com/a for more\n"
    "and if you have any questions about the 2nd part of this, let me know. **Note:** the answer is $5, e.g. for tea\n"
)
STAND_INS = "aA1 \n.-_é中"  # for classes such as \w, \s, \PL


def seconds_on_hardest(expression: str, examples: Sequence[str]) -> float:
    """Processor seconds for PROBE_CHARS characters of the hardest of the probe texts, a lower bound where it is slow.

    Stops at the first text that takes more than LIMIT_S. Raises pyarrow.ArrowInvalid for what is no expression of RE2.
    """
    compiling = _run(expression, [""])
    slowest = 0.0
    probes = list(probe_texts(expression, examples))
    for i in range(0, len(probes), N_TOGETHER):
        together = probes[i : i + N_TOGETHER]
        if all(
            _run(expression, [probe(n_chars) for probe in together]) - compiling <= SCREEN_S
            for n_chars in (SCREEN_CHARS // 16, SCREEN_CHARS)  # a slow one never meets the longer ones
        ):
            continue
        for probe in together:
            slowest = max(slowest, _seconds(expression, probe, compiling))
            if slowest > LIMIT_S:
                return slowest
    return slowest


def probe_texts(expression: str, examples: Sequence[str]) -> Iterator[Callable[[int], str]]:
    """Texts that may be hard for the expression, as functions of their length in characters.

    One character or one example again and again; the characters of the expression, of its classes, and the words of
    some prose in random order. The same for the same arguments.
    """
    own_characters = [c for c in dict.fromkeys(re.sub(r"\\[a-zA-Z]", "", expression)) if c.isprintable()]
    alphabet = list(dict.fromkeys([*own_characters, *STAND_INS]))
    rng = random.Random(expression)

    for unit in (*alphabet, PROSE):
        yield partial(_repeated, unit)
    for example in dict.fromkeys(filter(None, examples)):
        for piece in dict.fromkeys((example, example[:-1], example[: len(example) // 2], example[:2])):
            yield partial(_repeated, piece + " ")

    words = [word + end for word in PROSE.split() for end in (" ", " ", " ", "\n")]
    yield partial(_mixed, words)
    yield partial(_mixed, [word + " " for word in PROSE.split()])
    yield partial(_mixed, alphabet)
    for before, members in _CLASS.findall(expression)[:N_MIXED]:
        yield partial(_mixed, list(members))
        yield partial(_mixed, [*members, *before])
    letters = [c for c in alphabet if c.isalnum()]
    for i in range(N_MIXED):
        source = letters if i % 2 else alphabet
        yield partial(_mixed, rng.sample(source, min(len(source), 2 + i // 2 % 3)))


def _repeated(unit: str, n_chars: int) -> str:
    return (unit * (n_chars // len(unit) + 1))[:n_chars]


def _mixed(units: Sequence[str], n_chars: int) -> str:
    """The units in random order, never periodic: what an automaton has met before costs it nothing."""
    mean_length = sum(map(len, units)) / len(units)
    return "".join(random.Random(n_chars).choices(units, k=int(n_chars / mean_length) + 1))[:n_chars]


def _seconds(expression: str, probe: Callable[[int], str], compiling: float) -> float:
    """Processor seconds of this thread for PROBE_CHARS characters of the probe; more than LIMIT_S if slow."""
    seconds = 0.0
    for n_chars in (SCREEN_CHARS // 4, SCREEN_CHARS, SCREEN_CHARS * 4, PROBE_CHARS):
        text = probe(n_chars)
        seconds = _run(expression, [text])
        for _ in range(N_TRIES - 1):
            if seconds > LIMIT_S:
                seconds = min(seconds, _run(expression, [text]))
        if seconds > LIMIT_S:
            break
        if n_chars == SCREEN_CHARS and seconds - compiling < SCREEN_S:
            break
    return seconds


def _run(expression: str, texts: list[str]) -> float:
    array = pa.array(texts, pa.large_string())
    start = time.thread_time()
    pc.replace_substring_regex(array, pattern=expression, replacement=rb"\0 ")
    return time.thread_time() - start
