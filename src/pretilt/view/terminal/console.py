"""The terminal that watches a run: progress with rate and time left on standard error, results on standard output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from pretilt.events import Watched
from pretilt.text import visible
from pretilt.view.summary import Summary
from pretilt.view.terminal.audit import print_preflight, print_summary


class Screen(rich.console.Console):
    """A console that shows every text as it is: no name in it is read as markup, emoji or a terminal's command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)  # Text would drop bells and the like unseen

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class Console(Watched):
    """`quiet` keeps standard output for JSON: notes and pre-flight are left out, progress stays on standard error."""

    def __init__(self, *, quiet: bool = False, show_text: bool = False) -> None:
        super().__init__()
        self.out = Screen(quiet=quiet)
        self.err = Screen(stderr=True)
        self.show_text = show_text

    def say(self, text: str) -> None:
        self._end()
        if not self.out.quiet:
            super().say(text)

    def preflight(self, numbers: Mapping[str, Any]) -> None:
        self._end()
        print_preflight(numbers, self.out)

    def summary(self, summary: Summary) -> None:
        self._end()
        print_summary(summary, self.out, show_text=self.show_text)

    def lines(self, text: str) -> None:
        """Plain lines of a result."""
        self._end()
        for line in text.splitlines():
            self.out.print(f"  {line}".rstrip(), soft_wrap=True)
