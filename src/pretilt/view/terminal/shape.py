"""A compiled plan on the terminal: what each decision does, what it would change, and what else would move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pretilt.labels.described import named_table, renamed
from pretilt.shape.methods import METHODS
from pretilt.shape.plan import NOT
from pretilt.shape.result import ShapeResult
from pretilt.text import counted, mask_slurs, one_line
from pretilt.view.certainty import signed
from pretilt.view.clear_names import by_name
from pretilt.view.effects import effect_id
from pretilt.view.terminal.kit import Page, percent

LISTED = 8  # side effects of either direction
FEW_LEFT = 0.5  # share of the pairs' weight below which a plan is a different dataset


def print_shape(result: ShapeResult, console: Console) -> None:
    """One screen."""
    page = Page(console)
    report = {**result.report, "items": renamed(result.run, result.report["items"])}
    page.heading(f"pretilt · plan '{result.name}'", "what it does to the pairs, and what training would then do")
    page.print()
    page.facts(_coverage(report))
    page.heading("Decisions", "the shift that is left of the concept's own, and what it took")
    _items(page, report)
    for item in report["items"]:
        if item["compared"]:
            _compared(page, item)
        if points := [point for point in report["sweep"] if point["item"] == item["number"]]:
            _swept(page, item, points)
    rows = _side_effects(result)
    page.heading("What else would move", "changes by the plan, in units of the typical shift of their kind")
    if not rows:
        page.print("nothing surely: no other concept's change is larger than what chance alone could make")
    else:
        _effects(page, rows)
    page.print()
    page.facts(_reading(report))
    page.print()


def _coverage(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    coverage = report["coverage"]
    rows = [
        ("Pairs", f"{coverage['touched']:,} of {counted(coverage['pairs'], 'training pair')} touched, "
                  f"{coverage['dropped']:,} left out"),
    ]  # fmt: skip
    if coverage["weight_left"] < FEW_LEFT:
        rows.append(("", f"only {percent(coverage['weight_left'])} of the data's weight is left: a short training"))
    for items, n in coverage["overlaps"].items():
        rows.append(("Overlap", f"items {items} touch the same {counted(n, 'pair')}"))
    for words, n in coverage["conflicts"].items():
        rows.append(("Conflict", f"{words}, in {counted(n, 'pair')}"))
    if report["needs"]:
        rows.append(("Trainer", "; ".join(report["needs"])))
    for method in sorted({item["method"] for item in report["items"]} & METHODS.keys()):
        if doubt := METHODS[method].doubt:
            rows.append(("Doubt", f"{method}: {doubt}"))
    return rows


def _items(page: Page, report: Mapping[str, Any]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("", no_wrap=True)
    table.add_column("decision", ratio=1, overflow="fold")
    for name in ("method", "pairs", "plain", "shaped", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in report["items"]:
        name = one_line(mask_slurs(item["name"]))
        words = Text.assemble(page.text(f"{item['decision']} {name}"), page.text(f"\n{item['target']}", "dim"))
        if item["gate"]:
            where = f"only in {item['gate']}".replace(f"only in {NOT}", "not in ")
            words.append_text(page.text(f" {where}", "dim"))
        if item["by"]:
            words.append_text(page.text(f" by {item['by']}", "dim"))
        if item["instruction"]:
            words.append_text(page.text(f"\nby “{one_line(mask_slurs(item['instruction']))[:60]}”", "dim"))
        method = "" if item["method"] is None else f"{item['method']} {item['strength']:g}"
        left = "" if item["reached"] is None else f"{item['reached']:.0%}"
        plain, shaped = item["plain"], item["shaped"]
        if item["is_local"]:
            plain, shaped = item["plain_inside"], item["shaped_inside"]
            spread = (
                "" if item["reached_everywhere"] is None else f"; {item['reached_everywhere']:.0%} left if it spreads"
            )
            where = f"\nshifts over the {counted(item['pairs_inside'], 'pair')} inside{spread}"
            words.append_text(page.text(where, "dim"))
        cells = [method, f"{item['pairs_touched']:,}", signed(plain), signed(shaped), left]
        table.add_row(page.text(str(item["number"])), words, *(page.text(cell) for cell in cells))
    page.print(table)
    for item in report["items"]:
        if item["is_exhausted"]:
            page.print(f"{item['number']}: '{item['method']}' cannot go further; compare the methods with --compare")


def _compared(page: Page, item: Mapping[str, Any]) -> None:
    page.heading(f"Methods for {item['target']}", "alone; side effect: change of others per change of the target")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("method", no_wrap=True)
    for name in ("strength", "left", "pairs", "side effect"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("the trainer needs", ratio=1, overflow="fold")
    for method in item["compared"]:
        if method["refusal"]:
            blank = [page.text("")] * 4
            table.add_row(page.text(method["method"], "dim"), *blank, page.text(one_line(method["refusal"]), "dim"))
            continue
        left = "" if method["reached"] is None else f"{method['reached']:.0%}"
        side = "" if method["side_effect"] is None else f"{method['side_effect']:.3f}"
        cells = [method["method"], f"{method['strength']:g}", left, f"{method['pairs']:,}", side, method["needs"]]
        mark = "bold" if method["method"] == item["method"] else ""
        table.add_row(*(page.text(cell, mark) for cell in cells))
    page.print(table)


def _swept(page: Page, item: Mapping[str, Any], points: list[Mapping[str, Any]]) -> None:
    page.heading(f"Strengths of '{item['method']}' for {item['target']}", "alone; side effects in units of a typical u")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in ("strength", "left", "others", "protected", "pairs", "weight"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in points:
        cells = [
            f"{point['strength']:.3g}", "" if point["reached"] is None else f"{point['reached']:.0%}",
            *("" if point[key] is None else f"{point[key]:.4f}" for key in ("side_effect", "protected_effect")),
            f"{point['pairs']:,}", percent(point["weight_left"]),
        ]  # fmt: skip
        mark = "bold" if point["strength"] == item["strength"] else ""
        table.add_row(*(page.text(cell, mark) for cell in cells))
    page.print(table)


def _side_effects(result: ShapeResult) -> list[dict[str, Any]]:
    """Sure changes of concepts that are no target, and of the protected ones all; the largest first.

    In units of their family's typical shift.
    """
    names = {row["concept_id"]: row for row in named_table(result.run, "concepts").to_pylist()}
    effects = result.report["effects"]
    rows = []
    for row in result.table.to_pylist():
        if row["role"] == "target" or not (row["sure"] or row["role"] == "protected"):
            continue
        size = effects[row["family"]]["rms_plain"] or 1.0
        concept = names[row["concept_id"]]
        rows.append(
            {
                **row, "name": concept["name"], "kind": concept["kind"],
                **{key: row[key] / size for key in ("plain", "change", "change_lo", "change_hi")},
            }
        )  # fmt: skip
    return sorted(rows, key=lambda row: -abs(row["change"]))


def _effects(page: Page, rows: list[dict[str, Any]]) -> None:
    """Protected concepts, whatever they are called; then of what falls and of what rises one of each clear name."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False, expand=True)
    table.add_column("")
    table.add_column("concept", ratio=1, no_wrap=True, overflow=page.overflow)
    for name in ("change", "95 % interval", "without plan"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row["role"] == "protected":
            _effect(page, table, row, 0)
    for sign in (-1, 1):
        of_sign = [row for row in rows if row["role"] != "protected" and row["change"] * sign > 0]
        clear, n_vague = by_name(of_sign, lambda row: row)
        for row, n_alike in clear[:LISTED]:
            _effect(page, table, row, n_alike)
        if n_vague:
            line = f"{n_vague:,} more without a clear name: in the viewer"
            table.add_row(page.text(_mark(sign)), page.text(line, "dim"))
    page.print(table)


def _effect(page: Page, table: Table, row: Mapping[str, Any], n_alike: int) -> None:
    note = f"\n{effect_id(row['concept_id'], row['kind'])}"
    note += {"protected": " · protected", "kept": " · kept"}.get(row["role"], "")
    note += f" · and {n_alike:,} more like it" if n_alike else ""
    concept = Text.assemble(page.text(one_line(mask_slurs(row["name"] or ""))), page.text(note, "dim"))
    limits = f"[{signed(row['change_lo'], 2)}, {signed(row['change_hi'], 2)}]"
    cells = [signed(row["change"], 2), limits, signed(row["plain"], 2)]
    table.add_row(page.text(_mark(row["change"])), concept, *(page.text(cell) for cell in cells))


def _mark(change: float) -> str:
    return "▲" if change > 0 else "▼"


def _reading(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    ceilings = [
        f"{name.replace('_', ' ')} {effect['reliability']:.2f} ({effect['sure']:,} of {effect['concepts']:,} sure)"
        for name, effect in report["effects"].items() if effect["reliability"] is not None
    ]  # fmt: skip
    when = "before training" if report["sealed_before_training"] else "written AFTER a training in this run had begun"
    unknown = [
        ("", "what is learned under an instruction or steering may carry over whole, or not at all: the intervals"),
        ("", "reach from one to the other, and what is left is computed for half of it"),
    ]  # fmt: skip
    methods = {item["method"] for item in report["items"]}
    return [
        ("Ceiling", f"share of the side effects that is not chance: {', '.join(ceilings) or 'nothing moves'}"),
        ("Predicted", f"rung {report['rung']}, scores by {report['form']}; sizes are relative until one trained model"),
        ("", "has calibrated them; shares that are left, signs and ratios mean something"),
        *(unknown if methods & {"inoculate", "steer-policy"} else []),
        ("Sealed", f"{report['sha256'][:12]} at {report['written']}, {when}"),
    ]
