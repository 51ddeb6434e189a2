"""The text that the bundled dictionary is trained on: sampled from the subject model itself.

Two kinds of prompts. *Composed*: a subject and a request, half of them with a style instruction, so that the corpus
holds the manners an assistant can have (lists, bold, links, refusals, praise, hedging, verse). *Dreamt*: the model is
given an empty user turn and writes the question itself, which covers what the composed ones do not. None of the
subjects occurs among the demo's topics.
"""

from __future__ import annotations

from pathlib import Path

TEXT = Path(__file__).parent / "text"


def lines(name: str) -> list[str]:
    """The lines of one file of hand-written text."""
    return (TEXT / name).read_text(encoding="utf-8").splitlines()
