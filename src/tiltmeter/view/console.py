"""The terminal that watches a run: progress with rate and time left on standard error, results on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from tiltmeter.events import Events
from tiltmeter.view.screen import visible
from tiltmeter.view.summary import Summary
from tiltmeter.view.terminal import print_preflight, print_summary


class Screen(rich.console.Console):
    """A console that shows every text as it is: no name in it is read as markup, emoji or a terminal's command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


LINE_EVERY = 30.0  # seconds between progress lines where there is no terminal to draw a bar on


class Console(Events):
    """`quiet` keeps standard output for JSON: notes and pre-flight are left out, progress stays on standard error."""

    def __init__(self, *, quiet: bool = False, show_text: bool = False) -> None:
        self.out = Screen(quiet=quiet)
        self.err = Screen(stderr=True)
        self.show_text = show_text
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._label = ""
        self._began = self._line = 0.0
        self._first = 0

    def say(self, text: str) -> None:
        self._end()
        if not self.out.quiet:
            self.err.print(f"  {text}", style="dim", soft_wrap=True)

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
            self.out.print(f"  {line}".rstrip(), soft_wrap=True)

    def progress(self, label: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if label != self._label:
            self._end()
            self._label, self._began, self._line, self._first = label, now, now, done
            if self.err.is_terminal:
                columns = (
                    TextColumn("  {task.description}", markup=False),
                    BarColumn(32),
                    TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
                    TimeRemainingColumn(compact=True),
                )
                self._bar = Progress(*columns, console=self.err, transient=True)
                self._task = self._bar.add_task(label, total=total, rate="")
                self._bar.start()
        seconds = max(now - self._began, 1e-9)
        rate = (done - self._first) / seconds
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, rate=f"{rate:,.0f} {unit}/s" if rate else "")
        elif now - self._line >= LINE_EVERY and done < total and rate:
            self._line = now
            left = (total - done) / rate
            print(
                f"  {visible(label)}: {done:,} of {total:,} {unit}, {rate:,.0f}/s, {left:,.0f} s left",
                file=sys.stderr,
                flush=True,
            )
        if done >= total:
            resumed = self._first >= total
            self._end()
            if resumed:
                return
            self.say(f"{label}: {total:,} {unit} in {seconds:,.0f} s" + (f", {rate:,.0f} {unit}/s" if rate else ""))

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task, self._label = None, None, ""
