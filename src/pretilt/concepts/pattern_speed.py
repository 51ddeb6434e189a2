"""Is an expression fast on every text? It is measured on the texts that it finds hardest, before any dataset is read.

RE2 reads a text once, but two kinds of expression are slow: long counted repetitions, `[ab]*a[ab]{900}`, whose
automaton has too many states to be kept (10 s per MB), and expressions that look to the end of the text before they
settle for a short match, `.*b|a`, and do so for every match (quadratic: 5 s for 64 KB of "a").
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Sequence

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
STAND_INS = "aA1 \n.-_é中"  # for classes such as \w, \s, \PL


def seconds_on_hardest(expression: str, examples: Sequence[str]) -> float:
    """Processor seconds for PROBE_CHARS characters of the hardest of the probe texts, a lower bound where it is slow.

    Stops at the first text that takes more than LIMIT_S. Raises pyarrow.ArrowInvalid for what is no expression of RE2.
    """
    compiling = _run(expression, [""])
    slowest = 0.0
    units = list(probe_units(expression, examples))
    for i in range(0, len(units), N_TOGETHER):
        together = units[i : i + N_TOGETHER]
        if all(
            _run(expression, [_repeated(unit, n_chars) for unit in together]) - compiling <= SCREEN_S
            for n_chars in (SCREEN_CHARS // 16, SCREEN_CHARS)  # a slow one never meets the longer ones
        ):
            continue
        for unit in together:
            slowest = max(slowest, _seconds(expression, unit, compiling))
            if slowest > LIMIT_S:
                return slowest
    return slowest


def probe_units(expression: str, examples: Sequence[str]) -> Iterator[str]:
    """Pieces of text whose repetition may be hard for the expression: its characters, mixed, and its near matches.

    The same for the same arguments.
    """
    own_characters = [c for c in dict.fromkeys(re.sub(r"\\[a-zA-Z]", "", expression)) if c.isprintable()]
    alphabet = list(dict.fromkeys([*own_characters, *STAND_INS]))
    rng = random.Random(expression)

    yield from alphabet
    for example in dict.fromkeys(filter(None, examples)):
        for piece in dict.fromkeys((example, example[:-1], example[: len(example) // 2], example[:2])):
            yield piece + " "

    for before, members in _CLASS.findall(expression)[:N_MIXED]:
        yield "".join(rng.choices(list(members), k=SCREEN_CHARS))
        yield "".join(rng.choices([*members, *before], k=SCREEN_CHARS))

    letters = [c for c in alphabet if c.isalnum()]
    for i in range(N_MIXED):
        source = letters if i % 2 else alphabet
        few = rng.sample(source, min(len(source), 2 + i // 2 % 3))
        yield "".join(rng.choices(few, k=SCREEN_CHARS))
    yield "".join(rng.choices(alphabet, k=SCREEN_CHARS))


def _seconds(expression: str, unit: str, compiling: float) -> float:
    """Processor seconds of this thread for PROBE_CHARS characters of the repeated unit; more than LIMIT_S if slow."""
    seconds = 0.0
    for n_chars in (SCREEN_CHARS // 4, SCREEN_CHARS, SCREEN_CHARS * 4, PROBE_CHARS):
        text = _repeated(unit, n_chars)
        seconds = _run(expression, [text])
        for _ in range(N_TRIES - 1):
            if seconds > LIMIT_S:
                seconds = min(seconds, _run(expression, [text]))
        if seconds > LIMIT_S:
            break
        if n_chars == SCREEN_CHARS and seconds - compiling < SCREEN_S:
            break
    return seconds


def _repeated(unit: str, n_chars: int) -> str:
    return (unit * (n_chars // len(unit) + 1))[:n_chars]


def _run(expression: str, texts: list[str]) -> float:
    array = pa.array(texts, pa.large_string())
    start = time.thread_time()
    pc.replace_substring_regex(array, pattern=expression, replacement=rb"\0 ")
    return time.thread_time() - start
