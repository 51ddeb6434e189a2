"""What became of a plan, on the terminal: intended, foretold and realised, on target and off."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from pretilt.labels.described import renamed
from pretilt.shape.result import open_shape
from pretilt.text import counted, mask_slurs, one_line
from pretilt.verify.plan import PlanOutcome
from pretilt.view.certainty import signed
from pretilt.view.terminal.kit import Page, percent


def print_outcome(outcome: PlanOutcome, console: Console) -> None:
    """One screen."""
    page, report = Page(console), outcome.report
    items = renamed(outcome.run, open_shape(outcome.run, outcome.name).report["items"])
    names = {item["number"]: item["name"] for item in items}
    answers = f"{report['per_prompt']:g} answers of each model to {counted(report['prompts'], 'prompt')}"
    page.heading(f"pretilt · plan '{outcome.name}' after training", answers)
    page.heading("Targets", "mean score of the answers: untrained, trained plainly, trained under the plan")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("decision", ratio=1, overflow="fold")
    for name in ("before", "plain", "shaped", "foretold left", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for target in report["targets"]:
        words = f"{target['decision']} {one_line(mask_slurs(names[target['number']]))}"
        if target["method"]:
            words += f"\n{target['method']} {target['strength']:g}"
        if target["is_inside"]:
            words += f", {counted(target['prompts'], 'prompt')} inside"
        cells = [_rate(target[name]) for name in ("before", "plain", "shaped")]
        foretold = _share(target["forecast_left"])
        if target["is_inside"] and target["forecast_left_everywhere"] is not None:
            foretold += f" to {_share(target['forecast_left_everywhere'])}"
        cells += [foretold, _left(target)]
        table.add_row(page.text(words), *(page.text(cell) for cell in cells))
    page.print(table)
    for target in report["targets"]:
        if target["is_inside"]:
            limits = f"{signed(target['outside_change'], 3)} ± {2 * target['outside_se']:.3f}"
            page.print(f"{target['number']}: outside of the gate the plan changed it by {limits}")
    page.heading("Off target", "change by the plan: foretold against seen")
    _sets(page, report)
    page.print()
    page.facts(_facts(report))
    page.print()


def _sets(page: Page, report: dict[str, Any]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("concepts", ratio=1, overflow="fold")
    for name in ("mean |change|", "by chance", "R²", "of", "ρ", "signs", "in interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, sets in report["sets"].items():
        off = sets["off_target"]
        right = "" if off["sign_accuracy"] is None else f"{off['sign_accuracy']:.0%} of {off['resolved']}"
        cells = [f"{off[key]:.4f}" if off[key] is not None else "" for key in ("mean_change", "mean_noise")]
        cells += [signed(off[key], 2) if off[key] is not None else "" for key in ("r2", "rel_y", "spearman")]
        label = f"{off['concepts']:,} {name.replace('_', ' ')}"
        covered = "" if off["coverage"] is None else f"{off['coverage']:.0%}"
        table.add_row(page.text(label), *(page.text(cell) for cell in [*cells, right, covered]))
    page.print(table)


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, words in (("after", "plain"), ("shaped", "under the plan")):
        utility = report["utility"][name]
        accuracy = "not measured" if utility["accuracy"] is None else percent(utility["accuracy"])
        rows.append(("Held-out", f"{words}: {accuracy} of {utility['pairs'] or 0:,} pairs right, {utility['regime']}"))
    sealed = "before the training under the plan" if report["sealed_before_training"] else "NOT before the training"
    return [*rows, ("Sealed", f"the what-if was sealed {sealed}")]


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _left(target: dict[str, Any]) -> str:
    if target["left"] is None:
        return "did not move"
    return f"{target['left']:.0%} ({target['left_lo']:.0%} to {target['left_hi']:.0%})"
