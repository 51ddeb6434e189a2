"""A model's answer as a value: the JSON object in it, checked, its texts made plain.

Servers accept a schema and then ignore it, so every field is checked here.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

from pretilt.concepts.readable import shorten
from pretilt.labels.prompts import SCALE, score_names

LABEL_CAP = 100  # characters
_ESSAY = 600  # what is longer is no label
_READ = 20_000  # characters of an answer that are looked at
_BRACES = 50


class InvalidAnswer(Exception):
    """The model's answer is not what was asked for; the text says what is wrong, and quotes nothing of it."""


def extract_json(answer: str) -> dict[str, Any]:
    """The first JSON object in an answer, also within a code fence, after a line of thought, or amid prose."""
    text = answer[-_READ:].rpartition("</think>")[2]
    decoder = json.JSONDecoder()
    for brace in [m.start() for m in re.finditer(r"\{", text)][:_BRACES]:
        try:
            value, _ = decoder.raw_decode(text, brace)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    raise InvalidAnswer("it holds no complete JSON object")


def parse_label(answer: str) -> str:
    """The label as clean text of 1 to 100 characters."""
    raw_label = extract_json(answer).get("label")
    if not isinstance(raw_label, str):
        raise InvalidAnswer('"label" must be a string')
    if len(raw_label) > _ESSAY:
        raise InvalidAnswer(f'"label" must have at most {LABEL_CAP} characters')
    label = clean_label(raw_label)
    if not any(character.isalnum() for character in label):
        raise InvalidAnswer('"label" must hold words')
    return label


def parse_scores(answer: str, n: int) -> list[float]:
    """The n scores of a judge in the order of the texts, each in [0, 10]."""
    fields = extract_json(answer)
    scores = []
    for name in score_names(n):
        value = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidAnswer(f'"{name}" must be an integer from 0 to {SCALE}')
        if not 0 <= value <= SCALE:
            raise InvalidAnswer(f'"{name}" must lie between 0 and {SCALE}')
        scores.append(float(value))
    return scores


def clean_label(text: str) -> str:
    """One line of plain text without control, format, private or unassigned characters, at most 100 characters.

    It is still text that a stranger may have steered: whoever shows it escapes it like dataset text.
    """
    return shorten(plain(text).strip("\"'`*“” "), LABEL_CAP)


def plain(text: str) -> str:
    """Without invisible characters; every run of white space is one space."""
    visible = (c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join("".join(visible).split())
