"""No expression that meets dataset text is slower than linear: four times the text is not nine times the time."""

from __future__ import annotations

import re
import time

import pytest

from tiltmeter.pairs import content, families, messages, split, templates
from tiltmeter.pairs.content import Locator

CHUNKS = ("\n", " ", "a", "-", "1", "[", "{", "<", "`", "'", '"', "a.", "a-", "1,", "<think>", "\n\n", "a@", "\ue0001")
PATTERNS = {
    f"{module.__name__}.{name}": value
    for module in (content, families, messages, split, templates)
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern)
}


def seconds(pattern: re.Pattern[str], text: str) -> float:
    start = time.process_time()
    for _ in pattern.finditer(text):
        pass
    return time.process_time() - start


@pytest.mark.parametrize("name", PATTERNS)
def test_every_expression_is_linear(name: str) -> None:
    for chunk in CHUNKS:
        for last in ("", "!"):
            short, long = (chunk * (n // len(chunk)) + last for n in (5_000, 20_000))
            first = seconds(PATTERNS[name], short)
            if first > 0.01:  # 200,000 characters would take half a second: is it more?
                assert seconds(PATTERNS[name], long) < 9 * first, (name, chunk)


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
