"""What a running step tells whoever watches. This one is silent; the terminal's is `view/console.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Events:
    """Listener of a run. Every method may be overridden; none changes what is computed."""

    def say(self, text: str) -> None:
        """One line about what begins now."""

    def progress(self, label: str, done: int, total: int, unit: str) -> None:
        """`done` of `total` units (tokens, pairs, steps) of the step `label` are finished; done == total ends it."""

    def preflight(self, numbers: Mapping[str, Any]) -> None:
        """The pre-flight's numbers (docs/artifacts.md), before the model reads anything."""
