"""A verification on the terminal: one screen, the verdict first, never without the seal and the ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pretilt.audit.checks import Check
from pretilt.text import counted, mask_slurs, one_line
from pretilt.view.effects import effect_id
from pretilt.view.terminal.doctor import checks_text
from pretilt.view.terminal.kit import Page

SHOWN = 5  # hits and misses
_COLUMNS = (
    ("R²", "r2"), ("possible", "rel_y"), ("of it", "of_ceiling"), ("reachable", "reachable"),
    ("Spearman", "spearman"), ("signs right", "sign_accuracy"),
)  # fmt: skip


def print_verification(report: Mapping[str, Any], concepts: pa.Table, console: Console) -> None:
    """Print verification.json; `concepts` has the columns concept_id, name and kind."""
    page = Page(console)
    page.print()
    page.print(page.text(report["verdict"]["text"], "bold"))
    page.print(page.text(report["seal"]["why"], "dim"))
    page.facts(_facts(report))
    headline = report["sets"][report["verdict"]["set"]]
    if headline["table"]:
        page.heading("Rungs and baselines", f"{headline['label']}, {headline['concepts']:,} concepts")
        page.print(_figures(page, headline["table"]))
        page.print("possible: rel_y, the R² of a forecast without any error · reachable: with pairs as few as these")
    other_sets = [
        judged for name, judged in report["sets"].items() if name != report["verdict"]["set"] and judged["judgement"]
    ]
    if other_sets:
        page.heading("The other sets", "the declared rung")
        page.print(_figures(page, [_declared(judged) for judged in other_sets]))
    cells = [(view, judged["in_out"]) for view, judged in report["cells"].items() if judged.get("in_out")]
    if cells:
        page.heading("In which context", "inside less outside, within concepts")
        names = {
            "group": "groups of pairs",
            "prompt_max": "prompts, max",
            "prompt_freq": "prompts, freq",
            "pattern_group": "groups, patterns",
            "detector_group": "groups, detectors",
        }
        rows = [
            {"name": f"{names[v]}, {counted(judged['judged_sets'], 'set')}", **judged["within"]} for v, judged in cells
        ]
        page.print(_figures(page, rows, columns=_COLUMNS[:3]))
    concept_of = {row["concept_id"]: row for row in concepts.to_pylist()}
    for kind, title in (("hits", "Came true"), ("misses", "Did not")):
        if headline[kind]:
            page.heading(title, "seen (95 % interval of the forecast)")
            page.print(_moves(page, headline[kind][:SHOWN], concept_of))
    if headline["judgement"] is not None and not headline["can_be_said"]:
        page.heading("Hits and misses")
        page.print("Not listed: nothing can be said.")
    elif headline.get("intervals_void"):
        page.heading("No hits or misses, and no intervals")
        page.print(f"{headline['intervals_void']}.")
    page.heading("Doctor, after training")
    page.print(page.text(checks_text([Check.from_dict(c) for c in report["doctor"]], page.width - 4)))


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    forecast, prompts = report["forecast"], report["prompts"]
    facts = [
        ("forecast", f"rung {forecast['rung']}, score {forecast['form']}"),
        (
            "prompts",
            f"{prompts['judged']:,} ({prompts['units']:,} independent), {prompts['split']}"
            + (f"; {prompts['unpaired']:,} answered by one model only" if prompts["unpaired"] else ""),
        ),
    ]
    if prompts["split"] != "heldout":
        facts.append(("beware", "some of these prompts were trained on, and the forecast has seen their pairs"))
    if forecast["rollouts"] == report["before"]:
        facts.append(("beware", "the forecast was made from these very answers of the untrained model"))
    training = report["training"]
    facts.append(("training", training["words"] if training else "nothing is known of it"))
    if training and (training["labels"] or {}).get("shuffled"):
        facts.append(("labels", "shuffled: this is the control, and should fail"))
    weighted = report["importance"]
    if laws := weighted.get("hindsight", {}).get(report["verdict"]["set"]):
        first, tilt = (f"{_two(laws[law]['r2'])} of {_two(laws[law]['reachable'])}" for law in ("first_order", "tilt"))
        words = f"had the model's own reward been known, R² {first} reachable to first order, {tilt} by a tilt"
        facts.append(("hindsight", words))
    if "why" not in weighted:
        words = f"R² {_two(weighted['r2_of_forecast'])} of the forecast, on {weighted['trusted_prompts']:,} prompts"
        facts.append(("weighted", words))
    return facts


def _declared(judged_set: Mapping[str, Any]) -> Mapping[str, Any]:
    declared_row: Mapping[str, Any] = next((row for row in judged_set["table"] if row["declared"]), {})
    return {**declared_row, "name": judged_set["label"], "declared": False}


def _figures(page: Page, rows: list[Any], columns: Any = _COLUMNS) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", overflow="fold")
    for title, _ in columns:
        table.add_column(page.text(title), justify="right")
    for row in rows:
        style = "bold" if row.get("declared") else ""
        name = page.text(row["name"] + (" (declared)" if row.get("declared") else ""), style)
        table.add_row(name, *(page.text(_two(row.get(key)), style) for _, key in columns))
    return table


def _moves(page: Page, rows: list[Any], concept_of: Mapping[int, Mapping[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(no_wrap=True, ratio=1, overflow=page.overflow)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.expand = True
    for row in rows:
        mark = "▲" if row["observed"] > 0 else "▼"
        concept = concept_of[row["concept_id"]]
        effect = effect_id(concept["concept_id"], concept["kind"])
        name = mask_slurs(one_line(concept["name"] or f"concept {concept['concept_id']}"))
        observed = f"{row['observed']:+.3f} ({row['lo']:+.3f} to {row['hi']:+.3f})"
        table.add_row(page.text(mark), page.text(name), page.text(effect, "dim"), page.text(observed))
    return table


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
