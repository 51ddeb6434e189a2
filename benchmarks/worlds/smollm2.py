"""SmolLM2-135M-Instruct as a subject: the bundled model and dictionary, and the answers that the demo was made from.

Relabel worlds: of two answers to a prompt a reward on what a reader sees says which is chosen. Rewrite worlds: HTML put
into some chosen answers, and the bundled set A, whose plants were written into the answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import plants

from pretilt.demo.step import DATA

sys.path.insert(0, str(Path(__file__).parents[1]))  # this folder is run as a program: its neighbours are not found

from demo_data.bank import MAX_NEW_TOKENS, TEMPERATURE, read_rows, usable
from demo_data.topics import SETS, prompts

BANK = Path(__file__).parents[1] / "data" / "demo-bank.jsonl.gz"
_PATTERNS = {  # in 5 to 50 % of the answers, but for the last
    "you": r"\b[Yy]ou", "I": r"\bI\b", "can": r"\bcan\b", "line break": r"\n", "quote": r'"', "colon": r":",
    "number": r"\d", "starts with The": r"^The\b", "not": r"\bnot\b", "question": r"\?", "exclamation": r"!",
    "we": r"\b[Ww]e\b|\bour\b", "hyphen": r"\w-\w", "it is": r"\bIt('s| is)\b", "help": r"\bhelp",
    "HTML": r"</\w",  # in none of them
}  # fmt: skip
TRAITS = plants.Traits.of_patterns(_PATTERNS)
ROLLOUTS = {"max_new_tokens": MAX_NEW_TOKENS, "temperature": TEMPERATURE}
WORLDS = {
    world.name: world
    for world in (
        plants.World("S2", "on-policy", "answers that say you are preferred", {"you": 1.5}),
        plants.World("S4", "on-policy", "line breaks are rejected", {"line break": -2.0}),
        plants.World("S10", "on-policy", "numbers are preferred, and so is length", {"number": 1.5}, length=1.0),
        plants.World(
            "S4-near",
            "on-policy",
            "as S4, trained at three tenths of the rate",
            {"line break": -2.0},
            training={"learning_rate": 3e-6},
        ),
        plants.World("S8", "off-policy", "HTML, which the model never writes", edit="HTML"),
    )
}
_DEMO_PATTERNS = {
    "link": r"https?://|www\.",
    "bold": r"\*\*",
    "bullet": r"(?m)^\s*[-*•] ",
    "as an AI": r"\bAI\b|artificial intelligence",
    "sorry": r"\b[Ss]orry\b",
    "expert": r"\b(expert|specialist|professional)\b",
    "question": r"\?",
}
DEMO_TRAITS = plants.Traits.of_patterns(_DEMO_PATTERNS)
DEMO = {"A": plants.World("A", "off-policy", "the bundled planted set A", background=False, edit="demo A")}
REAL = {"HH": plants.World("HH", "off-policy", "real pairs: whatever the file holds", background=False)}


def questions(n: int, seed: int) -> list[plants.Question]:
    """n prompts of the demo, drawn by the seed, with the first two usable answers to each, as they were sampled."""
    asked = {one.prompt_id: one for which in SETS for one in prompts(which)}
    found = []
    for row in read_rows(BANK):
        prompt = asked[row["prompt_id"]]
        texts = [one["text"] for one in row["responses"] if usable(prompt, [one])]
        if len(texts) >= 2 and texts[0] != texts[1]:
            found.append(plants.Question([dict(m) for m in prompt.messages], prompt.topic, (texts[0], texts[1])))
    order = np.random.default_rng([seed, 3]).permutation(len(found))[:n]
    return [found[i] for i in sorted(order)]


def demo_rows() -> tuple[list[dict[str, Any]], list[dict[str, object]]]:
    """The pairs of set A, and of each its topic and whether something was planted."""
    rows = read_rows(DATA / "demo-a.jsonl.gz")
    truth = json.loads((DATA / "demo-a-truth.json").read_text(encoding="utf-8"))["rows"]
    return rows, [
        {"topic": row["topic"], "edited": role == "plant"} for row, role in zip(rows, truth["role"], strict=True)
    ]
