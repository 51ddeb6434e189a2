"""No expression that meets dataset text is slower than linear: twice the text is not three times the time."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time

import pytest

import pretilt
from pretilt.pairs import content
from pretilt.pairs.content import Locator

CHUNKS = (
    "\n", " ", "a", "A", "-", "1", "[", "{", "<", "`", "'", '"', "(", "_", "*", "…", "a.", "a-", "1,", "a'", "a ",
    "<think>", "\n\n", "a@", "\ue0001", "np.array(", "u'",
)  # fmt: skip
WITHOUT_DATASET_TEXT = ("pretilt.demo", "pretilt.cli.app", "pretilt.lens", "pretilt.train", "pretilt.pairs.hub")


def patterns() -> dict[str, re.Pattern[str]]:
    """Every expression that a module of the package has compiled, by its name."""
    compiled = {}
    for found in pkgutil.walk_packages(pretilt.__path__, "pretilt."):
        if found.name.startswith(WITHOUT_DATASET_TEXT) or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                compiled[f"{found.name}.{name}"] = value
    return compiled


def seconds(pattern: re.Pattern[str], text: str) -> float:
    """Processor time of this process, the least of three runs: what else the machine does hardly enters."""
    times = []
    for _ in range(3):
        start = time.process_time()
        pattern.fullmatch(text)
        for _ in pattern.finditer(text):
            pass
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("pattern", patterns().values(), ids=patterns())
def test_every_expression_is_linear(pattern: re.Pattern[str]) -> None:
    for chunk in CHUNKS:
        for last in ("", "!"):
            short, long = (chunk * (n // len(chunk)) + last for n in (4_000, 8_000))
            start = time.process_time()
            pattern.fullmatch(short)
            for _ in pattern.finditer(short):
                pass
            if time.process_time() - start > 0.008:  # what takes less is linear or does no harm
                assert seconds(pattern, long) < 3 * seconds(pattern, short), chunk


def test_a_thought_that_ran_into_line_breaks_is_located_in_linear_time() -> None:
    """Quadratic, as it was until 2026: 150,000 line breaks took a minute."""

    def render(conversation: content.Conversation) -> str:
        thought, _, answer = conversation[0]["content"].partition("</think>")
        return f"<think>{thought.split('<think>')[-1].strip()}</think>{answer.strip()}."

    text = "<think>\nlet me count" + "\n" * 200_000 + "</think>\n\n4"
    message = [{"role": "assistant", "content": text}]
    start = time.process_time()
    regions, trouble = Locator(render).locate(message, render(message))
    assert time.process_time() - start < 2
    assert [render(message)[r.start : r.end] for r in regions] == ["let me count", "4"]
    assert trouble == frozenset()
