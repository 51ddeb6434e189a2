"""The doctor's findings as a table for a terminal: a verdict in words, the figure and its limit, and what to do."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pretilt.audit.checks import Check
from pretilt.text import one_line

NARROW, WIDE = 60, 120
_ORDER = ("red", "amber", "green", "not run")


def checks_text(checks: Sequence[Check], width: int = 100) -> str:
    """The checks in their order, in plain text of `width` columns (60–120), without colour and without trailing spaces.

    Under a check that is red or amber stands what it means and what to do; `not run` says what it would take.
    """
    width = max(NARROW, min(WIDE, width))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True, header_style="")
    for name, ratio in (("verdict", 0), ("check", 5), ("figure", 5), ("limits", 6)):
        table.add_column(name, ratio=ratio or None, min_width=7 if not ratio else None, overflow="fold")
    for check in checks:
        cells = (check.verdict.upper(), check.name, _figure(check.figure), check.threshold)
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    lines = [_count(checks), "", *_lines(table, width)]
    for check in checks:
        if check.verdict not in ("red", "amber"):
            continue
        advice = Text(one_line(f"{check.verdict.upper()} {check.name}: {check.meaning}. {check.what_to_do}"))
        lines += ["", *_lines(advice, width)]
    waiting: dict[str, list[str]] = {}
    for check in checks:
        if check.verdict == "not run":
            waiting.setdefault(check.what_to_do, []).append(check.name)
    for what_to_do, names in waiting.items():
        lines += ["", *_lines(Text(one_line(f"NOT RUN {', '.join(names)}. {what_to_do}")), width)]
    return "\n".join(lines)


def _count(checks: Sequence[Check]) -> str:
    counts = Counter[str](check.verdict for check in checks)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in _ORDER if counts[verdict]) or "nothing was checked"


def _figure(figure: float | str | None) -> str:
    if figure is None:
        return "-"
    return figure if isinstance(figure, str) else f"{figure:,.4g}"


def _lines(renderable: Table | Text, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, force_terminal=False, legacy_windows=False, emoji=False).print(
        renderable
    )
    return [line.rstrip() for line in file.getvalue().splitlines()]
