"""The terminal that watches a run: progress with rate and time left on standard error, results on standard output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich.console

from tiltmeter.events import Watched
from tiltmeter.view.summary import Summary
from tiltmeter.view.terminal import print_preflight, print_summary


class Console(Watched):
    """`quiet` keeps standard output for JSON: notes and pre-flight are left out, progress stays on standard error."""

    def __init__(self, *, quiet: bool = False, show_text: bool = False) -> None:
        super().__init__()
        self.out = rich.console.Console(quiet=quiet, highlight=False)
        self.show_text = show_text

    def say(self, text: str) -> None:
        self._end()
        if not self.out.quiet:
            super().say(text)

    def preflight(self, numbers: Mapping[str, Any]) -> None:
        self._end()
        print_preflight(numbers, self.out)

    def summary(self, summary: Summary, report: Path) -> None:
        self._end()
        print_summary(summary, self.out, report=report, show_text=self.show_text)

    def lines(self, text: str) -> None:
        """Plain lines of a result."""
        self._end()
        for line in text.splitlines():
            self.out.print(f"  {line}".rstrip(), markup=False, soft_wrap=True)
