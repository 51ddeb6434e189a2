"""The bundled patterns by name, and a file of a user's own that is right."""

from __future__ import annotations

from pathlib import Path

from pretilt.concepts.pattern_files import bundled_patterns
from pretilt.concepts.patterns import Pattern

ROOT = Path(__file__).parents[2]
PATTERNS = bundled_patterns()
BY_NAME = {p.name: p for p in PATTERNS}
IN_FILE = """[[pattern]]
name = "pirate"
title = "pirate talk"
phrase = "pirate talk"
counts = "occurrences"
expression = 'ahoy'
matches = ["ahoy"]
misses = ["boy"]
"""


def named(names: str) -> list[Pattern]:
    return [BY_NAME[name] for name in names.split()]


def written(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path
