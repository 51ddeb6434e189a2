"""The card of a detector for a terminal: how well each kind does on families it did not see, and what else it moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import rich.console
from rich.table import Table

from pretilt.detectors.detector import KINDS
from pretilt.text import one_line
from pretilt.view.terminal.kit import Page, percent

LEAKS = 8  # concepts that are named


def print_card(card: Mapping[str, Any], console: rich.console.Console) -> None:
    """`card`: detector-<name>.json."""
    page = Page(console)
    page.heading(f"detector '{card['name']}'", f"{card['kind']}, layer {card['layer']}")
    families = card["families_of_parts"]
    n_all = f"{card['n_responses']:,} responses of {card['n_families']:,} families"
    page.facts(
        [
            ("made from", one_line(f"{card['made_from']}: {card['origin']}. {card['how']}")),
            ("examples", f"{n_all}, {families['heldout']:,} families held out"),
        ]
    )

    by_token = card["per_token"]
    page.heading("held out", "tokens" if by_token else "responses by their largest token score")
    table = Table.grid(padding=(0, 2))
    heads = ("", "AUROC", "average precision", "F1", *(("responses: AUROC", "F1") if by_token else ()))
    for i in range(len(heads)):
        table.add_column(justify="right" if i else "left", no_wrap=True)
    table.add_row(*(page.text(head, "dim") for head in heads))
    for kind, figures in sorted(card["kinds"].items(), key=lambda item: KINDS.index(item[0])):
        parts = [figures["token"], figures["response"]] if by_token else [figures["response"]]
        numbers = [parts[0][name] for name in ("auroc", "average_precision", "f1")]
        numbers += [parts[1][name] for name in ("auroc", "f1")] if by_token else []
        is_chosen = kind == card["kind"]
        cells = [f"{kind}{' *' if is_chosen else ''}", *("-" if n is None else f"{n:.3f}" for n in numbers)]
        table.add_row(*(page.text(cell, "bold" if is_chosen else "") for cell in cells))
    page.print(table)
    page.print(page.text("* becomes the concept: highest average precision on validation families", "dim"))

    if card["share_chosen"] is not None:
        shares = (percent(card["share_chosen"]), percent(card["share_rejected"]))
        page.heading("in the pairs", f"present in {shares[0]} of the chosen and {shares[1]} of the rejected answers")
    if card["leakage"]:
        among = card["leakage_among"]
        page.heading("leakage", f"what moves with its score among {among}, {one_line(card['target'])} = 1")
        page.facts([(f"{leak['leakage']:+.2f}", one_line(leak["name"])) for leak in card["leakage"][:LEAKS]])
