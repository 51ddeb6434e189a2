"""The text that the bundled dictionary is trained on: sampled from the subject model itself.

Two kinds of prompts. *Composed*: a subject and a request, half of them with a style instruction, so that the corpus
holds the manners an assistant can have (lists, bold, links, refusals, praise, hedging, verse). *Dreamt*: the model is
given an empty user turn and writes the question itself, which covers what the composed ones do not. None of the
subjects occurs among the demo's topics.
"""

from __future__ import annotations

import random
from pathlib import Path

TEXT = Path(__file__).parent / "text"


def lines(name: str) -> list[str]:
    """The lines of one file of hand-written text."""
    return (TEXT / name).read_text(encoding="utf-8").splitlines()


def composed_prompts(n: int, seed: int) -> list[list[dict[str, str]]]:
    """`n` distinct conversations of one user turn, half of them with a style instruction (as system or user text)."""
    subjects, requests, styles = (lines(f"corpus-{kind}.txt") for kind in ("subjects", "requests", "styles"))
    rng = random.Random(seed)
    seen: set[tuple[str, str, str, bool]] = set()
    prompts: list[list[dict[str, str]]] = []
    while len(prompts) < n:
        style = rng.choice(styles) if rng.random() < 0.5 else ""
        key = (rng.choice(subjects), rng.choice(requests), style, rng.random() < 0.5)
        if key in seen:
            continue
        seen.add(key)
        subject, request, style, as_system = key
        question = request.format(subject)
        if style and as_system:
            prompts.append([{"role": "system", "content": style}, {"role": "user", "content": question}])
        else:
            prompts.append([{"role": "user", "content": f"{question} {style}".strip()}])
    return prompts
