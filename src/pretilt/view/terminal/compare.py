"""Two runs side by side, on the terminal: what they share, and where their labels surely differ."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from pretilt.comparison.step import ComparisonResult
from pretilt.schema import PATTERN
from pretilt.text import counted, mask_slurs, one_line, snippet
from pretilt.view.certainty import signed
from pretilt.view.terminal.kit import Page

LISTED = 12  # rows of each kind


def print_comparison(result: ComparisonResult, console: Console) -> None:
    """One screen."""
    page, report = Page(console), result.report
    page.heading("pretilt · two runs side by side", "second less first")
    page.facts([*_runs(report), ("Pairs", _pairs(report["pairs"])), ("Concepts", _concepts(report))])
    patterns = [row for row in report["differing"] if row["kind"] == PATTERN]
    features = [row for row in report["differing"] if row["kind"] != PATTERN]
    _table(page, "Patterns", "share of chosen less share of rejected answers, in points", patterns, 100.0, 1)
    _table(page, "Features", "mean difference of chosen and rejected, u from -1 to 1", features, 1.0, 3)
    if not report["differing"]:
        page.heading("Nothing surely differs", _power(report))
    page.print()


def _runs(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for label, side in (("First", report["first"]), ("Second", report["second"])):
        steps = [step for step in ("forecast", "verification") if side[f"has_{step}"]]
        more = f", with a {' and a '.join(steps)}" if steps else ""
        rows.append((label, f"{side['path']}: {counted(side['pairs'], 'training pair')} of {side['source']}{more}"))
    return rows


def _pairs(pairs: dict[str, int]) -> str:
    alone = f"{pairs['first_alone']:,} in the first alone, {pairs['second_alone']:,} in the second"
    turned = f"; {pairs['turned']:,} with the labels the other way round" if pairs["turned"] else ""
    return f"{pairs['both']:,} in both, {alone}{turned}"


def _concepts(report: dict[str, Any]) -> str:
    text = f"{report['compared']:,} compared, {report['sure']:,} surely differ"
    if report["features"]:
        return f"{text}; patterns alone: {report['features']}"
    alone = report["first_alone"], report["second_alone"]
    return text + (f"; {alone[0]:,} of the first alone, {alone[1]:,} of the second" if any(alone) else "")


def _power(report: dict[str, Any]) -> str:
    if report["pairs"]["first_alone"] + report["pairs"]["second_alone"] + report["pairs"]["turned"] == 0:
        return "both hold the same pairs"
    if report["smallest"] is None:
        return "no pattern stands in their answers"
    return f"of half of the patterns, {100 * report['smallest']:.1f} points or more would have been sure"


def _table(page: Page, title: str, unit: str, rows: list[dict[str, Any]], factor: float, digits: int) -> None:
    if not rows:
        return
    page.heading(f"{title} that surely differ", unit)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("concept", ratio=1, overflow="fold")
    for name in ("first", "second", "difference", "± 2 se"):
        table.add_column(page.text(name, "dim"), justify="right", no_wrap=True)
    for row in rows[:LISTED]:
        cells = [signed(factor * row[key], digits) for key in ("first", "second", "difference")]
        cells.append(f"{2 * factor * row['error']:.{digits}f}")
        name = snippet(one_line(mask_slurs(row["name"] or f"concept {row['concept_id']}")), 60)
        table.add_row(page.text(name), *(page.text(cell) for cell in cells))
    page.print(table)
    if len(rows) > LISTED:
        page.print(f"and {len(rows) - LISTED:,} more: --json lists all")
