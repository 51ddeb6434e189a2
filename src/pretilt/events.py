"""What a running step tells whoever watches: `Events` is silent, `Watched` writes to standard error.

The command line's listener, `view/console.py`, adds the results to it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pretilt.text import counted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LEAST_SECONDS = 2.0  # of a step whose rate is named: of a shorter one it is chance
LINE_EVERY = 30.0  # seconds between progress lines where there is no terminal to draw a bar on


class Events:
    """Listener of a run. Every method may be overridden; none changes what is computed."""

    def say(self, text: str) -> None:
        """One line about what begins now."""

    def progress(self, label: str, done: int, total: int, unit: str) -> None:
        """`done` of `total` units (tokens, pairs, steps) of the step `label` are finished; done == total ends it."""

    def preflight(self, numbers: Mapping[str, Any]) -> None:
        """The pre-flight's numbers (docs/artifacts.md), before the model reads anything."""


class Watched(Events):
    """What begins and how far it is, with rate and time left, on standard error; a bar where that is a terminal."""

    def __init__(self) -> None:
        import rich.console

        self.err = rich.console.Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._label = ""
        self._began = self._line = 0.0
        self._first = 0

    def say(self, text: str) -> None:
        self._end()
        if self.err.is_terminal and not text.startswith("next: "):  # words stay whole; a command can be copied
            from rich.padding import Padding
            from rich.text import Text

            self.err.print(Padding(Text(text, style="dim"), (0, 0, 0, 2)))
        else:
            self.err.print(f"  {text}", style="dim", markup=False, soft_wrap=True)

    def progress(self, label: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if label != self._label:
            self._end()
            self._label, self._began, self._line, self._first = label, now, now, done
            if self.err.is_terminal:
                from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

                columns = (
                    TextColumn("  {task.description}"),
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
            self._bar.update(self._task, completed=done, total=total, rate=_rate(rate, unit))
        elif now - self._line >= LINE_EVERY and done < total and rate:
            self._line = now
            left = (total - done) / rate
            state = f"{label}: {done:,} of {counted(total, unit.removesuffix('s'))}, {_rate(rate, unit)}"
            print(f"  {state}, {left:,.0f} s left", file=sys.stderr, flush=True)
        if done >= total:
            resumed = self._first >= total
            self._end()
            if resumed:
                return
            speed = f", {_rate(rate, unit)}" if seconds >= LEAST_SECONDS and rate else ""
            self.say(f"{label}: {counted(total, unit.removesuffix('s'))} in {seconds:,.0f} s{speed}")

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task, self._label = None, None, ""


def _rate(per_second: float, unit: str) -> str:
    """ "12 pairs/s", or "3.5 s per pair" where it is slower than one in a second; empty for none."""
    if per_second >= 1:
        return f"{per_second:,.0f} {unit}/s"
    return (
        f"{1 / per_second:,.{0 if per_second < 0.1 else 1}f} s per {unit.removesuffix('s')}" if per_second > 0 else ""
    )


def watching(events: Events | None) -> Events:
    """The given listener; without one, `Watched` where somebody looks on: at a terminal or in a notebook."""
    if events is not None:
        return events
    return Watched() if sys.stderr.isatty() or "ipykernel" in sys.modules else Events()
