"""Dose and response of a direction, on the terminal: what the model shows at each amount of steering."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from pretilt.labels.described import renamed
from pretilt.text import counted, mask_slurs, one_line
from pretilt.verify.dose import DoseResult
from pretilt.view.terminal.kit import Page, percent


def print_dose(result: DoseResult, console: Console) -> None:
    """One screen."""
    page, report = Page(console), result.report
    answers = f"{report['per_prompt']:g} answers at each amount to {counted(report['prompts'], 'prompt')}"
    page.heading(f"pretilt · dose and response of '{report['detector']}'", answers)
    page.heading("Shown in", "share of the answers ± 2 standard errors, by lengths of the residual stream added")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("concept", ratio=1, overflow="fold")
    for amount in report["amounts"]:
        table.add_column(f"{amount:+g}" if amount else "0", justify="right", no_wrap=True)
    rows = renamed(result.run, [report["target"], *report["same"], *report["moved"]])
    for number, row in enumerate(rows):
        style = "bold" if number == 0 else ""
        cells = [_rate(point) for point in row["points"]]
        table.add_row(page.text(one_line(mask_slurs(row["name"])), style), *(page.text(c, style) for c in cells))
    for label, values in (("answers that end by themselves", report["finished"]), ("tokens of an answer", None)):
        words = [percent(v) for v in values] if values is not None else [f"{v:.0f}" for v in report["tokens"]]
        table.add_row(page.text(label, "dim"), *(page.text(word, "dim") for word in words))
    page.print(table)
    page.print()
    page.facts([("Direction", f"layer {report['layer']}, one length is {report['residual_length']:.4g}"),
                ("Slope", _slope(report["target"]))])  # fmt: skip
    page.print()


def _rate(point: dict[str, Any]) -> str:
    return f"{point['mean']:.0%} ± {2 * point['se']:.0%}"


def _slope(row: dict[str, Any]) -> str:
    size = f"{row['slope'] * 0.1:+.1%} ± {2 * abs(row['slope_se']) * 0.1:.1%} of the answers per 0.1 lengths"
    is_sure = abs(row["slope"]) > 2 * row["slope_se"]
    return size if is_sure else f"{size}: no more than chance could make"
